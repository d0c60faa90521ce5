"""The evaluation scope of a rule: its application, item and enclosing repetitions; and the trace."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, NamedTuple

from lxml import etree

from gateway.errors import RULE_BROKEN, Problem
from gateway.harmonize.language import (
    CommonMeaning,
    DataDictionary,
    Field,
    MeaningGroup,
    UniqueField,
    ValueTest,
    find_stated_unit,
    list_enclosing_names,
)
from gateway.harmonize.split.submission_index import (
    FoundValue,
    LeafKey,
    Leaves,
    SubmissionIndex,
)
from gateway.wire import SourceMark, read_leaf_text

MAX_DIAGNOSTICS: Final = 500
_MAX_QUOTED_CHARACTERS: Final = 40


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One problem of a submission: its kind, the detail, the pointer and the rule.

    The same finding can concern several applications, so each names its application and document,
    and the organisation where the document has a mapping.
    """

    problem: Problem
    detail: str
    pointer: str
    document: str
    application: str
    rule: SourceMark | None = None
    organisation: str = ""

    @property
    def sentence(self) -> str:
        """Return the detail with the application, document and organisation that it concerns."""
        return f"{self.detail} ({self.concern})"

    @property
    def concern(self) -> str:
        """Return the application, document and organisation that the problem concerns."""
        recipient = f" of {self.organisation}" if self.organisation else ""
        return f"application {self.application[:40]}: {self.document[:70]}{recipient}"


class Fate(NamedTuple):
    """The fate of a leaf for one document, the rule that decided it, and the targets reached."""

    fate: str
    rule: SourceMark
    targets: tuple[str, ...] = ()


class ValueOrigin(NamedTuple):
    """The origin of one value of a request: target path, source, leaves, rule and conversions."""

    target: str
    source: str
    leaves: Leaves
    rule: SourceMark
    transforms: tuple[str, ...]


@dataclass(slots=True)
class FateColumn:
    """The fates of all leaves for one document, by their numbers.

    The cell of a leaf that was forwarded is the first origin that has it, and `further_targets` are the
    other targets that it reached: its `Fate` is made when it is read.
    """

    cells: list[Fate | ValueOrigin | None]
    further_targets: dict[int, list[str]] = field(default_factory=dict)

    def list_fates(self) -> Iterator[Fate | None]:
        """Yield the fate of each leaf, None for one that is not accounted for."""
        for number, cell in enumerate(self.cells):
            if cell is None or isinstance(cell, Fate):
                yield cell
            else:
                yield Fate("forwarded", cell.rule, (cell.target, *self.further_targets.get(number, ())))


@dataclass(slots=True)
class EvaluationTrace:
    """The fates of all leaves for one document, and the problems found during evaluation.

    `forwarded_origins` are the values that reached a request, or would have reached it if they could be
    written, in their order; `fates` has the fates of other leaves. `borrowed_leaves` are the leaves of other
    applications whose shared answers are used. `compared_fields` are the shared fields, each with its goods
    item, whose answers were all compared with the first.
    """

    #: Whether fates are recorded: if not, sources that are only read to record fates need not be evaluated.
    keeps_fates: ClassVar[bool] = True

    document: str
    organisation: str = ""
    fates: dict[LeafKey, Fate] = field(default_factory=dict)
    diagnostics: list[Diagnostic] = field(default_factory=list)
    failed_applications: set[str] = field(default_factory=set)
    borrowed_leaves: set[LeafKey] = field(default_factory=set)
    forwarded_origins: list[ValueOrigin] = field(default_factory=list)
    compared_fields: set[tuple[str, str | None]] = field(default_factory=set)
    _noted: dict[tuple[int, str, SourceMark], Iterable[LeafKey]] = field(default_factory=dict)

    @property
    def is_full(self) -> bool:
        """Return whether the list of troubles is full, so that further details need not be made."""
        return len(self.diagnostics) >= MAX_DIAGNOSTICS

    def record_fate_once(self, leaves: Sequence[LeafKey], fate: str, rule: SourceMark) -> None:
        """Record the fate of a constant sequence of leaves; a repeated call with it returns at once."""
        key = (id(leaves), fate, rule)
        if key not in self._noted:
            self._noted[key] = leaves  # referenced, so that no other object gets its id
            self.record_fate(leaves, fate, rule)

    def record_fate(self, leaves: Iterable[LeafKey], fate: str, rule: SourceMark) -> None:
        """Record that leaves were ``consumed`` or ``withheld`` by `rule`; a stronger fate is retained."""
        fates, noted = self.fates, Fate(fate, rule)
        for leaf in leaves:
            old = fates.get(leaf)
            if old is None or (fate == "consumed" and old.fate == "withheld"):
                fates[leaf] = noted

    def record_forwarding(self, leaves: Leaves, target: str, rule: SourceMark) -> None:
        """Record `leaves` as forwarded to the path `target`, although their value is refused."""
        self.forwarded_origins.append(ValueOrigin(target, "", leaves, rule, ()))

    def write_fates(self, column: FateColumn) -> None:
        """Write the recorded fates into `column`; the first value that a leaf reached names the rule."""
        cells, later_targets = column.cells, column.further_targets
        for leaf, fate in self.fates.items():
            cells[leaf] = fate
        for origin in self.forwarded_origins:
            for leaf in origin.leaves:
                old = cells[leaf]
                if old is None or isinstance(old, Fate):
                    cells[leaf] = origin
                else:
                    later_targets.setdefault(leaf, []).append(origin.target)

    def report_problem(
        self, problem: Problem, detail: str, pointer: str, application: str, rule: SourceMark | None
    ) -> None:
        """Report a problem of `application` that `rule` finds; the application then gets no request."""
        self.failed_applications.add(application)
        if not self.is_full:
            self.diagnostics.append(
                Diagnostic(problem, detail, pointer, self.document, application, rule, self.organisation)
            )


