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
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from heapq import heapify, heappop, heappush
from typing import Final

from gateway.errors import GatewayError
from gateway.web.server.proven_callers import ProvenNetworks
from gateway.web.server.request_head import (
    PeerAddress,
    make_peer_address,
    normalize_address,
    parse_peer_name,
)

#: The quarters of the connections that remain when some are closed for others.
_KEPT_QUARTERS: Final = 3
#: This part of the connections that remain is kept for unproved senders.
_UNPROVED_KEPT_PARTS: Final = 4
#: The open descriptors of a process, one entry for each (Linux, the BSDs, macOS).
_DESCRIPTORS: Final = "/dev/fd"
#: AF_UNIX sockets come from our own TLS terminator.
_FAMILIES: Final = (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)


@lru_cache(4096)
def get_client_network(address: str) -> str:
    """Return the key of a client: its address, or for IPv6 the /64 network of one customer."""
    address = normalize_address(address)
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address[:80]
    return str(ipaddress.ip_network((parsed, 64), strict=False)) if parsed.version == 6 else address


class _ConnectionState(Enum):
    IDLE = "nothing is asked"
    ARRIVING = "a body is on its way"
    WORKING = "an answer is being made"


@dataclass(slots=True)
class _TrackedConnection:
    idle_since: float
    state: _ConnectionState = _ConnectionState.IDLE
    proven_party: str | None = None


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """The limits of connections: in this process, from one address, and the seconds that one may be idle.

    `exempt` are addresses (proxies of this installation) whose number of connections is not limited.
    """

    max_connections: int
    max_per_address: int
    idle_seconds: float
    exempt: frozenset[str] = frozenset()


