"""The tables, once, for both databases.

Every time is UTC and comes back aware.  Free-form values are JSON text with sorted keys, so
that both databases return what was put in.  Octets are held once, by their SHA-256.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

from gateway.states import CASE, DELIVERY, MESSAGE, REQUEST, Machine

__all__ = ["Instant", "Json", "metadata"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
# Made once: json.dumps makes an encoder for each value.
_encode: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode


class Instant(TypeDecorator[datetime]):
    """A moment in UTC: ``timestamptz`` on PostgreSQL, microseconds since 1970 on SQLite."""

    impl = BigInteger
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the column type of the dialect."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(DateTime(timezone=True))
        return dialect.type_descriptor(BigInteger())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Return what the driver stores; a time without a zone is a mistake of the caller."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"a time without a zone: {value.isoformat()}")
        if dialect.name == "postgresql":
            return value
        return (value - _EPOCH) // _MICROSECOND

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Return the moment as an aware datetime in UTC."""
        if value is None:
            return None
        if isinstance(value, datetime):
            return value.astimezone(UTC)
        return _EPOCH + timedelta(microseconds=value)


class Json(TypeDecorator[Any]):
    """A JSON value kept as text, keys sorted, no blanks."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Return the text of the value."""
        if value is None:
            return None
        return _encode(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:  # noqa: ARG002
        """Return the value of the text."""
        return None if value is None else json.loads(value)


metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
    }
)


def _identity() -> Column[int]:
    # SQLite numbers rows by itself only when the key is declared INTEGER.
    key = BigInteger().with_variant(Integer(), "sqlite")
    return Column("id", key, Identity(), primary_key=True)


def _needed(name: str, kind: Any = Text, *more: Any) -> Column[Any]:
    return Column(name, kind, *more, nullable=False)


def _state_of(machine: Machine) -> CheckConstraint:
    known = ", ".join(f"'{state}'" for state in machine.states)
    return CheckConstraint(f"state IN ({known})", name="state")


def _index_of_given(name: str, column: str, *, unique: bool = False) -> Index:
    # Rows without a value cost nothing when they are written.
    given = text(f"{column} IS NOT NULL")
    return Index(name, column, unique=unique, sqlite_where=given, postgresql_where=given)


parties = Table(
    "parties",
    metadata,
    Column("id", Text, primary_key=True),
    _needed("name"),
    _needed("role"),
    _needed("status"),
    _needed("created_at", Instant),
    CheckConstraint("status IN ('ACTIVE', 'SUSPENDED', 'RETIRED')", name="status"),
)

party_ids = Table(
    "party_ids",
    metadata,
    Column("type", Text, primary_key=True),  # empty where the PartyId has no type
    Column("value", Text, primary_key=True),
    _needed("party_id", Text, ForeignKey("parties.id")),
)

certificates = Table(
    "certificates",
    metadata,
    Column("sha256", Text, primary_key=True),
    Column("use", Text, primary_key=True),
    _needed("party_id", Text, ForeignKey("parties.id")),
    _needed("subject"),
    _needed("issuer"),
    _needed("serial"),
    _needed("not_before", Instant),
    _needed("not_after", Instant),
    _needed("status"),
    _needed("der", LargeBinary),
    _needed("added_at", Instant),
    # Bounds of our own within the certificate's, from inclusive, until exclusive: for a change of keys.
    Column("valid_from", Instant),
    Column("valid_until", Instant),
    CheckConstraint("use IN ('signing', 'encryption', 'tls')", name="use"),
    CheckConstraint("status IN ('ACTIVE', 'RETIRED')", name="status"),
    Index("ix_certificates_party_id", "party_id"),
)

mandates = Table(
    "mandates",
    metadata,
    _identity(),
    _needed("party_id", Text, ForeignKey("parties.id")),
    _needed("on_behalf_of", Text, ForeignKey("parties.id")),
    _needed("scope"),
    _needed("valid_from", Instant),
    Column("valid_until", Instant),
    Column("revoked_at", Instant),
    Index("ix_mandates_party_id", "party_id", "on_behalf_of"),
)