class RequestTrace(EvaluationTrace):
    """A trace that records only the problems: for requests without a ledger of their leaves."""

    __slots__ = ()
    keeps_fates = False

    def record_forwarding(self, leaves: Leaves, target: str, rule: SourceMark) -> None:
        """Record nothing."""

    def record_fate_once(self, leaves: Sequence[LeafKey], fate: str, rule: SourceMark) -> None:
        """Record nothing."""

    def record_fate(self, leaves: Iterable[LeafKey], fate: str, rule: SourceMark) -> None:
        """Record nothing."""


@dataclass(slots=True)
class SiblingFields:
    """Unique fields with one parent element: their elements by name, and the values that were read."""

    elements: dict[str, list[etree._Element]] = field(default_factory=dict)
    values: dict[str, tuple[FoundValue, ...]] = field(default_factory=dict)

    def drop_field(self, name: str) -> None:
        """Remove a field with its cached values."""
        del self.elements[name]
        self.values.pop(name, None)


@dataclass(slots=True)
class UniqueFieldValues:
    """The unique fields of one application: at the top, in each item, in each group element.

    `indexes` are caches, filled when a line first needs them; `plans` are those of the document, which
    all its applications share, in every submission.  `borrowed_elements` are the elements of
    other applications whose answers are shared.  `listed_meanings` are the common meanings that the
    document lists, by their group; a group also has an entry where only an inner group has
    meanings.  `currencies` are those that a common amount may have, `units` those of a common
    measure; empty permits any.
    """

    application_fields: SiblingFields = field(default_factory=SiblingFields)
    fields_by_item: dict[str, SiblingFields] = field(default_factory=dict)
    fields_by_group_element: dict[etree._Element, SiblingFields] = field(default_factory=dict)
    indexes: dict[object, Any] = field(default_factory=dict)
    plans: dict[object, Any] = field(default_factory=dict)
    borrowed_elements: set[etree._Element] = field(default_factory=set)
    listed_meanings: Mapping[str, Sequence[CommonMeaning]] = field(default_factory=dict)
    currencies: frozenset[str] = frozenset()
    units: frozenset[str] = frozenset()


_NO_ANSWERS: Final = SiblingFields()


