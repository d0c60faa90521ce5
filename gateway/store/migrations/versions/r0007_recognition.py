"""Who was recognised by whom, and the lists that say so."""

from __future__ import annotations

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Change nothing yet."""
