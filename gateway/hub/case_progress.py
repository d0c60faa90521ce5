"""Moves a request by a notice of its agency, and its case by the state of all its requests.

The input is a stored notice in the transaction of `gateway.hub.reply`, or a withdrawal in that of
`gateway.hub.admit`; the case is locked. With the last decision, or the last answer to a
cancellation, the case is decided or withdrawn, and its conclusion is queued
(`gateway.hub.conclude`). The outcome depends on what is stored, and not on the order in which it came.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Row

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
from gateway.hub.amended_applications import list_unheard_items
from gateway.hub.completion import (
    compute_conclusion_id,
    describe_awaited_numbers,
    find_amendment,
    find_status_notice,
    get_told_numbers,
    is_cancellation_open,
    list_all_decisions,
    list_awaited_numbers,
    list_cancellations,
    list_cancelled_above,
    list_concerns,
    list_outside_decisions,
    make_concern,
    make_standing_decisions,
    take_demand_notice,
)
from gateway.hub.fees import end_fees_of_cancelled, release_held_orders
from gateway.hub.outbox import CANCELLATION, enqueue_task
from gateway.hub.register import open_active_mappings
from gateway.hub.requirement_ledger import (
    apply_decided_items,
    give_back_requirements,
    has_lost_uses,
    offer_kept_certificates,
)
from gateway.store import (
    OpenRequest,
    StateEvent,
    StoredNotice,
    agency_requests,
    cases,
    decisions,
    deliveries,
    events,
    item_releases,
    requirement_results,
)

__all__ = [
    "CANCELLATION_EVENTS",
    "answer_cancellation_by_decision",
    "conclude_unasked_case",
    "end_cancellation",
    "list_rejected_case_items",
    "move_case",
    "move_request",
    "outdate_early_decisions",
    "rests_on_decisions",
    "take_lost_uses",
    "tell_awaited_uses",
    "wake_held_children",
]

_ACTOR = "reply"
#: Events by which an agency waits for an action, or ends that; the latest one determines the request.
_ASKING: Final = frozenset({"ask", "inspect", "inspected", "fee"})
#: States of a request of which its agency has said nothing yet.
_UNKNOWN_THERE: Final = frozenset({"PREPARED", "STRANDED"})
#: States of a delivery that its agency has not heard, and is not hearing now.
_NOT_HEARD: Final = frozenset({"QUEUED", "HELD", "FAILED"})
#: Events by which an agency answers whether it cancels an application, and what is stored for each.
CANCELLATION_EVENTS: Final = {"cancel": "ACCEPTED", "refuse_cancel": "REFUSED"}


def outdate_early_decisions(
    conn: Connection, case: Row[Any], request: Row[Any], notice: str, now: datetime
) -> None:
    """Let no decision of a notice count on what its agency was not sent yet as it was amended.

    Of a case that was never amended nothing is asked. The agency may answer a call before it has returned,
    so that a decision during the call counts; so does one when an operator has ended it.
    """
    if not _list_turn(case):
        return
    calls = deliveries.list_by_request(conn, request.case_id, request.id)
    unheard = list_unheard_items(request.number, (row for row in calls if row.state in _NOT_HEARD))
    about = decisions.list_by_request(conn, request.id)
    known = [row for row in about if unheard is None or row.item in unheard]
    # What counts already was decided during a call: the agency has what was amended, and may correct it.
    if not known or any(row.notice_no != notice for row in known):
        return
    if unheard is None:
        agency_requests.outdate_decisions(conn, request.id, max(row.id for row in known))
    else:
        decisions.outdate_items(conn, request.id, unheard, now)


def answer_cancellation_by_decision(
    conn: Connection, case: Row[Any], request: int, notice: str, now: datetime
) -> None:
    """Take the last decision on a request for the answer to the open question whether it is cancelled.

    With an approval its agency goes on, once it has been asked; of a withdrawn case an approval is what
    the question is about, and no answer to it. Without one there is nothing to cancel. A cancellation that
    comes later counts all the same.
    """
    row = agency_requests.find_by_id(conn, request)
    if row is None or row.state != "DECIDED" or not is_cancellation_open(row):
        return
    standing = make_standing_decisions(decisions.list_by_request(conn, request), {request: row.number})
    approved = has_approval(standing)
    if approved and case.state == "WITHDRAWN":
        return
    # Of an application that has lost its items no decision counts: it says nothing before the question.
    if (approved or not row.required) and not _is_question_heard(conn, row):
        return
    event = StateEvent("refuse_cancel", now, row.agency, notice[:100])
    agency_requests.apply_event(conn, request, event, cancellation="REFUSED")
    release_held_orders(conn, request, now)
    offer_kept_certificates(conn, request, f"kept:{row.number}:{notice}", now)


def _is_question_heard(conn: Connection, request: Row[Any]) -> bool:
    asked = [
        row
        for row in deliveries.list_by_request(conn, request.case_id, request.id)
        if row.parameters.get("operation") == CANCELLATION
    ]
    return bool(asked) and asked[-1].state in ("ACTIVE", "DELIVERED")


def move_request(
    conn: Connection,
    codes: Mapping[str, StatusCode],
    request: OpenRequest,
    said: tuple[Notice, StoredNotice],
    now: datetime,
) -> str:
    """Move the request: to decided by its decisions alone, otherwise by the status code; return its event.

    `codes` are the status codes of its case. The same notices lead to the same state in every order. Among
    notices that ask for an action the latest issued one counts; one that was overtaken on the way moves
    nothing, and what it asks for stands all the same: when the transaction settles the deadlines, it
    settles the state. An application that its agency has cancelled stays cancelled. The caller writes the
    request.
    """
    notice, stored = said
    event = codes[notice.status_code].event
    take_demand_notice(request, stored, codes)
    values: dict[str, Any] = {"status_code": notice.status_code} if _is_latest(conn, request, stored) else {}
    asking = [one for one in stored.known if _is_asking(codes.get(one.status_code))]
    leads = bool(asking) and max(asking, key=lambda one: (one.issued_at, one.number)).id == stored.id
    if leads:
        values["due_at"] = notice.deadline
    if notice.decisions or event == "decide":
        decision = _choose_decision_event(conn, request)
        if decision != "decide_item":
            # Nothing is due of a decided application but a fee: the deadlines settle that one.
            values |= {"decided_by": request.agency, "decided_at": now, "due_at": None}
        event = event if decision == "decide_item" and leads else decision
    elif event in CANCELLATION_EVENTS:
        if request.state != "CANCELLED":
            values["cancellation"] = CANCELLATION_EVENTS[event]
            if event == "refuse_cancel":
                release_held_orders(conn, request.id, now)
    elif event in _ASKING and not leads:
        return event
    request.apply_event(conn, StateEvent(event, now, request.agency, notice.number[:100]), **values)
    return event


def _is_asking(code: StatusCode | None) -> bool:
    return code is not None and code.event in _ASKING


def _is_latest(conn: Connection, request: OpenRequest, stored: StoredNotice) -> bool:
    """Return whether a notice is the last one, of those that count since the request was amended."""
    amended_after = find_amendment(request)
    if not amended_after:
        return stored.latest
    last = find_status_notice(conn, int(request.id), stored.known, amended_after)
    return last is not None and bool(last.id == stored.id)


def _choose_decision_event(conn: Connection, request: OpenRequest) -> str:
    if request.state == "DECIDED":
        return "correct"
    standing = make_standing_decisions(
        decisions.list_by_request(conn, request.id, request.case_id), {request.id: request.number}
    )
    return "decide" if is_decided(make_concern(request.copy_state()), standing) else "decide_item"


def move_case(
    conn: Connection,
    units: UnitTable,
    case: Row[Any],
    cause: str,
    now: datetime,
    *,
    decided: bool = True,
    again: str = "",
) -> None:
    """Decide or withdraw a locked case when nothing is open any more; a change is concluded again.

    The row of the case is as it is now. `cause` is what is recorded with the step: the number of a
    notice, or a reason. Without `decided`
    no agency has said anything. While an agency has
    not said whether it cancels its application, nothing is decided. A withdrawn case stays so. With `again`,
    a word of its own, equal decisions are concluded once more: what is written off has changed.

    What a result approves again is written off again before anything is concluded: where too little is left,
    it approves nothing.
    """
    if case.state == "WITHDRAWN":
        return
    asked = agency_requests.list_by_case(conn, case.id)
    standing = list_all_decisions(conn, case.id, asked)
    outcome = _evaluate_outcome(conn, case, asked, standing)
    if outcome is None and not decided:
        return
    if outcome is None:
        step = StateEvent("decision", now, _ACTOR, cause[:100])
        cases.apply_event(conn, case.id, step, before=case.state)
        return
    is_settled = _settle_approved_uses(conn, units, case, (outcome, asked, standing), now)
    if is_settled:
        standing = list_all_decisions(conn, case.id, asked)
    rests_on = compute_conclusion_id(outcome, standing, list_cancellations(asked))
    key = ":".join(["conclude", str(case.id), rests_on, *_list_turn(case), *([again] if again else [])])
    concluded = _enqueue_conclusion(conn, case.id, key, rests_on, now)
    if concluded is None and is_settled:
        # The decisions are those of before, but not what is written off.
        concluded = _enqueue_conclusion(conn, case.id, f"{key}:taken {now.isoformat()}", rests_on, now)
    if concluded is None:
        return
    event = _choose_case_event(case, outcome)
    step = StateEvent(event, now, _ACTOR, cause[:100])
    cases.apply_event(conn, case.id, step, before=case.state, outcome=outcome.value)
    if not is_settled:
        _settle_ledger(conn, units, case, (outcome, asked, standing), now)
    ended = "decided" if event == "last_decision" else "corrected"
    kind = "withdrawn" if event == "withdrawn" else ended
    data = {"outcome": outcome.value, "conclusion": rests_on}
    record_evidence(conn, kind, "case", case.id, None, data, now)
    # What changes after items have left is told to the children: their tasks read it after this commit.
    for child in item_releases.list_children(conn, case.id):
        enqueue_task(conn, "join", ("case", child), f"parent:{concluded}:{child}", now)
    wake_held_children(conn, case.declarant, {case.id}, f"parent:{concluded}", now)


def _enqueue_conclusion(conn: Connection, case: int, key: str, rests_on: str, now: datetime) -> str | None:
    """Queue a conclusion of a locked case; return its key, or None where it is the last one already.

    What counted once may count again: of the goods of a certificate one is approved, and rejected. The last
    conclusion rests on other decisions then, and what was told first is told anew.
    """
    if enqueue_task(conn, "conclude", ("case", case), key, now, rests_on=rests_on):
        return key
    told = _list_conclusions(conn, case)
    if told[-1].parameters.get("rests_on") == rests_on:
        return None
    again = f"{key}:after {told[-1].id}"
    enqueue_task(conn, "conclude", ("case", case), again, now, rests_on=rests_on)
    return again


def _list_conclusions(conn: Connection, case: int) -> list[Row[Any]]:
    return [row for row in deliveries.list_outlines(conn, case) if row.parameters.get("task") == "conclude"]


def rests_on_decisions(conn: Connection, case: int) -> bool:
    """Return whether the last conclusion of a case rests on decisions, which may not count any more."""
    told = _list_conclusions(conn, case)
    return bool(told) and told[-1].parameters.get("rests_on") is not None


def take_lost_uses(conn: Connection, units: UnitTable, case: Row[Any], now: datetime) -> None:
    """Take again what the approved items of a decided, locked case could not have when it was decided.

    The declarant and customs are told what is written off now.
    """
    if case.outcome is None:
        return
    rejected = list_rejected_case_items(conn, case)
    taken = has_lost_uses(conn, case.id, rejected) and apply_decided_items(
        conn, case.id, rejected, units, now
    )
    if taken and list_outside_decisions(conn, case.id):
        move_case(conn, units, case, "requirement", now, again=f"taken {now.isoformat()}")


def tell_awaited_uses(
    conn: Connection, units: UnitTable, case: Row[Any], now: datetime, *, joined: bool = False
) -> None:
    """Conclude a decided, locked case again, where its Result says something else of what it waits for.

    With `joined` it has something of that now. A conclusion that is still queued tells what is so now.
    """
    if case.outcome is None:
        return
    if joined or describe_awaited_numbers(list_awaited_numbers(conn, case.id)) != get_told_numbers(case):
        standing = list_all_decisions(conn, case.id)
        _conclude_again(conn, units, case, standing, f"joined {now.isoformat()}", now)


def _conclude_again(
    conn: Connection,
    units: UnitTable,
    case: Row[Any],
    standing: Sequence[RankedDecision],
    again: str,
    now: datetime,
) -> None:
    """Conclude a decided, locked case again with the same decisions, unless a conclusion is still queued.

    Without decisions nothing about the case has changed but its warnings: it stays CLOSED where it is.
    """
    asked = agency_requests.list_by_case(conn, case.id)
    current = {compute_conclusion_id(CaseOutcome(case.outcome), standing, list_cancellations(asked))}
    telling = {row.parameters.get("rests_on") for row in _list_conclusions(conn, case.id)
               if row.state == "QUEUED"}  # fmt: skip
    if telling & (current if standing else {*current, None}):
        return
    if standing:
        move_case(conn, units, case, "requirement", now, decided=False, again=again)
    else:
        enqueue_task(conn, "conclude", ("case", case.id), f"conclude:{case.id}:{again}", now)


def wake_held_children(
    conn: Connection, declarant: str, parents: Collection[int], key: str, now: datetime
) -> None:
    """Let the held children of cases (row ids) look whether they may go on; `key` names what has changed."""
    if not parents:
        return
    for held in cases.list_held(conn, declarant):
        if (held.detail.get("held") or {}).get("parent") in parents:
            enqueue_task(conn, "wake", ("case", held.id), f"{key}:{held.id}", now)


def _give_back_items(conn: Connection, case: Row[Any], now: datetime) -> None:
    """Give back to its parent what a withdrawn child has taken; evidence stands at both."""
    parents = {row.parent_id for row in item_releases.list_releases_into(conn, case.id)}
    if item_releases.return_releases(conn, case.id, "withdrawn", now):
        record_evidence(conn, "items_returned", "case", case.id, None, {"reason": "withdrawn"}, now)
        for parent in parents:
            data = {"child": case.id, "reason": "withdrawn"}
            record_evidence(conn, "items_returned", "case", parent, None, data, now)
        events.record_events(conn, "case", [(parent, "ITEMS_RETURNED") for parent in sorted(parents)], now)
        wake_held_children(conn, case.declarant, parents, f"returned:{case.id}:{now.isoformat()}", now)


def _settle_ledger(
    conn: Connection,
    units: UnitTable,
    case: Row[Any],
    decided: tuple[CaseOutcome, Sequence[Row[Any]], Sequence[RankedDecision]],
    now: datetime,
) -> None:
    """Give back what a withdrawn case, a rejected item and the item of a cancelled request have used."""
    outcome, asked, standing = decided
    if outcome is CaseOutcome.WITHDRAWN:
        requirement_results.end_awaited_uses(conn, case.id, "withdrawn", now)
        _give_back_items(conn, case, now)
        give_back_requirements(conn, case.id, "withdrawn", now)
        return
    apply_decided_items(conn, case.id, _list_rejected(conn, case, asked, standing), units, now)


def _settle_approved_uses(
    conn: Connection,
    units: UnitTable,
    case: Row[Any],
    decided: tuple[CaseOutcome, Sequence[Row[Any]], Sequence[RankedDecision]],
    now: datetime,
) -> bool:
    """Write off again what results approve of items that were rejected; return whether there is any."""
    outcome, asked, standing = decided
    certified = any(one.written is not None and not one.written.above for one in standing)
    if outcome is CaseOutcome.WITHDRAWN or not certified:
        return False
    rejected = _list_rejected(conn, case, asked, standing)
    if not has_lost_uses(conn, case.id, rejected):
        return False
    apply_decided_items(conn, case.id, rejected, units, now)
    return True


def list_rejected_case_items(conn: Connection, case: Row[Any]) -> set[int]:
    """Return the items of a locked case whose decisions in force reject them, and of cancelled requests."""
    asked = agency_requests.list_by_case(conn, case.id)
    standing = list_all_decisions(conn, case.id, asked)
    return _list_rejected(conn, case, asked, standing)


def conclude_unasked_case(
    conn: Connection, units: UnitTable, case_id: int, now: datetime, **values: Any
) -> None:
    """Decide a new case without applications: it is approved, if no number that it names says otherwise.

    `values` are stored with the step.
    """
    standing = list_outside_decisions(conn, case_id)
    items = (values.get("detail") or cases.lock_case(conn, case_id).detail)["items"]
    outcome = evaluate_case_outcome(items, (), standing) or CaseOutcome.APPROVED
    event = StateEvent("none_concerned", now, "admit")
    cases.apply_event(conn, case_id, event, outcome=outcome.value, **values)
    if not standing:
        enqueue_task(conn, "conclude", ("case", case_id), f"conclude:{case_id}:1", now)
        return
    rests_on = compute_conclusion_id(outcome, standing)
    key = f"conclude:{case_id}:{rests_on}"
    enqueue_task(conn, "conclude", ("case", case_id), key, now, rests_on=rests_on)
    _settle_ledger(conn, units, cases.lock_case(conn, case_id), (outcome, (), standing), now)


def _list_rejected(
    conn: Connection, case: Row[Any], asked: Sequence[Row[Any]], standing: Sequence[RankedDecision]
) -> set[int]:
    cancelled = _list_cancelled_items(conn, case, asked)
    return cancelled | list_rejected_items(_get_case_items(case), standing)


def end_cancellation(conn: Connection, case: Row[Any], request: int, what: StateEvent) -> None:
    """Ask an agency no longer whether it cancels; an application that it never acknowledged is cancelled.

    Another one stands, as if the agency had refused: it may still decide.
    """
    row = agency_requests.find_by_id(conn, request)
    if row is None or not is_cancellation_open(row):
        return
    unknown = row.receipt_number is None and row.state in _UNKNOWN_THERE
    event = replace(what, event="cancel" if unknown else "refuse_cancel")
    word = "UNTOLD" if unknown else "REFUSED"
    agency_requests.apply_event(conn, request, event, cancellation=word)
    if unknown:
        end_fees_of_cancelled(conn, request, what.at)
    else:
        release_held_orders(conn, request, what.at)
        offer_kept_certificates(conn, request, f"kept:{row.number}:{what.at.isoformat()}", what.at)
    units = load_unit_table(open_active_mappings(conn, what.at))
    move_case(conn, units, case, what.detail or what.actor, what.at)
    # An operator's verb has no timetable: the time to decide begins with the act, by a task of a worker.
    at = what.at.isoformat()
    enqueue_task(conn, "settle", ("settling", case.id), f"settle:{case.id}:{at}", what.at, at=at)


def _list_cancelled_items(conn: Connection, case: Row[Any], asked: Sequence[Row[Any]]) -> set[int]:
    """Return the items of cancelled requests of a case, and those it has taken that were cancelled above."""
    own = {item for row in asked if row.state == "CANCELLED" for item in make_concern(row).items}
    return own.union(*(items for _, items in list_cancelled_above(conn, case.id)))


def _evaluate_outcome(
    conn: Connection, case: Row[Any], asked: Sequence[Row[Any]], standing: Sequence[RankedDecision]
) -> CaseOutcome | None:
    """Return the outcome; None while an agency has to decide, or to answer a cancellation.

    A case that its declarant withdraws is withdrawn when no agency's approval stands.
    """
    if any(is_cancellation_open(row) for row in asked):
        return None
    cancelled = _list_cancelled_items(conn, case, asked)
    outcome = evaluate_case_outcome(_get_case_items(case), list_concerns(asked), standing, cancelled)
    withdraws = "withdrawal" in (case.detail or {})
    # What an agency approved under a number of its own does not hold the declaration: it was not asked here.
    numbers = {row.number for row in asked}
    own = [one for one in standing if one.request in numbers]
    return CaseOutcome.WITHDRAWN if outcome and withdraws and not has_approval(own) else outcome


def _list_turn(case: Row[Any]) -> list[str]:
    """Return which turn of the case is concluded: each amendment and each withdrawal is a new one."""
    turn = (case.detail or {}).get("turn")
    return [] if turn is None else [str(turn)]


def _choose_case_event(case: Row[Any], outcome: CaseOutcome) -> str:
    if outcome is CaseOutcome.WITHDRAWN:
        return "withdrawn"
    return "last_decision" if case.state == "IN_PROGRESS" else "correct"


def _get_case_items(case: Row[Any]) -> list[int]:
    """Return the items of the declaration that opened the case; raises when it has none."""
    items = (case.detail or {}).get("items")
    if not items:
        detail = f"case {case.number} has no items that a decision could be about"
        raise GatewayError(TRANSITION_REFUSED, detail, f"case/{case.state}")
    return list(items)
