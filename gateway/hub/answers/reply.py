"""Step 5, reply: an agency's answer about an application moves the request and its case.

The input is the answer to a call of the hub, or a call of the agency's own: an acknowledgment or a notice.
Both may arrive twice, late, or before the hub's call has returned. The case row is locked first, so that of
two last decisions that arrive together the second sees the first. When the transaction has committed, the
signed octets, the notice, its decisions and the new state of the request are in the database. Every new
notice is sent to the applicant (`gateway.hub.completion.conclude`). With the last decision the case is
DECIDED and its conclusion is queued (`gateway.hub.completion.conclude`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Connection

from gateway.cases import (
    AgencyAnswer,
    AgencyCallback,
    Notice,
    SignedAnswer,
    SignedReply,
    check_hub_number,
    check_issue_time,
)
from gateway.errors import CASE_CLOSED, REPLY_UNMATCHED, GatewayError
from gateway.evidence import record_evidence
from gateway.hub.answers.answer_effects import (
    apply_answer_to_request,
    apply_earlier_results,
    open_locked_request,
)
from gateway.hub.answers.case_progress import CANCELLATION_EVENTS
from gateway.hub.completion import case_closing
from gateway.hub.deadlines.case_deadlines import settle_deadlines
from gateway.hub.fees.agency_payment_notes import record_payment_notified
from gateway.hub.fees.fee_records import get_fee
from gateway.hub.hub import Hub
from gateway.hub.outbox.local_tasks import FinishLease
from gateway.hub.outbox.outgoing_calls import CANCELLATION, CLEARANCE_NEWS
from gateway.hub.requirements.requirement_ledger import lock_case_requirements
from gateway.hub.requirements.requirement_results import (
    complete_requirement_result,
    find_result_time,
    is_result_without_application,
    store_requirement_results,
)
from gateway.store import (
    AgencyRequestRow,
    CallRecord,
    CaseRow,
    OpenRequest,
    RequestAgencyRow,
    StateEvent,
    agency_requests,
    cases,
    decisions,
    open_requests,
    overruled_notices,
    payloads,
    requirement_results,
    rerun_after_conflict,
    run_in_group_commit,
    write_call_transaction,
    write_transaction,
)

_ACTOR = "reply"
#: The events of a notice that would change what officers have decided at the console.
_OVERRULING_EVENTS = frozenset({"decide", *CANCELLATION_EVENTS})
#: For a reply whose signed octets are not stored.
_UNKNOWN_REPLY = SignedReply()


#: Is called in the transaction of a call-back, with its locked request, before the request is changed.
CallBackWitness = Callable[[Connection, OpenRequest, datetime], None]
#: Is called in the transaction of an answer, with its locked request; raises to refuse the answer.
RequestCheck = Callable[[OpenRequest], None]


def apply_call_back(
    hub: Hub,
    agency: str,
    call_back: AgencyCallback,
    signed_reply: SignedReply = _UNKNOWN_REPLY,
    record_officer_act: CallBackWitness | None = None,
    record: CallRecord | None = None,
) -> str:
    """Apply an answer as `take_call_back` does; return the number of the case or the requirement."""
    return take_call_back(hub, agency, call_back, signed_reply, record_officer_act, record).number


@dataclass(frozen=True, slots=True)
class TakenAnswer:
    """What the hub did with an answer that an agency sent in a call of its own.

    `number` is that of the case, or of the requirement for a result without an application. `overruled_by` is
    the number of the notice that counts, of a notice that had no effect when it came; `counts_from` is the
    time from which a notice counts whose own time is ahead of the clock.
    """

    number: str
    overruled_by: str | None = None
    counts_from: datetime | None = None


@rerun_after_conflict
def take_call_back(
    hub: Hub,
    agency: str,
    call_back: AgencyCallback,
    signed_reply: SignedReply = _UNKNOWN_REPLY,
    record_officer_act: CallBackWitness | None = None,
    record: CallRecord | None = None,
) -> TakenAnswer:
    """Apply an answer that `agency` sent in a call of its own; a repeat is taken as the first call was.

    `signed_reply` is the signed call as received; it is stored with the request as proof of its origin.
    `record_officer_act` is given for the act of an officer at the console, and may refuse it. `record` is
    stored in the transaction of the effect, so that a repeat of the call has no second effect.
    Raises GW701 when the answer refers to no request of this agency, GW513 for a mistyped number;
    GW403, GW404 or GW702 when it contradicts itself or an earlier notice; GW703 when the request
    was cancelled, or was decided at the console and the call is of the agency's own system; GW719 when
    its system issued it more than a day ahead, or before its case.
    """
    if record_officer_act is None:
        call_back = complete_requirement_result(hub, agency, call_back)
        if is_result_without_application(hub, agency, call_back):
            return _store_result(hub, agency, call_back, signed_reply, record)
        _check_issue_time(hub, call_back.answer)
    with write_call_transaction(hub.engine, "reply.call_back", record) as conn:
        request_id = _find_request_id(conn, agency, call_back)
        case = _lock_case_of_request(conn, request_id)
        request = open_locked_request(conn, request_id)
        now = hub.clock()
        if record_officer_act is not None:
            record_officer_act(conn, request, now)
            if isinstance(call_back.answer, Notice):
                # The hub has placed it behind every notice before it, also one of another clock.
                placed = replace(call_back.answer, counts_at=call_back.answer.issued_at)
                call_back = replace(call_back, answer=placed)
        elif _overrules_console(conn, hub, request, call_back.answer):
            detail = f"application {request.number} was decided at the console"
            raise GatewayError(CASE_CLOSED, detail, "ApplicationNumber")
        _record_signed_reply(conn, hub, request, signed_reply, now)
        apply_answer_to_request(conn, hub, case, request, call_back.answer, now)
        settle_deadlines(conn, hub, case.id, now)
        reception = (
            overruled_notices.find_reception(conn, agency, call_back.answer.number)
            if isinstance(call_back.answer, Notice)
            else None
        )
    if reception is None:
        return TakenAnswer(str(case.number))
    counts_from = None if reception.stated_at is None else reception.issued_at
    return TakenAnswer(str(case.number), reception.overruled_by, counts_from)


def _check_issue_time(hub: Hub, answer: AgencyAnswer) -> None:
    """Raise GW719 for a notice of the future, except one that the hub issued for an officer."""
    if isinstance(answer, Notice):
        check_issue_time(answer.issued_at, hub.clock())


def _store_result(
    hub: Hub, agency: str, call_back: AgencyCallback, signed_reply: SignedReply, record: CallRecord | None
) -> TakenAnswer:
    """Store a result that an agency gave without an application, with the number of its requirement.

    An acknowledgment is not stored.
    """
    number = call_back.requirement_number or ""
    if not isinstance(call_back.answer, Notice):
        return TakenAnswer(number)
    store_requirement_results(hub, agency, [(number, call_back.answer)], signed_reply, record)
    return TakenAnswer(number, counts_from=find_result_time(hub, agency, number, call_back.answer))


def _overrules_console(conn: Connection, hub: Hub, request: OpenRequest, answer: AgencyAnswer) -> bool:
    """Return whether the agency's own system decides or cancels an application decided at the console.

    The officers at the console answer whether such an application is cancelled: the question comes to them.
    """
    if not isinstance(answer, Notice) or not request.decided_at_console:
        return False
    code = hub.load_rules_of(conn, request).status_codes.get(answer.status_code)
    return bool(answer.decisions) or (code is not None and code.event in _OVERRULING_EVENTS)


def _record_signed_reply(
    conn: Connection, hub: Hub, request: OpenRequest, signed_reply: SignedReply, now: datetime
) -> None:
    """Store the signed octets of an agency's reply, and record as evidence why its signer was accepted."""
    if signed_reply.envelope:
        digest = payloads.store_payload(conn, signed_reply.envelope, now)
        request.set_columns(reply_sha256=digest)
        signer = {"agency": request.agency, **describe_signer(hub, signed_reply)}
        record_evidence(conn, "reply", "request", request.id, digest, signer, now)


