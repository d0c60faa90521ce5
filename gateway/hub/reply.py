"""Step 5, reply: an agency's answer about an application moves the request and its case.

The input is the answer to a call of ours, or a call of the agency's own: an acknowledgment or a
notice. Both may arrive twice, late, or before our call has returned. The case row is locked first,
so that of two last decisions that arrive together the second sees the first. When the transaction
has committed, the signed octets, the notice, its decisions and the new state of the request are in
the database. Every new notice is sent to the applicant (`gateway.hub.notify`). With the last
decision the case is DECIDED and its conclusion is queued (`gateway.hub.conclude`).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row

from gateway.cases import (
    AgencyAnswer,
    AgencyCallback,
    Notice,
    SignedReply,
    check_hub_number,
    check_issue_time,
)
from gateway.errors import CASE_CLOSED, REPLY_UNMATCHED, GatewayError
from gateway.evidence import record_evidence
from gateway.hub.answer_effects import apply_earlier_results, apply_to_request, open_locked_request
from gateway.hub.case_progress import CANCELLATION_EVENTS
from gateway.hub.completion import case_closing
from gateway.hub.deadlines import settle_deadlines
from gateway.hub.fees import get_fee, record_told_payment
from gateway.hub.hub import Hub
from gateway.hub.outbox import CANCELLATION, CLEARANCE_NEWS, FinishLease
from gateway.hub.requirement_ledger import lock_case_requirements
from gateway.hub.requirement_results import (
    complete_requirement_result,
    is_result_without_application,
    store_requirement_results,
)
from gateway.store import (
    OpenRequest,
    StateEvent,
    agency_requests,
    cases,
    payloads,
    requirement_results,
    rerun_after_conflict,
    write_transaction,
)

__all__ = [
    "CallBackWitness",
    "apply_answer",
    "apply_call_back",
    "apply_payment_answer",
    "apply_results",
    "describe_signer",
]

_ACTOR = "reply"
#: The events of a notice that would change what officers have decided at the console.
_OVERRULING = frozenset({"decide", *CANCELLATION_EVENTS})
#: For a reply whose signed octets are not stored.
_UNKNOWN_REPLY = SignedReply()


#: Is called in the transaction of a call-back, with its locked request, before the request is changed.
CallBackWitness = Callable[[Connection, OpenRequest, datetime], None]


@rerun_after_conflict
def apply_call_back(
    hub: Hub,
    agency: str,
    said: AgencyCallback,
    spoken: SignedReply = _UNKNOWN_REPLY,
    witness: CallBackWitness | None = None,
) -> str:
    """Apply an answer that `agency` sent in a call of its own; return the case number.

    Of a result without an application the number of its requirement is returned.

    `spoken` is the signed call as received; it is stored with the request as proof of its origin.
    `witness` is given for the act of an officer at the console, and may refuse it.
    Raises GW701 when the answer refers to no request of this agency, GW513 for a mistyped number;
    GW403, GW404 or GW702 when it contradicts itself or an earlier notice; GW703 when the request
    was cancelled, or was decided at the console and the call is of the agency's own system; GW719 when
    its system issued it more than a day ahead, or before its case.
    """
    if witness is None:
        said = complete_requirement_result(hub, agency, said)
        if is_result_without_application(hub, agency, said):
            return _store_result(hub, agency, said, spoken)
        _check_issue_time(hub, said.answer)
    with write_transaction(hub.engine, "reply.call_back") as conn:
        found = _find_request(conn, agency, said)
        case = cases.lock_case_of_request(conn, found)
        if case is None:
            raise GatewayError(REPLY_UNMATCHED, f"there is no request {found}")
        request = open_locked_request(conn, found)
        now = hub.clock()
        if witness is not None:
            witness(conn, request, now)
        elif _comes_after_console(conn, hub, request, said.answer):
            detail = f"application {request.number} was decided at the console"
            raise GatewayError(CASE_CLOSED, detail, "ApplicationNumber")
        _record_signed_reply(conn, hub, request, spoken, now)
        apply_to_request(conn, hub, (case, request), said.answer, now)
        settle_deadlines(conn, hub, case.id, now)
    return str(case.number)


def _check_issue_time(hub: Hub, answer: AgencyAnswer) -> None:
    """Raise GW719 for a notice of the future. What the hub issued for an officer has a time of its own."""
    if isinstance(answer, Notice):
        check_issue_time(answer.issued_at, hub.clock())


def _store_result(hub: Hub, agency: str, said: AgencyCallback, spoken: SignedReply) -> str:
    number = said.requirement_number or ""
    if isinstance(said.answer, Notice):
        store_requirement_results(hub, agency, [(number, said.answer)], spoken)
    return number


def _comes_after_console(conn: Connection, hub: Hub, request: OpenRequest, answer: AgencyAnswer) -> bool:
    """Return whether the agency's own system decides, or cancels, what its officers decided at the console.

    Whether that is cancelled, its officers say: the question comes to them.
    """
    if not isinstance(answer, Notice) or not request.decided_at_console:
        return False
    code = hub.load_rules_of(conn, request).status_codes.get(answer.status_code)
    return bool(answer.decisions) or (code is not None and code.event in _OVERRULING)


def _record_signed_reply(
    conn: Connection, hub: Hub, request: OpenRequest, spoken: SignedReply, now: datetime
) -> None:
    """Store the signed octets of an agency's reply, and record as evidence why its signer was accepted."""
    if spoken.envelope:
        digest = payloads.store_payload(conn, spoken.envelope, now)
        request.set_columns(reply_sha256=digest)
        said = {"agency": request.agency, **describe_signer(hub, spoken)}
        record_evidence(conn, "reply", "request", request.id, digest, said, now)


