"""Gives the notices of a request their places: from when those ahead of the clock count, and in their day.

The rules are in `gateway.cases.ahead_notices` and `gateway.cases.day_notices`; a notice of a day alone may
get another place whenever another notice comes. A place is stored as the time of issue of the notice and of
its decisions, so all that follows compares times alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection

from gateway.cases import (
    AheadNotice,
    DatedNotice,
    Decision,
    Notice,
    StatusCode,
    check_place,
    describe_decisions,
    find_count_time,
    is_ahead,
    place_notices,
)
from gateway.hub.completion.count_times import log_ahead_notice
from gateway.hub.completion.standing_demands import read_stored_decision
from gateway.store import (
    DecisionWithTextRow,
    NoticeRow,
    NoticeSummary,
    OpenRequestRow,
    StoredNotice,
    decisions,
    notices,
)


def find_notice_time(conn: Connection, request: OpenRequestRow, notice: Notice, now: datetime) -> datetime:
    """Return from when a notice about a request counts that is received at `now`."""
    if notice.counts_at is not None:
        return notice.counts_at
    if notice.states_day or not is_ahead(notice.issued_at, now):
        return find_count_time(notice.issued_at, now)
    ahead_notices = list_ahead_notices(notices.list_by_request(conn, request.id))
    return find_count_time(notice.issued_at, now, ahead_notices)


def list_ahead_notices(summaries: Iterable[NoticeSummary | NoticeRow]) -> list[AheadNotice]:
    """Return those of stored notices that count from another time than they state."""
    return [
        AheadNotice(summary.stated_at, summary.issued_at)
        for summary in summaries
        if summary.stated_at is not None
    ]


def place_new_notice(
    conn: Connection,
    request: OpenRequestRow,
    notice: Notice,
    stored_notice: StoredNotice,
    codes: Mapping[str, StatusCode],
    counts_at: datetime,
) -> StoredNotice:
    """Place a notice that was stored now and counts from `counts_at`; move those of a day alone beside it.

    `request` is the request of a locked case, `codes` are its status codes; the decisions of the notice are
    not stored yet. Return the notices as they are stored then. Raises GW719 for a notice of a day alone if
    nothing says whether it comes after the one in force.
    """
    if counts_at != notice.issued_at:
        log_ahead_notice(request.agency, notice.number, notice.issued_at)
        notices.place_notices(conn, {stored_notice.id: counts_at})
        stored_notice = _move_summaries(stored_notice, {stored_notice.id: counts_at})
    summaries = stored_notice.request_notices
    if not any(summary.day_begins_at for summary in summaries):
        return stored_notice
    all_rows = decisions.list_all_by_request(conn, request.id)
    counting = {row.id for row in decisions.list_by_request(conn, request.id)}
    new_decisions = {stored_notice.id: notice.decisions}
    dated = list_dated_notices(summaries, group_decisions(summaries, all_rows) | new_decisions, codes)
    counting_decisions = group_decisions(summaries, (row for row in all_rows if row.id in counting))
    counting_notices = list_dated_notices(summaries, counting_decisions | new_decisions, codes)
    check_place(
        next(dated_notice for dated_notice in dated if dated_notice.stored == stored_notice.id),
        counting_notices,
    )
    places = place_notices(dated)
    moved = [summary for summary in summaries if places[summary.id] != summary.issued_at]
    if not moved:
        return stored_notice
    notices.place_notices(conn, {summary.id: places[summary.id] for summary in moved})
    decisions.place_decisions(conn, request.agency, {summary.number: places[summary.id] for summary in moved})
    return _move_summaries(stored_notice, places)


def _move_summaries(stored_notice: StoredNotice, places: Mapping[int, datetime]) -> StoredNotice:
    """Return a stored notice with these places of the notices about its request, by their row ids."""
    moved = [
        summary._replace(issued_at=places.get(summary.id, summary.issued_at))
        for summary in stored_notice.request_notices
    ]
    return replace(stored_notice, request_notices=moved)


def list_reviving_notices(
    conn: Connection, request: int, former_rows: Iterable[DecisionWithTextRow], notice_number: str
) -> set[str]:
    """Return the numbers of earlier notices about a request (row id) that are in force again or anew.

    `former_rows` are its decisions as they were before the notice `notice_number` was stored, which has moved
    others by what it says of a certificate.
    """
    former = {row.notice_no for row in former_rows if row.superseded_by is None}
    in_force = {row.notice_no for row in decisions.list_by_request(conn, request) if not row.superseded_by}
    return in_force - former - {notice_number}


def group_decisions(
    summaries: Iterable[NoticeSummary], rows: Iterable[DecisionWithTextRow]
) -> dict[int, tuple[Decision, ...]]:
    """Return the decisions of stored notices by the row ids of the notices."""
    by_number: dict[str, list[Decision]] = defaultdict(list)
    for row in rows:
        by_number[row.notice_no].append(read_stored_decision(row))
    return {summary.id: tuple(by_number.get(summary.number, ())) for summary in summaries}


def list_dated_notices(
    summaries: Sequence[NoticeSummary],
    decisions_by_notice: Mapping[int, tuple[Decision, ...]],
    codes: Mapping[str, StatusCode],
) -> list[DatedNotice]:
    """Return notices, with their decisions by their row ids, as their places in a day depend on them."""
    dated = []
    for summary in summaries:
        code = codes.get(summary.status_code)
        notice_decisions = decisions_by_notice[summary.id]
        dated.append(
            DatedNotice(
                stored=summary.id,
                number=summary.number,
                issued_at=summary.day_begins_at or summary.issued_at,
                received_at=summary.received_at,
                states_day=summary.day_begins_at is not None,
                rejections=describe_decisions(notice_decisions),
                certificates=frozenset([decision.number for decision in notice_decisions if decision.number]),
                follows=code is not None and code.follows_issue,
            )
        )
    return dated
