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
    discard_output,
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
        guard_standard_error(self._format_gap_line)
        self._has_ended = threading.Event()
        # The end of the process ends it.
        self._thread = threading.Thread(
            target=self._context.copy().run, args=(self._print_waiting_lines,), daemon=True
        )
        self._thread.start()

    def print_line(self, sentence: str) -> None:
        """Print a sentence about the process, not with JSON, after the lines that already wait."""
        self._entries.put(sentence)

    def announce_message(self, row: dict[str, Any]) -> None:
        """Print the line of a message that is stored, after the lines that already wait."""
        self.count += 1
        self._entries.put(row)

    def report_problem(self, sentence: str) -> None:
        """Print a problem to standard error, from any thread; ignore an error of that output."""
        with suppress(OSError):
            self._context.copy().run(print_problem, sentence)

    def close(self, stop_event: threading.Event) -> int:
        """Wait until everything is printed, but only some seconds if `stop_event` is set; return the status.

        The status is 1 if not everything could be printed. Then a line on standard error says so.
        """
        self._entries.put(None)
        while not (self._has_ended.wait(_POLL_SECONDS) or stop_event.is_set()):
            pass
        is_stuck = not self._has_ended.wait(_LAST_LINES_WITHIN)
        unprinted_count = self.count - self._printed_count
        if is_stuck:
            self._report_broken_output(f"nobody has read it for {_LAST_LINES_WITHIN:g} s")
            self._unblock_print_thread()
        if unprinted_count:
            self.report_problem(f"{format_count(unprinted_count, 'message')} stored without a printed line")
        return 1 if self._is_broken or unprinted_count else 0

    def _print_waiting_lines(self) -> None:
        """Print the queued entries in order, for ever; None says that all entries before it are printed."""
        try:
            while True:
                row_or_sentence = self._entries.get()
                if row_or_sentence is None:
                    self._has_ended.set()
                elif not self._is_broken:
                    self._print_unless_broken(row_or_sentence)
        finally:
            self._has_ended.set()

    def _print_unless_broken(self, row_or_sentence: dict[str, Any] | str) -> None:
        """Print one entry; if the output fails, report that and discard all further output."""
        try:
            self._print_row_or_sentence(row_or_sentence)
        except (OSError, OutputError) as failure:
            self._report_broken_output(failure.strerror if isinstance(failure, OSError) else str(failure))
            # Python must not try it again when it ends.
            discard_output()

    def _print_row_or_sentence(self, row_or_sentence: dict[str, Any] | str) -> None:
        """Print a sentence, or a stored message as a line or a JSON object; count the printed messages."""
        if isinstance(row_or_sentence, str):
            print_sentence(row_or_sentence, as_json=self._as_json)
            sys.stdout.flush()
            return
        if self._as_json:
            print_json({name: row_or_sentence[name] for name in _PRINTED_NAMES})
        else:
            content = _describe_content(row_or_sentence["said"])
            print_line(
                f"{row_or_sentence['at']}  {row_or_sentence['action']}  {content}  {row_or_sentence['file']}"
            )
        sys.stdout.flush()
        self._printed_count += 1

    def _report_broken_output(self, reason: str | None) -> None:
        self._is_broken = True
        self.report_problem(
            f"{MISUSE.id} standard output cannot be written: {reason}; messages are stored and acknowledged"
        )

    def _unblock_print_thread(self) -> None:
        """Unblock the thread that waits in a write: it has a lock that Python needs when it ends."""
        discard_output()
        # A signal interrupts the write, and Python repeats it: now it goes where nothing waits.
        if self._thread.ident is not None:
            signal.pthread_kill(self._thread.ident, signal.SIGTERM)
        self._has_ended.wait()

    def _format_gap_line(self, count: int) -> str:
        detail = f"{format_count(count, 'line')} left out here: nobody read them"
        return self._context.copy().run(format_failure, ReportedFailure(detail)) + "\n"


_PRINTED_NAMES: Final = ("at", "file", "message_id", "action", "ref_to", "said")


def _describe_content(content_values: dict[str, Any]) -> str:
    """Return the content of a message as words; of an unverified message, return only the problem."""
    if not content_values["verified"]:
        return f"NOT VERIFIED: {content_values['problem']}"
    subject = f"case {content_values['case_number']}  reference {content_values['reference'] or '-'}"
    if "outcome" in content_values:
        return f"{subject}  {content_values['outcome']}"
    if "missing" in content_values:
        return f"{subject}  HELD until {content_values['until']}"
    names = ("organisation", "document", "state", "status_code")
    return f"{subject}  {' '.join(str(content_values[name]) for name in names if content_values[name])}"
