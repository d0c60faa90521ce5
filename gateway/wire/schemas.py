"""Schema sets: lxml decides at speed, xmlschema explains when somebody asks why.

A set is compiled once from one entry file and what it imports.  Every import is resolved
inside the folder the set was loaded from; nothing is fetched, whatever a schema or a
message says.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lxml import etree

from gateway.errors import DOCUMENT_INVALID, SETTINGS_WRONG, GatewayError, Problem
from gateway.wire.compiling import compile_schema
from gateway.wire.judging import Reason, refusal
from gateway.wire.namespaces import XSD
from gateway.wire.xml import xpath_of

if TYPE_CHECKING:
    from gateway.wire.explaining import Explainer

__all__ = ["SchemaSet", "Violation", "collapsed"]

_PARSER: Final = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
_REFERENCES: Final = tuple(f"{{{XSD}}}{name}" for name in ("include", "import", "redefine"))
_RELATIVE: Final = re.compile(r"[A-Za-z0-9._-]+(?:/[A-Za-z0-9._-]+)*")
_MAX_VIOLATIONS: Final = 50
_MESSAGE_CAP: Final = 500
_WHITE_SPACE: Final = re.compile("[ \t\n\r]+")


def collapsed(text: str) -> str:
    """Return the value of an xs:token, as schemas collapse white space (XML Schema part 2 §4.3.6).

    That is the white space of XML.  Other spaces, such as U+00A0, are characters of the
    value: to take them away would make two names one.
    """
    return _WHITE_SPACE.sub(" ", text).strip(" ")


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
        return refusal(self._schema, root) is None

    def check(self, root: etree._Element) -> None:
        """Raise the problem of this set, with the first violation, unless the schemas allow `root`."""
        reason = refusal(self._schema, root)
        if reason is not None:
            first = _first(reason, root)
            raise GatewayError(self._problem, f"line {first.line}: {first.message}", first.xpath)

    def violations(self, root: etree._Element) -> list[Violation]:
        """Return why the schemas do not allow `root`, the first fifty reasons; empty when they do."""
        reason = refusal(self._schema, root)
        if reason is None:
            return []
        return [_explained(error) for error in self._explainer.violations(root, _MAX_VIOLATIONS)] or [
            _first(reason, root)
        ]

    @cached_property
    def _explainer(self) -> Explainer:
        # Imported here: it costs a tenth of a second and most processes never explain anything.
        from gateway.wire.explaining import Explainer

        if not isinstance(self._folder, Path):
            raise GatewayError(
                SETTINGS_WRONG, "schemas can be explained from a folder on disk only", self.entry
            )
        return Explainer(self._folder, self.entry)


def _first(reason: Reason, root: etree._Element) -> Violation:
    return Violation(reason.line or _line(root), reason.path or xpath_of(root), _plain(reason.message))


def _explained(error: Any) -> Violation:
    element = error.elem
    known = isinstance(element, etree._Element)
    return Violation(
        _line(element) if known else 0,
        xpath_of(element) if known else str(error.path or ""),
        _plain(_in_our_words(str(error.reason or error.message))),
    )


_FOREIGN: Final = (
    (re.compile(r"invalid literal for int\(\) with base \d+: (.*)", re.DOTALL), r"\1 is not a whole number"),
    (re.compile(r"\[?<class 'decimal\.\w+'>\]?"), "not a decimal number"),
    (re.compile(r"<class '(\w+)'>"), r"\1"),
    (re.compile(r"XsdPatternFacets\((\[.*\])\)", re.DOTALL), r"\1"),
    (re.compile(r"Xsd\w+\((?:\w+=)?'([^']*)'[^()]*\)"), r"\1"),
)
_LOADED: Final[dict[tuple[str, str, str], SchemaSet]] = {}


def _compile(folder: Traversable, entry: str) -> etree.XMLSchema:
    """Compile the file `entry` of the folder with what it includes and imports.

    By path, not through resolvers of ours: libxml2 has one loader for the whole process, and
    a parse in another thread takes ours away in the middle of a compilation.
    """
    if not isinstance(folder, Path):
        raise GatewayError(SETTINGS_WRONG, "schemas are read from a folder on disk only", entry)
    top = folder.resolve()
    if ".." in Path(entry).parts or not (top / entry).is_relative_to(top) or not (top / entry).is_file():
        raise GatewayError(SETTINGS_WRONG, "the schema is not there", entry)
    try:
        _check_reachable(top, top / entry)
        return compile_schema(top / entry)
    except (etree.XMLSyntaxError, etree.XMLSchemaParseError) as error:
        raise GatewayError(
            SETTINGS_WRONG, f"the schema cannot be read: {_plain(str(error))}", entry
        ) from None


def _check_reachable(top: Path, entry: Path) -> None:
    """Refuse a set of schemas any of which refers to a place that is not a file of the folder."""
    seen: set[Path] = set()
    waiting = [entry]
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        for reference in etree.fromstring(path.read_bytes(), _PARSER).iter(*_REFERENCES):
            location = reference.get("schemaLocation")
            if location is not None:
                waiting.append(_inside(top, path, location))


def _inside(top: Path, path: Path, location: str) -> Path:
    place = (path.parent / location).resolve()
    if not _RELATIVE.fullmatch(location) or not place.is_relative_to(top) or not place.is_file():
        where = path.relative_to(top).as_posix()
        raise GatewayError(
            SETTINGS_WRONG, f"a schema refers to {location[:120]!r}, which is no file here", where
        )
    return place


def _in_our_words(reason: str) -> str:
    """Return a reason without the names of the library and of the language that it comes from."""
    for form, words in _FOREIGN:
        reason = form.sub(words, reason)
    return reason


def _line(element: Any) -> int:
    return int(element.sourceline or 0)


def _plain(message: str) -> str:
    return " ".join(message.split())[:_MESSAGE_CAP]
