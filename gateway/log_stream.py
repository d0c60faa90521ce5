"""Standard error that never blocks: a log without a reader must not stop the gateway.

A pipe or a terminal holds 64 KiB. Where its reader is stopped, each further write would block its thread, and
with it, by the lock of the log, every other one. So a line is left out if there is no room for it and no time
is left to wait. The next line that has room says how many lines were left out. It is the same where the
reader is gone.

Other programs, such as the shell, have the same descriptor, so its flags are not changed. A pipe or terminal
is opened once more, with flags of our own. A socket (that of the journal) gets the flag with each call. A
queue with a thread would lose the last lines of a process that is killed, and the thread itself at each fork.
"""

from __future__ import annotations

import errno
import io
import os
import select
import socket
import stat
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Final

#: The most seconds that lines wait for room in one go.
_MAX_WAIT_SECONDS: Final = 1.0
#: The part of the time that they may wait for a reader that is slow: others would wait for the log.
_WAITING_SHARE: Final = 0.1
#: The least seconds that a wait costs: so the attempts end if a descriptor is ready but takes nothing.
_MIN_WAIT_SECONDS: Final = 0.001
#: The most octets that a pipe takes as a whole or not at all (POSIX: PIPE_BUF).
_MAX_PIECE_OCTETS: Final = select.PIPE_BUF


class UnblockedStream(io.TextIOBase):
    """Writes to a pipe, socket or terminal where there is room.

    The lines without room are left out and counted. Text is written in `encoding`, line by line.
    `format_gap_line` returns the line for a number of lines that were left out. Threads, handlers of signals
    and children by a fork may write at any time.
    """

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self, descriptor: int, encoding: str, format_gap_line: Callable[[int], str]) -> None:
        self.encoding = encoding
        self._shared = descriptor
        self._format_gap_line = format_gap_line
        self._write_piece = _open_writer(descriptor)
        self._credit = _MAX_WAIT_SECONDS
        self._credited_at = time.monotonic()
        self._begin_anew()
        os.register_at_fork(after_in_child=self._begin_anew)

    def _begin_anew(self) -> None:
        """Start with empty buffers and a new lock: after a fork the parent writes its own pending text."""
        # A handler of a signal may write while its own thread does.
        self._lock = threading.RLock()
        self._begun_line = ""
        #: The end of lines whose beginning is written.
        self._unsent_octets = b""
        self._left_out_count = 0

    def fileno(self) -> int:
        """Return the descriptor that other programs have, too."""
        return self._shared

    def writable(self) -> bool:
        """Return True."""
        return True

    def isatty(self) -> bool:
        """Return whether lines go to a terminal."""
        return os.isatty(self._shared)

    def write(self, text: str) -> int:
        """Write the complete lines, or omit them if there is no room; return the length of `text`.

        The text after the last line feed is kept for the next call.
        """
        with self._lock:
            complete_lines, newline, self._begun_line = (self._begun_line + text).rpartition("\n")
            if newline:
                self._send(complete_lines + newline)
        return len(text)

    def flush(self) -> None:
        """Write the incomplete line, and the octets that had no room before, as far as there is room."""
        with self._lock:
            incomplete_line, self._begun_line = self._begun_line, ""
            if incomplete_line or self._unsent_octets:
                self._send(incomplete_line)

    def _send(self, text: str) -> None:
        """Write the octets that still wait, then `text`; if `text` has no room, count its lines as left out.

        A line with the number of lines that were left out before goes ahead of `text`.
        """
        self._unsent_octets = self._write_while_room(self._unsent_octets)
        if not self._unsent_octets:
            gap_line = self._format_gap_line(self._left_out_count) if self._left_out_count else ""
            octets = (gap_line + text).encode(self.encoding, self.errors)
            unsent_octets = self._write_while_room(octets)
            if len(unsent_octets) < len(octets) or not octets:
                self._left_out_count, self._unsent_octets = 0, unsent_octets
                return
        # A text without a line feed counts as one line, an empty text as none.
        self._left_out_count += text.count("\n") or len(text[:1])

    def _write_while_room(self, octets: bytes) -> bytes:
        """Write octets as long as there is room; return the octets that were not written."""
        while octets:
            try:
                # Without `poll`: it reports room in a pipe only if a whole page is free.
                octets = octets[self._write_piece(octets[:_MAX_PIECE_OCTETS]) :]
            except BlockingIOError:
                if not self._wait_for_room():
                    break
            except OSError:
                break  # there is no reader any more
        return octets

    def _wait_for_room(self) -> bool:
        """Wait for room, at most for the seconds of the credit; return whether there is room.

        The credit grows with the time since the last wait, and each wait reduces it.
        """
        start = time.monotonic()
        self._credit = min(_MAX_WAIT_SECONDS, self._credit + (start - self._credited_at) * _WAITING_SHARE)
        self._credited_at = start
        if self._credit < _MIN_WAIT_SECONDS:
            return False
        poll = select.poll()
        poll.register(self._shared, select.POLLOUT)
        has_room = bool(poll.poll(self._credit * 1000))
        self._credited_at = time.monotonic()
        self._credit -= max(self._credited_at - start, _MIN_WAIT_SECONDS)
        return has_room


def _open_writer(descriptor: int) -> Callable[[bytes], int]:
    """Return a function that writes to a descriptor without blocking, and returns the number of octets."""
    if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
        log_socket = socket.socket(fileno=os.dup(descriptor))
        return lambda piece: log_socket.send(piece, socket.MSG_DONTWAIT)
    try:
        own_descriptor = os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        # It is that of another user, or has no reader any more.
        return lambda piece: _write_to_shared(descriptor, piece)
    return lambda piece: os.write(own_descriptor, piece)


def _write_to_shared(descriptor: int, piece: bytes) -> int:
    """Write to a descriptor whose writes block, without waiting; return the number of octets written.

    Raises BlockingIOError if there is no room for the whole piece.
    """
    try:
        return os.pwritev(descriptor, [piece], -1, os.RWF_NOWAIT)
    except OSError as failure:
        if failure.errno != errno.EOPNOTSUPP:
            raise
    # An older kernel, or a terminal, which may say that it has room for less than the piece: it blocks then.
    # The room for a piece could be taken by another process before the write.
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    if not poll.poll(0):
        raise BlockingIOError
    return os.write(descriptor, piece)


def guard_standard_error(format_gap_line: Callable[[int], str]) -> None:
    """Replace standard error by a stream that does not block, if it is a pipe, a socket or a terminal.

    `format_gap_line` returns the line for a number of lines that were left out. A file stays as it is: it has
    no reader. If a stream escapes control characters for a terminal, only the stream below it (`unguarded`)
    is replaced.
    """
    escaping_stream: Any = sys.stderr if hasattr(sys.stderr, "unguarded") else None
    stream: Any = sys.stderr if escaping_stream is None else escaping_stream.unguarded
    if stream is None or isinstance(stream, UnblockedStream):
        return
    try:
        descriptor = stream.fileno()
        mode = os.fstat(descriptor).st_mode
    except (OSError, ValueError):
        return
    if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(descriptor):
        unblocked_stream = UnblockedStream(descriptor, stream.encoding, format_gap_line)
        if escaping_stream is None:
            sys.stderr = unblocked_stream
        else:
            escaping_stream.unguarded = unblocked_stream
        # Python writes to `sys.__stderr__` when it ends.
        vars(sys)["__stderr__"] = unblocked_stream
