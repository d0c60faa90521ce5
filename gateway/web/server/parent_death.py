"""A process that another one keeps ends with it, however the other one ended.

Without that, the children of a keeper that was killed would go on serving with nobody to
replace them when they die, and hold the port against whoever is started next.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Final

__all__ = ["exit_with_parent"]

_LOOK_EVERY: Final = 0.5
#: As long as the keeper itself would wait for what has begun.
_DRAIN: Final = 40.0


def exit_with_parent(*, at_once: bool = False) -> None:
    """Ask this process to end when its parent is gone, and end it when it does not.

    `at_once`: do not ask.  A serving process would hold the port meanwhile; what it has not
    answered is sent again, and what it has answered is on disk.
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
