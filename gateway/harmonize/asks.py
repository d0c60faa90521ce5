"""The fields that a document asks a trader for: the only ones, each with a meaning of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from gateway.harmonize.codelists import CodeList, read_pattern
from gateway.harmonize.conditions import Condition, read_condition
from gateway.harmonize.marks import Mark, Node, Table, wrong
from gateway.harmonize.shapes import Shape

if TYPE_CHECKING:
    from gateway.harmonize.dictionary import Dictionary

__all__ = ["Ask", "Requirement", "flatten", "read_asks", "tag_of"]

_TYPES: Final = (
    "text",
    "code",
    "id",
    "quantity",
    "measure",
    "amount",
    "date",
    "datetime",
    "boolean",
    "attachment",
    "group",
)
_NUMBERS: Final = ("quantity", "measure", "amount")


@dataclass(frozen=True, slots=True)
class Requirement:
    """When a field must be given: always, when `when` holds, or never; `otherwise` may forbid it."""

    mandatory: bool = False
    when: Condition | None = None
    forbidden_otherwise: bool = False


@dataclass(frozen=True, slots=True)
class Ask:
    """One asked field, or a group of them; `name` is dotted inside a `group`."""

    name: str
    tag: str
    type: str
    shape: Shape
    per: str
    means: str
    requirement: Requirement
    units: tuple[str, ...]
    repeat: tuple[int, int]
    fields: tuple[Ask, ...]
    mime: tuple[str, ...]
    max_mib: int | None
    labels: Mapping[str, str]
    ko: str
    en: str
    mark: Mark
    group: str = ""

    @property
    def attribute(self) -> str | None:
        """Return the attribute that the field carries: a unit, a currency or a content id."""
        kinds = {"quantity": "unitCode", "measure": "unitCode", "amount": "currencyID", "attachment": "cid"}
        return kinds.get(self.type)

    @property
    def attribute_shape(self) -> Shape:
        """Return the form of that attribute."""
        return (
            Shape("text", codes=self.units, list_name=f"units or currencies of {self.name}")
            if self.units
            else Shape("text")
        )

    @property
    def fixed_unit(self) -> str | None:
        """Return the unit when there is only one, so that it need not be written."""
        return self.units[0] if len(self.units) == 1 else None


def tag_of(name: str) -> str:
    """Return the element's name of a field: ``lot_no`` is ``LotNo``."""
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


def flatten(asks: tuple[Ask, ...]) -> Iterator[Ask]:
    """Yield every field, groups before their members."""
    for ask in asks:
        yield ask
        yield from flatten(ask.fields)


def read_asks(node: Node, lists: Mapping[str, CodeList], dictionary: Dictionary) -> tuple[Ask, ...]:
    """Return the fields that `node` declares, checked against the dictionary and among themselves."""
    asks = [_read(name, value, mark, (lists, "")) for name, value, mark in node.table("asks").rest()]
    every = list(flatten(tuple(asks)))
    seen: dict[str, Ask] = {}
    for ask in every:
        if ask.means in dictionary.meanings:
            place = dictionary.meanings[ask.means].mark
            raise wrong(ask.mark, ask.name, f"a meaning that is not common ({place})", ask.means)
        if ask.means in seen:
            raise wrong(
                ask.mark, ask.name, f"a meaning of its own ({seen[ask.means].name} has it)", ask.means
            )
        if ask.means:
            seen[ask.means] = ask
    names = {ask.name: ask for ask in every}
    return tuple(_with_condition(ask, node, names, dictionary) for ask in asks)


def _read(name: str, node: Node, mark: Mark, context: tuple[Mapping[str, CodeList], str]) -> Ask:
    lists, group = context
    table = node.table(name)
    kind = table.need("type").one_of("type", _TYPES)
    fields: tuple[Ask, ...] = ()
    full = f"{group}.{name}" if group else name
    repeat = table.get("repeat")
    if kind == "group":
        inner = table.need("fields").table(f"{full}.fields").rest()
        fields = tuple(_read(key, value, at, (lists, full)) for key, value, at in inner)
    per_node = table.get("per")
    if bool(group) == (per_node is not None):
        raise wrong(
            mark, full, "per outside groups only, and there always", "none" if per_node is None else "per"
        )
    shape, labels = _read_shape(table, kind, lists)
    ask = Ask(
        name=full,
        tag=tag_of(name),
        type=kind,
        shape=shape,
        per=per_node.one_of("per", ("application", "item")) if per_node else "group",
        means=table.text("means") if kind == "group" else table.need("means").text("means"),
        requirement=_plain_requirement(table),
        units=_units(table, kind, lists),
        repeat=repeat.bounds("repeat") if repeat else (0, 1),
        fields=fields,
        mime=tuple(mime.texts("mime")) if (mime := table.get("mime")) else (),
        max_mib=size.number("max_mib", 1, 1000) if (size := table.get("max_mib")) else None,
        labels=labels,
        ko=table.need("ko").text("ko"),
        en=table.need("en").text("en"),
        mark=mark,
        group=group,
    )
    table.text("note")
    table.close()
    if not name.replace("_", "").isalnum() or not name.isascii():
        raise wrong(mark, full, "a name of letters, digits and _", name)
    return ask


