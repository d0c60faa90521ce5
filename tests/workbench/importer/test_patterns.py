"""Regular expressions and descriptions of an inventory as patterns of the language."""

from __future__ import annotations

import re

import pytest

from gateway.harmonize.language import ValueShape
from gateway.harmonize.samples import SeededDraws, draw_text
from gateway_workbench.importer.code_list_choice import make_format_pattern, translate_pattern
from gateway_workbench.importer.condition_translation import UnclearError

READ = {
    "^[A-Z]{2}[0-9A-Z-]{4,28}$": "[A-Z]{2}[0-9A-Z-]{4,28}",
    r"^[A-Z][0-9]{5}\.[0-9]{2}$": "[A-Z][0-9]{5}[.][0-9]{2}",
    "^[A-Z]{2}[ -]?[0-9]$": "[A-Z]{2}[ -]{0,1}[0-9]",
    "^(R|MSIP|KCC)-[A-Z]{1,4}$": "(R|MSIP|KCC)-[A-Z]{1,4}",
    "(AB|CD)?[0-9]": "(AB|CD){0,1}[0-9]",
    r"\d+[가-힣]\d{4}": "[0-9]{1,20}[가-힣][0-9]{4}",
    r"[\w\-.]+@[a-z]*": "[A-Za-z0-9_.-]{1,20}[@][a-z]{0,20}",
    "A{2,}": "A{2,20}",
}


@pytest.mark.parametrize("pattern", READ)
def test_a_pattern_is_read_and_means_the_same(pattern: str) -> None:
    found = translate_pattern(pattern, 20)
    assert found == READ[pattern]
    for seed in range(20):
        text = draw_text(SeededDraws(f"{pattern}{seed}"), ValueShape("text", pattern=found))
        assert re.fullmatch(pattern, text)


@pytest.mark.parametrize(
    "pattern",
    ["a.*b", "(?=a)b", "[^a]b", "(a|b)+", "[", r"\bword", r"[\d\s]", "a+?", "x|y", "(a|b)(c|d)(e|f)(g|h)"],
)
def test_what_the_language_cannot_say_is_refused(pattern: str) -> None:
    with pytest.raises(UnclearError):
        translate_pattern(pattern, 20)


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("MFDS food type (open list, an..12)", "[A-Za-z0-9]{1,12}"),
        ("institutions (an2, open)", "[A-Za-z0-9]{2}"),
        ("numbers (n..4)", "[0-9]{1,4}"),
        ("ASFIS 3-alpha (open)", "[A-Z]{3}"),
        ("device nomenclature (A00000.00, open)", "[A-Z][0-9]{5}[.][0-9]{2}"),
        ("FAO major fishing areas", None),
    ],
)
def test_the_form_of_an_open_list_is_read(text: str, pattern: str | None) -> None:
    assert make_format_pattern(text) == pattern
