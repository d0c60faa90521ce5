"""Step 5, reply: an agency's answer about an application moves the request and its case.

The input is the answer to a call of ours, or a call of the agency's own: an acknowledgment or a
notice. Both may arrive twice, late, or before our call has returned. The case row is locked first,
so that of two last decisions that arrive together the second sees the first. When the transaction
has committed, the signed octets, the notice, its decisions and the new state of the request are in
the database. Every new notice is sent to the applicant (`gateway.hub.notify`). With the last
decision the case is DECIDED and its conclusion is queued (`gateway.hub.conclude`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row

from gateway.cases import (
    AgencyAcknowledgment,
    AgencyAnswer,
    AgencyCallback,
    CertificateStanding,
    Decision,
    Notice,
    SignedReply,
    StatusCode,
    check_hub_number,
    check_issue_time,
    check_issued_since,
    check_notice_status,
    complete_decisions,
)
from gateway.errors import CASE_CLOSED, DECISION_CONFLICT, REPLY_UNMATCHED, RULE_BROKEN, GatewayError
from gateway.evidence import record_evidence
from gateway.hub.case_progress import (
    CANCELLATION_EVENTS,
    answer_cancellation_by_decision,
    move_case,
    move_request,
    outdate_early_decisions,
)
from gateway.hub.completion import case_closing, is_cancellation_open
from gateway.hub.customs import record_late_decision
from gateway.hub.deadlines import restate_deadline, settle_deadlines
from gateway.hub.earlier_results import take_earlier_notices
from gateway.hub.fees import apply_fee_notice, check_forwarded, end_fees_of_cancelled
from gateway.hub.granted_certificates import list_granted_certificates
from gateway.hub.hub import Hub
from gateway.hub.late_approvals import settle_late_notice
from gateway.hub.outbox import CANCELLATION, CLEARANCE_NEWS, FinishLease, enqueue_task
from gateway.hub.requirement_ledger import (
    join_waiting_cases,
    lock_case_requirements,
    offer_kept_certificates,
)
from gateway.hub.requirement_results import (
    complete_requirement_result,
    is_result_without_application,
    store_requirement_results,
)
from gateway.state_machines import REQUEST, get_next_state
from gateway.store import (
    NewDecision,
    NewNotice,
    OpenRequest,
    StateEvent,
    StoredNotice,
    agency_requests,
    cases,
    correlations,
    decisions,
    notices,
    open_request,
    payloads,
    requirement_quantities,
    requirement_results,
    rerun_after_conflict,
    write_transaction,
)

__all__ = ["CallBackWitness", "apply_answer", "apply_call_back", "apply_results", "describe_signer"]

_ACTOR = "reply"
#: Certificates whose last day counts, now or when their agency has answered a question.
_LASTING = (CertificateStanding.USABLE, CertificateStanding.SUSPENDED)
#: For a reply whose signed octets are not stored.
_UNKNOWN_REPLY = SignedReply()


#: Is called in the transaction of a call-back, with its locked request, before the request is changed.
CallBackWitness = Callable[[Connection, Row[Any], datetime], None]


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
        case = cases.lock_case_of_request(conn, found.id)
        if case is None:
            raise GatewayError(REPLY_UNMATCHED, f"there is no request {found.id}")
        request = _open_request(conn, found.id)
        now = hub.clock()
        if witness is not None:
            witness(conn, found, now)
        elif _comes_after_console(conn, hub, request, said.answer):
            detail = f"application {request.number} was decided at the console"
            raise GatewayError(CASE_CLOSED, detail, "ApplicationNumber")
        _record_signed_reply(conn, hub, request, spoken, now)
        _apply_to_request(conn, hub, (case, request), said.answer, now)
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


def _open_request(conn: Connection, request: int) -> OpenRequest:
    """Return a request of a locked case; raises GW701 where there is none."""
    found = open_request(conn, request)
    if found is None:
        raise GatewayError(REPLY_UNMATCHED, f"there is no request {request}")
    return found


def _comes_after_console(conn: Connection, hub: Hub, request: OpenRequest, answer: AgencyAnswer) -> bool:
    """Return whether the agency's own system decides what its officers decided at the console."""
    if not isinstance(answer, Notice) or not request.decided_at_console:
        return False
    code = hub.load_rules_of(conn, request).status_codes.get(answer.status_code)
    return bool(answer.decisions) or (code is not None and code.event == "decide")


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
) -> None:
    """Apply an agency's answer to our call, and end the delivery of that call.

    `heard` is the answer and the signed reply that contained it. After CancelApplication an
    acknowledgment says only that the agency will answer: the application stands until it has. One of
    NotifyClearance changes nothing. Raises GW719 for a notice that was issued more than a day ahead, or
    before its case.
    """
    _check_issue_time(hub, heard[0])
    if operation == CANCELLATION:
        _apply_cancellation_answer(hub, request_id, heard, finish)
        return
    if operation == CLEARANCE_NEWS:
        _apply_clearance_answer(hub, request_id, heard, finish)
        return
    answer, spoken = heard
    with write_transaction(hub.engine, "reply.answer") as conn:
        case = cases.lock_case_of_request(conn, request_id)
        if case is None:
            raise GatewayError(REPLY_UNMATCHED, f"there is no request {request_id}")
        request = _open_request(conn, request_id)
        now = hub.clock()
        request.apply_event(conn, StateEvent("send", now, _ACTOR))
        record_evidence(
            conn, "sent", "request", request.id, request.document_sha256, {"agency": request.agency}, now
        )
        if _comes_after_console(conn, hub, request, answer):
            request.write(conn)
            # The call was under way when the agency was switched to the console, and is answered too late.
            data = {"agency": request.agency, **describe_signer(hub, spoken)}
            kept = payloads.store_payload(conn, spoken.envelope, now)
            record_evidence(conn, "overtaken", "request", request.id, kept, data, now)
        else:
            _record_signed_reply(conn, hub, request, spoken, now)
            _apply_to_request(conn, hub, (case, request), answer, now)
        settle_deadlines(conn, hub, case.id, now)
        finish(conn)
        case_closing.close_case_when_done(conn, case, now)


