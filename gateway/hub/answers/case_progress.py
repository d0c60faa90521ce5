"""Moves a request by a notice of its agency, and its case by the state of all its requests.

The input is a stored notice in the transaction of `gateway.hub.answers.reply`, or a withdrawal in that of
`gateway.hub.submissions.admit`; the case is locked. With the last decision, or the last answer to a
cancellation, the case is decided or withdrawn, and its conclusion is queued
(`gateway.hub.completion.conclude`). The outcome depends on the stored decisions and answers, and not on
the order in which they came.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection

from gateway.cases import (
    CaseOutcome,
    Notice,
    RankedDecision,
    StatusCode,
    evaluate_case_outcome,
    has_approval,
    is_decided,
    list_rejected_items,
)
from gateway.errors import TRANSITION_REFUSED, GatewayError
from gateway.evidence import record_evidence
from gateway.harmonize import UnitTable, load_unit_table
from gateway.hub.amendments.former_items import list_unheard_items
from gateway.hub.completion.case_closing import (
    describe_awaited_numbers,
    find_status_notice,
    get_reported_numbers,
    list_awaited_numbers,
)
from gateway.hub.completion.outside_decisions import (
    list_all_decisions,
    list_cancelled_above,
    list_outside_decisions,
)
from gateway.hub.completion.standing_demands import (
    apply_demand_notice,
    compute_conclusion_id,
    is_cancellation_open,
    list_cancellations,
    list_request_scopes,
    make_request_scope,
    make_standing_decisions,
    read_demands,
)
from gateway.hub.fees.fee_ends import end_fees_of_cancelled
from gateway.hub.fees.fee_records import release_held_orders
from gateway.hub.outbox.local_tasks import enqueue_task
from gateway.hub.outbox.outgoing_calls import CANCELLATION
from gateway.hub.register.decision_rules import open_active_mappings
from gateway.hub.requirements.requirement_ledger import (
    apply_decided_items,
    give_back_requirements,
    has_lost_uses,
    offer_kept_certificates,
)
from gateway.store import (
    AgencyRequestRow,
    CaseRow,
    DeliveryOutlineRow,
    OpenRequest,
    OpenRequestRow,
    RequestWithFeesRow,
    StateEvent,
    StoredNotice,
    agency_requests,
    cases,
    decisions,
    deliveries,
    item_releases,
    requirement_results,
    transitions,
)

_ACTOR = "reply"
#: Events by which an agency waits for an action, or ends that; the latest one determines the request.
_ASKING_EVENTS: Final = frozenset({"ask", "inspect", "inspected", "fee"})
#: States of a request of which its agency has said nothing yet.
_UNACKNOWLEDGED_STATES: Final = frozenset({"PREPARED", "STRANDED"})
#: States of a delivery that its agency has not heard, and is not hearing now.
_UNHEARD_DELIVERY_STATES: Final = frozenset({"QUEUED", "HELD", "FAILED"})
#: Events by which an agency answers whether it cancels an application, each with the value stored for it.
CANCELLATION_EVENTS: Final = {"cancel": "ACCEPTED", "refuse_cancel": "REFUSED"}

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class OutdatedDecisions:
    """The decisions (row ids) of a request that do not count any more.

    With `last_decision_id` that one and all earlier ones do not count either.
    """

    decision_ids: Sequence[int] = ()
    last_decision_id: int | None = None


def outdate_early_decisions(
    conn: Connection, case: CaseRow, request: OpenRequestRow, notice_number: str, now: datetime
) -> OutdatedDecisions:
    """Outdate the decisions of a notice on amended items that its agency had not been sent yet.

    This concerns only cases that were amended. The agency may answer a call before it has returned, so that a
    decision during the call counts; so does a decision after an operator has ended the call. Return which
    were outdated.
    """
    if not _list_turn(case):
        return OutdatedDecisions()
    calls = deliveries.list_by_request(conn, request.case_id, request.id)
    unheard_items = list_unheard_items(
        request.number, (row for row in calls if row.state in _UNHEARD_DELIVERY_STATES)
    )
    request_decisions = decisions.list_by_request(conn, request.id)
    early = [row for row in request_decisions if unheard_items is None or row.item in unheard_items]
    # A decision that counts already was made during a call: the agency has the amendment, and may correct it.
    if not early or any(row.notice_no != notice_number for row in early):
        return OutdatedDecisions()
    if unheard_items is None:
        last_decision_id = max(row.id for row in early)
        agency_requests.outdate_decisions(conn, request.id, last_decision_id)
        return OutdatedDecisions(last_decision_id=last_decision_id)
    return OutdatedDecisions(decisions.outdate_items(conn, request.id, unheard_items, now))


def answer_cancellation_by_decision(
    conn: Connection, case: CaseRow, request: int, notice_number: str, now: datetime
) -> None:
    """Use the last decision on a request as the answer to the open question whether it is cancelled.

    An approval means that the agency does not cancel, if it has received the question; in a withdrawn case an
    approval is the subject of the question, and no answer to it. Without an approval there is nothing to
    cancel. A cancellation that comes later counts nevertheless.
    """
    row = agency_requests.find_by_id(conn, request)
    if row is None or row.state != "DECIDED" or not is_cancellation_open(row):
        return
    standing_decisions = make_standing_decisions(
        decisions.list_by_request(conn, request), {request: row.number}
    )
    is_approved = has_approval(standing_decisions)
    if is_approved and case.state == "WITHDRAWN":
        return
    # Of an application that has lost its items no decision counts: it says nothing before the question.
    if (is_approved or not row.required) and not _is_question_heard(conn, row):
        return
    event = StateEvent("refuse_cancel", now, row.agency, notice_number[:100])
    agency_requests.apply_event(conn, request, event, cancellation="REFUSED")
    release_held_orders(conn, request, now)
    offer_kept_certificates(conn, request, f"kept:{row.number}:{notice_number}", now)


def _is_question_heard(conn: Connection, request: AgencyRequestRow) -> bool:
    """Return whether the agency has, or is being sent, the last question whether it cancels the request."""
    questions = [
        row
        for row in deliveries.list_by_request(conn, request.case_id, request.id)
        if row.parameters.get("operation") == CANCELLATION
    ]
    return bool(questions) and questions[-1].state in ("ACTIVE", "DELIVERED")


def move_request(
    conn: Connection,
    status_codes: Mapping[str, StatusCode],
    request: OpenRequest,
    notice: Notice,
    stored_notice: StoredNotice,
    now: datetime,
) -> str:
    """Move the request: to decided by its decisions alone, otherwise by the status code; return its event.

    `status_codes` are the status codes of its case, `stored_notice` is the row of the notice. The same
    notices lead to the same state in every order. Among notices that ask for an action the latest issued one
    counts; an earlier one that arrives later moves nothing, but its demand is open nevertheless: when the
    transaction settles the deadlines, it settles the state. An application that its agency has cancelled
    stays cancelled. The caller writes the request.
    """
    event = status_codes[notice.status_code].event
    apply_demand_notice(request, stored_notice, status_codes)
    values: dict[str, Any] = (
        {"status_code": notice.status_code} if _is_latest(conn, request, stored_notice) else {}
    )
    asking = [
        earlier
        for earlier in stored_notice.request_notices
        if _is_asking(status_codes.get(earlier.status_code))
    ]
    is_leading = bool(asking) and max(asking, key=lambda earlier: earlier.order).id == stored_notice.id
    if is_leading:
        values["due_at"] = notice.deadline
    if notice.decisions or event == "decide":
        decision_event = _choose_decision_event(conn, request)
        if decision_event != "decide_item":
            # Nothing is due of a decided application but a fee: the deadlines settle that one.
            values |= {"decided_by": request.agency, "decided_at": now, "due_at": None}
        event = event if decision_event == "decide_item" and is_leading else decision_event
    elif event in CANCELLATION_EVENTS:
        if request.state != "CANCELLED":
            values["cancellation"] = CANCELLATION_EVENTS[event]
            if event == "refuse_cancel":
                release_held_orders(conn, request.id, now)
    elif event in _ASKING_EVENTS and not is_leading:
        return event
    request.apply_event(conn, StateEvent(event, now, request.agency, notice.number[:100]), **values)
    return event


def _is_asking(code: StatusCode | None) -> bool:
    return code is not None and code.event in _ASKING_EVENTS


def _is_latest(conn: Connection, request: OpenRequest, stored_notice: StoredNotice) -> bool:
    """Return whether a notice is the last one, of those that count since the request was amended."""
    amended_after = read_demands(request).amended_after
    if not amended_after:
        return stored_notice.is_latest
    last = find_status_notice(conn, int(request.id), stored_notice.request_notices, amended_after)
    return last is not None and bool(last.id == stored_notice.id)


def _choose_decision_event(conn: Connection, request: OpenRequest) -> str:
    """Return the event that the decisions on a request cause, in its state and with all stored decisions.

    It is `correct` for a decided request, `decide` when no item is undecided any more, or else `decide_item`.
    """
    if request.state == "DECIDED":
        return "correct"
    standing_decisions = make_standing_decisions(
        decisions.list_by_request(conn, request.id), {request.id: request.number}
    )
    return (
        "decide"
        if is_decided(make_request_scope(request.copy_state()), standing_decisions)
        else "decide_item"
    )


def move_case(
    conn: Connection,
    units: UnitTable,
    case: CaseRow,
    cause: str,
    now: datetime,
    *,
    has_decision: bool = True,
    repeat_reason: str = "",
) -> None:
    """Decide or withdraw a locked case when no request is open any more; conclude again after a change.

    The row of the case must be the current one. `cause` is recorded with the step: the number of a notice, or
    a reason. `has_decision` is False if the call comes without a decision of an agency. While an agency has
    not said whether it cancels its application, the case is not decided. A withdrawn case stays withdrawn.
    With `repeat_reason`, a word of the caller, equal decisions are concluded once more, because the
    quantities written off have changed.

    Quantities of items that a result approves again are written off again before the conclusion: an item for
    which too little is left is not approved.
    """
    if case.state == "WITHDRAWN":
        return
    locked_case = _read_locked_case(conn, case)
    outcome = _evaluate_outcome(locked_case)
    if outcome is None and not has_decision:
        return
    if outcome is None:
        step = StateEvent("decision", now, _ACTOR, cause[:100])
        cases.apply_event(conn, case.id, step, before=case.state)
        return
    has_restored_uses = _restore_approved_uses(conn, units, locked_case, outcome, now)
    if has_restored_uses:
        locked_case = replace(locked_case, decisions=list_all_decisions(conn, case.id, locked_case.requests))
    conclusion_id = compute_conclusion_id(
        outcome, locked_case.decisions, list_cancellations(locked_case.requests)
    )
    key = ":".join(
        [
            "conclude",
            str(case.id),
            conclusion_id,
            *_list_turn(case),
            *([repeat_reason] if repeat_reason else []),
        ]
    )
    concluded = _enqueue_conclusion(conn, case.id, key, conclusion_id, now)
    if concluded is None and has_restored_uses:
        # The decisions are the same as before, but the quantities written off have changed.
        concluded = _enqueue_conclusion(conn, case.id, f"{key}:taken {now.isoformat()}", conclusion_id, now)
    if concluded is None:
        return
    event = _choose_case_event(case, outcome)
    step = StateEvent(event, now, _ACTOR, cause[:100])
    cases.apply_event(conn, case.id, step, before=case.state, outcome=outcome.value)
    if not has_restored_uses:
        _give_back_unapproved_uses(conn, units, locked_case, outcome, now)
    ended = "decided" if event == "last_decision" else "corrected"
    kind = "withdrawn" if event == "withdrawn" else ended
    data = {"outcome": outcome.value, "conclusion": conclusion_id}
    record_evidence(conn, kind, "case", case.id, None, data, now)
    # A change after items have left is reported to the children: their tasks read it after this commit.
    for child in item_releases.list_children(conn, case.id):
        enqueue_task(conn, "join", "case", child, f"parent:{concluded}:{child}", now)
    wake_held_children(conn, case.declarant, {case.id}, f"parent:{concluded}", now)


def _enqueue_conclusion(
    conn: Connection, case: int, key: str, conclusion_id: str, now: datetime
) -> str | None:
    """Queue a conclusion of a locked case; return its key, or None if the last one has equal decisions.

    Earlier decisions may count again: the goods of a certificate are approved, rejected and approved once
    more. Then the last conclusion rests on other decisions, and the earlier conclusion is sent again under a
    new key.
    """
    if enqueue_task(conn, "conclude", "case", case, key, now, rests_on=conclusion_id):
        return key
    conclusions = _list_conclusions(conn, case)
    if conclusions[-1].parameters.get("rests_on") == conclusion_id:
        return None
    renewed_key = f"{key}:after {conclusions[-1].id}"
    enqueue_task(conn, "conclude", "case", case, renewed_key, now, rests_on=conclusion_id)
    return renewed_key


def _list_conclusions(conn: Connection, case: int) -> list[DeliveryOutlineRow]:
    return [row for row in deliveries.list_outlines(conn, case) if row.parameters.get("task") == "conclude"]


def rests_on_decisions(conn: Connection, case: int) -> bool:
    """Return whether the last conclusion of a case rests on decisions, which may not count any more."""
    conclusions = _list_conclusions(conn, case)
    return bool(conclusions) and conclusions[-1].parameters.get("rests_on") is not None


def write_off_lost_uses(conn: Connection, units: UnitTable, case: CaseRow, now: datetime) -> None:
    """Write off again the quantities that the approved items of a decided, locked case had lost.

    If this changes anything, the declarant and customs get a new conclusion with the quantities that are
    written off now.
    """
    if case.outcome is None:
        return
    rejected = list_rejected_case_items(conn, case)
    retaken = has_lost_uses(conn, case.id, rejected) and apply_decided_items(conn, case, rejected, units, now)
    if retaken and list_outside_decisions(conn, case.id):
        move_case(conn, units, case, "requirement", now, repeat_reason=f"taken {now.isoformat()}")


def conclude_if_awaited_changed(
    conn: Connection, units: UnitTable, case: CaseRow, now: datetime, *, has_number_arrived: bool = False
) -> None:
    """Conclude a decided, locked case again if the numbers that it waits for are no longer those it reported.

    With `has_number_arrived` one of these numbers has arrived now. A conclusion that is still queued reports
    the present numbers when it runs.
    """
    if case.outcome is None:
        return
    if has_number_arrived or describe_awaited_numbers(
        list_awaited_numbers(conn, case.id)
    ) != get_reported_numbers(case):
        ranked_decisions = list_all_decisions(conn, case.id)
        _conclude_again(conn, units, case, ranked_decisions, f"joined {now.isoformat()}", now)


def _conclude_again(
    conn: Connection,
    units: UnitTable,
    case: CaseRow,
    ranked_decisions: Sequence[RankedDecision],
    repeat_reason: str,
    now: datetime,
) -> None:
    """Conclude a decided, locked case again with the same decisions, unless a conclusion is still queued.

    Without decisions nothing about the case has changed but its warnings: it stays CLOSED where it is.
    """
    assert case.outcome is not None, "a decided case has an outcome"
    requests = agency_requests.list_by_case(conn, case.id)
    current = {
        compute_conclusion_id(CaseOutcome(case.outcome), ranked_decisions, list_cancellations(requests))
    }
    queued = {row.parameters.get("rests_on") for row in _list_conclusions(conn, case.id)
               if row.state == "QUEUED"}  # fmt: skip
    if queued & (current if ranked_decisions else {*current, None}):
        return
    if ranked_decisions:
        move_case(conn, units, case, "requirement", now, has_decision=False, repeat_reason=repeat_reason)
    else:
        enqueue_task(conn, "conclude", "case", case.id, f"conclude:{case.id}:{repeat_reason}", now)


def wake_held_children(
    conn: Connection, declarant: str, parents: Collection[int], key: str, now: datetime
) -> None:
    """Let the held children of cases (row ids) check whether they may go on; `key` names the change.

    A held case whose detail has another form is logged and left as it is: the change is not about it.
    """
    if not parents:
        return
    for held in cases.list_held(conn, declarant):
        try:
            parent = (held.detail.get("held") or {}).get("parent")
        except AttributeError:
            _log.error("a held case is not woken: its detail has another form", extra={"case_id": held.id})
            continue
        if parent in parents:
            enqueue_task(conn, "wake", "case", held.id, f"{key}:{held.id}", now)


def _give_back_items(conn: Connection, case: CaseRow, now: datetime) -> None:
    """Give back to its parent the items that a withdrawn child has taken; evidence is stored for both."""
    parents = {row.parent_id for row in item_releases.list_releases_into(conn, case.id)}
    if item_releases.return_releases(conn, case.id, "withdrawn", now):
        record_evidence(conn, "items_returned", "case", case.id, None, {"reason": "withdrawn"}, now)
        for parent in parents:
            data = {"child": case.id, "reason": "withdrawn"}
            record_evidence(conn, "items_returned", "case", parent, None, data, now)
        transitions.record_events(
            conn, "case", [(parent, "ITEMS_RETURNED") for parent in sorted(parents)], now
        )
        wake_held_children(conn, case.declarant, parents, f"returned:{case.id}:{now.isoformat()}", now)


def _give_back_unapproved_uses(
    conn: Connection, units: UnitTable, locked_case: _LockedCase, outcome: CaseOutcome, now: datetime
) -> None:
    """Give back the uses of a withdrawn case, of rejected items and of items of cancelled requests."""
    case = locked_case.case
    if outcome is CaseOutcome.WITHDRAWN:
        requirement_results.end_awaited_uses(conn, case.id, "withdrawn", now)
        _give_back_items(conn, case, now)
        give_back_requirements(conn, case.id, "withdrawn", now)
        return
    apply_decided_items(conn, case, locked_case.rejected_items, units, now)


def _restore_approved_uses(
    conn: Connection, units: UnitTable, locked_case: _LockedCase, outcome: CaseOutcome, now: datetime
) -> bool:
    """Write off again the uses of rejected items that results approve; return whether there are any."""
    case_id, uses = locked_case.case.id, [ranked.written_off for ranked in locked_case.decisions]
    certified = any(use is not None and not use.for_parent for use in uses)
    if outcome is CaseOutcome.WITHDRAWN or not certified:
        return False
    if not has_lost_uses(conn, case_id, locked_case.rejected_items):
        return False
    apply_decided_items(conn, locked_case.case, locked_case.rejected_items, units, now)
    return True


@dataclass(frozen=True, slots=True)
class _LockedCase:
    """A locked case with its requests and all decisions about it, also those from elsewhere.

    `cancelled_items` are the items of its cancelled requests, and those it has taken that were cancelled
    above.
    """

    case: CaseRow
    requests: Sequence[RequestWithFeesRow]
    decisions: Sequence[RankedDecision]
    cancelled_items: frozenset[int]

    @property
    def rejected_items(self) -> frozenset[int]:
        """Return the items that decisions in force reject, and those that are cancelled."""
        return self.cancelled_items.union(list_rejected_items(_get_case_items(self.case), self.decisions))


def _read_locked_case(conn: Connection, case: CaseRow) -> _LockedCase:
    """Return a locked case with its requests, all decisions that count for it, and its cancelled items."""
    requests = agency_requests.list_by_case(conn, case.id)
    ranked_decisions = list_all_decisions(conn, case.id, requests)
    own_items = {
        item for row in requests if row.state == "CANCELLED" for item in make_request_scope(row).items
    }
    inherited_items = (items for _, items in list_cancelled_above(conn, case.id))
    return _LockedCase(case, requests, ranked_decisions, frozenset(own_items.union(*inherited_items)))


def list_rejected_case_items(conn: Connection, case: CaseRow) -> frozenset[int]:
    """Return the items of a locked case whose decisions in force reject them, and of cancelled requests."""
    return _read_locked_case(conn, case).rejected_items


def conclude_case_without_applications(
    conn: Connection, units: UnitTable, case_id: int, now: datetime, **values: Any
) -> CaseOutcome:
    """Decide a new case without applications: it is approved, if no number that it names says otherwise.

    `values` are stored with the step. Return the outcome.
    """
    outside_decisions = list_outside_decisions(conn, case_id)
    items = (values.get("detail") or cases.lock_case(conn, case_id).detail)["items"]
    outcome = evaluate_case_outcome(items, (), outside_decisions) or CaseOutcome.APPROVED
    event = StateEvent("none_concerned", now, "admit")
    cases.apply_event(conn, case_id, event, outcome=outcome.value, **values)
    if not outside_decisions:
        enqueue_task(conn, "conclude", "case", case_id, f"conclude:{case_id}:1", now)
        return outcome
    rests_on = compute_conclusion_id(outcome, outside_decisions)
    key = f"conclude:{case_id}:{rests_on}"
    enqueue_task(conn, "conclude", "case", case_id, key, now, rests_on=rests_on)
    _give_back_unapproved_uses(
        conn, units, _read_locked_case(conn, cases.lock_case(conn, case_id)), outcome, now
    )
    return outcome


def end_cancellation(conn: Connection, case: CaseRow, request: int, cause: StateEvent) -> None:
    """End the question whether an agency cancels; an application that it never acknowledged is cancelled.

    An acknowledged application stays in force, as if the agency had refused: it may still decide.
    """
    row = agency_requests.find_by_id(conn, request)
    if row is None or not is_cancellation_open(row):
        return
    is_unacknowledged = row.receipt_number is None and row.state in _UNACKNOWLEDGED_STATES
    event = replace(cause, event="cancel" if is_unacknowledged else "refuse_cancel")
    word = "UNTOLD" if is_unacknowledged else "REFUSED"
    agency_requests.apply_event(conn, request, event, cancellation=word)
    if is_unacknowledged:
        end_fees_of_cancelled(conn, request, cause.at)
    else:
        release_held_orders(conn, request, cause.at)
        offer_kept_certificates(conn, request, f"kept:{row.number}:{cause.at.isoformat()}", cause.at)
    units = load_unit_table(open_active_mappings(conn, cause.at))
    move_case(conn, units, case, cause.detail or cause.actor, cause.at)
    # An operator's verb has no timetable: the time to decide begins with the act, by a task of a worker.
    at = cause.at.isoformat()
    enqueue_task(conn, "settle", "settling", case.id, f"settle:{case.id}:{at}", cause.at, at=at)


def evaluate_outcome_by(
    conn: Connection,
    case: CaseRow,
    own_decisions: Sequence[RankedDecision],
    cancelled_requests: Collection[int] = (),
) -> CaseOutcome | None:
    """Return the outcome of a case if its agencies had made these decisions on its applications.

    `cancelled_requests` are the requests (row ids) that would be cancelled, too. Decisions from elsewhere
    count as they are stored. Nothing is changed, and the case need not be locked.
    """
    if case.state not in ("IN_PROGRESS", "DECIDED", "CLOSED"):
        return None if case.outcome is None else CaseOutcome(case.outcome)
    stored = _read_locked_case(conn, case)
    numbers = {row.number for row in stored.requests}
    outside_decisions = [ranked for ranked in stored.decisions if ranked.request not in numbers]
    newly_cancelled = [row for row in stored.requests if row.id in cancelled_requests]
    return _evaluate_outcome(
        _LockedCase(
            case,
            [row for row in stored.requests if row.id not in cancelled_requests],
            (*own_decisions, *outside_decisions),
            stored.cancelled_items.union(*(make_request_scope(row).items for row in newly_cancelled)),
        )
    )


def _evaluate_outcome(locked_case: _LockedCase) -> CaseOutcome | None:
    """Return the outcome; None while an agency has to decide, or to answer a cancellation.

    A case that its declarant withdraws is withdrawn when no approval of an agency is left.
    """
    if any(is_cancellation_open(row) for row in locked_case.requests):
        return None
    items, concerns = _get_case_items(locked_case.case), list_request_scopes(locked_case.requests)
    outcome = evaluate_case_outcome(items, concerns, locked_case.decisions, locked_case.cancelled_items)
    withdraws = "withdrawal" in (locked_case.case.detail or {})
    # An approval under a number of the agency does not hold the declaration: the agency was not asked here.
    numbers = {row.number for row in locked_case.requests}
    own_decisions = [ranked for ranked in locked_case.decisions if ranked.request in numbers]
    return CaseOutcome.WITHDRAWN if outcome and withdraws and not has_approval(own_decisions) else outcome


def _list_turn(case: CaseRow) -> list[str]:
    """Return the row id of the message that last amended or withdrew the case, as text; empty without one."""
    turn = (case.detail or {}).get("turn")
    return [] if turn is None else [str(turn)]


def _choose_case_event(case: CaseRow, outcome: CaseOutcome) -> str:
    if outcome is CaseOutcome.WITHDRAWN:
        return "withdrawn"
    return "last_decision" if case.state == "IN_PROGRESS" else "correct"


def _get_case_items(case: CaseRow) -> list[int]:
    """Return the items of the declaration that opened the case; raises when it has none."""
    items = (case.detail or {}).get("items")
    if not items:
        detail = f"case {case.number} has no items that a decision could be about"
        raise GatewayError(TRANSITION_REFUSED, detail, f"case/{case.state}")
    return list(items)
