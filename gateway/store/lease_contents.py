"""What a claim reads with each delivery, so that its agent asks for nothing before it begins.

The octets to be sent, and whether an application rests at the console, come with the lease itself: the
claiming statement returns them. Octets that are long are read by the agent.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import BigInteger, ColumnElement, FromClause, Text, and_, case, cast, exists, select

from gateway.store.console_mailbox import build_rest_condition
from gateway.store.officer_tables import console_switches
from gateway.store.tables import payloads

__all__ = [
    "CONTENT",
    "build_content_column",
    "build_rest_column",
    "build_switch_column",
    "join_content",
]

#: Octets above this size are read by the agent itself: a claim takes several deliveries at once.
_LARGEST: Final = 256 * 1024

#: The octets of a payload, for the list of columns.
CONTENT: Final = payloads.c.content


def join_content(claimed: FromClause) -> FromClause:
    """Return the claimed deliveries with their payloads, where these are kept and not long."""
    return claimed.outerjoin(payloads, _build_content_condition(claimed))


def build_content_column(claimed: FromClause) -> ColumnElement[Any]:
    """Return the column with the octets of a claimed delivery itself, where these are kept and not long."""
    return select(CONTENT).where(_build_content_condition(claimed)).scalar_subquery().label("content")


def _build_content_condition(claimed: FromClause) -> ColumnElement[bool]:
    same = payloads.c.sha256 == _read_text(claimed.c.payload_sha256)
    return and_(same, payloads.c.purged_at.is_(None), payloads.c.size <= _LARGEST)


def _read_text(column: ColumnElement[Any]) -> ColumnElement[str]:
    """Return a column as text: SQLite has no type for what an UPDATE returns, and would use no index."""
    return cast(column, Text)


def build_rest_column(claimed: FromClause) -> ColumnElement[Any]:
    """Return the column that says whether the application of a delivery stays at the console."""
    # Only the subject of a request is a number; CASE lets no other one be read as a number.
    number = cast(claimed.c.subject_id, BigInteger)
    rests = build_rest_condition(number)
    return case((claimed.c.subject_type == "request", rests), else_=False).label("rests")


def build_switch_column(claimed: FromClause) -> ColumnElement[Any]:
    """Return the column that says whether the agency of a delivery is switched to the console."""
    return exists().where(console_switches.c.agency == _read_text(claimed.c.destination)).label("switched")
