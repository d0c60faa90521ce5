"""Mutants of the lines: what is put, where from, where to, and what is done to it on the way."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from random import Random
from typing import Any

from tests.harmonize.mutation.mutants import Line, Mutant, Sheet, kind

_OTHER_FORMS = {
    "CCYYMMDD": ("date", "CCYYMM", "CCYYMMDDHHMMSS"),
    "iso": ("CCYYMMDD", "date"),
    "digits10": ("digits",),
    "digits": ("digits10",),
}
_VALUE = ("limit", "split", "via", "form", "convert", "unit", "currency", "cid", "unknown_code", "bound")


@kind
def drop_line(sheet: Sheet) -> Iterator[Mutant]:
    for line in sheet.leaves:
        yield sheet.drop("drop_line", line.path, line.full)


@kind
def drop_container(sheet: Sheet) -> Iterator[Mutant]:
    for line in sheet.lines:
        if "puts" in line.spec:
            yield sheet.drop("drop_container", line.path, line.full)


@kind
def repeat_line(sheet: Sheet) -> Iterator[Mutant]:
    """A line a second time, into an element of another name."""
    for line in sheet.leaves:
        if "{" not in line.target and "@" not in line.target and "[" not in line.target:
            path = (*line.path[:-1], int(line.path[-1]) + 1)
            entry = {f"{line.target}Again": line.spec}
            yield sheet.insert("repeat_line", path, entry, f"{line.full}Again")


def _like(sheet: Sheet, one: Line) -> tuple[Any, ...] | None:
    """Return what makes the source of two lines alike: where they may stand, and what form they have."""
    how, name = one.source
    if how == "ask":
        ask = sheet.document.ask_names[name]
        return (how, ask.home, ask.group, ask.shape.kind, ask.attribute, ask.shape.codes is None)
    if how == "common":
        meaning = sheet.bundle.dictionary.meanings[name]
        return (how, meaning.per, meaning.type, meaning.attribute, meaning.many)
    return None


def _pairs(sheet: Sheet, lines: list[Line]) -> Iterator[tuple[Line, Line]]:
    """Yield pairs of lines with sources alike, each line with its next one and one more."""
    groups: dict[Any, list[Line]] = {}
    for line in lines:
        if (like := _like(sheet, line)) is not None:
            groups.setdefault(like, []).append(line)
    for same in groups.values():
        yield from itertools.pairwise(same)
        if len(same) > 2:
            yield same[0], same[-1]


@kind
def swap_sources(sheet: Sheet) -> Iterator[Mutant]:
    """The sources of two lines of one kind change places; what is done to them stays."""
    for one, two in _pairs(sheet, sheet.leaves):
        (how, first), (_, second) = one.source, two.source
        if first != second:
            tree = sheet.set("", (*one.place, how), second, "").tree
            other = Sheet(sheet.bundle, sheet.document, tree, sheet.registry, sheet.file)
            what = f"{one.full} and {two.full}"
            yield other.set("swap_sources", (*two.place, how), first, what)


@kind
def other_source(sheet: Sheet) -> Iterator[Mutant]:
    """A line takes what another line of the same kind takes too."""
    for one, two in _pairs(sheet, sheet.leaves):
        (how, first), (_, second) = one.source, two.source
        if first != second:
            yield sheet.set("other_source", (*one.place, how), second, f"{one.full} takes {second}")


@kind
def swap_targets(sheet: Sheet) -> Iterator[Mutant]:
    """Two lines beside each other write into each other's elements."""
    for one, two in itertools.pairwise(sheet.leaves):
        if one.path[:-1] == two.path[:-1] and one.target != two.target:
            tree = sheet.rename("", one.place, two.target, "").tree
            other = Sheet(sheet.bundle, sheet.document, tree, sheet.registry, sheet.file)
            yield other.rename("swap_targets", two.place, one.target, f"{one.full} and {two.target}")


@kind
def swap_order(sheet: Sheet) -> Iterator[Mutant]:
    """Two lines beside each other, in one element, change places in the request."""
    for one, two in itertools.pairwise(sheet.leaves):
        if one.path[:-1] == two.path[:-1] and _parent(one) == _parent(two):
            tree = sheet.set("", one.path, {two.target: two.spec}, "").tree
            other = Sheet(sheet.bundle, sheet.document, tree, sheet.registry, sheet.file)
            yield other.set("swap_order", two.path, {one.target: one.spec}, f"{one.full} after {two.target}")


