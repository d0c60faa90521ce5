"""Gives an agent what its delivery sends: from the lease, or read where the claim did not read it."""

from __future__ import annotations

from sqlalchemy import Connection, Engine

from gateway.store import DeliveryLease, payloads, read_transaction

__all__ = ["find_leased_octets", "read_leased_octets"]


def find_leased_octets(lease: DeliveryLease) -> bytes | None:
    """Return the octets that came with the lease; None where it has none, or they are not these any more."""
    if lease.content is None or payloads.compute_sha256(lease.content) != lease.payload_sha256:
        return None
    return lease.content


def read_leased_octets(where: Engine | Connection, lease: DeliveryLease) -> bytes:
    """Return the octets of a delivery; raises GW805 or GW320 when they are damaged or were removed."""
    found = find_leased_octets(lease)
    if found is not None:
        return found
    if isinstance(where, Connection):
        return payloads.get_payload_octets(where, lease.payload_sha256 or "")
    with read_transaction(where) as conn:
        return payloads.get_payload_octets(conn, lease.payload_sha256 or "")
