"""Mutants of what is needed and asked: who must say it, when, in which form, and whether it is known."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

from gateway.harmonize.language import walk_fields
from tests.harmonize.mutation.mutants import Mutant, Sheet, kind
from tests.harmonize.mutation.trees import Path, at, plain, replaced

_TYPES = {"text": "id", "id": "text", "date": "datetime", "datetime": "date", "boolean": "text"} | {
    "measure": "quantity",
    "quantity": "measure",
}


def _needs(sheet: Sheet) -> Iterator[tuple[str, int, str]]:
    for how in ("mandatory", "optional"):
        for number, node in enumerate(at(sheet.tree, ("needs", how)).read_list("needs")):
            yield how, number, str(node.value)


@kind
def drop_need(sheet: Sheet) -> Iterator[Mutant]:
    for how, number, name in _needs(sheet):
        yield sheet.drop("drop_need", ("needs", how, number), name)


@kind
def need_strength(sheet: Sheet) -> Iterator[Mutant]:
    """What is mandatory becomes optional, and the other way round."""
    for how, number, name in _needs(sheet):
        other = "optional" if how == "mandatory" else "mandatory"
        tree = sheet.drop("", ("needs", how, number), "").tree
        names = [*plain(at(tree, ("needs", other))), name]
        mark = at(sheet.tree, ("needs", how, number)).mark
        yield sheet.mutant("need_strength", f"{name} {other}", mark, replaced(tree, ("needs", other), names))


@kind
def add_need(sheet: Sheet) -> Iterator[Mutant]:
    """A meaning of the dictionary is listed that the document has no use for; or put as well."""
    known = {need.meaning.name for need in sheet.document.needs}
    for meaning in sheet.bundle.dictionary.meanings.values():
        if meaning.name in known:
            continue
        names = [*plain(at(sheet.tree, ("needs", "optional"))), meaning.name]
        yield sheet.set("add_need", ("needs", "optional"), names, f"{meaning.name} listed, not used")
        if meaning.per == "header":
            leak = {"Leak": {"common": meaning.name}}
            yield sheet.insert("add_need", ("puts", 3), leak, f"{meaning.name} put, not listed")


@kind
def guard_on_unlisted(sheet: Sheet) -> Iterator[Mutant]:
    """A line is written only where the declaration says something that the document does not list."""
    known = {need.meaning.name for need in sheet.document.needs}
    others = [
        m for m in sheet.bundle.dictionary.meanings.values() if m.name not in known and m.per == "header"
    ]
    for line in Random(sheet.document.id).sample(sheet.leaves, 4):
        for meaning in others[:3]:
            when = {meaning.name: {"present": "yes"}}
            yield sheet.set("guard_on_unlisted", (*line.place, "when"), when, f"{line.full}: {meaning.name}")


@kind
def drop_ask(sheet: Sheet) -> Iterator[Mutant]:
    for path, name, _, _ in sheet.asks:
        yield sheet.drop("drop_ask", path, name)


@kind
def ask_strength(sheet: Sheet) -> Iterator[Mutant]:
    for path, name, said, _ in sheet.asks:
        if said["req"] in ("M", "O"):
            new = "O" if said["req"] == "M" else "M"
            yield sheet.set("ask_strength", (*path, "req"), new, f"{name} {new}")


def _tests(node: Any, path: Path) -> Iterator[tuple[Path, str, str, Any]]:
    """Yield every test below a condition: its path, field, operator and value."""
    for key, value in node.items():
        if key in ("all", "any"):
            for number, part in enumerate(value):
                yield from _tests(part, (*path, key, number))
        elif key == "not":
            yield from _tests(value, (*path, key))
        else:
            for operator, operand in value.items():
                yield (*path, key, operator), key, operator, operand


def _guards(sheet: Sheet) -> Iterator[tuple[Path, str, Any]]:
    """Yield every condition of a document: its path, what it decides about, the condition."""
    for path, name, said, _ in sheet.asks:
        if isinstance(said["req"], dict):
            yield (*path, "req", "when"), name, said["req"]["when"]
    for name, said in plain(at(sheet.tree, ("needs",))).get("conditional", {}).items():
        yield ("needs", "conditional", name, "when"), name, said["when"]
    for line in sheet.lines:
        if "when" in line.spec:
            yield (*line.place, "when"), line.full, line.spec["when"]
    if "checks" in sheet.tree.value:
        for number, check in enumerate(plain(at(sheet.tree, ("checks",)))):
            if "when" in check:
                yield ("checks", number, "when"), check["id"], check["when"]


def _codes(sheet: Sheet, field: str) -> list[str]:
    ask = sheet.document.ask_names.get(field)
    shape = ask.shape if ask is not None else sheet.bundle.dictionary.meanings[field].shape
    return list(shape.codes or ())


@kind
def guard_widen(sheet: Sheet) -> Iterator[Mutant]:
    """A condition holds for one code more."""
    for path, name, when in _guards(sheet):
        for place, field, operator, operand in _tests(when, path):
            said = [operand] if operator == "is" else operand
            if operator in ("is", "in"):
                for code in [code for code in _codes(sheet, field) if code not in said][:4]:
                    new = {"in": [*said, code]}
                    yield sheet.set("guard_widen", place[:-1], new, f"{name}: {field} also {code}")
        for word in ("all",):
            for number in range(len(when.get(word, ()))):
                yield sheet.drop("guard_widen", (*path, word, number), f"{name}: without part {number}")


@kind
def guard_narrow(sheet: Sheet) -> Iterator[Mutant]:
    """A condition holds for one code less, or needs something more."""
    for path, name, when in _guards(sheet):
        for place, field, operator, operand in _tests(when, path):
            if operator == "in":
                for code in operand:
                    left = [one for one in operand if one != code]
                    yield sheet.set("guard_narrow", place, left, f"{name}: {field} not {code}")
            if operator == "is":
                for code in [code for code in _codes(sheet, field) if code != operand][:2]:
                    yield sheet.set("guard_narrow", place, code, f"{name}: {field} is {code}")


@kind
def guard_negate(sheet: Sheet) -> Iterator[Mutant]:
    for path, name, when in _guards(sheet):
        yield sheet.set("guard_negate", path, {"not": when}, name)


@kind
def guard_drop(sheet: Sheet) -> Iterator[Mutant]:
    """A field with a condition is optional or mandatory always; forbidden otherwise or no more."""
    for path, name, said, _ in sheet.asks:
        if isinstance(said["req"], dict):
            place = (*path, "req")
            yield sheet.set("guard_drop", place, "O", f"{name} optional")
            yield sheet.set("guard_drop", place, "M", f"{name} mandatory")
            if "otherwise" in said["req"]:
                yield sheet.drop("guard_drop", (*place, "otherwise"), f"{name} never forbidden")
            else:
                yield sheet.set(
                    "guard_drop", (*place, "otherwise"), "forbidden", f"{name} forbidden otherwise"
                )
    for name in plain(at(sheet.tree, ("needs",))).get("conditional", {}):
        tree = sheet.drop("", ("needs", "conditional", name), "").tree
        for how in ("mandatory", "optional"):
            names = [*plain(at(tree, ("needs", how))), name]
            mark = at(sheet.tree, ("needs", "conditional", name)).mark
            changed = replaced(tree, ("needs", how), names)
            yield sheet.mutant("guard_drop", f"{name} {how}", mark, changed)


@kind
def guard_add(sheet: Sheet) -> Iterator[Mutant]:
    """A line is written only where another answer is a certain one."""
    for line in sheet.leaves:
        how, name = line.source
        ask = sheet.document.ask_names.get(name)
        if how != "ask" or ask is None:
            continue
        for other in walk_fields(sheet.document.asks):
            near = other.home == ask.home and not other.group and other.shape.codes and not other.many
            if (
                near
                and other.name != name
                and ask.group in ("", other.name)
                and len(other.shape.codes or ()) > 1
            ):
                when = {other.name: {"is": (other.shape.codes or ("",))[0]}}
                yield sheet.set("guard_add", (*line.place, "when"), when, f"{line.full}: {other.name}")
                break


@kind
def ask_common(sheet: Sheet) -> Iterator[Mutant]:
    """A common meaning is asked again: by its meaning, by its label, by its name, or disguised."""
    asked = [(p, n, s) for p, n, s, _ in sheet.asks if s["type"] in ("text", "id") and "." not in n]
    needed = [need.meaning for need in sheet.document.needs if need.meaning.type in ("text", "id")]
    for (path, name, _), meaning in zip(asked, needed, strict=False):
        yield sheet.set("ask_common", (*path, "means"), meaning.name, f"{name} means {meaning.name}")
        tree = sheet.set("", (*path, "ko"), meaning.ko, "").tree
        mark = at(sheet.tree, path).mark
        yield sheet.mutant(
            "ask_common",
            f"{name} labelled as {meaning.name}",
            mark,
            replaced(tree, (*path, "en"), meaning.en),
        )
    for line in sheet.leaves:
        how, name = line.source
        known = sheet.bundle.dictionary.meanings.get(name) if how == "common" else None
        if known is not None and known.type == "text" and known.per in ("header", "item") and not known.many:
            per = "application" if known.per == "header" else "item"
            again = {"type": "text", "max": "300", "req": "M", "per": per, "means": "again.asked"}
            again |= {"ko": "다시 묻는 것", "en": "What is asked again"}
            field = name.replace(".", "_")
            tree = sheet.set("", ("asks", field), again, "").tree
            changed = replaced(tree, line.place, {**_without(line.spec), "ask": field})
            yield sheet.mutant("ask_common", f"{line.full} asked as {field}", line.mark, changed)
            tree = sheet.set("", ("asks", "said_once_more"), again, "").tree
            changed = replaced(tree, line.place, {**_without(line.spec), "ask": "said_once_more"})
            yield sheet.mutant("ask_common", f"{line.full} asked disguised", line.mark, changed)


def _without(spec: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in spec.items() if key != "common"}


@kind
def ask_of_others(sheet: Sheet) -> Iterator[Mutant]:
    """A field has the meaning of a field of another document."""
    own = [(p, n) for p, n, s, _ in sheet.asks if s["type"] != "group"]
    others = [
        a for d in sheet.bundle.documents.values() if d is not sheet.document for a in walk_fields(d.asks)
    ]
    draw = Random(sheet.document.id)
    for path, name in draw.sample(own, min(10, len(own))):
        other = draw.choice([one for one in others if one.type != "group" and one.means])
        yield sheet.set("ask_of_others", (*path, "means"), other.means, f"{name} means {other.means}")


@kind
def ask_per(sheet: Sheet) -> Iterator[Mutant]:
    for path, name, said, _ in sheet.asks:
        if "per" in said:
            new = "item" if said["per"] == "application" else "application"
            yield sheet.set("ask_per", (*path, "per"), new, f"{name} per {new}")


@kind
def ask_type(sheet: Sheet) -> Iterator[Mutant]:
    for path, name, said, _ in sheet.asks:
        new = _TYPES.get(said["type"])
        if new is not None:
            yield sheet.set("ask_type", (*path, "type"), new, f"{name} as {new}")


@kind
def ask_size(sheet: Sheet) -> Iterator[Mutant]:
    """A field may be longer or shorter, finer or coarser, of fewer units or codes."""
    for path, name, said, _ in sheet.asks:
        if "max" in said:
            for new in (int(said["max"]) * 3, max(1, int(said["max"]) - 1)):
                yield sheet.set("ask_size", (*path, "max"), new, f"{name} max {new}")
        if "decimals" in said:
            for new in (int(said["decimals"]) + 1, max(0, int(said["decimals"]) - 1)):
                if str(new) != said["decimals"]:
                    yield sheet.set("ask_size", (*path, "decimals"), new, f"{name} decimals {new}")
        for key in ("pattern", "range", "mime", "max_mib", "decimals"):
            if key in said:
                yield sheet.drop("ask_size", (*path, key), f"{name} without {key}")
        if "range" in said:
            low, high = said["range"]
            for bounds in ([low, int(high) * 10], [low, int(high) - 1]):
                yield sheet.set("ask_size", (*path, "range"), bounds, f"{name} range {bounds}")


@kind
def ask_codes(sheet: Sheet) -> Iterator[Mutant]:
    """A field lacks one of its codes, units, or is of another list."""
    names = sorted(name for name, codes in sheet.bundle.lists.items() if codes.translations is None)
    for path, name, said, _ in sheet.asks:
        for code in list(said.get("codes", ()))[:2]:
            yield sheet.drop("ask_codes", (*path, "codes", code), f"{name} without code {code}")
        for number, unit in enumerate(said.get("units", ())):
            yield sheet.drop("ask_codes", (*path, "units", number), f"{name} without unit {unit}")
        if "units" in said:
            yield sheet.set("ask_codes", (*path, "units"), [*said["units"], "MTR"], f"{name} also in MTR")
        if "unit" in said:
            yield sheet.set("ask_codes", (*path, "unit"), "MTR", f"{name} in MTR")
        if "list" in said:
            for other in Random(name).sample([one for one in names if one != said["list"]], 2):
                yield sheet.set("ask_codes", (*path, "list"), other, f"{name} of {other}")
        if "currencies" in said:
            yield sheet.set("ask_codes", (*path, "currencies"), "iso3166", f"{name} of iso3166")
