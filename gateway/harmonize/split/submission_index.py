"""The submission index: the leaves in document order, and the values of each common meaning."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import islice
from operator import itemgetter
from typing import Any, Final, NamedTuple, cast

from lxml import etree

from gateway.errors import DOCUMENT_INVALID, GatewayError
from gateway.harmonize.language import ITEM_PATH, CommonMeaning, DataDictionary, MeaningGroup
from gateway.harmonize.split.submission_fields import (
    StowedFields,
    find_descendants,
    find_first_child,
    has_child_elements,
    list_children,
    read_element_text,
    stow_fields,
)
from gateway.wire import (
    SUB,
    PointerIndex,
    build_attribute_pointer,
    build_pointer,
    convert_wco_moment,
    load_wco_elements,
    read_leaf_text,
    read_tariff_code,
)

DEC: Final = "urn:wco:datamodel:WCO:DEC-DMS:2"
_DEC: Final = f"{{{DEC}}}"
_SUB: Final = f"{{{SUB}}}"
_SHELL: Final = "{urn:wco:datamodel:WCO:DocumentMetaData-DMS:2}"
DATE_STRING: Final = "{urn:wco:datamodel:WCO:Declaration_DS:DMS:2}DateTimeString"
_SEQUENCE: Final = re.compile(r"\s*\+?0*([0-9]{1,9})(?:\.0*)?\s*")
_UNPLACED: Final = 10**9
#: The number of children from which an element is part of a long submission: memory is saved for it.
_LONG: Final = 100
_IN_ITEM: Final = f"{ITEM_PATH}/"

#: The values from which a leaf is made, in its order.
_Row = tuple[etree._Element, "str | None", str, "str | None", "int | None"]
#: The key of a leaf: its number where the index keeps leaves for a ledger. An index without leaves has no
#: numbers; there the key is the place: the element of a text, or element and attribute.
LeafKey = Any
Leaves = tuple[LeafKey, ...]
ElementsByPath = dict[str, "etree._Element | list[etree._Element]"]
#: An element that contains meanings, with its goods item.
_Base = tuple["str | None", etree._Element]


class Leaf(NamedTuple):
    """A text element or an attribute of the declaration, the supplement or the unique fields.

    `path` is the path of element names (``SUP/…`` in the supplement, empty in the unique
    fields); `item` is the sequence number of the goods item that the leaf belongs to, with a
    ``+`` where an earlier item has the same number; `application` is the position of the
    application whose unique field it is.
    """

    element: etree._Element
    attribute: str | None
    path: str
    item: str | None = None
    application: int | None = None

    @property
    def value(self) -> str:
        """Return the leaf's text, unchanged."""
        if self.attribute is None:
            return read_element_text(self.element)
        return str(self.element.get(self.attribute, ""))

    @property
    def normalized(self) -> str | None:
        """Return the text as it is measured, compared and forwarded; None where it equals `value`."""
        text = None if self.attribute is not None else read_leaf_text(self.element)
        return None if text == self.value else text

    @property
    def pointer(self) -> str:
        """Return the WCO pointer of the leaf."""
        if self.attribute is None:
            return build_pointer(self.element)
        return build_attribute_pointer(self.element, self.attribute)


#: Makes a leaf of its row, without a Python call for each: there are very many.
_make_leaf: Final = partial(tuple.__new__, Leaf)
_CHUNK: Final = 1000


class FoundValue(NamedTuple):
    """One value of a meaning: its text in NFC, the leaves it came from, the element with its attributes."""

    text: str
    leaves: Leaves
    element: etree._Element


_NO_LEAVES: Final[tuple[Leaves, Leaves]] = ((), ())


