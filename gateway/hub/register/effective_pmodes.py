"""The P-Modes of agreements as they are in force: as their documents say, with the overrides of this hub."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection

from gateway.agreements import PMode, PModeOverride, apply_overrides, pmode_from_json, read_overrides
from gateway.store import agreements

__all__ = ["list_effective_pmodes", "load_effective_pmodes"]


def list_effective_pmodes(conn: Connection) -> Iterator[PMode]:
    """Yield the P-Modes of every active agreement as they are in force."""
    known: dict[str, tuple[PModeOverride, ...]] = {}
    for row in agreements.list_active_pmodes(conn):
        if row.agreement_id not in known:
            known[row.agreement_id] = read_overrides(row.overrides)
        yield _read_row(row, known[row.agreement_id])


def load_effective_pmodes(conn: Connection, agreement: Any) -> tuple[PMode, ...]:
    """Return the P-Modes of one agreement, a row of the register, as they are in force."""
    overrides = read_overrides(agreement.overrides)
    return tuple(_read_row(row, overrides) for row in agreements.list_agreement_pmodes(conn, agreement.id))


def _read_row(row: Any, overrides: tuple[PModeOverride, ...]) -> PMode:
    found = pmode_from_json(row.parameters)
    return apply_overrides(found, overrides) if overrides else found
