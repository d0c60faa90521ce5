"""Kills the process at named places in tests, to prove that no message is lost.

``GATEWAY_FAILPOINT=name`` kills at the first passage of that place, ``name:n`` at the nth. Every
named transaction has two failpoints, ``<name>.before_commit`` and ``<name>.after_commit``; every
exchange with a partner has one between the answer and its effect. Without the variable a failpoint
costs one comparison. The process ends by SIGKILL: no handler runs and nothing is flushed, as when
the machine fails.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from typing import Final

_FAILPOINT_NAME, _, _PASSAGE_TEXT = os.environ.get("GATEWAY_FAILPOINT", "").partition(":")
_FATAL_PASSAGE: Final = int(_PASSAGE_TEXT) if _PASSAGE_TEXT.isascii() and _PASSAGE_TEXT.isdigit() else 1
_passage_counts: Counter[str] = Counter()


def kill_at_failpoint(*name_parts: str) -> None:
    """Kill this process by SIGKILL if `GATEWAY_FAILPOINT` names this failpoint and this passage of it.

    The name of the failpoint is `name_parts`, joined by dots. Each call for the named failpoint is one
    passage.
    """
    if not _FAILPOINT_NAME or ".".join(name_parts) != _FAILPOINT_NAME:
        return
    _passage_counts[_FAILPOINT_NAME] += 1
    if _passage_counts[_FAILPOINT_NAME] == _FATAL_PASSAGE:
        os.kill(os.getpid(), signal.SIGKILL)
