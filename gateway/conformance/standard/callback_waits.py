"""How long answers by POST are waited for: shorter, when a gateway no longer gives those of one kind.

A gateway may limit how many refusals it posts, because anyone can send a message that is refused. Then
each further negative requirement would wait in vain. The suite waits in full for some of them, shortly
for the others, and says so once.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Final

__all__ = ["AnswerPatience"]

#: So many waits in a row were in vain before the suite waits shortly.
_IN_VAIN: Final = 5
_SHORT: Final = 0.5
_WORDS: Final = {"positive": "what it should answer", "negative": "what it should refuse"}


@dataclass
class _Waits:
    """The waits for answers by POST in requirements of one kind."""

    answered: int = 0
    in_vain: int = 0
    last_answered: str = ""
    first_in_vain: str = ""
    shortened: list[str] = field(default_factory=list)


@dataclass
class AnswerPatience:
    """Says how long to wait for an answer by POST; `seconds` is the longest time. Safe for threads."""

    seconds: float
    _kinds: dict[str, _Waits] = field(default_factory=lambda: {name: _Waits() for name in _WORDS})
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def get_seconds(self, kind: str) -> float:
        """Return how long to wait now, in a requirement of that kind."""
        with self._lock:
            shortened = self._kinds[kind].in_vain >= _IN_VAIN
        return min(self.seconds, _SHORT) if shortened else self.seconds

    def count_wait(self, kind: str, requirement: str, *, answered: bool) -> bool:
        """Count a wait that is over; return whether it was shortened and the gateway has answered before.

        Then nothing is known: the gateway can answer, but it might be slow.
        """
        with self._lock:
            waits = self._kinds[kind]
            if answered:
                waits.answered += 1
                waits.in_vain, waits.last_answered = 0, requirement
                return False
            shortened = waits.in_vain >= _IN_VAIN
            waits.in_vain += 1
            if waits.in_vain == 1:
                waits.first_in_vain = requirement
            if shortened:
                waits.shortened.append(requirement)
            return shortened and waits.answered > 0

    def list_findings(self) -> tuple[str, ...]:
        """Return one sentence for each kind of which the gateway gave up to give answers."""
        with self._lock:
            return tuple(self._describe_waits(kind) for kind, one in self._kinds.items() if one.shortened)

    def _describe_waits(self, kind: str) -> str:
        waits, what = self._kinds[kind], _WORDS[kind]
        waited = f"The suite waited {self.seconds:g} s for {_IN_VAIN} answers"
        if not waits.answered:
            return (
                f"The gateway never answered by POST {what}. {waited}, and shortly for "
                f"{len(waits.shortened)} more."
            )
        return (
            f"The gateway answered by POST {what} {waits.answered} times, the last time in "
            f"{waits.last_answered}, and not from {waits.first_in_vain} on. {waited}; the "
            f"{len(waits.shortened)} after them have no verdict. It may limit its answers: raise the limit, "
            f"or run the rest later with --only."
        )
