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

from sqlalchemy import Connection

from gateway.cases import ChangeReason, read_change_reason
from gateway.errors import OUR_MISTAKE, GatewayError
from gateway.evidence import record_evidence
from gateway.hub.case_progress import move_case
from gateway.hub.cease_applications import cancel_request, queue_question
from gateway.hub.completion import is_cancellation_open
from gateway.hub.forward import ComposedCall, compose_cancellation_call
from gateway.hub.held_cases import cancel_hold
from gateway.hub.hub import Hub
from gateway.hub.open_cases import (
    check_not_cleared,
    check_withdrawable,
    find_named_case,
    list_cancellable_requests,
)
from gateway.hub.outbox import FinishLease
from gateway.hub.partial_release import check_nothing_released
from gateway.hub.processed_submission import ProcessedSubmission, StoredSubmission
from gateway.store import (
    StateEvent,
    agency_requests,
    cases,
    deliveries,
    messages,
    notices,
    read_transaction,
    write_transaction,
)

__all__ = ["ask_after_withdrawal", "compose_cancellations", "withdraw_case"]

_ACTOR = "admit"


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
    check_withdrawable(conn, case, asked)
    check_not_cleared(conn, case)
    check_nothing_released(conn, case)
    if not {row.id for row in asked if row.state != "CANCELLED"} <= calls.keys():
        return False
    messages.set_message_case(conn, arrived.row.id, case.id)
    if case.state == "HELD":
        # What another case waits for it has, should an agency not cancel.
        cancel_hold(conn, case.id, now)
    kept = {name: value for name, value in (case.detail or {}).items() if name != "held"}
    detail = {**kept, "withdrawal": asdict(reason), "turn": arrived.row.id}
    event = StateEvent("withdraw", now, _ACTOR, reason.code)
    cases.apply_event(conn, case.id, event, outcome=None, detail=detail)
    told = {
        row.number: cancel_request(conn, (case.id, row), calls, (arrived.row.id, reason), now)
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


def ask_after_withdrawal(hub: Hub, notice_id: int, finish: FinishLease) -> None:
    """Queue the question whether an agency cancels what it approved in a notice after the withdrawal.

    Nothing is asked where the question is answered already.
    """
    with read_transaction(hub.engine) as conn:
        notice = notices.find_by_id(conn, notice_id)
        request = agency_requests.find_by_id(conn, notice.request_id) if notice else None
        case = cases.find_by_id(conn, request.case_id) if request else None
    if request is None or case is None:
        raise GatewayError(OUR_MISTAKE, f"the case of notice {notice_id} is gone")
    reason = ChangeReason(**(case.detail or {})["withdrawal"])
    call = compose_cancellation_call(hub, request, reason)
    with write_transaction(hub.engine, "withdraw.asked") as conn:
        cases.lock_case(conn, case.id)
        row = agency_requests.find_by_id(conn, request.id)
        if row is not None and is_cancellation_open(row):
            earlier = deliveries.list_by_request(conn, case.id, row.id)
            queue_question(conn, row, call, (f"notice:{notice_id}", earlier), hub.clock())
        finish(conn)
