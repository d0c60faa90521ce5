"""Patterns of XML Schema in words."""

from __future__ import annotations

import pytest

from gateway.wire import describe_pattern

#: Nothing has words for a class without its closing bracket.
ODD = "[a-z"


@pytest.mark.parametrize(("length", "cut"), [(120, False), (121, True), (500, True)])
def test_a_pattern_without_words_is_shown_up_to_a_length(length: int, cut: bool) -> None:
    pattern = ODD + "x" * (length - len(ODD))
    shown = pattern[:120] + "…" if cut else pattern
    assert describe_pattern(pattern) == f"a text of the form {shown}"
