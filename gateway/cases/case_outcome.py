"""Evaluates the outcome of a case from the decisions of all agencies, for any order of arrival.

Each decision is for one (request, item, law).  Of several notices about the same subject, the
last one is in force (`gateway.notice_order`).  The outcome of an item is its
most restrictive current decision; the outcome of a case follows from those of all its items.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from gateway.cases.agency_notices import Decision, DecisionCode
from gateway.cases.requirement_balance import GrantedQuantity
from gateway.notice_order import NoticeOrder, order_notice


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
class WrittenOffQuantity:
    """The quantity of a certificate that is written off for an item, each line of the declaration apart.

    With `for_parent` it is written off for the parent case, from which the item was taken; the parent case
    reports it.
    """

    amounts: tuple[GrantedQuantity, ...] = ()
    unit: str | None = None
    for_parent: bool = False


@dataclass(frozen=True, slots=True)
class RankedDecision:
    """One decision with its rank among others about the same (request, item, law).

    `written_off` is known of a decision on a certificate that the item uses, and `text` are the words of its
    notice. They are no part of the decision.
    """

    request: str
    decision: Decision
    issued_at: datetime
    notice_number: str
    written_off: WrittenOffQuantity | None = field(default=None, compare=False)
    text: str = field(default="", compare=False)

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
    def rank(self) -> NoticeOrder:
        """Return the rank: of two decisions about one subject, the higher rank is in force."""
        return order_notice(self.issued_at, self.notice_number)


#: The most restrictive last; NOT_CONCERNED is absent because it does not restrict the item.
_CODES_BY_SEVERITY = (DecisionCode.APPROVED, DecisionCode.APPROVED_WITH_CONDITIONS, DecisionCode.REJECTED)


def select_current_decisions(decisions: Iterable[RankedDecision]) -> tuple[RankedDecision, ...]:
    """Return the decisions in force, one for each subject, sorted by subject.

    `decisions` are in the order stored, which decides between numbers that compare as equal.
    """
    current_decisions: dict[tuple[str, int, str], RankedDecision] = {}
    for ranked_decision in decisions:
        subject = ranked_decision.subject
        earlier_decision = current_decisions.get(subject)
        if earlier_decision is None or _is_superseded_by(earlier_decision, ranked_decision):
            current_decisions[subject] = ranked_decision
    return tuple([current_decisions[subject] for subject in sorted(current_decisions)])


def _is_superseded_by(earlier_decision: RankedDecision, later_decision: RankedDecision) -> bool:
    """Return whether the later of two decisions about one subject replaces the earlier one."""
    if earlier_decision.rank == later_decision.rank and (
        earlier_decision.notice_number != later_decision.notice_number
    ):
        return True
    # Equal numbers are two decisions of one notice about one subject: the more restrictive one is
    # in force, then the greater text, so that the result does not depend on the order.
    return (
        earlier_decision.rank,
        _get_severity(earlier_decision.decision),
        repr(earlier_decision.decision),
    ) < (
        later_decision.rank,
        _get_severity(later_decision.decision),
        repr(later_decision.decision),
    )


def _get_severity(decision: Decision) -> int:
    """Return the rank of a decision among the codes by severity; -1 if the agency is not concerned."""
    return (
        -1 if decision.decision is DecisionCode.NOT_CONCERNED else _CODES_BY_SEVERITY.index(decision.decision)
    )


def is_decided(request_scope: RequestScope, decisions: Iterable[RankedDecision]) -> bool:
    """Return whether each item of the request has a decision under at least one of its laws."""
    decided_items = {
        ranked_decision.decision.item
        for ranked_decision in decisions
        if ranked_decision.request == request_scope.request
        and ranked_decision.decision.law in request_scope.laws
    }
    return request_scope.items <= decided_items


def has_approval(decisions: Iterable[RankedDecision]) -> bool:
    """Return whether a decision in force is an approval, with or without conditions."""
    approval_codes = (DecisionCode.APPROVED, DecisionCode.APPROVED_WITH_CONDITIONS)
    return any(
        ranked_decision.decision.decision in approval_codes
        for ranked_decision in select_current_decisions(decisions)
    )


def evaluate_item_outcome(decisions: Sequence[Decision]) -> DecisionCode:
    """Return the most restrictive of an item's decisions; NOT_CONCERNED alone, or none, gives APPROVED."""
    max_severity = max((_get_severity(decision) for decision in decisions), default=-1)
    return _CODES_BY_SEVERITY[max(max_severity, 0)]


def evaluate_case_outcome(
    items: Collection[int],
    request_scopes: Collection[RequestScope],
    decisions: Iterable[RankedDecision],
    unapproved_items: Collection[int] = (),
) -> CaseOutcome | None:
    """Return the outcome of a case over all `items` of its declaration; None while a request is open.

    An item that no request concerns counts as approved: it may be released. The items of a cancelled request
    (`unapproved_items`) count as rejected, because no agency has approved them.
    """
    current_decisions = select_current_decisions(decisions)
    if not all(is_decided(request_scope, current_decisions) for request_scope in request_scopes):
        return None
    outcomes = _evaluate_item_outcomes(items, current_decisions)
    cancelled_items = frozenset(unapproved_items)
    rejected_items = [
        item
        for item, outcome in outcomes.items()
        if outcome is DecisionCode.REJECTED or item in cancelled_items
    ]
    if not rejected_items:
        return CaseOutcome.APPROVED
    return CaseOutcome.REJECTED if len(rejected_items) == len(outcomes) else CaseOutcome.PARTIAL


def list_rejected_items(items: Collection[int], decisions: Iterable[RankedDecision]) -> frozenset[int]:
    """Return the items whose decisions in force reject them."""
    outcomes = _evaluate_item_outcomes(items, select_current_decisions(decisions))
    return frozenset(item for item, outcome in outcomes.items() if outcome is DecisionCode.REJECTED)


def _evaluate_item_outcomes(
    items: Collection[int], current_decisions: Iterable[RankedDecision]
) -> Mapping[int, DecisionCode]:
    """Return the outcome of each of `items` by the decisions in force; an item may have no decision."""
    decisions_by_item: dict[int, list[Decision]] = {item: [] for item in items}
    for ranked_decision in current_decisions:
        decisions_by_item.setdefault(ranked_decision.decision.item, []).append(ranked_decision.decision)
    return {item: evaluate_item_outcome(decisions) for item, decisions in decisions_by_item.items()}