@dataclass(slots=True)
class ConnectionTable:
    """The state of each connection, by its peer; `networks` are those where a party proved who it is."""

    limits: ConnectionLimits
    clock: Callable[[], float]
    networks: ProvenNetworks
    _connections: dict[PeerAddress, _TrackedConnection] = field(default_factory=dict)

    def begin_request(self, peer: PeerAddress) -> str | None:
        """Record that a head has arrived; return the party that was proved on this connection before."""
        connection = self._connections.setdefault(peer, _TrackedConnection(self.clock()))
        connection.state = _ConnectionState.ARRIVING
        return connection.proven_party

    def begin_work(self, peer: PeerAddress) -> None:
        """Record that the request is complete."""
        self._connections[peer].state = _ConnectionState.WORKING

    def end_request(self, peer: PeerAddress, party: str | None) -> None:
        """Record that the answer is made, and which party was proved by the request."""
        connection = self._connections[peer]
        connection.state, connection.idle_since = _ConnectionState.IDLE, self.clock()
        if peer.address not in self.limits.exempt:  # a proxy serves many parties
            connection.proven_party = party or connection.proven_party

    def close_excess_connections(self) -> int:
        """Close the connections that exceed a limit; return their number."""
        now, live = self.clock(), _list_accepted_connections()
        connections = {peer: self._connections.get(peer) or _TrackedConnection(now) for peer in live}
        # A request of a closed connection may still be processed.
        self._connections = {
            **connections,
            **{p: c for p, c in self._connections.items() if c.state is not _ConnectionState.IDLE},
        }
        shut = (
            self._find_idle_peers(connections, now)
            | self._find_crowded_peers(connections)
            | self._find_evictable_peers(connections)
        )
        for peer in shut:
            _shut_connection(peer, live[peer])
        return len(shut)

    def _find_idle_peers(
        self, connections: dict[PeerAddress, _TrackedConnection], now: float
    ) -> set[PeerAddress]:
        """Return the clients whose connection has been idle for longer than the limit."""
        return {
            peer
            for peer, connection in connections.items()
            if connection.state is _ConnectionState.IDLE
            and now - connection.idle_since > self.limits.idle_seconds
        }

    def _find_crowded_peers(self, connections: dict[PeerAddress, _TrackedConnection]) -> set[PeerAddress]:
        """Return the idlest clients beyond the limit of connections of each network that is not exempt."""
        by_network: dict[str, list[PeerAddress]] = defaultdict(list)
        for peer in connections:
            if peer.address not in self.limits.exempt:
                by_network[get_client_network(peer.address)].append(peer)
        beyond: set[PeerAddress] = set()
        for peers in by_network.values():
            excess = len(peers) - self.limits.max_per_address
            if excess > 0:
                beyond.update(_sort_idlest_first(connections, peers)[:excess])
        return beyond

    def _find_evictable_peers(self, connections: dict[PeerAddress, _TrackedConnection]) -> set[PeerAddress]:
        """Return the peers to close for others when the table is nearly full, none of them being processed.

        They are those of the network that holds most connections: of the unproved ones while these hold more
        than a quarter, else of those of parties. So neither strangers nor a partner can take the room of all.
        """
        exempt_count = sum(peer.address in self.limits.exempt for peer in connections)
        # Those of our own proxies are never closed, so they cannot make room.
        max_others = max(self.limits.max_connections - exempt_count, self.limits.max_connections // 4)
        others = len(connections) - exempt_count
        if others < max_others * 7 // 8:
            return set()
        proved: dict[str, list[PeerAddress]] = defaultdict(list)
        unproved: dict[str, list[PeerAddress]] = defaultdict(list)
        counts: Counter[str] = Counter()
        unproved_count = 0
        may_close = _sort_idlest_first(connections, [*connections])
        at_work = [peer for peer, each in connections.items() if each.state is _ConnectionState.WORKING]
        for peer in (*may_close, *at_work):
            if peer.address in self.limits.exempt:
                continue
            network = get_client_network(peer.address)
            party = connections[peer].proven_party or self.networks.find_party(network)
            counts[network] += 1
            unproved_count += party is None
            if connections[peer].state is not _ConnectionState.WORKING:
                (unproved if party is None else proved)[network].append(peer)
        remaining = max_others * _KEPT_QUARTERS // 4
        excess = others - remaining
        beyond_kept = max(0, unproved_count - remaining // _UNPROVED_KEPT_PARTS)
        evicted = _remove_from_fullest(unproved, counts, min(excess, beyond_kept))
        evicted += _remove_from_fullest(proved, counts, excess - len(evicted))
        evicted += _remove_from_fullest(unproved, counts, excess - len(evicted))
        return set(evicted)


def _sort_idlest_first(
    connections: dict[PeerAddress, _TrackedConnection], peers: list[PeerAddress]
) -> list[PeerAddress]:
    """Return those of `peers` that may be closed: the idle before the arriving, the old before the new."""
    may_go = [peer for peer in peers if connections[peer].state is not _ConnectionState.WORKING]
    may_go.sort(
        key=lambda peer: (connections[peer].state is not _ConnectionState.IDLE, connections[peer].idle_since)
    )
    return may_go


def _remove_from_fullest(
    peers_by_network: dict[str, list[PeerAddress]], counts: Counter[str], number: int
) -> list[PeerAddress]:
    """Remove and return `number` peers, each of the network with most connections; all where there are fewer.

    `counts` has the connections of each network, those at work, too. Of equal networks the earlier one is
    chosen.
    """
    networks = [network for network, peers in peers_by_network.items() if peers]
    fullest = [(-counts[network], order) for order, network in enumerate(networks)]
    heapify(fullest)
    removed: list[PeerAddress] = []
    while fullest and len(removed) < number:
        _, order = heappop(fullest)
        network = networks[order]
        removed.append(peers_by_network[network].pop(0))
        counts[network] -= 1
        if peers_by_network[network]:
            heappush(fullest, (-counts[network], order))
    return removed


def _list_accepted_connections() -> dict[PeerAddress, int]:
    """Return the connections that the listeners of this process accepted, each with its descriptor."""
    listener_addresses: set[int | str] = set()
    connected: list[tuple[int | str, PeerAddress, int]] = []
    for descriptor in map(int, os.listdir(_DESCRIPTORS)):
        with _duplicate_socket(descriptor) as sock:
            if sock is None or sock.family not in _FAMILIES:
                continue
            local_address = _get_local_address(sock)
            if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                listener_addresses.add(local_address)
            elif (peer := _find_peer_address(sock)) is not None:
                connected.append((local_address, peer, descriptor))
    return {
        peer: descriptor
        for local_address, peer, descriptor in connected
        if local_address in listener_addresses
    }


@contextmanager
def _duplicate_socket(descriptor: int) -> Iterator[socket.socket | None]:
    """Yield a duplicate socket of a descriptor; None when it is not a socket."""
    try:
        sock = socket.socket(fileno=os.dup(descriptor)) if _is_socket_descriptor(descriptor) else None
    except OSError:  # closed meanwhile
        sock = None
    with sock or nullcontext():
        yield sock


def _is_socket_descriptor(descriptor: int) -> bool:
    return stat.S_ISSOCK(os.fstat(descriptor).st_mode)


def _get_local_address(sock: socket.socket) -> int | str:
    """Return the port of a socket, or the path of a socket without port."""
    name = sock.getsockname()
    # bounded: a port, from the operating system
    return str(name) if sock.family == socket.AF_UNIX else int(name[1])


def _find_peer_address(connection: socket.socket) -> PeerAddress | None:
    """Return the address of the client of a connection; None if it is closed or not of a known kind."""
    try:
        name = connection.getpeername()
        if connection.family == socket.AF_UNIX:
            return parse_peer_name(name).peer
        return make_peer_address(*name[:2])
    except (OSError, GatewayError):  # closed, or not a connection that we serve
        return None


def _shut_connection(peer: PeerAddress, descriptor: int) -> None:
    with _duplicate_socket(descriptor) as sock, suppress(OSError):
        if sock is not None and _find_peer_address(sock) == peer:
            sock.shutdown(socket.SHUT_RDWR)
