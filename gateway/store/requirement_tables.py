"""The tables of the requirement ledger: requirements, what declarations use, results without application."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Date, ForeignKey, Index, Integer, Table, Text, UniqueConstraint

from gateway.store.column_types import Instant, Json
from gateway.store.table_types import make_identity_column, make_required_column, metadata

__all__ = ["awaited_requirements", "requirement_results", "requirement_uses", "requirements"]

# One row for each number of an agency. What the agency granted is in `decisions`; `quantity` and `unit`
# are those of a requirement that was issued outside and registered. `used` is what stands written off,
# as exact decimals by unit. The row is locked before it changes.
requirements = Table(
    "requirements",
    metadata,
    make_identity_column(),
    make_required_column("number"),
    make_required_column("agency"),
    make_required_column("holder"),  # id of the importer or exporter; empty: anybody
    make_required_column("used", Json),
    Column("quantity", Text),
    Column("unit", Text),
    Column("valid_until", Date),
    Column("laws", Json),  # of one that was registered, where stated
    Column("registered_at", Instant),
    Column("revoked_at", Instant),
    make_required_column("added_at", Instant),
    # Since when the agency has an application under this number that its results count for.
    Column("applied_since", Instant),
    UniqueConstraint("number", "agency"),
)

# What one line of a declaration uses. A use that was given back keeps its row.
requirement_uses = Table(
    "requirement_uses",
    metadata,
    make_identity_column(),
    make_required_column("requirement_id", BigInteger, ForeignKey("requirements.id")),
    make_required_column("case_id", BigInteger, ForeignKey("cases.id")),
    make_required_column("item", Integer),
    make_required_column("pointer"),
    make_required_column("quantity"),  # the digits as declared
    make_required_column("unit"),
    make_required_column("used_at", Instant),
    Column("returned_at", Instant),
    Column("return_reason", Text),
    Index("ix_requirement_uses_requirement_id", "requirement_id", "id"),
    Index("ix_requirement_uses_case_id", "case_id", "id"),
)

# What an agency said of a number of its own that no application asked for. One notice is a row for each
# item and law; of the rows about one (number, item, law) the latest notice counts.
requirement_results = Table(
    "requirement_results",
    metadata,
    make_identity_column(),
    make_required_column("requirement_id", BigInteger, ForeignKey("requirements.id")),
    make_required_column("agency"),
    make_required_column("notice_no"),
    make_required_column("item", Integer),  # as the agency counts: no item of a declaration
    make_required_column("law"),
    make_required_column("issued_at", Instant),
    make_required_column("status_code"),
    make_required_column("decision"),
    Column("date", Date),
    Column("quantity", Text),
    Column("unit", Text),
    make_required_column("conditions", Json),
    make_required_column("notice_sha256"),  # the content of the whole notice
    make_required_column("received_at", Instant),
    Column("said", Json),  # of the notice, what no decision has
    UniqueConstraint("agency", "notice_no", "item", "law"),
    Index("ix_requirement_results_requirement_id", "requirement_id", "id"),
)

# What an item of an admitted declaration would use of a number that nobody knew. It ends when the number
# is known and the quantity written off, or when the declaration does not name it any more.
awaited_requirements = Table(
    "awaited_requirements",
    metadata,
    make_identity_column(),
    make_required_column("case_id", BigInteger, ForeignKey("cases.id")),
    make_required_column("number"),
    make_required_column("item", Integer),
    make_required_column("pointer"),
    make_required_column("quantity"),
    make_required_column("unit"),
    Column("agency", Text),  # where the declaration says whose number it is
    make_required_column("awaited_at", Instant),
    Column("ended_at", Instant),
    Column("end_reason", Text),
    Index("ix_awaited_requirements_number", "number", "case_id"),
    Index("ix_awaited_requirements_case_id", "case_id", "id"),
)
