"""Warnings about notices that have no effect, and about pairs issued at one time whose order has changed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection

from gateway.notice_order import order_number
from gateway.operations.plain_values import format_count
from gateway.store import SimultaneousResultRow, overruled_notices

#: How long a notice that was overruled when it came is named.
_NAMED_FOR: Final = timedelta(days=7)
#: The most notices, or pairs of them, that are named one by one.
_MAX_NAMED: Final = 20
_MAX_NAME: Final = 40
_REMEDY: Final = "ask the agency which of the two holds; a notice with a later time settles it"


def find_overruled_notices(conn: Connection, now: datetime) -> Iterator[str]:
    """Yield a warning for each notice of the last days that had no effect when it came, the latest first."""
    since = now - _NAMED_FOR
    rows = overruled_notices.list_overruled(conn, since, _MAX_NAMED)
    for row in rows:
        hours = (now - row.received_at).total_seconds() / 3600
        yield (
            f"notice {row.number[:_MAX_NAME]} of {row.agency[:_MAX_NAME]} about application "
            f"{row.application} came {hours:.0f} h ago and had no effect: notice "
            f"{row.overruled_by[:_MAX_NAME]} counted already (if it was meant to count, the agency sends it "
            "again under a new number with a later IssuedAt)"
        )
    if len(rows) == _MAX_NAMED:
        unnamed = overruled_notices.count_overruled(conn, since) - _MAX_NAMED
        if unnamed > 0:
            yield f"{format_count(unnamed, 'more notice')} of the last 7 days had no effect when they came"


def find_unclear_orders(conn: Connection) -> Iterator[str]:
    """Yield a warning for each two notices issued at one time whose order has changed.

    An earlier version compared their numbers as text.
    """
    warnings = list(dict.fromkeys([*_list_unclear_decisions(conn), *_list_unclear_results(conn)]))
    yield from warnings[:_MAX_NAMED]
    if len(warnings) > _MAX_NAMED:
        yield f"{format_count(len(warnings) - _MAX_NAMED, 'more pair')} of notices are issued at one time"


def _list_unclear_decisions(conn: Connection) -> Iterator[str]:
    """Yield a warning for each decision that counts though another one has the higher number."""
    for row in overruled_notices.list_simultaneous_decisions(conn):
        if order_number(row.counting_notice) < order_number(row.superseded_notice):
            yield _describe_pair(
                row.agency, f"application {row.application}", row.counting_notice, row.superseded_notice
            )


def _list_unclear_results(conn: Connection) -> Iterator[str]:
    """Yield a warning for each number of which another result counted by the text of the notice number."""
    groups: dict[tuple[object, ...], list[SimultaneousResultRow]] = defaultdict(list)
    for row in overruled_notices.list_simultaneous_results(conn):
        groups[row.agency, row.requirement, row.item, row.law, row.issued_at].append(row)
    for rows in groups.values():
        text_last = max(rows, key=lambda row: row.notice_no)
        counting = max(rows, key=lambda row: order_number(row.notice_no))
        if order_number(text_last.notice_no) < order_number(counting.notice_no):
            subject = f"number {text_last.requirement[:_MAX_NAME]}"
            # No mark is stored which of two results counted.
            remark = " if both came before this version"
            yield _describe_pair(text_last.agency, subject, text_last.notice_no, counting.notice_no, remark)


def _describe_pair(
    agency: str, subject: str, told_notice: str, counting_notice: str, remark: str = ""
) -> str:
    return (
        f"{agency[:_MAX_NAME]}, {subject}: notices {told_notice[:_MAX_NAME]} and "
        f"{counting_notice[:_MAX_NAME]} were issued at one time; {told_notice[:_MAX_NAME]} was told as in "
        f"force{remark}, and by the number {counting_notice[:_MAX_NAME]} counts ({_REMEDY})"
    )
