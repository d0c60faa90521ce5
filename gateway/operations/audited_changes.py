"""The transaction of a change with its audit row, and the register that a change reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Engine

from gateway.config import Settings, mask_url
from gateway.evidence import record_evidence
from gateway.hub import get_current_time
from gateway.operations.plain_values import make_plain
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

#: The role of everybody who acts by verbs, or on the pages of operators.
_ROLE: Final = "operator"


@dataclass(frozen=True, slots=True)
class Act:
    """A verb that an operator runs, or the same act on a page: its words, its actor and its reason.

    `account` is the account of the operating system that runs a verb; None for a person of the console, whose
    network is `remote`.
    """

    verb: str
    by: str
    account: str | None = None
    reason: str | None = None
    remote: str | None = None

    def make_entry(self, subject: str, before: Any, after: Any) -> AuditEntry:
        """Return the entry of the audit for a change of `subject`; times become texts."""
        return AuditEntry(
            self.by,
            _ROLE,
            self.verb,
            subject,
            remote=self.remote,
            before=make_plain(before),
            after=make_plain(after),
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
    entry: AuditEntry | None = None
    #: The number of the row of audit.
    number: int | None = None
    _is_unchanged: bool = field(default=False, repr=False)

    @property
    def by(self) -> str:
        """Return the actor."""
        return self.act.by

    def record_change(self, subject: str, *, before: Any = None, after: Any = None) -> None:
        """Record the one change of this verb: the `subject` that it acts on, before and after."""
        if self.entry is not None:
            raise RuntimeError(f"gateway {self.act.verb} records two changes")
        self.entry = self.act.make_entry(subject, before, after)
        self.number = audit_log.record_action(self.conn, self.entry, self.at)

    def record_trust_change(self, subject: str, *, before: Any = None, after: Any = None) -> None:
        """Record a change of the trust of the hub: in the audit, and as evidence."""
        self.record_change(subject, before=before, after=after)
        assert self.entry is not None
        data = {
            "verb": self.act.verb,
            "by": self.act.by,
            "account": self.act.account,
            **({"reason": self.act.reason} if self.act.reason else {}),
            "audit": self.number,
            "before": self.entry.before,
            "after": self.entry.after,
        }
        record_evidence(self.conn, "register", "register", subject, None, data, self.at)

    def leave_unchanged(self) -> None:
        """State that this verb changes nothing, so that nothing is recorded."""
        self._is_unchanged = True

    def describe_done(self, sentence: str, **more: Any) -> dict[str, Any]:
        """Return for JSON the act that was done, its object, and the number of its row of audit."""
        description = {"verb": self.act.verb, "done": sentence, "audit": self.number, "by": self.act.by}
        if self.entry is not None:
            description |= {
                "object": self.entry.object,
                "before": self.entry.before,
                "after": self.entry.after,
            }
        return description | {name: make_plain(value) for name, value in more.items()}

    def check_record(self) -> None:
        """Raise unless the change is recorded, or there is none."""
        if (self.entry is None) != self._is_unchanged:
            raise RuntimeError(f"gateway {self.act.verb} does not record what it changes")


@contextmanager
def open_change(
    engine: Engine, settings: Settings, act: Act, name: str = "", at: datetime | None = None
) -> Iterator[DatabaseChange]:
    """Provide one transaction of an engine, which is committed with its audit.

    `name` names its commit; `at` is the time of the change, if it is not now.
    """
    with write_transaction(engine, name) as conn:
        change = DatabaseChange(conn, settings, act, at or read_database_time(conn) or get_current_time())
        yield change
        change.check_record()


_CERTIFICATE = ("party_id", "use", "subject", "status", "valid_from", "valid_until")
_AGREEMENT = ("kind", "status", "sha256", "valid_from", "valid_until")
_MANDATE = ("party_id", "on_behalf_of", "scope", "valid_from", "valid_until", "revoked_at")
_FORWARDING_RULE = (
    *("to_value", "to_type", "service", "action", "next_party", "endpoint", "senders", "acknowledgment"),
    *("sync_reply", "retries", "retry_interval"),
)
_DELIVERY = ("lane", "destination", "state", "due_at", "problem")


def describe_party(conn: Connection, party: str) -> dict[str, Any] | None:
    """Return a party with its ids and the certificates that it may use; None for an unknown one."""
    row = parties.find_party(conn, party)
    if row is None:
        return None
    ids = [
        f"{identifier.type}|{identifier.value}" if identifier.type else identifier.value
        for identifier in parties.list_identifiers(conn, party)
    ]
    return {
        "name": row.name,
        "role": row.role,
        "status": row.status,
        "ids": ids,
        "certificates": [
            {
                "sha256": certificate.sha256,
                "use": certificate.use,
                "from": certificate.valid_from,
                "until": certificate.valid_until,
            }
            for certificate in parties.list_certificates(conn, party)
        ],
    }


def describe_certificate(conn: Connection, sha256: str) -> list[dict[str, Any]]:
    """Return a certificate as the register has it, once for each use; empty for an unknown one."""
    return [_pick_columns(row, _CERTIFICATE) for row in parties.list_certificate_rows(conn, sha256)]


def describe_mandate(conn: Connection, number: int) -> dict[str, Any] | None:
    """Return a mandate; None for an unknown one."""
    return _pick_found_columns(parties.find_mandate(conn, number), _MANDATE)


def describe_forwarding_rule(conn: Connection, number: int) -> dict[str, Any] | None:
    """Return a forwarding rule; None for an unknown one."""
    return _pick_found_columns(agreements.find_forwarding_rule(conn, number), _FORWARDING_RULE)


def describe_agreements(conn: Connection, names: Iterable[str]) -> dict[str, Any] | None:
    """Return agreements by their ids, with the ids of their P-Modes; None where all are unknown."""
    descriptions = {name: _describe_agreement(conn, name) for name in names}
    return {
        name: description for name, description in descriptions.items() if description is not None
    } or None


def _describe_agreement(conn: Connection, agreement: str) -> dict[str, Any] | None:
    row = agreements.find_agreement(conn, agreement)
    if row is None:
        return None
    modes = [pmode.id for pmode in agreements.list_agreement_pmodes(conn, agreement)]
    return _pick_columns(row, _AGREEMENT) | {"pmodes": modes}


def describe_delivery(conn: Connection, number: int) -> dict[str, Any] | None:
    """Return the state of a delivery; None for an unknown one."""
    return _pick_found_columns(deliveries.find_by_id(conn, number), _DELIVERY)


def describe_source(conn: Connection, name: str) -> dict[str, Any] | None:
    """Return the data in force from a source; None when nothing was ever fetched from it."""
    row = fetched_lists.find_source(conn, name)
    if row is None:
        return None
    return {
        "kind": row.kind,
        "url": mask_url(row.url),
        "lists": sorted(fetched_lists.list_by_source(conn, name)),
    }


def _pick_found_columns(row: object, names: tuple[str, ...]) -> dict[str, Any] | None:
    return None if row is None else _pick_columns(row, names)


def _pick_columns(row: object, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: getattr(row, name) for name in names}
