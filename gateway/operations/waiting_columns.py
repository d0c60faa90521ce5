"""Adds to the rows of a list what each waits for, with a few statements for the whole page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection

from gateway.operations.waiting_reasons import (
    describe_case_waiting,
    describe_delivery_waiting,
    describe_held_lane,
    describe_message_waiting,
    describe_request_waiting,
)
from gateway.store import cases, lane_holds, list_searches, message_sequences

__all__ = ["add_case_waiting", "add_delivery_waiting", "add_message_waiting", "list_lane_holds"]

_WAITING: Final = ("OPENED", "HELD", "IN_PROGRESS", "DECIDED", "WITHDRAWN")


def list_lane_holds(conn: Connection) -> list[str]:
    """Return each held lane in words: by whom, since when and why, and how much waits in it."""
    return [
        describe_held_lane(row, lane_holds.read_lane_backlog(conn, row.name).waiting)
        for row in lane_holds.list_held_lanes(conn)
    ]


def add_delivery_waiting(conn: Connection, rows: Sequence[dict[str, Any]], now: datetime) -> None:
    """Set ``waits_for`` of these deliveries."""
    found = {
        row["id"]: row for row in list_searches.list_waiting_deliveries(conn, [row["id"] for row in rows])
    }
    for row in rows:
        row["waits_for"] = describe_delivery_waiting(found[row["id"]], now)


def add_case_waiting(conn: Connection, rows: Sequence[dict[str, Any]], now: datetime) -> None:
    """Set ``waits_for`` of these cases: the agencies that have not answered, or the deliveries left."""
    states = {row["id"]: row["state"] for row in rows if row["state"] in _WAITING}
    ids = list(states)
    asked = list_searches.list_open_requests(conn, ids) if ids else ()
    # A withdrawn case waits for nothing but whether an agency cancels what it approved afterwards.
    asked = [one for one in asked if states[one.case_id] != "WITHDRAWN" or one.cancellation == "ASKED"]
    said = list_searches.list_latest_notices(conn, [one.id for one in asked]) if asked else {}
    left = list_searches.list_case_deliveries(conn, ids) if ids else ()
    sending = {row["subject_id"]: row for row in left if row["subject_type"] == "request"}
    held = cases.list_holds(conn, [number for number, state in states.items() if state == "HELD"])
    words: dict[int, list[str]] = {}
    for one in asked:
        told = describe_request_waiting(one, said.get(one.id), sending.get(str(one.id)), now)
        words.setdefault(one.case_id, []).append(told)
    for row in rows:
        own = [one for one in left if one["case_id"] == row["id"] and row["state"] != "WITHDRAWN"]
        row["waits_for"] = describe_case_waiting(row, words.get(row["id"], ()), own, now, held.get(row["id"]))


def add_message_waiting(conn: Connection, rows: Sequence[dict[str, Any]], now: datetime) -> None:
    """Set ``waits_for`` of these messages: processing, acknowledgement, or the result of the case."""
    sent = [row["message_id"] for row in rows if row["direction"] == "out"]
    tasks = [_get_task_key(row) for row in rows if row["direction"] == "in"]
    found: dict[str, Mapping[str, Any]] = {}
    for one in list_searches.list_message_deliveries(conn, sent, tasks):
        found[one["dedupe_key"]] = one
        if one["wire_id"]:
            found[one["wire_id"]] = one
    accepted = [row["id"] for row in rows if (row["direction"], row["state"]) == ("in", "ACCEPTED")]
    holding = message_sequences.find_holding_sequences(conn, accepted)
    for row in rows:
        key = row["message_id"] if row["direction"] == "out" else _get_task_key(row)
        row["waits_for"] = describe_message_waiting(row, found.get(key), now)
        if row["id"] in holding:
            row["waits_for"] = f"an earlier message of its conversation: order {holding[row['id']]}"


def _get_task_key(message: Mapping[str, Any]) -> str:
    """Return the key of the task that admits a message."""
    return f"admit:{message['id']}"
