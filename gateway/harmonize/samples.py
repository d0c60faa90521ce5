"""Makes a valid random submission that holds one application of a document, from its mapping alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Final

from lxml import etree

from gateway.errors import OUR_MISTAKE, GatewayError
from gateway.harmonize.asks import Ask
from gateway.harmonize.bundle import Bundle
from gateway.harmonize.dictionary import ITEM_PATH, Meaning
from gateway.harmonize.documents import Document, Need
from gateway.harmonize.draws import Draws, draw_text
from gateway.harmonize.facts import DEC
from gateway.harmonize.marks import Mark
from gateway.harmonize.shapes import Shape
from gateway.harmonize.sources import Form, Product, Taken, Via
from gateway.harmonize.targets import Target
from gateway.wire.namespaces import SUB
from gateway.wire.pointers import tags

__all__ = ["sample"]

_DS: Final = "urn:wco:datamodel:WCO:Declaration_DS:DMS:2"
_MD: Final = "urn:wco:datamodel:WCO:DocumentMetaData-DMS:2"
_TRIES: Final = 200
_MOST_IN_GROUP: Final = 3
_FUNCTION: Final = "Declaration/FunctionCode"
_ITEM_COUNT: Final = "Declaration/GoodsItemQuantity"
_REFERENCE: Final = "Declaration/FunctionalReferenceID"


@dataclass(frozen=True, slots=True)
class _Text:
    """A drawn value."""

    text: str


@dataclass(slots=True)
class _Draft:
    """The values drawn so far; conditions read it as they would read the submission."""

    common: dict[tuple[str, str | None], str] = field(default_factory=dict)
    asked: dict[tuple[str, str | None], str] = field(default_factory=dict)
    item: str | None = None
    frame: Mapping[str, str] = field(default_factory=dict)

    def read(self, source: Ask | Meaning, _rule: Mark) -> list[_Text]:
        """Return the drawn values of `source`."""
        if isinstance(source, Ask):
            if source.group:
                return [_Text(self.frame[source.name])] if source.name in self.frame else []
            text = self.asked.get((source.name, self.item if source.per == "item" else None))
        else:
            text = self.common.get((source.name, self.item if source.path.startswith(ITEM_PATH) else None))
        return [] if text is None else [_Text(text)]


@dataclass(slots=True)
class _Maker:
    """One sample in the making."""

    bundle: Bundle
    document: Document
    draws: Draws
    draft: _Draft
    shapes: Mapping[str, list[Shape]]
    attachments: list[tuple[str, str, str]] = field(default_factory=list)


def sample(bundle: Bundle, document: Document, seed: str, items: int) -> bytes:
    """Return a submission as XML: one application of `document` for `items` goods items."""
    draws = Draws(f"{document.id}/{seed}")
    maker = _Maker(bundle, document, draws, _Draft(), _demands(document))
    numbers = [str(number) for number in range(1, items + 1)]
    others = [str(items + 1)] if items < 999 and draws.chance(40) else []
    fields = _draw_fields(maker, numbers)
    _draw_common(maker, numbers, others)
    root = etree.Element(f"{{{SUB}}}Submission", nsmap=_default(SUB), version="1")
    drawn = {bundle.dictionary.meanings[name].path: text for (name, _), text in maker.draft.common.items()}
    reference = drawn.get(_REFERENCE) or draws.code(12)
    etree.SubElement(root, f"{{{SUB}}}Reference").text = reference
    etree.SubElement(root, f"{{{SUB}}}Function").text = "9"
    _write_declaration(maker, root, [*numbers, *others])
    _write_supplement(maker, root)
    application = etree.SubElement(root, f"{{{SUB}}}Application", id="A1", document=document.id)
    etree.SubElement(application, f"{{{SUB}}}Items").text = " ".join(numbers)
    application.append(fields)
    for cid, media_type, kind in maker.attachments:
        digest, size = draws.code(64, "0123456789abcdef"), str(draws.number(1, 900_000))
        names = {"cid": cid, "mediaType": media_type, "sha256": digest, "size": size, "kind": kind}
        etree.SubElement(application, f"{{{SUB}}}Attachment", names)
    etree.indent(root)
    return etree.tostring(root, xml_declaration=True, encoding="UTF-8") + b"\n"


def _default(namespace: str) -> Any:
    """Return the map that makes `namespace` the default one; the stubs of lxml know no such map."""
    return {None: namespace}


def _demands(document: Document) -> dict[str, list[Shape]]:
    """Return, by name of meaning or field, every form that the document's targets demand of it."""
    found: dict[str, list[Shape]] = {}
    for target in document.root.leaves():
        source = target.content.source if target.content is not None else None
        for one in source.factors if isinstance(source, Product) else (source,):
            if isinstance(one, Taken) and target.content is not None:
                found.setdefault(one.source.name, []).append(_demand(target, one))
    return found


