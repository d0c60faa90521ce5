"""The fate ledger: the fate of every leaf of a submission for every document in it.

A fate is ``forwarded`` (the value reached the request), ``consumed`` (read as guard, key or
count only) or ``withheld`` (a rule keeps it out of the request).  A leaf that a document's
rules claim and that has no fate is unaccounted: the mapping or the engine is wrong.
Customs receives the whole declaration; this is not a fate.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import compress, islice, pairwise, repeat
from operator import not_
from typing import Final, NamedTuple

from lxml import etree

from gateway.harmonize.language import DocumentMapping
from gateway.harmonize.submission import (
    EvaluationTrace,
    Fate,
    FateColumn,
    Leaf,
    OriginRow,
    SubmissionIndex,
    is_item_path,
    read_element_text,
)
from gateway.harmonize.types import SourceMark
from gateway.wire import iterate_pointers

__all__ = ["FateLedger", "LedgerEntry", "build_fate_ledger"]

_SHOWN: Final = 70


class LedgerEntry(NamedTuple):
    """One leaf with its fate for each document, in the order of the documents."""

    leaf: Leaf
    fates: tuple[Fate | None, ...]


#: Makes an entry of its leaf and its fates, without a call of Python for each of very many.
_make_entry: Final = partial(tuple.__new__, LedgerEntry)


@dataclass(slots=True)
class FateLedger:
    """The fates of all leaves for all documents of a submission: a column of `columns` for each document."""

    documents: tuple[str, ...]
    facts: SubmissionIndex = field(repr=False)
    columns: tuple[FateColumn, ...] = field(repr=False)
    _entries: tuple[LedgerEntry, ...] | None = field(default=None, init=False, repr=False)

    @property
    def entries(self) -> tuple[LedgerEntry, ...]:
        """Return each leaf with its fates, put together at the first use; without a document with none."""
        if self._entries is None:
            leaves = self.facts.leaves
            told = [column.list_fates() for column in self.columns]
            fates = zip(*told, strict=True) if told else iter([()] * len(leaves))
            self._entries = tuple(map(_make_entry, zip(leaves, fates, strict=True)))
        return self._entries

    @property
    def unaccounted_leaves(self) -> tuple[Leaf, ...]:
        """Return the leaves that lack a fate for some document."""
        lacking = {n for column in self.columns for n, fate in enumerate(column.cells) if fate is None}
        return tuple(self.facts.leaves[number] for number in sorted(lacking))

    def count_fates(self) -> dict[str, int]:
        """Return how many pairs of leaf and document have each fate, and how many leaves have none."""
        totals = {"forwarded": 0, "withheld": 0, "consumed": 0}
        for column in self.columns:
            for cell in column.cells:
                if cell is not None:
                    totals[cell.fate if isinstance(cell, Fate) else "forwarded"] += 1
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
    columns = [_build_fate_column(facts, document, traces[document.id]) for document in documents]
    nothing = [Fate("withheld", SourceMark(f"no mapping for {name[:_SHOWN]}", 0)) for name in unmapped]
    columns += [FateColumn([fate] * len(facts.rows)) for fate in nothing]
    return FateLedger((*(document.id for document in documents), *unmapped), facts, tuple(columns))


def _build_fate_column(
    facts: SubmissionIndex, document: DocumentMapping, trace: EvaluationTrace
) -> FateColumn:
    own = frozenset(n for n, one in enumerate(facts.applications) if one.get("document") == document.id)
    unlisted = Fate("withheld", document.withholds)
    elsewhere = Fate("withheld", document.items_rule or document.withholds)
    column = FateColumn(_list_claimed_leaves(facts, document, (own, unlisted)))
    for number in trace.borrowed:
        # A shared answer of another application is accounted for like one of its own.
        column.cells[number] = None
    trace.write_fates(column)
    concerned = _collect_concerned_items(facts, document)
    recorded = column.cells.copy()
    # No fate is false: the leaves that have none are found without a step of Python for each leaf.
    for number in compress(range(len(recorded)), map(not_, recorded)):
        _, _, _, item, application = facts.rows[number]
        if item is not None and (application, item) not in concerned and number not in trace.borrowed:
            column.cells[number] = elsewhere
        elif not _needs_forwarding(facts, recorded, number):
            column.cells[number] = unlisted
    return column


def _list_claimed_leaves(
    facts: SubmissionIndex, document: DocumentMapping, context: tuple[Collection[int], Fate]
) -> list[Fate | OriginRow | None]:
    """Return None for each leaf that a document claims, and for every other the fate of `context`.

    It claims what its lines read of the declaration, and all answers of its own applications, whose
    positions `context` has.
    """
    own, unlisted = context
    # The path of a leaf in the declaration says whether it is of a goods item; in the supplement it does not.
    claimed = {path: None for path, in_item in document.claims if in_item == is_item_path(path)}
    paths = facts.list_declared_paths()
    column: list[Fate | OriginRow | None] = list(map(claimed.get, paths, repeat(unlisted)))
    column += [
        None if (path, item is not None) in document.claims else unlisted
        for _, _, path, item, _ in islice(facts.rows, len(paths), facts.starts[0])
    ]
    for number, (start, end) in enumerate(pairwise(facts.starts)):
        column += [None if number in own else unlisted] * (end - start)
    return column


def _needs_forwarding(
    facts: SubmissionIndex, recorded: Sequence[Fate | OriginRow | None], number: int
) -> bool:
    """Return whether a leaf must have reached the request; a blank value and its unit need not."""
    element, attribute, *_ = facts.rows[number]
    if attribute is None:
        return bool(read_element_text(element).strip())
    held = facts.texts.get(element)
    text = None if held is None else recorded[held]
    return text is not None and not isinstance(text, Fate)


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
