"""Records that an agency decides after clearance.

A decision, a correction or a cancellation that comes when customs has cleared the goods changes nothing about
clearance. It is recorded like every notice, the case goes on as without clearance, and a late decision is an
event of its own. It is reported to customs (`gateway.hub.customs.customs_reports`). A decision about an item
of a case is late also for each child declaration with the item that customs has cleared. A result that an
agency gives under a number of its own is recorded by `record_late_result`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import Connection

from gateway.cases import (
    AheadNotice,
    CustomsNotice,
    Decision,
    DecisionCode,
    check_issue_time,
    check_issued_after_opening,
    find_count_time,
    is_ahead,
    may_follow,
    read_subjects,
    select_current_decisions,
    select_current_results,
)
from gateway.evidence import STORED, digest_rows, record_evidence
from gateway.harmonize import UnitTable
from gateway.hub.completion.count_times import log_ahead_notice
from gateway.hub.completion.outside_decisions import (
    list_cases_above,
    list_counting_uses,
    list_outside_decisions,
    list_reported_decisions,
    list_requests_above,
    load_requirement_results,
    make_result_name,
    select_inherited_subjects,
)
from gateway.hub.completion.placed_results import read_day
from gateway.hub.outbox.local_tasks import enqueue_task
from gateway.notice_order import order_notice
from gateway.state_machines import REQUEST
from gateway.store import (
    AgencyRequestRow,
    CaseRow,
    CustomsNoticeRow,
    NewCustomsNotice,
    NoticeRow,
    OpenRequestRow,
    ResultOfRequirementRow,
    StateEvent,
    agency_requests,
    customs_notices,
    decisions,
    item_releases,
    notices,
    requirement_results,
    transitions,
)

_CLEARED: Final = "CLEARED"
_INHERITED: Final = "late_inherited"


def record_late_decision(
    conn: Connection,
    case: CaseRow,
    request: OpenRequestRow,
    notice_id: int,
    notice_number: str,
    now: datetime,
    revived_by: int | None = None,
) -> None:
    """Record that a notice (row id) decides a request of a locked case that is cleared; else do nothing.

    Each child checks this for itself when this is committed. `revived_by` is the notice (row id) that has
    made it count, if it did not count before.
    """
    if request.clearance == _CLEARED:
        _record_late_notice(conn, case.id, request, notice_id, notice_number, now, revived_by)
    if request.released:
        queue_child_checks(conn, case.id, "notice", notice_id, now, revived_by=revived_by)


def queue_child_checks(
    conn: Connection,
    case_id: int,
    subject_type: str,
    subject_id: int,
    now: datetime,
    task: str = _INHERITED,
    *,
    revived_by: int | None = None,
) -> None:
    """Let each child of a case check whether a notice, or a result (row id), is late for it.

    It checks once more for a notice that counts again since the notice `revived_by` (row id).
    """
    revival = "" if revived_by is None else f":revived {revived_by}"
    for child in item_releases.list_children(conn, case_id):
        key = f"{task}:{subject_id}:{child}{revival}"
        enqueue_task(conn, task, subject_type, subject_id, key, now, case_id=child)


def is_case_cleared(conn: Connection, case_id: int) -> bool:
    """Return whether customs has cleared a case (row id)."""
    return customs_notices.find_clearance_state(conn, case_id) == _CLEARED


def record_inherited_decision(
    conn: Connection,
    case_id: int,
    request: AgencyRequestRow,
    notice: NoticeRow,
    now: datetime,
) -> None:
    """Record for a locked child that a notice on a request above it decides items that the child has.

    If it decides none of them, nothing is recorded.
    """
    if is_case_cleared(conn, case_id) and list_late_subjects(conn, case_id, request, notice):
        _record_late_notice(conn, case_id, request, notice.id, notice.number, now)


def list_late_subjects(
    conn: Connection, case_id: int, request: AgencyRequestRow, notice: NoticeRow
) -> set[tuple[int, str]]:
    """Return the items and laws of a case (row id) that a notice on a request of it, or above it, is about.

    One without decisions cancels the request: it is about all of it.
    """
    decided = {
        (int(row.item), str(row.law)) for row in decisions.list_by_notice(conn, request.id, notice.number)
    }
    subjects = decided or set(read_subjects(request.required))
    return select_inherited_subjects(conn, case_id, request.case_id, subjects)


def record_decisions_since(conn: Connection, case: CaseRow, cleared_at: datetime, now: datetime) -> None:
    """Record the decisions that agencies issued between a clearance and its arrival at the hub.

    `cleared_at` is the time of clearance, `now` that of its arrival.
    """
    for request in (*agency_requests.list_by_case(conn, case.id), *list_requests_above(conn, case.id)):
        ending = _list_ending_notices(conn, request.id)
        for row in notices.list_by_request(conn, request.id):
            is_late = row.number in ending and may_follow(
                cleared_at, row.issued_at, row.day_begins_at, row.received_at
            )
            if is_late and list_late_subjects(conn, case.id, request, row):
                _record_late_notice(conn, case.id, request, row.id, row.number, now)


def _list_ending_notices(conn: Connection, request_id: int) -> set[str]:
    """Return the numbers of the notices that decide a request, or by which its agency cancels it."""
    deciding = {row.notice_no for row in decisions.list_by_request(conn, request_id)}
    steps = transitions.list_transitions(conn, REQUEST, request_id)
    return deciding | {str(row.detail) for row in steps if row.event == "cancel"}


def _record_late_notice(
    conn: Connection,
    case_id: int,
    request: AgencyRequestRow,
    notice_id: int,
    notice_number: str,
    now: datetime,
    revived_by: int | None = None,
) -> None:
    """Record that the agency's notice decides an application after customs has cleared the case.

    `case_id` (row id) is the case of the request, or a child that has taken items of it.
    """
    key = (
        f"late_decision:{notice_id}" if case_id == request.case_id else f"late_decision:{notice_id}:{case_id}"
    )
    if revived_by is not None:
        key = f"{key}:revived {revived_by}"
    evidence_fields = {"agency": request.agency, "application": request.number, "number": notice_number}
    record_late_event(conn, case_id, "late_decision", "notice", notice_id, key, evidence_fields, now)


def record_late_event(
    conn: Connection,
    case_id: int,
    task: str,
    subject_type: str,
    subject_id: int,
    key: str,
    evidence_fields: Mapping[str, str],
    now: datetime,
) -> None:
    """Record a late decision once for a locked case (row id), and queue the task that reports it to customs.

    `task` is the name of this task, `subject_type` and `subject_id` its subject; nothing is recorded if a
    task with the same `key` was queued before. `evidence_fields` is the evidence.
    """
    if not enqueue_task(conn, task, subject_type, subject_id, key, now, case_id=case_id):
        return
    customs_notices.record_case_event(conn, case_id, "LATE_DECISION", now)
    record_evidence(conn, "late_decision", "case", case_id, None, dict(evidence_fields), now)


_RESULT_SUBJECT_TYPE: Final = "requirement_result"


def record_late_result(conn: Connection, case_id: int, result_id: int, now: datetime) -> None:
    """Record that a result (row id) decides about a locked case that is cleared.

    Its children check this for themselves when this is committed.
    """
    if is_case_cleared(conn, case_id):
        _record_late_result_notice(
            conn, case_id, requirement_results.list_results_of_notice(conn, result_id), now
        )
    queue_child_checks(conn, case_id, _RESULT_SUBJECT_TYPE, result_id, now, "late_result_inherited")


def record_results_since(conn: Connection, case_id: int, cleared_at: datetime, now: datetime) -> None:
    """Record the results without application that agencies issued between a clearance and its arrival.

    `case_id` is a row id, `cleared_at` the time of clearance, `now` that of its arrival.
    """
    if not item_releases.may_have_outside_decisions(conn, case_id):
        return
    used = {use.requirement_id for owner in (case_id, *list_cases_above(conn, case_id))
            for use in list_counting_uses(conn, owner)}  # fmt: skip
    late_rows_by_notice: dict[tuple[int, str], list[ResultOfRequirementRow]] = {}
    for row in requirement_results.list_results(conn, used):
        if may_follow(cleared_at, row.issued_at, read_day(row), row.received_at):
            late_rows_by_notice.setdefault((row.requirement_id, row.notice_no), []).append(row)
    for rows in late_rows_by_notice.values():
        _record_late_result_notice(conn, case_id, rows, now)


def _record_late_result_notice(
    conn: Connection, case_id: int, result_rows: Sequence[ResultOfRequirementRow], now: datetime
) -> None:
    """Record the decisions of one notice for a locked case, where they are about an item of it."""
    first = result_rows[0]
    if not _list_requirement_subjects(conn, case_id, first.requirement_id, {row.law for row in result_rows}):
        return
    evidence_fields = {"agency": first.agency, "requirement": first.number, "number": first.notice_no}
    key = f"late_result:{first.id}:{case_id}"
    record_late_event(
        conn, case_id, "late_result", _RESULT_SUBJECT_TYPE, int(first.id), key, evidence_fields, now
    )


def _list_requirement_subjects(
    conn: Connection, case_id: int, requirement_id: int, laws: Collection[str]
) -> set[tuple[int, str]]:
    """Return the items that use a requirement, in a case or in one above it, each with these laws."""
    inherited: set[tuple[int, str]] = set()
    for owner in (case_id, *list_cases_above(conn, case_id)):
        items = {
            int(use.item) for use in list_counting_uses(conn, owner) if use.requirement_id == requirement_id
        }
        subjects = {(item, law) for item in items for law in laws}
        inherited |= select_inherited_subjects(conn, case_id, owner, subjects)
    return inherited


def list_decisions_to_report(
    conn: Connection, case_id: int, result_id: int, units: UnitTable
) -> list[Decision]:
    """Return the decisions that count for the items of a case (row id) under the laws of a result (row id).

    Empty if later notices have replaced the result.
    """
    first = requirement_results.list_results_of_notice(conn, result_id)[0]
    current_by_law = {
        result.decision.law: result.decision
        for result in select_current_results(load_requirement_results(conn, [first.requirement_id]))
        if result.notice_number == first.notice_no
    }
    subjects = _list_requirement_subjects(conn, case_id, first.requirement_id, current_by_law)
    name = make_result_name(first.requirement_id, first.agency)
    counting = [
        ranked.decision
        if ranked.decision.decision is not DecisionCode.REJECTED
        else replace(ranked.decision, quantity=None, unit=None)
        for ranked in list_reported_decisions(
            select_current_decisions(list_outside_decisions(conn, case_id)), units
        )
        if f"{ranked.request}:".startswith(f"{name}:")
        and (ranked.decision.item, ranked.decision.law) in subjects
    ]
    undecided_subjects = subjects - {(decision.item, decision.law) for decision in counting}
    counting += [
        replace(current_by_law[law], item=item, quantity=None, unit=None)
        for item, law in sorted(undecided_subjects)
    ]
    return counting


_ACTOR: Final = "customs"
_RESULT_EVENTS: Final = {"cleared": "clear", "refused": "refuse", "cancelled": "cancel"}
_ANSWER_EVENTS: Final = {"accepted": "accept", "error": "report_error"}
#: The event for the software of parties in the feed of events.
_FEED_EVENTS: Final = {
    "accepted": "CUSTOMS_ACCEPTED",
    "error": "CUSTOMS_ERROR",
    "cleared": "CLEARED",
    "refused": "CLEARANCE_REFUSED",
    "cancelled": "CLEARANCE_CANCELLED",
}


def record_customs_notice(
    conn: Connection,
    case: CaseRow,
    notice: CustomsNotice,
    notice_kind: str,
    envelope_digest: str,
    signer_fields: Mapping[str, str | None],
    now: datetime,
    delivery_id: int | None = None,
) -> bool:
    """Store a notice of customs about a locked case; return False, and change nothing, for a repeat.

    `notice_kind` is the meaning of its code, `envelope_digest` that of the signed octets, `signer_fields`
    says who signed them, `delivery_id` is the hub's call that it answers. Raises GW702 when its number was
    used for other content, GW719 when it was issued more than a day ahead, or before its case.
    """
    check_issue_time(notice.issued_at, now)
    new_notice = NewCustomsNotice(
        case.id,
        notice.number,
        notice.code,
        notice_kind,
        notice.issued_at.astimezone(UTC),
        _describe_content(notice),
        delivery_id,
    )
    counts_at = _find_count_time(conn, case.id, new_notice, now)
    notice_id = customs_notices.insert_notice(conn, new_notice, now, counts_at)
    if notice_id is None:
        return False
    check_issued_after_opening(notice.issued_at, case.opened_at)
    if counts_at is not None:
        log_ahead_notice("customs", notice.number, notice.issued_at)
    issued_at = new_notice.issued_at if counts_at is None else counts_at
    events = _RESULT_EVENTS if notice_kind in _RESULT_EVENTS else _ANSWER_EVENTS
    case_notices = customs_notices.list_by_case(conn, case.id)
    if find_leading_notice(case_notices, frozenset(events)) == notice_id:
        step = StateEvent(events[notice_kind], now, _ACTOR, f"{notice.code} {notice.number}"[:100])
        customs_notices.apply_event(conn, case.id, step)
    customs_notices.record_case_event(conn, case.id, _FEED_EVENTS[notice_kind], now)
    stored = [row for row in case_notices if row.id == notice_id]
    data = {
        "number": notice.number,
        "code": notice.code,
        "delivery": delivery_id,
        **signer_fields,
        STORED: {"customs_notices": digest_rows("customs_notices", stored)},
    }
    record_evidence(conn, "customs_notice", "case", case.id, envelope_digest, data, now)
    if notice_kind != "accepted":
        key = f"customs_notice:{notice_id}"
        enqueue_task(conn, "customs_notice", "customs_notice", notice_id, key, now, case_id=case.id)
    # Another result may have overtaken this one: nothing is late for goods that are not cleared.
    if notice_kind == "cleared" and is_case_cleared(conn, case.id):
        record_decisions_since(conn, case, issued_at, now)
        record_results_since(conn, case.id, issued_at, now)
    return True


def _find_count_time(
    conn: Connection, case_id: int, notice: NewCustomsNotice, now: datetime
) -> datetime | None:
    """Return from when a notice of customs counts that is received at `now`; None: from its time of issue."""
    if not is_ahead(notice.issued_at, now):
        return None
    ahead_notices = [
        # bounded: a time that the hub wrote
        AheadNotice(datetime.fromisoformat(row.content[customs_notices.STATED_AT]), row.issued_at)
        for row in customs_notices.list_by_case(conn, case_id)
        if customs_notices.STATED_AT in row.content
    ]
    return find_count_time(notice.issued_at, now, ahead_notices)


def find_leading_notice(candidates: Sequence[CustomsNoticeRow], kinds: frozenset[str]) -> int | None:
    """Return the notice of these kinds that counts: the last one (`gateway.notice_order`)."""
    matching = [row for row in candidates if row.kind in kinds]
    last = max(matching, key=lambda row: (order_notice(row.issued_at, row.number), row.id), default=None)
    return None if last is None else last.id


def find_leading_result(conn: Connection, case_id: int) -> int | None:
    """Return the id of the result of clearance that counts; None before the first."""
    return find_leading_notice(customs_notices.list_by_case(conn, case_id), frozenset(_RESULT_EVENTS))


def _describe_content(notice: CustomsNotice) -> dict[str, Any]:
    return {
        "text": notice.text,
        "reasons": [asdict(reason) for reason in notice.reasons],
        "items": [asdict(item) for item in notice.items],
    }
