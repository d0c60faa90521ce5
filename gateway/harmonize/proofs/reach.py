"""Which leaves of a submission a document may look at, told from its read set alone.

The read set comes from the mapping, not from what happened to a submission: that is what the
isolation trials are judged by.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

from lxml import etree

from gateway.harmonize.given.facts import DEC, Facts, Leaf, text_of
from gateway.harmonize.language.documents import Document
from gateway.harmonize.language.readset import ReadSet, read_set
from gateway.harmonize.language.targets import leaf_of
from gateway.harmonize.proofs.layout import Line
from gateway.harmonize.terms.asks import Ask, tag_of
from gateway.harmonize.terms.dictionary import Dictionary, Meaning

__all__ = ["INSIDE", "OPEN", "OUTSIDE", "Reach", "carrier", "value_reads"]

INSIDE: Final = "inside"
OUTSIDE: Final = "outside"
OPEN: Final = "open"

_SHOWN: Final = frozenset({"value", "attribute"})


def value_reads(line: Line) -> list[Ask | Meaning]:
    """Return the fields and meanings whose values the line's place is made of."""
    content = line.content if line.content is not None else line.target.content
    if content is None:
        return []
    return list({(type(source), source.name): source for source in content.forwards()}.values())


def carrier(line: Line) -> Ask | Meaning | None:
    """Return the field or meaning whose unit, currency or content id an attribute without content carries."""
    content = line.target.content
    return None if content is None or line.content is not None else content.source.carries()


@dataclass(slots=True)
class Reach:
    """Which leaves of a submission a document's request may depend on."""

    document: Document
    reads: ReadSet
    meanings: dict[tuple[str, bool], list[Meaning]] = field(default_factory=dict)
    asks: dict[str, Ask] = field(default_factory=dict)
    listed: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, document: Document, dictionary: Dictionary) -> Reach:
        """Return what a document may look at."""
        reach = cls(document, read_set(document, dictionary))
        for ask in document.ask_names.values():
            reach.asks[".".join(tag_of(part) for part in ask.name.split("."))] = ask
        for read in reach.reads.reads.values():
            if isinstance(read.source, Meaning):
                reach.listed.add(read.source.path)
                if read.hows - {"count"}:
                    reach.meanings.setdefault(leaf_of(read.source), []).append(read.source)
        return reach

    def judge(self, facts: Facts, leaf: Leaf, numbers: Collection[str], own: int) -> str:
        """Return how a change of `leaf`'s value may show in the request of application number `own`.

        ``inside``: its value or attribute is put; ``outside``: it may make no difference
        whatever, though it may have to be there; ``open``: it is read as a guard or a key.
        """
        if leaf.application is not None:
            return self._judge_answer(facts, leaf) if leaf.application == own else OUTSIDE
        hows = self.reads.how(leaf.path, in_item=leaf.item is not None)
        if "key" in hows:
            return OPEN
        if (leaf.item is not None and leaf.item not in numbers) or not hows - {"count"}:
            return OUTSIDE
        known = self.meanings.get((leaf.path.partition("/@")[0], leaf.item is not None), [])
        chosen = [_chosen(meaning, leaf) for meaning in known]
        if known and not any(chosen) and None not in chosen:
            return OUTSIDE
        return INSIDE if True in chosen and hows & _SHOWN else OPEN

    def field(self, leaf: Leaf) -> Ask | Meaning | None:
        """Return the field or meaning that a leaf is a value, or an attribute, of."""
        if leaf.application is not None:
            return self.asks.get(_dotted(leaf.element))
        known = self.meanings.get((leaf.path.partition("/@")[0], leaf.item is not None), [])
        return next((meaning for meaning in known if _chosen(meaning, leaf)), None)

    def _judge_answer(self, facts: Facts, leaf: Leaf) -> str:
        ask = self.asks.get(_dotted(leaf.element))
        if ask is None or facts.applications[leaf.application or 0].get("document") != self.document.id:
            return OPEN
        return INSIDE if leaf.attribute in (None, ask.attribute) else OPEN


def _chosen(meaning: Meaning, leaf: Leaf) -> bool | None:
    """Return whether a leaf at the meaning's path is one of its values, None where its place decides that."""
    if meaning.first:
        return None
    if meaning.where is None:
        return True
    parent = leaf.element.getparent()
    sibling = None if parent is None else parent.find(f"{{{DEC}}}{meaning.where.element}")
    return meaning.where.rank(None if sibling is None else text_of(sibling)) is not None


def _dotted(element: etree._Element) -> str:
    """Return the dotted name of an asked field's element."""
    names: list[str] = []
    current: etree._Element | None = element
    while current is not None and etree.QName(current).localname != "Fields":
        names.append(etree.QName(current).localname)
        current = current.getparent()
    if names and names[-1] == "Item":
        names.pop()
    return ".".join(reversed(names))
