"""Opens applications of a case: their requests are stored, and their calls to the agencies queued.

It is done in the transaction that opens a case, or in that of an amendment that adds applications.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Connection

from gateway.hub.deadlines.due_times import compute_first_deadlines, insert_first_deadlines
from gateway.hub.fees.fee_ends import hold_for_payment
from gateway.hub.hub import Hub
from gateway.hub.submissions.forward import ComposedCall, enqueue_application_calls, store_envelopes
from gateway.hub.submissions.processed_submission import PreparedApplication
from gateway.store import NewAgencyRequest, agency_requests


@dataclass(frozen=True, slots=True)
class ApplicationBatch:
    """New applications of a case (row id), each with its call, by mappings of this digest.

    `first_sequence` is that of the first new request in the case.
    """

    case_id: int
    bundle_digest: str
    applications: Sequence[PreparedApplication]
    calls: Sequence[ComposedCall]
    first_sequence: int = 1

    def make_requests(self) -> list[NewAgencyRequest]:
        """Return the requests to be stored, for which nothing is due yet."""
        return [
            NewAgencyRequest(
                case_id=self.case_id,
                number=application.application_number,
                application=application.application.id,
                agency=application.request.organisation,
                document=application.request.document,
                sequence=sequence,
                mapping=application.request.document,
                mapping_version=self.bundle_digest[:16],
                mapping_sha256=self.bundle_digest,
                document_sha256=call.envelope_sha256,
                required=[[int(item), law] for item in application.request.items for law in application.laws],
            )
            for sequence, (application, call) in enumerate(
                zip(self.applications, self.calls, strict=True), start=self.first_sequence
            )
        ]


def open_applications(conn: Connection, hub: Hub, batch: ApplicationBatch, now: datetime) -> None:
    """Store new requests and queue their calls; where a fee is due first, one is held until that is paid."""
    store_envelopes(conn, batch.calls, now)
    requests = _store_applications(conn, batch, [None] * len(batch.calls))
    enqueue_application_calls(conn, batch.calls, batch.case_id, requests, now)
    for request, _ in requests:
        hold_for_payment(conn, hub, batch.case_id, request, now)


def open_first_applications(
    conn: Connection, hub: Hub, batch: ApplicationBatch, customs_calls: Sequence[ComposedCall], now: datetime
) -> bool:
    """Open the applications of a case that had none, register it at customs, and begin all deadlines.

    `customs_calls` are the calls to customs. The envelopes of all calls are stored. Returns False where an
    application is held until its fee is paid: no deadline has begun then, and the caller settles them.
    """
    documents = [
        (application.request.organisation, application.request.document) for application in batch.applications
    ]
    first_deadlines = compute_first_deadlines(conn, hub, documents, now)
    stored_requests = _store_applications(conn, batch, [first.due_at for first in first_deadlines])
    enqueue_application_calls(conn, batch.calls, batch.case_id, stored_requests, now, customs=customs_calls)
    if any([hold_for_payment(conn, hub, batch.case_id, request, now) for request, _ in stored_requests]):
        return False
    requests = [request for request, _ in stored_requests]
    insert_first_deadlines(conn, batch.case_id, zip(requests, first_deadlines, strict=True))
    return True


def _store_applications(
    conn: Connection, batch: ApplicationBatch, due_times: Sequence[datetime | None]
) -> list[tuple[int, str]]:
    """Store requests, each with the time when it is due; return their row ids and numbers."""
    timed = zip(batch.make_requests(), due_times, strict=True)
    new = [replace(new_request, due_at=due_at) for new_request, due_at in timed]
    requests = agency_requests.insert_requests(conn, new)
    message_ids = [
        (call.call.message_id, request) for call, request in zip(batch.calls, requests, strict=True)
    ]
    agency_requests.insert_correlations(conn, "wsa", message_ids, batch.case_id)
    return [(request, new_request.number) for new_request, request in zip(new, requests, strict=True)]
