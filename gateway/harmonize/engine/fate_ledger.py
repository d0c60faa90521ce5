"""The fate ledger: the fate of every leaf of a submission for every document in it.

A fate is ``forwarded`` (the value reached the request), ``consumed`` (read as guard, key or
count only) or ``withheld`` (a rule keeps it out of the request).  A leaf that a document's
rules claim and that has no fate is unaccounted: the mapping or the engine is wrong.
Customs receives the whole declaration; this is not a fate.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from lxml import etree

from gateway.harmonize.language import DocumentMapping
from gateway.harmonize.submission import EvaluationTrace, Fate, Leaf, SubmissionIndex
from gateway.harmonize.types import SourceMark
from gateway.wire import iterate_pointers

__all__ = ["FateLedger", "LedgerEntry", "build_fate_ledger"]

_SHOWN: Final = 70


class LedgerEntry(NamedTuple):
    """One leaf with its fate for each document, in the order of the documents."""

    leaf: Leaf
    fates: tuple[Fate | None, ...]


@dataclass(frozen=True, slots=True)
class FateLedger:
    """The fates of all leaves for all documents of a submission."""

    documents: tuple[str, ...]
    entries: tuple[LedgerEntry, ...]

    @property
    def unaccounted_leaves(self) -> tuple[Leaf, ...]:
        """Return the leaves that lack a fate for some document."""
        return tuple(entry.leaf for entry in self.entries if None in entry.fates)

    def count_fates(self) -> dict[str, int]:
        """Return how many pairs of leaf and document have each fate, and how many leaves have none."""
        totals = {"forwarded": 0, "withheld": 0, "consumed": 0}
        for entry in self.entries:
            for fate in entry.fates:
                if fate is not None:
                    totals[fate.fate] += 1
        return {**totals, "unaccounted": len(self.unaccounted_leaves)}

    def list_entry_pointers(self, root: etree._Element) -> Iterator[tuple[LedgerEntry, str]]:
        """Yield every entry with the pointer of its leaf, in one pass over the submission."""
        names = dict(iterate_pointers(root))
        for entry in self.entries:
            pointer = names.get(entry.leaf.element, "")
            if entry.leaf.attribute is not None:
                pointer += "/@" + etree.QName(entry.leaf.attribute).localname
            yield entry, pointer


def build_fate_ledger(
    facts: SubmissionIndex,
    documents: Sequence[DocumentMapping],
    traces: Mapping[str, EvaluationTrace],
    unmapped: Sequence[str] = (),
) -> FateLedger:
    """Return the ledger: the fates recorded by the rules; all other leaves are withheld by rule.

    For a document named in `unmapped`, which has no mapping, every leaf is withheld.
    """
    columns: list[list[Fate | None]] = [
        _build_fate_column(facts, document, traces[document.id]) for document in documents
    ]
    nothing = [Fate("withheld", SourceMark(f"no mapping for {name[:_SHOWN]}", 0)) for name in unmapped]
    columns += [[fate] * len(facts.leaves) for fate in nothing]
    # Without a document, each leaf still has an entry, with no fates.
    rows = zip(*columns, strict=True) if columns else iter([()] * len(facts.leaves))
    entries = tuple(map(LedgerEntry, facts.leaves, rows))
    return FateLedger((*(document.id for document in documents), *unmapped), entries)


def _build_fate_column(
    facts: SubmissionIndex, document: DocumentMapping, trace: EvaluationTrace
) -> list[Fate | None]:
    claimed = document.claims
    concerned = _collect_concerned_items(facts, document)
    own = {number for number, a in enumerate(facts.applications) if a.get("document") == document.id}
    unlisted = Fate("withheld", document.withholds)
    elsewhere = Fate("withheld", document.items_rule or document.withholds)
    column = list(map(trace.fates.get, range(len(facts.leaves))))
    for number, more in trace.further.items():
        first = trace.fates[number]
        column[number] = Fate(first.fate, first.rule, (*first.targets, *more))
    for number, (leaf, fate) in enumerate(zip(facts.leaves, column, strict=True)):
        if fate is not None:
            continue
        _, _, path, item, application = leaf
        if number in trace.borrowed:
            # A shared answer of another application is accounted for like one of its own.
            fate = None if _needs_forwarding(facts, trace, leaf) else unlisted
        elif (path, item is not None) not in claimed and application not in own:
            fate = unlisted
        elif item is not None and (application, item) not in concerned:
            fate = elsewhere
        elif not _needs_forwarding(facts, trace, leaf):
            fate = unlisted
        column[number] = fate
    return column


def _needs_forwarding(facts: SubmissionIndex, trace: EvaluationTrace, leaf: Leaf) -> bool:
    """Return whether a leaf must have reached the request; a blank value and its unit need not."""
    if leaf.attribute is None:
        return bool(leaf.value.strip())
    text = trace.fates.get(facts.texts.get(leaf.element, -1))
    return text is not None and text.fate == "forwarded"


def _collect_concerned_items(
    facts: SubmissionIndex, document: DocumentMapping
) -> frozenset[tuple[int | None, str]]:
    """Return the goods items of the document's applications, each with None and with its application."""
    numbers: set[tuple[int | None, str]] = set()
    for position, application in enumerate(facts.applications):
        if application.get("document") == document.id:
            for number in facts.list_item_numbers(application):
                if number in facts.items:
                    numbers |= {(None, number), (position, number)}
    return frozenset(numbers)
