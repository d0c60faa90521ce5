"""What became of one attempt: the problem, our sentence about it, and the partner's own words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gateway.errors import GatewayError

__all__ = ["AttemptOutcome", "clean_words", "make_attempt_outcome"]

#: The most characters of a sentence that are stored.
_MOST: Final = 500


@dataclass(frozen=True, slots=True)
class AttemptOutcome:
    """The outcome of an attempt, for its record.

    `sentence` is what we saw, and `theirs` what the partner said. `detail` has both, for the
    transition.
    """

    problem: str | None = None
    http_status: int | None = None
    answer_sha256: str | None = None
    detail: str | None = None
    sentence: str | None = None
    theirs: str | None = None


def make_attempt_outcome(problem: GatewayError) -> AttemptOutcome:
    """Return a problem as the outcome of an attempt."""
    ours = problem.detail + (f" at {problem.location}" if problem.location else "")
    both = f"{problem}: {problem.theirs}" if problem.theirs else str(problem)
    return AttemptOutcome(
        problem=problem.problem.id,
        detail=clean_words(both),
        sentence=clean_words(ours),
        theirs=clean_words(problem.theirs) or None,
    )


def clean_words(words: str) -> str:
    """Return words that may come from the far side, bounded and printable.

    An unprintable character becomes a space: none may reach a terminal or split a line of the log.
    """
    return "".join(char if char.isprintable() else " " for char in words[:_MOST]).strip()
