"""Who is at the other end, as the server says it and as sockets are named."""

from __future__ import annotations

import pytest

from gateway.errors import GatewayError
from gateway.web.server.request_head import ClientPeer, PeerAddress, make_tls_peer, parse_peer_name

DIGEST = bytes(range(32))


@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"])
@pytest.mark.parametrize("digest", [None, DIGEST])
def test_a_name_says_who_came_over_tls(address: str, digest: bytes | None) -> None:
    visitor = make_tls_peer(address, 65535, digest)
    assert parse_peer_name(visitor.socket_name) == visitor
    assert (visitor.tls, visitor.certificate_sha256) == (True, digest.hex() if digest else None)
    # 108 octets are what a socket's name may have on Linux, 104 elsewhere, its end counted.
    assert len(visitor.socket_name) < 100
    assert "/" not in visitor.socket_name


def test_one_address_has_one_name() -> None:
    assert make_tls_peer("::ffff:192.0.2.1", 5, None) == make_tls_peer("192.0.2.1", 5, None)
    assert make_tls_peer("fe80::1%eth0", 5, None).socket_name == "fe80::1,5,"


def test_a_connection_over_tcp_has_shown_nothing() -> None:
    assert parse_peer_name("192.0.2.1:4711") == ClientPeer(PeerAddress("192.0.2.1", 4711))
    assert parse_peer_name("[2001:db8::1]:4711") == ClientPeer(PeerAddress("2001:db8::1", 4711))


@pytest.mark.parametrize(
    "text", ["", "192.0.2.1", "192.0.2.1,x,", "192.0.2.1,5,AAAA", "192.0.2.1,5,?", "1,2,3,4", "a:b"]
)
def test_what_is_no_name_is_nobody(text: str) -> None:
    with pytest.raises(GatewayError):
        parse_peer_name(text)
