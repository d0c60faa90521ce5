"""Encoding of texts in a charset, as the receivers of the octets decode it."""

from __future__ import annotations

import unicodedata
from typing import Final

from gateway.wire.violation_words import quote_value

#: KS X 1001 writes a syllable that it does not have as a filler and its letters: eight octets, which most
#: readers show as that. This is the filler.
_FILLER: Final = b"\xa4\xd4"
_OCTETS_OF_CHARACTER: Final = 2


def encode_text(text: str, charset: str) -> bytes:
    """Return the octets of a text; raise UnicodeEncodeError for a character that the charset does not have.

    A syllable that Python's euc-kr makes up of letters is such a character: cp949 has it, in two octets.
    """
    octets = text.encode(charset)
    if charset == "euc-kr" and _FILLER in octets:
        for position, character in enumerate(text):
            if len(character.encode(charset)) > _OCTETS_OF_CHARACTER:
                raise UnicodeEncodeError(charset, text, position, position + 1, "no syllable of KS X 1001")
    return octets


def normalize_text(text: str) -> str:
    """Return a text in Unicode Normalization Form C: letters that make one character are that character."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def describe_character(text: str, position: int) -> str:
    """Return the character at a position, with its number: two that look alike have others."""
    character = text[position]
    return f"{quote_value(character)} (U+{ord(character):04X})"