@dataclass(slots=True)
class SubmissionIndex:
    """The index of a submission, made once for all its documents.

    `rows` has the values of which its leaves are made, `text_leaf_numbers` and `attribute_leaf_numbers` have
    their numbers. `supplement_key_leaves` are the attributes that identify the values of the supplement;
    `repeated_items` are the sequence numbers that several goods items have; `declared_leaf_count` counts the
    leaves of the declaration, which are the first; `application_starts` are the numbers of the first leaf of
    each application's answers, and of the end; `sharing_applications` are the applications that may share
    answers, and `shared_answers` the shared answers, both found at their first use. `elements_by_item` are
    the declaration's elements by goods item and by path, in document order. Without `keeps_fields`, for a
    caller that needs no ledger, there are no leaves, and each value is known by its place: long fields are in
    the tree (`stowed`) only while their application is read.
    """

    root: etree._Element
    declaration: etree._Element
    applications: tuple[etree._Element, ...]
    rows: list[_Row]
    items: dict[str, etree._Element]
    supplement: dict[tuple[str, str | None], list[etree._Element]]
    supplement_key_leaves: list[int]
    text_leaf_numbers: dict[etree._Element, int]
    attribute_leaf_numbers: dict[tuple[etree._Element, str], int]
    repeated_items: set[str] = field(default_factory=set)
    declared_leaf_count: int = 0
    application_starts: list[int] = field(default_factory=list)
    shared_answers: dict[tuple[str, str, str | None], Any] = field(default_factory=dict)
    sharing_applications: dict[int, Any] | None = None
    elements_by_item: dict[str | None, ElementsByPath] = field(default_factory=dict)
    _pointers: PointerIndex = field(default_factory=PointerIndex)
    _numbers: dict[etree._Element, tuple[str, ...]] = field(default_factory=dict)
    _values: defaultdict[etree._Element, dict[str, tuple[FoundValue, ...]]] = field(
        default_factory=lambda: defaultdict(dict)
    )
    _selectors: dict[tuple[str, etree._Element], tuple[Leaves, Leaves]] = field(default_factory=dict)
    _groups: dict[tuple[str, etree._Element], list[etree._Element]] = field(default_factory=dict)
    _paths: list[str] = field(default_factory=list)
    _bases: dict[str, list[_Base]] = field(default_factory=dict)
    keeps_fields: bool = True
    stowed: StowedFields = field(default_factory=lambda: StowedFields(()))
    _has_leaves: bool = False

    def find_text_leaf(self, element: etree._Element) -> LeafKey | None:
        """Return the leaf of the text of an element; None for one that holds others."""
        if self.keeps_fields:
            return self.text_leaf_numbers.get(element)
        return None if len(element) > 0 and has_child_elements(element) else element

    def find_attribute_leaf(self, element: etree._Element, name: str) -> LeafKey | None:
        """Return the leaf of an attribute, None where the element has none of this name."""
        if self.keeps_fields:
            return self.attribute_leaf_numbers.get((element, name))
        return None if element.get(name) is None else (element, name)

    def _get_leaf_place(self, leaf: LeafKey) -> tuple[etree._Element, str | None]:
        """Return the element of a leaf, and its attribute; None for the text."""
        if isinstance(leaf, etree._Element):
            return leaf, None
        element, attribute, *_ = self.rows[leaf] if isinstance(leaf, int) else leaf
        return element, attribute

    def list_declared_paths(self) -> list[str]:
        """Return the path of each leaf of the declaration, where the index keeps them; made once."""
        if not self._paths:
            self._paths = [row[2] for row in islice(self.rows, self.declared_leaf_count)]
        return self._paths

    @property
    def leaves(self) -> list[Leaf]:
        """Return the leaves in document order, made at the first use: most requests need none of them."""
        if not self._has_leaves:
            # Some at a time and in their place, so that a long submission is not held twice.
            for start in range(0, len(self.rows), _CHUNK):
                end = start + _CHUNK
                self.rows[start:end] = map(_make_leaf, self.rows[start:end])
            self._has_leaves = True
        return cast("list[Leaf]", self.rows)

    def find_values(
        self, meaning: CommonMeaning, base: etree._Element, item: str | None
    ) -> tuple[FoundValue, ...]:
        """Return the values of `meaning` below `base`, which lies in goods item `item`.

        The result is cached for all documents and lines.
        """
        cached_values = self._values[base]
        values = cached_values.get(meaning.name)
        if values is None:
            search = self._find_supplement_values if meaning.supplement else self._find_declared_values
            values = cached_values[meaning.name] = search(meaning, base, item if meaning.in_item else None)
        return values

    def get_selectors(self, meaning: CommonMeaning, base: etree._Element) -> tuple[Leaves, Leaves]:
        """Return the leaves read to select the values found below `base`, and those not selected."""
        return self._selectors.get((meaning.name, base), _NO_LEAVES)

    def list_bases(self, meaning: CommonMeaning, dictionary: DataDictionary) -> Sequence[_Base]:
        """Return the elements that contain a meaning, each with its goods item, in all occurrences.

        The result is kept for all meanings of the level.
        """
        bases = self._bases.get(meaning.per)
        if bases is None:
            bases = [*self.items.items()] if meaning.in_item else [(None, self.declaration)]
            for name in dictionary.list_enclosing_groups(meaning.per):
                group = dictionary.groups[name]
                bases = [(n, inner) for n, base in bases for inner in self.list_group_elements(group, base)]
            self._bases[meaning.per] = bases
        return bases

    def list_group_elements(self, group: MeaningGroup, base: etree._Element) -> list[etree._Element]:
        """Return the elements of `group` below `base`, in document order; callers must not change it."""
        key = (group.name, base)
        elements = self._groups.get(key)
        if elements is None:
            elements = self._groups[key] = find_descendants(base, group.tags)
        return elements

    def get_pointer(self, element: etree._Element, attribute: str | None = None) -> str:
        """Return the pointer of an element or of its attribute; the submission must not be changed."""
        return self._pointers.get_pointer(element, attribute)

    def get_leaf_pointer(self, leaf: LeafKey) -> str:
        """Return the pointer of a leaf."""
        element, attribute = self._get_leaf_place(leaf)
        return self.get_pointer(element, attribute)

    def get_attribute(self, leaf: LeafKey, name: str) -> str | None:
        """Return the value of a leaf that is an attribute of this name, None for every other leaf."""
        element, attribute = self._get_leaf_place(leaf)
        return str(element.get(name, "")) if attribute == name else None

    def list_item_numbers(self, application: etree._Element) -> tuple[str, ...]:
        """Return the sequence numbers of the goods items that an application concerns, in its order."""
        numbers = self._numbers.get(application)
        if numbers is None:
            numbers = self._numbers[application] = tuple(read_item_numbers(application))
        return numbers

    def list_leaves_below(self, element: etree._Element) -> Leaves:
        """Return the leaves of `element` and of all its descendants."""
        leaves: list[LeafKey] = []
        for inner in element.iter(tag=etree.Element):
            text = self.find_text_leaf(inner)
            attributes = [self.find_attribute_leaf(inner, str(name)) for name in inner.attrib]
            leaves += [leaf for leaf in (text, *attributes) if leaf is not None]
        return tuple(leaves)

    def _find_supplement_values(
        self, meaning: CommonMeaning, _base: etree._Element, item: str | None
    ) -> tuple[FoundValue, ...]:
        elements = self.supplement.get((meaning.path, item))
        return () if elements is None else tuple([self._make_found_value(meaning, e) for e in elements])

    def _find_declared_values(
        self, meaning: CommonMeaning, base: etree._Element, item: str | None
    ) -> tuple[FoundValue, ...]:
        """Return the values of a meaning in the declaration below `base`; `item` is its item, else None."""
        candidates: etree._Element | list[etree._Element] | None
        if meaning.per == "item" and item is not None and base is self.items.get(item):
            candidates = self.elements_by_item[item].get(meaning.path)
        elif base is self.declaration and not meaning.is_inside_items:
            candidates = self.elements_by_item[None].get(meaning.path)
        else:
            candidates = self._search_elements(meaning, base)
        if not isinstance(candidates, list):
            if candidates is None or meaning.is_text:
                return () if candidates is None else self._read_single_element(candidates)
            candidates = [candidates]
        return self._choose_values(meaning, base, candidates) if candidates else ()

    def _choose_values(
        self, meaning: CommonMeaning, base: etree._Element, elements: list[etree._Element]
    ) -> tuple[FoundValue, ...]:
        """Return the values that a meaning has among elements of its path below `base`."""
        # The leaves that select values (consumed), and those of values not selected (skipped), for a ledger.
        consumed: list[LeafKey] = []
        skipped: list[LeafKey] = []
        if meaning.selector is not None:
            elements = self._select_by_sibling(meaning, elements, consumed, skipped)
        if meaning.first:
            if self.keeps_fields:
                skipped += [leaf for element in elements[1:] for leaf in self.list_text_leaves(element)]
            elements = elements[:1]
        values = [self._make_found_value(meaning, e) for e in elements]
        if meaning.join and values:
            leaves = tuple(leaf for value in values for leaf in value.leaves)
            values = [FoundValue(read_tariff_code(base).text, leaves, values[0].element)]
        if meaning.type == "datetime" and self.keeps_fields:
            consumed += [
                n
                for f in values
                if (n := self.attribute_leaf_numbers.get((f.element, "formatCode"))) is not None
            ]
        if consumed or skipped:
            self._selectors[meaning.name, base] = tuple(consumed), tuple(skipped)
        return tuple([f for f in values if f.text.strip()])

    def read_value(self, element: etree._Element) -> FoundValue | None:
        """Return the text of an element as a value, which may be blank; None where it holds others."""
        if len(element) > 0 and has_child_elements(element):
            return None
        text = read_leaf_text(element)
        leaf = self.text_leaf_numbers.get(element) if self.keeps_fields else element
        return tuple.__new__(FoundValue, (text, () if leaf is None else (leaf,), element))

    def _read_single_element(self, element: etree._Element) -> tuple[FoundValue, ...]:
        """Return the value of the only element that may hold one, none where it is blank."""
        if len(element) > 0:
            value = self.read_value(element) or FoundValue(read_leaf_text(element), (), element)
            return () if not value.text or value.text.isspace() else (value,)
        text = element.text
        if not text or text.isspace():
            return ()
        text = read_leaf_text(element)
        leaves = self.list_text_leaves(element) if self.keeps_fields else (element,)
        return (tuple.__new__(FoundValue, (text, leaves, element)),)

    def _search_elements(
        self, meaning: CommonMeaning, base: etree._Element
    ) -> etree._Element | list[etree._Element]:
        """Return the element below `base` that may hold a value of `meaning`, or all in document order."""
        elements = find_descendants(base, meaning.tags)
        return elements[0] if len(elements) == 1 and len(meaning.tags) == 1 else elements

    def _select_by_sibling(
        self,
        meaning: CommonMeaning,
        elements: list[etree._Element],
        consumed: list[LeafKey],
        skipped: list[LeafKey],
    ) -> list[etree._Element]:
        """Return the elements that their sibling selects, in the order of the rank that the selector gives.

        Add the leaves of the siblings to `consumed`, those of the other elements to `skipped`.
        """
        assert meaning.selector is not None
        tag, find_rank = f"{_DEC}{meaning.selector.element}", meaning.selector.find_rank
        ranked: list[tuple[int, etree._Element]] = []
        for element in elements:
            parent = element.getparent()
            sibling = find_first_child(parent, tag) if parent is not None else None
            rank = find_rank(None if sibling is None else read_element_text(sibling))
            if rank is not None:
                ranked.append((rank, element))
            if self.keeps_fields:
                consumed += () if sibling is None else self.list_text_leaves(sibling)
                skipped += self.list_text_leaves(element) if rank is None else ()
        if len(ranked) > 1:
            ranked.sort(key=itemgetter(0))  # those of one rank stay in their order
        return [element for _, element in ranked]

    def _make_found_value(self, meaning: CommonMeaning, element: etree._Element) -> FoundValue:
        """Return the value of `element` with its leaves; a WCO date is converted to a moment."""
        is_date = meaning.type == "datetime" and not meaning.supplement
        if is_date:
            inner = find_first_child(element, DATE_STRING)
            element = element if inner is None else inner
        value = self.read_value(element) or FoundValue(read_leaf_text(element), (), element)
        return FoundValue(convert_wco_moment(value.text), value.leaves, element) if is_date else value

    def list_text_leaves(self, element: etree._Element) -> Leaves:
        """Return the leaf of the text of an element, as a sequence."""
        leaf = self.find_text_leaf(element)
        return () if leaf is None else (leaf,)


