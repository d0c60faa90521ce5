"""The database that the settings name: its engine, its objects, and a clock by the time of its server.

On PostgreSQL the clock is that of the server, so that all nodes agree which deliveries are due: a lease that
a node with a fast clock takes over early is worked on twice. Therefore the server is asked for its time now
and then, and between two answers the elapsed time is counted by a monotonic clock, which cannot be set.

If the clock of the server, or of the only machine of SQLite, jumps, the hub does not follow at once: a jump
two days ahead, even for a quarter of a minute, would end the time of deliveries and of held cases.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from sqlalchemy import Engine

from gateway.config import Settings
from gateway.errors import MISUSE, SETTINGS_WRONG, GatewayError
from gateway.store import (
    BucketAccess,
    ObjectBucket,
    ObjectFolder,
    get_database_state,
    make_engine,
    mark_objects_of,
    read_database_time,
    read_transaction,
)

#: The mark of the newest acknowledged evidence: a file of its own, which a restore of the database keeps.
_MARK: Final = "acknowledged.json"


def build_object_folder(settings: Settings) -> ObjectFolder:
    """Return the folder of large payloads; of its disk as much is reserved as of that of the database."""
    payloads = settings.payloads
    return ObjectFolder(payloads.folder, payloads.inline, settings.database.reserve)


def build_object_store(settings: Settings) -> ObjectFolder | ObjectBucket:
    """Return the store of large payloads: the bucket of the settings, else their folder.

    Raises GW801 without the client for S3, GW803 for a key that is not there.
    """
    folder, s3 = build_object_folder(settings), settings.payloads.s3
    if not s3.bucket:
        return folder
    if find_spec("botocore") is None:
        detail = "S3 needs the package botocore: install singlewindow-gateway[s3]"
        raise GatewayError(SETTINGS_WRONG, detail, "payloads.s3")
    assert s3.endpoint is not None
    assert s3.access_key is not None
    assert s3.secret_key is not None
    access = BucketAccess(
        s3.endpoint,
        s3.bucket,
        access_key=s3.access_key.read().decode().strip(),
        secret_key=s3.secret_key.read().decode().strip(),
        region=s3.region,
        prefix=s3.prefix,
        path_style=s3.path_style,
        ca=str(s3.ca) if s3.ca else None,
        seconds=s3.time_out.total_seconds(),
        connections=_count_threads(settings),
    )
    return ObjectBucket(access, folder, settings.payloads.inline)


def _count_threads(settings: Settings) -> int:
    """Return how many threads of a process use the database, and the objects, at one time."""
    return max(settings.http.threads, settings.delivery.workers) + 4


def get_node_name(settings: Settings) -> str:
    """Return the name of this node: that of the settings, else the name of the host."""
    return settings.hub.node or socket.gethostname()[:40]


def get_database_mark_path(settings: Settings) -> Path:
    """Return the path of the file in the home folder that names the newest acknowledged evidence."""
    return settings.home_folder / _MARK


def build_engine(settings: Settings, *, at_work: bool = False) -> Engine:
    """Return the engine of the database; the size of its pool fits the threads of this process.

    A process at work waits for the server no longer than the settings say, and works on no database that
    is older than the mark of the home folder.
    """
    if not settings.home_folder.is_dir():
        home = str(settings.home_folder)[-120:]
        detail = f"there is no home folder {home}: `gateway migrate --new` makes one"
        raise GatewayError(MISUSE, detail, home)
    database = settings.database
    volume = str(database.volume) if database.volume else None
    engine = make_engine(
        database.url,
        pool_size=_count_threads(settings),
        reserve_octets=database.reserve,
        volume=volume,
        copies=database.copies,
        max_wait_seconds=database.time_out.total_seconds() if at_work else None,
        mark_path=get_database_mark_path(settings) if at_work else None,
    )
    get_database_state(engine).objects = mark_objects_of(engine, build_object_store(settings))
    return engine


_log = logging.getLogger(__name__)
#: Seconds between two questions, and after a question without an answer.
_ASK_EVERY: Final = 10.0
#: Seconds for which a caller waits for the server's time, once the server has answered before.
_CALLER_WAIT_SECONDS: Final = 0.5
#: An answer that took longer says too little about the time.
_MAX_QUERY_SECONDS: Final = 1.0
#: Smaller differences are those of the questions themselves.
_MIN_CORRECTION_SECONDS: Final = 0.05
#: A difference of the clock of this machine that its operator should know.
_SKEW: Final = timedelta(seconds=2)
#: A larger difference from the counted time is a step.
_MIN_CLOCK_STEP: Final = timedelta(minutes=1)
#: Seconds for which the clock must stand after a step, until it is followed.
_STEP_LASTS: Final = 300.0


def _read_own_clock() -> datetime:
    return datetime.now(UTC)


def _read_monotonic_seconds() -> float:
    """Return the seconds of a monotonic clock, including the sleep of the machine where the system counts it.

    Otherwise the end of a sleep would be a step of the clock: for minutes the hub would sign with a past
    time.
    """
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


@dataclass(frozen=True, slots=True)
class _ClockReading:
    """A time of the source, and the counted seconds then."""

    source_time: datetime
    monotonic_seconds: float


class HubClock:
    """The clock of the database server, or of this machine for SQLite; safe for many threads.

    It never fails. While the server does not answer, no caller waits for it: the time advances by the counted
    seconds. Before the first answer it is the time of this machine.
    """

    def __init__(
        self,
        engine: Engine,
        read_own_clock: Callable[[], datetime] = _read_own_clock,
        read_monotonic_seconds: Callable[[], float] = _read_monotonic_seconds,
    ) -> None:
        self._engine = engine
        self._read_own_clock = read_own_clock
        self._read_monotonic_seconds = read_monotonic_seconds
        self._asking = threading.Lock()
        #: The reading from which the time is computed; None before the first answer.
        self._reading: _ClockReading | None = None
        self._asked_at = float("-inf")
        self._is_skew_logged = False
        #: A step that is not followed yet, and the counted seconds when it was seen.
        self._unfollowed_step: tuple[timedelta, float] | None = None

    def __call__(self) -> datetime:
        """Return the time."""
        if self._read_monotonic_seconds() - self._asked_at >= _ASK_EVERY and self._asking.acquire(
            blocking=False
        ):
            if self._engine.dialect.name == "sqlite":
                self._query_source_time()
            else:
                self._query_source_time_in_thread()
        reading = self._reading
        return self._read_own_clock() if reading is None else self._compute_time_from(reading)

    def measure_skew(self) -> timedelta:
        """Return how far the clock of this machine is ahead of the server's."""
        reading = self._reading
        return timedelta(0) if reading is None else self._read_own_clock() - self._compute_time_from(reading)

    def _compute_time_from(self, reading: _ClockReading) -> datetime:
        return reading.source_time + timedelta(
            seconds=self._read_monotonic_seconds() - reading.monotonic_seconds
        )

    def _query_source_time_in_thread(self) -> None:
        """Ask the database in a thread of its own, and wait for it for a while.

        If the process can start no thread, nothing is asked before the next time.
        """
        asking = threading.Thread(target=self._query_source_time, name="clock", daemon=True)
        try:
            asking.start()
        except RuntimeError as shortage:
            _log.error("the clock of the database cannot be asked: %s", type(shortage).__name__)
            self._end_query()
            return
        asking.join(None if self._reading is None else _CALLER_WAIT_SECONDS)

    def _query_source_time(self) -> None:
        """Ask the database for its time, then release the lock `_asking`, which the caller has acquired."""
        try:
            self._compare_with_source_time()
        except Exception as mistake:  # the time goes on by the counted seconds
            _log.error("the clock of the database cannot be asked: %s", type(mistake).__name__)
        finally:
            self._end_query()

    def _end_query(self) -> None:
        self._asked_at = self._read_monotonic_seconds()
        self._asking.release()

    def _compare_with_source_time(self) -> None:
        """Read the time of the database, or on SQLite of this machine, and use it if it differs enough.

        An answer that took more than a second is not used, unless it is the first one.
        """
        if self._engine.dialect.name == "sqlite":
            self._apply_new_reading(
                _ClockReading(self._read_own_clock(), self._read_monotonic_seconds()), 0.0
            )
            return
        try:
            with read_transaction(self._engine) as conn:
                began = self._read_monotonic_seconds()
                source_time = read_database_time(conn)
                ended = self._read_monotonic_seconds()
        except GatewayError:
            # The code that uses the database reports that it is away.
            return
        if source_time is None or (ended - began > _MAX_QUERY_SECONDS and self._reading is not None):
            return
        self._apply_new_reading(
            _ClockReading(source_time, (began + ended) / 2), max(_MIN_CORRECTION_SECONDS, ended - began)
        )
        self._log_skew()

    def _apply_new_reading(self, new_reading: _ClockReading, min_difference_seconds: float) -> None:
        """Use a reading that is more than `min_difference_seconds` off, unless the clock has just stepped."""
        if self._reading is None:
            self._reading = new_reading
            return
        difference = self._compute_time_from(new_reading) - self._compute_time_from(self._reading)
        if self._may_follow_difference(difference) and abs(difference) > timedelta(
            seconds=min_difference_seconds
        ):
            self._reading = new_reading

    def _may_follow_difference(self, difference: timedelta) -> bool:
        """Return whether a difference is no step, or one after which the clock has stood for long."""
        now, before = self._read_monotonic_seconds(), self._unfollowed_step
        if abs(difference) <= _MIN_CLOCK_STEP:
            if before is not None:
                _log.warning("the clock has stepped back to the time that the hub has counted")
            self._unfollowed_step = None
            return True
        if before is None or abs(difference - before[0]) > _MIN_CLOCK_STEP:
            self._unfollowed_step = (difference, now)
            _log.warning(
                "the clock has stepped by %+.0f s: the hub counts on by itself, and follows the clock if it "
                "is still so in %.0f s",
                *(difference.total_seconds(), _STEP_LASTS),
            )
            return False
        if now - before[1] < _STEP_LASTS:
            return False
        self._unfollowed_step = None
        _log.warning("the hub follows the clock, which has stepped by %+.0f s", difference.total_seconds())
        return True

    def _log_skew(self) -> None:
        """Log a warning, once, when the clock of this machine differs by more than 2 s from the database."""
        skew = self.measure_skew()
        is_skewed = abs(skew) > _SKEW
        if is_skewed and not self._is_skew_logged:
            seconds = skew.total_seconds()
            direction = "ahead of" if seconds > 0 else "behind"
            _log.warning(
                "the clock of this machine is %.1f s %s that of the database", abs(seconds), direction
            )
        self._is_skew_logged = is_skewed
