"""Keeps the token of the forms of a session that follows another one of the same person in the same browser.

So the pages that are open in other windows still work after the person has signed in again.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0107"
down_revision = "0106"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column. A node that does not know it asks for the token that it derives itself."""
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    text = sa.Text() if is_sqlite else sa.Text(collation="C")
    op.add_column("sessions", sa.Column("form_token", text, nullable=True))
