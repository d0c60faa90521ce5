"""Where TLS ends: whatever one side does, the connection ends in time, and nothing is brought back."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import time
from asyncio import sslproto
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.pki import TlsIdentity
from gateway.web import watch_tls_context
from gateway.web.server import TerminatorSettings
from gateway.web.server.tls_terminator import INNER_SOCKET, _AlertingSslProtocol, _TlsTerminator
from gateway_conformance.pki import CertificateOrder, issue_certificate, make_authority
from tests.kit.client_hello import make_hello
from tests.kit.levels import at_night

FLUSH = 0.5
#: More than all buffers on the way take.
MUCH = 64 * 1024 * 1024
Connect = Callable[[str, int], socket.socket]
Behave = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture
def terms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TerminatorSettings:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sslproto, "SSLProtocol", _AlertingSslProtocol)
    now = datetime.now(UTC)
    order = CertificateOrder("tls-server", alternative_names=("dns:localhost",))
    issued = issue_certificate(make_authority("CN=CA", now), "CN=localhost", now, order)
    file = tmp_path / "tls.pem"
    file.write_bytes(issued.key_pem + issued.certificate.pem)
    return TerminatorSettings(
        TlsIdentity(file, file),
        None,
        False,
        2.0,
        FLUSH,
        max_connections=10,
        max_handshakes=10,
        max_handshakes_per_network=10,
    )


@asynccontextmanager
async def ending(terms: TerminatorSettings, behave: Behave) -> AsyncIterator[tuple[_TlsTerminator, int]]:
    """Give what ends TLS before a server that behaves so, and the port where it listens."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError):
                await behave(reader, writer)
        finally:
            # Also where the loop ends first.
            writer.transport.abort()

    server = await asyncio.start_unix_server(serve, INNER_SOCKET)
    listener = socket.create_server(("127.0.0.1", 0))
    found = _TlsTerminator(terms)
    running = asyncio.ensure_future(found.run(listener))
    await asyncio.sleep(0)
    try:
        yield found, int(listener.getsockname()[1])
    finally:
        running.cancel()
        server.close()
        # What is being closed is closed by the loop, in its next turns.
        await gone(found)
        await asyncio.sleep(0.05)


def connected(port: int, **options: ssl.SSLSession) -> ssl.SSLSocket:
    """Return a connection over TLS 1.2, whose ends are seen."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    plain = socket.socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    plain.connect(("127.0.0.1", port))
    return context.wrap_socket(plain, **options)


async def gone(terminator: _TlsTerminator) -> bool:
    """Wait until there is no connection; false when one stays many times as long as it may."""
    for _ in range(200):
        if not terminator._connections:
            return True
        await asyncio.sleep(FLUSH / 10)
    return False


async def _much(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer more than is taken, and end when nobody takes it."""
    await reader.read(1)
    writer.write(bytes(MUCH))
    await asyncio.sleep(0.3)


