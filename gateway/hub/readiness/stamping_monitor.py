"""Checks whether evidence waits too long for its time stamp, and applies the configured consequence.

Time-stamping is stale when evidence is older than the settings allow and no time stamp covers it.
The settings choose the consequence: new messages are refused (GW804), or only the operator is
warned.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Engine

from gateway.errors import TRUST_STALE, GatewayError
from gateway.store import find_unstamped_since, read_transaction

__all__ = ["StalenessPolicy", "StampingMonitor"]

_log = logging.getLogger(__name__)
#: While stamping is stale, the database is queried at most once in this time.
_LOOK: Final = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class StalenessPolicy:
    """How long evidence may wait for its time stamp, and whether new messages are refused after that."""

    after: timedelta
    refuses: bool


class StampingMonitor:
    """Reports whether stamping is stale, for one process; safe for many threads.

    While it is not stale, a check costs one comparison: the evidence that waits now is no older
    than the evidence that waited at the last query.
    """

    def __init__(self, engine: Engine, rule: StalenessPolicy) -> None:
        self._engine = engine
        self.rule = rule
        #: No waiting evidence is older than this; None before the first query.
        self._since: datetime | None = None
        self._looked: datetime | None = None
        self._stale = False
        self._looking = threading.Lock()

    def find_staleness_problem(self, now: datetime) -> GatewayError | None:
        """Return GW804 while stamping is stale, whatever the policy; None while it is not stale."""
        since = self._since
        if since is None or now - since > self.rule.after:
            since = self._query_waiting_since(now)
        return self._make_staleness_problem(since, now) if now - since > self.rule.after else None

    def find_refusal_problem(self, now: datetime) -> GatewayError | None:
        """Return GW804 while stamping is stale and the policy refuses new messages."""
        return self.find_staleness_problem(now) if self.rule.refuses else None

    def _query_waiting_since(self, now: datetime) -> datetime:
        with self._looking:
            if self._since is None or self._looked is None or not now - self._looked < _LOOK:
                with read_transaction(self._engine) as conn:
                    self._since = find_unstamped_since(conn) or now
                self._looked = now
                self._log_state_change(now)
            return self._since

    def _log_state_change(self, now: datetime) -> None:
        """Log when stamping becomes stale, and when it is no longer stale."""
        since = self._since or now
        stale = now - since > self.rule.after
        if stale and not self._stale:
            _log.error("%s", self._make_staleness_problem(since, now))
        if self._stale and not stale:
            _log.warning("time-stamping is no longer stale")
        self._stale = stale

    def _make_staleness_problem(self, since: datetime, now: datetime) -> GatewayError:
        waits = (
            f"evidence of {since:%Y-%m-%dT%H:%M:%SZ} has waited {(now - since) // _LOOK} s for a time stamp"
        )
        what = "no new message is taken" if self.rule.refuses else "messages are taken all the same"
        return GatewayError(TRUST_STALE, f"{waits}: {what}", "time_stamps.stale_after")
