"""Connections whose requests wait for their response, as `responseOnly` and `signalsAndResponse` agree.

A waiting connection holds no thread, no transaction and no body. All waiting connections of a
process share one query per interval, however many they are. Their number is limited, and no party
has more than a share of the places; who finds none gets the agreed fallback at once.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, Engine

from gateway.hub.completion import closing_transaction
from gateway.store import HttpResponse, confirm_copies, message_responses, messages, read_transaction

__all__ = ["PendingResponse", "ResponseLimits", "ResponseWatch", "WaitingRequest"]

#: A party has at most this part of the places.
_SHARE: Final = 4


@dataclass(frozen=True, slots=True)
class ResponseLimits:
    """How long a request waits at most, how many wait at once, and how often the database is asked."""

    wait: timedelta = timedelta(seconds=20)
    places: int = 64
    interval: timedelta = timedelta(milliseconds=200)


@dataclass(frozen=True, slots=True)
class PendingResponse(HttpResponse):
    """The agreed fallback of a request whose response may still come; who cannot wait sends it as it is.

    `request` is the stored message, `pmodes` are those of its responses.
    """

    request: int
    party: str
    pmodes: frozenset[str]
    until: datetime


@dataclass(frozen=True, slots=True)
class _FoundResponse:
    delivery: int
    answer: HttpResponse


@dataclass(slots=True)
class WaitingRequest:
    """One request that waits: ask `read_response` until it gives one or `is_over`, then `close`."""

    watch: ResponseWatch
    pending: PendingResponse
    found: _FoundResponse | None = field(default=None)

    @property
    def fallback(self) -> HttpResponse:
        """Return what is answered when no response comes in time."""
        return self.pending

    def read_response(self) -> HttpResponse | None:
        """Return the response when it is there; the same octets as on every other attempt."""
        self.watch.look_for_responses()
        if self.found is None:
            return None
        self.watch.confirm_copies()
        return self.found.answer

    def is_over(self) -> bool:
        """Return whether the time is over."""
        return self.watch.clock() >= self.pending.until

    def mark_given(self) -> None:
        """Store that the response went into the HTTP answer; until then it is queued for a POST."""
        if self.found is not None:
            self.watch.mark_given(self.found.delivery)

    def close(self) -> None:
        """Give the place to others."""
        self.watch.end_wait(self)


class ResponseWatch:
    """The requests of one process that wait for their responses; safe for many threads."""

    def __init__(
        self, engine: Engine, clock: Callable[[], datetime], limits: ResponseLimits | None = None
    ) -> None:
        self.clock: Final = clock
        self.limits: Final = limits or ResponseLimits()
        self._engine = engine
        self._guard = threading.Lock()
        self._looking = threading.Lock()
        self._waiting: list[WaitingRequest] = []
        self._parties: Counter[str] = Counter()
        self._looked: datetime | None = None

    def begin_wait(self, pending: PendingResponse) -> WaitingRequest | None:
        """Let a request wait; return None when there is no place for it."""
        share = max(1, self.limits.places // _SHARE)
        with self._guard:
            if len(self._waiting) >= self.limits.places or self._parties[pending.party] >= share:
                return None
            one = WaitingRequest(self, pending)
            self._waiting.append(one)
            self._parties[pending.party] += 1
            return one

    def end_wait(self, one: WaitingRequest) -> None:
        """Give the place of a request to others."""
        with self._guard:
            if one in self._waiting:
                self._waiting.remove(one)
                self._parties[one.pending.party] -= 1
                self._parties += Counter()

    def find_response(self, pending: PendingResponse) -> HttpResponse | None:
        """Return the response to a repeated request if there is one already, and store that it was given."""
        one = WaitingRequest(self, pending)
        with read_transaction(self._engine, promises=True) as conn:
            _assign_responses(conn, (one,))
        one.mark_given()
        return None if one.found is None else one.found.answer

    def look_for_responses(self) -> None:
        """Ask the database about all waiting requests, unless that was done within the interval."""
        with self._looking:
            now = self.clock()
            if self._looked is not None and abs(now - self._looked) < self.limits.interval:
                return
            self._looked = now
            with self._guard:
                wanted = [one for one in self._waiting if one.found is None]
            if wanted:
                with read_transaction(self._engine) as conn:
                    _assign_responses(conn, wanted)

    def confirm_copies(self) -> None:
        """Return when the responses that were found are on all wanted copies; raises GW806 else."""
        confirm_copies(self._engine)

    def mark_given(self, delivery: int) -> None:
        """Store that a response was given; a receipt that it asks for is due within the wait."""
        now = self.clock()
        with closing_transaction(self._engine, "respond.given", delivery, now) as conn:
            message_responses.mark_response_given(conn, delivery, now, now + self.limits.wait)


def _assign_responses(conn: Connection, wanted: Iterable[WaitingRequest]) -> None:
    """Set the first response of each request that has one: a repeat gets the same one."""
    by_request: dict[int, list[WaitingRequest]] = {}
    for one in wanted:
        by_request.setdefault(one.pending.request, []).append(one)
    for row in message_responses.list_responses(conn, tuple(by_request)):
        for one in by_request[row.request]:
            if one.found is None and row.pmode_id in one.pending.pmodes:
                answer = HttpResponse(200, *messages.load_parcel(conn, row.message))
                one.found = _FoundResponse(row.delivery, answer)
