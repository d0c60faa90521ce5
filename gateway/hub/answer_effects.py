"""What an agency's answer does to its request and its case, in the transaction in which it arrives.

The input is an acknowledgment or a notice, for a request of a locked case (`gateway.hub.reply`). A
notice is stored once; its decisions, certificates and fees are stored with it, the request moves, and
the case with it. What was said under the number of a requirement before its application was decided
is applied here too.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row

from gateway.cases import (
    AgencyAcknowledgment,
    AgencyAnswer,
    CertificateStanding,
    Decision,
    Notice,
    StatusCode,
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
from gateway.hub.completion import is_cancellation_open
from gateway.hub.customs import record_late_decision
from gateway.hub.deadlines import restate_deadline
from gateway.hub.earlier_results import take_earlier_notices
from gateway.hub.fees import apply_fee_notice, check_forwarded, end_fees_of_cancelled
from gateway.hub.granted_certificates import list_granted_certificates
from gateway.hub.hub import Hub
from gateway.hub.late_approvals import settle_late_notice
from gateway.hub.outbox import enqueue_task
from gateway.hub.requirement_ledger import (
    join_waiting_cases,
    lock_case_requirements,
    offer_kept_certificates,
)
from gateway.state_machines import REQUEST, get_next_state
from gateway.store import (
    NewDecision,
    NewNotice,
    OpenRequest,
    StateEvent,
    StoredNotice,
    cases,
    correlations,
    decisions,
    notices,
    open_request,
    requirement_quantities,
)

__all__ = ["apply_earlier_results", "apply_to_request", "open_locked_request"]

#: Certificates whose last day counts, now or when their agency has answered a question.
_LASTING = (CertificateStanding.USABLE, CertificateStanding.SUSPENDED)


def open_locked_request(conn: Connection, request: int) -> OpenRequest:
    """Return a request of a locked case; raises GW701 where there is none."""
    found = open_request(conn, request)
    if found is None:
        raise GatewayError(REPLY_UNMATCHED, f"there is no request {request}")
    return found


def apply_to_request(
    conn: Connection, hub: Hub, about: tuple[Row[Any], OpenRequest], answer: AgencyAnswer, now: datetime
) -> None:
    """Apply an answer to a request of a locked case, and write what was changed of the request."""
    request = about[1]
    codes = hub.load_rules_of(conn, request).status_codes
    check_forwarded(conn, request, answer, codes)
    if isinstance(answer, AgencyAcknowledgment):
        _apply_acknowledgment(conn, request, answer, now)
    else:
        known = _apply_notice(conn, hub, about, (answer, codes), now)
        if known:
            request.write(conn)
            apply_earlier_results(conn, hub, about[0], request.id, known, now)
            return
    request.write(conn)


def apply_earlier_results(
    conn: Connection, hub: Hub, case: Row[Any], request_id: int, wanted: Collection[int], now: datetime
) -> None:
    """Apply what was said of locked requirements (row ids) before to the request decided under them."""
    request = open_locked_request(conn, request_id)
    # What the system of the agency says of what its officers have decided is refused in every order.
    if request.state == "CANCELLED" or request.decided_at_console:
        return
    for notice in take_earlier_notices(
        conn, (case, request.copy_state()), wanted, _find_holder(hub, case, request), now
    ):
        again = open_locked_request(conn, request_id)
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
    due_at = restate_deadline(conn, hub, request.agency, notice.deadline)
    notice = notice if due_at is notice.deadline else replace(notice, deadline=due_at)
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
    _store_decisions(conn, case, request, notice, now)
    known = _add_requirements(conn, hub, (case, request), notice, now)
    data = {"agency": request.agency, "number": notice.number}
    record_evidence(conn, "notice", "request", request.id, stored.sha256, data, now)
    if notice.receipt_number:
        _store_receipt(conn, opened, notice.receipt_number)
    if notice.decisions:
        outdate_early_decisions(conn, case, request, notice.number, now)
    event = move_request(conn, codes, opened, (notice, stored), now)
    opened.write(conn)
    apply_fee_notice(conn, hub, request, (notice, code), (stored.known, codes), now)
    _settle_consequences(conn, hub, (case, request), (notice, stored, event), now)
    return known


def _store_decisions(
    conn: Connection, case: Row[Any], request: Row[Any], notice: Notice, now: datetime
) -> None:
    """Store the decisions of a notice. What is said of a removed item is kept and does not count."""
    rows = [_make_decision_row(request, notice, one) for one in notice.decisions]
    decisions.insert_decisions(conn, rows, now, case_id=case.id)
    if request.removed:
        decisions.outdate_items(conn, request.id, {int(item) for item, _ in request.removed}, now)


def _settle_consequences(
    conn: Connection,
    hub: Hub,
    about: tuple[Row[Any], Row[Any]],
    said: tuple[Notice, StoredNotice, str],
    now: datetime,
) -> None:
    """Settle what follows from a notice that has moved its request: fees, customs, ledger, case, applicant.

    `about` is the locked case, and the request as it was before; `said` ends with the event of the request.
    """
    case, request = about
    notice, stored, event = said
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
    key = f"notify:{request.id}:{notice.number}"
    enqueue_task(conn, "notify", ("notice", stored.id), key, now, case_id=case.id)


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
    if numbers:
        known |= _store_certificates(conn, (request, _find_holder(hub, case, request)), said, numbers, now)
    # Looked up again: one that another transaction has stored meanwhile is among them now.
    found = requirement_quantities.find_requirements(conn, known) if known else ()
    return [int(row.id) for row in found if row.agency == request.agency]


def _store_certificates(
    conn: Connection, about: tuple[Row[Any], str], said: Notice, numbers: Sequence[str], now: datetime
) -> set[str]:
    """Store the certificates of a notice for their holder, and let the cases that wait for them look again.

    Return the numbers that the ledger had before. `about` is the request and the holder.
    """
    request, holder = about
    known = {
        number
        for number in numbers
        if requirement_quantities.ensure_requirement(conn, request.agency, number, holder, now)
    }
    granted = list_granted_certificates(conn, numbers)
    before = [one for one, standing in granted if standing in _LASTING]
    for number in numbers:
        mine = [one for one in before if (one.agency, one.number) == (request.agency, number)]
        if all(one.issued_at <= said.issued_at for one in mine):
            requirement_quantities.set_last_day(conn, request.agency, number, said.valid_until)
    join_waiting_cases(conn, numbers, f"{request.number}:{said.number}", now)
    return known


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
