"""Makes a valid random submission that holds one application of a document, from its mapping alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from lxml import etree

from gateway.errors import OUR_MISTAKE, GatewayError
from gateway.harmonize.applying.splitting import placeholder_numbers, split
from gateway.harmonize.language.bundle import Bundle
from gateway.harmonize.language.documents import Document, Need
from gateway.harmonize.sampling.demands import demands_of, name_of
from gateway.harmonize.sampling.draws import Draws
from gateway.harmonize.sampling.sampledraft import Draft, in_order, reads_any
from gateway.harmonize.sampling.sampletuning import tune
from gateway.harmonize.sampling.samplexml import Occurrence, write_declaration, write_supplement
from gateway.harmonize.terms.asks import Ask, flatten
from gateway.harmonize.terms.dictionary import ITEM_PATH, Meaning
from gateway.wire.namespaces import SUB

__all__ = ["sample"]

_ATTEMPTS: Final = 60
_MOST_VALUES: Final = 3
_FUNCTION: Final = "Declaration/FunctionCode"
_ITEM_COUNT: Final = "Declaration/GoodsItemQuantity"
_REFERENCE: Final = "Declaration/FunctionalReferenceID"


@dataclass(slots=True)
class _Maker:
    """One sample in the making: goods items that the application concerns, and others."""

    bundle: Bundle
    document: Document
    draws: Draws
    draft: Draft
    numbers: list[str]
    others: list[str]
    attachments: list[tuple[str, str, str]] = field(default_factory=list)


def sample(bundle: Bundle, document: Document, seed: str, items: int) -> bytes:
    """Return a submission as XML: one application of `document` for `items` goods items.

    What is drawn fits most rules by the way it is drawn; where it breaks one nevertheless
    it is drawn again.  Raises GW901 where no valid submission is found.
    """
    found = ""
    for attempt in range(_ATTEMPTS):
        root = _submission(bundle, document, f"{seed}/{attempt}" if attempt else seed, items)
        problems = split(root, bundle, placeholder_numbers(root)).problems
        if not problems:
            etree.indent(root)
            return etree.tostring(root, xml_declaration=True, encoding="UTF-8") + b"\n"
        found = found or f"{problems[0].detail} at {problems[0].pointer}"
    raise GatewayError(OUR_MISTAKE, f"no valid sample of {document.id} found: {found}", document.id)


def _submission(bundle: Bundle, document: Document, seed: str, items: int) -> etree._Element:
    draws = Draws(f"{document.id}/{seed}")
    numbers = [str(number) for number in range(1, items + 1)]
    others = [str(items + 1)] if items < 999 and draws.chance(40) else []
    demands = demands_of(document, bundle.dictionary.groups)
    draft = Draft(bundle, document, draws, demands, frozenset(numbers))
    maker = _Maker(bundle, document, draws, draft, numbers, others)
    _draw_needs(maker, [need for need in document.needs if need.when is None])
    places = _draw_groups(maker)
    fields = _draw_fields(maker)
    _draw_needs(maker, [need for need in document.needs if need.when is not None])
    tune(draft)
    _write_answers(draft)
    root = etree.Element(f"{{{SUB}}}Submission", nsmap=_default(SUB), version="1")
    reference = next((text for meaning, text in _stated(maker) if meaning.path == _REFERENCE), draws.code(12))
    etree.SubElement(root, f"{{{SUB}}}Reference").text = reference
    etree.SubElement(root, f"{{{SUB}}}Function").text = "9"
    write_declaration(draft, root, [*numbers, *others], places)
    write_supplement(draft, root)
    application = etree.SubElement(root, f"{{{SUB}}}Application", id="A1", document=document.id)
    etree.SubElement(application, f"{{{SUB}}}Items").text = " ".join(numbers)
    application.append(fields)
    for cid, media_type, kind in maker.attachments:
        digest, size = draws.code(64, "0123456789abcdef"), str(draws.number(1, 900_000))
        names = {"cid": cid, "mediaType": media_type, "sha256": digest, "size": size, "kind": kind}
        etree.SubElement(application, f"{{{SUB}}}Attachment", names)
    return root


def _default(namespace: str) -> Any:
    """Return the map that makes `namespace` the default one; the stubs of lxml know no such map."""
    return {None: namespace}


def _stated(maker: _Maker) -> Iterator[tuple[Meaning, str]]:
    for need in maker.document.needs:
        for one in maker.draft.values.get(name_of(need.meaning), ()):
            yield need.meaning, one.text


def _draw_needs(maker: _Maker, needs: list[Need]) -> None:
    dictionary = maker.bundle.dictionary
    for need in needs:
        if need.meaning.per in dictionary.groups:
            continue
        per_item = dictionary.is_item(need.meaning.per)
        for item in [*maker.numbers, *maker.others] if per_item else [None]:
            maker.draft.item = item
            if need.mandatory or maker.draws.chance(50) or maker.draft.holds(need.when):
                _draw_need(maker, need, item)
    maker.draft.item = None


def _draw_need(maker: _Maker, need: Need, item: str | None) -> None:
    meaning, known = need.meaning, _known(maker, need.meaning, item)
    if known is not None:
        maker.draft.put(meaning, known)
        return
    # In the declaration we cannot tell which of the elements around a value may repeat with it.
    most = _MOST_VALUES if meaning.many and meaning.supplement else 1
    for _ in range(maker.draft.number_of(meaning, 1, most)):
        maker.draft.draw(meaning, meaning.shape)


def _known(maker: _Maker, meaning: Meaning, item: str | None) -> str | None:
    """Return a value that is not drawn, since something else decides it."""
    if meaning.path == f"{ITEM_PATH}/SequenceNumeric" and item is not None:
        return item
    if meaning.path == _FUNCTION:
        return "9"
    if meaning.path == _ITEM_COUNT:
        return str(len(maker.numbers) + len(maker.others))
    return None


def _draw_groups(maker: _Maker) -> list[Occurrence]:
    """Draw containers, packages, licences: whatever of the dictionary repeats and the document may use."""
    dictionary, draft = maker.bundle.dictionary, maker.draft
    found: list[Occurrence] = []
    for group in dictionary.groups.values():
        needs = [need for need in maker.document.needs if group.name in dictionary.chain(need.meaning.per)]
        for item, place in _around(maker, group.per, found) if needs else ():
            draft.item, draft.place = item, place
            for _ in range(draft.number_of(group, 0, 2)):
                outer = draft.enter(group.name)
                found.append(Occurrence(group.name, item, draft.place))
                for need in needs:
                    if need.meaning.per == group.name and (need.mandatory or maker.draws.chance(80)):
                        draft.draw(need.meaning, need.meaning.shape)
                draft.place = outer
    draft.item, draft.place = None, {}
    return found


def _around(maker: _Maker, per: str, found: list[Occurrence]) -> list[tuple[str | None, Mapping[str, int]]]:
    if per == "header":
        return [(None, {})]
    if per == "item":
        return [(item, {}) for item in (*maker.numbers, *maker.others)]
    return [(one.item, one.place) for one in found if one.group == per]


def _draw_fields(maker: _Maker) -> etree._Element:
    """Draw what the applicant answers: for the whole application, and in each item."""
    fields = etree.Element(f"{{{SUB}}}Fields", nsmap={"f": maker.document.namespace})
    asks = maker.document.asks
    top = [ask for ask in asks if ask.per == "application"]
    per_item = [ask for ask in asks if ask.per == "item"]
    items = [
        etree.Element(f"{{{maker.document.namespace}}}Item", sequence=number) for number in maker.numbers
    ]
    late = [ask for ask in top if reads_any(ask, per_item)]
    early = _draw_branch(maker, [ask for ask in top if ask not in late], None)
    for element in items if per_item else ():
        drawn = _draw_branch(maker, per_item, str(element.get("sequence")))
        element.extend(one for ask in per_item for one in drawn.get(ask.name, ()))
    drawn = {**early, **_draw_branch(maker, late, None)}
    fields.extend(one for ask in top for one in drawn.get(ask.name, ()))
    if per_item:
        fields.extend(items)
    return fields


def _draw_branch(maker: _Maker, asks: list[Ask], item: str | None) -> dict[str, list[etree._Element]]:
    """Draw fields that stand side by side: what a condition reads first."""
    maker.draft.item = item
    return {ask.name: _draw_ask(maker, ask) for ask in in_order(asks) if _wanted(maker, ask)}


def _wanted(maker: _Maker, ask: Ask) -> bool:
    requirement = ask.requirement
    if requirement.mandatory or maker.draft.holds(requirement.when):
        maker.draft.decide(ask, wanted=True)
        return True
    if requirement.when is not None and requirement.forbidden_otherwise:
        return False
    return maker.draft.decide(ask, wanted=maker.draws.chance(50 if requirement.when is None else 30))


def _draw_ask(maker: _Maker, ask: Ask) -> list[etree._Element]:
    number = maker.draft.number_of(ask, max(ask.repeat[0], 1), ask.repeat[1])
    tag = f"{{{maker.document.namespace}}}{ask.tag}"
    if ask.type == "group":
        return [_draw_group(maker, ask, etree.Element(tag)) for _ in range(number)]
    return [_draw_value(maker, ask, etree.Element(tag)) for _ in range(number)]


def _draw_group(maker: _Maker, ask: Ask, element: etree._Element) -> etree._Element:
    outer = maker.draft.enter(ask.name)
    drawn = _draw_branch(maker, list(ask.fields), maker.draft.item)
    element.extend(one for member in ask.fields for one in drawn.get(member.name, ()))
    maker.draft.place = outer
    return element


def _draw_value(maker: _Maker, ask: Ask, element: etree._Element) -> etree._Element:
    if ask.type == "attachment":
        cid = f"{ask.tag}-{len(maker.attachments) + 1}@sample"
        maker.attachments.append((cid, maker.draws.one(ask.mime or ("application/pdf",)), ask.tag))
        element.set("cid", cid)
        maker.draft.put(ask, cid)
        return element
    drawn = maker.draft.draw(ask, ask.shape)
    drawn.element = element
    if drawn.unit is not None and (ask.fixed_unit is None or maker.draws.chance(50)):
        element.set(ask.attribute or "", drawn.unit)
    return element


def _write_answers(draft: Draft) -> None:
    """Write the answers, which may have been changed after they were drawn, into their elements."""
    for ask in flatten(draft.document.asks):
        for drawn in draft.read_all(ask):
            if drawn.element is not None:
                drawn.element.text = drawn.text
                if ask.attribute is not None and drawn.element.get(ask.attribute) is not None:
                    drawn.element.set(ask.attribute, drawn.unit or "")
