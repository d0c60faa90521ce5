"""Keeps the mark of the acknowledged evidence of a database, and finds whether the database is held."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Engine, func, select

from gateway.errors import GatewayError
from gateway.store.database_marks import (
    DatabaseHeldError,
    DatabaseMark,
    find_mark_problem,
    find_number_shift,
    get_generation_number,
    identify_database,
    list_generations,
    read_mark_file,
)
from gateway.store.database_state import get_database_state
from gateway.store.engine import confirm_copies, read_transaction
from gateway.store.messages import messages
from gateway.store.transitions import evidence

#: How often a mark is stored anew after another process has written its own one.
_MAX_TRIES: Final = 5


def make_database_mark(conn: Connection) -> DatabaseMark | None:
    """Return the mark of the present state of a database; None if nothing was acknowledged yet."""
    newest = conn.execute(
        select(evidence.c.id, evidence.c.leaf_hash, evidence.c.at).order_by(evidence.c.id.desc()).limit(1)
    ).first()
    if newest is None:
        return None
    generations = list_generations(conn)
    newest_message_id = conn.execute(select(func.max(messages.c.id))).scalar_one() or 0
    return DatabaseMark(
        identify_database(conn) or "",
        get_generation_number(generations),
        newest.id,
        newest.leaf_hash,
        newest_message_id,
        newest_message_id + find_number_shift(generations, newest_message_id),
        newest.at,
    )


def keep_database_mark(engine: Engine) -> None:
    """Store the mark of the database, if the mark is new; raise GW810 while the database is held.

    A thread of its own calls this function every second or two: no message waits for it.
    """
    guard = get_database_state(engine).guard
    if guard is None:
        return
    # Another process of the home may have missed evidence, and named it in the file.
    covered_leaves, file_mark = guard.list_committed_leaves(), guard.read_file()
    with read_transaction(engine) as conn:
        guard.check_database(conn, file_mark)
        mark = make_database_mark(conn)
    if mark is None or not guard.is_new_mark(mark, file_mark):
        return
    # Commits of other processes may not be on all copies yet: then they are not acknowledged either.
    confirm_copies(engine)
    for _ in range(_MAX_TRIES):
        if guard.store_mark(mark, covered_leaves, file_mark):
            return
        file_mark = guard.read_file()
        with read_transaction(engine) as conn:
            guard.check_database(conn, file_mark)


def find_home_mark_problem(engine: Engine, mark_path: Path) -> GatewayError | None:
    """Return the problem that the mark of a home shows for a database; None also where there is no mark.

    The mark is read before the snapshot, as processes go on beside. Raises GW808 for a file that is no mark.
    """
    mark = read_mark_file(mark_path)
    if mark is None:
        return None
    with read_transaction(engine) as conn:
        return find_mark_problem(conn, mark)


def find_database_hold(engine: Engine) -> DatabaseHeldError | None:
    """Return GW810 while the database lacks data that the hub has acknowledged; else None.

    Return None also if the database cannot be read now: the next transaction that stores something checks
    it again.
    """
    guard = get_database_state(engine).guard
    if guard is None or guard.is_current():
        return None
    try:
        with read_transaction(engine) as conn:
            guard.require_current(conn)
    except DatabaseHeldError as held:
        return held
    except GatewayError:
        return None
    return None
