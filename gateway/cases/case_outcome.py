"""Evaluates the outcome of a case from the decisions of all agencies, for any order of arrival.

Each decision is for one (request, item, law).  Of several notices about the same subject, the
one with the highest (issue time, notice number) is in force.  The outcome of an item is its
most restrictive current decision; the outcome of a case follows from those of all its items.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from gateway.cases.agency_notices import Decision, DecisionCode
from gateway.cases.requirement_balance import GrantedQuantity

__all__ = [
    "CaseOutcome",
    "RankedDecision",
    "RequestScope",
    "WrittenQuantity",
    "evaluate_case_outcome",
    "evaluate_item_outcome",
    "has_approval",
    "is_decided",
    "list_rejected_items",
    "select_current_decisions",
]


class CaseOutcome(StrEnum):
    """The outcome of a case."""

    APPROVED = "APPROVED"
    PARTIAL = "PARTIAL"
    REJECTED = "REJECTED"
    REFUSED = "REFUSED"
    WITHDRAWN = "WITHDRAWN"


@dataclass(frozen=True, slots=True)
class RequestScope:
    """One agency request: its items, and the laws under which they may be decided."""

    request: str
    items: frozenset[int]
    laws: frozenset[str]


@dataclass(frozen=True, slots=True)
class WrittenQuantity:
    """What stands written off of a certificate for an item, each line of the declaration apart.

    With `above` it is written off for the case that the item has come from, which tells it.
    """

    amounts: tuple[GrantedQuantity, ...] = ()
    unit: str | None = None
    above: bool = False


@dataclass(frozen=True, slots=True)
class RankedDecision:
    """One decision with its rank among others about the same (request, item, law).

    `written` is known of a decision on a certificate that the item uses. It is no part of what is decided.
    """

    request: str
    decision: Decision
    issued_at: datetime
    notice_number: str
    written: WrittenQuantity | None = field(default=None, compare=False)

    def __repr__(self) -> str:
        """Return the text of which stored digests of conclusions are made: it never changes."""
        return (
            f"RankedDecision(request={self.request!r}, decision={self.decision!r}, "
            f"issued_at={self.issued_at!r}, notice_number={self.notice_number!r})"
        )

    @property
    def subject(self) -> tuple[str, int, str]:
        """Return the subject of the decision: request, item, law."""
        return self.request, self.decision.item, self.decision.law

    @property
    def rank(self) -> tuple[datetime, str]:
        """Return the rank: of two decisions about one subject, the higher rank is in force."""
        return self.issued_at, self.notice_number


#: The most restrictive last; NOT_CONCERNED is absent because it does not restrict the item.
_RESTRICTION = (DecisionCode.APPROVED, DecisionCode.APPROVED_WITH_CONDITIONS, DecisionCode.REJECTED)


def select_current_decisions(decisions: Iterable[RankedDecision]) -> tuple[RankedDecision, ...]:
    """Return the decisions in force, one for each subject, sorted by subject."""
    latest: dict[tuple[str, int, str], RankedDecision] = {}
    for standing in decisions:
        subject = standing.subject
        known = latest.get(subject)
        if known is None or _is_superseded_by(known, standing):
            latest[subject] = standing
    return tuple([latest[subject] for subject in sorted(latest)])


def _is_superseded_by(known: RankedDecision, other: RankedDecision) -> bool:
    # Equal ranks are two decisions of one notice about one subject: the more restrictive one is
    # in force, then the greater text, so that the result does not depend on the order.
    return (known.rank, _get_severity(known.decision), repr(known.decision)) < (
        other.rank,
        _get_severity(other.decision),
        repr(other.decision),
    )


def _get_severity(decision: Decision) -> int:
    return -1 if decision.decision is DecisionCode.NOT_CONCERNED else _RESTRICTION.index(decision.decision)


def is_decided(concern: RequestScope, decisions: Iterable[RankedDecision]) -> bool:
    """Return whether each item of the request has a decision under at least one of its laws."""
    decided = {
        standing.decision.item
        for standing in decisions
        if standing.request == concern.request and standing.decision.law in concern.laws
    }
    return concern.items <= decided


def has_approval(decisions: Iterable[RankedDecision]) -> bool:
    """Return whether a decision in force approves something, with or without conditions."""
    approving = (DecisionCode.APPROVED, DecisionCode.APPROVED_WITH_CONDITIONS)
    return any(one.decision.decision in approving for one in select_current_decisions(decisions))


def evaluate_item_outcome(decisions: Sequence[Decision]) -> DecisionCode:
    """Return the most restrictive of an item's decisions; NOT_CONCERNED alone, or none, gives APPROVED."""
    worst = max((_get_severity(decision) for decision in decisions), default=-1)
    return _RESTRICTION[max(worst, 0)]


def evaluate_case_outcome(
    items: Collection[int],
    concerns: Collection[RequestScope],
    decisions: Iterable[RankedDecision],
    unapproved: Collection[int] = (),
) -> CaseOutcome | None:
    """Return the outcome of a case over all `items` of its declaration; None while a request is open.

    An item that no request concerns counts as approved: it may be released. The items of a cancelled
    request (`unapproved`) may not: nobody has approved them.
    """
    current = select_current_decisions(decisions)
    if not all(is_decided(concern, current) for concern in concerns):
        return None
    outcomes = _evaluate_items(items, current)
    held = frozenset(unapproved)
    rejected = [
        item for item, outcome in outcomes.items() if outcome is DecisionCode.REJECTED or item in held
    ]
    if not rejected:
        return CaseOutcome.APPROVED
    return CaseOutcome.REJECTED if len(rejected) == len(outcomes) else CaseOutcome.PARTIAL


def list_rejected_items(items: Collection[int], decisions: Iterable[RankedDecision]) -> frozenset[int]:
    """Return the items whose decisions in force reject them."""
    outcomes = _evaluate_items(items, select_current_decisions(decisions))
    return frozenset(item for item, outcome in outcomes.items() if outcome is DecisionCode.REJECTED)


def _evaluate_items(items: Collection[int], current: Iterable[RankedDecision]) -> Mapping[int, DecisionCode]:
    grouped: dict[int, list[Decision]] = {item: [] for item in items}
    for standing in current:
        grouped.setdefault(standing.decision.item, []).append(standing.decision)
    return {item: evaluate_item_outcome(decisions) for item, decisions in grouped.items()}
