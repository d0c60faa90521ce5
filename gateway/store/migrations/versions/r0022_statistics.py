"""Creates the tables of the daily statistics, and the indexes by which parties list their cases."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from gateway.store.tables import Instant

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables, empty: the hub counts the past in its regular upkeep."""
    _daily_statistics()
    _counted_outcomes()
    _statistics_progress()
    op.create_index("ix_cases_declarant", "cases", ["declarant", "state", "id"])
    op.create_index("ix_cases_applicant", "cases", ["applicant", "state", "id"])


def _daily_statistics() -> None:
    key = ("party", "measure", "day", "agency", "document", "state", "outcome", "problem", "band")
    kinds: dict[str, Any] = {"day": sa.Date(), "band": sa.Integer()}
    op.create_table(
        "daily_statistics",
        *(sa.Column(name, kinds.get(name, sa.Text()), nullable=False) for name in key),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("seconds", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(*key, name=op.f("pk_daily_statistics")),
    )
    op.create_index("ix_daily_statistics_agency", "daily_statistics", ["agency", "party", "measure", "day"])


def _counted_outcomes() -> None:
    op.create_table(
        "counted_outcomes",
        sa.Column("machine", sa.Text(), nullable=False),
        sa.Column("object_id", sa.BigInteger(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("seconds", sa.BigInteger(), nullable=False),
        sa.Column("first_right", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("machine", "object_id", name=op.f("pk_counted_outcomes")),
    )


def _statistics_progress() -> None:
    op.create_table(
        "statistics_progress",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("transition", sa.BigInteger(), nullable=False),
        sa.Column("ceiling", sa.BigInteger(), nullable=False),
        sa.Column("horizon", sa.BigInteger(), nullable=False),
        sa.Column("counted_until", Instant(), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_statistics_progress")),
    )
