"""The tables of large messages in fragments (ebMS 3.0 part 2 §4)."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy import text as sql_text

from gateway.store.column_types import Instant, Json
from gateway.store.table_types import make_identity_column, make_required_column, metadata

__all__ = ["FRAGMENT_GROUP_STATES", "fragment_groups", "fragments"]

#: OPEN until every fragment has come, COMPLETE until they are joined.
FRAGMENT_GROUP_STATES = ("OPEN", "COMPLETE", "JOINED", "REFUSED")


def _where(condition: str) -> dict[str, Any]:
    return {"sqlite_where": sql_text(condition), "postgresql_where": sql_text(condition)}


# The fragments of one source message. `tally` is what is known of them beside their octets, `problem` why
# they were refused, `code` and `detail` what of it the sender is told, `message` what they were joined to.
fragment_groups = Table(
    "fragment_groups",
    metadata,
    make_identity_column(),
    make_required_column("group_id"),
    make_required_column("from_party"),
    make_required_column("protocol"),
    make_required_column("agreement_id"),
    make_required_column("pmode_id"),
    make_required_column("state"),
    Column("tally", Json),
    make_required_column("opened_at", Instant),
    make_required_column("expires_at", Instant),
    Column("ended_at", Instant),
    Column("problem", Text),
    Column("code", Text),
    Column("detail", Text),
    Column("message", BigInteger, ForeignKey("messages.id")),
    UniqueConstraint("from_party", "group_id"),
    CheckConstraint(f"state IN ({', '.join(map(repr, FRAGMENT_GROUP_STATES))})", name="state"),
    Index("ix_fragment_groups_state", "state", "from_party", **_where("ended_at IS NULL")),
    Index("ix_fragment_groups_message", "message", **_where("message IS NOT NULL")),
)

# The messages that are fragments, each with its number.
fragments = Table(
    "fragments",
    metadata,
    Column("message", BigInteger, ForeignKey("messages.id"), primary_key=True, autoincrement=False),
    make_required_column("group", BigInteger, ForeignKey("fragment_groups.id")),
    make_required_column("number", Integer),
    UniqueConstraint("group", "number"),
)
