"""Adds when octets were removed by retention, and the indexes by which they are found."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gateway.store.tables import Instant

revision = "0039"
down_revision = "0038"
branch_labels = None
depends_on = None

_INDEXES = (
    ("ix_cases_unpurged", "cases", ["opened_at", "id"], "purged_at IS NULL"),
    ("ix_messages_unpurged", "messages", ["received_at", "id"], "purged_at IS NULL AND case_id IS NULL"),
    ("ix_messages_parcel_sha256", "messages", ["parcel_sha256"], "parcel IS NULL"),
    ("ix_message_payloads_sha256", "message_payloads", ["sha256"], "parcel_offset IS NULL"),
    ("ix_agency_requests_document_sha256", "agency_requests", ["document_sha256"], None),
    ("ix_deliveries_payload_sha256", "deliveries", ["payload_sha256"], "payload_sha256 IS NOT NULL"),
    (
        "ix_delivery_attempts_answer_sha256",
        "delivery_attempts",
        ["answer_sha256"],
        "answer_sha256 IS NOT NULL",
    ),
)


def upgrade() -> None:
    """Add the columns, empty: nothing was removed."""
    for table in ("cases", "messages", "payloads"):
        op.add_column(table, sa.Column("purged_at", Instant(), nullable=True))
    for name, table, columns, where in _INDEXES:
        condition = None if where is None else sa.text(where)
        op.create_index(name, table, columns, sqlite_where=condition, postgresql_where=condition)
