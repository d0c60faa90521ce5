"""Stores every decision of an agency; for each (item, law) of a request the latest one counts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

from sqlalchemy import Connection, Row, and_, bindparam, or_, select, update

from gateway.errors import DECISION_CONFLICT, GatewayError
from gateway.store.prepared_statements import InsertIfAbsent
from gateway.store.row_values import collect_values
from gateway.store.tables import agency_requests, decisions
from gateway.store.transaction_reads import read_once

__all__ = [
    "COUNTING",
    "NewDecision",
    "insert_decisions",
    "list_all_by_request",
    "list_by_case",
    "list_by_notice",
    "list_by_request",
    "list_current_decisions",
    "list_numbers_of_case",
    "outdate_items",
]

_INSERT = InsertIfAbsent(decisions, ("agency", "notice_no", "item", "law"), "id")
_SUPERSEDE = (
    update(decisions).where(decisions.c.id == bindparam("old")).values(superseded_by=bindparam("new"))
)
#: Of decisions joined with their requests: those on what has been amended or removed since do not count.
COUNTING: Final = and_(
    or_(agency_requests.c.outdated_decision.is_(None), decisions.c.id > agency_requests.c.outdated_decision),
    decisions.c.outdated_at.is_(None),
)
_OF_REQUEST = (
    select(decisions)
    .join(agency_requests)
    .where(decisions.c.request_id == bindparam("wanted"), COUNTING)
    .order_by(decisions.c.id)
)
_OF_CASE = (
    select(decisions).join(agency_requests).where(agency_requests.c.case_id == bindparam("wanted"), COUNTING)
)
_IN_ORDER = _OF_CASE.order_by(decisions.c.id)
_CURRENT = _OF_CASE.where(decisions.c.superseded_by.is_(None)).order_by(decisions.c.item, decisions.c.law)
#: What changes which decisions count: a write of their table, or of that column of their requests.
_COUNTED_BY: Final = (decisions.name, "outdated_decision")
# These columns must be the same when an agency repeats a notice.
_SAID = ("request_id", "issued_at", "decision", "number", "date", "quantity", "unit", "conditions")


@dataclass(frozen=True, slots=True)
class NewDecision:
    """One decision of a notice: its item, law, and content."""

    request_id: int
    agency: str
    notice_no: str
    item: int
    law: str
    issued_at: datetime
    decision: str
    number: str | None = None
    date: date | None = None
    quantity: str | None = None
    unit: str | None = None
    conditions: Sequence[str] = ()


def insert_decisions(
    conn: Connection, new: Sequence[NewDecision], at: datetime, *, case_id: int | None = None
) -> tuple[int, ...]:
    """Store the new decisions and return their ids; the case must be locked, `case_id` where it is known.

    An agency may repeat a notice. Raises GW702 when it repeats the number with other content.
    """
    stored = tuple(_insert_decision(conn, decision, at) for decision in new)
    for request in dict.fromkeys(decision.request_id for decision in new):
        _mark_superseded(conn, request, case_id)
    return tuple(row for row in stored if row is not None)


def _insert_decision(conn: Connection, new: NewDecision, at: datetime) -> int | None:
    values = collect_values(new) | {"conditions": list(new.conditions)}
    row = _INSERT.insert_one(conn, values | {"received_at": at})
    if row is not None:
        return int(row.id)
    first = conn.execute(
        select(decisions).where(
            decisions.c.agency == new.agency,
            decisions.c.notice_no == new.notice_no,
            decisions.c.item == new.item,
            decisions.c.law == new.law,
        )
    ).one()
    if any(getattr(first, name) != values[name] for name in _SAID):
        raise GatewayError(
            DECISION_CONFLICT,
            f"notice {new.notice_no[:40]} was received before with another decision",
            f"item {new.item}, law {new.law[:40]}",
        )
    return None


def _mark_superseded(conn: Connection, request: int, case_id: int | None) -> None:
    groups = defaultdict(list)
    for row in list_by_request(conn, request, case_id):
        groups[row.item, row.law].append(row)
    changes = []
    for rows in groups.values():
        latest = max(rows, key=lambda row: (row.issued_at, row.notice_no)).id
        wanted = [(row, None if row.id == latest else latest) for row in rows]
        changes += [{"old": row.id, "new": new} for row, new in wanted if row.superseded_by != new]
    if changes:
        conn.execute(_SUPERSEDE, changes)


def list_by_request(conn: Connection, request: int, case_id: int | None = None) -> Sequence[Row[Any]]:
    """Return every decision on a request as it was amended last, in the order received.

    With `case_id`, its case, all decisions of the case are read: whoever asks for them next has them.
    """
    if case_id is not None:
        return [row for row in list_by_case(conn, case_id) if row.request_id == request]

    def read() -> Sequence[Row[Any]]:
        return conn.execute(_OF_REQUEST, {"wanted": request}).all()

    return read_once(conn, _COUNTED_BY, ("decisions on a request", request), read)


def list_by_case(conn: Connection, case_id: int) -> Sequence[Row[Any]]:
    """Return every decision of a case as it was amended last, superseded ones too, in the order received."""

    def read() -> Sequence[Row[Any]]:
        return conn.execute(_IN_ORDER, {"wanted": case_id}).all()

    return read_once(conn, _COUNTED_BY, ("decisions on a case", case_id), read)


def list_by_notice(conn: Connection, request: int, notice: str) -> Sequence[Row[Any]]:
    """Return every decision of a notice (its number) on a request, those that do not count too."""
    said = (decisions.c.request_id == request, decisions.c.notice_no == notice)
    return conn.execute(select(decisions).where(*said).order_by(decisions.c.id)).all()


def list_all_by_request(conn: Connection, request: int) -> Sequence[Row[Any]]:
    """Return every decision on a request in the order received, those that do not count too."""
    about = select(decisions).where(decisions.c.request_id == request)
    return conn.execute(about.order_by(decisions.c.id)).all()


def list_numbers_of_case(conn: Connection, case_id: int) -> set[str]:
    """Return the numbers that the decisions of a case state, those that do not count too."""
    about = agency_requests.c.case_id == case_id, decisions.c.number.is_not(None)
    return set(conn.execute(select(decisions.c.number).join(agency_requests).where(*about)).scalars())


def list_current_decisions(conn: Connection, case_id: int) -> Sequence[Row[Any]]:
    """Return the current decisions of a case."""
    return conn.execute(_CURRENT, {"wanted": case_id}).all()


def outdate_items(conn: Connection, request: int, items: Collection[int], at: datetime) -> None:
    """Let no decision of a request on these items count any more: an amendment has changed them."""
    about = (decisions.c.request_id == request, decisions.c.item.in_(sorted(items)))
    counting = decisions.c.outdated_at.is_(None)
    conn.execute(update(decisions).where(*about, counting).values(outdated_at=at))
