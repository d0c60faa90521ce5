"""Finds the cases of one party: those that it sent, and those that were filed for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import Connection, Row, bindparam, literal_column, or_, select, union

from gateway.state_machines import CASE
from gateway.store.tables import agency_requests, cases, evidence, messages

__all__ = [
    "OwnCaseFilter",
    "find_own_case",
    "find_own_message",
    "list_case_documents",
    "list_case_evidence",
    "list_own_cases",
]

_MESSAGE = tuple(column for column in messages.c if column.name not in ("answer_body", "parcel"))


@dataclass(frozen=True, slots=True)
class OwnCaseFilter:
    """The cases of a party that meet every condition that is given, after the row id `before`."""

    party: str
    limit: int
    before: int | None = None
    reference: str | None = None
    state: str | None = None
    outcome: str | None = None
    since: datetime | None = None
    until: datetime | None = None


def find_own_case(conn: Connection, party: str, number: str) -> Row[Any] | None:
    """Return the case of this number if the party sent it or it was filed for the party."""
    owned = or_(cases.c.applicant == party, cases.c.declarant == party)
    return conn.execute(select(cases).where(cases.c.number == number, owned)).first()


def list_own_cases(conn: Connection, wanted: OwnCaseFilter) -> Sequence[Row[Any]]:
    """Return cases of a party, newest first."""
    values = {
        "reference": wanted.reference,
        "outcome": wanted.outcome,
        "state": wanted.state,
        "since": wanted.since,
        "until": wanted.until,
        "before": _find_highest(conn, wanted),
        "lowest": _find_lowest(conn, wanted),
    }
    given = {name: value for name, value in values.items() if value is not None}
    listed = _build_list(tuple(given))
    ids = conn.execute(listed, given | {"party": wanted.party, "most": wanted.limit}).scalars().all()
    return conn.execute(_BY_IDS, {"ids": ids}).all()


def _find_lowest(conn: Connection, wanted: OwnCaseFilter) -> int | None:
    """Return an id below which no case was opened since the time that is wanted."""
    if wanted.since is None:
        return None
    first = select(cases.c.id).where(cases.c.opened_at >= wanted.since).order_by(cases.c.opened_at)
    found = conn.execute(first.limit(1)).scalar()
    return None if found is None else int(found) - _OUT_OF_ORDER


def _find_highest(conn: Connection, wanted: OwnCaseFilter) -> int | None:
    """Return an id that no case before the cursor, opened until the time that is wanted, has reached."""
    if wanted.until is None:
        return wanted.before
    later = select(cases.c.id).where(cases.c.opened_at > wanted.until).order_by(cases.c.opened_at)
    found = conn.execute(later.limit(1)).scalar()
    above = [one for one in (wanted.before, found and int(found) + _OUT_OF_ORDER) if one is not None]
    return min(above, default=None)


@lru_cache(maxsize=128)
def _build_list(given: tuple[str, ...]) -> Any:
    """Return the statement for these conditions; building it takes longer than executing it."""
    c = cases.c
    conditions = {
        "reference": c.functional_reference == bindparam("reference"),
        "outcome": c.outcome == bindparam("outcome"),
        "since": c.opened_at >= bindparam("since", type_=c.opened_at.type),
        "until": c.opened_at <= bindparam("until", type_=c.opened_at.type),
        "before": c.id < bindparam("before"),
        "lowest": c.id >= bindparam("lowest"),
    }
    rules = [conditions[name] for name in given if name != "state"]
    # Each state of each side is read from an index in the order of the list; together they would be sorted.
    states: list[Any] = (
        [bindparam("state")] if "state" in given else [literal_column(f"'{one}'") for one in CASE.states]
    )
    parts = [
        select(c.id)
        .where(side == bindparam("party"), c.state == state, *rules)
        .order_by(c.id.desc())
        .limit(bindparam("most"))
        .subquery()
        for side in (c.applicant, c.declarant)
        for state in states
    ]
    found = union(*(select(part.c.id) for part in parts)).subquery()
    return select(found.c.id).order_by(found.c.id.desc()).limit(bindparam("most"))


_BY_IDS: Final = (
    select(cases).where(cases.c.id.in_(bindparam("ids", expanding=True))).order_by(cases.c.id.desc())
)
#: Cases that are opened at the same time may get their numbers in another order than their times.
_OUT_OF_ORDER: Final = 1000


def find_own_message(conn: Connection, party: str, message_id: str) -> Row[Any] | None:
    """Return the message with this id that a party sent or was sent, without the octets of its answer.

    A message that it sent comes first where both exist.
    """
    both = (
        ((messages.c.direction == "in") & (messages.c.from_party == party)),
        ((messages.c.direction == "out") & (messages.c.to_party == party)),
    )
    for side in both:
        row = conn.execute(select(*_MESSAGE).where(messages.c.message_id == message_id, side)).first()
        if row is not None:
            return row
    return None


def list_case_documents(conn: Connection, case_id: int, action: str) -> Sequence[Row[Any]]:
    """Return the messages of an action about a case that were made for its applicant, oldest first."""
    made = select(*_MESSAGE).where(
        messages.c.case_id == case_id,
        messages.c.direction == "out",
        messages.c.action == action,
    )
    return conn.execute(made.order_by(messages.c.id)).all()


def list_case_evidence(conn: Connection, case_id: int) -> Sequence[Row[Any]]:
    """Return the evidence about a case, its messages and its applications, oldest first."""
    sent = conn.execute(select(messages.c.id).where(messages.c.case_id == case_id)).scalars()
    asked = conn.execute(select(agency_requests.c.id).where(agency_requests.c.case_id == case_id)).scalars()
    subjects = [("case", [case_id]), ("message", [*sent]), ("request", [*asked])]
    rows: list[Row[Any]] = []
    for kind, ids in subjects:
        if ids:
            about = (evidence.c.subject_type == kind) & evidence.c.subject_id.in_([str(one) for one in ids])
            rows += conn.execute(select(evidence).where(about)).all()
    return sorted(rows, key=lambda row: int(row.id))
