"""Adds until when the notice of a fee says that it is due; each open fee may have a deadline of its own."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

from gateway.store.column_types import Instant

revision = "0083"
down_revision = "0082"
branch_labels = None
depends_on = None

_LIVE: Final = "ended_at IS NULL"
#: What the code before read at each look: the notice of this kind that was issued when the fee was levied.
_FROM_NOTICE: Final = (
    "UPDATE fees SET {column} = (SELECT notices.{source} FROM notices "
    "WHERE notices.request_id = fees.request_id AND notices.issued_at = fees.levied_at "
    "AND notices.deadline IS NOT NULL AND notices.status_code = "
    "CASE fees.kind WHEN 'application' THEN 'Y01' WHEN 'inspection' THEN 'Y05' ELSE 'Y09' END "
    "ORDER BY notices.id LIMIT 1) "
    "WHERE fees.state IN ('LEVIED', 'ORDERED') AND fees.gate = 'result'"
)


def upgrade() -> None:
    """Add the columns, fill them for open fees, and allow several open deadlines of one kind."""
    op.add_column("fees", sa.Column("due_at", Instant(), nullable=True))
    op.add_column("fees", sa.Column("notice", sa.Text(), nullable=True))
    op.execute(_FROM_NOTICE.format(column="due_at", source="deadline"))
    op.execute(_FROM_NOTICE.format(column="notice", source="number"))
    op.create_index(
        "ix_deadlines_owed",
        "deadlines",
        ["case_id", "request_id", "kind", "cause"],
        unique=True,
        sqlite_where=sa.text(_LIVE),
        postgresql_where=sa.text(_LIVE),
    )
    op.drop_index("ix_deadlines_live", "deadlines")
