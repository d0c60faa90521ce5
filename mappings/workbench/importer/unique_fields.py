"""Translates the unique fields of a form into the ``asks`` of a document, except fields that are common."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Final

from gateway.harmonize import parse_fraction, to_element_name
from gateway.wire import CURRENCY_DECIMALS, SourceMark, load_wco_elements, shorten_text
from gateway_workbench.importer.code_list_choice import (
    ImportedLists,
    describe_missing_labels,
    translate_pattern,
)
from gateway_workbench.importer.condition_translation import (
    ConditionSubject,
    UnclearError,
    translate_condition,
)
from gateway_workbench.importer.inventory_fields import (
    InventoryField,
    InventoryInvariant,
    list_all_fields,
)
from gateway_workbench.importer.inventory_reader import InventoryDocument
from gateway_workbench.importer.meaning_match import ImportedMeaning, ImportedMeanings
from gateway_workbench.importer.written_names import make_field_key, make_label, make_slug

_MAX_CHARACTERS: Final = 160
_LEVELS: Final = {"header": "for the whole application", "item": "for each item"}


def describe_other_levels(group: InventoryField, home: str) -> tuple[str, SourceMark] | None:
    """Return a sentence on the fields of a group whose level is not `home`, with the mark of the first one.

    Returns None where each field has this level or states no level.
    """
    others = [
        inventory_field
        for inventory_field in list_all_fields(group.fields)
        if inventory_field.level not in ("", home)
    ]
    if not others:
        return None
    names = shorten_text(", ".join(inventory_field.name for inventory_field in others), _MAX_CHARACTERS)
    group_level = (
        f"the group is of level {home}" if group.level else f"the group says none, and {home} is taken"
    )
    text = f"level {others[0].level} is said of {names}, but {group_level}: it is asked {_LEVELS[home]}"
    return text, others[0].locate_key("level")


def describe_decimals(field: InventoryField) -> str:
    """Return where an amount has not the decimals that ISO 4217 gives its currencies, empty for nowhere."""
    decimals_by_code = {
        code: CURRENCY_DECIMALS[code] for code in field.currencies if code in CURRENCY_DECIMALS
    }
    if field.decimals is None or not decimals_by_code:
        return ""
    if field.decimals > max(decimals_by_code.values()):
        return f"more decimals ({field.decimals}) than ISO 4217 gives: {_list_decimals(decimals_by_code)}"
    fewer = {code: number for code, number in decimals_by_code.items() if number > field.decimals}
    return f"fewer decimals ({field.decimals}) than ISO 4217 gives: {_list_decimals(fewer)}" if fewer else ""


def _list_decimals(decimals_by_code: Mapping[str, int]) -> str:
    return shorten_text(
        ", ".join(f"{code} {number}" for code, number in decimals_by_code.items()), _MAX_CHARACTERS
    )


def describe_range(field: InventoryField) -> str:
    """Return that a bound of a range has more decimals than the field, empty where none has."""
    if field.bounds is None or field.decimals is None:
        return ""
    finer = [bound for bound in field.bounds if (parse_fraction(bound) * 10**field.decimals).denominator > 1]
    return (
        f"the bound {finer[0]} of the range has more decimals than the field ({field.decimals})"
        if finer
        else ""
    )


def describe_wco_id(
    field: InventoryField, location: str, meanings: ImportedMeanings, meaning: ImportedMeaning | None
) -> str:
    """Return in words why the WCO id of a field is unclear; an empty text where it is clear.

    `meaning` is the common meaning that the field has or may have; `location` is the field in errors.
    Raise GW502 for an id that is not that of the field's path.
    """
    if not field.wco:
        return ""
    elements = load_wco_elements()
    element = elements.get(field.path) or elements.get(f"Declaration/{field.path}")
    if element is not None and element.wco_id != field.wco:
        expected = f"the id of the element, {element.wco_id or 'none'}"
        raise field.locate_key("wco_id").make_error(f"{location}.wco_id", expected, field.wco)
    paths = [path for path, candidate in elements.items() if candidate.wco_id == field.wco]
    if field.path or (meaning is not None and meaning.path in paths):
        return ""
    if not paths:
        return f"no element of the declaration has the WCO id {shorten_text(field.wco, _MAX_CHARACTERS)}"
    common = next(
        (candidate for candidate in map(meanings.find_by_path, paths) if candidate is not None), None
    )
    if common is not None:
        return f"its WCO id {field.wco} is that of {common.path}; if it is {common.name}, it is not asked"
    others = f" and of {len(paths) - 1} others" if len(paths) > 1 else ""
    return f"its WCO id {field.wco} is that of {paths[0]}{others}, and it says no path"


def find_other_organization(document: str, own_code: str, codes: frozenset[str]) -> str:
    """Return the longest code of another organisation with which the id of a document begins.

    Returns an empty text where the id begins with none of `codes`, or with `own_code`.
    """
    matching = [code for code in codes if f"{document}-".startswith(tuple(f"{code}{sign}" for sign in "-_."))]
    longest = max(matching, key=len, default="")
    return longest if own_code not in matching else ""


_LENGTH: Final = 350
_MIME: Final = ("application/pdf",)
_NUMBERS: Final = ("quantity", "measure", "amount")
_NO_CONDITION: Final = "conditional in the source without a condition"
_RESERVED: Final = {"Item"}
_ORDERS: Final = ("at_least", "at_most", "more_than", "less_than")


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
    meaning: ImportedMeaning
    reason: str
    condition: dict[str, Any] | None
    mandatory: bool


@dataclass(slots=True)
class DocumentForm:
    """The unique fields of one document, divided into asked fields and those that are common.

    `listed_meanings` are the common meanings that the form lists itself; `clauses` are, by the id of a
    check, the clause of an invariant that it is made of.
    """

    document: InventoryDocument
    lists: ImportedLists
    meanings: ImportedMeanings
    listed_meanings: frozenset[str] = frozenset()
    asked_fields: list[ImportedField] = field(default_factory=list)
    repeated_fields: list[RepeatedField] = field(default_factory=list)
    findings: list[UnfinishedItem] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    pending: list[RepeatedField] = field(default_factory=list)
    clauses: dict[str, InventoryInvariant] = field(default_factory=dict)

    def list_fields(self, fields: list[ImportedField] | None = None) -> Iterator[ImportedField]:
        """Yield every asked field, groups before their members."""
        for imported_field in self.asked_fields if fields is None else fields:
            yield imported_field
            yield from self.list_fields(imported_field.members)

    def note_unfinished(self, name: str, kind: str, text: str, mark: SourceMark) -> None:
        """Add a point that an engineer must complete, with its place in the inventory."""
        self.findings.append(UnfinishedItem(self.document.id, name, kind, text, mark))

    def count_one(self, key: str) -> None:
        """Add one to the counter `key`."""
        self.counts[key] = self.counts.get(key, 0) + 1


def read_form(
    document: InventoryDocument,
    unique: tuple[InventoryField, ...],
    lists: ImportedLists,
    meanings: ImportedMeanings,
    listed: frozenset[str] = frozenset(),
) -> DocumentForm:
    """Return the translated unique fields of a document; `listed` are its common meanings."""
    form = DocumentForm(document, lists, meanings, listed)
    form.asked_fields = _read_level(form, unique, ())
    for imported_field in form.list_fields():
        _set_requirement(form, imported_field)
    for repeated_field in form.pending:
        condition = _make_condition(form, repeated_field.source, repeated_field.name, ())
        form.repeated_fields.append(replace(repeated_field, condition=condition))
    return form


def _read_level(
    form: DocumentForm, fields: tuple[InventoryField, ...], groups: tuple[ImportedField, ...]
) -> list[ImportedField]:
    """Return the asked fields of a level; those that are common are added to ``form.pending``."""
    asked_fields: list[ImportedField] = []
    used_names = set() if groups else set(_RESERVED)
    for number, source in enumerate(fields, 1):
        key = _find_free_key(make_field_key(source.name, source.en, number), used_names)
        used_names.add(to_element_name(key))
        home = groups[0].home if groups else (source.level or "header")
        imported_field = _make_field(form, source, key, home, groups)
        if imported_field is not None:
            asked_fields.append(imported_field)
    return asked_fields


def _find_free_key(key: str, used_names: set[str]) -> str:
    """Return a name whose element name is not taken; ``Item`` is reserved for the hub."""
    if to_element_name(key) in _RESERVED & used_names:
        key = f"{key}_value"
    name, number = key, 2
    while to_element_name(name) in used_names:
        name, number = f"{key}_{number}", number + 1
    return name


def _make_field(
    form: DocumentForm, source: InventoryField, key: str, home: str, groups: tuple[ImportedField, ...]
) -> ImportedField | None:
    group = groups[-1] if groups else None
    name = f"{group.name}.{key}" if group else key
    labels = (source.ko or source.en or make_label(source.name), source.en or make_label(source.name))
    imported_field = ImportedField(source, name, to_element_name(key), home, *labels, groups)
    if key != source.name:
        form.note_unfinished(name, "name", f"the field is {source.name} in the inventory", source.mark)
    listing = ""
    if source.type == "code":
        listing = _assign_code_list(form, imported_field)
    elif source.type == "group":
        imported_field.members = _read_level(form, source.fields, (*groups, imported_field))
        if not imported_field.members:
            return None
    if not groups and not source.level:
        text = "the inventory does not say whether it is asked once or for each item"
        form.note_unfinished(name, "level", text, source.mark)
    if source.type == "group" and not groups and (difference := describe_other_levels(source, home)):
        form.note_unfinished(name, "level", *difference)
        imported_field.notes.append(difference[0])
    match = form.meanings.match_unique_field(source, group.source if group else None, listing)
    location = f"{form.document.id}.unique.{name}"
    if text := describe_wco_id(source, location, form.meanings, match.meaning if match is not None else None):
        form.note_unfinished(name, "wco_id", text, source.locate_key("wco_id"))
        imported_field.notes.append(text)
    if match is not None and match.sure and source.type not in ("group", "attachment", "boolean"):
        tag = "".join(part.tag for part in (*groups, imported_field))
        chain = (source, *(part.source for part in groups))
        mandatory = all(part.need == "M" and not part.condition for part in chain)
        form.pending.append(
            RepeatedField(source, name, tag, home, match.meaning, match.reason, None, mandatory)
        )
        return None
    if match is not None:
        text = f"it may be the common meaning {match.meaning.name}; then it is not asked ({match.reason})"
        form.note_unfinished(name, "perhaps common", text, source.mark)
        imported_field.notes.append(text)
    imported_field.spec = (
        {"type": source.type} | imported_field.spec | _make_value_limits(form, imported_field)
    )
    return imported_field


def _assign_code_list(form: DocumentForm, imported_field: ImportedField) -> str:
    """Set the code list of a field; return the list's name, empty where the field has its codes inline."""
    source = imported_field.source
    if isinstance(source.listing, dict) and source.listing:
        imported_field.spec = {
            "codes": {code: _write_labels(code, *both) for code, both in source.listing.items()}
        }
        imported_field.codes = tuple(source.listing)
        if text := describe_missing_labels(source.listing):
            form.note_unfinished(imported_field.name, "label", text, source.locate_key("code_list"))
        return ""
    chosen = form.lists.choose_list(source, f"{form.document.id} {imported_field.name}")
    imported_field.spec = {"list": chosen.name}
    imported_field.codes = chosen.codes
    if chosen.unfinished:
        mark = source.locate_key("code_list", "pattern")
        form.note_unfinished(imported_field.name, "list", chosen.unfinished, mark)
        imported_field.notes.append(chosen.unfinished)
    return chosen.name


