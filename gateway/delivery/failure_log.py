"""Reports to the operator in the log which deliveries failed and why, without flooding the log.

A delivery that has failed for good is a line at ERROR. The first failed attempt at a destination that worked
is a line at WARNING, and so is the first attempt that succeeds again. Repeated attempts are counted, and
logged once in a period for each destination and problem.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Engine

from gateway.errors import NO_ADDRESS, GatewayError
from gateway.hub import AGENT, LogLineKey, LogLineLimit
from gateway.store import DeliveryLease, DeliveryRow, cases, make_attempt_outcome, read_transaction

_log = logging.getLogger(__name__)

_LOCAL_AGENT: Final = "local"
_STAMPING_AGENT: Final = "tsa"
#: Their agents report each failed attempt themselves, with source or authority.
_SELF_REPORTING_AGENTS: Final = frozenset({AGENT, _STAMPING_AGENT})
_LOG_PERIOD: Final = timedelta(minutes=5)
#: The largest number of final failures of one destination and problem that are logged singly in a period.
_MAX_SINGLE_FAILURES: Final = 20


class FailureLog:
    """Logs the failures that one worker process sees; safe for many threads."""

    def __init__(self, engine: Engine, clock: Callable[[], datetime]) -> None:
        self._engine = engine
        self._clock = clock
        self._attempts = LogLineLimit(_LOG_PERIOD)
        self._failures = LogLineLimit(_LOG_PERIOD, _MAX_SINGLE_FAILURES)
        self._failing_partners: set[str] = set()
        # The keys of the log lines left out for each partner since it last worked.
        self._omitted_keys: dict[str, set[LogLineKey]] = {}
        self._lock = threading.Lock()

    def report_attempt(self, lease: DeliveryLease, problem: GatewayError, again: datetime) -> None:
        """Log a failed attempt that is repeated, unless an equal line was logged a short time ago."""
        if lease.agent in _SELF_REPORTING_AGENTS:
            return
        line_key, partner = _make_line_key(lease, problem), _get_partner_name(lease)
        omitted_count = self._attempts.admit_line(line_key, self._clock())
        if omitted_count is None:
            self._remember_key(partner, line_key)
            return
        if partner is not None:
            with self._lock:
                self._failing_partners.add(partner)
        next_attempt = f"tried again at {again:%Y-%m-%dT%H:%M:%SZ}"
        end = f"; attempt {lease.attempt}, {next_attempt}{_format_omitted_count(omitted_count)}"
        fields = self._make_fields(lease, problem)
        _log.warning("the delivery failed: %s%s", _describe_problem(problem), end, extra=fields)

    def _remember_key(self, partner: str | None, line_key: LogLineKey) -> None:
        """Remember that lines about a partner were left out; their number is logged when it works again."""
        if partner is not None:
            with self._lock:
                self._omitted_keys.setdefault(partner, set()).add(line_key)

    def report_failure(self, delivery: DeliveryLease | DeliveryRow, problem: GatewayError) -> None:
        """Log a delivery that has failed for good."""
        if delivery.agent == _STAMPING_AGENT:
            return
        omitted_count = self._failures.admit_line(_make_line_key(delivery, problem), self._clock())
        if omitted_count is not None:
            _log.error(
                "the delivery has FAILED: %s%s",
                *(_describe_problem(problem), _format_omitted_count(omitted_count)),
                extra=self._make_fields(delivery, problem),
            )

    def report_success(self, lease: DeliveryLease) -> None:
        """Log that a partner works again, if the log says that it did not."""
        partner = _get_partner_name(lease)
        with self._lock:
            if partner is None or partner not in self._failing_partners:
                return
            self._failing_partners.discard(partner)
            omitted_keys = self._omitted_keys.pop(partner, set())
        # Before the line of success: a count that is logged after it would read as a new failure.
        _log_omitted_counts("attempts", self._attempts.take_left_out(omitted_keys))
        _log.warning("the partner works again", extra={"partner": partner, "delivery": lease.id})

    def report_omitted_counts(self) -> None:
        """Log how many failures were left out of the periods that are over."""
        now = self._clock()
        for noun, limit in (("attempts", self._attempts), ("deliveries", self._failures)):
            _log_omitted_counts(noun, limit.collect_left_out(now))

    def _make_fields(self, delivery: DeliveryLease | DeliveryRow, problem: GatewayError) -> dict[str, Any]:
        """Return the fields of a delivery's line: itself, its partner, its case or message, the problem."""
        fields = {"delivery": delivery.id, "problem": problem.problem.id}
        task = delivery.parameters.get("task") if delivery.agent == _LOCAL_AGENT else None
        fields |= {"task": task} if task else {"partner": delivery.destination}
        if delivery.case_id is not None:
            return fields | {"case": self._find_case_number(delivery.case_id), "case_id": delivery.case_id}
        return fields | ({"message_id": delivery.subject_id} if delivery.subject_type == "message" else {})

    def _find_case_number(self, case_id: int) -> str | None:
        """Return the number of the case with this row id; None if there is none, or it cannot be read."""
        try:
            with read_transaction(self._engine) as conn:
                case = cases.find_by_id(conn, case_id)
        except Exception:  # the line matters more than the number of the case
            return None
        return None if case is None else case.number


def _log_omitted_counts(noun: str, omitted_counts: Mapping[LogLineKey, int]) -> None:
    """Log for each key how many lines were left out; `noun` is what failed."""
    for line_key, omitted_count in omitted_counts.items():
        _log.warning(
            "%d more %s failed",
            omitted_count,
            noun,
            extra={"partner": line_key.subject, "problem": line_key.problem},
        )


def _make_line_key(delivery: DeliveryLease | DeliveryRow, problem: GatewayError) -> LogLineKey:
    """Return the destination and the problem; without an address the place names the destination."""
    destination = problem.location if problem.problem is NO_ADDRESS else delivery.destination
    return LogLineKey(destination[:200], problem.problem.id)


def _get_partner_name(lease: DeliveryLease) -> str | None:
    """Return the partner that an attempt reaches; None for a task of the hub itself."""
    return None if lease.agent == _LOCAL_AGENT else lease.destination


def _describe_problem(problem: GatewayError) -> str:
    outcome = make_attempt_outcome(problem)
    partner_text = f"; they said: {outcome.theirs}" if outcome.theirs else ""
    return f"{outcome.problem} {outcome.sentence}{partner_text}"


def _format_omitted_count(omitted_count: int) -> str:
    return f" ({omitted_count} more like this since the last line)" if omitted_count else ""
