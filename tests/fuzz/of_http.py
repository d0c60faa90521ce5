"""Target: the door as the server below hands requests over: any method, path, query, fields and body."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from functools import cache
from http import HTTPStatus
from random import Random

from gateway.web.arriving import Pace
from gateway.web.connections import Bounds
from gateway.web.door import Door, DoorBounds
from tests.fuzz.octets import either, mutate_octets, with_words
from tests.fuzz.of_web import application, check_shows_nothing, posts_of_a_broker
from tests.fuzz.target import Target, promise
from tests.unit.web.test_door import Fields, Protocol, Scope

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
        bounds = DoorBounds(1, 100, _BODIES, 1 << 24, Pace(5.0, 1000), Bounds(1000, 1000, 3600.0))
        self.door = Door(application(), bounds)
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

TARGETS = (
    Target("http-door", "requests as the server hands them over, at every path", _requests, _asked, _mutate),
)
