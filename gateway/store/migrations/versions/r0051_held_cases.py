"""Lets a case be HELD: a document that its goods need was not applied for."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0051"
down_revision = "0049"
branch_labels = None
depends_on = None

_BEFORE = "state IN ('OPENED', 'IN_PROGRESS', 'DECIDED', 'CLOSED', 'REFUSED', 'WITHDRAWN')"
_STATES = "state IN ('OPENED', 'HELD', 'IN_PROGRESS', 'DECIDED', 'CLOSED', 'REFUSED', 'WITHDRAWN')"


def upgrade() -> None:
    """Change the constraint; no row is read or written.

    SQLite has no statement for it. Its manual names this way for a constraint that fewer rows break
    than before (ALTER TABLE, section 8): the text of the table is replaced. Making the table again
    would move the rows that other tables refer to.
    """
    if op.get_bind().dialect.name == "postgresql":
        op.drop_constraint(op.f("ck_cases_state"), "cases", type_="check")
        op.create_check_constraint(op.f("ck_cases_state"), "cases", _STATES)
        return
    conn = op.get_bind()
    version = conn.exec_driver_sql("PRAGMA schema_version").scalar_one()
    conn.exec_driver_sql("PRAGMA writable_schema = ON")
    changed = conn.execute(
        sa.text(
            "UPDATE sqlite_master SET sql = replace(sql, :before, :after) "
            "WHERE type = 'table' AND name = 'cases' AND instr(sql, :before) > 0"
        ),
        {"before": _BEFORE, "after": _STATES},
    )
    conn.exec_driver_sql(f"PRAGMA schema_version = {version + 1}")
    conn.exec_driver_sql("PRAGMA writable_schema = OFF")
    if changed.rowcount != 1:
        raise RuntimeError("the constraint of the states of cases is not the known one")
