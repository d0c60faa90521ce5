"""States what a case, a message or a delivery waits for, in a few words for its row of a list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from gateway.cases import DEMANDED_STATES, CustodyTask, OpenDemands, find_hold_task
from gateway.errors import CALL_UNFIT
from gateway.operations.display_zone import format_moment

__all__ = [
    "describe_case_waiting",
    "describe_delivery_waiting",
    "describe_held_lane",
    "describe_message_waiting",
    "describe_request_waiting",
]

_DONE: Final = ("DELIVERED", "CANCELLED")
_LONGEST: Final = 80
#: What an agency asked of the applicant, by the state of its request.
_ASKED: Final = {
    "INFORMATION_REQUIRED": "an answer to its question",
    "INSPECTION": "an inspection",
    "FEE_DUE": "a fee",
}

#: What a held case waits for.
_HELD_FOR: Final = {
    CustodyTask.FILE: "applications that are missing",
    CustodyTask.FILE_AGAIN: "its declarant to file it again",
    CustodyTask.PARENT: "the decision on its parent case",
}


def describe_delivery_waiting(row: Mapping[str, Any], now: datetime) -> str:
    """Return what a delivery waits for; empty when it is finished."""
    state = row["state"]
    if state == "QUEUED":
        return _describe_queued_delivery(row, now)
    if state == "ACTIVE":
        return f"the answer, by {format_moment(row['lease_until'])}" if row["lease_until"] else "the answer"
    if state == "AWAITING_RECEIPT":
        return f"the acknowledgement, by {format_moment(row['due_at'])}"
    if state == "HELD":
        return f"release{_describe_hold(row['hold_actor'], row['hold_at'], row['hold_reason'])}"
    return "an operator: requeue or cancel" if state == "FAILED" else ""


def _describe_queued_delivery(row: Mapping[str, Any], now: datetime) -> str:
    if row["lane_held_at"] is not None:
        held = _describe_hold(row["lane_held_by"], row["lane_held_at"], row["lane_hold_reason"])
        return f"release of lane {row['lane']}{held}"
    if row["follows"] is not None and row["follows_state"] not in _DONE:
        return f"delivery {row['follows']} before it, {row['follows_state']}"
    if row["open_until"] is not None and row["open_until"] > now:
        return f"lane {row['lane']}, closed until {format_moment(row['open_until'])}"
    if row["due_at"] > now:
        return f"next attempt at {format_moment(row['due_at'])}"
    return "its partner to pull it" if row.get("lane_pulled") else "a free worker"


def describe_held_lane(lane: Any, waiting: int) -> str:
    """Return by whom, since when and why a lane is held, and how many deliveries wait in it."""
    told = _describe_hold(lane.held_by, lane.held_at, lane.hold_reason).removeprefix(";")
    return f"lane {lane.name} is{told} ({waiting} waiting)"


def _describe_hold(actor: str | None, at: datetime | None, reason: str | None) -> str:
    """Return by whom, since when and why something is held."""
    told = f"; held by {actor}" if actor else ""
    told += f" since {format_moment(at)}" if at else ""
    return f"{told}: {reason}" if reason else told


def describe_request_waiting(
    request: Any, notice: Any, sending: Mapping[str, Any] | None, now: datetime
) -> str:
    """Return what a request waits for: its delivery, the answer to its question, the decision.

    An agency that was asked whether it cancels has to say so before anything is decided.
    """
    agency, state = request.agency, request.state
    if request.cancellation == "ASKED" and (sending is None or state not in ("PREPARED", "STRANDED")):
        told = f"{agency}: whether it cancels {request.number}"
        if sending is None:
            return told
        return f"{told} (delivery {sending['id']}, {describe_delivery_waiting(sending, now)})"
    if state == "STRANDED" and (sending is None or sending["state"] == "FAILED"):
        number = f", delivery {sending['id']} FAILED" if sending else ""
        if sending and sending["problem"] == CALL_UNFIT.id:
            return f"{agency}: a WSDL that takes its application ({CALL_UNFIT.id}){number}"
        return f"{agency}: could not be reached{number}"
    if state in ("PREPARED", "STRANDED") and sending is not None:
        return f"{agency}: delivery {sending['id']}, {describe_delivery_waiting(sending, now)}"
    if state not in _ASKED:
        if not request.open_fees:
            return f"{agency}: decision"
        # The notice that levied it may lie behind others: the time is that of the deadline.
        return f"{agency}: {_ASKED['FEE_DUE']}{_name_time(request.due_at)}"
    if _is_behind_others(request, notice):
        return f"{agency}: {_ASKED[state]}{_name_time(request.due_at)}"
    deadline = _name_time(notice.deadline) if notice is not None else ""
    words = f" ({_cut_text(notice.text)})" if notice is not None and notice.text else ""
    return f"{agency}: {_ASKED[state]}{deadline}{words}"


def _is_behind_others(request: Any, notice: Any) -> bool:
    """Return whether what an agency waits for was said before its last notice."""
    if notice is None or request.state == "FEE_DUE":
        return notice is not None and bool(request.open_fees)
    if request.demands is None or request.demands_state != request.state:
        return False
    event = {state: event for event, state in DEMANDED_STATES.items()}[request.state]
    asked = OpenDemands.restore(request.demands).standing.get(event)
    return asked is not None and asked.latest[1] != notice.number


def _name_time(at: datetime | None) -> str:
    return f" by {format_moment(at)}" if at else ""


def _cut_text(text: str, longest: int = _LONGEST) -> str:
    line = " ".join(text.split())
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def describe_case_waiting(
    case: Mapping[str, Any],
    requests: Sequence[str],
    left: Sequence[Mapping[str, Any]],
    now: datetime,
    held: Mapping[str, Any] | None = None,
) -> str:
    """Return what a case waits for: its open `requests` in words, or the deliveries that are `left`.

    `held` is what is stored of a held case. Of a withdrawn case an agency is asked
    whether it cancels what it approved afterwards.
    """
    if case["state"] in ("IN_PROGRESS", "WITHDRAWN") and requests:
        return "; ".join(requests)
    until = _find_end_of_hold(left) if case["state"] == "HELD" else None
    if until is not None:
        task = CustodyTask.FILE if held is None else find_hold_task(held)
        return f"{_HELD_FOR[task]}, until {format_moment(until)}"
    told = [
        f"{_name_work(row)} to {row['destination']}: {describe_delivery_waiting(row, now)}"
        if row["agent"] in ("soap", "msh")
        else f"{_name_work(row)}: {describe_delivery_waiting(row, now)}"
        for row in left
    ]
    return "; ".join(told)


def _find_end_of_hold(left: Sequence[Mapping[str, Any]]) -> datetime | None:
    ends = [row["due_at"] for row in left if row["parameters"].get("task") == "end_hold"]
    return max(ends, default=None)


def _name_work(row: Mapping[str, Any]) -> str:
    """Return the operation, action or task of a delivery."""
    given = row["parameters"]
    return str(given.get("operation") or given.get("action") or given.get("task") or f"delivery {row['id']}")


def describe_message_waiting(
    message: Mapping[str, Any], sending: Mapping[str, Any] | None, now: datetime
) -> str:
    """Return what a message waits for: its processing, its acknowledgement, or the result of its case.

    `sending` is the delivery that sends it, or the task that processes it.
    """
    if sending is not None and sending["state"] not in _DONE:
        task = "processing: " if message["direction"] == "in" else ""
        return f"{task}{describe_delivery_waiting(sending, now)}"
    if message["direction"] == "in" and message["case_state"] in ("OPENED", "HELD", "IN_PROGRESS"):
        return f"the result of case {message['case_number']}"
    if message["direction"] == "in" and message["case_state"] == "DECIDED":
        return f"the delivery of the result of case {message['case_number']}"
    return ""
