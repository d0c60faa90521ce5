"""The tables of what customs says: the state of clearance of each case, and every notice as received."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Table, UniqueConstraint

from gateway.state_machines import CLEARANCE
from gateway.store.column_types import Instant, Json
from gateway.store.table_types import (
    make_identity_column,
    make_required_column,
    make_state_constraint,
    metadata,
)

__all__ = ["clearances", "customs_notices"]

# One row for each case of which customs has said something; its id is that of the case.
clearances = Table(
    "clearances",
    metadata,
    Column("id", BigInteger, ForeignKey("cases.id"), primary_key=True, autoincrement=False),
    make_required_column("state"),
    make_state_constraint(CLEARANCE.states),
)

# Append-only. `content` has the reasons of an error as customs pointed them out, and the items of a result.
customs_notices = Table(
    "customs_notices",
    metadata,
    make_identity_column(),
    make_required_column("case_id", BigInteger, ForeignKey("cases.id")),
    make_required_column("number"),
    make_required_column("code"),
    make_required_column("kind"),
    make_required_column("issued_at", Instant),
    make_required_column("content", Json),
    make_required_column("sha256"),
    Column("delivery_id", BigInteger),  # our call that it answers
    make_required_column("received_at", Instant),
    UniqueConstraint("number"),
    Index("ix_customs_notices_case_id", "case_id", "id"),
)
