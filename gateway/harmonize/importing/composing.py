"""Composes the mapping file of one document: what it needs, asks, gets, checks and reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.harmonize.importing.asking import Again, Asked, Form, locate
from gateway.harmonize.importing.invariants import Member, clauses, translate_clause
from gateway.harmonize.importing.inventory import Common
from gateway.harmonize.importing.meanings import Known
from gateway.harmonize.importing.naming import element
from gateway.harmonize.importing.tokens import UnclearError
from gateway.harmonize.importing.writing import comment, flow, scalar
from gateway.harmonize.terms.dictionary import ITEM_PATH
from gateway.harmonize.terms.marks import Mark

__all__ = ["Line", "compose"]

_ROOT: Final = "Application"
_MOST_COMMON: Final = 9999
_MOST_VALUES: Final = 99
_MOST_ITEMS: Final = 999
_NUMBERS: Final = ("quantity", "measure", "amount")
_MEASURED: Final = {"quantity": "unit", "measure": "unit", "amount": "currency"}
_READS: Final = "  SubmitDecision: {correlate: application_number, item: sequence, status: requirementStatus}"


@dataclass(slots=True)
class Line:
    """One line of ``puts``: a target with its source, or an element around lines."""

    target: str
    spec: dict[str, Any]
    inner: list[Line] = field(default_factory=list)


@dataclass(slots=True)
class _Needs:
    """The common meanings of a document, each with whether it must be there and when."""

    meanings: dict[str, Known] = field(default_factory=dict)
    mandatory: set[str] = field(default_factory=set)
    conditional: dict[str, dict[str, Any]] = field(default_factory=dict)
    most: dict[str, int] = field(default_factory=dict)

    def add(self, known: Known, *, mandatory: bool, most: int = _MOST_VALUES) -> None:
        """Add a meaning; mandatory once is mandatory."""
        self.meanings[known.name] = known
        self.most[known.name] = max(most, self.most.get(known.name, 1))
        if mandatory and known.per in ("header", "item"):
            self.mandatory.add(known.name)


def compose(
    form: Form, common: Iterable[tuple[Common, Known]], refused: Mapping[tuple[Mark, str], str] | None = None
) -> str:
    """Return the text of the mapping file of one document.

    `refused` says of clauses of invariants, by place and text, why their checks cannot be made.
    """
    needs = _needs(form, common)
    form.counts |= {"common": len(needs.meanings), "reconciled": len(form.again)}
    form.counts["asked"] = sum(one.source.type != "group" for one in form.every())
    checks = _checks(form, needs, refused or {})
    lines = [*_head(form), "", *_write_needs(needs), "", *_write_asks(form), "", "puts:"]
    lines += _write_lines(_puts(form, needs), "  ")
    written = any(line.startswith("  - ") for line in checks)
    lines += ["", *(["checks:"] if written else []), *checks] if checks else []
    return "\n".join([*lines, "", "reads:", _READS]) + "\n"


def _head(form: Form) -> list[str]:
    paper = form.paper
    lines = [
        *comment("labels, lengths and the order of the elements, against the agency's own form", ""),
    ]
    for key, text in paper.remarks.items():
        lines += [f"# {key}: {text}"] if text.isprintable() else []
    if "fee" in paper.remarks:
        text = "when the fee is due (fee: {due: before_forwarding or before_result, ko: …, en: …})"
        lines += comment(text, "")
        form.finish("", "fee", f"{text}: {paper.remarks['fee']}")
    laws = list(paper.laws)
    if not laws:
        laws = ["00"]
        lines += comment("the codes of the laws that ask for the document", "")
        form.finish("", "law", "the inventory names no law; 00 stands for it")
    return [
        *lines,
        f"document: {scalar(paper.id)}",
        f"organisation: {scalar(paper.organisation)}",
        f"ko: {scalar(paper.ko)}",
        f"en: {scalar(paper.en)}",
        f"direction: {paper.direction}",
        f"law: [{', '.join(_quoted(law) for law in laws)}]",
        f"status: {'verified' if paper.verified else 'modelled'}",
        f"root: {_ROOT}",
        "withholds: unlisted            # what no line below names does not leave the gateway",
    ]


def _quoted(text: str) -> str:
    shown = scalar(text)
    return shown if shown.startswith('"') else f'"{text}"'


def _needs(form: Form, common: Iterable[tuple[Common, Known]]) -> _Needs:
    needs = _Needs()
    for one, known in common:
        needs.add(known, mandatory=one.low > 0, most=min(one.high or _MOST_VALUES, _MOST_COMMON))
        if one.low > 0 and known.per not in ("header", "item"):
            text = f"{known.name} is mandatory in the inventory; here it may be missing, since it repeats"
            form.finish("", "common", text)
    for again in form.again:
        new = again.meaning.name not in needs.meanings
        needs.add(again.meaning, mandatory=again.mandatory)
        if again.condition is not None and new and again.meaning.per in ("header", "item"):
            needs.conditional[again.meaning.name] = again.condition
    key = form.meanings.at(f"{ITEM_PATH}/SequenceNumeric")
    if key is not None:
        needs.add(key, mandatory=True)
    return needs


def _write_needs(needs: _Needs) -> list[str]:
    optional = [n for n in needs.meanings if n not in needs.mandatory and n not in needs.conditional]
    lines = ["needs:"]
    for key, names in (
        ("mandatory", [n for n in needs.meanings if n in needs.mandatory]),
        ("optional", optional),
    ):
        if names:
            lines += [f"  {key}: [", *_wrapped(names), "  ]"]
    if needs.conditional:
        lines.append("  conditional:")
        for name, condition in needs.conditional.items():
            lines.append(f"    {name}: {flow({'when': condition})}")
    return lines


def _wrapped(names: list[str]) -> list[str]:
    lines, line = [], "   "
    for number, name in enumerate(names, 1):
        word = f" {name}" + ("," if number < len(names) else "")
        if len(line) + len(word) > 108:
            lines.append(line)
            line = "   "
        line += word
    return [*lines, line]


def _write_asks(form: Form) -> list[str]:
    if not form.asked:
        return ["asks: {}"]
    return [
        "asks:                          # the only fields that an applicant is asked for",
        *_asks(form.asked, 2),
    ]


def _asks(level: list[Asked], indent: int) -> list[str]:
    space, lines = " " * indent, []
    for one in level:
        for note in one.notes:
            lines += comment(note, space)
        key = one.name.rpartition(".")[2]
        if not one.members:
            lines.append(f"{space}{key}: {flow(one.spec)}")
            continue
        lines.append(f"{space}{key}:")
        lines += [f"{space}  {name}: {flow(value)}" for name, value in one.spec.items()]
        lines += [f"{space}  fields:", *_asks(one.members, indent + 4)]
    return lines


def _puts(form: Form, needs: _Needs) -> list[Line]:
    """Return the lines of the request: the hub's own values, then once, then for each item."""
    taken = {one.tag for one in form.asked if one.home == "header"}
    lines = [
        Line(_name("ApplicationNumber", taken), {"hub": "application_number"}),
        Line(_name("FunctionCode", taken), {"hub": "function"}),
    ]
    item = _name("Item", taken)
    lines += _common_lines(form, needs, item=False, taken=taken)
    lines += [line for one in form.asked if one.home == "header" for line in _ask_lines(one)]
    key = form.meanings.at(f"{ITEM_PATH}/SequenceNumeric")
    if key is None:
        return lines
    inside = {one.tag for one in form.asked if one.home == "item"}
    inner = [Line(_name("ItemNumber", inside), {"common": key.name})]
    inner += _common_lines(form, needs, item=True, taken=inside, done={key.name})
    inner += [line for one in form.asked if one.home == "item" for line in _ask_lines(one)]
    each = {"item": "application.items", "key": key.name, "bound": ["1", str(_MOST_ITEMS)]}
    return [*lines, Line(item, {"each": each}, inner)]


