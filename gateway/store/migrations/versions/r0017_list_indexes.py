"""Creates the indexes of the lists of operators: by state, party, agency, reference and time."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the indexes."""
    op.create_index("ix_cases_state", "cases", ["state", "id"])
    op.create_index("ix_cases_functional_reference", "cases", ["functional_reference"])
    op.create_index("ix_agency_requests_agency", "agency_requests", ["agency", "case_id"])
    op.create_index("ix_messages_received_at", "messages", ["received_at", "id"])
    _create_partial_index("ix_messages_sender", "messages", "from_party", "direction = 'in'")
    _create_partial_index("ix_messages_receiver", "messages", "to_party", "direction = 'out'")
    unprocessed = "state = 'RECEIVED' OR state = 'FAILED' OR state = 'REFUSED'"
    _create_partial_index("ix_messages_stopped", "messages", "state", unprocessed)
    stopped = "state = 'HELD' OR state = 'FAILED' OR state = 'CANCELLED'"
    _create_partial_index("ix_deliveries_stopped", "deliveries", "state", stopped)


def _create_partial_index(name: str, table: str, column: str, condition: str) -> None:
    of = sa.text(condition)
    op.create_index(name, table, [column, "id"], sqlite_where=of, postgresql_where=of)
