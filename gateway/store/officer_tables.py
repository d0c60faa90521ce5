"""The tables of officers at the console: the mailbox, claims, acts, and agencies that were switched."""

from __future__ import annotations

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

from gateway.store.column_types import Instant, Json
from gateway.store.table_types import make_identity_column, make_required_column, metadata

__all__ = ["console_mailbox", "console_switches", "officer_acts", "work_claims"]

# Calls to agencies that decide at the console, as signed by the hub: a delivery came to rest here instead
# of going over HTTP.
console_mailbox = Table(
    "console_mailbox",
    metadata,
    make_identity_column(),
    make_required_column("agency"),
    make_required_column("request_id", BigInteger, ForeignKey("agency_requests.id")),
    make_required_column("case_id", BigInteger, ForeignKey("cases.id")),
    make_required_column("delivery_id", BigInteger, ForeignKey("deliveries.id")),
    make_required_column("operation"),
    make_required_column("call_sha256", Text, ForeignKey("payloads.sha256")),
    make_required_column("received_at", Instant),
    UniqueConstraint("delivery_id"),
    Index("ix_console_mailbox_agency", "agency", "id"),
    Index("ix_console_mailbox_request_id", "request_id"),
)

# Agencies whose own system is away: an operator has switched them to the console.
console_switches = Table(
    "console_switches",
    metadata,
    Column("agency", Text, primary_key=True),
    make_required_column("since", Instant),
    make_required_column("switched_by"),
    make_required_column("reason"),
)

# Who works on an application. A row stays when it is released, so that its version always rises.
work_claims = Table(
    "work_claims",
    metadata,
    Column("request_id", BigInteger, ForeignKey("agency_requests.id"), primary_key=True, autoincrement=False),
    make_required_column("agency"),
    Column("account_id", BigInteger, ForeignKey("accounts.id")),
    make_required_column("version", Integer),
    make_required_column("since", Instant),
    Index("ix_work_claims_account", "account_id"),
)

# Acts of officers. `content` is the digest of what is decided, whose octets are a payload; the person who
# began it stands in account_id, name, role; `approver_` is who approved or returned it. `under_way` is the
# request while the act is proposed or intended: an application has at most one such act.
officer_acts = Table(
    "officer_acts",
    metadata,
    make_identity_column(),
    make_required_column("request_id", BigInteger, ForeignKey("agency_requests.id")),
    make_required_column("agency"),
    make_required_column("kind"),
    make_required_column("state"),
    make_required_column("content", Text, ForeignKey("payloads.sha256")),
    make_required_column("shown_sha256", Text, ForeignKey("payloads.sha256")),
    make_required_column("account_id", BigInteger, ForeignKey("accounts.id")),
    make_required_column("name"),
    make_required_column("role"),
    make_required_column("at", Instant),
    make_required_column("confirmation", Json),
    Column("approver_id", BigInteger, ForeignKey("accounts.id")),
    Column("approver_name", Text),
    Column("approver_role", Text),
    Column("approver_confirmation", Json),
    Column("reason", Text),
    make_required_column("message_id"),
    make_required_column("notice_number"),
    Column("issued_at", Instant),
    Column("call_sha256", Text, ForeignKey("payloads.sha256")),
    Column("problem", Text),
    Column("detail", Text),
    Column("ended_at", Instant),
    Column("under_way", BigInteger),
    UniqueConstraint("message_id"),
    UniqueConstraint("under_way"),
    CheckConstraint(
        "kind IN ('receive', 'ask', 'inspect', 'fee', 'decide', 'correct', 'revoke')", name="kind"
    ),
    CheckConstraint(
        "state IN ('PROPOSED', 'INTENDED', 'PERFORMED', 'REFUSED', 'RETURNED', 'WITHDRAWN')", name="state"
    ),
    Index("ix_officer_acts_agency", "agency", "state", "id"),
    Index("ix_officer_acts_request_id", "request_id"),
)