@dataclass(slots=True, eq=False)
class Scope:
    """One place in the evaluation of one application's rules.

    `item_numbers` are the goods items in scope: all of the application, or those with one value of
    `grouping_field`, which is then read as if it were declared once.  The scopes of the occurrences
    below are made at their first use and cached for the next line.
    """

    submission_index: SubmissionIndex
    dictionary: DataDictionary
    answers: UniqueFieldValues
    trace: EvaluationTrace
    application: str
    item_numbers: tuple[str, ...]
    hub_values: Mapping[str, str]
    item: str | None = None
    unique_occurrences: Mapping[str, etree._Element] = field(default_factory=dict)
    common_occurrences: Mapping[str, etree._Element] = field(default_factory=dict)
    occurrence_positions: Mapping[str, int] = field(default_factory=dict)
    grouping_field: Field | None = None
    _items: list[Scope] | None = None
    _inner_scopes: dict[tuple[str, bool], list[Scope]] | None = None

    def read_values(self, source: Field, rule: SourceMark) -> tuple[FoundValue, ...]:
        """Return the values of `source` in this scope and in every repetition below that it belongs to.

        Record their leaves as read (``consumed``) by `rule`.
        """
        scopes = self.list_value_scopes(source)
        if len(scopes) == 1:
            values = scopes[0].find_local_values(source, rule)
        else:
            values = tuple(value for inner in scopes for value in inner.find_local_values(source, rule))
        if self.trace.keeps_fates:
            for value in values:
                self.trace.record_fate(value.leaves, "consumed", rule)
        return values

    def read_unit(self, source: Field, value: FoundValue, rule: SourceMark, /) -> str | None:
        """Return the unit or currency of a value; the fixed unit where none is written."""
        if source.attribute is None:
            return None
        if self.trace.keeps_fates:
            leaf = self.submission_index.find_attribute_leaf(value.element, source.attribute)
            self.trace.record_fate(() if leaf is None else (leaf,), "consumed", rule)
        return find_stated_unit(source, value.element)

    def report_unlike_unit(self, test: ValueTest, value: FoundValue, unit: str | None, /) -> None:
        """Report a value in a unit that does not convert to that of a condition, once for each such unit."""
        source = test.source
        explanation = (
            f"a value in {(unit or 'no unit')[:_MAX_QUOTED_CHARACTERS]} cannot be compared in {test.unit}"
        )
        detail, pointer = (
            f"{source.en} ({source.ko}): {explanation}",
            self.submission_index.get_pointer(value.element),
        )
        reported = (
            (trouble.application, trouble.pointer, trouble.detail) for trouble in self.trace.diagnostics
        )
        if (self.application, pointer, detail) not in reported:
            self.trace.report_problem(RULE_BROKEN, detail, pointer, self.application, test.mark)

    def list_written_elements(self, ask: UniqueField) -> Sequence[etree._Element]:
        """Return the elements of an asked field or group in this scope, with or without content."""
        return self.find_sibling_fields(ask).elements.get(ask.name, ())

    def count_answers(self, ask: UniqueField) -> tuple[Sequence[etree._Element], int]:
        """Return the elements of an asked field or group in this scope, and how many of them count.

        A group is given by its element, a field by its content.
        """
        branch = self.find_sibling_fields(ask)
        written = branch.elements.get(ask.name, ())
        if not written or ask.type == "group":
            return written, len(written)
        answers = branch.values.get(ask.name)
        return written, len(self._read_answers(branch, ask) if answers is None else answers)

    def find_local_values(self, source: Field, rule: SourceMark) -> tuple[FoundValue, ...]:
        """Return the values of `source` in this scope; record only the leaves read to select them."""
        if source is self.grouping_field and self.item is None:
            return self._find_shared_value(source, rule)
        if isinstance(source, UniqueField):
            branch = self.find_sibling_fields(source)
            answers = branch.values.get(source.name)
            return self._read_answers(branch, source) if answers is None else answers
        base = (
            self.submission_index.declaration
            if source.per == "header"
            else self.find_base_element(source.per)
        )
        if base is None:
            return ()
        values = self.submission_index.find_values(source, base, self.item)
        if not source.is_plain and self.trace.keeps_fates:
            consumed, skipped = self.submission_index.get_selectors(source, base)
            if consumed:
                self.trace.record_fate_once(consumed, "consumed", rule)
            if skipped:
                self.trace.record_fate_once(skipped, "withheld", source.mark)
        return values

    def enter_items(self) -> list[Scope]:
        """Return one scope for each goods item in scope, in order; callers must not change the list."""
        if self._items is None:
            items_by_number = self.submission_index.items
            self._items = [
                self._make_inner_scope(
                    number, self.unique_occurrences, self.common_occurrences, self.occurrence_positions
                )
                for number in self.item_numbers
                if number in items_by_number
            ]
        return self._items

    def enter_value_groups(self, key: Field, rule: SourceMark) -> list[Scope]:
        """Return one scope for each distinct value of `key` in the items, in order of first appearance."""
        numbers: dict[str, list[str]] = {}
        for inner in self.enter_items():
            for value in inner.find_local_values(key, rule)[:1]:
                numbers.setdefault(value.text, []).append(inner.item or "")
        return [
            self._make_grouped_scope(
                tuple(item_numbers), key, {**self.occurrence_positions, key.name: position}
            )
            for position, item_numbers in enumerate(numbers.values(), 1)
        ]

    def enter_field_group(self, group: UniqueField) -> list[Scope]:
        """Return one scope for each occurrence of an asked group; callers must not change the list."""
        scopes = self._find_cached_scopes(group.name, is_asked=True)
        return (
            self._enter_elements(group.name, self.list_written_elements(group)) if scopes is None else scopes
        )

    def enter_meaning_group(self, name: str) -> list[Scope]:
        """Return one scope for each occurrence of a dictionary group; callers must not change the list.

        An occurrence without a value that the document lists is left out and not counted.
        """
        scopes = self._find_cached_scopes(name, is_asked=False)
        if scopes is not None:
            return scopes
        group = self.dictionary.groups[name]
        base = self.find_base_element(group.per)
        elements = self.submission_index.list_group_elements(group, base) if base is not None else []
        if name in self.answers.listed_meanings:
            elements = [element for element in elements if self._has_listed_value(name, element)]
        return self._cache_scopes(
            name,
            [
                self._make_inner_scope(
                    self.item,
                    self.unique_occurrences,
                    {**self.common_occurrences, name: element},
                    {**self.occurrence_positions, name: position},
                )
                for position, element in enumerate(elements, 1)
            ],
            is_asked=False,
        )

    def _has_listed_value(self, name: str, element: etree._Element) -> bool:
        """Return whether an occurrence of a group, or a group inside it, has a listed value."""
        facts, listed = self.submission_index, self.answers.listed_meanings
        if any(facts.find_values(meaning, element, self.item) for meaning in listed[name]):
            return True
        return any(
            self._has_listed_value(inner.name, group_element)
            for inner in self.dictionary.groups.values()
            if inner.per == name and inner.name in listed
            for group_element in facts.list_group_elements(inner, element)
        )

    def has_value(self, source: CommonMeaning) -> bool:
        """Return whether a common meaning has a value in this scope or below; record nothing."""
        for inner in self.list_value_scopes(source):
            base = inner.find_base_element(source.per)
            if base is not None and inner.submission_index.find_values(source, base, inner.item):
                return True
        return False

    def list_value_scopes(self, source: Field) -> list[Scope]:
        """Return every scope, from this one down, in which `source` has its values."""
        if source is self.grouping_field:
            return [self]
        return self._descend_repetitions(source.repetitions)

    def list_occurrence_scopes(self, group: UniqueField | MeaningGroup) -> list[Scope]:
        """Return one scope for each occurrence of a group in this scope and in the repetitions below."""
        return self._descend_repetitions(group.inner_repetitions)

    def _descend_repetitions(self, repetitions: Iterable[str]) -> list[Scope]:
        scopes = [self]
        for repetition in repetitions:
            if not self.is_inside_repetition(repetition):
                scopes = [inner for scope in scopes for inner in scope.enter_repetition(repetition)]
        return scopes

    def is_inside_repetition(self, repetition: str) -> bool:
        """Return whether this scope is inside one occurrence of a repetition."""
        if repetition == "item":
            return self.item is not None
        kind, _, name = repetition.partition(":")
        return name in (self.unique_occurrences if kind == "asked" else self.common_occurrences)

    def enter_repetition(self, repetition: str) -> list[Scope]:
        """Return one scope for each occurrence of a repetition, also where this scope is inside of one."""
        if repetition == "item":
            return self.enter_items()
        kind, _, name = repetition.partition(":")
        return self.enter_group(name, is_asked=kind == "asked")

    def enter_group(self, name: str, *, is_asked: bool) -> list[Scope]:
        """Return one scope for each occurrence of a group, an asked one or one of the dictionary."""
        if not is_asked:
            return self.enter_meaning_group(name)
        scopes = self._find_cached_scopes(name, is_asked=True)
        return self._enter_elements(name, self._list_group_elements(name)) if scopes is None else scopes

    def _enter_elements(self, name: str, elements: Iterable[etree._Element]) -> list[Scope]:
        """Return the scopes of the occurrences of the asked group `name`, one for each of `elements`."""
        return self._cache_scopes(
            name,
            [
                self._make_inner_scope(
                    self.item,
                    {**self.unique_occurrences, name: element},
                    self.common_occurrences,
                    {**self.occurrence_positions, name: position},
                )
                for position, element in enumerate(elements, 1)
            ],
            is_asked=True,
        )

    def _find_cached_scopes(self, name: str, *, is_asked: bool) -> list[Scope] | None:
        """Return the cached scopes of the occurrences of a group, None where there are none."""
        return None if self._inner_scopes is None else self._inner_scopes.get((name, is_asked))

    def _cache_scopes(self, name: str, scopes: list[Scope], *, is_asked: bool) -> list[Scope]:
        if self._inner_scopes is None:
            self._inner_scopes = {}
        self._inner_scopes[name, is_asked] = scopes
        return scopes

    def _make_inner_scope(
        self,
        item: str | None,
        asked_groups: Mapping[str, etree._Element],
        common_occurrences: Mapping[str, etree._Element],
        occurrence_positions: Mapping[str, int],
    ) -> Scope:
        """Return a scope inside this one; positional arguments keep this frequent call fast."""
        return Scope(
            self.submission_index,
            self.dictionary,
            self.answers,
            self.trace,
            self.application,
            self.item_numbers,
            self.hub_values,
            item,
            asked_groups,
            common_occurrences,
            occurrence_positions,
            self.grouping_field,
        )

    def _make_grouped_scope(self, numbers: tuple[str, ...], key: Field, index: Mapping[str, int]) -> Scope:
        """Return a scope over some of the goods items."""
        scope = self._make_inner_scope(self.item, self.unique_occurrences, self.common_occurrences, index)
        scope.item_numbers, scope.grouping_field = numbers, key
        return scope

    def _find_shared_value(self, source: Field, rule: SourceMark) -> tuple[FoundValue, ...]:
        """Return the one value that all goods items in scope have, with the leaves of all of them."""
        values = [
            value for inner in self.enter_items() for value in inner.find_local_values(source, rule)[:1]
        ]
        leaves = tuple(leaf for value in values for leaf in value.leaves)
        return (FoundValue(values[0].text, leaves, values[0].element),) if values else ()

    def _list_group_elements(self, group: str) -> list[etree._Element]:
        """Return the elements of an asked group inside the occurrence of the group around it."""
        outer = group.rpartition(".")[0]
        if outer:
            return self.answers.fields_by_group_element.get(
                self.unique_occurrences[outer], _NO_ANSWERS
            ).elements.get(group, [])
        if self.item is not None:
            elements = self.answers.fields_by_item.get(self.item, _NO_ANSWERS).elements.get(group)
            if elements is not None:
                return elements
        return self.answers.application_fields.elements.get(group, [])

    def find_sibling_fields(self, ask: UniqueField) -> SiblingFields:
        """Return the field `ask` and its siblings in this scope."""
        group = ask.group
        if group in self.unique_occurrences:
            return self.answers.fields_by_group_element.get(self.unique_occurrences[group], _NO_ANSWERS)
        if group:
            return self._find_single_group(group)
        if ask.per == "application":
            return self.answers.application_fields
        return self.answers.fields_by_item.get(self.item or "", _NO_ANSWERS)

    def _find_single_group(self, group: str) -> SiblingFields:
        """Return the members of a group that occurs at most once, named by a line without an ``each``."""
        scope = self
        for name in list_enclosing_names(group):
            if name not in scope.unique_occurrences:
                scopes = scope.enter_group(name, is_asked=True)
                if not scopes:
                    return _NO_ANSWERS
                scope = scopes[0]
        return self.answers.fields_by_group_element.get(scope.unique_occurrences[group], _NO_ANSWERS)

    def _read_answers(self, branch: SiblingFields, ask: UniqueField) -> tuple[FoundValue, ...]:
        """Return the answers to the field `ask`, read from the elements in `branch`; cache them there."""
        elements = branch.elements.get(ask.name)
        if elements is None:
            return ()
        values = branch.values[ask.name] = tuple(self._read_element_values(ask, elements))
        return values

    def _read_element_values(self, ask: UniqueField, elements: Iterable[etree._Element]) -> list[FoundValue]:
        """Return the value of each element with a text; a reference to an attachment needs none."""
        values = []
        for element in elements:
            number = self.submission_index.find_text_leaf(element)
            text = read_leaf_text(element)
            if number is not None and (text.strip() or ask.type == "attachment"):
                values.append(tuple.__new__(FoundValue, (text, (number,), element)))
        return values

    def find_base_element(self, per: str) -> etree._Element | None:
        """Return the element of this scope that contains the meanings of a level; None without one."""
        if per == "header":
            return self.submission_index.declaration
        if per == "item":
            return self.submission_index.items.get(self.item or "")
        return self.common_occurrences.get(per)
