"""What a person sees is text: no word of a stranger moves the cursor, turns a line or clears the screen.

Names, ids and numbers come from messages, and some terminals obey what stands in them.  Only
what goes to a terminal is changed; files and pipes get the octets as they are.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

__all__ = ["visible", "visible_terminals"]


def visible(text: str) -> str:
    """Return `text` with all that cannot be printed written as JSON writes it; lines and tabs stay."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or one in "\n\t" else _escaped(one) for one in text)


def _escaped(one: str) -> str:
    units = one.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[place : place + 2].hex()}" for place in range(0, len(units), 2))


class _Terminal:
    """A stream to a terminal that shows what it is given."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write `text`, visible."""
        self._stream.write(visible(text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def visible_terminals() -> Iterator[None]:
    """Let what is printed to a terminal be visible, as long as this lasts."""
    streams = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (_Terminal(one) if one.isatty() else one for one in streams)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = streams
