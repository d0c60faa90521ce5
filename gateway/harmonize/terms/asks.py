"""The fields that a document asks a trader for: the only ones, each with a meaning of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from gateway.harmonize.terms.codelists import CodeList, read_pattern
from gateway.harmonize.terms.conditions import Condition, read_condition
from gateway.harmonize.terms.marks import Mark, Node, Table, wrong
from gateway.harmonize.terms.shapes import DECIMAL, Shape

if TYPE_CHECKING:
    from gateway.harmonize.terms.dictionary import Dictionary

__all__ = ["Ask", "Requirement", "dotted_tag", "flatten", "read_asks", "segment", "tag_of"]

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
_MOST_REPEATS: Final = 9999
_ATTRIBUTES: Final = {
    "quantity": "unitCode",
    "measure": "unitCode",
    "amount": "currencyID",
    "attachment": "cid",
}
_NUMBERS: Final = ("quantity", "measure", "amount")


@dataclass(frozen=True, slots=True)
class Requirement:
    """When a field must be given: always, when `when` holds, or never; `otherwise` may forbid it."""

    mandatory: bool = False
    when: Condition | None = None
    forbidden_otherwise: bool = False


@dataclass(frozen=True, slots=True)
class Ask:
    """One asked field, or a group of them; `name` is dotted inside a `group`.

    `per` is ``group`` inside a group; `home` says of any field whether it belongs to one
    goods item or to the whole application.  The answer to a `shared` field, or to a whole
    group, counts for all applications of a submission that share its meaning.  `attribute` is
    what the field carries, a unit, a currency or a content id, `attribute_shape` the form of that.
    """

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
    labels: Mapping[str, tuple[str, str]]
    ko: str
    en: str
    mark: Mark
    group: str = ""
    home: str = "application"
    shared: bool = False
    attribute: str | None = field(init=False, compare=False, repr=False)
    attribute_shape: Shape = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "attribute", _ATTRIBUTES.get(self.type))
        listed = f"units or currencies of {self.name}"
        shape = Shape("text", codes=self.units, list_name=listed) if self.units else Shape("text")
        object.__setattr__(self, "attribute_shape", shape)

    @property
    def many(self) -> bool:
        """Return whether there may be several values, side by side."""
        return self.repeat[1] > 1

    @property
    def fixed_unit(self) -> str | None:
        """Return the unit when there is only one, so that it need not be written."""
        return self.units[0] if len(self.units) == 1 else None


def tag_of(name: str) -> str:
    """Return the element's name of a field: ``lot_no`` is ``LotNo``."""
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


def segment(ask: Ask) -> str:
    """Return the last part of the pointer at which a field stands, or would stand, for the first time."""
    numbered = ask.type == "group" or (ask.home == "item" and not ask.group)
    return f"{ask.tag}[1]" if numbered else ask.tag


def dotted_tag(name: str) -> str:
    """Return the elements' names of a dotted field: ``animal.tag_no`` is ``Animal.TagNo``."""
    return ".".join(tag_of(part) for part in name.split("."))


def flatten(asks: tuple[Ask, ...]) -> Iterator[Ask]:
    """Yield every field, groups before their members."""
    for ask in asks:
        yield ask
        yield from flatten(ask.fields)


def read_asks(node: Node, lists: Mapping[str, CodeList], dictionary: Dictionary) -> tuple[Ask, ...]:
    """Return the fields that `node` declares, checked against the dictionary and among themselves."""
    asks = [_read(name, value, mark, (lists, "", "")) for name, value, mark in node.table("asks").rest()]
    every = list(flatten(tuple(asks)))
    seen: dict[str, Ask] = {}
    for ask in every:
        if ask.means in dictionary.meanings:
            place = dictionary.meanings[ask.means].mark
            expected = f"a meaning that is not common ({place})"
            raise wrong(ask.mark, ask.name, expected, ask.means, proof="never_asked_twice")
        if ask.means in seen:
            expected = f"a meaning of its own ({seen[ask.means].name} has it)"
            raise wrong(ask.mark, ask.name, expected, ask.means, proof="never_asked_twice")
        if ask.means:
            seen[ask.means] = ask
    names = {ask.name: ask for ask in every}
    return tuple(_with_condition(ask, node, names, (dictionary, lists)) for ask in asks)


def _read(name: str, node: Node, mark: Mark, context: tuple[Mapping[str, CodeList], str, str]) -> Ask:
    lists, group, home = context
    table = node.table(name)
    kind = table.need("type").one_of("type", _TYPES)
    full = f"{group}.{name}" if group else name
    per_node = table.get("per")
    if bool(group) == (per_node is not None):
        raise wrong(
            mark, full, "per outside groups only, and there always", "none" if per_node is None else "per"
        )
    per = per_node.one_of("per", ("application", "item")) if per_node else "group"
    home = home or per
    fields = _read_members(table, full, (lists, full, home)) if kind == "group" else ()
    shape, labels = _read_shape(table, kind, lists)
    ask = Ask(
        name=full,
        tag=tag_of(name),
        type=kind,
        shape=shape,
        per=per,
        means=table.text("means") if kind == "group" else table.need("means").text("means"),
        requirement=_plain_requirement(table),
        units=_units(table, kind, lists),
        repeat=_repeat(table),
        fields=fields,
        mime=tuple(mime.texts("mime")) if (mime := table.get("mime")) else (),
        max_mib=size.number("max_mib", 1, 1000) if (size := table.get("max_mib")) else None,
        labels=labels,
        ko=table.need("ko").text("ko"),
        en=table.need("en").text("en"),
        mark=mark,
        group=group,
        home=home,
        shared=(flag := table.get("shared")) is not None and flag.one_of("shared", ("yes", "no")) == "yes",
    )
    table.text("note")
    table.close()
    _check_shared(ask)
    if not name.replace("_", "").isalnum() or not name.isascii() or not ask.tag[:1].isalpha():
        raise wrong(mark, full, "a name of letters, digits and _", name)
    return ask


