"""Renews the leases of the attempts that a worker makes: a lease then ends only when its worker has died.

How long an attempt may take is for its agent: a partner may be slow, and a message large. Without renewal
another worker would make the same call beside the first one, and the answer to the first would be lost.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Engine

from gateway.store import DeliveryLease, delivery_leases, write_transaction

_log = logging.getLogger(__name__)

#: The number of lease lengths after which an attempt that still runs is logged, once.
_LONG_LEASE_COUNT: Final = 10


@dataclass(slots=True)
class _RunningAttempt:
    """An attempt that this worker makes: since when, and the present end of its lease."""

    lease: DeliveryLease
    begun_at: datetime
    lease_until: datetime
    is_logged: bool = False


class LeaseRenewal:
    """The leases of the running attempts of one worker; safe for threads. Each lease lasts `lease_time`."""

    def __init__(self, engine: Engine, clock: Callable[[], datetime], lease_time: timedelta) -> None:
        self._engine = engine
        self._clock = clock
        self._lease_time = lease_time
        self._lock = threading.Lock()
        self._running_attempts: dict[int, _RunningAttempt] = {}

    def begin_attempt(self, lease: DeliveryLease) -> None:
        """Renew this lease from now on."""
        with self._lock:
            self._running_attempts[lease.id] = _RunningAttempt(lease, self._clock(), lease.lease_until)

    def end_attempt(self, lease: DeliveryLease) -> None:
        """Renew this lease no more."""
        with self._lock:
            running_attempt = self._running_attempts.get(lease.id)
            if running_attempt is not None and running_attempt.lease.attempt == lease.attempt:
                del self._running_attempts[lease.id]

    def renew_due_leases(self) -> None:
        """Renew each lease of which half is over; one that another worker has taken is dropped."""
        now = self._clock()
        with self._lock:
            due_attempts = [
                attempt
                for attempt in self._running_attempts.values()
                if attempt.lease_until - now <= self._lease_time / 2
            ]
        for attempt in due_attempts:
            lease_until = now + self._lease_time
            # One transaction for each: no attempt waits for the rows of another one.
            with write_transaction(self._engine, "delivery.renewed") as conn:
                is_renewed = delivery_leases.renew_lease(conn, attempt.lease, lease_until)
            if not is_renewed:
                self.end_attempt(attempt.lease)
                continue
            attempt.lease_until = lease_until
            if not attempt.is_logged and now - attempt.begun_at >= _LONG_LEASE_COUNT * self._lease_time:
                attempt.is_logged = True
                seconds = (now - attempt.begun_at).total_seconds()
                _log.warning(
                    "the attempt is under way for %.0f s", seconds, extra={"delivery": attempt.lease.id}
                )
