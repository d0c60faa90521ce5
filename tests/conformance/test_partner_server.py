"""The HTTP server of a partner: what it answers, and what becomes of connections that are kept open."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.client import HTTPConnection, RemoteDisconnected
from io import BytesIO

import pytest

from gateway.client import HttpReply, IncomingRequest, PartnerServer
from gateway.client.http_transport import read_request_head
from gateway.errors import GatewayError


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


@pytest.fixture
def server() -> Iterator[PartnerServer]:
    """Give a server that answers with what it was asked."""

    def answer(request: IncomingRequest) -> HttpReply:
        if request.path == "/mistake":
            raise ValueError("a mistake")
        if request.path == "/ends":
            return HttpReply(200, "text/plain", b"the last one", {"Connection": "close"})
        told = f"{request.path} {request.headers.get('content-type')} {len(request.body)}"
        return HttpReply(202, "text/plain", told.encode(), {"X-Told": "yes"})

    made = PartnerServer(answer)
    made.start()
    yield made
    made.close()


def exchange(server: PartnerServer, octets: bytes) -> bytes:
    """Return all that the server sends until it ends the connection."""
    with socket.create_connection(("127.0.0.1", server.port), 60) as connection:
        connection.sendall(octets)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_requests_of_one_connection_are_answered_one_after_the_other(server: PartnerServer) -> None:
    mime = 'multipart/related; boundary="a1"'
    told = exchange(
        server,
        f"POST //a?b=1 HTTP/1.1\r\nHost: x\r\nContent-Type: {mime}\r\nContent-Length: 3\r\n\r\nabc".encode()
        + b"POST /b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1;x=y\r\nc\r\n0\r\n\r\n"
        + b"POST /mistake HTTP/1.1\r\n\r\n"
        + b"GET / HTTP/1.1\nConnection: close\n\n",
    )
    first, second, third, last, *none = told.split(b"HTTP/1.1 ")[1:]
    assert first.startswith(b"202 Accepted\r\nDate: ")
    assert b"\r\nX-Told: yes\r\nContent-Type: text/plain\r\nContent-Length: " in first
    assert first.endswith(f"\r\n\r\n/a?b=1 {mime} 3".encode())
    assert second.endswith(b"\r\n\r\n/b None 3")
    assert (third[:4], third.endswith(b"ValueError: a mistake")) == (b"500 ", True)
    assert (last[:4], last.endswith(b"\r\n\r\nalive\n"), none) == (b"200 ", True, [])


@pytest.mark.parametrize(
    ("octets", "status"),
    [
        (b"PUT / HTTP/1.1\r\n\r\n", b"501"),
        (b"POST / HTTP/2\r\n\r\n", b"400"),
        (b"HTTP/1.1 200 OK\r\n\r\n", b"400"),
        (b"nothing of HTTP\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nno field\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n", b"413"),
        (b"POST / HTTP/1.1\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", b"413"),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfffffffff\r\n", b"413"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3fffffe\r\n", b"413"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n\r\n", b"400"),
        (b"POST / HTTP/1.0\r\n\r\n", b"202"),
        (b"POST /ends HTTP/1.1\r\n\r\n", b"200"),
    ],
)
def test_after_a_request_that_cannot_be_read_and_the_last_one_the_connection_ends(
    server: PartnerServer, octets: bytes, status: bytes
) -> None:
    assert exchange(server, octets).split(b" ")[1] == status


@pytest.mark.parametrize(
    "octets",
    [b"Content-Length: 4\r\n\r\nabc", b"Transfer-Encoding: chunked\r\n\r\n4\r\nabc"],
    ids=["counted", "chunked"],
)
def test_a_body_that_ends_early_is_no_message(server: PartnerServer, octets: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.port), 60) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\n" + octets)
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1000).startswith(b"HTTP/1.1 400 ")


def test_a_sender_reads_why_it_was_refused_after_all_that_it_sends(server: PartnerServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port), 60) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n")
        for _ in range(128):
            connection.sendall(bytes(65_536))
        assert connection.recv(1000).startswith(b"HTTP/1.1 413 ")


def test_a_body_that_waits_to_be_asked_for_is_asked_for(server: PartnerServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port), 60) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n")
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"a")
        assert connection.recv(1000).startswith(b"HTTP/1.1 202 ")


@pytest.mark.parametrize("line", [b"GET /" + b"a" * 70_000, b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000, b"GET"])
def test_a_head_that_is_too_long_or_without_an_end_is_no_head(line: bytes) -> None:
    with pytest.raises(GatewayError) as caught:
        read_request_head(BytesIO(line))
    assert caught.value.problem.id == ("GW103" if line == b"GET" else "GW102")


def test_a_server_that_waits_for_a_connection_ends_at_once() -> None:
    before = set(threading.enumerate())
    made = PartnerServer(lambda _: HttpReply())
    made.start()
    made.close()
    assert set(threading.enumerate()) <= before
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", made.port), 5)
