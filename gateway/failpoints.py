"""Named places where a test makes the process kill itself, to prove that nothing is lost.

``GATEWAY_FAILPOINT=name`` kills at the first passage of that place, ``name:n`` at the nth.
Without the variable a failpoint costs one look-up and does nothing.  The process ends by
SIGKILL: no handler runs, nothing is flushed, exactly as when the machine takes it away.
"""

from __future__ import annotations

import os
import signal

__all__ = ["failpoint"]

_passages: dict[str, int] = {}
_NAME, _, _COUNT = os.environ.get("GATEWAY_FAILPOINT", "").partition(":")


def failpoint(name: str) -> None:
    """Kill this process when the environment names this place and passage."""
    if name != _NAME:
        return
    _passages[name] = _passages.get(name, 0) + 1
    if _passages[name] == int(_COUNT or "1"):
        os.kill(os.getpid(), signal.SIGKILL)