def _write_labels(code: str, ko: str, en: str) -> str | dict[str, str]:
    """Return the labels of an inline code, a single text where both languages have the same."""
    return {"ko": ko, "en": en} if ko and en and ko != en else ko or en or code


def _make_value_limits(form: DocumentForm, imported_field: ImportedField) -> dict[str, Any]:
    source = imported_field.source
    spec: dict[str, Any] = {}
    if source.type in ("text", "id"):
        spec = _make_text_shape(form, imported_field)
    elif source.type in ("quantity", "measure"):
        spec = _make_unit_entry(form, imported_field)
    elif source.type == "amount":
        spec = {"currencies": _choose_currencies(form, imported_field)}
    elif source.type == "attachment":
        spec = {"mime": list(source.mime or _MIME)}
        spec |= {"max_mib": str(source.max_mebibytes)} if source.max_mebibytes else {}
    if source.type in _NUMBERS:
        spec |= {"decimals": str(source.decimals)} if source.decimals is not None else {}
        spec |= {"range": list(source.bounds)} if source.bounds else {}
        if text := describe_range(source):
            form.note_unfinished(imported_field.name, "range", text, source.locate_key("range"))
            imported_field.notes.append(text)
    if source.repeat is not None and (source.type == "group" or source.repeat[1] > 1):
        spec["repeat"] = [str(source.repeat[0]), str(max(source.repeat[1], 1))]
    return spec


