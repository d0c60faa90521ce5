"""Translates the unique fields of a form into the ``asks`` of a document, except fields that are common."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Final

from gateway.harmonize.importer.code_list_choice import ImportedLists, describe_missing_labels
from gateway.harmonize.importer.condition_translation import ConditionSubject, translate_condition
from gateway.harmonize.importer.field_contradictions import (
    describe_decimals,
    describe_other_levels,
    describe_range,
    describe_wco_id,
)
from gateway.harmonize.importer.inventory_fields import InventoryField
from gateway.harmonize.importer.inventory_reader import InventoryDocument
from gateway.harmonize.importer.meaning_match import ImportedMeanings, KnownMeaning
from gateway.harmonize.importer.name_rules import make_field_key, make_label, make_slug
from gateway.harmonize.importer.pattern_translation import translate_pattern
from gateway.harmonize.importer.tokenizer import UnclearError
from gateway.harmonize.types import SourceMark, shorten_text, to_element_name

__all__ = ["DocumentForm", "ImportedField", "RepeatedField", "UnfinishedItem", "read_form"]

_LENGTH: Final = 350
_MIME: Final = ("application/pdf",)
_NUMBERS: Final = ("quantity", "measure", "amount")
_NO_CONDITION: Final = "conditional in the source without a condition"
_RESERVED: Final = {"Item"}
_ORDERS: Final = ("at_least", "at_most", "more_than", "less_than")
# The most characters of a condition or pattern in messages and notes.
_SHOWN: Final = 160


@dataclass(frozen=True, slots=True)
class UnfinishedItem:
    """One point that an engineer must complete: its document, field, kind and text, and its place."""

    document: str
    field: str
    kind: str
    text: str
    mark: SourceMark | None = None


@dataclass(slots=True)
class ImportedField:
    """A unique field during the translation into a mapping.

    `name` is its full name in the mapping, `groups` are the asked groups around it, `home` is
    header or item; `spec` is its entry under ``asks``.
    """

    source: InventoryField
    name: str
    tag: str
    home: str
    ko: str
    en: str
    groups: tuple[ImportedField, ...]
    spec: dict[str, Any] = field(default_factory=dict)
    members: list[ImportedField] = field(default_factory=list)
    codes: tuple[str, ...] | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def max_occurrences(self) -> int:
        """Return how often the field may occur at most."""
        return max((self.source.repeat or (0, 1))[1], 1)

    @property
    def group_names(self) -> tuple[str, ...]:
        """Return the names of the repeated groups around the field, the outermost first."""
        return tuple(group.name for group in self.groups if group.max_occurrences > 1)


@dataclass(frozen=True, slots=True)
class RepeatedField:
    """A unique field that has a common meaning and is therefore not asked."""

    source: InventoryField
    name: str
    tag: str
    home: str
    meaning: KnownMeaning
    reason: str
    condition: dict[str, Any] | None
    mandatory: bool


@dataclass(slots=True)
class DocumentForm:
    """The unique fields of one document, divided into asked fields and those that are common.

    `listed` are the common meanings that the form lists itself; `clauses` are, by the id of a
    check, the mark and the text of its clause.
    """

    paper: InventoryDocument
    lists: ImportedLists
    meanings: ImportedMeanings
    listed: frozenset[str] = frozenset()
    asked: list[ImportedField] = field(default_factory=list)
    again: list[RepeatedField] = field(default_factory=list)
    findings: list[UnfinishedItem] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    pending: list[RepeatedField] = field(default_factory=list)
    clauses: dict[str, tuple[SourceMark, str]] = field(default_factory=dict)

    def list_fields(self, asked: list[ImportedField] | None = None) -> Iterator[ImportedField]:
        """Yield every asked field, groups before their members."""
        for one in self.asked if asked is None else asked:
            yield one
            yield from self.list_fields(one.members)

    def note_unfinished(self, name: str, kind: str, text: str, mark: SourceMark) -> None:
        """Add a point that an engineer must complete, with its place in the inventory."""
        self.findings.append(UnfinishedItem(self.paper.id, name, kind, text, mark))

    def count_one(self, key: str) -> None:
        """Add one to the counter `key`."""
        self.counts[key] = self.counts.get(key, 0) + 1


def read_form(
    paper: InventoryDocument,
    unique: tuple[InventoryField, ...],
    lists: ImportedLists,
    meanings: ImportedMeanings,
    listed: frozenset[str] = frozenset(),
) -> DocumentForm:
    """Return the translated unique fields of a document; `listed` are its common meanings."""
    form = DocumentForm(paper, lists, meanings, listed)
    form.asked = _read_level(form, unique, ())
    for asked in form.list_fields():
        _set_requirement(form, asked)
    for again in form.pending:
        condition = _make_condition(form, again.source, again.name, ())
        form.again.append(replace(again, condition=condition))
    return form


def _read_level(
    form: DocumentForm, fields: tuple[InventoryField, ...], groups: tuple[ImportedField, ...]
) -> list[ImportedField]:
    """Return the asked fields of a level; those that are common are added to ``form.pending``."""
    found: list[ImportedField] = []
    taken = set() if groups else set(_RESERVED)
    for number, source in enumerate(fields, 1):
        key = _find_free_key(make_field_key(source.name, source.en, number), taken)
        taken.add(to_element_name(key))
        home = groups[0].home if groups else (source.level or "header")
        asked = _make_field(form, source, key, home, groups)
        if asked is not None:
            found.append(asked)
    return found


def _find_free_key(key: str, taken: set[str]) -> str:
    """Return a name whose element name is not taken; ``Item`` is reserved for the hub."""
    if to_element_name(key) in _RESERVED & taken:
        key = f"{key}_value"
    name, number = key, 2
    while to_element_name(name) in taken:
        name, number = f"{key}_{number}", number + 1
    return name


def _make_field(
    form: DocumentForm, source: InventoryField, key: str, home: str, groups: tuple[ImportedField, ...]
) -> ImportedField | None:
    group = groups[-1] if groups else None
    name = f"{group.name}.{key}" if group else key
    labels = (source.ko or source.en or make_label(source.name), source.en or make_label(source.name))
    asked = ImportedField(source, name, to_element_name(key), home, *labels, groups)
    if key != source.name:
        form.note_unfinished(name, "name", f"the field is {source.name} in the inventory", source.mark)
    listing = ""
    if source.type == "code":
        listing = _assign_code_list(form, asked)
    elif source.type == "group":
        asked.members = _read_level(form, source.fields, (*groups, asked))
        if not asked.members:
            return None
    if not groups and not source.level:
        text = "the inventory does not say whether it is asked once or for each item"
        form.note_unfinished(name, "level", text, source.mark)
    if source.type == "group" and not groups and (other := describe_other_levels(source, home)):
        form.note_unfinished(name, "level", *other)
        asked.notes.append(other[0])
    match = form.meanings.match_unique_field(source, group.source if group else None, listing)
    said = f"{form.paper.id}.unique.{name}"
    if text := describe_wco_id(source, said, form.meanings, match.meaning if match is not None else None):
        form.note_unfinished(name, "wco_id", text, source.locate_key("wco_id"))
        asked.notes.append(text)
    if match is not None and match.sure and source.type not in ("group", "attachment", "boolean"):
        tag = "".join(one.tag for one in (*groups, asked))
        chain = (source, *(one.source for one in groups))
        mandatory = all(one.need == "M" and not one.condition for one in chain)
        form.pending.append(
            RepeatedField(source, name, tag, home, match.meaning, match.reason, None, mandatory)
        )
        return None
    if match is not None:
        text = f"it may be the common meaning {match.meaning.name}; then it is not asked ({match.reason})"
        form.note_unfinished(name, "perhaps common", text, source.mark)
        asked.notes.append(text)
    asked.spec = {"type": source.type} | asked.spec | _make_bounds(form, asked)
    return asked


def _assign_code_list(form: DocumentForm, asked: ImportedField) -> str:
    """Set the code list of a field; return the list's name, empty where the field has its codes inline."""
    source = asked.source
    if isinstance(source.listing, dict) and source.listing:
        asked.spec = {"codes": {code: _write_labels(code, *both) for code, both in source.listing.items()}}
        asked.codes = tuple(source.listing)
        if text := describe_missing_labels(source.listing):
            form.note_unfinished(asked.name, "label", text, source.locate_key("code_list"))
        return ""
    chosen = form.lists.choose_list(source, f"{form.paper.id} {asked.name}")
    asked.spec = {"list": chosen.name}
    asked.codes = chosen.codes
    if chosen.unfinished:
        mark = source.locate_key("code_list", "pattern")
        form.note_unfinished(asked.name, "list", chosen.unfinished, mark)
        asked.notes.append(chosen.unfinished)
    return chosen.name


