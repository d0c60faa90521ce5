"""The requirement status codes (A00-Z05) and the effect of each on an agency request."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import tzinfo
from typing import Final

from gateway.cases.agency_notices import Decision, DecisionCode, Notice, read_subjects
from gateway.cases.fees import FeeStep, check_named_fee
from gateway.errors import CODE_UNKNOWN, DECISION_CONFLICT, MAPPING_WRONG, GatewayError
from gateway.wire import find_day


def make_code_table_reader(table_text: str, columns: Sequence[str], file_name: str) -> csv.DictReader[str]:
    """Return a reader of the rows of the table `file_name`; raise GW502 where it lacks a column."""
    rows = csv.DictReader(io.StringIO(table_text))
    missing_columns = [column for column in columns if column not in (rows.fieldnames or ())]
    if missing_columns:
        raise GatewayError(
            MAPPING_WRONG, f"there is no column {', '.join(missing_columns)}", f"{file_name}:1"
        )
    return rows


@dataclass(frozen=True, slots=True)
class StatusCode:
    """One code: its name, the party that may set it, and the outcome that it means.

    `event` is the event of the request's state machine that it causes; empty for codes that only the hub or
    customs set. `fee_step` is its effect on a fee, and `fee_kind` the kind of that fee: empty for codes
    without a fee, and for a refund of any. After a `final` code no other notice is expected: without
    decisions it decides all items that the agency was asked about. A `reissue` gives a certificate
    again after its correction.
    """

    code: str
    name: str
    set_by: str
    outcome: str
    event: str
    fee_step: str = ""
    fee_kind: str = ""
    final: bool = field(default=False, kw_only=True)
    reissue: bool = field(default=False, kw_only=True)

    @property
    def follows_issue(self) -> bool:
        """Return whether it cancels a certificate that was issued before, or gives it again."""
        return self.reissue or self.outcome == "revoked"


#: The decision of a final status code, by its outcome.
_DECISION_BY_OUTCOME: Mapping[str, DecisionCode] = {
    "approved": DecisionCode.APPROVED,
    "conditional": DecisionCode.APPROVED_WITH_CONDITIONS,
    "rejected": DecisionCode.REJECTED,
    "revoked": DecisionCode.REJECTED,
}
#: The decisions that a status code of an outcome contradicts; other outcomes contradict none.
_CONTRADICTED_DECISIONS: Mapping[str, frozenset[DecisionCode]] = {
    "approved": frozenset({DecisionCode.REJECTED}),
    "conditional": frozenset({DecisionCode.REJECTED}),
    "rejected": frozenset({DecisionCode.APPROVED, DecisionCode.APPROVED_WITH_CONDITIONS}),
    "revoked": frozenset({DecisionCode.APPROVED, DecisionCode.APPROVED_WITH_CONDITIONS}),
}


_COLUMNS: Final = ("code", "name", "set_by", "outcome", "event", "fee_step", "fee_kind")
#: The step of a fee that only the hub says, and those that only agencies say.
_STEPS: Final = {
    **dict.fromkeys((FeeStep.AWAIT, FeeStep.PAY), "hub"),
    **dict.fromkeys((FeeStep.LEVY, FeeStep.CANCEL, FeeStep.CONFIRM, FeeStep.REFUND), "agency"),
}
#: The column reissue of a table that has none.
_REISSUES: Final = {"R02": "y"}
_CODE_PATTERN: Final = re.compile("[A-Z][0-9]{2}")
_SETTERS: Final = frozenset({"agency", "customs", "hub"})
#: The events of a request that a notice of an agency may cause.
_EVENTS: Final = frozenset(
    {"acknowledge", "ask", "cancel", "decide", "fee", "inspect", "inspected", "refuse_cancel"}
)
_OUTCOMES: Final = frozenset(
    {
        *("pending", "query", "inspection", "fee_due", "fee_paid", "refund", "partial", "result", "cleared"),
        *("approved", "conditional", "rejected", "revoked", "amended", "cancelled", "error"),
    }
)


def read_status_codes(table_text: str, file_name: str = "requirement-status.csv") -> Mapping[str, StatusCode]:
    """Read the code table (CSV with header code, name, set_by, outcome, event, …).

    Raise GW502 with the line for a column that is missing, a code that occurs twice or has another form than
    a notice can carry, and a value of set_by, outcome, event or fee_step that is not known. A code has an
    event exactly when agencies set it. A table without the columns fee_step and fee_kind has no codes of
    fees, one without terminal no final codes; in one without reissue, R02 gives a certificate again.
    """
    rows = make_code_table_reader(table_text, ("code", "name", "set_by", "outcome", "event"), file_name)
    codes: dict[str, StatusCode] = {}
    for row in rows:
        marks = {
            "terminal": row.get("terminal") or "",
            "reissue": row.get("reissue", _REISSUES.get(row["code"])) or "",
        }
        status_code = StatusCode(
            *((row.get(column) or "") for column in _COLUMNS),
            final=marks["terminal"] == "y",
            reissue=marks["reissue"] == "y",
        )
        fault = _find_status_code_fault(status_code, codes)
        for name, mark in marks.items():
            if not fault and mark not in ("", "n", "y"):
                fault = f"{name} is y or n, not {mark[:40]!r}"
        if fault:
            raise GatewayError(
                MAPPING_WRONG,
                f"status code {status_code.code[:20]!r}: {fault}",
                f"{file_name}:{rows.line_num}",
            )
        codes[status_code.code] = status_code
    return codes


def _find_status_code_fault(code: StatusCode, earlier_codes: Mapping[str, StatusCode]) -> str:
    """Return the error in a row of the table of status codes, else an empty text.

    `earlier_codes` are the rows before it, by code.
    """
    if not _CODE_PATTERN.fullmatch(code.code):
        return "a code is a capital letter and two digits"
    if code.code in earlier_codes:
        return "it stands twice"
    for column, value, allowed in (
        ("set_by", code.set_by, _SETTERS),
        ("outcome", code.outcome, _OUTCOMES),
        ("event", code.event, _EVENTS | {""}),
        ("fee_step", code.fee_step, frozenset(_STEPS) | {""}),
    ):
        if value not in allowed:
            return f"{column} must be one of {', '.join(sorted(allowed - {''}))}, not {value[:40]!r}"
    if bool(code.event) != (code.set_by == "agency"):
        return "a code has an event when agencies set it, and no event otherwise"
    return _find_fee_fault(code)


def _find_fee_fault(code: StatusCode) -> str:
    """Return the error in the fee step or the fee kind of a status code, else an empty text."""
    if not code.fee_step:
        return "a code without fee_step has no fee_kind" if code.fee_kind else ""
    if code.set_by != _STEPS[FeeStep(code.fee_step)]:
        return f"the step {code.fee_step} of a fee is said by {_STEPS[FeeStep(code.fee_step)]}"
    if not code.fee_kind and code.fee_step != FeeStep.REFUND:
        return "a code of a fee names its fee_kind"
    return ""


def complete_decisions(
    notice: Notice, status_code: StatusCode | None, subjects: Iterable[Sequence[object]], zone: tzinfo
) -> Notice:
    """Return a notice with the decisions of its final status code; `subjects` are pairs of item and law.

    A notice that names its decisions, and one of a code that is not final, are returned unchanged. The
    decisions are of the day of the notice in `zone`.
    """
    decision_code = (
        _DECISION_BY_OUTCOME.get(status_code.outcome)
        if status_code is not None and status_code.final
        else None
    )
    if decision_code is None or notice.decisions:
        return notice
    day = find_day(notice.issued_at, zone)
    decisions = (Decision(item, law, decision_code, date=day) for item, law in read_subjects(subjects))
    return replace(notice, decisions=tuple(dict.fromkeys(decisions)))


def check_notice_status(notice: Notice, codes: Mapping[str, StatusCode]) -> StatusCode:
    """Return the status code of a notice of an agency.

    Raise GW403 for a code that is unknown or that an agency may not set, GW702 for a notice
    with a contradiction: code against decision, or two decisions on one (item, law); GW711 for a fee
    beside a code of no fee.
    """
    status_code = codes.get(notice.status_code)
    if status_code is None or not status_code.event:
        fault = "is unknown" if status_code is None else f"is set by {status_code.set_by}, not by an agency"
        raise GatewayError(CODE_UNKNOWN, f"status code {notice.status_code[:20]!r} {fault}", "StatusCode")
    check_named_fee(notice.fee, status_code.fee_step)
    decisions_by_subject: dict[tuple[int, str], Decision] = {}
    for position, decision in enumerate(notice.decisions, start=1):
        location = f"Decision[{position}]"
        if decision.decision in _CONTRADICTED_DECISIONS.get(status_code.outcome, ()):
            raise GatewayError(
                DECISION_CONFLICT,
                f"status code {status_code.code} ({status_code.name}) contradicts {decision.decision}",
                location,
            )
        earlier_decision = decisions_by_subject.setdefault((decision.item, decision.law), decision)
        if earlier_decision != decision:
            raise GatewayError(
                DECISION_CONFLICT, f"item {decision.item} is decided twice under law {decision.law}", location
            )
    return status_code