def _plain_requirement(table: Table) -> Requirement:
    node = table.get("req")
    if node is None or not isinstance(node.value, str):
        return Requirement()
    return Requirement(mandatory=node.one_of("req", ("M", "O")) == "M")


def _with_condition(ask: Ask, node: Node, names: Mapping[str, Ask], dictionary: Dictionary) -> Ask:
    """Return `ask` with its condition read; conditions name fields, so all names must be known first."""
    assert isinstance(node.value, dict)
    own = node.value[ask.name.rpartition(".")[2]]
    assert isinstance(own.value, dict)
    requirement = ask.requirement
    req = own.value.get("req")
    if req is not None and isinstance(req.value, dict):
        table = req.table(f"{ask.name}.req")
        when = read_condition(table.need("when"), names, dictionary)
        otherwise = table.get("otherwise")
        forbidden = (
            otherwise is not None and otherwise.one_of("otherwise", ("optional", "forbidden")) == "forbidden"
        )
        table.close()
        requirement = Requirement(when=when, forbidden_otherwise=forbidden)
    fields = tuple(_with_condition(field, own.value["fields"], names, dictionary) for field in ask.fields)
    return replace(ask, requirement=requirement, fields=fields)


def _units(table: Table, kind: str, lists: Mapping[str, CodeList]) -> tuple[str, ...]:
    """Return the units that a number may have, or for an amount its currencies."""
    if kind == "amount":
        currencies = table.need("currencies")
        return lists[currencies.one_of("currencies", tuple(lists))].codes
    units, unit = table.get("units"), table.get("unit")
    if kind not in ("quantity", "measure"):
        return ()
    if (units is None) == (unit is None):
        raise wrong(table.mark, table.name, "either unit or units", "both or none")
    return tuple(units.texts("units")) if units else (table.text("unit"),)


def _read_shape(table: Table, kind: str, lists: Mapping[str, CodeList]) -> tuple[Shape, Mapping[str, str]]:
    if kind == "code":
        return _code_shape(table, lists)
    if kind in _NUMBERS:
        decimals, limits = table.get("decimals"), table.get("range")
        bounds = limits.items("range") if limits else []
        if limits and len(bounds) != 2:
            raise wrong(limits.mark, "range", "two numbers [low, high]", f"{len(bounds)} of them")
        low, high = (bounds[0].text("range"), bounds[1].text("range")) if bounds else ("0", None)
        if kind == "measure" and not bounds:
            low, high = None, None  # type: ignore[assignment]
        fraction = decimals.number("decimals", 0, 12) if decimals else 6
        return Shape("decimal", total=16, fraction=fraction, low=low, high=high), {}
    if kind in ("text", "id"):
        longest, pattern = table.need("max"), read_pattern(table)
        return Shape("text", longest=longest.number("max", 1), pattern=pattern), {}
    return Shape({"date": "date", "datetime": "moment", "boolean": "boolean"}.get(kind, "text")), {}


def _code_shape(table: Table, lists: Mapping[str, CodeList]) -> tuple[Shape, Mapping[str, str]]:
    named, inline = table.get("list"), table.get("codes")
    if (named is None) == (inline is None):
        raise wrong(table.mark, table.name, "either list or codes", "both or none")
    if inline is not None:
        labels = {code: node.text(code) for code, node, _ in inline.table("codes").rest()}
        return Shape("text", codes=tuple(labels), list_name=table.name), labels
    assert named is not None
    name = named.text("list")
    if name not in lists:
        raise wrong(named.mark, "list", "a code list of codelists.yaml", name)
    known = lists[name]
    codes = None if known.pattern else known.codes
    return Shape("text", pattern=known.pattern, codes=codes, list_name=name), {}
