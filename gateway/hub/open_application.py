"""Opens one application of a case: its request is stored, and its call to the agency queued.

The function runs in the transaction that opens a case, or in that of an amendment that adds an application.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection

from gateway.hub.fees import hold_for_payment
from gateway.hub.forward import ComposedCall, enqueue_application_call
from gateway.hub.hub import Hub
from gateway.hub.split import PreparedApplication
from gateway.store import NewAgencyRequest, agency_requests, correlations, payloads

__all__ = ["open_application"]


def open_application(
    conn: Connection,
    hub: Hub,
    place: tuple[int, int, str],
    told: tuple[PreparedApplication, ComposedCall],
    now: datetime,
) -> None:
    """Store a new request and queue its call; where a fee is due first, it is held until that is paid.

    `place` is the case id, the sequence of the request in it, and the digest of its mappings.
    """
    (case, _, _), (one, words) = place, told
    new = _make_request(place, one, payloads.store_payload(conn, words.envelope, now))
    request = agency_requests.insert_request(conn, new)
    correlations.insert_correlation(conn, "wsa", words.call.message_id, case, request)
    enqueue_application_call(conn, words, case, (request, one.number), now)
    hold_for_payment(conn, hub, case, request, now)


def _make_request(place: tuple[int, int, str], one: PreparedApplication, envelope: str) -> NewAgencyRequest:
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
        document_sha256=envelope,
        required=[[int(item), law] for item in one.request.items for law in one.laws],
    )
