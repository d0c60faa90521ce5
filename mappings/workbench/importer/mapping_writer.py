"""Composes the mapping file of one document: its needs, asks, puts, checks and reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.harmonize import ITEM_PATH
from gateway.wire import shorten_text
from gateway_workbench.importer.condition_translation import UnclearError
from gateway_workbench.importer.invariant_translation import (
    InvariantMember,
    describe_idle_check,
    split_clauses,
    translate_clause,
)
from gateway_workbench.importer.inventory_fields import InventoryInvariant
from gateway_workbench.importer.inventory_reader import InventoryCommonField
from gateway_workbench.importer.meaning_match import ImportedMeaning
from gateway_workbench.importer.unique_fields import (
    DocumentForm,
    ImportedField,
    RepeatedField,
    find_other_organization,
    locate_field,
)
from gateway_workbench.importer.written_names import (
    make_element_name,
    write_comment,
    write_flow,
    write_scalar,
)

_ROOT: Final = "Application"
_MAX_COMMON: Final = 9999
_MAX_VALUES: Final = 99
_MAX_ITEMS: Final = 999
_MAX_CHARACTERS: Final = 160
_NUMBERS: Final = ("quantity", "measure", "amount")
_MEASURED: Final = {"quantity": "unit", "measure": "unit", "amount": "currency"}


@dataclass(slots=True)
class TargetLine:
    """One line of ``puts``: a target with its source, or an element with inner lines."""

    target: str
    spec: dict[str, Any]
    inner: list[TargetLine] = field(default_factory=list)


@dataclass(slots=True)
class _NeededMeanings:
    """The common meanings of a document, each with its requirement and its condition."""

    meanings: dict[str, ImportedMeaning] = field(default_factory=dict)
    mandatory: set[str] = field(default_factory=set)
    conditional: dict[str, dict[str, Any]] = field(default_factory=dict)
    max_values: dict[str, int] = field(default_factory=dict)

    def add_meaning(
        self, meaning: ImportedMeaning, *, mandatory: bool, max_values: int = _MAX_VALUES
    ) -> None:
        """Add a meaning; it is mandatory where one call says so, and only outside groups."""
        self.meanings[meaning.name] = meaning
        self.max_values[meaning.name] = max(max_values, self.max_values.get(meaning.name, 1))
        if mandatory and meaning.per in ("header", "item"):
            self.mandatory.add(meaning.name)


def compose_mapping(
    form: DocumentForm,
    common: Iterable[tuple[InventoryCommonField, ImportedMeaning]],
    refusal_reasons: Mapping[InventoryInvariant, str] | None = None,
) -> str:
    """Return the text of the mapping file of one document.

    `refusal_reasons` gives the reasons why clauses of invariants cannot become checks.
    """
    needs = _collect_needs(form, common)
    form.counts |= {"common": len(needs.meanings), "reconciled": len(form.repeated_fields)}
    form.counts["asked"] = sum(imported_field.source.type != "group" for imported_field in form.list_fields())
    checks = _write_checks(form, needs, refusal_reasons or {})
    lines = [*_write_head(form), "", *_write_needs(needs), "", *_write_asks(form), "", "puts:"]
    lines += _write_lines(_make_target_lines(form, needs), "  ")
    written = any(line.startswith("  - ") for line in checks)
    lines += ["", *(["checks:"] if written else []), *checks] if checks else []
    return "\n".join([*lines, "", "reads: {}"]) + "\n"


def _write_head(form: DocumentForm) -> list[str]:
    document = form.document
    lines = [
        *write_comment("labels, lengths and the order of the elements, against the agency's own form", ""),
    ]
    for key, text in document.remarks.items():
        lines += [f"# {key}: {text}"] if text.isprintable() else []
    if "fee" in document.remarks:
        text = "when the fee is due (fee: {due: before_forwarding or before_result, ko: …, en: …})"
        lines += write_comment(text, "")
        form.note_unfinished("", "fee", f"{text}: {document.remarks['fee']}", document.locate_key("fee"))
    laws = list(document.laws)
    if not laws:
        laws = ["00"]
        lines += write_comment("the codes of the laws that ask for the document", "")
        form.note_unfinished("", "law", "the inventory names no law; 00 stands for it", document.mark)
    if other_code := find_other_organization(document.id, document.organisation, form.lists.offices):
        text = f"the id of the document begins with {other_code}, which is another organisation"
        lines += write_comment(text, "")
        form.note_unfinished("", "id", text, document.locate_key("id"))
    for law in document.laws:
        if law not in form.lists.laws:
            text = f"law {law} is not in needs/laws.csv: no rule of need and no disclaimer can name it"
            lines += write_comment(text, "")
            form.note_unfinished("", "law", text, document.locate_key("law_codes"))
    return [
        *lines,
        f"document: {write_scalar(document.id)}",
        f"organisation: {write_scalar(document.organisation)}",
        f"ko: {write_scalar(document.ko)}",
        f"en: {write_scalar(document.en)}",
        f"direction: {document.direction}",
        f"law: [{', '.join(_quote_text(law) for law in laws)}]",
        f"status: {'verified' if document.verified else 'modelled'}",
        f"root: {_ROOT}",
        "withholds: unlisted            # what no line below names does not leave the gateway",
    ]


def _quote_text(text: str) -> str:
    scalar = write_scalar(text)
    return scalar if scalar.startswith('"') else f'"{text}"'


def _collect_needs(
    form: DocumentForm, common: Iterable[tuple[InventoryCommonField, ImportedMeaning]]
) -> _NeededMeanings:
    needs = _NeededMeanings()
    for common_field, meaning in common:
        needs.add_meaning(
            meaning,
            mandatory=common_field.low > 0,
            max_values=min(common_field.high or _MAX_VALUES, _MAX_COMMON),
        )
        if common_field.low > 0 and meaning.per not in ("header", "item"):
            text = f"{meaning.name} is mandatory in the inventory; here it may be missing, since it repeats"
            form.note_unfinished("", "common", text, common_field.mark)
    for repeated_field in form.repeated_fields:
        new = repeated_field.meaning.name not in needs.meanings
        needs.add_meaning(repeated_field.meaning, mandatory=repeated_field.mandatory)
        if repeated_field.condition is not None and new and repeated_field.meaning.per in ("header", "item"):
            needs.conditional[repeated_field.meaning.name] = repeated_field.condition
    key = form.meanings.find_by_path(f"{ITEM_PATH}/SequenceNumeric")
    if key is not None:
        needs.add_meaning(key, mandatory=True)
    return needs


def _write_needs(needs: _NeededMeanings) -> list[str]:
    optional = [n for n in needs.meanings if n not in needs.mandatory and n not in needs.conditional]
    lines = ["needs:"]
    for key, names in (
        ("mandatory", [n for n in needs.meanings if n in needs.mandatory]),
        ("optional", optional),
    ):
        if names:
            lines += [f"  {key}: [", *_wrap_names(names), "  ]"]
    if needs.conditional:
        lines.append("  conditional:")
        for name, condition in needs.conditional.items():
            lines.append(f"    {name}: {write_flow({'when': condition})}")
    return lines


def _wrap_names(names: list[str]) -> list[str]:
    lines, line = [], "   "
    for number, name in enumerate(names, 1):
        word = f" {name}" + ("," if number < len(names) else "")
        if len(line) + len(word) > 108:
            lines.append(line)
            line = "   "
        line += word
    return [*lines, line]


def _write_asks(form: DocumentForm) -> list[str]:
    if not form.asked_fields:
        return ["asks: {}"]
    return [
        "asks:                          # the only fields that an applicant is asked for",
        *_write_ask_level(form.asked_fields, 2),
    ]


def _write_ask_level(level: list[ImportedField], indent: int) -> list[str]:
    space, lines = " " * indent, []
    for imported_field in level:
        for note in imported_field.notes:
            lines += write_comment(note, space)
        key = imported_field.name.rpartition(".")[2]
        if not imported_field.members:
            lines.append(f"{space}{key}: {write_flow(imported_field.spec)}")
            continue
        lines.append(f"{space}{key}:")
        lines += [f"{space}  {name}: {write_flow(value)}" for name, value in imported_field.spec.items()]
        lines += [f"{space}  fields:", *_write_ask_level(imported_field.members, indent + 4)]
    return lines


def _make_target_lines(form: DocumentForm, needs: _NeededMeanings) -> list[TargetLine]:
    """Return the lines of the request: hub values, then values given once, then those of each item."""
    used_names = {
        imported_field.tag for imported_field in form.asked_fields if imported_field.home == "header"
    }
    lines = [
        TargetLine(_reserve_element_name("ApplicationNumber", used_names), {"hub": "application_number"}),
        TargetLine(_reserve_element_name("FunctionCode", used_names), {"hub": "function"}),
    ]
    item = _reserve_element_name("Item", used_names)
    lines += _make_common_lines(form, needs, item=False, used_names=used_names)
    lines += [
        line
        for imported_field in form.asked_fields
        if imported_field.home == "header"
        for line in _make_field_lines(imported_field)
    ]
    key = form.meanings.find_by_path(f"{ITEM_PATH}/SequenceNumeric")
    if key is None:
        return lines
    item_names = {imported_field.tag for imported_field in form.asked_fields if imported_field.home == "item"}
    inner = [TargetLine(_reserve_element_name("ItemNumber", item_names), {"common": key.name})]
    inner += _make_common_lines(form, needs, item=True, used_names=item_names, done_names={key.name})
    inner += [
        line
        for imported_field in form.asked_fields
        if imported_field.home == "item"
        for line in _make_field_lines(imported_field)
    ]
    each = {"item": "application.items", "key": key.name, "bound": ["1", str(_MAX_ITEMS)]}
    return [*lines, TargetLine(item, {"each": each}, inner)]


def _reserve_element_name(base_name: str, used_names: set[str]) -> str:
    """Return an element name that is not taken, and add it to `used_names`."""
    name, number = base_name, 2
    if name in used_names:
        name = f"Declared{base_name}"
    while name in used_names:
        name, number = f"Declared{base_name}{number}", number + 1
    used_names.add(name)
    return name


def _make_common_lines(
    form: DocumentForm,
    needs: _NeededMeanings,
    *,
    item: bool,
    used_names: set[str],
    done_names: set[str] | None = None,
) -> list[TargetLine]:
    """Return the lines of the common meanings of one level, those in dictionary groups last."""
    tags = {repeated_field.meaning.name: repeated_field for repeated_field in form.repeated_fields}
    home, lines = ("item" if item else "header"), []
    for name, meaning in needs.meanings.items():
        if meaning.per == home and name not in (done_names or ()):
            lines.append(_make_common_line(form, needs, meaning, tags.get(name), used_names))
    groups = form.meanings.shipped.groups
    for name in [name for name, group in groups.items() if group.per == home]:
        lines += _make_group_lines(form, needs, name, used_names)
    return lines


def _make_common_line(
    form: DocumentForm,
    needs: _NeededMeanings,
    meaning: ImportedMeaning,
    repeated_field: RepeatedField | None,
    used_names: set[str],
) -> TargetLine:
    has_own_field = repeated_field is not None and repeated_field.meaning.name not in form.listed_meanings
    base_name = (
        repeated_field.tag
        if repeated_field is not None and has_own_field
        else make_element_name(meaning.name.removeprefix("item."))
    )
    spec = _make_common_spec(meaning)
    max_length = repeated_field.source.max_length if repeated_field is not None and has_own_field else None
    if max_length is not None and meaning.type == "text" and (meaning.max_length or _MAX_COMMON) > max_length:
        spec["limit"] = {"chars": str(max_length)}
    if meaning.many:
        low = "1" if meaning.name in needs.mandatory else "0"
        spec["bound"] = [low, str(max(needs.max_values[meaning.name], 1))]
    return TargetLine(_reserve_element_name(base_name, used_names), spec)


def _make_common_spec(meaning: ImportedMeaning) -> dict[str, Any]:
    spec: dict[str, Any] = {"common": meaning.name}
    if meaning.type == "datetime":
        spec["form"] = "iso"
    return spec | {"measure": {"unit": "@unitCode"}, "amount": {"currency": "@currencyID"}}.get(
        meaning.type, {}
    )


def _make_group_lines(
    form: DocumentForm, needs: _NeededMeanings, group_name: str, used_names: set[str]
) -> list[TargetLine]:
    """Return the element of a dictionary group, nothing where the document needs no meaning in it."""
    inner: list[TargetLine] = []
    inner_names: set[str] = set()
    for meaning in needs.meanings.values():
        if meaning.per == group_name:
            inner.append(
                TargetLine(
                    _reserve_element_name(
                        make_element_name(meaning.name.removeprefix(f"{group_name}.")), inner_names
                    ),
                    _make_common_spec(meaning),
                )
            )
    for inner_group, group in form.meanings.shipped.groups.items():
        if group.per == group_name:
            inner += _make_group_lines(form, needs, inner_group, inner_names)
    if not inner:
        return []
    each = {"common": group_name, "bound": ["0", str(_MAX_COMMON)]}
    return [
        TargetLine(_reserve_element_name(make_element_name(group_name), used_names), {"each": each}, inner)
    ]


def _make_field_lines(imported_field: ImportedField) -> list[TargetLine]:
    source = imported_field.source
    if source.type == "group":
        low, high = (source.repeat or (0, 1))[0], imported_field.max_occurrences
        each = {"asked": imported_field.name, "bound": [str(low), str(high)]}
        return [
            TargetLine(
                imported_field.tag,
                {"each": each},
                [line for member in imported_field.members for line in _make_field_lines(member)],
            )
        ]
    spec: dict[str, Any] = {"ask": imported_field.name}
    if source.type in ("quantity", "measure"):
        spec["unit"] = "@unitCode"
    elif source.type == "amount":
        spec["currency"] = "@currencyID"
    elif source.type == "attachment":
        spec["cid"] = "@cid"
    elif source.max_octets is not None:
        spec["limit"] = {"octets": str(source.max_octets), "charset": source.charset}
    if imported_field.max_occurrences > 1:
        spec["bound"] = [str((source.repeat or (0, 1))[0]), str(imported_field.max_occurrences)]
    return [TargetLine(imported_field.tag, spec)]


def _write_lines(lines: list[TargetLine], indent: str) -> list[str]:
    written = []
    for line in lines:
        if not line.inner:
            written.append(f"{indent}- {line.target}: {write_flow(line.spec)}")
            continue
        written.append(f"{indent}- {line.target}:")
        written += [f"{indent}    {key}: {write_flow(value)}" for key, value in line.spec.items()]
        written += [f"{indent}    puts:", *_write_lines(line.inner, f"{indent}      ")]
    return written


def _write_checks(
    form: DocumentForm, needs: _NeededMeanings, refusal_reasons: Mapping[InventoryInvariant, str]
) -> list[str]:
    """Return the lines of ``checks``; an invariant that cannot be translated becomes a comment."""
    field_invariants = [
        (imported_field, invariant)
        for imported_field in form.list_fields()
        for invariant in imported_field.source.invariants
    ]
    lines: list[str] = []
    for imported_field, invariant in [
        *field_invariants,
        *((None, invariant) for invariant in form.document.invariants),
    ]:
        for text in split_clauses(invariant.text):
            clause = InventoryInvariant(text, invariant.mark)
            lines += _write_clause(form, needs, clause, imported_field, refusal_reasons.get(clause, ""))
    return lines


def _write_clause(
    form: DocumentForm,
    needs: _NeededMeanings,
    clause: InventoryInvariant,
    imported_field: ImportedField | None,
    refusal: str,
) -> list[str]:
    """Return the line of one clause, or a comment where its check must be written by hand.

    The clause is about `imported_field`, or about the whole document where that is None. `refusal` is the
    reason why the clause cannot become a check; an empty text means that there is no such reason.
    """
    field_name = imported_field.name if imported_field is not None else ""
    try:
        if refusal:
            raise UnclearError(refusal)
        check = _make_check(form, needs, clause.text, imported_field)
    except UnclearError as unclear:
        reason = f"cannot be read ({shorten_text(str(unclear), _MAX_CHARACTERS)}): it is not checked"
        return _write_unchecked_clause(form, field_name, clause, reason)
    if idle := describe_idle_check(
        check, {listed_field.name: listed_field for listed_field in form.list_fields()}
    ):
        return _write_unchecked_clause(
            form, field_name, clause, f"is not checked: {shorten_text(idle, _MAX_CHARACTERS)}"
        )
    form.count_one("invariants")
    number = form.counts["invariants"]
    form.clauses[f"rule_{number}"] = clause
    comment = _note_same_unit(form, field_name, check, clause)
    labels = (
        (imported_field.ko, imported_field.en)
        if imported_field is not None
        else (form.document.ko, form.document.en)
    )
    texts = {"ko": f"{labels[0]}: {clause.text}", "en": f"{labels[1]}: {clause.text}"}
    return [*comment, f"  - {write_flow({'id': f'rule_{number}', **check, **texts})}"]


def _write_unchecked_clause(
    form: DocumentForm, field_name: str, clause: InventoryInvariant, reason: str
) -> list[str]:
    """Return a comment on a clause that is not checked; note it as work."""
    form.count_one("invariants_open")
    text = f"the invariant {shorten_text(clause.text, _MAX_CHARACTERS)!r} {reason}"
    form.note_unfinished(field_name, "invariant", text, clause.mark)
    return write_comment(f"{field_name or 'document'}: {text}", "  ")


def _note_same_unit(
    form: DocumentForm, field_name: str, check: Mapping[str, Any], clause: InventoryInvariant
) -> list[str]:
    """Return a comment on a check that compares only values of one unit or currency; note it as work."""
    kind = check.get("when_same")
    if kind is None:
        return []
    units = {"unit": "units", "currency": "currencies"}[kind]
    short_clause = shorten_text(clause.text, _MAX_CHARACTERS)
    text = f"the invariant {short_clause!r} is not checked where the {units} differ (when_same: {kind})"
    form.note_unfinished(field_name, "units", text, clause.mark)
    return write_comment(f"{field_name or 'document'}: {text}", "  ")


def _make_check(
    form: DocumentForm, needs: _NeededMeanings, clause: str, imported_field: ImportedField | None
) -> dict[str, Any]:
    """Return the check of a clause at `imported_field`, or at the document where that is None."""
    outer_groups = imported_field.groups if imported_field is not None else ()
    groups = (
        (*outer_groups, imported_field)
        if imported_field is not None and imported_field.members
        else outer_groups
    )
    outer_group_names = tuple(group.name for group in outer_groups)
    is_whole_document = imported_field is None or (imported_field.home != "item" and not groups)
    used: list[ImportedMeaning] = []
    check = translate_clause(
        clause,
        lambda word: _find_member(form, used, word, groups),
        outer_group_names,
        is_whole_document=is_whole_document,
    )
    for meaning in used:
        needs.add_meaning(meaning, mandatory=False)
    return check


def _find_member(
    form: DocumentForm,
    used_meanings: list[ImportedMeaning],
    member_name: str,
    groups: tuple[ImportedField, ...],
) -> InvariantMember:
    """Return the member that a name in a clause means; a common meaning is added to `used_meanings`."""
    located = locate_field(form, member_name, groups)
    if isinstance(located, ImportedField):
        kind = "number" if located.source.type in _NUMBERS else located.source.type
        per, group_names = (
            "item" if located.home == "item" else "application",
            tuple(group.name for group in located.groups),
        )
        measured = _MEASURED.get(located.source.type, "")
        several, units = located.max_occurrences > 1, _list_units(located)
        return InvariantMember(located.name, kind, per, True, group_names, several, measured, units)
    if located.per not in ("header", "item"):
        raise UnclearError(f"{located.name} repeats")
    kind = "number" if located.type in ("integer", "decimal", "amount", "measure") else located.type
    used_meanings.append(located)
    per = "item" if located.per == "item" else "application"
    measured = _MEASURED.get(located.type, "")
    return InvariantMember(located.name, kind, per, False, (), located.many, measured, None)


def _list_units(imported_field: ImportedField) -> tuple[str, ...] | None:
    """Return the units or currencies that a field may have, None for any."""
    source = imported_field.source
    if source.type in ("quantity", "measure"):
        return source.units or ("C62",)
    return None if imported_field.spec.get("currencies") == "iso4217" else source.currencies
