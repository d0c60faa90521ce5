"""The four state machines as tables, and the one function that applies them.

The tables are the truth: the store writes no state that `step` did not return, and the
manual's diagrams are drawn from here.  An event that a state does not list is GW705.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from gateway.errors import TRANSITION_REFUSED, GatewayError

__all__ = ["CASE", "DELIVERY", "MACHINES", "MESSAGE", "REQUEST", "Machine", "step"]


@dataclass(frozen=True, slots=True)
class Machine:
    """A named table of transitions: state, event, next state; `final` states ask for no more work."""

    name: str
    initial: str
    final: frozenset[str]
    table: Mapping[str, Mapping[str, str]]

    @property
    def states(self) -> tuple[str, ...]:
        """Return every state, in the order of the table."""
        return tuple(self.table)

    @property
    def events(self) -> frozenset[str]:
        """Return every event that some state takes."""
        return frozenset(event for row in self.table.values() for event in row)


MESSAGE: Final = Machine(
    name="message",
    initial="RECEIVED",
    final=frozenset({"DUPLICATE", "REFUSED", "PROCESSED"}),
    table={
        "RECEIVED": {"accept": "ACCEPTED", "duplicate": "DUPLICATE", "refuse": "REFUSED"},
        "ACCEPTED": {"process": "PROCESSED", "fail": "FAILED"},
        "FAILED": {"retry": "ACCEPTED", "give_up": "REFUSED"},
        "DUPLICATE": {},
        "REFUSED": {},
        "PROCESSED": {},
    },
)

# CLOSED asks for nothing more, yet an agency may still correct its decision.
CASE: Final = Machine(
    name="case",
    initial="OPENED",
    final=frozenset({"REFUSED", "WITHDRAWN", "CLOSED"}),
    table={
        "OPENED": {"refuse": "REFUSED", "dispatch": "IN_PROGRESS", "none_concerned": "DECIDED"},
        "IN_PROGRESS": {
            "decision": "IN_PROGRESS",
            "last_decision": "DECIDED",
            "amend": "IN_PROGRESS",
            "withdraw": "WITHDRAWN",
            "deadline": "IN_PROGRESS",
        },
        "DECIDED": {"relayed": "CLOSED", "amend": "IN_PROGRESS", "correct": "DECIDED"},
        "CLOSED": {"correct": "DECIDED"},
        "REFUSED": {},
        "WITHDRAWN": {},
    },
)

# What every request that waits for its agency takes: call-backs come before our own POST has
# returned, and in any order.  `decide_item` is a decision that leaves other items undecided.
_NOTICES: Final = {
    "acknowledge": "ACKNOWLEDGED",
    "ask": "INFORMATION_REQUIRED",
    "inspect": "INSPECTION",
    "fee": "FEE_DUE",
    "decide": "DECIDED",
    "supplement": "SENT",
    "undeliverable": "STRANDED",
    "resend": "SENT",
    "cancel": "CANCELLED",
}


def _waiting(state: str, **other: str) -> dict[str, str]:
    return _NOTICES | {"decide_item": state, "send": state} | other


def _settled(state: str, **other: str) -> dict[str, str]:
    # Notices that come late are recorded and change nothing.
    return dict.fromkeys(("send", "acknowledge", "ask", "inspect", "fee"), state) | other


# An acknowledgement that a question, an inspection or a fee has overtaken must not hide it.
REQUEST: Final = Machine(
    name="request",
    initial="PREPARED",
    final=frozenset({"DECIDED", "CANCELLED"}),
    table={
        "PREPARED": _waiting("PREPARED", send="SENT"),
        "SENT": _waiting("SENT"),
        "ACKNOWLEDGED": _waiting("ACKNOWLEDGED"),
        "INFORMATION_REQUIRED": _waiting("INFORMATION_REQUIRED", acknowledge="INFORMATION_REQUIRED"),
        "INSPECTION": _waiting("INSPECTION", acknowledge="INSPECTION"),
        "FEE_DUE": _waiting("FEE_DUE", acknowledge="FEE_DUE"),
        "STRANDED": _waiting("STRANDED"),
        "DECIDED": _settled("DECIDED", correct="DECIDED"),
        "CANCELLED": _settled("CANCELLED"),
    },
)

DELIVERY: Final = Machine(
    name="delivery",
    initial="QUEUED",
    final=frozenset({"DELIVERED", "CANCELLED"}),
    table={
        "QUEUED": {"lease": "ACTIVE", "hold": "HELD", "cancel": "CANCELLED", "expire": "FAILED"},
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

MACHINES: Final[Mapping[str, Machine]] = {
    machine.name: machine for machine in (MESSAGE, CASE, REQUEST, DELIVERY)
}


def step(machine: Machine, state: str, event: str) -> str:
    """Return the state that follows `event` in `state`; GW705 when the table has no such entry."""
    following = machine.table.get(state, {}).get(event)
    if following is None:
        known = ", ".join(machine.table.get(state, {})) or "nothing"
        raise GatewayError(
            TRANSITION_REFUSED,
            f"a {machine.name} in state {state[:40]} takes {known}, not {event[:40]}",
            f"{machine.name}/{state[:40]}",
        )
    return following
