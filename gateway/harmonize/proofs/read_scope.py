"""The leaves of a submission that a document may read, derived from its read set alone.

The read set comes from the mapping, not from an evaluation, so the isolation trials can be
verified against it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

from lxml import etree

from gateway.harmonize.language import (
    CommonMeaning,
    DataDictionary,
    DocumentMapping,
    Field,
    MappingLine,
    ReadSet,
    UniqueField,
    build_read_set,
    get_leaf_path,
    to_element_name,
)
from gateway.harmonize.split import DEC, Leaf, SubmissionIndex, read_element_text

INSIDE: Final = "inside"
OUTSIDE: Final = "outside"
OPEN: Final = "open"

_VALUE_KINDS: Final = frozenset({"value", "attribute"})


def list_value_reads(line: MappingLine) -> list[Field]:
    """Return the fields and meanings whose values the line writes."""
    content = line.content if line.content is not None else line.target.content
    if content is None:
        return []
    return list({(type(source), source.name): source for source in content.list_forwarded_sources()}.values())


def find_attribute_source(line: MappingLine) -> Field | None:
    """Return the field or meaning whose unit, currency or content id a line without content carries."""
    content = line.target.content
    return None if content is None or line.content is not None else content.source.find_attribute_carrier()


@dataclass(slots=True)
class ReadScope:
    """The leaves of a submission that a document's request may depend on."""

    document: DocumentMapping
    read_set: ReadSet
    meanings: dict[tuple[str, bool], list[CommonMeaning]] = field(default_factory=dict)
    asks: dict[str, UniqueField] = field(default_factory=dict)
    read_paths: set[str] = field(default_factory=set)

    @classmethod
    def from_document(cls, document: DocumentMapping, dictionary: DataDictionary) -> ReadScope:
        """Return the read scope of a document."""
        read_scope = cls(document, build_read_set(document, dictionary))
        for ask in document.ask_names.values():
            read_scope.asks[".".join(to_element_name(part) for part in ask.name.split("."))] = ask
        for read in read_scope.read_set.entries_by_key.values():
            if isinstance(read.source, CommonMeaning):
                read_scope.read_paths.add(read.source.path)
                if read.read_kinds - {"count"}:
                    read_scope.meanings.setdefault(get_leaf_path(read.source), []).append(read.source)
        return read_scope

    def classify_leaf(
        self, submission_index: SubmissionIndex, leaf: Leaf, numbers: Collection[str], own_number: int
    ) -> str:
        """Return whether a change of `leaf`'s value may change the request of application `own_number`.

        ``inside``: its value or attribute is written into the request; ``outside``: its value must make
        no difference, though it may have to be present; ``open``: it is read as a guard or a key.
        """
        if leaf.application is not None:
            return (
                self._classify_answer(submission_index, leaf) if leaf.application == own_number else OUTSIDE
            )
        read_kinds = self.read_set.find_read_kinds(leaf.path, in_item=leaf.item is not None)
        if "key" in read_kinds:
            return OPEN
        if (leaf.item is not None and leaf.item not in numbers) or not read_kinds - {"count"}:
            return OUTSIDE
        meanings = self.meanings.get((leaf.path.partition("/@")[0], leaf.item is not None), [])
        chosen = [_is_chosen_value(meaning, leaf) for meaning in meanings]
        if meanings and not any(chosen) and None not in chosen:
            return OUTSIDE
        return INSIDE if True in chosen and read_kinds & _VALUE_KINDS else OPEN

    def find_field(self, leaf: Leaf) -> Field | None:
        """Return the field or meaning whose value, or attribute, a leaf is."""
        if leaf.application is not None:
            return self.asks.get(_get_dotted_name(leaf.element))
        meanings = self.meanings.get((leaf.path.partition("/@")[0], leaf.item is not None), [])
        return next((meaning for meaning in meanings if _is_chosen_value(meaning, leaf)), None)

    def _classify_answer(self, submission_index: SubmissionIndex, leaf: Leaf) -> str:
        """Return INSIDE for the text or own attribute of an answer to this document, else OPEN."""
        ask = self.asks.get(_get_dotted_name(leaf.element))
        if (
            ask is None
            or submission_index.applications[leaf.application or 0].get("document") != self.document.id
        ):
            return OPEN
        return INSIDE if leaf.attribute in (None, ask.attribute) else OPEN


def _is_chosen_value(meaning: CommonMeaning, leaf: Leaf) -> bool | None:
    """Return whether a leaf at the meaning's path is one of its values, None where its position decides."""
    if meaning.first:
        return None
    if meaning.selector is None:
        return True
    parent = leaf.element.getparent()
    sibling = None if parent is None else parent.find(f"{{{DEC}}}{meaning.selector.element}")
    return meaning.selector.find_rank(None if sibling is None else read_element_text(sibling)) is not None


def _get_dotted_name(element: etree._Element) -> str:
    """Return the dotted name of an asked field's element."""
    names: list[str] = []
    current: etree._Element | None = element
    while current is not None and etree.QName(current).localname != "Fields":
        names.append(etree.QName(current).localname)
        current = current.getparent()
    if names and names[-1] == "Item":
        names.pop()
    return ".".join(reversed(names))