def index_submission(
    root: etree._Element, *, keeps_fields: bool = True, stowed: StowedFields | None = None
) -> SubmissionIndex:
    """Return the index of a submission; raise GW402 unless it has exactly one declaration.

    Without `keeps_fields` a large one and its index take half of the memory; see `SubmissionIndex`. Its long
    fields are then taken out of the tree until `StowedFields.put_all_back` is called; `stowed` are those
    that the caller has already taken out.
    """
    declarations = [
        inner
        for part in root.iterchildren(f"{_SUB}Declaration", f"{_SHELL}MetaData", f"{_DEC}Declaration")
        for inner in part.iter(f"{_DEC}Declaration")
    ]
    if root.tag != f"{_SUB}Submission" or len(declarations) != 1:
        raise GatewayError(
            DOCUMENT_INVALID, "this is not a submission with one declaration", str(root.tag)[:200]
        )
    applications = tuple(root.iterchildren(f"{_SUB}Application"))
    submission_index = SubmissionIndex(
        root, declarations[0], applications, [], {}, {}, [], {}, {}, keeps_fields=keeps_fields
    )
    if not keeps_fields:
        submission_index.stowed = stowed or stow_fields(root)
    _index_declaration_leaves(submission_index)
    submission_index.declared_leaf_count = len(submission_index.rows)
    _index_supplement_leaves(submission_index, find_first_child(root, f"{_SUB}Supplement"))
    for number in range(len(applications) if keeps_fields else 0):
        submission_index.application_starts.append(len(submission_index.rows))
        _index_application_fields(submission_index, number)
    submission_index.application_starts.append(len(submission_index.rows))
    return submission_index


