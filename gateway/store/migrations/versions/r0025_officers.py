"""Creates the tables of officers at the console: mailbox, switched agencies, claims, acts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gateway.store.tables import Instant, Json

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

_KINDS = "kind IN ('receive', 'ask', 'inspect', 'decide', 'correct', 'revoke')"
_STATES = "state IN ('PROPOSED', 'INTENDED', 'PERFORMED', 'REFUSED', 'RETURNED', 'WITHDRAWN')"


def upgrade() -> None:
    """Create the tables, empty."""
    _console_mailbox()
    op.create_table(
        "console_switches",
        _text("agency"),
        sa.Column("since", Instant(), nullable=False),
        _text("switched_by"),
        _text("reason"),
        sa.PrimaryKeyConstraint("agency", name=op.f("pk_console_switches")),
    )
    op.create_table(
        "work_claims",
        _number("request_id"),
        _text("agency"),
        _number("account_id", nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("since", Instant(), nullable=False),
        _refers("work_claims", "request_id", "agency_requests.id"),
        _refers("work_claims", "account_id", "accounts.id"),
        sa.PrimaryKeyConstraint("request_id", name=op.f("pk_work_claims")),
    )
    op.create_index("ix_work_claims_account", "work_claims", ["account_id"])
    _officer_acts()


def _console_mailbox() -> None:
    table = "console_mailbox"
    op.create_table(
        table,
        _identity(),
        _text("agency"),
        _number("request_id"),
        _number("case_id"),
        _number("delivery_id"),
        _text("operation"),
        _text("call_sha256"),
        sa.Column("received_at", Instant(), nullable=False),
        _refers(table, "request_id", "agency_requests.id"),
        _refers(table, "case_id", "cases.id"),
        _refers(table, "delivery_id", "deliveries.id"),
        _refers(table, "call_sha256", "payloads.sha256"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_console_mailbox")),
        sa.UniqueConstraint("delivery_id", name=op.f("uq_console_mailbox_delivery_id")),
    )
    op.create_index("ix_console_mailbox_agency", table, ["agency", "id"])
    op.create_index("ix_console_mailbox_request_id", table, ["request_id"])


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
