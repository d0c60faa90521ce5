"""Decides by a compiled schema whether a document is allowed, at a cost that grows as the document does.

libxml2 words every violation that it meets, and for each the path to its element: it counts
the siblings before it.  A document with very many violations costs their number squared,
and what was worded stays in memory.  So a larger document is first read once more, piece
by piece, by a parser into which the schema is plugged: there are no elements to name there,
and the first piece with a violation ends it.  The whole tree is judged only when nothing
was found, so that it is the tree that makes a document allowed.

One thing is a violation in a tree only: an xs:ID that stands twice (XML Schema part 1
§3.15.4, Validation Root Valid (ID/IDREF)).  Where many do, it is told by a copy in which
each has a name of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, cast

from lxml import etree

from gateway.wire.namespaces import EB, WSU, XML
from gateway.wire.xml import serialize_element

__all__ = ["LibxmlViolation", "find_violation"]

#: Elements and attributes of a document that is judged as a tree at once: some milliseconds if all are wrong.
_FEW: Final = 2_000
_NODES: Final = etree.XPath("count(descendant-or-self::*) + count(descendant-or-self::*/@*)")
#: Octets that are judged between two looks for a violation: some thousand violations at most.
_PIECE: Final = 16_384
#: The attributes that schemas declare as xs:ID.
_NAMES: Final = (f"{{{XML}}}id", f"{{{WSU}}}Id", f"{{{EB}}}id", "Id")
_FEW_REPEATED: Final = 100
_BY_IDENTIFIER: Final = "boolean(id($name))"


@dataclass(frozen=True, slots=True)
class LibxmlViolation:
    """One violation that libxml2 met: its words, its line (0: not known), its path (empty: not known)."""

    message: str
    line: int = 0
    path: str = ""


class _DiscardingTarget:
    """What a parser hands a document to that nobody keeps."""

    def close(self) -> None:
        """Make nothing of it."""


def find_violation(schema: etree.XMLSchema, root: etree._Element) -> LibxmlViolation | None:
    """Return why `schema` does not allow `root` as a document; None when it does.

    A log belongs to the schema: of two threads that are refused at once, one may be told
    the other's reason, but the verdict is its own.
    """
    if cast("float", _NODES(root)) > _FEW:
        octets = serialize_element(root)
        found = _find_streamed_violation(octets, schema)
        if found is not None:
            return found
        if _count_repeated_ids(root) > _FEW_REPEATED:
            return _find_repeated_id(schema, octets)
    return None if schema.validate(root) else _read_error_log(schema)


def _read_error_log(schema: etree.XMLSchema) -> LibxmlViolation:
    log: Any = schema.error_log
    for error in log:
        return LibxmlViolation(str(error.message), int(error.line), str(error.path or ""))
    return LibxmlViolation("not allowed by its schema")


def _find_streamed_violation(octets: bytes, schema: etree.XMLSchema) -> LibxmlViolation | None:
    """Return a violation that needs no tree to be seen, None when there is none."""
    target: Any = _DiscardingTarget()
    parser: Any = etree.XMLParser(
        target=target,
        schema=schema,
        encoding="utf-8",
        resolve_entities=False,
        no_network=True,
        huge_tree=True,  # it was read before: nothing is to be refused here but by the schema
        collect_ids=False,
    )
    seen = 0
    for start in range(0, len(octets), _PIECE):
        ended = _feed_piece(parser, octets[start : start + _PIECE])
        log = parser.feed_error_log
        for number in range(seen, len(log)):  # warnings are logged too, as of a relative namespace name
            if log[number].domain == etree.ErrorDomains.SCHEMASV:
                return LibxmlViolation(str(log[number].message))
        if ended:
            break
        seen = len(log)
    return None


def _feed_piece(parser: Any, piece: bytes) -> bool:
    """Hand one more piece to the parser; tell whether it takes no more."""
    try:
        parser.feed(piece)
    except etree.XMLSyntaxError:
        return True
    return False


def _count_repeated_ids(root: etree._Element) -> int:
    """Return how many identifiers of a document stand somewhere else too."""
    counts = Counter(_read_id_value(element, name) for element, name in _iterate_id_attributes(root))
    return sum(count for count in counts.values() if count > 1)


def _iterate_id_attributes(root: etree._Element) -> Iterator[tuple[etree._Element, str]]:
    """Yield the elements with an identifier, each with the name of the attribute; none is kept."""
    for element in root.iter("*"):
        for name in _NAMES:
            if name in element.attrib:
                yield element, name


def _read_id_value(element: etree._Element, name: str) -> str:
    return " ".join(element.get(name, "").split())


def _find_repeated_id(schema: etree.XMLSchema, octets: bytes) -> LibxmlViolation | None:
    """Judge a document in which nothing can be wrong but that an identifier stands twice.

    An identifier that the schema never looked at, below a wildcard that skips, does not count:
    libxml2 keeps those of the type xs:ID that it met, by their names.
    """
    root: etree._Element = etree.fromstring(octets, etree.XMLParser(huge_tree=True, collect_ids=False))
    values: list[str] = []
    for element, name in _iterate_id_attributes(root):
        values.append(_read_id_value(element, name))
        element.set(name, f"i{len(values) - 1}")
    if not schema.validate(root):
        return _read_error_log(schema)
    known = etree.XPath(_BY_IDENTIFIER)
    met = Counter(value for number, value in enumerate(values) if known(root, name=f"i{number}"))
    twice = next((value for value, count in met.items() if count > 1), None)
    return (
        None
        if twice is None
        else LibxmlViolation(f"the identifier {twice[:80]!r} stands on more than one element")
    )