def _index_application_fields(submission_index: SubmissionIndex, number: int) -> None:
    """Index the unique fields of an application, by its position."""
    for fields in submission_index.applications[number].findall(f"{_SUB}Fields"):
        for child in fields.iterchildren(tag=etree.Element):
            sequence = child.get("sequence") if _get_local_name(child) == "Item" else None
            item = None if sequence is None else (parse_sequence_number(str(sequence)) or str(sequence))
            _index_field_leaves(submission_index, child, item, number)


def _index_field_leaves(
    submission_index: SubmissionIndex, top: etree._Element, item: str | None, number: int
) -> None:
    """Index an element of unique fields with all that it holds, by its goods item and application."""
    rows, texts = submission_index.rows, submission_index.text_leaf_numbers
    for element in top.iter(tag=etree.Element):
        if len(element) == 0 or not has_child_elements(element):
            texts[element] = len(rows)
            rows.append((element, None, "", item, number))
        if element.keys():
            _add_attribute_leaves(submission_index, element, "", item, number)


@dataclass(slots=True)
class _PathNode:
    """A path of the declaration with those below it by tag: the standard ones are made once for all."""

    path: str
    is_declared: bool
    below: dict[object, _PathNode] = field(default_factory=dict)

    def make_path_below(self, tag: str) -> _PathNode:
        """Return the path of a child with a tag that the data model does not have here."""
        name = tag.rpartition("}")[2]
        return _PathNode(f"{self.path}/{name}" if self.path else name, tag.startswith(_DEC))


