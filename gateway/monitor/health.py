"""Checks whether messages can be accepted, for load balancers, by a real access to the database."""

from __future__ import annotations

from sqlalchemy import Engine

from gateway.errors import EVIDENCE_BROKEN, NO_ROOM, OUR_MISTAKE, GatewayError
from gateway.store import (
    InsufficientStorageError,
    check_schema_version,
    get_disk_reserve,
    read_transaction,
    register_version,
    write_transaction,
)

__all__ = ["can_read_database", "describe_unreadiness", "find_readiness_problem"]


def find_readiness_problem(engine: Engine) -> GatewayError | None:
    """Return why no message can be accepted now, None when one can."""
    try:
        check_schema_version(engine)
        with read_transaction(engine) as conn:
            register_version.get_register_version(conn)
        return _find_storage_problem(engine)
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
    if problem.problem is EVIDENCE_BROKEN:
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
