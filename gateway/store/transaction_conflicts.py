"""Recognises a transaction that the database ended in favour of another, and runs it again.

Of two transactions that wait for each other PostgreSQL ends one. Nothing of it was stored, and the
other continues, so it can be run again at once. That is no sign of a full disk or a lost server.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any, Final, ParamSpec, TypeVar

from gateway.store.disk_reserve import InsufficientStorageError

__all__ = ["TransactionConflictError", "find_conflict", "rerun_after_conflict"]

_log = logging.getLogger(__name__)
_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")

#: SQLSTATE of serialization_failure and deadlock_detected.
_CONFLICTS: Final = frozenset({"40001", "40P01"})
#: SQLSTATE of a plan that was made before the schema changed, whose rows would have other types now, with the
#: beginning of its words; and of a prepared statement that the server has forgotten.
_OUTDATED: Final = {"0A000": "cached plan", "26000": ""}
#: So often a transaction is run before its conflict is raised.
_TRIES: Final = 4


class TransactionConflictError(InsufficientStorageError):
    """GW806 of a transaction that gave way to another: the database has space, and a retry may succeed."""


def find_conflict(told: Any) -> TransactionConflictError | None:
    """Return and log the conflict that a driver's error tells of; None for any other error.

    So is the first use of a plan from before a change of the schema: the next one has a new plan.
    """
    state, reason = getattr(told, "sqlstate", None), str(told).partition("\n")[0]
    if state not in _CONFLICTS and not (state in _OUTDATED and reason.startswith(_OUTDATED[state])):
        return None
    problem = TransactionConflictError(f"the transaction gave way to another: {reason[:120]}")
    _log.warning("%s", problem)
    return problem


def rerun_after_conflict(act: Callable[_Parameters, _Result]) -> Callable[_Parameters, _Result]:
    """Return `act`, run again when its transaction gave way to another, at most four times in all.

    `act` must do nothing outside of its transaction.
    """

    @wraps(act)
    def run(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> _Result:
        for _ in range(_TRIES - 1):
            try:
                return act(*args, **kwargs)
            except TransactionConflictError:
                continue
        return act(*args, **kwargs)

    return run