@cache
def _list_standard_paths() -> _PathNode:
    """Return the paths of the data model's own elements, by the tags that lead to them."""
    top = _PathNode("", is_declared=True)
    path_nodes = {"": top}
    for path in load_wco_elements():
        outer, _, name = path.rpartition("/")
        if outer in path_nodes:
            path_nodes[path] = path_nodes[outer].below[f"{_DEC}{name}"] = _PathNode(path, is_declared=True)
    return top


#: The children of an element that are still to be read: each with its known path, its tag, and the number of
#: its own children.
_Children = Iterator[tuple["_PathNode | None", object, int, etree._Element]]
_Open = tuple[_Children, _PathNode, "str | None", "ElementsByPath | None"]


def _open_children(outer_path: _PathNode, parent: etree._Element, *, saves_memory: bool) -> _Children:
    tags, children = list_children(parent, saves_memory=saves_memory)
    return zip(map(outer_path.below.get, tags), tags, map(len, children), children, strict=True)


def _index_declaration_leaves(submission_index: SubmissionIndex) -> None:
    """Index the declaration in one pass: leaves where they are kept, goods items, and elements by path."""
    rows, texts, keeps_fields = (
        submission_index.rows,
        submission_index.text_leaf_numbers,
        submission_index.keeps_fields,
    )
    saves_memory = False
    declared = submission_index.elements_by_item.setdefault(None, {})
    paths, declaration = _list_standard_paths(), submission_index.declaration
    top = paths.below.get(declaration.tag), declaration.tag, len(declaration), declaration
    opened: list[_Open] = [(iter((top,)), paths, None, declared)]
    while opened:
        children, outer_path, item, outer_elements = opened[-1]
        for path_node, tag, size, child in children:
            if path_node is None:
                if not isinstance(tag, str):
                    continue  # a comment
                path_node = outer_path.make_path_below(tag)
            path, own_item, own_elements = (
                path_node.path,
                item,
                outer_elements if path_node.is_declared else None,
            )
            if path == ITEM_PATH and item is None:
                own_item, own_elements = _enter_goods_item(submission_index, child)
            if own_elements is not None:
                if path in own_elements:
                    _add_further_element(own_elements, path, child)
                else:
                    own_elements[path] = child
            # Without leaves the exact test is omitted: an element with comments alone has nothing to index.
            has_children = size > 0 and not (keeps_fields and not has_child_elements(child))
            if keeps_fields:
                if not has_children:
                    texts[child] = len(rows)
                    rows.append((child, None, path, own_item, None))
                if child.keys():
                    _add_attribute_leaves(submission_index, child, path, own_item, None)
            if has_children:
                saves_memory = saves_memory or size >= _LONG
                opened.append(
                    (
                        _open_children(path_node, child, saves_memory=saves_memory),
                        path_node,
                        own_item,
                        own_elements,
                    )
                )
                break  # the children of an element come before its next siblings
        else:
            opened.pop()