def _apply_cancellation_answer(
    hub: Hub, request_id: int, heard: tuple[AgencyAnswer, SignedReply], finish: FinishLease
) -> None:
    with write_transaction(hub.engine, "reply.cancellation") as conn:
        _apply_side_answer(conn, hub, request_id, heard, finish)


def _apply_clearance_answer(
    hub: Hub, request_id: int, heard: tuple[AgencyAnswer, SignedReply], finish: FinishLease
) -> None:
    with write_transaction(hub.engine, "reply.clearance") as conn:
        _apply_side_answer(conn, hub, request_id, heard, finish)


def _apply_side_answer(
    conn: Connection,
    hub: Hub,
    request_id: int,
    heard: tuple[AgencyAnswer, SignedReply],
    finish: FinishLease,
) -> None:
    """Apply the answer to a call that does not send the application: an acknowledgment moves nothing."""
    answer, spoken = heard
    case = cases.lock_case_of_request(conn, request_id)
    if case is None:
        raise GatewayError(REPLY_UNMATCHED, f"there is no request {request_id}")
    request = _open_request(conn, request_id)
    now = hub.clock()
    _record_signed_reply(conn, hub, request, spoken, now)
    if isinstance(answer, Notice):
        _apply_to_request(conn, hub, (case, request), answer, now)
    request.write(conn)
    settle_deadlines(conn, hub, case.id, now)
    finish(conn)
    case_closing.close_case_when_done(conn, cases.lock_case(conn, case.id), now)


def _find_request(conn: Connection, agency: str, said: AgencyCallback) -> Row[Any]:
    """Return the request an agency refers to; raises GW701 for a request that was not sent to this agency."""
    found = None
    if said.application_number is not None:
        found = agency_requests.find_by_number(conn, said.application_number)
        if found is None:
            check_hub_number(said.application_number, "ApplicationNumber")
    elif said.requirement_number is not None:
        found = agency_requests.find_by_requirement(conn, agency, said.requirement_number)
    if found is None or found.agency != agency:
        name = said.application_number or said.requirement_number or ""
        where = "ApplicationNumber" if said.application_number is not None else "RequirementNumber"
        raise GatewayError(REPLY_UNMATCHED, f"{agency} was asked nothing under {name[:40]!r}", where)
    return found


def _apply_to_request(
    conn: Connection, hub: Hub, about: tuple[Row[Any], OpenRequest], answer: AgencyAnswer, now: datetime
) -> None:
    """Apply an answer to a request of a locked case, and write what was changed of the request."""
    request = about[1]
    codes = hub.load_rules_of(conn, request).status_codes
    check_forwarded(conn, request.copy_state(), answer, codes)
    if isinstance(answer, AgencyAcknowledgment):
        _apply_acknowledgment(conn, request, answer, now)
    else:
        known = _apply_notice(conn, hub, about, (answer, codes), now)
        if known:
            request.write(conn)
            _apply_earlier_results(conn, hub, about[0], request.id, known, now)
            return
    request.write(conn)


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
            _apply_earlier_results(conn, hub, case, found.id, [requirement], now)
            settle_deadlines(conn, hub, case.id, now)
        finish(conn)
        if case is not None:
            case_closing.close_case_when_done(conn, cases.lock_case(conn, case.id), hub.clock())


