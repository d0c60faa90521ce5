"""Reads a message of ours again, to compare an answer with its stored octets.

Nothing is verified: these are our octets, and the certificate may have expired since.
"""

from __future__ import annotations

from lxml import etree

from gateway.message_model import DigestReference, UserMessage
from gateway.protocols.as4.fragment_header import MESSAGE_FRAGMENT
from gateway.protocols.as4.header_reader import read_messaging
from gateway.protocols.as4.message_reading import make_opened_message, read_message
from gateway.protocols.as4.packaging import UNDERSTOOD, find_messaging, read_as4_envelope
from gateway.protocols.core import Parcel, SentUnit, make_fault_error
from gateway.protocols.signed_references import read_references
from gateway.wire import DS, XENC, WireLimits, read_fault
from gateway.xmlsec import find_swa_security

__all__ = ["read_sent_header", "read_sent_unit"]


def read_sent_unit(parcel: Parcel, limits: WireLimits) -> SentUnit:
    """Return the content of a parcel that we sent; what was encrypted for another party has no payloads."""
    message = read_message(parcel, limits)
    unit, security = message.header.unit, message.security
    if isinstance(unit, UserMessage) and (
        security is None or security.find(f"{{{XENC}}}EncryptedData") is None
    ):
        unit = make_opened_message(message, None, None, parcel, limits).unit
    return SentUnit(unit, _read_signed_references(security))


def read_sent_header(parcel: Parcel, limits: WireLimits) -> SentUnit:
    """Return the same without payloads: of a parcel of any size only the envelope is read."""
    envelope = read_as4_envelope(parcel, limits, UNDERSTOOD | {MESSAGE_FRAGMENT})
    fault = read_fault(envelope)
    if fault is not None:
        raise make_fault_error(fault, "/soap12:Envelope/soap12:Body")
    unit = read_messaging(find_messaging(envelope)).unit
    return SentUnit(unit, _read_signed_references(find_swa_security(envelope.root)))


def _read_signed_references(security: etree._Element | None) -> tuple[DigestReference, ...]:
    path = f"{{{DS}}}Signature/{{{DS}}}SignedInfo/{{{DS}}}Reference"
    return () if security is None else read_references(security.iterfind(path))
