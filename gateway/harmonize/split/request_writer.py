"""Writes one request as text, which is read once, and keeps the fate of each value in its ledger."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import compress, groupby, islice, pairwise, repeat
from operator import not_
from typing import Final, NamedTuple, cast

from lxml import etree

from gateway.harmonize.language import DocumentMapping, TargetElement
from gateway.harmonize.split.evaluation_scope import EvaluationTrace, Fate, FateColumn, ValueOrigin
from gateway.harmonize.split.submission_fields import read_element_text
from gateway.harmonize.split.submission_index import Leaf, SubmissionIndex, is_item_path
from gateway.wire import SourceMark, iterate_pointers

_IN_TEXT: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#13;"})
_IN_ATTRIBUTE: Final = _IN_TEXT | str.maketrans({'"': "&quot;", "\t": "&#9;", "\n": "&#10;"})
#: Finds a character that may not stand in a text, or in an attribute, as it is.
_find_special: Final = re.compile('[&<>\r"\t\n]').search
_PARSER: Final = etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=True)
#: The number of parts from which they are joined to one, since each string takes 50 octets more than its
#: text, and may take two octets for a character.
_MANY: Final = 1024


@dataclass(frozen=True, slots=True)
class OpenContainer:
    """An element that was begun: how many pieces and origins the request had before it.

    `elements_before` counts the elements that the container around it had before it.
    """

    part_count: int
    origin_count: int
    elements_before: int


@dataclass(slots=True)
class RequestWriter:
    """The writer of one request: its XML in pieces, which are read once at the end, and value origins.

    Many pieces are gathered into one of octets, into which nothing is written any more.
    `element_count` counts the elements of the container that is being written. `keeps_origins` is false where
    only the origins of content ids are kept. They follow those of other requests, from `first` on.
    """

    parts: list[str | bytes] = field(default_factory=list)
    origins: list[ValueOrigin] = field(default_factory=list)
    element_count: int = 0
    keeps_origins: bool = True
    first: int = field(init=False)
    _has_gathered: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self.first = len(self.origins)

    def add_origin(self, origin: ValueOrigin) -> None:
        """Keep the origin of a value."""
        self.origins.append(origin)

    def list_own_origins(self) -> tuple[ValueOrigin, ...]:
        """Return the origins of this request."""
        return tuple(self.origins[self.first :])

    def add_leaf(self, target: TargetElement, text: str) -> int:
        """Write an element that holds a text; return where its start tag ends, for attributes."""
        self.element_count += 1
        # One piece for the start tag, one for the rest: attributes are written between them.
        self.parts += (target.start, f">{_escape_text(text)}{target.end}")
        return len(self.parts) - 1

    def open_container(self, target: TargetElement) -> OpenContainer:
        """Begin an element that holds others; return the state that `close_container` needs."""
        opened = OpenContainer(len(self.parts), len(self.origins), self.element_count)
        if target.attributes:
            self.parts += (target.start, ">")
        else:
            self.parts.append(f"{target.start}>")
        self.element_count = 0
        return opened

    def close_container(
        self, target: TargetElement, opened: OpenContainer, *, keeps_empty: bool = False
    ) -> bool:
        """End an element; leave it out, and return False, where it holds its constant children alone."""
        empty = self.element_count == target.constant_child_count
        self.element_count = opened.elements_before
        if empty and not keeps_empty:
            self._take_back(opened.part_count, opened.origin_count)
            return False
        self.parts.append(target.end)
        self.element_count += 1
        return True

    def _take_back(self, parts_before: int, origins_before: int) -> None:
        """Remove the pieces after the first `parts_before` and the origins after the first `origins_before`.

        Origins with leaves are retained: they are of a value that was refused.
        """
        del self.parts[parts_before:]
        # Only origins without leaves may be removed. Without `keeps_origins` there are none: only those of
        # content ids are kept.
        if self.keeps_origins:
            later = self.origins[origins_before:]
            self.origins[origins_before:] = [origin for origin in later if origin.leaves]

    def add_attribute(self, position: int, name: str, text: str) -> None:
        """Write an attribute in the start tag that ends before the piece `position`."""
        start = self.parts[position - 1]
        assert isinstance(start, str)
        self.parts[position - 1] = f'{start} {name}="{_escape_attribute(text)}"'

    def gather_parts(self, start: int) -> int:
        """Join the parts written since `start` if they are many; return the position of the next part.

        Only between two occurrences of a repetition: nothing can be written into joined parts any more.
        """
        if len(self.parts) - start < _MANY:
            return start
        self.parts[start:] = [_join_parts(self.parts[start:])]
        self._has_gathered = True
        return start + 1

    def finish(self, name: str, namespace: str) -> bytes:
        """Return the request with all its written parts, in UTF-8; nothing is written afterwards."""
        parts = (f'<{name} xmlns="{namespace}">', *self.parts, f"</{name}>")
        self.parts.clear()
        return _join_parts(parts) if self._has_gathered else "".join(cast("tuple[str, ...]", parts)).encode()


def _join_parts(parts: Iterable[str | bytes]) -> bytes:
    """Return texts, and octets that were gathered before, as octets in UTF-8."""
    return b"".join(_encode_alike(group) for _, group in groupby(parts, type))


def _encode_alike(parts: Iterable[str | bytes]) -> bytes:
    """Return parts that are all texts, or all octets."""
    group = list(parts)
    return "".join(group).encode() if isinstance(group[0], str) else b"".join(group)  # type: ignore[arg-type]


def read_request(octets: bytes) -> etree._Element:
    """Return the root of a written request, in a tree of its own."""
    # Every character is one of XML 1.0: it comes from the submission, the mappings or the hub.
    return etree.fromstring(octets, _PARSER)


def _escape_text(text: str) -> str:
    """Return a text as it is written in an element."""
    return text.translate(_IN_TEXT) if _find_special(text) is not None else text


def _escape_attribute(text: str) -> str:
    """Return a text as it is written in an attribute."""
    return text.translate(_IN_ATTRIBUTE) if _find_special(text) is not None else text


_MAX_QUOTED_CHARACTERS: Final = 70


class LedgerEntry(NamedTuple):
    """One leaf with its fate for each document, in the order of the documents."""

    leaf: Leaf
    fates: tuple[Fate | None, ...]


#: Makes an entry of a leaf and its fates, without a Python call for each: there are very many.
_make_entry: Final = partial(tuple.__new__, LedgerEntry)


@dataclass(slots=True)
class FateLedger:
    """The fates of all leaves for all documents of a submission: a column of `columns` for each document."""

    documents: tuple[str, ...]
    submission_index: SubmissionIndex = field(repr=False)
    columns: tuple[FateColumn, ...] = field(repr=False)
    _entries: tuple[LedgerEntry, ...] | None = field(default=None, init=False, repr=False)

    @property
    def entries(self) -> tuple[LedgerEntry, ...]:
        """Return each leaf with its fate for each document; compute the entries at the first use.

        If there are no documents, the fates of each leaf are an empty tuple.
        """
        if self._entries is None:
            leaves = self.submission_index.leaves
            fates_by_document = [column.list_fates() for column in self.columns]
            fates = zip(*fates_by_document, strict=True) if fates_by_document else iter([()] * len(leaves))
            self._entries = tuple(map(_make_entry, zip(leaves, fates, strict=True)))
        return self._entries

    @property
    def unaccounted_leaves(self) -> tuple[Leaf, ...]:
        """Return the leaves that lack a fate for some document."""
        lacking = {n for column in self.columns for n, fate in enumerate(column.cells) if fate is None}
        return tuple(self.submission_index.leaves[number] for number in sorted(lacking))

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
    submission_index: SubmissionIndex,
    documents: Sequence[DocumentMapping],
    traces: Mapping[str, EvaluationTrace],
    unmapped: Sequence[str] = (),
) -> FateLedger:
    """Return the ledger: the fates recorded by the rules; all other leaves are withheld by rule.

    For a document named in `unmapped`, which has no mapping, every leaf is withheld.
    """
    columns = [_build_fate_column(submission_index, document, traces[document.id]) for document in documents]
    nothing = [
        Fate("withheld", SourceMark(f"no mapping for {name[:_MAX_QUOTED_CHARACTERS]}", 0))
        for name in unmapped
    ]
    columns += [FateColumn([fate] * len(submission_index.rows)) for fate in nothing]
    return FateLedger((*(document.id for document in documents), *unmapped), submission_index, tuple(columns))


def _build_fate_column(
    submission_index: SubmissionIndex, document: DocumentMapping, trace: EvaluationTrace
) -> FateColumn:
    """Return the fate of every leaf for `document`: the one recorded in `trace`, else withheld.

    A leaf that had to be forwarded keeps no fate, unless its goods item does not concern the document.
    """
    own_applications = frozenset(
        n
        for n, application in enumerate(submission_index.applications)
        if application.get("document") == document.id
    )
    unlisted_fate = Fate("withheld", document.withholds_mark)
    other_item_fate = Fate("withheld", document.item_repetition_mark or document.withholds_mark)
    column = FateColumn(_list_initial_fates(submission_index, document, own_applications, unlisted_fate))
    for number in trace.borrowed_leaves:
        # A shared answer of another application is accounted for like one of its own.
        column.cells[number] = None
    trace.write_fates(column)
    concerned_items = _collect_concerned_items(submission_index, document)
    recorded = column.cells.copy()
    # A missing fate (None) is false: `compress` finds the leaves without one faster than a loop.
    for number in compress(range(len(recorded)), map(not_, recorded)):
        _, _, _, item, application = submission_index.rows[number]
        if (
            item is not None
            and (application, item) not in concerned_items
            and number not in trace.borrowed_leaves
        ):
            column.cells[number] = other_item_fate
        elif not _needs_forwarding(submission_index, recorded, number):
            column.cells[number] = unlisted_fate
    return column


def _list_initial_fates(
    submission_index: SubmissionIndex,
    document: DocumentMapping,
    own_applications: Collection[int],
    unlisted: Fate,
) -> list[Fate | ValueOrigin | None]:
    """Return None for each source leaf of a document, and for every other the fate `unlisted`.

    Its source leaves are those of the declaration that its lines read, and all answers of its own
    applications, whose positions are `own_applications`.
    """
    # The path of a leaf in the declaration says whether it is of a goods item; in the supplement it does not.
    source_paths = {path: None for path, in_item in document.source_leaves if in_item == is_item_path(path)}
    paths = submission_index.list_declared_paths()
    column: list[Fate | ValueOrigin | None] = list(map(source_paths.get, paths, repeat(unlisted)))
    column += [
        None if (path, item is not None) in document.source_leaves else unlisted
        for _, _, path, item, _ in islice(
            submission_index.rows, len(paths), submission_index.application_starts[0]
        )
    ]
    for number, (start, end) in enumerate(pairwise(submission_index.application_starts)):
        column += [None if number in own_applications else unlisted] * (end - start)
    return column


def _needs_forwarding(
    submission_index: SubmissionIndex, recorded: Sequence[Fate | ValueOrigin | None], number: int
) -> bool:
    """Return whether a leaf must be forwarded: a text that is not blank, or an attribute of such a text.

    `recorded` has the fate of each leaf, by its number. The text of an attribute must itself be forwarded.
    """
    element, attribute, *_ = submission_index.rows[number]
    if attribute is None:
        return bool(read_element_text(element).strip())
    text_leaf_number = submission_index.text_leaf_numbers.get(element)
    text = None if text_leaf_number is None else recorded[text_leaf_number]
    return text is not None and not isinstance(text, Fate)


def _collect_concerned_items(
    submission_index: SubmissionIndex, document: DocumentMapping
) -> frozenset[tuple[int | None, str]]:
    """Return the goods items of the document's applications, each with None and with its application."""
    numbers: set[tuple[int | None, str]] = set()
    for position, application in enumerate(submission_index.applications):
        if application.get("document") == document.id:
            for number in submission_index.list_item_numbers(application):
                if number in submission_index.items:
                    numbers |= {(None, number), (position, number)}
    return frozenset(numbers)