def _make_text_shape(form: DocumentForm, imported_field: ImportedField) -> dict[str, Any]:
    source = imported_field.source
    max_length = source.max_length or source.max_octets
    if max_length is None:
        max_length = _LENGTH
        text = f"the inventory says no length; {_LENGTH} characters pass"
        form.note_unfinished(imported_field.name, "length", text, source.mark)
        imported_field.notes.append(text)
    spec: dict[str, Any] = {"max": str(max_length)}
    if source.pattern:
        try:
            spec["pattern"] = translate_pattern(source.pattern, max_length)
        except UnclearError as unclear:
            excerpts = (
                shorten_text(source.pattern, _MAX_CHARACTERS),
                shorten_text(str(unclear), _MAX_CHARACTERS),
            )
            text = f"the pattern {excerpts[0]} cannot be said ({excerpts[1]}): any text passes"
            form.note_unfinished(imported_field.name, "pattern", text, source.locate_key("pattern"))
            imported_field.notes.append(text)
    return spec


def _make_unit_entry(form: DocumentForm, imported_field: ImportedField) -> dict[str, Any]:
    units = imported_field.source.units
    if not units:
        text = "the inventory says no unit; it is counted in C62 (one)"
        form.note_unfinished(imported_field.name, "unit", text, imported_field.source.mark)
        imported_field.notes.append(text)
    unknown = [unit for unit in units if not form.lists.is_allowed_unit(unit)]
    if unknown:
        text = f"no unit of Recommendation 20 and of the table of units: {', '.join(unknown)}"
        form.note_unfinished(
            imported_field.name, "unit", text, imported_field.source.locate_key("unit", "units")
        )
        imported_field.notes.append(text)
    return {"units": list(units)} if len(units) > 1 else {"unit": units[0] if units else "C62"}


