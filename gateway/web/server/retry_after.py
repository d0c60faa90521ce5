"""How long a sender that is refused for now is asked to wait: a second at first, more as the trouble lasts.

Most trouble is over in a second: a disk is cleared, a token is back.  Who is asked to wait
longer waits for nothing.  But a refusal costs almost what a message costs, so that senders
who all come each second are a trouble of their own when it lasts.  Half of the time that it
has lasted is never much longer than needed, and each message comes only a few times.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

__all__ = ["RetryAfterPolicy"]

_SHORTEST: Final = 1
_LONGEST: Final = 10
#: Seconds without a refusal after which the next one is a new trouble; nobody is asked to wait so long.
_OVER: Final = 30.0


class RetryAfterPolicy:
    """What the refusals of one process have in common; `clock` counts seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._since = self._last = float("-inf")

    def get_wait_seconds(self) -> int:
        """Return how long one who is refused now should wait, in whole seconds."""
        now = self._clock()
        if now - self._last > _OVER:
            self._since = now
        self._last = now
        return min(max(_SHORTEST, int((now - self._since) / 2)), _LONGEST)
