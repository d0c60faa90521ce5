"""Reads one line of a notice: a path as in a request, and the fact that stands there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, Final, cast

from gateway.harmonize.language.lines import read_limit
from gateway.harmonize.language.slots import AttributeSlot, FactKind, Line
from gateway.harmonize.language.steps import FORMS, Form, Via
from gateway.harmonize.terms.asks import Requirement
from gateway.harmonize.terms.codelists import CodeList
from gateway.harmonize.terms.conditions import read_condition
from gateway.harmonize.terms.marks import Mark, Node, Table, wrong
from gateway.harmonize.terms.shapes import Shape

__all__ = ["NUMBERS", "SAME", "TIMES", "Within", "read_carried", "read_line"]

SAME: Final = "same"
NUMBERS: Final = ("amount", "quantity")
TIMES: Final = ("date", "datetime")
# Paths name places of requests as provenance does: with the value in quotation marks.
_QUOTED: Final = re.compile(r"\[@(\w+)=(\w+)\]")
_GIVERS: Final = ("gives", "echoes", "const")
_ECHO_TYPES: Final = {"text": "text", "decimal": "decimal", "digits": "digits", "day": "day"}
_DAY_FORMS: Final = ("CCYYMMDD", "date")
_NO_DICTIONARY: Final = cast(Any, SimpleNamespace(meanings={}, groups={}))


@dataclass(frozen=True, slots=True)
class Within:
    """What a line of a notice may name, and the repetitions it stands in."""

    lists: Mapping[str, CodeList]
    kinds: Mapping[str, FactKind]
    inside: frozenset[str] = frozenset()
    keyed: bool = False
    path: str = ""
    repeats: str | None = None

    def below(self, path: str) -> Within:
        """Return the same for the lines inside of the element at `path`."""
        return replace(self, path=f"{self.path}{path}/")

    def echo(self, node: Node, path: str) -> str:
        """Return the path in the request that `node` names; ``same`` is the path of the line itself."""
        text = _QUOTED.sub(r"[@\1='\2']", node.text("echoes"))
        if self.repeats is None:
            raise wrong(node.mark, "echoes", "a notice that says which element repeats the request", text)
        if text != SAME:
            return text
        full = self.path + _QUOTED.sub(r"[@\1='\2']", path)
        if not full.startswith(f"{self.repeats}/"):
            raise wrong(node.mark, "echoes", f"a line inside of {self.repeats}", full)
        return full.removeprefix(f"{self.repeats}/")


def read_line(path: str, table: Table, mark: Mark, within: Within) -> Line:
    """Return the line that `table` writes for the element or attribute at `path`; raises GW502."""
    named = [key for key in _GIVERS if key in table]
    if len(named) != 1:
        raise wrong(mark, table.name, "one of " + ", ".join(_GIVERS), ", ".join(named) or "none")
    node = table.need(named[0])
    if named[0] == "const":
        text = node.text("const")
        shape = Shape("text", codes=(text,), list_name="const")
        return Line(None, "", text, (), shape, _requirement(table, within), (0, 1), mark)
    kind = _kind(node, within) if named[0] == "gives" else None
    steps = _steps(table, kind, within)
    shape = read_limit(_wire_shape(table, kind, steps, within), table)
    bound = table.get("bound")
    return Line(
        kind=kind,
        echoes=within.echo(node, path) if kind is None else "",
        const=None,
        steps=steps,
        shape=shape,
        requirement=_requirement(table, within),
        bound=bound.bounds("bound") if bound is not None else (0, 1),
        mark=mark,
    )


def _kind(node: Node, within: Within) -> FactKind:
    name = node.text("gives")
    kind = within.kinds.get(name)
    if kind is None or kind.of:
        raise wrong(node.mark, "gives", "a fact that notices say", name)
    if kind.type != "item" and (kind.per not in within.inside if kind.per else within.inside):
        where = f"inside each {kind.per}" if kind.per else "outside of what repeats"
        raise wrong(node.mark, "gives", f"a line {where} for {name}", "another place")
    return kind


def _steps(table: Table, kind: FactKind | None, within: Within) -> tuple[Form | Via, ...]:
    """Return the steps by which the value would be written: translated first, then formed."""
    steps: list[Form | Via] = []
    if (via := table.get("via")) is not None:
        steps.append(Via(_translation(via, kind, within), False))
    if (form := table.get("form")) is not None:
        name = form.one_of("form", tuple(FORMS))
        steps.append(Form(name, table.text("unknown_time")))
        if name == "CCYYMM":
            raise wrong(form.mark, "form", "a form that reads back", name)
        if kind is not None and kind.type == "date" and name not in _DAY_FORMS:
            raise wrong(form.mark, "form", "a form of a day for a date", name)
        if kind is not None and kind.type not in TIMES and not name.startswith("digits"):
            raise wrong(form.mark, "form", "a date or a datetime where a form of dates is", kind.type)
    return tuple(steps)


def _translation(node: Node, kind: FactKind | None, within: Within) -> CodeList:
    codes = within.lists.get(node.text("via"))
    if codes is None or codes.to is None or codes.direction != "both":
        raise wrong(node.mark, "via", "a code list with a translation that reads back", node.text("via"))
    for code in codes.to if kind is not None else ():
        if kind is not None and kind.shape.refuse(code) is not None:
            raise wrong(node.mark, "via", f"a translation into what {kind.name} may be", code)
    return codes


def _wire_shape(table: Table, kind: FactKind | None, steps: tuple[Form | Via, ...], within: Within) -> Shape:
    if kind is None:
        named = table.get("type")
        shape = Shape(_ECHO_TYPES[named.one_of("type", tuple(_ECHO_TYPES))] if named else "text")
    else:
        shape = Shape("text") if kind.type in ("item", "document") else kind.shape
    for step in steps:
        shape = step.shape()
    among = table.get("among")
    if among is None:
        return shape
    inner = among.table("among")
    name, value = inner.need("list").text("list"), inner.need("is").text("is")
    inner.close()
    if name not in within.lists:
        raise wrong(among.mark, "among", "a code list of codelists.yaml", name)
    codes = tuple(code for code in shape.codes or () if within.lists[name].translate(code) == value)
    if not codes:
        raise wrong(among.mark, "among", f"a code that {name} translates to {value}", "none")
    return replace(shape, codes=codes, list_name=f"{name} {value}")


def _requirement(table: Table, within: Within) -> Requirement:
    """Return when the element must be there; a condition names facts of the whole notice."""
    node = table.get("req")
    if node is None:
        return Requirement()
    if isinstance(node.value, str):
        return Requirement(mandatory=node.one_of("req", ("M", "O")) == "M")
    inner = node.table("req")
    plain = cast(Any, {name: kind for name, kind in within.kinds.items() if not kind.per})
    when = read_condition(inner.need("when"), plain, _NO_DICTIONARY)
    otherwise = inner.get("otherwise")
    forbidden = otherwise is not None and (
        otherwise.one_of("otherwise", ("optional", "forbidden")) == "forbidden"
    )
    inner.close()
    if within.inside:
        raise wrong(node.mark, "req", "a condition outside of what repeats", "one inside")
    return Requirement(when=when, forbidden_otherwise=forbidden)


def read_carried(table: Table, line: Line, within: Within) -> tuple[Line, AttributeSlot | None]:
    """Return the line with the unit or currency that it declares, as an attribute or once for all."""
    named = [key for key in ("unit", "currency") if key in table]
    number = line.kind is None or line.kind.type in NUMBERS
    if len(named) > 1 or (named and not number) or (not named and line.kind is not None and number):
        raise wrong(
            line.mark, table.name, "a unit or a currency exactly beside a number that has one", "not so"
        )
    if not named:
        return line, None
    node = table.need(named[0])
    if isinstance(node.value, str):
        return line, _carried(node.text(named[0]), None, True, node.mark, within)
    inner = node.table(named[0])
    fixed, source = inner.text("is"), inner.text("from")
    via, req = inner.get("via"), inner.text("req", "M")
    inner.close()
    if bool(fixed) == bool(source) or req not in ("M", "O"):
        raise wrong(
            node.mark, named[0], "either is (a code) or from (an attribute), and req M or O", "not so"
        )
    if fixed:
        return replace(line, unit=fixed), None
    return line, _carried(source, via, req == "M", node.mark, within)


def _carried(source: str, via: Node | None, required: bool, mark: Mark, within: Within) -> AttributeSlot:
    if not source.startswith("@") or not source[1:].isalnum():
        raise wrong(mark, "unit", "an attribute, as @unitCode", source)
    step = Via(_translation(via, None, within), False) if via is not None else None
    shape = step.shape() if step is not None else Shape("text", longest=17)
    return AttributeSlot(source[1:], None, step, shape, required, mark)
