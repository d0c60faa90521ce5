"""Characters of texts: their octets in a charset, their names, and those that no id may have."""

from __future__ import annotations

import hashlib
import unicodedata
from typing import Final

from gateway.errors import RULE_BROKEN, GatewayError

#: KS X 1001 writes a syllable that it does not have as a filler and its letters: eight octets, which most
#: readers show as that. This is the filler.
_HANGUL_FILLER: Final = b"\xa4\xd4"
_OCTETS_OF_CHARACTER: Final = 2
_MAX_VALUE_LENGTH: Final = 60
#: The categories of Unicode whose characters are not seen: controls, format characters, separators.
_UNSEEN_CATEGORIES: Final = ("Cc", "Cf", "Zs", "Zl", "Zp")
_SHORT_ESCAPES: Final = {"\t": r"\t", "\n": r"\n", "\r": r"\r"}


def encode_text(text: str, charset: str) -> bytes:
    """Return the octets of a text; raise UnicodeEncodeError for a character that the charset does not have.

    A syllable that Python's euc-kr makes up of letters is such a character: cp949 has it, in two octets.
    """
    octets = text.encode(charset)
    if charset == "euc-kr" and _HANGUL_FILLER in octets:
        for position, character in enumerate(text):
            if len(character.encode(charset)) > _OCTETS_OF_CHARACTER:
                raise UnicodeEncodeError(charset, text, position, position + 1, "no syllable of KS X 1001")
    return octets


def has_more_octets(text: str, most_octets: int) -> bool:
    """Return whether a text has more than `most_octets` octets in UTF-8, in which databases store it."""
    # A character has one octet at least: a very long text need not be encoded.
    return len(text) > most_octets or len(text.encode("utf-8", "surrogatepass")) > most_octets


def normalize_text(text: str) -> str:
    """Return a text in Unicode Normalization Form C: letters that make one character are that character."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


#: Ranges that show nothing beside the format characters: a joiner, fillers of Hangul, vowels of Khmer,
#: selectors of variants, an empty cell of Braille, and what Unicode has kept free for such.
_INVISIBLE_RANGES: Final = (
    *((0x34F, 0x34F), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F), (0x2800, 0x2800)),
    *((0x2065, 0x2065), (0x3164, 0x3164), (0xFDD0, 0xFDEF), (0xFE00, 0xFE0F), (0xFFA0, 0xFFA0)),
    *((0xFFF0, 0xFFF8), (0x16FE4, 0x16FE4), (0x1D159, 0x1D159), (0xE0000, 0xE0FFF)),
)
#: Hyphens, a minus and a dot that look like those of ASCII.
_HYPHENS: Final = "\u02d7\u1806\u2010\u2011\u2012\u2013\u2024\u2043\u2212\ufe58\ufe63"
#: Other forms of characters, by their decompositions: they differ in width or font, or where a line may end.
_COMPATIBILITY_TAGS: Final = ("<wide>", "<narrow>", "<noBreak>", "<font>")


def find_unclear_character(text: str) -> str | None:
    """Return the first character that an id must not have, as `describe_character` does; None without one.

    It shows nothing, or it looks like another one, or it is a digit of another script: two ids that people
    take for the same would be two things. Letters of other scripts that look alike are allowed.
    """
    if text.isascii() and text.isprintable():
        return None
    return next(
        (describe_character(text, at) for at, character in enumerate(text) if _is_unclear(character)), None
    )


def _is_unclear(character: str) -> bool:
    """Return whether a character is not seen, or looks like another one: an id may not have it."""
    if character == " ":
        return False
    code_point = ord(character)
    if character.isascii():
        return not character.isprintable()
    return (
        _is_unseen(character)
        or character in _HYPHENS
        or unicodedata.category(character) == "Nd"
        or any(first <= code_point <= last for first, last in _INVISIBLE_RANGES)
        or unicodedata.decomposition(character).startswith(_COMPATIBILITY_TAGS)
    )


def check_clear_id(id_text: str, location: str) -> None:
    """Raise GW404 for an id, reference or number that `find_unclear_character` finds fault with."""
    character = find_unclear_character(id_text)
    if character is not None:
        raise GatewayError(RULE_BROKEN, describe_unclear_id(character), location)


def describe_unclear_id(character: str) -> str:
    """Return the sentence about a character that `find_unclear_character` returned."""
    return f"an id may not have {character}, which is not seen or looks like another (번호에 쓸 수 없는 글자)"


_DIGEST_LENGTH: Final = 32


def shorten_to_octets(text: str, max_octets: int) -> str:
    """Return a text of at most `max_octets` octets in UTF-8.

    The end of a longer one is replaced by a part of the digest of the whole: it still names one thing.
    """
    octets = text.encode("utf-8")
    if len(octets) <= max_octets:
        return text
    beginning = octets[: max_octets - _DIGEST_LENGTH - 1].decode("utf-8", "ignore")
    return f"{beginning}~{hashlib.sha256(octets).hexdigest()[:_DIGEST_LENGTH]}"


def quote_value(text: str) -> str:
    """Return a value in quotes, cut where it is long.

    Spaces stay as they are. Any other invisible character is escaped as in JSON, a line feed as backslash
    and n. So the value is one line, and a value that is wrong only by such a character looks wrong.
    """
    quoted_text = ""
    for character in text:
        character_text = _escape_unseen_character(character)
        if len(quoted_text) + len(character_text) > _MAX_VALUE_LENGTH:
            return f"'{quoted_text}…'"
        quoted_text += character_text
    return f"'{quoted_text}'"


def _is_unseen(character: str) -> bool:
    """Return whether a character is a control, a format character or white space."""
    return unicodedata.category(character) in _UNSEEN_CATEGORIES


def _escape_unseen_character(character: str) -> str:
    if character == " " or not _is_unseen(character):
        return character
    return _SHORT_ESCAPES.get(character) or f"\\u{ord(character):04x}"


def describe_character(text: str, position: int) -> str:
    """Return the character at a position in quotes, with its code point, as in ``'A' (U+0041)``."""
    character = text[position]
    return f"{quote_value(character)} (U+{ord(character):04X})"
