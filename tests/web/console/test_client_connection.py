"""The network of a request: of the connection, of our own proxy's word, and never of a stranger's word."""

from __future__ import annotations

import pytest
from flask import Request
from werkzeug.test import EnvironBuilder

from gateway.web.console.page_guards import find_client_network

PROXY = "10.0.0.1"


@pytest.mark.parametrize(
    ("peer", "said", "network"),
    [
        ("192.0.2.1", None, "192.0.2.1"),
        ("192.0.2.1", "198.51.100.1", "192.0.2.1"),
        (PROXY, "198.51.100.1", "198.51.100.1"),
        (PROXY, "203.0.113.9, 198.51.100.1", "198.51.100.1"),
        (PROXY, None, PROXY),
        ("2001:db8:1:2:3:4:5:6", None, "2001:db8:1:2::/64"),
        (PROXY, "2001:db8:1:2:9::1", "2001:db8:1:2::/64"),
        (PROXY, "x" * 500, "x" * 80),
        ("::ffff:192.0.2.1", None, "192.0.2.1"),
        ("::ffff:10.0.0.1", "::ffff:198.51.100.1", "198.51.100.1"),
        (PROXY, "198.51.100.1:4711", "198.51.100.1"),
        (PROXY, "[2001:db8:1:2:9::1]:4711", "2001:db8:1:2::/64"),
    ],
)
def test_the_network_is_who_connects(peer: str, said: str | None, network: str) -> None:
    headers = {} if said is None else {"X-Forwarded-For": said}
    environ = EnvironBuilder("/", headers=headers, environ_base={"REMOTE_ADDR": peer}).get_environ()
    assert find_client_network(Request(environ), (PROXY,)) == network
