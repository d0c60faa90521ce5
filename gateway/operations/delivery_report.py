"""Reports of deliveries for operators, and the destination of a delivery."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from sqlalchemy import Connection

from gateway.config import Settings, mask_url
from gateway.operations.plain_values import format_value
from gateway.store import (
    DeliveryAttemptRow,
    DeliveryRow,
    MessageRow,
    cases,
    deliveries,
    delivery_leases,
    parties,
    read_columns,
)


def read_delivery_report(conn: Connection, row: DeliveryRow) -> dict[str, Any]:
    """Return a delivery with all its columns and its attempts, the first attempt first."""
    attempts = [_describe_attempt(attempt) for attempt in delivery_leases.list_attempts(conn, row.id)]
    return read_columns(row) | {"attempts": attempts}


def read_message_deliveries(conn: Connection, message: MessageRow) -> list[dict[str, Any]]:
    """Return the deliveries of a message: our tasks about it, or the delivery that sends it."""
    rows = {row.id: row for row in _find_message_deliveries(conn, message)}
    return [read_delivery_report(conn, rows[number]) for number in sorted(rows)]


def find_last_sentence(
    conn: Connection, message: MessageRow, sent: Iterable[Mapping[str, Any]]
) -> str | None:
    """Return the sentence that belongs to the problem of a message: of its refusal, else of a delivery."""
    case = cases.find_by_id(conn, message.case_id) if message.problem and message.case_id else None
    problems = (case.detail or {}).get("problems", ()) if case is not None else ()
    refusals = [
        f"{problem['text']} at {problem['pointer']}"
        for problem in problems
        if problem["id"] == message.problem
    ]
    sentences = [delivery["last_sentence"] for delivery in sent if delivery["last_sentence"]]
    return next(iter((*refusals, *reversed(sentences))), None)


def _find_message_deliveries(conn: Connection, message: MessageRow) -> Iterator[DeliveryRow]:
    # By the keys of the tasks about a message: deliveries have no index of their subject.
    for key in (f"admit:{message.id}", f"late-receipt:{message.id}"):
        task = deliveries.find_by_dedupe_key(conn, key)
        if task is not None:
            yield task
    sent = deliveries.find_by_wire_id(conn, message.message_id) if message.direction == "out" else None
    if sent is not None:
        yield sent


def _describe_attempt(row: DeliveryAttemptRow) -> dict[str, Any]:
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
    parts: Iterable[str | None] = (
        f"attempt {attempt['attempt']}",
        str(format_value(attempt["started_at"])),
        attempt["outcome"] or "under way",
        attempt["problem"],
        attempt["ours"],
        f"they said: {attempt['theirs']}" if attempt["theirs"] else None,
    )
    return "  ".join(part for part in parts if part)


def list_delivery_lines(delivery: Mapping[str, Any], *, with_attempts: bool) -> Iterator[str]:
    """Yield the lines about a delivery: content, destination and state, the awaited event, attempts."""
    yield _describe_delivery(delivery)
    if delivery.get("waits_for"):
        yield f"  waits for {delivery['waits_for']}"
    for attempt in delivery["attempts"] if with_attempts else ():
        yield f"  {_format_attempt(attempt)}"


def _describe_delivery(delivery: Mapping[str, Any]) -> str:
    parameters = delivery["parameters"]
    operation = str(parameters.get("operation") or parameters.get("action") or "")
    operation = operation or str(parameters.get("task", ""))
    problem = "".join(f"  {part}" for part in (delivery["problem"], delivery["last_sentence"]) if part)
    route = f"{operation} to {delivery['destination']}"
    return f"delivery {delivery['id']}  {route}  {delivery['state']}{problem}"


def list_transition_lines(steps: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a line for each transition: its time, the two states, the event, and the actor."""
    for step in steps:
        change = f"{format_value(step['at'])}  {step['from_state']} to {step['to_state']}"
        yield f"{change}  {step['event']} by {step['actor']}" + (
            f": {step['detail']}" if step["detail"] else ""
        )


#: The destination of calls to customs, as in `gateway.hub`, which a list need not load.
CUSTOMS = "customs"


class Destination(NamedTuple):
    """A partner: its name for people, and the address at which it is called; empty where there is none."""

    name: str
    address: str


def load_destinations(conn: Connection, settings: Settings) -> dict[str, Destination]:
    """Return the partners by destination: registered parties, and those that the settings name."""
    names = {row.id: row.name for row in parties.list_parties(conn)}
    destinations = {party: Destination(name, "") for party, name in names.items()}
    for code, called in {**settings.agency, CUSTOMS: settings.customs}.items():
        destinations[code] = Destination(
            names.get(called.get_party(code), code), mask_url(called.endpoint or "")
        )
    return destinations


def name_destination(destinations: Mapping[str, Destination], delivery: Mapping[str, Any]) -> Destination:
    """Return the destination of a delivery; a message has its address with it."""
    code = delivery["destination"]
    partner = destinations.get(code, Destination(code, ""))
    name = partner.name if partner.name == code else f"{partner.name} ({code})"
    if delivery["agent"] not in ("soap", "msh"):
        return Destination(code, "")
    address = delivery["parameters"].get("endpoint") if delivery["agent"] == "msh" else partner.address
    return Destination(name, mask_url(str(address or "")))


def list_party_destinations(settings: Settings, party: str) -> tuple[str, ...]:
    """Return the destinations at which a party is called as an agency or as customs."""
    called = {**settings.agency, CUSTOMS: settings.customs}
    return tuple(code for code, partner in called.items() if party == partner.get_party(code))


def find_destinations(destinations: Mapping[str, Destination], text: str) -> tuple[str, ...]:
    """Return the destinations whose name or address contains a text."""
    part = text.casefold()
    return tuple(
        code
        for code, destination in destinations.items()
        if any(part in word.casefold() for word in destination)
    )
