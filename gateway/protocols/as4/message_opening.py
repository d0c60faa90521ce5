"""Opens AS4 parcels: reads them, verifies them in the order of cost, and returns their units."""

from __future__ import annotations

from gateway.errors import GatewayError
from gateway.message_model import ErrorSignal, Receipt
from gateway.protocols.as4.message_reading import (
    SIGNATURE,
    make_opened_message,
    read_message,
    require_signature,
    verify_signature,
)
from gateway.protocols.as4.packaging import open_as4_package
from gateway.protocols.core import OpenedMessage, Parcel, ProtocolContext, RefusedMessage
from gateway.wire import SoapFault, WireLimits

__all__ = ["find_fault", "find_refused_message", "verify_parcel"]


def verify_parcel(parcel: Parcel, policy: str, context: ProtocolContext) -> OpenedMessage:
    """Return the unit of a parcel verified without agreement: structure, signature and certificate.

    A business message or a receipt must be signed; other signals need no signature.
    """
    message = read_message(parcel, context.limits)
    signed = verify_signature(message, policy, context.limits, None, context.known_certificates)
    require_signature(message, signed)
    if signed is not None:
        context.check_signing_certificate(signed.certificate, SIGNATURE)
    return make_opened_message(message, signed, None, parcel, context.limits)


def find_fault(parcel: Parcel, limits: WireLimits) -> SoapFault | None:
    """Return the SOAP Fault in a parcel, None when it contains something else."""
    return open_as4_package(parcel, limits).fault


def find_refused_message(parcel: Parcel, limits: WireLimits) -> RefusedMessage | None:
    """Return what can be read of a refused parcel, None where its header cannot be read."""
    try:
        unit = read_message(parcel, limits).header.unit
    except GatewayError:
        return None
    return RefusedMessage(unit.message_id, type(unit).__name__, not isinstance(unit, Receipt | ErrorSignal))
