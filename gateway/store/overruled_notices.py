"""The mark of notices that another notice overruled when they came, and the pairs issued at one time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final, Protocol

from sqlalchemy import Connection, and_, bindparam, exists, func, not_, select, update

from gateway.store.agency_requests import agency_requests
from gateway.store.decisions import COUNTING, decisions
from gateway.store.notices import notices
from gateway.store.transitions import record_events

#: The state of the event of a notice that is overruled; that of its other event is its status code.
OVERRULED: Final = "OVERRULED"


class SupersedingDecisionRow(Protocol):
    """What supersedes one decision of a notice: a notice, and when it was issued; None if nothing does."""

    notice_no: str | None
    issued_at: datetime | None


_successors = decisions.alias("successors")
_SUPERSEDING: Final = (
    select(_successors.c.notice_no, _successors.c.issued_at)
    .select_from(decisions.outerjoin(_successors, _successors.c.id == decisions.c.superseded_by))
    .where(decisions.c.request_id == bindparam("wanted"), decisions.c.notice_no == bindparam("notice"))
    .order_by(decisions.c.id)
)
_later_notices = notices.alias("later_notices")
#: A notice that its agency has not followed by another one with an effect.
_IS_OVERRULED: Final = and_(
    notices.c.overruled_by.is_not(None),
    not_(
        exists().where(
            _later_notices.c.request_id == notices.c.request_id,
            _later_notices.c.id > notices.c.id,
            _later_notices.c.overruled_by.is_(None),
        )
    ),
)
#: Of a request: the notices that were overruled, and of which a decision counts now.
_REVIVED: Final = and_(
    notices.c.request_id == bindparam("wanted"),
    notices.c.overruled_by.is_not(None),
    exists().where(
        decisions.c.request_id == notices.c.request_id,
        decisions.c.notice_no == notices.c.number,
        decisions.c.superseded_by.is_(None),
    ),
)
_FORGET_OVERRULING: Final = (
    update(notices).where(_REVIVED).values(overruled_by=None).returning(notices.c.number)
)
_RECEPTION: Final = select(notices.c.overruled_by, notices.c.stated_at, notices.c.issued_at).where(
    notices.c.agency == bindparam("wanted"), notices.c.number == bindparam("notice")
)


def list_superseding(conn: Connection, request: int, notice_number: str) -> Sequence[SupersedingDecisionRow]:
    """Return for each decision of a notice on a request which notice has the decision that supersedes it."""
    return conn.execute(_SUPERSEDING, {"wanted": request, "notice": notice_number}).all()


def mark_overruled(conn: Connection, notice_id: int, overruled_by: str, at: datetime) -> None:
    """Store, with an event, that a notice (row id) has no effect: the notice `overruled_by` counts."""
    conn.execute(update(notices).where(notices.c.id == notice_id).values(overruled_by=overruled_by))
    record_events(conn, "notice", [(notice_id, OVERRULED)], at)


def forget_overruling(conn: Connection, request: int) -> list[str]:
    """Remove the mark of notices about a request (row id) that count now, by other places in their day.

    Return their numbers.
    """
    return sorted(conn.execute(_FORGET_OVERRULING, {"wanted": request}).scalars())


class NoticeReceptionRow(Protocol):
    """What a notice met when it came: the notice that counted instead, or a clock that it was ahead of.

    With a time that it stated (`stated_at`) it counts from another (`issued_at`).
    """

    overruled_by: str | None
    stated_at: datetime | None
    issued_at: datetime


def find_reception(conn: Connection, agency: str, notice_number: str) -> NoticeReceptionRow | None:
    """Return what a notice met when it came; None for one that is not stored."""
    return conn.execute(_RECEPTION, {"wanted": agency, "notice": notice_number}).first()


class OverruledNoticeRow(Protocol):
    """A notice that was overruled when it came, with the number of its application."""

    agency: str
    application: str
    number: str
    overruled_by: str | None
    received_at: datetime


def list_overruled(conn: Connection, since: datetime, limit: int) -> Sequence[OverruledNoticeRow]:
    """Return the overruled notices received since a time that no other has followed, the latest first."""
    query = (
        select(
            notices.c.agency,
            agency_requests.c.number.label("application"),
            notices.c.number,
            notices.c.overruled_by,
            notices.c.received_at,
        )
        .join(agency_requests, agency_requests.c.id == notices.c.request_id)
        .where(_IS_OVERRULED, notices.c.received_at >= since)
        .order_by(notices.c.received_at.desc(), notices.c.id.desc())
    )
    return conn.execute(query.limit(limit)).all()


def count_overruled(conn: Connection, since: datetime) -> int:
    """Return how many notices received since a time were overruled."""
    query = select(func.count()).select_from(notices)
    query = query.where(_IS_OVERRULED, notices.c.received_at >= since)
    return int(conn.execute(query).scalar_one())


class AheadNoticesRow(Protocol):
    """The last notice of an agency that stated a time ahead of the clock."""

    agency: str
    number: str
    stated_at: datetime | None
    issued_at: datetime


def list_ahead(conn: Connection, since: datetime) -> Sequence[AheadNoticesRow]:
    """Return the last notice of each agency, received since a time, that was ahead of the clock."""
    n = notices.c
    is_ahead = n.stated_at.is_not(None), n.received_at >= since
    last = select(func.max(n.id)).where(*is_ahead).group_by(n.agency)
    query = select(n.agency, n.number, n.stated_at, n.issued_at).where(n.id.in_(last)).order_by(n.agency)
    return conn.execute(query).all()


class SimultaneousDecisionsRow(Protocol):
    """Two decisions about one item and law, issued at one time; the one of `counting_notice` counts."""

    agency: str
    application: str
    item: int
    law: str
    issued_at: datetime
    superseded_notice: str
    counting_notice: str


def list_simultaneous_decisions(conn: Connection) -> Sequence[SimultaneousDecisionsRow]:
    """Return each superseded decision that was issued at the time of the one that supersedes it."""
    query = (
        select(
            decisions.c.agency,
            agency_requests.c.number.label("application"),
            decisions.c.item,
            decisions.c.law,
            decisions.c.issued_at,
            decisions.c.notice_no.label("superseded_notice"),
            _successors.c.notice_no.label("counting_notice"),
        )
        .select_from(
            decisions.join(_successors, _successors.c.id == decisions.c.superseded_by).join(
                agency_requests, agency_requests.c.id == decisions.c.request_id
            )
        )
        .where(_successors.c.issued_at == decisions.c.issued_at, COUNTING)
        .order_by(agency_requests.c.id, decisions.c.id)
    )
    return conn.execute(query).all()
