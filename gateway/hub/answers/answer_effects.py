"""The effects of an agency's answer on its request and its case, in the transaction of its arrival.

The input is an acknowledgment or a notice, for a request of a locked case (`gateway.hub.answers.reply`). A
notice is stored once; its decisions, certificates and fees are stored with it, the request moves, and the
case with it. Results that the agency gave under the number of a requirement before its application was
decided are applied here, too.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import Connection

from gateway.cases import (
    APPROVING_CODES,
    AgencyAcknowledgment,
    AgencyAnswer,
    CertificateUsability,
    Decision,
    FeeStep,
    Notice,
    StatusCode,
    check_issued_after_opening,
    check_notice_numbers,
    check_notice_status,
    complete_decisions,
    compose_refund_text,
    list_applicant_conditions,
    select_current_decisions,
)
from gateway.errors import CASE_CLOSED, DECISION_CONFLICT, REPLY_UNMATCHED, RULE_BROKEN, GatewayError
from gateway.evidence import STORED, digest_rows, record_evidence
from gateway.hub.answers.case_progress import (
    CANCELLATION_EVENTS,
    answer_cancellation_by_decision,
    move_case,
    move_request,
    outdate_early_decisions,
)
from gateway.hub.answers.overruled_notices import record_overruling
from gateway.hub.answers.placed_notices import find_notice_time, list_reviving_notices, place_new_notice
from gateway.hub.completion.standing_demands import is_cancellation_open, make_standing_decisions
from gateway.hub.customs.late_decisions import record_late_decision
from gateway.hub.deadlines.due_times import restate_deadline
from gateway.hub.fees.fee_ends import check_forwarded, end_fees_of_cancelled
from gateway.hub.fees.fee_notices import FeeNotice, apply_fee_notice
from gateway.hub.fees.matched_ends import FeeHistory
from gateway.hub.hub import Hub
from gateway.hub.outbox.local_tasks import enqueue_task
from gateway.hub.requirements.earlier_results import assign_earlier_notices
from gateway.hub.requirements.granted_certificates import list_granted_certificates
from gateway.hub.requirements.requirement_ledger import (
    join_waiting_cases,
    lock_case_requirements,
    offer_kept_certificates,
)
from gateway.notice_order import order_notice
from gateway.state_machines import REQUEST, get_next_state
from gateway.store import (
    AgencyRequestRow,
    CaseRow,
    DecisionWithTextRow,
    NewDecision,
    NewNotice,
    NoticeSummary,
    OpenRequest,
    OpenRequestRow,
    RequirementRow,
    StateEvent,
    StoredNotice,
    agency_requests,
    cases,
    decisions,
    notices,
    open_request,
    overruled_notices,
    requirement_quantities,
)

_ACTOR: Final = "reply"


def apply_notice_after_withdrawal(
    conn: Connection, case: CaseRow, request: int, notice_id: int, notice_number: str, now: datetime
) -> None:
    """Apply a new notice (row id and number) about a request (row id) of a case that is withdrawn.

    An agency that gives a new approval is asked to cancel it, unless it is being asked already.
    """
    row = agency_requests.find_by_id(conn, request)
    if row is None or row.state == "CANCELLED":
        return
    request_decisions = decisions.list_by_request(conn, request)
    before = _list_approved(
        row, (decision for decision in request_decisions if decision.notice_no != notice_number)
    )
    approved = _list_approved(row, request_decisions)
    if is_cancellation_open(row):
        _store_kept_approvals(conn, case, row.number, _list_kept_approvals(case, row.number) & approved)
        return
    if approved <= before:
        return
    _store_kept_approvals(
        conn, case, row.number, before & approved if row.cancellation == "REFUSED" else set()
    )
    event = StateEvent("ask_cancel", now, _ACTOR, notice_number[:100])
    agency_requests.apply_event(conn, request, event, cancellation="ASKED")
    enqueue_task(conn, "ask_cancel", "notice", notice_id, f"ask_cancel:{notice_id}", now, case_id=case.id)
    data = {"agency": row.agency, "application": row.number, "number": notice_number}
    record_evidence(conn, "late_approval", "case", case.id, None, data, now)


def _list_approved(request: AgencyRequestRow, rows: Iterable[DecisionWithTextRow]) -> set[tuple[int, str]]:
    """Return each item and law of a request that the decisions in force approve."""
    current = select_current_decisions(make_standing_decisions(rows, {request.id: request.number}))
    approved = (ranked.decision for ranked in current if ranked.decision.decision in APPROVING_CODES)
    return {(decision.item, decision.law) for decision in approved}


def _list_kept_approvals(case: CaseRow, application: str) -> set[tuple[int, str]]:
    """Return each item and law that an agency has refused to cancel before it was asked again."""
    stored = (case.detail or {}).get(requirement_quantities.WITHDRAWN_KEPT, {})
    return {(item, law) for item, law in stored.get(application, ())}


def _store_kept_approvals(
    conn: Connection, case: CaseRow, application: str, approved: set[tuple[int, str]]
) -> None:
    """Store the approvals that an application keeps while its agency is asked to cancel the others.

    `approved` are pairs of item and law that the agency has refused to cancel.
    """
    if approved == _list_kept_approvals(case, application):
        return
    detail = dict(case.detail or {})
    kept_by_application = detail.get(requirement_quantities.WITHDRAWN_KEPT, {})
    detail[requirement_quantities.WITHDRAWN_KEPT] = kept_by_application | {
        application: [list(pair) for pair in sorted(approved)]
    }
    cases.set_detail(conn, case.id, detail)


#: Certificates whose last day counts, now or when their agency has answered a question.
_LASTING = (CertificateUsability.USABLE, CertificateUsability.SUSPENDED)


def open_locked_request(conn: Connection, request: int) -> OpenRequest:
    """Return a request of a locked case; raises GW701 where there is none."""
    opened = open_request(conn, request)
    if opened is None:
        raise GatewayError(REPLY_UNMATCHED, f"there is no request {request}")
    return opened


@dataclass(frozen=True, slots=True)
class _AppliedNotice:
    """A notice that is applied to a request of a locked case; `request` is as it was before."""

    hub: Hub
    case: CaseRow
    request: OpenRequestRow
    notice: Notice
    now: datetime


def apply_answer_to_request(
    conn: Connection, hub: Hub, case: CaseRow, request: OpenRequest, answer: AgencyAnswer, now: datetime
) -> None:
    """Apply an answer to a request of a locked case, and write the changes of the request."""
    codes = hub.load_rules_of(conn, request).status_codes
    check_forwarded(conn, request, answer, codes)
    if isinstance(answer, AgencyAcknowledgment):
        _apply_acknowledgment(conn, request, answer, now)
    else:
        requirement_ids = _apply_notice(conn, hub, case, request, answer, codes, now)
        if requirement_ids:
            request.write(conn)
            apply_earlier_results(conn, hub, case, request.id, requirement_ids, now)
            return
    request.write(conn)


def apply_earlier_results(
    conn: Connection,
    hub: Hub,
    case: CaseRow,
    request_id: int,
    requirement_ids: Collection[int],
    now: datetime,
) -> None:
    """Apply the results that agencies gave earlier, without an application, to a request decided now.

    `request_id` is the request (row id). Its decisions name the numbers of the requirements `requirement_ids`
    (row ids), whose rows are locked; the results about these are applied as notices. A request that is
    cancelled, or was decided at the console, is not changed.
    """
    request = open_locked_request(conn, request_id)
    # Results from the system of the agency do not change a decision of its officers, even if they came first.
    if request.state == "CANCELLED" or request.decided_at_console:
        return
    for notice in assign_earlier_notices(
        conn, case, request.copy_state(), requirement_ids, _find_holder(hub, case, request), now
    ):
        reopened = open_locked_request(conn, request_id)
        # The hub accepted the result by its status codes in force, before any case asked for it: these codes
        # prevail over those of the case.
        codes = {**hub.load_rules_of(conn, reopened).status_codes, **hub.rules.status_codes}
        locked_case = cases.lock_case(conn, case.id)
        _apply_notice(conn, hub, locked_case, reopened, notice, codes, now, came_before=True)
        reopened.write(conn)


def _apply_acknowledgment(
    conn: Connection, request: OpenRequest, answer: AgencyAcknowledgment, now: datetime
) -> None:
    """Store the first receipt number; an acknowledgment that changes nothing is not recorded again."""
    former_number, number = request.receipt_number, answer.receipt_number
    changes_state = get_next_state(REQUEST, request.state, "acknowledge") != request.state
    if not changes_state and former_number == number:
        return
    values = {"receipt_number": number} if former_number is None else {}
    event = StateEvent("acknowledge", now, request.agency, number[:100])
    request.apply_event(conn, event, **values)
    _correlate_receipt(conn, request, number)
    record_evidence(conn, "acknowledged", "request", request.id, None, {"receipt": number}, now)


def _store_receipt(conn: Connection, request: OpenRequest, number: str) -> None:
    """Store the receipt number that a notice states; the first one that an agency gave stays."""
    if request.receipt_number is None:
        request.set_columns(receipt_number=number)
    _correlate_receipt(conn, request, number)


def _correlate_receipt(conn: Connection, request: OpenRequest, number: str) -> None:
    # Some agencies give one receipt number to several applications: it then identifies the first one.
    value = f"{request.agency}:{number}"
    agency_requests.ensure_correlation(conn, "agency-receipt", value, request.case_id, request.id)


def _apply_notice(
    conn: Connection,
    hub: Hub,
    case: CaseRow,
    locked_request: OpenRequest,
    notice: Notice,
    status_codes: Mapping[str, StatusCode],
    now: datetime,
    *,
    came_before: bool = False,
) -> Sequence[int]:
    """Apply a notice, read by the status codes, to the opened request of a locked case.

    `came_before` says that it is a result that came before the application was decided. Return the
    requirements (row ids) it names that the ledger had before.
    """
    # As it is before the notice moves it.
    request = locked_request.copy_state()
    code = check_notice_status(notice, status_codes)
    new_notice = make_notice_row(request, notice)
    # `new_notice` has the notice as it was sent, to compare it with repeats: the application may change
    # meanwhile.
    notice = complete_decisions(notice, code, request.required, hub.zone)
    due_at = restate_deadline(conn, hub, request.agency, notice.deadline)
    notice = notice if due_at is notice.deadline else replace(notice, deadline=due_at)
    check_decided_items(request, notice.decisions)
    if request.state == "CANCELLED" and (notice.decisions or code.event == "decide"):
        raise GatewayError(CASE_CLOSED, f"application {request.number} was cancelled", "ApplicationNumber")
    counts_at = find_notice_time(conn, request, notice, now)
    if counts_at != notice.issued_at:
        notice = replace(notice, states_day=False)
    stored_notice = notices.insert_notice(
        conn,
        new_notice,
        now,
        deadline=notice.deadline,
        text=compose_refund_text(notice.text, notice.fee) if code.fee_step == FeeStep.REFUND else None,
        is_first_notice=not request.noticed,
        payment_notice=_get_payment_notice(notice) if code.fee_step else None,
        day_begins_at=notice.issued_at if notice.states_day else None,
        stated_at=notice.issued_at if counts_at != notice.issued_at else None,
    )
    if stored_notice is None:
        return ()
    check_issued_after_opening(counts_at, case.opened_at)
    check_notice_numbers(notice)
    check_version(notice, stored_notice)
    may_be_cleared = request.clearance or request.released
    former_rows = decisions.list_by_request(conn, request.id) if may_be_cleared else ()
    former_places = stored_notice.request_notices
    stored_notice = place_new_notice(conn, request, notice, stored_notice, status_codes, counts_at)
    notice = replace(notice, issued_at=stored_notice.issued_at)
    data: dict[str, Any] = {"agency": request.agency, "number": notice.number}
    data |= _describe_places(former_places, stored_notice)
    data |= _store_decisions(conn, request, notice, stored_notice, now)
    if any(summary.day_begins_at for summary in stored_notice.request_notices) and (
        revived := overruled_notices.forget_overruling(conn, request.id)
    ):
        data["revived"] = revived
    applied_notice = _AppliedNotice(hub, case, request, notice, now)
    requirement_ids = _add_requirements(conn, applied_notice)
    # A result that came before the decision on its application was in force until then.
    if not came_before and (
        overruled_by := record_overruling(conn, request, stored_notice, code, status_codes, now)
    ):
        data["overruled_by"] = overruled_by
    if notice.receipt_number:
        _store_receipt(conn, locked_request, notice.receipt_number)
        data["receipt"] = notice.receipt_number
    if notice.decisions:
        early = outdate_early_decisions(conn, case, request, notice.number, now)
        data |= _describe_outdated([*data.pop("outdated", ()), *early.decision_ids], early.last_decision_id)
    record_evidence(conn, "notice", "request", request.id, stored_notice.sha256, data, now)
    event = move_request(conn, status_codes, locked_request, notice, stored_notice, now)
    locked_request.write(conn)
    history = FeeHistory(stored_notice.request_notices, status_codes)
    apply_fee_notice(conn, FeeNotice(hub, request, notice, code, history, now))
    _apply_consequences(conn, applied_notice, stored_notice, event)
    _record_revived_decisions(conn, applied_notice, stored_notice, former_rows)
    return requirement_ids


def _record_revived_decisions(
    conn: Connection,
    applied_notice: _AppliedNotice,
    stored_notice: StoredNotice,
    former_rows: Sequence[DecisionWithTextRow],
) -> None:
    """Record for customs what counts of a cleared request since this notice has moved others of its day."""
    if not former_rows or not any(summary.day_begins_at for summary in stored_notice.request_notices):
        return
    request = applied_notice.request
    revived = list_reviving_notices(conn, request.id, former_rows, applied_notice.notice.number)
    for summary in stored_notice.request_notices:
        if summary.number in revived:
            record_late_decision(
                conn,
                applied_notice.case,
                request,
                summary.id,
                summary.number,
                applied_notice.now,
                revived_by=stored_notice.id,
            )


def _describe_places(former: Iterable[NoticeSummary], stored_notice: StoredNotice) -> dict[str, Any]:
    """Return for the evidence the places of the notices of a day alone that a new notice has moved.

    `former` are the notices about its request as they were before.
    """
    former_places = {summary.id: summary.issued_at for summary in former}
    placed = {
        summary.number: summary.issued_at.astimezone(UTC).isoformat()
        for summary in stored_notice.request_notices
        if summary.issued_at != former_places[summary.id]
    }
    return {"placed": placed} if placed else {}


def _store_decisions(
    conn: Connection, request: OpenRequestRow, notice: Notice, stored_notice: StoredNotice, now: datetime
) -> dict[str, Any]:
    """Store the decisions of a notice, and return what its evidence says of the stored rows.

    Decisions about a removed item are stored and do not count.
    """
    new = [_make_decision_row(request, notice, decision) for decision in notice.decisions]
    stored = decisions.insert_decisions(conn, new, now, is_first_notice=not request.noticed)
    outdated_ids: list[int] = []
    if request.removed:
        removed_items = {int(item) for item, _ in request.removed}
        outdated_ids = decisions.outdate_items(conn, request.id, removed_items, now)
    digests = {
        "notices": digest_rows("notices", [stored_notice.values]),
        "decisions": digest_rows("decisions", stored.rows),
    }
    superseded = {str(old): new for old, new in stored.successors.items()}
    return {
        STORED: digests,
        **({"superseded": superseded} if superseded else {}),
        **_describe_outdated(outdated_ids),
    }


def _describe_outdated(decision_ids: Sequence[int], last_decision_id: int | None = None) -> dict[str, Any]:
    """Return for the evidence of a notice which decisions (row ids) do not count since it came."""
    outdated: dict[str, Any] = {"outdated": list(decision_ids)} if decision_ids else {}
    return outdated if last_decision_id is None else outdated | {"outdated_up_to": last_decision_id}


def _apply_consequences(
    conn: Connection, applied_notice: _AppliedNotice, stored_notice: StoredNotice, event: str
) -> None:
    """Settle the further effects of a notice, after those on its request: fees, customs, ledger, case.

    `stored_notice` is the row of the notice, `event` is the event of the request that it caused. A task that
    sends the notice to the applicant is queued.
    """
    case, request, notice, now = (
        applied_notice.case,
        applied_notice.request,
        applied_notice.notice,
        applied_notice.now,
    )
    if event == "cancel":
        end_fees_of_cancelled(conn, request.id, now, was_decided=request.state == "DECIDED")
    if notice.decisions or event == "cancel":
        # Only for an application that customs has cleared already; otherwise this records nothing.
        record_late_decision(conn, case, request, stored_notice.id, notice.number, now)
    if notice.decisions and is_cancellation_open(request):
        answer_cancellation_by_decision(conn, case, request.id, notice.number, now)
    if event == "refuse_cancel":
        # The agency does not cancel its approvals: cases that wait for these certificates check again.
        offer_kept_certificates(conn, request.id, f"kept:{request.number}:{notice.number}", now)
    if case.state == "WITHDRAWN":
        apply_notice_after_withdrawal(conn, case, request.id, stored_notice.id, notice.number, now)
    if notice.decisions or event in CANCELLATION_EVENTS:
        move_case(conn, applied_notice.hub.rules.bundle.units, case, notice.number, now)
    key = f"notify:{request.id}:{notice.number}"
    enqueue_task(conn, "notify", "notice", stored_notice.id, key, now, case_id=case.id)


def _get_payment_notice(notice: Notice) -> str:
    return notice.fee.payment_notice if notice.fee else ""


def check_version(notice: Notice, stored_notice: StoredNotice) -> None:
    """Raise GW702 for a correction whose version was used before with other corrections."""
    if notice.version is None:
        return
    for earlier in stored_notice.request_notices:
        same = earlier.status_code == notice.status_code and notice.version in earlier.text.splitlines()
        if same and earlier.text != notice.text:
            detail = f"this version was told with other corrections in notice {earlier.number[:40]}"
            raise GatewayError(DECISION_CONFLICT, detail, "Version")


def check_decided_items(request: AgencyRequestRow, stated_decisions: Iterable[Decision]) -> None:
    """Raise GW404 for decisions on items or laws that the request does not contain.

    Removed items are allowed: an agency may decide on an item before it learns of the removal.
    """
    pairs = {(item, law) for item, law in (*request.required, *(request.removed or ()))}
    for position, decision in enumerate(stated_decisions, start=1):
        if (decision.item, decision.law) not in pairs:
            detail = f"item {decision.item} under law {decision.law[:20]} is no part of {request.number}"
            raise GatewayError(RULE_BROKEN, detail, f"Decision[{position}]")


def _add_requirements(conn: Connection, applied_notice: _AppliedNotice) -> list[int]:
    """Add the certificates of a notice to the ledger, each for the importer or exporter of the case.

    Return the requirements (row ids) of the numbers that the ledger had before.
    """
    numbered = [decision for decision in applied_notice.notice.decisions if decision.number]
    numbers = sorted({str(decision.number) for decision in numbered if decision.quantity is not None})
    other_numbers = {str(decision.number) for decision in numbered} - {*numbers}
    ledger_numbers = {row.number for row in _find_requirements(conn, other_numbers)}
    if numbers or ledger_numbers:
        # The uses that the decisions give back or take again are locked too, before any of them is changed.
        lock_case_requirements(conn, applied_notice.case.id, {*numbers, *ledger_numbers})
    if numbers:
        ledger_numbers |= _store_certificates(conn, applied_notice, numbers)
    # Looked up again: one that another transaction has stored meanwhile is among them now.
    requirements = _find_requirements(conn, ledger_numbers)
    return [int(row.id) for row in requirements if row.agency == applied_notice.request.agency]


def _find_requirements(conn: Connection, numbers: Collection[str]) -> Sequence[RequirementRow]:
    return requirement_quantities.find_requirements(conn, numbers) if numbers else ()


def _store_certificates(conn: Connection, applied_notice: _AppliedNotice, numbers: Sequence[str]) -> set[str]:
    """Store the certificates of a notice for their holder, and let the cases that wait for them check again.

    Return the numbers that the ledger had before.
    """
    agency, notice, now = applied_notice.request.agency, applied_notice.notice, applied_notice.now
    holder = _find_holder(applied_notice.hub, applied_notice.case, applied_notice.request)
    ledger_numbers = {
        number
        for number in numbers
        if requirement_quantities.ensure_requirement(conn, agency, number, holder, now)
    }
    granted = list_granted_certificates(conn, numbers)
    lasting = [row for row, state in granted if state in _LASTING and row.agency == agency]
    order = order_notice(notice.issued_at, notice.number)
    for number in numbers:
        if all(
            order_notice(row.issued_at, row.notice_no) <= order for row in lasting if row.number == number
        ):
            requirement_quantities.set_last_day(conn, agency, number, notice.valid_until)
    join_waiting_cases(conn, numbers, f"{applied_notice.request.number}:{notice.number}", now)
    return ledger_numbers


def _find_holder(hub: Hub, case: CaseRow, request: AgencyRequestRow) -> str:
    """Return the id of the importer, or of the exporter for an export document; empty where not given."""
    document = hub.rules.bundle.documents.get(request.document)
    trader = "exporter" if document is not None and document.direction == "export" else "importer"
    return str((case.detail or {}).get(trader, ""))


def make_notice_row(request: AgencyRequestRow, notice: Notice) -> NewNotice:
    """Return the row of a notice as it was sent, to compare it with repeats; times are in UTC."""
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
            *sorted({repr(decision) for decision in notice.decisions}),
            *([repr(notice.fee)] if notice.fee else []),
            *([f"valid until {notice.valid_until}"] if notice.valid_until else []),
        ),
    )


def _make_decision_row(request: AgencyRequestRow, notice: Notice, decision: Decision) -> NewDecision:
    """Return the row of one `decision` of a notice, with the conditions as the applicant reads them."""
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
        conditions=list_applicant_conditions(decision.decision, decision.conditions, notice.valid_until),
    )
