"""Stores requirements and what declarations use of them; a requirement is locked before it changes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any, Final

from sqlalchemy import (
    BindParameter,
    Connection,
    Row,
    and_,
    bindparam,
    case,
    func,
    insert,
    not_,
    or_,
    select,
    update,
)

from gateway.store.decisions import COUNTING
from gateway.store.list_filters import LIST_COUNT_LIMIT
from gateway.store.prepared_statements import InsertIfAbsent, PreparedStatement
from gateway.store.requirement_tables import requirement_uses, requirements
from gateway.store.row_values import collect_values
from gateway.store.tables import agency_requests, cases, decisions

__all__ = [
    "IS_USE",
    "NOT_LEFT",
    "WITHDRAWN_KEPT",
    "NewRequirementUse",
    "RegisteredRequirement",
    "close_lost_use",
    "close_returned_uses",
    "count_requirements",
    "end_stated_use",
    "ensure_requirement",
    "find_requirements",
    "insert_stated_uses",
    "insert_uses",
    "list_granted_laws",
    "list_granting_decisions",
    "list_requirements",
    "list_stated_uses",
    "list_uses",
    "list_uses_of_case",
    "lock_requirements",
    "lock_requirements_by_number",
    "note_application",
    "register_requirement",
    "return_use",
    "revoke_requirement",
    "select_certificates",
    "set_last_day",
    "set_used_quantities",
    "take_use_again",
]

_INSERT: Final = InsertIfAbsent(requirements, ("number", "agency"), "id")
#: The reason where a child declaration names what is written off above it, and where it did before.
_STATED: Final = "stated"
_STATED_BEFORE: Final = "stated before"
#: The reason of a use that was given back, and of which too little was left when it was wanted again.
NOT_LEFT: Final = "not left"
#: Leaves out what a child declaration only states.
IS_USE: Final = or_(
    requirement_uses.c.return_reason.is_(None),
    requirement_uses.c.return_reason.not_in((_STATED, _STATED_BEFORE)),
)
_ALL_OF_CASES: Final = select(
    requirement_uses, requirements.c.number, requirements.c.agency, requirements.c.applied_since
).join(requirements)
_USES_OF_CASE: Final = _ALL_OF_CASES.where(
    requirement_uses.c.case_id == bindparam("wanted"), IS_USE
).order_by(requirement_uses.c.id)
_WANTED: Final[BindParameter[Any]] = bindparam("wanted", expanding=True)
_STATED_BY: Final = _ALL_OF_CASES.where(
    requirement_uses.c.case_id.in_(_WANTED), requirement_uses.c.return_reason == _STATED
).order_by(requirement_uses.c.id)
_BY_NUMBER: Final = select(requirements).where(requirements.c.number.in_(_WANTED))
_LOCK: Final = (
    select(requirements)
    .where(requirements.c.id.in_(_WANTED))
    .order_by(requirements.c.id)
    .with_for_update(key_share=True)
)
_INSERT_USES: Final = PreparedStatement(insert(requirement_uses))
#: What says, in the detail of a case, which items were removed, and what an agency keeps.
_IS_TOLD: Final = or_(cases.c.state == "WITHDRAWN", not_(COUNTING))
_GRANTING: Final = (
    select(
        decisions,
        agency_requests.c.number.label("application"),
        agency_requests.c.cancellation,
        agency_requests.c.required,
        agency_requests.c.removed,
        agency_requests.c.outdated_decision,
        (cases.c.state == "WITHDRAWN").label("withdrawn"),
        COUNTING.label("counts"),
        case((_IS_TOLD, cases.c.detail)).label("told"),
    )
    .select_from(decisions.join(agency_requests).join(cases))
    .where(
        decisions.c.superseded_by.is_(None),
        decisions.c.quantity.is_not(None),
        decisions.c.decision.in_(("APPROVED", "APPROVED_WITH_CONDITIONS")),
        agency_requests.c.state != "CANCELLED",
        decisions.c.number.in_(_WANTED),
    )
    .order_by(decisions.c.id)
)
_GRANTED_LAWS: Final = (
    select(decisions.c.number, agency_requests.c.agency, decisions.c.law)
    .select_from(decisions.join(agency_requests))
    .where(
        decisions.c.quantity.is_not(None),
        decisions.c.decision.in_(("APPROVED", "APPROVED_WITH_CONDITIONS")),
        decisions.c.number.in_(_WANTED),
    )
    .distinct()
)
_QUANTIFIED: Final = (
    select(decisions.c.number, agency_requests.c.agency)
    .select_from(decisions.join(agency_requests))
    .where(decisions.c.quantity.is_not(None), decisions.c.number.in_(_WANTED))
    .distinct()
)
#: Where the row of a withdrawn case says what agencies have refused to cancel: [item, law], by application.
WITHDRAWN_KEPT: Final = "kept"
#: Fewer than the parameters that SQLite allows in one statement.
_CHUNK: Final = 500


@dataclass(frozen=True, slots=True)
class RegisteredRequirement:
    """A requirement that was issued outside: an operator registers it."""

    number: str
    agency: str
    quantity: str
    unit: str
    holder: str = ""
    valid_until: date | None = None
    laws: Sequence[str] | None = None


@dataclass(frozen=True, slots=True)
class NewRequirementUse:
    """What one line of a case's declaration uses of a requirement (row id), or has given back."""

    requirement_id: int
    case_id: int
    item: int
    pointer: str
    quantity: str
    unit: str
    returned_at: datetime | None = None
    return_reason: str | None = None


