"""The tables of the hub, once for both databases. Octets are stored once, by their SHA-256."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    false,
)

from gateway.state_machines import CASE, DELIVERY, MESSAGE, REQUEST
from gateway.store import (
    account_tables,
    answer_tables,
    api_tables,
    customs_tables,
    deadline_tables,
    draft_tables,
    event_tables,
    fee_tables,
    forwarding_tables,
    fragment_tables,
    mapping_tables,
    node_tables,
    officer_tables,
    operations_tables,
    order_tables,
    pull_tables,
    release_tables,
    requirement_tables,
    sign_in_tables,
    state_tables,
    statistics_tables,
    work_tables,
)
from gateway.store.column_types import Instant, Json
from gateway.store.record_tables import evidence, transitions
from gateway.store.table_types import ClusteredTable, PartialIndex, metadata
from gateway.store.table_types import make_identity_column as _make_identity_column
from gateway.store.table_types import make_partial_index as _make_partial_index
from gateway.store.table_types import make_required_column as _make_required_column
from gateway.store.table_types import make_state_constraint as _make_state_constraint

__all__ = ["Instant", "Json", "evidence", "metadata", "transitions"]


parties = Table(
    "parties",
    metadata,
    Column("id", Text, primary_key=True),
    _make_required_column("name"),
    _make_required_column("role"),
    _make_required_column("status"),
    _make_required_column("created_at", Instant),
    CheckConstraint("status IN ('ACTIVE', 'SUSPENDED', 'RETIRED')", name="status"),
)

party_ids = Table(
    "party_ids",
    metadata,
    Column("type", Text, primary_key=True),  # empty where the PartyId has no type
    Column("value", Text, primary_key=True),
    _make_required_column("party_id", Text, ForeignKey("parties.id")),
)

certificates = Table(
    "certificates",
    metadata,
    Column("sha256", Text, primary_key=True),
    Column("use", Text, primary_key=True),
    _make_required_column("party_id", Text, ForeignKey("parties.id")),
    _make_required_column("subject"),
    _make_required_column("issuer"),
    _make_required_column("serial"),
    _make_required_column("not_before", Instant),
    _make_required_column("not_after", Instant),
    _make_required_column("status"),
    _make_required_column("der", LargeBinary),
    _make_required_column("added_at", Instant),
    # Our own bounds within the certificate's validity, start inclusive, end exclusive: for a key change.
    Column("valid_from", Instant),
    Column("valid_until", Instant),
    CheckConstraint("use IN ('signing', 'encryption', 'tls')", name="use"),
    CheckConstraint("status IN ('ACTIVE', 'RETIRED')", name="status"),
    Index("ix_certificates_party_id", "party_id"),
)

mandates = Table(
    "mandates",
    metadata,
    _make_identity_column(),
    _make_required_column("party_id", Text, ForeignKey("parties.id")),
    _make_required_column("on_behalf_of", Text, ForeignKey("parties.id")),
    _make_required_column("scope"),
    _make_required_column("valid_from", Instant),
    Column("valid_until", Instant),
    Column("revoked_at", Instant),
    Index("ix_mandates_party_id", "party_id", "on_behalf_of"),
)

revocations = Table(
    "revocations",
    metadata,
    Column("issuer_key_sha256", Text, primary_key=True),
    Column("crl_number", Text, primary_key=True),
    _make_required_column("this_update", Instant),
    Column("next_update", Instant),
    _make_required_column("der", LargeBinary),
    _make_required_column("fetched_at", Instant),
)

agreements = Table(
    "agreements",
    metadata,
    Column("id", Text, primary_key=True),
    _make_required_column("kind"),
    _make_required_column("source", LargeBinary),
    _make_required_column("sha256"),
    Column("valid_from", Instant),
    Column("valid_until", Instant),
    _make_required_column("status"),
    _make_required_column("loaded_at", Instant),
    _make_required_column("loaded_by"),
    Column("overrides", Json),
    Column("successors", Json),
    CheckConstraint("status IN ('ACTIVE', 'SUSPENDED', 'RETIRED')", name="status"),
    CheckConstraint("kind IN ('cpa', 'pmode')", name="kind"),
)

# Two of an agreement for the same messages are refused when it is read; some differ by their parameters.
pmodes = Table(
    "pmodes",
    metadata,
    Column("agreement_id", Text, ForeignKey("agreements.id"), primary_key=True),
    Column("id", Text, primary_key=True),
    _make_required_column("protocol"),
    _make_required_column("from_party"),
    Column("from_role", Text),
    _make_required_column("to_party"),
    Column("to_role", Text),
    _make_required_column("service"),
    _make_required_column("action"),
    _make_required_column("parameters", Json),
    Index("ix_pmodes_parties", "from_party", "to_party"),
)

payloads = Table(
    "payloads",
    metadata,
    Column("sha256", Text, primary_key=True),
    _make_required_column("size", BigInteger),
    _make_required_column("stored_at", Instant),
    _make_required_column("content", LargeBinary),  # empty where `purged_at` says when it was removed
    Column("purged_at", Instant),
    Column("stored_in", Text),  # null: in `content`; "objects": in the object store, under its digest
    PartialIndex("ix_payloads_objects", "sha256", where="stored_in IS NOT NULL"),
)

_came = "direction = 'in'"
_went = "direction = 'out'"
# Each state for itself: SQLite does not see that one of a list of values is in the list.
_troubled = "problem IS NOT NULL"
_unprocessed = "state = 'RECEIVED' OR state = 'FAILED' OR state = 'REFUSED'"

# `answer_*` is the receipt as sent: a duplicate gets these octets again. The row is written before the
# octets of its parcel, because the row decides whether it is a duplicate; SQLite would scan this whole
# table for a deferred foreign key. Between case and message only one side has a foreign key.
messages = Table(
    "messages",
    metadata,
    _make_identity_column(),
    _make_required_column("message_id"),
    _make_required_column("direction"),
    _make_required_column("protocol"),
    _make_required_column("kind"),
    _make_required_column("conversation_id"),
    Column("ref_to_message_id", Text),
    _make_required_column("from_party"),
    _make_required_column("to_party"),
    _make_required_column("service"),
    _make_required_column("action"),
    Column("pmode_id", Text),
    Column("signer_sha256", Text),
    _make_required_column("identity_sha256"),
    _make_required_column("state"),
    Column("problem", Text),
    _make_required_column("received_at", Instant),
    Column("expires_at", Instant),
    Column("case_id", BigInteger),
    _make_required_column("parcel_headers", Json),
    _make_required_column("parcel_sha256"),
    Column("answer_status", Integer),
    Column("answer_headers", Json),
    Column("answer_sha256", Text),
    Column("answer_body", LargeBinary),
    Column("parcel", LargeBinary),  # null where its octets are in `payloads`
    Column("agreement_id", Text),  # of the P-Mode; null where neither was known
    Column("purged_at", Instant),  # when retention removed the octets of parcel and answer
    UniqueConstraint("message_id", "from_party", "direction"),
    CheckConstraint("direction IN ('in', 'out')", name="direction"),
    _make_state_constraint(MESSAGE.states),
    _make_partial_index("ix_messages_case_id", "case_id"),
    # For the lists of operators; the usual message is not in the index of states.
    Index("ix_messages_received_at", "received_at", "id"),
    PartialIndex("ix_messages_sender", "from_party", "id", where=_came),
    PartialIndex("ix_messages_receiver", "to_party", "id", where=_went),
    PartialIndex("ix_messages_stopped", "state", "id", where=_unprocessed),
    PartialIndex("ix_messages_problem", "problem", "id", where=_troubled),
    PartialIndex("ix_messages_unpurged", "received_at", "id", where="purged_at IS NULL AND case_id IS NULL"),
    PartialIndex("ix_messages_parcel_sha256", "parcel_sha256", where="parcel IS NULL"),
)

# The parts of a message: by its offset where a part is unchanged in the parcel, else among the payloads.
message_payloads = ClusteredTable(
    "message_payloads",
    metadata,
    Column("message", BigInteger, ForeignKey("messages.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    _make_required_column("content_id"),
    _make_required_column("media_type"),
    _make_required_column("sha256"),
    _make_required_column("size", BigInteger),
    Column("parcel_offset", BigInteger),
    _make_required_column("properties", Json),
    PartialIndex("ix_message_payloads_sha256", "sha256", where="parcel_offset IS NULL"),
)

cases = Table(
    "cases",
    metadata,
    _make_identity_column(),
    _make_required_column("number"),
    _make_required_column("document"),
    _make_required_column("function"),
    _make_required_column("declarant"),
    Column("agent", Text),
    _make_required_column("applicant"),
    _make_required_column("functional_reference"),
    _make_required_column("version", Integer),
    Column("ucr", Text),
    _make_required_column("message", BigInteger, ForeignKey("messages.id")),
    _make_required_column("state"),
    Column("outcome", Text),
    Column("detail", Json),
    _make_required_column("opened_at", Instant),
    Column("due_at", Instant),
    Column("closed_at", Instant),
    Column("purged_at", Instant),  # when retention removed the octets of its messages and calls
    UniqueConstraint("number"),
    UniqueConstraint("declarant", "functional_reference", "version"),
    CheckConstraint("outcome IN ('APPROVED', 'PARTIAL', 'REJECTED', 'REFUSED', 'WITHDRAWN')", name="outcome"),
    _make_state_constraint(CASE.states),
    Index("ix_cases_opened_at", "opened_at"),
    Index("ix_cases_state", "state", "id"),
    Index("ix_cases_functional_reference", "functional_reference"),
    PartialIndex("ix_cases_unpurged", "opened_at", "id", where="purged_at IS NULL"),
    # For the lists of parties: the cases of each state are read in their order.
    Index("ix_cases_declarant", "declarant", "state", "id"),
    Index("ix_cases_applicant", "applicant", "state", "id"),
    _make_partial_index("ix_cases_ucr", "ucr"),
)

_UNDECIDED = "due_at IS NOT NULL AND state <> 'DECIDED' AND state <> 'CANCELLED'"

agency_requests = Table(
    "agency_requests",
    metadata,
    _make_identity_column(),
    _make_required_column("case_id", BigInteger, ForeignKey("cases.id")),
    _make_required_column("number"),
    _make_required_column("application"),
    _make_required_column("agency"),
    _make_required_column("document"),
    _make_required_column("sequence", Integer),
    _make_required_column("mapping"),
    _make_required_column("mapping_version"),
    _make_required_column("mapping_sha256"),
    _make_required_column("document_sha256", Text, ForeignKey("payloads.sha256")),
    _make_required_column("required", Json),
    _make_required_column("state"),
    Column("status_code", Text),
    Column("receipt_number", Text),
    Column("decision", Text),
    Column("decided_by", Text),
    Column("decided_at", Instant),
    Column("reply_sha256", Text, ForeignKey("payloads.sha256")),
    Column("due_at", Instant),
    Column("outdated_decision", BigInteger),  # decisions up to this row are on what was amended since
    Column("cancellation", Text),  # what became of the last question whether the agency cancels it
    Column("removed", Json),  # the [item, law] pairs that an amendment has removed from those required
    Column("demands", Json),  # what its agency has asked for and nothing has settled; NULL before 0086
    Column("demands_state", Text),  # the state as long as `demands` follow it; code from before 0086 does not
    UniqueConstraint("number"),
    UniqueConstraint("case_id", "agency", "sequence"),
    _make_state_constraint(REQUEST.states),
    Index("ix_agency_requests_agency", "agency", "case_id"),
    Index("ix_agency_requests_document_sha256", "document_sha256"),
    Index("ix_agency_requests_state", "agency", "state", "id"),
    PartialIndex("ix_agency_requests_asked", "agency", "id", where="cancellation = 'ASKED'"),
    PartialIndex("ix_agency_requests_due", "agency", "due_at", "id", where=_UNDECIDED),
    PartialIndex("ix_agency_requests_decided", "agency", "decided_at", where="decided_at IS NOT NULL"),
)

# Every notice of an agency as received, also one without decisions; the latest is by (issued_at, number).
notices = Table(
    "notices",
    metadata,
    _make_identity_column(),
    _make_required_column("request_id", BigInteger, ForeignKey("agency_requests.id")),
    _make_required_column("agency"),
    _make_required_column("number"),
    _make_required_column("issued_at", Instant),
    _make_required_column("status_code"),
    _make_required_column("text"),
    _make_required_column("pointers", Json),
    Column("deadline", Instant),
    _make_required_column("sha256"),
    _make_required_column("received_at", Instant),
    Column("fee_notice", Text),  # of a notice about a fee: the payment notice number it names; or empty
    UniqueConstraint("agency", "number"),
    Index("ix_notices_request_id", "request_id"),
)

decisions = Table(
    "decisions",
    metadata,
    _make_identity_column(),
    _make_required_column("request_id", BigInteger, ForeignKey("agency_requests.id")),
    _make_required_column("agency"),
    _make_required_column("notice_no"),
    _make_required_column("item", Integer),
    _make_required_column("law"),
    _make_required_column("issued_at", Instant),
    _make_required_column("decision"),
    Column("number", Text),
    Column("date", Date),
    Column("quantity", Text),  # the digits as the agency wrote them
    Column("unit", Text),
    _make_required_column("conditions", Json),
    Column("superseded_by", BigInteger, ForeignKey("decisions.id")),
    _make_required_column("received_at", Instant),
    Column("outdated_at", Instant),  # since when it does not count: its item was amended, or removed
    UniqueConstraint("agency", "notice_no", "item", "law"),
    CheckConstraint(
        "decision IN ('APPROVED', 'APPROVED_WITH_CONDITIONS', 'REJECTED', 'NOT_CONCERNED')", name="decision"
    ),
    Index("ix_decisions_request_id", "request_id", "item", "law"),
    _make_partial_index("ix_decisions_number", "number"),
)

correlations = Table(
    "correlations",
    metadata,
    Column("scheme", Text, primary_key=True),
    Column("value", Text, primary_key=True),
    _make_required_column("case_id", BigInteger, ForeignKey("cases.id")),
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
    Column("held_at", Instant),  # an operator holds the lane: nothing is claimed until it is released
    Column("held_by", Text),
    Column("hold_reason", Text),
    Column("pulled", Boolean, nullable=False, server_default=false()),  # no worker claims from it
    CheckConstraint("capacity > 0", name="capacity"),
)

_queued = "state = 'QUEUED'"
_suspect = "state = 'QUEUED' AND lost > 0"
_leased = "state = 'ACTIVE'"
_awaiting = "state = 'AWAITING_RECEIPT'"
_done = "state = 'DELIVERED'"
_stopped = "state = 'HELD' OR state = 'FAILED' OR state = 'CANCELLED'"

deliveries = Table(
    "deliveries",
    metadata,
    _make_identity_column(),
    _make_required_column("agent"),
    _make_required_column("destination"),
    _make_required_column("lane", Text, ForeignKey("lanes.name")),
    _make_required_column("subject_type"),
    _make_required_column("subject_id"),
    Column("case_id", BigInteger, ForeignKey("cases.id")),
    Column("wire_id", Text),  # the id at the destination: wsa:MessageID, eb:MessageId
    Column("payload_sha256", Text, ForeignKey("payloads.sha256")),
    _make_required_column("parameters", Json),
    _make_required_column("state"),
    _make_required_column("attempt", Integer),  # only ever rises: the fencing token
    _make_required_column("tries", Integer),  # since an operator last requeued it
    # Workers that died during it, one after another.
    Column("lost", Integer, nullable=False, server_default="0"),
    _make_required_column("due_at", Instant),
    Column("expires_at", Instant),
    Column("leased_by", Text),
    Column("lease_until", Instant),
    Column("problem", Text),
    _make_required_column("created_at", Instant),
    Column("finished_at", Instant),
    Column("follows", BigInteger, ForeignKey("deliveries.id")),  # waits for the end of this delivery
    _make_required_column("dedupe_key"),
    Column("last_sentence", Text),  # what we saw at the last attempt that failed
    UniqueConstraint("dedupe_key"),
    _make_state_constraint(DELIVERY.states),
    PartialIndex("ix_deliveries_due", "lane", "due_at", "id", where=_queued),
    PartialIndex("ix_deliveries_suspect", "due_at", where=_suspect),
    PartialIndex("ix_deliveries_leased", "lane", "lease_until", where=_leased),
    PartialIndex("ix_deliveries_awaiting", "due_at", where=_awaiting),
    PartialIndex("ix_deliveries_stopped", "state", "id", where=_stopped),
    # The last good delivery of a lane, and how many there were in an hour.
    PartialIndex("ix_deliveries_done", "lane", "finished_at", where=_done),
    _make_partial_index("ix_deliveries_wire_id", "wire_id"),
    _make_partial_index("ix_deliveries_payload_sha256", "payload_sha256"),
    _make_partial_index("ix_deliveries_case_id", "case_id"),
)

delivery_attempts = Table(
    "delivery_attempts",
    metadata,
    Column("delivery", BigInteger, ForeignKey("deliveries.id"), primary_key=True),
    Column("attempt", Integer, primary_key=True),
    _make_required_column("started_at", Instant),
    Column("finished_at", Instant),
    Column("outcome", Text),
    Column("http_status", Integer),
    Column("problem", Text),
    Column("answer_sha256", Text, ForeignKey("payloads.sha256")),
    Column("sentence", Text),  # what we saw
    Column("theirs", Text),  # the partner's own words
    _make_partial_index("ix_delivery_attempts_answer_sha256", "answer_sha256"),
    PartialIndex("ix_delivery_attempts_problem", "problem", "delivery", where=_troubled),
)

# Heads of the tree of evidence; `head` is exactly the text that was signed and stamped, `peaks` are the
# roots of its perfect subtrees, so that the next head needs no older leaf.
seals = Table(
    "seals",
    metadata,
    _make_identity_column(),
    _make_required_column("first_seq", BigInteger),
    _make_required_column("last_seq", BigInteger),
    _make_required_column("root_hash"),
    _make_required_column("peaks", Json),
    _make_required_column("head"),
    Column("signature", LargeBinary),  # null where the key was unavailable
    Column("certificate", LargeBinary),
    _make_required_column("sealed_at", Instant),
    UniqueConstraint("first_seq"),
    CheckConstraint("last_seq >= first_seq", name="span"),
)

time_stamps = Table(
    "time_stamps",
    metadata,
    _make_identity_column(),
    _make_required_column("seal", BigInteger, ForeignKey("seals.id")),
    _make_required_column("authority"),
    _make_required_column("at", Instant),
    _make_required_column("policy"),
    _make_required_column("serial"),
    _make_required_column("token", LargeBinary),
    Column("verdict", Text),
    _make_required_column("stored_at", Instant),
    UniqueConstraint("seal", "authority"),
)

audit = Table(
    "audit",
    metadata,
    _make_identity_column(),
    _make_required_column("at", Instant),
    _make_required_column("actor"),
    _make_required_column("role"),
    _make_required_column("action"),
    _make_required_column("object"),
    _make_required_column("outcome"),
    Column("remote", Text),
    Column("before", Json),
    Column("after", Json),
    Column("account", Text),
    Column("reason", Text),
    Index("ix_audit_at", "at"),
)

# How many messages were refused, by sender (a registered party, or empty) and problem.
refusals = Table(
    "refusals",
    metadata,
    Column("sender", Text, primary_key=True),
    Column("problem", Text, primary_key=True),
    _make_required_column("number", BigInteger),
    _make_required_column("first_at", Instant),
    _make_required_column("last_at", Instant),
    _make_required_column("last_sentence"),
)

# The sources of fetched data, with the results of their fetches; the settings say what is fetched, when.
fetch_sources = Table(
    "fetch_sources",
    metadata,
    Column("name", Text, primary_key=True),
    _make_required_column("kind"),
    _make_required_column("url"),
    Column("fetched_at", Instant),  # the last fetch that was accepted
    Column("etag", Text),
    Column("failed_at", Instant),
    _make_required_column("failures", Integer),  # since the last accepted fetch
    Column("given_up", BigInteger),  # its last delivery that FAILED; a later one cancels it
    Column("problem", Text),
    Column("detail", Text),
)

# The fetched data in force; for a responder one row for each certificate that was queried.
fetched_lists = Table(
    "fetched_lists",
    metadata,
    Column("source", Text, ForeignKey("fetch_sources.name"), primary_key=True),
    Column("subject", Text, primary_key=True),  # empty, or the SHA-256 of the certificate
    _make_required_column("kind"),
    _make_required_column("sha256", Text, ForeignKey("payloads.sha256")),
    _make_required_column("issuer"),
    Column("number", Text),
    _make_required_column("this_update", Instant),
    _make_required_column("next_update", Instant),
    _make_required_column("taken_at", Instant),  # when these octets came into force
    _make_required_column("fetched_at", Instant),
)

# Append-only: the last list of a territory is in force; earlier ones show what an earlier decision rested
# on. `named_by` is empty for our own list, whose signer the settings name.
trust_lists = Table(
    "trust_lists",
    metadata,
    _make_identity_column(),
    _make_required_column("form"),
    _make_required_column("territory"),
    _make_required_column("sequence", BigInteger),
    _make_required_column("sha256"),
    _make_required_column("signer", LargeBinary),
    _make_required_column("issued", Instant),
    Column("next_update", Instant),
    _make_required_column("content", LargeBinary),
    Column("named_by", Text),
    _make_required_column("taken_at", Instant),
    _make_required_column("taken_by"),
    CheckConstraint("form IN ('own', 'etsi')", name="form"),
)

# Verdicts on certificates; `digest` is that of the document, a payload, which names all of the evidence.
verdicts = Table(
    "verdicts",
    metadata,
    _make_identity_column(),
    _make_required_column("digest", Text, ForeignKey("payloads.sha256")),
    _make_required_column("leaf_sha256"),
    _make_required_column("use"),
    _make_required_column("status"),
    Column("problem", Text),
    _make_required_column("tolerated", Boolean),
    _make_required_column("judged_at", Instant),  # the first time
    _make_required_column("valid_until", Instant),
    _make_required_column("epoch", BigInteger),
    UniqueConstraint("digest"),
    CheckConstraint("status IN ('valid', 'invalid', 'indeterminate')", name="status"),
    Index("ix_verdicts_leaf_sha256", "leaf_sha256", "use", "judged_at"),
)

# A number that rises whenever data that caches depend on has changed.
epochs = Table(
    "epochs",
    metadata,
    Column("name", Text, primary_key=True),
    _make_required_column("value", BigInteger),
)

# Named here so that the catalogue of tables is complete wherever it is used.
_FURTHER = (
    *(account_tables, answer_tables, api_tables, customs_tables, deadline_tables, draft_tables, event_tables),
    *(fee_tables, forwarding_tables, fragment_tables, mapping_tables, node_tables, officer_tables),
    *(operations_tables, order_tables, pull_tables, release_tables, requirement_tables, sign_in_tables),
    *(state_tables, statistics_tables, work_tables),
)
__all__ += [one.name for one in metadata.sorted_tables if not any(one.name in x.__all__ for x in _FURTHER)]
