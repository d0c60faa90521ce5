"""Translations of the pages: English in the source, the others in `translations/LANGUAGE` (gettext).

Each section of pages has a file of its own there, `SECTION.po`; a sentence stands in one of them.
"""

from __future__ import annotations

from functools import cache
from gettext import NullTranslations
from importlib.resources import files
from io import BytesIO
from typing import Final

from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.support import Translations
from flask import g
from markupsafe import Markup

__all__ = ["LANGUAGES", "get_translations", "show_word", "translate", "translate_word"]

#: The languages, each with its own name.
LANGUAGES: Final = {"en": "English", "ko": "한국어"}


@cache
def get_translations(language: str) -> NullTranslations:
    """Return the translations of a language; an unknown one gets the sentences of the source."""
    if language not in LANGUAGES or language == "en":
        return NullTranslations()
    catalogue = Catalog(locale=language)
    for source in (files(__package__) / "translations" / language).iterdir():
        with source.open("rb") as stream:
            for message in read_po(stream, locale=language):
                catalogue[message.id] = message
    compiled = BytesIO()
    write_mo(compiled, catalogue)
    compiled.seek(0)
    return Translations(compiled)


def translate(sentence: str) -> str:
    """Return a sentence in the language of the present request."""
    return get_translations(g.language).gettext(sentence)


def translate_word(word: str) -> str:
    """Return a word of a table in the language of the request: a role, a state, a text of the catalogue.

    Such words are not literals of the pages; tests list them from their tables. One without a translation
    stays as it is.
    """
    return get_translations(g.language).gettext(word) if word else ""


def show_word(word: str | None) -> Markup:
    """Return the element that shows a word of a table: marked as English where it has no translation."""
    said = translate_word(word or "")
    if said == word and g.language != "en":
        return Markup('<span lang="en">{}</span>').format(said)
    return Markup("{}").format(said)
