from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import GatewayError
from gateway.state_machines import CASE, DELIVERY, MACHINES, MESSAGE, REQUEST, get_next_state

EVERY = tuple(MACHINES.values())


def edges(machine):
    return {
        (state, event, after) for state, row in machine.transitions.items() for event, after in row.items()
    }


def test_message_steps():
    assert edges(MESSAGE) == {
        ("RECEIVED", "accept", "ACCEPTED"),
        ("RECEIVED", "duplicate", "DUPLICATE"),
        ("RECEIVED", "refuse", "REFUSED"),
        ("ACCEPTED", "process", "PROCESSED"),
        ("ACCEPTED", "fail", "FAILED"),
        ("FAILED", "retry", "ACCEPTED"),
        ("FAILED", "give_up", "REFUSED"),
    }


def test_case_steps():
    assert edges(CASE) == {
        ("OPENED", "refuse", "REFUSED"),
        ("OPENED", "dispatch", "IN_PROGRESS"),
        ("OPENED", "none_concerned", "DECIDED"),
        ("OPENED", "hold", "HELD"),
        ("HELD", "hold", "HELD"),
        ("HELD", "refuse", "REFUSED"),
        ("HELD", "dispatch", "IN_PROGRESS"),
        ("HELD", "none_concerned", "DECIDED"),
        ("HELD", "withdraw", "HELD"),
        ("HELD", "withdrawn", "WITHDRAWN"),
        ("IN_PROGRESS", "decision", "IN_PROGRESS"),
        ("IN_PROGRESS", "last_decision", "DECIDED"),
        ("IN_PROGRESS", "amend", "IN_PROGRESS"),
        ("IN_PROGRESS", "withdraw", "IN_PROGRESS"),
        ("IN_PROGRESS", "withdrawn", "WITHDRAWN"),
        ("DECIDED", "withdraw", "IN_PROGRESS"),
        ("DECIDED", "withdrawn", "WITHDRAWN"),
        ("CLOSED", "withdraw", "IN_PROGRESS"),
        ("CLOSED", "withdrawn", "WITHDRAWN"),
        ("CLOSED", "amend", "IN_PROGRESS"),
        ("IN_PROGRESS", "deadline", "IN_PROGRESS"),
        ("DECIDED", "relayed", "CLOSED"),
        ("DECIDED", "amend", "IN_PROGRESS"),
        ("DECIDED", "correct", "DECIDED"),
        ("CLOSED", "correct", "DECIDED"),
    }


def test_delivery_steps():
    assert edges(DELIVERY) == {
        ("QUEUED", "lease", "ACTIVE"),
        ("QUEUED", "hold", "HELD"),
        ("QUEUED", "try", "QUEUED"),
        ("QUEUED", "cancel", "CANCELLED"),
        ("QUEUED", "expire", "FAILED"),
        ("QUEUED", "given", "DELIVERED"),
        ("QUEUED", "given_for_receipt", "AWAITING_RECEIPT"),
        ("QUEUED", "receipt", "DELIVERED"),
        ("QUEUED", "error", "FAILED"),
        ("ACTIVE", "delivered", "DELIVERED"),
        ("ACTIVE", "sent", "AWAITING_RECEIPT"),
        ("ACTIVE", "defer", "QUEUED"),
        ("ACTIVE", "refuse", "FAILED"),
        ("ACTIVE", "lease_lost", "QUEUED"),
        ("ACTIVE", "put_aside", "FAILED"),
        ("AWAITING_RECEIPT", "receipt", "DELIVERED"),
        ("AWAITING_RECEIPT", "error", "FAILED"),
        ("AWAITING_RECEIPT", "timeout", "QUEUED"),
        ("HELD", "release", "QUEUED"),
        ("HELD", "cancel", "CANCELLED"),
        ("FAILED", "requeue", "QUEUED"),
        ("FAILED", "give_up", "CANCELLED"),
    }


WAITING = ("PREPARED", "SENT", "ACKNOWLEDGED", "INFORMATION_REQUIRED", "INSPECTION", "FEE_DUE", "STRANDED")
OVERTAKING = ("INFORMATION_REQUIRED", "INSPECTION", "FEE_DUE")


@pytest.mark.parametrize("state", WAITING)
@pytest.mark.parametrize(
    ("event", "after"),
    [
        ("ask", "INFORMATION_REQUIRED"),
        ("inspect", "INSPECTION"),
        ("fee", "FEE_DUE"),
        ("decide", "DECIDED"),
        ("supplement", "SENT"),
        ("undeliverable", "STRANDED"),
        ("resend", "SENT"),
        ("cancel", "CANCELLED"),
    ],
)
def test_a_waiting_request_takes_every_notice(state, event, after):
    assert get_next_state(REQUEST, state, event) == after


