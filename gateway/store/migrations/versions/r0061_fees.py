"""Adds fees, and the payments and refunds of each."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gateway.store.column_types import Instant

revision = "0061"
down_revision = "0060"
branch_labels = None
depends_on = None

_STATES = (
    "state IN ('LEVIED', 'ORDERED', 'PAID', 'CONFIRMED', 'CANCELLED', 'REFUNDING', 'REFUNDED', "
    "'PARTLY_REFUNDED')"
)


def upgrade() -> None:
    """Create the tables."""
    _create_fees()
    _create_movements()


def _create_fees() -> None:
    table = "fees"
    op.create_table(
        table,
        _identity(),
        _text("number"),
        _number("request_id"),
        _number("case_id"),
        *(_text(name) for name in ("agency", "kind", "gate", "state")),
        *(_text(name, nullable=True) for name in ("amount", "currency")),
        sa.Column("due_on", sa.Date(), nullable=True),
        _text("payment_notice"),
        sa.Column("refundable", sa.Boolean(), nullable=False),
        sa.Column("levied_at", Instant(), nullable=False),
        _moment("ended_at"),
        _text("address", nullable=True),
        *(_moment(name) for name in ("ordered_at", "paid_at", "told_at")),
        sa.CheckConstraint("gate IN ('forwarding', 'result')", name=op.f("ck_fees_gate")),
        sa.CheckConstraint(_STATES, name=op.f("ck_fees_state")),
        _refers(table, "request_id", "agency_requests.id"),
        _refers(table, "case_id", "cases.id"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fees")),
        sa.UniqueConstraint("number", name=op.f("uq_fees_number")),
    )
    op.create_index("ix_fees_request_id", table, ["request_id", "id"])


def _create_movements() -> None:
    table = "fee_movements"
    op.create_table(
        table,
        _identity(),
        _number("fee_id"),
        *(_text(name) for name in ("kind", "reference", "state", "amount", "currency", "reason")),
        sa.Column("at", Instant(), nullable=False),
        *(_text(name, nullable=True) for name in ("payment", "provider_reference")),
        _moment("moved_at"),
        sa.CheckConstraint("kind IN ('payment', 'refund')", name=op.f("ck_fee_movements_kind")),
        sa.CheckConstraint(
            "state IN ('COUNTED', 'NOT_COUNTED', 'ORDERED', 'DONE')", name=op.f("ck_fee_movements_state")
        ),
        _refers(table, "fee_id", "fees.id"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fee_movements")),
        sa.UniqueConstraint("kind", "reference", name=op.f("uq_fee_movements_kind")),
    )
    op.create_index("ix_fee_movements_fee_id", table, ["fee_id", "id"])
    op.create_index("ix_fee_movements_moved", table, ["moved_at", "id"])


def _identity() -> sa.Column[int]:
    key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    return sa.Column("id", key, sa.Identity(), nullable=False)


def _text(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=nullable)


def _number(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), nullable=False)


def _moment(name: str) -> sa.Column[object]:
    return sa.Column(name, Instant(), nullable=True)


def _refers(table: str, column: str, to: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [to], name=op.f(f"fk_{table}_{column}"))
