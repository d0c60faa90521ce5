"""The tables of operators: acts of two persons, what the status page announces, tables of needs."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
)

from gateway.store.column_types import Instant, Json
from gateway.store.table_types import make_identity_column, make_required_column, metadata

__all__ = ["need_tables", "operator_acts", "status_notices"]

# Acts that are looked at before they are done: a DRAFT is seen by who made it, a PENDING one waits for
# another person. `content` is a file that was uploaded; it is removed when the act has ended.
operator_acts = Table(
    "operator_acts",
    metadata,
    make_identity_column(),
    make_required_column("act"),  # the words of its verb
    make_required_column("object"),
    make_required_column("parameters", Json),
    Column("content", LargeBinary),
    Column("content_name", Text),
    make_required_column("state"),
    Column("reason", Text),
    make_required_column("proposed_by", BigInteger, ForeignKey("accounts.id")),
    make_required_column("proposed_at", Instant),
    Column("decided_by", BigInteger, ForeignKey("accounts.id")),
    Column("decided_at", Instant),
    Column("decision_reason", Text),
    Column("outcome", Text),  # what was done, in a sentence
    CheckConstraint("state IN ('DRAFT', 'PENDING', 'DONE', 'REJECTED', 'WITHDRAWN')", name="state"),
    CheckConstraint("state <> 'DONE' OR decided_by IS NOT NULL", name="decided"),
    Index("ix_operator_acts_state", "state", "id"),
)

# What the public status page announces, in both languages. A notice that `ends_at` has not reached is shown.
status_notices = Table(
    "status_notices",
    metadata,
    make_identity_column(),
    make_required_column("kind"),
    make_required_column("title_en"),
    make_required_column("title_ko"),
    make_required_column("text_en"),
    make_required_column("text_ko"),
    make_required_column("starts_at", Instant),
    Column("ends_at", Instant),
    make_required_column("published_at", Instant),
    make_required_column("published_by"),
    make_required_column("changed_at", Instant),
    CheckConstraint("kind IN ('incident', 'planned')", name="kind"),
    Index("ix_status_notices_ends_at", "ends_at"),
)

# Tables of needs as operators loaded them, each edition once; never changed. The shipped ones are not here.
need_tables = Table(
    "need_tables",
    metadata,
    make_identity_column(),
    make_required_column("name"),
    make_required_column("edition"),
    make_required_column("valid_from"),
    Column("valid_until", Text),
    make_required_column("row_count", BigInteger),
    make_required_column("sha256"),
    make_required_column("content", LargeBinary),
    make_required_column("loaded_at", Instant),
    make_required_column("loaded_by"),
    UniqueConstraint("name", "edition"),
)
