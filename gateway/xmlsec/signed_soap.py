"""Opening a signed SOAP 1.1 message with WS-Addressing: a call that comes in, or the answer to one of ours.

`read_soap_message` reads the envelope; nothing in it is proven. Until its signature is verified it serves to
refuse the message early, and to name the call that a fault answers. `verify_soap_message` returns only its
signed content.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from lxml import etree

from gateway.errors import NOT_SOAP, GatewayError
from gateway.pki import Certificate
from gateway.wire import (
    DEFAULT_LIMITS,
    WSA,
    WSSE,
    AddressingHeaders,
    SoapEnvelope,
    WireLimits,
    check_must_understand,
    parse_xml,
    read_addressing,
    read_envelope,
)
from gateway.xmlsec.algorithms import STRICT
from gateway.xmlsec.signature_verifier import CertificateCheck, VerifiedSignature
from gateway.xmlsec.wss import verify_soap_envelope

#: The header blocks of WS-Security and WS-Addressing, in Clark notation. They alone may be mandatory.
UNDERSTOOD_BLOCKS: Final = frozenset(
    {f"{{{WSSE}}}Security"}
    | {
        f"{{{WSA}}}{name}"
        for name in ("Action", "MessageID", "To", "From", "ReplyTo", "FaultTo", "RelatesTo")
    }
)


@dataclass(frozen=True, slots=True)
class SignedSoapMessage:
    """The headers and the Body of a SOAP message, all signed, and the signature that covers them."""

    addressing: AddressingHeaders
    content: Sequence[etree._Element]
    signature: VerifiedSignature

    @property
    def certificate(self) -> Certificate:
        """Return the certificate of the signer."""
        return self.signature.certificate


def read_soap_message(octets: bytes, limits: WireLimits = DEFAULT_LIMITS) -> SoapEnvelope:
    """Return the envelope of SOAP 1.1 in `octets`; nothing of it is verified.

    Raises GW102 beyond `limits`, GW104 for other than XML, GW105 for other than SOAP 1.1, GW106 for a header
    block that is mandatory and not understood, GW107 for an envelope of another structure.
    """
    envelope = read_envelope(parse_xml(octets, limits, is_envelope=True))
    if envelope.version != "1.1":
        raise GatewayError(NOT_SOAP, "SOAP 1.2 was sent, and SOAP 1.1 is agreed", "/soap:Envelope")
    check_must_understand(envelope, UNDERSTOOD_BLOCKS)
    return envelope


def verify_soap_message(
    envelope: SoapEnvelope,
    *,
    now: datetime,
    check_certificate: CertificateCheck,
    limits: WireLimits = DEFAULT_LIMITS,
) -> SignedSoapMessage:
    """Return the signed content of a message: every header of WS-Addressing, and the Body.

    Its algorithms must be those of the policy STRICT, and its Timestamp is at most five minutes old.

    `check_certificate` raises unless the certificate is valid and of the party that must have signed.

    Raises the errors of `check_certificate`, of `verify_soap_envelope` (GW201 to GW211) and of
    `read_addressing`.
    """
    signature = verify_soap_envelope(
        envelope.root, STRICT, now=now, check_certificate=check_certificate, limits=limits
    )
    assert envelope.header is not None, "the signature is in the header"
    return SignedSoapMessage(read_addressing(envelope.header), envelope.body_elements, signature)
