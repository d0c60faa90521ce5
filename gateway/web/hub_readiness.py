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
from gateway.hub import Hub, find_unreadiness
from gateway.monitor import health

_Verdict = TypeVar("_Verdict")

_log = logging.getLogger(__name__)
#: Seconds that a caller waits for a verdict, unless `seconds` says otherwise.
_ASKING_SECONDS: Final = 2.0
#: Seconds for which a verdict is kept: it costs queries or a signature, and any client may ask for it.
_KEPT_SECONDS: Final = 1.0


class VerdictSearch(Generic[_Verdict]):
    """One search for a verdict, in a thread of its own."""

    def __init__(self, find: Callable[[], _Verdict]) -> None:
        self.began = time.monotonic()
        self.ended: float | None = None
        #: Whether the log says that it takes too long.
        self.is_logged = False
        self._find = find
        self._verdict: list[_Verdict] = []
        self._over = threading.Event()
        threading.Thread(target=self._run, name="status", daemon=True).start()

    def _run(self) -> None:
        try:
            self._verdict.append(self._find())
        except Exception as mistake:
            _log.error("status: %s", type(mistake).__name__)
            _log.debug("status", exc_info=mistake)
        finally:
            self.ended = time.monotonic()
            self._over.set()

    def wait(self, seconds: float) -> _Verdict | None:
        """Return the verdict; None if it is not found within `seconds` after the search began."""
        self._over.wait(max(0.0, self.began + seconds - time.monotonic()))
        return self._verdict[0] if self._verdict else None


class TimedVerdict(Generic[_Verdict]):
    """A verdict that `find` returns in a thread of its own, called again when it is older than a second.

    A database or a PKCS #11 token that does not answer blocks only this thread. The callers get None then:
    `seconds` after the search began (None: two), and at once after that. `name` names it in the log.
    """

    def __init__(self, name: str, find: Callable[[], _Verdict], seconds: float | None = None) -> None:
        self._name = name
        self._find = find
        self._seconds = _ASKING_SECONDS if seconds is None else seconds
        self._guard = threading.Lock()
        self._search: VerdictSearch[_Verdict] | None = None

    def begin(self) -> VerdictSearch[_Verdict]:
        """Return the current search; begin a new one if its verdict is older than a second."""
        with self._guard:
            search = self._search
            if search is None or (
                search.ended is not None and time.monotonic() - search.ended >= _KEPT_SECONDS
            ):
                search = self._search = VerdictSearch(self._find)
            return search

    def find(self, search: VerdictSearch[_Verdict] | None = None) -> _Verdict | None:
        """Return the verdict of `search` (None: of the current search); None if it is not found in time.

        A missing verdict is logged once for each search.
        """
        search = search or self.begin()
        verdict = search.wait(self._seconds)
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
        self._verdict = TimedVerdict("readiness", self._judge)

    def begin(self) -> VerdictSearch[ReadinessVerdict]:
        """Return the current search, begun now if no verdict is kept; the caller may work meanwhile."""
        return self._verdict.begin()

    def judge(self, search: VerdictSearch[ReadinessVerdict] | None = None) -> ReadinessVerdict:
        """Return the verdict of `search` (None: of the current search).

        If it is not found in two seconds, the verdict is GW806: the database does not answer.
        """
        verdict = self._verdict.find(search)
        if verdict is not None:
            return verdict
        detail = "the database does not answer"
        return ReadinessVerdict(GatewayError(NO_ROOM, detail), f"{NO_ROOM.id} {detail}")

    def _judge(self) -> ReadinessVerdict:
        engine = self._engine
        try:
            problem = health.find_readiness_problem(engine) or self._find_hub_problem()
            problem = problem or health.find_write_problem(engine)
        except Exception as mistake:  # after any exception, messages should go to another node
            problem = GatewayError(OUR_MISTAKE, type(mistake).__name__)
        text = "ready" if problem is None else health.describe_unreadiness(engine, problem)
        return ReadinessVerdict(problem, text)


def build_hub_readiness(hub: Hub) -> HubReadiness:
    """Return the readiness judge of a hub."""
    return HubReadiness(hub.engine, lambda: find_unreadiness(hub))
