"""Digests of stored rows: what a leaf of evidence states about the rows that were stored with it.

A leaf proves an event; the rows that the event left in the working tables can be changed later. So the
data of a leaf has `stored`: for each table the digest of these rows, over the columns that never change
afterwards (`FIXED_COLUMNS`). Columns that do change are compared with what later leaves and transitions say.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from typing import Any, Final

#: The columns that never change after their row was stored, by the name of their digest: the table, or a part
#: of it behind a dot. What stored digests are made of never changes: another column needs another name.
FIXED_COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "messages": (
        *("message_id", "direction", "protocol", "kind", "conversation_id", "ref_to_message_id"),
        *("from_party", "to_party", "service", "action", "agreement_id", "pmode_id", "signer_sha256"),
        *("identity_sha256", "parcel_headers", "parcel_sha256", "received_at", "expires_at"),
    ),
    # The answer may be made later than the message.
    "messages.answer": ("answer_status", "answer_headers", "answer_sha256"),
    "message_payloads": ("position", "content_id", "media_type", "sha256", "size", "properties"),
    "customs_notices": (
        *("case_id", "number", "code", "kind", "issued_at", "content", "sha256", "delivery_id"),
        "received_at",
    ),
    # Each payment, and each step of a refund, has a leaf with what its row is then; the last one counts.
    "fee_movements": (
        *("fee_id", "kind", "reference", "state", "amount", "currency", "reason", "at"),
        *("payment", "provider_reference", "moved_at"),
    ),
    # The terms of a fee change where its levy comes after its end; this is a step of the fee.
    "fees": (
        *("number", "request_id", "case_id", "agency", "kind", "gate", "amount", "currency", "due_on"),
        *("payment_notice", "refundable", "levied_at", "due_at", "notice"),
    ),
    "item_releases": (
        *("parent_id", "child_id", "item", "measure", "quantity", "unit", "whole", "whole_unit"),
    ),
    # Each step of an act has a leaf with what its row is then; the last one counts.
    "officer_acts": (
        *("request_id", "agency", "kind", "state", "content", "shown_sha256", "account_id", "name", "role"),
        *("at", "confirmation", "approver_id", "approver_name", "approver_role", "approver_confirmation"),
        *("reason", "message_id", "notice_number", "issued_at", "call_sha256", "problem", "detail"),
        *("ended_at", "under_way"),
    ),
    # All results about a requirement, each time that one comes: it may change the place of others in a day.
    "requirement_results": (
        *("requirement_id", "agency", "notice_no", "item", "law", "issued_at", "status_code", "decision"),
        *("date", "quantity", "unit", "conditions", "notice_sha256", "received_at", "said"),
    ),
    # The register: its rows do change, and the leaf of each change states them anew, whole.
    "parties": ("id", "name", "role", "status", "created_at"),
    "party_ids": ("type", "value", "party_id"),
    "certificates": (
        *("sha256", "use", "party_id", "subject", "issuer", "serial", "not_before", "not_after", "status"),
        *("der", "added_at", "valid_from", "valid_until"),
    ),
    "mandates": ("id", "party_id", "on_behalf_of", "scope", "valid_from", "valid_until", "revoked_at"),
    "forwarding_rules": (
        *("id", "to_value", "to_type", "service", "action", "next_party", "endpoint", "senders"),
        *("acknowledgment", "sync_reply", "retries", "retry_interval", "created_at"),
    ),
    "agreements": (
        *("id", "kind", "source", "sha256", "valid_from", "valid_until", "status", "loaded_at", "loaded_by"),
        *("overrides", "successors"),
    ),
    "pmodes": (
        *("agreement_id", "id", "protocol", "from_party", "from_role", "to_party", "to_role", "service"),
        *("action", "parameters"),
    ),
    # Without the language, which people choose at any time.
    "accounts": (
        *("id", "name", "display_name", "status", "password", "password_changed_at", "certificate_sha256"),
        *("oidc_issuer", "oidc_subject", "created_at", "created_by"),
    ),
    "account_roles": ("account_id", "kind", "organisation", "role"),
    "account_certificates": ("sha256", "account_id", "subject", "not_after", "der", "added_at"),
    "revocations": (
        *("issuer_key_sha256", "crl_number", "this_update", "next_update", "der", "fetched_at"),
        "replaced_at",
    ),
    # Without the time of the last fetch, as the same list may be fetched again.
    "fetched_lists": (
        *("source", "subject", "kind", "sha256", "issuer", "number", "this_update", "next_update"),
        "taken_at",
    ),
    "trust_lists": (
        *("id", "form", "territory", "sequence", "sha256", "signer", "issued", "next_update", "content"),
        *("named_by", "taken_at", "taken_by"),
    ),
    "calendar_editions": (
        *("kind", "name", "edition", "valid_from", "valid_until", "row_count", "sha256", "content"),
        *("loaded_at", "loaded_by"),
    ),
    "need_tables": (
        *("name", "edition", "valid_from", "valid_until", "row_count", "sha256", "content", "loaded_at"),
        "loaded_by",
    ),
    "mapping_bundles": ("digest", "content", "loaded_at"),
    "mapping_uses": ("id", "digest", "at", "actor", "starts", "cancels"),
    "audit": (
        *("id", "at", "actor", "role", "action", "object", "outcome", "remote", "before", "after"),
        *("account", "reason"),
    ),
    "cases": (
        *("number", "document", "function", "declarant", "agent", "applicant", "functional_reference"),
        *("version", "ucr", "message", "opened_at"),
    ),
    "agency_requests": (
        *("id", "case_id", "number", "application", "agency", "document", "sequence", "mapping"),
    ),
    # Of a notice that states a day alone, `issued_at` is the first instant of the day, before it is placed.
    "notices": (
        *("request_id", "agency", "number", "issued_at", "status_code", "text", "pointers", "deadline"),
        *("sha256", "received_at", "fee_notice", "day_begins_at"),
    ),
    "decisions": (
        *("id", "request_id", "agency", "notice_no", "item", "law", "decision", "number", "date", "quantity"),
        *("unit", "conditions", "received_at"),
    ),
}
#: The field of the data of a leaf that has the digests of the rows stored with it, by table.
STORED: Final = "stored"
_encode: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode


def digest_rows(name: str, rows: Iterable[Any]) -> str:
    """Return the SHA-256 of the fixed columns of rows of a table, in hexadecimal, in any order of the rows.

    A row is a row of the database, or the values that will be stored: as a mapping, or as attributes.
    """
    columns = FIXED_COLUMNS[name]
    lines = sorted(_encode([_spell(value) for value in _read_columns(row, columns)]) for row in rows)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _read_columns(row: Any, columns: Iterable[str]) -> list[Any]:
    if isinstance(row, Mapping):
        return [row[name] for name in columns]
    return [getattr(row, name) for name in columns]


def _spell(value: Any) -> Any:
    """Return a value of a column as JSON has it: one spelling on both databases."""
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, bytes):
        return hashlib.sha256(value).hexdigest()
    if isinstance(value, Mapping):
        return {str(name): _spell(each) for name, each in value.items()}
    return [_spell(each) for each in value]
