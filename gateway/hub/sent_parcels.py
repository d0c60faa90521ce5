"""Finds what we sent, for signals that come by themselves: they name a message of ours and nothing else."""

from __future__ import annotations

from sqlalchemy import Engine

from gateway.message_model import as_body
from gateway.protocols import Parcel
from gateway.store import messages, read_transaction

__all__ = ["find_sent_parcel"]


def find_sent_parcel(engine: Engine, party: str, protocol: str, message_id: str) -> Parcel | None:
    """Return the parcel that a party of ours sent under a message id, None where this protocol sent none."""
    with read_transaction(engine) as conn:
        row = messages.find_by_message_id(conn, "out", party, message_id)
        if row is None or row.protocol != protocol:
            return None
        if row.purged_at is not None:
            # Nothing can be compared with it any more.
            return None
        headers, octets = messages.open_parcel(conn, row.id)
    return Parcel(headers, as_body(octets))
