"""Stores what lists show of an application: applicant, goods and laws, as the agency was sent them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, select

from gateway.store.prepared_statements import InsertIfAbsent
from gateway.store.tables import agency_requests
from gateway.store.work_tables import application_summaries

__all__ = ["NewSummary", "find_summary", "list_unread_requests", "store_summaries"]

_INSERT = InsertIfAbsent(application_summaries, ("request_id",))
_REMOVE = delete(application_summaries).where(application_summaries.c.request_id == bindparam("wanted"))


@dataclass(frozen=True, slots=True)
class NewSummary:
    """The summary of one application; `document_sha256` is the digest of the call that was read.

    `item_count` is the number of its items, `hs` and `goods` are those of the first one.
    """

    request_id: int
    agency: str
    document_sha256: str
    applicant: str = ""
    applicant_id: str = ""
    goods: str = ""
    hs: str = ""
    laws: str = ""
    item_count: int = 0


def store_summaries(conn: Connection, summaries: Sequence[NewSummary]) -> None:
    """Store summaries; each replaces an older one of its application."""
    if not summaries:
        return
    conn.execute(_REMOVE, [{"wanted": one.request_id} for one in summaries])
    _INSERT.insert_many(conn, [asdict(one) | {"heading": one.hs[:4]} for one in summaries])


def find_summary(conn: Connection, request: int) -> Row[Any] | None:
    """Return the summary of an application; None when its call has not been read."""
    found = select(application_summaries).where(application_summaries.c.request_id == request)
    return conn.execute(found).first()


def list_unread_requests(conn: Connection, requests: Sequence[int]) -> Sequence[Row[Any]]:
    """Return those of these requests without a summary, or with that of an earlier call."""
    r, s = agency_requests.c, application_summaries.c
    found = (
        select(agency_requests)
        .outerjoin(application_summaries, s.request_id == r.id)
        .where(r.id.in_(requests), s.document_sha256.is_distinct_from(r.document_sha256))
    )
    return conn.execute(found).all()
