"""Connections are looked at by what the process has open; those that break a bound are shut."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from gateway.web.server import ConnectionLimits, get_client_network
from gateway.web.server.connection_limits import ConnectionTable
from gateway.web.server.proven_callers import ProvenNetworks
from gateway.web.server.request_head import PeerAddress, make_peer_address
from tests.kit.house import Clock


class Seconds(Clock):
    """A clock of seconds."""

    def __call__(self) -> float:  # type: ignore[override]
        return self.now.timestamp()


class Server:
    """A listener of this process, and the two ends of each connection to it."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        self._accepted: dict[PeerAddress, socket.socket] = {}

    def connect(self, source: str = "127.0.0.1") -> tuple[PeerAddress, socket.socket]:
        address = self._listener.getsockname()
        near = self._stack.enter_context(socket.create_connection(address, 5, (source, 0)))
        peer = PeerAddress(*near.getsockname())
        self._accepted[peer] = self._stack.enter_context(self._listener.accept()[0])
        near.settimeout(0)
        return peer, near

    def close(self, peer: PeerAddress) -> None:
        """Close a connection at this end."""
        self._accepted.pop(peer).close()


@pytest.fixture
def server() -> Iterator[Server]:
    with ExitStack() as stack:
        yield Server(stack)


def is_open(near: socket.socket) -> bool:
    try:
        return near.recv(1) != b""
    except BlockingIOError:
        return True


def watched(
    clock: Seconds, each: int = 100, whole: int = 1000, exempt: tuple[str, ...] = ()
) -> ConnectionTable:
    limits = ConnectionLimits(whole, each, 30.0, frozenset(exempt))
    return ConnectionTable(limits, clock, ProvenNetworks(clock))


def test_a_connection_that_says_nothing_whole_is_shut_in_time(server: Server) -> None:
    clock = Seconds()
    connections = watched(clock)
    _, silent = server.connect()
    asking, asks = server.connect()
    arriving, sends = server.connect()
    assert connections.close_excess_connections() == 0
    clock.forward(seconds=29)
    connections.begin_request(asking)
    connections.begin_work(asking)
    connections.begin_request(arriving)
    clock.forward(seconds=2)
    assert connections.close_excess_connections() == 1
    assert [is_open(one) for one in (silent, asks, sends)] == [False, True, True]
    clock.forward(seconds=60)
    connections.end_request(asking, None)
    connections.close_excess_connections()
    assert is_open(asks)
    clock.forward(seconds=31)
    connections.close_excess_connections()
    # The body on its way has a time of its own, which is not kept here.
    assert [is_open(one) for one in (asks, sends)] == [False, True]


def test_more_than_enough_of_one_address_are_shut_and_nobody_elses(server: Server) -> None:
    clock = Seconds()
    connections = watched(clock, each=3)
    mine = [server.connect() for _ in range(6)]
    others = [server.connect("127.0.0.2") for _ in range(3)]
    for peer, _ in mine[:2]:
        connections.begin_request(peer)
        connections.begin_work(peer)
    connections.close_excess_connections()
    left = [is_open(near) for _, near in mine]
    assert left[:2] == [True, True], "whoever is worked for stays"
    assert sum(left) == 3
    assert all(is_open(near) for _, near in others)


def test_our_own_proxies_may_have_many(server: Server) -> None:
    connections = watched(Seconds(), each=1, exempt=("127.0.0.1",))
    mine = [server.connect() for _ in range(5)]
    assert connections.close_excess_connections() == 0
    assert all(is_open(near) for _, near in mine)


def test_what_one_proxy_brings_is_not_taken_for_one_party(server: Server) -> None:
    connections = watched(Seconds(), exempt=("127.0.0.1",))
    (proxy, _), (direct, _) = server.connect(), server.connect("127.0.0.2")
    for peer in (proxy, direct):
        connections.begin_request(peer)
        connections.end_request(peer, "broker1")
    assert connections.begin_request(proxy) is None
    assert connections.begin_request(direct) == "broker1"


def test_strangers_make_room_before_there_is_none(server: Server) -> None:
    clock = Seconds()
    connections = watched(clock, whole=8)
    known = [server.connect() for _ in range(4)]
    for peer, _ in known:
        connections.begin_request(peer)
        connections.end_request(peer, "broker1")
    strangers = [server.connect() for _ in range(2)]
    assert connections.close_excess_connections() == 0
    clock.forward(seconds=1)
    strangers.append(server.connect())
    assert connections.close_excess_connections() == 1
    assert all(is_open(near) for _, near in known)
    assert is_open(strangers[2][1]), "the oldest goes first"


def test_the_network_with_most_connections_makes_room(server: Server) -> None:
    """A body that has arrived for long is no older than the hundred that came after it."""
    clock = Seconds()
    connections = watched(clock, whole=16)
    honest, near = server.connect("127.0.0.9")
    connections.begin_request(honest)
    clock.forward(seconds=5)
    crowd = [server.connect(f"127.0.0.{number % 2 + 2}") for number in range(13)]
    for peer, _ in crowd:
        connections.begin_request(peer)
    assert connections.close_excess_connections() == 2
    assert is_open(near)


