"""Terminates TLS in a separate process before the HTTP server, and relays the octets.

The HTTP server does not give the application the client's certificate. So TLS ends here: each
connection is relayed, octet by octet, over a socket whose name states the peer
(`gateway.web.server.request_head`). This process does not read HTTP. The server limits idle and
crowded connections, by the addresses in these names. Handshakes are limited here: each in time, and
their number in total and by network.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import multiprocessing
import os
import signal
import socket
import ssl
import threading
from asyncio import sslproto
from collections.abc import Callable, Collection, Hashable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from gateway.config import ReloadedValue
from gateway.pki import TlsIdentity, make_connection_context, make_server_context
from gateway.process_log import set_up_logging
from gateway.web.server.child_process import (
    ListenerAddress,
    RestartLimit,
    exit_with_parent,
    open_listener,
    open_private_folder,
)
from gateway.web.server.connection_limits import get_client_network
from gateway.web.server.request_head import ClientPeer, PeerAddress, make_peer_address, make_tls_peer

_Handshake = TypeVar("_Handshake", bound=Hashable)


class OpenHandshakes(Generic[_Handshake]):
    """The open TLS handshakes; `exempt` are addresses of trusted proxies, each of which has many clients."""

    def __init__(self, exempt: Collection[str]) -> None:
        self._exempt = exempt
        self._network_by_handshake: dict[_Handshake, str] = {}
        self._handshakes_by_network: dict[str, dict[_Handshake, None]] = {}

    def __len__(self) -> int:
        return len(self._network_by_handshake)

    def add(self, handshake: _Handshake, address: str) -> None:
        """Add a handshake of the client at `address`, as the newest one of its network."""
        network = get_client_network(address)
        self._network_by_handshake[handshake] = network
        self._handshakes_by_network.setdefault(network, {})[handshake] = None

    def remove(self, handshake: _Handshake) -> None:
        """Remove a handshake that has ended, unless it was removed before."""
        network = self._network_by_handshake.pop(handshake, None)
        if network is None:
            return
        del self._handshakes_by_network[network][handshake]
        if not self._handshakes_by_network[network]:
            del self._handshakes_by_network[network]

    def count_in_network(self, address: str) -> int:
        """Return how many handshakes are open in the network of an address; 0 for an exempt address."""
        return (
            0
            if address in self._exempt
            else len(self._handshakes_by_network.get(get_client_network(address), ()))
        )

    def find_oldest_in_network(self, address: str) -> _Handshake:
        """Return the oldest one in the network of an address, which has at least one."""
        return next(iter(self._handshakes_by_network[get_client_network(address)]))

    def find_handshake_to_cancel(self) -> _Handshake | None:
        """Return the oldest handshake of the network with most of them, exempt ones last; None if none."""
        if not self._handshakes_by_network:
            return None
        network = max(
            self._handshakes_by_network,
            key=lambda each_network: (
                each_network not in self._exempt,
                len(self._handshakes_by_network[each_network]),
            ),
        )
        return next(iter(self._handshakes_by_network[network]))


#: Octets that are buffered in one direction of a connection before its sender has to wait.
_UNDER_WAY: Final = 64 * 1024


class RelaySide(asyncio.Protocol):
    """One side of a connection: forwards its octets to the other side, no faster than that side accepts them.

    `max_wait_seconds`: seconds that this side may take to accept octets or to close; None where the time is
    limited elsewhere. While it accepts nothing, nothing is read from the other side, not even the other
    side's end.
    """

    def __init__(self, max_wait_seconds: float | None = None) -> None:
        self.transport: Any = None
        self._max_wait_seconds = max_wait_seconds
        self._abort_timer: asyncio.TimerHandle | None = None
        self.opposite: RelaySide | None = None
        self.end_future = asyncio.get_running_loop().create_future()

    def join_sides(self, opposite: RelaySide) -> None:
        """Start to forward octets in both directions."""
        self.opposite, opposite.opposite = opposite, self
        for side in (self, opposite):
            if side.end_future.done():
                self.close()
                opposite.close()
            else:
                side.transport.resume_reading()

    def close(self) -> None:
        """Close this side after all octets for it are sent."""
        if self.transport is not None:
            self.transport.close()
            self._start_abort_timer()

    def _start_abort_timer(self) -> None:
        if self._max_wait_seconds is not None and self._abort_timer is None and not self.end_future.done():
            loop = asyncio.get_running_loop()
            self._abort_timer = loop.call_later(self._max_wait_seconds, self.transport.abort)

    def _cancel_abort_timer(self) -> None:
        if self._abort_timer is not None:
            self._abort_timer.cancel()
            self._abort_timer = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Pause reading until the other side is joined."""
        self.transport = transport
        self.transport.set_write_buffer_limits(_UNDER_WAY)
        self.transport.pause_reading()

    def data_received(self, data: bytes) -> None:
        """Forward the octets."""
        if self.opposite is not None:
            self.opposite.transport.write(data)

    def pause_writing(self) -> None:
        """Pause the other side's sender."""
        self._start_abort_timer()
        if self.opposite is not None and not self.opposite.end_future.done():
            self.opposite.transport.pause_reading()

    def resume_writing(self) -> None:
        """Resume the other side's sender."""
        if not self.transport.is_closing():
            self._cancel_abort_timer()
        if self.opposite is not None and not self.opposite.transport.is_closing():
            self.opposite.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """Close the other side, too."""
        del exc
        self._cancel_abort_timer()
        if not self.end_future.done():
            self.end_future.set_result(None)
        if self.opposite is not None:
            self.opposite.close()


