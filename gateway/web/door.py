"""The door: a request is read whole, within time and room, and then gets a thread when it is its turn.

The server below (granian, hyper) speaks HTTP and hands requests over one by one (RSGI).
Heads and bodies are judged and read here on the event loop, where a slow one costs no
thread; the application behind is WSGI and has its whole body at hand.
"""

from __future__ import annotations

import asyncio
import io
import logging
import re
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from gateway.errors import OUR_MISTAKE, GatewayError
from gateway.web.arriving import Pace, Room, read_whole
from gateway.web.bodies import CERTIFICATE, PROVED, Environ, WsgiApplication
from gateway.web.connections import Bounds, Connections, neighbourhood
from gateway.web.heads import Head, Scope, read_head
from gateway.web.patience import Patience
from gateway.web.turns import Turns
from gateway.web.visitors import Peer, Visitor, visitor_named

__all__ = ["Door", "DoorBounds"]

_LOG: Final = logging.getLogger(__name__)
#: Bodies for paths that take no messages.
_SMALL: Final = 64 * 1024
#: How long a sender should wait that comes too often, or whose octets find no room: some tenths of a second.
_RETRY_AFTER: Final = "1"
_SWEEP: Final = 0.5
#: Where a message says whom it is from: the first party it names.
_NAMED: Final = re.compile(rb"PartyId[^<>]{0,200}>([^<]{1,80})<")
_LOOKED_AT: Final = 16 * 1024


@dataclass(frozen=True)
class DoorBounds:
    """What the door holds everybody to.

    `bodies` has the octets of a body by path, `room` what all bodies may take together,
    `requests` how many requests one sender may have here.
    """

    threads: int
    requests: int
    bodies: Mapping[str, int]
    room: int
    pace: Pace
    connections: Bounds


@dataclass(slots=True)
class _Reply:
    """What the application answered, and on whose behalf it was asked."""

    status: int = 500
    headers: Iterable[tuple[str, str]] = ()
    body: bytes = b""
    party: str | None = None


class Door:
    """An RSGI application around a WSGI one."""

    def __init__(self, application: WsgiApplication, bounds: DoorBounds) -> None:
        self._application = application
        self._bounds = bounds
        self._turns = Turns(bounds.threads, bounds.requests)
        self._patience = Patience(time.monotonic)
        self._room = Room(bounds.room, max(bounds.bodies.values(), default=_SMALL))
        self._connections = Connections(bounds.connections, time.monotonic)
        self._sweeping: asyncio.TimerHandle | None = None

    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start the threads, and look at the connections from now on."""
        self._turns.start()
        self._sweeping = loop.call_later(_SWEEP, self._sweep, loop)

    def __rsgi_del__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let the threads end."""
        if self._sweeping is not None:
            self._sweeping.cancel()
        self._turns.stop()

    async def __rsgi__(self, scope: Scope, protocol: Any) -> None:
        """Answer one request."""
        visitor = visitor_named(scope.client)
        peer = visitor.peer
        reply = _Reply()
        party = self._connections.arriving(peer)
        try:
            reply = await self._answer(scope, protocol, visitor, party)
        except GatewayError as problem:
            reply = _refused(problem)
        except Exception as mistake:  # whatever it is, the caller gets an answer
            _LOG.error("http: %s", type(mistake).__name__)
            _LOG.debug("http", exc_info=mistake)
            reply = _refused(GatewayError(OUR_MISTAKE))
        finally:
            self._connections.answered(peer, reply.party)
        protocol.response_bytes(reply.status, [*reply.headers], reply.body)

    async def _answer(self, scope: Scope, protocol: Any, visitor: Visitor, party: str | None) -> _Reply:
        bounds, peer = self._bounds, visitor.peer
        head = read_head(scope, bounds.bodies, _SMALL)
        address = self._address(peer, head)
        share = self._room.share(address)
        try:
            limit = bounds.bodies.get(head.path.rstrip("/"), _SMALL)
            body = await read_whole(protocol, head.length, limit, bounds.pace, share)
            self._connections.working(peer)
            line = ("party", party, address) if party else ("stranger", address, _named(body))
            environ = _environ(scope, head, visitor, body)
            reply: _Reply = await self._turns.take(line, lambda: self._call(environ))
            return reply
        finally:
            share.give_back()

    def _address(self, peer: Peer, head: Head) -> str:
        """Return the address that asks: of a proxy of ours, the one it says it serves (the last it added)."""
        if peer[0] not in self._bounds.connections.exempt:
            return neighbourhood(peer[0])
        return neighbourhood(head.fields.get("x-forwarded-for", peer[0]).rpartition(",")[2].strip())

    def _call(self, environ: Environ) -> _Reply:
        """Call the application, in a thread."""
        reply = _Reply()

        def proved(party: str) -> None:
            reply.party = party

        def start_response(status: str, headers: list[tuple[str, str]], *_: Any) -> None:
            reply.status, reply.headers = int(status[:3]), headers

        environ[PROVED] = proved
        answered = self._application(environ, start_response)
        try:
            reply.body = b"".join(answered)
        finally:
            getattr(answered, "close", lambda: None)()
        if reply.status == HTTPStatus.SERVICE_UNAVAILABLE:
            reply.headers = [*reply.headers, ("Retry-After", str(self._patience.seconds()))]
        return reply

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        self._sweeping = loop.call_later(_SWEEP, self._sweep, loop)
        shut = self._connections.sweep()
        if shut:
            _LOG.warning("http: %d connections shut", shut)


def _named(body: bytes) -> str:
    """Return whom a message says it is from; it decides its place among those of its address alone."""
    found = _NAMED.search(body, 0, _LOOKED_AT)
    return found[1].decode("latin-1") if found else ""


def _environ(scope: Scope, head: Head, visitor: Visitor, body: bytes) -> Environ:
    """Return what WSGI says of a request (PEP 3333); the body is whole, so it has a length."""
    environ: Environ = {
        "REQUEST_METHOD": head.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": head.path.encode().decode("latin-1"),
        "QUERY_STRING": scope.query_string,
        "CONTENT_LENGTH": str(len(body)),
        "SERVER_NAME": head.fields.get("host", "localhost"),
        "SERVER_PORT": "0",
        "SERVER_PROTOCOL": f"HTTP/{scope.http_version}",
        "REMOTE_ADDR": visitor.peer[0],
        "REMOTE_PORT": str(visitor.peer[1]),
        CERTIFICATE: visitor.certificate,
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "https" if visitor.tls else scope.scheme,
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    for name, value in head.fields.items():
        if name == "content-type":
            environ["CONTENT_TYPE"] = value
        # A name with an underscore would be taken for the one with a hyphen.
        elif "_" not in name and name not in ("content-length", "transfer-encoding"):
            environ["HTTP_" + name.upper().replace("-", "_")] = value
    return environ


def _refused(problem: GatewayError) -> _Reply:
    """Return an answer of HTTP alone: nothing is signed for one whom nobody knows.

    The connection ends with it: what is left of the body would be read as a request.
    """
    words = f"{problem.problem.id} {problem.problem.title}: {problem.detail}"
    words += f" at {problem.location}\n" if problem.location else "\n"
    status = int(getattr(problem, "status", None) or problem.problem.http or 500)
    headers = [("Content-Type", "text/plain; charset=utf-8"), ("Connection", "close")]
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers.append(("Retry-After", _RETRY_AFTER))
    return _Reply(status, headers, words.encode())
