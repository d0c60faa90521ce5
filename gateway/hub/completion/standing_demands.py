"""Keeps the demands of the agency of a request, and moves the request to the state that follows from them.

The row of a request has its open demands (`gateway.cases.OpenDemands`). All functions are called in a
transaction that has locked the case.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from sqlalchemy import Connection

from gateway.cases import (
    DEMANDED_STATES,
    CaseOutcome,
    Decision,
    DecisionCode,
    DemandNotice,
    NoticeIssue,
    OpenDemands,
    RankedDecision,
    RequestScope,
    StatusCode,
    find_demanded_state,
    find_replacing_issue,
    read_subjects,
    select_current_decisions,
)
from gateway.store import (
    AgencyRequestRow,
    DecisionRow,
    DecisionWithTextRow,
    FeeRow,
    NoticeRow,
    NoticeSummary,
    OpenRequest,
    RequestWithFeesRow,
    ResultOfRequirementRow,
    StoredNotice,
    notices,
)

_OPEN_FEE: Final = ("LEVIED", "ORDERED")
#: The states between which a request moves by its open demands.
_MOVABLE_STATES: Final = frozenset({"SENT", "ACKNOWLEDGED", *DEMANDED_STATES.values()})
_EVENTS: Final = {state: event for event, state in DEMANDED_STATES.items()}
#: The event by which a request leaves a state when no demand is open any more.
_ENDING_EVENTS: Final = {"INSPECTION": "inspected", "FEE_DUE": "fee_settled"}


def read_demands(request: AgencyRequestRow) -> OpenDemands:
    """Return the demands of the agency about a request that are not ended: information, inspection, fee."""
    return OpenDemands() if request.demands is None else OpenDemands.restore(request.demands)


def apply_demand_notice(
    request: OpenRequest, stored_notice: StoredNotice, status_codes: Mapping[str, StatusCode]
) -> None:
    """Add to the open demands of a request, or end one, by a stored notice; other notices change nothing.

    `status_codes` are the status codes in force, by code.
    """
    demand_notices = _list_demands(stored_notice.request_notices, status_codes)
    own_notice = next((notice for notice in demand_notices if notice.id == stored_notice.id), None)
    if own_notice is not None:
        demands = read_demands(request).apply_notice(own_notice, demand_notices)
        request.set_columns(demands=demands.describe())


def find_replacing_notice(
    stored_notice: StoredNotice, status_codes: Mapping[str, StatusCode]
) -> NoticeIssue | None:
    """Return the notice that replaced what a stored notice demands before it came; None if that is open.

    `status_codes` are the status codes in force, by code.
    """
    demand_notices = _list_demands(stored_notice.request_notices, status_codes)
    own_notice = next((notice for notice in demand_notices if notice.id == stored_notice.id), None)
    return None if own_notice is None else find_replacing_issue(own_notice, demand_notices)


def _list_demands(
    request_notices: Iterable[NoticeRow | NoticeSummary], codes: Mapping[str, StatusCode]
) -> list[DemandNotice]:
    """Return the notices that make or end a demand; those about fees are left out, as fees have their own."""
    demand_notices = []
    for notice in request_notices:
        code = codes.get(notice.status_code)
        if code is not None and not code.fee_step and code.event in (*DEMANDED_STATES, "inspected"):
            demand_notices.append(
                DemandNotice(
                    notice.id,
                    code.event,
                    notice.number,
                    notice.issued_at,
                    notice.received_at,
                    notice.deadline,
                )
            )
    return demand_notices


def end_amended_demands(conn: Connection, request: int) -> dict[str, Any]:
    """Return the stored form of the demands about a request that is sent again: earlier demands are over."""
    last = max((row.id for row in notices.list_by_request(conn, request)), default=0)
    return OpenDemands({}, last).describe()


def list_open_levies(levied: Iterable[FeeRow]) -> list[NoticeIssue]:
    """Return when each open fee of a request was levied, and by which notice."""
    return [NoticeIssue(row.levied_at, row.notice or "") for row in levied if row.state in _OPEN_FEE]


def find_demanded_event(
    request_state: str, demands: OpenDemands, levies: Sequence[NoticeIssue]
) -> str | None:
    """Return the event that moves a request to the state its demands call for; None if no move is needed.

    `request_state` is the present state of the request; `levies` are the notices that levied its
    open fees.
    """
    if request_state not in _MOVABLE_STATES:
        return None
    demanded_state = find_demanded_state(demands, levies) if demands.by_event or levies else None
    if demanded_state is None:
        return _ENDING_EVENTS.get(request_state)
    return None if demanded_state == request_state else f"{_EVENTS[demanded_state]}_stands"


#: The decisions by their stored names.
_CODES: Final = {code.value: code for code in DecisionCode}


def compute_conclusion_id(
    outcome: CaseOutcome,
    ranked_decisions: Iterable[RankedDecision],
    cancellations: Iterable[tuple[str, str]] = (),
) -> str:
    """Return the id of a conclusion; it is the same for equal decisions and equal cancellations.

    A withdrawn case has one conclusion: a later notice of an agency does not change the id.
    """
    if outcome is CaseOutcome.WITHDRAWN:
        return hashlib.sha256(repr(outcome).encode()).hexdigest()[:16]
    basis: tuple[Any, ...] = (outcome, select_current_decisions(ranked_decisions))
    cancelled = tuple(cancellations)
    text = repr((*basis, cancelled) if cancelled else basis)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def is_cancellation_open(request: AgencyRequestRow) -> bool:
    """Return whether the agency has been asked to cancel a request, and has not said whether it does."""
    return bool(request.cancellation == "ASKED" and request.state != "CANCELLED")


def list_cancellations(requests: Iterable[RequestWithFeesRow]) -> tuple[tuple[str, str], ...]:
    """Return the number of each request that is CANCELLED, or whose cancellation was REFUSED, and which.

    One whose items an amendment has removed is named only where its agency keeps it: if it is cancelled,
    nothing of it is left in the case.
    """
    return tuple(
        (row.number, "CANCELLED" if row.state == "CANCELLED" else "REFUSED")
        for row in requests
        if (row.required if row.state == "CANCELLED" else row.cancellation == "REFUSED")
    )


def list_standing_numbers(requests: Iterable[RequestWithFeesRow]) -> dict[int, str]:
    """Return the numbers of the requests whose decisions count, by row id: cancelled ones are absent."""
    return {row.id: row.number for row in requests if row.state != "CANCELLED"}


def make_request_scope(request: AgencyRequestRow) -> RequestScope:
    """Return the scope of a request: its items, and the laws that may decide them."""
    pairs = read_subjects(request.required)
    items, laws = frozenset([item for item, _ in pairs]), frozenset([law for _, law in pairs])
    return RequestScope(request.number, items, laws)


def list_request_scopes(requests: Iterable[RequestWithFeesRow]) -> tuple[RequestScope, ...]:
    """Return the scopes of the requests of a case; a cancelled request has none."""
    return tuple([make_request_scope(row) for row in requests if row.state != "CANCELLED"])


def read_stored_decision(row: DecisionRow | ResultOfRequirementRow) -> Decision:
    """Return a stored decision, on an application or without one, as a value."""
    return Decision(
        item=row.item,
        law=row.law,
        decision=_CODES[row.decision],
        number=row.number,
        date=row.date,
        quantity=None if row.quantity is None else Decimal(row.quantity),
        unit=row.unit,
        conditions=tuple(row.conditions),
    )


def make_standing_decisions(
    rows: Iterable[DecisionWithTextRow], numbers_by_request_id: dict[int, str]
) -> tuple[RankedDecision, ...]:
    """Return stored decisions of the requests in `numbers_by_request_id` as values, each with its number."""
    ranked_decisions = [
        RankedDecision(
            request=numbers_by_request_id[row.request_id],
            decision=read_stored_decision(row),
            issued_at=row.issued_at,
            notice_number=row.notice_no,
            text=row.notice_text or "",
        )
        for row in rows
        if row.request_id in numbers_by_request_id
    ]
    return tuple(ranked_decisions)