_LOG: Final = logging.getLogger(__name__)
#: The socket of the HTTP server, in the socket folder.
INNER_SOCKET: Final = "in"
#: Octets of the library's receive buffer for each connection: two TLS records. Its default is eight times
#: that, and would be the largest cost of many connections.
_BUFFER: Final = 32 * 1024
#: The pause between two attempts to connect while the server has no capacity, in seconds.
_POLL_SECONDS: Final = 0.01
#: Seconds in which a client must begin its handshake. A retransmitted segment arrives within them.
_FIRST_OCTET: Final = 2.5
#: Connections that are accepted before those that are open have a turn.
_ACCEPTED_AT_ONCE: Final = 64
#: As long as the supervisor of the processes waits for running requests.
_DRAIN: Final = 40.0
_TELL_EVERY: Final = 60.0


@dataclass(frozen=True, slots=True)
class TerminatorSettings:
    """How TLS is terminated.

    `handshake_seconds` and `flush_seconds` are the seconds for a handshake, and for a client to receive
    pending data. `max_connections` limits the connections at once, `max_handshakes` the open handshakes.
    `max_handshakes_per_network` limits the open handshakes of one network whose address is not in `exempt`.
    `clients` is the file of the authorities of client certificates.
    """

    identity: TlsIdentity
    clients: Path | None
    is_certificate_required: bool
    handshake_seconds: float
    flush_seconds: float
    max_connections: int
    max_handshakes: int
    max_handshakes_per_network: int
    exempt: frozenset[str] = frozenset()


def watch_tls_context(settings: TerminatorSettings) -> ReloadedValue[ssl.SSLContext]:
    """Return the source of the context for the next handshake; raises GW803 when the files are unusable."""
    files = (
        settings.identity.certificate,
        settings.identity.key,
        *([settings.clients] if settings.clients else []),
    )
    return ReloadedValue(
        files,
        lambda: make_server_context(
            settings.identity, settings.clients, is_certificate_required=settings.is_certificate_required
        ),
    )


def run_terminator(listener: socket.socket, settings: TerminatorSettings, folder: str) -> None:
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
    asyncio.run(_TlsTerminator(settings).run(listener))


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
        self._failure_count = 0
        self._logged_at = float("-inf")

    def record_failure(self, address: str, problem: BaseException) -> None:
        """Record one more failure."""
        self._failure_count += 1
        reason = getattr(problem, "verify_message", "") or getattr(problem, "reason", "") or str(problem)
        message = str(reason)[:120] or type(problem).__name__
        _LOG.info("tls: handshake with %s: %s", address, message)
        if self._clock() - self._logged_at >= _TELL_EVERY:
            _LOG.warning(
                "tls: %d handshakes failed, the last with %s: %s", self._failure_count, address, message
            )
            self._failure_count, self._logged_at = 0, self._clock()


