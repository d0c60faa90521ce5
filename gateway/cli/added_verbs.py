"""All verbs: those of the gateway, and those that other packages add.

A package names its `VerbTable` in the entry point group ``gateway.verbs``. These tables are read only if a
word is no verb of the gateway, or to list all verbs: the gateway's own verbs start and work without them.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final

from gateway.cli.verb_nouns import NOUNS, Noun
from gateway.cli.verb_table import VERBS, Verb, VerbTable

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

_GROUP: Final = "gateway.verbs"


def find_verb_or_noun(verb_words: str) -> Verb | Noun | None:
    """Return the verb with the words `verb_words`, else the noun with them; None if there is neither.

    Raises GW801 if the verbs of another package cannot be used.
    """
    verb_or_noun = VERBS.get(verb_words) or NOUNS.get(verb_words)
    if verb_or_noun is not None:
        return verb_or_noun
    added = _load_added_verbs()
    return added.verbs.get(verb_words) or added.nouns.get(verb_words)


def find_verb(verb_words: str) -> Verb:
    """Return the verb of the given words; raise KeyError if there is none."""
    return VERBS[verb_words] if verb_words in VERBS else _load_added_verbs().verbs[verb_words]


def list_verbs() -> dict[str, Verb]:
    """Return every verb by its words; raises GW801 where the verbs of another package cannot be used."""
    return {**VERBS, **_load_added_verbs().verbs}


def list_nouns() -> dict[str, Noun]:
    """Return every noun by its words; raises GW801 where the verbs of another package cannot be used."""
    return {**NOUNS, **_load_added_verbs().nouns}


@cache
def _load_added_verbs() -> VerbTable:
    """Return the verbs of all other packages together.

    Raises GW801 where a table cannot be loaded, or names a word that is a verb or noun already.
    """
    from importlib.metadata import entry_points

    verbs: dict[str, Verb] = {}
    nouns: dict[str, Noun] = {}
    for entry_point in entry_points(group=_GROUP):
        table = _load_table(entry_point)
        for verb_words in sorted({*table.verbs, *table.nouns}):
            if any(verb_words in names for names in (VERBS, NOUNS, verbs, nouns)):
                raise _make_package_error(entry_point, f"`gateway {verb_words}` is there already")
        verbs |= table.verbs
        nouns |= table.nouns
    return VerbTable(nouns, verbs)


def _load_table(entry_point: EntryPoint) -> VerbTable:
    """Return the table of verbs of another package; raise GW801 if it cannot be loaded or is no table."""
    try:
        table = entry_point.load()
    except (ImportError, AttributeError) as failure:
        raise _make_package_error(entry_point, str(failure)) from failure
    if not isinstance(table, VerbTable):
        raise _make_package_error(entry_point, f"{entry_point.value} is no table of verbs")
    return table


def make_verb_error(verb_words: str, detail: str) -> Exception:
    """Return GW801 for a verb of another package that cannot be used."""
    from gateway.errors import SETTINGS_WRONG, GatewayError

    return GatewayError(
        SETTINGS_WRONG, f"the verb `gateway {verb_words}` of another package cannot be used: {detail}", _GROUP
    )


def _make_package_error(entry_point: EntryPoint, detail: str) -> Exception:
    """Return the GW801 error that names the package of `entry_point`; `detail` is the cause."""
    from gateway.errors import SETTINGS_WRONG, GatewayError

    package = entry_point.dist.name if entry_point.dist is not None else entry_point.value
    return GatewayError(
        SETTINGS_WRONG, f"the verbs of the package {package} cannot be used: {detail}", entry_point.name
    )
