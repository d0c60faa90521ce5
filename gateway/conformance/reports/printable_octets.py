"""Octets and texts for people: every character that is no plain text is written as an escape."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["format_octets", "make_printable"]

#: Everything that XML cannot hold, that a terminal or a browser obeys, or that changes the direction of text.
_UNSAFE: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff\ufffe\uffff]"
)


def make_printable(text: str) -> str:
    """Return a text whose control characters are written as escapes."""
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def format_octets(data: bytes) -> str:
    """Return octets as text: UTF-8 where they are, every other octet as an escape; CR LF is a new line."""
    text = data.decode("utf-8", "backslashreplace")
    return make_printable(text.replace("\r\n", "\n"))
