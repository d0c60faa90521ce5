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


def read_delivery_report(conn: Connection, delivery_row: DeliveryRow) -> dict[str, Any]:
    """Return a delivery with all its columns and its attempts, the first attempt first."""
    attempts = [
        _describe_attempt(attempt) for attempt in delivery_leases.list_attempts(conn, delivery_row.id)
    ]
    return read_columns(delivery_row) | {"attempts": attempts}


def read_message_deliveries(conn: Connection, message: MessageRow) -> list[dict[str, Any]]:
    """Return the deliveries of a message: our tasks about it, or the delivery that sends it."""
    rows = {row.id: row for row in _find_message_deliveries(conn, message)}
    return [read_delivery_report(conn, rows[number]) for number in sorted(rows)]


def find_problem_text(
    conn: Connection, message: MessageRow, sending_deliveries: Iterable[Mapping[str, Any]]
) -> str | None:
    """Return the sentence that belongs to the problem of a message: of its refusal, else of a delivery."""
    case_row = cases.find_by_id(conn, message.case_id) if message.problem and message.case_id else None
    problems = (case_row.detail or {}).get("problems", ()) if case_row is not None else ()
    refusal_texts = [
        f"{problem['text']} at {problem['pointer']}"
        for problem in problems
        if problem["id"] == message.problem
    ]
    delivery_texts = [
        delivery["last_sentence"] for delivery in sending_deliveries if delivery["last_sentence"]
    ]
    return next(iter((*refusal_texts, *reversed(delivery_texts))), None)


def _find_message_deliveries(conn: Connection, message: MessageRow) -> Iterator[DeliveryRow]:
    """Yield the task that admits a message, its late receipt, and the delivery that sent it, if stored."""
    # By the keys of the tasks about a message: deliveries have no index of their subject.
    for dedupe_key in (f"admit:{message.id}", f"late-receipt:{message.id}"):
        task = deliveries.find_by_dedupe_key(conn, dedupe_key)
        if task is not None:
            yield task
    sending_delivery = (
        deliveries.find_by_wire_id(conn, message.message_id) if message.direction == "out" else None
    )
    if sending_delivery is not None:
        yield sending_delivery


def _describe_attempt(attempt_row: DeliveryAttemptRow) -> dict[str, Any]:
    """Return an attempt as plain values: `ours` is our sentence, `theirs` the words of the partner."""
    return {
        "attempt": attempt_row.attempt,
        "started_at": attempt_row.started_at,
        "finished_at": attempt_row.finished_at,
        "outcome": attempt_row.outcome,
        "problem": attempt_row.problem,
        "ours": attempt_row.sentence,
        "theirs": attempt_row.theirs,
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
    """Return one line of text on a delivery, given as plain values, with its problem."""
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
    party_names = {row.id: row.name for row in parties.list_parties(conn)}
    destinations = {party_id: Destination(name, "") for party_id, name in party_names.items()}
    for destination_code, partner_settings in {**settings.agency, CUSTOMS: settings.customs}.items():
        destinations[destination_code] = Destination(
            party_names.get(partner_settings.get_party(destination_code), destination_code),
            mask_url(partner_settings.endpoint or ""),
        )
    return destinations


def describe_destination(destinations: Mapping[str, Destination], delivery: Mapping[str, Any]) -> Destination:
    """Return the destination of a delivery; a message has its address with it."""
    destination_code = delivery["destination"]
    partner = destinations.get(destination_code, Destination(destination_code, ""))
    display_name = (
        partner.name if partner.name == destination_code else f"{partner.name} ({destination_code})"
    )
    if delivery["agent"] not in ("soap", "msh"):
        return Destination(destination_code, "")
    address = delivery["parameters"].get("endpoint") if delivery["agent"] == "msh" else partner.address
    return Destination(display_name, mask_url(str(address or "")))


def list_party_destinations(settings: Settings, party_id: str) -> tuple[str, ...]:
    """Return the destinations at which a party is called as an agency or as customs."""
    partner_settings = {**settings.agency, CUSTOMS: settings.customs}
    return tuple(
        destination_code
        for destination_code, partner in partner_settings.items()
        if party_id == partner.get_party(destination_code)
    )


def search_destinations(destinations: Mapping[str, Destination], search_text: str) -> tuple[str, ...]:
    """Return the destinations whose name or address contains a text."""
    searched_text = search_text.casefold()
    return tuple(
        destination_code
        for destination_code, destination in destinations.items()
        if any(searched_text in field_text.casefold() for field_text in destination)
    )
