"""Makes the acts of officers again, so that a fee may be levied: SQLite cannot change a constraint."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gateway.store.column_types import Instant, Json

revision = "0036"
down_revision = "0035"
branch_labels = None
depends_on = None

_KINDS = "kind IN ('receive', 'ask', 'inspect', 'fee', 'decide', 'correct', 'revoke')"
_STATES = "state IN ('PROPOSED', 'INTENDED', 'PERFORMED', 'REFUSED', 'RETURNED', 'WITHDRAWN')"


def upgrade() -> None:
    """Change the constraint; on SQLite move the rows to a new table."""
    table = "officer_acts"
    if op.get_bind().dialect.name == "postgresql":
        op.drop_constraint(op.f("ck_officer_acts_kind"), table, type_="check")
        op.create_check_constraint(op.f("ck_officer_acts_kind"), table, _KINDS)
        return
    op.drop_index("ix_officer_acts_agency", table)
    op.drop_index("ix_officer_acts_request_id", table)
    op.rename_table(table, "officer_acts_before")
    _officer_acts()
    # The columns have the same order.
    op.execute("INSERT INTO officer_acts SELECT * FROM officer_acts_before")
    op.drop_table("officer_acts_before")


def _officer_acts() -> None:
    table = "officer_acts"
    op.create_table(
        table,
        _identity(),
        _number("request_id"),
        *(_text(name) for name in ("agency", "kind", "state", "content", "shown_sha256")),
        _number("account_id"),
        _text("name"),
        _text("role"),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("confirmation", Json(), nullable=False),
        _number("approver_id", nullable=True),
        sa.Column("approver_name", sa.Text(), nullable=True),
        sa.Column("approver_role", sa.Text(), nullable=True),
        sa.Column("approver_confirmation", Json(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        _text("message_id"),
        _text("notice_number"),
        sa.Column("issued_at", Instant(), nullable=True),
        *(sa.Column(name, sa.Text(), nullable=True) for name in ("call_sha256", "problem", "detail")),
        sa.Column("ended_at", Instant(), nullable=True),
        _number("under_way", nullable=True),
        sa.CheckConstraint(_KINDS, name=op.f("ck_officer_acts_kind")),
        sa.CheckConstraint(_STATES, name=op.f("ck_officer_acts_state")),
        _refers(table, "request_id", "agency_requests.id"),
        _refers(table, "content", "payloads.sha256"),
        _refers(table, "shown_sha256", "payloads.sha256"),
        _refers(table, "account_id", "accounts.id"),
        _refers(table, "approver_id", "accounts.id"),
        _refers(table, "call_sha256", "payloads.sha256"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_officer_acts")),
        sa.UniqueConstraint("message_id", name=op.f("uq_officer_acts_message_id")),
        sa.UniqueConstraint("under_way", name=op.f("uq_officer_acts_under_way")),
    )
    op.create_index("ix_officer_acts_agency", table, ["agency", "state", "id"])
    op.create_index("ix_officer_acts_request_id", table, ["request_id"])


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=False)


def _number(name: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), nullable=nullable)


def _refers(table: str, column: str, target: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [target], name=op.f(f"fk_{table}_{column}"))


def _identity() -> sa.Column[int]:
    return sa.Column(
        "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), sa.Identity(), nullable=False
    )
