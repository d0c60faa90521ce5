"""The party that has to act on a case now, and the deadline by which it must act."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Any, Final

from gateway.cases.agency_notices import DecisionCode
from gateway.cases.usable_certificates import APPROVING_CODES
from gateway.errors import PARENT_NOT_USABLE
from gateway.state_machines import CASE, REQUEST


class CustodyHolder(StrEnum):
    """The party that must act next."""

    APPLICANT = "applicant"
    AGENCY = "agency"
    HUB = "hub"


class CustodyTask(StrEnum):
    """The task of the party that must act next."""

    ANSWER = "answer"
    PAY = "pay"
    INSPECT = "inspect"
    DECIDE = "decide"
    FORWARD = "forward"
    REACH = "reach"
    ADMIT = "admit"
    RELAY = "relay"
    FILE = "file"
    FILE_AGAIN = "file_again"
    PARENT = "parent"


@dataclass(frozen=True, slots=True)
class CaseCustody:
    """The party that must act next, its task, the agency of the application, and the deadline."""

    holder: CustodyHolder
    task: CustodyTask
    agency: str = ""
    deadline: datetime | None = None


_CUSTODY_BY_STATE: Final = {
    "INFORMATION_REQUIRED": (CustodyHolder.APPLICANT, CustodyTask.ANSWER),
    "FEE_DUE": (CustodyHolder.APPLICANT, CustodyTask.PAY),
    "INSPECTION": (CustodyHolder.AGENCY, CustodyTask.INSPECT),
    "SENT": (CustodyHolder.AGENCY, CustodyTask.DECIDE),
    "ACKNOWLEDGED": (CustodyHolder.AGENCY, CustodyTask.DECIDE),
    "PREPARED": (CustodyHolder.HUB, CustodyTask.FORWARD),
    "STRANDED": (CustodyHolder.HUB, CustodyTask.REACH),
}
#: In these states the agency goes on, unless a fee is open.
DECIDING_STATES: Final = frozenset({"SENT", "ACKNOWLEDGED"})
_CUSTODY_ORDER: Final = tuple(_CUSTODY_BY_STATE.values())


def find_request_custody(
    request_state: str, agency: str, deadline: datetime | None = None, *, owes_fee: bool = False
) -> CaseCustody | None:
    """Return the party that has to act on one request; None when it is decided or cancelled.

    If the applicant `owes_fee`, the agency decides when that is paid: also after a supplement or an
    amendment, when the state of the request does not show the fee any more.
    """
    if request_state in REQUEST.final_states:
        return None
    holder, task = _CUSTODY_BY_STATE[
        "FEE_DUE" if owes_fee and request_state in DECIDING_STATES else request_state
    ]
    return CaseCustody(holder, task, agency, deadline)


def find_case_custody(
    case_state: str,
    request_custodies: Iterable[CaseCustody | None],
    hold_state: Mapping[str, Any] | None = None,
) -> tuple[CaseCustody, ...]:
    """Return the parties that hold a case, the applicant's tasks first; empty when the case has ended.

    `hold_state` is the stored state of a held case: the end of the hold, and the missing documents. A child
    declaration that waits only for the decision on its parent continues without an act of the applicant.
    """
    if case_state in CASE.final_states:
        return ()
    if case_state == "HELD":
        hold_end = datetime.fromisoformat(hold_state["until"]) if hold_state else None
        task = find_hold_task(hold_state) if hold_state else CustodyTask.FILE
        holder = CustodyHolder.HUB if task is CustodyTask.PARENT else CustodyHolder.APPLICANT
        return (CaseCustody(holder, task, deadline=hold_end),)
    if case_state == "OPENED":
        return (CaseCustody(CustodyHolder.HUB, CustodyTask.ADMIT),)
    if case_state == "DECIDED":
        return (CaseCustody(CustodyHolder.HUB, CustodyTask.RELAY),)
    open_custodies = [custody for custody in request_custodies if custody is not None]
    return tuple(
        sorted(open_custodies, key=lambda custody: _CUSTODY_ORDER.index((custody.holder, custody.task)))
    )


def find_hold_task(hold_state: Mapping[str, Any]) -> CustodyTask:
    """Return the task that ends the hold of a case, by its stored state.

    A case that waits only for the decision on its parent continues without an act of the applicant. A case
    that takes more of the parent than is left must be filed again.
    """
    if {requirement["id"] for requirement in hold_state["missing"]} != {PARENT_NOT_USABLE.id}:
        return CustodyTask.FILE
    return CustodyTask.FILE_AGAIN if hold_state.get("problems") else CustodyTask.PARENT


class DeadlineKind(StrEnum):
    """The kind of act that a deadline is for."""

    ACKNOWLEDGE = "acknowledge"
    DECIDE = "decide"
    ANSWER = "answer"
    PAY = "pay"
    INSPECT = "inspect"


class DeadlineState(StrEnum):
    """The state of a deadline: in the last three it has ended."""

    OPEN = "OPEN"
    HELD = "HELD"  #: The time of the agency does not run while the applicant has to act.
    UNKNOWN = "UNKNOWN"  #: The calendar does not know a day on the way.
    OVERDUE = "OVERDUE"
    MET = "MET"
    LATE = "LATE"
    CANCELLED = "CANCELLED"


#: The party that must meet a deadline of each kind.
DEADLINE_HOLDERS: Final[Mapping[DeadlineKind, CustodyHolder]] = {
    DeadlineKind.ACKNOWLEDGE: CustodyHolder.AGENCY,
    DeadlineKind.DECIDE: CustodyHolder.AGENCY,
    DeadlineKind.ANSWER: CustodyHolder.APPLICANT,
    DeadlineKind.PAY: CustodyHolder.APPLICANT,
    DeadlineKind.INSPECT: CustodyHolder.AGENCY,
}
#: The act that is due before the decision, by the state of the request.
_KIND_BY_STATE: Final = {
    "INFORMATION_REQUIRED": DeadlineKind.ANSWER,
    "FEE_DUE": DeadlineKind.PAY,
    "INSPECTION": DeadlineKind.INSPECT,
}
_AGENCY_KINDS: Final = frozenset({DeadlineKind.DECIDE})
_AGENCY_KINDS_BEFORE_RECEIPT: Final = frozenset({DeadlineKind.DECIDE, DeadlineKind.ACKNOWLEDGE})
_UNACKNOWLEDGED_STATES: Final = frozenset({"PREPARED", "SENT", "STRANDED"})


def list_agency_deadline_kinds(request_state: str, *, is_acknowledged: bool) -> frozenset[DeadlineKind]:
    """Return the kinds of deadlines that an agency has for a request in a state; none if it has ended.

    A request has ended when it is decided or cancelled. Open demands have deadlines of their own beside
    these, and so has an open fee, in every state.
    """
    if request_state in REQUEST.final_states:
        return frozenset()
    return (
        _AGENCY_KINDS_BEFORE_RECEIPT
        if request_state in _UNACKNOWLEDGED_STATES and not is_acknowledged
        else _AGENCY_KINDS
    )


def find_interim_deadline_kind(request_state: str, *, owes_fee: bool = False) -> DeadlineKind | None:
    """Return the act that is due before the agency decides; None if there is none.

    If the applicant `owes_fee`, the fee is due also when the state does not show it any more.
    """
    return _KIND_BY_STATE.get("FEE_DUE" if owes_fee and request_state in DECIDING_STATES else request_state)


def choose_ended_state(
    deadline_kind: DeadlineKind, request_state: str, *, is_late: bool, is_paid: bool | None = None
) -> DeadlineState:
    """Return the state in which a deadline ends: met in time, met late, or cancelled.

    A question is cancelled if a decision came instead of an answer. `is_paid` says whether a fee was paid,
    here or elsewhere: for a fee this counts, and not the state of its request.
    """
    is_overtaken = deadline_kind is DeadlineKind.ANSWER and request_state in REQUEST.final_states
    is_fulfilled = is_paid if is_paid is not None else request_state != "CANCELLED" and not is_overtaken
    if not is_fulfilled:
        return DeadlineState.CANCELLED
    return DeadlineState.LATE if is_late else DeadlineState.MET


_LAST_DAY_CONDITION: Final = "유효기간: {} (valid until)"
_LAST_DAY_PATTERN: Final = re.compile(
    re.escape(_LAST_DAY_CONDITION).replace(r"\{\}", r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
)


def list_applicant_conditions(
    decision_code: DecisionCode, conditions: Sequence[str], last_day: date | None
) -> tuple[str, ...]:
    """Return the conditions of a decision as its applicant reads them: an approval states its last day."""
    if last_day is None or decision_code not in APPROVING_CODES:
        return tuple(conditions)
    condition = _LAST_DAY_CONDITION.format(last_day.isoformat())
    return tuple(conditions) if condition in conditions else (*conditions, condition)


def remove_last_day(conditions: Iterable[str]) -> list[str]:
    """Return conditions without the condition that states the last day of a certificate."""
    return [condition for condition in conditions if not _LAST_DAY_PATTERN.fullmatch(condition)]
