"""Exchanges as octets, for the reports: each request with its answer, in the order of time."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

__all__ = ["ExchangeLog", "RecordedExchange", "RecordedMessage", "record_message"]

#: Longer bodies are kept to here; their length and digest are those of all octets.
_KEPT: Final = 65_536


@dataclass(frozen=True, slots=True)
class RecordedMessage:
    """One HTTP message: its first line, its header fields, and the first octets of its body.

    `octets` and `sha256` are those of the whole body.
    """

    line: str
    headers: Mapping[str, str]
    body: bytes
    octets: int
    sha256: str

    def format_head(self) -> str:
        """Return the first line and the header fields."""
        return "\n".join([self.line, *(f"{name}: {value}" for name, value in self.headers.items())])


def record_message(line: str, headers: Mapping[str, str], body: bytes) -> RecordedMessage:
    """Return the record of a message."""
    return RecordedMessage(line, dict(headers), body[:_KEPT], len(body), hashlib.sha256(body).hexdigest())


@dataclass(frozen=True, slots=True)
class RecordedExchange:
    """A request and its answer; `to_gateway` says who sent the request, `at` the seconds since the start.

    `answer` is None when there was none; `trouble` then says why.
    """

    to_gateway: bool
    at: float
    request: RecordedMessage
    answer: RecordedMessage | None
    trouble: str = ""


@dataclass
class ExchangeLog:
    """Collects the exchanges of one case; safe for threads."""

    started: float = field(default_factory=time.monotonic)
    _exchanges: list[RecordedExchange] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add_exchange(
        self,
        request: RecordedMessage,
        answer: RecordedMessage | None,
        trouble: str = "",
        *,
        to_gateway: bool = True,
    ) -> None:
        """Append an exchange that is over."""
        with self._lock:
            at = time.monotonic() - self.started
            self._exchanges.append(RecordedExchange(to_gateway, at, request, answer, trouble))

    def list_exchanges(self) -> tuple[RecordedExchange, ...]:
        """Return the exchanges so far."""
        with self._lock:
            return tuple(self._exchanges)