def _demand(target: Target, taken: Taken) -> Shape:
    """Return the form that a target demands of the value before it is converted."""
    assert target.content is not None
    if isinstance(target.content.source, Product):
        return taken.shape()
    for step in target.content.steps:
        if isinstance(step, Via) and not step.omit:
            return Shape("text", codes=tuple(step.codes.to or ()), list_name=step.codes.name)
        if isinstance(step, Via) or (isinstance(step, Form) and not step.name.startswith("digits")):
            return taken.shape()
    if target.part is not None:
        part = target.part
        # One character may be lost at each cut, so a little less than all pieces together is sure to fit.
        return replace(
            target.shape, octets=part.octets and part.octets * part.of - 3 * part.of, longest=part.chars
        )
    return target.shape


def _value(maker: _Maker, name: str, shape: Shape) -> str:
    """Draw a value of `shape` that every target of `name` takes."""
    demands = [shape, *maker.shapes.get(name, ())]
    for attempt in range(_TRIES):
        tightest = demands[attempt % len(demands)]
        text = draw_text(maker.draws, tightest)
        if all(demand.refuse(text) is None for demand in demands):
            return text
    raise GatewayError(OUR_MISTAKE, f"no value found for {name} in {maker.document.id}", name)


def _draw_fields(maker: _Maker, numbers: Iterable[str]) -> etree._Element:
    fields = etree.Element(f"{{{SUB}}}Fields", nsmap={"f": maker.document.namespace})
    asks = maker.document.asks
    _draw_branch(maker, fields, [ask for ask in asks if ask.per == "application"], None)
    per_item = [ask for ask in asks if ask.per == "item"]
    for number in numbers if per_item else ():
        item = etree.SubElement(fields, f"{{{maker.document.namespace}}}Item", sequence=number)
        _draw_branch(maker, item, per_item, number)
    return fields


def _draw_branch(maker: _Maker, parent: etree._Element, asks: list[Ask], item: str | None) -> None:
    """Draw fields that stand side by side: those without a condition first, since conditions read them."""
    maker.draft.item = item
    made: dict[str, list[etree._Element]] = {}
    plain = [ask for ask in asks if ask.requirement.when is None]
    for ask in [*plain, *(ask for ask in asks if ask.requirement.when is not None)]:
        if _wanted(maker, ask):
            made[ask.name] = _draw_ask(maker, ask, item)
    for ask in asks:
        parent.extend(made.get(ask.name, ()))


def _wanted(maker: _Maker, ask: Ask) -> bool:
    requirement = ask.requirement
    if requirement.when is None:
        return requirement.mandatory or maker.draws.chance(50)
    if requirement.when.holds(maker.draft):
        return True
    return not requirement.forbidden_otherwise and maker.draws.chance(30)


