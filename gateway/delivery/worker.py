"""The delivery worker: claims what is due, lane by lane, and lets agents hand it over.

A worker holds nothing that is not also in the database.  Killed at any moment, its leases
run out and another worker repeats what it was doing; the repeat is recognised wherever it
arrives, because every agent's effect is one transaction that also ends the lease.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, Protocol

from sqlalchemy import Connection, Engine, Row

from gateway.delivery.leases import LeaseLostError, outcome_of
from gateway.delivery.retry import RetryPlan, retry_after
from gateway.delivery.schedule import Schedule
from gateway.errors import ATTEMPTS_USED_UP, KEY_UNAVAILABLE, OUR_MISTAKE, PUT_ASIDE, GatewayError
from gateway.evidence.log import record
from gateway.failpoints import failpoint
from gateway.hub import relay
from gateway.store import claims, lanes, upkeep
from gateway.store.claims import Lease
from gateway.store.engine import reading, transaction
from gateway.store.room import NoRoomError
from gateway.wire.threads import ReadingThreads

__all__ = ["Agent", "Failed", "Pace", "Worker"]

_log = logging.getLogger(__name__)

#: Until what found no room in the database is tried again, and until it is claimed from again.
_NO_ROOM_WAIT: Final = timedelta(seconds=5)
#: A token may be away for days, and every try leaves a row.
_NO_KEY_WAIT: Final = timedelta(seconds=30)
_NO_ROOM_PAUSE: Final = 1.0
#: For a delivery whose agent cannot say how often it is to be tried.
_UNKNOWN_PLAN: Final = RetryPlan(retries=5, first=timedelta(seconds=30))


class Agent(Protocol):
    """Hands deliveries of one kind over."""

    def deliver(self, lease: Lease) -> None:
        """Make one attempt and store what came of it, ending the lease in the same transaction.

        Raises GatewayError when the attempt failed and nothing was stored.
        """

    def plan(self, lease: Lease) -> RetryPlan:
        """Return how often and how soon such a delivery is tried again."""

    def failed(self, conn: Connection, what: Failed) -> None:
        """Store what follows from it that the delivery has failed for good; its case is locked."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A delivery that was given up, why and when; `delivery` is its lease or its row."""

    delivery: Lease | Row[Any]
    problem: GatewayError
    at: datetime


@dataclass(frozen=True, slots=True)
class Pace:
    """How the worker works: threads, length of a lease, wait when nothing is due, upkeep.

    `crashes` workers may die over one delivery before it is put aside.
    """

    threads: int = 8
    lease: timedelta = timedelta(seconds=120)
    poll: float = 0.05
    upkeep: float = 1.0
    crashes: int = 3


