"""Composes the mapping file of one document: its needs, asks, puts, checks and reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.harmonize.importer.field_contradictions import find_other_organization
from gateway.harmonize.importer.invariant_bounds import describe_idle_check
from gateway.harmonize.importer.invariant_translation import InvariantMember, split_clauses, translate_clause
from gateway.harmonize.importer.inventory_reader import InventoryCommonField
from gateway.harmonize.importer.meaning_match import KnownMeaning
from gateway.harmonize.importer.name_rules import make_element_name
from gateway.harmonize.importer.tokenizer import UnclearError
from gateway.harmonize.importer.unique_fields import DocumentForm, ImportedField, RepeatedField, locate_field
from gateway.harmonize.importer.yaml_writer import write_comment, write_flow, write_scalar
from gateway.harmonize.types import ITEM_PATH, SourceMark, shorten_text

__all__ = ["TargetLine", "compose_mapping"]

_ROOT: Final = "Application"
_MOST_COMMON: Final = 9999
_MOST_VALUES: Final = 99
_MOST_ITEMS: Final = 999
_SHOWN: Final = 160
_NUMBERS: Final = ("quantity", "measure", "amount")
_MEASURED: Final = {"quantity": "unit", "measure": "unit", "amount": "currency"}
_READS: Final = "  SubmitDecision: {correlate: application_number, item: sequence, status: requirementStatus}"


@dataclass(slots=True)
class TargetLine:
    """One line of ``puts``: a target with its source, or an element with inner lines."""

    target: str
    spec: dict[str, Any]
    inner: list[TargetLine] = field(default_factory=list)


@dataclass(slots=True)
class _NeededMeanings:
    """The common meanings of a document, each with its requirement and its condition."""

    meanings: dict[str, KnownMeaning] = field(default_factory=dict)
    mandatory: set[str] = field(default_factory=set)
    conditional: dict[str, dict[str, Any]] = field(default_factory=dict)
    most: dict[str, int] = field(default_factory=dict)

    def add_meaning(self, known: KnownMeaning, *, mandatory: bool, most: int = _MOST_VALUES) -> None:
        """Add a meaning; it is mandatory where one call says so, and only outside groups."""
        self.meanings[known.name] = known
        self.most[known.name] = max(most, self.most.get(known.name, 1))
        if mandatory and known.per in ("header", "item"):
            self.mandatory.add(known.name)


def compose_mapping(
    form: DocumentForm,
    common: Iterable[tuple[InventoryCommonField, KnownMeaning]],
    refused: Mapping[tuple[SourceMark, str], str] | None = None,
) -> str:
    """Return the text of the mapping file of one document.

    `refused` gives, by mark and text, the reasons why clauses of invariants cannot become checks.
    """
    needs = _collect_needs(form, common)
    form.counts |= {"common": len(needs.meanings), "reconciled": len(form.again)}
    form.counts["asked"] = sum(one.source.type != "group" for one in form.list_fields())
    checks = _write_checks(form, needs, refused or {})
    lines = [*_write_head(form), "", *_write_needs(needs), "", *_write_asks(form), "", "puts:"]
    lines += _write_lines(_make_target_lines(form, needs), "  ")
    written = any(line.startswith("  - ") for line in checks)
    lines += ["", *(["checks:"] if written else []), *checks] if checks else []
    return "\n".join([*lines, "", "reads:", _READS]) + "\n"


def _write_head(form: DocumentForm) -> list[str]:
    paper = form.paper
    lines = [
        *write_comment("labels, lengths and the order of the elements, against the agency's own form", ""),
    ]
    for key, text in paper.remarks.items():
        lines += [f"# {key}: {text}"] if text.isprintable() else []
    if "fee" in paper.remarks:
        text = "when the fee is due (fee: {due: before_forwarding or before_result, ko: …, en: …})"
        lines += write_comment(text, "")
        form.note_unfinished("", "fee", f"{text}: {paper.remarks['fee']}", paper.locate_key("fee"))
    laws = list(paper.laws)
    if not laws:
        laws = ["00"]
        lines += write_comment("the codes of the laws that ask for the document", "")
        form.note_unfinished("", "law", "the inventory names no law; 00 stands for it", paper.mark)
    if other := find_other_organization(paper.id, paper.organisation, form.lists.offices):
        text = f"the id of the document begins with {other}, which is another organisation"
        lines += write_comment(text, "")
        form.note_unfinished("", "id", text, paper.locate_key("id"))
    for law in paper.laws:
        if law not in form.lists.laws:
            text = f"law {law} is not in needs/laws.csv: no rule of need and no disclaimer can name it"
            lines += write_comment(text, "")
            form.note_unfinished("", "law", text, paper.locate_key("law_codes"))
    return [
        *lines,
        f"document: {write_scalar(paper.id)}",
        f"organisation: {write_scalar(paper.organisation)}",
        f"ko: {write_scalar(paper.ko)}",
        f"en: {write_scalar(paper.en)}",
        f"direction: {paper.direction}",
        f"law: [{', '.join(_quote_text(law) for law in laws)}]",
        f"status: {'verified' if paper.verified else 'modelled'}",
        f"root: {_ROOT}",
        "withholds: unlisted            # what no line below names does not leave the gateway",
    ]


def _quote_text(text: str) -> str:
    shown = write_scalar(text)
    return shown if shown.startswith('"') else f'"{text}"'


def _collect_needs(
    form: DocumentForm, common: Iterable[tuple[InventoryCommonField, KnownMeaning]]
) -> _NeededMeanings:
    needs = _NeededMeanings()
    for one, known in common:
        needs.add_meaning(known, mandatory=one.low > 0, most=min(one.high or _MOST_VALUES, _MOST_COMMON))
        if one.low > 0 and known.per not in ("header", "item"):
            text = f"{known.name} is mandatory in the inventory; here it may be missing, since it repeats"
            form.note_unfinished("", "common", text, one.mark)
    for again in form.again:
        new = again.meaning.name not in needs.meanings
        needs.add_meaning(again.meaning, mandatory=again.mandatory)
        if again.condition is not None and new and again.meaning.per in ("header", "item"):
            needs.conditional[again.meaning.name] = again.condition
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
    if not form.asked:
        return ["asks: {}"]
    return [
        "asks:                          # the only fields that an applicant is asked for",
        *_write_ask_level(form.asked, 2),
    ]


def _write_ask_level(level: list[ImportedField], indent: int) -> list[str]:
    space, lines = " " * indent, []
    for one in level:
        for note in one.notes:
            lines += write_comment(note, space)
        key = one.name.rpartition(".")[2]
        if not one.members:
            lines.append(f"{space}{key}: {write_flow(one.spec)}")
            continue
        lines.append(f"{space}{key}:")
        lines += [f"{space}  {name}: {write_flow(value)}" for name, value in one.spec.items()]
        lines += [f"{space}  fields:", *_write_ask_level(one.members, indent + 4)]
    return lines


def _make_target_lines(form: DocumentForm, needs: _NeededMeanings) -> list[TargetLine]:
    """Return the lines of the request: hub values, then values given once, then those of each item."""
    taken = {one.tag for one in form.asked if one.home == "header"}
    lines = [
        TargetLine(_take_element_name("ApplicationNumber", taken), {"hub": "application_number"}),
        TargetLine(_take_element_name("FunctionCode", taken), {"hub": "function"}),
    ]
    item = _take_element_name("Item", taken)
    lines += _make_common_lines(form, needs, item=False, taken=taken)
    lines += [line for one in form.asked if one.home == "header" for line in _make_field_lines(one)]
    key = form.meanings.find_by_path(f"{ITEM_PATH}/SequenceNumeric")
    if key is None:
        return lines
    inside = {one.tag for one in form.asked if one.home == "item"}
    inner = [TargetLine(_take_element_name("ItemNumber", inside), {"common": key.name})]
    inner += _make_common_lines(form, needs, item=True, taken=inside, done={key.name})
    inner += [line for one in form.asked if one.home == "item" for line in _make_field_lines(one)]
    each = {"item": "application.items", "key": key.name, "bound": ["1", str(_MOST_ITEMS)]}
    return [*lines, TargetLine(item, {"each": each}, inner)]


def _take_element_name(wanted: str, taken: set[str]) -> str:
    """Return an element name that is not taken, and add it to `taken`."""
    name, number = wanted, 2
    if name in taken:
        name = f"Declared{wanted}"
    while name in taken:
        name, number = f"Declared{wanted}{number}", number + 1
    taken.add(name)
    return name


def _make_common_lines(
    form: DocumentForm, needs: _NeededMeanings, *, item: bool, taken: set[str], done: set[str] | None = None
) -> list[TargetLine]:
    """Return the lines of the common meanings of one level, those in dictionary groups last."""
    tags = {again.meaning.name: again for again in form.again}
    home, lines = ("item" if item else "header"), []
    for name, known in needs.meanings.items():
        if known.per == home and name not in (done or ()):
            lines.append(_make_common_line(form, needs, known, tags.get(name), taken))
    groups = form.meanings.shipped.groups
    for name in [name for name, group in groups.items() if group.per == home]:
        lines += _make_group_lines(form, needs, name, taken)
    return lines


def _make_common_line(
    form: DocumentForm,
    needs: _NeededMeanings,
    known: KnownMeaning,
    again: RepeatedField | None,
    taken: set[str],
) -> TargetLine:
    own = again is not None and again.meaning.name not in form.listed
    wanted = again.tag if again is not None and own else make_element_name(known.name.removeprefix("item."))
    spec = _make_common_spec(known)
    longest = again.source.longest if again is not None and own else None
    if longest is not None and known.type == "text" and (known.longest or _MOST_COMMON) > longest:
        spec["limit"] = {"chars": str(longest)}
    if known.many:
        low = "1" if known.name in needs.mandatory else "0"
        spec["bound"] = [low, str(max(needs.most[known.name], 1))]
    return TargetLine(_take_element_name(wanted, taken), spec)


def _make_common_spec(known: KnownMeaning) -> dict[str, Any]:
    spec: dict[str, Any] = {"common": known.name}
    if known.type == "datetime":
        spec["form"] = "iso"
    return spec | {"measure": {"unit": "@unitCode"}, "amount": {"currency": "@currencyID"}}.get(
        known.type, {}
    )


def _make_group_lines(
    form: DocumentForm, needs: _NeededMeanings, name: str, taken: set[str]
) -> list[TargetLine]:
    """Return the element of a dictionary group, nothing where the document needs no meaning in it."""
    inner: list[TargetLine] = []
    inside: set[str] = set()
    for known in needs.meanings.values():
        if known.per == name:
            inner.append(
                TargetLine(
                    _take_element_name(make_element_name(known.name.removeprefix(f"{name}.")), inside),
                    _make_common_spec(known),
                )
            )
    for other, group in form.meanings.shipped.groups.items():
        if group.per == name:
            inner += _make_group_lines(form, needs, other, inside)
    if not inner:
        return []
    each = {"common": name, "bound": ["0", str(_MOST_COMMON)]}
    return [TargetLine(_take_element_name(make_element_name(name), taken), {"each": each}, inner)]


def _make_field_lines(one: ImportedField) -> list[TargetLine]:
    source = one.source
    if source.type == "group":
        low, high = (source.repeat or (0, 1))[0], one.max_occurrences
        each = {"asked": one.name, "bound": [str(low), str(high)]}
        return [
            TargetLine(
                one.tag,
                {"each": each},
                [line for member in one.members for line in _make_field_lines(member)],
            )
        ]
    spec: dict[str, Any] = {"ask": one.name}
    if source.type in ("quantity", "measure"):
        spec["unit"] = "@unitCode"
    elif source.type == "amount":
        spec["currency"] = "@currencyID"
    elif source.type == "attachment":
        spec["cid"] = "@cid"
    elif source.octets is not None:
        spec["limit"] = {"octets": str(source.octets), "charset": source.charset}
    if one.max_occurrences > 1:
        spec["bound"] = [str((source.repeat or (0, 1))[0]), str(one.max_occurrences)]
    return [TargetLine(one.tag, spec)]


def _write_lines(lines: list[TargetLine], indent: str) -> list[str]:
    found = []
    for line in lines:
        if not line.inner:
            found.append(f"{indent}- {line.target}: {write_flow(line.spec)}")
            continue
        found.append(f"{indent}- {line.target}:")
        found += [f"{indent}    {key}: {write_flow(value)}" for key, value in line.spec.items()]
        found += [f"{indent}    puts:", *_write_lines(line.inner, f"{indent}      ")]
    return found


def _write_checks(
    form: DocumentForm, needs: _NeededMeanings, refused: Mapping[tuple[SourceMark, str], str]
) -> list[str]:
    """Return the lines of ``checks``; an invariant that cannot be translated becomes a comment."""
    places = [(one, told) for one in form.list_fields() for told in one.source.invariants]
    lines: list[str] = []
    for place, told in [*places, *((None, told) for told in form.paper.invariants)]:
        for clause in split_clauses(told.text):
            lines += _write_clause(
                form, needs, (clause, told.mark, place), refused.get((told.mark, clause), "")
            )
    return lines


def _write_clause(
    form: DocumentForm,
    needs: _NeededMeanings,
    said: tuple[str, SourceMark, ImportedField | None],
    refusal: str,
) -> list[str]:
    """Return the line of one clause, or a comment where its check must be written by hand."""
    clause, mark, place = said
    name = place.name if place is not None else ""
    try:
        if refusal:
            raise UnclearError(refusal)
        check = _make_check(form, needs, clause, place)
    except UnclearError as unclear:
        reason = f"cannot be read ({shorten_text(str(unclear), _SHOWN)}): it is not checked"
        return _leave_clause(form, name, (clause, mark), reason)
    if idle := describe_idle_check(check, {one.name: one for one in form.list_fields()}):
        return _leave_clause(form, name, (clause, mark), f"is not checked: {shorten_text(idle, _SHOWN)}")
    form.count_one("invariants")
    number = form.counts["invariants"]
    form.clauses[f"rule_{number}"] = (mark, clause)
    comment = _note_same_unit(form, name, check, (clause, mark))
    labels = (place.ko, place.en) if place is not None else (form.paper.ko, form.paper.en)
    words = {"ko": f"{labels[0]}: {clause}", "en": f"{labels[1]}: {clause}"}
    return [*comment, f"  - {write_flow({'id': f'rule_{number}', **check, **words})}"]


def _leave_clause(form: DocumentForm, name: str, said: tuple[str, SourceMark], reason: str) -> list[str]:
    """Return a comment on a clause that is not checked; note it as work."""
    form.count_one("invariants_open")
    text = f"the invariant {shorten_text(said[0], _SHOWN)!r} {reason}"
    form.note_unfinished(name, "invariant", text, said[1])
    return write_comment(f"{name or 'document'}: {text}", "  ")


def _note_same_unit(
    form: DocumentForm, name: str, check: Mapping[str, Any], said: tuple[str, SourceMark]
) -> list[str]:
    """Return a comment on a check that compares only values of one unit or currency; note it as work."""
    kind = check.get("when_same")
    if kind is None:
        return []
    (clause, mark), units = said, {"unit": "units", "currency": "currencies"}[kind]
    shown = shorten_text(clause, _SHOWN)
    text = f"the invariant {shown!r} is not checked where the {units} differ (when_same: {kind})"
    form.note_unfinished(name, "units", text, mark)
    return write_comment(f"{name or 'document'}: {text}", "  ")


def _make_check(
    form: DocumentForm, needs: _NeededMeanings, clause: str, place: ImportedField | None
) -> dict[str, Any]:
    """Return the check of a clause at the field `place`, or at the document where `place` is None."""
    outside = place.groups if place is not None else ()
    groups = (*outside, place) if place is not None and place.members else outside
    home = tuple(group.name for group in outside)
    whole = place is None or (place.home != "item" and not groups)
    used: list[KnownMeaning] = []
    check = translate_clause(clause, lambda word: _find_member(form, used, word, groups), home, whole=whole)
    for known in used:
        needs.add_meaning(known, mandatory=False)
    return check


def _find_member(
    form: DocumentForm, used: list[KnownMeaning], word: str, groups: tuple[ImportedField, ...]
) -> InvariantMember:
    """Return the member that a name in a clause means; a common meaning is added to `used`."""
    found = locate_field(form, word, groups)
    if isinstance(found, ImportedField):
        kind = "number" if found.source.type in _NUMBERS else found.source.type
        per, around = (
            "item" if found.home == "item" else "application",
            tuple(one.name for one in found.groups),
        )
        measured = _MEASURED.get(found.source.type, "")
        several, units = found.max_occurrences > 1, _list_units(found)
        return InvariantMember(found.name, kind, per, True, around, several, measured, units)
    if found.per not in ("header", "item"):
        raise UnclearError(f"{found.name} repeats")
    kind = "number" if found.type in ("integer", "decimal", "amount", "measure") else found.type
    used.append(found)
    per = "item" if found.per == "item" else "application"
    measured = _MEASURED.get(found.type, "")
    return InvariantMember(found.name, kind, per, False, (), found.many, measured, None)


def _list_units(asked: ImportedField) -> tuple[str, ...] | None:
    """Return the units or currencies that a field may have, None for any."""
    source = asked.source
    if source.type in ("quantity", "measure"):
        return source.units or ("C62",)
    return None if asked.spec.get("currencies") == "iso4217" else source.currencies
