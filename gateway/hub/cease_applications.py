"""Ends one application for its declarant: its agency is asked to cancel it, if it has heard of it.

The functions run in the transaction of a withdrawal, of an amendment that removes all items of the
application, or of the task that asks after a withdrawal. The agency's answer comes in by `gateway.hub.reply`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Row

from gateway.cases import ChangeReason
from gateway.errors import TRANSITION_REFUSED, GatewayError
from gateway.hub.fees import end_fees_of_cancelled
from gateway.hub.forward import ComposedCall, enqueue_cancellation_call
from gateway.hub.sent_applications import find_submission, is_refused_for_good
from gateway.store import StateEvent, agency_requests, correlations, deliveries

__all__ = ["cancel_request", "queue_question"]

_ACTOR: Final = "admit"
_WAITING: Final = ("QUEUED", "HELD")


def cancel_request(
    conn: Connection,
    about: tuple[int, Row[Any]],
    calls: Mapping[int, ComposedCall],
    cause: tuple[int, ChangeReason],
    now: datetime,
) -> bool:
    """Cancel a request that its agency knows nothing of, or ask the agency; return whether it is asked.

    `about` is the case id and the request, `calls` has the question by the row id of the request, `cause`
    is the message that wants it and its reason.
    """
    case, request = about
    message, reason = cause
    earlier = deliveries.list_by_request(conn, case, request.id)
    if _end_untold_deliveries(conn, earlier, now):
        event = StateEvent("cancel", now, _ACTOR, reason.code)
        agency_requests.apply_event(conn, request.id, event, cancellation="UNTOLD")
        end_fees_of_cancelled(conn, request.id, now)
        return False
    event = StateEvent("ask_cancel", now, _ACTOR, reason.code)
    agency_requests.apply_event(conn, request.id, event, cancellation="ASKED")
    queue_question(conn, request, calls[request.id], (str(message), earlier), now)
    return True


def queue_question(
    conn: Connection,
    request: Row[Any],
    call: ComposedCall,
    place: tuple[str, Sequence[Row[Any]]],
    now: datetime,
) -> None:
    """Queue the question whether an agency cancels a request.

    `place` is what it is asked for, and the earlier deliveries to the agency.
    """
    cause, earlier = place
    correlations.insert_correlation(conn, "wsa", call.call.message_id, request.case_id, request.id)
    key = f"cancel:{request.number}:{cause}"
    enqueue_cancellation_call(conn, call, (request.case_id, request.id), (key, earlier), now)


def _end_untold_deliveries(conn: Connection, earlier: list[Row[Any]], now: datetime) -> bool:
    """End the deliveries of an application that its agency does not have; return whether that is so.

    It does not have what was never tried, and what it has refused for good.
    """
    first = find_submission(earlier)
    if first is None:
        return False
    if is_refused_for_good(earlier):
        deliveries.give_up_delivery(conn, first.id, now, _ACTOR, "withdrawn")
    elif first.state not in _WAITING or first.attempt or not _cancel_delivery(conn, first.id, now):
        return False
    for row in earlier:
        if row.id == first.id:
            continue
        if row.state in _WAITING:
            deliveries.cancel_delivery(conn, row.id, now, _ACTOR, "withdrawn")
        elif row.state == "FAILED":
            deliveries.give_up_delivery(conn, row.id, now, _ACTOR, "withdrawn")
    return True


def _cancel_delivery(conn: Connection, delivery: int, now: datetime) -> bool:
    """Cancel a delivery that waits; return False when a worker has claimed it in the meantime."""
    try:
        deliveries.cancel_delivery(conn, delivery, now, _ACTOR, "withdrawn")
    except GatewayError as error:
        if error.problem is not TRANSITION_REFUSED:
            raise
        return False
    return True
