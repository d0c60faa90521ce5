"""How agents end a lease: inside the transaction that stores what the delivery came to."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from sqlalchemy import Connection

from gateway.errors import GatewayError
from gateway.store import claims
from gateway.store.claims import Lease, Outcome

__all__ = ["LeaseLostError", "finisher", "outcome_of"]


class LeaseLostError(Exception):
    """Another worker has taken the delivery over: what was done here is undone."""


def finisher(
    lease: Lease, clock: Callable[[], datetime], outcome: Outcome | None = None
) -> Callable[[Connection], None]:
    """Return what marks the delivery delivered, and undoes everything when the lease is lost."""

    def finish(conn: Connection) -> None:
        if not claims.delivered(conn, lease, clock(), outcome or Outcome()):
            raise LeaseLostError

    return finish


def outcome_of(problem: GatewayError) -> Outcome:
    """Return a problem as the outcome of an attempt.

    Words of the far side may stand in it; nothing of theirs moves an operator's cursor.
    """
    words = "".join(char if char.isprintable() else " " for char in str(problem)[:500])
    return Outcome(problem=problem.problem.id, detail=words)
