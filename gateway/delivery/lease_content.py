"""Gives an agent what its delivery sends: from the lease, or read where the claim did not read it."""

from __future__ import annotations

from sqlalchemy import Connection, Engine

from gateway.message_model import Body, read_octets
from gateway.store import DeliveryLease, payloads, read_transaction

__all__ = ["find_leased_octets", "open_leased_octets", "read_leased_octets"]


def find_leased_octets(lease: DeliveryLease) -> bytes | None:
    """Return the octets that came with the lease; None where it has none, or they are not these any more."""
    if lease.content is None or payloads.compute_sha256(lease.content) != lease.payload_sha256:
        return None
    return lease.content


def read_leased_octets(where: Engine | Connection, lease: DeliveryLease) -> bytes:
    """Return the octets of a delivery; raises GW805 or GW320 when they are damaged or were removed."""
    return read_octets(open_leased_octets(where, lease))


def open_leased_octets(where: Engine | Connection, lease: DeliveryLease) -> bytes | Body:
    """Return the octets of a delivery as `read_leased_octets` does, large ones as a body."""
    found = find_leased_octets(lease)
    if found is not None:
        return found
    if isinstance(where, Connection):
        return payloads.open_payload(where, lease.payload_sha256 or "")
    with read_transaction(where) as conn:
        return payloads.open_payload(conn, lease.payload_sha256 or "")
