"""Compares the items that child declarations have taken of their parents with evidence about the child."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, select

from gateway.evidence.rows.row_digests import FIXED_COLUMNS, STORED, digest_rows
from gateway.evidence.rows.row_findings import (
    ComparedTable,
    Leaf,
    RowFindings,
    list_leaves_by_subject,
)
from gateway.store import ReleaseFromParentRow, item_releases

_RELEASES: Final = "item_releases"
COMPARED: Final[tuple[ComparedTable, ...]] = (
    ComparedTable(
        _RELEASES,
        (*FIXED_COLUMNS[_RELEASES], "released_at", "returned_at"),
        "`taken` and `items_returned` of the child",
    ),
)


def compare_item_releases(conn: Connection, ids: Sequence[int], findings: RowFindings) -> None:
    """Compare what cases (row ids) have taken of their parents with evidence; add to `findings`."""
    leaves = list_leaves_by_subject(conn, "case", ids, findings)
    table = item_releases.item_releases
    query = select(table).where(table.c.child_id.in_(ids)).order_by(table.c.id)
    rows: dict[int, list[ReleaseFromParentRow]] = defaultdict(list)
    for row in conn.execute(query):
        rows[row.child_id].append(row)
    for child in ids:
        _compare_child(child, rows[child], leaves.get(str(child), ()), findings)


def _compare_child(
    child: int, rows: Sequence[ReleaseFromParentRow], leaves: Sequence[Leaf], findings: RowFindings
) -> None:
    """Compare the releases to a child: each time that it takes items, it has given back those before."""
    findings.compared[_RELEASES] += len(rows)
    returned_at: datetime | None = None
    rest = list(rows)
    for leaf in reversed(leaves):
        if leaf.kind == "items_returned" and "child" not in leaf.data:
            returned_at = leaf.at
        if leaf.kind != "taken":
            continue
        if STORED not in leaf.data:
            # What an earlier version took: nothing tells its rows apart.
            findings.older[_RELEASES] += len(rest)
            return
        count = _count_rows_of(leaf, rest)
        if count is None:
            detail = f"its rows are not what evidence row {leaf.id} (taken) says"
            findings.add_difference(_RELEASES, f"child {child}", detail)
            return
        for row in rest[-count:]:
            name = f"{row.id} to child {child}"
            findings.compare_value(_RELEASES, name, "released_at", row.released_at, leaf, leaf.at)
            findings.compare_value(_RELEASES, name, "returned_at", row.returned_at, leaf, returned_at)
        del rest[-count:]
        # It gives back what it took before in the transaction in which it takes again.
        returned_at = leaf.at
    if rest:
        findings.add_difference(_RELEASES, f"child {child}", f"there is no evidence of {len(rest)} rows")


def _count_rows_of(leaf: Leaf, rows: Sequence[ReleaseFromParentRow]) -> int | None:
    """Return how many of the last rows a leaf has stored; None if they are not what it says."""
    digest, items = leaf.data[STORED].get(_RELEASES), set(leaf.data["items"])
    for count in range(1, len(rows) + 1):
        last = rows[-count:]
        if {row.item for row in last} == items and digest_rows(_RELEASES, last) == digest:
            return count
    return None