def _add_further_element(elements_by_path: ElementsByPath, path: str, element: etree._Element) -> None:
    """Add a further element of a path; a single element, the usual case, is stored without a list."""
    earlier_elements = elements_by_path[path]
    if isinstance(earlier_elements, list):
        earlier_elements.append(element)
    else:
        elements_by_path[path] = [earlier_elements, element]


def _enter_goods_item(
    submission_index: SubmissionIndex, element: etree._Element
) -> tuple[str, ElementsByPath | None]:
    """Return the sequence number of a goods item, and the table of its elements by path."""
    sequence = find_first_child(element, f"{_DEC}SequenceNumeric")
    item = (parse_sequence_number(read_element_text(sequence)) if sequence is not None else None) or ""
    if submission_index.items.setdefault(item, element) is not element:
        submission_index.repeated_items.add(item)
        return f"{item}+", None
    return item, submission_index.elements_by_item.setdefault(item, {})


def _index_supplement_leaves(submission_index: SubmissionIndex, supplement: etree._Element | None) -> None:
    """Index the values of the Supplement by path and item, in the order of @n, and their leaves if kept."""
    if supplement is None:
        return
    for value in supplement.iterchildren(tag=etree.Element):
        item = value.get("item")
        item = None if item is None else (parse_sequence_number(item) or item)
        path = str(value.get("path") or "")
        if submission_index.keeps_fields:
            _index_value_leaves(submission_index, value, path, item)
        if read_element_text(value).strip():
            submission_index.supplement.setdefault((path, item), []).append(value)
    for values in submission_index.supplement.values():
        values.sort(key=lambda value: int(parse_sequence_number(value.get("n", "")) or _UNPLACED))