def _check_shared(ask: Ask) -> None:
    """Refuse a shared field that no other application could give: nameless, a part, or a file."""
    if not ask.shared:
        return
    if ask.group:
        raise wrong(ask.mark, ask.name, "a whole group that is shared", "one field of it")
    if not ask.means:
        raise wrong(ask.mark, ask.name, "a meaning (means), by which it is shared", "none")
    if any(one.type == "attachment" for one in flatten((ask,))):
        raise wrong(ask.mark, ask.name, "an attachment of each application of its own", "a shared one")


def _read_members(
    table: Table, full: str, context: tuple[Mapping[str, CodeList], str, str]
) -> tuple[Ask, ...]:
    node = table.need("fields")
    fields = tuple(_read(key, value, at, context) for key, value, at in node.table(f"{full}.fields").rest())
    if not fields:
        raise wrong(node.mark, f"{full}.fields", "at least one field", "none")
    return fields


def _repeat(table: Table) -> tuple[int, int]:
    node = table.get("repeat")
    if node is None:
        return 0, 1
    low, high = node.bounds("repeat")
    if not 1 <= high <= _MOST_REPEATS:
        raise wrong(node.mark, "repeat", f"a highest number from 1 to {_MOST_REPEATS}", str(high))
    return low, high


def _plain_requirement(table: Table) -> Requirement:
    node = table.get("req")
    if node is None or not isinstance(node.value, str):
        return Requirement()
    return Requirement(mandatory=node.one_of("req", ("M", "O")) == "M")


def _with_condition(
    ask: Ask,
    node: Node,
    names: Mapping[str, Ask],
    context: tuple[Dictionary, Mapping[str, CodeList]],
) -> Ask:
    """Return `ask` with its condition read; conditions name fields, so all names must be known first."""
    assert isinstance(node.value, dict)
    own = node.value[ask.name.rpartition(".")[2]]
    assert isinstance(own.value, dict)
    requirement = ask.requirement
    req = own.value.get("req")
    if req is not None and isinstance(req.value, dict):
        table = req.table(f"{ask.name}.req")
        when = read_condition(table.need("when"), names, *context)
        otherwise = table.get("otherwise")
        forbidden = (
            otherwise is not None and otherwise.one_of("otherwise", ("optional", "forbidden")) == "forbidden"
        )
        table.close()
        requirement = Requirement(when=when, forbidden_otherwise=forbidden)
    fields = tuple(_with_condition(field, own.value["fields"], names, context) for field in ask.fields)
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


def _read_shape(
    table: Table, kind: str, lists: Mapping[str, CodeList]
) -> tuple[Shape, Mapping[str, tuple[str, str]]]:
    if kind == "code":
        return _code_shape(table, lists)
    if kind in _NUMBERS:
        decimals = table.get("decimals")
        low, high = _read_range(table, "0" if kind != "measure" else None)
        fraction = decimals.number("decimals", 0, 12) if decimals else 6
        return Shape("decimal", total=16, fraction=fraction, low=low, high=high), {}
    if kind in ("text", "id"):
        longest = table.need("max").number("max", 1)
        return Shape("text", longest=longest, pattern=read_pattern(table, longest)), {}
    return Shape({"date": "date", "datetime": "moment", "boolean": "boolean"}.get(kind, "text")), {}


def _read_range(table: Table, lowest: str | None) -> tuple[str | None, str | None]:
    """Return the least and the most that a number may be; without a range `lowest` is the least."""
    node = table.get("range")
    if node is None:
        return lowest, None
    bounds = node.items("range")
    if len(bounds) != 2:
        raise wrong(node.mark, "range", "two numbers [low, high]", f"{len(bounds)} of them")
    low, high = (bound.text("range") for bound in bounds)
    for text in (low, high):
        if not DECIMAL.fullmatch(text):
            raise wrong(node.mark, "range", "two numbers [low, high]", text)
    if Decimal(low) > Decimal(high):
        raise wrong(node.mark, "range", "the lower number first", f"[{low}, {high}]")
    return low, high


def _code_shape(table: Table, lists: Mapping[str, CodeList]) -> tuple[Shape, Mapping[str, tuple[str, str]]]:
    named, inline = table.get("list"), table.get("codes")
    if (named is None) == (inline is None):
        raise wrong(table.mark, table.name, "either list or codes", "both or none")
    if inline is not None:
        labels = {code: _labels(code, node) for code, node, _ in inline.table("codes").rest()}
        return Shape("text", codes=tuple(labels), list_name=table.name), labels
    assert named is not None
    name = named.text("list")
    if name not in lists:
        raise wrong(named.mark, "list", "a code list of codelists.yaml", name)
    known = lists[name]
    codes = None if known.pattern else known.codes
    return Shape("text", pattern=known.pattern, codes=codes, list_name=name), {}


def _labels(code: str, node: Node) -> tuple[str, str]:
    """Return the Korean and the English label of an inline code; one text alone serves as both."""
    if not isinstance(node.value, dict):
        return node.text(code), node.text(code)
    table = node.table(code)
    labels = table.need("ko").text("ko"), table.need("en").text("en")
    table.close()
    return labels
