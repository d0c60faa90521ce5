"""What the server and its gate make of requests on a raw connection: lengths, chunks, and who answers."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from granian.constants import HTTPModes, Interfaces
from granian.server.embed import Server

from gateway.web.server import Environ, RequestGate
from tests.kit.paths import ROOT
from tests.kit.ports import find_free_port
from tests.web.server.test_request_gate import BOUNDS

CHUNKS = b"Transfer-Encoding: chunked\r\n"
IN_CHUNKS = b"3\r\nabc\r\n0\r\n\r\n"
TRAILERS = CHUNKS + b"Trailer: X-Digest\r\n"
WITH_TRAILERS = IN_CHUNKS[:-2] + b"X-Digest: 1\r\n\r\n"
#: A request that must not be seen where the one before it ended otherwise.
HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: hub\r\n\r\n"


def echo_body(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["PATH_INFO"].encode() + b" " + body]


def send_octets(octets: bytes, port: int) -> bytes:
    """Return all that is answered within a second, or until the end, which is added as END."""
    answer = b""
    with socket.create_connection(("127.0.0.1", port), 10) as client:
        client.sendall(octets)
        client.settimeout(1.0)
        try:
            while piece := client.recv(1 << 16):
                answer += piece
        except TimeoutError:
            return answer
        except OSError:
            pass
    return answer + b"END"


async def serve(port: int) -> None:
    """Serve a gate until the process is killed."""
    server = Server(
        RequestGate(echo_body, BOUNDS),
        address="127.0.0.1",
        port=port,
        interface=Interfaces.RSGI,
        http=HTTPModes.http1,
        websockets=False,
        log_enabled=False,
    )
    await server.serve()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Give the port of a gate in a process of its own: the server's threads outlive an interpreter."""
    found = find_free_port()
    process = subprocess.Popen([sys.executable, "-m", __name__, str(found)], cwd=ROOT)
    try:
        while not is_listening(found):
            assert process.poll() is None
            time.sleep(0.05)
        yield found
    finally:
        process.kill()
        process.wait()


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def make_post(fields: bytes, body: bytes) -> bytes:
    return b"POST /msh/ebms2 HTTP/1.1\r\nHost: hub\r\n" + fields + b"\r\n" + body


@pytest.mark.parametrize(
    ("octets", "status"),
    [
        (make_post(b"Content-Length: 3\r\n", b"abc"), b"200"),
        (make_post(b"Content-Length: +3\r\n", b"abc"), b"400"),
        (b"BREW /pot HTTP/1.1\r\nHost: hub\r\n\r\n", b"501"),
        (b"no HTTP\r\n\r\n", b"400"),
    ],
)
def test_no_answer_names_the_server(port: int, octets: bytes, status: bytes) -> None:
    answer = send_octets(octets, port)
    assert answer.split()[1] == status
    assert b"granian" not in answer.lower()


@pytest.mark.parametrize(
    ("fields", "body", "status", "is_ended"),
    [
        # RFC 9112 §6.3: equal lengths are one.
        (b"Content-Length: 3\r\nContent-Length: 3\r\n", b"abc", b"200", False),
        (b"Content-Length: 3\r\nContent-Length: 4\r\n", b"abcd", b"400", True),
        (b"Content-Length: 3, 3\r\n", b"abc", b"400", True),
        # RFC 9112 §6.1: the coding counts, and the connection ends after the answer.
        (b"Content-Length: 5\r\n" + CHUNKS, IN_CHUNKS, b"200", True),
        (CHUNKS + b"Content-Length: 5\r\n", IN_CHUNKS, b"200", True),
        (CHUNKS, IN_CHUNKS, b"200", False),
        (CHUNKS, b"3\r\nabc\r\nZZ\r\n\r\n", b"400", True),
        # Trailers: left out where they are announced and the content shows its own end (RFC 9112 §7.1.2).
        (TRAILERS + b"Content-Type: text/xml; charset=UTF-8\r\n", WITH_TRAILERS, b"200", False),
        (TRAILERS + b"Content-Type: application/octet-stream\r\n", WITH_TRAILERS, b"400", True),
        (TRAILERS, WITH_TRAILERS, b"400", True),
        # An error in the chunks looks the same to the gate: the content must be judged, and nothing follows.
        (TRAILERS + b"Content-Type: text/xml\r\n", b"3\r\nabc\r\nZZ\r\n\r\n", b"200", True),
        (CHUNKS + b"Content-Type: text/xml\r\n", WITH_TRAILERS, b"400", True),
    ],
)
def test_a_body_has_one_end(port: int, fields: bytes, body: bytes, status: bytes, *, is_ended: bool) -> None:
    answer = send_octets(make_post(fields, body) + HIDDEN, port)
    assert answer.split()[1] == status
    assert answer.endswith(b"END") is is_ended
    assert (b"/hidden" in answer) is not is_ended
    assert (b"/msh/ebms2 abc" in answer) is (status == b"200")


@pytest.mark.parametrize("fields", [b"Content-Length: %d\r\n" % (32 << 20), CHUNKS])
def test_who_sends_on_after_a_refusal_gets_its_answer(port: int, fields: bytes) -> None:
    body = bytes(32 << 20)
    if fields is CHUNKS:
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    with socket.create_connection(("127.0.0.1", port), 60) as client:
        client.sendall(make_post(fields, b""))
        client.sendall(body)
        answer = client.recv(1 << 16)
        assert answer.startswith(b"HTTP/1.1 413")
        assert b"GW102" in answer
        assert client.recv(1) == b""


def test_a_limited_number_of_refused_clients_is_waited_for(port: int) -> None:
    """One of eight connections; each as long as something comes, and then two seconds."""
    with ExitStack() as stack:
        clients = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port), 30))
            for _ in range(BOUNDS.connections.max_connections // 8 + 1)
        ]
        for client in clients:
            client.sendall(make_post(b"Content-Length: %d\r\n" % (32 << 20), b""))
            assert client.recv(1 << 16).startswith(b"HTTP/1.1 413")
        begin = time.monotonic()
        assert clients[-1].recv(1) == b""
        assert time.monotonic() - begin < 1
        assert clients[0].recv(1) == b""
        assert time.monotonic() - begin < 9


def test_who_is_refused_before_the_body_is_not_asked_for_it(port: int) -> None:
    fields = b"Expect: 100-continue\r\nContent-Length: %d\r\n" % (32 << 20)
    assert send_octets(make_post(fields, b""), port).startswith(b"HTTP/1.1 413")


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