def describe_signer(hub: Hub, signed_reply: SignedReply) -> dict[str, str | None]:
    """Return the signer's digest and the digest of the verdict that accepted it, for the evidence."""
    verdict = (
        hub.verdicts.find_verdict_digest(signed_reply.signer_sha256) if signed_reply.signer_sha256 else None
    )
    return {"signer": signed_reply.signer_sha256, "verdict": verdict}


@rerun_after_conflict
def apply_answer(
    hub: Hub,
    request_id: int,
    signed_answer: SignedAnswer,
    end_lease: FinishLease,
    *,
    operation: str = "",
    check_console_request: RequestCheck | None = None,
) -> None:
    """Apply an agency's answer to a call of the hub, and end the delivery of that call.

    `signed_answer` is the answer and the signed reply that contained it. `check_console_request` is given
    when the mailbox of the console gave the answer; it refuses one to CancelApplication that does not fit the
    application any more. After CancelApplication an acknowledgment says only that the agency will answer: the
    application stays in force until it has. One of NotifyClearance changes nothing. Raises GW719 for a notice
    that was issued more than a day ahead, or before its case.
    """
    _check_issue_time(hub, signed_answer.answer)
    if operation == CANCELLATION:
        with write_transaction(hub.engine, "reply.cancellation") as conn:
            _apply_secondary_answer(conn, hub, request_id, signed_answer, end_lease, check_console_request)
        return
    if operation == CLEARANCE_NEWS:
        with write_transaction(hub.engine, "reply.clearance") as conn:
            _apply_secondary_answer(conn, hub, request_id, signed_answer, end_lease)
        return

    def store_answer(conn: Connection) -> None:
        """Mark the request as sent, apply the answer to it and its case, and end the lease of the call."""
        case = _lock_case_of_request(conn, request_id)
        request = open_locked_request(conn, request_id)
        now = hub.clock()
        request.apply_event(conn, StateEvent("send", now, _ACTOR))
        record_evidence(
            conn, "sent", "request", request.id, request.document_sha256, {"agency": request.agency}, now
        )
        _apply_answer_to_call(conn, hub, case, request, signed_answer, now)
        settle_deadlines(conn, hub, case.id, now)
        end_lease(conn)
        case_closing.close_case_when_done(conn, case, now)

    run_in_group_commit(hub.engine, "reply.answer", store_answer)