revocations = Table(
    "revocations",
    metadata,
    Column("issuer_key_sha256", Text, primary_key=True),
    Column("crl_number", Text, primary_key=True),
    _needed("this_update", Instant),
    Column("next_update", Instant),
    _needed("der", LargeBinary),
    _needed("fetched_at", Instant),
)

agreements = Table(
    "agreements",
    metadata,
    Column("id", Text, primary_key=True),
    _needed("kind"),
    _needed("source", LargeBinary),
    _needed("sha256"),
    Column("valid_from", Instant),
    Column("valid_until", Instant),
    _needed("status"),
    _needed("loaded_at", Instant),
    _needed("loaded_by"),
    CheckConstraint("status IN ('ACTIVE', 'SUSPENDED', 'RETIRED')", name="status"),
    CheckConstraint("kind IN ('cpa', 'pmode')", name="kind"),
)

pmodes = Table(
    "pmodes",
    metadata,
    Column("id", Text, primary_key=True),
    _needed("agreement_id", Text, ForeignKey("agreements.id")),
    _needed("protocol"),
    _needed("from_party"),
    Column("from_role", Text),
    _needed("to_party"),
    Column("to_role", Text),
    _needed("service"),
    _needed("action"),
    _needed("parameters", Json),
    UniqueConstraint("agreement_id", "protocol", "from_party", "to_party", "service", "action"),
)

# Octets by their digest, held once.
payloads = Table(
    "payloads",
    metadata,
    Column("sha256", Text, primary_key=True),
    _needed("size", BigInteger),
    _needed("stored_at", Instant),
    _needed("content", LargeBinary),
)

# `answer_*` is the receipt as sent: a duplicate gets these octets again.  The row is written before
# the octets of its parcel, because the row decides whether it is a duplicate; SQLite would scan
# this whole table for a deferred foreign key.  Of case and message only one refers by a key.
messages = Table(
    "messages",
    metadata,
    _identity(),
    _needed("message_id"),
    _needed("direction"),
    _needed("protocol"),
    _needed("kind"),
    _needed("conversation_id"),
    Column("ref_to_message_id", Text),
    _needed("from_party"),
    _needed("to_party"),
    _needed("service"),
    _needed("action"),
    Column("pmode_id", Text),
    Column("signer_sha256", Text),
    _needed("identity_sha256"),
    _needed("state"),
    Column("problem", Text),
    _needed("received_at", Instant),
    Column("expires_at", Instant),
    Column("case_id", BigInteger),
    _needed("parcel_headers", Json),
    _needed("parcel_sha256"),
    Column("answer_status", Integer),
    Column("answer_headers", Json),
    Column("answer_sha256", Text),
    Column("answer_body", LargeBinary),
    Column("parcel", LargeBinary),  # null where its octets lie in `payloads`
    UniqueConstraint("message_id", "from_party", "direction"),
    CheckConstraint("direction IN ('in', 'out')", name="direction"),
    _state_of(MESSAGE),
    _index_of_given("ix_messages_case_id", "case_id"),
)

