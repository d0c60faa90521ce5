"""Counts the messages that are refused, by sender and problem, and logs them.

Anyone can send a message that is refused, so neither the log nor the database may grow with it. A
sender that is not a registered party is counted without a name. The counts are kept in memory and
added to the database at most once a second.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

from sqlalchemy import Engine

from gateway.errors import PROBLEMS, GatewayError
from gateway.hub.outbox.outgoing_calls import LogLineKey, LogLineLimit
from gateway.store import RefusalCount, make_attempt_outcome, refusal_counts, write_transaction

_log = logging.getLogger(__name__)

_PERIOD: Final = timedelta(minutes=1)
_EVERY: Final = timedelta(seconds=1)
_UNKNOWN_SENDER: Final = "a sender that is not known"
_Counts = dict[tuple[str, str], RefusalCount]


class RefusalTally:
    """The refusals that one process has seen and not yet stored; safe for many threads."""

    def __init__(self, engine: Engine, clock: Callable[[], datetime], zone: tzinfo = UTC) -> None:
        self._engine = engine
        self._zone = zone
        self._clock = clock
        self._lines = LogLineLimit(_PERIOD)
        self._troubles = LogLineLimit(_PERIOD)
        self._counts: _Counts = {}
        self._stored_at: datetime | None = None
        self._guard = threading.Lock()

    def count_refusal(self, sender: str | None, problem: GatewayError, *, is_signed: bool = False) -> None:
        """Count a refused message; `sender` is a registered party, None for any other sender.

        `is_signed` says that the signature of this party was verified.
        """
        now = self._clock()
        outcome = make_attempt_outcome(problem)
        sentence = outcome.sentence or problem.problem.title
        if not problem.problem.ours:  # a problem of ours is logged where it arises
            self._log_refusal(sender, problem, now)
        signed_at = now if is_signed and sender else None
        count = RefusalCount(sender or "", problem.problem.id, 1, now, now, sentence, signed_at)
        with self._guard:
            key = (count.sender, count.problem)
            earlier = self._counts.get(key)
            if earlier is not None:
                count = _merge_counts(earlier, count)
            self._counts[key] = count
            is_due = self._stored_at is None or abs(now - self._stored_at) >= _EVERY
            if is_due:
                self._stored_at = now
        if is_due:
            self.store_counts()

    def run_maintenance(self) -> None:
        """Store the counts, and log how many refusals were left out of the periods that are over."""
        self.store_counts()
        for key, number in self._lines.collect_left_out(self._clock()).items():
            title = f"{key.problem} {PROBLEMS[key.problem].title}"
            _log.warning(
                "refused %d more messages: %s",
                number,
                title,
                extra={"partner": key.subject or _UNKNOWN_SENDER, "problem": key.problem},
            )

    def store_counts(self) -> None:
        """Add the counts to the database; keep them where it does not take them now."""
        with self._guard:
            counts, self._counts = self._counts, {}
        if not counts:
            return
        try:
            with write_transaction(self._engine, "receive.tally") as conn:
                refusal_counts.add_refusals(conn, counts.values(), self._zone)
        except Exception:  # a refusal is answered also while the database is away
            self._log_trouble()
            self._put_back(counts)

    def _log_trouble(self) -> None:
        left_out = self._troubles.admit_line(LogLineKey("database", ""), self._clock())
        if left_out is not None:
            left_out_text = _describe_left_out(left_out)
            _log.warning("refused messages cannot be counted in the database now%s", left_out_text)

    def _put_back(self, counts: _Counts) -> None:
        """Add counts that could not be stored to those counted since; the latest sentence and time stay."""
        with self._guard:
            for key, count in counts.items():
                later = self._counts.get(key)
                self._counts[key] = count if later is None else _merge_counts(count, later)

    def _log_refusal(self, sender: str | None, problem: GatewayError, now: datetime) -> None:
        """Log a refused message as a warning, unless there were too many lines of its sender and problem."""
        left_out = self._lines.admit_line(LogLineKey(sender or "", problem.problem.id), now)
        if left_out is not None:
            # The sentence may repeat words of a stranger: `gateway message refusals` shows it, no log does.
            title = f"{problem.problem.id} {problem.problem.title}"
            left_out_text = _describe_left_out(left_out)
            _log.warning(
                "refused a message: %s%s",
                title,
                left_out_text,
                extra={"partner": sender or _UNKNOWN_SENDER, "problem": problem.problem.id},
            )


def _merge_counts(earlier: RefusalCount, later: RefusalCount) -> RefusalCount:
    """Return the sum of two counts of one sender and problem, with the sentence of the later one."""
    return replace(
        later,
        number=earlier.number + later.number,
        first_at=earlier.first_at,
        signed_at=later.signed_at or earlier.signed_at,
    )


def _describe_left_out(left_out_count: int) -> str:
    return f" ({left_out_count} more like this since the last line)" if left_out_count else ""