async def _deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read nothing, and end."""
    del writer
    reader._transport.pause_reading()  # type: ignore[attr-defined]
    await asyncio.sleep(0.6)


@pytest.mark.long
def test_a_client_that_takes_nothing_is_let_go(terms: TerminatorSettings) -> None:
    async def run() -> None:
        async with ending(terms, _much) as (terminator, port):
            client = await asyncio.to_thread(connected, port)
            client.send(b"x")
            await asyncio.sleep(0.2)
            seen = bool(terminator._connections), await gone(terminator)
            client.close()
            assert seen == (True, True)

    asyncio.run(run())


@pytest.mark.long
@pytest.mark.parametrize("reset", [True, False])
def test_a_client_that_goes_while_nobody_reads_is_let_go(terms: TerminatorSettings, *, reset: bool) -> None:
    def go(client: ssl.SSLSocket) -> None:
        client.settimeout(0.3)
        with suppress(OSError):
            client.sendall(bytes(MUCH))
        if reset:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
        else:
            socket.socket.shutdown(client, socket.SHUT_WR)

    async def run() -> None:
        async with ending(terms, _deaf) as (terminator, port):
            client = await asyncio.to_thread(connected, port)
            await asyncio.to_thread(go, client)
            let_go = await gone(terminator)
            client.close()
            assert let_go

    asyncio.run(run())


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
    finally:
        writer.close()


def test_a_slow_client_that_goes_on_taking_gets_everything(terms: TerminatorSettings) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(bytes(MUCH // 16))
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    def take(client: ssl.SSLSocket) -> int:
        client.send(b"x")
        taken = 0
        while piece := client.recv(1 << 16):
            taken += len(piece)
        client.close()
        return taken

    async def run() -> None:
        async with ending(terms, answer) as (_, port):
            client = await asyncio.to_thread(connected, port)
            assert await asyncio.to_thread(take, client) == MUCH // 16

    asyncio.run(run())


def test_no_session_is_resumed(terms: TerminatorSettings) -> None:
    def call_twice(port: int) -> list[bool]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        seen: list[bool] = []
        session = None
        for _ in range(2):
            plain = socket.create_connection(("127.0.0.1", port))
            with context.wrap_socket(plain, session=session) as client:
                client.send(b"x")
                client.recv(1)
                seen.append(bool(client.session_reused))
                session = client.session
                client.unwrap()
        return seen

    async def run() -> None:
        async with ending(terms, _echo) as (_, port):
            assert await asyncio.to_thread(call_twice, port) == [False, False]

    asyncio.run(run())


class _Written(asyncio.Transport):
    """The connection below: keeps what is written before it is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.octets, self.closed = b"", False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self.closed:
            self.octets += bytes(data)

    def _force_close(self, _: BaseException | None) -> None:
        self.closed = True


def test_whoever_is_refused_is_told_why(terms: TerminatorSettings) -> None:
    hello = ssl.MemoryBIO()
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    client.set_ciphers("AES256-GCM-SHA384:@SECLEVEL=0")
    with suppress(ssl.SSLWantReadError):
        client.wrap_bio(ssl.MemoryBIO(), hello, server_hostname="localhost").do_handshake()

    async def run() -> _Written:
        below = _Written()
        shaking = _AlertingSslProtocol(
            asyncio.get_running_loop(), asyncio.Protocol(), watch_tls_context(terms)(), None, server_side=True
        )
        shaking.connection_made(below)
        octets = hello.read()
        shaking.get_buffer(-1)[: len(octets)] = octets
        shaking.buffer_updated(len(octets))
        # As the loop says of a connection that was forced to close.
        shaking.connection_lost(None)
        return below

    below = asyncio.run(run())
    # An alert (21) of two octets: fatal (2), handshake_failure (40).
    assert (below.octets, below.closed) == (b"\x15\x03\x03\x00\x02\x02\x28", True)


@pytest.fixture
def connected_from() -> Iterator[Callable[[str, int], socket.socket]]:
    """Give what connects from an address of this machine to a port; the connections are closed afterwards."""
    with ExitStack() as clients:
        yield lambda source, port: clients.enter_context(
            socket.create_connection(("127.0.0.1", port), 30, (source, 0))
        )


