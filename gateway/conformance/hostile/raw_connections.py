"""Octets on connections: scripts with pauses, many connections at once, ends that are half closed."""

from __future__ import annotations

import http.client
import io
import select
import socket
import ssl
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from gateway.conformance.hostile.exchange import Answer, RawScript

__all__ = ["WireAddress", "run_script"]

_CONNECT: Final = 10.0
#: After an answer: so long may a second one take to come on the same connection.
_MORE: Final = 0.4
_CHUNK: Final = 65536
_LONGEST: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class WireAddress:
    """Where connections go, over TLS by a context if there is one, and what the octets call it."""

    host: str
    port: int
    tls: ssl.SSLContext | None
    path: str

    def open_connection(self) -> socket.socket:
        """Return a new connection."""
        plain = socket.create_connection((self.host, self.port), _CONNECT)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.tls is None:
            return plain
        return self.tls.wrap_socket(plain, server_hostname=self.host)

    def fill_placeholders(self, octets: bytes) -> bytes:
        """Return `octets` with path and host put in."""
        host = f"{self.host}:{self.port}".encode()
        return octets.replace(b"{path}", self.path.encode()).replace(b"{host}", host)


def run_script(step: RawScript, wire: WireAddress) -> Answer:
    """Play a script on all its connections at once; return the answer that is worst for the gateway."""
    answers: list[Answer] = []
    threads = [
        threading.Thread(target=lambda: answers.append(_run_on_connection(step, wire)), daemon=True)
        for _ in range(step.connections - 1)
    ]
    for thread in threads:
        thread.start()
    answers.append(_run_on_connection(step, wire))
    for thread in threads:
        thread.join()
    return max(answers, key=_rank_answer)


def _rank_answer(answer: Answer) -> tuple[int, float]:
    if answer.timed_out:
        return 4, answer.seconds
    if answer.status is None:
        return 0, answer.seconds
    if answer.status >= 500:
        return 2, answer.seconds
    return (3 if answer.status < 400 else 1), answer.seconds


def _run_on_connection(step: RawScript, wire: WireAddress) -> Answer:
    started = time.monotonic()
    try:
        connection = wire.open_connection()
    except OSError:  # not even let in
        return Answer(None, {}, b"", time.monotonic() - started)
    with connection:
        _send_script(connection, step, wire)
        return _receive_answer(connection, started, step.wait)


def _send_script(connection: socket.socket, step: RawScript, wire: WireAddress) -> None:
    """Send piece after piece; stop when the other end has something to say, or has gone."""
    with suppress(OSError):
        connection.settimeout(step.wait)
        for octets, pause in step.script:
            connection.sendall(wire.fill_placeholders(octets))
            if pause and _is_readable(connection, pause):
                return
        if step.half_close:
            connection.shutdown(socket.SHUT_WR)


def _is_readable(connection: socket.socket, seconds: float) -> bool:
    return bool(select.select([connection], [], [], seconds)[0])


def _receive_answer(connection: socket.socket, started: float, wait: float) -> Answer:
    """Read one answer, and what else comes shortly after it."""
    octets, ended = bytearray(), False
    end = time.monotonic() + wait
    answer: Answer | None = None
    while not ended and len(octets) < _LONGEST:
        left = _MORE if answer is not None else end - time.monotonic()
        if left <= 0 or not _is_readable(connection, left):
            break
        try:
            piece = connection.recv(_CHUNK)
        except OSError:
            piece = b""
        ended = not piece
        octets += piece
        answer = _parse_answer(bytes(octets), ended)
    seconds = time.monotonic() - started
    if answer is None:
        return Answer(None, {}, bytes(octets), seconds, timed_out=not ended)
    return Answer(answer.status, answer.headers, answer.body, seconds, more=answer.more)


class _ReceivedOctets(io.BytesIO):
    """What was received, as `http.client` reads it; stays open, so that what follows can be seen."""

    def makefile(self, *_: Any) -> _ReceivedOctets:
        """Return itself: there is no socket below."""
        return self

    def close(self) -> None:
        """Stay open."""


def _parse_answer(octets: bytes, ended: bool) -> Answer | None:
    """Return the answer that `octets` begin with, None as long as it is not complete."""
    if b"\n\r\n" not in octets and b"\n\n" not in octets:
        return None
    source = _ReceivedOctets(octets)
    response = http.client.HTTPResponse(source, method="POST")  # type: ignore[arg-type]
    try:
        response.begin()
        if response.length is None and not response.chunked and not ended:
            return None
        body = response.read()
    except (http.client.HTTPException, ValueError, OSError):
        return None
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Answer(response.status, headers, body, more=source.read())
