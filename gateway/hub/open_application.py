"""Opens applications of a case: their requests are stored, and their calls to the agencies queued.

The function runs in the transaction that opens a case, or in that of an amendment that adds applications.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection

from gateway.hub.fees import hold_for_payment
from gateway.hub.forward import ComposedCall, enqueue_application_calls
from gateway.hub.hub import Hub
from gateway.hub.processed_submission import PreparedApplication
from gateway.store import NewAgencyRequest, agency_requests, correlations, payloads

__all__ = ["open_applications"]


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
    case, first, bundle = place
    envelopes = payloads.store_payloads(conn, [words.envelope for _, words in told], now)
    new = [
        _make_request((case, sequence, bundle), one, envelope)
        for sequence, ((one, _), envelope) in enumerate(zip(told, envelopes, strict=True), start=first)
    ]
    requests = agency_requests.insert_requests(conn, new)
    named = [(words.call.message_id, request) for (_, words), request in zip(told, requests, strict=True)]
    correlations.insert_correlations(conn, "wsa", named, case)
    asked = [(request, one.number) for one, request in zip(new, requests, strict=True)]
    enqueue_application_calls(conn, [words for _, words in told], case, asked, now)
    for request in requests:
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
