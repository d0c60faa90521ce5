"""Step 6, conclude: a decided or refused case gets one result for the applicant and for customs.

The input is a case whose last decision has arrived, or whose submission was refused. The result is
made, signed and sealed before the transaction. Its key is computed from the decisions it rests on:
the same result is stored once, and a result that a correction has overtaken is not stored. When the
transaction has committed, the result is stored as an outgoing message with a delivery, and the call
to customs is queued. The delivery worker sends both. When the last delivery of the case is done,
the case is closed (`gateway.hub.completion.case_closing`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, tzinfo
from typing import Any, Final

from lxml import etree
from sqlalchemy import Connection

from gateway.cases import (
    CaseOutcome,
    DecidedRequest,
    NamedFee,
    Notice,
    RankedDecision,
    ReportedProblem,
    describe_awaited_requirement,
    make_notice_document,
    make_result_document,
    select_current_decisions,
)
from gateway.errors import (
    APPLICATION_CANCELLED,
    APPLICATION_SUPERFLUOUS,
    CANCELLATION_REFUSED,
    DISCLAIMER_CONTRADICTED,
    DISCLAIMER_NOT_ACCEPTED,
    DOCUMENT_NEEDED,
    DOCUMENT_PERHAPS_NEEDED,
)
from gateway.harmonize import MappingBundle
from gateway.hub.completion import case_closing
from gateway.hub.completion.case_closing import AWAITED_KEY, describe_awaited_numbers, get_reported_numbers
from gateway.hub.completion.outside_decisions import (
    list_all_decisions,
    list_outside_decisions,
    list_outside_requests,
    list_reported_decisions,
)
from gateway.hub.completion.standing_demands import (
    compute_conclusion_id,
    list_cancellations,
    list_standing_numbers,
    make_standing_decisions,
    read_stored_decision,
)
from gateway.hub.deadlines.case_deadlines import find_end_of_day
from gateway.hub.fees.fee_records import find_fee_paid_elsewhere, read_fee_money
from gateway.hub.hub import Hub
from gateway.hub.outbox.applicant_messages import (
    CaseSnapshot,
    QueuedMessage,
    load_case_snapshot,
    make_case_header,
    make_request_state,
    make_undecided_snapshot,
    seal_message,
    seal_notice,
    store_message,
)
from gateway.hub.outbox.delivery_failures import KeptDocument
from gateway.hub.outbox.local_tasks import FinishLease, require_row
from gateway.hub.requirements.requirement_coverage import list_answered_laws
from gateway.hub.submissions.forward import (
    compose_late_pending_call,
    compose_outcome_call,
    enqueue_late_pending_call,
    enqueue_outcome_call,
    is_outcome_reported,
    must_report_outcome,
)
from gateway.store import (
    CaseRow,
    DeliveryOutlineRow,
    FeeRow,
    NoticeRow,
    RequestWithFeesRow,
    agency_requests,
    cases,
    decisions,
    deliveries,
    find_notice_with_case,
    read_transaction,
    run_in_group_commit,
)

#: The warnings of the rules of need; the goods of a withdrawn declaration need no documents any more.
_NEED_WARNING_IDS: Final = frozenset(
    one.id
    for one in (
        DOCUMENT_NEEDED,
        DISCLAIMER_CONTRADICTED,
        DISCLAIMER_NOT_ACCEPTED,
        DOCUMENT_PERHAPS_NEEDED,
        APPLICATION_SUPERFLUOUS,
    )
)


def select_standing_warnings(
    conn: Connection,
    case: CaseRow,
    current_decisions: Iterable[RankedDecision],
    get_bundle: Callable[[], MappingBundle],
) -> list[dict[str, Any]]:
    """Return the warnings of a case, without those about documents that are not needed any more.

    `current_decisions` are those in force, `get_bundle` returns the present mappings. A withdrawn declaration
    needs no document, nor does an item that an agency has decided about under the law that needs it, or that
    has a certificate under this law: decision and certificate may come after the declaration. A certificate
    that was revoked later is reported as a decision, and not as a missing document.
    """
    detail: Mapping[str, Any] = case.detail or {}
    warnings: list[dict[str, Any]] = list(detail.get("warnings", ()))
    is_withdrawn = case.outcome == CaseOutcome.WITHDRAWN
    decided_subjects = {(ranked.decision.item, ranked.decision.law) for ranked in current_decisions}
    needed = detail.get("needed", ())
    if needed:
        decided_subjects |= list_answered_laws(conn, case.id, get_bundle())
    answered_texts = {need["text"] for need in needed if (need["item"], need["law"]) in decided_subjects}
    return [
        warning
        for warning in warnings
        if warning["text"] not in answered_texts and not (is_withdrawn and warning["id"] in _NEED_WARNING_IDS)
    ]


def read_standing_warnings(
    conn: Connection, case: CaseRow, get_bundle: Callable[[], MappingBundle]
) -> list[dict[str, Any]]:
    """Return the warnings of a case that the decisions now in force leave."""
    if not (case.detail or {}).get("warnings"):
        return []
    current_decisions = select_current_decisions(list_all_decisions(conn, case.id))
    return select_standing_warnings(conn, case, current_decisions, get_bundle)


@dataclass(frozen=True, slots=True)
class Conclusion:
    """One conclusion of a case: its key, and the id of the decisions it rests on (None: no decisions)."""

    key: str
    conclusion_id: str | None = None


def conclude_case(hub: Hub, case_id: int, conclusion: Conclusion, end_lease: FinishLease) -> None:
    """Make the result of a decided or refused case and queue it.

    A conclusion that a correction has overtaken is not sent: the next conclusion follows.
    """
    now = hub.clock()
    case_snapshot = load_case_snapshot(hub, case_id)
    if not _is_current_conclusion(
        conclusion, case_snapshot.case, case_snapshot.decisions, case_snapshot.requests
    ):
        run_in_group_commit(hub.engine, "conclude.overtaken", end_lease)
        return
    outgoing = seal_message(hub, case_snapshot, "Result", _make_result_document(hub, case_snapshot, now), now)
    outcome_call = compose_outcome_call(hub, case_snapshot)
    pending_call = compose_late_pending_call(hub, case_snapshot, outcome_call)

    def store_result(conn: Connection) -> None:
        """Store the result `outgoing` with its delivery and the call to customs, and end the lease.

        If the decisions have changed since the result was made, it is not stored: the next one follows.
        """
        case = cases.lock_case(conn, case_id)
        requests = agency_requests.list_by_case(conn, case_id)
        rows = decisions.list_by_case(conn, case_id)
        ranked_decisions = make_standing_decisions(rows, list_standing_numbers(requests))
        if _is_current_conclusion(
            conclusion, case, (*ranked_decisions, *list_outside_decisions(conn, case_id)), requests
        ):
            earlier = deliveries.list_outlines(conn, case_id)
            must_report = outcome_call is not None and must_report_outcome(case_snapshot, case, earlier)
            must_report = (
                must_report and outcome_call is not None and not is_outcome_reported(outcome_call, earlier)
            )
            _give_up_failed_results(conn, earlier, now)
            store_message(
                conn,
                hub,
                case_snapshot,
                QueuedMessage(outgoing, f"result:{conclusion.key}", _find_earlier_result(earlier)),
                now,
            )
            _store_reported_numbers(conn, case, case_snapshot)
            if outcome_call is not None and must_report:
                case_deliveries = enqueue_late_pending_call(conn, pending_call, case_id, earlier, now)
                enqueue_outcome_call(conn, outcome_call, case_id, conclusion.key, case_deliveries, now)
        end_lease(conn)
        if isinstance(outgoing, KeptDocument):
            # Nothing is sent to the applicant, so perhaps no delivery is left that closes the case.
            case_closing.close_case_when_done(conn, cases.lock_case(conn, case_id), now)

    run_in_group_commit(hub.engine, "conclude.result", store_result)


def _store_reported_numbers(conn: Connection, case: CaseRow, case_snapshot: CaseSnapshot) -> None:
    """Store with a locked case the numbers that its Result reports as awaited, to notice a change of them."""
    numbers = describe_awaited_numbers(case_snapshot.awaited)
    if numbers != get_reported_numbers(case):
        cases.set_detail(conn, case.id, {**(case.detail or {}), AWAITED_KEY: numbers})


def _is_current_conclusion(
    conclusion: Conclusion,
    case: CaseRow,
    ranked_decisions: Iterable[RankedDecision],
    requests: Iterable[RequestWithFeesRow],
) -> bool:
    """Return whether the case still has the outcome and the decisions of a conclusion that is to be sent."""
    if case.outcome is None:
        return False
    if conclusion.conclusion_id is None:
        # A refused case, or one without applications: unless that has been withdrawn since, or has decisions.
        return bool(case.outcome != CaseOutcome.WITHDRAWN) and not tuple(ranked_decisions)
    basis = CaseOutcome(case.outcome), ranked_decisions, list_cancellations(requests)
    return conclusion.conclusion_id == compute_conclusion_id(*basis)


def _find_earlier_result(earlier: Iterable[DeliveryOutlineRow]) -> int | None:
    """Return the delivery of the result that this one corrects, unless it failed: results arrive in order."""
    return max((row.id for row in _list_results(earlier) if row.state != "FAILED"), default=None)


def _give_up_failed_results(conn: Connection, earlier: Iterable[DeliveryOutlineRow], now: datetime) -> None:
    """Cancel the earlier results that failed: they must not be sent after the result that replaces them."""
    for row in _list_results(earlier):
        if row.state == "FAILED":
            deliveries.give_up_delivery(conn, row.id, now, "conclude", "a later result replaces it")


def _list_results(outlines: Iterable[DeliveryOutlineRow]) -> list[DeliveryOutlineRow]:
    return [row for row in outlines if row.agent == "msh" and row.parameters.get("action") == "Result"]


def _make_result_document(hub: Hub, case_snapshot: CaseSnapshot, now: datetime) -> etree._Element:
    """Return the unsigned result of a case: its outcome, the decisions in force, problems and warnings."""
    by_number = {
        row.number: DecidedRequest(row.number, row.document, row.agency) for row in case_snapshot.requests
    }
    by_number |= list_outside_requests(case_snapshot.decisions)
    detail = case_snapshot.case.detail or {}
    problems = (
        *(ReportedProblem(**problem) for problem in detail.get("problems", ())),
        *_list_cancellation_problems(case_snapshot),
    )
    warnings = (
        *_list_standing_warnings(hub, case_snapshot),
        *_list_kept_applications(case_snapshot),
        *_list_awaited_numbers(case_snapshot),
    )
    assert case_snapshot.case.outcome is not None, "a decided case has an outcome"
    ranked_decisions = list_reported_decisions(case_snapshot.decisions, hub.rules.bundle.units)
    decided_pairs = tuple((by_number[ranked.request], ranked) for ranked in ranked_decisions)
    return make_result_document(
        make_case_header(case_snapshot, now),
        CaseOutcome(case_snapshot.case.outcome),
        decided_pairs,
        problems,
        warnings,
    )


def _list_standing_warnings(hub: Hub, case_snapshot: CaseSnapshot) -> list[ReportedProblem]:
    """Return the warnings of a case, without those that its decisions have settled.

    The database is read only if the case has warnings.
    """
    if not (case_snapshot.case.detail or {}).get("warnings"):
        return []
    with read_transaction(hub.engine) as conn:
        warnings = select_standing_warnings(
            conn, case_snapshot.case, case_snapshot.decisions, lambda: hub.rules.bundle
        )
    return [ReportedProblem(**warning) for warning in warnings]


def _list_awaited_numbers(case_snapshot: CaseSnapshot) -> Iterable[ReportedProblem]:
    """Yield each requirement that an item waits for, once: it is unknown, or too little of it is left."""
    for awaited_number in case_snapshot.awaited:
        problem, text = describe_awaited_requirement(
            awaited_number.number,
            awaited_number.agency,
            awaited_number.item,
            has_certificate=awaited_number.has_certificate,
        )
        yield ReportedProblem(problem.id, text, awaited_number.pointer)


def _list_kept_applications(case_snapshot: CaseSnapshot) -> Iterable[ReportedProblem]:
    """Yield which agencies keep an application though an amendment has removed all its items."""
    for row in case_snapshot.requests:
        if not row.required and row.state != "CANCELLED" and row.cancellation == "REFUSED":
            text = f"{row.agency} does not cancel application {row.number}, whose items were removed"
            yield ReportedProblem(CANCELLATION_REFUSED.id, text, f"APP[{row.sequence}]")


def _list_cancellation_problems(case_snapshot: CaseSnapshot) -> Iterable[ReportedProblem]:
    """Yield why a case was not withdrawn, and which applications of a continuing case were cancelled.

    An application whose items an amendment has removed is left out: it has nothing that could be approved.
    """
    if case_snapshot.case.outcome == CaseOutcome.WITHDRAWN:
        return
    for row in (request for request in case_snapshot.requests if request.required):
        pointer = f"APP[{row.sequence}]"
        if row.state == "CANCELLED":
            text = f"application {row.number} of {row.document} is cancelled: its items are not approved"
            yield ReportedProblem(APPLICATION_CANCELLED.id, text, pointer)
        elif row.cancellation == "REFUSED":
            text = f"{row.agency} does not cancel application {row.number}: the declaration is not withdrawn"
            yield ReportedProblem(CANCELLATION_REFUSED.id, text, pointer)
    for row, items in case_snapshot.cancelled_above:
        items_text = (
            f"item {min(items)} is" if len(items) == 1 else f"items {', '.join(map(str, sorted(items)))} are"
        )
        text = f"application {row.number} of {row.document} is cancelled: {items_text} not approved"
        yield ReportedProblem(APPLICATION_CANCELLED.id, text)


def notify_applicant(hub: Hub, notice_id: int, end_lease: FinishLease) -> None:
    """Send the applicant one notice of an agency, where the agreement has a P-Mode for notices."""
    now = hub.clock()
    with read_transaction(hub.engine) as conn:
        notice_with_case = require_row(find_notice_with_case(conn, notice_id), f"notice {notice_id}")
        stored_notice, request = notice_with_case.notice, notice_with_case.request
        # Most notices are about no fee.
        is_about_fee = stored_notice.fee_notice is not None
        fee = (
            find_fee_paid_elsewhere(conn, stored_notice.request_id, stored_notice.number)
            if is_about_fee
            else None
        )
        decided = decisions.list_by_notice(conn, stored_notice.request_id, stored_notice.number)
    case_snapshot = make_undecided_snapshot(hub, notice_with_case.case_facts)
    notice = replace(
        _make_notice(stored_notice, fee, hub.zone),
        decisions=tuple(read_stored_decision(row) for row in decided),
    )
    document = make_notice_document(make_case_header(case_snapshot, now), make_request_state(request), notice)
    outgoing = seal_notice(hub, case_snapshot, document, now)

    def store_notice(conn: Connection) -> None:
        cases.lock_case_only(conn, request.case_id)
        is_queued = outgoing is not None and store_message(
            conn, hub, case_snapshot, QueuedMessage(outgoing, f"notice:{notice_id}"), now
        )
        end_lease(conn)
        if not is_queued:
            # Otherwise the delivery of the message closes the case.
            case_closing.close_case_when_done(conn, cases.lock_case(conn, request.case_id), now)

    run_in_group_commit(hub.engine, "conclude.notice", store_notice)


def _make_notice(stored_notice: NoticeRow, fee: FeeRow | None, zone: tzinfo) -> Notice:
    """Return a stored notice as it is sent, with the fee that it levied and that is paid elsewhere."""
    notice = Notice(
        stored_notice.number,
        stored_notice.issued_at,
        stored_notice.status_code,
        text=stored_notice.text,
        pointers=tuple(stored_notice.pointers),
        deadline=stored_notice.deadline,
    )
    if fee is None:
        return notice
    levied_fee = NamedFee(read_fee_money(fee), fee.due_on, fee.payment_notice, fee.refundable)
    return replace(notice, fee=levied_fee, deadline=notice.deadline or find_end_of_day(fee.due_on, zone))
