"""One trial: a generated submission, one leaf of it changed, and the requests before and after.

A leaf outside the read set of a document may be changed, taken away or doubled without any
effect on the document's request, to the octet.  A leaf inside changes the request or stops
it; one that is only looked at (a guard, a key, a count) may do neither, and then the read
set says so.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache

from lxml import etree

from gateway.errors import GatewayError
from gateway.harmonize import SplitResult, make_placeholder_numbers, split_submission
from gateway.harmonize.language import ReadSet, build_read_set
from gateway.harmonize.provenance.submission_explainer import find_field_by_element
from gateway.harmonize.samples import make_sample
from gateway.harmonize.split import Leaf, read_item_numbers
from gateway.wire import build_pointer, parse_xml, serialize_element
from tests.kit.filling import SUB, shipped
from tests.kit.shared_reads import find_shared_read_kinds

CHANGES = ("other value", "longer", "empty", "taken away", "doubled")
#: What became of a request: the same octets, others, no longer one (a problem), now one, never one.
EFFECTS = ("same", "changed", "refused", "made", "none")
_PASSIVE = frozenset({"guard", "key", "count"})


@dataclass(frozen=True)
class Trial:
    """What was changed, how, and what it did to one document."""

    seed: int
    document: str
    pointer: str
    change: str
    hows: frozenset[str]
    effect: str

    @property
    def holds(self) -> bool:
        """Return whether the read set told the truth."""
        if not self.hows:
            return self.effect in ("same", "none")
        # An empty value is no value: to take away what is not there is no change.
        return self.effect != "same" or bool(self.hows & _PASSIVE) or self.change == "doubled"


@cache
def reads_of(document: str) -> ReadSet:
    """Return the read set of a shipped document."""
    return build_read_set(shipped().documents[document], shipped().dictionary)


@cache
def drawn(document: str, seed: int) -> bytes:
    """Return a generated submission of one document."""
    return make_sample(shipped(), shipped().documents[document], f"isolation/{seed}", 1 + seed % 3)


def generated(seed: int) -> etree._Element:
    """Return a generated submission: of one document, often with another document's application beside it."""
    chance = random.Random(seed)
    names = sorted(shipped().documents)
    name = names[seed % len(names)]
    root = parse_xml(drawn(name, chance.randrange(400)))
    if chance.random() < 0.6:
        other = parse_xml(drawn(chance.choice([one for one in names if one != name]), chance.randrange(400)))
        guest = other.find(f"{SUB}Application")
        assert guest is not None
        guest.set("id", "B1")
        root.append(guest)
        agree_or_leave(root, chance)
    return root


def agree_or_leave(root: etree._Element, chance: random.Random) -> None:
    """Let the second application give the shared answers of the first again, or leave them out."""
    first, second = root.findall(f"{SUB}Application")
    documents = [shipped().documents[str(one.get("document"))] for one in (first, second)]
    if documents[0].direction != documents[1].direction:
        return
    shared = {ask.means: ask for ask in documents[0].asks if ask.shared}
    for ask in documents[1].asks:
        if not ask.shared or ask.means not in shared:
            continue
        for given in second.findall(f".//{{{documents[1].namespace}}}{ask.tag}"):
            place = given.getparent()
            assert place is not None
            item = place.get("sequence")
            inside = f"{{{documents[0].namespace}}}Item[@sequence='{item}']/" if item else ""
            known = first.find(f"{SUB}Fields/{inside}{{{documents[0].namespace}}}{shared[ask.means].tag}")
            if known is not None and chance.random() < 0.6:
                place.remove(given)
            elif known is not None:
                given.text = known.text
                given.attrib.update(known.attrib)


def divide(root: etree._Element) -> SplitResult | None:
    """Split a submission; None when it is none any more."""
    try:
        return split_submission(root, shipped(), make_placeholder_numbers(root))
    except GatewayError:
        return None


def trials(seed: int, base: etree._Element) -> Iterator[Trial]:
    """Change one leaf of `base` and tell what that did to each document; `base` is changed."""
    chance = random.Random(f"leaf {seed}")
    before = divide(base)
    if before is None or not before.requests:
        return
    leaf = chance.choice(before.submission_index.leaves)
    pointer = _pointer(leaf)
    hows = {name: how(before, leaf, name) for name in before.ledger.documents}
    old = octets(before)
    change = alter(leaf, chance)
    after = divide(base)
    new = octets(after) if after is not None else {}
    for name in before.ledger.documents:
        yield Trial(seed, name, pointer, change, hows[name], _effect(old.get(name), new.get(name)))