def ensure_requirement(conn: Connection, agency: str, number: str, holder: str | None, at: datetime) -> bool:
    """Store the requirement of a decision, unless it is there; without `holder` nobody knows whose it is.

    One that an agency has granted to two holders may be used by anybody. Return whether it was there.
    """
    new = {"number": number, "agency": agency, "holder": holder or "", "used": {}, "added_at": at}
    empty = dict.fromkeys(("quantity", "unit", "valid_until", "laws", "registered_at", "revoked_at"))
    if _INSERT.insert_one(conn, new | empty) is not None:
        return False
    if holder is not None:
        same = (requirements.c.number == number, requirements.c.agency == agency)
        conn.execute(
            update(requirements).where(*same, requirements.c.holder.not_in(("", holder))).values(holder="")
        )
    return True


def note_application(conn: Connection, wanted: Collection[int], holder: str, at: datetime) -> Sequence[int]:
    """Store since when what an agency said of requirements (row ids) counts for its application.

    The certificate is its `holder`'s from then on: nobody knew before whose it is. One that an operator has
    registered stays the certificate of whom it was registered for. Return the row ids that are new to it.
    """
    mine = (requirements.c.id.in_(sorted(wanted)), requirements.c.applied_since.is_(None))
    owner = case((requirements.c.registered_at.is_(None), holder), else_=requirements.c.holder)
    changed = update(requirements).where(*mine).values(applied_since=at, holder=owner)
    return sorted(conn.execute(changed.returning(requirements.c.id)).scalars())


def set_last_day(conn: Connection, agency: str, number: str, until: date | None) -> None:
    """Store until when the last certificate under a number is valid; None: it states no last day.

    The last day that an operator has registered stays where the certificate states none.
    """
    same = and_(requirements.c.number == number, requirements.c.agency == agency)
    if until is None:
        same = and_(same, requirements.c.valid_until.is_not(None), requirements.c.registered_at.is_(None))
    conn.execute(update(requirements).where(same).values(valid_until=until))


def register_requirement(conn: Connection, new: RegisteredRequirement, at: datetime) -> bool:
    """Register a requirement that was issued outside, or again one that was revoked.

    What is used of it stays used. Return False for a number of the agency that is in the ledger.
    """
    row = collect_values(new) | {"used": {}, "registered_at": at, "revoked_at": None, "added_at": at}
    if _INSERT.insert_one(conn, row) is not None:
        return True
    stated = ("quantity", "unit", "holder", "valid_until", "laws", "registered_at")
    again = {name: row[name] for name in stated}
    done = conn.execute(
        update(requirements)
        .where(
            requirements.c.number == new.number,
            requirements.c.agency == new.agency,
            requirements.c.revoked_at.is_not(None),
        )
        .values(**again, revoked_at=None)
    )
    return done.rowcount == 1


