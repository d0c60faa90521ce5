"""Reads a request back, by the same lines that wrote it (get after put).

Each value of a request is inverted through its steps to the field or meaning that it came
from, with the occurrence that it belongs to.  A value whose line is declared lossy is marked
as such; anything that no line can have written is a fault.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from lxml import etree

from gateway.harmonize.language import DocumentMapping, Repetition, TargetAttribute, TargetElement, ValueShape
from gateway.harmonize.readback.content_inversion import (
    InvertedValue,
    Occurrence,
    compute_line_loss,
    get_home_occurrence,
    invert_content,
    invert_translation,
)
from gateway.harmonize.split import read_element_text, split_text
from gateway.wire import SourceMark, list_attributes


@dataclass(frozen=True, slots=True)
class ReadValue:
    """One value of a request, inverted to its source.

    `source` is a kind and a name, such as ``common:importer.name``; `attribute` is the
    attribute of that source, for a unit or a currency.  `occurrence` is the occurrence by the
    names of the repetitions around it, such as ``(("items", 2), ("production", 1))``, and
    `number` is its position among several values at that place.  `text` is None where it
    cannot be read back from `written` alone; `loss` is the declared loss of the line: exact,
    residue or lossy.
    """

    path: str
    source: str
    attribute: str | None
    occurrence: Occurrence
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


def read_request(document: DocumentMapping, xml: etree._Element) -> RequestReading:
    """Read the request `xml` of `document` back; errors are listed as faults, not raised."""
    reader = _RequestReader(document.namespace)
    root = document.root
    if xml.tag != f"{{{document.namespace}}}{root.name}":
        reader.add_fault("", f"the request begins with {str(xml.tag)[:70]}, not {root.name}", root.mark)
    else:
        reader.read_element(root, xml, root.name, ())
    return RequestReading(document.id, tuple(reader.values), tuple(reader.faults), reader.paths)


@dataclass(frozen=True, slots=True)
class _WrittenText:
    """A text as the request has it: its path, the repetitions around it, and its number in its element.

    `loss` and `rule` are those of the line that writes it.
    """

    text: str
    path: str
    occurrence: Occurrence
    number: int
    loss: str
    rule: SourceMark


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

    def read_element(
        self, target: TargetElement, element: etree._Element, path: str, occurrence: Occurrence
    ) -> None:
        """Read an element that has child elements, and all below it."""
        self.paths[element] = path
        if (element.text or "").strip():
            self.add_fault(path, "text stands where elements are written", target.mark)
        children_by_target = self._sort_children(target, element, path)
        for child in target.children:
            if child.text_piece is not None and child.text_piece.piece_number > 0:
                continue
            child_path = f"{path}/{child.name}{child.path_predicates}"
            elements = children_by_target[id(child)]
            if not elements and child.is_required:
                self.add_fault(child_path, "the line always writes this, and it is not there", child.mark)
            if child.text_piece is not None:
                self._join_pieces(
                    child,
                    [(piece, children_by_target[id(piece)]) for piece in _list_text_pieces(target, child)],
                    path,
                    occurrence,
                )
            elif child.content is not None:
                self._read_leaves(child, elements, child_path, occurrence)
            else:
                self._read_containers(child, elements, child_path, occurrence)
        self._read_attributes(target, element, path, occurrence)

    def _read_containers(
        self, target: TargetElement, elements: list[etree._Element], path: str, occurrence: Occurrence
    ) -> None:
        """Read the elements of `target` that have children; several are a fault unless it is repeated."""
        if target.repetition is None and len(elements) > 1:
            self.add_fault(path, f"stands {len(elements)} times and is written once", target.mark)
        for position, element in enumerate(elements, 1):
            if target.repetition is None:
                self.read_element(target, element, path, occurrence)
            else:
                inner = (*occurrence, (_get_step_name(target.repetition), position))
                self.read_element(target, element, f"{path}[{position}]", inner)

    def _read_leaves(
        self, target: TargetElement, elements: list[etree._Element], path: str, occurrence: Occurrence
    ) -> None:
        """Read the elements of `target` that have a value; too many are a fault."""
        if len(elements) > max(target.bound.high, 1):
            self.add_fault(
                path, f"stands {len(elements)} times, at most {max(target.bound.high, 1)}", target.mark
            )
        for number, element in enumerate(elements, 1):
            leaf_path = f"{path}[{number}]" if len(elements) > 1 else path
            self._read_leaf(target, element, leaf_path, occurrence, number)

    def _read_leaf(
        self, target: TargetElement, element: etree._Element, path: str, occurrence: Occurrence, number: int
    ) -> None:
        """Read an element with a text, the one with this number of its line in `occurrence`."""
        assert target.content is not None
        self.paths[element] = path
        if next(element.iterchildren(tag=etree.Element), None) is not None:
            self.add_fault(path, "elements stand where a text is written", target.mark)
        text = read_element_text(element)
        if not target.has_no_text:
            self._check_shape(target.shape, text, path, target.mark)
        elif text:
            self.add_fault(path, "a text stands where none is written", target.mark)
        loss = compute_line_loss(target.content)
        for inverted in invert_content(target.content, text, occurrence):
            self._add_value(inverted, _WrittenText(text, path, occurrence, number, loss, target.mark))
        self._read_attributes(target, element, path, occurrence, number)

    def _join_pieces(
        self,
        first: TargetElement,
        parts: list[tuple[TargetElement, list[etree._Element]]],
        path: str,
        occurrence: Occurrence,
    ) -> None:
        """Join the pieces of a text; a new split of the whole must give the same pieces."""
        assert first.text_piece is not None
        texts: list[str] = []
        for target, elements in parts:
            piece_path = f"{path}/{target.name}{target.path_predicates}"
            for element in elements:
                self.paths[element] = piece_path
            if len(elements) > 1 or (
                elements and target.text_piece and target.text_piece.piece_number != len(texts)
            ):
                self.add_fault(piece_path, "a piece stands twice, or before one that is missing", target.mark)
            texts += [read_element_text(element) for element in elements]
        if not texts:
            return
        whole = "".join(texts)
        piece_path = f"{path}/{first.name}{first.path_predicates}"
        if split_text(whole, first.text_piece) != texts:
            self.add_fault(piece_path, "the text is not cut as the line cuts it", first.mark)
        assert first.content is not None
        loss = compute_line_loss(first.content)
        for inverted in invert_content(first.content, whole, occurrence):
            self._add_value(inverted, _WrittenText(whole, piece_path, occurrence, 1, loss, first.mark))

    def _read_attributes(
        self,
        target: TargetElement,
        element: etree._Element,
        path: str,
        occurrence: Occurrence,
        number: int = 1,
    ) -> None:
        """Read the attributes of `element`; one that no line and no fixed value writes is a fault."""
        fixed = dict(target.fixed)
        attributes = {attribute.name: attribute for attribute in target.attributes}
        for name, text in ((str(key), str(value)) for key, value in list_attributes(element)):
            attribute_path = f"{path}/@{name}"
            if name in attributes:
                self._read_attribute(target, attributes[name], text, attribute_path, occurrence, number)
            elif fixed.get(name) != text:
                self.add_fault(attribute_path, "no line writes this attribute", target.mark)

    def _read_attribute(
        self,
        target: TargetElement,
        attribute: TargetAttribute,
        text: str,
        path: str,
        occurrence: Occurrence,
        number: int,
    ) -> None:
        """Add the value that one attribute states: from its own line, or the unit of the element's value."""
        self._check_shape(attribute.shape, text, path, attribute.mark)
        if attribute.content is not None:
            loss = compute_line_loss(attribute.content)
            for inverted in invert_content(attribute.content, text, occurrence):
                self._add_value(inverted, _WrittenText(text, path, occurrence, number, loss, attribute.mark))
        elif target.content is not None:
            inverted = invert_translation(target.content, attribute, text)
            loss = "exact" if attribute.via is None or attribute.via.direction == "both" else "lossy"
            if target.content.converted_unit is not None and attribute.of_value == "unitCode":
                loss = "lossy"  # the given unit is in the provenance only
            self._add_value(inverted, _WrittenText(text, path, occurrence, number, loss, attribute.mark))

    def _check_shape(self, shape: ValueShape, text: str, path: str, rule: SourceMark) -> None:
        violation = shape.find_violation(text)
        if violation is not None:
            self.add_fault(path, violation.detail, rule)

    def _add_value(self, inverted: InvertedValue, written: _WrittenText) -> None:
        """Add a value that was read back, and compare it with those that other lines wrote of its source."""
        if inverted.fault:
            self.add_fault(written.path, inverted.fault, written.rule)
        text = inverted.text
        value = ReadValue(
            written.path,
            inverted.source,
            inverted.attribute,
            written.occurrence,
            written.number,
            written.text,
            text,
            written.loss,
            written.rule,
        )
        self.values.append(value)
        if text is None or (inverted.field is None and not inverted.source.startswith("hub:")):
            return
        # Two lines that forward the same value must have written the same value.
        home = () if inverted.field is None else get_home_occurrence(inverted.field, written.occurrence)
        key = (inverted.source, inverted.attribute, home, written.number)
        first = self.homes.setdefault(key, value)
        if first.text != text and "lossy" not in (written.loss, first.loss):
            detail = f"{inverted.source} is {text[:60]!r} here and {str(first.text)[:60]!r} in {first.path}"
            self.add_fault(written.path, detail, written.rule)

    def _sort_children(
        self, target: TargetElement, element: etree._Element, path: str
    ) -> dict[int, list[etree._Element]]:
        """Return the children of `element` by the target that wrote each of them."""
        children_by_target: dict[int, list[etree._Element]] = {id(child): [] for child in target.children}
        for child in element.iterchildren(tag=etree.Element):
            name = etree.QName(child).localname
            likely = [
                candidate
                for candidate in self._group_by_name(target).get(name, ())
                if self._is_written_by(candidate, child)
            ]
            if not likely:
                self.add_fault(f"{path}/{name}", "no line writes this element", target.mark)
            else:
                best = max(likely, key=lambda candidate: len(candidate.fixed) + len(candidate.siblings))
                children_by_target[id(best)].append(child)
        return children_by_target

    def _group_by_name(self, target: TargetElement) -> dict[str, list[TargetElement]]:
        """Return the children of `target` by element name; cached."""
        groups = self.names.get(id(target))
        if groups is None:
            groups = self.names[id(target)] = {}
            for child in target.children:
                groups.setdefault(child.name, []).append(child)
        return groups

    def _is_written_by(self, target: TargetElement, element: etree._Element) -> bool:
        """Return whether `element` has the name, fixed attributes and sibling values of `target`."""
        return (
            element.tag == f"{{{self.namespace}}}{target.name}"
            and all(element.get(name) == value for name, value in target.fixed)
            and all(
                element.findtext(f"{{{self.namespace}}}{name}") == value for name, value in target.siblings
            )
        )


def _get_step_name(repetition: Repetition) -> str:
    """Return the name of a step of a place: the repeated group, or the grouping key of items.

    Where a condition selects occurrences, their positions differ from those in the
    submission; the name then includes the line (``animal?110``).
    """
    name = (
        repetition.key.name
        if repetition.over == "distinct" and repetition.key is not None
        else repetition.group
    )
    return name if repetition.when is None else f"{name}?{repetition.mark.line}"


def _list_text_pieces(parent: TargetElement, first: TargetElement) -> list[TargetElement]:
    """Return the targets that hold the pieces of one text, in order."""
    same = [
        piece for piece in parent.children if piece.text_piece is not None and piece.content is first.content
    ]
    return sorted(
        same, key=lambda piece: piece.text_piece.piece_number if piece.text_piece is not None else 0
    )