def _apply_earlier_results(
    conn: Connection, hub: Hub, case: Row[Any], request_id: int, wanted: Collection[int], now: datetime
) -> None:
    """Apply what was said of locked requirements (row ids) before to the request decided under them."""
    request = _open_request(conn, request_id)
    # What the system of the agency says of what its officers have decided is refused in every order.
    if request.state == "CANCELLED" or request.decided_at_console:
        return
    for notice in take_earlier_notices(
        conn, (case, request.copy_state()), wanted, _find_holder(hub, case, request), now
    ):
        again = _open_request(conn, request_id)
        # It was taken by the codes in force, before any case asked for it.
        codes = {**hub.load_rules_of(conn, again).status_codes, **hub.rules.status_codes}
        _apply_notice(conn, hub, (cases.lock_case(conn, case.id), again), (notice, codes), now)
        again.write(conn)


def _apply_acknowledgment(
    conn: Connection, request: OpenRequest, answer: AgencyAcknowledgment, now: datetime
) -> None:
    """Store the first receipt number; an acknowledgment that changes nothing is not recorded again."""
    known, said = request.receipt_number, answer.receipt_number
    moves = get_next_state(REQUEST, request.state, "acknowledge") != request.state
    if not moves and known == said:
        return
    values = {"receipt_number": said} if known is None else {}
    event = StateEvent("acknowledge", now, request.agency, said[:100])
    request.apply_event(conn, event, **values)
    _correlate_receipt(conn, request, said)
    record_evidence(conn, "acknowledged", "request", request.id, None, {"receipt": said}, now)


def _store_receipt(conn: Connection, request: OpenRequest, said: str) -> None:
    """Store the receipt number that a notice states; the first one that an agency gave stays."""
    if request.receipt_number is None:
        request.set_columns(receipt_number=said)
    _correlate_receipt(conn, request, said)


def _correlate_receipt(conn: Connection, request: OpenRequest, said: str) -> None:
    # Some agencies give one receipt number to several applications: it then identifies the first one.
    value = f"{request.agency}:{said}"
    correlations.ensure_correlation(conn, "agency-receipt", value, request.case_id, request.id)


def _apply_notice(
    conn: Connection,
    hub: Hub,
    about: tuple[Row[Any], OpenRequest],
    said: tuple[Notice, Mapping[str, StatusCode]],
    now: datetime,
) -> Sequence[int]:
    """Apply a notice, `said` with the status codes that it is read by.

    Return the requirements (row ids) it names that the ledger had before.
    """
    case, opened = about
    notice, codes = said
    # As it is before the notice moves it.
    request = opened.copy_state()
    code = check_notice_status(notice, codes)
    new = _make_notice_row(request, notice)
    former = None if notice.former is None else _make_notice_row(request, notice.former)
    # What is stored and compared with a repeat is what the agency said: the application may change meanwhile.
    notice = complete_decisions(notice, code, request.required, hub.zone)
    notice = replace(notice, deadline=restate_deadline(conn, hub, request.agency, notice.deadline))
    _check_decided_items(request, notice.decisions)
    if request.state == "CANCELLED" and (notice.decisions or code.event == "decide"):
        raise GatewayError(CASE_CLOSED, f"application {request.number} was cancelled", "ApplicationNumber")
    stored = notices.insert_notice(
        conn,
        new,
        now,
        deadline=notice.deadline,
        first=not request.noticed,
        former=former,
        fee_notice=_name_fee(notice) if code.fee_step else None,
    )
    if stored is None:
        return ()
    check_issued_since(notice.issued_at, case.opened_at)
    _check_version(notice, stored)
    decisions.insert_decisions(
        conn,
        [_make_decision_row(request, notice, one) for one in notice.decisions],
        now,
        case_id=case.id,
    )
    if request.removed:
        # What is said of a removed item is kept and passed on, and does not count.
        decisions.outdate_items(conn, request.id, {int(item) for item, _ in request.removed}, now)
    known = _add_requirements(conn, hub, (case, request), notice, now)
    record_evidence(
        conn,
        "notice",
        "request",
        request.id,
        stored.sha256,
        {"agency": request.agency, "number": notice.number},
        now,
    )
    if notice.receipt_number:
        _store_receipt(conn, opened, notice.receipt_number)
    if notice.decisions:
        outdate_early_decisions(conn, case, request, notice.number, now)
    event = move_request(conn, codes, opened, (notice, stored), now)
    opened.write(conn)
    apply_fee_notice(conn, hub, request, (notice, code), (stored.known, codes), now)
    if event == "cancel":
        end_fees_of_cancelled(conn, request.id, now, decided=request.state == "DECIDED")
    if notice.decisions or event == "cancel":
        record_late_decision(conn, case, request, stored.id, notice.number, now)
    if notice.decisions and is_cancellation_open(request):
        answer_cancellation_by_decision(conn, case, request.id, notice.number, now)
    if event == "refuse_cancel":
        offer_kept_certificates(conn, request.id, f"kept:{request.number}:{notice.number}", now)
    if case.state == "WITHDRAWN":
        settle_late_notice(conn, case, request.id, (stored.id, notice.number), now)
    if notice.decisions or event in CANCELLATION_EVENTS:
        move_case(conn, hub.rules.bundle.units, case, notice.number, now)
    enqueue_task(
        conn, "notify", ("notice", stored.id), f"notify:{request.id}:{notice.number}", now, case_id=case.id
    )
    return known


