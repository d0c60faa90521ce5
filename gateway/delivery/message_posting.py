"""Posts the stored octets of a message to another message handler, and reads what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gateway.delivery.http_client import HttpAnswer, HttpClient
from gateway.delivery.lease_content import open_leased_octets
from gateway.delivery.lease_renewal import renew_while_read
from gateway.errors import ANSWER_NOT_UNDERSTOOD, PARTNER_FAULT, REFUSED_FOR_GOOD, GatewayError
from gateway.hub import Hub, RegisterSnapshot
from gateway.message_model import Body
from gateway.protocols import OpenedMessage, ProtocolContext, ProtocolCore
from gateway.store import DeliveryLease

__all__ = ["PostedMessage", "check_answer_status", "open_answer", "post_stored_message"]

# ebMS 2.0 does not say which statuses are permanent; other handlers sort them in this way.
_PASSING: Final = frozenset({408, 425, 429})
_LASTING: Final = frozenset({501, 505, 510})
_UNAUTHORIZED: Final = 401


@dataclass(frozen=True, slots=True)
class PostedMessage:
    """The octets that were posted, what was answered, and the register as it was known before."""

    octets: bytes | Body
    answer: HttpAnswer
    knowledge: RegisterSnapshot


def post_stored_message(hub: Hub, sender: HttpClient, lease: DeliveryLease) -> PostedMessage:
    """Post the octets of a delivery to its endpoint and return them with the answer, whatever its status."""
    headers = dict(lease.parameters["headers"])
    octets = open_leased_octets(hub.engine, lease)
    # The version is compared when the effect of the answer is stored.
    knowledge = hub.get_snapshot()
    endpoint, sent = str(lease.parameters["endpoint"]), renew_while_read(hub, lease, octets)
    return PostedMessage(octets, sender.post(endpoint, headers, sent), knowledge)


def check_answer_status(answer: HttpAnswer) -> None:
    """Raise for an answer that is neither a success nor a SOAP Fault."""
    status = answer.status
    if 200 <= status < 300 or (status == 500 and answer.body.strip()):
        return
    lasting = status in _LASTING or (400 <= status < 500 and status not in _PASSING)
    detail = "it answered with an error and no message"
    if status == _UNAUTHORIZED:
        detail = "it wants a name and a password: set `login` for its host under [tls]"
    raise GatewayError(
        REFUSED_FOR_GOOD if lasting else PARTNER_FAULT, detail, "HTTP", theirs=f"HTTP status {status}"
    )


def open_answer(
    hub: Hub,
    lease: DeliveryLease,
    posted: PostedMessage,
    protocol: ProtocolCore,
    context: ProtocolContext,
) -> OpenedMessage:
    """Return the verified content of an answer to a posted message, compared with the octets sent.

    What this process sealed just now is not read again.

    Raises GW602 for a final refusal, and GW603 for any other answer that does not match: it proves
    nothing, and the message is sent again.
    """
    sent = hub.sent_units.take_unit(lease.payload_sha256)
    if sent is None:
        parcel = hub.make_parcel(dict(lease.parameters["headers"]), posted.octets)
        sent = protocol.read_sent_header(parcel, context.limits)
    answer = posted.answer
    back = hub.make_parcel({"Content-Type": answer.headers.get("content-type", "")}, answer.body)
    try:
        return protocol.open(back, context, sent)
    except GatewayError as error:
        if error.problem is REFUSED_FOR_GOOD:
            raise
        detail = f"{error.problem.id} {error.detail}"[:500]
        raise GatewayError(ANSWER_NOT_UNDERSTOOD, detail, error.location, theirs=error.theirs) from error
