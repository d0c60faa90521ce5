"""Step 8, withdraw: every agency is asked to cancel its application; the case ends when all have done so.

The input is a split withdrawal of the declarant, inside `gateway.hub.submissions.admit`. The calls are
composed before the transaction. When the transaction has committed, the case is open again, an application
that was not sent to any agency is cancelled, and for every other one CancelApplication is queued behind the
earlier calls to that agency. The agencies' answers come in by `gateway.hub.answers.reply`. The last one ends
the withdrawal (`gateway.hub.answers.case_progress`): the case is WITHDRAWN when no approval is left;
otherwise it goes on with the approvals that are left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Final

from sqlalchemy import Connection

from gateway.cases import ChangeReason, read_change_reason
from gateway.errors import TRANSITION_REFUSED, GatewayError
from gateway.evidence import record_evidence
from gateway.hub.answers.case_progress import move_case
from gateway.hub.completion.case_closing import case_transaction
from gateway.hub.completion.standing_demands import is_cancellation_open
from gateway.hub.fees.fee_ends import end_fees_of_cancelled
from gateway.hub.hub import Hub
from gateway.hub.outbox.local_tasks import FinishLease, find_notice, require_row
from gateway.hub.outbox.outgoing_calls import find_submission_delivery, is_refused_for_good
from gateway.hub.requirements.partial_release import check_nothing_released
from gateway.hub.submissions.forward import ComposedCall, compose_cancellation_call, enqueue_cancellation_call
from gateway.hub.submissions.held_cases import cancel_hold
from gateway.hub.submissions.open_cases import (
    check_not_cleared,
    check_withdrawable,
    find_named_case,
    list_cancellable_requests,
)
from gateway.hub.submissions.processed_submission import ProcessedSubmission
from gateway.store import (
    AgencyRequestRow,
    DeliveryRow,
    RequestWithFeesRow,
    StateEvent,
    agency_requests,
    cases,
    deliveries,
    messages,
    read_transaction,
)

_ACTOR = "admit"
_WAITING: Final = ("QUEUED", "HELD")


def cancel_request(
    conn: Connection,
    case: int,
    request: RequestWithFeesRow,
    calls: Mapping[int, ComposedCall],
    message: int,
    reason: ChangeReason,
    now: datetime,
) -> bool:
    """Cancel a request that its agency does not have, or ask the agency; return whether it is asked.

    `calls` has the question by the row id of the request, `message` is the message that causes the question
    (row id), and `reason` is the reason in this message.
    """
    earlier = deliveries.list_by_request(conn, case, request.id)
    if _end_unreceived_deliveries(conn, earlier, now):
        event = StateEvent("cancel", now, _ACTOR, reason.code)
        agency_requests.apply_event(conn, request.id, event, cancellation="UNTOLD")
        end_fees_of_cancelled(conn, request.id, now)
        return False
    event = StateEvent("ask_cancel", now, _ACTOR, reason.code)
    agency_requests.apply_event(conn, request.id, event, cancellation="ASKED")
    queue_cancellation_question(conn, request, calls[request.id], str(message), earlier, now)
    return True


def queue_cancellation_question(
    conn: Connection,
    request: AgencyRequestRow,
    call: ComposedCall,
    cause: str,
    earlier: Sequence[DeliveryRow],
    now: datetime,
) -> None:
    """Queue the question whether an agency cancels a request.

    `cause` is the reason of the question, `earlier` are the deliveries to the agency so far.
    """
    agency_requests.insert_correlation(conn, "wsa", call.call.message_id, request.case_id, request.id)
    key = f"cancel:{request.number}:{cause}"
    enqueue_cancellation_call(conn, call, request.case_id, request.id, key, earlier, now)


def _end_unreceived_deliveries(conn: Connection, earlier: list[DeliveryRow], now: datetime) -> bool:
    """End the deliveries of an application that its agency does not have; return False if it may have it.

    The agency does not have an application that was never tried, or that it has refused for good.
    """
    first = find_submission_delivery(earlier)
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


def compose_cancellations(hub: Hub, processed: ProcessedSubmission) -> dict[int, ComposedCall]:
    """Compose the question to every agency that may have to cancel, by the row id of its request."""
    reason = read_change_reason(processed.submission.declaration)
    with read_transaction(hub.engine) as conn:
        requests = agency_requests.list_by_case(
            conn, find_named_case(conn, processed.declarant, processed.submission.reference).id
        )
    return {
        row.id: compose_cancellation_call(hub, row, reason) for row in requests if row.state != "CANCELLED"
    }


def withdraw_case(
    conn: Connection, processed: ProcessedSubmission, calls: Mapping[int, ComposedCall], now: datetime
) -> bool:
    """Ask the agencies of a case to cancel, or withdraw it at once where none has to be asked.

    Returns False, and changes nothing, when the case has got requests since the calls were composed: it
    was held then. Raises GW407 when the case cannot be withdrawn any more, GW714 when customs has cleared
    it.
    """
    reason = read_change_reason(processed.submission.declaration)
    case = cases.lock_case(
        conn, find_named_case(conn, processed.declarant, processed.submission.reference).id
    )
    requests = agency_requests.list_by_case(conn, case.id)
    check_withdrawable(conn, case, requests)
    check_not_cleared(conn, case)
    check_nothing_released(conn, case)
    if not {row.id for row in requests if row.state != "CANCELLED"} <= calls.keys():
        return False
    message = processed.message
    messages.set_message_case(conn, message.id, case.id)
    if case.state == "HELD":
        # What another case waits for it has, should an agency not cancel.
        cancel_hold(conn, case.id, now)
    unchanged = {name: value for name, value in (case.detail or {}).items() if name != "held"}
    detail = {**unchanged, "withdrawal": asdict(reason), "turn": message.id}
    event = StateEvent("withdraw", now, _ACTOR, reason.code)
    cases.apply_event(conn, case.id, event, outcome=None, detail=detail)
    is_asked_by_number = {
        row.number: cancel_request(conn, case.id, row, calls, message.id, reason, now)
        for row in list_cancellable_requests(conn, case.id, requests)
    }
    data = {"number": case.number, "signer": processed.signer_admission.party, "reason": reason.sentence,
            "asked": [number for number, is_asked in is_asked_by_number.items() if is_asked],
            "untold": [number for number, is_asked in is_asked_by_number.items() if not is_asked],
            "admitted": processed.signer_admission.evidence}  # fmt: skip
    record_evidence(conn, "withdrawal", "case", case.id, message.identity_sha256, data, now)
    if not any(is_asked_by_number.values()):
        move_case(conn, processed.units, cases.lock_case(conn, case.id), reason.code, now)
    return True


def ask_after_withdrawal(hub: Hub, notice_id: int, end_lease: FinishLease) -> None:
    """Queue the question whether an agency cancels an approval that it gave after the withdrawal.

    `notice_id` is the notice (row id) with the approval. Nothing is queued if the question is answered
    already.
    """
    with read_transaction(hub.engine) as conn:
        _, request = find_notice(conn, notice_id)
        case = require_row(cases.find_by_id(conn, request.case_id), f"the case of notice {notice_id}")
    reason = ChangeReason(**(case.detail or {})["withdrawal"])
    call = compose_cancellation_call(hub, request, reason)
    with case_transaction(hub, "withdraw.asked", case.id, end_lease) as (conn, _):
        row = agency_requests.find_by_id(conn, request.id)
        if row is not None and is_cancellation_open(row):
            earlier = deliveries.list_by_request(conn, case.id, row.id)
            queue_cancellation_question(conn, row, call, f"notice:{notice_id}", earlier, hub.clock())
