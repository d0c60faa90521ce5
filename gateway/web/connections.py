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
from gateway.web.visitors import Peer, peer_named, visitor_named

__all__ = ["Bounds", "Connections", "neighbourhood"]

#: What a process has open, a number for each (Linux, the BSDs, macOS).
_DESCRIPTORS: Final = "/dev/fd"
#: Those of the third kind come from the process of ours that ends TLS.
_FAMILIES: Final = (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)


@lru_cache(4096)
def neighbourhood(address: str) -> str:
    """Return by what senders are told apart: the address, of IPv6 the network that one customer is given."""
    try:
        known = ipaddress.ip_address(address)
    except ValueError:
        return address[:80]
    return str(ipaddress.ip_network((known, 64), strict=False)) if known.version == 6 else address


class _State(Enum):
    IDLE = "nothing is asked"
    ARRIVING = "a body is on its way"
    WORKING = "an answer is being made"


@dataclass(slots=True)
class _Connection:
    since: float
    state: _State = _State.IDLE
    party: str | None = None


@dataclass(frozen=True, slots=True)
class Bounds:
    """Connections of this process, connections of one address, seconds that one may be idle.

    `exempt` are addresses (our own proxies) whose number of connections is not bounded.
    """

    whole: int
    each: int
    idle: float
    exempt: frozenset[str] = frozenset()


@dataclass(slots=True)
class Connections:
    """What is known of each connection, by its peer."""

    bounds: Bounds
    clock: Callable[[], float]
    _known: dict[Peer, _Connection] = field(default_factory=dict)

    def arriving(self, peer: Peer) -> str | None:
        """Take note that a head has come; return the party that proved itself on this connection."""
        known = self._known.setdefault(peer, _Connection(self.clock()))
        known.state = _State.ARRIVING
        return known.party

    def working(self, peer: Peer) -> None:
        """Take note that the request is whole."""
        self._known[peer].state = _State.WORKING

    def answered(self, peer: Peer, party: str | None) -> None:
        """Take note that the answer is made, and who had asked."""
        known = self._known[peer]
        known.state, known.since = _State.IDLE, self.clock()
        if peer[0] not in self.bounds.exempt:  # a proxy speaks for many
            known.party = party or known.party

    def sweep(self) -> int:
        """Shut what breaks a bound; return how many connections were shut."""
        now, live = self.clock(), _accepted()
        known = {peer: self._known.get(peer) or _Connection(now) for peer in live}
        # What has gone may still be worked for.
        self._known = {**known, **{p: c for p, c in self._known.items() if c.state is not _State.IDLE}}
        shut = self._too_long(known, now) | self._too_many(known) | self._too_full(known)
        for peer in shut:
            _shut(peer, live[peer])
        return len(shut)

    def _too_long(self, known: dict[Peer, _Connection], now: float) -> set[Peer]:
        return {
            peer
            for peer, one in known.items()
            if one.state is _State.IDLE and now - one.since > self.bounds.idle
        }

    def _too_many(self, known: dict[Peer, _Connection]) -> set[Peer]:
        by_address: dict[str, list[Peer]] = defaultdict(list)
        for peer in known:
            by_address[neighbourhood(peer[0])].append(peer)
        beyond: set[Peer] = set()
        for peers in by_address.values():
            if peers[0][0] not in self.bounds.exempt:
                beyond.update(_idlest(known, peers, len(peers) - self.bounds.each))
        return beyond

    def _too_full(self, known: dict[Peer, _Connection]) -> set[Peer]:
        """Return who must go so that others are let in: strangers who are not being worked for."""
        if len(known) < self.bounds.whole * 7 // 8:
            return set()
        exempt = self.bounds.exempt
        strangers = [peer for peer, one in known.items() if one.party is None and peer[0] not in exempt]
        return set(_idlest(known, strangers, len(known) - self.bounds.whole * 3 // 4))


def _idlest(known: dict[Peer, _Connection], peers: list[Peer], number: int) -> list[Peer]:
    """Return so many of `peers` at most: the idle before the arriving, the old before the new."""
    if number <= 0:
        return []
    may_go = [peer for peer in peers if known[peer].state is not _State.WORKING]
    may_go.sort(key=lambda peer: (known[peer].state is not _State.IDLE, known[peer].since))
    return may_go[:number]


def _accepted() -> dict[Peer, int]:
    """Return the connections to where we listen, each with its descriptor."""
    places: set[int | str] = set()
    connected: list[tuple[int | str, Peer, int]] = []
    for descriptor in map(int, os.listdir(_DESCRIPTORS)):
        with _doubled(descriptor) as one:
            if one is None or one.family not in _FAMILIES:
                continue
            place = _place_of(one)
            if one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                places.add(place)
            elif (peer := _peer_of(one)) is not None:
                connected.append((place, peer, descriptor))
    return {peer: descriptor for place, peer, descriptor in connected if place in places}


@contextmanager
def _doubled(descriptor: int) -> Iterator[socket.socket | None]:
    """Give a socket of our own on what a descriptor means now; None when that is no socket."""
    try:
        one = socket.socket(fileno=os.dup(descriptor)) if _is_socket(descriptor) else None
    except OSError:  # closed in between
        one = None
    with one or nullcontext():
        yield one


def _is_socket(descriptor: int) -> bool:
    return stat.S_ISSOCK(os.fstat(descriptor).st_mode)


def _place_of(one: socket.socket) -> int | str:
    """Return the port of a socket, or the path of one that has none."""
    name = one.getsockname()
    return str(name) if one.family == socket.AF_UNIX else int(name[1])


def _peer_of(connection: socket.socket) -> Peer | None:
    try:
        name = connection.getpeername()
        if connection.family == socket.AF_UNIX:
            return visitor_named(name).peer
        return peer_named(*name[:2])
    except (OSError, GatewayError):  # it has gone, or is none of those we serve
        return None


def _shut(peer: Peer, descriptor: int) -> None:
    with _doubled(descriptor) as one, suppress(OSError):
        if one is not None and _peer_of(one) == peer:
            one.shutdown(socket.SHUT_RDWR)
