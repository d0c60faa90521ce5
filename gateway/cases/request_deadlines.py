"""What is owed about an agency request in each state, by whom, and how it ends."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from gateway.cases.case_custody import CustodyHolder
from gateway.state_machines import REQUEST

__all__ = ["DEADLINE_HOLDERS", "DeadlineKind", "DeadlineState", "choose_ended_state", "list_due_kinds"]


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
_ASKED: Final = {
    "INFORMATION_REQUIRED": DeadlineKind.ANSWER,
    "FEE_DUE": DeadlineKind.PAY,
    "INSPECTION": DeadlineKind.INSPECT,
}
_UNACKNOWLEDGED: Final = frozenset({"PREPARED", "SENT", "STRANDED"})


def list_due_kinds(state: str, *, acknowledged: bool) -> frozenset[DeadlineKind]:
    """Return what is owed about a request in a state; nothing where it is decided or cancelled."""
    if state in REQUEST.final:
        return frozenset()
    kinds = {DeadlineKind.DECIDE}
    if state in _ASKED:
        kinds.add(_ASKED[state])
    if state in _UNACKNOWLEDGED and not acknowledged:
        kinds.add(DeadlineKind.ACKNOWLEDGE)
    return frozenset(kinds)


def choose_ended_state(kind: DeadlineKind, request_state: str, *, late: bool) -> DeadlineState:
    """Return how a deadline ends that is owed no more: done in time or late, or never to be done.

    A question that another notice or a decision has overtaken was not answered.
    """
    overtaken = kind is DeadlineKind.ANSWER and request_state != "SENT"
    if request_state == "CANCELLED" or overtaken:
        return DeadlineState.CANCELLED
    return DeadlineState.LATE if late else DeadlineState.MET
