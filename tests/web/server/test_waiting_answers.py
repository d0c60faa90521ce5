"""Requests that wait for a better answer: they hold no thread, and lose nothing when their client goes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest

from gateway.store import HttpResponse
from gateway.web.server import WAITING_KEY, Environ, RequestGate, request_gate
from tests.web.server.test_request_gate import BOUNDS, Fields, Protocol, Scope

SENT = [("host", "hub"), ("content-length", "0")]
RESPONSE = HttpResponse(200, {"Content-Type": "text/xml"}, b"<response/>")


@dataclass
class Waiting:
    """A request whose response comes at the given look, if ever; it ends after as many looks."""

    at: int = 0
    looks: int = 10**6
    given: int = 0
    closed: int = 0

    def read_response(self) -> HttpResponse | None:
        self.at -= 1
        self.looks -= 1
        return RESPONSE if self.at == 0 else None

    def is_over(self) -> bool:
        return self.looks <= 0

    def mark_response_given(self) -> None:
        self.given += 1

    def close(self) -> None:
        self.closed += 1


@dataclass
class Client(Protocol):
    """A client that may go."""

    gone: asyncio.Event = field(default_factory=asyncio.Event)

    async def client_disconnect(self) -> None:
        await self.gone.wait()


def serve(waiting: list[Waiting], clients: list[Client], act: Callable[[RequestGate, Any], None]) -> None:
    """Let clients ask at once, each with its own waiting request."""
    left = list(waiting)

    def wsgi(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        environ[WAITING_KEY] = left.pop(0)
        start_response("204 No Content", [])
        return [b""]

    async def run() -> None:
        loop, gate = asyncio.get_running_loop(), RequestGate(wsgi, BOUNDS)
        gate.__rsgi_init__(loop)
        asked = [gate.__rsgi__(Scope(Fields(SENT), method="GET"), one) for one in clients]
        loop.call_later(0.1, act, gate, loop)
        await asyncio.wait_for(asyncio.gather(*asked), 60)
        gate.__rsgi_del__(loop)

    asyncio.run(run())


def nothing(_gate: RequestGate, _loop: Any) -> None:
    return None


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_gate, "_WAITING_PAUSE", 0.01)


def test_the_response_is_given_and_told_so() -> None:
    waiting, client = Waiting(at=3), Client([b""])
    serve([waiting], [client], nothing)
    assert (client.status, client.body, waiting.given, waiting.closed) == (200, b"<response/>", 1, 1)
    assert ("Content-Length", "11") in client.headers


def test_without_a_response_the_answer_of_the_application_is_sent() -> None:
    waiting, client = Waiting(looks=3), Client([b""])
    serve([waiting], [client], nothing)
    assert (client.status, waiting.given, waiting.closed) == (204, 0, 1)


def test_a_client_that_has_gone_is_given_nothing() -> None:
    waiting, client = Waiting(), Client([b""])
    serve([waiting], [client], lambda _gate, _loop: client.gone.set())
    assert (waiting.given, waiting.closed) == (0, 1)


def test_a_server_that_ends_sends_the_fallback() -> None:
    waiting, client = Waiting(), Client([b""])
    serve([waiting], [client], lambda gate, loop: gate.__rsgi_del__(loop))
    assert (client.status, waiting.given, waiting.closed) == (204, 0, 1)


def test_a_look_that_breaks_leaves_the_fallback() -> None:
    class Broken(Waiting):
        def read_response(self) -> HttpResponse | None:
            raise OSError("the database is away")

    waiting, client = Broken(), Client([b""])
    serve([waiting], [client], nothing)
    assert (client.status, waiting.given, waiting.closed) == (204, 0, 1)


def test_waiting_requests_hold_no_thread() -> None:
    """Many more requests than threads wait at once, and each gets its response."""
    many = BOUNDS.requests
    waiting = [Waiting(at=20) for _ in range(many)]
    clients = [Client([b""]) for _ in range(many)]
    serve(waiting, clients, nothing)
    assert {one.status for one in clients} == {200}
