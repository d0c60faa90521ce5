"""The survivors that are argued: each with the reason why no layer of ours can tell it."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import yaml

from tests.harmonize.mutation.mutants import Mutant

__all__ = ["Argument", "argument", "arguments"]

_FILE = Path(__file__).parent / "argued.yaml"
_CLASSES = ("equivalent", "outside")


@dataclass(frozen=True, slots=True)
class Argument:
    """Which mutants may live (patterns), why, and if a fact from outside would tell them."""

    kind: str
    document: str
    what: str
    verdict: str
    reason: str

    def covers(self, mutant: Mutant) -> bool:
        """Return whether the argument is about `mutant`."""
        pairs = ((mutant.kind, self.kind), (mutant.document, self.document), (mutant.what, self.what))
        return all(fnmatchcase(text, pattern) for text, pattern in pairs)


@cache
def arguments() -> tuple[Argument, ...]:
    """Return every argument of argued.yaml; brackets in a pattern stand for themselves."""
    found = []
    for entry in yaml.load(_FILE.read_text("utf-8"), yaml.BaseLoader)["argued"]:
        assert entry["verdict"] in _CLASSES, entry
        assert entry["reason"], entry
        documents = entry.get("documents", ["*"])
        for document in documents:
            for what in entry.get("what", ["*"]):
                pattern = what.replace("[", "[[]")
                found.append(Argument(entry["kind"], document, pattern, entry["verdict"], entry["reason"]))
    return tuple(found)


def argument(mutant: Mutant) -> Argument | None:
    """Return the first argument that covers `mutant`."""
    return next((one for one in arguments() if one.covers(mutant)), None)
