"""States the event that a case, a message or a delivery waits for, in a few words for its row of a list."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection

from gateway.agreements import FILING_FUNCTIONS
from gateway.cases import DEMAND_TASKS, DEMANDED_STATES, CaseCustody, CustodyTask, find_hold_task
from gateway.errors import CALL_UNFIT, REFUSED_FOR_GOOD
from gateway.notice_order import order_notice
from gateway.operations.case_custody import load_request_custodies, read_open_demands
from gateway.operations.plain_values import format_moment
from gateway.store import (
    LaneRow,
    NoticeRow,
    RequestWithFeesRow,
    cases,
    lanes,
    list_searches,
    message_sequences,
)

_ENDED_STATES: Final = ("DELIVERED", "CANCELLED")
_MAX_TEXT_LENGTH: Final = 80
#: The event that ends each task of an application, and the event with which its agency asks for it.
_EVENT_BY_TASK: Final = {
    CustodyTask.PAY: "a fee",
    CustodyTask.ANSWER: "an answer to its question",
    CustodyTask.INSPECT: "an inspection",
    CustodyTask.DECIDE: "decision",
}

#: The event that a held case waits for, by its task.
_EVENT_BY_HOLD_TASK: Final = {
    CustodyTask.FILE: "applications that are missing",
    CustodyTask.FILE_AGAIN: "its declarant to file it again",
    CustodyTask.PARENT: "the decision on its parent case",
}


def describe_delivery_waiting(row: Mapping[str, Any], now: datetime) -> str:
    """Return the event that a delivery waits for; empty when the delivery is finished."""
    delivery_state = row["state"]
    if delivery_state == "QUEUED":
        return _describe_queued_delivery(row, now)
    if delivery_state == "ACTIVE":
        return f"the answer, by {format_moment(row['lease_until'])}" if row["lease_until"] else "the answer"
    if delivery_state == "AWAITING_RECEIPT":
        return f"the acknowledgement, by {format_moment(row['due_at'])}"
    if delivery_state == "HELD":
        return f"release{_describe_hold(row['hold_actor'], row['hold_at'], row['hold_reason'])}"
    return "an operator: requeue or cancel" if delivery_state == "FAILED" else ""


def _describe_queued_delivery(row: Mapping[str, Any], now: datetime) -> str:
    """Return what a queued delivery waits for: its lane, an earlier delivery, its time, or a worker."""
    if row["lane_held_at"] is not None:
        hold_text = _describe_hold(row["lane_held_by"], row["lane_held_at"], row["lane_hold_reason"])
        return f"release of lane {row['lane']}{hold_text}"
    if row["follows"] is not None and row["follows_state"] not in _ENDED_STATES:
        return f"delivery {row['follows']} before it, {row['follows_state']}"
    if row["due_at"] > now:
        return f"next attempt at {format_moment(row['due_at'])}"
    return "its partner to pull it" if row.get("lane_pulled") else "a free worker"


def describe_held_lane(lane: LaneRow, waiting_count: int) -> str:
    """Return the hold of a lane in words: actor, beginning, reason, and the number of its deliveries."""
    hold_text = _describe_hold(lane.held_by, lane.held_at, lane.hold_reason).removeprefix(";")
    return f"lane {lane.name} is{hold_text} ({waiting_count} waiting)"


def _describe_hold(actor: str | None, held_at: datetime | None, reason: str | None) -> str:
    """Return a hold in words: its actor, its beginning and its reason."""
    clause = f"; held by {actor}" if actor else ""
    clause += f" since {format_moment(held_at)}" if held_at else ""
    return f"{clause}: {reason}" if reason else clause


def describe_request_waiting(
    request: RequestWithFeesRow,
    custodies: Sequence[CaseCustody],
    texts: Mapping[CustodyTask, str],
    sending: Mapping[str, Any] | None,
    now: datetime,
) -> str:
    """Return the events that a request waits for, by its `custodies`; empty if nothing is due.

    `texts` are the words of the agency's open demands, by their tasks. `sending` is the delivery to the
    agency that has not ended.
    """
    reasons = []
    is_asked = any(custody.task is CustodyTask.CANCEL for custody in custodies)
    for custody in custodies:
        # The question is delivered behind the application: the reason names the delivery that is first.
        if is_asked and custody.task in (CustodyTask.FORWARD, CustodyTask.REACH):
            continue
        event = _EVENT_BY_TASK.get(custody.task)
        if event is None:
            reasons.append(_describe_sending(request, custody.task, sending, now))
        elif custody.task is CustodyTask.DECIDE:
            reasons.append(event)
        else:
            text = f" ({_cut_text(texts[custody.task])})" if texts.get(custody.task) else ""
            reasons.append(f"{event}{_format_deadline(custody.deadline)}{text}")
    return f"{request.agency}: {', and '.join(reasons)}" if reasons else ""


def _describe_sending(
    request: RequestWithFeesRow, task: CustodyTask, sending: Mapping[str, Any] | None, now: datetime
) -> str:
    """Return what a request waits for whose agency has not got it, or is asked whether it cancels it."""
    if task is CustodyTask.CANCEL:
        question = f"whether it cancels {request.number}"
        if sending is None:
            return question
        return f"{question} (delivery {sending['id']}, {describe_delivery_waiting(sending, now)})"
    if request.state == "STRANDED" and (sending is None or sending["state"] == "FAILED"):
        delivery_text = f", delivery {sending['id']} FAILED" if sending else ""
        if sending and sending["problem"] == CALL_UNFIT.id:
            return f"a WSDL that takes its application ({CALL_UNFIT.id}){delivery_text}"
        if sending and sending["problem"] == REFUSED_FOR_GOOD.id:
            return f"it refused the call{delivery_text}"
        return f"it has not taken its application{delivery_text}"
    if sending is not None:
        return f"delivery {sending['id']}, {describe_delivery_waiting(sending, now)}"
    return "decision"


def list_demand_texts(
    request: RequestWithFeesRow, request_notices: Iterable[NoticeRow]
) -> dict[CustodyTask, str]:
    """Return the words of the agency's open demands about a request, by the task of each.

    Early versions of 0.1.0 stored no demands: there the latest notice has made the demand that the state
    follows from.
    """
    rows = {row.number: row for row in request_notices}
    if request.demands is None:
        latest = max(rows.values(), key=lambda row: order_notice(row.issued_at, row.number), default=None)
        events = [event for event, state in DEMANDED_STATES.items() if state == request.state]
        if latest is None or (events == ["fee"] and request.open_fees):
            return {}
        return {DEMAND_TASKS[event]: latest.text for event in events}
    demands = read_open_demands(request).by_event
    numbers = {DEMAND_TASKS[event]: demand.latest_issue.number for event, demand in demands.items()}
    return {task: rows[number].text for task, number in numbers.items() if number in rows}


def _format_deadline(at: datetime | None) -> str:
    return f" by {format_moment(at)}" if at else ""


def _cut_text(text: str, max_length: int = _MAX_TEXT_LENGTH) -> str:
    line = " ".join(text.split())
    return line if len(line) <= max_length else f"{line[: max_length - 1]}…"


def describe_case_waiting(
    case: Mapping[str, Any],
    request_reasons: Sequence[str],
    open_deliveries: Sequence[Mapping[str, Any]],
    now: datetime,
    stored_hold: Mapping[str, Any] | None = None,
) -> str:
    """Return the events that a case waits for, by its `request_reasons` or its `open_deliveries`.

    `stored_hold` is the stored hold of a held case. After the withdrawal of a case, an agency is asked
    whether it cancels an approval that it gave later. A fee may be due after the decision.
    """
    if case["state"] in ("IN_PROGRESS", "WITHDRAWN", "CLOSED") and request_reasons:
        return "; ".join(request_reasons)
    hold_end = _find_end_of_hold(open_deliveries) if case["state"] == "HELD" else None
    if hold_end is not None:
        task = CustodyTask.FILE if stored_hold is None else find_hold_task(stored_hold)
        return f"{_EVENT_BY_HOLD_TASK[task]}, until {format_moment(hold_end)}"
    reasons = [
        f"{_get_operation_name(row)} to {row['destination']}: {describe_delivery_waiting(row, now)}"
        if row["agent"] in ("soap", "msh")
        else f"{_get_operation_name(row)}: {describe_delivery_waiting(row, now)}"
        for row in open_deliveries
    ]
    return "; ".join([*request_reasons, *reasons])


def _find_end_of_hold(open_deliveries: Sequence[Mapping[str, Any]]) -> datetime | None:
    """Return the time at which a hold ends, which is that of its task; None without such a task."""
    hold_ends = [row["due_at"] for row in open_deliveries if row["parameters"].get("task") == "end_hold"]
    return max(hold_ends, default=None)


def _get_operation_name(delivery: Mapping[str, Any]) -> str:
    """Return the operation, action or task of a delivery."""
    parameters = delivery["parameters"]
    return str(
        parameters.get("operation")
        or parameters.get("action")
        or parameters.get("task")
        or f"delivery {delivery['id']}"
    )


def describe_message_waiting(
    message: Mapping[str, Any], sending_delivery: Mapping[str, Any] | None, now: datetime
) -> str:
    """Return the event that a message waits for: its processing, its acknowledgement, its case's result.

    `sending_delivery` is the delivery that sends the message, or the task that processes it.
    """
    if sending_delivery is not None and sending_delivery["state"] not in _ENDED_STATES:
        task_prefix = "processing: " if message["direction"] == "in" else ""
        return f"{task_prefix}{describe_delivery_waiting(sending_delivery, now)}"
    if message["direction"] == "in" and message["case_state"] in ("OPENED", "HELD", "IN_PROGRESS"):
        return f"the result of case {message['case_number']}"
    if message["direction"] == "in" and message["case_state"] == "DECIDED":
        return f"the delivery of the result of case {message['case_number']}"
    if sending_delivery is None and _is_resting_in_mailbox(message):
        mailbox_reason = "nothing: it rests in the mailbox"
        is_filed = message["action"] in FILING_FUNCTIONS
        return (
            f"{mailbox_reason} (`gateway message admit {message['id']}` opens its case)"
            if is_filed
            else mailbox_reason
        )
    return ""


def _is_resting_in_mailbox(message: Mapping[str, Any]) -> bool:
    """Return whether a message that no task processes rests in the mailbox, with its octets."""
    return (
        (message["direction"], message["state"], message["kind"]) == ("in", "ACCEPTED", "UserMessage")
        and message["case_id"] is None
        and message["purged_at"] is None
    )


_WAITING_CASE_STATES: Final = ("OPENED", "HELD", "IN_PROGRESS", "DECIDED", "WITHDRAWN", "CLOSED")


def list_lane_holds(conn: Connection) -> list[str]:
    """Return the hold of each held lane in words, with the number of deliveries that wait in it."""
    return [
        describe_held_lane(row, lanes.read_lane_backlog(conn, row.name).waiting)
        for row in lanes.list_held_lanes(conn)
    ]


def add_delivery_waiting(conn: Connection, delivery_rows: Sequence[dict[str, Any]], now: datetime) -> None:
    """Set ``waits_for`` of these deliveries."""
    waiting_rows = {
        row["id"]: row
        for row in list_searches.list_waiting_deliveries(conn, [row["id"] for row in delivery_rows])
    }
    for row in delivery_rows:
        row["waits_for"] = describe_delivery_waiting(waiting_rows[row["id"]], now)


def add_case_waiting(conn: Connection, case_rows: Sequence[dict[str, Any]], now: datetime) -> None:
    """Set ``waits_for`` of these cases: the tasks due on their applications, or their open deliveries."""
    states = {row["id"]: row["state"] for row in case_rows if row["state"] in _WAITING_CASE_STATES}
    case_ids = list(states)
    open_requests = list_searches.list_open_requests(conn, case_ids) if case_ids else ()
    # A withdrawn case waits only for the agencies that were asked whether they cancel their approvals.
    open_requests = [
        request
        for request in open_requests
        if states[request.case_id] != "WITHDRAWN" or request.cancellation == "ASKED" or request.open_fees
    ]
    custodies = load_request_custodies(conn, open_requests)
    request_notices = (
        list_searches.list_request_notices(conn, [request.id for request in open_requests])
        if open_requests
        else {}
    )
    running_cases = [number for number in case_ids if states[number] != "CLOSED"]
    open_deliveries = list_searches.list_case_deliveries(conn, running_cases) if running_cases else ()
    sending_by_request = {
        row["subject_id"]: row for row in open_deliveries if row["subject_type"] == "request"
    }
    stored_holds = cases.list_holds(conn, [number for number, state in states.items() if state == "HELD"])
    reasons_by_case: dict[int, list[str]] = {}
    for request in open_requests:
        texts = list_demand_texts(request, request_notices.get(request.id, ()))
        sending = sending_by_request.get(str(request.id))
        reason = describe_request_waiting(request, custodies[request.id], texts, sending, now)
        if reason:
            reasons_by_case.setdefault(request.case_id, []).append(reason)
    for row in case_rows:
        case_deliveries = [
            delivery
            for delivery in open_deliveries
            if delivery["case_id"] == row["id"] and row["state"] != "WITHDRAWN"
        ]
        row["waits_for"] = describe_case_waiting(
            row, reasons_by_case.get(row["id"], ()), case_deliveries, now, stored_holds.get(row["id"])
        )


def add_message_waiting(conn: Connection, message_rows: Sequence[dict[str, Any]], now: datetime) -> None:
    """Set ``waits_for`` of these messages: processing, acknowledgement, or the result of the case."""
    sent_ids = [row["message_id"] for row in message_rows if row["direction"] == "out"]
    task_keys = [key for row in message_rows if row["direction"] == "in" for key in _list_task_keys(row)]
    deliveries_by_key: dict[str, Mapping[str, Any]] = {}
    for delivery in list_searches.list_message_deliveries(conn, sent_ids, task_keys):
        deliveries_by_key[delivery["dedupe_key"]] = delivery
        if delivery["wire_id"]:
            deliveries_by_key[delivery["wire_id"]] = delivery
    accepted_ids = [
        row["id"] for row in message_rows if (row["direction"], row["state"]) == ("in", "ACCEPTED")
    ]
    holding_sequences = message_sequences.find_holding_sequences(conn, accepted_ids)
    for row in message_rows:
        delivery_keys = (row["message_id"],) if row["direction"] == "out" else _list_task_keys(row)
        sending_delivery = next(
            (deliveries_by_key[key] for key in delivery_keys if key in deliveries_by_key), None
        )
        row["waits_for"] = describe_message_waiting(row, sending_delivery, now)
        if row["id"] in holding_sequences:
            row["waits_for"] = f"an earlier message of its conversation: order {holding_sequences[row['id']]}"


def _list_task_keys(message: Mapping[str, Any]) -> tuple[str, str]:
    """Return the keys of the task that admits a message, and of the delivery that forwards it."""
    return f"admit:{message['id']}", f"onward:{message['id']}"
