"""What a claim reads with each delivery, so that its agent asks for nothing before it begins.

The octets to be sent, and whether an application rests at the console, come with the lease itself: the
claiming statement of PostgreSQL returns them, and on SQLite a second one reads them for all leases of a
claim. Octets that are long are read by the agent.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import BigInteger, ColumnElement, FromClause, and_, case, cast, exists

from gateway.store.officer_tables import console_mailbox, console_switches
from gateway.store.tables import payloads

__all__ = ["CONTENT", "build_rest_condition", "build_switch_condition", "join_content"]

#: Octets above this size are read by the agent itself: a claim takes several deliveries at once.
_LARGEST: Final = 256 * 1024

#: The octets of a payload, for the list of columns.
CONTENT: Final = payloads.c.content


def join_content(claimed: FromClause) -> FromClause:
    """Return the claimed deliveries with their payloads, where these are kept and not long."""
    same = payloads.c.sha256 == claimed.c.payload_sha256
    short = and_(same, payloads.c.purged_at.is_(None), payloads.c.size <= _LARGEST)
    return claimed.outerjoin(payloads, short)


def build_rest_condition(claimed: FromClause) -> ColumnElement[Any]:
    """Return the column that says whether the application of a delivery came to rest at the console."""
    # Only the subject of a request is a number; CASE lets no other one be read as a number.
    number = cast(claimed.c.subject_id, BigInteger)
    rests = exists().where(console_mailbox.c.request_id == number)
    return case((claimed.c.subject_type == "request", rests), else_=False).label("rests")


def build_switch_condition(claimed: FromClause) -> ColumnElement[Any]:
    """Return the column that says whether the agency of a delivery is switched to the console."""
    return exists().where(console_switches.c.agency == claimed.c.destination).label("switched")
