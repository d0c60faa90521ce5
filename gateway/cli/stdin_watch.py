"""``python -m gateway.cli.stdin_watch VERB …``: a verb that ends when its standard input ends.

The parent process has the other end of a pipe. When that process ends for any reason, the
verb receives SIGTERM.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

from gateway.cli import main

__all__ = ["watch_stdin"]


def watch_stdin() -> None:
    """Send this process SIGTERM when standard input ends."""

    def await_end() -> None:
        while os.read(0, 1024):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=await_end, name="stdin-watch", daemon=True).start()


if __name__ == "__main__":
    watch_stdin()
    sys.exit(main())
