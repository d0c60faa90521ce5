"""Reads a request back, by the same lines that wrote it (get after put).

Each value of a request is inverted through its steps to the field or meaning that it came
from, with the occurrence that it belongs to.  A value whose line is declared lossy is marked
as such; anything that no line can have written is a fault.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from lxml import etree

from gateway.harmonize.engine import split_text
from gateway.harmonize.inverse.content_inversion import (
    InvertedValue,
    Place,
    compute_line_loss,
    get_home_place,
    invert_content,
    invert_translation,
)
from gateway.harmonize.language import DocumentMapping, Repetition, TargetAttribute, TargetElement
from gateway.harmonize.submission import read_element_text
from gateway.harmonize.types import SourceMark, ValueShape

__all__ = ["ReadFault", "ReadValue", "RequestReading", "read_request"]


@dataclass(frozen=True, slots=True)
class ReadValue:
    """One value of a request, inverted to its source.

    `source` is a kind and a name, such as ``common:importer.name``; `attribute` is the
    attribute of that source, for a unit or a currency.  `place` is the occurrence by the
    names of the repetitions around it, such as ``(("items", 2), ("production", 1))``, and
    `number` is its position among several values at that place.  `text` is None where it
    cannot be read back from `written` alone; `loss` is the declared loss of the line: exact,
    residue or lossy.
    """

    path: str
    source: str
    attribute: str | None
    place: Place
    number: int
    written: str
    text: str | None
    loss: str
    rule: SourceMark


@dataclass(frozen=True, slots=True)
class ReadFault:
    """A part of a request that its mapping cannot have written."""

    path: str
    detail: str
    rule: SourceMark


@dataclass(frozen=True, slots=True)
class RequestReading:
    """A request that was read back: its values, its faults, and the path of every element."""

    document: str
    values: tuple[ReadValue, ...]
    faults: tuple[ReadFault, ...]
    paths: dict[etree._Element, str] = field(repr=False)

    def list_values_of(self, source: str) -> Iterator[ReadValue]:
        """Yield the values of one source, such as ``ask:drug_class``, in the order of the request."""
        return (value for value in self.values if value.source == source)


def read_request(document: DocumentMapping, xml: etree._Element) -> RequestReading:
    """Read the request `xml` of `document` back; errors are listed as faults, not raised."""
    reader = _RequestReader(document.namespace)
    root = document.root
    if xml.tag != f"{{{document.namespace}}}{root.name}":
        reader.add_fault("", f"the request begins with {str(xml.tag)[:70]}, not {root.name}", root.mark)
    else:
        reader.read_element(root, xml, root.name, ())
    return RequestReading(document.id, tuple(reader.values), tuple(reader.faults), reader.paths)


@dataclass(slots=True)
class _RequestReader:
    namespace: str
    values: list[ReadValue] = field(default_factory=list)
    faults: list[ReadFault] = field(default_factory=list)
    paths: dict[etree._Element, str] = field(default_factory=dict)
    homes: dict[tuple[object, ...], ReadValue] = field(default_factory=dict)
    names: dict[int, dict[str, list[TargetElement]]] = field(default_factory=dict)

    def add_fault(self, path: str, detail: str, rule: SourceMark) -> None:
        self.faults.append(ReadFault(path, detail, rule))

    def read_element(self, target: TargetElement, element: etree._Element, path: str, place: Place) -> None:
        """Read an element that has child elements, and all below it."""
        self.paths[element] = path
        if (element.text or "").strip():
            self.add_fault(path, "text stands where elements are written", target.mark)
        found = self._sort_children(target, element, path)
        for child in target.children:
            if child.part is not None and child.part.number > 0:
                continue
            here = f"{path}/{child.name}{child.path_predicates}"
            elements = found[id(child)]
            if not elements and child.required:
                self.add_fault(here, "the line always writes this, and it is not there", child.mark)
            if child.part is not None:
                self._join_pieces(
                    child, [(one, found[id(one)]) for one in _list_text_pieces(target, child)], path, place
                )
            elif child.content is not None:
                self._read_leaves(child, elements, here, place)
            else:
                self._read_containers(child, elements, here, place)
        self._read_attributes(target, element, path, place)

    def _read_containers(
        self, target: TargetElement, elements: list[etree._Element], path: str, place: Place
    ) -> None:
        if target.each is None and len(elements) > 1:
            self.add_fault(path, f"stands {len(elements)} times and is written once", target.mark)
        for position, element in enumerate(elements, 1):
            if target.each is None:
                self.read_element(target, element, path, place)
            else:
                inner = (*place, (_get_step_name(target.each), position))
                self.read_element(target, element, f"{path}[{position}]", inner)

    def _read_leaves(
        self, target: TargetElement, elements: list[etree._Element], path: str, place: Place
    ) -> None:
        if len(elements) > max(target.bound[1], 1):
            self.add_fault(
                path, f"stands {len(elements)} times, at most {max(target.bound[1], 1)}", target.mark
            )
        for number, element in enumerate(elements, 1):
            here = f"{path}[{number}]" if len(elements) > 1 else path
            self._read_leaf(target, element, here, (place, number))

    def _read_leaf(
        self, target: TargetElement, element: etree._Element, path: str, where: tuple[Place, int]
    ) -> None:
        assert target.content is not None
        self.paths[element] = path
        if next(element.iterchildren(tag=etree.Element), None) is not None:
            self.add_fault(path, "elements stand where a text is written", target.mark)
        text = read_element_text(element)
        if not target.empty:
            self._check_shape(target.shape, text, path, target.mark)
        elif text:
            self.add_fault(path, "a text stands where none is written", target.mark)
        for undone in invert_content(target.content, text, where[0]):
            self._add_value(undone, path, where, (text, compute_line_loss(target.content), target.mark))
        self._read_attributes(target, element, path, where[0], where[1])

    def _join_pieces(
        self,
        first: TargetElement,
        parts: list[tuple[TargetElement, list[etree._Element]]],
        path: str,
        place: Place,
    ) -> None:
        """Join the pieces of a text; a new split of the whole must give the same pieces."""
        assert first.part is not None
        texts: list[str] = []
        for target, elements in parts:
            here = f"{path}/{target.name}{target.path_predicates}"
            for element in elements:
                self.paths[element] = here
            if len(elements) > 1 or (elements and target.part and target.part.number != len(texts)):
                self.add_fault(here, "a piece stands twice, or before one that is missing", target.mark)
            texts += [read_element_text(element) for element in elements]
        if not texts:
            return
        whole = "".join(texts)
        here = f"{path}/{first.name}{first.path_predicates}"
        if split_text(whole, first.part) != texts:
            self.add_fault(here, "the text is not cut as the line cuts it", first.mark)
        assert first.content is not None
        for undone in invert_content(first.content, whole, place):
            self._add_value(undone, here, (place, 1), (whole, compute_line_loss(first.content), first.mark))

    def _read_attributes(
        self, target: TargetElement, element: etree._Element, path: str, place: Place, number: int = 1
    ) -> None:
        fixed = dict(target.fixed)
        known = {put.name: put for put in target.attributes}
        for name, text in ((str(key), str(value)) for key, value in element.attrib.items()):
            here = f"{path}/@{name}"
            if name in known:
                self._read_attribute(target, known[name], text, here, (place, number))
            elif fixed.get(name) != text:
                self.add_fault(here, "no line writes this attribute", target.mark)

    def _read_attribute(
        self, target: TargetElement, put: TargetAttribute, text: str, path: str, where: tuple[Place, int]
    ) -> None:
        self._check_shape(put.shape, text, path, put.mark)
        if put.content is not None:
            for undone in invert_content(put.content, text, where[0]):
                self._add_value(undone, path, where, (text, compute_line_loss(put.content), put.mark))
        elif target.content is not None:
            undone = invert_translation(target.content, put, text)
            loss = "exact" if put.via is None or put.via.direction == "both" else "lossy"
            if target.content.converted_unit is not None and put.of_value == "unitCode":
                loss = "lossy"  # the given unit is in the provenance only
            self._add_value(undone, path, where, (text, loss, put.mark))

    def _check_shape(self, shape: ValueShape, text: str, path: str, rule: SourceMark) -> None:
        refusal = shape.find_violation(text)
        if refusal is not None:
            self.add_fault(path, refusal[1], rule)

    def _add_value(
        self, undone: InvertedValue, path: str, where: tuple[Place, int], line: tuple[str, str, SourceMark]
    ) -> None:
        written, loss, rule = line
        if undone.fault:
            self.add_fault(path, undone.fault, rule)
        text = undone.text
        value = ReadValue(
            path, undone.source, undone.attribute, where[0], where[1], written, text, loss, rule
        )
        self.values.append(value)
        if text is None or (undone.field is None and not undone.source.startswith("hub:")):
            return
        # Two lines that forward the same value must have written the same value.
        home = () if undone.field is None else get_home_place(undone.field, where[0])
        key = (undone.source, undone.attribute, home, where[1])
        other = self.homes.setdefault(key, value)
        if other.text != text and "lossy" not in (loss, other.loss):
            detail = f"{undone.source} is {text[:60]!r} here and {str(other.text)[:60]!r} in {other.path}"
            self.add_fault(path, detail, rule)

    def _sort_children(
        self, target: TargetElement, element: etree._Element, path: str
    ) -> dict[int, list[etree._Element]]:
        """Return the children of `element` by the target that wrote each of them."""
        found: dict[int, list[etree._Element]] = {id(child): [] for child in target.children}
        for child in element.iterchildren(tag=etree.Element):
            name = etree.QName(child).localname
            likely = [
                one for one in self._group_by_name(target).get(name, ()) if self._is_written_by(one, child)
            ]
            if not likely:
                self.add_fault(f"{path}/{name}", "no line writes this element", target.mark)
            else:
                best = max(likely, key=lambda one: len(one.fixed) + len(one.siblings))
                found[id(best)].append(child)
        return found

    def _group_by_name(self, target: TargetElement) -> dict[str, list[TargetElement]]:
        named = self.names.get(id(target))
        if named is None:
            named = self.names[id(target)] = {}
            for child in target.children:
                named.setdefault(child.name, []).append(child)
        return named

    def _is_written_by(self, target: TargetElement, element: etree._Element) -> bool:
        return (
            element.tag == f"{{{self.namespace}}}{target.name}"
            and all(element.get(name) == value for name, value in target.fixed)
            and all(
                element.findtext(f"{{{self.namespace}}}{name}") == value for name, value in target.siblings
            )
        )


def _get_step_name(each: Repetition) -> str:
    """Return the name of a step of a place: the repeated group, or the grouping key of items.

    Where a condition selects occurrences, their positions differ from those in the
    submission; the name then includes the line (``animal?110``).
    """
    name = each.key.name if each.over == "distinct" and each.key is not None else each.group
    return name if each.when is None else f"{name}?{each.mark.line}"


def _list_text_pieces(parent: TargetElement, first: TargetElement) -> list[TargetElement]:
    """Return the targets that hold the pieces of one text, in order."""
    same = [one for one in parent.children if one.part is not None and one.content is first.content]
    return sorted(same, key=lambda one: one.part.number if one.part is not None else 0)
