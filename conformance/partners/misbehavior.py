"""Misbehaviours of a simulated partner: which, for how many seconds, for how many calls."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from typing import Final

from gateway.errors import MISUSE, GatewayError

AGENCY_MISBEHAVIORS: Final = {
    "slow": "answers after a delay of some seconds",
    "silent": "closes the connection; the call has no effect",
    "lost": "closes the connection without an answer; the call has its effect",
    "late": "answers after the time-out of the caller; the call has its effect",
    "fault-server": "answers with a signed fault Server",
    "fault-client": "answers with a signed fault Client",
    "garbage": "answers with octets that are not SOAP; the call has its effect",
    "wrong-signature": "answers with a message that was changed after signing; the call has its effect",
    "duplicate": "calls back twice, and once more with another MessageID",
    "overtaking": "calls back before it answers the call",
}
CUSTOMS_MISBEHAVIORS: Final = {
    name: AGENCY_MISBEHAVIORS[name] for name in ("slow", "silent", "lost", "late", "fault-server", "garbage")
}
BROKER_MISBEHAVIORS: Final = {
    "slow": "answers after a delay of some seconds",
    "no-receipt": "stores the message and sends no receipt",
    "bad-receipt": "sends a signed receipt with wrong digests",
    "garbage": "stores the message and answers with octets that are not a message",
    "busy": "answers with HTTP status 503 and stores nothing",
    "silent": "closes the connection and stores nothing",
}


class Misbehavior:
    """One misbehaviour: for a number of calls (None: always) and of seconds; safe for threads."""

    def __init__(self, name: str, seconds: float = 0.0, count: int | None = None) -> None:
        self.name = name
        self.seconds = seconds
        self._calls_left = count
        self._lock = threading.Lock()

    @classmethod
    def from_text(cls, text: str, allowed: Mapping[str, str]) -> Misbehavior:
        """Read ``NAME[=SECONDS][*COUNT]``; raise GW808 for a name that is not in `allowed`."""
        head, star, count = text.partition("*")
        name, equals, seconds = head.partition("=")
        if name not in allowed:
            raise GatewayError(MISUSE, f"a misbehaviour must be one of {', '.join(allowed)}", name[:80])
        try:
            return cls(name, float(seconds) if equals else 0.0, int(count) if star else None)
        except ValueError:
            raise GatewayError(MISUSE, "a misbehaviour is NAME[=SECONDS][*COUNT]", text[:80]) from None

    def consume_call(self) -> bool:
        """Count this call; return whether the misbehaviour applies to it."""
        with self._lock:
            if self._calls_left is None:
                return True
            if self._calls_left <= 0:
                return False
            self._calls_left -= 1
            return True

    def sleep_seconds(self) -> None:
        """Wait for its number of seconds."""
        time.sleep(self.seconds)


def take_misbehavior(mischief: Iterable[Misbehavior], name: str) -> Misbehavior | None:
    """Return the misbehaviour of that name if it applies to this call."""
    return next(
        (misbehavior for misbehavior in mischief if misbehavior.name == name and misbehavior.consume_call()),
        None,
    )
