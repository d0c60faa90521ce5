"""The tasks that are due on a case, the party that has each, and the deadlines by which it must act."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
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
    """A task of a party that must act on a case."""

    PAY = "pay"
    ANSWER = "answer"
    FILE = "file"
    FILE_AGAIN = "file_again"
    INSPECT = "inspect"
    CANCEL = "cancel"  #: Say whether it cancels the application.
    DECIDE = "decide"
    FORWARD = "forward"
    REACH = "reach"
    ADMIT = "admit"
    RELAY = "relay"
    PARENT = "parent"


#: The party that has each task, in the order in which the tasks are listed: a payment comes first.
_HOLDERS: Final[Mapping[CustodyTask, CustodyHolder]] = {
    CustodyTask.PAY: CustodyHolder.APPLICANT,
    CustodyTask.ANSWER: CustodyHolder.APPLICANT,
    CustodyTask.FILE: CustodyHolder.APPLICANT,
    CustodyTask.FILE_AGAIN: CustodyHolder.APPLICANT,
    CustodyTask.INSPECT: CustodyHolder.AGENCY,
    CustodyTask.CANCEL: CustodyHolder.AGENCY,
    CustodyTask.DECIDE: CustodyHolder.AGENCY,
    CustodyTask.FORWARD: CustodyHolder.HUB,
    CustodyTask.REACH: CustodyHolder.HUB,
    CustodyTask.ADMIT: CustodyHolder.HUB,
    CustodyTask.RELAY: CustodyHolder.HUB,
    CustodyTask.PARENT: CustodyHolder.HUB,
}
_TASK_ORDER: Final = tuple(_HOLDERS)


@dataclass(frozen=True, slots=True)
class CaseCustody:
    """A task that is due now, its agency and its deadline; of a payment, the number of the fee."""

    task: CustodyTask
    agency: str = ""
    deadline: datetime | None = None
    fee: str = ""

    @property
    def holder(self) -> CustodyHolder:
        """Return the party that has the task."""
        return _HOLDERS[self.task]

    @property
    def order(self) -> tuple[int, bool, datetime]:
        """Return the key by which tasks are listed: payments first, then by deadline."""
        last = datetime.max.replace(tzinfo=UTC)
        return _TASK_ORDER.index(self.task), self.deadline is None, self.deadline or last


#: The task of each demand of an agency, by the event that makes it.
DEMAND_TASKS: Final[Mapping[str, CustodyTask]] = {
    "ask": CustodyTask.ANSWER,
    "fee": CustodyTask.PAY,
    "inspect": CustodyTask.INSPECT,
}
_TASKS_BY_STATE: Final = {
    "INFORMATION_REQUIRED": CustodyTask.ANSWER,
    "FEE_DUE": CustodyTask.PAY,
    "INSPECTION": CustodyTask.INSPECT,
    "PREPARED": CustodyTask.FORWARD,
    "STRANDED": CustodyTask.REACH,
}
#: In these states the agency continues, unless a demand or a fee is open.
DECIDING_STATES: Final = frozenset({"SENT", "ACKNOWLEDGED"})
#: What may be due in a case that has ended.
_LATE_TASKS: Final = frozenset({CustodyTask.PAY, CustodyTask.CANCEL})


def list_request_tasks(
    request_state: str,
    demand_events: Iterable[str] = (),
    *,
    owes_fee: bool = False,
    is_cancellation_asked: bool = False,
) -> tuple[CustodyTask, ...]:
    """Return every task that is due on one request, a payment first; none if nothing is due any more.

    `demand_events` are the events (ask, inspect, fee) of the open demands of its agency. A fee that the
    applicant `owes_fee` is due in every state, also after the decision. The agency decides when the
    applicant owes nothing and no inspection is open. While it is asked whether it cancels the request
    (`is_cancellation_asked`), it has to answer this alone; one that has not got the request is to be reached.
    """
    if request_state == "CANCELLED":
        return ()
    tasks = {CustodyTask.PAY} if owes_fee else set[CustodyTask]()
    state_task = _TASKS_BY_STATE.get(request_state)
    if is_cancellation_asked:
        tasks.add(CustodyTask.CANCEL)
    elif request_state not in REQUEST.final_states:
        tasks |= {DEMAND_TASKS[event] for event in demand_events}
    is_on_way = state_task in (CustodyTask.FORWARD, CustodyTask.REACH)
    if state_task is not None and (is_on_way or not is_cancellation_asked):
        tasks.add(state_task)
    if not tasks and request_state in DECIDING_STATES:
        tasks.add(CustodyTask.DECIDE)
    return tuple(sorted(tasks, key=_TASK_ORDER.index))


def find_case_custody(
    case_state: str,
    request_custodies: Iterable[CaseCustody],
    hold_state: Mapping[str, Any] | None = None,
) -> tuple[CaseCustody, ...]:
    """Return every task that is due on a case, as they are listed: payments first, then by deadline.

    `hold_state` is the stored state of a held case: the end of the hold, and the missing documents. A child
    declaration that waits only for the decision on its parent continues without an act of the applicant. In
    a case that has ended, a fee may be due, or the answer of an agency whether it cancels.
    """
    if case_state == "HELD":
        hold_end = datetime.fromisoformat(hold_state["until"]) if hold_state else None
        task = find_hold_task(hold_state) if hold_state else CustodyTask.FILE
        return (CaseCustody(task, deadline=hold_end),)
    if case_state == "OPENED":
        return (CaseCustody(CustodyTask.ADMIT),)
    custodies = [
        custody
        for custody in request_custodies
        if case_state not in CASE.final_states or custody.task in _LATE_TASKS
    ]
    if case_state == "DECIDED":
        custodies.append(CaseCustody(CustodyTask.RELAY))
    return tuple(sorted(custodies, key=lambda custody: custody.order))


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
