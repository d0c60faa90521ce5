"""What is owed about an agency request in each state, by whom, and how it ends."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from gateway.cases.case_custody import DECIDING, CustodyHolder
from gateway.state_machines import REQUEST

__all__ = [
    "DEADLINE_HOLDERS",
    "DeadlineKind",
    "DeadlineState",
    "choose_ended_state",
    "find_asked_kind",
    "list_due_kinds",
]


class DeadlineKind(StrEnum):
    """What has to be done."""

    ACKNOWLEDGE = "acknowledge"
    DECIDE = "decide"
    ANSWER = "answer"
    PAY = "pay"
    INSPECT = "inspect"


class DeadlineState(StrEnum):
    """How a deadline stands: the last three have ended."""

    OPEN = "OPEN"
    HELD = "HELD"  #: The time of the agency does not run while the applicant has to act.
    UNKNOWN = "UNKNOWN"  #: The calendar does not know a day on the way.
    OVERDUE = "OVERDUE"
    MET = "MET"
    LATE = "LATE"
    CANCELLED = "CANCELLED"


#: Who has to do it.
DEADLINE_HOLDERS: Final[Mapping[DeadlineKind, CustodyHolder]] = {
    DeadlineKind.ACKNOWLEDGE: CustodyHolder.AGENCY,
    DeadlineKind.DECIDE: CustodyHolder.AGENCY,
    DeadlineKind.ANSWER: CustodyHolder.APPLICANT,
    DeadlineKind.PAY: CustodyHolder.APPLICANT,
    DeadlineKind.INSPECT: CustodyHolder.AGENCY,
}
#: What the agency asks for in a state of its request.
_ASKED: Final = {
    "INFORMATION_REQUIRED": DeadlineKind.ANSWER,
    "FEE_DUE": DeadlineKind.PAY,
    "INSPECTION": DeadlineKind.INSPECT,
}
_OWED: Final = frozenset({DeadlineKind.DECIDE})
_OWED_FIRST: Final = frozenset({DeadlineKind.DECIDE, DeadlineKind.ACKNOWLEDGE})
_UNACKNOWLEDGED: Final = frozenset({"PREPARED", "SENT", "STRANDED"})


def list_due_kinds(state: str, *, acknowledged: bool) -> frozenset[DeadlineKind]:
    """Return what the agency owes about a request in a state; nothing where it is decided or cancelled.

    What was asked for and not settled is owed beside it, and a fee that is open whatever the state.
    """
    if state in REQUEST.final:
        return frozenset()
    return _OWED_FIRST if state in _UNACKNOWLEDGED and not acknowledged else _OWED


def find_asked_kind(state: str, *, owes_fee: bool = False) -> DeadlineKind | None:
    """Return what the applicant or the agency has to do before it decides; None where that is nothing.

    Where the applicant `owes_fee`, it is to be paid also when the state says no more of it.
    """
    return _ASKED.get("FEE_DUE" if owes_fee and state in DECIDING else state)


def choose_ended_state(
    kind: DeadlineKind, request_state: str, *, late: bool, paid: bool | None = None
) -> DeadlineState:
    """Return how a deadline ends that is owed no more: done in time or late, or never to be done.

    A question that a decision has overtaken was not answered. `paid` says of a fee whether
    it was paid, here or elsewhere: then it counts, and not the state of its request.
    """
    overtaken = kind is DeadlineKind.ANSWER and request_state in REQUEST.final
    done = paid if paid is not None else request_state != "CANCELLED" and not overtaken
    if not done:
        return DeadlineState.CANCELLED
    return DeadlineState.LATE if late else DeadlineState.MET
