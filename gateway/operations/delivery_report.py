"""Describes deliveries with their attempts: when, how each ended, what we saw, what the partner said."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sqlalchemy import Connection, Row

from gateway.operations.plain_values import format_value
from gateway.store import cases, deliveries, delivery_leases

__all__ = [
    "find_last_sentence",
    "list_delivery_lines",
    "list_transition_lines",
    "read_delivery_report",
    "read_message_deliveries",
]


def read_delivery_report(conn: Connection, row: Row[Any]) -> dict[str, Any]:
    """Return a delivery with all its columns and its attempts, the first attempt first."""
    attempts = [_describe_attempt(one) for one in delivery_leases.list_attempts(conn, row.id)]
    return dict(row._mapping) | {"attempts": attempts}


def read_message_deliveries(conn: Connection, message: Row[Any]) -> list[dict[str, Any]]:
    """Return the deliveries of a message: our tasks about it, or the one that sends it."""
    found = {row.id: row for row in _find_message_deliveries(conn, message)}
    return [read_delivery_report(conn, found[number]) for number in sorted(found)]


def find_last_sentence(conn: Connection, message: Row[Any], sent: Iterable[Mapping[str, Any]]) -> str | None:
    """Return the sentence that belongs to the problem of a message: of its refusal, else of a delivery."""
    case = cases.find_by_id(conn, message.case_id) if message.problem and message.case_id else None
    problems = (case.detail or {}).get("problems", ()) if case is not None else ()
    told = [f"{one['text']} at {one['pointer']}" for one in problems if one["id"] == message.problem]
    said = [one["last_sentence"] for one in sent if one["last_sentence"]]
    return next(iter((*told, *reversed(said))), None)


def _find_message_deliveries(conn: Connection, message: Row[Any]) -> Iterator[Row[Any]]:
    # By the keys of the tasks about a message: deliveries have no index of their subject.
    for key in (f"admit:{message.id}", f"late-receipt:{message.id}"):
        task = deliveries.find_by_dedupe_key(conn, key)
        if task is not None:
            yield task
    sent = deliveries.find_by_wire_id(conn, message.message_id) if message.direction == "out" else None
    if sent is not None:
        yield sent


def _describe_attempt(row: Row[Any]) -> dict[str, Any]:
    return {
        "attempt": row.attempt,
        "started_at": row.started_at,
        "finished_at": row.finished_at,
        "outcome": row.outcome,
        "problem": row.problem,
        "ours": row.sentence,
        "theirs": row.theirs,
    }


def _format_attempt(attempt: Mapping[str, Any]) -> str:
    """Return an attempt as one line: number, time, outcome, our sentence, the partner's words."""
    words: Iterable[str | None] = (
        f"attempt {attempt['attempt']}",
        str(format_value(attempt["started_at"])),
        attempt["outcome"] or "under way",
        attempt["problem"],
        attempt["ours"],
        f"they said: {attempt['theirs']}" if attempt["theirs"] else None,
    )
    return "  ".join(one for one in words if one)


def list_delivery_lines(delivery: Mapping[str, Any], *, with_attempts: bool) -> Iterator[str]:
    """Yield the lines about a delivery: what goes where, its state, what it waits for, its attempts."""
    yield _describe_delivery(delivery)
    if delivery.get("waits_for"):
        yield f"  waits for {delivery['waits_for']}"
    for attempt in delivery["attempts"] if with_attempts else ():
        yield f"  {_format_attempt(attempt)}"


def _describe_delivery(delivery: Mapping[str, Any]) -> str:
    parameters = delivery["parameters"]
    words = str(parameters.get("operation") or parameters.get("action") or "")
    words = words or str(parameters.get("task", ""))
    told = [one for one in (delivery["problem"], delivery["last_sentence"]) if one]
    problem = "".join(f"  {one}" for one in told)
    place = f"{words} to {delivery['destination']}"
    return f"delivery {delivery['id']}  {place}  {delivery['state']}{problem}"


def list_transition_lines(steps: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a line for each transition: when, from which state to which, by what event, by whom."""
    for one in steps:
        words = f"{format_value(one['at'])}  {one['from_state']} to {one['to_state']}"
        yield f"{words}  {one['event']} by {one['actor']}" + (f": {one['detail']}" if one["detail"] else "")
