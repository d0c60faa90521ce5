"""Tells the operator in the log which deliveries failed and why, without flooding the log.

A delivery that has failed for good is a line at ERROR. The first failed attempt at a destination that
worked is a line at WARNING, and so is the first attempt that succeeds again. Repeated attempts are
counted, and told once in a period for each destination and problem.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Engine, Row

from gateway.errors import NO_ADDRESS, GatewayError
from gateway.hub import AGENT, LineLimit
from gateway.store import DeliveryLease, cases, make_attempt_outcome, read_transaction

__all__ = ["FailureLog"]

_log = logging.getLogger(__name__)

_LOCAL: Final = "local"
_STAMPING: Final = "tsa"
#: Their agents report each failed attempt themselves, with source or authority.
_SELF_REPORTING: Final = frozenset({AGENT, _STAMPING})
_PERIOD: Final = timedelta(minutes=5)
#: Final failures of one destination and problem that are told one by one within a period.
_MOST_FAILURES: Final = 20


class FailureLog:
    """Logs the failures that one worker process sees; safe for many threads."""

    def __init__(self, engine: Engine, clock: Callable[[], datetime]) -> None:
        self._engine = engine
        self._clock = clock
        self._attempts = LineLimit(_PERIOD)
        self._failures = LineLimit(_PERIOD, _MOST_FAILURES)
        self._broken: set[str] = set()
        # What was counted about each partner since it last worked.
        self._counted: dict[str, set[tuple[str, str]]] = {}
        self._guard = threading.Lock()

    def report_attempt(self, lease: DeliveryLease, problem: GatewayError, again: datetime) -> None:
        """Log a failed attempt that is repeated, unless the same was told a short time ago."""
        if lease.agent in _SELF_REPORTING:
            return
        key, partner = _make_key(lease, problem), _find_partner(lease)
        left_out = self._attempts.admit_line(key, self._clock())
        if left_out is None:
            self._remember_key(partner, key)
            return
        if partner is not None:
            with self._guard:
                self._broken.add(partner)
        end = f"; attempt {lease.attempt}, tried again at {again:%Y-%m-%dT%H:%M:%SZ}{_count(left_out)}"
        _log.warning("%s: %s%s", self._describe_delivery(lease), _describe_problem(problem), end)

    def _remember_key(self, partner: str | None, key: tuple[str, str]) -> None:
        """Remember what was left out about a partner, which is told when it works again."""
        if partner is not None:
            with self._guard:
                self._counted.setdefault(partner, set()).add(key)

    def report_failure(self, delivery: DeliveryLease | Row[Any], problem: GatewayError) -> None:
        """Log a delivery that has failed for good."""
        if delivery.agent == _STAMPING:
            return
        left_out = self._failures.admit_line(_make_key(delivery, problem), self._clock())
        if left_out is not None:
            words = (self._describe_delivery(delivery), _describe_problem(problem), _count(left_out))
            _log.error("%s has FAILED: %s%s", *words)

    def report_success(self, lease: DeliveryLease) -> None:
        """Log that a partner works again, if the log says that it did not."""
        partner = _find_partner(lease)
        with self._guard:
            if partner is None or partner not in self._broken:
                return
            self._broken.discard(partner)
            counted = self._counted.pop(partner, set())
        # Before the good news: what is told after it would read as a new failure.
        _log_left_out("attempts", self._attempts.take_left_out(counted))
        _log.warning("%s works again: delivery %d", partner, lease.id)

    def report_left_out(self) -> None:
        """Log how many failures were left out of the periods that are over."""
        now = self._clock()
        for kind, limit in (("attempts", self._attempts), ("deliveries", self._failures)):
            _log_left_out(kind, limit.collect_left_out(now))

    def _describe_delivery(self, delivery: DeliveryLease | Row[Any]) -> str:
        task = delivery.parameters.get("task") if delivery.agent == _LOCAL else None
        about = f"task {task}" if task else f"to {delivery.destination}"
        return f"delivery {delivery.id}{self._describe_subject(delivery)} {about}"

    def _describe_subject(self, delivery: DeliveryLease | Row[Any]) -> str:
        if delivery.case_id is None:
            return f" of message {delivery.subject_id}" if delivery.subject_type == "message" else ""
        try:
            with read_transaction(self._engine) as conn:
                case = cases.find_by_id(conn, delivery.case_id)
        except Exception:  # the line matters more than the name of the case
            case = None
        return f" of case {case.number if case is not None else delivery.case_id}"


def _log_left_out(kind: str, left_out: Mapping[tuple[str, str], int]) -> None:
    for (destination, problem), number in left_out.items():
        _log.warning("%s: %d more %s failed with %s", destination, number, kind, problem)


def _make_key(delivery: DeliveryLease | Row[Any], problem: GatewayError) -> tuple[str, str]:
    """Return the destination and the problem; without an address the place names the destination."""
    told = problem.location if problem.problem is NO_ADDRESS else delivery.destination
    return told[:200], problem.problem.id


def _find_partner(lease: DeliveryLease) -> str | None:
    """Return whom an attempt reaches; None for a task of our own, which says nothing about a partner."""
    return None if lease.agent == _LOCAL else lease.destination


def _describe_problem(problem: GatewayError) -> str:
    outcome = make_attempt_outcome(problem)
    said = f"; they said: {outcome.theirs}" if outcome.theirs else ""
    return f"{outcome.problem} {outcome.sentence}{said}"


def _count(left_out: int) -> str:
    return f" ({left_out} more like this since the last line)" if left_out else ""