def test_partners_make_room_for_the_quarter_of_strangers(server: Server) -> None:
    connections = watched(Seconds(), whole=16)
    partners = [server.connect(f"127.0.1.{number % 2}") for number in range(8)]
    partners += [server.connect(f"127.0.2.{number}") for number in range(3)]
    for number, (peer, _) in enumerate(partners):
        connections.begin_request(peer)
        connections.end_request(peer, "broker1" if number < 8 else "broker2")
    strangers = [server.connect(f"127.0.0.{number}") for number in (2, 3, 4)]
    assert connections.close_excess_connections() == 2
    assert all(is_open(near) for _, near in strangers)
    assert sum(is_open(near) for _, near in partners[:8]) == 6, "the fullest networks make room"


def test_of_networks_with_equally_many_the_idle_make_room(server: Server) -> None:
    clock = Seconds()
    connections = watched(clock, whole=16)
    honest, near = server.connect("127.0.0.1")
    connections.begin_request(honest)
    idle = [server.connect(f"127.0.0.{number}") for number in range(2, 15)]
    for peer, _ in idle:
        connections.begin_request(peer)
        connections.end_request(peer, None)
    assert connections.close_excess_connections() == 2
    assert is_open(near)


def test_connections_of_our_own_proxies_take_no_room_from_a_partner(server: Server) -> None:
    connections = watched(Seconds(), whole=16, exempt=("127.0.0.2",))
    for _ in range(14):
        server.connect("127.0.0.2")
    partner, near = server.connect("127.0.0.9")
    connections.begin_request(partner)
    assert connections.close_excess_connections() == 0
    assert is_open(near)


def test_a_network_of_a_party_is_no_stranger(server: Server) -> None:
    connections = watched(Seconds(), whole=8)
    connections.networks.remember_network("127.0.0.9", "broker1")
    honest, near = server.connect("127.0.0.9")
    connections.begin_request(honest)
    strangers = [server.connect(f"127.0.0.{number}") for number in range(2, 8)]
    for peer, _ in strangers:
        connections.begin_request(peer)
    assert connections.close_excess_connections() == 1
    assert is_open(near), "of equal ones an unproved one goes"


@pytest.mark.parametrize("arriving", [False, True])
def test_what_has_gone_is_forgotten_but_not_while_it_is_worked_for(server: Server, arriving: bool) -> None:
    connections = watched(Seconds())
    peer, _ = server.connect()
    connections.begin_request(peer)
    if not arriving:
        connections.begin_work(peer)
    server.close(peer)
    connections.close_excess_connections()
    connections.end_request(peer, "broker1")
    assert connections.begin_request(peer) == "broker1", "it was worked for"
    connections.end_request(peer, None)
    connections.close_excess_connections()
    assert connections.begin_request(peer) is None


def test_of_many_that_have_gone_none_is_known(server: Server) -> None:
    """Whoever comes later from the same port is somebody else: what was proved is forgotten."""
    connections = watched(Seconds(), whole=8)
    peers = [server.connect()[0] for _ in range(6)]
    for peer in peers:
        connections.begin_request(peer)
        connections.end_request(peer, "broker1")
    connections.close_excess_connections()
    for peer in peers:
        server.close(peer)
    connections.close_excess_connections()
    assert [connections.begin_request(peer) for peer in peers] == [None] * 6


def test_other_sockets_of_the_process_are_left_alone(server: Server) -> None:
    clock = Seconds()
    connections = watched(clock)
    with ExitStack() as stack:
        one, other = (stack.enter_context(end) for end in socket.socketpair())
        stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        elsewhere = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        ours = stack.enter_context(socket.create_connection(elsewhere.getsockname(), 5))
        theirs = stack.enter_context(elsewhere.accept()[0])
        elsewhere.close()
        connections.close_excess_connections()
        clock.forward(seconds=60)
        assert connections.close_excess_connections() == 0
        one.send(b"x")
        theirs.send(b"y")
        assert (other.recv(1), ours.recv(1)) == (b"x", b"y")


def test_senders_are_told_apart_as_networks_are_given_out() -> None:
    assert make_peer_address("[::ffff:192.0.2.1]", 5) == PeerAddress("192.0.2.1", 5)
    assert make_peer_address("::FFFF:c000:201", 5) == PeerAddress("192.0.2.1", 5)
    assert make_peer_address("fe80::1%eth0", 5) == PeerAddress("fe80::1", 5)
    assert get_client_network("192.0.2.1") == "192.0.2.1"
    assert get_client_network("2001:db8:1:2:3::4") == get_client_network("2001:db8:1:2:ffff::1")
    assert get_client_network("2001:db8:1:2::1") != get_client_network("2001:db8:1:3::1")
    assert get_client_network("what a proxy says" * 50) == ("what a proxy says" * 50)[:80]
