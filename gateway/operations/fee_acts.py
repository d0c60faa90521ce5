"""Acts of operators on fees, in the transaction of their row of audit."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Row

from gateway.hub import settle_fee_elsewhere, waive_fee
from gateway.operations.audited_changes import DatabaseChange
from gateway.store import fees

__all__ = ["end_fee"]

_SHOWN: Final = ("state", "amount", "currency")


def end_fee(change: DatabaseChange, act: str, number: str) -> Row[Any] | None:
    """Waive a fee, or settle it as paid elsewhere; return the fee after it.

    None without such a fee. Raises GW705 for one that is not due.
    """
    before = fees.find_by_number(change.conn, number)
    if before is None:
        return None
    end = {"waive": waive_fee, "settle": settle_fee_elsewhere}[act]
    end(change.conn, before.id, change.at, change.by, change.act.reason or "")
    after = fees.find_by_id(change.conn, before.id)
    assert after is not None
    told, now = ({name: getattr(row, name) for name in _SHOWN} for row in (before, after))
    change.record_change(f"fee {number}", before=told, after=now)
    return after
