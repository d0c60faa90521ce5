"""What a mutant is, the sheet of a document that it is made from, and the register of its kinds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from gateway.harmonize import MappingBundle
from gateway.harmonize.language import DocumentMapping
from gateway.wire import SourceMark, YamlNode
from tests.harmonize.mutation.trees import Path, at, inserted, plain, renamed, replaced, without

__all__ = ["KINDS", "Line", "Mutant", "Sheet", "kind"]


@dataclass(frozen=True, slots=True)
class Mutant:
    """One small change of one document: `tree` is its file afterwards (of codelists.yaml: `registry`)."""

    kind: str
    document: str
    what: str
    mark: SourceMark
    tree: YamlNode
    registry: bool = False

    @property
    def name(self) -> str:
        """Return what a mutant is known by."""
        return f"{self.kind} {self.document} {self.what}"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the puts: where its entry stands in the tree, its target, what it says."""

    path: Path
    target: str
    spec: dict[str, Any]
    mark: SourceMark
    inside: str

    @property
    def place(self) -> Path:
        """Return the path of what the line says."""
        return (*self.path, self.target)

    @property
    def full(self) -> str:
        """Return the line's target with those around it."""
        return f"{self.inside}/{self.target}".lstrip("/")

    @property
    def source(self) -> tuple[str, str]:
        """Return the kind and the name of the line's source, both empty where it is no single one."""
        for key in ("common", "ask", "alike"):
            if isinstance(self.spec.get(key), str):
                return key, str(self.spec[key])
        return "", ""


@dataclass(frozen=True)
class Sheet:
    """A document as its file says it and as it was read, with the mappings around it."""

    bundle: MappingBundle
    document: DocumentMapping
    tree: YamlNode
    registry: YamlNode
    file: str

    @property
    def asks(self) -> Iterator[tuple[Path, str, dict[str, Any], SourceMark]]:
        """Yield every asked field: its path, its dotted name, what it says."""
        yield from self._asked(("asks",), "")

    def _asked(self, path: Path, outer: str) -> Iterator[tuple[Path, str, dict[str, Any], SourceMark]]:
        node = at(self.tree, path)
        assert isinstance(node.value, dict)
        for name, inner in node.value.items():
            full = f"{outer}{name}"
            said = plain(inner)
            yield (*path, name), full, said, inner.mark
            if "fields" in said:
                yield from self._asked((*path, name, "fields"), f"{full}.")

    @property
    def lines(self) -> list[Line]:
        """Return every line of the puts, those that hold others before these."""
        return list(self._lines(("puts",), ""))

    @property
    def leaves(self) -> list[Line]:
        """Return the lines that hold no others."""
        return [line for line in self.lines if "puts" not in line.spec]

    def _lines(self, path: Path, inside: str) -> Iterator[Line]:
        node = at(self.tree, path)
        assert isinstance(node.value, list)
        for number, entry in enumerate(node.value):
            assert isinstance(entry.value, dict)
            ((target, spec),) = entry.value.items()
            line = Line((*path, number), target, plain(spec), entry.mark, inside)
            yield line
            if "puts" in line.spec:
                yield from self._lines((*line.place, "puts"), line.full)

    def mutant(self, kind: str, what: str, mark: SourceMark, tree: YamlNode) -> Mutant:
        """Return a mutant of this document."""
        return Mutant(kind, self.document.id, what, mark, tree)

    def set(self, kind: str, path: Path, value: Any, what: str) -> Mutant:
        """Return the mutant with `value` at `path`."""
        return self.mutant(kind, what, self._mark(path), replaced(self.tree, path, value))

    def drop(self, kind: str, path: Path, what: str) -> Mutant:
        """Return the mutant without what stands at `path`."""
        return self.mutant(kind, what, self._mark(path), without(self.tree, path))

    def rename(self, kind: str, path: Path, name: str, what: str) -> Mutant:
        """Return the mutant with another key at `path`."""
        return self.mutant(kind, what, self._mark(path), renamed(self.tree, path, name))

    def insert(self, kind: str, path: Path, value: Any, what: str) -> Mutant:
        """Return the mutant with `value` before `path`."""
        return self.mutant(kind, what, self._mark(path[:-1]), inserted(self.tree, path, value))

    def _mark(self, path: Path) -> SourceMark:
        while path:
            try:
                return at(self.tree, path).mark
            except (KeyError, IndexError, TypeError):
                path = path[:-1]
        return self.tree.mark


Maker = Callable[[Sheet], Iterator[Mutant]]
KINDS: dict[str, Maker] = {}


def kind(maker: Maker) -> Maker:
    """Register what makes all mutants of a kind, under its own name."""
    KINDS[maker.__name__] = maker
    return maker
