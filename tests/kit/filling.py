"""Real declarations made into submissions, and completed until every document can be written.

The filler knows a mapping only by what `split` complains about and by what a document needs;
what it adds to a declaration stands where the original schema wants it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from functools import cache

from lxml import etree

from gateway.harmonize import (
    DocumentMapping,
    MappingBundle,
    SplitResult,
    load_bundle,
    make_placeholder_numbers,
    split_submission,
)
from gateway.harmonize.language import ITEM_PATH, CommonMeaning, ValueShape
from gateway.harmonize.samples import SeededDraws, draw_text, make_sample
from gateway.harmonize.samples.target_demands import collect_demands
from gateway.harmonize.split import make_missing_pointer
from gateway.share import get_data_folder
from gateway.wire import load_wco_elements
from gateway.wire.wco_pointers import find_element

DEC = "{urn:wco:datamodel:WCO:DEC-DMS:2}"
SUB = "{urn:single-window:submission:1}"
_DS = "{urn:wco:datamodel:WCO:Declaration_DS:DMS:2}"
_ROUNDS = 8
_TRIES = 400
_UNITS = {"unitCode": "KGM", "currencyID": "EUR"}
#: What a real declaration may hold that some document cannot take: it is replaced by a drawn value.
_REPLACED = ("GW403", "GW404", "GW506")


@cache
def shipped() -> MappingBundle:
    """Return the shipped mappings."""
    return load_bundle(get_data_folder("mappings"))


def divide(root: etree._Element) -> SplitResult:
    """Split with trial numbers by the shipped mappings."""
    return split_submission(root, shipped(), make_placeholder_numbers(root))


def wrapped(declaration: etree._Element, documents: Iterable[str], seed: str) -> etree._Element:
    """Return a submission of a declaration with an application for each document, over all its items."""
    root = etree.Element(f"{SUB}Submission", nsmap={None: SUB[1:-1]}, version="1")  # type: ignore[dict-item]
    reference = (declaration.findtext(f"{DEC}FunctionalReferenceID") or "").strip() or "R-1"
    etree.SubElement(root, f"{SUB}Reference").text = reference[:35]
    etree.SubElement(root, f"{SUB}Function").text = "9"
    etree.SubElement(root, f"{SUB}Declaration").append(copy.deepcopy(declaration))
    etree.SubElement(root, f"{SUB}Supplement")
    numbers = [n for n in dict.fromkeys(_numbers(declaration)) if n]
    for position, name in enumerate(documents, 1):
        root.append(_application(shipped().documents[name], numbers, f"{seed}/{position}", f"A{position}"))
    return root


def _numbers(declaration: etree._Element) -> list[str]:
    path = "/".join(f"{DEC}{name}" for name in ITEM_PATH.split("/")[1:])
    found = [item.findtext(f"{DEC}SequenceNumeric") or "" for item in declaration.findall(path)]
    return [text.strip() for text in found]


def _application(document: DocumentMapping, numbers: list[str], seed: str, name: str) -> etree._Element:
    """Return the application of a drawn sample, moved to other goods items and under another name."""
    drawn = etree.fromstring(make_sample(shipped(), document, seed, max(len(numbers), 1)))
    application = drawn.find(f"{SUB}Application")
    assert application is not None
    application.set("id", name)
    application.find(f"{SUB}Items").text = " ".join(numbers)  # type: ignore[union-attr]
    for item in application.iter(f"{{{document.namespace}}}Item"):
        place = int(item.get("sequence", "1")) - 1
        item.set("sequence", numbers[place] if place < len(numbers) else "1")
    for one in application.iter():
        if one.get("cid") is not None:
            one.set("cid", f"{name}-{one.get('cid')}")
    return application


def fill(root: etree._Element, seed: str) -> SplitResult:
    """Add what is missing and replace what no document takes, in place; return the last split."""
    draws = SeededDraws(seed)
    found = divide(root)
    for _ in range(_ROUNDS):
        if not found.problems:
            break
        _add_missing(root, found, draws)
        _replace_misfits(root, divide(root), draws)
        _drop_repeated(root, divide(root))
        found = divide(root)
    return found


def _documents(found: SplitResult) -> list[DocumentMapping]:
    return [shipped().documents[name] for name in found.ledger.documents]


def _add_missing(root: etree._Element, found: SplitResult, draws: SeededDraws) -> None:
    pointers = {one.pointer for one in found.problems if one.problem.id == "GW503"}
    for pointer in pointers:
        place, _, attribute = pointer.partition("/@")
        bare = find_element(root, place) if attribute in _UNITS else None
        if bare is not None:
            bare.set(attribute, _UNITS[attribute])
    documents = _documents(found)
    for meaning in dict.fromkeys(need.meaning for document in documents for need in document.needs):
        if meaning.per in shipped().dictionary.groups:
            continue
        for item in _places(root, meaning):
            if _pointer(meaning, item) in pointers:
                _add(root, meaning, item, draw_for(meaning, documents, draws))


def _places(root: etree._Element, meaning: CommonMeaning) -> list[str | None]:
    declaration = next(root.iter(f"{DEC}Declaration"))
    return list(_numbers(declaration)) if shipped().dictionary.is_per_item(meaning.per) else [None]


def _pointer(meaning: CommonMeaning, item: str | None) -> str:
    return make_missing_pointer(meaning, item)


def draw_for(meaning: CommonMeaning, documents: Iterable[DocumentMapping], draws: SeededDraws) -> str:
    """Draw a value that every line of every document takes that writes the meaning."""
    demands = [meaning.shape, *(shape for document in documents for shape in demands_on(document, meaning))]
    codes = [set(shape.codes) for shape in demands if shape.codes]
    if codes:
        demands.insert(0, ValueShape("text", codes=tuple(sorted(set.intersection(*codes)))))
    for attempt in range(_TRIES):
        text = draw_text(draws, demands[attempt % len(demands)])
        if all(demand.find_violation(text) is None for demand in demands):
            return text
    raise AssertionError(f"no value of {meaning.name} suits all documents")


def demands_on(document: DocumentMapping, meaning: CommonMeaning) -> list[ValueShape]:
    """Return the forms that a document's lines demand of a meaning before it is converted."""
    return list(_collect_shapes(document.id).get(meaning.key, ()))


