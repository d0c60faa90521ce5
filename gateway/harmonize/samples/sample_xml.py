"""Writes the drawn values of a sample as a declaration and its supplement."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from lxml import etree

from gateway.harmonize.language import ITEM_PATH, CommonMeaning
from gateway.harmonize.samples.sample_draft import DrawnValue, SampleDraft
from gateway.harmonize.split import DEC, add_sequence_numbers, descend_declaration, sort_declaration
from gateway.wire import SUB

_DS: Final = "urn:wco:datamodel:WCO:Declaration_DS:DMS:2"
_MD: Final = "urn:wco:datamodel:WCO:DocumentMetaData-DMS:2"


@dataclass(frozen=True, slots=True)
class GroupOccurrence:
    """One occurrence of a group of the dictionary, with the occurrences around it."""

    group: str
    item: str | None
    occurrence_numbers: Mapping[str, int]


def write_declaration(
    draft: SampleDraft, root: etree._Element, items: Iterable[str], occurrences: Iterable[GroupOccurrence]
) -> None:
    """Add the declaration to a submission, in one of the three permitted places."""
    declaration = _write_shell(draft, root)
    branches: dict[str | None, etree._Element] = {None: declaration}
    for number in items:
        parent = descend_declaration(declaration, ITEM_PATH.split("/")[1:-1])
        branches[number] = etree.SubElement(parent, f"{{{DEC}}}{ITEM_PATH.rpartition('/')[2]}")
    groups = _write_groups(draft, branches, occurrences)
    for meaning, drawn in _list_declared(draft):
        per = meaning.per
        base = (
            groups[drawn.occurrence_numbers[per]] if per in drawn.occurrence_numbers else branches[drawn.item]
        )
        if not meaning.supplement:
            _write_meaning(base, meaning, drawn)
    _complete_declaration(declaration)
    sort_declaration(declaration)


def write_supplement(draft: SampleDraft, root: etree._Element) -> None:
    """Add the supplement: the values for which the declaration's schema has no element."""
    supplement = etree.SubElement(root, f"{{{SUB}}}Supplement")
    numbers: dict[tuple[str, str | None], int] = {}
    for meaning, drawn in _list_declared(draft):
        if not meaning.supplement:
            continue
        value = etree.SubElement(supplement, f"{{{SUB}}}Value", path=meaning.path, wcoID=meaning.wco)
        if drawn.item is not None:
            value.set("item", drawn.item)
        if meaning.many:
            key = (meaning.name, drawn.item)
            numbers[key] = numbers.get(key, 0) + 1
            value.set("n", str(numbers[key]))
        moment = meaning.type == "datetime" and "T" not in drawn.text
        value.text = f"{drawn.text}T09:30:00Z" if moment else drawn.text


def _list_declared(draft: SampleDraft) -> Iterator[tuple[CommonMeaning, DrawnValue]]:
    """Yield each drawn value of the needed meanings, those of other goods items included."""
    for need in draft.document.needs:
        for drawn in draft.read_all(need.meaning):
            yield need.meaning, drawn


def _write_shell(draft: SampleDraft, root: etree._Element) -> etree._Element:
    """Add the WCO Declaration to `root` in one of the three permitted forms, drawn at random; return it.

    It is alone, in MetaData, or in MetaData in the Declaration element of the submission.
    """
    shell = draft.draws.draw_number(0, 2)
    parent = root if shell else etree.SubElement(root, f"{{{SUB}}}Declaration")
    if shell != 1:
        parent = etree.SubElement(parent, f"{{{_MD}}}MetaData", nsmap={"md": _MD})
        for name, text in (("WCODataModelVersionCode", "3.6"), ("WCOTypeName", "DEC")):
            etree.SubElement(parent, f"{{{_MD}}}{name}").text = text
    return etree.SubElement(parent, f"{{{DEC}}}Declaration", nsmap=_make_default_namespace(DEC))


def _make_default_namespace(namespace: str) -> Any:
    """Return the nsmap with `namespace` as default; typed as Any, since the lxml stubs do not allow it."""
    return {None: namespace}


def _write_groups(
    draft: SampleDraft, branches: Mapping[str | None, etree._Element], occurrences: Iterable[GroupOccurrence]
) -> dict[int, etree._Element]:
    """Add an element for each group occurrence, and return it by occurrence number.

    `branches` are the elements of the goods items, and that of the declaration under None.
    """
    groups: dict[int, etree._Element] = {}
    for occurrence in occurrences:
        group = draft.bundle.dictionary.groups[occurrence.group]
        base = (
            groups[occurrence.occurrence_numbers[group.per]]
            if group.per in occurrence.occurrence_numbers
            else branches[occurrence.item]
        )
        *parent_names, last = group.path.split("/")
        parent = descend_declaration(base, parent_names)
        element = etree.SubElement(parent, f"{{{DEC}}}{last}")
        groups[occurrence.occurrence_numbers[occurrence.group]] = element
    return groups


def _write_meaning(branch: etree._Element, meaning: CommonMeaning, drawn: DrawnValue) -> None:
    """Write a drawn value of `meaning` below `branch`, with its selecting sibling and its unit."""
    *outer, last = meaning.relative
    if meaning.selector is not None:
        *parent_names, repeated = outer
        parent = etree.SubElement(descend_declaration(branch, parent_names), f"{{{DEC}}}{repeated}")
        if meaning.selector.values[0] != "none":
            etree.SubElement(parent, f"{{{DEC}}}{meaning.selector.element}").text = meaning.selector.values[0]
    else:
        parent = descend_declaration(branch, outer)
    element = etree.SubElement(parent, f"{{{DEC}}}{last}")
    if meaning.type == "datetime":
        text = drawn.text
        inner = etree.SubElement(element, f"{{{_DS}}}DateTimeString", nsmap={"dt": _DS})
        day = text[:10].replace("-", "")
        inner.set("formatCode", "304" if "T" in text else "102")
        inner.text = f"{day}{text[11:19].replace(':', '')}Z" if "T" in text else day
        return
    element.text = drawn.text
    if meaning.attribute is not None and drawn.unit is not None:
        element.set(meaning.attribute, drawn.unit)


def _complete_declaration(declaration: etree._Element) -> None:
    """Add the elements that the declaration's schema requires and the document does not need."""
    if declaration.find(f"{{{DEC}}}FunctionCode") is None:
        etree.SubElement(declaration, f"{{{DEC}}}FunctionCode").text = "9"
    add_sequence_numbers(declaration)


def put_declared_text(root: etree._Element, path: str, text: str) -> None:
    """Write the text of one element of a submission's declaration, which is added where it is missing.

    A date and time is written in its own element, to the second.
    """
    declaration = next(root.iter(f"{{{DEC}}}Declaration"))
    element = descend_declaration(declaration, path.split("/")[1:])
    if path.endswith("DateTime"):
        for old in list(element):
            element.remove(old)
        element = etree.SubElement(element, f"{{{_DS}}}DateTimeString", nsmap={"dt": _DS}, formatCode="304")
    element.text = text
    sort_declaration(declaration)
