"""Gives events their order, and queues the calls of webhooks, as part of the regular upkeep of the hub.

The feed of events is authoritative; the call of a webhook is a hint that there are new events. Its body has
ids and states only. It may connect to addresses of the public internet alone: to those listed as global
unicast, except those that the special-purpose registries of IANA (RFC 6890) exclude. Forms of IPv6 that
contain an IPv4 address are refused: a translator or a tunnel would forward to that address.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any, Final

from sqlalchemy import Connection, Engine

from gateway.state_machines import CASE
from gateway.store import (
    NewDelivery,
    PartyEventRow,
    deliveries,
    event_readers,
    overruled_notices,
    read_transaction,
    write_transaction,
)
from gateway.wire import format_instant

_BATCH: Final = 500
#: A call that could not be made for so long is given up; the feed has its event.
_MAX_CALL_AGE: Final = timedelta(days=4)


def advance_event_feed(engine: Engine, clock: Callable[[], datetime]) -> None:
    """Give numbers to the events that wait, and queue the calls for them; one process does so at a time."""
    while _sequence_event_batch(engine, clock):
        pass


def _sequence_event_batch(engine: Engine, clock: Callable[[], datetime]) -> bool:
    """Give sequence numbers to one batch; return whether there may be more."""
    with read_transaction(engine) as conn:
        if not event_readers.has_waiting_events(conn):
            return False
    with write_transaction(engine, "events.sequence") as conn:
        sequenced_events = event_readers.sequence_events(conn, _BATCH)
        webhook_names = event_readers.list_active_webhooks(
            conn, (party for event in sequenced_events for party in event.parties)
        )
        for party, names in webhook_names.items():
            sequences = [event.sequence for event in sequenced_events if party in event.parties]
            for name in names:
                queue_webhook_calls(conn, name, party, sequences, clock())
    return len(sequenced_events) == _BATCH


def make_webhook_lane(party: str) -> str:
    """Return the lane in which the calls of all webhooks of a party wait."""
    return f"webhook:{party}"


def queue_webhook_calls(
    conn: Connection,
    webhook_name: str,
    party: str,
    sequences: Sequence[int],
    now: datetime,
    replay_id: str = "",
) -> None:
    """Queue the calls of a webhook for events of its party; `replay_id` marks a replay of the first call."""
    for sequence in sequences:
        key = f"webhook:{webhook_name}:{sequence}" + (f":{replay_id}" if replay_id else "")
        deliveries.enqueue_delivery(
            conn,
            NewDelivery(
                agent="webhook",
                destination=party,
                lane=make_webhook_lane(party),
                subject_type="webhook",
                subject_id=webhook_name,
                dedupe_key=key,
                parameters={"sequence": sequence},
                expires_at=now + _MAX_CALL_AGE,
            ),
            now,
        )


def describe_event(row: PartyEventRow) -> dict[str, Any]:
    """Return the JSON values of an event: ids and states, nothing else."""
    state, _, deadline_kind = row.state.partition(" ")
    if row.subject_type == "request" and deadline_kind:
        return _describe_deadline_event(row, state, deadline_kind)
    content: dict[str, Any] = {
        "type": _describe_type(row),
        "at": format_instant(row.at, "auto"),
        "case": row.case_number,
    }
    optional = {
        "application": row.application,
        "agency": row.agency,
        "notice": row.notice,
        "requirement": row.requirement,
        "message_id": row.message_id,
        "state": row.state if _is_state(row) else None,
    }
    return content | {name: value for name, value in optional.items() if value is not None}


def _describe_type(row: PartyEventRow) -> str:
    """Return the type of an event; the state of a notice that was received is its status code."""
    if row.subject_type == "notice" and row.state == overruled_notices.OVERRULED:
        return "notice.overruled"
    return _TYPES[row.subject_type].format(state=row.state.lower())


def _is_state(row: PartyEventRow) -> bool:
    """Return whether an event names the state of its case or request; an event of customs does not."""
    return row.subject_type == "request" or (row.subject_type == "case" and row.state in CASE.states)


def _describe_deadline_event(row: PartyEventRow, state: str, deadline_kind: str) -> dict[str, Any]:
    """Return the event of a deadline as JSON values; `deadline_kind` is the kind of the deadline."""
    return {
        "type": f"deadline.{state.lower()}",
        "at": format_instant(row.at, "auto"),
        "case": row.case_number,
        "application": row.application,
        "agency": row.agency,
        "deadline": deadline_kind,
    }


_TYPES: Final[Mapping[str, str]] = {
    "case": "case.{state}",
    "request": "application.{state}",
    "notice": "notice.received",
    "message": "{state}.made",
    "requirement": "requirement.{state}",
}


#: The special-purpose blocks of IPv4, and the blocks that are not unicast.
_NOT_PUBLIC_4: Final = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",  # this network
            "10.0.0.0/8",  # private
            "100.64.0.0/10",  # shared between a provider and its customers
            "127.0.0.0/8",  # loopback
            "169.254.0.0/16",  # link-local
            "172.16.0.0/12",  # private
            "192.0.0.0/24",  # protocol assignments
            "192.0.2.0/24",  # documentation
            "192.88.99.0/24",  # relays of 6to4, deprecated
            "192.168.0.0/16",  # private
            "198.18.0.0/15",  # benchmarks
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, and the limited broadcast
        ),
    )
)
#: The only global unicast addresses that IANA has assigned. Outside it are, among others, loopback, unique
#: local, link-local and site-local addresses, IPv4-compatible and IPv4-translated ones (::/96,
#: ::ffff:0:0:0/96), both prefixes of NAT64 (64:ff9b::/96, 64:ff9b:1::/48), and multicast.
_UNICAST_6: Final = IPv6Network("2000::/3")
_NOT_PUBLIC_6: Final = tuple(
    map(
        IPv6Network,
        (
            "2001::/23",  # protocol assignments: Teredo, benchmarks, ORCHID
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4
            "3fff::/20",  # documentation
        ),
    )
)


def is_public_address(address: str) -> bool:
    """Return whether a numeric address is a unicast one of the public internet.

    ::ffff:a.b.c.d is judged as a.b.c.d: the operating system connects to that one (RFC 4291 §2.5.5.2).
    """
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is None:
            return parsed in _UNICAST_6 and not any(parsed in block for block in _NOT_PUBLIC_6)
        parsed = parsed.ipv4_mapped
    return not any(parsed in block for block in _NOT_PUBLIC_4)
