"""Stores results without an application, and the numbers that admitted declarations wait for.

A result is about a requirement: a number of one agency. The requirement is locked before a result is
stored.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final, Protocol

from sqlalchemy import (
    BigInteger,
    BindParameter,
    Column,
    Connection,
    Date,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    bindparam,
    exists,
    insert,
    or_,
    select,
    union,
    update,
)

from gateway.errors import DECISION_CONFLICT, OUR_MISTAKE, GatewayError
from gateway.store.decisions import decisions
from gateway.store.item_releases import build_outside_decision_condition
from gateway.store.notices import notices
from gateway.store.prepared_statements import fetch_by_keys
from gateway.store.requirement_quantities import IS_USE, requirement_uses, requirements
from gateway.store.table_types import (
    CODE_TEXT,
    NUMBER_TEXT,
    Instant,
    Json,
    collect_values,
    make_identity_column,
    make_required_column,
    metadata,
)

# The results of an agency for a number of its own that no application asked for. A notice is a row for each
# item and law; of the rows about one (number, item, law) the latest notice counts.
requirement_results = Table(
    "requirement_results",
    metadata,
    make_identity_column(),
    make_required_column("requirement_id", BigInteger, ForeignKey("requirements.id")),
    make_required_column("agency", CODE_TEXT),
    make_required_column("notice_no", NUMBER_TEXT),
    make_required_column("item", Integer),  # as the agency counts: no item of a declaration
    make_required_column("law", CODE_TEXT),
    make_required_column("issued_at", Instant),
    make_required_column("status_code"),
    make_required_column("decision"),
    Column("date", Date),
    Column("quantity", Text),
    Column("unit", Text),
    make_required_column("conditions", Json),
    make_required_column("notice_sha256"),  # the content of the whole notice
    make_required_column("received_at", Instant),
    Column("said", Json),  # of the notice, what no decision has
    UniqueConstraint("agency", "notice_no", "item", "law"),
    Index("ix_requirement_results_requirement_id", "requirement_id", "id"),
)


class RequirementResultRow(Protocol):
    """A row of the table `requirement_results`."""

    id: int
    requirement_id: int
    agency: str
    notice_no: str
    item: int
    law: str
    issued_at: datetime
    status_code: str
    decision: str
    date: date | None
    quantity: str | None
    unit: str | None
    conditions: Any
    notice_sha256: str
    received_at: datetime
    said: Any


# The quantity that an item of an admitted declaration would use of an unknown number. It ends when the number
# is known and the quantity written off, or when the declaration does not name it any more.
awaited_requirements = Table(
    "awaited_requirements",
    metadata,
    make_identity_column(),
    make_required_column("case_id", BigInteger, ForeignKey("cases.id")),
    make_required_column("number", NUMBER_TEXT),
    make_required_column("item", Integer),
    make_required_column("pointer"),
    make_required_column("quantity"),
    make_required_column("unit"),
    Column("agency", Text),  # where the declaration says whose number it is
    make_required_column("awaited_at", Instant),
    Column("ended_at", Instant),
    Column("end_reason", Text),
    Index("ix_awaited_requirements_number", "number", "case_id"),
    Index("ix_awaited_requirements_case_id", "case_id", "id"),
)


class AwaitedRequirementRow(Protocol):
    """A row of the table `awaited_requirements`."""

    id: int
    case_id: int
    number: str
    item: int
    pointer: str
    quantity: str
    unit: str
    agency: str | None
    awaited_at: datetime
    ended_at: datetime | None
    end_reason: str | None


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
_SET_ISSUE_TIME: Final = (
    update(requirement_results)
    .where(
        requirement_results.c.requirement_id == bindparam("of"),
        requirement_results.c.notice_no == bindparam("placed"),
    )
    .values(issued_at=bindparam("at"))
)
_IS_CONCERNED: Final = select(
    or_(
        exists()
        .where(awaited_requirements.c.case_id == bindparam("wanted"))
        .where(awaited_requirements.c.ended_at.is_(None))
        .where(requirements.c.number == awaited_requirements.c.number),
        build_outside_decision_condition(),
    )
)
_KEYS: Final[BindParameter[Any]] = bindparam("wanted", expanding=True)
_WAITING_CASES: Final = union(
    select(awaited_requirements.c.case_id).where(
        awaited_requirements.c.number.in_(_KEYS), awaited_requirements.c.ended_at.is_(None)
    ),
    select(requirement_uses.c.case_id)
    .join(requirements)
    .where(requirements.c.number.in_(_KEYS), requirement_uses.c.return_reason == "rejected"),
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
    """The use that an item of an admitted declaration would make of a requirement number not yet known."""

    case_id: int
    number: str
    item: int
    pointer: str
    quantity: str
    unit: str
    agency: str | None = None


def insert_results(conn: Connection, new: Sequence[NewRequirementResult], at: datetime) -> int | None:
    """Store the decisions of one notice; return the first row id, None for a repeat.

    The requirement must be locked. Raises GW702 when the agency used the notice number
    before for other content.
    """
    first = new[0]
    digests = _list_digests(conn, first)
    if digests == {first.notice_sha256}:
        return None
    if digests or _is_notice_of_application(conn, first):
        raise GatewayError(
            DECISION_CONFLICT,
            f"notice {first.notice_no[:40]} was received before with different content",
            "NoticeNumber",
        )
    return int(min(conn.execute(_INSERT_RESULTS, _make_rows(new, at)).scalars()))


def place_results(conn: Connection, requirement: int, places: Mapping[str, datetime]) -> None:
    """Give the results of notices (their numbers) about a locked requirement their places in their day."""
    conn.execute(
        _SET_ISSUE_TIME, [{"of": requirement, "placed": number, "at": at} for number, at in places.items()]
    )


def add_decisions(conn: Connection, new: Sequence[NewRequirementResult], at: datetime) -> None:
    """Store further decisions of notices about a locked requirement that are stored already."""
    if new:
        conn.execute(insert(requirement_results), _make_rows(new, at))


def _make_rows(new: Sequence[NewRequirementResult], at: datetime) -> list[dict[str, Any]]:
    return [
        collect_values(result) | {"conditions": list(result.conditions), "received_at": at} for result in new
    ]


def _list_digests(conn: Connection, result: NewRequirementResult) -> set[str]:
    """Return the digests of the agency's notices that are stored under the number of this notice."""
    same = requirement_results.c
    query = select(same.notice_sha256).where(same.agency == result.agency, same.notice_no == result.notice_no)
    return set(conn.execute(query).scalars())


