"""Keeps the marks of the files beside the database that all nodes share."""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0104"
down_revision = "0103"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table of the marks; `gateway migrate` marks the store of large payloads after it."""
    conn = op.get_bind()
    path = Path(__file__).with_name(f"r{revision}_{conn.dialect.name}.sql")
    conn.exec_driver_sql(path.read_text(encoding="utf-8"))
