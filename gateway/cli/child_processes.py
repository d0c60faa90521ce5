"""Forks the processes of a gateway after one import, keeps them alive and ends them together."""

from __future__ import annotations

import gc
import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from importlib import import_module
from multiprocessing.process import BaseProcess
from typing import Final

from gateway.cli import main
from gateway.cli.verb_groups import Arguments
from gateway.process_log import START_LOG, set_up_logging
from gateway.store import retry_until_stored
from gateway.web import RestartLimit, exit_with_parent

_log = logging.getLogger(__name__)
_start_log = logging.getLogger(START_LOG)
_DRAIN_SECONDS: Final = 40.0
_POLL_SECONDS: Final = 0.2
_STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
#: `_MAX_RESTARTS` ended processes within `_RESTART_WINDOW_SECONDS` seconds are no accident: the operator must
#: act.
_MAX_RESTARTS: Final = 11
_RESTART_WINDOW_SECONDS: Final = 60.0

#: The function that a child runs until it is stopped; it returns the exit status of the process.
ChildFunction = Callable[[Arguments], int]


def import_before_fork(module: str) -> None:
    """Import a module for children: each child that starts from now on has it, also after a restart."""
    if module in sys.modules:
        return
    import_module(module)
    # A collection in a child would write to the pages of these objects, which it shares with this process.
    gc.freeze()


def run_children_until_stopped(
    child_functions: Sequence[ChildFunction],
    arguments: Arguments,
    stop_event: threading.Event,
    before_fork: Callable[[ChildFunction], None] = lambda _: None,
) -> int:
    """Run a child process for each of the `child_functions` until `stop_event` is set; then end all children.

    A child that ends earlier is started again. `before_fork` is called in this process before each fork.
    Returns the exit status: 0 after `stop_event`, 1 when children ended too often.
    """

    def start_child(child_function: ChildFunction) -> BaseProcess:
        before_fork(child_function)
        return _fork_child(child_function, arguments)

    children = [start_child(target) for target in child_functions]
    restarts = RestartLimit(_MAX_RESTARTS, _RESTART_WINDOW_SECONDS)
    while not stop_event.wait(_POLL_SECONDS):
        for index, child in enumerate(children):
            if not child.is_alive():
                _log.error("process %s ended with %s and is started again", child.pid, child.exitcode)
                restarts.record_restart()
                children[index] = start_child(child_functions[index])
        if restarts.is_exceeded():
            _log.critical("processes end abnormally again and again: giving up")
            break
    was_stopped = stop_event.is_set()
    _start_log.info("stops: work that has begun is ended first")
    _end_children(children)
    return 0 if was_stopped else 1


def _fork_child(child_function: ChildFunction, arguments: Arguments) -> BaseProcess:
    """Start a child that shares the imported program with this process."""
    child = multiprocessing.get_context("fork").Process(target=_run_child, args=(child_function, arguments))
    # Before it has handlers of its own, a signal would call the copy of a handler of this process.
    earlier_mask = signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
    try:
        child.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, earlier_mask)
    return child


def _run_child(child_function: ChildFunction, arguments: Arguments) -> None:
    """Run `child_function` in a forked process and end the process with its exit status; never return."""
    # A terminal sends Ctrl-C to every process of the group: only the parent reacts to it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP_SIGNALS)
    exit_with_parent()
    set_up_logging()
    # A process that is restarted while the disk is full waits, instead of ending again and again.
    sys.exit(retry_until_stored(lambda: child_function(arguments)))


def _end_children(children: Sequence[BaseProcess]) -> None:
    """Ask every child to finish its work, and wait for it."""
    for child in children:
        if child.is_alive() and child.pid is not None:
            os.kill(child.pid, signal.SIGTERM)
    for child in children:
        child.join(_DRAIN_SECONDS)
        if child.is_alive():
            child.kill()


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
