"""The command line: `main` runs one verb. Modules are loaded only when a verb needs them.

Exit status: 0 success, 1 a negative result, 2 misuse. A problem is one line on standard error
with its id; ``gateway error GW…`` explains it.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the verb that `argv`, by default the command line, names; return the exit status."""
    from gateway.cli.verb_runner import run_words

    return run_words(argv)
