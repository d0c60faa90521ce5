"""What the hub answers to a call of an agency: its own word about that very call, or not."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from gateway.conformance.partners.partner_identity import PartnerIdentity
from gateway.errors import ANSWER_NOT_UNDERSTOOD, GatewayError
from gateway.wire.addressing import read_addressing
from gateway.wire.soap import SoapFault, read_envelope, read_fault
from gateway.wire.xml import parse_xml
from gateway.xmlsec.algorithms import STRICT
from gateway.xmlsec.wss import verify_soap_envelope

__all__ = ["read_hub_answer"]

_TOKEN: Final = "/soap:Envelope/soap:Header/wsse:Security"  # noqa: S105


def read_hub_answer(
    octets: bytes, message_id: str, identity: PartnerIdentity, at: datetime
) -> SoapFault | None:
    """Return the fault by which the hub refuses the call `message_id`, None when it took the call.

    Raises GatewayError when the answer is not the hub's by what `identity` knows of it, or is
    about another call.
    """
    root = parse_xml(octets)
    envelope = read_envelope(root)
    fault = read_fault(envelope)
    signed = verify_soap_envelope(root, STRICT, now=at)
    identity.verify_hub_certificate(signed.certificate, at, _TOKEN)
    related = read_addressing(envelope.header).relates_to if envelope.header is not None else None
    if related != message_id:
        raise GatewayError(ANSWER_NOT_UNDERSTOOD, "the answer relates to another call", "wsa:RelatesTo")
    return fault
