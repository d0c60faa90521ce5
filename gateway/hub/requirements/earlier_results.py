"""Finds an agency's results under a number from before the hub knew the application decided under it.

A call with a RequirementNumber is about the application that the agency decided under this number. If it
arrives before that decision, it is stored as a result without an application. When the decision comes, the
stored result is applied to the application, as if it had come after it: so the order of arrival does not
matter.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import date, datetime
from typing import Any, Final

from sqlalchemy import Connection

from gateway.cases import Decision, DecisionCode, Notice, check_issued_after_opening, read_subjects
from gateway.errors import GatewayError
from gateway.evidence import record_evidence
from gateway.hub.completion.placed_results import DAY_KEY, DIRECTION_KEY, read_day, read_stated_time
from gateway.hub.completion.standing_demands import read_stored_decision
from gateway.notice_order import order_notice
from gateway.store import (
    AgencyRequestRow,
    CaseRow,
    NewRequirementResult,
    ResultOfRequirementRow,
    notices,
    requirement_quantities,
    requirement_results,
)

_MARK: Final = "whole"


def make_whole_marker(notice: Notice) -> dict[str, Any]:
    """Return the mark that is stored with the results of a notice that names no item; empty for others."""
    return {_MARK: True} if notice.whole else {}


def is_whole_revocation(row: ResultOfRequirementRow) -> bool:
    """Return whether a stored result is of a notice that takes back all results under its number."""
    return row.decision == DecisionCode.REJECTED and bool((row.said or {}).get(_MARK))


def list_stated_decisions(notice: Notice) -> list[Decision]:
    """Return the decisions as the agency stated them in a notice; one that names no item has each only once.

    The stored decisions of such a notice name the items that the hub knew at the time. The agency did not
    state these items, so item and law are removed here.
    """
    if not notice.whole:
        return list(notice.decisions)
    return list(dict.fromkeys(replace(decision, item=0, law="") for decision in notice.decisions))


def list_late_revocations(
    stored_results: Iterable[ResultOfRequirementRow], new_results: Sequence[NewRequirementResult]
) -> list[NewRequirementResult]:
    """Return the revocations of `new_results` by notices that name no item and are later than the results.

    `stored_results` are the results about the requirement that were stored before; the notices are among
    them.
    """
    whole_by_notice: dict[str, list[ResultOfRequirementRow]] = {}
    for row in stored_results:
        if is_whole_revocation(row):
            whole_by_notice.setdefault(row.notice_no, []).append(row)
    return [
        _make_revocation(rows[0], result)
        for rows in whole_by_notice.values()
        for result in new_results
        if order_notice(rows[0].issued_at, rows[0].notice_no)
        > order_notice(result.issued_at, result.notice_no)
        and (result.item, result.law) not in {(row.item, row.law) for row in rows}
    ]


def _make_revocation(row: ResultOfRequirementRow, result: NewRequirementResult) -> NewRequirementResult:
    """Return a stored result as one about another item and law."""
    return replace(
        result,
        notice_no=row.notice_no,
        issued_at=row.issued_at,
        status_code=row.status_code,
        decision=row.decision,
        notice_sha256=row.notice_sha256,
        date=row.date,
        quantity=row.quantity,
        unit=row.unit,
        conditions=row.conditions,
        said=row.said,
    )


def describe_notice(notice: Notice, decision: Decision) -> dict[str, Any]:
    """Return the values of a notice for which a result has no columns, and the number, as JSON values."""
    return {
        "text": notice.text,
        "pointers": list(notice.pointers),
        "deadline": notice.deadline.isoformat() if notice.deadline else None,
        "receipt_number": notice.receipt_number,
        "valid_until": notice.valid_until.isoformat() if notice.valid_until else None,
        "number": decision.number,
        "conditions": list(decision.conditions),
        **make_whole_marker(notice),
        **({DAY_KEY: notice.issued_at.isoformat()} if notice.states_day else {}),
        **({DIRECTION_KEY: notice.direction} if notice.direction else {}),
    }


def assign_earlier_notices(
    conn: Connection,
    case: CaseRow,
    request: AgencyRequestRow,
    requirement_ids: Collection[int],
    holder: str,
    now: datetime,
) -> list[Notice]:
    """Return the notices about locked requirements (row ids) that concern a request of a locked case.

    From now on later notices about these requirements count for the request, and the requirements are
    certificates of its `holder`. A notice is left out as a whole if one of its decisions names an item that
    the application does not contain, if it was issued before the case, or if it counts for an application
    already.
    """
    by_notice: dict[tuple[int, str], list[ResultOfRequirementRow]] = defaultdict(list)
    for row in requirement_results.list_results(conn, requirement_ids):
        if row.said is None:
            continue  # Early versions of 0.1.0 did not keep these values of a notice.
        by_notice[row.requirement_id, row.notice_no].append(row)
    stored_numbers = notices.list_stored_numbers(conn, request.agency, {number for _, number in by_notice})
    new_notices = {
        key: _make_notice(rows, request) for key, rows in by_notice.items() if key[1] not in stored_numbers
    }
    concerning_notices = {
        key: notice for key, notice in new_notices.items() if _may_concern_request(notice, case, request)
    }
    applied_ids = {requirement for requirement, _ in concerning_notices}
    newly_applied_ids = (
        requirement_quantities.note_application(conn, applied_ids, holder, now) if applied_ids else ()
    )
    for requirement in newly_applied_ids:
        record_evidence(conn, "applied", "requirement", requirement, None, {"request": request.number}, now)
    return sorted(
        concerning_notices.values(),
        key=lambda notice: order_notice(notice.counts_at or notice.issued_at, notice.number),
    )


def _make_notice(rows: Sequence[ResultOfRequirementRow], request: AgencyRequestRow) -> Notice:
    """Return the notice of which these are the decisions; all of the request, where it takes back all."""
    first, stated_values = rows[0], rows[0].said
    day_begins_at, stated_at = read_day(first), read_stated_time(first)
    decided = [_read_said_decision(row) for row in rows]
    if is_whole_revocation(first):
        decided = [replace(decided[0], item=item, law=law) for item, law in read_subjects(request.required)]
    return Notice(
        number=first.notice_no,
        issued_at=day_begins_at or stated_at or first.issued_at,
        counts_at=None if stated_at is None else first.issued_at,
        status_code=first.status_code,
        decisions=tuple(decided),
        text=stated_values.get("text", ""),
        pointers=tuple(stated_values.get("pointers", ())),
        deadline=datetime.fromisoformat(stated_values["deadline"]) if stated_values.get("deadline") else None,
        receipt_number=stated_values.get("receipt_number"),
        valid_until=date.fromisoformat(stated_values["valid_until"])
        if stated_values.get("valid_until")
        else None,
        states_day=day_begins_at is not None,
    )


def _read_said_decision(row: ResultOfRequirementRow) -> Decision:
    """Return a decision as the agency stated it; the stored one has its last day as a condition, too."""
    conditions = tuple(row.said.get("conditions", row.conditions))
    return replace(read_stored_decision(row), number=row.said.get("number"), conditions=conditions)


def _may_concern_request(notice: Notice, case: CaseRow, request: AgencyRequestRow) -> bool:
    """Return whether a notice can be about a request of a case."""
    subjects = {*read_subjects(request.required), *read_subjects(request.removed or ())}
    try:
        check_issued_after_opening(notice.counts_at or notice.issued_at, case.opened_at)
    except GatewayError:
        return False
    return all((decision.item, decision.law) in subjects for decision in notice.decisions)
