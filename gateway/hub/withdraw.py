"""Step 8, withdraw: every agency is asked to cancel its application, and the case ends when they have.

The input is a split withdrawal of the declarant, inside `gateway.hub.admit`. The calls are composed
before the transaction. When the transaction has committed, the case is open again, an application
that no agency has been told of is cancelled, and for every other one CancelApplication is queued
behind what went to that agency before. The agencies' answers come in by `gateway.hub.reply`. The
last one ends the withdrawal (`gateway.hub.case_progress`): the case is WITHDRAWN when no approval
stands; otherwise it goes on with what stands.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row

from gateway.cases import ChangeReason, read_change_reason
from gateway.errors import TRANSITION_REFUSED, GatewayError
from gateway.evidence import record_evidence
from gateway.hub.case_progress import move_case
from gateway.hub.fees import end_fees_of_cancelled
from gateway.hub.forward import (
    ComposedCall,
    compose_cancellation_call,
    enqueue_cancellation_call,
)
from gateway.hub.held_cases import cancel_hold
from gateway.hub.hub import Hub
from gateway.hub.open_cases import (
    check_not_cleared,
    check_withdrawable,
    find_named_case,
    list_cancellable_requests,
)
from gateway.hub.partial_release import check_nothing_released
from gateway.hub.sent_applications import find_submission, is_refused_for_good
from gateway.hub.split import ProcessedSubmission, StoredSubmission
from gateway.store import (
    StateEvent,
    agency_requests,
    cases,
    correlations,
    deliveries,
    messages,
    read_transaction,
)

__all__ = ["compose_cancellations", "withdraw_case"]

_ACTOR = "admit"
_WAITING = ("QUEUED", "HELD")


def compose_cancellations(hub: Hub, intake: ProcessedSubmission) -> dict[int, ComposedCall]:
    """Compose the question to every agency that may have to cancel, by the row id of its request."""
    reason = read_change_reason(intake.submission.declaration)
    with read_transaction(hub.engine) as conn:
        asked = agency_requests.list_by_case(
            conn, find_named_case(conn, intake.declarant, intake.submission.reference).id
        )
    return {row.id: compose_cancellation_call(hub, row, reason) for row in asked if row.state != "CANCELLED"}


def withdraw_case(
    conn: Connection,
    arrived: StoredSubmission,
    intake: ProcessedSubmission,
    calls: Mapping[int, ComposedCall],
    now: datetime,
) -> bool:
    """Ask the agencies of a case to cancel, or withdraw it at once where none has to be asked.

    Returns False, and changes nothing, when the case has got requests since the calls were composed: it
    was held then. Raises GW407 when the case cannot be withdrawn any more, GW714 when customs has cleared
    it.
    """
    reason = read_change_reason(intake.submission.declaration)
    case = cases.lock_case(conn, find_named_case(conn, intake.declarant, intake.submission.reference).id)
    asked = agency_requests.list_by_case(conn, case.id)
    check_withdrawable(case, asked)
    check_not_cleared(conn, case)
    check_nothing_released(conn, case)
    if not {row.id for row in asked if row.state != "CANCELLED"} <= calls.keys():
        return False
    messages.set_message_case(conn, arrived.row.id, case.id)
    cancel_hold(conn, case.id, now)
    kept = {name: value for name, value in (case.detail or {}).items() if name != "held"}
    detail = {**kept, "withdrawal": asdict(reason), "turn": arrived.row.id}
    event = StateEvent("withdraw", now, _ACTOR, reason.code)
    cases.apply_event(conn, case.id, event, outcome=None, detail=detail)
    told = {
        row.number: _cancel_request(conn, (case.id, row), calls, (arrived.row.id, reason), now)
        for row in list_cancellable_requests(conn, case.id, asked)
    }
    data = {"number": case.number, "signer": intake.signing.party, "reason": reason.sentence,
            "asked": [number for number, is_asked in told.items() if is_asked],
            "untold": [number for number, is_asked in told.items() if not is_asked],
            "admitted": intake.signing.way}  # fmt: skip
    record_evidence(conn, "withdrawal", "case", case.id, arrived.row.identity_sha256, data, now)
    if not any(told.values()):
        move_case(conn, intake.units, cases.lock_case(conn, case.id), reason.code, now)
    return True


def _cancel_request(
    conn: Connection,
    about: tuple[int, Row[Any]],
    calls: Mapping[int, ComposedCall],
    cause: tuple[int, ChangeReason],
    now: datetime,
) -> bool:
    """Cancel a request that its agency knows nothing of, or ask the agency; return whether it is asked."""
    case, request = about
    message, reason = cause
    earlier = deliveries.list_by_request(conn, case, request.id)
    if _end_untold_deliveries(conn, earlier, now):
        event = StateEvent("cancel", now, _ACTOR, reason.code)
        agency_requests.apply_event(conn, request.id, event, cancellation="UNTOLD")
        end_fees_of_cancelled(conn, request.id, now)
        return False
    call = calls[request.id]
    event = StateEvent("ask_cancel", now, _ACTOR, reason.code)
    agency_requests.apply_event(conn, request.id, event, cancellation="ASKED")
    correlations.insert_correlation(conn, "wsa", call.call.message_id, case, request.id)
    place = (f"cancel:{request.number}:{message}", earlier)
    enqueue_cancellation_call(conn, call, (case, request.id), place, now)
    return True


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
