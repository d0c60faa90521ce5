"""Results that name no item: they are about all that an agency has said of a number of its own.

What such a notice takes back follows from the issue times, and not from the order in which notices came: it
takes back also what was issued before it and comes later. The row of each item and law has a mark of that.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Final

from sqlalchemy import Row

from gateway.cases import Decision, DecisionCode, Notice
from gateway.store import NewRequirementResult

__all__ = ["describe_whole", "is_taken_back_whole", "list_late_revocations", "list_said_decisions"]

_MARK: Final = "whole"


def describe_whole(notice: Notice) -> dict[str, Any]:
    """Return the mark of a notice that names no item, for what is stored of it."""
    return {_MARK: True} if notice.whole else {}


def is_taken_back_whole(row: Row[Any]) -> bool:
    """Return whether a stored result is of a notice that takes back all that was said of its number."""
    return row.decision == DecisionCode.REJECTED and bool((row.said or {}).get(_MARK))


def list_said_decisions(notice: Notice) -> list[Decision]:
    """Return what the agency itself has said in a notice: one that names no item says it once.

    The items that it is about are those that the hub knew at the time, and are no part of what was said.
    """
    if not notice.whole:
        return list(notice.decisions)
    return list(dict.fromkeys(replace(one, item=0, law="") for one in notice.decisions))


def list_late_revocations(
    known: Iterable[Row[Any]], said: Sequence[NewRequirementResult]
) -> list[NewRequirementResult]:
    """Return what later notices, which name no item, take back of what is `said` only now.

    `known` are the results about the requirement that were stored before.
    """
    found: dict[str, list[Row[Any]]] = {}
    for row in known:
        if is_taken_back_whole(row):
            found.setdefault(row.notice_no, []).append(row)
    return [
        _make_revocation(rows[0], one)
        for rows in found.values()
        for one in said
        if (rows[0].issued_at, rows[0].notice_no) > (one.issued_at, one.notice_no)
        and (one.item, one.law) not in {(row.item, row.law) for row in rows}
    ]


def _make_revocation(row: Row[Any], about: NewRequirementResult) -> NewRequirementResult:
    """Return a stored result as one about another item and law."""
    return replace(
        about,
        notice_no=row.notice_no,
        issued_at=row.issued_at,
        status_code=row.status_code,
        decision=row.decision,
        notice_sha256=row.notice_sha256,
        date=row.date,
        quantity=row.quantity,
        unit=row.unit,
        conditions=row.conditions,
        said=row.said,
    )