def _name(wanted: str, taken: set[str]) -> str:
    """Return the name of an element that no other here has, and take it."""
    name, number = wanted, 2
    if name in taken:
        name = f"Declared{wanted}"
    while name in taken:
        name, number = f"Declared{wanted}{number}", number + 1
    taken.add(name)
    return name


def _common_lines(
    form: Form, needs: _Needs, *, item: bool, taken: set[str], done: set[str] | None = None
) -> list[Line]:
    """Return the lines of the common meanings of one level, those in groups of the dictionary last."""
    tags = {again.meaning.name: again for again in form.again}
    home, lines = ("item" if item else "header"), []
    for name, known in needs.meanings.items():
        if known.per == home and name not in (done or ()):
            lines.append(_common_line(form, needs, known, tags.get(name), taken))
    groups = form.meanings.shipped.groups
    for name in [name for name, group in groups.items() if group.per == home]:
        lines += _group_lines(form, needs, name, taken)
    return lines


def _common_line(form: Form, needs: _Needs, known: Known, again: Again | None, taken: set[str]) -> Line:
    own = again is not None and again.meaning.name not in form.listed
    wanted = again.tag if again is not None and own else element(known.name.removeprefix("item."))
    spec = _common_spec(known)
    longest = again.source.longest if again is not None and own else None
    if longest is not None and known.type == "text" and (known.longest or _MOST_COMMON) > longest:
        spec["limit"] = {"chars": str(longest)}
    if known.many:
        low = "1" if known.name in needs.mandatory else "0"
        spec["bound"] = [low, str(max(needs.most[known.name], 1))]
    return Line(_name(wanted, taken), spec)


def _common_spec(known: Known) -> dict[str, Any]:
    spec: dict[str, Any] = {"common": known.name}
    if known.type == "datetime":
        spec["form"] = "iso"
    return spec | {"measure": {"unit": "@unitCode"}, "amount": {"currency": "@currencyID"}}.get(
        known.type, {}
    )


