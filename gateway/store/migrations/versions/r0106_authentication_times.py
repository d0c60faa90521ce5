"""Keeps when the person of a session proved who they are, and which sign-ins by OpenID must show that.

Sessions from before this revision show no such time: before a way to sign in is added to an account without a
password, its person signs in again.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0106"
down_revision = "0105"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add both columns. A node that does not know them begins no sign-in that must show the time."""
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    instant = sa.BigInteger() if is_sqlite else sa.DateTime(timezone=True)
    op.add_column("sessions", sa.Column("authenticated_at", instant, nullable=True))
    op.add_column(
        "oidc_sign_ins",
        sa.Column("reauthenticates", sa.Boolean(), nullable=False, server_default=sa.false()),
    )
