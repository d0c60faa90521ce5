"""The six state machines as tables, and the one function that applies them.

The tables are authoritative: the store writes no state that `get_next_state` did not return, and
the manual's diagrams and `gateway reference states` are made from here. An event that a state does
not list is GW705.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from gateway.errors import TRANSITION_REFUSED, GatewayError


@dataclass(frozen=True, slots=True)
class StateMachine:
    """A named table of transitions: state, event, next state; `final_states` need no more work."""

    name: str
    initial_state: str
    final_states: frozenset[str]
    transitions: Mapping[str, Mapping[str, str]]

    @property
    def states(self) -> tuple[str, ...]:
        """Return every state, in the order of the table."""
        return tuple(self.transitions)

    @property
    def events(self) -> frozenset[str]:
        """Return every event that some state accepts."""
        return frozenset(
            event for state_transitions in self.transitions.values() for event in state_transitions
        )


MESSAGE: Final = StateMachine(
    name="message",
    initial_state="RECEIVED",
    final_states=frozenset({"DUPLICATE", "REFUSED", "PROCESSED"}),
    transitions={
        "RECEIVED": {"accept": "ACCEPTED", "duplicate": "DUPLICATE", "refuse": "REFUSED"},
        "ACCEPTED": {"process": "PROCESSED", "fail": "FAILED"},
        "FAILED": {"retry": "ACCEPTED", "give_up": "REFUSED"},
        "DUPLICATE": {},
        "REFUSED": {},
        "PROCESSED": {},
    },
)

# CLOSED needs no more work, but an agency may still correct its decision.
CASE: Final = StateMachine(
    name="case",
    initial_state="OPENED",
    final_states=frozenset({"REFUSED", "WITHDRAWN", "CLOSED"}),
    transitions={
        "OPENED": {
            "refuse": "REFUSED",
            "hold": "HELD",
            "dispatch": "IN_PROGRESS",
            "none_concerned": "DECIDED",
        },
        # A document that the goods need was not applied for, and no agency was asked yet.
        "HELD": {
            "hold": "HELD",
            "refuse": "REFUSED",
            "dispatch": "IN_PROGRESS",
            "none_concerned": "DECIDED",
            "withdraw": "HELD",
            "withdrawn": "WITHDRAWN",
        },
        "IN_PROGRESS": {
            "decision": "IN_PROGRESS",
            "last_decision": "DECIDED",
            "amend": "IN_PROGRESS",
            "withdraw": "IN_PROGRESS",
            "withdrawn": "WITHDRAWN",
            "deadline": "IN_PROGRESS",
        },
        "DECIDED": {
            "relayed": "CLOSED",
            "amend": "IN_PROGRESS",
            "correct": "DECIDED",
            "withdraw": "IN_PROGRESS",
            "withdrawn": "WITHDRAWN",
        },
        "CLOSED": {
            "amend": "IN_PROGRESS",
            "correct": "DECIDED",
            "withdraw": "IN_PROGRESS",
            "withdrawn": "WITHDRAWN",
        },
        "REFUSED": {},
        "WITHDRAWN": {},
    },
)

# The events that every request accepts while it waits for its agency: call-backs arrive before our own
# POST has returned, and in any order. `decide_item` is a decision that leaves other items undecided.
_WAITING_EVENTS: Final = {
    "acknowledge": "ACKNOWLEDGED",
    "ask": "INFORMATION_REQUIRED",
    "inspect": "INSPECTION",
    "inspected": "ACKNOWLEDGED",
    "fee": "FEE_DUE",
    "decide": "DECIDED",
    "supplement": "SENT",
    "amend": "SENT",
    "undeliverable": "STRANDED",
    "resend": "SENT",
    "cancel": "CANCELLED",
}


# Between the question whether an agency cancels and its answer, the request goes on as if nothing were asked.
_NEUTRAL_EVENTS: Final = ("send", "ask_cancel", "refuse_cancel")
# The last fee that was due is paid or cancelled: the agency goes on, or the hub forwards the application.
_FEE_END_EVENTS: Final = ("fee_settled", "forward")
# One of several demands is settled or was replaced by a later one: the remaining one determines the state.
_REMAINING_DEMAND_EVENTS: Final = {
    "ask_stands": "INFORMATION_REQUIRED",
    "inspect_stands": "INSPECTION",
    "fee_stands": "FEE_DUE",
}


def _make_waiting_transitions(state: str, **exceptions: str) -> dict[str, str]:
    return (
        _WAITING_EVENTS
        | dict.fromkeys(("decide_item", *_FEE_END_EVENTS, *_NEUTRAL_EVENTS), state)
        | exceptions
    )


def _make_demand_transitions(state: str, **exceptions: str) -> dict[str, str]:
    """Return the next state by event for a request in `state`, where a question, inspection or fee is open.

    `exceptions` replace the next states of single events.
    """
    # An acknowledgement that arrives after a question, an inspection or a fee must not hide it.
    return (
        _make_waiting_transitions(state, **_REMAINING_DEMAND_EVENTS)
        | {"acknowledge": state, "inspected": state}
        | exceptions
    )


def _make_final_transitions(state: str, **exceptions: str) -> dict[str, str]:
    # Late notices are recorded and change nothing.
    late_events = ("acknowledge", "ask", "inspect", "inspected", "fee")
    return dict.fromkeys((*late_events, *_FEE_END_EVENTS, *_NEUTRAL_EVENTS), state) | exceptions


REQUEST: Final = StateMachine(
    name="request",
    initial_state="PREPARED",
    final_states=frozenset({"DECIDED", "CANCELLED"}),
    transitions={
        "PREPARED": _make_waiting_transitions("PREPARED", send="SENT"),
        "SENT": _make_waiting_transitions("SENT", **_REMAINING_DEMAND_EVENTS),
        "ACKNOWLEDGED": _make_waiting_transitions("ACKNOWLEDGED", **_REMAINING_DEMAND_EVENTS),
        "INFORMATION_REQUIRED": _make_demand_transitions("INFORMATION_REQUIRED"),
        "INSPECTION": _make_demand_transitions("INSPECTION", inspected="ACKNOWLEDGED"),
        "FEE_DUE": _make_demand_transitions("FEE_DUE", fee_settled="ACKNOWLEDGED", forward="PREPARED"),
        "STRANDED": _make_waiting_transitions("STRANDED"),
        "DECIDED": _make_final_transitions("DECIDED", correct="DECIDED", amend="SENT", cancel="CANCELLED"),
        "CANCELLED": _make_final_transitions("CANCELLED", cancel="CANCELLED"),
    },
)

DELIVERY: Final = StateMachine(
    name="delivery",
    initial_state="QUEUED",
    final_states=frozenset({"DELIVERED", "CANCELLED"}),
    transitions={
        "QUEUED": {
            "lease": "ACTIVE",
            "try": "QUEUED",
            "hold": "HELD",
            "cancel": "CANCELLED",
            "expire": "FAILED",
            # A response that was given in the HTTP answer to its request.
            "given": "DELIVERED",
            "given_for_receipt": "AWAITING_RECEIPT",
            # A receipt or an error for an earlier attempt, before the next attempt.
            "receipt": "DELIVERED",
            "error": "FAILED",
        },
        "ACTIVE": {
            "delivered": "DELIVERED",
            "sent": "AWAITING_RECEIPT",
            "defer": "QUEUED",
            "refuse": "FAILED",
            "lease_lost": "QUEUED",
            "put_aside": "FAILED",
        },
        "AWAITING_RECEIPT": {"receipt": "DELIVERED", "error": "FAILED", "timeout": "QUEUED"},
        "HELD": {"release": "QUEUED", "cancel": "CANCELLED"},
        "FAILED": {"requeue": "QUEUED", "give_up": "CANCELLED"},
        "DELIVERED": {},
        "CANCELLED": {},
    },
)

# A result of clearance holds until customs itself issues another one. An answer of customs to a message of
# the hub does not change it, and neither does a notice of an agency.
_CLEARANCE_RESULTS: Final = {"clear": "CLEARED", "refuse": "NOT_CLEARED", "cancel": "CANCELLED"}


def _make_clearance_transitions(**exceptions: str) -> dict[str, str]:
    return {"accept": "ACCEPTED", "report_error": "ERROR"} | _CLEARANCE_RESULTS | exceptions


CLEARANCE: Final = StateMachine(
    name="clearance",
    initial_state="UNANSWERED",
    final_states=frozenset({"CLEARED", "NOT_CLEARED", "CANCELLED"}),
    transitions={
        "UNANSWERED": _make_clearance_transitions(),
        "ACCEPTED": _make_clearance_transitions(),
        "ERROR": _make_clearance_transitions(),
        **{
            state: _make_clearance_transitions(accept=state, report_error=state)
            for state in _CLEARANCE_RESULTS.values()
        },
    },
)


def _make_fee_transitions(state: str, **exceptions: str) -> dict[str, str]:
    # A late or repeated event is recorded and does not change the state.
    return dict.fromkeys(("order", "pay", "confirm", "cancel"), state) | exceptions


# An open fee that is confirmed was paid elsewhere. Money that comes after a cancellation is given back.
FEE: Final = StateMachine(
    name="fee",
    initial_state="LEVIED",
    final_states=frozenset({"CONFIRMED", "CANCELLED", "REFUNDED", "PARTLY_REFUNDED"}),
    transitions={
        "LEVIED": _make_fee_transitions(
            "LEVIED", order="ORDERED", pay="PAID", confirm="CONFIRMED", cancel="CANCELLED"
        ),
        "ORDERED": _make_fee_transitions("ORDERED", pay="PAID", confirm="CONFIRMED", cancel="CANCELLED"),
        "PAID": _make_fee_transitions("PAID", confirm="CONFIRMED", refund="REFUNDING"),
        # By a notice that came late another fee was confirmed: this one is due again, under a new number.
        "CONFIRMED": _make_fee_transitions("CONFIRMED", refund="REFUNDING", replace="CANCELLED"),
        "CANCELLED": _make_fee_transitions("CANCELLED", refund="REFUNDING"),
        "REFUNDING": _make_fee_transitions(
            "REFUNDING", refund="REFUNDING", refunded="REFUNDED", partly_refunded="PARTLY_REFUNDED"
        ),
        "REFUNDED": _make_fee_transitions("REFUNDED", refund="REFUNDING"),
        "PARTLY_REFUNDED": _make_fee_transitions("PARTLY_REFUNDED", refund="REFUNDING"),
    },
)

MACHINES: Final[Mapping[str, StateMachine]] = {
    machine.name: machine for machine in (MESSAGE, CASE, REQUEST, DELIVERY, CLEARANCE, FEE)
}


def get_next_state(machine: StateMachine, state: str, event: str) -> str:
    """Return the state after `event` in `state`; raises GW705 when the table has no such entry."""
    next_state = machine.transitions.get(state, {}).get(event)
    if next_state is None:
        accepted_events = ", ".join(machine.transitions.get(state, {})) or "nothing"
        raise GatewayError(
            TRANSITION_REFUSED,
            f"a {machine.name} in state {state[:40]} accepts {accepted_events}, not {event[:40]}",
            f"{machine.name}/{state[:40]}",
        )
    return next_state