def _pointer(leaf: Leaf) -> str:
    place = build_pointer(leaf.element)
    return place if leaf.attribute is None else f"{place}/@{etree.QName(leaf.attribute).localname}"


def octets(found: SplitResult) -> Mapping[str, tuple[bytes, ...]]:
    """Return the requests of each document, as octets."""
    told: dict[str, tuple[bytes, ...]] = {}
    for request in found.requests:
        told[request.document] = (*told.get(request.document, ()), serialize_element(request.xml))
    return told


def _effect(old: tuple[bytes, ...] | None, new: tuple[bytes, ...] | None) -> str:
    if old == new:
        return "same" if old is not None else "none"
    if new is None:
        return "refused"
    return "made" if old is None else "changed"


def how(found: SplitResult, leaf: Leaf, document: str) -> frozenset[str]:
    """Return in which ways a document reads a leaf, by its read set; nothing: it does not."""
    reads = reads_of(document)
    own = {
        number: application
        for number, application in enumerate(found.submission_index.applications)
        if application.get("document") == document
    }
    if leaf.application in own:
        return _of_field(leaf)
    if leaf.application is not None:
        return _of_another(found, leaf, reads)
    concerned = {number for application in own.values() for number in read_item_numbers(application)}
    told = reads.find_read_kinds(leaf.path, in_item=leaf.item is not None)
    if leaf.item is None or leaf.item in concerned:
        return told
    # An item that is not applied for matters only by its number, and by the keys of the supplement.
    by_key = leaf.path.endswith(("/SequenceNumeric", "/@path", "/@item", "/@n"))
    return frozenset({"key"}) if by_key else frozenset()


def _of_another(found: SplitResult, leaf: Leaf, reads: ReadSet) -> frozenset[str]:
    """Return how a document reads a field of another one: only what both share."""
    name = found.submission_index.applications[leaf.application or 0].get("document")
    other = shipped().documents.get(str(name))
    if other is None:
        return frozenset()
    if leaf.attribute == "sequence":
        return find_shared_read_kinds(reads, shipped().documents[reads.document], other, None)
    ask = find_field_by_element(other, leaf.element)
    if ask is None or (leaf.attribute is not None and leaf.attribute != ask.attribute):
        return frozenset()
    return find_shared_read_kinds(reads, shipped().documents[reads.document], other, ask)


def _of_field(leaf: Leaf) -> frozenset[str]:
    """Return how a document reads a leaf of its own fields: all of it is read, to judge it at least."""
    blank = leaf.attribute is None and not leaf.value.strip()
    return frozenset({"guard"}) if blank or leaf.attribute is not None else frozenset({"value"})


def alter(leaf: Leaf, chance: random.Random) -> str:
    """Change a leaf in one of the ways; return which."""
    element, name = leaf.element, leaf.attribute
    parent = element.getparent()
    change = chance.choice(CHANGES if name is None and parent is not None else CHANGES[:4])
    if change == "taken away":
        if name is not None:
            del element.attrib[name]
        elif parent is not None:
            parent.remove(element)
    elif change == "doubled" and parent is not None:
        element.addnext(_copy(element))
    else:
        value = _other(leaf.value, change, chance)
        if name is not None:
            element.set(name, value)
        else:
            for child in list(element):
                element.remove(child)
            element.text = value
    return change


def _copy(element: etree._Element) -> etree._Element:
    twin: etree._Element = etree.fromstring(etree.tostring(element, with_tail=False))
    return twin


def _other(value: str, change: str, chance: random.Random) -> str:
    if change == "empty":
        return "" if value else "x"
    if change == "longer":
        return value + chance.choice(("0", "가", "Z9"))
    kept = value.strip()
    if kept.isdigit():
        return str((int(kept) + 1 + chance.randrange(8)) % 10 ** max(len(kept), 1)).rjust(len(kept), "0")
    return "".join(chance.choice("ABCDEFGHJKLMNPQRSTUVWXYZ") for _ in range(max(2, len(kept) // 2)))
