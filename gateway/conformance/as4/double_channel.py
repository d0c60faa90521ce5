"""The channel of a double from which the suite pulls: what waits, what was given, what has ended."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import Final

from gateway.protocols import Parcel

__all__ = ["CHANNEL_WAYS", "DoubleChannel"]

#: After this time a message without receipt is given again.
_AGAIN: Final = 0.6
#: What a double does wrong with its channel.
CHANNEL_WAYS: Final = (
    "never-gives",
    "never-again",
    "gives-twice",
    "keeps-pulled",
    "gives-to-anyone",
    "any-password",
    "forgets-logins",
    "silent-channel",
)


@dataclass
class _Waiting:
    message_id: str
    parcel: Parcel
    given_at: float | None = None


@dataclass
class DoubleChannel:
    """Messages in the order in which they came; `wrong` is what the double does wrong."""

    wrong: str = ""
    _waiting: list[_Waiting] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add_message(self, message_id: str, parcel: Parcel) -> None:
        """Let a message wait."""
        if self.wrong != "never-gives":
            with self._lock:
                self._waiting.append(_Waiting(message_id, parcel))

    def end_message(self, message_id: str) -> None:
        """Take a message out, after its receipt or an error about it."""
        if self.wrong != "keeps-pulled":
            with self._lock:
                self._waiting = [one for one in self._waiting if one.message_id != message_id]

    def give_message(self) -> Parcel | None:
        """Return the oldest message that was not given, or so long ago that it is given again."""
        with self._lock:
            for one in self._waiting:
                if one.given_at is None or self._comes_again(one.given_at):
                    one.given_at = time.monotonic()
                    return one.parcel
        return None

    def _comes_again(self, given_at: float) -> bool:
        if self.wrong == "gives-twice":
            return True
        return self.wrong != "never-again" and time.monotonic() > given_at + _AGAIN
