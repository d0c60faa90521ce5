"""Sends messages that were signed beforehand, over connections kept open; a process of its own.

``python -m tests.load.generator FILE PORT CONNECTIONS SECONDS KEEP`` reads frames (what HTTP
carries, ready to be written), and prints one JSON object with what came back.  It does
nothing to an answer but find its end and its MessageId, so that it costs little.
"""

from __future__ import annotations

import json
import selectors
import socket
import struct
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.load.stopwatch import own_cpu

_LENGTH = struct.Struct(">II")
_READ = 1 << 18


def write_frames(path: Path, frames: Iterable[tuple[str, bytes]]) -> None:
    """Write requests to a file, each with the MessageId that its receipt must name."""
    with path.open("wb") as file:
        for name, request in frames:
            file.write(_LENGTH.pack(len(name), len(request)) + name.encode() + request)


def read_frames(path: Path) -> Iterator[tuple[bytes, bytes]]:
    """Yield MessageId and request."""
    data = memoryview(path.read_bytes())
    while data:
        name, request = _LENGTH.unpack_from(data)
        yield bytes(data[8 : 8 + name]), bytes(data[8 + name : 8 + name + request])
        data = data[8 + name + request :]


@dataclass(eq=False)
class Line:
    """One connection, with the request on it."""

    socket: socket.socket
    name: bytes = b""
    rest: memoryview = field(default_factory=lambda: memoryview(b""))
    answer: bytearray = field(default_factory=bytearray)
    since: float = 0.0

    def send(self, name: bytes, request: bytes) -> None:
        """Begin a request."""
        self.name, self.rest, self.since = name, memoryview(request), time.perf_counter()
        self.answer.clear()
        self.push()

    def push(self) -> bool:
        """Send as much as the connection takes; say whether that was all."""
        try:
            self.rest = self.rest[self.socket.send(self.rest) :]
        except BlockingIOError:
            return False
        return not self.rest

    def pull(self) -> bool:
        """Read what is there; say whether the answer is complete."""
        piece = self.socket.recv(_READ)
        if not piece:
            raise ConnectionError("the connection was closed in the middle of an exchange")
        self.answer += piece
        end = self.answer.find(b"\r\n\r\n")
        return end >= 0 and len(self.answer) >= end + 4 + _content_length(self.answer[:end])

    def is_ended(self) -> bool:
        """Say whether the server ends the connection with the answer."""
        head = self.answer[: self.answer.find(b"\r\n\r\n") + 2].lower()
        return b"\r\nconnection: close\r\n" in head


def _content_length(head: bytearray) -> int:
    at = head.lower().index(b"content-length:") + 15
    return int(head[at:].split(b"\r\n", 1)[0])


@dataclass
class Report:
    """What came of it."""

    sent: int = 0
    receipted: int = 0
    #: Connections made again, because the server has ended them.
    connected: int = 0
    moments: list[float] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    kept: list[tuple[str, str]] = field(default_factory=list)

    def take(self, line: Line, keep: int) -> None:
        """Note an answer: a receipt names the MessageId it is for."""
        now = time.perf_counter()
        self.moments.append(now)
        self.latencies.append(now - line.since)
        answer = bytes(line.answer)
        if answer.startswith(b"HTTP/1.1 200") and b"RefToMessageId>" + line.name + b"<" in answer:
            self.receipted += 1
            if self.receipted % keep == 0:
                self.kept.append((line.name.decode(), answer.decode()))
        elif len(self.refused) < 5:
            self.refused.append(answer[:600].decode(errors="replace"))


def run(frames: deque[tuple[bytes, bytes]], port: int, connections: int, seconds: float, keep: int) -> Report:
    """Send frames over so many connections until they are used up or the time is."""
    report = Report()
    selector = selectors.DefaultSelector()
    until = time.perf_counter() + seconds
    for _ in range(min(connections, len(frames))):
        _next(selector, _connect(selector, port), frames, report)
    while selector.get_map():
        for key, events in selector.select(30):
            line = key.data
            if events & selectors.EVENT_WRITE and line.push():
                selector.modify(line.socket, selectors.EVENT_READ, line)
            if not (events & selectors.EVENT_READ and line.pull()):
                continue
            report.take(line, keep)
            goes_on = bool(frames) and time.perf_counter() < until
            if not goes_on or line.is_ended():
                selector.unregister(line.socket)
                line.socket.close()
            if goes_on and line.is_ended():
                line = _connect(selector, port)
                report.connected += 1
            if goes_on:
                _next(selector, line, frames, report)
    return report


def _connect(selector: selectors.BaseSelector, port: int) -> Line:
    line = Line(socket.create_connection(("127.0.0.1", port)))
    line.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    line.socket.setblocking(False)
    selector.register(line.socket, selectors.EVENT_READ, line)
    return line


def _next(
    selector: selectors.BaseSelector, line: Line, frames: deque[tuple[bytes, bytes]], report: Report
) -> None:
    line.send(*frames.popleft())
    report.sent += 1
    wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if line.rest else 0)
    if selector.get_key(line.socket).events != wanted:
        selector.modify(line.socket, wanted, line)


def main() -> None:
    """Send one file of frames."""
    path, port, connections, seconds, keep = sys.argv[1:]
    frames = deque(read_frames(Path(path)))
    cpu = own_cpu()
    report = run(frames, int(port), int(connections), float(seconds), int(keep))
    print(json.dumps({**vars(report), "cpu": own_cpu() - cpu}))


if __name__ == "__main__":
    main()
