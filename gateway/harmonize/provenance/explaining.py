"""Provenance both ways: from a value of the applicant to every agency, and from an agency's field back.

Each value is told with its pointer and its octets in the message as it was signed, the
bundle, the line of the mapping that moved it, the versions of the code lists used, what was
done to it, and what was lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lxml import etree

from gateway.errors import RULE_BROKEN, GatewayError
from gateway.harmonize.applying.render import Origin
from gateway.harmonize.applying.splitting import Request, Split
from gateway.harmonize.backwards.reading import Reading, read_request
from gateway.harmonize.backwards.requestpaths import Step, find_in_request, names_of, read_path
from gateway.harmonize.given.facts import Leaf, missing_pointer, text_of
from gateway.harmonize.language.bundle import Bundle
from gateway.harmonize.language.documents import Document
from gateway.harmonize.language.itemids import ItemIds, item_ids
from gateway.harmonize.provenance.meanings import asked_at, common_at
from gateway.harmonize.provenance.uses import Line, Use, lines_of, plain_path, uses_of
from gateway.harmonize.replies.errorplaces import RequestPlace
from gateway.harmonize.terms.asks import Ask, tag_of
from gateway.harmonize.terms.codelists import CodeList
from gateway.harmonize.terms.dictionary import Meaning
from gateway.wire.namespaces import PREFIXES
from gateway.wire.offsets import Offsets
from gateway.wire.places import Places
from gateway.wire.pointers import pointer_of
from gateway.wire.xml import xpath_of

__all__ = ["Explainer", "LeafStory", "Outcome", "Spot", "Written"]


@dataclass(frozen=True, slots=True)
class Spot:
    """A place in the submission: `start` and `end` are its octets in the message as it was signed.

    `value` is None where nothing stands yet; then the octets are those of what stands around
    it, and `pointer` says where the value is to be given.
    """

    pointer: str
    xpath: str
    line: int
    value: str | None
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Written:
    """One value of a request with all that is known of its way there.

    `path` is its place in the request, `value` what stands there (None: nothing), `source`
    the kind and name of what it is made of, `rule` the line of the mapping (file:line),
    `lists` the code lists used, `loss` exact, residue or lossy, `spots` where it comes from.
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
    spots: tuple[Spot, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one leaf for one document; `reasons` say by which lines it is read there."""

    organisation: str
    document: str
    fate: str
    rule: str
    written: tuple[Written, ...]
    reasons: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class LeafStory:
    """Everything about one leaf of the submission: its place, its names, its fate at each agency."""

    spot: Spot
    names: tuple[tuple[str, str, str], ...]
    outcomes: tuple[Outcome, ...]


class Explainer:
    """Explains one submission: `data` are its octets as they came, `done` what it was split into."""

    def __init__(self, bundle: Bundle, data: bytes, done: Split) -> None:
        self.bundle = bundle
        self._done = done
        self._root = done.facts.root
        self._offsets = Offsets(data, self._root)
        self._places = Places(self._root)
        self._texts: dict[str, dict[str, str]] = {}
        self._readings: dict[str, Reading] = {}
        self._lines: dict[str, Mapping[str, Line]] = {}
        self._uses: dict[str, tuple[Use, ...]] = {}

    def leaves(self, place: str, document: str = "", application: str = "") -> tuple[LeafStory, ...]:
        """Return the stories of the leaf that a pointer or an XPath names, or of all leaves inside it.

        With `document` only its outcome is told, with `application` only what went there.
        """
        numbers: dict[int, None] = {}
        for element, attribute in self._named(place):
            for number in self._done.facts.below(element):
                leaf = self._done.facts.leaves[number]
                if attribute is None or (leaf.element is element and leaf.attribute == attribute):
                    numbers[number] = None
        return tuple(self._story(number, document, application) for number in numbers)

    def written(self, path: str, document: str = "", application: str = "") -> tuple[Written, ...]:
        """Return what an agency's path means in the requests: of all, of one document, of one application.

        Where nothing stands at the path, the line that would write it is told, and where in the
        submission its value is to be given.  Raises GW404 when `path` is no path.
        """
        steps = read_path(path)
        found: list[Written] = []
        for request in self._requests(document, application):
            here = self._in_request(request, steps)
            found += here or self._absent(request, steps)
        return tuple(found)

    def at_place(self, place: RequestPlace, document: str, application: str = "") -> tuple[Written, ...]:
        """Return what the place that an agency's error is about holds in the requests of `document`."""
        found: list[Written] = []
        for request in self._requests(document, application):
            inside = [
                self._written(request, origin)
                for origin in request.origins
                if f"{plain_path(origin.target)}/".startswith(f"{place.path}/")
                and place.item in (None, *map(self._item_of, origin.leaves))
            ]
            step = () if place.item is None else (Step("", ids=(place.item,)),)
            found += inside or self._absent(request, (*read_path(place.path), *step), place.path)
        return tuple(found)

    def _item_of(self, leaf: int) -> str | None:
        return (self._done.facts.leaves[leaf].item or "").rstrip("+") or None

    def spot(self, leaf: int) -> Spot:
        """Return the place of a leaf, by its number in the ledger."""
        one = self._done.facts.leaves[leaf]
        return self._spot(one)

    def _named(self, place: str) -> list[tuple[etree._Element, str | None]]:
        """Return the elements, or elements with an attribute, that a pointer or an XPath names."""
        if place.startswith("/"):
            return self._by_xpath(place)
        element = self._places.element(place)
        name = place.partition("/@")[2]
        if element is None or not name:
            return [] if element is None else [(element, None)]
        keys = map(str, element.attrib)
        return [(element, key) for key in keys if etree.QName(key).localname == name]

    def _by_xpath(self, path: str) -> list[tuple[etree._Element, str | None]]:
        spaces = {p: uri for one in self._root.iter() for p, uri in one.nsmap.items() if p} | PREFIXES
        try:
            found: Any = self._root.getroottree().xpath(path, namespaces=spaces)
        except etree.XPathError:
            raise GatewayError(RULE_BROKEN, f"{path[:80]!r} is no XPath", path[:80]) from None
        named: list[tuple[etree._Element, str | None]] = []
        for one in found if isinstance(found, list) else ():
            if isinstance(one, etree._Element):
                named.append((one, None))
            elif getattr(one, "is_attribute", False):
                named.append((one.getparent(), str(one.attrname)))
        return named

    def _story(self, number: int, only: str, application: str) -> LeafStory:
        leaf = self._done.facts.leaves[number]
        accounts = self._done.accounts
        outcomes = []
        for name, fate in zip(accounts.documents, accounts.entries[number].fates, strict=True):
            if only not in ("", name):
                continue
            document = self.bundle.documents.get(name)
            organisation = "" if document is None else document.organisation
            told, rule = ("unaccounted", "") if fate is None else (fate.fate, str(fate.rule))
            reasons = () if document is None else tuple(self._reasons(document, leaf))
            went = tuple(self._went(number, name, application))
            outcomes.append(Outcome(organisation, name, told, rule, went, reasons))
        return LeafStory(self._spot(leaf), tuple(self._names(leaf)), tuple(outcomes))

    def _reasons(self, document: Document, leaf: Leaf) -> Iterator[tuple[str, str]]:
        """Yield in words, with the line, what `document` reads a leaf for without writing it."""
        names = self._fields(leaf, document)
        if names and document.id not in self._uses:
            self._uses[document.id] = tuple(uses_of(document, self.bundle.dictionary))
        for use in self._uses.get(document.id, ()) if names else ():
            if use.name in names and use.role not in ("value", "attribute"):
                yield f"{use.role}: {use.words}", str(use.rule)

    def _went(self, leaf: int, document: str, application: str) -> Iterator[Written]:
        for request in self._requests(document, application):
            for origin in request.origins:
                if leaf in origin.leaves:
                    yield self._written(request, origin)

    def _fields(self, leaf: Leaf, document: Document | None) -> set[str]:
        """Return the names of the fields and meanings that a leaf is read as."""
        if leaf.application is None:
            return {meaning.name for meaning in common_at(self.bundle.dictionary, leaf.path)}
        own = self._done.facts.applications[leaf.application].get("document")
        ask = None if document is None or own != document.id else asked_at(document, leaf.element)
        return set() if ask is None else {ask.name}

    def _names(self, leaf: Leaf) -> Iterator[tuple[str, str, str]]:
        """Yield name, Korean and English label of what a leaf is."""
        if leaf.application is None:
            for meaning in common_at(self.bundle.dictionary, leaf.path):
                yield meaning.name, meaning.ko, meaning.en
            return
        name = str(self._done.facts.applications[leaf.application].get("document"))
        document = self.bundle.documents.get(name)
        ask = None if document is None else asked_at(document, leaf.element)
        if ask is not None:
            yield ask.name, ask.ko, ask.en

    def _requests(self, document: str, application: str) -> Iterator[Request]:
        for request in self._done.requests:
            if document in ("", request.document) and application in ("", request.application):
                yield request

    def _reading(self, request: Request) -> Reading:
        if request.application not in self._readings:
            document = self.bundle.documents[request.document]
            self._readings[request.application] = read_request(document, request.xml)
        return self._readings[request.application]

    def _lines_of(self, document: str) -> Mapping[str, Line]:
        if document not in self._lines:
            self._lines[document] = lines_of(self.bundle.documents[document])
        return self._lines[document]

    def _in_request(self, request: Request, steps: tuple[Step, ...]) -> list[Written]:
        reading = self._reading(request)
        wanted: set[str] = set()
        for element, attribute in find_in_request(request.xml, steps):
            if attribute is not None:
                wanted.add(f"{reading.paths.get(element, '')}/@{attribute}")
                continue
            for inner in element.iter(tag=etree.Element):
                path = reading.paths.get(inner, "")
                wanted |= {path, *(f"{path}/@{name}" for name in map(str, inner.attrib))}
        return [self._written(request, origin) for origin in request.origins if origin.target in wanted]

    def _written(self, request: Request, origin: Origin) -> Written:
        line = self._lines_of(request.document).get(plain_path(origin.target))
        lists = [self.bundle.lists.get(name) for name in _list_names(origin.transforms)]
        return Written(
            request.organisation,
            request.document,
            request.application,
            origin.target,
            self._text(request, origin.target),
            origin.source,
            str(origin.rule),
            origin.transforms,
            tuple(one for one in lists if one is not None),
            "exact" if line is None else line.loss,
            tuple(self.spot(leaf) for leaf in origin.leaves),
        )

    def _text(self, request: Request, path: str) -> str | None:
        """Return what stands in a request at the path of an origin."""
        if request.application not in self._texts:
            reading = self._reading(request)
            texts = {}
            for element, here in reading.paths.items():
                texts[here] = text_of(element)
                texts |= {f"{here}/@{name}": str(element.get(name)) for name in map(str, element.attrib)}
            self._texts[request.application] = texts
        return self._texts[request.application].get(path)

    def _absent(self, request: Request, steps: tuple[Step, ...], path: str = "") -> list[Written]:
        """Return the lines that would write what is not there, with the place to give it at."""
        document = self.bundle.documents[request.document]
        names = path or names_of(steps)
        names = names if names.partition("/")[0] == document.root.name else f"{document.root.name}/{names}"
        found = []
        for path, line in self._lines_of(request.document).items():
            if path == names or path.startswith(f"{names}/"):
                spots = tuple(self._gaps(request, line, steps))
                if line.fields and not spots:
                    continue
                name = " × ".join(field.name for field in line.fields)
                common = any(isinstance(field, Meaning) for field in line.fields)
                source = f"{'common' if common else 'ask'}:{name}" if name else "the hub or the mapping"
                found.append(
                    Written(
                        request.organisation,
                        request.document,
                        request.application,
                        path,
                        None,
                        source,
                        str(line.rule),
                        line.transforms,
                        (),
                        line.loss,
                        spots,
                    )
                )
        return found

    def _gaps(self, request: Request, line: Line, steps: tuple[Step, ...]) -> Iterator[Spot]:
        """Yield where the values of a line would have to be given."""
        items = _items(request, line, steps, item_ids(self.bundle.documents[request.document]))
        for field in line.fields:
            if isinstance(field, Meaning):
                per_item = self.bundle.dictionary.is_item(field.per)
                pointers = [missing_pointer(field, item) for item in (items if per_item else (None,))]
            else:
                base = f"{self._application(request)}/{request.document}"
                per_item = "application.items" in line.each
                places = [f"{base}/ITEM[{item}]" for item in items] if per_item else [base]
                pointers = [f"{place}/{_below(field, per_item=per_item)}" for place in places]
            yield from (self._gap(pointer) for pointer in pointers)

    def _gap(self, pointer: str) -> Spot:
        there = self._places.element(pointer)
        if there is not None and there in self._done.facts.texts:
            return self.spot(self._done.facts.texts[there])  # given, and kept back by a condition
        around = self._places.nearest(pointer)
        span = self._offsets.whole(around)
        start, end = (0, 0) if span is None else (span.start, span.end)
        return Spot(pointer, self._places.xpath(pointer), self._places.line(pointer), None, start, end)

    def _application(self, request: Request) -> str:
        elements = self._done.facts.applications
        return next((pointer_of(one) for one in elements if one.get("id") == request.application), "APP[1]")

    def _spot(self, leaf: Leaf) -> Spot:
        span = self._offsets.of(leaf.element, leaf.attribute)
        pointer = self._places.pointer(leaf.element, leaf.attribute)
        suffix = "" if leaf.attribute is None else f"/@{leaf.attribute}"
        start, end = (0, 0) if span is None else (span.start, span.end)
        line = self._places.line(pointer)
        return Spot(pointer, xpath_of(leaf.element) + suffix, line, leaf.value, start, end)


def _items(request: Request, line: Line, steps: tuple[Step, ...], ids: ItemIds) -> tuple[str, ...]:
    """Return the goods items that a path means: one by position or number, else all of the application."""
    if "application.items" not in line.each:
        return request.items
    for step in steps:
        if step.position is not None:
            return request.items[step.position - 1 : step.position]
        for identifier in step.ids:
            number = ids.number(identifier)
            return (number,) if number in request.items else ()
    return request.items


def _below(ask: Ask, *, per_item: bool) -> str:
    """Return the end of the pointer of a field, its first occurrence in the first of its groups."""
    *groups, last = ask.name.split(".")
    numbered = "[1]" if per_item and not groups else ""
    return "/".join([*(f"{tag_of(group)}[1]" for group in groups), f"{tag_of(last)}{numbered}"])


def _list_names(transforms: tuple[str, ...]) -> Iterator[str]:
    """Yield the names of the code lists in a chain of transforms (``via name@version``)."""
    for step in transforms:
        if step.startswith("via "):
            yield step.removeprefix("via ").partition("@")[0]