def _apply_answer_to_call(
    conn: Connection,
    hub: Hub,
    case: CaseRow,
    request: OpenRequest,
    signed_answer: SignedAnswer,
    now: datetime,
    *,
    is_console_answer: bool = False,
) -> None:
    """Apply the answer to a call, or keep it as evidence where officers have decided at the console.

    `request` is one of the locked `case`.
    """
    answer, signed_reply = signed_answer.answer, signed_answer.reply
    if is_console_answer or not _overrules_console(conn, hub, request, answer):
        _record_signed_reply(conn, hub, request, signed_reply, now)
        apply_answer_to_request(conn, hub, case, request, answer, now)
        return
    request.write(conn)
    # The call was under way when the agency was switched to the console, and is answered too late.
    data = {"agency": request.agency, **describe_signer(hub, signed_reply)}
    digest = payloads.store_payload(conn, signed_reply.envelope, now)
    record_evidence(conn, "overtaken", "request", request.id, digest, data, now)


def _lock_case_of_request(conn: Connection, request_id: int) -> CaseRow:
    """Lock and return the case of a request; raises GW701 where there is none."""
    case = open_requests.lock_case_of_request(conn, request_id)
    if case is None:
        raise GatewayError(REPLY_UNMATCHED, f"there is no request {request_id}")
    return case


