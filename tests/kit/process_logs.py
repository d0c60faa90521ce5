"""What a process of the gateway may write to its log while it is attacked."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

__all__ = ["check_process_log"]

#: TIME LEVEL PLACE TEXT, as `gateway.process_log` writes it; a text is cut where others may write into it.
_LINE: Final = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (?:INFO|WARNING|ERROR|CRITICAL) [\w.]+ .{1,600}"
)
#: Lines of a suite with hundreds of attacks: what repeats is counted, and told once in a while.
_MOST_LINES: Final = 100


def check_process_log(log: Path) -> None:
    """Check that a log has few lines, each of its form: no traceback, and nothing that a stranger chose."""
    lines = log.read_text("utf-8", "surrogateescape").splitlines()
    odd = [line for line in lines if not _LINE.fullmatch(line)]
    assert not odd, "\n".join(odd[:20])
    assert len(lines) <= _MOST_LINES, "\n".join(lines[-20:])
