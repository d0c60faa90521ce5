"""Finds the cases of one party: those that it sent, and those that were filed for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, or_, select, union

from gateway.state_machines import CASE
from gateway.store.list_filters import ListFilter, build_bounds
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
    rules = _list_conditions(wanted)
    # Each state of each side is read from an index in the order of the list; together they would be sorted.
    states = [wanted.state] if wanted.state is not None else CASE.states
    parts = [
        select(cases.c.id)
        .where(side == wanted.party, cases.c.state == state, *rules)
        .order_by(cases.c.id.desc())
        .limit(wanted.limit)
        .subquery()
        for side in (cases.c.applicant, cases.c.declarant)
        for state in states
    ]
    found = union(*(select(part.c.id) for part in parts)).subquery()
    ids = conn.execute(select(found.c.id).order_by(found.c.id.desc()).limit(wanted.limit)).scalars().all()
    return conn.execute(select(cases).where(cases.c.id.in_(ids)).order_by(cases.c.id.desc())).all()


def _list_conditions(wanted: OwnCaseFilter) -> list[ColumnElement[bool]]:
    bounds = ListFilter(since=wanted.since, until=wanted.until)
    found = build_bounds(bounds, cases.c.id, cases.c.opened_at, indexed=True)
    if wanted.before is not None:
        found.append(cases.c.id < wanted.before)
    for column, value in (
        (cases.c.functional_reference, wanted.reference),
        (cases.c.outcome, wanted.outcome),
    ):
        if value is not None:
            found.append(column == value)
    return found


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
