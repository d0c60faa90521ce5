"""The mapping of one agency document: its common meanings, unique fields, target tree and checks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from gateway.harmonize.language.document_checks import DocumentCheck
from gateway.harmonize.language.notice_tree import AcceptedNotices
from gateway.harmonize.language.simple_sources import Constant, SerialNumber
from gateway.harmonize.language.target_tree import TargetElement
from gateway.harmonize.types import CodeList, CommonMeaning, Condition, SourceMark, UniqueField

__all__ = [
    "ALL_ITEMS",
    "AgreementOverride",
    "DecisionReading",
    "DocumentCheck",
    "DocumentMapping",
    "Fee",
    "ItemIdentifiers",
    "MeaningNeed",
    "find_item_identifiers",
    "find_type_code",
    "list_type_codes",
]


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
class DecisionReading:
    """How the agency's answer is read: the identifiers of application and item, the list of status codes."""

    correlate: str
    item: str
    status: CodeList
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
    readings: Mapping[str, DecisionReading]
    answers: AcceptedNotices
    withholds: SourceMark
    asks_mark: SourceMark
    mark: SourceMark
    ask_names: Mapping[str, UniqueField]
    claims: frozenset[tuple[str, bool]]
    items_rule: SourceMark | None
    shared_asks: tuple[UniqueField, ...] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "shared_asks", tuple(ask for ask in self.asks if ask.shared))

    @property
    def schema_stem(self) -> str:
        """Return the name of the document's schema file without its ending."""
        return f"{self.organisation}/{self.id}"


#: The item that stands for all items: no item has the number 0.
ALL_ITEMS: Final = "0"


_PLAIN: Final = re.compile(r"[0-9]{1,5}")


_ANY: Final = re.compile(r"(?:[A-Z][A-Z0-9]{2})?([0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class ItemIdentifiers:
    """The identifiers of items: a prefix and the item's number, or the number alone.

    `known` is false where the document is unknown: then any prefix of three characters is accepted.
    """

    prefix: str = ""
    width: int = 1
    known: bool = True

    def parse_item_number(self, identifier: str) -> str | None:
        """Return the item's sequence number, `ALL_ITEMS` for all items, None for any other text."""
        if not self.known:
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
        return ItemIdentifiers(known=False)
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
    own = find_type_code(document)
    return (own,) if own is not None else tuple(code for code, _ in document.answers.type_codes)
