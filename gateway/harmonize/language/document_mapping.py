"""The mapping of one agency document: its common meanings, unique fields, target tree, checks and lines."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from gateway.harmonize.language.conversion_steps import ConvertedSource
from gateway.harmonize.language.data_dictionary import CommonMeaning
from gateway.harmonize.language.document_checks import DocumentCheck
from gateway.harmonize.language.notice_tree import AcceptedNotices
from gateway.harmonize.language.target_tree import Repetition, TargetAttribute, TargetElement
from gateway.harmonize.language.unique_fields import Condition, Field, UniqueField, walk_fields
from gateway.harmonize.language.value_sources import Constant, SerialNumber
from gateway.wire import SourceMark


@dataclass(frozen=True, slots=True)
class MeaningNeed:
    """A common meaning that the document uses, and whether it is required."""

    meaning: CommonMeaning
    mandatory: bool
    when: Condition | None
    mark: SourceMark


@dataclass(frozen=True, slots=True)
class AgreementOverride:
    """A declared exception of agreement: a field asked in place of the value of a common meaning."""

    ask: UniqueField
    instead_of: CommonMeaning
    reason: str
    ko: str
    en: str
    mark: SourceMark


@dataclass(frozen=True, slots=True)
class Fee:
    """When the applicant pays for the application: ``none``, ``before_forwarding`` or ``before_result``."""

    due: str = "none"
    ko: str = ""
    en: str = ""


@dataclass(frozen=True, slots=True)
class DocumentMapping:
    """The mapping of one document of one organisation."""

    id: str
    organisation: str
    namespace: str
    ko: str
    en: str
    direction: str
    laws: tuple[str, ...]
    status: str
    fee: Fee
    needs: tuple[MeaningNeed, ...]
    asks: tuple[UniqueField, ...]
    root: TargetElement
    overrides: Mapping[str, AgreementOverride]
    checks: tuple[DocumentCheck, ...]
    accepted_notices: AcceptedNotices
    withholds_mark: SourceMark
    asks_mark: SourceMark
    mark: SourceMark
    ask_names: Mapping[str, UniqueField]
    source_leaves: frozenset[tuple[str, bool]]
    item_repetition_mark: SourceMark | None
    shared_asks: tuple[UniqueField, ...] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "shared_asks", tuple(ask for ask in self.asks if ask.shared))

    @property
    def schema_stem(self) -> str:
        """Return the name of the document's schema file without its ending."""
        return f"{self.organisation}/{self.id}"


#: The item number that means all items: no item has the number 0.
ALL_ITEMS: Final = "0"


_PLAIN: Final = re.compile(r"[0-9]{1,5}")


