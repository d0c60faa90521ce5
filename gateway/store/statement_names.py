"""What a statement names: its words, once for each text."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple

__all__ = ["LOGS", "StatementNames", "list_names"]

#: The tables whose rows a transaction collects until its commit.
LOGS: Final = frozenset({"transitions", "events", "evidence"})

_WORD: Final = re.compile(r"\w+")
_READING: Final = ("SELECT", "EXPLAIN")
_NOTHING: Final[frozenset[str]] = frozenset()


class StatementNames(NamedTuple):
    """The words of a statement, tables and columns among them; those that are written by one that writes."""

    named: frozenset[str]
    written: frozenset[str]

    @property
    def is_plain_read(self) -> bool:
        """Whether it writes nothing, and names no log."""
        return not self.written and LOGS.isdisjoint(self.named)


@lru_cache(maxsize=2048)
def list_names(statement: str) -> StatementNames:
    """Return what a statement names; all that one names which does not only read counts as written."""
    named = frozenset(_WORD.findall(statement))
    return StatementNames(named, _NOTHING if statement.startswith(_READING) else named)
