"""Compares the notices of customs with evidence: each has a leaf about its case."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection, select

from gateway.evidence.rows.row_digests import FIXED_COLUMNS
from gateway.evidence.rows.row_findings import ComparedTable, Leaf, RowFindings, list_leaves_by_subject
from gateway.store import CustomsNoticeRow, customs_notices

_NOTICES: Final = "customs_notices"
COMPARED: Final[tuple[ComparedTable, ...]] = (
    ComparedTable(_NOTICES, FIXED_COLUMNS[_NOTICES], "`customs_notice`"),
)


def compare_customs_notices(conn: Connection, ids: Sequence[int], findings: RowFindings) -> None:
    """Compare the notices of customs about cases (row ids) with evidence; add to `findings`."""
    leaves: dict[str, Leaf] = {}
    for about_case in list_leaves_by_subject(conn, "case", ids, findings).values():
        leaves |= {leaf.data["number"]: leaf for leaf in about_case if leaf.kind == "customs_notice"}
    table = customs_notices.customs_notices
    query = select(table).where(table.c.case_id.in_(ids))
    rows: Sequence[CustomsNoticeRow] = conn.execute(query).all()
    for number in leaves.keys() - {row.number for row in rows}:
        detail = f"evidence row {leaves[number].id} (customs_notice) has no row of it"
        findings.add_difference(_NOTICES, number, detail)
    for row in rows:
        findings.compared[_NOTICES] += 1
        leaf = leaves.get(row.number)
        if leaf is None:
            findings.add_difference(_NOTICES, row.number, "there is no evidence of it")
            continue
        before = findings.difference_count
        findings.compare_value(_NOTICES, row.number, "code", row.code, leaf, leaf.data["code"])
        findings.compare_value(
            _NOTICES, row.number, "delivery_id", row.delivery_id, leaf, leaf.data["delivery"]
        )
        if findings.difference_count == before:
            findings.compare_digest(_NOTICES, row.number, [row], leaf)
