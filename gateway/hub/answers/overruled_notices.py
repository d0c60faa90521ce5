"""Finds a notice that has no effect when it comes, because another notice of its agency counts.

The input is a new notice in the transaction of its arrival, with its decisions stored and its case locked. Of
such a notice the number of the notice that counts is stored with it, and its agency, its applicant and the
operator can read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from sqlalchemy import Connection

from gateway.cases import DEMANDED_STATES, NoticeIssue, StatusCode
from gateway.hub.completion.standing_demands import find_replacing_notice
from gateway.store import AgencyRequestRow, StoredNotice, overruled_notices

#: The events of status codes that have no effect beside the decisions of their notice.
_DECIDING_EVENTS: Final = frozenset({"acknowledge", "decide"})


def record_overruling(
    conn: Connection,
    request: AgencyRequestRow,
    stored_notice: StoredNotice,
    code: StatusCode,
    status_codes: Mapping[str, StatusCode],
    now: datetime,
) -> str | None:
    """Store that a new notice with the status `code` is overruled; return the number that counts.

    None for a notice that has an effect: it decides something, or what it demands is open. A notice about a
    fee is never overruled, as it has an effect on its own fee, and so has one about a cancellation or the end
    of an inspection.
    """
    # The last notice about a request is overruled by none, which is nearly always so.
    if stored_notice.is_latest or code.fee_step:
        return None
    overruling = _find_overruling(conn, request, stored_notice, code, status_codes)
    if overruling is None:
        return None
    overruled_notices.mark_overruled(conn, stored_notice.id, overruling.number, now)
    return overruling.number


def _find_overruling(
    conn: Connection,
    request: AgencyRequestRow,
    stored_notice: StoredNotice,
    code: StatusCode,
    status_codes: Mapping[str, StatusCode],
) -> NoticeIssue | None:
    """Return the notice that counts instead of all that a stored notice decides and demands; else None."""
    number = next(each.number for each in stored_notice.request_notices if each.id == stored_notice.id)
    successors = [
        None if row.notice_no is None or row.issued_at is None else NoticeIssue(row.issued_at, row.notice_no)
        for row in overruled_notices.list_superseding(conn, request.id, number)
    ]
    if code.event in DEMANDED_STATES:
        successors.append(find_replacing_notice(stored_notice, status_codes))
    elif code.event not in _DECIDING_EVENTS:
        return None
    counting = [successor for successor in successors if successor is not None]
    if not counting or len(counting) < len(successors):
        return None
    return max(counting, key=lambda successor: successor.order)