def describe_signer(hub: Hub, spoken: SignedReply) -> dict[str, str | None]:
    """Return the signer's digest and the digest of the verdict that accepted it, for the evidence."""
    verdict = hub.verdicts.find_verdict_digest(spoken.signer) if spoken.signer else None
    return {"signer": spoken.signer, "verdict": verdict}


@rerun_after_conflict
def apply_answer(
    hub: Hub,
    request_id: int,
    heard: tuple[AgencyAnswer, SignedReply],
    finish: FinishLease,
    *,
    operation: str = "",
    at_console: bool = False,
) -> None:
    """Apply an agency's answer to our call, and end the delivery of that call.

    `heard` is the answer and the signed reply that contained it; `at_console` says that the mailbox of the
    console gave it. After CancelApplication an acknowledgment says only that the agency will answer: the
    application stands until it has. One of NotifyClearance changes nothing. Raises GW719 for a notice that
    was issued more than a day ahead, or before its case.
    """
    _check_issue_time(hub, heard[0])
    if operation == CANCELLATION:
        _apply_cancellation_answer(hub, request_id, heard, finish, at_console=at_console)
        return
    if operation == CLEARANCE_NEWS:
        _apply_clearance_answer(hub, request_id, heard, finish)
        return
    with write_transaction(hub.engine, "reply.answer") as conn:
        case = cases.lock_case_of_request(conn, request_id)
        if case is None:
            raise GatewayError(REPLY_UNMATCHED, f"there is no request {request_id}")
        request = open_locked_request(conn, request_id)
        now = hub.clock()
        request.apply_event(conn, StateEvent("send", now, _ACTOR))
        record_evidence(
            conn, "sent", "request", request.id, request.document_sha256, {"agency": request.agency}, now
        )
        _apply_heard(conn, hub, (case, request), heard, now)
        settle_deadlines(conn, hub, case.id, now)
        finish(conn)
        case_closing.close_case_when_done(conn, case, now)


def _apply_heard(
    conn: Connection,
    hub: Hub,
    about: tuple[Row[Any], OpenRequest],
    heard: tuple[AgencyAnswer, SignedReply],
    now: datetime,
    *,
    at_console: bool = False,
) -> None:
    """Apply the answer to a call, or keep it as evidence where officers have decided at the console."""
    request, (answer, spoken) = about[1], heard
    if at_console or not _comes_after_console(conn, hub, request, answer):
        _record_signed_reply(conn, hub, request, spoken, now)
        apply_to_request(conn, hub, about, answer, now)
        return
    request.write(conn)
    # The call was under way when the agency was switched to the console, and is answered too late.
    data = {"agency": request.agency, **describe_signer(hub, spoken)}
    kept = payloads.store_payload(conn, spoken.envelope, now)
    record_evidence(conn, "overtaken", "request", request.id, kept, data, now)