@cache
def _collect_shapes(document: str) -> Mapping[str, Iterable[ValueShape]]:
    """Return the forms that a shipped document demands of each meaning; gathering them takes long."""
    return collect_demands(shipped().documents[document], shipped().dictionary.groups).shapes


def _add(root: etree._Element, meaning: CommonMeaning, item: str | None, text: str) -> None:
    if meaning.supplement:
        supplement = root.find(f"{SUB}Supplement")
        assert supplement is not None
        value = etree.SubElement(supplement, f"{SUB}Value", path=meaning.path, wcoID=meaning.wco)
        if item is not None:
            value.set("item", item)
        value.text = f"{text}T09:30:00Z" if meaning.type == "datetime" and "T" not in text else text
        return
    declaration = next(root.iter(f"{DEC}Declaration"))
    if item is None:
        branch, path = declaration, "Declaration"
    else:
        items = declaration.findall("/".join(f"{DEC}{name}" for name in ITEM_PATH.split("/")[1:]))
        branch = next(one for one in items if (one.findtext(f"{DEC}SequenceNumeric") or "").strip() == item)
        path = ITEM_PATH
    *outer, last = meaning.relative
    for name in outer:
        path = f"{path}/{name}"
        repeated = meaning.selector is not None and name == outer[-1]
        below = None if repeated else branch.find(f"{DEC}{name}")
        branch = _insert(branch, path, name) if below is None else below
    element = branch.find(f"{DEC}{last}")
    element = _insert(branch, f"{path}/{last}", last) if element is None else element
    if meaning.selector is not None and meaning.selector.values[0] != "none":
        kind = meaning.selector.element
        _insert(branch, f"{path}/{kind}", kind).text = meaning.selector.values[0]
    _write(element, meaning, text)