@rerun_after_conflict
def apply_payment_answer(hub: Hub, fee: int, signed_answer: SignedAnswer, end_lease: FinishLease) -> None:
    """Apply an agency's answer to the call about the payment of a fee (row id), and end that call.

    An acknowledgment says that the agency knows of the payment. A notice has the effect that it has in any
    other answer, too. Raises GW719 for one that was issued more than a day ahead, or before its case.
    """
    _check_issue_time(hub, signed_answer.answer)
    with write_transaction(hub.engine, "fees.agency_told") as conn:
        paid_fee = get_fee(conn, fee)
        case = cases.lock_case(conn, paid_fee.case_id)
        now = hub.clock()
        record_payment_notified(conn, paid_fee, signed_answer, now)
        if isinstance(signed_answer.answer, Notice):
            request = open_locked_request(conn, paid_fee.request_id)
            _apply_answer_to_call(conn, hub, case, request, signed_answer, now)
            settle_deadlines(conn, hub, case.id, now)
        end_lease(conn)
        case_closing.close_case_when_done(conn, cases.lock_case(conn, case.id), now)


def _apply_secondary_answer(
    conn: Connection,
    hub: Hub,
    request_id: int,
    signed_answer: SignedAnswer,
    end_lease: FinishLease,
    check_console_request: RequestCheck | None = None,
) -> None:
    """Apply the answer to a call that does not send the application: an acknowledgment moves nothing."""
    case = _lock_case_of_request(conn, request_id)
    request = open_locked_request(conn, request_id)
    if check_console_request is not None:
        check_console_request(request)
    is_console_answer = check_console_request is not None
    now = hub.clock()
    if isinstance(signed_answer.answer, Notice):
        _apply_answer_to_call(
            conn, hub, case, request, signed_answer, now, is_console_answer=is_console_answer
        )
    else:
        _record_signed_reply(conn, hub, request, signed_answer.reply, now)
        request.write(conn)
    settle_deadlines(conn, hub, case.id, now)
    end_lease(conn)
    case_closing.close_case_when_done(conn, cases.lock_case(conn, case.id), now)


def _find_request_id(conn: Connection, agency: str, call_back: AgencyCallback) -> int:
    """Return the row id of the request an agency refers to; raises GW701 for one not sent to this agency."""
    request: AgencyRequestRow | RequestAgencyRow | None = None
    if call_back.application_number is not None:
        request = agency_requests.find_agency_by_number(conn, call_back.application_number)
        if request is None:
            check_hub_number(call_back.application_number, "ApplicationNumber")
    elif call_back.requirement_number is not None:
        request = decisions.find_by_requirement(conn, agency, call_back.requirement_number)
    if request is None or request.agency != agency:
        name = call_back.application_number or call_back.requirement_number or ""
        parameter = "ApplicationNumber" if call_back.application_number is not None else "RequirementNumber"
        raise GatewayError(REPLY_UNMATCHED, f"{agency} was asked nothing under {name[:40]!r}", parameter)
    return int(request.id)


def apply_results(hub: Hub, requirement: int, end_lease: FinishLease) -> None:
    """Apply an agency's results on a requirement (row id) to the application decided under it, if any."""
    with write_transaction(hub.engine, "reply.results") as conn:
        results = requirement_results.list_results(conn, [requirement])
        agency, number = (results[0].agency, results[0].number) if results else ("", "")
        request = decisions.find_by_requirement(conn, agency, number)
        case = None if request is None else open_requests.lock_case_of_request(conn, request.id)
        if request is not None and case is not None:
            now = hub.clock()
            lock_case_requirements(conn, case.id, {number})
            apply_earlier_results(conn, hub, case, request.id, [requirement], now)
            settle_deadlines(conn, hub, case.id, now)
        end_lease(conn)
        if case is not None:
            case_closing.close_case_when_done(conn, cases.lock_case(conn, case.id), hub.clock())
