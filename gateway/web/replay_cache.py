"""Remembers recent calls: a signed call is accepted once, and its MessageID belongs to one content only.

The calls are in the database, so that a call accepted by one process or node is not accepted by another.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import Connection, Engine

from gateway.errors import MESSAGE_ID_REUSED, TIMESTAMP_REFUSED, GatewayError
from gateway.store import CallRecord, NewSeenCall, seen_calls, write_call_transaction, write_transaction

_WINDOW: Final = timedelta(minutes=10)
_CLEAN_EVERY: Final = timedelta(minutes=1)


class _StoredCall:
    """A call that is stored in the database with its effect."""

    def __init__(self, row: NewSeenCall, now: datetime, window: timedelta) -> None:
        self.row = row
        self.is_committed = False
        #: Whether the call was refused because of an earlier call in the store.
        self.is_refused = False
        self._now = now
        self._window_start = now - window

    def insert(self, conn: Connection) -> None:
        """Store the call; raises GW211 for octets seen before, GW312 for an id with other content."""
        is_new = seen_calls.insert_call(conn, self.row, self._now)
        self.is_refused = not is_new or seen_calls.has_other_content(conn, self.row, self._window_start)
        if self.is_refused:
            raise _make_other_content_error() if is_new else _make_repeat_error()


class ReplayCache:
    """Rejects repeated calls, whichever process or node has had them before.

    A call is stored in the transaction of its effect, before it: a repeat that comes meanwhile waits for
    the end of this transaction. A process that dies before the commit leaves neither, and the call may be
    made again.
    """

    def __init__(self, engine: Engine, window: timedelta = _WINDOW) -> None:
        self._engine = engine
        self._window = window
        self._cleaned_at = datetime.min.replace(tzinfo=UTC)

    @contextmanager
    def admit_call(self, call: NewSeenCall, now: datetime) -> Iterator[CallRecord]:
        """Return the block in which a verified call has its effect, once; the block gets the record to store.

        If the block did not store the record, it is stored after the block. Raises GW211 for octets seen
        before, GW312 for an id with other content, from within the transaction of the effect, so no part of
        the effect is stored. If the block raises, the MessageID is free again, and the octets stay known.
        """
        self._remove_old_calls(now)
        record = _StoredCall(call, now, self._window)
        try:
            yield record
        except GatewayError:
            if not record.is_refused:
                self._release_call(record)
            raise
        if not record.is_committed:
            with write_call_transaction(self._engine, "calls.seen", record):
                """The call has changed nothing else."""

    def _release_call(self, record: _StoredCall) -> None:
        """Record that the call had no effect: its MessageID is free for other content, its octets stay known.

        Raises GW312 or the problem of the timestamp; an error of the database is not raised.
        """
        try:
            with write_transaction(self._engine, "calls.released") as conn:
                if record.is_committed:
                    seen_calls.mark_call_without_effect(conn, record.row.signature)
                else:
                    record.row = replace(record.row, content=seen_calls.NO_EFFECT)
                    record.insert(conn)
        except GatewayError as problem:
            if problem.problem in (MESSAGE_ID_REUSED, TIMESTAMP_REFUSED):
                raise

    def _remove_old_calls(self, now: datetime) -> None:
        """Remove calls older than the window if the last removal of all old ones is `_CLEAN_EVERY` ago."""
        if abs(now - self._cleaned_at) > _CLEAN_EVERY:
            with write_transaction(self._engine, "calls.seen") as conn:
                removed = seen_calls.remove_old_calls(conn, now - self._window)
            # If this was not all of them, the next call of this method removes more.
            if removed < seen_calls.MAX_REMOVED_CALLS:
                self._cleaned_at = now


def _make_other_content_error() -> GatewayError:
    detail = "this MessageID was used for another call"
    return GatewayError(MESSAGE_ID_REUSED, detail, "/soap:Envelope/soap:Header/wsa:MessageID")


def _make_repeat_error() -> GatewayError:
    detail = "these signed octets were here before; a repeat needs a new Timestamp and signature"
    return GatewayError(TIMESTAMP_REFUSED, detail, "/soap:Envelope/soap:Header/wsse:Security")
