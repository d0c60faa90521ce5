"""Stores the acts of officers: proposed, intended, performed or not; each change names the state before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Exists, Row, exists, func, select, update

from gateway.store.officer_tables import officer_acts
from gateway.store.prepared_statements import InsertIfAbsent

__all__ = [
    "NewOfficerAct",
    "build_decided_condition",
    "change_act",
    "count_by_request",
    "find_act",
    "find_by_message_id",
    "find_open_act",
    "insert_act",
    "list_by_request",
    "list_intended",
]

_INSERT = InsertIfAbsent(officer_acts, ("under_way",), "id")
_DECIDING = ("decide", "correct", "revoke")


@dataclass(frozen=True, slots=True)
class NewOfficerAct:
    """An act that begins: about what, its content and what was shown (digests), by whom, how confirmed.

    `issued_at` is given for an act that is intended at once, and missing in a proposal.
    """

    request_id: int
    agency: str
    kind: str
    state: str
    content: str
    shown_sha256: str
    account_id: int
    name: str
    role: str
    confirmation: Mapping[str, Any]
    message_id: str
    notice_number: str
    issued_at: datetime | None = None


def insert_act(conn: Connection, act: NewOfficerAct, at: datetime) -> int | None:
    """Store an act that is under way; return None when another one of its application is under way."""
    row = asdict(act) | {"at": at, "under_way": act.request_id, "confirmation": dict(act.confirmation)}
    stored = _INSERT.insert_one(conn, row)
    return None if stored is None else int(stored.id)


def change_act(conn: Connection, act: int, before: str, after: str, **values: Any) -> bool:
    """Move an act from one state to another; return False when it is not in the first one any more."""
    if after != "INTENDED":
        values["under_way"] = None
    standing = (officer_acts.c.id == act, officer_acts.c.state == before)
    done = conn.execute(update(officer_acts).where(*standing).values(state=after, **values))
    return done.rowcount == 1


def find_act(conn: Connection, act: int) -> Row[Any] | None:
    """Return the act."""
    return conn.execute(select(officer_acts).where(officer_acts.c.id == act)).first()


def find_by_message_id(conn: Connection, message_id: str) -> Row[Any] | None:
    """Return the act whose call has this MessageID."""
    return conn.execute(select(officer_acts).where(officer_acts.c.message_id == message_id)).first()


def find_open_act(conn: Connection, request: int) -> Row[Any] | None:
    """Return the act about a request that is proposed or intended."""
    return conn.execute(select(officer_acts).where(officer_acts.c.under_way == request)).first()


def list_by_request(conn: Connection, request: int) -> Sequence[Row[Any]]:
    """Return the acts about a request, oldest first."""
    found = select(officer_acts).where(officer_acts.c.request_id == request)
    return conn.execute(found.order_by(officer_acts.c.id)).all()


def count_by_request(conn: Connection, request: int) -> int:
    """Return how many acts about a request there are, in whatever state."""
    found = select(func.count()).select_from(officer_acts).where(officer_acts.c.request_id == request)
    return int(conn.execute(found).scalar_one())


def build_decided_condition(request: ColumnElement[int] | int) -> Exists:
    """Return the condition that officers at the console have decided an application, or a part of it."""
    return exists().where(
        officer_acts.c.request_id == request,
        officer_acts.c.state == "PERFORMED",
        officer_acts.c.kind.in_(_DECIDING),
    )


def list_intended(conn: Connection, limit: int = 100) -> Sequence[Row[Any]]:
    """Return acts that are intended and not performed yet."""
    # `under_way` has a value for few acts only, and its order is that of its index.
    waiting = (officer_acts.c.under_way > 0, officer_acts.c.state == "INTENDED")
    found = select(officer_acts).where(*waiting)
    return conn.execute(found.order_by(officer_acts.c.under_way).limit(limit)).all()
