"""Opens applications of a case: their requests are stored, and their calls to the agencies queued.

It is done in the transaction that opens a case, or in that of an amendment that adds applications.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection

from gateway.hub.deadlines import compute_first_deadlines, insert_first_deadlines
from gateway.hub.fees import hold_for_payment
from gateway.hub.forward import ComposedCall, enqueue_application_calls, store_envelopes
from gateway.hub.hub import Hub
from gateway.hub.processed_submission import PreparedApplication
from gateway.store import NewAgencyRequest, agency_requests, correlations

__all__ = ["open_applications", "open_first_applications"]


def open_applications(
    conn: Connection,
    hub: Hub,
    place: tuple[int, int, str],
    told: Sequence[tuple[PreparedApplication, ComposedCall]],
    now: datetime,
) -> None:
    """Store new requests and queue their calls; where a fee is due first, one is held until that is paid.

    `place` is the case id, the sequence of the first request in it, and the digest of its mappings.
    """
    asked = _store_applications(conn, place, [(*one, None) for one in told], now)
    enqueue_application_calls(conn, [words for _, words in told], place[0], asked, now)
    for request, _ in asked:
        hold_for_payment(conn, hub, place[0], request, now)


def open_first_applications(
    conn: Connection,
    hub: Hub,
    case: tuple[int, str],
    told: tuple[Sequence[tuple[PreparedApplication, ComposedCall]], Sequence[ComposedCall]],
    now: datetime,
) -> bool:
    """Open the applications of a case that had none, register it at customs, and begin all deadlines.

    `case` is its id and the digest of its mappings; `told` are the applications and the calls to customs.
    Returns False where an application is held until its fee is paid: no deadline has begun then, and the
    caller settles them.
    """
    number, bundle = case
    applications, customs = told
    documents = [(one.request.organisation, one.request.document) for one, _ in applications]
    owed = compute_first_deadlines(conn, hub, documents, now)
    timed = [(*one, first.due_at) for one, first in zip(applications, owed, strict=True)]
    asked = _store_applications(conn, (number, 1, bundle), timed, now)
    calls = [words for _, words in applications]
    enqueue_application_calls(conn, calls, number, asked, now, customs=customs)
    if any([hold_for_payment(conn, hub, number, request, now) for request, _ in asked]):
        return False
    requests = [request for request, _ in asked]
    insert_first_deadlines(conn, number, zip(requests, owed, strict=True))
    return True


def _store_applications(
    conn: Connection,
    place: tuple[int, int, str],
    told: Sequence[tuple[PreparedApplication, ComposedCall, datetime | None]],
    now: datetime,
) -> list[tuple[int, str]]:
    """Store requests, each with the time when it is due; return their row ids and numbers."""
    case, first, bundle = place
    store_envelopes(conn, [words for _, words, _ in told], now)
    new = [_make_request((case, sequence, bundle), *one) for sequence, one in enumerate(told, start=first)]
    requests = agency_requests.insert_requests(conn, new)
    named = [(words.call.message_id, request) for (_, words, _), request in zip(told, requests, strict=True)]
    correlations.insert_correlations(conn, "wsa", named, case)
    return [(request, one.number) for one, request in zip(new, requests, strict=True)]


def _make_request(
    place: tuple[int, int, str], one: PreparedApplication, words: ComposedCall, due_at: datetime | None
) -> NewAgencyRequest:
    case, sequence, bundle = place
    return NewAgencyRequest(
        case_id=case,
        number=one.number,
        application=one.application.id,
        agency=one.request.organisation,
        document=one.request.document,
        sequence=sequence,
        mapping=one.request.document,
        mapping_version=bundle[:16],
        mapping_sha256=bundle,
        document_sha256=words.sha256,
        required=[[int(item), law] for item in one.request.items for law in one.laws],
        due_at=due_at,
    )
