"""Warnings about notices that have no effect, that are ahead of the clock, or whose order has changed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection

from gateway.notice_order import order_number
from gateway.operations.plain_values import format_count
from gateway.store import overruled_notices

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
        minutes = int((now - row.received_at).total_seconds() // 60)
        age = f"{minutes // 60} h" if minutes >= 60 else f"{minutes} min"
        yield (
            f"notice {row.number[:_MAX_NAME]} of {row.agency[:_MAX_NAME]} about application "
            f"{row.application} came {age} ago and had no effect: notice "
            f"{(row.overruled_by or '')[:_MAX_NAME]} counted already (if it was meant to count, the agency "
            "sends SubmitDecision under a new number with a later IssuedAt)"
        )
    if len(rows) == _MAX_NAMED:
        unnamed = overruled_notices.count_overruled(conn, since) - _MAX_NAMED
        if unnamed > 0:
            yield f"{format_count(unnamed, 'more notice')} of the last 7 days without effect"


def find_ahead_notices(conn: Connection, now: datetime) -> Iterator[str]:
    """Yield a warning for each agency whose notices of the last days stated times ahead of the clock."""
    for row in overruled_notices.list_ahead(conn, now - _NAMED_FOR):
        assert row.stated_at is not None
        minutes = int((row.stated_at - row.issued_at).total_seconds() // 60)
        yield (
            f"notices of {row.agency[:_MAX_NAME]} state times ahead of the clock, and count from their "
            f"receipt; the last one, {row.number[:_MAX_NAME]}, by {minutes // 60} h {minutes % 60} min (a "
            "clock is wrong, or a local time is marked as UTC)"
        )


def find_unclear_orders(conn: Connection) -> Iterator[str]:
    """Yield a warning for each two notices issued at one time whose order has changed.

    An earlier version compared their numbers as text.
    """
    warnings = list(dict.fromkeys(_list_unclear_decisions(conn)))
    yield from warnings[:_MAX_NAMED]
    if len(warnings) > _MAX_NAMED:
        yield f"{format_count(len(warnings) - _MAX_NAMED, 'more pair')} of notices issued at one time"


def _list_unclear_decisions(conn: Connection) -> Iterator[str]:
    """Yield a warning for each decision that counts though another one has the higher number."""
    for row in overruled_notices.list_simultaneous_decisions(conn):
        if order_number(row.counting_notice) < order_number(row.superseded_notice):
            told_notice, counting_notice = row.counting_notice[:_MAX_NAME], row.superseded_notice[:_MAX_NAME]
            yield (
                f"{row.agency[:_MAX_NAME]}, application {row.application}: notices {told_notice} and "
                f"{counting_notice} were issued at one time; {told_notice} was told as in force, and by the "
                f"number {counting_notice} counts ({_REMEDY})"
            )