def _parent(line: Line) -> str:
    return line.target.rpartition("/")[0]


@kind
def const_for_source(sheet: Sheet) -> Iterator[Mutant]:
    """A line that takes a common meaning or an answer always writes one text."""
    for line in sheet.leaves:
        if line.source[0] and not line.target.startswith(("@", '"')) and "{" not in line.target:
            yield sheet.set("const_for_source", line.place, {"const": "1"}, f"{line.full}")


@kind
def const_change(sheet: Sheet) -> Iterator[Mutant]:
    for line in sheet.leaves:
        if "const" in line.spec:
            said = str(line.spec["const"])
            yield sheet.set("const_change", (*line.place, "const"), said[:-1] + "Z", f"{line.full}")


@kind
def hub_change(sheet: Sheet) -> Iterator[Mutant]:
    for line in sheet.leaves:
        if "hub" in line.spec:
            for value in ("application_number", "case_number", "function", "cancel_reason"):
                if value != line.spec["hub"]:
                    yield sheet.set("hub_change", (*line.place, "hub"), value, f"{line.full} is {value}")


@kind
def rename_target(sheet: Sheet) -> Iterator[Mutant]:
    for line in sheet.lines:
        if not line.target.endswith("}"):
            yield sheet.rename("rename_target", line.place, f"{line.target}X", f"{line.full}")


@kind
def predicate(sheet: Sheet) -> Iterator[Mutant]:
    """A predicate has another value, or is left out."""
    for line in sheet.lines:
        before, opening, rest = line.target.partition("[")
        inside, _, after = rest.partition("]")
        if opening:
            name = inside.partition("=")[0]
            for new in (f"{before}[{name}=911]{after}", f"{before}[{name}X=851]{after}", before + after):
                yield sheet.rename("predicate", line.place, new, f"{line.full} is {new}")


@kind
def drop_step(sheet: Sheet) -> Iterator[Mutant]:
    """One thing that is done to a value is left out: limit, split, via, form, unit and the like."""
    for line in sheet.leaves:
        for key in _VALUE:
            if key in line.spec:
                yield sheet.drop("drop_step", (*line.place, key), f"{key} of {line.full}")


@kind
def charset(sheet: Sheet) -> Iterator[Mutant]:
    """A character set is lost or another; octets become characters."""
    for line in sheet.leaves:
        for key in ("limit", "split"):
            said = line.spec.get(key, {})
            place = (*line.place, key)
            if "octets" not in said:
                continue
            yield sheet.drop("charset", (*place, "charset"), f"none in {line.full}")
            yield sheet.set("charset", (*place, "charset"), "utf-8", f"utf-8 in {line.full}")
            yield sheet.set("charset", place, {"chars": said["octets"]}, f"chars in {line.full}")


@kind
def limit_size(sheet: Sheet) -> Iterator[Mutant]:
    """A limit or the size of a piece is larger or smaller."""
    for line in sheet.leaves:
        for key in ("limit", "split"):
            said = line.spec.get(key, {})
            for unit in ("octets", "chars"):
                if unit in said:
                    for new in (int(said[unit]) * 2, max(1, int(said[unit]) - 1)):
                        place = (*line.place, key, unit)
                        yield sheet.set("limit_size", place, new, f"{unit} of {line.full} is {new}")
            if "digits" in said:
                total, part = map(int, said["digits"])
                for digits in ([total - 2, part], [total, part - 1], [total + 2, part]):
                    place = (*line.place, key, "digits")
                    yield sheet.set("limit_size", place, digits, f"digits of {line.full} are {digits}")
            if "exact" in said:
                yield sheet.drop("limit_size", (*line.place, key, "exact"), f"{line.full} is not exact")


@kind
def split_order(sheet: Sheet) -> Iterator[Mutant]:
    """The pieces of a text stand in another order, or there are fewer."""
    for line in sheet.leaves:
        if line.target.endswith("}"):
            before, _, names = line.target.rstrip("}").partition("{")
            parts = names.split(",")
            turned = f"{before}{{{','.join(reversed(parts))}}}"
            yield sheet.rename("split_order", line.place, turned, f"{line.full} turned round")
            if len(parts) > 2:
                fewer = f"{before}{{{','.join(parts[:-1])}}}"
                yield sheet.rename("split_order", line.place, fewer, f"{line.full} without its last")


