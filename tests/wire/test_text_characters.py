"""Characters that no id may have: those that show nothing, and other forms of a character."""

from __future__ import annotations

import string
import sys
import unicodedata

import pytest

from gateway.errors import GatewayError
from gateway.wire import check_clear_id, find_unclear_character, normalize_text, shorten_to_octets
from tests.kit.long_texts import make_text_of_octets

UNCLEAR = {
    "\u200b": "zero width space",
    "\u00ad": "soft hyphen",
    "\u2060": "word joiner",
    "\u202e": "right-to-left override",
    "\u200f": "right-to-left mark",
    "\ufeff": "byte order mark",
    "\u2011": "no-break hyphen",
    "\u2010": "hyphen",
    "\u2013": "dash",
    "\u2212": "minus",
    "\u00a0": "no-break space",
    "\u3000": "ideographic space",
    "\u2009": "thin space",
    "\t": "tab",
    "\n": "line feed",
    "\u2028": "line separator",
    "\x85": "next line",
    "\x7f": "delete",
    "\u034f": "grapheme joiner",
    "\u115f": "filler",
    "\u1160": "filler",
    "\u3164": "filler",
    "\uffa0": "filler",
    "\u180b": "variation selector",
    "\ufe0f": "variation selector",
    "\U000e0100": "variation selector",
    "\U000e0041": "tag",
    "\u2800": "empty Braille",
    "\uff21": "full-width letter",
    "\uff10": "full-width digit",
    "\uff0d": "full-width hyphen",
    "\uffa1": "half-width letter",
    "\U0001d400": "bold letter",
    "\u2065": "kept free",
    "\ufff0": "kept free",
    "\U000e0002": "kept free",
    "\ufdd0": "no character",
    "\u02d7": "minus letter",
    "\u2043": "hyphen bullet",
    "\ufe58": "small dash",
    "\ufe63": "small hyphen",
    "\u2024": "dot leader",
}


@pytest.mark.parametrize("character", UNCLEAR, ids=UNCLEAR.values())
def test_an_unclear_character_is_named_by_its_number(character: str) -> None:
    number = f"(U+{ord(character):04X})"
    for text in (f"PO-1{character}", f"{character}PO-1", f"P{character}O", f"가{character}", character):
        assert (find_unclear_character(text) or "").endswith(number)
    with pytest.raises(GatewayError, match="GW404") as refused:
        check_clear_id(f"a{character}", "/Here")
    assert refused.value.location == "/Here"
    assert number in refused.value.detail


def test_what_people_can_tell_apart_is_clear() -> None:
    assert find_unclear_character(string.printable.rstrip("\t\n\r\x0b\x0c")) is None
    for text in (
        "",
        "HB-2026/000 123",
        "가나다 라마",
        "漢字",
        "Ärger №12",
        "㈜한국",
        "①",
        "АБВ",
        "ابج",
        "ｶ"[:0],
    ):
        assert find_unclear_character(text) is None, ascii(text)


def test_the_letters_syllables_and_hanja_of_korean_are_clear() -> None:
    """Other rows of KS X 1001 have full-width forms of ASCII, and signs that look like one of ASCII."""
    cells = [bytes((row, cell)) for row in (0xA4, *range(0xB0, 0xFE)) for cell in range(0xA1, 0xFF)]
    text = "".join(sign for cell in cells if len(sign := cell.decode("euc-kr", "ignore")) == 1)
    assert len(text) > 7000
    assert find_unclear_character(text.replace("\u3164", "")) is None


def test_all_format_characters_and_spaces_of_unicode_are_unclear() -> None:
    for number in range(sys.maxunicode + 1):
        character = chr(number)
        unseen = unicodedata.category(character) in ("Cc", "Cf", "Zs", "Zl", "Zp") and character != " "
        is_foreign_digit = unicodedata.category(character) == "Nd" and not character.isascii()
        if (
            unseen
            or is_foreign_digit
            or unicodedata.decomposition(character).startswith(("<wide>", "<narrow>", "<noBreak>"))
        ):
            assert find_unclear_character(character) is not None, hex(number)
        elif unicodedata.category(character) in ("Ll", "Lu", "Nd") and "<" not in unicodedata.decomposition(
            character
        ):
            assert find_unclear_character(normalize_text(character)) is None, hex(number)


@pytest.mark.parametrize("max_octets", [512, 1024])
def test_a_long_text_is_shortened_to_octets_and_names_one_thing_still(max_octets: int) -> None:
    for octet_count in (1, max_octets - 1, max_octets):
        text = make_text_of_octets(octet_count)
        assert shorten_to_octets(text, max_octets) == text
    long_texts = [make_text_of_octets(max_octets) + end for end in "ab"]
    shortened = {shorten_to_octets(text, max_octets) for text in long_texts}
    assert len(shortened) == 2
    for text in shortened:
        assert len(text.encode()) in range(max_octets - 3, max_octets + 1)
        assert text.startswith(long_texts[0][:100])
