"""Terminates TLS in a separate process before the HTTP server, and relays the octets.

The HTTP server does not give the application the client's certificate. So TLS ends here: each
connection is relayed, octet by octet, over a socket whose name states the peer
(`gateway.web.server.peer_address`). This process does not read HTTP. The server limits idle and
crowded connections, by the addresses in these names. Handshakes are limited here: each in time, and
their number in total and by address.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import signal
import socket
import ssl
from asyncio import sslproto
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.config import ReloadedValue
from gateway.pki import TlsIdentity, make_connection_context, make_server_context
from gateway.process_log import set_up_logging
from gateway.web.server.byte_relay import RelaySide
from gateway.web.server.connection_limits import get_client_network
from gateway.web.server.parent_death import exit_with_parent
from gateway.web.server.peer_address import ClientPeer, make_peer_address, make_tls_peer

__all__ = ["INSIDE", "TerminatorSettings", "run_terminator", "watch_tls_context"]

_LOG: Final = logging.getLogger(__name__)
#: The socket of the HTTP server, in the socket folder.
INSIDE: Final = "in"
#: Octets of the library's receive buffer for each connection: two TLS records. Its default is eight times
#: that, and would be the largest cost of many connections.
_BUFFER: Final = 32 * 1024
#: The pause between two attempts to connect while the server has no capacity, in seconds.
_LOOK: Final = 0.01
#: As long as the supervisor of the processes waits for running requests.
_DRAIN: Final = 40.0
_TELL_EVERY: Final = 60.0


@dataclass(frozen=True, slots=True)
class TerminatorSettings:
    """How TLS is terminated.

    `handshake` and `flush`: seconds for a handshake, and for a client to receive pending data.
    `whole`: connections at once. Handshakes at once: `shaking` in total, `each` of one address that
    is not in `exempt`.
    """

    identity: TlsIdentity
    clients: Path | None
    required: bool
    handshake: float
    flush: float
    whole: int
    shaking: int
    each: int
    exempt: frozenset[str] = frozenset()


def watch_tls_context(terms: TerminatorSettings) -> ReloadedValue[ssl.SSLContext]:
    """Return the source of the context for the next handshake; raises GW803 when the files are unusable."""
    files = (terms.identity.certificate, terms.identity.key, *([terms.clients] if terms.clients else []))
    return ReloadedValue(
        files, lambda: make_server_context(terms.identity, terms.clients, required=terms.required)
    )


def run_terminator(listener: socket.socket, terms: TerminatorSettings, folder: str) -> None:
    """Terminate TLS for the clients of `listener`, until SIGTERM and the end of the last connection."""
    exit_with_parent(at_once=True)
    # A terminal sends these signals to every process of the group; changed files are reloaded without
    # one.
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    # Socket names are short, so they are relative to this folder.
    os.chdir(folder)
    set_up_logging()
    sslproto.SSLProtocol = _AlertingSslProtocol  # type: ignore[misc]
    asyncio.run(_TlsTerminator(terms).run(listener))


class _AlertingSslProtocol(sslproto.SSLProtocol):
    """The library's TLS protocol with two changes that have no setting.

    Its buffers are small, and a rejected client gets the TLS alert instead of losing it.
    """

    max_size = _BUFFER

    def _on_handshake_complete(self, handshake_exc: BaseException | None) -> None:
        if isinstance(handshake_exc, ssl.SSLError):
            self._process_outgoing()  # type: ignore[attr-defined]
        super()._on_handshake_complete(handshake_exc)


class _HandshakeFailureLog:
    """Logs failed handshakes: once a minute their number, and the reason of the last one."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._number = 0
        self._told = float("-inf")

    def record_failure(self, address: str, problem: BaseException) -> None:
        """Record one more failure."""
        self._number += 1
        reason = getattr(problem, "verify_message", "") or getattr(problem, "reason", "") or str(problem)
        words = str(reason)[:120] or type(problem).__name__
        _LOG.info("tls: handshake with %s: %s", address, words)
        if self._clock() - self._told >= _TELL_EVERY:
            _LOG.warning("tls: %d handshakes failed, the last with %s: %s", self._number, address, words)
            self._number, self._told = 0, self._clock()


