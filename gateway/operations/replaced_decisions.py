"""Finds by which notice a decision that does not count was replaced, and whether it has counted before."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gateway.notice_order import order_notice
from gateway.store import DecisionRow


@dataclass(frozen=True, slots=True)
class Replacement:
    """The number of the notice that counts, and whether the decision that it replaces ever counted."""

    notice_number: str
    has_counted: bool


def find_replacement(decision: DecisionRow, stored_decisions: Iterable[DecisionRow]) -> Replacement | None:
    """Return what replaces a stored decision; None if it is not superseded.

    `stored_decisions` are all decisions of its request, or of its case. One that follows another which was
    stored before it has never counted.
    """
    if decision.superseded_by is None:
        return None
    rivals = [
        row
        for row in stored_decisions
        if (row.request_id, row.item, row.law) == (decision.request_id, decision.item, decision.law)
    ]
    successors = [row.notice_no for row in rivals if row.id == decision.superseded_by]
    order = order_notice(decision.issued_at, decision.notice_no)
    has_counted = all(
        order_notice(row.issued_at, row.notice_no) <= order for row in rivals if row.id < decision.id
    )
    return Replacement(successors[0], has_counted) if successors else None