def _is_notice_of_application(conn: Connection, new: NewRequirementResult) -> bool:
    query = select(notices.c.id).where(notices.c.agency == new.agency, notices.c.number == new.notice_no)
    return conn.execute(query).first() is not None


class ResultOfRequirementRow(RequirementResultRow, Protocol):
    """A result of an agency, with the number of its requirement."""

    number: str


def list_results(conn: Connection, requirement_ids: Collection[int]) -> Sequence[ResultOfRequirementRow]:
    """Return all results about requirements (row ids), superseded ones too, with number and agency."""
    return fetch_by_keys(conn, _RESULTS, requirement_ids)


def list_results_of_notice(conn: Connection, result: int) -> Sequence[ResultOfRequirementRow]:
    """Return the decisions of the notice that a result (row id) is part of, with number and agency.

    Raises GW901 where there is none.
    """
    notice = conn.execute(
        select(requirement_results.c.requirement_id, requirement_results.c.notice_no).where(
            requirement_results.c.id == result
        )
    ).first()
    if notice is None:
        raise GatewayError(OUR_MISTAKE, f"result {result} is gone")
    return [row for row in list_results(conn, [notice.requirement_id]) if row.notice_no == notice.notice_no]


def insert_awaited_uses(conn: Connection, new: Sequence[NewAwaitedUse], at: datetime) -> tuple[int, ...]:
    """Store the uses that a declaration would make of numbers not yet known; return the row ids."""
    if not new:
        return ()
    rows = [collect_values(use) | {"awaited_at": at} for use in new]
    return tuple(conn.execute(_INSERT_AWAITED, rows).scalars())