def _choose_currencies(form: DocumentForm, imported_field: ImportedField) -> str:
    """Return the list of the currencies of an amount; note a list or decimals that are not said clearly."""
    text, keys = "the inventory says no currency; any of ISO 4217 passes", ("currency", "currencies")
    if imported_field.source.currencies:
        text, keys = describe_decimals(imported_field.source), ("decimals", "")
    if text:
        form.note_unfinished(imported_field.name, "currency", text, imported_field.source.locate_key(*keys))
        imported_field.notes.append(text)
    return form.lists.choose_currencies(imported_field.source, f"{form.document.id} {imported_field.name}")


def _set_requirement(form: DocumentForm, imported_field: ImportedField) -> None:
    """Set the requirement, meaning, labels and note of a field."""
    source, spec = imported_field.source, imported_field.spec
    condition = _make_condition(form, source, imported_field.name, imported_field.groups)
    note = ""
    if condition is not None and source.need != "O":
        spec["req"] = {"when": condition}
    elif source.need == "M" and not source.condition:
        spec["req"] = "M"
    else:
        spec["req"] = "O"
        if source.condition:
            note = f"conditional in the source: {shorten_text(source.condition, _MAX_CHARACTERS)}"
        elif source.need == "C":
            note = _NO_CONDITION
            text = f"{_NO_CONDITION}: the field is optional"
            form.note_unfinished(imported_field.name, "condition", text, source.mark)
    if not imported_field.groups:
        spec["per"] = "item" if imported_field.home == "item" else "application"
    spec["means"] = f"{make_slug(form.document.id)}.{imported_field.name}"
    spec["ko"], spec["en"] = imported_field.ko, imported_field.en
    if note or source.note:
        spec["note"] = "; ".join(text for text in (note, source.note) if text)
    if condition is None and source.condition:
        imported_field.notes += [
            finding.text
            for finding in form.findings
            if (finding.field, finding.kind) == (imported_field.name, "condition")
        ]
    if condition is not None and source.need == "M":
        text = "mandatory with a condition: it is required where the condition is true; is M or C meant?"
        form.note_unfinished(imported_field.name, "condition", text, source.locate_key("condition"))
        imported_field.notes.append(text)
    if not source.ko:
        form.note_unfinished(imported_field.name, "label", "the Korean label", source.mark)
    if source.need == "M" and source.repeat is not None and source.repeat[0] == 0:
        text = "it is mandatory and may occur 0 times: mandatory is taken"
        form.note_unfinished(imported_field.name, "repeat", text, source.locate_key("repeat"))