def _apply_cancellation_answer(
    hub: Hub,
    request_id: int,
    heard: tuple[AgencyAnswer, SignedReply],
    finish: FinishLease,
    *,
    at_console: bool,
) -> None:
    with write_transaction(hub.engine, "reply.cancellation") as conn:
        _apply_side_answer(conn, hub, request_id, heard, finish, at_console=at_console)


def _apply_clearance_answer(
    hub: Hub, request_id: int, heard: tuple[AgencyAnswer, SignedReply], finish: FinishLease
) -> None:
    with write_transaction(hub.engine, "reply.clearance") as conn:
        _apply_side_answer(conn, hub, request_id, heard, finish)


@rerun_after_conflict
def apply_payment_answer(
    hub: Hub, fee: int, heard: tuple[AgencyAnswer, SignedReply], finish: FinishLease
) -> None:
    """Apply an agency's answer to the call that told it of the payment of a fee (row id), and end that.

    An acknowledgment says that the agency knows of the payment. A notice has the effect that it has in any
    other answer, too. Raises GW719 for one that was issued more than a day ahead, or before its case.
    """
    _check_issue_time(hub, heard[0])
    with write_transaction(hub.engine, "fees.agency_told") as conn:
        paid = get_fee(conn, fee)
        case = cases.lock_case(conn, paid.case_id)
        now = hub.clock()
        record_told_payment(conn, paid, heard, now)
        if isinstance(heard[0], Notice):
            _apply_heard(conn, hub, (case, open_locked_request(conn, paid.request_id)), heard, now)
            settle_deadlines(conn, hub, case.id, now)
        finish(conn)
        case_closing.close_case_when_done(conn, cases.lock_case(conn, case.id), now)


def _apply_side_answer(
    conn: Connection,
    hub: Hub,
    request_id: int,
    heard: tuple[AgencyAnswer, SignedReply],
    finish: FinishLease,
    *,
    at_console: bool = False,
) -> None:
    """Apply the answer to a call that does not send the application: an acknowledgment moves nothing."""
    case = cases.lock_case_of_request(conn, request_id)
    if case is None:
        raise GatewayError(REPLY_UNMATCHED, f"there is no request {request_id}")
    request = open_locked_request(conn, request_id)
    now = hub.clock()
    if isinstance(heard[0], Notice):
        _apply_heard(conn, hub, (case, request), heard, now, at_console=at_console)
    else:
        _record_signed_reply(conn, hub, request, heard[1], now)
        request.write(conn)
    settle_deadlines(conn, hub, case.id, now)
    finish(conn)
    case_closing.close_case_when_done(conn, cases.lock_case(conn, case.id), now)


def _find_request(conn: Connection, agency: str, said: AgencyCallback) -> int:
    """Return the row id of the request an agency refers to; raises GW701 for one not sent to this agency."""
    found: Row[Any] | Row[Any, Any] | None = None
    if said.application_number is not None:
        found = agency_requests.find_agency_by_number(conn, said.application_number)
        if found is None:
            check_hub_number(said.application_number, "ApplicationNumber")
    elif said.requirement_number is not None:
        found = agency_requests.find_by_requirement(conn, agency, said.requirement_number)
    if found is None or found.agency != agency:
        name = said.application_number or said.requirement_number or ""
        where = "ApplicationNumber" if said.application_number is not None else "RequirementNumber"
        raise GatewayError(REPLY_UNMATCHED, f"{agency} was asked nothing under {name[:40]!r}", where)
    return int(found.id)


def apply_results(hub: Hub, requirement: int, finish: FinishLease) -> None:
    """Apply what an agency said of a requirement (row id) to the application decided under it, if any."""
    with write_transaction(hub.engine, "reply.results") as conn:
        said = requirement_results.list_results(conn, [requirement])
        agency, number = (said[0].agency, said[0].number) if said else ("", "")
        found = agency_requests.find_by_requirement(conn, agency, number)
        case = None if found is None else cases.lock_case_of_request(conn, found.id)
        if found is not None and case is not None:
            now = hub.clock()
            lock_case_requirements(conn, case.id, {number})
            apply_earlier_results(conn, hub, case, found.id, [requirement], now)
            settle_deadlines(conn, hub, case.id, now)
        finish(conn)
        if case is not None:
            case_closing.close_case_when_done(conn, cases.lock_case(conn, case.id), hub.clock())
