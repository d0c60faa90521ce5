"""Every state of a case of two applications that can be reached: none drops an event, and from each it ends.

The steps are those of `gateway.state_machines`, the outcome that of `gateway.cases`: no hub, no database.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pytest

from gateway.cases import (
    CaseOutcome,
    Decision,
    DecisionCode,
    RankedDecision,
    RequestScope,
    evaluate_case_outcome,
    has_approval,
)
from gateway.errors import GatewayError
from gateway.state_machines import (
    CASE,
    CLEARANCE,
    DELIVERY,
    FEE,
    MACHINES,
    MESSAGE,
    REQUEST,
    StateMachine,
    get_next_state,
)

NOW = datetime(2026, 11, 20, tzinfo=UTC)
#: What an agency may say at any time, and what the hub learns of its own calls.
NOTICES = ("acknowledge", "ask", "inspect", "fee", "send", "refuse_cancel")


@dataclass(frozen=True)
class Asked:
    """One application: its state, whether a question about it is open, the decision in force."""

    state: str = "PREPARED"
    asked: bool = False
    decision: DecisionCode | None = None


@dataclass(frozen=True)
class Case:
    """A case of two applications with one item each."""

    state: str = "IN_PROGRESS"
    withdraws: bool = False
    outcome: CaseOutcome | None = None
    requests: tuple[Asked, ...] = (Asked(), Asked())


def move(case: Case, which: int, event: str, **values: object) -> Case:
    """Move one application by an event that its state must accept."""
    one = case.requests[which]
    after = replace(one, state=get_next_state(REQUEST, one.state, event), **values)  # type: ignore[arg-type]
    requests = [after if number == which else each for number, each in enumerate(case.requests)]
    return replace(case, requests=tuple(requests))


def settle(case: Case) -> Case:
    """Decide or withdraw the case where nothing is open."""
    if case.state == "WITHDRAWN":
        return case
    outcome = evaluate(case)
    if outcome is None:
        return replace(case, state=get_next_state(CASE, case.state, "decision"))
    if outcome == case.outcome:
        return case
    decided = "last_decision" if case.state == "IN_PROGRESS" else "correct"
    event = "withdrawn" if outcome is CaseOutcome.WITHDRAWN else decided
    return replace(case, state=get_next_state(CASE, case.state, event), outcome=outcome)


def evaluate(case: Case) -> CaseOutcome | None:
    if any(one.asked and one.state != "CANCELLED" for one in case.requests):
        return None
    standing = [one for one in enumerate(case.requests, start=1) if one[1].state != "CANCELLED"]
    scopes = [RequestScope(str(item), frozenset({item}), frozenset({"01"})) for item, _ in standing]
    said = [
        RankedDecision(str(item), Decision(item, "01", one.decision), NOW, "N")
        for item, one in standing
        if one.decision is not None
    ]
    cancelled = {1, 2} - {item for item, _ in standing}
    outcome = evaluate_case_outcome([1, 2], scopes, said, cancelled)
    return CaseOutcome.WITHDRAWN if outcome and case.withdraws and not has_approval(said) else outcome


def list_agency_steps(case: Case, which: int) -> Iterator[tuple[str, Case]]:
    """Return what an agency may do, now or at any time: also late, and although nobody asked it."""
    one = case.requests[which]
    for event in NOTICES:
        answered: dict[str, object] = {"asked": False} if event == "refuse_cancel" else {}
        after = move(case, which, event, **answered)
        yield event, settle(after) if answered else after
    yield "cancel", settle(move(case, which, "cancel", asked=False))
    if one.state == "CANCELLED":
        return
    for code in (DecisionCode.APPROVED, DecisionCode.REJECTED):
        event = "correct" if one.state == "DECIDED" else "decide"
        yield f"{event} {code}", settle(move(case, which, event, decision=code, asked=False))
    if one.state != "DECIDED":
        yield "decide_item", settle(move(case, which, "decide_item"))


def list_declarant_steps(case: Case) -> Iterator[tuple[str, Case]]:
    """Return what the declarant may do: amend, supplement, withdraw."""
    asking = any(one.asked and one.state != "CANCELLED" for one in case.requests)
    if case.state == "WITHDRAWN" or asking:
        return
    amended = replace(case, state=get_next_state(CASE, case.state, "amend"), withdraws=False, outcome=None)
    for which, one in enumerate(case.requests):
        if one.state != "CANCELLED":
            yield "amend", move(amended, which, "amend", decision=None)
        if one.state not in REQUEST.final_states and case.state == "IN_PROGRESS":
            yield "supplement", move(case, which, "supplement")
    if case.outcome is not CaseOutcome.REJECTED:
        yield "withdraw", withdraw(case)


def withdraw(case: Case) -> Case:
    """Ask each agency that has something to cancel."""
    found = replace(case, state=get_next_state(CASE, case.state, "withdraw"), withdraws=True, outcome=None)
    for which, one in enumerate(case.requests):
        if one.state not in REQUEST.final_states or one.decision is DecisionCode.APPROVED:
            found = move(found, which, "ask_cancel", asked=True)
    return found if any(one.asked for one in found.requests) else settle(found)


def list_hub_steps(case: Case) -> Iterator[tuple[str, Case]]:
    """Return what the hub and its operators do: calls fail and are repeated, deliveries end."""
    for which, one in enumerate(case.requests):
        if one.state not in REQUEST.final_states:
            yield "undeliverable", move(case, which, "undeliverable")
        if one.state == "STRANDED":
            yield "resend", move(case, which, "resend")
    if case.state == "DECIDED":
        yield "relayed", replace(case, state=get_next_state(CASE, "DECIDED", "relayed"))


def list_steps(case: Case) -> Iterator[tuple[str, Case]]:
    for which in range(2):
        yield from list_agency_steps(case, which)
    yield from list_declarant_steps(case)
    yield from list_hub_steps(case)


def is_owed(event: str) -> bool:
    """Return whether a partner owes the event, or the hub makes it by itself."""
    return event.split()[0] in ("decide", "refuse_cancel", "relayed")


def explore() -> dict[Case, list[tuple[str, Case]]]:
    found: dict[Case, list[tuple[str, Case]]] = {}
    left = deque([Case()])
    while left:
        case = left.popleft()
        if case not in found:
            found[case] = list(list_steps(case))
            left += [after for _, after in found[case]]
    return found


@pytest.fixture(scope="module")
def graph() -> dict[Case, list[tuple[str, Case]]]:
    return explore()


def test_no_reachable_state_drops_an_event(graph: dict[Case, list[tuple[str, Case]]]) -> None:
    """To explore is to try: an event that a state did not accept would have raised GW705.

    In OPENED and HELD no agency knows of the case, and REFUSED is an end.
    """
    assert len(graph) > 600
    assert {one.state for case in graph for one in case.requests} == set(REQUEST.states)
    assert {case.state for case in graph} == set(CASE.states) - {"OPENED", "HELD", "REFUSED"}


def test_from_every_reachable_state_what_is_owed_ends_the_case(
    graph: dict[Case, list[tuple[str, Case]]],
) -> None:
    ended = {case for case in graph if case.state in CASE.final_states}
    while True:
        more = {
            case
            for case in graph.keys() - ended
            if any(is_owed(event) and after in ended for event, after in graph[case])
        }
        if not more:
            break
        ended |= more
    assert graph.keys() - ended == set()


def test_what_a_cancelled_application_refuses_is_a_decision_alone() -> None:
    """A decision after the cancellation is GW703, told to its agency; all else is recorded."""
    for event in ("decide", "decide_item"):
        with pytest.raises(GatewayError, match="CANCELLED"):
            get_next_state(REQUEST, "CANCELLED", event)
    for state in REQUEST.states:
        for event in (*NOTICES, "cancel"):
            get_next_state(REQUEST, state, event)


@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)
def test_every_state_is_reached_and_every_open_one_leads_to_an_end(machine: StateMachine) -> None:
    assert machine in (MESSAGE, CASE, REQUEST, DELIVERY, CLEARANCE, FEE)
    table = machine.transitions
    reached, left = set(), [machine.initial_state]
    while left:
        state = left.pop()
        if state not in reached:
            reached.add(state)
            left += table[state].values()
    assert reached == set(table)
    ended = set(machine.final_states)
    while more := {state for state in table if set(table[state].values()) & ended} - ended:
        ended |= more
    assert ended == set(table)


#: The ends that are left again, and by what: someone may change there what needs no more work of the hub.
_ENDS_LEFT = {
    "case": {
        "CLOSED": {
            "amend": "IN_PROGRESS",
            "correct": "DECIDED",
            "withdraw": "IN_PROGRESS",
            "withdrawn": "WITHDRAWN",
        },
    },
    "request": {"DECIDED": {"amend": "SENT", "cancel": "CANCELLED"}},
    "clearance": {
        "CLEARED": {"refuse": "NOT_CLEARED", "cancel": "CANCELLED"},
        "NOT_CLEARED": {"clear": "CLEARED", "cancel": "CANCELLED"},
        "CANCELLED": {"clear": "CLEARED", "refuse": "NOT_CLEARED"},
    },
    # Money that comes late, or twice, is given back from every end. A late notice may be about another fee.
    "fee": {
        **{one: {"refund": "REFUNDING"} for one in ("CANCELLED", "REFUNDED", "PARTLY_REFUNDED")},
        "CONFIRMED": {"refund": "REFUNDING", "replace": "CANCELLED"},
    },
}


@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)
def test_an_end_is_left_only_by_those_who_may_change_it(machine: StateMachine) -> None:
    """A result of clearance gives way to another result of customs alone, never to an answer of it."""
    left = {}
    for state in machine.final_states:
        other = {event: after for event, after in machine.transitions[state].items() if after != state}
        if other:
            left[state] = other
    assert left == _ENDS_LEFT.get(machine.name, {})


def test_a_held_case_is_asked_about_by_nobody_and_ends_or_goes_on() -> None:
    """No agency knows of it: nothing that follows from a call or a decision is accepted."""
    for event in CASE.events - set(CASE.transitions["HELD"]):
        with pytest.raises(GatewayError, match="HELD"):
            get_next_state(CASE, "HELD", event)
    assert not {"decision", "last_decision", "correct", "relayed", "deadline"} & set(CASE.transitions["HELD"])
    found = {get_next_state(CASE, "HELD", event) for event in CASE.transitions["HELD"]}
    assert found == {"HELD", "REFUSED", "IN_PROGRESS", "DECIDED", "WITHDRAWN"}
