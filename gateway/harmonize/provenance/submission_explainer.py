"""Provenance in both directions: from an applicant's value to the agencies, and from a request back.

Each value has its pointer and its octet range in the signed message, the line of the mapping
that forwarded it, the code lists with their versions, the conversions, and the loss.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lxml import etree

from gateway.errors import RULE_BROKEN, GatewayError
from gateway.harmonize.language import (
    CodeList,
    CommonMeaning,
    DocumentMapping,
    ItemIdentifiers,
    MappingBundle,
    MappingLine,
    UniqueField,
    find_item_identifiers,
    list_mapping_lines,
    to_element_name,
)
from gateway.harmonize.notices import RequestPlace
from gateway.harmonize.provenance.field_uses import (
    FieldUse,
    find_common_meanings,
    find_field_by_element,
    get_line_loss,
    list_transforms,
    list_uses,
    remove_positions,
)
from gateway.harmonize.readback import (
    PathStep,
    RequestReading,
    find_in_request,
    format_names,
    read_path,
    read_request,
)
from gateway.harmonize.split import (
    AgencyRequest,
    Leaf,
    SplitResult,
    ValueOrigin,
    make_missing_pointer,
    read_element_text,
)
from gateway.wire import (
    PREFIXES,
    ElementLocations,
    TreeByteRanges,
    build_pointer,
    build_xpath,
    list_xpath_namespaces,
)


@dataclass(frozen=True, slots=True)
class SubmissionSpot:
    """A place in the submission: `start` and `end` are its octet range in the signed message.

    `value` is None where the value is missing; then the octets are those of the element around
    it, and `pointer` is the place where the value should be.
    """

    pointer: str
    xpath: str
    line: int
    value: str | None
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class WrittenValue:
    """One value of a request with its provenance.

    `path` is its place in the request, `value` its text there (None: missing), `source` the
    kind and name of its source, `rule` the line of the mapping (file:line), `transforms` the
    conversions, `lists` the code lists used, `loss` exact, residue or lossy, `spots` the places
    of its leaves.
    """

    organisation: str
    document: str
    application: str
    path: str
    value: str | None
    source: str
    rule: str
    transforms: tuple[str, ...]
    lists: tuple[CodeList, ...]
    loss: str
    spots: tuple[SubmissionSpot, ...]


@dataclass(frozen=True, slots=True)
class LeafOutcome:
    """The fate of one leaf for one document; `reasons` are the lines that read it without writing it."""

    organisation: str
    document: str
    fate: str
    rule: str
    written: tuple[WrittenValue, ...]
    reasons: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class LeafStory:
    """The provenance of one leaf of the submission: its place, its names, its fate for each document."""

    spot: SubmissionSpot
    names: tuple[tuple[str, str, str], ...]
    outcomes: tuple[LeafOutcome, ...]


class SubmissionExplainer:
    """Explains one submission: `data` are its octets as received, `split_result` the result of its split."""

    def __init__(self, bundle: MappingBundle, data: bytes, split_result: SplitResult) -> None:
        self.bundle = bundle
        self._split_result = split_result
        self._root = split_result.submission_index.root
        self._offsets = TreeByteRanges(data, self._root)
        self._locations = ElementLocations(self._root)
        self._texts: dict[str, dict[str, str]] = {}
        self._readings: dict[str, RequestReading] = {}
        self._lines: dict[str, Mapping[str, MappingLine]] = {}
        self._uses: dict[str, tuple[FieldUse, ...]] = {}

    def explain_leaves(
        self, location: str, document: str = "", application: str = ""
    ) -> tuple[LeafStory, ...]:
        """Return the stories of the leaf that a pointer or an XPath names, or of all leaves inside it.

        With `document`, only its outcome is included; with `application`, only its written values.
        """
        numbers: dict[int, None] = {}
        for element, attribute in self._find_named_elements(location):
            for number in self._split_result.submission_index.list_leaves_below(element):
                leaf = self._split_result.submission_index.leaves[number]
                if attribute is None or (leaf.element is element and leaf.attribute == attribute):
                    numbers[number] = None
        return tuple(self._make_story(number, document, application) for number in numbers)

    def find_written(self, path: str, document: str = "", application: str = "") -> tuple[WrittenValue, ...]:
        """Return the values at an agency's path in the requests of all, one document or one application.

        Where there is no value at the path, return the line that would write it, with the place
        in the submission where its value should be.  Raise GW404 where `path` is no path.
        """
        steps = read_path(path)
        written: list[WrittenValue] = []
        for request in self._list_requests(document, application):
            request_values = self._find_in_request(request, steps)
            written += request_values or self._find_absent_lines(request, steps)
        return tuple(written)

    def find_at_place(
        self, request_place: RequestPlace, document: str, application: str = ""
    ) -> tuple[WrittenValue, ...]:
        """Return the values at the place of an agency's error in the requests of `document`."""
        written: list[WrittenValue] = []
        for request in self._list_requests(document, application):
            matching = [
                self._make_written(request, origin)
                for origin in request.origins
                if f"{remove_positions(origin.target)}/".startswith(f"{request_place.path}/")
                and request_place.item in (None, *map(self._find_item, origin.leaves))
            ]
            step = () if request_place.item is None else (PathStep("", ids=(request_place.item,)),)
            written += matching or self._find_absent_lines(
                request, (*read_path(request_place.path), *step), request_place.path
            )
        return tuple(written)

    def _find_item(self, leaf: int) -> str | None:
        return (self._split_result.submission_index.leaves[leaf].item or "").rstrip("+") or None

    def get_spot(self, leaf: int) -> SubmissionSpot:
        """Return the place of a leaf, by its number in the submission index."""
        indexed_leaf = self._split_result.submission_index.leaves[leaf]
        return self._make_spot(indexed_leaf)

    def _find_named_elements(self, location: str) -> list[tuple[etree._Element, str | None]]:
        """Return the elements, or elements with an attribute, that a pointer or an XPath names."""
        if location.startswith("/"):
            return self._find_by_xpath(location)
        element = self._locations.find_element(location)
        name = location.partition("/@")[2]
        if element is None or not name:
            return [] if element is None else [(element, None)]
        keys = map(str, element.attrib)
        return [(element, key) for key in keys if etree.QName(key).localname == name]

    def _find_by_xpath(self, path: str) -> list[tuple[etree._Element, str | None]]:
        """Return the nodes of the submission that an XPath selects: each element, with an attribute or None.

        Raise GW404 for a wrong XPath. Namespace prefixes are those of the submission and of the gateway.
        """
        written = {p: uri for element in self._root.iter() for p, uri in element.nsmap.items() if p}
        spaces = written | list_xpath_namespaces(self._root) | PREFIXES
        try:
            selection: Any = self._root.getroottree().xpath(path, namespaces=spaces)
        except etree.XPathError:
            raise GatewayError(RULE_BROKEN, f"{path[:80]!r} is no XPath", path[:80]) from None
        selected: list[tuple[etree._Element, str | None]] = []
        for node in selection if isinstance(selection, list) else ():
            if isinstance(node, etree._Element):
                selected.append((node, None))
            elif getattr(node, "is_attribute", False):
                selected.append((node.getparent(), str(node.attrname)))
        return selected

    def _make_story(self, number: int, only_document: str, application: str) -> LeafStory:
        """Return what happened to leaf `number` in each document; only in `only_document` if given."""
        leaf = self._split_result.submission_index.leaves[number]
        accounts = self._split_result.ledger
        outcomes = []
        for name, fate in zip(accounts.documents, accounts.entries[number].fates, strict=True):
            if only_document not in ("", name):
                continue
            document = self.bundle.documents.get(name)
            organisation = "" if document is None else document.organisation
            fate_name, rule = ("unaccounted", "") if fate is None else (fate.fate, str(fate.rule))
            reasons = () if document is None else tuple(self._list_reasons(document, leaf))
            written_values = tuple(self._list_written(number, name, application))
            outcomes.append(LeafOutcome(organisation, name, fate_name, rule, written_values, reasons))
        return LeafStory(self._make_spot(leaf), tuple(self._list_names(leaf)), tuple(outcomes))

    def _list_reasons(self, document: DocumentMapping, leaf: Leaf) -> Iterator[tuple[str, str]]:
        """Yield the text and the line of each use by which `document` reads a leaf without writing it."""
        names = self._list_field_names(leaf, document)
        if names and document.id not in self._uses:
            self._uses[document.id] = tuple(list_uses(document, self.bundle.dictionary))
        for use in self._uses.get(document.id, ()) if names else ():
            if use.name in names and use.role not in ("value", "attribute"):
                yield f"{use.role}: {use.description}", str(use.rule)

    def _list_written(self, leaf: int, document: str, application: str) -> Iterator[WrittenValue]:
        """Yield the values that leaf number `leaf` gave to requests of `document` and `application`."""
        for request in self._list_requests(document, application):
            for origin in request.origins:
                if leaf in origin.leaves:
                    yield self._make_written(request, origin)

    def _list_field_names(self, leaf: Leaf, document: DocumentMapping | None) -> set[str]:
        """Return the names of the fields and meanings that `document` reads from a leaf."""
        if leaf.application is None:
            return {meaning.name for meaning in find_common_meanings(self.bundle.dictionary, leaf.path)}
        document_name = self._split_result.submission_index.applications[leaf.application].get("document")
        ask = (
            None
            if document is None or document_name != document.id
            else find_field_by_element(document, leaf.element)
        )
        return set() if ask is None else {ask.name}

    def _list_names(self, leaf: Leaf) -> Iterator[tuple[str, str, str]]:
        """Yield name, Korean and English label of each field or meaning of a leaf."""
        if leaf.application is None:
            for meaning in find_common_meanings(self.bundle.dictionary, leaf.path):
                yield meaning.name, meaning.ko, meaning.en
            return
        name = str(self._split_result.submission_index.applications[leaf.application].get("document"))
        document = self.bundle.documents.get(name)
        ask = None if document is None else find_field_by_element(document, leaf.element)
        if ask is not None:
            yield ask.name, ask.ko, ask.en

    def _list_requests(self, document: str, application: str) -> Iterator[AgencyRequest]:
        """Yield the requests of `document` and `application`; an empty text means any."""
        for request in self._split_result.requests:
            if document in ("", request.document) and application in ("", request.application):
                yield request

    def _read_request(self, request: AgencyRequest) -> RequestReading:
        if request.application not in self._readings:
            document = self.bundle.documents[request.document]
            self._readings[request.application] = read_request(document, request.xml)
        return self._readings[request.application]

    def _get_lines(self, document: str) -> Mapping[str, MappingLine]:
        if document not in self._lines:
            self._lines[document] = {
                line.path: line for line in list_mapping_lines(self.bundle.documents[document])
            }
        return self._lines[document]

    def _find_in_request(self, request: AgencyRequest, steps: tuple[PathStep, ...]) -> list[WrittenValue]:
        """Return the values written in a request at the elements and attributes that `steps` select."""
        reading = self._read_request(request)
        wanted_paths: set[str] = set()
        for element, attribute in find_in_request(request.xml, steps):
            if attribute is not None:
                wanted_paths.add(f"{reading.paths.get(element, '')}/@{attribute}")
                continue
            for inner in element.iter(tag=etree.Element):
                path = reading.paths.get(inner, "")
                wanted_paths |= {path, *(f"{path}/@{name}" for name in map(str, inner.attrib))}
        return [
            self._make_written(request, origin) for origin in request.origins if origin.target in wanted_paths
        ]

    def _make_written(self, request: AgencyRequest, origin: ValueOrigin) -> WrittenValue:
        """Return one written value of a request with its source, rule, conversions, loss and places."""
        line = self._get_lines(request.document).get(remove_positions(origin.target))
        lists = [self.bundle.lists.get(name) for name in _list_code_list_names(origin.transforms)]
        spots = tuple(self.get_spot(leaf) for leaf in origin.leaves)
        composed = any(
            self._split_result.submission_index.leaves[leaf].normalized is not None for leaf in origin.leaves
        )
        return WrittenValue(
            request.organisation,
            request.document,
            request.application,
            origin.target,
            self._get_text(request, origin.target),
            origin.source,
            str(origin.rule),
            (*(("NFC",) if composed else ()), *origin.transforms),
            tuple(code_list for code_list in lists if code_list is not None),
            "exact" if line is None else get_line_loss(line),
            spots,
        )

    def _get_text(self, request: AgencyRequest, path: str) -> str | None:
        """Return the text at the path of an origin in a request."""
        if request.application not in self._texts:
            reading = self._read_request(request)
            texts = {}
            for element, element_path in reading.paths.items():
                texts[element_path] = read_element_text(element)
                texts |= {
                    f"{element_path}/@{name}": str(element.get(name)) for name in map(str, element.attrib)
                }
            self._texts[request.application] = texts
        return self._texts[request.application].get(path)

    def _find_absent_lines(
        self, request: AgencyRequest, steps: tuple[PathStep, ...], path: str = ""
    ) -> list[WrittenValue]:
        """Return the lines that would write the missing values, with the places where to give them."""
        document = self.bundle.documents[request.document]
        names = path or format_names(steps)
        names = names if names.partition("/")[0] == document.root.name else f"{document.root.name}/{names}"
        absent = []
        for path, line in self._get_lines(request.document).items():
            if path == names or path.startswith(f"{names}/"):
                spots = tuple(self._list_missing_places(request, line, steps))
                if line.read_fields and not spots:
                    continue
                name = " × ".join(field.name for field in line.read_fields)
                common = any(isinstance(field, CommonMeaning) for field in line.read_fields)
                source = f"{'common' if common else 'ask'}:{name}" if name else "the hub or the mapping"
                absent.append(
                    WrittenValue(
                        request.organisation,
                        request.document,
                        request.application,
                        path,
                        None,
                        source,
                        str(line.mark),
                        list_transforms(line),
                        (),
                        get_line_loss(line),
                        spots,
                    )
                )
        return absent

    def _list_missing_places(
        self, request: AgencyRequest, line: MappingLine, steps: tuple[PathStep, ...]
    ) -> Iterator[SubmissionSpot]:
        """Yield the places where the missing values of a line should be given."""
        ids = find_item_identifiers(self.bundle.documents[request.document])
        items = _list_items(request, line, steps, ids) if line.is_per_item else request.items
        for field in line.read_fields:
            if isinstance(field, CommonMeaning):
                per_item = self.bundle.dictionary.is_per_item(field.per)
                pointers = [make_missing_pointer(field, item) for item in (items if per_item else (None,))]
            else:
                base = f"{self._get_application_id(request)}/{request.document}"
                per_item = line.is_per_item
                pointer_prefixes = [f"{base}/ITEM[{item}]" for item in items] if per_item else [base]
                pointers = [
                    f"{prefix}/{_get_pointer_end(field, per_item=per_item)}" for prefix in pointer_prefixes
                ]
            yield from (self._make_gap_spot(pointer) for pointer in pointers)

    def _make_gap_spot(self, pointer: str) -> SubmissionSpot:
        """Return the place where a missing value would be.

        It is the leaf at `pointer` if there is one, else the nearest element around it, without a value.
        """
        there = self._locations.find_element(pointer)
        if there is not None and there in self._split_result.submission_index.text_leaf_numbers:
            return self.get_spot(
                self._split_result.submission_index.text_leaf_numbers[there]
            )  # given, but a condition has withheld it
        nearest = self._locations.find_nearest_element(pointer)
        span = self._offsets.find_element_range(nearest)
        start, end = (0, 0) if span is None else (span.start, span.end)
        return SubmissionSpot(
            pointer,
            self._locations.find_xpath(pointer),
            self._locations.find_line_number(pointer),
            None,
            start,
            end,
        )

    def _get_application_id(self, request: AgencyRequest) -> str:
        """Return the pointer of the application of a request."""
        elements = self._split_result.submission_index.applications
        return next(
            (build_pointer(element) for element in elements if element.get("id") == request.application),
            "APP[1]",
        )

    def _make_spot(self, leaf: Leaf) -> SubmissionSpot:
        """Return the place of a leaf: pointer, XPath, line, value and range of octets."""
        span = self._offsets.find_content_range(leaf.element, leaf.attribute)
        pointer = self._locations.get_pointer(leaf.element, leaf.attribute)
        suffix = "" if leaf.attribute is None else f"/@{leaf.attribute}"
        start, end = (0, 0) if span is None else (span.start, span.end)
        line = self._locations.find_line_number(pointer)
        return SubmissionSpot(pointer, build_xpath(leaf.element) + suffix, line, leaf.value, start, end)


