"""Connections whose requests wait for their response, as `responseOnly` and `signalsAndResponse` agree.

A waiting connection holds no thread, no transaction and no body. All waiting connections of a
process share one query per interval, however many they are. Their number is limited, and no party
has more than a share of it; a request beyond a limit gets the agreed fallback at once.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, Engine

from gateway.errors import GatewayError
from gateway.hub.completion.case_closing import run_closing_commit
from gateway.store import HttpResponse, back_channel, confirm_copies, messages, read_transaction

_log = logging.getLogger(__name__)

#: The number of waiting requests is divided by this: a party has no more of them.
_SHARE: Final = 4


@dataclass(frozen=True, slots=True)
class ResponseLimits:
    """How long a request waits at most, how many wait at once, and how often the database is asked."""

    wait: timedelta = timedelta(seconds=20)
    waiting_requests: int = 64
    interval: timedelta = timedelta(milliseconds=200)


@dataclass(frozen=True, slots=True)
class PendingResponse(HttpResponse):
    """The agreed fallback of a request whose response may still come; a caller that cannot wait sends it.

    `request` is the stored message, `pmode_ids` are those of its responses.
    """

    request: int
    party: str
    pmode_ids: frozenset[str]
    waits_until: datetime


@dataclass(frozen=True, slots=True)
class _FoundResponse:
    delivery: int
    answer: HttpResponse


@dataclass(slots=True)
class WaitingRequest:
    """One request that waits: ask `read_response` until it gives one or `is_over`, then `close`."""

    watch: ResponseWatch
    pending: PendingResponse
    response: _FoundResponse | None = field(default=None)
    is_unreadable: bool = False

    @property
    def fallback(self) -> HttpResponse:
        """Return the HTTP response for the case that no response to the message comes in time."""
        return self.pending

    def read_response(self) -> HttpResponse | None:
        """Return the response when it is there; the same octets as on every other attempt."""
        self.watch.query_responses()
        if self.response is None:
            return None
        self.watch.confirm_copies()
        return self.response.answer

    def is_over(self) -> bool:
        """Return whether the time is over, the clock was set back, or the response cannot be read."""
        now = self.watch.clock()
        return self.is_unreadable or not now < self.pending.waits_until <= now + self.watch.limits.wait

    def mark_response_given(self) -> None:
        """Store that the response went into the HTTP answer; until then it is queued for a POST."""
        if self.response is not None:
            self.watch.mark_response_given(self.response.delivery)

    def close(self) -> None:
        """End the wait, so that another request may wait instead."""
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
        self._query_lock = threading.Lock()
        self._waiting: list[WaitingRequest] = []
        self._parties: Counter[str] = Counter()
        self._queried_at: datetime | None = None

    def begin_wait(self, pending: PendingResponse) -> WaitingRequest | None:
        """Let a request wait; return None when as many wait as may."""
        max_requests_of_party = max(1, self.limits.waiting_requests // _SHARE)
        with self._guard:
            if (
                len(self._waiting) >= self.limits.waiting_requests
                or self._parties[pending.party] >= max_requests_of_party
            ):
                return None
            request = WaitingRequest(self, pending)
            self._waiting.append(request)
            self._parties[pending.party] += 1
            return request

    def end_wait(self, request: WaitingRequest) -> None:
        """End the wait of a request, so that another one may wait."""
        with self._guard:
            if request in self._waiting:
                self._waiting.remove(request)
                self._parties[request.pending.party] -= 1
                self._parties += Counter()

    def find_response(self, pending: PendingResponse) -> HttpResponse | None:
        """Return the response to a repeated request if there is one already, and store that it was given."""
        request = WaitingRequest(self, pending)
        with read_transaction(self._engine, acknowledges_data=True) as conn:
            _assign_responses(conn, (request,))
        request.mark_response_given()
        return None if request.response is None else request.response.answer

    def query_responses(self) -> None:
        """Ask the database about all waiting requests, unless that was done within the interval."""
        with self._query_lock:
            now = self.clock()
            if self._queried_at is not None and abs(now - self._queried_at) < self.limits.interval:
                return
            self._queried_at = now
            with self._guard:
                open_requests = [
                    request
                    for request in self._waiting
                    if request.response is None and not request.is_unreadable
                ]
            if open_requests:
                with read_transaction(self._engine) as conn:
                    _assign_responses(conn, open_requests)

    def confirm_copies(self) -> None:
        """Return when the responses that were found are on all wanted copies; raises GW806 else."""
        confirm_copies(self._engine)

    def mark_response_given(self, delivery: int) -> None:
        """Store that a response was given; a receipt that it asks for is due within the wait."""
        now = self.clock()

        def mark(conn: Connection) -> None:
            back_channel.mark_response_given(conn, delivery, now, now + self.limits.wait)

        run_closing_commit(self._engine, "respond.given", delivery, now, mark)


def _assign_responses(conn: Connection, requests: Iterable[WaitingRequest]) -> None:
    """Set the first response of each request that has one: a repeat gets the same one."""
    by_request: dict[int, list[WaitingRequest]] = {}
    for request in requests:
        by_request.setdefault(request.pending.request, []).append(request)
    for row in back_channel.list_responses(conn, tuple(by_request)):
        for request in by_request[row.request]:
            if request.response is not None or row.pmode_id not in request.pending.pmode_ids:
                continue
            try:
                answer = HttpResponse(200, *messages.load_parcel(conn, row.message))
            except GatewayError as problem:
                # The others go on waiting; this one gets the agreed fallback.
                _log.warning("the response cannot be read: %s", problem, extra={"delivery": row.delivery})
                request.is_unreadable = True
            else:
                request.response = _FoundResponse(row.delivery, answer)
