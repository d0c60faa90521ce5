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
_NUMBER: Final = re.compile(r"\s*\+?([0-9]{1,9})(?:\.0*)?\s*")
#: The paths that are none of the data model.
_MARKS: Final = ("", "FIELDS", "ITEM")
_LONGEST_NUMBER: Final = 9
_LONGEST_NAME: Final = 70


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
    text = get_data_folder("xsd").joinpath("wco", "elements.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(io.StringIO(text))
    return {row["path"]: WcoElement(**row) for row in rows}


@cache
def _list_plain_elements() -> Mapping[str, Mapping[str, tuple[WcoElement, bool]]]:
    """Return, by the path of their parent and their tag, the elements that have an id and state no number.

    Each has with it whether it is a class, which always has a number.
    """
    plain: defaultdict[str, dict[str, tuple[WcoElement, bool]]] = defaultdict(dict)
    for path, element in load_wco_elements().items():
        outer, _, name = path.rpartition("/")
        is_class = element.kind == "class"
        is_other = element.kind == "supplement" or element.wco_id in ("", _ITEM_CLASS, _UNNUMBERED_CLASS)
        if outer and not is_other:
            entry = element, is_class
            plain[outer] |= {f"{namespace}{name}": entry for namespace in (_DECLARATION, _RESPONSE)}
    return plain


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
        chain = _list_ancestor_chain(element, self._root)
        step = self._pointers.setdefault(chain[0], _make_first_step(chain[0]))
        for parent, node in pairwise(chain):
            if node not in self._pointers:
                for child, *child_step in _list_child_steps(parent, *step):
                    self._pointers[child] = (child_step[0], child_step[1])
            step = self._pointers[node]
        return step


def build_attribute_pointer(element: etree._Element, name: str, root: etree._Element | None = None) -> str:
    """Return the pointer of attribute `name` of `element`."""
    return f"{build_pointer(element, root)}/@{etree.QName(name).localname}"


def iterate_pointers(root: etree._Element) -> Iterator[tuple[etree._Element, str]]:
    """Yield each element from `root` down with its pointer, in document order and in one pass."""
    pointer, path = PointerIndex().get_pointer_step(root)
    pending = [(root, pointer, path)]
    while pending:
        element, pointer, path = pending.pop()
        yield element, pointer
        pending.extend(reversed(_list_child_steps(element, pointer, path)))


def find_element(root: etree._Element, pointer: str) -> etree._Element | None:
    """Return the element below `root` that `pointer` names (for an attribute: its element), or None."""
    element_pointer = pointer.partition("/@")[0]
    tops = [root, *(top for top in root.iter(*_ROOTS) if top is not root)]
    for top in tops:
        start, path = _make_first_step(top)
        element = _search_branches(top, start, path, element_pointer)
        if element is not None:
            return element
    return None


def find_value(root: etree._Element, pointer: str) -> str | None:
    """Return the text or attribute value that `pointer` names, or None when there is none."""
    element = find_element(root, pointer)
    if element is None:
        return None
    _, mark, name = pointer.partition("/@")
    if mark:
        return next((str(v) for k, v in list_attributes(element) if etree.QName(k).localname == name), None)
    return read_leaf_text(element)


def _search_branches(top: etree._Element, start: str, path: str, target: str) -> etree._Element | None:
    """Search downwards from `top` along the segments of `target`; only matching branches are entered."""
    pending = [(top, start, path)]
    while pending:
        element, pointer, path = pending.pop()
        if pointer == target:
            return element
        if not pointer or target.startswith(f"{pointer}/"):
            pending.extend(reversed(_list_child_steps(element, pointer, path)))
    return None


def _list_child_steps(
    element: etree._Element, pointer: str, path: str
) -> list[tuple[etree._Element, str, str]]:
    seen: defaultdict[str, int] = defaultdict(int)
    uses: defaultdict[str, int] = defaultdict(int)
    steps, plain = [], _list_plain_elements().get(path, {})
    for child in element.iterchildren(tag=etree.Element):
        tag = child.tag
        seen[tag] += 1
        number = seen[tag]
        plain_element = plain.get(tag)
        if plain_element is not None and (number == 1 or plain_element[1]):
            bracket = f"[{number}]" if plain_element[1] else ""
            child_pointer, inner = f"{pointer}/{plain_element[0].wco_id}{bracket}", plain_element[0].path
        else:
            child_pointer, inner = _make_step(child, pointer, path, number)
        uses[child_pointer] += 1
        # A class that states its own number may state that of another one; every pointer must be unique.
        steps.append(
            (
                child,
                child_pointer if uses[child_pointer] == 1 else f"{child_pointer}[{uses[child_pointer]}]",
                inner,
            )
        )
    return steps


def _list_ancestor_chain(element: etree._Element, root: etree._Element | None) -> list[etree._Element]:
    """Return the elements from the nearest possible start of a pointer down to `element`."""
    if not isinstance(element.tag, str):
        raise GatewayError(RULE_BROKEN, "a pointer names elements and attributes only")
    chain = [element]
    while element.tag not in _ROOTS and element is not root:
        parent = element.getparent()
        if parent is None:
            break
        element = parent
        chain.append(element)
    return chain[::-1]


def _make_first_step(top: etree._Element) -> tuple[str, str]:
    """Return pointer and path of the first element; the submission itself adds nothing to a pointer."""
    name = _get_local_name(top)
    if top.tag == f"{_SUBMISSION}Submission":
        return "", ""
    tag = load_wco_elements().get(name) if top.tag in _ROOTS else None
    return (tag.wco_id, tag.path) if tag else (name, "")


def _make_step(element: etree._Element, pointer: str, path: str, number: int) -> tuple[str, str]:
    """Return pointer and path of `element`, the `number`-th of its name, from those of its parent.

    The path consists of the names from the declaration down, or is a mark for the parts of a
    submission (``APP``, ``FIELDS``, ``ITEM``); it is empty where no rule is known.
    """
    tag = element.tag
    if tag in _ROOTS:
        return _make_first_step(element)
    if path not in _MARKS and tag.startswith((_DECLARATION, _RESPONSE)):
        return _make_wco_step(element, pointer, f"{path}/{tag.rpartition('}')[2][:_LONGEST_NAME]}", number)
    if tag.startswith(_SUBMISSION):
        return _make_submission_step(element, pointer, number)
    if path == "FIELDS" and _get_local_name(element) == "Item":
        return f"{pointer}/ITEM[{_parse_sequence_number(element.get('sequence', ''), number)}]", "ITEM"
    if path == "ITEM":
        return _join_segment(pointer, f"{_get_local_name(element)}[{number}]"), ""
    return _join_segment(pointer, _format_plain_segment(element, number)), ""


def _make_wco_step(element: etree._Element, pointer: str, path: str, number: int) -> tuple[str, str]:
    """Return the step of an element of the data model; `path` is its own."""
    tag = load_wco_elements().get(path)
    if tag is None or tag.kind == "supplement" or not tag.wco_id:
        return _join_segment(pointer, _format_plain_segment(element, number)), path if tag else ""
    if tag.kind != "class":
        return _join_segment(pointer, f"{tag.wco_id}[{number}]" if number > 1 else tag.wco_id), path
    if tag.wco_id == _ITEM_CLASS:
        sequence_number = element.find(f"{{{etree.QName(element).namespace}}}SequenceNumeric")
        number = (
            number
            if sequence_number is None
            else _parse_sequence_number(read_leaf_text(sequence_number), number)
        )
    bracket = "" if tag.wco_id == _UNNUMBERED_CLASS and number == 1 else f"[{number}]"
    return _join_segment(pointer, tag.wco_id + bracket), path


def _make_submission_step(element: etree._Element, pointer: str, number: int) -> tuple[str, str]:
    """Return the step of a submission's part: SUP, APP and their content have ids, others use names."""
    name = _get_local_name(element)
    if name == "Supplement":
        return "SUP", "SUP"
    if name == "Value" and pointer == "SUP":
        return f"SUP/{_format_supplement_value(element)}", ""
    if name == "Application":
        return _join_segment(pointer, f"APP[{number}]"), ""
    if name == "Fields" and pointer.startswith("APP["):
        parent: Any = element.getparent()
        return f"{pointer}/{parent.get('document', '')[:_LONGEST_NAME]}", "FIELDS"
    return _join_segment(pointer, _format_plain_segment(element, number)), ""


def _format_supplement_value(element: etree._Element) -> str:
    path, item = element.get("path", ""), element.get("item")
    brackets = f"[{item[:_LONGEST_NUMBER]}]" if item is not None else ""
    return f"{path[:255]}{brackets}[{element.get('n', '1')[:_LONGEST_NUMBER]}]"


def _format_plain_segment(element: etree._Element, number: int) -> str:
    """Return the name of an element without an id; numbered when it has children or is not the first."""
    grouping = next(element.iterchildren(tag=etree.Element), None) is not None
    return f"{_get_local_name(element)}[{number}]" if number > 1 or grouping else _get_local_name(element)


def _parse_sequence_number(text: str, position: int) -> int:
    """Return the number in `text` (``01`` and ``1.0`` are 1), or `position` when it contains none."""
    digits = _NUMBER.fullmatch(text)
    return int(digits[1]) if digits else position  # bounded: by the pattern


def _get_local_name(element: etree._Element) -> str:
    return element.tag.rpartition("}")[2][:_LONGEST_NAME]


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
        owner, mark, name = pointer.partition("/@")
        path = build_xpath(element)
        is_own_attribute = mark and self._elements.get(owner) is element
        has_attribute = is_own_attribute and any(
            etree.QName(key).localname == name for key in map(str, element.attrib)
        )
        return f"{path}/@{name}" if has_attribute else path

    def find_line_number(self, pointer: str) -> int:
        """Return the line of the target of `pointer`, else of the innermost element around it; 0: unknown."""
        element: Any = self.find_nearest_element(pointer)
        return int(element.sourceline or 0)  # bounded: a line number of libxml2
