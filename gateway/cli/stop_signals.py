"""Turns SIGTERM and SIGINT into an event, for verbs that run until they are stopped."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

__all__ = ["catch_stop_signals"]


@contextlib.contextmanager
def catch_stop_signals() -> Iterator[threading.Event]:
    """Provide an event that SIGTERM and SIGINT set."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        if number == signal.SIGINT and signal.getsignal(number) is signal.SIG_IGN:
            continue
        signal.signal(number, lambda *_: stop.set())
    yield stop
