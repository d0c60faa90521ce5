"""The command line: `main` runs one verb.  Nothing is loaded before a verb asks for it.

Exit status: 0 good, 1 found wanting, 2 misuse.  A problem is one line on standard error
with its id; ``gateway error GW…`` explains it.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the verb that `argv` names, or the words of the command line; return the exit status."""
    from gateway.cli.verb_runner import run_words

    return run_words(argv)