def _insert(parent: etree._Element, path: str, name: str) -> etree._Element:
    """Return a new child, put where the order of the schema wants it."""
    order = _number_elements()
    outer = path.rpartition("/")[0]
    made = etree.Element(f"{DEC}{name}")
    for child in parent.iterchildren(tag=etree.Element):
        if order.get(f"{outer}/{etree.QName(child).localname}", -1) > order[path]:
            child.addprevious(made)
            return made
    parent.append(made)
    return made


@cache
def _number_elements() -> Mapping[str, int]:
    return {known: position for position, known in enumerate(load_wco_elements())}


def _write(element: etree._Element, meaning: CommonMeaning, text: str) -> None:
    if meaning.type == "datetime":
        for child in list(element):
            element.remove(child)
        inner = etree.SubElement(element, f"{_DS}DateTimeString", formatCode="102")
        inner.text = text[:10].replace("-", "")
        return
    element.text = text
    if meaning.attribute is not None and element.get(meaning.attribute) is None:
        element.set(meaning.attribute, "USD" if meaning.type == "amount" else "KGM")


def _replace_misfits(root: etree._Element, found: SplitResult, draws: SeededDraws) -> None:
    """Give another value to what some document cannot take."""
    documents = _documents(found)
    for one in found.problems:
        if one.problem.id not in _REPLACED:
            continue
        if one.pointer.startswith("APP"):
            _raise_totals(root, documents)
            continue
        element = find_element(root, one.pointer) if one.pointer else None
        for meaning in _meanings_at(root, element, documents) if element is not None else ():
            if "/@" in one.pointer:
                element.attrib.pop(one.pointer.rpartition("@")[2], None)  # type: ignore[union-attr]
            _write_again(element, meaning, draw_for(meaning, documents, draws))  # type: ignore[arg-type]
            break


def _drop_repeated(root: etree._Element, found: SplitResult) -> None:
    """Take away the second of two values where a document can only have one."""
    for pointer in dict.fromkeys(one.pointer for one in found.problems if one.problem.id == "GW505"):
        element = find_element(root, pointer)
        if element is not None and element.getparent() is not None:
            element.getparent().remove(element)  # type: ignore[union-attr]


def _write_again(element: etree._Element, meaning: CommonMeaning, text: str) -> None:
    if meaning.type == "datetime" and not meaning.supplement:
        element = element if element.tag.startswith(DEC) else element.getparent()  # type: ignore[assignment]
    if meaning.supplement:
        element.text = f"{text}T09:30:00Z" if meaning.type == "datetime" and "T" not in text else text
        return
    _write(element, meaning, text)


def _meanings_at(
    root: etree._Element, element: etree._Element, documents: Iterable[DocumentMapping]
) -> Iterator[CommonMeaning]:
    if element.tag == f"{SUB}Value":
        path = element.get("path", "")
    else:
        steps = [element, *element.iterancestors()]
        names = [etree.QName(step).localname for step in steps if str(step.tag).startswith(DEC)]
        path = "/".join(reversed(names))
    del root
    for document in documents:
        for need in document.needs:
            if need.meaning.path == path:
                yield need.meaning


def _raise_totals(root: etree._Element, documents: Iterable[DocumentMapping]) -> None:
    """Let the amounts that sums are checked against be large enough for any sum of drawn numbers."""
    declaration = next(root.iter(f"{DEC}Declaration"))
    for document in documents:
        for check in document.checks:
            bound = getattr(check, "bound", None)
            if isinstance(bound, CommonMeaning) and not bound.supplement:
                element = declaration.find("/".join(f"{DEC}{name}" for name in bound.path.split("/")[1:]))
                if element is not None and Decimal(element.text or "0") < 10**10:
                    element.text = str(10**11 + 1)


__all__ = ["DEC", "SUB", "divide", "draw_for", "fill", "shipped", "wrapped"]
