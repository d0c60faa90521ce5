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

__all__ = ["escape_controls", "guard_terminals", "open_console", "write_error"]


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


@contextmanager
def guard_terminals() -> Iterator[None]:
    """Escape control characters in terminal output inside the block."""
    streams = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (
        _Terminal(one) if one.isatty() and not isinstance(one, _Terminal) else one for one in streams
    )
    try:
        yield
    finally:
        sys.stdout, sys.stderr = streams


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
