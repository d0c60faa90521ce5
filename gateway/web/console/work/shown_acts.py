"""What pages show of an officer's act: preview, proposal and record show the same."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from gateway.cases import Decision, DecisionAct, FeeAct, InformationAct, InspectionAct, OfficerAct, ReceiveAct
from gateway.web.console.page_formats import translate


@dataclass(frozen=True, slots=True)
class ActFact:
    """A value of an act with its label; `name` is its name in `list_agency_only_values`."""

    name: str
    label: str
    value: str | date | None

    @property
    def is_instant(self) -> bool:
        """Return whether the value is a time, which pages show in their zone."""
        return isinstance(self.value, datetime)


@dataclass(frozen=True, slots=True)
class ShownAct:
    """What an act says: its decisions, the pointers of the fields it asks about, and all else as facts."""

    facts: tuple[ActFact, ...]
    decisions: tuple[Decision, ...] = ()
    pointers: tuple[str, ...] = ()


def make_shown_act(act: OfficerAct) -> ShownAct:
    """Return what pages show of an act; facts without a value are left out."""
    decisions: tuple[Decision, ...] = ()
    pointers: tuple[str, ...] = ()
    match act:
        case ReceiveAct():
            facts = [_make_code(act.status_code), _make_text(act.text)]
        case InformationAct():
            pointers = act.pointers
            facts = [ActFact("text", translate("What is asked"), act.text), _make_deadline(act.deadline)]
        case InspectionAct():
            facts = _list_inspection_facts(act)
        case FeeAct():
            facts = _list_fee_facts(act)
        case DecisionAct():
            decisions = act.decisions
            facts = [
                ActFact("valid_until", translate("Last day of the document"), act.valid_until),
                _make_text(act.text),
                ActFact("reason", translate("Remark"), act.reason),
            ]
    return ShownAct(tuple(fact for fact in facts if fact.value), decisions, pointers)


def _list_inspection_facts(act: InspectionAct) -> list[ActFact]:
    return [
        _make_code(act.status_code),
        ActFact("kind", translate("Kind"), act.kind),
        ActFact("on", translate("Day"), act.day),
        ActFact("place", translate("Place"), act.venue),
        _make_deadline(act.deadline),
        _make_text(act.text),
        ActFact("findings", translate("Findings"), act.findings),
    ]


def _list_fee_facts(act: FeeAct) -> list[ActFact]:
    return [
        _make_code(act.status_code),
        ActFact("amount", translate("Amount"), f"{act.amount} {act.currency}".strip()),
        ActFact("until", translate("Last day of payment"), act.last_day),
        _make_text(act.text),
        ActFact("note", translate("Note"), act.note),
    ]


def _make_code(status_code: str) -> ActFact:
    return ActFact("status_code", translate("Code"), status_code)


def _make_text(text: str | None) -> ActFact:
    return ActFact("text", translate("Told to the applicant"), text)


def _make_deadline(deadline: datetime | None) -> ActFact:
    return ActFact("deadline", translate("Deadline"), deadline)