def revoke_requirement(conn: Connection, requirement: int, at: datetime) -> bool:
    """Revoke a registered requirement (row id); return False for one that is not, or is revoked already."""
    done = conn.execute(
        update(requirements)
        .where(
            requirements.c.id == requirement,
            requirements.c.registered_at.is_not(None),
            requirements.c.revoked_at.is_(None),
        )
        .values(revoked_at=at)
    )
    return done.rowcount == 1


def find_requirements(conn: Connection, numbers: Collection[str]) -> Sequence[Row[Any]]:
    """Return the requirements of these numbers, of every agency, in the order of their row ids."""
    found = [
        row
        for chunk in _split_chunks(sorted(set(numbers)))
        for row in conn.execute(_BY_NUMBER, {"wanted": chunk})
    ]
    return sorted(found, key=lambda row: int(row.id))


def lock_requirements_by_number(conn: Connection, numbers: Collection[str]) -> Sequence[Row[Any]]:
    """Lock the requirements of these numbers and return them as they are then."""
    return lock_requirements(conn, [row.id for row in find_requirements(conn, numbers)])


def lock_requirements(conn: Connection, wanted: Collection[int]) -> Sequence[Row[Any]]:
    """Lock requirements (row ids) until the transaction ends and return them as they are then.

    They are locked in the order of their ids, so that two declarations that use the same ones do
    not wait for each other. SQLite has locked the file already.
    """
    return [
        row for chunk in _split_chunks(sorted(set(wanted))) for row in conn.execute(_LOCK, {"wanted": chunk})
    ]


