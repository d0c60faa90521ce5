"""Keeps revocation lists in force until a later one repeats them.

Before, the last list of an issuer's name displaced all others of that name: the list of another key, or of
other certificates; and a list of changes displaced the complete list. Which list repeats another one is not
judged here, where no authority is known to verify them: the newest lists are in force again, which gives no
certificate back, and the next list that is loaded replaces those that it repeats.
"""

from __future__ import annotations

import logging

import sqlalchemy as sa
from alembic import op

revision = "0101"
down_revision = "0100"
branch_labels = None
depends_on = None

_log = logging.getLogger(__name__)
#: Of older lists only the last one of an issuer is in force, as before: each process reads all in force, and
#: needs up to ten octets of memory for each of theirs.
_NEWEST = 64
_OCTETS = 32 * 1024 * 1024


def upgrade() -> None:
    """Add the time from which a list is out of force, and set it for all but the newest lists."""
    conn = op.get_bind()
    instant = sa.BigInteger() if conn.dialect.name == "sqlite" else sa.DateTime(timezone=True)
    op.add_column("revocations", sa.Column("replaced_at", instant, nullable=True))
    rows = conn.exec_driver_sql(
        "SELECT issuer_key_sha256, crl_number, length(der) FROM revocations "
        "ORDER BY this_update DESC, fetched_at DESC, crl_number"
    ).all()
    replace = sa.text(
        "UPDATE revocations SET replaced_at = fetched_at "
        "WHERE issuer_key_sha256 = :issuer AND crl_number = :sha256"
    )
    issuers: set[str] = set()
    again = octets = 0
    for position, (issuer, sha256, length) in enumerate(rows):
        octets += length
        if issuer in issuers and (position >= _NEWEST or octets > _OCTETS):
            conn.execute(replace, {"issuer": issuer, "sha256": sha256})
        elif issuer in issuers:
            again += 1
        issuers.add(issuer)
    if again:
        _log.warning(
            "revocation lists that later ones of the same name displaced are in force again: %s; "
            "load the present list of each authority, which replaces those that it repeats",
            again,
        )
        conn.exec_driver_sql("UPDATE epochs SET value = value + 1 WHERE name = 'trust'")
