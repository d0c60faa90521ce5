"""Rows for tests that need a message, a case, a request or a delivery in a database."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from gateway.message_model import Payload
from gateway.store import agency_requests, cases, deliveries, messages, payloads

__all__ = [
    "NOW",
    "answer",
    "delivery",
    "later",
    "message",
    "open_case",
    "open_refused_case",
    "request",
    "stored",
]

NOW = datetime(2026, 11, 20, 8, 30, 15, 123456, tzinfo=UTC)
_numbers = itertools.count(1)


def later(seconds: float) -> datetime:
    """Return the moment so many seconds after NOW."""
    return NOW + timedelta(seconds=seconds)


def message(**changes: Any) -> messages.NewMessage:
    """Return a message about to be stored; another one each time."""
    number = next(_numbers)
    payload = Payload("declaration", "application/xml", f"<Submission n='{number}'/>".encode() * 40)
    values: dict[str, Any] = {
        "message_id": f"{number}@broker.example",
        "protocol": "ebms2",
        "kind": "UserMessage",
        "conversation_id": "conversation-1",
        "from_party": "broker",
        "to_party": "hub",
        "service": "urn:single-window:services:declaration",
        "action": "Submit",
        "identity_sha256": f"{number:064x}",
        "parcel_headers": {"content-type": "multipart/related"},
        "parcel": b"--boundary\r\n\r\n" + payload.content + b"\r\n--boundary--",
        "payloads": (payload,),
    }
    return messages.NewMessage(**(values | changes))


def answer(body: bytes = b"<Acknowledgment/>") -> messages.HttpResponse:
    """Return an answer to a message."""
    return messages.HttpResponse(200, {"content-type": "text/xml"}, body)


def stored(conn: Connection, *, at: datetime = NOW, **changes: Any) -> int:
    """Store a message that is received at a time; return its row id."""
    return messages.accept_message(conn, message(**changes), answer(), at).id


def open_case(conn: Connection, **changes: Any) -> int:
    """Open a case for a message of its own; return its row id."""
    return cases.open_case(conn, _make_case(conn, changes), NOW).id


def open_refused_case(conn: Connection, **changes: Any) -> int:
    """Open a case that is refused at once, beside others of its reference; return its row id."""
    return cases.open_refused_case(conn, _make_case(conn, changes), NOW).id


def _make_case(conn: Connection, changes: dict[str, Any]) -> cases.NewCase:
    number = next(_numbers)
    values: dict[str, Any] = {
        "number": f"2026-{number:07d}",
        "document": "Submission",
        "function": "9",
        "declarant": "importer",
        "applicant": "broker",
        "functional_reference": f"REF-{number}",
    }
    values |= changes
    if "message" not in values:
        values["message"] = stored(conn)
    return cases.NewCase(**values)


def request(conn: Connection, case_id: int, **changes: Any) -> int:
    """Prepare a request of a case; return its row id."""
    number = next(_numbers)
    values: dict[str, Any] = {
        "case_id": case_id,
        "number": f"APP-{number}",
        "application": "A1",
        "agency": "KR-A",
        "document": "A-1",
        "sequence": number,
        "mapping": "a-1",
        "mapping_version": "1",
        "mapping_sha256": "0" * 64,
        "document_sha256": payloads.store_payload(conn, b"<Document/>", NOW),
        "required": ((1, "FOOD"), (2, "FOOD")),
    }
    return agency_requests.insert_request(conn, agency_requests.NewAgencyRequest(**(values | changes)))


def delivery(**changes: Any) -> deliveries.NewDelivery:
    """Return a delivery about to be queued; another one each time."""
    number = next(_numbers)
    values: dict[str, Any] = {
        "agent": "soap",
        "destination": "KR-A",
        "subject_type": "request",
        "subject_id": str(number),
        "dedupe_key": f"send:{number}",
        "wire_id": f"urn:uuid:{number}",
    }
    return deliveries.NewDelivery(**(values | changes))
