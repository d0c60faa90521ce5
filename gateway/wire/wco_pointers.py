"""Builds the WCO pointer of an element, and finds the element that a pointer names.

A pointer is the WCO Data Model's own way to refer to a part of a declaration: a chain of
class ids, each with its number, and the tag id of one element, such as
``42A/67A[1]/68A[3]/02A[2]/360``. The hub uses pointers in every error, every line of the
ledger and every mapping. The rules:

* a pointer starts at the declaration (``42A``) or the response (``07B``), wherever these are;
* a class has a number: SequenceNumeric for 68A, else its position among its siblings of the same
  name; 42A has none;
* an element without an id is named by its name (``D011/DateTimeString``), an attribute by ``@name``;
* an element that should occur once has a number only from the second occurrence on;
* ``SUP/<path>[item][n]`` is a value of the supplement (no ``[item]`` where it has none);
* ``APP[n]/<document>/<field>`` and ``APP[n]/<document>/ITEM[s]/<field>[k]`` are unique fields.
"""

from __future__ import annotations

import csv
import io
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any, Final

from lxml import etree

from gateway.errors import RULE_BROKEN, GatewayError
from gateway.share import get_data_folder
from gateway.wire.element_access import build_xpath, list_attributes, read_leaf_text

_DECLARATION: Final = "{urn:wco:datamodel:WCO:DEC-DMS:2}"
_RESPONSE: Final = "{urn:wco:datamodel:WCO:RES-DMS:2}"
_SUBMISSION: Final = "{urn:single-window:submission:1}"
_ROOTS: Final = {f"{_DECLARATION}Declaration", f"{_RESPONSE}Response"}
_ITEM_CLASS: Final = "68A"
_UNNUMBERED_CLASS: Final = "42A"
# An unsigned xs:decimal whose fraction is zero; SequenceNumeric has five digits at most.
_SEQUENCE_NUMBER: Final = re.compile(r"\s*\+?([0-9]{1,9})(?:\.0*)?\s*")
#: The paths of elements that do not belong to the data model.
_PATHS_OUTSIDE_MODEL: Final = ("", "FIELDS", "ITEM")
_MAX_NUMBER_LENGTH: Final = 9
_MAX_NAME_LENGTH: Final = 70


@dataclass(frozen=True, slots=True)
class WcoElement:
    """The WCO Data Model's description of one element.

    `path` consists of names from the root; `kind` is class, element or supplement;
    `code_list` names the shipped list of its values, where there is one.
    """

    path: str
    kind: str
    wco_id: str
    code_list: str = ""


