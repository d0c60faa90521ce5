"""What has become of the calls that tell an agency of an application, as the queue knows it.

The input are the deliveries of one request, oldest first. An application that its agency refused for
good is sent anew by an amendment, so that there may be several calls that submit it: the last one counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Row

from gateway.errors import CALL_UNFIT, REFUSED_FOR_GOOD
from gateway.hub.outbox import CANCELLATION
from gateway.store import deliveries

__all__ = [
    "SUBMISSION",
    "end_overtaken_calls",
    "find_preceding_delivery",
    "find_submission",
    "is_refused_for_good",
]

#: The operation that submits an application.
SUBMISSION: Final = "SubmitApplication"


def find_submission(earlier: Sequence[Row[Any]]) -> Row[Any] | None:
    """Return the last delivery that submits the application; None without deliveries."""
    submits = [row for row in earlier if row.parameters.get("operation") == SUBMISSION]
    return submits[-1] if submits else next(iter(earlier), None)


def is_refused_for_good(earlier: Sequence[Row[Any]]) -> bool:
    """Return whether the agency has none: it has refused the application itself, or could not be sent it.

    The problem is GW602, or GW720 where its contract does not take the call.
    """
    sent = find_submission(earlier)
    unheard = (REFUSED_FOR_GOOD.id, CALL_UNFIT.id)
    return sent is not None and sent.state == "FAILED" and sent.problem in unheard


def find_preceding_delivery(earlier: Sequence[Row[Any]]) -> Row[Any] | None:
    """Return the delivery that a supplement or an amendment waits for.

    This is the latest delivery that did not fail, or the application itself when that failed. A
    supplement that its agency refused does not delay the next supplement. An application that never
    arrived does, until an operator has resent it.
    """
    sent = find_submission(earlier)
    if sent is None or sent.state == "FAILED":
        return sent
    return max((row for row in earlier if row.state != "FAILED"), key=lambda row: int(row.id))


def end_overtaken_calls(
    conn: Connection, earlier: Sequence[Row[Any]], at: datetime, actor: str, *, anew: bool
) -> None:
    """Give up the failed calls that an amendment replaces: a requeued one would undo the amendment.

    These are supplements and amendments; with `anew` also the application, and what waits behind it.
    """
    for row in earlier:
        operation = row.parameters.get("operation")
        if operation == CANCELLATION or (operation == SUBMISSION and not anew):
            continue
        if row.state == "FAILED":
            deliveries.give_up_delivery(conn, row.id, at, actor, "amended")
        elif anew and row.state in ("QUEUED", "HELD"):
            deliveries.cancel_delivery(conn, row.id, at, actor, "amended")
