"""The tree of a notice: the elements and attributes that it may hold, and the fact that each gives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from gateway.harmonize.language.code_lists import DEFAULT_ZONE, CodeList
from gateway.harmonize.language.conversion_steps import FormatStep, TranslationStep
from gateway.harmonize.language.target_tree import TextPiece
from gateway.harmonize.language.unique_fields import FieldRequirement
from gateway.harmonize.language.value_shapes import ValueShape
from gateway.wire import Occurs, SourceMark


@dataclass(frozen=True, slots=True)
class FactType:
    """One fact that agencies report, declared once for all notices.

    `per` is the repetition that contains it, empty for the notice itself; `base_fact` names the fact
    from which the list `translation_list` derives it; no notice gives a derived fact. `pattern` is the form
    of the type code of a document that the mappings do not know by one.
    """

    name: str
    type: str
    shape: ValueShape
    per: str
    base_fact: str
    translation_list: CodeList | None
    ko: str
    en: str
    mark: SourceMark
    pattern: str | None = None


@dataclass(frozen=True, slots=True)
class NoticeLine:
    """The meaning of one element or attribute: a fact, the repetition of a value of the request, or nothing.

    `steps` are the conversions that would write the value; they are inverted from the last to
    the first.  `shape` is the form of the value in the notice; `unit` is the unit or currency
    of a number that is written without one.
    """

    fact_type: FactType | None
    request_path: str
    const: str | None
    steps: tuple[FormatStep | TranslationStep, ...]
    shape: ValueShape
    requirement: FieldRequirement
    bound: Occurs
    mark: SourceMark
    unit: str = ""


@dataclass(frozen=True, slots=True)
class NoticeAttribute:
    """An attribute: the unit or currency of the element's value, or a line of its own."""

    name: str
    line: NoticeLine | None
    via: TranslationStep | None
    shape: ValueShape
    is_required: bool
    mark: SourceMark


@dataclass(frozen=True, slots=True)
class NoticeRepetition:
    """A repeated element: the name of the repetition, whether an item is its key, how often it may occur."""

    name: str
    has_item_key: bool
    bound: Occurs
    mark: SourceMark


@dataclass(slots=True)
class NoticeElement:
    """One element of a notice; `position` distinguishes elements that differ in their order only."""

    name: str
    mark: SourceMark
    fixed_attribute: tuple[str, str] | None = None
    position: int = 0
    children: list[NoticeElement] = field(default_factory=list)
    line: NoticeLine | None = None
    text_piece: TextPiece | None = None
    attributes: list[NoticeAttribute] = field(default_factory=list)
    repetition: NoticeRepetition | None = None

    @property
    def is_required(self) -> bool:
        """Return whether a valid notice that has the parent always has the element."""
        if self.repetition is not None:
            return self.repetition.bound.low > 0
        if self.text_piece is not None and self.text_piece.piece_number > 0:
            return False
        if self.line is not None:
            return self.line.requirement.mandatory
        return any(child.is_required for child in self.children) or any(
            a.is_required for a in self.attributes
        )

    @property
    def path_label(self) -> str:
        """Return the element's name with the predicate that distinguishes it, as in a path."""
        if self.fixed_attribute is not None:
            return f"{self.name}[@{self.fixed_attribute[0]}={self.fixed_attribute[1]}]"
        return f"{self.name}[{self.position}]" if self.position else self.name

    def group_children(self) -> list[list[NoticeElement]]:
        """Return the children in their order, grouped by name."""
        groups: dict[str, list[NoticeElement]] = {}
        for child in self.children:
            groups.setdefault(child.name, []).append(child)
        return list(groups.values())

    def walk_elements(self) -> Iterator[NoticeElement]:
        """Yield this element and all below it."""
        yield self
        for child in self.children:
            yield from child.walk_elements()

    def list_lines(self) -> Iterator[NoticeLine]:
        """Yield every line below; a line that is split over several elements is yielded once."""
        for slot in self.walk_elements():
            if slot.line is not None and (slot.text_piece is None or slot.text_piece.piece_number == 0):
                yield slot.line
            yield from (attribute.line for attribute in slot.attributes if attribute.line is not None)


@dataclass(frozen=True, slots=True)
class NoticeMapping:
    """One kind of notice: its tree, and the facts that it implies without an element (`implied_facts`)."""

    id: str
    namespace: str
    ko: str
    en: str
    role: str
    status: str
    shared: bool
    sender: str
    root: NoticeElement
    implied_facts: tuple[tuple[FactType, str, SourceMark], ...]
    mark: SourceMark


@dataclass(frozen=True, slots=True)
class NoticeCatalog:
    """All facts and notices of the mappings; `zone` is that of times without one, and of days."""

    zone: str = DEFAULT_ZONE
    fact_types: Mapping[str, FactType] = field(default_factory=dict)
    notices: Mapping[str, NoticeMapping] = field(default_factory=dict)

    def list_derived_facts(self) -> Iterator[FactType]:
        """Yield the derived facts, each after the fact that it is derived from."""
        return (kind for kind in self.fact_types.values() if kind.translation_list is not None)


@dataclass(frozen=True, slots=True)
class AcceptedNotices:
    """The notices by which a document may be answered, as its mapping names them, each with its mark.

    `type_codes` are those by which such notices name the document, where its requests have none.
    """

    notices: tuple[tuple[str, SourceMark], ...] = ()
    certificate: tuple[str, SourceMark] | None = None
    type_codes: tuple[tuple[str, SourceMark], ...] = ()

    def list_named_notices(self) -> Iterator[tuple[str, SourceMark]]:
        """Yield every notice that is named by its own name."""
        yield from ((name, mark) for name, mark in self.notices if name != SHARED)
        if self.certificate is not None:
            yield self.certificate

    def allows_notice(self, notice: NoticeMapping) -> bool:
        """Return whether the document may be answered by `notice`."""
        shared = notice.shared and any(name == SHARED for name, _ in self.notices)
        return shared or any(name == notice.id for name, _ in self.list_named_notices())


SHARED: Final = "shared"
