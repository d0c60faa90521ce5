"""Adds deadlines of cases, and the calendars and terms that operators load."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gateway.store.column_types import Instant

revision = "0060"
down_revision = "0059"
branch_labels = None
depends_on = None

_LIVE = sa.text("ended_at IS NULL")
_WAITING = sa.text("next_at IS NOT NULL")


def _make_key() -> sa.Column[int]:
    kind = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    return sa.Column("id", kind, sa.Identity(), primary_key=True)


def upgrade() -> None:
    """Add both tables, empty: cases that are open get their deadlines with their next step."""
    _create_deadlines()
    op.create_table(
        "calendar_editions",
        _make_key(),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("edition", sa.Text, nullable=False),
        sa.Column("valid_from", sa.Text, nullable=False),
        sa.Column("valid_until", sa.Text),
        sa.Column("row_count", sa.BigInteger, nullable=False),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
        sa.Column("loaded_at", Instant(), nullable=False),
        sa.Column("loaded_by", sa.Text, nullable=False),
        sa.CheckConstraint("kind IN ('calendar', 'terms')", name="kind"),
        sa.UniqueConstraint("kind", "name", "edition"),
    )


def _create_deadlines() -> None:
    op.create_table(
        "deadlines",
        _make_key(),
        sa.Column("case_id", sa.BigInteger, sa.ForeignKey("cases.id"), nullable=False),
        sa.Column("request_id", sa.BigInteger, sa.ForeignKey("agency_requests.id"), nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("cause", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("started_at", Instant(), nullable=False),
        sa.Column("days", sa.Integer),
        *(sa.Column(name, Instant()) for name in ("due_at", "remind_at", "next_at", "held_at")),
        *(sa.Column(name, Instant()) for name in ("reminded_at", "overdue_at", "ended_at")),
        sa.Column("edition", sa.Text),
        sa.Column("problem", sa.Text),
        sa.CheckConstraint("kind IN ('acknowledge', 'decide', 'answer', 'pay', 'inspect')", name="kind"),
        sa.CheckConstraint(
            "state IN ('OPEN', 'HELD', 'UNKNOWN', 'OVERDUE', 'MET', 'LATE', 'CANCELLED')", name="state"
        ),
        sa.CheckConstraint("(ended_at IS NOT NULL) = (state IN ('MET', 'LATE', 'CANCELLED'))", name="ended"),
    )
    op.create_index(
        "ix_deadlines_live",
        "deadlines",
        ["case_id", "request_id", "kind"],
        unique=True,
        sqlite_where=_LIVE,
        postgresql_where=_LIVE,
    )
    op.create_index(
        "ix_deadlines_next",
        "deadlines",
        ["next_at", "id"],
        sqlite_where=_WAITING,
        postgresql_where=_WAITING,
    )
    op.create_index("ix_deadlines_case_id", "deadlines", ["case_id", "id"])
    op.create_index("ix_deadlines_state", "deadlines", ["state", "id"])
