"""``python -m gateway.cli.leash VERB …``: a verb that ends with its standard input.

Whoever starts it holds the other end of a pipe; when that process is gone, however it
went, the verb gets the SIGTERM that it would have been sent.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

from gateway.cli import main

__all__ = ["hold"]


def hold() -> None:
    """Send this process SIGTERM when standard input ends."""

    def watch() -> None:
        while os.read(0, 1024):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="leash", daemon=True).start()


if __name__ == "__main__":
    hold()
    sys.exit(main())
