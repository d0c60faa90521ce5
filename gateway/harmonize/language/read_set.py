"""The read set of a document: everything that can change its request or stop it.

A request is a function of its document's read set and of nothing else.  The set holds
values, the attributes that belong to them, guards, keys and counts, each with the rules
that read it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from gateway.harmonize.language.combined_sources import Concatenation
from gateway.harmonize.language.conversion_steps import ConvertedSource, UnitConversion
from gateway.harmonize.language.data_dictionary import ITEM_PATH, CommonMeaning, DataDictionary, MeaningGroup
from gateway.harmonize.language.document_checks import DocumentCheck
from gateway.harmonize.language.document_mapping import DocumentMapping
from gateway.harmonize.language.target_tree import Repetition, TargetElement, get_leaf_path
from gateway.harmonize.language.unique_fields import (
    Condition,
    UniqueField,
    list_guard_tests,
    walk_fields,
)
from gateway.harmonize.language.value_sources import GroupCount, GroupPosition, Sum
from gateway.wire import SourceMark

READ_KINDS: Final = ("value", "attribute", "guard", "key", "count")
_SUPPLEMENT_KEYS: Final = ("path", "item", "n")
_ITEM_NUMBER: Final = f"{ITEM_PATH}/SequenceNumeric"
ReadableSource = UniqueField | CommonMeaning | MeaningGroup


@dataclass(frozen=True, slots=True)
class ReadUse:
    """One way in which a source is read (one of `READ_KINDS`), and the rule that reads it."""

    read_kind: str
    mark: SourceMark


@dataclass(frozen=True, slots=True)
class ReadEntry:
    """An asked field or group, a common meaning or a group of the dictionary, with all its uses."""

    source: ReadableSource
    uses: tuple[ReadUse, ...]

    @property
    def read_kinds(self) -> frozenset[str]:
        """Return the ways in which the source is read."""
        return frozenset(use.read_kind for use in self.uses)


@dataclass(frozen=True, slots=True)
class ReadSet:
    """Everything that a document reads.

    `entries_by_key` is keyed by kind and name (``ask:drug_class``, ``common:importer.name``,
    ``group:container``).  `read_kinds_by_leaf` has the ways in which each leaf of declaration and
    supplement is read, by its path and whether it belongs to a goods item; a leaf without an
    entry is not read.  `item_rule_marks` are the rules that iterate over the goods items or count them.
    `supplement_mark` is the rule that reads the keys of all values of the supplement (``@path``,
    ``@item``, ``@n``), since it searches for one of them.
    """

    document: str
    entries_by_key: Mapping[str, ReadEntry]
    read_kinds_by_leaf: Mapping[tuple[str, bool], frozenset[str]]
    item_rule_marks: tuple[SourceMark, ...]
    supplement_mark: SourceMark | None

    def find_entry(self, source: ReadableSource) -> ReadEntry | None:
        """Return the entry of a source, None where it is not read."""
        return self.entries_by_key.get(source.key)

    def find_read_kinds(self, path: str, *, in_item: bool) -> frozenset[str]:
        """Return the ways in which a leaf of declaration or supplement is read, empty where it is unread."""
        element_path, _, attribute = path.rpartition("/@")
        if (
            self.supplement_mark is not None
            and element_path.startswith("SUP/")
            and attribute in _SUPPLEMENT_KEYS
        ):
            return frozenset({"key"})
        read_kinds = self.read_kinds_by_leaf.get((path, in_item), frozenset())
        # Items are identified by their numbers, also where a document does not map the number.
        return read_kinds | {"key"} if in_item and path == _ITEM_NUMBER else read_kinds


def build_read_set(document: DocumentMapping, dictionary: DataDictionary) -> ReadSet:
    """Return everything that `document` reads, derived from its mapping alone."""
    uses_by_key: dict[str, dict[ReadUse, None]] = {}
    sources: dict[str, ReadableSource] = {}
    for source, read_kind, mark in _list_document_reads(document, dictionary):
        sources.setdefault(source.key, source)
        uses_by_key.setdefault(source.key, {})[ReadUse(read_kind, mark)] = None
    reads = {key: ReadEntry(sources[key], tuple(uses)) for key, uses in uses_by_key.items()}
    supplement = next((need.mark for need in document.needs if need.meaning.supplement), None)
    return ReadSet(
        document.id,
        reads,
        _collect_leaf_paths(reads.values(), dictionary, document),
        tuple(_list_item_rules(document)),
        supplement,
    )


def _list_document_reads(
    document: DocumentMapping, dictionary: DataDictionary
) -> Iterator[tuple[ReadableSource, str, SourceMark]]:
    """Yield each source that a document reads, with the kind of reading and the mark of the rule."""
    for target in document.root.walk_elements():
        yield from _list_target_reads(target, dictionary, document)
    for need in document.needs:
        # A missing mandatory need stops the request, and so does a value that is given twice.
        yield need.meaning, "count", need.mark
        yield from _list_guard_reads(need.when, need.mark)
    for ask in walk_fields(document.asks):
        yield ask, "count", ask.mark
        if ask.type != "group":
            yield ask, "guard", ask.mark
        if ask.attribute is not None:
            yield ask, "attribute", ask.mark
        yield from _list_guard_reads(ask.requirement.when, ask.mark)
    for check in document.checks:
        yield from _list_check_reads(check)


def _list_target_reads(
    target: TargetElement, dictionary: DataDictionary, document: DocumentMapping
) -> Iterator[tuple[ReadableSource, str, SourceMark]]:
    """Yield what an element reads for its value, its attributes, its condition and its repetition."""
    if target.content is not None:
        yield from _list_content_reads(target.content, target.mark, dictionary, document)
    for attribute in target.attributes:
        if attribute.content is not None:
            yield from _list_content_reads(attribute.content, attribute.mark, dictionary, document)
        elif (
            target.content is not None
            and (carrier := target.content.source.find_attribute_carrier()) is not None
        ):
            yield carrier, "attribute", attribute.mark
    yield from _list_guard_reads(target.when, target.mark)
    if target.repetition is not None:
        yield from _list_repetition_reads(target.repetition, dictionary)


def _list_content_reads(
    content: ConvertedSource, mark: SourceMark, dictionary: DataDictionary, document: DocumentMapping
) -> Iterator[tuple[ReadableSource, str, SourceMark]]:
    """Yield what `content` reads: forwarded values, keys, counts and units, each for the rule at `mark`."""
    source = content.source
    values = list(source.list_forwarded_sources())
    yield from ((forwarded, "value", mark) for forwarded in values)
    for read_source in list(source.list_read_sources())[len(values) :]:
        yield read_source, "count" if read_source.type == "group" else "key", mark
    if isinstance(source, GroupCount):
        yield source.group, "count", mark
    if isinstance(source, GroupPosition):
        yield from (
            (named_source, "count", mark)
            for named_source in _list_named_sources(source.group, dictionary, document)
        )
    for step in content.steps:
        yield from ((key_source, "key", mark) for key_source in step.list_read_sources())
        if isinstance(step, UnitConversion):
            yield from (
                (forwarded, "attribute", mark) for forwarded in values if forwarded.attribute is not None
            )
    if isinstance(source, Concatenation):
        for part in source.parts:
            yield from _list_content_reads(part, mark, dictionary, document)
    if isinstance(source, Sum) and source.source.attribute is not None:
        yield source.source, "attribute", mark


def _list_named_sources(
    name: str, dictionary: DataDictionary, document: DocumentMapping
) -> Iterator[ReadableSource]:
    """Yield the group, or the grouping key of the items, whose position a line writes."""
    every: Iterable[ReadableSource | None] = (
        document.ask_names.get(name),
        dictionary.groups.get(name),
        dictionary.meanings.get(name),
    )
    yield from (source for source in list(every) if source is not None)


def _list_repetition_reads(
    repetition: Repetition, dictionary: DataDictionary
) -> Iterator[tuple[ReadableSource, str, SourceMark]]:
    """Yield what a repetition reads: the count of a group or the key of the items, and its condition."""
    if repetition.ask is not None:
        yield repetition.ask, "count", repetition.mark
    elif repetition.over == "common":
        yield dictionary.groups[repetition.group], "count", repetition.mark
    elif repetition.key is not None:
        yield repetition.key, "key", repetition.mark
    yield from _list_guard_reads(repetition.when, repetition.mark)


def _list_guard_reads(
    condition: Condition | None, mark: SourceMark
) -> Iterator[tuple[ReadableSource, str, SourceMark]]:
    """Yield the sources that a condition tests, and their units where a test names one."""
    for test in list_guard_tests(condition) if condition is not None else ():
        yield test.source, "guard", mark
        if test.unit is not None:
            yield test.source, "attribute", mark


def _list_check_reads(check: DocumentCheck) -> Iterator[tuple[ReadableSource, str, SourceMark]]:
    for source in check.list_read_sources():
        yield source, "guard", check.mark
        if source.attribute is not None:
            yield source, "attribute", check.mark


def _list_item_rules(document: DocumentMapping) -> Iterator[SourceMark]:
    for target in document.root.walk_elements():
        if target.repetition is not None and target.repetition.over in ("item", "distinct"):
            yield target.repetition.mark
    yield document.mark


def _collect_leaf_paths(
    reads: Iterable[ReadEntry], dictionary: DataDictionary, document: DocumentMapping
) -> dict[tuple[str, bool], frozenset[str]]:
    """Return the ways in which leaves of declaration and Supplement are read.

    They are keyed by the path of the leaf and whether it belongs to a goods item.
    """
    listed = {
        group for need in document.needs for group in dictionary.list_enclosing_groups(need.meaning.per)
    }
    kinds_by_path: dict[tuple[str, bool], frozenset[str]] = {}

    def add_read_kinds(path: str, in_item: bool, kinds: Iterable[str]) -> None:
        key = path, in_item
        kinds_by_path[key] = kinds_by_path.get(key, frozenset()) | frozenset(kinds)

    for read in reads:
        if isinstance(read.source, MeaningGroup) and read.source.name not in listed:
            # An empty element of a group is a leaf itself, and is counted like any other element.
            # Where values of the group are listed, only an element with one of them is counted.
            add_read_kinds(
                dictionary.make_group_path(read.source), "item" in read.source.repetitions, ("count",)
            )
        if not isinstance(read.source, CommonMeaning):
            continue
        meaning, (path, in_item) = read.source, get_leaf_path(read.source)
        add_read_kinds(path, in_item, read.read_kinds - {"attribute"})
        if meaning.attribute is not None and "attribute" in read.read_kinds:
            add_read_kinds(f"{path}/@{meaning.attribute}", in_item, ("attribute",))
        if meaning.supplement:
            continue
        if meaning.type == "datetime":
            add_read_kinds(f"{path}/@formatCode", in_item, ("key",))
        if meaning.selector is not None:
            add_read_kinds(f"{meaning.path.rpartition('/')[0]}/{meaning.selector.element}", in_item, ("key",))
    return kinds_by_path