class AwaitedUseRow(AwaitedRequirementRow, Protocol):
    """A use that a case waits for; `in_ledger` says whether the ledger has its number."""

    in_ledger: bool


def list_awaited_uses(conn: Connection, case_id: int) -> Sequence[AwaitedUseRow]:
    """Return the uses that a case still waits for, in the order of its declaration.

    `in_ledger` says of each use whether the ledger has its number.
    """
    return conn.execute(_AWAITED_OF_CASE, {"wanted": case_id}).all()


def is_concerned_case(conn: Connection, case_id: int) -> bool:
    """Return whether the ledger has a number that a case waits for, or it uses any, or has a parent."""
    return bool(conn.execute(_IS_CONCERNED, {"wanted": case_id}).scalar())


def end_awaited_use(conn: Connection, awaited: int, reason: str, at: datetime) -> None:
    """End one wait of a locked case: the quantity is written off."""
    changed = update(awaited_requirements).where(awaited_requirements.c.id == awaited)
    conn.execute(changed.values(ended_at=at, end_reason=reason))


def end_awaited_uses(conn: Connection, case_id: int, reason: str, at: datetime) -> None:
    """End all waits of a locked case: its declaration names the numbers no more."""
    conditions = (awaited_requirements.c.case_id == case_id, awaited_requirements.c.ended_at.is_(None))
    conn.execute(update(awaited_requirements).where(*conditions).values(ended_at=at, end_reason=reason))


def list_concerned_cases(conn: Connection, requirement: int, number: str) -> Sequence[int]:
    """Return the cases that use a requirement (row id) or wait for its number, in the order of their rows."""
    waits = select(awaited_requirements.c.case_id).where(
        awaited_requirements.c.number == number, awaited_requirements.c.ended_at.is_(None)
    )
    uses = select(requirement_uses.c.case_id).where(requirement_uses.c.requirement_id == requirement, IS_USE)
    return sorted(set(conn.execute(waits).scalars()) | set(conn.execute(uses).scalars()))


def list_waiting_cases(conn: Connection, numbers: Iterable[str]) -> Sequence[int]:
    """Return the cases that wait for one of these numbers, in the order of their rows.

    The cases were admitted before the number was known, or have given back the use of a rejected item.
    """
    return sorted({int(row.case_id) for row in fetch_by_keys(conn, _WAITING_CASES, numbers)})


_UNIT: Final[BindParameter[str]] = bindparam("unit", type_=Text)
#: Whether a certificate is granted, used or waited for in a unit.
_IS_COUNTED: Final = select(
    or_(
        select(requirements.c.id).where(requirements.c.unit == _UNIT).exists(),
        select(requirement_uses.c.id)
        .where(requirement_uses.c.unit == _UNIT, requirement_uses.c.returned_at.is_(None))
        .exists(),
        select(requirement_results.c.id).where(requirement_results.c.unit == _UNIT).exists(),
        select(awaited_requirements.c.id)
        .where(awaited_requirements.c.unit == _UNIT, awaited_requirements.c.ended_at.is_(None))
        .exists(),
        select(decisions.c.id).where(decisions.c.unit == _UNIT, decisions.c.number.is_not(None)).exists(),
    )
)


def filter_counted_units(conn: Connection, units: Iterable[str]) -> list[str]:
    """Return those of the units in which a certificate is granted, used or waited for.

    It reads the whole ledger for a unit that is not counted in: few ask it, and seldom.
    """
    return [unit for unit in units if conn.execute(_IS_COUNTED, {"unit": unit}).scalar_one()]
