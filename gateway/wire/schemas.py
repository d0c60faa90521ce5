"""Schema sets: lxml decides at speed, xmlschema explains when somebody asks why.

A set is compiled once from one entry file and what it imports.  Every import is resolved
inside the folder the set was loaded from; nothing is fetched, whatever a schema or a
message says.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib.resources.abc import Traversable
from itertools import islice
from pathlib import Path
from typing import Any, Final

from lxml import etree

from gateway.errors import DOCUMENT_INVALID, SETTINGS_WRONG, GatewayError, Problem
from gateway.wire.xml import xpath_of

__all__ = ["SchemaSet", "Violation"]

_SCHEME: Final = "shipped:///"
_MAX_VIOLATIONS: Final = 50
_MESSAGE_CAP: Final = 500


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing a schema does not allow: where, and in words."""

    line: int
    xpath: str
    message: str


class SchemaSet:
    """The schemas reachable from one entry file of a folder."""

    def __init__(self, folder: Traversable, entry: str, problem: Problem) -> None:
        self.entry = entry
        self._folder = folder
        self._problem = problem
        self._schema = _compile(folder, entry)

    @classmethod
    def load(cls, folder: Traversable, entry: str, problem: Problem = DOCUMENT_INVALID) -> SchemaSet:
        """Return the set of `folder`/`entry`, compiled once a process; `check` raises `problem`."""
        key = (str(folder), entry, problem.id)
        if key not in _LOADED:
            _LOADED[key] = cls(folder, entry, problem)
        return _LOADED[key]

    def accepts(self, root: etree._Element) -> bool:
        """Return whether the schemas allow the element `root` as a document."""
        return bool(self._schema.validate(root))

    def check(self, root: etree._Element) -> None:
        """Raise the problem of this set, with the first violation, unless the schemas allow `root`."""
        if not self.accepts(root):
            first = self._first(root)
            raise GatewayError(self._problem, f"line {first.line}: {first.message}", first.xpath)

    def violations(self, root: etree._Element) -> list[Violation]:
        """Return why the schemas do not allow `root`; empty when they do."""
        if self.accepts(root):
            return []
        return list(islice(self._explained(root), _MAX_VIOLATIONS)) or [self._first(root)]

    def _first(self, root: etree._Element) -> Violation:
        # Threads share this log: it may tell of another document, but the verdict does not come from it.
        log: Any = self._schema.error_log
        for error in log:
            return Violation(int(error.line), str(error.path or xpath_of(root)), _plain(str(error.message)))
        return Violation(_line(root), xpath_of(root), "not allowed by its schema")

    def _explained(self, root: etree._Element) -> Iterator[Violation]:
        for error in self._explainer.iter_errors(root):
            element = error.elem
            known = isinstance(element, etree._Element)
            yield Violation(
                _line(element) if known else 0,
                xpath_of(element) if known else str(error.path or ""),
                _plain(str(error.reason or error.message)),
            )

    @cached_property
    def _explainer(self) -> Any:
        # Imported here: it costs a tenth of a second and most processes never explain anything.
        import xmlschema

        if not isinstance(self._folder, Path):
            raise GatewayError(
                SETTINGS_WRONG, "schemas can be explained from a folder on disk only", self.entry
            )
        return xmlschema.XMLSchema(
            str(self._folder / self.entry),
            base_url=str(self._folder),
            allow="local",
            defuse="always",
        )


_LOADED: Final[dict[tuple[str, str, str], SchemaSet]] = {}


class _Shipped(etree.Resolver):
    """Resolves what a schema imports to a file of the folder, and to nothing else."""

    def __init__(self, folder: Traversable) -> None:
        self._folder = folder

    def resolve(self, system_url: str, _public_id: str, context: Any) -> Any:  # type: ignore[override]
        octets = _read(self._folder, system_url) if system_url.startswith(_SCHEME) else None
        # An empty document does not parse, which ends the compilation with an error.
        return self.resolve_string(octets or b"", context, base_url=system_url)


def _read(folder: Traversable, url: str) -> bytes | None:
    place = folder
    for step in url.removeprefix(_SCHEME).split("/"):
        if step in ("", ".", "..") or "\\" in step or not place.is_dir():
            return None
        place = place / step
    return place.read_bytes() if place.is_file() else None


def _compile(folder: Traversable, entry: str) -> etree.XMLSchema:
    octets = _read(folder, _SCHEME + entry)
    if octets is None:
        raise GatewayError(SETTINGS_WRONG, "the schema is not there", entry)
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
    parser.resolvers.add(_Shipped(folder))
    try:
        return etree.XMLSchema(etree.fromstring(octets, parser, base_url=_SCHEME + entry))
    except (etree.XMLSyntaxError, etree.XMLSchemaParseError) as error:
        raise GatewayError(
            SETTINGS_WRONG, f"the schema cannot be read: {_plain(str(error))}", entry
        ) from None


def _line(element: Any) -> int:
    return int(element.sourceline or 0)


def _plain(message: str) -> str:
    return " ".join(message.split())[:_MESSAGE_CAP]
