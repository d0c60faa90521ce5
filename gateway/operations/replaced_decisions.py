"""Finds by which notice a decision that does not count was replaced, and whether it has counted before."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gateway.store import DecisionRow, DecisionWithTextRow


@dataclass(frozen=True, slots=True)
class Replacement:
    """The number of the notice that counts, and whether the decision that it replaces ever counted."""

    notice_number: str
    has_counted: bool


def find_replacement(
    decision: DecisionWithTextRow, stored_decisions: Iterable[DecisionRow]
) -> Replacement | None:
    """Return what replaces a stored decision; None if it is not superseded.

    `stored_decisions` are all decisions of its request, or of its case. That of a notice which was overruled
    when it came has never counted.
    """
    successors = (row.notice_no for row in stored_decisions if row.id == decision.superseded_by)
    successor = next(successors, None)
    return None if successor is None else Replacement(successor, has_counted=decision.overruled_by is None)
