"""Targets: the door as the server below hands requests over, and answers of HTTP to our own calls."""

from __future__ import annotations

import asyncio
import http.client
import io
from collections.abc import Callable, Iterable
from functools import cache
from http import HTTPStatus
from random import Random

from gateway.delivery import HttpAnswer
from gateway.delivery.http_answer_reader import read_http_answer
from gateway.errors import GatewayError
from gateway.web.server import ConnectionLimits, MinimumBodyRate, RequestGate, RequestGateLimits
from tests.fuzz.octets import either, mutate_octets, with_words
from tests.fuzz.of_web import application, check_shows_nothing, posts_of_a_broker
from tests.fuzz.target import Target, promise
from tests.web.server.test_request_gate import Fields, Protocol, Scope

__all__ = ["TARGETS"]

_BODIES = {"/msh/ebms2": 1 << 20, "/soap/agency": 1 << 18}
_WORDS = (
    *(
        b"GET ",
        b"HEAD ",
        b"OPTIONS ",
        b"PUT ",
        b"POST ",
        b"/metrics",
        b"/status/ready",
        b"/status/live/",
        b"?wsdl",
        b"?",
    ),
    *(
        b"/../",
        b"//",
        b"/%2e%2e/",
        b"http://x/",
        b"*",
        b"host: x:y@z\r\n",
        b"host: [::1\r\n",
        b"host: a b\r\n",
    ),
    *(
        b"content-length: 5\r\n",
        b"content-length: 18446744073709551616\r\n",
        b"transfer-encoding: chunked\r\n",
    ),
    *(
        b"transfer-encoding: gzip\r\n",
        b"content-encoding: gzip\r\n",
        b"expect: 100-continue\r\n",
        b"expect: x\r\n",
    ),
    *(
        b"x-forwarded-for: 1.2.3.4, x\r\n",
        b"cookie: a=b; c\r\n",
        b"range: bytes=0-\r\n",
        b'soapaction: "\r\n',
    ),
    *(
        b"content-type: text/xml; charset*=x''y\r\n",
        b"content_type: text/xml\r\n",
        b'if-match: "\r\n',
        b" HTTP/1.0",
    ),
)