class Worker:
    """Claims and hands over until told to stop, then finishes what it holds."""

    def __init__(
        self,
        engine: Engine,
        agents: Mapping[str, Agent],
        clock: Callable[[], datetime],
        *,
        name: str,
        pace: Pace,
        schedule: Schedule | None = None,
    ) -> None:
        self._engine = engine
        self._schedule = schedule
        self._agents = agents
        self._clock = clock
        self._name = name
        self._pace = pace
        self._free = threading.Semaphore(pace.threads)
        self._done = threading.Event()
        self._held: Counter[str] = Counter()
        self._counting = threading.Lock()
        self._turn = 0
        self._pause = pace.poll
        self._suspecting = False
        #: Attempts that have ended, for want of room not yet in the database.
        self._unstored: deque[tuple[Lease, GatewayError]] = deque()

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set; returns when everything claimed has ended."""
        with ReadingThreads(self._pace.threads, "delivery") as threads:
            keeper = pool_keeper(self.keep_up, self._pace.upkeep, stop)
            while not stop.is_set():
                leases = self._claim()
                for lease in leases:
                    threads.hand(partial(self._attempt, lease))
                if not leases:
                    self._done.wait(self._pause)
                    self._done.clear()
            keeper.join()

    def run_once(self) -> int:
        """Claim what is due now, hand it over in this thread, return how much it was."""
        leases = self._claim()
        for lease in leases:
            self._attempt(lease)
        return len(leases)

    def _claim(self) -> list[Lease]:
        """Claim from each lane in turn, so that no lane's backlog keeps another waiting."""
        room = self._reserve()
        if not room:
            return []
        leases: list[Lease] = []
        self._pause = self._pace.poll
        try:
            leases = self._claim_up_to(room)
        except GatewayError as problem:
            self._pause = max(_NO_ROOM_PAUSE, self._pace.poll)
            if not isinstance(problem, NoRoomError):  # of which the log has been told
                _log.warning("nothing can be claimed: %s", problem)
        except Exception:
            _log.exception("nothing can be claimed")
        self._give_back(room - len(leases))
        with self._counting:
            self._held.update(lease.lane for lease in leases)
            self._suspecting = self._suspecting or any(lease.lost for lease in leases)
        return leases

    def _claim_up_to(self, room: int) -> list[Lease]:
        now = self._clock()
        with reading(self._engine) as conn:
            due = [lane for lane in lanes.due(conn, now) if self._room_for(lane) > 0]
            suspects = self._lanes_of_suspects(conn, due, now)
        if not due:
            return []
        leases: list[Lease] = []
        share = max(1, room // len(due))
        with transaction(self._engine, "delivery.claim") as conn:
            for lane in self._in_turn(suspects) if suspects else ():
                # The worker may die of it: one at a time, so that it is known which one it was.
                until = now + self._pace.lease
                leases += claims.claim(conn, lane, self._name, now, until, suspects=True)
                if leases:
                    break
            for lane in self._in_turn(due):
                most = min(share, room - len(leases), self._room_for(lane))
                if most > 0:
                    leases += claims.claim(conn, lane, self._name, now, now + self._pace.lease, limit=most)
        return leases

    def _lanes_of_suspects(self, conn: Connection, due: list[str], now: datetime) -> list[str]:
        """Return those of the lanes in which a suspect is due; none while one is held here."""
        if not due or self._suspecting:
            return []
        return [lane for lane in upkeep.suspect_lanes(conn, now) if lane in due]

    def _in_turn(self, due: list[str]) -> list[str]:
        """Return the lanes, each time beginning with another one."""
        self._turn += 1
        first = self._turn % len(due)
        return due[first:] + due[:first]

    def _room_for(self, lane: str) -> int:
        """Return how much more of a lane may be held here: one destination fills half the threads."""
        if lane == lanes.LOCAL:
            return self._pace.threads
        with self._counting:
            return max(1, self._pace.threads // 2) - self._held[lane]

    def _reserve(self) -> int:
        taken = 0
        while taken < self._pace.threads and self._free.acquire(blocking=False):
            taken += 1
        return taken

    def _give_back(self, places: int) -> None:
        if places > 0:
            self._free.release(places)

    def _attempt(self, lease: Lease) -> None:
        try:
            self._deliver(lease)
            failpoint("delivery", lease.agent, "done")
        except LeaseLostError:
            _log.warning("delivery %d was taken over by another worker", lease.id)
        except GatewayError as problem:
            self._failed(lease, problem)
        except Exception as mistake:
            _log.exception("delivery %d failed by a mistake of ours", lease.id)
            self._failed(lease, GatewayError(OUR_MISTAKE, type(mistake).__name__))
        finally:
            with self._counting:
                if lease.lost:
                    self._suspecting = False
                self._held[lease.lane] -= 1
                if not self._held[lease.lane]:
                    del self._held[lease.lane]
            self._give_back(1)
            self._done.set()

    def _deliver(self, lease: Lease) -> None:
        failpoint("delivery", lease.agent, "begun")
        self._agents[lease.agent].deliver(lease)

    def _plan(self, lease: Lease) -> RetryPlan:
        try:
            return self._agents[lease.agent].plan(lease)
        except Exception:
            _log.exception("delivery %d has no plan", lease.id)
            return _UNKNOWN_PLAN

    def _failed(self, lease: Lease, problem: GatewayError) -> None:
        """Put the delivery back for another try, or give it up when no try is left."""
        try:
            now, wait = self._clock(), None
            if isinstance(problem, NoRoomError) or problem.problem is KEY_UNAVAILABLE:
                self._put_back(lease, problem, now)
                return
            if problem.problem.retry:
                wait = retry_after(lease.tries, self._plan(lease), str(lease.id))
                if wait is None or (lease.expires_at is not None and now + wait >= lease.expires_at):
                    problem = GatewayError(ATTEMPTS_USED_UP, f"{lease.tries} tries, the last: {problem}")
                    wait = None
            if wait is None:
                self._give_up(lease, problem)
                return
            with transaction(self._engine, "delivery.defer") as conn:
                claims.defer(conn, lease, now, now + wait, outcome_of(problem))
        except LeaseLostError:
            _log.warning("delivery %d was taken over by another worker", lease.id)
        except GatewayError as trouble:
            if not isinstance(trouble, NoRoomError):
                _log.warning("the failure of delivery %d could not be stored: %s", lease.id, trouble)
            self._unstored.append((lease, problem))
        except Exception:
            # The lease runs out and the delivery is tried again: nothing is lost by going on.
            _log.exception("the failure of delivery %d could not be stored", lease.id)

    def _put_back(self, lease: Lease, problem: GatewayError, now: datetime) -> None:
        """Put back what found no room in the database, or no key: no try of its plan is used up by that."""
        wait = _NO_ROOM_WAIT if isinstance(problem, NoRoomError) else _NO_KEY_WAIT
        with transaction(self._engine, "delivery.no_room") as conn:
            claims.defer(conn, lease, now, now + wait, outcome_of(problem), counts=False)

    def _give_up(self, lease: Lease, problem: GatewayError) -> None:
        """Store that the delivery has failed for good, and what follows from that."""
        now = self._clock()
        with transaction(self._engine, "delivery.failed") as conn:
            case = relay.lock_case_of(conn, lease.id)
            if not claims.fail(conn, lease, now, outcome_of(problem)):
                raise LeaseLostError
            self._tell(conn, Failed(lease, problem, now))
            relay.close_when_done(conn, case, now)

    def _tell(self, conn: Connection, what: Failed) -> None:
        agent = self._agents.get(what.delivery.agent)
        if agent is not None:
            agent.failed(conn, what)

    def keep_up(self) -> None:
        """Take back leases that ran out, repeat what was not receipted, end what is too old, queue turns."""
        # What ended here first: its lease must not run out as if its worker had died.
        for _ in range(len(self._unstored)):
            self._failed(*self._unstored.popleft())
        now, crashes = self._clock(), self._pace.crashes
        with transaction(self._engine, "delivery.upkeep") as conn:
            upkeep.reclaim(conn, now, self._name, crashes)
            upkeep.time_out(conn, now, self._name)
        with reading(self._engine) as conn:
            over, deadly = upkeep.overdue(conn, now), upkeep.deadly(conn, now, crashes)
        for row in over:
            self._expire(row, now)
        for row in deadly:
            self._put_aside(row.id, now)
        if self._schedule is not None:
            self._schedule.keep_up(now)

    def _expire(self, row: Row[Any], now: datetime) -> None:
        problem = GatewayError(ATTEMPTS_USED_UP, "its time is over")
        with transaction(self._engine, "delivery.expired") as conn:
            case = relay.lock_case_of(conn, row.id)
            if upkeep.expire(conn, row.id, now, self._name):
                self._tell(conn, Failed(row, problem, now))
                relay.close_when_done(conn, case, now)

    def _put_aside(self, delivery: int, now: datetime) -> None:
        """Fail what workers died over, one after another, so that no further one does."""
        problem = GatewayError(PUT_ASIDE, f"{self._pace.crashes} workers died over it")
        with transaction(self._engine, "delivery.put_aside") as conn:
            case = relay.lock_case_of(conn, delivery)
            row = upkeep.put_aside(conn, delivery, now, self._name, self._pace.crashes)
            if row is None:
                return
            data = {"agent": row.agent, "problem": PUT_ASIDE.id, "workers": self._pace.crashes}
            record(conn, "put_aside", "delivery", delivery, row.payload_sha256, data, now)
            self._tell(conn, Failed(row, problem, now))
            relay.close_when_done(conn, case, now)
        _log.error("delivery %d is put aside: %s", delivery, problem)


def pool_keeper(work: Callable[[], None], every: float, stop: threading.Event) -> threading.Thread:
    """Start a thread that does `work` again and again until `stop`; a failure is logged and repeated."""

    def loop() -> None:
        while not stop.wait(every):
            try:
                work()
            except GatewayError as problem:
                if not isinstance(problem, NoRoomError):
                    _log.warning("upkeep failed; it is done again: %s", problem)
            except Exception:
                _log.exception("upkeep failed; it is done again")

    thread = threading.Thread(target=loop, name="upkeep", daemon=True)
    thread.start()
    return thread