@kind
def measure(sheet: Sheet) -> Iterator[Mutant]:
    """The attribute of a unit, a currency or a content id has another name, or loses its translation."""
    for line in sheet.leaves:
        for key in ("unit", "currency", "cid"):
            said = line.spec.get(key)
            if isinstance(said, str):
                yield sheet.set("measure", (*line.place, key), f"{said}X", f"{line.full}/{said}X")
            elif isinstance(said, dict):
                yield sheet.set("measure", (*line.place, key), said["to"], f"{line.full} without via")
                yield sheet.set("measure", (*line.place, key, "to"), "@other", f"{line.full}/@other")


@kind
def convert(sheet: Sheet) -> Iterator[Mutant]:
    for line in sheet.leaves:
        if "convert" in line.spec:
            for key, value in (("to", "GRM"), ("to", "TNE"), ("to", "LTR"), ("decimals", "0")):
                yield sheet.set("convert", (*line.place, "convert", key), value, f"{line.full} {key} {value}")
            for way in ("down", "up", "exact", "half_even"):
                yield sheet.set("convert", (*line.place, "convert", "round"), way, f"{line.full} {way}")


@kind
def form(sheet: Sheet) -> Iterator[Mutant]:
    for line in sheet.leaves:
        for other in _OTHER_FORMS.get(str(line.spec.get("form")), ()):
            yield sheet.set("form", (*line.place, "form"), other, f"{line.full} as {other}")
        if line.source[0] and "form" not in line.spec:
            dictionary, asks = sheet.bundle.dictionary.meanings, sheet.document.ask_names
            what = asks[line.source[1]] if line.source[0] == "ask" else dictionary[line.source[1]]
            if what.type in ("date", "datetime"):
                yield sheet.set("form", (*line.place, "form"), "CCYYMMDD", f"{line.full} as CCYYMMDD")


@kind
def other_list(sheet: Sheet) -> Iterator[Mutant]:
    """A value is translated by another list."""
    translating = [name for name, codes in sheet.bundle.lists.items() if codes.translations is not None]
    for line in sheet.leaves:
        spots: list[tuple[tuple[str, ...], str]] = []
        if "via" in line.spec:
            spots.append((("via",), str(line.spec["via"])))
        if isinstance(line.spec.get("unit"), dict):
            spots.append((("unit", "via"), str(line.spec["unit"]["via"])))
        for keys, said in spots:
            others = [name for name in translating if name != said]
            near = [n for n in others if sheet.bundle.lists[n].mark == sheet.bundle.lists[said].mark]
            for other in [*near, *Random(f"{line.full}").sample(others, 3)]:
                yield sheet.set("other_list", (*line.place, *keys), other, f"{line.full} via {other}")


@kind
def product(sheet: Sheet) -> Iterator[Mutant]:
    """A product, a common value of all items or an item's number is made of something else."""
    for line in sheet.leaves:
        place = line.place
        if "multiply" in line.spec:
            one, two = line.spec["multiply"]
            yield sheet.set("product", (*place, "multiply"), [one, one], f"{line.full}: twice {one}")
            yield sheet.set("product", (*place, "multiply"), [two, one], f"{line.full}: turned round")
            total, part = map(int, line.spec["digits"])
            for digits in ([total, part - 2], [total - 9, part]):
                yield sheet.set("product", (*place, "digits"), digits, f"{line.full}: digits {digits}")
            for way in ("down", "half_even"):
                yield sheet.set("product", (*place, "round"), way, f"{line.full}: {way}")
        if "alike" in line.spec:
            rest = {key: value for key, value in line.spec.items() if key not in ("alike", "over")}
            said = {"common": line.spec["alike"], **rest}
            yield sheet.set("product", place, said, f"{line.full}: not alike")
        if "serial" in line.spec:
            for serial in ("FR9%03d", "FR2%02d", "FR2%05d"):
                yield sheet.set("product", (*place, "serial"), serial, f"{line.full}: {serial}")
        if "count" in line.spec:
            yield sheet.set("product", place, {"const": "1"}, f"{line.full}: not counted")
            yield sheet.set("product", place, {"common": "item_count"}, f"{line.full}: of the declaration")
