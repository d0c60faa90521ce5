"""The regular work of each node: it notes that it works, sweeps objects, and ends old sign-ins.

Each node also checks whether time-stamping is stale: whether evidence is older than the settings allow and
no time stamp covers it. The settings choose the consequence: new messages are refused (GW804), or only the
operator is warned.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, Engine

from gateway import __version__
from gateway.errors import NODE_DRAINED, TRUST_STALE, GatewayError, raise_resource_problem
from gateway.store import (
    REMOVED_AT_ONCE,
    InsufficientStorageError,
    find_unstamped_since,
    get_database_state,
    get_head_revision,
    read_transaction,
    sessions,
    sweep_objects,
    working_nodes,
    write_transaction,
)

_NOTED_EVERY: Final = timedelta(seconds=10)
_ASKED_EVERY: Final = timedelta(seconds=1)
_log = logging.getLogger(__name__)


class NodeKeeper:
    """One process of a node; safe for many threads. Without a name it cannot report or see other nodes."""

    def __init__(self, engine: Engine, clock: Callable[[], datetime], node_name: str) -> None:
        self._engine = engine
        self._clock = clock
        self._node_name = node_name
        self._guard = threading.Lock()
        self._reported_at: datetime | None = None
        self._asked_at: datetime | None = None
        self._drained: GatewayError | None = None

    def report_alive(self) -> None:
        """Store that this node works, unless that was done within the last ten seconds."""
        now = self._clock()
        if not self._node_name or (
            self._reported_at is not None and abs(now - self._reported_at) < _NOTED_EVERY
        ):
            return
        self._reported_at = now
        with write_transaction(self._engine, "node.seen") as conn:
            working_nodes.note_node(conn, self._node_name, __version__, get_head_revision(), now)

    def find_drain_problem(self) -> GatewayError | None:
        """Return GW322 while this node is drained; the database is asked once a second."""
        if not self._node_name:
            return None
        with self._guard:
            now = self._clock()
            if self._asked_at is None or abs(now - self._asked_at) >= _ASKED_EVERY:
                with read_transaction(self._engine) as conn:
                    row = working_nodes.find_node(conn, self._node_name)
                is_drained = row is not None and row.drained_at is not None
                self._drained = GatewayError(NODE_DRAINED, f"node {self._node_name}") if is_drained else None
                self._asked_at = now
            return self._drained


_OBJECT_INTERVAL: Final = timedelta(minutes=1)
#: Longer than a message takes to be received or sealed: an older object has its row, or never gets one.
_MIN_SWEPT_AGE: Final = timedelta(days=1)
#: The objects are checked by the first octet of their digest: all of them in about four hours.
_PARTS: Final = 256


def sweep_part_of_objects(engine: Engine, now: datetime) -> None:
    """Remove old large payloads that no row names, and files of killed processes.

    Each call checks one of 256 parts of the payloads. Several processes may do so at the same time.
    """
    store = get_database_state(engine).objects
    if store is None:
        return
    try:
        store.remove_abandoned_files()
        sweep_objects(
            engine, int(now.timestamp() // _OBJECT_INTERVAL.total_seconds()) % _PARTS, now - _MIN_SWEPT_AGE
        )
    except (OSError, InsufficientStorageError) as error:
        # The other tasks do not wait for a store that cannot be read.
        _log.warning("large payloads cannot be swept now: %s", error)


_SIGN_IN_INTERVAL: Final = timedelta(hours=1)
#: The time for which failed sign-ins are stored; they count for minutes. The audit keeps every sign-in.
_FAILURES: Final = timedelta(days=1)
#: The time for which a network is familiar for a name, and sessions are shown to managers of accounts.
_SESSION_PERIOD: Final = timedelta(days=90)
#: Removals of one upkeep; the next one goes on.
_MAX_REMOVAL_BATCHES: Final = 20


def remove_old_sign_ins(engine: Engine, now: datetime) -> None:
    """Remove old rows of sign-ins and sessions; several processes may do so at the same time."""
    _remove_in_batches(engine, lambda conn: sessions.remove_unanswered(conn, now), max_batches=1)
    _remove_in_batches(
        engine, lambda conn: sessions.remove_old_attempts(conn, now - _FAILURES, is_successful=False)
    )
    _remove_in_batches(
        engine, lambda conn: sessions.remove_old_attempts(conn, now - _SESSION_PERIOD, is_successful=True)
    )
    _remove_in_batches(engine, lambda conn: sessions.remove_old_sessions(conn, now - _SESSION_PERIOD))


def _remove_in_batches(
    engine: Engine, remove_batch: Callable[[Connection], int], max_batches: int = _MAX_REMOVAL_BATCHES
) -> None:
    """Call `remove_batch`, which returns how many rows it has removed, until it was less than a full batch.

    Each call has a transaction of its own; there are at most `max_batches` of them.
    """
    for _ in range(max_batches):
        with write_transaction(engine, "accounts.upkeep") as conn:
            removed = remove_batch(conn)
        if removed < REMOVED_AT_ONCE:
            return


#: The upkeep tasks beside the events, the counts and the messages, each with its interval.
_UPKEEP: Final = ((_OBJECT_INTERVAL, sweep_part_of_objects), (_SIGN_IN_INTERVAL, remove_old_sign_ins))


def run_upkeep_steps(*steps: Callable[[], object]) -> None:
    """Run each step of the upkeep; one that fails is logged, and must not stop the others. Raises GW806."""
    for step in steps:
        try:
            step()
        except GatewayError as problem:
            raise_resource_problem(problem)
            _log.warning("upkeep failed; it is done again: %s", problem)
        except Exception as mistake:
            raise_resource_problem(mistake)
            _log.exception("upkeep failed; it is done again")


class NodeUpkeep:
    """Does each regular task of a node when its time has come."""

    def __init__(self) -> None:
        self._done_at: dict[int, datetime] = {}

    def run_due_tasks(self, engine: Engine, now: datetime) -> None:
        """Do the tasks that were not done within their interval."""
        for position, (interval, run) in enumerate(_UPKEEP):
            done_at = self._done_at.get(position)
            if done_at is None or abs(now - done_at) >= interval:
                self._done_at[position] = now
                run(engine, now)


#: While stamping is stale, the database is queried at most once in this time.
_STALE_QUERY_INTERVAL: Final = timedelta(seconds=1)


class StampingMonitor:
    """Reports whether stamping is stale, for one process; safe for many threads.

    While it is not stale, a check costs one comparison: the evidence that waits now is no older
    than the evidence that waited at the last query. Evidence may wait for its stamp until `stale_after`;
    with `refuses_when_stale` new messages are refused after that.
    """

    def __init__(self, engine: Engine, stale_after: timedelta, *, refuses_when_stale: bool) -> None:
        self._engine = engine
        self.stale_after = stale_after
        self.refuses_when_stale = refuses_when_stale
        #: No waiting evidence is older than this; None before the first query.
        self._since: datetime | None = None
        self._queried_at: datetime | None = None
        self._was_stale = False
        self._query_lock = threading.Lock()

    def find_staleness_problem(self, now: datetime) -> GatewayError | None:
        """Return GW804 while stamping is stale, under any policy; None while it is not stale."""
        since = self._since
        if since is None or now - since > self.stale_after:
            since = self._query_waiting_since(now)
        return self._make_staleness_problem(since, now) if now - since > self.stale_after else None

    def find_refusal_problem(self, now: datetime) -> GatewayError | None:
        """Return GW804 while stamping is stale and the policy refuses new messages."""
        return self.find_staleness_problem(now) if self.refuses_when_stale else None

    def _query_waiting_since(self, now: datetime) -> datetime:
        """Return since when evidence waits for its time stamp, `now` if none waits.

        The database is asked again only when its last answer is too old.
        """
        with self._query_lock:
            if (
                self._since is None
                or self._queried_at is None
                or abs(now - self._queried_at) >= _STALE_QUERY_INTERVAL
            ):
                with read_transaction(self._engine) as conn:
                    self._since = find_unstamped_since(conn) or now
                self._queried_at = now
                self._log_state_change(now)
            return self._since

    def _log_state_change(self, now: datetime) -> None:
        """Log when stamping becomes stale, and when it is no longer stale."""
        since = self._since or now
        is_stale = now - since > self.stale_after
        if is_stale and not self._was_stale:
            _log.error("%s", self._make_staleness_problem(since, now))
        if self._was_stale and not is_stale:
            _log.warning("time-stamping is no longer stale")
        self._was_stale = is_stale

    def _make_staleness_problem(self, since: datetime, now: datetime) -> GatewayError:
        """Return GW804: evidence has waited since `since`; it says whether messages are refused."""
        seconds = (now - since) // timedelta(seconds=1)
        waits = f"evidence of {since:%Y-%m-%dT%H:%M:%SZ} has waited {seconds} s for a time stamp"
        consequence = (
            "no new message is taken" if self.refuses_when_stale else "messages are taken all the same"
        )
        return GatewayError(TRUST_STALE, f"{waits}: {consequence}", "time_stamps.stale_after")
