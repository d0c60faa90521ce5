"""Escapes control characters in terminal output.

Names, ids and numbers come from messages of other parties and may contain control sequences
that move the cursor or clear the screen. Only terminal output is changed; files and pipes
receive the octets unchanged.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console

__all__ = [
    "OutputError",
    "drop_output",
    "escape_controls",
    "guard_terminals",
    "open_console",
    "open_missing_streams",
    "write_error",
]


def escape_controls(text: str) -> str:
    """Return `text` with unprintable characters escaped as in JSON; line breaks and tabs stay."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or one in "\n\t" else _escape_character(one) for one in text)


def _escape_character(one: str) -> str:
    units = one.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[place : place + 2].hex()}" for place in range(0, len(units), 2))


class _Terminal:
    """A stream to a terminal that escapes control characters."""

    def __init__(self, stream: TextIO) -> None:
        self.unguarded = stream

    def write(self, text: str) -> int:
        """Write `text` with its control characters escaped; return its length."""
        self.unguarded.write(escape_controls(text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.unguarded, name)


class OutputError(Exception):
    """Standard output does not take what is printed, as on a full disk; the cause says why."""


class _Output:
    """A stream that is no terminal; what it cannot write is no fault of the program."""

    def __init__(self, stream: TextIO) -> None:
        self.unguarded = stream

    def write(self, text: str) -> int:
        """Write `text`; raise `OutputError` where that fails, but for a pipe that its reader has closed."""
        with _tell_broken_output():
            return self.unguarded.write(text)

    def flush(self) -> None:
        """Write what is kept; raise as `write` does."""
        with _tell_broken_output():
            self.unguarded.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.unguarded, name)


@contextmanager
def _tell_broken_output() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as failure:
        raise OutputError(failure.strerror or type(failure).__name__) from failure


@contextmanager
def guard_terminals() -> Iterator[None]:
    """Escape control characters in terminal output inside the block, and tell output that is not taken."""
    streams = sys.stdout, sys.stderr
    if not isinstance(sys.stdout, _Terminal | _Output):
        sys.stdout = _Terminal(sys.stdout) if sys.stdout.isatty() else _Output(sys.stdout)
    if sys.stderr.isatty() and not isinstance(sys.stderr, _Terminal):
        sys.stderr = _Terminal(sys.stderr)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = streams


def open_missing_streams() -> None:
    """Open the null device for a standard stream that the caller has closed.

    Otherwise the next file that is opened, such as a database, would get its number and what is printed.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number is taken: that of the stream.
            os.open(os.devnull, os.O_RDWR)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))


def drop_output() -> None:
    """Write nothing more to standard output: Python must not try it again when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def write_error(line: str) -> None:
    """Write a line to standard error; octets of an argument that are not text are escaped."""
    sys.stderr.write(f"{line}\n".encode("utf-8", "backslashreplace").decode("utf-8"))


def open_console(stream: TextIO) -> Console:
    """Return a console of Rich on a terminal stream; with NO_COLOR it writes no escape codes.

    The console bypasses `guard_terminals`: its callers must pass every text from outside
    through `escape_controls`.
    """
    from rich.console import Console

    plain = bool(os.environ.get("NO_COLOR"))
    return Console(
        file=getattr(stream, "unguarded", stream),
        color_system=None if plain else "auto",
        markup=False,
        emoji=False,
        highlight=False,
    )
