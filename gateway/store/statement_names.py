"""What a statement names: its words, once for each text."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple

__all__ = ["StatementNames", "list_names"]

_WORD: Final = re.compile(r"\w+")
_READING: Final = ("SELECT", "EXPLAIN")
_NOTHING: Final[frozenset[str]] = frozenset()


class StatementNames(NamedTuple):
    """The words of a statement, tables and columns among them; those that are written by one that writes."""

    named: frozenset[str]
    written: frozenset[str]


@lru_cache(maxsize=2048)
def list_names(statement: str) -> StatementNames:
    """Return what a statement names; all that one names which does not only read counts as written."""
    named = frozenset(_WORD.findall(statement))
    return StatementNames(named, _NOTHING if statement.startswith(_READING) else named)