# The parts of a message.  One that lies in the parcel as it is names its place there; the octets of
# any other are among the payloads.
message_payloads = Table(
    "message_payloads",
    metadata,
    Column("message", BigInteger, ForeignKey("messages.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    _needed("content_id"),
    _needed("media_type"),
    _needed("sha256"),
    _needed("size", BigInteger),
    Column("parcel_offset", BigInteger),
    _needed("properties", Json),
    sqlite_with_rowid=False,
)

cases = Table(
    "cases",
    metadata,
    _identity(),
    _needed("number"),
    _needed("document"),
    _needed("function"),
    _needed("declarant"),
    Column("agent", Text),
    _needed("applicant"),
    _needed("functional_reference"),
    _needed("version", Integer),
    Column("ucr", Text),
    _needed("message", BigInteger, ForeignKey("messages.id")),
    _needed("state"),
    Column("outcome", Text),
    Column("detail", Json),
    _needed("opened_at", Instant),
    Column("due_at", Instant),
    Column("closed_at", Instant),
    UniqueConstraint("number"),
    UniqueConstraint("declarant", "functional_reference", "version"),
    CheckConstraint("outcome IN ('APPROVED', 'PARTIAL', 'REJECTED', 'REFUSED', 'WITHDRAWN')", name="outcome"),
    _state_of(CASE),
    Index("ix_cases_opened_at", "opened_at"),
)

agency_requests = Table(
    "agency_requests",
    metadata,
    _identity(),
    _needed("case_id", BigInteger, ForeignKey("cases.id")),
    _needed("number"),
    _needed("application"),
    _needed("agency"),
    _needed("document"),
    _needed("sequence", Integer),
    _needed("mapping"),
    _needed("mapping_version"),
    _needed("mapping_sha256"),
    _needed("document_sha256", Text, ForeignKey("payloads.sha256")),
    _needed("required", Json),
    _needed("state"),
    Column("status_code", Text),
    Column("receipt_number", Text),
    Column("decision", Text),
    Column("decided_by", Text),
    Column("decided_at", Instant),
    Column("reply_sha256", Text, ForeignKey("payloads.sha256")),
    Column("due_at", Instant),
    UniqueConstraint("number"),
    UniqueConstraint("case_id", "agency", "sequence"),
    _state_of(REQUEST),
)

# Every notice of an agency as it was said, also one that decides nothing; the latest is known
# by (issued_at, number), whatever the order of arrival.
notices = Table(
    "notices",
    metadata,
    _identity(),
    _needed("request_id", BigInteger, ForeignKey("agency_requests.id")),
    _needed("agency"),
    _needed("number"),
    _needed("issued_at", Instant),
    _needed("status_code"),
    _needed("text"),
    _needed("pointers", Json),
    Column("deadline", Instant),
    _needed("sha256"),
    _needed("received_at", Instant),
    UniqueConstraint("agency", "number"),
    Index("ix_notices_request_id", "request_id"),
)

decisions = Table(
    "decisions",
    metadata,
    _identity(),
    _needed("request_id", BigInteger, ForeignKey("agency_requests.id")),
    _needed("agency"),
    _needed("notice_no"),
    _needed("item", Integer),
    _needed("law"),
    _needed("issued_at", Instant),
    _needed("decision"),
    Column("number", Text),
    Column("date", Date),
    Column("quantity", Text),  # the digits as the agency wrote them
    Column("unit", Text),
    _needed("conditions", Json),
    Column("superseded_by", BigInteger, ForeignKey("decisions.id")),
    _needed("received_at", Instant),
    UniqueConstraint("agency", "notice_no", "item", "law"),
    CheckConstraint(
        "decision IN ('APPROVED', 'APPROVED_WITH_CONDITIONS', 'REJECTED', 'NOT_CONCERNED')", name="decision"
    ),
    Index("ix_decisions_request_id", "request_id", "item", "law"),
    _index_of_given("ix_decisions_number", "number"),
)

correlations = Table(
    "correlations",
    metadata,
    Column("scheme", Text, primary_key=True),
    Column("value", Text, primary_key=True),
    _needed("case_id", BigInteger, ForeignKey("cases.id")),
    Column("request_id", BigInteger, ForeignKey("agency_requests.id")),
    Index("ix_correlations_case_id", "case_id"),
)

lanes = Table(
    "lanes",
    metadata,
    Column("name", Text, primary_key=True),
    Column("capacity", Integer),  # how many at once; NULL: as many as there are workers
    Column("open_until", Instant),  # the circuit is open: nothing is claimed before
    Column("last_problem", Text),
    CheckConstraint("capacity > 0", name="capacity"),
)

_queued = text("state = 'QUEUED'")
_suspect = text("state = 'QUEUED' AND lost > 0")
_leased = text("state = 'ACTIVE'")
_awaiting = text("state = 'AWAITING_RECEIPT'")

deliveries = Table(
    "deliveries",
    metadata,
    _identity(),
    _needed("agent"),
    _needed("destination"),
    _needed("lane", Text, ForeignKey("lanes.name")),
    _needed("subject_type"),
    _needed("subject_id"),
    Column("case_id", BigInteger, ForeignKey("cases.id")),
    Column("wire_id", Text),  # the name the destination knows it by: wsa:MessageID, eb:MessageId
    Column("payload_sha256", Text, ForeignKey("payloads.sha256")),
    _needed("parameters", Json),
    _needed("state"),
    _needed("attempt", Integer),  # only ever grows: the fencing token
    _needed("tries", Integer),  # since it was last put in the queue by hand
    # Workers that died over it, one after another.
    Column("lost", Integer, nullable=False, server_default="0"),
    _needed("due_at", Instant),
    Column("expires_at", Instant),
    Column("leased_by", Text),
    Column("lease_until", Instant),
    Column("problem", Text),
    _needed("created_at", Instant),
    Column("finished_at", Instant),
    Column("follows", BigInteger, ForeignKey("deliveries.id")),  # not before this one has ended well
    _needed("dedupe_key"),
    UniqueConstraint("dedupe_key"),
    _state_of(DELIVERY),
    Index("ix_deliveries_due", "lane", "due_at", "id", sqlite_where=_queued, postgresql_where=_queued),
    Index("ix_deliveries_suspect", "due_at", sqlite_where=_suspect, postgresql_where=_suspect),
    Index("ix_deliveries_leased", "lane", "lease_until", sqlite_where=_leased, postgresql_where=_leased),
    Index("ix_deliveries_awaiting", "due_at", sqlite_where=_awaiting, postgresql_where=_awaiting),
    _index_of_given("ix_deliveries_wire_id", "wire_id"),
    _index_of_given("ix_deliveries_case_id", "case_id"),
)

delivery_attempts = Table(
    "delivery_attempts",
    metadata,
    Column("delivery", BigInteger, ForeignKey("deliveries.id"), primary_key=True),
    Column("attempt", Integer, primary_key=True),
    _needed("started_at", Instant),
    Column("finished_at", Instant),
    Column("outcome", Text),
    Column("http_status", Integer),
    Column("problem", Text),
    Column("answer_sha256", Text, ForeignKey("payloads.sha256")),
)

transitions = Table(
    "transitions",
    metadata,
    _identity(),
    _needed("machine"),
    _needed("object_id", BigInteger),
    _needed("from_state"),
    _needed("event"),
    _needed("to_state"),
    _needed("at", Instant),
    _needed("actor"),
    Column("detail", Text),
    Index("ix_transitions_object", "machine", "object_id"),
)

# Append-only but for `seq`, which the sequencer gives; `data` is the very text that was hashed.
evidence = Table(
    "evidence",
    metadata,
    _identity(),
    _needed("at", Instant),
    _needed("kind"),
    _needed("subject_type"),
    _needed("subject_id"),
    Column("digest", Text),
    _needed("leaf_hash"),
    _needed("data"),
    Column("seq", BigInteger),
    _index_of_given("uq_evidence_seq", "seq", unique=True),
    # PostgreSQL commits rows in another order than it numbers them, so those without a place are
    # looked for; SQLite's one writer does not, and its index is of no row and costs nothing.
    Index("ix_evidence_unsealed", "id", sqlite_where=text("seq < 0"), postgresql_where=text("seq IS NULL")),
    Index("ix_evidence_subject", "subject_type", "subject_id"),
)

# Heads of the tree of evidence; `head` is the very text that was signed and stamped, `peaks` are the
# roots of the perfect trees it is made of, so that the next head needs no older leaf.
seals = Table(
    "seals",
    metadata,
    _identity(),
    _needed("first_seq", BigInteger),
    _needed("last_seq", BigInteger),
    _needed("root_hash"),
    _needed("peaks", Json),
    _needed("head"),
    Column("signature", LargeBinary),  # none where the key was away
    Column("certificate", LargeBinary),
    _needed("sealed_at", Instant),
    UniqueConstraint("first_seq"),
    CheckConstraint("last_seq >= first_seq", name="span"),
)

time_stamps = Table(
    "time_stamps",
    metadata,
    _identity(),
    _needed("seal", BigInteger, ForeignKey("seals.id")),
    _needed("authority"),
    _needed("at", Instant),
    _needed("policy"),
    _needed("serial"),
    _needed("token", LargeBinary),
    Column("verdict", Text),
    _needed("stored_at", Instant),
    UniqueConstraint("seal", "authority"),
)

audit = Table(
    "audit",
    metadata,
    _identity(),
    _needed("at", Instant),
    _needed("actor"),
    _needed("role"),
    _needed("action"),
    _needed("object"),
    _needed("outcome"),
    Column("remote", Text),
    Column("before", Json),
    Column("after", Json),
    Index("ix_audit_at", "at"),
)

# Folders of mappings as they were loaded, each once by its digest; never changed, so that what a
# case was split by can be looked up for as long as the case.
mapping_bundles = Table(
    "mapping_bundles",
    metadata,
    Column("digest", Text, primary_key=True),
    _needed("content", LargeBinary),
    _needed("loaded_at", Instant),
)

# From where something is fetched, and how that went; the settings say what is fetched, and how often.
fetch_sources = Table(
    "fetch_sources",
    metadata,
    Column("name", Text, primary_key=True),
    _needed("kind"),
    _needed("url"),
    Column("fetched_at", Instant),  # the last fetch that was believed
    Column("etag", Text),
    Column("failed_at", Instant),
    _needed("failures", Integer),  # since then
    Column("given_up", BigInteger),  # the last delivery of it that FAILED; one that follows cancels it
    Column("problem", Text),
    Column("detail", Text),
)

# What is in force of what was fetched: of a responder one row for each certificate it was asked about.
fetched_lists = Table(
    "fetched_lists",
    metadata,
    Column("source", Text, ForeignKey("fetch_sources.name"), primary_key=True),
    Column("subject", Text, primary_key=True),  # empty, or the SHA-256 of the certificate
    _needed("kind"),
    _needed("sha256", Text, ForeignKey("payloads.sha256")),
    _needed("issuer"),
    Column("number", Text),
    _needed("this_update", Instant),
    _needed("next_update", Instant),
    _needed("taken_at", Instant),  # when these very octets came into force
    _needed("fetched_at", Instant),
)

# Append-only: the last row says which bundle is in force, none: the one that came with the program.
mapping_uses = Table(
    "mapping_uses",
    metadata,
    _identity(),
    Column("digest", Text, ForeignKey("mapping_bundles.digest")),
    _needed("at", Instant),
    _needed("actor"),
)

# Append-only: the last list of a territory is the one in hand; those before it say what an earlier
# decision rested on.  `named_by` is empty for our own list, whose signer the settings name.
trust_lists = Table(
    "trust_lists",
    metadata,
    _identity(),
    _needed("form"),
    _needed("territory"),
    _needed("sequence", BigInteger),
    _needed("sha256"),
    _needed("signer", LargeBinary),
    _needed("issued", Instant),
    Column("next_update", Instant),
    _needed("content", LargeBinary),
    Column("named_by", Text),
    _needed("taken_at", Instant),
    _needed("taken_by"),
    CheckConstraint("form IN ('own', 'etsi')", name="form"),
)

# Verdicts on certificates, each once for the same certificate, use and things it rests on; `digest`
# is that of the document, among the payloads, which names all of them.
verdicts = Table(
    "verdicts",
    metadata,
    _identity(),
    _needed("digest", Text, ForeignKey("payloads.sha256")),
    _needed("leaf_sha256"),
    _needed("use"),
    _needed("status"),
    Column("problem", Text),
    _needed("tolerated", Boolean),
    _needed("judged_at", Instant),  # the first time
    _needed("valid_until", Instant),
    _needed("epoch", BigInteger),
    UniqueConstraint("digest"),
    CheckConstraint("status IN ('valid', 'invalid', 'indeterminate')", name="status"),
    Index("ix_verdicts_leaf_sha256", "leaf_sha256", "use", "judged_at"),
)

# A number that rises whenever something that caches depend on has changed.
epochs = Table(
    "epochs",
    metadata,
    Column("name", Text, primary_key=True),
    _needed("value", BigInteger),
)

__all__ += [table.name for table in metadata.sorted_tables]
