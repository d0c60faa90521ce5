"""Describes objects of the register as the audit keeps them: before a change and after it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, Row

from gateway.store import agreements, deliveries, fetched_lists, forwarding_rules, mandates, parties

__all__ = [
    "describe_agreements",
    "describe_certificate",
    "describe_delivery",
    "describe_forwarding_rule",
    "describe_mandate",
    "describe_party",
    "describe_source",
]

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
        f"{one.type}|{one.value}" if one.type else one.value for one in parties.list_identifiers(conn, party)
    ]
    return {
        "name": row.name,
        "role": row.role,
        "status": row.status,
        "ids": ids,
        "certificates": [
            {"sha256": one.sha256, "use": one.use, "from": one.valid_from, "until": one.valid_until}
            for one in parties.list_certificates(conn, party)
        ],
    }


def describe_certificate(conn: Connection, sha256: str) -> list[dict[str, Any]]:
    """Return a certificate as the register has it, once for each use; empty for an unknown one."""
    return [_pick_columns(row, _CERTIFICATE) for row in parties.list_certificate_rows(conn, sha256)]


def describe_mandate(conn: Connection, number: int) -> dict[str, Any] | None:
    """Return a mandate; None for an unknown one."""
    return _pick_found_columns(mandates.find_mandate(conn, number), _MANDATE)


def describe_forwarding_rule(conn: Connection, number: int) -> dict[str, Any] | None:
    """Return a forwarding rule; None for an unknown one."""
    return _pick_found_columns(forwarding_rules.find_rule(conn, number), _FORWARDING_RULE)


def describe_agreements(conn: Connection, names: Iterable[str]) -> dict[str, Any] | None:
    """Return agreements by their ids, with the ids of their P-Modes; None where all are unknown."""
    found = {name: _describe_agreement(conn, name) for name in names}
    return {name: told for name, told in found.items() if told is not None} or None


def _describe_agreement(conn: Connection, agreement: str) -> dict[str, Any] | None:
    row = agreements.find_agreement(conn, agreement)
    if row is None:
        return None
    modes = [one.id for one in agreements.list_agreement_pmodes(conn, agreement)]
    return _pick_columns(row, _AGREEMENT) | {"pmodes": modes}


def describe_delivery(conn: Connection, number: int) -> dict[str, Any] | None:
    """Return the state of a delivery; None for an unknown one."""
    return _pick_found_columns(deliveries.find_by_id(conn, number), _DELIVERY)


def describe_source(conn: Connection, name: str) -> dict[str, Any] | None:
    """Return what is in force of a source; None when nothing was ever fetched from it."""
    row = fetched_lists.find_source(conn, name)
    if row is None:
        return None
    return {"kind": row.kind, "url": row.url, "lists": sorted(fetched_lists.list_by_source(conn, name))}


def _pick_found_columns(row: Row[Any] | None, names: tuple[str, ...]) -> dict[str, Any] | None:
    return None if row is None else _pick_columns(row, names)


def _pick_columns(row: Row[Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: getattr(row, name) for name in names}
