"""The tables of deadlines, and of the calendars and terms that operators loaded."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
)

from gateway.store.column_types import Instant, Json
from gateway.store.table_types import PartialIndex, make_identity_column, make_required_column, metadata

__all__ = ["calendar_editions", "deadlines"]

_LIVE = "ended_at IS NULL"
_WAITING = "next_at IS NOT NULL"

# What somebody owes about a request, and until when. A deadline ends once; a request has one of each kind
# that has not ended, and one for each fee that is open.
deadlines = Table(
    "deadlines",
    metadata,
    make_identity_column(),
    make_required_column("case_id", BigInteger, ForeignKey("cases.id")),
    make_required_column("request_id", BigInteger, ForeignKey("agency_requests.id")),
    make_required_column("kind"),
    make_required_column("cause"),  # number of the notice that asks, or of the fee; empty for terms
    make_required_column("state"),
    make_required_column("started_at", Instant),
    Column("days", Integer),
    Column("due_at", Instant),
    Column("remind_at", Instant),
    Column("next_at", Instant),  # when the clockwork has to look at it; empty when it need not
    Column("held_at", Instant),
    Column("held", Json),  # the periods in which it did not run that its time does not have yet
    Column("reminded_at", Instant),
    Column("overdue_at", Instant),
    Column("ended_at", Instant),
    Column("edition", Text),
    Column("problem", Text),
    CheckConstraint("kind IN ('acknowledge', 'decide', 'answer', 'pay', 'inspect')", name="kind"),
    CheckConstraint(
        "state IN ('OPEN', 'HELD', 'UNKNOWN', 'OVERDUE', 'MET', 'LATE', 'CANCELLED')", name="state"
    ),
    CheckConstraint("(ended_at IS NOT NULL) = (state IN ('MET', 'LATE', 'CANCELLED'))", name="ended"),
    PartialIndex("ix_deadlines_owed", "case_id", "request_id", "kind", "cause", where=_LIVE, unique=True),
    PartialIndex("ix_deadlines_next", "next_at", "id", where=_WAITING),
    Index("ix_deadlines_case_id", "case_id", "id"),
    Index("ix_deadlines_state", "state", "id"),
)

# Calendars and terms as operators loaded them, each edition once; the shipped ones are not here.
calendar_editions = Table(
    "calendar_editions",
    metadata,
    make_identity_column(),
    make_required_column("kind"),
    make_required_column("name"),
    make_required_column("edition"),
    make_required_column("valid_from"),
    Column("valid_until", Text),
    make_required_column("row_count", BigInteger),
    make_required_column("sha256"),
    make_required_column("content", LargeBinary),
    make_required_column("loaded_at", Instant),
    make_required_column("loaded_by"),
    CheckConstraint("kind IN ('calendar', 'terms')", name="kind"),
    UniqueConstraint("kind", "name", "edition"),
)