def _write_labels(code: str, ko: str, en: str) -> str | dict[str, str]:
    """Return the labels of an inline code, a single text where both languages have the same."""
    return {"ko": ko, "en": en} if ko and en and ko != en else ko or en or code


def _make_bounds(form: DocumentForm, asked: ImportedField) -> dict[str, Any]:
    source = asked.source
    spec: dict[str, Any] = {}
    if source.type in ("text", "id"):
        spec = _make_text_shape(form, asked)
    elif source.type in ("quantity", "measure"):
        spec = _make_unit(form, asked)
    elif source.type == "amount":
        spec = {"currencies": _choose_currencies(form, asked)}
    elif source.type == "attachment":
        spec = {"mime": list(source.mime or _MIME)}
        spec |= {"max_mib": str(source.largest)} if source.largest else {}
    if source.type in _NUMBERS:
        spec |= {"decimals": str(source.decimals)} if source.decimals is not None else {}
        spec |= {"range": list(source.bounds)} if source.bounds else {}
        if text := describe_range(source):
            form.note_unfinished(asked.name, "range", text, source.locate_key("range"))
            asked.notes.append(text)
    if source.repeat is not None and (source.type == "group" or source.repeat[1] > 1):
        spec["repeat"] = [str(source.repeat[0]), str(max(source.repeat[1], 1))]
    return spec


