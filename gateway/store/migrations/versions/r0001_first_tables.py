"""Creates the first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gateway.store.tables import Instant, Json

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def _identity() -> sa.Column[int]:
    key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    return sa.Column("id", key, sa.Identity(), nullable=False)


def _agreements() -> None:
    op.create_table(
        "agreements",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("source", sa.LargeBinary(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("valid_from", Instant(), nullable=True),
        sa.Column("valid_until", Instant(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("loaded_at", Instant(), nullable=False),
        sa.Column("loaded_by", sa.Text(), nullable=False),
        sa.CheckConstraint("kind IN ('cpa', 'pmode')", name=op.f("ck_agreements_kind")),
        sa.CheckConstraint("status IN ('ACTIVE', 'SUSPENDED', 'RETIRED')", name=op.f("ck_agreements_status")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_agreements")),
    )


def _audit() -> None:
    op.create_table(
        "audit",
        _identity(),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("object", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("remote", sa.Text(), nullable=True),
        sa.Column("before", Json(), nullable=True),
        sa.Column("after", Json(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
    )
    op.create_index("ix_audit_at", "audit", ["at"], unique=False)


def _epochs() -> None:
    op.create_table(
        "epochs",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_epochs")),
    )


def _evidence() -> None:
    op.create_table(
        "evidence",
        _identity(),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject_type", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=True),
        sa.Column("leaf_hash", sa.Text(), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_evidence")),
    )
    op.create_index("ix_evidence_subject", "evidence", ["subject_type", "subject_id"], unique=False)
    op.create_index(
        "uq_evidence_seq",
        "evidence",
        ["seq"],
        unique=True,
        sqlite_where=sa.text("seq IS NOT NULL"),
        postgresql_where=sa.text("seq IS NOT NULL"),
    )


def _lanes() -> None:
    op.create_table(
        "lanes",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("capacity", sa.Integer(), nullable=True),
        sa.Column("open_until", Instant(), nullable=True),
        sa.Column("last_problem", sa.Text(), nullable=True),
        sa.CheckConstraint("capacity > 0", name=op.f("ck_lanes_capacity")),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_lanes")),
    )


def _messages() -> None:
    op.create_table(
        "messages",
        _identity(),
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("direction", sa.Text(), nullable=False),
        sa.Column("protocol", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("conversation_id", sa.Text(), nullable=False),
        sa.Column("ref_to_message_id", sa.Text(), nullable=True),
        sa.Column("from_party", sa.Text(), nullable=False),
        sa.Column("to_party", sa.Text(), nullable=False),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("pmode_id", sa.Text(), nullable=True),
        sa.Column("signer_sha256", sa.Text(), nullable=True),
        sa.Column("identity_sha256", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.Column("received_at", Instant(), nullable=False),
        sa.Column("expires_at", Instant(), nullable=True),
        sa.Column("case_id", sa.BigInteger(), nullable=True),
        sa.Column("parcel_headers", Json(), nullable=False),
        sa.Column("parcel_sha256", sa.Text(), nullable=False),
        sa.Column("answer_status", sa.Integer(), nullable=True),
        sa.Column("answer_headers", Json(), nullable=True),
        sa.Column("answer_sha256", sa.Text(), nullable=True),
        sa.Column("answer_body", sa.LargeBinary(), nullable=True),
        sa.CheckConstraint("direction IN ('in', 'out')", name=op.f("ck_messages_direction")),
        sa.CheckConstraint(
            "state IN ('RECEIVED', 'ACCEPTED', 'FAILED', 'DUPLICATE', 'REFUSED', 'PROCESSED')",
            name=op.f("ck_messages_state"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_messages")),
        sa.UniqueConstraint("message_id", "from_party", "direction", name=op.f("uq_messages_message_id")),
    )
    op.create_index(
        "ix_messages_case_id",
        "messages",
        ["case_id"],
        unique=False,
        sqlite_where=sa.text("case_id IS NOT NULL"),
        postgresql_where=sa.text("case_id IS NOT NULL"),
    )


def _parties() -> None:
    op.create_table(
        "parties",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.CheckConstraint("status IN ('ACTIVE', 'SUSPENDED', 'RETIRED')", name=op.f("ck_parties_status")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_parties")),
    )


def _payloads() -> None:
    op.create_table(
        "payloads",
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("stored_at", Instant(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_payloads")),
    )


def _revocations() -> None:
    op.create_table(
        "revocations",
        sa.Column("issuer_key_sha256", sa.Text(), nullable=False),
        sa.Column("crl_number", sa.Text(), nullable=False),
        sa.Column("this_update", Instant(), nullable=False),
        sa.Column("next_update", Instant(), nullable=True),
        sa.Column("der", sa.LargeBinary(), nullable=False),
        sa.Column("fetched_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("issuer_key_sha256", "crl_number", name=op.f("pk_revocations")),
    )


def _seals() -> None:
    op.create_table(
        "seals",
        _identity(),
        sa.Column("first_seq", sa.BigInteger(), nullable=False),
        sa.Column("last_seq", sa.BigInteger(), nullable=False),
        sa.Column("root_hash", sa.Text(), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.Column("timestamp_token", sa.LargeBinary(), nullable=True),
        sa.Column("sealed_at", Instant(), nullable=False),
        sa.CheckConstraint("last_seq >= first_seq", name=op.f("ck_seals_span")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_seals")),
        sa.UniqueConstraint("first_seq", name=op.f("uq_seals_first_seq")),
    )


def _transitions() -> None:
    op.create_table(
        "transitions",
        _identity(),
        sa.Column("machine", sa.Text(), nullable=False),
        sa.Column("object_id", sa.BigInteger(), nullable=False),
        sa.Column("from_state", sa.Text(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("to_state", sa.Text(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_transitions")),
    )
    op.create_index("ix_transitions_object", "transitions", ["machine", "object_id"], unique=False)


def _cases() -> None:
    op.create_table(
        "cases",
        _identity(),
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("function", sa.Text(), nullable=False),
        sa.Column("declarant", sa.Text(), nullable=False),
        sa.Column("agent", sa.Text(), nullable=True),
        sa.Column("applicant", sa.Text(), nullable=False),
        sa.Column("functional_reference", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("ucr", sa.Text(), nullable=True),
        sa.Column("message", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("detail", Json(), nullable=True),
        sa.Column("opened_at", Instant(), nullable=False),
        sa.Column("due_at", Instant(), nullable=True),
        sa.Column("closed_at", Instant(), nullable=True),
        sa.CheckConstraint(
            "outcome IN ('APPROVED', 'PARTIAL', 'REJECTED', 'REFUSED', 'WITHDRAWN')",
            name=op.f("ck_cases_outcome"),
        ),
        sa.CheckConstraint(
            "state IN ('OPENED', 'IN_PROGRESS', 'DECIDED', 'CLOSED', 'REFUSED', 'WITHDRAWN')",
            name=op.f("ck_cases_state"),
        ),
        sa.ForeignKeyConstraint(["message"], ["messages.id"], name=op.f("fk_cases_message")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cases")),
        sa.UniqueConstraint("declarant", "functional_reference", "version", name=op.f("uq_cases_declarant")),
        sa.UniqueConstraint("number", name=op.f("uq_cases_number")),
    )
    op.create_index("ix_cases_opened_at", "cases", ["opened_at"], unique=False)


def _certificates() -> None:
    op.create_table(
        "certificates",
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("use", sa.Text(), nullable=False),
        sa.Column("party_id", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("issuer", sa.Text(), nullable=False),
        sa.Column("serial", sa.Text(), nullable=False),
        sa.Column("not_before", Instant(), nullable=False),
        sa.Column("not_after", Instant(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("der", sa.LargeBinary(), nullable=False),
        sa.Column("added_at", Instant(), nullable=False),
        sa.CheckConstraint("status IN ('ACTIVE', 'RETIRED')", name=op.f("ck_certificates_status")),
        sa.CheckConstraint("use IN ('signing', 'encryption', 'tls')", name=op.f("ck_certificates_use")),
        sa.ForeignKeyConstraint(["party_id"], ["parties.id"], name=op.f("fk_certificates_party_id")),
        sa.PrimaryKeyConstraint("sha256", "use", name=op.f("pk_certificates")),
    )
    op.create_index("ix_certificates_party_id", "certificates", ["party_id"], unique=False)


def _mandates() -> None:
    op.create_table(
        "mandates",
        _identity(),
        sa.Column("party_id", sa.Text(), nullable=False),
        sa.Column("on_behalf_of", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("valid_from", Instant(), nullable=False),
        sa.Column("valid_until", Instant(), nullable=True),
        sa.Column("revoked_at", Instant(), nullable=True),
        sa.ForeignKeyConstraint(["on_behalf_of"], ["parties.id"], name=op.f("fk_mandates_on_behalf_of")),
        sa.ForeignKeyConstraint(["party_id"], ["parties.id"], name=op.f("fk_mandates_party_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mandates")),
    )
    op.create_index("ix_mandates_party_id", "mandates", ["party_id", "on_behalf_of"], unique=False)


def _message_payloads() -> None:
    op.create_table(
        "message_payloads",
        sa.Column("message", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("content_id", sa.Text(), nullable=False),
        sa.Column("media_type", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("parcel_offset", sa.BigInteger(), nullable=True),
        sa.Column("properties", Json(), nullable=False),
        sa.ForeignKeyConstraint(["message"], ["messages.id"], name=op.f("fk_message_payloads_message")),
        sa.PrimaryKeyConstraint("message", "position", name=op.f("pk_message_payloads")),
        sqlite_with_rowid=False,
    )


def _party_ids() -> None:
    op.create_table(
        "party_ids",
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("party_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["party_id"], ["parties.id"], name=op.f("fk_party_ids_party_id")),
        sa.PrimaryKeyConstraint("type", "value", name=op.f("pk_party_ids")),
    )


def _pmodes() -> None:
    op.create_table(
        "pmodes",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("agreement_id", sa.Text(), nullable=False),
        sa.Column("protocol", sa.Text(), nullable=False),
        sa.Column("from_party", sa.Text(), nullable=False),
        sa.Column("from_role", sa.Text(), nullable=True),
        sa.Column("to_party", sa.Text(), nullable=False),
        sa.Column("to_role", sa.Text(), nullable=True),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("parameters", Json(), nullable=False),
        sa.ForeignKeyConstraint(["agreement_id"], ["agreements.id"], name=op.f("fk_pmodes_agreement_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pmodes")),
        sa.UniqueConstraint(
            "agreement_id",
            "protocol",
            "from_party",
            "to_party",
            "service",
            "action",
            name=op.f("uq_pmodes_agreement_id"),
        ),
    )


def _agency_requests() -> None:
    op.create_table(
        "agency_requests",
        _identity(),
        sa.Column("case_id", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("application", sa.Text(), nullable=False),
        sa.Column("agency", sa.Text(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("mapping", sa.Text(), nullable=False),
        sa.Column("mapping_version", sa.Text(), nullable=False),
        sa.Column("mapping_sha256", sa.Text(), nullable=False),
        sa.Column("document_sha256", sa.Text(), nullable=False),
        sa.Column("required", Json(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("status_code", sa.Text(), nullable=True),
        sa.Column("receipt_number", sa.Text(), nullable=True),
        sa.Column("decision", sa.Text(), nullable=True),
        sa.Column("decided_by", sa.Text(), nullable=True),
        sa.Column("decided_at", Instant(), nullable=True),
        sa.Column("reply_sha256", sa.Text(), nullable=True),
        sa.Column("due_at", Instant(), nullable=True),
        sa.CheckConstraint(
            "state IN ('PREPARED', 'SENT', 'ACKNOWLEDGED', 'INFORMATION_REQUIRED', 'INSPECTION', "
            "'FEE_DUE', 'STRANDED', 'DECIDED', 'CANCELLED')",
            name=op.f("ck_agency_requests_state"),
        ),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_agency_requests_case_id")),
        sa.ForeignKeyConstraint(
            ["document_sha256"], ["payloads.sha256"], name=op.f("fk_agency_requests_document_sha256")
        ),
        sa.ForeignKeyConstraint(
            ["reply_sha256"], ["payloads.sha256"], name=op.f("fk_agency_requests_reply_sha256")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_agency_requests")),
        sa.UniqueConstraint("case_id", "agency", "sequence", name=op.f("uq_agency_requests_case_id")),
        sa.UniqueConstraint("number", name=op.f("uq_agency_requests_number")),
    )


def _deliveries() -> None:
    op.create_table(
        "deliveries",
        _identity(),
        sa.Column("agent", sa.Text(), nullable=False),
        sa.Column("destination", sa.Text(), nullable=False),
        sa.Column("lane", sa.Text(), nullable=False),
        sa.Column("subject_type", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.Text(), nullable=False),
        sa.Column("case_id", sa.BigInteger(), nullable=True),
        sa.Column("wire_id", sa.Text(), nullable=True),
        sa.Column("payload_sha256", sa.Text(), nullable=True),
        sa.Column("parameters", Json(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("due_at", Instant(), nullable=False),
        sa.Column("expires_at", Instant(), nullable=True),
        sa.Column("leased_by", sa.Text(), nullable=True),
        sa.Column("lease_until", Instant(), nullable=True),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("finished_at", Instant(), nullable=True),
        sa.Column("follows", sa.BigInteger(), nullable=True),
        sa.Column("dedupe_key", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "state IN ('QUEUED', 'ACTIVE', 'AWAITING_RECEIPT', 'HELD', 'FAILED', 'DELIVERED', 'CANCELLED')",
            name=op.f("ck_deliveries_state"),
        ),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_deliveries_case_id")),
        sa.ForeignKeyConstraint(["follows"], ["deliveries.id"], name=op.f("fk_deliveries_follows")),
        sa.ForeignKeyConstraint(["lane"], ["lanes.name"], name=op.f("fk_deliveries_lane")),
        sa.ForeignKeyConstraint(
            ["payload_sha256"], ["payloads.sha256"], name=op.f("fk_deliveries_payload_sha256")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deliveries")),
        sa.UniqueConstraint("dedupe_key", name=op.f("uq_deliveries_dedupe_key")),
    )
    op.create_index(
        "ix_deliveries_awaiting",
        "deliveries",
        ["due_at"],
        unique=False,
        sqlite_where=sa.text("state = 'AWAITING_RECEIPT'"),
        postgresql_where=sa.text("state = 'AWAITING_RECEIPT'"),
    )
    op.create_index(
        "ix_deliveries_case_id",
        "deliveries",
        ["case_id"],
        unique=False,
        sqlite_where=sa.text("case_id IS NOT NULL"),
        postgresql_where=sa.text("case_id IS NOT NULL"),
    )
    op.create_index(
        "ix_deliveries_due",
        "deliveries",
        ["lane", "due_at", "id"],
        unique=False,
        sqlite_where=sa.text("state = 'QUEUED'"),
        postgresql_where=sa.text("state = 'QUEUED'"),
    )
    op.create_index(
        "ix_deliveries_leased",
        "deliveries",
        ["lane", "lease_until"],
        unique=False,
        sqlite_where=sa.text("state = 'ACTIVE'"),
        postgresql_where=sa.text("state = 'ACTIVE'"),
    )
    op.create_index(
        "ix_deliveries_wire_id",
        "deliveries",
        ["wire_id"],
        unique=False,
        sqlite_where=sa.text("wire_id IS NOT NULL"),
        postgresql_where=sa.text("wire_id IS NOT NULL"),
    )


def _notices() -> None:
    op.create_table(
        "notices",
        _identity(),
        sa.Column("request_id", sa.BigInteger(), nullable=False),
        sa.Column("agency", sa.Text(), nullable=False),
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("issued_at", Instant(), nullable=False),
        sa.Column("status_code", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("pointers", Json(), nullable=False),
        sa.Column("deadline", Instant(), nullable=True),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("received_at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(["request_id"], ["agency_requests.id"], name=op.f("fk_notices_request_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notices")),
        sa.UniqueConstraint("agency", "number", name=op.f("uq_notices_agency")),
    )
    op.create_index("ix_notices_request_id", "notices", ["request_id"], unique=False)


def _correlations() -> None:
    op.create_table(
        "correlations",
        sa.Column("scheme", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("case_id", sa.BigInteger(), nullable=False),
        sa.Column("request_id", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_correlations_case_id")),
        sa.ForeignKeyConstraint(
            ["request_id"], ["agency_requests.id"], name=op.f("fk_correlations_request_id")
        ),
        sa.PrimaryKeyConstraint("scheme", "value", name=op.f("pk_correlations")),
    )
    op.create_index("ix_correlations_case_id", "correlations", ["case_id"], unique=False)


def _decisions() -> None:
    op.create_table(
        "decisions",
        _identity(),
        sa.Column("request_id", sa.BigInteger(), nullable=False),
        sa.Column("agency", sa.Text(), nullable=False),
        sa.Column("notice_no", sa.Text(), nullable=False),
        sa.Column("item", sa.Integer(), nullable=False),
        sa.Column("law", sa.Text(), nullable=False),
        sa.Column("issued_at", Instant(), nullable=False),
        sa.Column("decision", sa.Text(), nullable=False),
        sa.Column("number", sa.Text(), nullable=True),
        sa.Column("date", sa.Date(), nullable=True),
        sa.Column("quantity", sa.Text(), nullable=True),
        sa.Column("unit", sa.Text(), nullable=True),
        sa.Column("conditions", Json(), nullable=False),
        sa.Column("superseded_by", sa.BigInteger(), nullable=True),
        sa.Column("received_at", Instant(), nullable=False),
        sa.CheckConstraint(
            "decision IN ('APPROVED', 'APPROVED_WITH_CONDITIONS', 'REJECTED', 'NOT_CONCERNED')",
            name=op.f("ck_decisions_decision"),
        ),
        sa.ForeignKeyConstraint(["request_id"], ["agency_requests.id"], name=op.f("fk_decisions_request_id")),
        sa.ForeignKeyConstraint(["superseded_by"], ["decisions.id"], name=op.f("fk_decisions_superseded_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_decisions")),
        sa.UniqueConstraint("agency", "notice_no", "item", "law", name=op.f("uq_decisions_agency")),
    )
    op.create_index("ix_decisions_request_id", "decisions", ["request_id", "item", "law"], unique=False)
    op.create_index(
        "ix_decisions_number",
        "decisions",
        ["number"],
        unique=False,
        sqlite_where=sa.text("number IS NOT NULL"),
        postgresql_where=sa.text("number IS NOT NULL"),
    )


def _delivery_attempts() -> None:
    op.create_table(
        "delivery_attempts",
        sa.Column("delivery", sa.BigInteger(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("started_at", Instant(), nullable=False),
        sa.Column("finished_at", Instant(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("http_status", sa.Integer(), nullable=True),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.Column("answer_sha256", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["answer_sha256"], ["payloads.sha256"], name=op.f("fk_delivery_attempts_answer_sha256")
        ),
        sa.ForeignKeyConstraint(["delivery"], ["deliveries.id"], name=op.f("fk_delivery_attempts_delivery")),
        sa.PrimaryKeyConstraint("delivery", "attempt", name=op.f("pk_delivery_attempts")),
    )


def upgrade() -> None:
    """Create every table, and the lane of local tasks."""
    for create in (
        _agreements,
        _audit,
        _epochs,
        _evidence,
        _lanes,
        _messages,
        _parties,
        _payloads,
        _revocations,
        _seals,
        _transitions,
        _cases,
        _certificates,
        _mandates,
        _message_payloads,
        _party_ids,
        _pmodes,
        _agency_requests,
        _notices,
        _deliveries,
        _correlations,
        _decisions,
        _delivery_attempts,
    ):
        create()
    op.execute("INSERT INTO lanes (name) VALUES ('local')")