def _list_items(
    request: AgencyRequest, line: MappingLine, steps: tuple[PathStep, ...], ids: ItemIdentifiers
) -> tuple[str, ...]:
    """Return the goods items that a path to a line inside the items selects.

    It selects one by its number or by the position of its element, else all of the application. A position
    counts among the items that the number selects, so it selects nothing more beside one.
    """
    for step in steps:
        for identifier in step.ids:
            number = ids.parse_item_number(identifier)
            return (number,) if number in request.items else ()
    position = _find_item_position(line, steps)
    return request.items if position is None else request.items[position - 1 : position]


def _find_item_position(line: MappingLine, steps: tuple[PathStep, ...]) -> int | None:
    """Return the position that a path gives to the element of the goods item around a line, else None."""
    depth = next(
        depth
        for depth, element in enumerate(line.elements)
        if element.repetition is not None and element.repetition.over == "item"
    )
    # A path may leave out the name of the root.
    number = depth if steps[0].name == line.elements[0].name else depth - 1
    return steps[number].position if number < len(steps) else None


def _get_pointer_end(ask: UniqueField, *, per_item: bool) -> str:
    """Return the end of the pointer of a field: its first occurrence in the first one of its groups."""
    *groups, last = ask.name.split(".")
    numbered = "[1]" if per_item and not groups else ""
    return "/".join(
        [*(f"{to_element_name(group)}[1]" for group in groups), f"{to_element_name(last)}{numbered}"]
    )


def _list_code_list_names(transforms: tuple[str, ...]) -> Iterator[str]:
    """Yield the names of the code lists in a chain of transforms (``via name@version``)."""
    for step in transforms:
        if step.startswith("via "):
            yield step.removeprefix("via ").partition("@")[0]
