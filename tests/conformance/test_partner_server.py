"""The HTTP server of a partner: what it does with connections that are kept open when it stops."""

from __future__ import annotations

from http.client import HTTPConnection, RemoteDisconnected

import pytest

from gateway.conformance.partners import HttpReply, PartnerServer


def test_a_server_that_is_closed_answers_nobody_on_an_old_connection() -> None:
    first = PartnerServer(lambda _: HttpReply(200, "text/plain", b"first"))
    first.start()
    connection = HTTPConnection("127.0.0.1", first.port, timeout=60)
    connection.request("POST", "/", b"")
    assert connection.getresponse().read() == b"first"
    kept = connection.sock
    first.close()
    assert kept is not None
    assert kept.recv(1) == b"", "the connection was ended"
    connection.close()
    second = PartnerServer(lambda _: HttpReply(200, "text/plain", b"second"), port=first.port)
    second.start()
    try:
        connection.request("POST", "/", b"")
        assert connection.getresponse().read() == b"second"
    finally:
        connection.close()
        second.close()
    with pytest.raises((ConnectionError, RemoteDisconnected)):
        connection.request("POST", "/", b"")
