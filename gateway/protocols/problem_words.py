"""The words in which another party is told a problem."""

from __future__ import annotations

from typing import Final

from gateway.errors import GatewayError

__all__ = ["describe_problem"]

_SHOWN: Final = 500


def describe_problem(problem: GatewayError) -> tuple[str, str]:
    """Return the location and the words in which another party is told a problem.

    Details of our own faults are not disclosed to other parties.
    """
    words = problem.problem.title if problem.problem.ours else problem.detail
    return _replace_unprintable(problem.location), f"{problem.problem.id} {_replace_unprintable(words)}"


def _replace_unprintable(words: str) -> str:
    return "".join(one if one.isprintable() else " " for one in words[:_SHOWN]).strip()
