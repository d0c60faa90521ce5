"""Whether evidence waits too long for its time stamp, and what stops then.

Time-stamping is stale when evidence is older than the settings allow and no stamp covers it.  The
settings say what follows: no new message is taken (GW804), or the operator is told and no more.
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
#: How often the database is asked while stamping is stale, at most.
_LOOK: Final = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class StalenessPolicy:
    """How long evidence may wait for its stamp, and whether new messages are refused after that."""

    after: timedelta
    refuses: bool


class StampingMonitor:
    """Knows whether stamping is stale, for one process; safe for many threads.

    While it is not, a question costs a comparison: what waits now is no older than what waited
    when the database was asked last.
    """

    def __init__(self, engine: Engine, rule: StalenessPolicy) -> None:
        self._engine = engine
        self.rule = rule
        #: Nothing that waits is older than this; None before the database was asked.
        self._since: datetime | None = None
        self._looked: datetime | None = None
        self._stale = False
        self._looking = threading.Lock()

    def find_staleness_problem(self, now: datetime) -> GatewayError | None:
        """Return GW804 while stamping is stale, whatever follows from it; None while it is not."""
        since = self._since
        if since is None or now - since > self.rule.after:
            since = self._query_waiting_since(now)
        return self._make_staleness_problem(since, now) if now - since > self.rule.after else None

    def find_refusal_problem(self, now: datetime) -> GatewayError | None:
        """Return GW804 while stamping is stale and the rule is to refuse new messages."""
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
        """Say in the log when it begins to be stale, and when it no longer is."""
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
