"""Applies the reports of customs: in the answer to a call of the hub, or in a call by customs.

The case row is locked first. When the transaction has committed, the signed octets, the notice and the state
of clearance are in the database, and the tasks that follow are queued: the Notice to the applicant, and the
news to the agencies that want them (`gateway.hub.customs.customs_news`). An error of customs (R25) is an
answer: the call was made, and is not repeated.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from gateway.cases import (
    APPROVING_CODES,
    CustomsCall,
    CustomsNotice,
    Decision,
    PartnerAnswer,
    SignedReply,
    check_clearance_direction,
    check_customs_code,
    find_late_code,
    read_subjects,
)
from gateway.errors import REPLY_UNMATCHED, RULE_BROKEN, GatewayError
from gateway.evidence import record_evidence
from gateway.hub.answers.reply import describe_signer
from gateway.hub.completion.case_closing import case_transaction, run_closing_commit
from gateway.hub.completion.standing_demands import is_cancellation_open
from gateway.hub.customs.late_decisions import (
    list_decisions_to_report,
    list_late_subjects,
    queue_child_checks,
    record_customs_notice,
    record_inherited_decision,
    record_late_result,
)
from gateway.hub.hub import Hub
from gateway.hub.outbox.local_tasks import FinishLease, find_notice, require_row
from gateway.hub.outbox.outgoing_calls import CUSTOMS
from gateway.hub.submissions.forward import ComposedCall, compose_late_report, enqueue_late_report
from gateway.store import (
    AgencyRequestRow,
    CallRecord,
    CaseRow,
    DecisionWithTextRow,
    DeliveryLease,
    NoticeRow,
    cases,
    decisions,
    deliveries,
    payloads,
    read_transaction,
    write_call_transaction,
)
from gateway.wire import check_clear_id, find_type_direction


def apply_customs_answer(
    hub: Hub, lease: DeliveryLease, answer: PartnerAnswer, signed_reply: SignedReply, end_lease: FinishLease
) -> None:
    """Store the answer of customs to a call of the hub, and end the delivery of that call.

    Raises GW403 for a code that is no answer, GW702 for a notice number that another notice has used.
    """
    now = hub.clock()

    def store_answer(conn: Connection) -> None:
        end_lease(conn)
        digest = payloads.store_payload(conn, signed_reply.envelope, now)
        signer = describe_signer(hub, signed_reply)
        facts = {"operation": str(lease.parameters.get("operation")), "answer": repr(answer)[:300]}
        record_evidence(conn, "customs", "delivery", lease.id, digest, {**facts, **signer}, now)
        if isinstance(answer, CustomsNotice) and lease.case_id is not None:
            kind = check_customs_code(answer, hub.rules.customs_codes, is_clearance_result=False)
            check_clear_id(answer.number, "NoticeNumber")
            case = cases.lock_case(conn, lease.case_id)
            record_customs_notice(conn, case, answer, kind, digest, signer, now, lease.id)

    run_closing_commit(hub.engine, "partner.customs", lease.id, now, store_answer, case_id=lease.case_id)


def apply_customs_call(
    hub: Hub, call: CustomsCall, signed_reply: SignedReply, record: CallRecord | None = None
) -> str:
    """Apply a notice that customs sent in a call of its own, with its `record`; return the case number.

    Raises GW701 for a case that was never reported to customs, GW403 and GW404 for values that the notice may
    not have (also the result of an import about an export declaration, and the other way round), GW702 for a
    notice number that another notice has used.
    """
    kind = check_customs_code(
        call.notice, hub.rules.customs_codes, is_clearance_result=call.is_clearance_result
    )
    with write_call_transaction(hub.engine, "customs.call", record) as conn:
        case = cases.lock_case(conn, _find_called_case(conn, call).id)
        check_clear_id(call.notice.number, "NoticeNumber")
        _check_notice_items(case, call.notice)
        if call.is_clearance_result:
            direction = find_type_direction(case.document)
            check_clearance_direction(call.notice, hub.rules.customs_codes, direction)
        now = hub.clock()
        digest = payloads.store_payload(conn, signed_reply.envelope, now)
        signer_fields = describe_signer(hub, signed_reply)
        record_customs_notice(conn, case, call.notice, kind, digest, signer_fields, now)
    return str(case.number)


def _find_called_case(conn: Connection, call: CustomsCall) -> CaseRow:
    """Return the case that customs names; raises GW701 if none, or several, were reported to customs."""
    # Customs got no report of a submission that was refused, is held, or was withdrawn while held.
    if call.case_number is not None:
        named_case = cases.find_by_number(conn, call.case_number)
        candidates = (
            [] if named_case is None or not _was_reported_to_customs(conn, named_case) else [named_case]
        )
        parameter, name = "CaseNumber", call.case_number
    else:
        parameter, name = "DeclarationReference", call.reference or ""
        candidates = list(cases.list_active_by_reference(conn, name, CUSTOMS, 2))
    if len(candidates) == 1:
        return candidates[0]
    detail = f"customs was told nothing under {name[:40]!r}"
    if candidates:
        detail = f"several declarants use the reference {name[:40]!r}: name the case"
    raise GatewayError(REPLY_UNMATCHED, detail, parameter)


def _was_reported_to_customs(conn: Connection, case: CaseRow) -> bool:
    if case.state in ("REFUSED", "HELD"):
        return False
    sent_to_customs = (row.destination == CUSTOMS for row in deliveries.list_outlines(conn, case.id))
    return case.state != "WITHDRAWN" or any(sent_to_customs)


def _check_notice_items(case: CaseRow, notice: CustomsNotice) -> None:
    """Raise GW404 for an item that the declaration has not, or that is named twice."""
    declared = set((case.detail or {}).get("items", ()))
    seen: set[int] = set()
    for position, cleared_item in enumerate(notice.items, start=1):
        if cleared_item.item not in declared or cleared_item.item in seen:
            mistake = "is named twice" if cleared_item.item in seen else f"is no part of case {case.number}"
            raise GatewayError(RULE_BROKEN, f"item {cleared_item.item} {mistake}", f"Item[{position}]")
        seen.add(cleared_item.item)


def record_decision_if_late(hub: Hub, notice_id: int, case_id: int, end_lease: FinishLease) -> None:
    """Record that a notice on a parent is late for a child (row id) that customs has cleared, if it is.

    Afterwards its own children are checked.
    """

    def record(conn: Connection, now: datetime) -> None:
        notice, request = find_notice(conn, notice_id)
        record_inherited_decision(conn, case_id, request, notice, now)
        queue_child_checks(conn, case_id, "notice", notice_id, now)

    _record_in_case(hub, case_id, record, end_lease)


def record_result_if_late(hub: Hub, result_id: int, case_id: int, end_lease: FinishLease) -> None:
    """Record that a result without an application (row id) is late for a child that is cleared, if it is.

    Afterwards its own children are checked.
    """
    _record_in_case(
        hub, case_id, lambda conn, now: record_late_result(conn, case_id, result_id, now), end_lease
    )


def _record_in_case(
    hub: Hub, case_id: int, record: Callable[[Connection, datetime], None], end_lease: FinishLease
) -> None:
    with case_transaction(hub, "customs.inherited", case_id, end_lease) as (conn, _):
        record(conn, hub.clock())


def report_late_decision(hub: Hub, notice_id: int, case_id: int | None, end_lease: FinishLease) -> None:
    """Queue the report to customs about a notice (row id) on a case (row id) that came after clearance."""
    with read_transaction(hub.engine) as conn:
        notice, request = find_notice(conn, notice_id)
        case = _find_reported_case(conn, case_id or request.case_id)
        report_rows = _make_report_rows(conn, case.id, request, notice)
    _queue_report(hub, case, _make_report_key(case.id, request, notice_id), report_rows, end_lease)


def report_late_result(hub: Hub, result_id: int, case_id: int, end_lease: FinishLease) -> None:
    """Queue the report to customs about a result without an application (row id) for a case (row id)."""
    with read_transaction(hub.engine) as conn:
        case = _find_reported_case(conn, case_id)
        results = list_decisions_to_report(conn, case_id, result_id, hub.rules.bundle.units)
    report_rows = [_describe_decision(decision) for decision in results]
    _queue_report(hub, case, f"customs:late:result:{result_id}:{case_id}", report_rows, end_lease)


def _find_reported_case(conn: Connection, case_id: int) -> CaseRow:
    return require_row(cases.find_by_id(conn, case_id), f"case {case_id} of a late decision")


def _queue_report(
    hub: Hub, case: CaseRow, key: str, report_rows: list[dict[str, Any]], end_lease: FinishLease
) -> None:
    """Queue a report under a key, unless its content says nothing."""
    now = hub.clock()
    call = _compose_report(hub, case, report_rows)
    with case_transaction(hub, "customs.late", case.id, end_lease) as (conn, _):
        if call is not None:
            enqueue_late_report(conn, call, case.id, key, now)


def _make_report_key(case_id: int, request: AgencyRequestRow, notice_id: int) -> str:
    return (
        f"customs:late:{notice_id}" if case_id == request.case_id else f"customs:late:{notice_id}:{case_id}"
    )


def _make_report_rows(
    conn: Connection, case_id: int, request: AgencyRequestRow, notice: NoticeRow
) -> list[dict[str, Any]]:
    """Return the report about a notice on items of a case: its decisions in force, or its cancelled items.

    A decision that a later notice has replaced is left out, and so is one before the cancellation of the
    application: for customs the last report counts. An approval of a withdrawn declaration that its agency is
    asked to cancel is left out, too: it does not count, and customs knows of the withdrawal.
    """
    subjects = list_late_subjects(conn, case_id, request, notice)
    if not decisions.list_by_notice(conn, request.id, notice.number):
        pairs = read_subjects(request.required)
        return [{"item": item, "law": law} for item, law in pairs if (item, law) in subjects]
    if request.state == "CANCELLED":
        return []
    is_being_cancelled = (
        is_cancellation_open(request) and _find_reported_case(conn, request.case_id).state == "WITHDRAWN"
    )
    return [
        _describe_decision(row)
        for row in decisions.list_by_request(conn, request.id)
        if row.notice_no == notice.number and row.superseded_by is None and (row.item, row.law) in subjects
        if not (is_being_cancelled and row.decision in APPROVING_CODES)
    ]


def _describe_decision(decision: DecisionWithTextRow | Decision) -> dict[str, Any]:
    names = ("item", "law", "number", "date", "quantity", "unit", "decision")
    return {name: value for name in names if (value := getattr(decision, name)) is not None}


def _compose_report(hub: Hub, case: CaseRow, report_rows: list[dict[str, Any]]) -> ComposedCall | None:
    if not report_rows or not hub.composer.has_destination(CUSTOMS):
        return None
    return compose_late_report(hub, case.number, find_late_code(hub.rules.customs_codes), report_rows)
