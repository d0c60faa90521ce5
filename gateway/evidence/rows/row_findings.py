"""The findings of a comparison of rows with the evidence, and the leaves that the rows are compared with."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Final

from sqlalchemy import Connection, select

from gateway.errors import EVIDENCE_BROKEN, GatewayError
from gateway.evidence.leaf_encoding import parse_leaf_data
from gateway.evidence.rows.row_digests import STORED, digest_rows
from gateway.store import EvidenceRow
from gateway.store.transitions import evidence

#: More differences are counted and not described.
_MAX_DESCRIBED: Final = 200
_MAX_VALUE_LENGTH: Final = 80
#: The table in which a leaf that cannot be read is a difference.
_EVIDENCE: Final = "evidence"


@dataclass(frozen=True, slots=True)
class ComparedTable:
    """A table whose rows are compared with the evidence: which columns, and with what.

    A changed value of each of `columns` is found. `compared_with` is Markdown for the reference.
    """

    table: str
    columns: tuple[str, ...]
    compared_with: str


@dataclass(frozen=True, slots=True)
class RowDifference:
    """A row that differs from the evidence; `row` is its number, or its key in words."""

    table: str
    row: str
    detail: str


class LeafData(dict[str, Any]):
    """The data of a leaf; a field that it does not have is None, as in leaves of other versions."""

    def __missing__(self, name: str) -> None:
        """Return None for a field that the data does not have."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """A leaf of evidence with its data."""

    id: int
    at: datetime
    kind: str
    digest: str | None
    data: LeafData


@dataclass(frozen=True, slots=True)
class ChosenRows:
    """How many rows of a table were compared, with all that belongs to them, of those that are stored."""

    table: str
    compared: int
    stored: int


@dataclass(slots=True)
class RowFindings:
    """The rows compared so far, by table, and the differences.

    `older` counts the rows whose leaf is of a version that did not state a digest of them: of these only the
    values that the leaf itself has were compared. `broken_leaves` says of the row of each leaf that cannot be
    read why: each is a difference of the table `evidence`.
    """

    compared: Counter[str] = field(default_factory=Counter)
    older: Counter[str] = field(default_factory=Counter)
    differences: list[RowDifference] = field(default_factory=list)
    difference_count: int = 0
    chosen: list[ChosenRows] = field(default_factory=list)
    broken_leaves: dict[int, str] = field(default_factory=dict)

    def add_difference(self, table: str, row: object, detail: str) -> None:
        """Add a difference of the row with this number or key."""
        self.difference_count += 1
        if len(self.differences) < _MAX_DESCRIBED:
            self.differences.append(RowDifference(table, str(row)[:_MAX_VALUE_LENGTH], detail))

    def add_findings(self, part: RowFindings) -> None:
        """Add the findings of another comparison."""
        self.compared += part.compared
        self.older += part.older
        for leaf_id, detail in part.broken_leaves.items():
            self.add_broken_leaf(leaf_id, detail)
        of_rows = [difference for difference in part.differences if difference.table != _EVIDENCE]
        for difference in of_rows:
            self.add_difference(difference.table, difference.row, difference.detail)
        self.difference_count += part.difference_count - len(part.broken_leaves) - len(of_rows)

    def add_broken_leaf(self, leaf_id: int, detail: str) -> None:
        """Add a difference of a leaf that is no evidence any more, once for all rows that it is about."""
        if leaf_id not in self.broken_leaves:
            self.broken_leaves[leaf_id] = detail
            self.add_difference(_EVIDENCE, leaf_id, detail)

    def read_data(self, row: EvidenceRow) -> LeafData | None:
        """Return the data of a leaf; None, with a difference of this leaf, where they cannot be read."""
        try:
            return LeafData(parse_leaf_data(row))
        except GatewayError as broken:
            if broken.problem is not EVIDENCE_BROKEN:
                raise
            self.add_broken_leaf(row.id, broken.detail)
            return None

    def compare_value(
        self, table: str, row: object, column: str, row_value: object, leaf: Leaf, leaf_value: object
    ) -> None:
        """Add a difference unless the value of a column is the one that a leaf states."""
        if row_value != leaf_value:
            source = f"evidence row {leaf.id} ({leaf.kind})"
            detail = f"{column} is {_shorten(row_value)}; {source} says {_shorten(leaf_value)}"
            self.add_difference(table, row, detail)

    def compare_digest(self, name: str, row: object, rows: Sequence[Any], leaf: Leaf) -> None:
        """Add a difference unless rows have the digest of this name (`FIXED_COLUMNS`) that a leaf states.

        A leaf without any digest is of an earlier version: its rows are counted as `older`.
        """
        table = name.partition(".")[0]
        digests = leaf.data[STORED]
        if digests is None:
            self.older[table] += len(rows)
        elif digest_rows(name, rows) != digests.get(name):
            detail = f"its content is not what evidence row {leaf.id} ({leaf.kind}) says"
            self.add_difference(table, row, detail)


def _shorten(value: object) -> str:
    text = value.isoformat() if isinstance(value, date) else repr(value)
    return text if len(text) <= _MAX_VALUE_LENGTH else f"{text[:_MAX_VALUE_LENGTH]}…"


def list_leaves_by_subject(
    conn: Connection, subject_type: str, subject_ids: Iterable[object], findings: RowFindings
) -> Mapping[str, list[Leaf]]:
    """Return the leaves about subjects of one type by their ids, the oldest first.

    A leaf whose data cannot be read is a difference of its own, and not among them.
    """
    subject_texts = [str(each) for each in subject_ids]
    query = select(evidence).where(
        evidence.c.subject_type == subject_type, evidence.c.subject_id.in_(subject_texts)
    )
    leaves: dict[str, list[Leaf]] = defaultdict(list)
    rows: Sequence[EvidenceRow] = conn.execute(query.order_by(evidence.c.id)).all()
    for row in rows:
        data = findings.read_data(row)
        if data is not None:
            leaves[row.subject_id].append(Leaf(row.id, row.at, row.kind, row.digest, data))
    return leaves
