"""Who holds a case now, and what it waits for, from the states of the case and of its requests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from gateway.errors import PARENT_NOT_USABLE
from gateway.state_machines import CASE, REQUEST

__all__ = [
    "DECIDING",
    "CaseCustody",
    "CustodyHolder",
    "CustodyTask",
    "find_case_custody",
    "find_hold_task",
    "find_request_custody",
]


class CustodyHolder(StrEnum):
    """Who must act next."""

    APPLICANT = "applicant"
    AGENCY = "agency"
    HUB = "hub"


class CustodyTask(StrEnum):
    """What must be done next."""

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
    """Who must do what, for which agency's application, until when."""

    holder: CustodyHolder
    task: CustodyTask
    agency: str = ""
    deadline: datetime | None = None


_OF_REQUEST: Final = {
    "INFORMATION_REQUIRED": (CustodyHolder.APPLICANT, CustodyTask.ANSWER),
    "FEE_DUE": (CustodyHolder.APPLICANT, CustodyTask.PAY),
    "INSPECTION": (CustodyHolder.AGENCY, CustodyTask.INSPECT),
    "SENT": (CustodyHolder.AGENCY, CustodyTask.DECIDE),
    "ACKNOWLEDGED": (CustodyHolder.AGENCY, CustodyTask.DECIDE),
    "PREPARED": (CustodyHolder.HUB, CustodyTask.FORWARD),
    "STRANDED": (CustodyHolder.HUB, CustodyTask.REACH),
}
#: In these states the agency goes on, unless a fee is open.
DECIDING: Final = frozenset({"SENT", "ACKNOWLEDGED"})
_ORDER: Final = tuple(_OF_REQUEST.values())


def find_request_custody(
    state: str, agency: str, deadline: datetime | None = None, *, owes_fee: bool = False
) -> CaseCustody | None:
    """Return who holds one request; None when it is decided or cancelled.

    Where the applicant `owes_fee`, the agency decides when that is paid: also behind a supplement or an
    amendment, by which the state of the request says no more of the fee.
    """
    if state in REQUEST.final:
        return None
    holder, task = _OF_REQUEST["FEE_DUE" if owes_fee and state in DECIDING else state]
    return CaseCustody(holder, task, agency, deadline)


def find_case_custody(
    state: str, requests: Iterable[CaseCustody | None], held: Mapping[str, Any] | None = None
) -> tuple[CaseCustody, ...]:
    """Return who holds a case: what the applicant must do comes first; empty when it is ended.

    `held` is what is stored of a held case: until when, and what it lacks. A child declaration that waits
    for the decision on its parent alone goes on by itself.
    """
    if state in CASE.final:
        return ()
    if state == "HELD":
        until = datetime.fromisoformat(held["until"]) if held else None
        task = find_hold_task(held) if held else CustodyTask.FILE
        holder = CustodyHolder.HUB if task is CustodyTask.PARENT else CustodyHolder.APPLICANT
        return (CaseCustody(holder, task, deadline=until),)
    if state == "OPENED":
        return (CaseCustody(CustodyHolder.HUB, CustodyTask.ADMIT),)
    if state == "DECIDED":
        return (CaseCustody(CustodyHolder.HUB, CustodyTask.RELAY),)
    waiting = [one for one in requests if one is not None]
    return tuple(sorted(waiting, key=lambda one: _ORDER.index((one.holder, one.task))))


def find_hold_task(held: Mapping[str, Any]) -> CustodyTask:
    """Return what must be done for a held case, by what is stored of it.

    What waits for the decision on its parent alone goes on by itself. Where only what was filed stands in
    its way, it is filed again: it takes more of the parent than stays.
    """
    if {one["id"] for one in held["missing"]} != {PARENT_NOT_USABLE.id}:
        return CustodyTask.FILE
    return CustodyTask.FILE_AGAIN if held.get("problems") else CustodyTask.PARENT
