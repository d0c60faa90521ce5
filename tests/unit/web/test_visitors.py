"""Who is at the other end, as the server says it and as sockets are named."""

from __future__ import annotations

import pytest

from gateway.errors import GatewayError
from gateway.web.visitors import Visitor, visitor_named, visitor_of

DIGEST = bytes(range(32))


@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"])
@pytest.mark.parametrize("digest", [None, DIGEST])
def test_a_name_says_who_came_over_tls(address: str, digest: bytes | None) -> None:
    visitor = visitor_of(address, 65535, digest)
    assert visitor_named(visitor.name) == visitor
    assert (visitor.tls, visitor.certificate) == (True, digest.hex() if digest else None)
    # 108 octets are what a socket's name may have on Linux, 104 elsewhere, its end counted.
    assert len(visitor.name) < 100
    assert "/" not in visitor.name


def test_one_address_has_one_name() -> None:
    assert visitor_of("::ffff:192.0.2.1", 5, None) == visitor_of("192.0.2.1", 5, None)
    assert visitor_of("fe80::1%eth0", 5, None).name == "fe80::1,5,"


def test_a_connection_over_tcp_has_shown_nothing() -> None:
    assert visitor_named("192.0.2.1:4711") == Visitor(("192.0.2.1", 4711))
    assert visitor_named("[2001:db8::1]:4711") == Visitor(("2001:db8::1", 4711))


@pytest.mark.parametrize(
    "text", ["", "192.0.2.1", "192.0.2.1,x,", "192.0.2.1,5,AAAA", "192.0.2.1,5,?", "1,2,3,4", "a:b"]
)
def test_what_is_no_name_is_nobody(text: str) -> None:
    with pytest.raises(GatewayError):
        visitor_named(text)