class _TlsTerminator:
    """The connections of one process."""

    def __init__(self, terms: TerminatorSettings) -> None:
        self._terms = terms
        self._context = watch_tls_context(terms)
        self._connections: set[asyncio.Task[None]] = set()
        # The oldest first.
        self._shaking: dict[asyncio.Task[None], str] = {}
        self._of_address: Counter[str] = Counter()
        self._ending = False

    async def run(self, listener: socket.socket) -> None:
        """Serve until SIGTERM, then until all connections have ended."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, what: _LOG.info("tls: %s", what.get("exception") or what))
        self._failures = _HandshakeFailureLog(loop.time)
        listener.setblocking(False)
        accepting = loop.create_task(self._accept_connections(listener))
        loop.add_signal_handler(signal.SIGTERM, accepting.cancel)
        with suppress(asyncio.CancelledError):
            await accepting
        self._ending = True
        listener.close()
        if self._connections:
            await asyncio.wait(self._connections, timeout=_DRAIN)

    async def _accept_connections(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._wait_for_capacity()
            try:
                outer, address = await loop.sock_accept(listener)
            except OSError as problem:  # no descriptors, or the client has gone
                _LOG.info("tls: %s", problem)
                await asyncio.sleep(_LOOK)
                continue
            task = loop.create_task(self._serve_connection(outer, address[:2]))
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)

    async def _wait_for_capacity(self) -> None:
        """Wait until one more connection is allowed; cancel the oldest handshake when there are too many."""
        while len(self._connections) >= self._terms.whole or len(self._shaking) >= self._terms.shaking:
            if self._shaking:
                next(iter(self._shaking)).cancel("it gave way to others")
            await asyncio.sleep(_LOOK)

    async def _serve_connection(self, outer: socket.socket, address: tuple[str, int]) -> None:
        """Serve one connection until it ends."""
        try:
            found = await self._perform_handshake(outer, address)
        except (OSError, TimeoutError, asyncio.CancelledError) as problem:
            self._failures.record_failure(address[0], problem)
            outer.close()
            return
        if found is None:
            outer.close()
            return
        side, visitor = found
        try:
            async with asyncio.timeout(self._terms.handshake):
                inner = await self._open_inner_connection(visitor)
        except OSError as problem:
            _LOG.error("tls: the server takes no connection: %s", str(problem) or type(problem).__name__)
            side.close()
        else:
            side.join_sides(inner)
            await asyncio.wait((side.ended, inner.ended))

    async def _perform_handshake(
        self, outer: socket.socket, address: tuple[str, int]
    ) -> tuple[RelaySide, ClientPeer] | None:
        """Perform the handshake; return None when too many of that address run already."""
        peer, task = make_peer_address(*address), asyncio.current_task()
        assert task is not None
        whom = get_client_network(peer[0])
        if self._of_address[whom] >= self._terms.each and peer[0] not in self._terms.exempt:
            return None
        self._shaking[task] = whom
        self._of_address[whom] += 1
        try:
            transport, side = await asyncio.get_running_loop().connect_accepted_socket(
                lambda: RelaySide(self._terms.flush),
                outer,
                ssl=make_connection_context(self._context()),
                ssl_handshake_timeout=self._terms.handshake,
                ssl_shutdown_timeout=self._terms.flush,
            )
        finally:
            del self._shaking[task]
            self._of_address[whom] -= 1
            if not self._of_address[whom]:
                del self._of_address[whom]
        shown = transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return side, make_tls_peer(*peer, hashlib.sha256(shown).digest() if shown else None)

    async def _open_inner_connection(self, visitor: ClientPeer) -> RelaySide:
        """Return a connection to the server whose socket name states the peer."""
        inner = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            inner.setblocking(False)
            with suppress(FileNotFoundError):
                os.unlink(visitor.socket_name)
            inner.bind(visitor.socket_name)
            try:
                await self._connect_to_server(inner)
            finally:
                os.unlink(visitor.socket_name)
            _, side = await asyncio.get_running_loop().create_unix_connection(RelaySide, sock=inner)
        except BaseException:
            inner.close()
            raise
        return side

    async def _connect_to_server(self, inner: socket.socket) -> None:
        """Connect to the server; retry while its queue is full or it is not listening yet."""
        while True:
            try:
                inner.connect(INSIDE)
            except (BlockingIOError, ConnectionRefusedError, FileNotFoundError):
                if self._ending:
                    raise
                await asyncio.sleep(_LOOK)
            else:
                return
