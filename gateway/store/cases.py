"""Cases: opened once for a declarant's reference, locked before anything about them is changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, bindparam, select, update

from gateway.errors import NO_OPEN_CASE, REFERENCE_REUSED, GatewayError
from gateway.states import CASE
from gateway.store import messages, transitions
from gateway.store.statements import InsertNew
from gateway.store.tables import cases
from gateway.store.transitions import Step

__all__ = [
    "NewCase",
    "by_number",
    "by_reference",
    "get",
    "lock",
    "move",
    "open_case",
    "open_refused",
    "search",
    "set_due",
]

# Two at the same instant: the second sees the first when it looks again.
_TRIES = 5

_INSERT = InsertNew(cases, ("declarant", "functional_reference", "version"), "id")
_GET = select(cases).where(cases.c.id == bindparam("wanted"))
_LOCK = _GET.with_for_update(key_share=True)


@dataclass(frozen=True, slots=True)
class NewCase:
    """A case about to be opened; `message` is the row id of the message that brought it."""

    number: str
    document: str
    function: str
    declarant: str
    applicant: str
    functional_reference: str
    message: int
    agent: str | None = None
    ucr: str | None = None
    due_at: datetime | None = None
    detail: Mapping[str, Any] | None = None


def open_case(conn: Connection, case: NewCase, at: datetime) -> int:
    """Open the case in its first state and return its id.

    GW406 while the declarant has a case under the reference; a REFUSED one frees it.
    """
    for _ in range(_TRIES):
        versions = _versions(conn, case)
        standing = next((row for row in versions if row.state != "REFUSED"), None)
        if standing is not None:
            raise _reused(case, standing.number)
        opened = _insert(conn, case, len(versions) + 1, at)
        if opened is not None:
            return opened
    raise _reused(case, "another one, opened at this moment")


def open_refused(conn: Connection, case: NewCase, at: datetime) -> int:
    """Open a case that is refused at once: it stands beside any other under the reference."""
    for _ in range(_TRIES):
        opened = _insert(conn, case, len(_versions(conn, case)) + 1, at)
        if opened is not None:
            return opened
    raise _reused(case, "others, opened at this moment")


def _versions(conn: Connection, case: NewCase) -> Sequence[Any]:
    """Return every case under the reference; versions count from 1 without a gap."""
    return conn.execute(
        select(cases.c.version, cases.c.state, cases.c.number).where(
            cases.c.declarant == case.declarant, cases.c.functional_reference == case.functional_reference
        )
    ).all()


def _insert(conn: Connection, case: NewCase, version: int, at: datetime) -> int | None:
    """Insert the case under a version that was free when it was looked up; None when it no longer is."""
    row = {
        "number": case.number,
        "document": case.document,
        "function": case.function,
        "declarant": case.declarant,
        "agent": case.agent,
        "applicant": case.applicant,
        "functional_reference": case.functional_reference,
        "version": version,
        "ucr": case.ucr,
        "message": case.message,
        "state": CASE.initial,
        "detail": case.detail,
        "opened_at": at,
        "due_at": case.due_at,
    }
    stored = _INSERT.one(conn, row)
    if stored is None:
        return None
    messages.set_case(conn, case.message, stored.id)
    return int(stored.id)


def _reused(case: NewCase, number: str) -> GatewayError:
    detail = f"reference {case.functional_reference[:40]} belongs to case {number}"
    return GatewayError(REFERENCE_REUSED, detail, "42A/D026")


def lock(conn: Connection, case_id: int) -> Row[Any]:
    """Lock the case until the transaction ends and return it as it is now.

    Every transaction on a case does this first: of two last decisions that arrive together,
    the second must see the first.  SQLite has locked the file already.
    """
    row = conn.execute(_LOCK, {"wanted": case_id}).first()
    if row is None:
        raise GatewayError(NO_OPEN_CASE, f"there is no case {case_id}")
    return row


def move(conn: Connection, case_id: int, what: Step, **values: Any) -> str:
    """Apply an event to a case (values: outcome, detail, due_at, closed_at); return its new state."""
    return transitions.move(conn, cases, CASE, case_id, what, **values)


def set_due(conn: Connection, case_id: int, due_at: datetime | None) -> None:
    """Say when the case ought to be decided."""
    conn.execute(update(cases).where(cases.c.id == case_id).values(due_at=due_at))


def get(conn: Connection, case_id: int) -> Row[Any] | None:
    """Return the case of this row id."""
    return conn.execute(_GET, {"wanted": case_id}).first()


def by_number(conn: Connection, number: str) -> Row[Any] | None:
    """Return the case of this case number."""
    return conn.execute(select(cases).where(cases.c.number == number)).first()


def by_reference(conn: Connection, declarant: str, reference: str) -> Row[Any] | None:
    """Return the declarant's case under the reference: the one that stands, else the last refused one."""
    found = select(cases).where(cases.c.declarant == declarant, cases.c.functional_reference == reference)
    standing_first = found.order_by(cases.c.state == "REFUSED", cases.c.version.desc())
    return conn.execute(standing_first.limit(1)).first()


def search(
    conn: Connection, *, limit: int = 50, before: int | None = None, **equal: Any
) -> Sequence[Row[Any]]:
    """Return cases, newest first, whose columns have these values, with an id below `before`."""
    found = select(cases).order_by(cases.c.id.desc()).limit(limit)
    for name, value in equal.items():
        found = found.where(cases.c[name] == value)
    return conn.execute(found.where(cases.c.id < before) if before else found).all()