@pytest.mark.parametrize("state", WAITING)
def test_a_decision_on_some_items_changes_no_state(state):
    assert get_next_state(REQUEST, state, "decide_item") == state


@pytest.mark.parametrize("state", WAITING)
def test_an_acknowledgement_does_not_hide_what_overtook_it(state):
    assert get_next_state(REQUEST, state, "acknowledge") == (state if state in OVERTAKING else "ACKNOWLEDGED")


@pytest.mark.parametrize("state", REQUEST.states)
def test_only_what_is_prepared_becomes_sent(state):
    assert get_next_state(REQUEST, state, "send") == ("SENT" if state == "PREPARED" else state)


@pytest.mark.parametrize("state", ["DECIDED", "CANCELLED"])
@pytest.mark.parametrize("event", ["acknowledge", "ask", "inspect", "fee", "send"])
def test_late_notices_change_nothing(state, event):
    assert get_next_state(REQUEST, state, event) == state


def test_a_decided_request_takes_a_correction_and_a_cancelled_one_no_decision():
    assert get_next_state(REQUEST, "DECIDED", "correct") == "DECIDED"
    for event in ("decide", "decide_item", "correct"):
        with pytest.raises(GatewayError, match="GW705"):
            get_next_state(REQUEST, "CANCELLED", event)


def test_all_request_events_are_known():
    assert set(REQUEST.states) == {*WAITING, "DECIDED", "CANCELLED"}
    assert REQUEST.events == {
        *("send", "acknowledge", "ask", "inspect", "fee", "decide", "decide_item", "supplement"),
        *("undeliverable", "resend", "cancel", "ask_cancel", "refuse_cancel", "amend", "correct"),
        *("fee_settled", "forward", "inspected", "ask_stands", "inspect_stands", "fee_stands"),
    }


@pytest.mark.parametrize("machine", EVERY, ids=lambda machine: machine.name)
def test_every_pair_is_a_step_or_a_problem(machine):
    events = set().union(*(other.events for other in EVERY))
    for state, event in itertools.product(machine.states, events):
        if event in machine.transitions[state]:
            assert get_next_state(machine, state, event) in machine.states
        else:
            with pytest.raises(GatewayError) as caught:
                get_next_state(machine, state, event)
            assert caught.value.problem.id == "GW705"
            assert state in caught.value.detail
            assert event in caught.value.detail


@pytest.mark.parametrize("machine", EVERY, ids=lambda machine: machine.name)
def test_every_state_can_be_reached_and_left_unless_final(machine):
    reached = {machine.initial_state}
    while True:
        more = {after for state, _, after in edges(machine) if state in reached} - reached
        if not more:
            break
        reached |= more
    assert reached == set(machine.states)
    for state in machine.states:
        leaves = {after for after in machine.transitions[state].values() if after != state}
        if state not in machine.final_states:
            assert leaves, state
    assert machine.final_states <= set(machine.states)


@pytest.mark.parametrize(
    ("machine", "reopened"),
    [
        (MESSAGE, set()),
        (
            CASE,
            {
                ("CLOSED", "amend", "IN_PROGRESS"),
                ("CLOSED", "correct", "DECIDED"),
                ("CLOSED", "withdraw", "IN_PROGRESS"),
                ("CLOSED", "withdrawn", "WITHDRAWN"),
            },
        ),
        (REQUEST, {("DECIDED", "amend", "SENT"), ("DECIDED", "cancel", "CANCELLED")}),
        (DELIVERY, set()),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_final_states_are_left_by_corrections_and_withdrawals_only(machine, reopened):
    assert {
        edge for edge in edges(machine) if edge[0] in machine.final_states and edge[2] != edge[0]
    } == reopened


@pytest.mark.long
@given(st.sampled_from(EVERY), st.text(), st.text())
def test_nonsense_is_a_problem_with_a_bounded_text(machine, state, event):
    if event in machine.transitions.get(state, {}):
        return
    with pytest.raises(GatewayError) as caught:
        get_next_state(machine, state, event * 1000)
    assert caught.value.problem.id == "GW705"
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("order", list(itertools.permutations(("send", "acknowledge", "ask"))))
def test_a_question_stands_in_whatever_order_its_neighbours_arrive(order):
    state = REQUEST.initial_state
    for event in order:
        state = get_next_state(REQUEST, state, event)
    assert state == "INFORMATION_REQUIRED"


@pytest.mark.parametrize("order", list(itertools.permutations(("send", "acknowledge", "ask", "decide"))))
def test_a_decision_stands_in_whatever_order_it_arrives(order):
    state = REQUEST.initial_state
    for event in order:
        state = get_next_state(REQUEST, state, event)
    assert state == "DECIDED"