def _name_fee(notice: Notice) -> str:
    return notice.fee.payment_notice if notice.fee else ""


def _check_version(notice: Notice, stored: StoredNotice) -> None:
    """Raise GW702 for a correction whose version was told before with other corrections."""
    if notice.version is None:
        return
    for one in stored.known:
        same = one.status_code == notice.status_code and notice.version in one.text.splitlines()
        if same and one.text != notice.text:
            detail = f"this version was told with other corrections in notice {one.number[:40]}"
            raise GatewayError(DECISION_CONFLICT, detail, "Version")


def _check_decided_items(request: Row[Any], said: Iterable[Decision]) -> None:
    """Raise GW404 for decisions on items or laws that the request does not contain.

    An agency may decide on an item before it hears that it was removed.
    """
    asked = {(item, law) for item, law in (*request.required, *(request.removed or ()))}
    for position, decision in enumerate(said, start=1):
        if (decision.item, decision.law) not in asked:
            detail = f"item {decision.item} under law {decision.law[:20]} is no part of {request.number}"
            raise GatewayError(RULE_BROKEN, detail, f"Decision[{position}]")


def _add_requirements(
    conn: Connection, hub: Hub, about: tuple[Row[Any], Row[Any]], said: Notice, now: datetime
) -> list[int]:
    """Add the certificates of a notice to the ledger, each for the importer or exporter of the case.

    Return the requirements (row ids) of the numbers that the ledger had before.
    """
    case, request = about
    numbers = sorted({one.number for one in said.decisions if one.number and one.quantity is not None})
    known = {one.number for one in said.decisions if one.number} - {*numbers}
    known = (
        {str(row.number) for row in requirement_quantities.find_requirements(conn, known)} if known else set()
    )
    if numbers or known:
        # What the decisions give back or take again is locked too, before any of it is changed.
        lock_case_requirements(conn, case.id, {*numbers, *known})
    holder = _find_holder(hub, case, request)
    for number in numbers:
        if requirement_quantities.ensure_requirement(conn, request.agency, number, holder, now):
            known.add(number)
    granted = list_granted_certificates(conn, numbers)
    before = [one for one, standing in granted if standing in _LASTING]
    for number in numbers:
        mine = [one for one in before if (one.agency, one.number) == (request.agency, number)]
        if all(one.issued_at <= said.issued_at for one in mine):
            requirement_quantities.set_last_day(conn, request.agency, number, said.valid_until)
    join_waiting_cases(conn, numbers, f"{request.number}:{said.number}", now)
    # Looked up again: one that another transaction has stored meanwhile is among them now.
    found = requirement_quantities.find_requirements(conn, known) if known else ()
    return [int(row.id) for row in found if row.agency == request.agency]


def _find_holder(hub: Hub, case: Row[Any], request: Row[Any] | OpenRequest) -> str:
    """Return the id of the importer, or of the exporter for an export document; empty where not given."""
    document = hub.rules.bundle.documents.get(request.document)
    trader = "exporter" if document is not None and document.direction == "export" else "importer"
    return str((case.detail or {}).get(trader, ""))


def _make_notice_row(request: Row[Any], notice: Notice) -> NewNotice:
    return NewNotice(
        request_id=request.id,
        agency=request.agency,
        number=notice.number,
        issued_at=notice.issued_at.astimezone(UTC),
        status_code=notice.status_code,
        text=notice.text,
        pointers=notice.pointers,
        deadline=notice.deadline.astimezone(UTC) if notice.deadline else None,
        decisions=(
            *sorted({repr(one) for one in notice.decisions}),
            *([repr(notice.fee)] if notice.fee else []),
            *([f"valid until {notice.valid_until}"] if notice.valid_until else []),
        ),
    )


def _make_decision_row(request: Row[Any], notice: Notice, decision: Decision) -> NewDecision:
    return NewDecision(
        request_id=request.id,
        agency=request.agency,
        notice_no=notice.number,
        item=decision.item,
        law=decision.law,
        issued_at=notice.issued_at,
        decision=decision.decision.value,
        number=decision.number,
        date=decision.date,
        quantity=None if decision.quantity is None else f"{decision.quantity:f}",
        unit=decision.unit,
        conditions=decision.conditions,
    )
