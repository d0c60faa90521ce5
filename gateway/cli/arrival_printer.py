"""Prints a line for each message that comes, without letting its receipt wait for who reads the lines."""

from __future__ import annotations

import signal
import sys
import threading
from contextlib import suppress
from contextvars import copy_context
from queue import SimpleQueue
from typing import Any, Final

from gateway.cli.result_output import (
    OutputError,
    ReportedFailure,
    drop_output,
    format_failure,
    print_json,
    print_line,
    print_problem,
    print_sentence,
)
from gateway.errors import MISUSE
from gateway.log_stream import guard_standard_error
from gateway.operations import format_count

#: Seconds for which the last lines wait for their reader when the process is stopped.
_LAST_LINES_WITHIN: Final = 5.0
_POLL_SECONDS: Final = 0.1


class ArrivalPrinter:
    """Prints one line for each message, in words or as JSON, in a thread of its own.

    A pipe holds 64 KiB. Where its reader is stopped, or the terminal is, lines wait in memory and none is
    lost: the waiting lines are rows that the message handler has anyway. Where standard output is broken,
    messages have no line any more. Problems are printed at once; without room they are left out and counted,
    because a stranger can cause any number of them.
    """

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self.count = 0
        self._printed_count = 0
        self._is_broken = False
        self._entries: SimpleQueue[dict[str, Any] | str | None] = SimpleQueue()
        # The threads do not know how this verb prints its problems and times.
        self._context = copy_context()
        guard_standard_error(self._describe_gap)
        self._has_ended = threading.Event()
        # The end of the process ends it.
        self._thread = threading.Thread(
            target=self._context.copy().run, args=(self._print_entries,), daemon=True
        )
        self._thread.start()

    def print_line(self, sentence: str) -> None:
        """Print a sentence about the process, not with JSON, after the lines that already wait."""
        self._entries.put(sentence)

    def announce_message(self, row: dict[str, Any]) -> None:
        """Print the line of a message that is stored, after the lines that already wait."""
        self.count += 1
        self._entries.put(row)

    def tell_problem(self, sentence: str) -> None:
        """Print a problem to standard error, from any thread; ignore an error of that output."""
        with suppress(OSError):
            self._context.copy().run(print_problem, sentence)

    def close(self, stop: threading.Event) -> int:
        """Wait until everything is printed, but only some seconds if `stop` is set; return the status.

        The status is 1 if not everything could be printed. Then a line on standard error says so.
        """
        self._entries.put(None)
        while not (self._has_ended.wait(_POLL_SECONDS) or stop.is_set()):
            pass
        is_stuck = not self._has_ended.wait(_LAST_LINES_WITHIN)
        unprinted_count = self.count - self._printed_count
        if is_stuck:
            self._tell_broken(f"nobody has read it for {_LAST_LINES_WITHIN:g} s")
            self._release_output()
        if unprinted_count:
            self.tell_problem(f"{format_count(unprinted_count, 'message')} stored without a printed line")
        return 1 if self._is_broken or unprinted_count else 0

    def _print_entries(self) -> None:
        try:
            while True:
                entry = self._entries.get()
                if entry is None:
                    self._has_ended.set()
                elif not self._is_broken:
                    self._try_print(entry)
        finally:
            self._has_ended.set()

    def _try_print(self, entry: dict[str, Any] | str) -> None:
        try:
            self._print_entry(entry)
        except (OSError, OutputError) as failure:
            self._tell_broken(failure.strerror if isinstance(failure, OSError) else str(failure))
            # Python must not try it again when it ends.
            drop_output()

    def _print_entry(self, entry: dict[str, Any] | str) -> None:
        if isinstance(entry, str):
            print_sentence(entry, as_json=self._as_json)
            sys.stdout.flush()
            return
        if self._as_json:
            print_json({name: entry[name] for name in _PRINTED_NAMES})
        else:
            content = _describe_content(entry["said"])
            print_line(f"{entry['at']}  {entry['action']}  {content}  {entry['file']}")
        sys.stdout.flush()
        self._printed_count += 1

    def _tell_broken(self, reason: str | None) -> None:
        self._is_broken = True
        self.tell_problem(
            f"{MISUSE.id} standard output cannot be written: {reason}; messages are stored and acknowledged"
        )

    def _release_output(self) -> None:
        """Unblock the thread that waits in a write: it has a lock that Python needs when it ends."""
        drop_output()
        # A signal interrupts the write, and Python repeats it: now it goes where nothing waits.
        if self._thread.ident is not None:
            signal.pthread_kill(self._thread.ident, signal.SIGTERM)
        self._has_ended.wait()

    def _describe_gap(self, count: int) -> str:
        detail = f"{format_count(count, 'line')} left out here: nobody read them"
        return self._context.copy().run(format_failure, ReportedFailure(detail)) + "\n"


_PRINTED_NAMES: Final = ("at", "file", "message_id", "action", "ref_to", "said")


def _describe_content(news: dict[str, Any]) -> str:
    if not news["verified"]:
        return f"NOT VERIFIED: {news['problem']}"
    subject = f"case {news['case_number']}  reference {news['reference'] or '-'}"
    if "outcome" in news:
        return f"{subject}  {news['outcome']}"
    if "missing" in news:
        return f"{subject}  HELD until {news['until']}"
    names = ("organisation", "document", "state", "status_code")
    return f"{subject}  {' '.join(str(news[name]) for name in names if news[name])}"
