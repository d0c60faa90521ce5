"""Creates the tables of events and webhooks; what happened before has no events."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gateway.store.tables import Instant

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables, empty."""
    _create_events()
    _create_readers()
    _create_webhooks()


def _create_events() -> None:
    subjects = "subject_type IN ('case', 'request', 'notice', 'message')"
    op.create_table(
        "events",
        _identity(),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("subject_type", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(subjects, name=op.f("ck_events_subject_type")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
        sa.UniqueConstraint("sequence", name=op.f("uq_events_sequence")),
    )


def _create_readers() -> None:
    op.create_table(
        "event_readers",
        sa.Column("party", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("case_id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("party", "sequence", name=op.f("pk_event_readers")),
        sqlite_with_rowid=False,
    )


def _create_webhooks() -> None:
    op.create_table(
        "webhooks",
        _identity(),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("party_id", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("failing_since", Instant(), nullable=True),
        sa.Column("last_good_at", Instant(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.CheckConstraint("state IN ('ACTIVE', 'OFF', 'DELETED')", name=op.f("ck_webhooks_state")),
        sa.ForeignKeyConstraint(["party_id"], ["parties.id"], name=op.f("fk_webhooks_party_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhooks")),
        sa.UniqueConstraint("name", name=op.f("uq_webhooks_name")),
    )
    op.create_index("ix_webhooks_party_id", "webhooks", ["party_id"])


def _identity() -> sa.Column[int]:
    return sa.Column(
        "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), sa.Identity(), nullable=False
    )