def _group_lines(form: Form, needs: _Needs, name: str, taken: set[str]) -> list[Line]:
    """Return the element of a group of the dictionary, when the document needs anything in it."""
    inner: list[Line] = []
    inside: set[str] = set()
    for known in needs.meanings.values():
        if known.per == name:
            inner.append(
                Line(_name(element(known.name.removeprefix(f"{name}.")), inside), _common_spec(known))
            )
    for other, group in form.meanings.shipped.groups.items():
        if group.per == name:
            inner += _group_lines(form, needs, other, inside)
    if not inner:
        return []
    each = {"common": name, "bound": ["0", str(_MOST_COMMON)]}
    return [Line(_name(element(name), taken), {"each": each}, inner)]


def _ask_lines(one: Asked) -> list[Line]:
    source = one.source
    if source.type == "group":
        low, high = (source.repeat or (0, 1))[0], one.high
        each = {"asked": one.name, "bound": [str(low), str(high)]}
        return [
            Line(one.tag, {"each": each}, [line for member in one.members for line in _ask_lines(member)])
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
    if one.high > 1:
        spec["bound"] = [str((source.repeat or (0, 1))[0]), str(one.high)]
    return [Line(one.tag, spec)]


def _write_lines(lines: list[Line], indent: str) -> list[str]:
    found = []
    for line in lines:
        if not line.inner:
            found.append(f"{indent}- {line.target}: {flow(line.spec)}")
            continue
        found.append(f"{indent}- {line.target}:")
        found += [f"{indent}    {key}: {flow(value)}" for key, value in line.spec.items()]
        found += [f"{indent}    puts:", *_write_lines(line.inner, f"{indent}      ")]
    return found


def _checks(form: Form, needs: _Needs, refused: Mapping[tuple[Mark, str], str]) -> list[str]:
    """Return the lines of ``checks``, and as comments the invariants that a person must write."""
    places = [(one, told) for one in form.every() for told in one.source.invariants]
    lines: list[str] = []
    for place, told in [*places, *((None, told) for told in form.paper.invariants)]:
        for clause in clauses(told.text):
            lines += _clause(form, needs, (clause, told.mark, place), refused.get((told.mark, clause), ""))
    return lines


def _clause(form: Form, needs: _Needs, said: tuple[str, Mark, Asked | None], refusal: str) -> list[str]:
    """Return the line of one clause, or a comment that a person must write its check."""
    clause, mark, place = said
    name = place.name if place is not None else ""
    try:
        if refusal:
            raise UnclearError(refusal)
        check = _check(form, needs, clause, place)
    except UnclearError as unclear:
        form.count("invariants_open")
        reason = f"the invariant {clause!r} cannot be read ({unclear}): it is not checked"
        form.finish(name, "invariant", f"{reason}; {mark}")
        return comment(f"{name or 'document'}: {reason}", "  ")
    form.count("invariants")
    number = form.counts["invariants"]
    form.clauses[f"rule_{number}"] = (mark, clause)
    labels = (place.ko, place.en) if place is not None else (form.paper.ko, form.paper.en)
    words = {"ko": f"{labels[0]}: {clause}", "en": f"{labels[1]}: {clause}"}
    return [f"  - {flow({'id': f'rule_{number}', **check, **words})}"]


def _check(form: Form, needs: _Needs, clause: str, place: Asked | None) -> dict[str, Any]:
    """Return the check of a clause that stands at a field, or where `place` is None at the document."""
    outside = place.groups if place is not None else ()
    groups = (*outside, place) if place is not None and place.members else outside
    home = tuple(group.name for group in outside)
    whole = place is None or (place.home != "item" and not groups)
    used: list[Known] = []
    check = translate_clause(clause, lambda word: _member(form, used, word, groups), home, whole=whole)
    for known in used:
        needs.add(known, mandatory=False)
    return check


def _member(form: Form, used: list[Known], word: str, groups: tuple[Asked, ...]) -> Member:
    """Return what a word of a clause stands for; a common meaning is added to those `used`."""
    found = locate(form, word, groups)
    if isinstance(found, Asked):
        kind = "number" if found.source.type in _NUMBERS else found.source.type
        per, around = (
            "item" if found.home == "item" else "application",
            tuple(one.name for one in found.groups),
        )
        measured = _MEASURED.get(found.source.type, "")
        return Member(found.name, kind, per, True, around, found.high > 1, measured)
    if found.per not in ("header", "item"):
        raise UnclearError(f"{found.name} repeats")
    kind = "number" if found.type in ("integer", "decimal", "amount", "measure") else found.type
    used.append(found)
    per = "item" if found.per == "item" else "application"
    return Member(found.name, kind, per, False, (), found.many, _MEASURED.get(found.type, ""))
