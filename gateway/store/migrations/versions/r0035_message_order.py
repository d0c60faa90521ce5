"""Creates the tables of ordered messages, and of conversations that an agreement limits."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gateway.store.tables import Instant

revision = "0035"
down_revision = "0034"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables, empty."""
    identity = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    _create_sequences(identity)
    _create_ordered_messages()
    _create_conversations(identity)


def _create_sequences(identity: sa.types.TypeEngine[int]) -> None:
    op.create_table(
        "message_sequences",
        sa.Column("id", identity, sa.Identity(), nullable=False),
        sa.Column("direction", sa.Text(), nullable=False),
        sa.Column("party", sa.Text(), nullable=False),
        sa.Column("agreement_id", sa.Text(), nullable=False),
        sa.Column("conversation_id", sa.Text(), nullable=False),
        sa.Column("next_ordinal", sa.BigInteger(), nullable=False),
        sa.Column("base", sa.BigInteger(), nullable=False),
        sa.Column("last_delivery", sa.BigInteger(), nullable=True),
        sa.Column("changed_at", Instant(), nullable=False),
        sa.CheckConstraint("direction IN ('in', 'out')", name=op.f("ck_message_sequences_direction")),
        sa.CheckConstraint("base <= next_ordinal", name=op.f("ck_message_sequences_base")),
        sa.ForeignKeyConstraint(
            ["last_delivery"], ["deliveries.id"], name=op.f("fk_message_sequences_last_delivery")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_message_sequences")),
        sa.UniqueConstraint(
            "party", "conversation_id", "agreement_id", "direction", name=op.f("uq_message_sequences_party")
        ),
    )


def _create_ordered_messages() -> None:
    op.create_table(
        "ordered_messages",
        sa.Column("message", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("ordinal", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("for_case", sa.Boolean(), nullable=False),
        sa.Column("received_at", Instant(), nullable=False),
        sa.Column("expires_at", Instant(), nullable=False),
        sa.CheckConstraint(
            "state IN ('HELD', 'RELEASED', 'GIVEN_UP')", name=op.f("ck_ordered_messages_state")
        ),
        sa.ForeignKeyConstraint(["message"], ["messages.id"], name=op.f("fk_ordered_messages_message")),
        sa.ForeignKeyConstraint(
            ["sequence"], ["message_sequences.id"], name=op.f("fk_ordered_messages_sequence")
        ),
        sa.PrimaryKeyConstraint("message", name=op.f("pk_ordered_messages")),
    )
    place, held = ["sequence", "ordinal"], sa.text("state = 'HELD'")
    standing = sa.text("state <> 'GIVEN_UP'")
    op.create_index(
        "uq_ordered_messages_ordinal",
        *("ordered_messages", place),
        unique=True,
        sqlite_where=standing,
        postgresql_where=standing,
    )
    for name, columns in (
        ("ix_ordered_messages_held", place),
        ("ix_ordered_messages_expires_at", ["expires_at", "message"]),
    ):
        op.create_index(name, "ordered_messages", columns, sqlite_where=held, postgresql_where=held)
    op.create_table(
        "ordered_deliveries",
        sa.Column("delivery", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("ordinal", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["delivery"], ["deliveries.id"], name=op.f("fk_ordered_deliveries_delivery")),
        sa.ForeignKeyConstraint(
            ["sequence"], ["message_sequences.id"], name=op.f("fk_ordered_deliveries_sequence")
        ),
        sa.PrimaryKeyConstraint("delivery", name=op.f("pk_ordered_deliveries")),
        sa.UniqueConstraint(*place, name=op.f("uq_ordered_deliveries_sequence")),
    )


def _create_conversations(identity: sa.types.TypeEngine[int]) -> None:
    op.create_table(
        "conversation_counts",
        sa.Column("agreement_id", sa.Text(), nullable=False),
        sa.Column("begun", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("agreement_id", name=op.f("pk_conversation_counts")),
    )
    op.create_table(
        "conversations",
        sa.Column("id", identity, sa.Identity(), nullable=False),
        sa.Column("agreement_id", sa.Text(), nullable=False),
        sa.Column("conversation_id", sa.Text(), nullable=False),
        sa.Column("begun_at", Instant(), nullable=False),
        sa.Column("ended_at", Instant(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_conversations")),
        sa.UniqueConstraint("agreement_id", "conversation_id", name=op.f("uq_conversations_agreement_id")),
    )
    still_open = sa.text("ended_at IS NULL")
    op.create_index(
        "ix_conversations_open",
        *("conversations", ["agreement_id", "id"]),
        sqlite_where=still_open,
        postgresql_where=still_open,
    )
    op.create_table(
        "conversation_messages",
        sa.Column("message", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("conversation", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["message"], ["messages.id"], name=op.f("fk_conversation_messages_message")),
        sa.ForeignKeyConstraint(
            ["conversation"], ["conversations.id"], name=op.f("fk_conversation_messages_conversation")
        ),
        sa.PrimaryKeyConstraint("message", name=op.f("pk_conversation_messages")),
    )
    op.create_index(
        "ix_conversation_messages_conversation", "conversation_messages", ["conversation", "message"]
    )