def _make_condition(
    form: DocumentForm, source: InventoryField, field_name: str, groups: tuple[ImportedField, ...]
) -> dict[str, Any] | None:
    """Return the condition of a field, None where it has none or it cannot be translated."""
    if not source.condition:
        return None
    excerpt = shorten_text(source.condition, _MAX_CHARACTERS)
    try:
        condition = translate_condition(
            source.condition, lambda text: _find_subject(form, text, field_name, groups)
        )
    except UnclearError as unclear:
        form.count_one("conditions_open")
        reason = shorten_text(str(unclear), _MAX_CHARACTERS)
        text = f"the condition {excerpt!r} cannot be read ({reason}): the field is optional"
        form.note_unfinished(field_name, "condition", text, source.locate_key("condition"))
        return None
    if source.need == "O":
        form.count_one("conditions_open")
        text = f"optional with the condition {excerpt!r}: which is meant?"
        form.note_unfinished(field_name, "condition", text, source.locate_key("condition"))
        return None
    form.count_one("conditions")
    for compared in sorted(set(_list_compared_names(condition))):
        if units := _describe_units(form, compared):
            text = f"the condition {excerpt!r} compares the number of {compared} whatever its unit: {units}"
            form.note_unfinished(field_name, "units", text, source.locate_key("condition"))
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
    imported_field = next((candidate for candidate in form.list_fields() if candidate.name == name), None)
    if imported_field is not None:
        units = (
            imported_field.source.units
            if imported_field.source.type != "amount"
            else imported_field.source.currencies
        )
        if imported_field.spec.get("currencies") == "iso4217":
            return "any currency"
        return ", ".join(units) if len(units) > 1 else ""
    meaning = form.meanings.find_by_name(name)
    return {"measure": "any unit", "amount": "any currency"}.get(meaning.type, "") if meaning else ""


def _find_subject(
    form: DocumentForm, subject_name: str, own_name: str, groups: tuple[ImportedField, ...]
) -> ConditionSubject:
    """Return the subject of a name in a condition: a field, the nearest first, or a common meaning.

    Where a field repeats below the place of the condition, the condition holds if one of its
    values passes.
    """
    located = locate_field(form, subject_name, groups)
    if isinstance(located, ImportedMeaning):
        if located.per not in ("header", "item"):
            raise UnclearError(f"{located.name} repeats inside an item or the declaration")
        kind = "number" if located.type in ("integer", "decimal", "amount", "measure") else located.type
        return ConditionSubject(located.name, "date" if kind == "datetime" else kind, located.codes)
    if located.name == own_name:
        raise UnclearError("it names the field itself")
    kind = "number" if located.source.type in _NUMBERS else located.source.type
    return ConditionSubject(located.name, kind, located.codes)


def locate_field(
    form: DocumentForm, name: str, groups: tuple[ImportedField, ...]
) -> ImportedField | ImportedMeaning:
    """Return the field or common meaning that `name` names inside `groups`; raise `UnclearError`."""
    levels = [group.members for group in reversed(groups)] + [form.asked_fields]
    for level in levels:
        for imported_field in level:
            if name in (imported_field.source.name, imported_field.name):
                return imported_field
    for imported_field in form.list_fields():
        if name in (imported_field.name, _make_inventory_name(imported_field)):
            return imported_field
    for repeated_field in form.pending:
        if name in (repeated_field.source.name, repeated_field.name):
            return repeated_field.meaning
    meaning = (
        form.meanings.find_by_name(name)
        or form.meanings.find_by_path(name)
        or form.meanings.find_by_name(name.replace("_", "."))
    )
    if meaning is None:
        inner = [
            _make_inventory_name(imported_field)
            for imported_field in form.list_fields()
            if imported_field.source.name == name
        ]
        advice = f" of that name here: say {' or '.join(inner)}" if inner else " of the document"
        raise UnclearError(f"{name} is no field{advice}")
    return meaning


def _make_inventory_name(imported_field: ImportedField) -> str:
    """Return the name of a field with those of its groups, as the inventory names them."""
    return ".".join(part.source.name for part in (*imported_field.groups, imported_field))