def _split_chunks(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    return (values[start : start + _CHUNK] for start in range(0, len(values), _CHUNK))


def list_granting_decisions(conn: Connection, numbers: Collection[str]) -> Sequence[Row[Any]]:
    """Return the decisions that approve a quantity under one of these numbers, each with its application.

    Those of a cancelled application are left out. Those on what has been amended or removed since do not
    count (`counts`) in their case.
    """
    return [
        row
        for chunk in _split_chunks(sorted(set(numbers)))
        for row in conn.execute(_GRANTING, {"wanted": chunk})
    ]


def list_granted_laws(conn: Connection, numbers: Collection[str]) -> set[tuple[str, str, str]]:
    """Return number, agency and law of each decision that ever approved a quantity under these numbers."""
    return {
        (str(row.number), str(row.agency), str(row.law))
        for chunk in _split_chunks(sorted(set(numbers)))
        for row in conn.execute(_GRANTED_LAWS, {"wanted": chunk})
    }


def select_certificates(conn: Connection, rows: Iterable[Row[Any]]) -> list[Row[Any]]:
    """Return those of these requirements that can be certificates: the others only lead to an application.

    What was said of such a number came before the decision on its application, and counts for that. No
    decision has stated a quantity, and so the ledger would not have the number in another order.
    """
    found = list(rows)
    asked = {str(row.number) for row in found if row.applied_since is not None and row.registered_at is None}
    if not asked:
        return found
    named = {
        (str(row.number), str(row.agency))
        for chunk in _split_chunks(sorted(asked))
        for row in conn.execute(_QUANTIFIED, {"wanted": chunk})
    }
    return [row for row in found if row.number not in asked or row.applied_since is None
            or row.registered_at is not None or (row.number, row.agency) in named]  # fmt: skip


def set_used_quantities(conn: Connection, requirement: int, used: Mapping[str, str]) -> None:
    """Store what is used of a locked requirement, as exact decimals by unit."""
    conn.execute(update(requirements).where(requirements.c.id == requirement).values(used=dict(used)))


def insert_uses(conn: Connection, new: Sequence[NewRequirementUse], at: datetime) -> None:
    """Store what a declaration uses."""
    if new:
        _INSERT_USES.execute_rows(conn, [collect_values(one) | {"used_at": at} for one in new])


def list_uses_of_case(conn: Connection, case_id: int) -> Sequence[Row[Any]]:
    """Return the uses of a case with number and agency of the requirement, those given back too."""
    return conn.execute(_USES_OF_CASE, {"wanted": case_id}).all()


def insert_stated_uses(conn: Connection, new: Sequence[NewRequirementUse], at: datetime) -> None:
    """Store what a child declaration names of what is written off above it: nothing is used by that."""
    insert_uses(conn, [replace(one, returned_at=at, return_reason=_STATED) for one in new], at)


def list_stated_uses(conn: Connection, wanted: Collection[int]) -> Sequence[Row[Any]]:
    """Return what child declarations (their row ids) name of what is written off above them."""
    return [
        row
        for chunk in _split_chunks(sorted(set(wanted)))
        for row in conn.execute(_STATED_BY, {"wanted": chunk})
    ]


def return_use(conn: Connection, use: int, reason: str, at: datetime) -> bool:
    """Store that a use was given back; return False when it was already."""
    return _change_use(conn, use, standing=True, returned_at=at, return_reason=reason)


def take_use_again(conn: Connection, use: int) -> bool:
    """Store that a use that was given back stands again; return False when it stands."""
    return _change_use(conn, use, standing=False, returned_at=None, return_reason=None)


def close_returned_uses(conn: Connection, case_id: int, before: str, after: str) -> None:
    """Give the uses of a case that were given back for one reason another one; it states nothing any more."""
    column = requirement_uses.c.return_reason
    mine = (requirement_uses.c.case_id == case_id, column.in_((before, _STATED)))
    value = case((column == _STATED, _STATED_BEFORE), else_=after)
    conn.execute(update(requirement_uses).where(*mine).values(return_reason=value))


def close_lost_use(conn: Connection, use: int) -> None:
    """Store that a use that was given back is not taken again: its case waits for the number anew."""
    mine = (requirement_uses.c.id == use, requirement_uses.c.returned_at.is_not(None))
    conn.execute(update(requirement_uses).where(*mine).values(return_reason=NOT_LEFT))


def end_stated_use(conn: Connection, use: int) -> None:
    """Store that a child declaration does not state a use any more: nothing of it is written off above."""
    mine = (requirement_uses.c.id == use, requirement_uses.c.return_reason == _STATED)
    conn.execute(update(requirement_uses).where(*mine).values(return_reason=_STATED_BEFORE))


def _change_use(conn: Connection, use: int, *, standing: bool, **values: Any) -> bool:
    column = requirement_uses.c.returned_at
    expected = column.is_(None) if standing else column.is_not(None)
    done = conn.execute(
        update(requirement_uses).where(requirement_uses.c.id == use, expected).values(**values)
    )
    return done.rowcount == 1


def list_requirements(conn: Connection, *, limit: int = 50, before: int | None = None) -> Sequence[Row[Any]]:
    """Return requirements, the newest first, with a row id below `before`."""
    found = select(requirements).order_by(requirements.c.id.desc()).limit(limit)
    return conn.execute(found.where(requirements.c.id < before) if before else found).all()


def count_requirements(conn: Connection, *, before: int) -> int:
    """Return how many requirements have a row id below `before`, counted up to LIST_COUNT_LIMIT."""
    rest = select(requirements.c.id).where(requirements.c.id < before).limit(LIST_COUNT_LIMIT)
    return conn.execute(select(func.count()).select_from(rest.subquery())).scalar_one()


def list_uses(conn: Connection, requirement: int, *, limit: int = 50) -> Sequence[Row[Any]]:
    """Return the last uses of a requirement (row id) with the case number, the newest first."""
    return conn.execute(
        select(requirement_uses, cases.c.number.label("case_number"))
        .join(cases, cases.c.id == requirement_uses.c.case_id)
        .where(requirement_uses.c.requirement_id == requirement, IS_USE)
        .order_by(requirement_uses.c.id.desc())
        .limit(limit)
    ).all()
