"""Answers that go on: a stream is sent as it is read, and ends with its client or with the server."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest

from gateway.web.api import make_gate_rejection
from gateway.web.server import STREAM_KEY, Environ, RequestGate, request_gate
from tests.web.server.test_request_gate import BOUNDS, Fields, Pairs, Protocol, Scope

SENT = [("host", "hub"), ("content-length", "0")]


@dataclass
class Source:
    """What an application reads again and again."""

    batches: list[bytes | None]
    closed: bool = False

    def read_batch(self) -> bytes | None:
        return self.batches.pop(0) if self.batches else b""

    def close(self) -> None:
        self.closed = True


@dataclass
class Receiver(Protocol):
    """A client that takes a stream, and may go after some octets."""

    got: list[bytes] = field(default_factory=list)
    leaves_after: int = 0
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    def response_stream(self, status: int, headers: Pairs) -> Receiver:
        self.status, self.headers = status, headers
        return self

    async def send_bytes(self, octets: bytes) -> None:
        self.got.append(octets)
        if len(self.got) == self.leaves_after:
            self.gone.set()

    async def client_disconnect(self) -> None:
        await self.gone.wait()


def serve(source: Source, receiver: Receiver, stop: float = 0) -> None:
    """Answer one request by a stream; `stop` is when the server begins to end."""

    def wsgi(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        environ[STREAM_KEY] = source
        start_response("200 OK", [("Content-Type", "text/event-stream"), ("Content-Length", "0")])
        return [b""]

    async def run() -> None:
        loop, door = asyncio.get_running_loop(), RequestGate(wsgi, BOUNDS)
        door.__rsgi_init__(loop)
        if stop:
            loop.call_later(stop, door.__rsgi_del__, loop)
        await asyncio.wait_for(door.__rsgi__(Scope(Fields(SENT), method="GET"), receiver), 60)
        if not stop:
            door.__rsgi_del__(loop)

    asyncio.run(run())


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_gate, "_STREAM_PAUSE", 0.01)


def test_a_stream_is_sent_in_order_until_it_ends() -> None:
    source, receiver = Source([b"a", b"", b"b", None]), Receiver([b""])
    serve(source, receiver)
    assert (receiver.status, receiver.got, source.closed) == (200, [b"a", b"b"], True)
    assert receiver.headers == [("Content-Type", "text/event-stream"), ("Server", "")]


def test_a_stream_ends_when_its_client_goes() -> None:
    source, receiver = Source([b"a", b"b", b"c"] * 100), Receiver([b""], leaves_after=2)
    serve(source, receiver)
    assert (len(receiver.got), source.closed) == (2, True)


def test_a_stream_ends_when_the_server_does() -> None:
    source, receiver = Source([]), Receiver([b""])
    serve(source, receiver, stop=0.1)
    assert source.closed


def test_a_stream_that_breaks_is_closed() -> None:
    class Broken(Source):
        def read_batch(self) -> bytes | None:
            raise OSError("the database is away")

    source = Broken([])
    serve(source, Receiver([b""]))
    assert source.closed


def test_too_many_requests_at_once_are_told_in_problem_details() -> None:
    """The gate refuses the third request of an address while two are handled."""
    release = threading.Event()

    def wsgi(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        release.wait(60)
        start_response("200 OK", [])
        return [b""]

    async def run() -> list[Protocol]:
        loop = asyncio.get_running_loop()
        door = RequestGate(wsgi, BOUNDS, make_rejection=make_gate_rejection)
        door.__rsgi_init__(loop)
        told = [Protocol([b""]) for _ in range(4)]
        asked = [asyncio.ensure_future(door.__rsgi__(Scope(Fields(SENT), method="GET"), one)) for one in told]
        await asyncio.wait(asked, timeout=5, return_when=asyncio.FIRST_COMPLETED)
        release.set()
        await asyncio.wait(asked, timeout=60)
        door.__rsgi_del__(loop)
        return told

    refused = [one for one in asyncio.run(run()) if one.status != 200]
    assert refused
    for one in refused:
        head = dict(one.headers)
        assert (one.status, head["Content-Type"]) == (429, "application/problem+json")
        assert (json.loads(one.body)["id"], head["Retry-After"]) == ("GW807", "1")
