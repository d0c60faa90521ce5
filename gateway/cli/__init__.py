"""The command line: `main` runs one verb. Modules are loaded only when a verb needs them.

Exit status: 0 success, 1 a negative result, 2 misuse. A problem is one line on standard error
with its id; ``gateway error GW…`` explains it.
"""

from __future__ import annotations

import gc
from collections.abc import Sequence
from typing import Final

#: The number of new objects that starts a garbage collection. Imported modules live as long as the process:
#: with the default of Python 3.11, 700, a quarter of the time of an import goes into examining them again.
_NEW_OBJECTS: Final = 50_000


def main(argv: Sequence[str] | None = None) -> int:
    """Run the verb that `argv`, by default the command line, names; return the exit status."""
    gc.set_threshold(_NEW_OBJECTS, *gc.get_threshold()[1:])
    from gateway.cli.verb_runner import run_command_line

    return run_command_line(argv)
