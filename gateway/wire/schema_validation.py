"""Validates documents against a compiled schema, at a cost that grows linearly with the document.

libxml2 writes a message for every violation that it finds, with the path to its element, for
which it counts the preceding siblings. A document with very many violations costs their
number squared, and the messages stay in memory. A larger document is therefore first read
again, piece by piece, by a parser with the schema plugged in: there are no element paths to
compute, and the first piece with a violation ends the reading. The whole tree is validated
only when nothing was found, so that a document is accepted only by the validation of its
tree.

One violation is visible in a tree only: an xs:ID that occurs twice (XML Schema part 1
§3.15.4, Validation Root Valid (ID/IDREF)). When many identifiers are repeated, a copy in
which each has a unique name is validated instead.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, cast

from lxml import etree

from gateway.errors import NO_ROOM, GatewayError, confirm_finding, raise_resource_problem
from gateway.wire.namespaces import EB, WSU, XML
from gateway.wire.violation_words import describe_libxml_violation
from gateway.wire.xml import serialize_element

#: A document with at most this number of elements and attributes is validated as a tree at once: some
#: milliseconds if all are wrong.
_MAX_TREE_NODES: Final = 2_000
#: The minimum octets of an element or attribute: ``<a/>``, or a blank and ``a=""``.
_MIN_NODE_OCTETS: Final = 4
_COUNT_NODES: Final = etree.XPath("count(descendant-or-self::*) + count(descendant-or-self::*/@*)")
#: Octets that are validated between two checks for a violation: some thousand violations at most.
_PIECE_OCTETS: Final = 16_384
#: The attributes that schemas declare as xs:ID.
_ID_ATTRIBUTES: Final = (f"{{{XML}}}id", f"{{{WSU}}}Id", f"{{{EB}}}id", "Id")
_MAX_REPEATED_IDS: Final = 100
_HAS_ELEMENT_WITH_ID: Final = "boolean(id($name))"


@dataclass(frozen=True, slots=True)
class LibxmlViolation:
    """One violation found by libxml2: its text, its line (0: unknown), its path (empty: unknown)."""

    message: str
    line: int = 0
    path: str = ""


class _DiscardingTarget:
    """A parser target that discards the document."""

    def close(self) -> None:
        """Return nothing."""


def find_violation(
    schema: etree.XMLSchema, root: etree._Element, *, octet_count: int | None = None
) -> LibxmlViolation | None:
    """Return why `schema` does not allow `root` as a document; None when it does.

    `octet_count` is the length of the document, where it is known: in a short one nothing need be counted.
    The error log belongs to the schema. When two threads find violations at the same time,
    one may report the reason of the other, but each verdict is correct. A violation is found twice: libxml2
    reports some of its failed allocations as one.
    """
    return confirm_finding(lambda: _find_violation_once(schema, root, octet_count))


def _find_violation_once(
    schema: etree.XMLSchema, root: etree._Element, octet_count: int | None
) -> LibxmlViolation | None:
    """Return the first violation, None for a valid document; a long document is validated in pieces first."""
    is_short = octet_count is not None and octet_count <= _MAX_TREE_NODES * _MIN_NODE_OCTETS
    if not is_short and cast("float", _COUNT_NODES(root)) > _MAX_TREE_NODES:
        violation = _find_streamed_violation(root, schema)
        if violation is not None:
            return violation
        if _count_repeated_ids(root) > _MAX_REPEATED_IDS:
            return _find_repeated_id(schema, serialize_element(root))
    return None if _is_valid(schema, root) else _read_error_log(schema)


def _is_valid(schema: etree.XMLSchema, root: etree._Element) -> bool:
    try:
        return schema.validate(root)
    except etree.XMLSchemaValidateError:
        # An internal error of libxml2, whose log does not always name it: it has no memory to validate.
        raise GatewayError(NO_ROOM, "memory is used up") from None


def _read_error_log(schema: etree.XMLSchema) -> LibxmlViolation:
    """Return the first violation in the error log of `schema`; raise GW806 where memory was used up."""
    error_log: Any = schema.error_log
    for error in error_log:
        if error.type == etree.ErrorTypes.ERR_NO_MEMORY:
            raise GatewayError(NO_ROOM, "memory is used up")
        message = describe_libxml_violation(str(error.message))
        # bounded: a line number of libxml2
        return LibxmlViolation(message, int(error.line), str(error.path or ""))
    return LibxmlViolation("not allowed by its schema")


class _StreamedValidation:
    """Takes a document as it is written, and feeds it in pieces to a parser with the schema plugged in."""

    def __init__(self, parser: Any) -> None:
        self._parser = parser
        self._pending_octets = bytearray()
        self._checked_entries = 0
        self._is_ended = False
        self._violation: LibxmlViolation | None = None

    def write(self, octets: bytes) -> None:
        """Take more octets; those after a violation are of no use."""
        if not self._is_ended:
            self._pending_octets += octets
            if len(self._pending_octets) >= _PIECE_OCTETS:
                self._feed_pending()

    def finish(self) -> LibxmlViolation | None:
        """Feed the last octets, and return the violation that was found."""
        if self._pending_octets and not self._is_ended:
            self._feed_pending()
        return self._violation

    def _feed_pending(self) -> None:
        """Feed the collected octets to the parser, and store the first violation that it has logged."""
        self._is_ended = _feed_piece(self._parser, bytes(self._pending_octets))
        self._pending_octets.clear()
        error_log = self._parser.feed_error_log
        # Warnings are logged too, e.g. of a relative namespace name.
        for entry_index in range(self._checked_entries, len(error_log)):
            if error_log[entry_index].domain == etree.ErrorDomains.SCHEMASV:
                self._violation = LibxmlViolation(
                    describe_libxml_violation(str(error_log[entry_index].message))
                )
                self._is_ended = True
                return
        self._checked_entries = len(error_log)


def _find_streamed_violation(root: etree._Element, schema: etree.XMLSchema) -> LibxmlViolation | None:
    """Return a violation that can be found without a tree, or None."""
    target: Any = _DiscardingTarget()
    parser: Any = etree.XMLParser(
        target=target,
        schema=schema,
        encoding="utf-8",
        resolve_entities=False,
        no_network=True,
        huge_tree=True,  # it was parsed before: only the schema may reject it here
        collect_ids=False,
    )
    validation = _StreamedValidation(parser)
    document: Any = etree.ElementTree(root)
    document.write(validation, encoding="utf-8", xml_declaration=False, with_tail=False)
    return validation.finish()


def _feed_piece(parser: Any, piece: bytes) -> bool:
    """Feed one more piece to the parser; return whether the parser accepts no more."""
    try:
        parser.feed(piece)
    except etree.XMLSyntaxError as error:
        raise_resource_problem(error)
        return True
    return False


def _count_repeated_ids(root: etree._Element) -> int:
    """Return the number of identifier attributes whose value occurs more than once in a document."""
    counts = Counter(
        _read_id_value(element, attribute_name) for element, attribute_name in _iterate_id_attributes(root)
    )
    return sum(count for count in counts.values() if count > 1)


def _iterate_id_attributes(root: etree._Element) -> Iterator[tuple[etree._Element, str]]:
    """Yield each element with an identifier and the name of the attribute, without storing them."""
    for element in root.iter("*"):
        for attribute_name in _ID_ATTRIBUTES:
            if attribute_name in element.attrib:
                yield element, attribute_name


def _read_id_value(element: etree._Element, attribute_name: str) -> str:
    return " ".join(element.get(attribute_name, "").split())


def _find_repeated_id(schema: etree.XMLSchema, octets: bytes) -> LibxmlViolation | None:
    """Return the violation of a document whose only possible violation is a repeated identifier.

    An identifier that the schema never examined, below a wildcard that skips, does not count:
    libxml2 records by name those of the type xs:ID that it validated.
    """
    root: etree._Element = etree.fromstring(octets, etree.XMLParser(huge_tree=True, collect_ids=False))
    values: list[str] = []
    for element, attribute_name in _iterate_id_attributes(root):
        values.append(_read_id_value(element, attribute_name))
        element.set(attribute_name, f"i{len(values) - 1}")
    if not _is_valid(schema, root):
        return _read_error_log(schema)
    find_by_id = etree.XPath(_HAS_ELEMENT_WITH_ID)
    value_counts = Counter(
        value for value_index, value in enumerate(values) if find_by_id(root, name=f"i{value_index}")
    )
    repeated_value = next((value for value, count in value_counts.items() if count > 1), None)
    return (
        None
        if repeated_value is None
        else LibxmlViolation(f"the identifier {repeated_value[:80]!r} stands on more than one element")
    )
