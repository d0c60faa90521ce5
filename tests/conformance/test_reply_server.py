"""The hostile server answers requests whose length it cannot take, and never reads a body as a request."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest

from gateway.client import HttpReply, IncomingRequest
from gateway_conformance.hostile import ReplyServer
from gateway_conformance.hostile.reply_attacks.reply_server import ReplyConnection, ReplyScenario


class Forger:
    """Answers everything with two letters."""

    face = "soap"

    def make_honest_reply(self, request: IncomingRequest) -> HttpReply:
        return HttpReply(200, "text/plain", b"ok")


def answer_honestly(connection: ReplyConnection) -> None:
    connection.send_reply(connection.make_honest_reply())


@pytest.fixture
def server() -> Iterator[ReplyServer]:
    scenario = ReplyScenario("x.y", "honest", "", {}, answer_honestly)
    server = ReplyServer(Forger(), lambda _: scenario)
    server.start()
    yield server
    server.close()


def post(server: ReplyServer, length: str, body: bytes = b"") -> bytes:
    """Return all that comes until the server closes the connection, or until the honest answer."""
    with socket.create_connection((server.host, server.port), 20) as connection:
        connection.sendall(f"POST / HTTP/1.1\r\nContent-Length: {length}\r\n\r\n".encode("latin-1") + body)
        answer = b""
        while not answer.endswith(b"ok") and (piece := connection.recv(4096)):
            answer += piece
    return answer


@pytest.mark.parametrize("length", ["x", "-1", "1_0", "", "²"])
def test_a_length_that_is_no_number_is_refused(server: ReplyServer, length: str) -> None:
    assert post(server, length).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("length", [str(64 * 1024 * 1024 + 1), "9" * 5000])
def test_a_body_that_is_too_long_is_refused(server: ReplyServer, length: str) -> None:
    assert post(server, length).startswith(b"HTTP/1.1 413 ")


def test_an_honest_body_is_answered(server: ReplyServer) -> None:
    assert post(server, "0003", b"abc").startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("field", ["Content-Length: x", "Transfer-Encoding: chunked"])
def test_nothing_after_a_refused_head_is_read_as_a_request(server: ReplyServer, field: str) -> None:
    hidden = b"POST /inner HTTP/1.1\r\nContent-Length: 0\r\n\r\n"
    with socket.create_connection((server.host, server.port), 20) as connection:
        connection.sendall(f"POST / HTTP/1.1\r\n{field}\r\n\r\n".encode() + hidden)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := connection.recv(4096):
                answer += piece
    assert answer.count(b"HTTP/1.1 ") <= 1
    assert b"ok" not in answer
