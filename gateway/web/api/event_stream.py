"""One open stream of events: read again and again, as long as its caller may read."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from sqlalchemy import Engine, Row

from gateway.errors import NO_ROOM, TOO_MANY_REQUESTS, GatewayError
from gateway.store import confirm_copies, events, read_transaction

if TYPE_CHECKING:
    from gateway.web.api.api_operations import ApiCall

__all__ = ["EventStream"]

#: A client connects again then; so streams do not stay for ever at a process that is about to end.
_LONGEST: Final = timedelta(minutes=5)
_HEARTBEAT: Final = timedelta(seconds=15)
_BATCH: Final = 100
_GUARD: Final = threading.Lock()
_OPEN: Final[WeakKeyDictionary[Engine, Counter[str]]] = WeakKeyDictionary()


class EventStream:
    """A stream: `read_batch` returns what is new, an empty text when nothing is, None at the end.

    It is counted while it is open; `close` must be called.
    """

    def __init__(self, call: ApiCall, after: int, write: Callable[[Sequence[Row[Any]]], bytes]) -> None:
        self._call = call
        self._after = after
        self._write = write
        now = call.services.clock()
        self._end, self._said = now + _LONGEST, now
        self._counts = _take_place(call)
        self._begun = False

    def read_batch(self) -> bytes | None:
        """Return what is new; None when the caller may read no longer, or the stream has lasted long."""
        now = self._call.services.clock()
        if now >= self._end or not self._call.is_still_allowed():
            return None
        with read_transaction(self._call.services.engine) as conn:
            rows = events.list_events(conn, self._call.party, self._after, _BATCH)
        if rows:
            confirm_copies(self._call.services.engine)
            self._after, self._said = int(rows[-1].sequence), now
            return self._write(rows)
        if not self._begun or now - self._said >= _HEARTBEAT:
            # A comment: it shows a proxy that the stream lives, and us whether the client does.
            self._begun, self._said = True, now
            return b": nothing new\n\n"
        return b""

    def close(self) -> None:
        """Give the place of this stream to others."""
        with _GUARD:
            self._counts[self._call.party] -= 1


def _take_place(call: ApiCall) -> Counter[str]:
    """Count a stream of the caller; raises GW807 or GW806 when there are too many."""
    settings = call.services.settings.api
    with _GUARD:
        counts = _OPEN.setdefault(call.services.engine, Counter())
        if counts[call.party] >= settings.streams_per_party:
            detail = f"{call.party[:80]} has {settings.streams_per_party} event streams"
            raise GatewayError(TOO_MANY_REQUESTS, detail)
        if counts.total() >= settings.streams:
            raise GatewayError(NO_ROOM, "as many event streams are open as the settings allow")
        counts[call.party] += 1
    return counts
