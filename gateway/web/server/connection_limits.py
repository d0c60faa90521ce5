"""Connections that outstay: too many of one address, or nothing whole said for too long.

The server below accepts connections and bounds the time of a head; it has no bound by
address, none for a TLS handshake that never ends, and none for a peer that does not take
its answer.  So the sockets of the process are looked at from time to time, and those that
break a bound are shut: the server sees the end of the connection, as if the peer had gone.
A descriptor is doubled before it is looked at, so that its number cannot come to mean
another connection in between.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import stat
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from typing import Final

from gateway.errors import GatewayError
from gateway.web.server.peer_address import PeerAddress, make_peer_address, parse_peer_name

__all__ = ["ConnectionLimits", "ConnectionTable", "get_client_network"]

#: What a process has open, a number for each (Linux, the BSDs, macOS).
_DESCRIPTORS: Final = "/dev/fd"
#: Those of the third kind come from the process of ours that ends TLS.
_FAMILIES: Final = (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)


@lru_cache(4096)
def get_client_network(address: str) -> str:
    """Return by what senders are told apart: the address, of IPv6 the network that one customer is given."""
    try:
        known = ipaddress.ip_address(address)
    except ValueError:
        return address[:80]
    return str(ipaddress.ip_network((known, 64), strict=False)) if known.version == 6 else address


class _ConnectionState(Enum):
    IDLE = "nothing is asked"
    ARRIVING = "a body is on its way"
    WORKING = "an answer is being made"


@dataclass(slots=True)
class _TrackedConnection:
    since: float
    state: _ConnectionState = _ConnectionState.IDLE
    party: str | None = None


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Connections of this process, connections of one address, seconds that one may be idle.

    `exempt` are addresses (our own proxies) whose number of connections is not bounded.
    """

    max_connections: int
    max_per_address: int
    idle_seconds: float
    exempt: frozenset[str] = frozenset()


@dataclass(slots=True)
class ConnectionTable:
    """What is known of each connection, by its peer."""

    bounds: ConnectionLimits
    clock: Callable[[], float]
    _known: dict[PeerAddress, _TrackedConnection] = field(default_factory=dict)

    def begin_request(self, peer: PeerAddress) -> str | None:
        """Take note that a head has come; return the party that proved itself on this connection."""
        known = self._known.setdefault(peer, _TrackedConnection(self.clock()))
        known.state = _ConnectionState.ARRIVING
        return known.party

    def begin_work(self, peer: PeerAddress) -> None:
        """Take note that the request is whole."""
        self._known[peer].state = _ConnectionState.WORKING

    def end_request(self, peer: PeerAddress, party: str | None) -> None:
        """Take note that the answer is made, and who had asked."""
        known = self._known[peer]
        known.state, known.since = _ConnectionState.IDLE, self.clock()
        if peer[0] not in self.bounds.exempt:  # a proxy speaks for many
            known.party = party or known.party

    def close_excess_connections(self) -> int:
        """Shut what breaks a bound; return how many connections were shut."""
        now, live = self.clock(), _list_accepted_connections()
        known = {peer: self._known.get(peer) or _TrackedConnection(now) for peer in live}
        # What has gone may still be worked for.
        self._known = {
            **known,
            **{p: c for p, c in self._known.items() if c.state is not _ConnectionState.IDLE},
        }
        shut = (
            self._find_idle_peers(known, now)
            | self._find_crowded_peers(known)
            | self._find_evictable_peers(known)
        )
        for peer in shut:
            _shut_connection(peer, live[peer])
        return len(shut)

    def _find_idle_peers(self, known: dict[PeerAddress, _TrackedConnection], now: float) -> set[PeerAddress]:
        return {
            peer
            for peer, one in known.items()
            if one.state is _ConnectionState.IDLE and now - one.since > self.bounds.idle_seconds
        }

    def _find_crowded_peers(self, known: dict[PeerAddress, _TrackedConnection]) -> set[PeerAddress]:
        by_address: dict[str, list[PeerAddress]] = defaultdict(list)
        for peer in known:
            by_address[get_client_network(peer[0])].append(peer)
        beyond: set[PeerAddress] = set()
        for peers in by_address.values():
            if peers[0][0] not in self.bounds.exempt:
                beyond.update(_select_idlest_peers(known, peers, len(peers) - self.bounds.max_per_address))
        return beyond

    def _find_evictable_peers(self, known: dict[PeerAddress, _TrackedConnection]) -> set[PeerAddress]:
        """Return who must go so that others are let in: strangers who are not being worked for."""
        if len(known) < self.bounds.max_connections * 7 // 8:
            return set()
        exempt = self.bounds.exempt
        strangers = [peer for peer, one in known.items() if one.party is None and peer[0] not in exempt]
        return set(_select_idlest_peers(known, strangers, len(known) - self.bounds.max_connections * 3 // 4))


def _select_idlest_peers(
    known: dict[PeerAddress, _TrackedConnection], peers: list[PeerAddress], number: int
) -> list[PeerAddress]:
    """Return so many of `peers` at most: the idle before the arriving, the old before the new."""
    if number <= 0:
        return []
    may_go = [peer for peer in peers if known[peer].state is not _ConnectionState.WORKING]
    may_go.sort(key=lambda peer: (known[peer].state is not _ConnectionState.IDLE, known[peer].since))
    return may_go[:number]


def _list_accepted_connections() -> dict[PeerAddress, int]:
    """Return the connections to where we listen, each with its descriptor."""
    places: set[int | str] = set()
    connected: list[tuple[int | str, PeerAddress, int]] = []
    for descriptor in map(int, os.listdir(_DESCRIPTORS)):
        with _duplicate_socket(descriptor) as one:
            if one is None or one.family not in _FAMILIES:
                continue
            place = _get_local_address(one)
            if one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                places.add(place)
            elif (peer := _find_peer_address(one)) is not None:
                connected.append((place, peer, descriptor))
    return {peer: descriptor for place, peer, descriptor in connected if place in places}


@contextmanager
def _duplicate_socket(descriptor: int) -> Iterator[socket.socket | None]:
    """Give a socket of our own on what a descriptor means now; None when that is no socket."""
    try:
        one = socket.socket(fileno=os.dup(descriptor)) if _is_socket_descriptor(descriptor) else None
    except OSError:  # closed in between
        one = None
    with one or nullcontext():
        yield one


def _is_socket_descriptor(descriptor: int) -> bool:
    return stat.S_ISSOCK(os.fstat(descriptor).st_mode)


def _get_local_address(one: socket.socket) -> int | str:
    """Return the port of a socket, or the path of one that has none."""
    name = one.getsockname()
    return str(name) if one.family == socket.AF_UNIX else int(name[1])


def _find_peer_address(connection: socket.socket) -> PeerAddress | None:
    try:
        name = connection.getpeername()
        if connection.family == socket.AF_UNIX:
            return parse_peer_name(name).peer
        return make_peer_address(*name[:2])
    except (OSError, GatewayError):  # it has gone, or is none of those we serve
        return None


def _shut_connection(peer: PeerAddress, descriptor: int) -> None:
    with _duplicate_socket(descriptor) as one, suppress(OSError):
        if one is not None and _find_peer_address(one) == peer:
            one.shutdown(socket.SHUT_RDWR)
