"""Closes connections that exceed a limit: too many of one address, or idle for too long.

The server below accepts connections and limits the time of a head. It has no limit by address, none
for a TLS handshake that never ends, and none for a peer that does not read its answer. So the
sockets of the process are inspected from time to time, and those that exceed a limit are shut down:
the server sees the end of the connection, as if the peer had closed it. A descriptor is duplicated
before it is inspected, so that its number cannot be reused for another connection meanwhile.
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

#: The open descriptors of a process, one entry for each (Linux, the BSDs, macOS).
_DESCRIPTORS: Final = "/dev/fd"
#: AF_UNIX sockets come from our own TLS terminator.
_FAMILIES: Final = (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)
#: Seconds after its answer in which a connection counts as busy.
_RECENT: Final = 0.25


@lru_cache(4096)
def get_client_network(address: str) -> str:
    """Return the key of a client: its address, or for IPv6 the /64 network of one customer."""
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
    answered: float | None = None
    ending: bool = False

    def is_busy(self, since: float) -> bool:
        """Return whether a request is processed now, or was answered since then."""
        recent = self.answered is not None and self.answered >= since
        return not self.ending and (recent or self.state is _ConnectionState.WORKING)


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Connections of this process, connections of one address, seconds that one may be idle.

    `exempt` are addresses (our own proxies) whose number of connections is not limited.
    """

    max_connections: int
    max_per_address: int
    idle_seconds: float
    exempt: frozenset[str] = frozenset()

    @property
    def kept_connections(self) -> int:
        """Return how many connections are left where strangers are shut down."""
        return self.max_connections * 3 // 4


@dataclass(slots=True)
class ConnectionTable:
    """The state of each connection, by its peer."""

    bounds: ConnectionLimits
    clock: Callable[[], float]
    _known: dict[PeerAddress, _TrackedConnection] = field(default_factory=dict)

    def begin_request(self, peer: PeerAddress) -> str | None:
        """Record that a head has arrived; return the party that was proved on this connection before."""
        known = self._known.setdefault(peer, _TrackedConnection(self.clock()))
        known.state = _ConnectionState.ARRIVING
        return known.party

    def begin_work(self, peer: PeerAddress) -> None:
        """Record that the request is complete."""
        self._known[peer].state = _ConnectionState.WORKING

    def end_request(self, peer: PeerAddress, party: str | None) -> None:
        """Record that the answer is made, and which party was proved by the request."""
        known = self._known[peer]
        known.state, known.since = _ConnectionState.IDLE, self.clock()
        known.answered = known.since
        if peer[0] not in self.bounds.exempt:  # a proxy serves many parties
            known.party = party or known.party

    def count_busy(self) -> int:
        """Return on how many connections a proved party has a request processed, or has had just now.

        Those of an exempt proxy count whoever asks. A stranger, and a body that is on its way, count for
        nothing: they cost no work, and would drive the clients of this process to another one.
        """
        since, exempt = self.clock() - _RECENT, self.bounds.exempt
        return sum(
            (one.party is not None or peer[0] in exempt) and one.is_busy(since)
            for peer, one in self._known.items()
        )

    def is_crowded(self) -> bool:
        """Return whether so many are connected that strangers may be shut down."""
        return len(self._known) >= self.bounds.kept_connections

    def mark_ending(self, peer: PeerAddress) -> None:
        """Note that a connection ends with its answer; it stays known until it is closed."""
        self._known[peer].ending = True

    def close_excess_connections(self) -> int:
        """Shut down connections that exceed a limit; return how many."""
        now, live = self.clock(), _list_accepted_connections()
        known = {peer: self._known.get(peer) or _TrackedConnection(now) for peer in live}
        # A request of a closed connection may still be processed.
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
        """Return the peers to close when the table is nearly full: unproved and not being processed."""
        if len(known) < self.bounds.max_connections * 7 // 8:
            return set()
        exempt = self.bounds.exempt
        strangers = [peer for peer, one in known.items() if one.party is None and peer[0] not in exempt]
        return set(_select_idlest_peers(known, strangers, len(known) - self.bounds.kept_connections))


def _select_idlest_peers(
    known: dict[PeerAddress, _TrackedConnection], peers: list[PeerAddress], number: int
) -> list[PeerAddress]:
    """Return at most `number` of `peers`: the idle before the arriving, the old before the new."""
    if number <= 0:
        return []
    may_go = [peer for peer in peers if known[peer].state is not _ConnectionState.WORKING]
    may_go.sort(key=lambda peer: (known[peer].state is not _ConnectionState.IDLE, known[peer].since))
    return may_go[:number]


def _list_accepted_connections() -> dict[PeerAddress, int]:
    """Return the connections that our listeners accepted, each with its descriptor."""
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
    """Yield a duplicate socket of a descriptor; None when it is not a socket."""
    try:
        one = socket.socket(fileno=os.dup(descriptor)) if _is_socket_descriptor(descriptor) else None
    except OSError:  # closed meanwhile
        one = None
    with one or nullcontext():
        yield one


def _is_socket_descriptor(descriptor: int) -> bool:
    return stat.S_ISSOCK(os.fstat(descriptor).st_mode)


def _get_local_address(one: socket.socket) -> int | str:
    """Return the port of a socket, or the path of a socket without port."""
    name = one.getsockname()
    return str(name) if one.family == socket.AF_UNIX else int(name[1])


def _find_peer_address(connection: socket.socket) -> PeerAddress | None:
    try:
        name = connection.getpeername()
        if connection.family == socket.AF_UNIX:
            return parse_peer_name(name).peer
        return make_peer_address(*name[:2])
    except (OSError, GatewayError):  # closed, or not a connection that we serve
        return None


def _shut_connection(peer: PeerAddress, descriptor: int) -> None:
    with _duplicate_socket(descriptor) as one, suppress(OSError):
        if one is not None and _find_peer_address(one) == peer:
            one.shutdown(socket.SHUT_RDWR)
