"""Puts a table of needs into force: checks its file against what is in force, stores it with its evidence."""

from __future__ import annotations

from gateway.errors import NEED_TABLE_WRONG, GatewayError
from gateway.evidence import record_evidence
from gateway.needs import NeedTable
from gateway.operations.audited_changes import DatabaseChange
from gateway.store import NewNeedTable, need_tables

__all__ = ["load_need_table"]


def load_need_table(change: DatabaseChange, table: NeedTable, content: bytes) -> bool:
    """Store a checked table with its audit and evidence; return whether it was not stored already.

    Raises GW512 where an edition of this name is stored with another content: an edition never
    changes, and a correction is an edition of its own.
    """
    known = need_tables.find_edition(change.conn, table.name, table.edition)
    if known is not None:
        if known.sha256 != table.sha256:
            detail = (
                f"the edition {table.label} was loaded already with another content, at "
                f"{known.loaded_at.isoformat()} by {known.loaded_by}: give the correction another edition"
            )
            raise GatewayError(NEED_TABLE_WRONG, detail, table.label)
        change.leave_unchanged()
        return False
    until = table.valid_until.isoformat() if table.valid_until else None
    new = NewNeedTable(
        table.name,
        table.edition,
        table.valid_from.isoformat(),
        until,
        len(table.rows),
        table.sha256,
        content,
    )
    need_tables.insert_table(change.conn, new, change.at, change.by)
    told = {"valid_from": new.valid_from, "valid_until": until, "rows": new.row_count}
    record_evidence(change.conn, "need_table", "needs", table.label, table.sha256, told, change.at)
    change.record_change(f"table of needs {table.label}", after=told | {"sha256": table.sha256})
    return True
