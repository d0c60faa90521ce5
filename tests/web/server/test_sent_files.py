"""Large answers: read as they are taken, kept open until they are sent, broken off where they go wrong."""

from __future__ import annotations

import asyncio
import io
import logging
import os
import stat
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import OBJECT_CHANGED, GatewayError
from gateway.web.server import FILE_KEY, Environ, MinimumBodyRate, RequestGate, SentFile
from gateway.web.server.request_bodies import send_file
from tests.web.server.test_request_gate import BOUNDS, Fields, Pairs, Protocol, Scope

PIECE = b"0123456789abcdef" * 1024
COUNT = 100
SENT = [("host", "hub"), ("content-length", "0")]


class Source(io.RawIOBase):
    """So many pieces, and how many were asked for."""

    def __init__(self, count: int = COUNT, changed: bool = False) -> None:
        self.left, self.asked, self.changed = count, 0, changed

    def read(self, _count: int = -1) -> bytes:
        if self.left == 0:
            if self.changed:
                raise GatewayError(OBJECT_CHANGED, "the octets are others", "payloads")
            return b""
        self.left -= 1
        self.asked += 1
        return PIECE


class FileProtocol(Protocol):
    """A server that reads the file it is told to send, at the pace of its client."""

    def __init__(self, read: Callable[[str], bytes] = lambda path: Path(path).read_bytes()) -> None:
        super().__init__([b""])
        self._read = read
        self.mode = 0

    def response_file(self, status: int, headers: Pairs, path: str) -> None:
        self.status, self.headers, self.mode = status, headers, os.stat(path).st_mode
        self.path = path
        self.thread = threading.Thread(target=self._take, args=(path,), daemon=True)
        self.thread.start()

    def _take(self, path: str) -> None:
        self.body = self._read(path)


def send(protocol: FileProtocol, source: Source, pace: MinimumBodyRate | None = None) -> float:
    """Send what the source has; return how long it took."""
    started = time.monotonic()
    headers = [("Content-Length", str(COUNT * len(PIECE)))]
    file: Any = source
    asyncio.run(send_file(protocol, 200, headers, SentFile(file), pace or MinimumBodyRate(30.0, 1000)))
    assert source.closed
    return time.monotonic() - started


def test_an_answer_is_sent_as_it_is_read() -> None:
    protocol, source = FileProtocol(), Source()
    send(protocol, source)
    protocol.thread.join(30)
    assert protocol.body == PIECE * COUNT
    assert (protocol.status, protocol.headers) == (200, [("Content-Length", str(COUNT * len(PIECE)))])
    # Nobody else on the machine may read it, and nothing of it is left.
    assert (stat.S_ISFIFO(protocol.mode), stat.S_IMODE(protocol.mode)) == (True, 0o600)
    assert not Path(protocol.path).parent.exists()


@pytest.mark.long
def test_no_more_is_read_than_is_taken() -> None:
    source, seen = Source(), []

    def read(path: str) -> bytes:
        with open(path, "rb", buffering=0) as taken:
            octets = taken.read(len(PIECE))
            time.sleep(0.5)
            seen.append(source.asked)
            while more := taken.read(1 << 16):
                octets += more
        return octets

    protocol = FileProtocol(read)
    send(protocol, source)
    protocol.thread.join(30)
    # A pipe has room for 64 KiB, and one piece waits.
    assert len(protocol.body) == COUNT * len(PIECE)
    assert 1 < seen[0] < 8


def test_an_answer_whose_octets_have_changed_is_broken_off(caplog: pytest.LogCaptureFixture) -> None:
    protocol, source = FileProtocol(), Source(changed=True)
    send(protocol, source)
    protocol.thread.join(30)
    (row,) = [one for one in caplog.records if one.levelno == logging.ERROR]
    assert "GW326" in row.getMessage()


@pytest.mark.long
@pytest.mark.parametrize("takes", [0, 1, None])
def test_who_takes_nothing_is_given_nothing_any_more(takes: int | None) -> None:
    release = threading.Event()

    def read(path: str) -> bytes:
        if takes is None:
            # The server never opens it.
            return b""
        with open(path, "rb", buffering=0) as taken:
            octets = taken.read(takes * len(PIECE)) if takes else b""
            release.wait(20)
        return octets

    protocol, source = FileProtocol(read), Source()
    assert send(protocol, source, MinimumBodyRate(0.3, 1 << 20)) < 5
    release.set()
    protocol.thread.join(30)
    assert source.asked < 10
    assert not Path(protocol.path).parent.exists()


def test_it_ends_with_its_client() -> None:
    def read(path: str) -> bytes:
        with open(path, "rb", buffering=0) as taken:
            return taken.read(10)

    protocol, source = FileProtocol(read), Source()
    assert send(protocol, source) < 5
    assert source.left > 0


def test_the_gate_sends_what_an_application_returns_as_a_file() -> None:
    """The connection counts as working until all is sent: an idle one would be shut."""
    source, states = Source(), []

    def wsgi(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "application/zip")])
        return environ[FILE_KEY](source)  # type: ignore[no-any-return]

    door = RequestGate(wsgi, BOUNDS)

    def read(path: str) -> bytes:
        with open(path, "rb", buffering=0) as taken:
            octets = taken.read(100)
            states.extend(one.state.name for one in door._connections._connections.values())
            return octets + taken.readall()

    protocol = FileProtocol(read)

    async def run() -> None:
        loop = asyncio.get_running_loop()
        door.__rsgi_init__(loop)
        await asyncio.wait_for(door.__rsgi__(Scope(Fields(SENT), method="GET"), protocol), 30)
        door.__rsgi_del__(loop)

    asyncio.run(run())
    protocol.thread.join(30)
    assert (protocol.status, protocol.body, source.closed) == (200, PIECE * COUNT, True)
    assert states == ["WORKING"]
    assert [one.state.name for one in door._connections._connections.values()] == ["IDLE"]


def test_an_application_without_this_server_reads_it_itself() -> None:
    assert b"".join(SentFile(io.BytesIO(b"abc"), 2)) == b"abc"