class _Standing:
    """One door on one event loop, for every execution."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        bounds = RequestGateLimits(
            1, 100, _BODIES, 1 << 24, MinimumBodyRate(5.0, 1000), ConnectionLimits(1000, 1000, 3600.0)
        )
        self.door = RequestGate(application(), bounds)
        self.door.__rsgi_init__(self.loop)

    def answer(self, scope: Scope, body: bytes) -> Protocol:
        protocol = Protocol([body[:1000], body[1000:], b""])
        self.loop.run_until_complete(self.door.__rsgi__(scope, protocol))
        return protocol


@cache
def _standing() -> _Standing:
    return _Standing()


def _scope(head: bytes) -> Scope:
    """Return the request as the server would tell it; what is not ASCII it loses."""
    first, _, rest = head.partition(b"\r\n")
    method, _, target = first.decode("latin-1").partition(" ")
    path, _, version = target.rpartition(" HTTP/")
    path, _, query = (path or target).partition("?")
    pairs, lost = [], []
    for line in rest.decode("latin-1").split("\r\n"):
        name, colon, value = line.partition(":")
        if not colon or not name.isascii() or not name.isprintable() or " " in name or not name:
            continue
        value = value.strip()
        if value.isascii() and (not value or value.isprintable()):
            pairs.append((name.lower(), value))
        else:
            lost.append(name.lower())
    scope = Scope(Fields(pairs, tuple(lost)), method or "GET", path or "/", query, version or "1.1")
    scope.path = scope.path if scope.path.startswith("/") else f"/{scope.path}"
    return scope


def _asked(data: bytes) -> object:
    head, _, body = data.partition(b"\r\n\r\n")
    answer = _standing().answer(_scope(head), body)
    promise(answer.status in {one.value for one in HTTPStatus}, f"status {answer.status}")
    promise(all("\r" not in value and "\n" not in value for _, value in answer.headers), "a header is split")
    check_shows_nothing(answer.body)
    return "answered"  # a call that came before is refused: the second answer may be another


def _requests() -> Iterable[bytes]:
    for path, posts in posts_of_a_broker().items():
        for post in posts:
            head, _, body = post.partition(b"\r\n\r\n")
            length = b"\r\ncontent-length: %d\r\nhost: hub.example\r\n\r\n" % len(body)
            yield b"POST %s HTTP/1.1\r\n" % path.encode() + head + length + body
    for path in (b"/status/ready", b"/metrics", b"/soap/agency?wsdl", b"/"):
        yield b"GET %s HTTP/1.1\r\nhost: hub.example\r\n\r\n" % path


def _mutate(data: bytes, rng: Random) -> bytes:
    """Change the head; the body is changed at the other doors."""
    head, gap, body = data.partition(b"\r\n\r\n")
    return _OF_HEADS(head, rng) + gap + (body if rng.random() < 0.9 else mutate_octets(body, rng))


_OF_HEADS = either((2, with_words(_WORDS)), (1, mutate_octets))

_MOST = 4096
_PLAIN = b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: 5\r\n\r\nhello"
_ANSWERS = (
    _PLAIN,
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nhel\r\n02\r\nlo\r\n0\r\nX: y\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + _PLAIN,
    b"HTTP/1.0 500 No\r\nServer: x\r\n\r\nhello",
    b"HTTP/1.1 204 No\r\nConnection: keep-alive, close\r\n\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n" + _PLAIN,
)
_FIELDS = (
    *("Content-Length: 7", "Content-Length: 5, 5", "Content-Length: +5", "Content-Length:\r\n 5"),
    *("Transfer-Encoding: chunked", "Transfer-Encoding: gzip, chunked", "Transfer-Encoding: identity"),
    *("Content-Encoding: gzip", "Connection: close", "HTTP/1.1 100 x\r\n", "HTTP/1.1 101 x\r\n"),
)
_SIGNS = (
    b"\n",
    b"\r",
    b" ",
    b"\t",
    b"0\r\n\r\n",
    b"FFFFFFF\r\n",
    b"-1\r\n",
    b"0x5\r\n",
    b";\n",
    b"\x00",
    b"\xff",
)
_OF_ANSWERS = (*(f"{one}\r\n".encode() for one in _FIELDS), *_SIGNS)


def _in_pieces(data: bytes, size: int) -> Callable[[int], bytes]:
    stream = io.BytesIO(data)
    return lambda most: stream.read(min(most, size))


def _read(data: bytes, size: int) -> tuple[HttpAnswer | str, bool]:
    """Return the answer and whether the connection lives on; a word where there is none."""
    try:
        return read_http_answer(_in_pieces(data, size), _MOST)
    except ConnectionError:
        return "ended", False
    except GatewayError as refused:
        return refused.problem.id, False


class _Socket:
    """Octets, as the standard library reads a connection."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, *_: object) -> io.BytesIO:
        return io.BytesIO(self._data)


def _by_the_library(data: bytes) -> tuple[int, bytes]:
    response = http.client.HTTPResponse(_Socket(data), method="POST")  # type: ignore[arg-type]
    response.begin()
    return response.status, response.read()


def _answered(data: bytes) -> object:
    """What we take for an answer comes out alike in any pieces, and as a more patient reader has it."""
    answer, again = _read(data, 1 << 16)
    promise(_read(data, 1)[0] == answer, "another answer in other pieces")
    if isinstance(answer, str):
        return answer
    promise(len(answer.body) <= _MOST, "more than the bound")
    promise(200 <= answer.status <= 599, f"status {answer.status}")
    # The library knows one interim answer only, and waits for chunks where there are none.
    if data[8:10] != b" 1" and answer.status not in (204, 304):
        promise(_by_the_library(data) == (answer.status, answer.body), "the library reads another answer")
    return answer.status, sorted(answer.headers.items()), answer.body, again


TARGETS = (
    Target("http-door", "requests as the server hands them over, at every path", _requests, _asked, _mutate),
    Target(
        "http-answer",
        "HTTP answers to our calls, strictly; in any pieces alike, and as the standard library reads them",
        lambda: _ANSWERS,
        _answered,
        either((2, with_words(_OF_ANSWERS)), (1, mutate_octets)),
    ),
)