def _make_text_shape(form: DocumentForm, asked: ImportedField) -> dict[str, Any]:
    source = asked.source
    longest = source.longest or source.octets
    if longest is None:
        longest = _LENGTH
        text = f"the inventory says no length; {_LENGTH} characters pass"
        form.note_unfinished(asked.name, "length", text, source.mark)
        asked.notes.append(text)
    spec: dict[str, Any] = {"max": str(longest)}
    if source.pattern:
        try:
            spec["pattern"] = translate_pattern(source.pattern, longest)
        except UnclearError as unclear:
            told = shorten_text(source.pattern, _SHOWN), shorten_text(str(unclear), _SHOWN)
            text = f"the pattern {told[0]} cannot be said ({told[1]}): any text passes"
            form.note_unfinished(asked.name, "pattern", text, source.locate_key("pattern"))
            asked.notes.append(text)
    return spec


def _make_unit(form: DocumentForm, asked: ImportedField) -> dict[str, Any]:
    units = asked.source.units
    if not units:
        text = "the inventory says no unit; it is counted in C62 (one)"
        form.note_unfinished(asked.name, "unit", text, asked.source.mark)
        asked.notes.append(text)
    unknown = [unit for unit in units if not form.lists.is_known_unit(unit)]
    if unknown:
        text = f"no unit of Recommendation 20 and of the table of units: {', '.join(unknown)}"
        form.note_unfinished(asked.name, "unit", text, asked.source.locate_key("unit", "units"))
        asked.notes.append(text)
    return {"units": list(units)} if len(units) > 1 else {"unit": units[0] if units else "C62"}


def _choose_currencies(form: DocumentForm, asked: ImportedField) -> str:
    """Return the list of the currencies of an amount; note a list or decimals that are not said clearly."""
    text, keys = "the inventory says no currency; any of ISO 4217 passes", ("currency", "currencies")
    if asked.source.currencies:
        text, keys = describe_decimals(asked.source), ("decimals", "")
    if text:
        form.note_unfinished(asked.name, "currency", text, asked.source.locate_key(*keys))
        asked.notes.append(text)
    return form.lists.choose_currencies(asked.source, f"{form.paper.id} {asked.name}")


def _set_requirement(form: DocumentForm, asked: ImportedField) -> None:
    """Set the requirement, meaning, labels and note of a field."""
    source, spec = asked.source, asked.spec
    condition = _make_condition(form, source, asked.name, asked.groups)
    note = ""
    if condition is not None and source.need != "O":
        spec["req"] = {"when": condition}
    elif source.need == "M" and not source.condition:
        spec["req"] = "M"
    else:
        spec["req"] = "O"
        if source.condition:
            note = f"conditional in the source: {shorten_text(source.condition, _SHOWN)}"
        elif source.need == "C":
            note = _NO_CONDITION
            text = f"{_NO_CONDITION}: the field is optional"
            form.note_unfinished(asked.name, "condition", text, source.mark)
    if not asked.groups:
        spec["per"] = "item" if asked.home == "item" else "application"
    spec["means"] = f"{make_slug(form.paper.id)}.{asked.name}"
    spec["ko"], spec["en"] = asked.ko, asked.en
    if note or source.note:
        spec["note"] = "; ".join(text for text in (note, source.note) if text)
    if condition is None and source.condition:
        asked.notes += [
            one.text for one in form.findings if (one.field, one.kind) == (asked.name, "condition")
        ]
    if condition is not None and source.need == "M":
        text = "mandatory with a condition: it is required where the condition is true; is M or C meant?"
        form.note_unfinished(asked.name, "condition", text, source.locate_key("condition"))
        asked.notes.append(text)
    if not source.ko:
        form.note_unfinished(asked.name, "label", "the Korean label", source.mark)
    if source.need == "M" and source.repeat is not None and source.repeat[0] == 0:
        text = "it is mandatory and may occur 0 times: mandatory is taken"
        form.note_unfinished(asked.name, "repeat", text, source.locate_key("repeat"))


