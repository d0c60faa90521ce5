"""Makes the tables of version 1.0.0; the statements are in files beside this one, a file for each database.

The statements are frozen: changes of later versions are in later revisions. A database at the last revision
of 0.1.0 has the same tables; it gets this revision without running them. Of indexes with the same estimated
cost, as in an empty table, PostgreSQL uses the one made last: so that of the state of cases is made first.
"""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0100"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make tables, indexes and triggers, and the lane of local tasks."""
    conn = op.get_bind()
    path = Path(__file__).with_name(f"r{revision}_{conn.dialect.name}.sql")
    # A statement ends at the end of a line; those inside a trigger do not.
    for statement in path.read_text(encoding="utf-8").split(";\n"):
        if statement.strip():
            conn.exec_driver_sql(statement)
    conn.exec_driver_sql("INSERT INTO lanes (name) VALUES ('local')")
