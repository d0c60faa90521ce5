"""Turns the signals that end a process into an event."""

from __future__ import annotations

import _thread
import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Final

#: Seconds in which a process that ends by itself may finish its work: as long as a parent would wait for it.
_DRAIN_SECONDS: Final = 40.0


@contextlib.contextmanager
def catch_stop_signals() -> Iterator[threading.Event]:
    """Provide an event that SIGTERM and SIGINT set; SIGINT stays ignored where it was."""
    stop_event = threading.Event()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        if signal_number == signal.SIGINT and signal.getsignal(signal_number) is signal.SIG_IGN:
            continue
        signal.signal(signal_number, lambda *_: set_from_handler(stop_event))
    yield stop_event


def set_from_handler(event: threading.Event) -> None:
    """Set an event from the handler of a signal, by another thread.

    Python runs a handler between two steps of the main thread, also while that holds the lock of the event
    in its `wait` or `set`. A handler that took the lock would wait for ever, so another thread takes it.
    `threading.Thread` has such locks of its own.
    """
    _thread.start_new_thread(event.set, ())


def end_own_process() -> None:
    """End this process as SIGTERM does, and by SIGKILL if it still runs after 40 seconds; never return."""
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_DRAIN_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)
