"""Gives the results about a requirement that state a day alone their places in it.

As `gateway.hub.answers.placed_notices` does for the notices of an application: all results of one requirement
are about one certificate.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import Connection

from gateway.cases import DatedNotice, StatusCode, check_place, describe_decisions, place_notices
from gateway.hub.completion.standing_demands import read_stored_decision
from gateway.store import ResultOfRequirementRow, requirement_results

DAY_KEY = "day_begins_at"
STATED_KEY = "stated_at"
DIRECTION_KEY = "direction"


def read_day(row: ResultOfRequirementRow) -> datetime | None:
    """Return when the day begins that the notice of a result states without a time; None with a time."""
    day_begins_at = (row.said or {}).get(DAY_KEY)
    # bounded: a time that the hub wrote
    return None if day_begins_at is None else datetime.fromisoformat(day_begins_at)


def read_stated_time(row: ResultOfRequirementRow) -> datetime | None:
    """Return the time that the notice of a result states, if it counts from another one; else None."""
    stated_at = (row.said or {}).get(STATED_KEY)
    # bounded: a time that the hub wrote
    return None if stated_at is None else datetime.fromisoformat(stated_at)


def list_placed_results(
    conn: Connection, requirement: int, notice_number: str, codes: Mapping[str, StatusCode]
) -> Sequence[ResultOfRequirementRow]:
    """Place the results of a locked requirement (row id) that state a day alone; return all of them.

    `notice_number` is the number of the notice that was stored now, `codes` are the status codes in force.
    Raises GW719 for a notice of a day alone if nothing says whether it comes after the one in force.
    """
    rows = requirement_results.list_results(conn, [requirement])
    if not any(read_day(row) for row in rows):
        return rows
    by_notice: dict[str, list[ResultOfRequirementRow]] = defaultdict(list)
    for row in rows:
        by_notice[row.notice_no].append(row)
    dated = {number: _make_dated_notice(notice_rows, codes) for number, notice_rows in by_notice.items()}
    check_place(dated[notice_number], list(dated.values()))
    places = place_notices(list(dated.values()))
    moved = {
        number: places[dated[number].stored]
        for number, notice_rows in by_notice.items()
        if places[dated[number].stored] != notice_rows[0].issued_at
    }
    if not moved:
        return rows
    requirement_results.place_results(conn, requirement, moved)
    return requirement_results.list_results(conn, [requirement])


def _make_dated_notice(
    rows: Sequence[ResultOfRequirementRow], codes: Mapping[str, StatusCode]
) -> DatedNotice:
    first = rows[0]
    code, day_begins_at = codes.get(first.status_code), read_day(first)
    return DatedNotice(
        stored=first.id,
        number=first.notice_no,
        issued_at=day_begins_at or first.issued_at,
        received_at=first.received_at,
        states_day=day_begins_at is not None,
        rejections=describe_decisions([read_stored_decision(row) for row in rows]),
        certificates=frozenset([first.number]),
        follows=code is not None and code.follows_issue,
    )
