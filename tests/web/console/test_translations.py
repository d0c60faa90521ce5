"""Every sentence of the pages has a translation in one file, and no file has a sentence that no page says."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest
from babel.messages.extract import extract_from_file
from babel.messages.pofile import read_po

from gateway.web.console.page_translations import LANGUAGES

CONSOLE = Path(str(files("gateway.web.console")))
OTHERS = sorted(set(LANGUAGES) - {"en"})
FIELD = re.compile(r"%\((\w+)\)s|\{(\w*)\}")


def list_template_sentences() -> Iterator[str]:
    for template in sorted(CONSOLE.rglob("templates/**/*.html")):
        for _, said, _, _ in extract_from_file("jinja2.ext:babel_extract", template, options={"silent": "0"}):
            yield said if isinstance(said, str) else said[0]


def list_python_sentences() -> Iterator[str]:
    """Yield what `translate(...)` is called with; a sentence that is not a literal cannot be found."""
    for source in sorted(CONSOLE.rglob("*.py")):
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "translate":
                first = node.args[0]
                if isinstance(first, ast.Constant):
                    yield str(first.value)


def read_translations(language: str) -> list[tuple[str, str, str]]:
    """Return the file, the sentence and its translation of each entry."""
    found = []
    for source in sorted((CONSOLE / "translations" / language).glob("*.po")):
        with source.open("rb") as stream:
            for one in read_po(stream, locale=language):
                if one.id:
                    told = one.string if isinstance(one.string, str) else (one.string or [""])[0]
                    found.append((source.name, one.id if isinstance(one.id, str) else one.id[0], told))
    return found


@pytest.mark.parametrize("language", OTHERS)
def test_every_sentence_of_the_pages_is_translated(language: str) -> None:
    translated = {said for _, said, told in read_translations(language) if told}
    missing = ({*list_template_sentences()} | {*list_python_sentences()}) - translated
    assert not missing, sorted(missing)


@pytest.mark.parametrize("language", OTHERS)
def test_a_sentence_stands_in_one_file(language: str) -> None:
    seen: dict[str, str] = {}
    twice = [
        (name, seen[said], said)
        for name, said, _ in read_translations(language)
        if seen.setdefault(said, name) != name
    ]
    assert not twice


@pytest.mark.parametrize("language", OTHERS)
def test_a_translation_has_the_fields_of_its_sentence(language: str) -> None:
    for name, said, told in read_translations(language):
        assert sorted(FIELD.findall(said)) == sorted(FIELD.findall(told)), (name, said)


@pytest.mark.parametrize("language", OTHERS)
def test_a_per_cent_sign_of_a_sentence_stands_for_a_field(language: str) -> None:
    """Jinja formats every sentence: any other sign would make an error of the page."""
    alone = re.compile(r"%(?![(%])")
    wrong = [
        told for _, said, told in read_translations(language) if alone.search(said) or alone.search(told)
    ]
    assert not wrong
