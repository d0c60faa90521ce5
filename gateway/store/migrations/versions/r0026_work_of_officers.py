"""Creates the summaries of applications, and the indexes of the lists of officers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

_DUE = "due_at IS NOT NULL AND state <> 'DECIDED' AND state <> 'CANCELLED'"


def upgrade() -> None:
    """Create the table, empty: a summary is read from its call when it is first needed."""
    _create_summaries()
    op.create_index("ix_agency_requests_state", "agency_requests", ["agency", "state", "id"])
    _create_partial_index("ix_agency_requests_due", ["agency", "due_at", "id"], _DUE)
    _create_partial_index("ix_agency_requests_decided", ["agency", "decided_at"], "decided_at IS NOT NULL")


def _create_summaries() -> None:
    op.create_table(
        "application_summaries",
        sa.Column("request_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("agency", sa.Text(), nullable=False),
        sa.Column("document_sha256", sa.Text(), nullable=False),
        sa.Column("applicant", sa.Text(), nullable=False),
        sa.Column("applicant_id", sa.Text(), nullable=False),
        sa.Column("goods", sa.Text(), nullable=False),
        sa.Column("hs", sa.Text(), nullable=False),
        sa.Column("heading", sa.Text(), nullable=False),
        sa.Column("laws", sa.Text(), nullable=False),
        sa.Column("item_count", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["request_id"], ["agency_requests.id"], name=op.f("fk_application_summaries_request_id")
        ),
        sa.PrimaryKeyConstraint("request_id", name=op.f("pk_application_summaries")),
    )
    for name, column in (("applicant", "applicant_id"), ("heading", "heading")):
        columns = ["agency", column, "request_id"]
        op.create_index(f"ix_application_summaries_{name}", "application_summaries", columns)


def _create_partial_index(name: str, columns: list[str], condition: str) -> None:
    of = sa.text(condition)
    op.create_index(name, "agency_requests", columns, sqlite_where=of, postgresql_where=of)