def _draw_ask(maker: _Maker, ask: Ask, item: str | None) -> list[etree._Element]:
    tag = f"{{{maker.document.namespace}}}{ask.tag}"
    if ask.type == "group":
        low, high = max(ask.repeat[0], 1), min(max(ask.repeat[1], 1), _MOST_IN_GROUP)
        return [_draw_group(maker, ask, tag) for _ in range(maker.draws.number(low, max(low, high)))]
    element = etree.Element(tag)
    if ask.type == "attachment":
        cid = f"{ask.tag}-{item or 0}@sample"
        maker.attachments.append((cid, maker.draws.one(ask.mime or ("application/pdf",)), ask.tag))
        element.set("cid", cid)
        return [element]
    text = _value(maker, ask.name, _summed(maker, ask))
    element.text = text
    if ask.group:
        maker.draft.frame = {**maker.draft.frame, ask.name: text}
    else:
        maker.draft.asked[(ask.name, item)] = text
    if ask.type == "amount":
        element.set("currencyID", "USD")
    elif ask.units and (ask.fixed_unit is None or maker.draws.chance(50)):
        element.set("unitCode", maker.draws.one(ask.units))
    return [element]


def _draw_group(maker: _Maker, ask: Ask, tag: str) -> etree._Element:
    element, outer, item = etree.Element(tag), maker.draft.frame, maker.draft.item
    maker.draft.frame = {name: text for name, text in outer.items() if not name.startswith(f"{ask.name}.")}
    _draw_branch(maker, element, list(ask.fields), item)
    maker.draft.frame = outer
    return element


