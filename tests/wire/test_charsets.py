"""Octets of a charset are those that its readers understand; a text has one form."""

from __future__ import annotations

import unicodedata

import pytest
from lxml import etree

from gateway.wire import describe_character, encode_text, normalize_text, read_leaf_text

SYLLABLES = [chr(code) for code in range(0xAC00, 0xD7A4)]


def find_position(text: str, charset: str) -> int:
    with pytest.raises(UnicodeEncodeError) as refused:
        encode_text(text, charset)
    return refused.value.start


def test_every_syllable_has_two_octets_or_none() -> None:
    lacking = []
    for syllable in SYLLABLES:
        assert len(encode_text(syllable, "cp949")) == 2
        try:
            assert encode_text(syllable, "euc-kr") == encode_text(syllable, "cp949")
        except UnicodeEncodeError:
            lacking.append(syllable)
    # KS X 1001 has 2,350 syllables.
    assert len(lacking) == 11_172 - 2_350
    assert "똠" in lacking


def test_the_position_is_that_of_the_character() -> None:
    assert find_position("쌀국수 똠양꿍", "euc-kr") == 4
    assert find_position("쌀국수 😀 똠", "euc-kr") == 4
    assert find_position("a\u20a9", "cp949") == 1
    assert find_position("가", "ascii") == 0


def test_what_looks_like_made_up_octets_is_written() -> None:
    # The filler itself, and two characters whose octets have those of the filler in their middle.
    assert encode_text("\u3164", "euc-kr") == b"\xa4\xd4"
    inside = (b"\xb0\xa4" + b"\xd4\xb0").decode("euc-kr")
    assert encode_text(inside, "euc-kr") == b"\xb0\xa4\xd4\xb0"
    assert encode_text("한빛무역 1", "euc-kr") == "한빛무역 1".encode("euc-kr")


def test_a_text_is_composed() -> None:
    name = "주식회사 한빛무역 é"
    assert normalize_text(unicodedata.normalize("NFD", name)) == name
    assert normalize_text(name) is name or normalize_text(name) == name
    # Forms that mean something else stay: a full-width letter, a compatibility letter.
    assert normalize_text("Ａㄱ㎏") == "Ａㄱ㎏"


def test_a_character_is_told_by_its_number() -> None:
    assert describe_character("가\u20a9", 1) == "'₩' (U+20A9)"
    assert describe_character("\u1140", 0).endswith("(U+1140)")
    assert describe_character("\u200b", 0) == "'\\u200b' (U+200B)"


def test_the_value_of_a_leaf_is_composed_and_the_leaf_stays() -> None:
    leaf = etree.fromstring(f"<a>{unicodedata.normalize('NFD', '제2026')}<!-- -->{chr(0x1112)}</a>")
    # A letter behind a comment may belong to the syllable before it.
    leaf[0].tail = "\u110e\u1161"
    sent = etree.tostring(leaf)
    assert read_leaf_text(leaf) == "제2026차"
    assert etree.tostring(leaf) == sent
