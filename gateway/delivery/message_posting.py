"""Posts the stored octets of a message to another message handler, and sorts the HTTP statuses."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Engine

from gateway.delivery.http_client import HttpAnswer, HttpClient
from gateway.errors import PARTNER_FAULT, REFUSED_FOR_GOOD, GatewayError
from gateway.store import DeliveryLease, payloads, read_transaction

__all__ = ["check_answer_status", "post_stored_message"]

_SOAP_ACTION: Final = '"ebXML"'
# ebMS 2.0 does not say which statuses are permanent; other handlers sort them in this way.
_PASSING: Final = frozenset({408, 425, 429})
_LASTING: Final = frozenset({501, 505, 510})


def post_stored_message(engine: Engine, sender: HttpClient, lease: DeliveryLease) -> HttpAnswer:
    """Post the octets of a delivery to its endpoint and return the answer, whatever its status."""
    with read_transaction(engine) as conn:
        content = payloads.get_payload_octets(conn, lease.payload_sha256 or "")
    headers = {"SOAPAction": _SOAP_ACTION, **dict(lease.parameters["headers"])}
    return sender.post(str(lease.parameters["endpoint"]), headers, content)


def check_answer_status(answer: HttpAnswer) -> None:
    """Raise for an answer that is neither a success nor a SOAP Fault."""
    status = answer.status
    if 200 <= status < 300 or (status == 500 and answer.body.strip()):
        return
    lasting = status in _LASTING or (400 <= status < 500 and status not in _PASSING)
    raise GatewayError(
        REFUSED_FOR_GOOD if lasting else PARTNER_FAULT,
        "it answered with an error and no message",
        "HTTP",
        theirs=f"HTTP status {status}",
    )
