"""Checks whether messages can be accepted, for load balancers, by a real access to the database."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Engine

from gateway.errors import EVIDENCE_BROKEN, NO_ROOM, OUR_MISTAKE, GatewayError
from gateway.store import (
    CopiesMissingError,
    InsufficientStorageError,
    check_schema_version,
    confirm_copies,
    find_copy_watch,
    find_standby_problem,
    get_disk_reserve,
    read_transaction,
    register_version,
    write_transaction,
)

__all__ = ["can_read_database", "describe_unreadiness", "find_readiness_problem"]

#: A hub is ready when a commit of its own of the last so many seconds is on all wanted copies.
_CONFIRMED_WITHIN: Final = 2.0


def find_readiness_problem(engine: Engine) -> GatewayError | None:
    """Return why no message can be accepted now, None when one can."""
    try:
        check_schema_version(engine)
        with read_transaction(engine) as conn:
            register_version.get_register_version(conn)
            standby = find_standby_problem(conn)
        return standby or _find_storage_problem(engine) or _find_copy_problem(engine)
    except GatewayError as problem:
        return problem
    except Exception as mistake:
        return GatewayError(OUR_MISTAKE, type(mistake).__name__)


def can_read_database(engine: Engine) -> bool:
    """Return whether a query is answered now."""
    try:
        with read_transaction(engine) as conn:
            register_version.get_register_version(conn)
    except Exception:
        return False
    return True


def describe_unreadiness(engine: Engine, problem: GatewayError) -> str:
    """Return a problem of readiness with what is so; the detail may name addresses, and anybody may ask."""
    words = problem.problem.title
    if isinstance(problem, CopiesMissingError):
        words = problem.words
    elif problem.problem is EVIDENCE_BROKEN:
        words = "the file of the database is damaged"
    elif problem.problem is NO_ROOM:
        words = "the database has no space for new messages, or accepts no writes"
        if not can_read_database(engine):
            words = "the database cannot be reached"
    return f"{problem.problem.id} {words}"


def _find_storage_problem(engine: Engine) -> GatewayError | None:
    """Return GW806 while disk space is short or the database refuses writes; after a refusal it is tried."""
    room = get_disk_reserve(engine)
    if room.lacking:
        with write_transaction(engine) as conn:
            register_version.probe_commit(conn)
    if room.lacking:
        return room.find_shortage() or InsufficientStorageError("the database has just refused a write")
    return room.find_shortage()


def _find_copy_problem(engine: Engine) -> GatewayError | None:
    """Return GW806 while commits are not on all wanted copies; a commit is tried when none is recent."""
    watch = find_copy_watch(engine)
    if watch is None:
        return None
    if watch.problem is not None or watch.measure_age() > _CONFIRMED_WITHIN:
        # One at a time: a commit that waits for a standby would hold the thread of each question.
        if not watch.asking.acquire(blocking=False):
            return CopiesMissingError("the database does not confirm its copies", "a commit is waiting")
        try:
            confirm_copies(engine)
        finally:
            watch.asking.release()
    return watch.problem
