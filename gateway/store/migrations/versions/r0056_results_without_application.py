"""Creates the tables of results without an application, and of numbers that declarations wait for.

The table of events is made again, so that an event may be about a requirement: SQLite cannot change a
constraint.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gateway.store.column_types import Instant, Json

revision = "0056"
down_revision = "0051"
branch_labels = None
depends_on = None

_SUBJECTS = "subject_type IN ('case', 'request', 'notice', 'message', 'requirement')"


def upgrade() -> None:
    """Create both tables, empty, and change the constraint of events."""
    _create_results()
    _create_awaited()
    if op.get_bind().dialect.name == "postgresql":
        op.drop_constraint(op.f("ck_events_subject_type"), "events", type_="check")
        op.create_check_constraint(op.f("ck_events_subject_type"), "events", _SUBJECTS)
        return
    op.rename_table("events", "events_before")
    _create_events()
    # The columns have the same order.
    op.execute("INSERT INTO events SELECT * FROM events_before")
    op.drop_table("events_before")


def _create_events() -> None:
    op.create_table(
        "events",
        _make_identity(),
        sa.Column("at", Instant(), nullable=False),
        _make_text("subject_type"),
        sa.Column("subject_id", sa.BigInteger(), nullable=False),
        _make_text("state"),
        sa.Column("sequence", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(_SUBJECTS, name=op.f("ck_events_subject_type")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
        sa.UniqueConstraint("sequence", name=op.f("uq_events_sequence")),
    )


def _create_results() -> None:
    table = "requirement_results"
    op.create_table(
        table,
        _make_identity(),
        sa.Column("requirement_id", sa.BigInteger(), nullable=False),
        *(_make_text(name) for name in ("agency", "notice_no")),
        sa.Column("item", sa.Integer(), nullable=False),
        _make_text("law"),
        sa.Column("issued_at", Instant(), nullable=False),
        *(_make_text(name) for name in ("status_code", "decision")),
        sa.Column("date", sa.Date(), nullable=True),
        sa.Column("quantity", sa.Text(), nullable=True),
        sa.Column("unit", sa.Text(), nullable=True),
        sa.Column("conditions", Json(), nullable=False),
        _make_text("notice_sha256"),
        sa.Column("received_at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(
            ["requirement_id"], ["requirements.id"], name=op.f(f"fk_{table}_requirement_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{table}")),
        sa.UniqueConstraint("agency", "notice_no", "item", "law", name=op.f(f"uq_{table}_agency")),
    )
    op.create_index(f"ix_{table}_requirement_id", table, ["requirement_id", "id"])


def _create_awaited() -> None:
    table = "awaited_requirements"
    op.create_table(
        table,
        _make_identity(),
        sa.Column("case_id", sa.BigInteger(), nullable=False),
        _make_text("number"),
        sa.Column("item", sa.Integer(), nullable=False),
        *(_make_text(name) for name in ("pointer", "quantity", "unit")),
        sa.Column("awaited_at", Instant(), nullable=False),
        sa.Column("ended_at", Instant(), nullable=True),
        sa.Column("end_reason", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f(f"fk_{table}_case_id")),
        sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{table}")),
    )
    op.create_index(f"ix_{table}_number", table, ["number", "case_id"])
    op.create_index(f"ix_{table}_case_id", table, ["case_id", "id"])


def _make_text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=False)


def _make_identity() -> sa.Column[int]:
    return sa.Column(
        "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), sa.Identity(), nullable=False
    )
