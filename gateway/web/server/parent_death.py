"""Ends a process when its parent process ends, for whatever reason.

Without this, the children of a killed parent would continue to serve. No process would replace them
when they die, and they would block the port of the next server.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Final

__all__ = ["exit_with_parent"]

_LOOK_EVERY: Final = 0.5
#: As long as the parent itself would wait for running requests.
_DRAIN: Final = 40.0


def exit_with_parent(*, at_once: bool = False) -> None:
    """Send SIGTERM to this process when its parent is gone, and SIGKILL after a time.

    `at_once`: send SIGKILL only. A serving process would block the port meanwhile. A request
    without an answer is sent again, and the effect of an answered request is in the database.
    """
    parent = os.getppid()

    def watch_parent() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOK_EVERY)
        if not at_once:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(_DRAIN)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch_parent, name="orphan", daemon=True).start()