@cache
def load_wco_elements() -> dict[str, WcoElement]:
    """Return every known element by its path, such as ``Declaration/GoodsShipment/Importer/ID``."""
    csv_text = get_data_folder("xsd").joinpath("wco", "elements.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(io.StringIO(csv_text))
    return {row["path"]: WcoElement(**row) for row in rows}


@cache
def _list_plain_elements() -> Mapping[str, Mapping[str, tuple[WcoElement, bool]]]:
    """Return, by the path of their parent and their tag, the elements that have an id and state no number.

    Each has with it whether it is a class, which always has a number.
    """
    plain_elements: defaultdict[str, dict[str, tuple[WcoElement, bool]]] = defaultdict(dict)
    for path, element in load_wco_elements().items():
        parent_path, _, name = path.rpartition("/")
        is_class = element.kind == "class"
        is_excluded = element.kind == "supplement" or element.wco_id in ("", _ITEM_CLASS, _UNNUMBERED_CLASS)
        if parent_path and not is_excluded:
            element_and_kind = element, is_class
            plain_elements[parent_path] |= {
                f"{namespace}{name}": element_and_kind for namespace in (_DECLARATION, _RESPONSE)
            }
    return plain_elements


def build_pointer(element: etree._Element, root: etree._Element | None = None) -> str:
    """Return the pointer of `element`, an element of the submission, declaration or response `root`."""
    return PointerIndex(root).get_pointer(element)


class PointerIndex:
    """The pointers of a document that does not change: children are counted only once."""

    def __init__(self, root: etree._Element | None = None) -> None:
        self._root = root
        self._pointers: dict[etree._Element, tuple[str, str]] = {}

    def get_pointer(self, element: etree._Element, attribute: str | None = None) -> str:
        """Return the pointer of `element`, or of one of its attributes."""
        pointer = self.get_pointer_step(element)[0]
        return pointer if attribute is None else f"{pointer}/@{etree.QName(attribute).localname}"

    def get_pointer_step(self, element: etree._Element) -> tuple[str, str]:
        """Return the pointer of `element` and its path (see `_make_step`)."""
        return self._pointers.get(element) or self._index_ancestors(element)

    def _index_ancestors(self, element: etree._Element) -> tuple[str, str]:
        """Return pointer and path of `element`; store those of all children of its ancestors, too."""
        ancestor_chain = _list_ancestor_chain(element, self._root)
        step = self._pointers.setdefault(ancestor_chain[0], _make_first_step(ancestor_chain[0]))
        for parent, node in pairwise(ancestor_chain):
            if node not in self._pointers:
                for child, *child_step in _list_child_steps(parent, *step):
                    self._pointers[child] = (child_step[0], child_step[1])
            step = self._pointers[node]
        return step


def build_attribute_pointer(
    element: etree._Element, attribute_name: str, root: etree._Element | None = None
) -> str:
    """Return the pointer of attribute `attribute_name` of `element`."""
    return f"{build_pointer(element, root)}/@{etree.QName(attribute_name).localname}"


def iterate_pointers(root: etree._Element) -> Iterator[tuple[etree._Element, str]]:
    """Yield each element from `root` down with its pointer, in document order and in one pass."""
    pointer, path = PointerIndex().get_pointer_step(root)
    pending_elements = [(root, pointer, path)]
    while pending_elements:
        element, pointer, path = pending_elements.pop()
        yield element, pointer
        pending_elements.extend(reversed(_list_child_steps(element, pointer, path)))


def find_element(root: etree._Element, pointer: str) -> etree._Element | None:
    """Return the element below `root` that `pointer` names (for an attribute: its element), or None."""
    element_pointer = pointer.partition("/@")[0]
    start_elements = [
        root,
        *(start_element for start_element in root.iter(*_ROOTS) if start_element is not root),
    ]
    for start_element in start_elements:
        start_pointer, path = _make_first_step(start_element)
        element = _search_branches(start_element, start_pointer, path, element_pointer)
        if element is not None:
            return element
    return None


def find_value(root: etree._Element, pointer: str) -> str | None:
    """Return the text or attribute value that `pointer` names, or None when there is none."""
    element = find_element(root, pointer)
    if element is None:
        return None
    _, separator, attribute_name = pointer.partition("/@")
    if separator:
        return next(
            (
                str(value)
                for key, value in list_attributes(element)
                if etree.QName(key).localname == attribute_name
            ),
            None,
        )
    return read_leaf_text(element)


def _search_branches(
    start_element: etree._Element, start_pointer: str, path: str, target_pointer: str
) -> etree._Element | None:
    """Search from `start_element` along the segments of `target_pointer`, only in matching branches."""
    pending_elements = [(start_element, start_pointer, path)]
    while pending_elements:
        element, pointer, path = pending_elements.pop()
        if pointer == target_pointer:
            return element
        if not pointer or target_pointer.startswith(f"{pointer}/"):
            pending_elements.extend(reversed(_list_child_steps(element, pointer, path)))
    return None


def _list_child_steps(
    element: etree._Element, pointer: str, path: str
) -> list[tuple[etree._Element, str, str]]:
    """Return the children of `element`, whose own are `pointer` and `path`, with pointer and path."""
    tag_counts: defaultdict[str, int] = defaultdict(int)
    pointer_counts: defaultdict[str, int] = defaultdict(int)
    steps, plain_elements = [], _list_plain_elements().get(path, {})
    for child in element.iterchildren(tag=etree.Element):
        tag = child.tag
        tag_counts[tag] += 1
        occurrence = tag_counts[tag]
        plain_element = plain_elements.get(tag)
        if plain_element is not None and (occurrence == 1 or plain_element[1]):
            bracket = f"[{occurrence}]" if plain_element[1] else ""
            child_pointer, child_path = f"{pointer}/{plain_element[0].wco_id}{bracket}", plain_element[0].path
        else:
            child_pointer, child_path = _make_step(child, pointer, path, occurrence)
        pointer_counts[child_pointer] += 1
        # A class that states its own number may state that of another one; every pointer must be unique.
        steps.append(
            (
                child,
                child_pointer
                if pointer_counts[child_pointer] == 1
                else f"{child_pointer}[{pointer_counts[child_pointer]}]",
                child_path,
            )
        )
    return steps


def _list_ancestor_chain(element: etree._Element, root: etree._Element | None) -> list[etree._Element]:
    """Return the elements from the nearest possible start of a pointer down to `element`."""
    if not isinstance(element.tag, str):
        raise GatewayError(RULE_BROKEN, "a pointer may name only elements and attributes")
    ancestor_chain = [element]
    while element.tag not in _ROOTS and element is not root:
        parent = element.getparent()
        if parent is None:
            break
        element = parent
        ancestor_chain.append(element)
    return ancestor_chain[::-1]


def _make_first_step(start_element: etree._Element) -> tuple[str, str]:
    """Return pointer and path of the first element; the submission itself adds nothing to a pointer."""
    local_name = _get_local_name(start_element)
    if start_element.tag == f"{_SUBMISSION}Submission":
        return "", ""
    wco_element = load_wco_elements().get(local_name) if start_element.tag in _ROOTS else None
    return (wco_element.wco_id, wco_element.path) if wco_element else (local_name, "")


def _make_step(element: etree._Element, pointer: str, path: str, occurrence: int) -> tuple[str, str]:
    """Return pointer and path of `element`, the `occurrence`-th of its name, from those of its parent.

    The path consists of the names from the declaration down, or is a mark for the parts of a
    submission (``APP``, ``FIELDS``, ``ITEM``); it is empty where no rule is known.
    """
    tag = element.tag
    if tag in _ROOTS:
        return _make_first_step(element)
    if path not in _PATHS_OUTSIDE_MODEL and tag.startswith((_DECLARATION, _RESPONSE)):
        return _make_wco_step(
            element, pointer, f"{path}/{tag.rpartition('}')[2][:_MAX_NAME_LENGTH]}", occurrence
        )
    if tag.startswith(_SUBMISSION):
        return _make_submission_step(element, pointer, occurrence)
    if path == "FIELDS" and _get_local_name(element) == "Item":
        return f"{pointer}/ITEM[{_parse_sequence_number(element.get('sequence', ''), occurrence)}]", "ITEM"
    if path == "ITEM":
        return _join_segment(pointer, f"{_get_local_name(element)}[{occurrence}]"), ""
    return _join_segment(pointer, _format_plain_segment(element, occurrence)), ""


def _make_wco_step(element: etree._Element, pointer: str, path: str, occurrence: int) -> tuple[str, str]:
    """Return the step of an element of the data model; `path` is its own."""
    wco_element = load_wco_elements().get(path)
    if wco_element is None or wco_element.kind == "supplement" or not wco_element.wco_id:
        return _join_segment(pointer, _format_plain_segment(element, occurrence)), path if wco_element else ""
    if wco_element.kind != "class":
        return _join_segment(
            pointer, f"{wco_element.wco_id}[{occurrence}]" if occurrence > 1 else wco_element.wco_id
        ), path
    if wco_element.wco_id == _ITEM_CLASS:
        sequence_number = element.find(f"{{{etree.QName(element).namespace}}}SequenceNumeric")
        occurrence = (
            occurrence
            if sequence_number is None
            else _parse_sequence_number(read_leaf_text(sequence_number), occurrence)
        )
    bracket = "" if wco_element.wco_id == _UNNUMBERED_CLASS and occurrence == 1 else f"[{occurrence}]"
    return _join_segment(pointer, wco_element.wco_id + bracket), path


def _make_submission_step(element: etree._Element, pointer: str, occurrence: int) -> tuple[str, str]:
    """Return the step of a submission's part: SUP, APP and their content have ids, others use names."""
    local_name = _get_local_name(element)
    if local_name == "Supplement":
        return "SUP", "SUP"
    if local_name == "Value" and pointer == "SUP":
        return f"SUP/{_format_supplement_value(element)}", ""
    if local_name == "Application":
        return _join_segment(pointer, f"APP[{occurrence}]"), ""
    if local_name == "Fields" and pointer.startswith("APP["):
        parent: Any = element.getparent()
        return f"{pointer}/{parent.get('document', '')[:_MAX_NAME_LENGTH]}", "FIELDS"
    return _join_segment(pointer, _format_plain_segment(element, occurrence)), ""


def _format_supplement_value(element: etree._Element) -> str:
    path, item = element.get("path", ""), element.get("item")
    brackets = f"[{item[:_MAX_NUMBER_LENGTH]}]" if item is not None else ""
    return f"{path[:255]}{brackets}[{element.get('n', '1')[:_MAX_NUMBER_LENGTH]}]"


def _format_plain_segment(element: etree._Element, occurrence: int) -> str:
    """Return the name of an element without an id; numbered when it has children or is not the first."""
    has_children = next(element.iterchildren(tag=etree.Element), None) is not None
    return (
        f"{_get_local_name(element)}[{occurrence}]"
        if occurrence > 1 or has_children
        else _get_local_name(element)
    )


def _parse_sequence_number(text: str, position: int) -> int:
    """Return the number in `text` (``01`` and ``1.0`` are 1), or `position` when it contains none."""
    number_match = _SEQUENCE_NUMBER.fullmatch(text)
    return int(number_match[1]) if number_match else position  # bounded: by the pattern


def _get_local_name(element: etree._Element) -> str:
    return element.tag.rpartition("}")[2][:_MAX_NAME_LENGTH]


def _join_segment(pointer: str, segment: str) -> str:
    return f"{pointer}/{segment}" if pointer else segment


class ElementLocations:
    """The elements of the document of `root`, a submission, declaration or response."""

    def __init__(self, root: etree._Element) -> None:
        self._root = root
        self._elements: dict[str, etree._Element] = {}
        self._pointers: dict[etree._Element, str] = {}
        for element, pointer in iterate_pointers(root):
            self._elements.setdefault(pointer, element)
            self._pointers[element] = pointer

    def get_pointer(self, element: etree._Element, attribute: str | None = None) -> str:
        """Return the pointer of an element of the document, or of one of its attributes."""
        pointer = self._pointers.get(element, "")
        return pointer if attribute is None else f"{pointer}/@{etree.QName(attribute).localname}"

    def find_element(self, pointer: str) -> etree._Element | None:
        """Return the element that `pointer` names (for an attribute: the element that has it), or None."""
        return self._elements.get(pointer.partition("/@")[0]) if pointer else None

    def find_nearest_element(self, pointer: str) -> etree._Element:
        """Return the element that `pointer` names, or the innermost existing element around it."""
        ancestor_pointer = pointer.partition("/@")[0]
        while ancestor_pointer and ancestor_pointer not in self._elements:
            ancestor_pointer = ancestor_pointer.rpartition("/")[0]
        return self._elements[ancestor_pointer] if ancestor_pointer else self._root

    def find_xpath(self, pointer: str) -> str:
        """Return the XPath of the target of `pointer`, or of the innermost element around the target."""
        element = self.find_nearest_element(pointer)
        element_pointer, separator, attribute_name = pointer.partition("/@")
        xpath = build_xpath(element)
        is_own_attribute = separator and self._elements.get(element_pointer) is element
        has_attribute = is_own_attribute and any(
            etree.QName(key).localname == attribute_name for key in map(str, element.attrib)
        )
        return f"{xpath}/@{attribute_name}" if has_attribute else xpath

    def find_line_number(self, pointer: str) -> int:
        """Return the line of the target of `pointer`, else of the innermost element around it; 0: unknown."""
        element: Any = self.find_nearest_element(pointer)
        return int(element.sourceline or 0)  # bounded: a line number of libxml2
