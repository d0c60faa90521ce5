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
    make_engine,
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


def get_mark_path(settings: Settings) -> Path:
    """Return the file of the mark, in the home folder."""
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
    objects = build_object_store(settings)
    return make_engine(
        database.url,
        pool_size=_count_threads(settings),
        reserve=database.reserve,
        volume=volume,
        copies=database.copies,
        seconds=database.time_out.total_seconds() if at_work else None,
        objects=objects,
        mark=get_mark_path(settings) if at_work else None,
    )


_log = logging.getLogger(__name__)
#: Seconds between two questions, and after a question without an answer.
_ASK_EVERY: Final = 10.0
#: Seconds for which a caller waits for the server's time, once the server has answered before.
_PATIENCE: Final = 0.5
#: An answer that took longer says too little about the time.
_LONGEST: Final = 1.0
#: Smaller differences are those of the questions themselves.
_LEAST: Final = 0.05
#: A difference of the clock of this machine that its operator should know.
_SKEW: Final = timedelta(seconds=2)
#: A larger difference from the counted time is a step.
_STEP: Final = timedelta(minutes=1)
#: Seconds for which the clock must stand after a step, until it is followed.
_STEP_LASTS: Final = 300.0


def _read_own_clock() -> datetime:
    return datetime.now(UTC)


def _count_seconds() -> float:
    """Return the seconds of a monotonic clock, including the sleep of the machine where the system counts it.

    Otherwise the end of a sleep would be a step of the clock: for minutes the hub would sign with a past
    time.
    """
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


@dataclass(frozen=True, slots=True)
class _Reading:
    """A time of the source, and the counted seconds then."""

    at: datetime
    seconds: float


class HubClock:
    """The clock of the database server, or of this machine for SQLite; safe for many threads.

    It never fails. While the server does not answer, no caller waits for it: the time advances by the counted
    seconds. Before the first answer it is the time of this machine.
    """

    def __init__(
        self,
        engine: Engine,
        read_own_clock: Callable[[], datetime] = _read_own_clock,
        count_seconds: Callable[[], float] = _count_seconds,
    ) -> None:
        self._engine = engine
        self._read_own_clock = read_own_clock
        self._count_seconds = count_seconds
        self._asking = threading.Lock()
        #: The reading from which the time is computed; None before the first answer.
        self._reading: _Reading | None = None
        self._asked_at = float("-inf")
        self._is_skew_logged = False
        #: A step that is not followed yet, and the counted seconds when it was seen.
        self._step: tuple[timedelta, float] | None = None

    def __call__(self) -> datetime:
        """Return the time."""
        if self._count_seconds() - self._asked_at >= _ASK_EVERY and self._asking.acquire(blocking=False):
            if self._engine.dialect.name == "sqlite":
                self._ask_source()
            else:
                asking = threading.Thread(target=self._ask_source, name="clock", daemon=True)
                asking.start()
                asking.join(None if self._reading is None else _PATIENCE)
        reading = self._reading
        return self._read_own_clock() if reading is None else self._count_on(reading)

    def measure_skew(self) -> timedelta:
        """Return how far the clock of this machine is ahead of the server's."""
        reading = self._reading
        return timedelta(0) if reading is None else self._read_own_clock() - self._count_on(reading)

    def _count_on(self, reading: _Reading) -> datetime:
        return reading.at + timedelta(seconds=self._count_seconds() - reading.seconds)

    def _ask_source(self) -> None:
        try:
            self._compare_source()
        except Exception as mistake:  # the time goes on by the counted seconds
            _log.error("the clock of the database cannot be asked: %s", type(mistake).__name__)
        finally:
            self._asked_at = self._count_seconds()
            self._asking.release()

    def _compare_source(self) -> None:
        if self._engine.dialect.name == "sqlite":
            self._take_answer(_Reading(self._read_own_clock(), self._count_seconds()), 0.0)
            return
        try:
            with read_transaction(self._engine) as conn:
                began = self._count_seconds()
                source_time = read_database_time(conn)
                ended = self._count_seconds()
        except GatewayError:
            # The code that uses the database reports that it is away.
            return
        if source_time is None or (ended - began > _LONGEST and self._reading is not None):
            return
        self._take_answer(_Reading(source_time, (began + ended) / 2), max(_LEAST, ended - began))
        self._tell_skew()

    def _take_answer(self, new: _Reading, least: float) -> None:
        """Follow the clock where it is more than `least` seconds away, unless it has stepped just now."""
        if self._reading is None:
            self._reading = new
            return
        apart = self._count_on(new) - self._count_on(self._reading)
        if self._is_followed(apart) and abs(apart) > timedelta(seconds=least):
            self._reading = new

    def _is_followed(self, apart: timedelta) -> bool:
        """Return whether a difference is no step, or one after which the clock has stood for long."""
        now, before = self._count_seconds(), self._step
        if abs(apart) <= _STEP:
            if before is not None:
                _log.warning("the clock has stepped back to the time that the hub has counted")
            self._step = None
            return True
        if before is None or abs(apart - before[0]) > _STEP:
            self._step = (apart, now)
            _log.warning(
                "the clock has stepped by %+.0f s: the hub counts on by itself, and follows the clock if it "
                "is still so in %.0f s",
                *(apart.total_seconds(), _STEP_LASTS),
            )
            return False
        if now - before[1] < _STEP_LASTS:
            return False
        self._step = None
        _log.warning("the hub follows the clock, which has stepped by %+.0f s", apart.total_seconds())
        return True

    def _tell_skew(self) -> None:
        skew = self.measure_skew()
        is_skewed = abs(skew) > _SKEW
        if is_skewed and not self._is_skew_logged:
            seconds = skew.total_seconds()
            direction = "ahead of" if seconds > 0 else "behind"
            _log.warning(
                "the clock of this machine is %.1f s %s that of the database", abs(seconds), direction
            )
        self._is_skew_logged = is_skewed
