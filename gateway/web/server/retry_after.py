"""Computes Retry-After for refused senders: one second at first, more the longer the cause lasts.

Most causes end within a second, for example when disk space is freed or a token is available again,
and a longer wait would be wasted. But a refusal costs almost as much as a message, so senders that
return every second are a load of their own when the cause lasts. Half of the time that it has
lasted is never much too long, and each message is sent only a few times.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

__all__ = ["RetryAfterPolicy"]

_SHORTEST: Final = 1
_LONGEST: Final = 10
#: After so many seconds without a refusal the next one has a new cause; longer than any wait.
_OVER: Final = 30.0


class RetryAfterPolicy:
    """The state of the refusals of one process; `clock` returns seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._since = self._last = float("-inf")

    def get_wait_seconds(self) -> int:
        """Return how long a sender that is refused now should wait, in whole seconds."""
        now = self._clock()
        if now - self._last > _OVER:
            self._since = now
        self._last = now
        return min(max(_SHORTEST, int((now - self._since) / 2)), _LONGEST)