_ANY: Final = re.compile(r"(?:[A-Z][A-Z0-9]{2})?([0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class ItemIdentifiers:
    """The identifiers of items: a prefix and the item's number, or the number alone.

    `has_document` is false where the document is unknown: then any prefix of three characters is
    accepted.
    """

    prefix: str = ""
    width: int = 1
    has_document: bool = True

    def parse_item_number(self, identifier: str) -> str | None:
        """Return the item's sequence number, `ALL_ITEMS` for all items, None for any other text."""
        if not self.has_document:
            match = _ANY.fullmatch(identifier)
            return str(int(match[1])) if match else None
        digits = identifier.removeprefix(self.prefix)
        if not _PLAIN.fullmatch(digits):
            return None
        number = str(int(digits))
        return number if self.format_item_identifier(number) == identifier else None

    def format_item_identifier(self, number: str) -> str:
        """Return the identifier of the item with this sequence number."""
        return self.prefix + number.rjust(self.width, "0")


def find_item_identifiers(document: DocumentMapping | None) -> ItemIdentifiers:
    """Return the item identifiers of a document: its serial numbers, else the plain item numbers."""
    if document is None:
        return ItemIdentifiers(has_document=False)
    for target in document.root.walk_elements():
        source = target.content.source if target.content is not None else None
        if isinstance(source, SerialNumber):
            return ItemIdentifiers(source.prefix, source.width)
    return ItemIdentifiers()


def find_type_code(document: DocumentMapping) -> str | None:
    """Return the constant TypeCode of a document's requests, None where they have none."""
    for child in document.root.children:
        source = child.content.source if child.content is not None else None
        if child.name == "TypeCode" and isinstance(source, Constant):
            return source.text
    return None


def list_type_codes(document: DocumentMapping) -> tuple[str, ...]:
    """Return the type codes by which notices may name a document; none where the mappings know none."""
    type_code = find_type_code(document)
    return (
        (type_code,)
        if type_code is not None
        else tuple(code for code, _ in document.accepted_notices.type_codes)
    )


@dataclass(frozen=True, slots=True)
class MappingLine:
    """One place of a request that has a value: the text of an element, or its `attribute`.

    `path` leads to it from the root, without positions. `elements` are the elements that lead to it, the
    outermost first; the last one is its own.
    """

    path: str
    elements: tuple[TargetElement, ...]
    attribute: TargetAttribute | None

    @property
    def target(self) -> TargetElement:
        """Return the element of the line."""
        return self.elements[-1]

    @property
    def content(self) -> ConvertedSource | None:
        """Return the source of the line's own value; None for an attribute of the element's value."""
        return self.target.content if self.attribute is None else self.attribute.content

    @property
    def mark(self) -> SourceMark:
        """Return the place of the line in its file."""
        return self.target.mark if self.attribute is None else self.attribute.mark

    @property
    def name(self) -> str:
        """Return the last name of the line's place."""
        return self.path.rpartition("/")[2]

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """Return every condition that decides whether the line is written, the outermost first."""
        return tuple(element.when for element in self.elements if element.when is not None)

    @property
    def repetitions(self) -> tuple[Repetition, ...]:
        """Return the repetitions that contain the line, the outermost first."""
        return tuple(element.repetition for element in self.elements if element.repetition is not None)

    @property
    def is_per_item(self) -> bool:
        """Return whether the line is in a repetition of the goods items."""
        return any(repetition.over == "item" for repetition in self.repetitions)

    @property
    def read_fields(self) -> tuple[Field, ...]:
        """Return the fields and meanings whose value, or whose attribute, the line writes."""
        if self.content is not None:
            return tuple({source.name: source for source in self.content.list_forwarded_sources()}.values())
        carrier = None if self.target.content is None else self.target.content.source.find_attribute_carrier()
        return () if carrier is None else (carrier,)

    @property
    def read_attribute(self) -> str:
        """Return the attribute of the field that is written, empty where it is its text."""
        return "" if self.attribute is None else self.attribute.of_value or ""


def list_mapping_lines(document: DocumentMapping) -> Iterator[MappingLine]:
    """Yield every line of a document in the order of the request."""
    return _walk_lines(document.root.name, (document.root,))


def list_unsplit_mapping_lines(document: DocumentMapping) -> Iterator[MappingLine]:
    """Yield every line of a document in the order of the request; a text that is split counts as one."""
    for line in list_mapping_lines(document):
        if (
            line.attribute is not None
            or line.target.text_piece is None
            or line.target.text_piece.piece_number == 0
        ):
            yield line


def _walk_lines(path: str, elements: tuple[TargetElement, ...]) -> Iterator[MappingLine]:
    """Yield the line of the last of `elements`, of its attributes, and of all its descendants.

    `elements` are those from the root to this one, and `path` is its path.
    """
    target = elements[-1]
    if target.content is not None:
        yield MappingLine(path, elements, None)
    for attribute in target.attributes:
        yield MappingLine(f"{path}/@{attribute.name}", elements, attribute)
    for child in target.children:
        yield from _walk_lines(f"{path}/{child.name}{child.path_predicates}", (*elements, child))


def list_conditions(document: DocumentMapping) -> Iterator[tuple[Condition, SourceMark, str]]:
    """Yield every condition of a document, with its mark and the name that it applies to."""
    for target in document.root.walk_elements():
        if target.when is not None:
            yield target.when, target.mark, target.name
        if target.repetition is not None and target.repetition.when is not None:
            yield target.repetition.when, target.repetition.mark, target.name
    for ask in walk_fields(document.asks):
        if ask.requirement.when is not None:
            yield ask.requirement.when, ask.mark, ask.name
    for need in document.needs:
        if need.when is not None:
            yield need.when, need.mark, need.meaning.name
    for check in document.checks:
        if check.when is not None:
            yield check.when, check.mark, check.id