class _TlsTerminator:
    """The connections of one process."""

    def __init__(self, settings: TerminatorSettings) -> None:
        self._settings = settings
        self._context = watch_tls_context(settings)
        self._connections: set[asyncio.Task[None]] = set()
        self._handshakes: OpenHandshakes[asyncio.Task[None]] = OpenHandshakes(settings.exempt)
        self._is_ending = False

    async def run(self, listener: socket.socket) -> None:
        """Serve until SIGTERM, then until all connections have ended."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(
            lambda _loop, context: _LOG.info("tls: %s", context.get("exception") or context)
        )
        self._failure_log = _HandshakeFailureLog(loop.time)
        listener.setblocking(False)
        accepting = loop.create_task(self._accept_connections(listener))
        loop.add_signal_handler(signal.SIGTERM, accepting.cancel)
        with suppress(asyncio.CancelledError):
            await accepting
        self._is_ending = True
        listener.close()
        if self._connections:
            await asyncio.wait(self._connections, timeout=_DRAIN)

    async def _accept_connections(self, listener: socket.socket) -> None:
        """Accept connections without end; wait while the limit of connections is reached."""
        loop = asyncio.get_running_loop()
        while True:
            for _ in range(_ACCEPTED_AT_ONCE):
                # Open connections go on; new clients wait in the queue of the listener.
                while len(self._connections) >= self._settings.max_connections and not self._handshakes:
                    await asyncio.sleep(_POLL_SECONDS)
                try:
                    client_socket, address = await loop.sock_accept(listener)
                except OSError as problem:  # no descriptors, or the client has gone
                    _LOG.info("tls: %s", problem)
                    await asyncio.sleep(_POLL_SECONDS)
                    continue
                self._begin_connection(client_socket, make_peer_address(*address[:2]))
            await asyncio.sleep(0)

    def _begin_connection(self, client_socket: socket.socket, peer: PeerAddress) -> None:
        """Start the task of a connection; if too many handshakes are open, one of them is ended for it."""
        self._cancel_excess_handshakes(peer.address)
        task = asyncio.get_running_loop().create_task(self._serve_connection(client_socket, peer))
        self._handshakes.add(task, peer.address)
        self._connections.add(task)

        def forget_connection(ended: asyncio.Task[None]) -> None:
            self._connections.discard(ended)
            if ended.cancelled():  # before it began
                client_socket.close()

        task.add_done_callback(forget_connection)

    def _cancel_excess_handshakes(self, address: str) -> None:
        """Cancel open handshakes until one more is allowed, of the network of an address first."""
        settings, handshakes = self._settings, self._handshakes
        while handshakes.count_in_network(address) >= settings.max_handshakes_per_network:
            self._cancel_handshake(handshakes.find_oldest_in_network(address))
        while (
            len(self._connections) >= settings.max_connections or len(handshakes) >= settings.max_handshakes
        ):
            oldest = handshakes.find_handshake_to_cancel()
            if oldest is None:
                return
            self._cancel_handshake(oldest)

    def _cancel_handshake(self, task: asyncio.Task[None]) -> None:
        """Cancel an open handshake; it does not count from now on, and is closed in the next turn."""
        self._handshakes.remove(task)
        self._connections.discard(task)
        task.cancel("it gave way to others")

    async def _serve_connection(self, client_socket: socket.socket, peer: PeerAddress) -> None:
        """Serve one connection until it ends."""
        try:
            client_side, client_peer = await self._perform_handshake(client_socket, peer)
        except (OSError, TimeoutError, asyncio.CancelledError) as problem:
            self._failure_log.record_failure(peer.address, problem)
            client_socket.close()
            return
        try:
            async with asyncio.timeout(self._settings.handshake_seconds):
                inner = await self._open_inner_connection(client_peer)
        except OSError as problem:
            _LOG.error("tls: the server takes no connection: %s", str(problem) or type(problem).__name__)
            client_side.close()
        else:
            client_side.join_sides(inner)
            await asyncio.wait((client_side.end_future, inner.end_future))

    async def _perform_handshake(
        self, client_socket: socket.socket, peer: PeerAddress
    ) -> tuple[RelaySide, ClientPeer]:
        """Perform the handshake; raise CancelledError where it gives way to others."""
        task = asyncio.current_task()
        assert task is not None
        loop, settings = asyncio.get_running_loop(), self._settings
        try:
            async with asyncio.timeout(min(_FIRST_OCTET, settings.handshake_seconds)):
                await _wait_until_readable(client_socket)
            transport, side = await loop.connect_accepted_socket(
                lambda: RelaySide(settings.flush_seconds),
                client_socket,
                ssl=make_connection_context(self._context()),
                ssl_handshake_timeout=settings.handshake_seconds,
                ssl_shutdown_timeout=settings.flush_seconds,
            )
        finally:
            self._handshakes.remove(task)
        certificate = transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
        digest = hashlib.sha256(certificate).digest() if certificate else None
        return side, make_tls_peer(peer.address, peer.port, digest)

    async def _open_inner_connection(self, client_peer: ClientPeer) -> RelaySide:
        """Return a connection to the server whose socket name states the peer."""
        server_socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            server_socket.setblocking(False)
            with suppress(FileNotFoundError):
                os.unlink(client_peer.socket_name)
            server_socket.bind(client_peer.socket_name)
            try:
                await self._connect_to_server(server_socket)
            finally:
                os.unlink(client_peer.socket_name)
            _, side = await asyncio.get_running_loop().create_unix_connection(RelaySide, sock=server_socket)
        except BaseException:
            server_socket.close()
            raise
        return side

    async def _connect_to_server(self, server_socket: socket.socket) -> None:
        """Connect to the server; retry while its queue is full or it is not listening yet."""
        while True:
            try:
                server_socket.connect(INNER_SOCKET)
            except (BlockingIOError, ConnectionRefusedError, FileNotFoundError):
                if self._is_ending:
                    raise
                await asyncio.sleep(_POLL_SECONDS)
            else:
                return


async def _wait_until_readable(connection: socket.socket) -> None:
    """Wait until the client has sent octets or closed the connection; TLS starts only then."""
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(connection, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(connection)


_PREFIX: Final = "gateway-tls-"
_PAUSE: Final = 0.1
_END: Final = 10.0


@contextmanager
def run_tls_terminator(address: ListenerAddress, settings: TerminatorSettings) -> Iterator[Path]:
    """Listen at an address, and yield the socket path at which the server must listen."""
    # Errors in the files are reported before a client can connect.
    watch_tls_context(settings)
    with open_listener(address) as listener, open_private_folder(_PREFIX) as folder:
        keeper = _TerminatorSupervisor(listener, settings, folder)
        keeper.start()
        try:
            yield Path(folder, INNER_SOCKET)
        finally:
            keeper.stop_process()


class _TerminatorSupervisor(threading.Thread):
    """Starts the process and restarts it when it dies; ends the gateway beyond the restart limit."""

    def __init__(self, listener: socket.socket, settings: TerminatorSettings, folder: str) -> None:
        super().__init__(name="front", daemon=True)
        self._arguments = (listener, settings, folder)
        self._process: BaseProcess | None = None
        self._stopping = threading.Event()
        self._restarts = RestartLimit()

    def run(self) -> None:
        """Restart the process until it is stopped."""
        context = multiprocessing.get_context("spawn")
        while not self._stopping.is_set():
            process = context.Process(target=run_terminator, args=self._arguments, name="gateway-tls")
            try:
                process.start()
            except OSError as error:  # no memory, no descriptors
                ended = str(error.strerror)
            else:
                self._process = process
                process.join()
                ended = str(process.exitcode)
            if self._stopping.wait(_PAUSE):
                return
            _LOG.error("the process that ends TLS ended with %s and is started again", ended)
            self._restarts.record_restart()
            if self._restarts.is_exceeded():
                _LOG.critical("it dies again and again: giving up")
                os.kill(os.getpid(), signal.SIGTERM)
                return

    def stop_process(self) -> None:
        """End the process; pending data is sent to the clients first."""
        self._stopping.set()
        for end in (BaseProcess.terminate, BaseProcess.kill):
            process = self._process
            if process is not None and self.is_alive():
                end(process)
                self.join(_END)
