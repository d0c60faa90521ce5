"""Remembers recent calls: a signed call is accepted once, and its MessageID stands for one content.

On PostgreSQL the calls are in the database, so that what one node has accepted no other node accepts
again. SQLite has one machine, and each of its serving processes remembers by itself.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from sqlalchemy import Connection, Engine

from gateway.errors import MESSAGE_ID_REUSED, NO_ROOM, TIMESTAMP_REFUSED, GatewayError
from gateway.store import NewSeenCall, begin_next_transaction, seen_calls, write_transaction

__all__ = ["LocalReplayCache", "ReplayCache", "SeenCall", "SharedReplayCache", "choose_replay_cache"]

_CAPACITY: Final = 200_000
_WINDOW: Final = timedelta(minutes=10)
_CLEAN_EVERY: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class SeenCall:
    """A verified call: party, MessageID, digest of the request element, digest of all signed parts."""

    party: str
    message_id: str
    content: bytes
    signature: bytes


class ReplayCache(Protocol):
    """Rejects repeated calls."""

    def admit_call(self, call: SeenCall, now: datetime) -> AbstractContextManager[None]:
        """Return the block in which a verified call has its effect, once.

        Raises GW211 for octets seen before, GW312 for an id with other content. When the block raises,
        the MessageID stands for nothing, and the octets stay known.
        """


class SharedReplayCache:
    """A `ReplayCache` of all nodes, in the database.

    A call is stored in the transaction of its effect, before it: a repeat that comes meanwhile waits for
    the end of this transaction. A process that dies before the commit leaves neither, and the call may be
    made again.
    """

    def __init__(self, engine: Engine, window: timedelta = _WINDOW) -> None:
        self._engine = engine
        self._window = window
        self._cleaned = datetime.min.replace(tzinfo=UTC)

    @contextmanager
    def admit_call(self, call: SeenCall, now: datetime) -> Iterator[None]:
        """Let the first write transaction of the block store the call, or a transaction of its own after it.

        Raises as `ReplayCache.admit_call` does, from within that transaction: nothing of it is stored.
        """
        self._remove_old_calls(now)
        row = _make_row(call)
        refused: list[GatewayError] = []

        def register(conn: Connection, what: NewSeenCall = row) -> None:
            try:
                _register_call(conn, what, now, now - self._window)
            except GatewayError as problem:
                refused.append(problem)
                raise

        with begin_next_transaction(self._engine, register) as first:
            failed = None
            try:
                yield
            except GatewayError as problem:
                failed = problem
            if failed is None and not first.committed:
                with write_transaction(self._engine, "calls.seen"):
                    """The call has changed nothing else, and this transaction begins with it."""
        if failed is not None:
            if not refused:
                self._release_call(replace(row, content=seen_calls.NO_EFFECT), register, first.committed)
            raise failed

    def _release_call(
        self, row: NewSeenCall, register: Callable[[Connection, NewSeenCall], None], stored: bool
    ) -> None:
        """Record that the call had no effect: its MessageID stands for nothing, its octets stay known.

        Raises what is wrong with the call itself; that it cannot be stored is no problem of the caller.
        """
        try:
            with write_transaction(self._engine, "calls.released") as conn:
                if stored:
                    seen_calls.release_call(conn, row.signature)
                else:
                    register(conn, row)
        except GatewayError as problem:
            if problem.problem in (MESSAGE_ID_REUSED, TIMESTAMP_REFUSED):
                raise

    def _remove_old_calls(self, now: datetime) -> None:
        if abs(now - self._cleaned) > _CLEAN_EVERY:
            with write_transaction(self._engine, "calls.seen") as conn:
                seen_calls.remove_old_calls(conn, now - self._window)
            self._cleaned = now


def _register_call(conn: Connection, row: NewSeenCall, now: datetime, since: datetime) -> None:
    if not seen_calls.insert_call(conn, row, now):
        raise _make_repeat_error()
    if seen_calls.find_other_content(conn, row, since):
        raise _make_other_content_error()


def _make_row(call: SeenCall) -> NewSeenCall:
    return NewSeenCall(call.signature.hex(), call.party, call.message_id, call.content.hex())


def _make_other_content_error() -> GatewayError:
    detail = "this MessageID was used for another call"
    return GatewayError(MESSAGE_ID_REUSED, detail, "/soap:Envelope/soap:Header/wsa:MessageID")


def _make_repeat_error() -> GatewayError:
    detail = "these signed octets were here before; a repeat needs a new Timestamp and signature"
    return GatewayError(TIMESTAMP_REFUSED, detail, "/soap:Envelope/soap:Header/wsse:Security")


def choose_replay_cache(engine: Engine) -> ReplayCache:
    """Return the cache of a process that serves on this database."""
    return LocalReplayCache() if engine.dialect.name == "sqlite" else SharedReplayCache(engine)


class LocalReplayCache:
    """A `ReplayCache` of one process.

    The window must be longer than a Timestamp is accepted, so that a forgotten call is also an
    expired one. Effects are idempotent by notice: in a second process of the machine a replay is a
    repeat, and a repeat changes nothing.
    """

    def __init__(self, window: timedelta = _WINDOW, capacity: int = _CAPACITY) -> None:
        self._window = window
        self._capacity = capacity
        self._lock = threading.Lock()
        self._signatures: OrderedDict[bytes, datetime] = OrderedDict()
        self._contents: OrderedDict[tuple[str, str], tuple[datetime, bytes]] = OrderedDict()

    def register_call(self, call: SeenCall, now: datetime) -> None:
        """Record a verified call; raises GW211 for octets seen before, GW312 for an id with other content."""
        with self._lock:
            self._evict_expired_calls(now)
            known = self._contents.get((call.party, call.message_id))
            if known is not None and known[1] != call.content:
                raise _make_other_content_error()
            if call.signature in self._signatures:
                raise _make_repeat_error()
            if len(self._signatures) >= self._capacity:
                raise GatewayError(NO_ROOM, "too many calls within the replay window")
            self._signatures[call.signature] = now

    @contextmanager
    def admit_call(self, call: SeenCall, now: datetime) -> Iterator[None]:
        """Run the block for a call that is new; afterwards its MessageID stands for its content."""
        self.register_call(call, now)
        yield
        with self._lock:
            self._contents[(call.party, call.message_id)] = (now, call.content)

    def _evict_expired_calls(self, now: datetime) -> None:
        old = now - self._window
        while self._signatures and next(iter(self._signatures.values())) < old:
            self._signatures.popitem(last=False)
        while self._contents and next(iter(self._contents.values()))[0] < old:
            self._contents.popitem(last=False)
