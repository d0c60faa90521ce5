"""Judges whether messages are accepted now: for load balancers, for people, and for software of partners.

Each verdict is found in a thread of its own, so that a caller gets an answer within a time limit.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from sqlalchemy import Engine

from gateway.errors import NO_ROOM, OUR_MISTAKE, GatewayError
from gateway.hub import Hub, find_readiness_problem
from gateway.monitor import health
from gateway.store import SilentStoreError, StoreWatch

_Verdict = TypeVar("_Verdict")

_log = logging.getLogger(__name__)
#: Seconds that a caller waits for a verdict, unless `seconds` says otherwise.
_ASKING_SECONDS: Final = 2.0
#: Seconds for which a verdict is kept: it costs queries or a signature, and any client may ask for it.
_KEPT_SECONDS: Final = 1.0


class VerdictSearch(Generic[_Verdict]):
    """One search for a verdict, in a thread of its own."""

    def __init__(self, compute_verdict: Callable[[], _Verdict]) -> None:
        self.began_at = time.monotonic()
        self.ended_at: float | None = None
        #: Whether the log says that it takes too long.
        self.is_logged = False
        self._compute_verdict = compute_verdict
        self._verdict: list[_Verdict] = []
        self._finished = threading.Event()
        threading.Thread(target=self._run, name="status", daemon=True).start()

    def _run(self) -> None:
        """Compute the verdict, log an exception instead of raising it, and wake the waiting threads."""
        try:
            self._verdict.append(self._compute_verdict())
        except Exception as mistake:
            _log.error("status: %s", type(mistake).__name__)
            _log.debug("status", exc_info=mistake)
        finally:
            self.ended_at = time.monotonic()
            self._finished.set()

    def wait_for_verdict(self, seconds: float) -> _Verdict | None:
        """Return the verdict; None if it is not found within `seconds` after the search began."""
        self._finished.wait(max(0.0, self.began_at + seconds - time.monotonic()))
        return self._verdict[0] if self._verdict else None


class TimedVerdict(Generic[_Verdict]):
    """A verdict that `compute_verdict` returns in a thread of its own, on request, if the last one is old.

    Old is a second after the last one was found. A database or a PKCS #11 token that does not answer blocks
    only this thread. The callers get None then: `seconds` after the search began (None: two), and at once
    after that. `name` names it in the log.
    """

    def __init__(
        self, name: str, compute_verdict: Callable[[], _Verdict], seconds: float | None = None
    ) -> None:
        self._name = name
        self._compute_verdict = compute_verdict
        self._seconds = _ASKING_SECONDS if seconds is None else seconds
        self._guard = threading.Lock()
        self._search: VerdictSearch[_Verdict] | None = None

    def begin_search(self) -> VerdictSearch[_Verdict]:
        """Return the current search; begin a new one if its verdict is older than a second."""
        with self._guard:
            search = self._search
            if search is None or (
                search.ended_at is not None and time.monotonic() - search.ended_at >= _KEPT_SECONDS
            ):
                search = self._search = VerdictSearch(self._compute_verdict)
            return search

    def find_verdict(self, search: VerdictSearch[_Verdict] | None = None) -> _Verdict | None:
        """Return the verdict of `search` (None: of the current search); None if it is not found in time.

        A missing verdict is logged once for each search.
        """
        search = search or self.begin_search()
        verdict = search.wait_for_verdict(self._seconds)
        if verdict is None:
            with self._guard:
                is_logged, search.is_logged = search.is_logged, True
            if not is_logged:
                _log.error("%s the status has no answer in %g s: %s", NO_ROOM.id, self._seconds, self._name)
        return verdict


@dataclass(frozen=True, slots=True)
class ReadinessVerdict:
    """The problem for which no message is accepted now, or None, and a sentence on it without any address."""

    problem: GatewayError | None
    text: str


class HubReadiness:
    """The judge of whether messages are accepted now; one serves all callers and threads of a process.

    It judges anew when the last verdict is older than a second, by an access to the database that also
    stores something. `find_hub_problem` judges the hub itself: its key, its time-stamping.
    """

    def __init__(self, engine: Engine, find_hub_problem: Callable[[], GatewayError | None]) -> None:
        self._engine = engine
        self._find_hub_problem = find_hub_problem
        self._verdict = TimedVerdict("readiness", self._check_readiness)
        self._store_watch = StoreWatch(engine)

    def begin_search(self) -> VerdictSearch[ReadinessVerdict]:
        """Return the current search; begin one if the last verdict is old. The caller may work meanwhile."""
        return self._verdict.begin_search()

    def find_verdict(self, search: VerdictSearch[ReadinessVerdict] | None = None) -> ReadinessVerdict:
        """Return the verdict of `search` (None: of the current search).

        If it is not found in two seconds, the verdict is GW806: the database does not answer.
        """
        verdict = self._verdict.find_verdict(search)
        if verdict is not None:
            return verdict
        detail = "the database does not answer"
        return ReadinessVerdict(GatewayError(NO_ROOM, detail), f"{NO_ROOM.id} {detail}")

    def _check_readiness(self) -> ReadinessVerdict:
        """Return the first problem for which no message is accepted now, with a sentence on it."""
        engine = self._engine
        try:
            problem = health.find_readiness_problem(engine) or self._find_hub_problem()
            problem = problem or health.find_write_problem(engine)
            problem = problem or self._find_store_problem()
        except Exception as mistake:  # after any exception, messages should go to another node
            problem = GatewayError(OUR_MISTAKE, type(mistake).__name__)
        text = "ready" if problem is None else health.describe_unreadiness(engine, problem)
        return ReadinessVerdict(problem, text)

    def _find_store_problem(self) -> GatewayError | None:
        """Return GW811 while large payloads are in another store; GW806 before the first answer of the store.

        If the store does not answer later, its last answer holds: small messages need no store.
        """
        self._store_watch.ask()
        return self._store_watch.problem if self._store_watch.has_answer else SilentStoreError()


def build_hub_readiness(hub: Hub) -> HubReadiness:
    """Return the readiness judge of a hub."""
    return HubReadiness(hub.engine, lambda: find_readiness_problem(hub))
