"""Stores results without an application, and the numbers that admitted declarations wait for.

A result is about a requirement: a number of one agency. The requirement is locked before a result is
stored.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

from sqlalchemy import Connection, Row, bindparam, exists, insert, or_, select, union, update

from gateway.errors import DECISION_CONFLICT, OUR_MISTAKE, GatewayError
from gateway.store.item_releases import build_outside_condition
from gateway.store.requirement_quantities import IS_USE
from gateway.store.requirement_tables import (
    awaited_requirements,
    requirement_results,
    requirement_uses,
    requirements,
)
from gateway.store.row_values import collect_values
from gateway.store.tables import notices

__all__ = [
    "NewAwaitedUse",
    "NewRequirementResult",
    "add_decisions",
    "end_awaited_use",
    "end_awaited_uses",
    "has_known_requirements",
    "insert_awaited_uses",
    "insert_results",
    "list_awaited_uses",
    "list_concerned_cases",
    "list_notice",
    "list_results",
    "list_waiting_cases",
]

#: Fewer than the parameters that SQLite allows in one statement.
_CHUNK: Final = 500
_AWAITED_OF_CASE: Final = (
    select(
        awaited_requirements,
        exists().where(requirements.c.number == awaited_requirements.c.number).label("in_ledger"),
    )
    .where(awaited_requirements.c.case_id == bindparam("wanted"), awaited_requirements.c.ended_at.is_(None))
    .order_by(awaited_requirements.c.id)
)
_RESULTS: Final = (
    select(requirement_results, requirements.c.number)
    .join(requirements)
    .where(requirement_results.c.requirement_id.in_(bindparam("wanted", expanding=True)))
    .order_by(requirement_results.c.id)
)
_INSERT_RESULTS: Final = insert(requirement_results).returning(requirement_results.c.id)
_KNOWN: Final = select(
    or_(
        exists()
        .where(awaited_requirements.c.case_id == bindparam("wanted"))
        .where(awaited_requirements.c.ended_at.is_(None))
        .where(requirements.c.number == awaited_requirements.c.number),
        build_outside_condition(),
    )
)
_INSERT_AWAITED: Final = insert(awaited_requirements).returning(awaited_requirements.c.id)


@dataclass(frozen=True, slots=True)
class NewRequirementResult:
    """One decision of a notice about a requirement (row id) for which no application was made."""

    requirement_id: int
    agency: str
    notice_no: str
    item: int
    law: str
    issued_at: datetime
    status_code: str
    decision: str
    notice_sha256: str
    date: date | None = None
    quantity: str | None = None
    unit: str | None = None
    conditions: Sequence[str] = ()
    said: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class NewAwaitedUse:
    """What an item of an admitted declaration would use of a number that nobody knows yet."""

    case_id: int
    number: str
    item: int
    pointer: str
    quantity: str
    unit: str
    agency: str | None = None


def insert_results(
    conn: Connection,
    new: Sequence[NewRequirementResult],
    at: datetime,
    former: Iterable[NewRequirementResult] = (),
) -> int | None:
    """Store the decisions of one notice; return the first row id, None for a repeat.

    The requirement must be locked. `former` are decisions of the notice as earlier versions may have stored
    it. Raises GW702 when the agency used the notice number before for other content.
    """
    first = new[0]
    digests = _list_digests(conn, first)
    if digests == {first.notice_sha256}:
        return None
    if any(_list_digests(conn, one) == {one.notice_sha256} for one in former):
        return None
    if digests or _is_notice_of_application(conn, first):
        raise GatewayError(
            DECISION_CONFLICT,
            f"notice {first.notice_no[:40]} was received before with different content",
            "NoticeNumber",
        )
    rows = [collect_values(one) | {"conditions": list(one.conditions), "received_at": at} for one in new]
    return int(min(conn.execute(_INSERT_RESULTS, rows).scalars()))


def add_decisions(conn: Connection, new: Sequence[NewRequirementResult], at: datetime) -> None:
    """Store further decisions of notices about a locked requirement that are stored already."""
    if new:
        rows = [collect_values(one) | {"conditions": list(one.conditions), "received_at": at} for one in new]
        conn.execute(insert(requirement_results), rows)


def _list_digests(conn: Connection, one: NewRequirementResult) -> set[str]:
    """Return the digests of what is stored of the agency under the number of the notice."""
    same = requirement_results.c
    known = select(same.notice_sha256).where(same.agency == one.agency, same.notice_no == one.notice_no)
    return set(conn.execute(known).scalars())


def _is_notice_of_application(conn: Connection, new: NewRequirementResult) -> bool:
    found = select(notices.c.id).where(notices.c.agency == new.agency, notices.c.number == new.notice_no)
    return conn.execute(found).first() is not None


def list_results(conn: Connection, wanted: Collection[int]) -> Sequence[Row[Any]]:
    """Return all results about requirements (row ids), superseded ones too, with number and agency."""
    ids = sorted(set(wanted))
    return [
        row
        for start in range(0, len(ids), _CHUNK)
        for row in conn.execute(_RESULTS, {"wanted": ids[start : start + _CHUNK]})
    ]


def list_notice(conn: Connection, result: int) -> Sequence[Row[Any]]:
    """Return the decisions of the notice that a result (row id) is part of, with number and agency.

    Raises GW901 where there is none.
    """
    one = conn.execute(
        select(requirement_results.c.requirement_id, requirement_results.c.notice_no).where(
            requirement_results.c.id == result
        )
    ).first()
    if one is None:
        raise GatewayError(OUR_MISTAKE, f"result {result} is gone")
    return [row for row in list_results(conn, [one.requirement_id]) if row.notice_no == one.notice_no]


def insert_awaited_uses(conn: Connection, new: Sequence[NewAwaitedUse], at: datetime) -> tuple[int, ...]:
    """Store what a declaration would use of numbers that are not known; return the row ids."""
    if not new:
        return ()
    rows = [collect_values(one) | {"awaited_at": at} for one in new]
    return tuple(conn.execute(_INSERT_AWAITED, rows).scalars())


def list_awaited_uses(conn: Connection, case_id: int) -> Sequence[Row[Any]]:
    """Return what a case still waits for, in the order of its declaration, and whether the ledger has it."""
    return conn.execute(_AWAITED_OF_CASE, {"wanted": case_id}).all()


def has_known_requirements(conn: Connection, case_id: int) -> bool:
    """Return whether the ledger knows what a case waits for, or it uses anything, or a case is above it."""
    return bool(conn.execute(_KNOWN, {"wanted": case_id}).scalar())


def end_awaited_use(conn: Connection, awaited: int, reason: str, at: datetime) -> None:
    """End one wait of a locked case: the quantity is written off."""
    changed = update(awaited_requirements).where(awaited_requirements.c.id == awaited)
    conn.execute(changed.values(ended_at=at, end_reason=reason))


def end_awaited_uses(conn: Connection, case_id: int, reason: str, at: datetime) -> None:
    """End all waits of a locked case: its declaration names the numbers no more."""
    mine = (awaited_requirements.c.case_id == case_id, awaited_requirements.c.ended_at.is_(None))
    conn.execute(update(awaited_requirements).where(*mine).values(ended_at=at, end_reason=reason))


def list_concerned_cases(conn: Connection, requirement: int, number: str) -> Sequence[int]:
    """Return the cases that use a requirement (row id) or wait for its number, in the order of their rows."""
    waits = select(awaited_requirements.c.case_id).where(
        awaited_requirements.c.number == number, awaited_requirements.c.ended_at.is_(None)
    )
    uses = select(requirement_uses.c.case_id).where(requirement_uses.c.requirement_id == requirement, IS_USE)
    return sorted(set(conn.execute(waits).scalars()) | set(conn.execute(uses).scalars()))


def list_waiting_cases(conn: Connection, numbers: Iterable[str]) -> Sequence[int]:
    """Return the cases that wait for one of these numbers, in the order of their rows.

    They were admitted before it was known, or have given back what a rejected item used.
    """
    wanted = sorted(set(numbers))
    found = [
        union(
            select(awaited_requirements.c.case_id).where(
                awaited_requirements.c.number.in_(some), awaited_requirements.c.ended_at.is_(None)
            ),
            select(requirement_uses.c.case_id)
            .join(requirements)
            .where(requirements.c.number.in_(some), requirement_uses.c.return_reason == "rejected"),
        )
        for some in (wanted[start : start + _CHUNK] for start in range(0, len(wanted), _CHUNK))
    ]
    return sorted({int(case) for one in found for case in conn.execute(one).scalars()})