def _index_value_leaves(
    submission_index: SubmissionIndex, value: etree._Element, path: str, item: str | None
) -> None:
    """Index a value of the supplement, and the attributes that identify it."""
    if not has_child_elements(value):
        submission_index.text_leaf_numbers[value] = len(submission_index.rows)
        submission_index.rows.append((value, None, f"SUP/{path}", item, None))
    _add_attribute_leaves(submission_index, value, f"SUP/{path}", item, None)
    keys = [(value, name) for name in ("path", "item", "n")]
    submission_index.supplement_key_leaves += [
        submission_index.attribute_leaf_numbers[key]
        for key in keys
        if key in submission_index.attribute_leaf_numbers
    ]


def _add_attribute_leaves(
    submission_index: SubmissionIndex,
    element: etree._Element,
    path: str,
    item: str | None,
    application: int | None,
) -> None:
    """Add the attributes of one element, with its path, its goods item and its application."""
    for name in map(str, element.keys()):
        key = element, name
        submission_index.attribute_leaf_numbers[key] = len(submission_index.rows)
        submission_index.rows.append((element, name, path and f"{path}/@{name}", item, application))


def is_item_path(path: str) -> bool:
    """Return whether a leaf of the declaration at `path` is of a goods item."""
    return path == ITEM_PATH or path.startswith(_IN_ITEM)


def parse_sequence_number(text: str) -> str | None:
    """Return the canonical form of a sequence number (``01`` and ``1.0`` are ``1``), None for other text."""
    match = _SEQUENCE.fullmatch(text)
    return (match[1] or "0") if match else None


def read_item_numbers(application: etree._Element) -> Iterator[str]:
    """Yield the sequence numbers of the goods items that an application concerns, in its order."""
    items = find_first_child(application, f"{_SUB}Items")
    if items is None:
        return
    whole = items.text or "" if len(items) == 0 else " ".join(str(part) for part in items.itertext())
    seen: set[str] = set()
    for text in whole.split():
        number = parse_sequence_number(text) or text
        if number not in seen:
            seen.add(number)
            yield number


def make_missing_pointer(
    meaning: CommonMeaning, item: str | None, positions: Mapping[str, int] | None = None
) -> str:
    """Return the pointer at which a missing value of `meaning` should be.

    `positions` are those of groups, by the path of their element; a group without one is the first.
    """
    if meaning.supplement:
        return f"SUP/{meaning.path}" + (f"[{item}]" if item is not None else "") + "[1]"
    wco_elements: Mapping[str, object] = load_wco_elements()
    pointer, path = [], ""
    for name in meaning.path.split("/"):
        path = f"{path}/{name}" if path else name
        tag = load_wco_elements()[path] if path in wco_elements else None
        if tag is None or not tag.wco_id:
            pointer.append(name)
        elif tag.kind != "class" or path == "Declaration":
            pointer.append(tag.wco_id)
        else:
            number = item if path == ITEM_PATH else (positions or {}).get(path, 1)
            pointer.append(f"{tag.wco_id}[{number}]")
    return "/".join(pointer)


def _get_local_name(element: etree._Element) -> str:
    return str(element.tag).rpartition("}")[2]
