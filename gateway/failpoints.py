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

_NAME, _, _COUNT = os.environ.get("GATEWAY_FAILPOINT", "").partition(":")
_PASSAGE: Final = int(_COUNT) if _COUNT.isascii() and _COUNT.isdigit() else 1
_passages: Counter[str] = Counter()


def kill_at_failpoint(*words: str) -> None:
    """Kill this process when the environment names this place (words joined by dots) and passage."""
    if not _NAME or ".".join(words) != _NAME:
        return
    _passages[_NAME] += 1
    if _passages[_NAME] == _PASSAGE:
        os.kill(os.getpid(), signal.SIGKILL)
