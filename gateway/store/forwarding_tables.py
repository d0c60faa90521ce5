"""The table of forwarding rules: where messages for other handlers go."""

from __future__ import annotations

from sqlalchemy import ForeignKey, Integer, Table, Text, UniqueConstraint

from gateway.store.column_types import Instant, Json
from gateway.store.table_types import make_identity_column, make_required_column, metadata

__all__ = ["forwarding_rules"]

# A rule for any service or action has an empty text there, so that the constraint finds two such rules.
forwarding_rules = Table(
    "forwarding_rules",
    metadata,
    make_identity_column(),
    make_required_column("to_value"),
    make_required_column("to_type"),
    make_required_column("service"),
    make_required_column("action"),
    make_required_column("next_party", Text, ForeignKey("parties.id")),
    make_required_column("endpoint"),
    make_required_column("senders", Json),
    make_required_column("acknowledgment"),
    make_required_column("sync_reply"),
    make_required_column("retries", Integer),
    make_required_column("retry_interval", Integer),
    make_required_column("created_at", Instant),
    UniqueConstraint("to_value", "to_type", "service", "action"),
)
