"""The transaction of a change with its audit row, and the register that a change reads."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Engine

from gateway.config import Settings, mask_url
from gateway.evidence import record_register_change
from gateway.hub import get_current_time
from gateway.operations.plain_values import make_json_value
from gateway.store import (
    AuditEntry,
    agreements,
    audit_log,
    deliveries,
    fetched_lists,
    parties,
    read_database_time,
    write_transaction,
)
from gateway.wire import shorten_to_octets

#: The role of everybody who acts by verbs, or on the pages of operators.
_OPERATOR_ROLE: Final = "operator"
#: The most octets in UTF-8 of the subject of evidence, which an index of the database has.
_MAX_SUBJECT_OCTETS: Final = 1024


@dataclass(frozen=True, slots=True)
class Act:
    """A verb that an operator runs, or the same act on a page: its words, its actor and its reason.

    `account` is the account of the operating system that runs a verb; None for a person of the console, whose
    network is `remote`.
    """

    verb: str
    actor: str
    account: str | None = None
    reason: str | None = None
    remote: str | None = None

    def make_audit_entry(self, subject: str, before: Any, after: Any) -> AuditEntry:
        """Return the entry of the audit for a change of `subject`; times become texts."""
        return AuditEntry(
            self.actor,
            _OPERATOR_ROLE,
            self.verb,
            subject,
            remote=self.remote,
            before=make_json_value(before),
            after=make_json_value(after),
            account=self.account,
            reason=self.reason,
        )


@dataclass(slots=True)
class DatabaseChange:
    """A transaction of a verb, which must record its change, or state that it changes nothing."""

    conn: Connection
    settings: Settings
    act: Act
    at: datetime
    audit_entry: AuditEntry | None = None
    #: The number of the row of audit.
    audit_number: int | None = None
    _is_unchanged: bool = field(default=False, repr=False)

    @property
    def actor(self) -> str:
        """Return the actor."""
        return self.act.actor

    def record_change(self, subject: str, *, before: Any = None, after: Any = None) -> None:
        """Record the one change of this verb: the `subject` that it acts on, before and after."""
        self._prepare_entry(subject, before, after)
        assert self.audit_entry is not None
        self.audit_number = audit_log.record_action(self.conn, self.audit_entry, self.at)

    def _prepare_entry(self, subject: str, before: Any, after: Any) -> None:
        if self.audit_entry is not None:
            raise RuntimeError(f"gateway {self.act.verb} records two changes")
        self.audit_entry = self.act.make_audit_entry(subject, before, after)

    def record_trust_change(self, subject: str, *, before: Any = None, after: Any = None) -> None:
        """Record a change of the trust of the hub: in the audit, and as evidence, after all of it is made."""
        self._prepare_entry(subject, before, after)
        assert self.audit_entry is not None
        # The row of audit has the whole subject: a file may name many agreements, or issuers of lists.
        evidence_subject = shorten_to_octets(subject, _MAX_SUBJECT_OCTETS)
        reason = {"reason": self.act.reason} if self.act.reason else {}
        self.audit_number = record_register_change(
            self.conn, evidence_subject, self.audit_entry, self.at, **reason
        )

    def leave_unchanged(self) -> None:
        """State that this verb changes nothing, so that nothing is recorded."""
        self._is_unchanged = True

    def describe_performed_act(self, act_text: str, **additional_values: Any) -> dict[str, Any]:
        """Return for JSON the act that was done, its object, and the number of its row of audit."""
        description = {
            "verb": self.act.verb,
            "done": act_text,
            "audit": self.audit_number,
            "by": self.act.actor,
        }
        if self.audit_entry is not None:
            description |= {
                "object": self.audit_entry.object,
                "before": self.audit_entry.before,
                "after": self.audit_entry.after,
            }
        return description | {name: make_json_value(value) for name, value in additional_values.items()}

    def check_recorded(self) -> None:
        """Raise unless the change is recorded, or there is none."""
        if (self.audit_entry is None) != self._is_unchanged:
            raise RuntimeError(f"gateway {self.act.verb} does not record what it changes")


@contextmanager
def open_change(
    engine: Engine, settings: Settings, act: Act, commit_name: str = "", at: datetime | None = None
) -> Iterator[DatabaseChange]:
    """Provide one transaction of an engine, which is committed with its audit.

    `commit_name` names its commit; `at` is the time of the change, if it is not now.
    """
    with write_transaction(engine, commit_name) as conn:
        change = DatabaseChange(conn, settings, act, at or read_database_time(conn) or get_current_time())
        yield change
        change.check_recorded()


_CERTIFICATE_COLUMNS = ("party_id", "use", "subject", "status", "valid_from", "valid_until")
_AGREEMENT_COLUMNS = ("kind", "status", "sha256", "valid_from", "valid_until")
_MANDATE_COLUMNS = ("party_id", "on_behalf_of", "scope", "valid_from", "valid_until", "revoked_at")
_FORWARDING_RULE_COLUMNS = (
    *("to_value", "to_type", "service", "action", "next_party", "endpoint", "senders", "acknowledgment"),
    *("sync_reply", "retries", "retry_interval"),
)
_DELIVERY_COLUMNS = ("lane", "destination", "state", "due_at", "problem")


def describe_party(conn: Connection, party_id: str) -> dict[str, Any] | None:
    """Return a party with its ids and the certificates that it may use; None for an unknown one."""
    party_row = parties.find_party(conn, party_id)
    if party_row is None:
        return None
    identifier_texts = [
        f"{identifier.type}|{identifier.value}" if identifier.type else identifier.value
        for identifier in parties.list_identifiers(conn, party_id)
    ]
    return {
        "name": party_row.name,
        "role": party_row.role,
        "status": party_row.status,
        "ids": identifier_texts,
        "certificates": [
            {
                "sha256": certificate.sha256,
                "use": certificate.use,
                "from": certificate.valid_from,
                "until": certificate.valid_until,
            }
            for certificate in parties.list_certificates(conn, party_id)
        ],
    }


def describe_certificate(conn: Connection, sha256: str) -> list[dict[str, Any]]:
    """Return a certificate as the register has it, once for each use; empty for an unknown one."""
    return [_pick_columns(row, _CERTIFICATE_COLUMNS) for row in parties.list_certificate_rows(conn, sha256)]


def describe_mandate(conn: Connection, mandate_id: int) -> dict[str, Any] | None:
    """Return a mandate; None for an unknown one."""
    return _pick_found_columns(parties.find_mandate(conn, mandate_id), _MANDATE_COLUMNS)


def describe_forwarding_rule(conn: Connection, rule_id: int) -> dict[str, Any] | None:
    """Return a forwarding rule; None for an unknown one."""
    return _pick_found_columns(agreements.find_forwarding_rule(conn, rule_id), _FORWARDING_RULE_COLUMNS)


def describe_agreements(conn: Connection, agreement_ids: Iterable[str]) -> dict[str, Any] | None:
    """Return agreements by their ids, with the ids of their P-Modes; None where all are unknown."""
    descriptions = {agreement_id: _describe_agreement(conn, agreement_id) for agreement_id in agreement_ids}
    return {
        agreement_id: description
        for agreement_id, description in descriptions.items()
        if description is not None
    } or None


def _describe_agreement(conn: Connection, agreement_id: str) -> dict[str, Any] | None:
    agreement_row = agreements.find_agreement(conn, agreement_id)
    if agreement_row is None:
        return None
    pmode_ids = [pmode.id for pmode in agreements.list_agreement_pmodes(conn, agreement_id)]
    description = _pick_columns(agreement_row, _AGREEMENT_COLUMNS) | {"pmodes": pmode_ids}
    if agreement_row.overrides is not None:
        description["overrides"] = _read_json_or_text(agreement_row.overrides)
    return description


def _read_json_or_text(text: str) -> Any:
    """Return the value of a JSON text; the text where it is no JSON, since another program wrote it."""
    try:
        value = json.loads(text)
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        return text
    return value


def describe_delivery(conn: Connection, delivery_id: int) -> dict[str, Any] | None:
    """Return the state of a delivery; None for an unknown one."""
    return _pick_found_columns(deliveries.find_by_id(conn, delivery_id), _DELIVERY_COLUMNS)


def describe_source(conn: Connection, source_name: str) -> dict[str, Any] | None:
    """Return the data in force from a source; None when nothing was ever fetched from it."""
    source_row = fetched_lists.find_source(conn, source_name)
    if source_row is None:
        return None
    return {
        "kind": source_row.kind,
        "url": mask_url(source_row.url),
        "lists": sorted(fetched_lists.list_by_source(conn, source_name)),
    }


def _pick_found_columns(row: object, column_names: tuple[str, ...]) -> dict[str, Any] | None:
    return None if row is None else _pick_columns(row, column_names)


def _pick_columns(row: object, column_names: tuple[str, ...]) -> dict[str, Any]:
    return {name: getattr(row, name) for name in column_names}
