"""Octets on connections: what a script sends, and what is made of what comes back."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from gateway.errors import GatewayError
from gateway_conformance.hostile import HttpRequest, UrlTarget, WsgiTarget
from gateway_conformance.hostile.exchange import FaceAddress, NotOfferedError, RawScript

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
FACES = {"ebms2": FaceAddress("/msh"), "soap": FaceAddress("/soap")}


@contextmanager
def speaking(handle: Callable[[socket.socket], None], *, time_out: float = 60) -> Iterator[UrlTarget]:
    """Give a target whose every connection is handled by `handle`, and closed then."""
    listener = socket.create_server(("127.0.0.1", 0))

    def one(connection: socket.socket) -> None:
        with connection:
            handle(connection)

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=one, args=(connection,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield UrlTarget(f"http://127.0.0.1:{listener.getsockname()[1]}/msh", FACES, time_out=time_out)
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def read_until(connection: socket.socket, end: bytes) -> bytes:
    """Read until what was read ends so, or until the other end has."""
    heard = b""
    while not heard.endswith(end):
        piece = connection.recv(4096)
        if not piece:
            break
        heard += piece
    return heard


def script(
    *pieces: bytes | tuple[bytes, float], wait: float = 60.0, half: bool = False, n: int = 1
) -> RawScript:
    steps = tuple((one, 0.0) if isinstance(one, bytes) else one for one in pieces)
    return RawScript("soap", steps, n, half, wait)


def test_path_and_host_are_put_in_and_the_answer_is_read() -> None:
    heard: list[bytes] = []

    def handle(connection: socket.socket) -> None:
        heard.append(read_until(connection, b"\r\n\r\n"))
        connection.sendall(OK)

    with speaking(handle) as target:
        answer = target.send(script(b"GET {path} HTTP/1.1\r\n", (b"Host: {host}\r\n", 0.01), b"\r\n"))
    assert heard[0].startswith(b"GET /soap HTTP/1.1\r\nHost: 127.0.0.1:")
    assert (answer.status, answer.body, answer.trailing_octets) == (200, b"ok", b"")
    assert answer.headers == {"content-length": "2"}


def test_a_second_answer_is_seen() -> None:
    def handle(connection: socket.socket) -> None:
        read_until(connection, b"\r\n\r\n")
        connection.sendall(OK + OK)

    with speaking(handle) as target:
        answer = target.send(script(b"GET / HTTP/1.1\r\n\r\n"))
    assert answer.status == 200
    assert answer.trailing_octets == OK


@pytest.mark.parametrize(
    "sent",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\nno",
        b"HTTP/1.1 400 No\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n",
    ],
)
def test_answers_without_length_and_in_chunks(sent: bytes) -> None:
    def handle(connection: socket.socket) -> None:
        read_until(connection, b"\r\n\r\n")
        for octet in sent:
            connection.sendall(bytes((octet,)))

    with speaking(handle) as target:
        answer = target.send(script(b"GET / HTTP/1.1\r\n\r\n"))
    assert (answer.status, answer.body) == (400, b"no")


def test_closing_and_keeping_still_are_told_apart() -> None:
    ended = threading.Event()
    with speaking(lambda connection: None) as target:
        answer = target.send(script(b"GET"))
        assert (answer.status, answer.timed_out) == (None, False)
        plain = target.send(HttpRequest("ebms2", {}, b"x"))
        assert (plain.status, plain.timed_out) == (None, False)
    with speaking(lambda connection: ended.wait(60) and None, time_out=0.3) as target:  # short: runs out
        answer = target.send(script(b"GET", wait=0.2))
        assert (answer.status, answer.timed_out) == (None, True)
        plain = target.send(HttpRequest("ebms2", {}, b"x"))
        assert (plain.status, plain.timed_out) == (None, True)
        ended.set()


def test_half_an_answer_is_none() -> None:
    with speaking(lambda connection: connection.sendall(OK[:-1])) as target:
        answer = target.send(script(b""))
    assert answer.status is None
    assert not answer.timed_out
    assert answer.body == OK[:-1]


def test_a_script_ends_when_the_other_end_speaks() -> None:
    heard: list[bytes] = []

    def handle(connection: socket.socket) -> None:
        heard.append(read_until(connection, b"1"))
        connection.sendall(b"HTTP/1.1 408 Late\r\nContent-Length: 0\r\n\r\n")
        heard.append(read_until(connection, b"2"))

    with speaking(handle) as target:
        answer = target.send(script((b"1", 5.0), (b"2", 5.0)))
    assert answer.status == 408
    assert b"2" not in b"".join(heard)


def test_our_side_is_half_closed() -> None:
    def handle(connection: socket.socket) -> None:
        read_until(connection, b"never")
        connection.sendall(OK)

    with speaking(handle) as target:
        assert target.send(script(b"GET", half=True)).status == 200
        assert target.send(script(b"GET", wait=0.2)).timed_out


def test_of_many_connections_the_worst_answer_is_told() -> None:
    lock, seen = threading.Lock(), []
    everybody = threading.Barrier(5)

    def handle(connection: socket.socket) -> None:
        read_until(connection, b"\r\n\r\n")
        with lock:
            seen.append(connection)
            mine = len(seen)
        everybody.wait(60)  # none is answered before all are connected
        connection.sendall(b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n" if mine == 3 else b"")

    with speaking(handle) as target:
        answer = target.send(script(b"GET / HTTP/1.1\r\n\r\n", n=5))
    assert answer.status == 500
    assert len(seen) == 5


def test_nobody_there() -> None:
    with speaking(lambda _: None) as target:
        pass
    assert target.send(script(b"GET")).status is None
    plain = target.send(HttpRequest("ebms2", {}, b""))
    assert (plain.status, plain.timed_out) == (None, False)


def test_the_url_may_be_the_base_or_the_endpoint() -> None:
    paths: list[bytes] = []

    def handle(connection: socket.socket) -> None:
        paths.append(read_until(connection, b"\r\n\r\n").split()[1])
        connection.sendall(OK)

    with speaking(handle) as target:
        port = target.name.split(":")[2].split("/")[0]
        for url in ("", "/", "/msh", "/msh/"):
            UrlTarget(f"http://127.0.0.1:{port}{url}", FACES).send(HttpRequest("soap", {}, b""))
        own = {**FACES, "soap": FaceAddress("/soap", f"http://127.0.0.1:{port}/own?x=1")}
        UrlTarget("http://elsewhere.invalid", own).send(HttpRequest("soap", {}, b""))
    assert paths == [b"/soap"] * 4 + [b"/own?x=1"]
    with pytest.raises(GatewayError, match="GW808"):
        UrlTarget("gopher://x", FACES)


def test_an_application_in_process() -> None:
    def application(environ: dict[str, object], start_response: Callable[..., object]) -> list[bytes]:
        if environ["PATH_INFO"] == "/soap":
            raise ValueError("x")
        start_response("201 Created", [("X-Method", str(environ["REQUEST_METHOD"]))])
        return [str(environ["HTTP_SOAPACTION"]).encode(), environ["wsgi.input"].read()]  # type: ignore[attr-defined]

    target = WsgiTarget(application, FACES)
    answer = target.send(HttpRequest("ebms2", {"SOAPAction": "a"}, b"b", "PUT"))
    assert (answer.status, answer.headers, answer.body) == (201, {"x-method": "PUT"}, b"ab")
    broken = target.send(HttpRequest("soap", {}, b""))
    assert broken.status == 500
    assert b"Traceback" in broken.body
    with pytest.raises(NotOfferedError):
        target.send(script(b""))