def _summed(maker: _Maker, ask: Ask) -> Shape:
    """Return the form of a field, narrowed where a check bounds the sum of its values."""
    for check in maker.document.checks:
        if ask in check.factors and check.operator == "at_most" and isinstance(check.bound, str):
            return replace(ask.shape, high=str(Decimal(check.bound) // _MOST_IN_GROUP))
    return ask.shape


def _draw_common(maker: _Maker, numbers: list[str], others: list[str]) -> None:
    for need in maker.document.needs:
        if need.meaning.per in maker.bundle.dictionary.groups:
            continue
        per_item = maker.bundle.dictionary.is_item(need.meaning.per)
        for item in [*numbers, *others] if per_item else [None]:
            maker.draft.item = item
            if (
                need.mandatory
                or maker.draws.chance(50)
                or (need.when is not None and need.when.holds(maker.draft))
            ):
                maker.draft.common[(need.meaning.name, item)] = _draw_meaning(
                    maker, need, (numbers, others), item
                )


def _draw_meaning(maker: _Maker, need: Need, items: tuple[list[str], list[str]], item: str | None) -> str:
    meaning = need.meaning
    if meaning.path == f"{ITEM_PATH}/SequenceNumeric" and item is not None:
        return item
    if meaning.path == _FUNCTION:
        return "9"
    if meaning.path == _ITEM_COUNT:
        return str(len(items[0]) + len(items[1]))
    bounds = [check.bound for check in maker.document.checks if isinstance(check.bound, Meaning)]
    if meaning in bounds:
        # More than any sum of products of two numbers below a million that this sample can hold.
        return str(10**6 * len(items[0]) * maker.draws.number(1, 9))
    return _value(maker, meaning.name, meaning.shape)


def _write_supplement(maker: _Maker, root: etree._Element) -> None:
    supplement = etree.SubElement(root, f"{{{SUB}}}Supplement")
    for (name, item), text in maker.draft.common.items():
        meaning = maker.bundle.dictionary.meanings[name]
        if not meaning.supplement:
            continue
        number = maker.draws.number(1, 3) if meaning.many else 1
        for n in range(1, number + 1):
            again = text if n == 1 else _value(maker, name, meaning.shape)
            value = etree.SubElement(supplement, f"{{{SUB}}}Value", path=meaning.path, wcoID=meaning.wco)
            if item is not None:
                value.set("item", item)
            if meaning.many:
                value.set("n", str(n))
            moment = meaning.type == "datetime" and "T" not in again
            value.text = f"{again}T00:00:00Z" if moment else again


def _write_declaration(maker: _Maker, root: etree._Element, items: list[str]) -> None:
    shell = maker.draws.number(0, 2)
    parent = root if shell else etree.SubElement(root, f"{{{SUB}}}Declaration")
    if shell != 1:
        parent = etree.SubElement(parent, f"{{{_MD}}}MetaData", nsmap={"md": _MD})
        for name, text in (("WCODataModelVersionCode", "3.6"), ("WCOTypeName", "DEC")):
            etree.SubElement(parent, f"{{{_MD}}}{name}").text = text
    declaration = etree.SubElement(parent, f"{{{DEC}}}Declaration", nsmap=_default(DEC))
    branches: dict[str | None, etree._Element] = {None: declaration}
    for number in items:
        place = _descend(declaration, ITEM_PATH.split("/")[1:-1])
        branches[number] = etree.SubElement(place, f"{{{DEC}}}{ITEM_PATH.rpartition('/')[2]}")
    for (name, item), text in maker.draft.common.items():
        meaning = maker.bundle.dictionary.meanings[name]
        if not meaning.supplement:
            _write_meaning(branches[item], meaning, text)
    _write_groups(maker, branches)
    _sort(declaration, "Declaration")


def _descend(element: etree._Element, names: Iterable[str]) -> etree._Element:
    for name in names:
        found = element.find(f"{{{DEC}}}{name}")
        element = etree.SubElement(element, f"{{{DEC}}}{name}") if found is None else found
    return element


def _write_meaning(branch: etree._Element, meaning: Meaning, text: str) -> None:
    *outer, last = meaning.relative
    if meaning.where is not None:
        *above, repeated = outer
        parent = etree.SubElement(_descend(branch, above), f"{{{DEC}}}{repeated}")
        if meaning.where.values[0] != "none":
            etree.SubElement(parent, f"{{{DEC}}}{meaning.where.element}").text = meaning.where.values[0]
    else:
        parent = _descend(branch, outer)
    element = etree.SubElement(parent, f"{{{DEC}}}{last}")
    if meaning.type == "datetime":
        inner = etree.SubElement(element, f"{{{_DS}}}DateTimeString", nsmap={"dt": _DS})
        day = text[:10].replace("-", "")
        inner.set("formatCode", "304" if "T" in text else "102")
        inner.text = f"{day}{text[11:19].replace(':', '')}Z" if "T" in text else day
        return
    element.text = text
    if meaning.attribute is not None:
        element.set(meaning.attribute, "USD" if meaning.type == "amount" else "KGM")


def _write_groups(maker: _Maker, branches: Mapping[str | None, etree._Element]) -> None:
    """Write some containers, packages and licences: whatever repeats and the document may use."""
    dictionary = maker.bundle.dictionary
    for group in dictionary.groups.values():
        members = [need.meaning for need in maker.document.needs if need.meaning.per == group.name]
        for place in _places(group.per, branches) if members else ():
            for number in range(1, maker.draws.number(0, 2) + 1):
                *above, last = group.path.split("/")
                element = etree.SubElement(_descend(place, above), f"{{{DEC}}}{last}", {"group": group.name})
                path = members[0].path[: -len("/".join(members[0].relative)) - 1]
                if f"{path}/SequenceNumeric" in tags():
                    etree.SubElement(element, f"{{{DEC}}}SequenceNumeric").text = str(number)
                for meaning in members:
                    _write_meaning(element, meaning, _value(maker, meaning.name, meaning.shape))
    for element in branches[None].iter(f"{{{DEC}}}*"):
        if element.get("group") is not None:
            del element.attrib["group"]


def _places(per: str, branches: Mapping[str | None, etree._Element]) -> list[etree._Element]:
    if per == "header":
        return [branches[None]]
    if per == "item":
        return [element for item, element in branches.items() if item is not None]
    return [element for element in branches[None].iter(f"{{{DEC}}}*") if element.get("group") == per]


def _sort(element: etree._Element, path: str) -> None:
    """Put the children of every element in the order of the declaration's schema."""
    order = {known: position for position, known in enumerate(tags())}
    pending = [(element, path)]
    while pending:
        element, path = pending.pop()
        children = [child for child in element if str(child.tag).startswith(f"{{{DEC}}}")]
        named = [(child, f"{path}/{etree.QName(child).localname}") for child in children]
        named.sort(key=lambda pair: order.get(pair[1], 0))
        for child, _ in named:
            element.append(child)
        pending.extend(named)
