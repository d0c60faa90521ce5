"""Gives events their order, and queues the calls of webhooks, as part of the regular upkeep of the hub.

The feed of events is the truth; the call of a webhook is a hint that there is something new. Its
body has ids and states only.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, Row

from gateway.errors import KEY_UNAVAILABLE, GatewayError
from gateway.state_machines import CASE
from gateway.store import NewDelivery, deliveries, events, read_transaction, webhooks, write_transaction

__all__ = [
    "EventKeeper",
    "derive_webhook_secret",
    "describe_event",
    "is_public_address",
    "queue_webhook_calls",
    "read_webhook_key",
]

_BATCH: Final = 500
_OCTETS: Final = 32
#: A call that could not be made for so long is given up; the feed has its event.
_LONGEST: Final = timedelta(days=4)
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")


class EventKeeper:
    """Gives places to new events; several processes may do so, one at a time."""

    def __init__(self, engine: Engine, clock: Callable[[], datetime]) -> None:
        self._engine = engine
        self._clock = clock

    def advance_feed(self) -> None:
        """Give places to the events that wait, and queue the calls for them."""
        while self._advance_batch():
            pass

    def _advance_batch(self) -> bool:
        """Place one batch; return whether there may be more."""
        with read_transaction(self._engine) as conn:
            if not events.has_waiting_events(conn):
                return False
        with write_transaction(self._engine, "events.sequence") as conn:
            placed = events.sequence_events(conn, _BATCH)
            known = webhooks.list_active_webhooks(conn, (party for one in placed for party in one.parties))
            for party, names in known.items():
                places = [one.sequence for one in placed if party in one.parties]
                for name in names:
                    queue_webhook_calls(conn, name, party, places, self._clock())
        return len(placed) == _BATCH


def queue_webhook_calls(
    conn: Connection, name: str, party: str, sequences: Sequence[int], now: datetime, again: str = ""
) -> None:
    """Queue the calls of a webhook for events of its party; `again` tells a replay from the first call."""
    for sequence in sequences:
        key = f"webhook:{name}:{sequence}" + (f":{again}" if again else "")
        deliveries.enqueue_delivery(
            conn,
            NewDelivery(
                agent="webhook",
                destination=party,
                lane=f"webhook:{party}",
                subject_type="webhook",
                subject_id=name,
                dedupe_key=key,
                parameters={"sequence": sequence},
                expires_at=now + _LONGEST,
            ),
            now,
        )


def describe_event(row: Row[Any]) -> dict[str, Any]:
    """Return what an event says: ids and states, nothing else."""
    what, _, kind = row.state.partition(" ")
    if row.subject_type == "request" and kind:
        return _describe_deadline_event(row, what, kind)
    told: dict[str, Any] = {
        "type": _TYPES[row.subject_type].format(state=row.state.lower()),
        "at": row.at.isoformat().replace("+00:00", "Z"),
        "case": row.case_number,
    }
    further = {
        "application": row.application,
        "agency": row.agency,
        "notice": row.notice,
        "requirement": row.requirement,
        "message_id": row.message_id,
        "state": row.state if _is_state(row) else None,
    }
    return told | {name: value for name, value in further.items() if value is not None}


def _is_state(row: Row[Any]) -> bool:
    """Return whether an event names the state of its case or request; what customs says is no such state."""
    return row.subject_type == "request" or (row.subject_type == "case" and row.state in CASE.states)


def _describe_deadline_event(row: Row[Any], what: str, kind: str) -> dict[str, Any]:
    """Return what the event of a deadline says: `kind` is what is due about an application."""
    return {
        "type": f"deadline.{what.lower()}",
        "at": row.at.isoformat().replace("+00:00", "Z"),
        "case": row.case_number,
        "application": row.application,
        "agency": row.agency,
        "deadline": kind,
    }


_TYPES: Final[Mapping[str, str]] = {
    "case": "case.{state}",
    "request": "application.{state}",
    "notice": "notice.received",
    "message": "{state}.made",
    "requirement": "requirement.{state}",
}


def read_webhook_key(path: Path, random: Callable[[int], bytes] | None = None) -> bytes:
    """Return the key from which the secrets of webhooks are derived; with `random` it is made if missing."""
    if random is not None and not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        made = path.with_name(f"{path.name}.{os.getpid()}.new")
        made.touch(mode=0o600)
        made.write_bytes(random(_OCTETS))
        try:
            # A link fails where another process was first: its key holds.
            os.link(made, path)
        except FileExistsError:
            pass
        finally:
            made.unlink()
    try:
        key = path.read_bytes()
    except OSError as error:
        raise GatewayError(
            KEY_UNAVAILABLE, f"the key of the webhooks: {error.strerror}", "api.webhook_key"
        ) from None
    if len(key) != _OCTETS:
        raise GatewayError(KEY_UNAVAILABLE, "the key of the webhooks has not 32 octets", "api.webhook_key")
    return key


def derive_webhook_secret(key: bytes, name: str) -> bytes:
    """Return the secret with which the calls of a webhook are signed (HMAC)."""
    return hmac.new(key, f"webhook\n{name}".encode(), hashlib.sha256).digest()


def is_public_address(address: str) -> bool:
    """Return whether an address is one of the public internet, also where it contains another address."""
    try:
        one = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(one, ipaddress.IPv6Address):
        if one.ipv4_mapped is not None:
            return is_public_address(str(one.ipv4_mapped))
        if one.sixtofour is not None or one.teredo is not None or one in _NAT64:
            return False
    return one.is_global and not one.is_multicast
