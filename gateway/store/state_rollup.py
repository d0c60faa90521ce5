"""Reads the roll-up of rows by state, which triggers keep in the transaction of each change.

So a question costs the same however long the history is, and its answer is that of a count of all rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Connection, Engine, bindparam, func, select, text, union_all

from gateway.store.engine import read_transaction, write_transaction
from gateway.store.state_tables import state_changes, state_totals

__all__ = ["fold_state_changes", "sum_states"]

_ROWS: Final = union_all(
    *(select(one.c.measure, one.c.label, one.c.state, one.c.number) for one in (state_totals, state_changes))
).subquery()
#: One statement, so that a fold between two would not be counted twice.
_COUNTED: Final = (
    select(_ROWS.c.measure, _ROWS.c.label, _ROWS.c.state, func.sum(_ROWS.c.number).label("number"))
    .group_by(_ROWS.c.measure, _ROWS.c.label, _ROWS.c.state)
    .having(func.sum(_ROWS.c.number) != 0)
)
#: Rows that one fold moves at most, so that none holds them long.
_FOLDED: Final = 20_000
#: Locks the rows that are moved: a second fold at the same time takes others, and none is counted twice.
_FOLD: Final = text(
    "WITH chosen AS (SELECT id FROM state_changes ORDER BY id LIMIT CAST(:most AS bigint) "
    "FOR UPDATE SKIP LOCKED), "
    "moved AS (DELETE FROM state_changes WHERE id IN (SELECT id FROM chosen) RETURNING *), "
    "summed AS (SELECT measure, label, state, SUM(number) AS number FROM moved "
    "GROUP BY measure, label, state ORDER BY measure, label, state), "
    "added AS (INSERT INTO state_totals (measure, label, state, number) "
    "SELECT measure, label, state, number FROM summed WHERE number <> 0 "
    "ON CONFLICT (measure, label, state) DO UPDATE SET number = state_totals.number + excluded.number) "
    "SELECT COUNT(*) FROM moved"
).bindparams(bindparam("most"))


def sum_states(conn: Connection) -> Sequence[Any]:
    """Return measure, label, state and number of all rows that there are."""
    return conn.execute(_COUNTED).all()


def fold_state_changes(engine: Engine) -> int:
    """Move what transactions have added into the totals; return how many rows were moved.

    On SQLite each transaction adds to the totals itself.
    """
    if engine.dialect.name == "sqlite":
        return 0
    with read_transaction(engine) as conn:
        if conn.execute(select(state_changes.c.id).limit(1)).first() is None:
            return 0
    with write_transaction(engine, "states.fold") as conn:
        return int(conn.execute(_FOLD, {"most": _FOLDED}).scalar_one())