def _make_condition(
    form: DocumentForm, source: InventoryField, name: str, groups: tuple[ImportedField, ...]
) -> dict[str, Any] | None:
    """Return the condition of a field, None where it has none or it cannot be translated."""
    if not source.condition:
        return None
    shown = shorten_text(source.condition, _SHOWN)
    try:
        condition = translate_condition(
            source.condition, lambda text: _find_subject(form, text, name, groups)
        )
    except UnclearError as unclear:
        form.count_one("conditions_open")
        reason = shorten_text(str(unclear), _SHOWN)
        text = f"the condition {shown!r} cannot be read ({reason}): the field is optional"
        form.note_unfinished(name, "condition", text, source.locate_key("condition"))
        return None
    if source.need == "O":
        form.count_one("conditions_open")
        text = f"optional with the condition {shown!r}: which is meant?"
        form.note_unfinished(name, "condition", text, source.locate_key("condition"))
        return None
    form.count_one("conditions")
    for compared in sorted(set(_list_compared_names(condition))):
        if units := _describe_units(form, compared):
            text = f"the condition {shown!r} compares the number of {compared} whatever its unit: {units}"
            form.note_unfinished(name, "units", text, source.locate_key("condition"))
    return condition


def _list_compared_names(condition: Mapping[str, Any]) -> Iterator[str]:
    """Yield each name that a condition compares with a number other than zero."""
    for key, test in condition.items():
        if key in ("all", "any"):
            for part in test:
                yield from _list_compared_names(part)
        elif key == "not":
            yield from _list_compared_names(test)
        elif any(operator in _ORDERS and Decimal(number) for operator, number in test.items()):
            yield key


def _describe_units(form: DocumentForm, name: str) -> str:
    """Return the units or currencies of a number where it may have several, else an empty text."""
    asked = next((one for one in form.list_fields() if one.name == name), None)
    if asked is not None:
        units = asked.source.units if asked.source.type != "amount" else asked.source.currencies
        if asked.spec.get("currencies") == "iso4217":
            return "any currency"
        return ", ".join(units) if len(units) > 1 else ""
    known = form.meanings.find_by_name(name)
    return {"measure": "any unit", "amount": "any currency"}.get(known.type, "") if known else ""


def _find_subject(
    form: DocumentForm, text: str, own: str, groups: tuple[ImportedField, ...]
) -> ConditionSubject:
    """Return the subject of a name in a condition: a field, the nearest first, or a common meaning.

    Where a field repeats below the place of the condition, the condition holds if one of its
    values passes.
    """
    found = locate_field(form, text, groups)
    if isinstance(found, KnownMeaning):
        if found.per not in ("header", "item"):
            raise UnclearError(f"{found.name} repeats inside an item or the declaration")
        kind = "number" if found.type in ("integer", "decimal", "amount", "measure") else found.type
        return ConditionSubject(found.name, "date" if kind == "datetime" else kind, found.codes)
    if found.name == own:
        raise UnclearError("it names the field itself")
    kind = "number" if found.source.type in _NUMBERS else found.source.type
    return ConditionSubject(found.name, kind, found.codes)


def locate_field(
    form: DocumentForm, text: str, groups: tuple[ImportedField, ...]
) -> ImportedField | KnownMeaning:
    """Return the field or common meaning that `text` names inside `groups`; raise `UnclearError`."""
    levels = [group.members for group in reversed(groups)] + [form.asked]
    for level in levels:
        for one in level:
            if text in (one.source.name, one.name):
                return one
    for one in form.list_fields():
        if text in (one.name, _name_in_inventory(one)):
            return one
    for again in form.pending:
        if text in (again.source.name, again.name):
            return again.meaning
    known = (
        form.meanings.find_by_name(text)
        or form.meanings.find_by_path(text)
        or form.meanings.find_by_name(text.replace("_", "."))
    )
    if known is None:
        inner = [_name_in_inventory(one) for one in form.list_fields() if one.source.name == text]
        advice = f" of that name here: say {' or '.join(inner)}" if inner else " of the document"
        raise UnclearError(f"{text} is no field{advice}")
    return known


def _name_in_inventory(one: ImportedField) -> str:
    """Return the name of a field with those of its groups, as the inventory names them."""
    return ".".join(part.source.name for part in (*one.groups, one))