def shake_hands(plain: socket.socket) -> bool:
    """Return whether a handshake succeeds on a connection."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with context.wrap_socket(plain) as client:
            return client.version() is not None
    except OSError:
        return False


def is_closed(connection: socket.socket, seconds: float) -> bool:
    """Return whether the other end closes a connection within some seconds."""
    connection.settimeout(seconds)
    try:
        return connection.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


@pytest.mark.long
def test_a_flood_of_silent_connections_delays_no_honest_handshake(
    terms: TerminatorSettings, connected_from: Connect
) -> None:
    """Six addresses open ten times as many connections as handshakes are allowed, and send nothing."""

    def flood(port: int) -> tuple[bool, float]:
        for number in range(600):
            connected_from(f"127.0.0.{2 + number % 6}", port)
        begun = time.monotonic()
        succeeded = shake_hands(connected_from("127.0.0.9", port))
        took = time.monotonic() - begun
        return succeeded, took

    async def run() -> None:
        bounds = replace(
            terms,
            max_connections=60,
            max_handshakes=60,
            max_handshakes_per_network=60,
            handshake_seconds=30.0,
        )
        async with ending(bounds, _echo) as (_, port):
            succeeded, took = await asyncio.to_thread(flood, port)
            assert succeeded
            assert took < 2.0

    asyncio.run(run())


@pytest.mark.long
def test_the_network_with_most_open_handshakes_gives_way_first(
    terms: TerminatorSettings, connected_from: Connect
) -> None:
    def crowd(port: int) -> tuple[bool, list[bool]]:
        honest = connected_from("127.0.0.9", port)
        silent = [connected_from("127.0.0.2", port) for _ in range(8)]
        time.sleep(0.2)
        return shake_hands(honest), [is_closed(one, 0.3) for one in silent]

    async def run() -> None:
        bounds = replace(
            terms, max_connections=6, max_handshakes=6, max_handshakes_per_network=6, handshake_seconds=30.0
        )
        async with ending(bounds, _echo) as (_, port):
            honest, closed = await asyncio.to_thread(crowd, port)
            assert honest
            # The oldest of the crowd go, the last ones stay.
            assert closed == [True] * 3 + [False] * 5

    asyncio.run(run())


@pytest.mark.long
def test_a_network_at_its_limit_gives_way_to_itself(
    terms: TerminatorSettings, connected_from: Connect
) -> None:
    """So an honest client of the same network is served, however many silent ones there are."""

    def crowd(port: int) -> tuple[bool, bool]:
        silent = [connected_from("127.0.0.2", port) for _ in range(5)]
        time.sleep(0.2)
        return shake_hands(connected_from("127.0.0.2", port)), is_closed(silent[0], 0.3)

    async def run() -> None:
        bounds = replace(
            terms,
            max_connections=100,
            max_handshakes=100,
            max_handshakes_per_network=5,
            handshake_seconds=30.0,
        )
        async with ending(bounds, _echo) as (_, port):
            assert await asyncio.to_thread(crowd, port) == (True, True)

    asyncio.run(run())


@pytest.mark.long
@pytest.mark.parametrize("octets", [b"", *at_night(b"\x16")])
def test_whoever_sends_nothing_has_less_time(
    terms: TerminatorSettings, connected_from: Connect, octets: bytes
) -> None:
    def wait(port: int) -> tuple[bool, bool]:
        connection = connected_from("127.0.0.1", port)
        connection.sendall(octets)
        early = is_closed(connection, 1.8)
        return early, is_closed(connection, 1.5)

    async def run() -> None:
        async with ending(replace(terms, handshake_seconds=30.0), _echo) as (_, port):
            # Two to three seconds where nothing is sent, else the time of a handshake.
            assert await asyncio.to_thread(wait, port) == (False, octets == b"")

    asyncio.run(run())


@pytest.mark.parametrize("name", ["hub.예제".encode(), b"\xff\xfe\xfd" * 9, b"a\nWARNING b\n"])
def test_no_name_of_a_server_reaches_the_log(
    terms: TerminatorSettings,
    connected_from: Connect,
    name: bytes,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The handshake goes on: which name is asked for decides nothing."""
    caplog.set_level("INFO")

    def greet(port: int) -> bytes:
        connection = connected_from("127.0.0.1", port)
        connection.sendall(make_hello(name))
        connection.settimeout(5)
        return connection.recv(1)

    async def run() -> None:
        async with ending(terms, _echo) as (_, port):
            assert await asyncio.to_thread(greet, port) == b"\x16"

    asyncio.run(run())
    assert capfd.readouterr().err == ""
    assert name.decode("utf-8", "replace") not in caplog.text
    assert "Traceback" not in caplog.text
