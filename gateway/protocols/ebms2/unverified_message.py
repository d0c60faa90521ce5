"""Reads a parcel as far as that needs no agreement, no register and no key; nothing is verified yet."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from gateway.errors import HEADER_INVALID, GatewayError
from gateway.protocols.core import Parcel, SentUnit, make_fault_error
from gateway.protocols.ebms2.header_blocks import (
    HeaderBlocks,
    MessageHeader,
    check_soap_action,
    read_header_blocks,
)
from gateway.protocols.ebms2.message_signature import read_own_references
from gateway.protocols.ebms2.message_units import MessageContent, make_units
from gateway.protocols.ebms2.packaging import (
    MessagePackage,
    SoapBodyContent,
    collect_payloads,
    make_package,
    open_package,
    read_ebms2_envelope,
    read_soap_body,
)
from gateway.wire import RelatedParts, SoapEnvelope, SoapFault, WireLimits, read_fault

__all__ = [
    "ReplyAddress",
    "UnverifiedMessage",
    "attach_reply_address",
    "find_fault",
    "read_message",
    "read_related_message",
    "read_sent_header",
    "read_sent_unit",
]


@dataclass(frozen=True, slots=True)
class UnverifiedMessage:
    """A message that is read but not yet verified."""

    package: MessagePackage
    blocks: HeaderBlocks
    body: SoapBodyContent


@dataclass(frozen=True, slots=True)
class ReplyAddress:
    """The data for an answer to a refused message: its header, and whether it asks for SyncReply."""

    header: MessageHeader
    sync_reply: bool


def read_message(parcel: Parcel, limits: WireLimits) -> UnverifiedMessage:
    """Return a message with its header blocks and its Body; raise GatewayError for what is malformed."""
    return read_related_message(parcel.read_parts(limits), parcel, limits)


def read_related_message(related: RelatedParts, parcel: Parcel, limits: WireLimits) -> UnverifiedMessage:
    """Return a message of which the MIME parts were read; see `read_message`."""
    package = make_package(related, limits)
    blocks = _read_blocks(package.envelope, package.fault)
    with attach_reply_address(blocks):
        check_soap_action(blocks.header, parcel.get_header("SOAPAction"))
        return UnverifiedMessage(package, blocks, read_soap_body(package.envelope.body))


def _read_blocks(envelope: SoapEnvelope, fault: SoapFault | None) -> HeaderBlocks:
    if fault is not None:
        raise make_fault_error(fault, "/soap:Envelope/soap:Body")
    if envelope.header is None:
        raise GatewayError(HEADER_INVALID, "there is no SOAP Header", "/soap:Envelope")
    return read_header_blocks(envelope.header)


@contextmanager
def attach_reply_address(blocks: HeaderBlocks) -> Iterator[None]:
    """Attach the header to a refusal, so that the answer needs no second reading of the envelope."""
    try:
        yield
    except GatewayError as refused:
        refused.heard = ReplyAddress(blocks.header, blocks.sync_reply)
        raise


def find_fault(parcel: Parcel, limits: WireLimits) -> SoapFault | None:
    """Return the SOAP Fault in a parcel, None when it contains something else."""
    return open_package(parcel, limits).fault


def read_sent_unit(parcel: Parcel, limits: WireLimits) -> SentUnit:
    """Return the content of a parcel that we sent, to compare an answer with its stored octets.

    Nothing is verified: these are our octets, and the certificate may have expired since.
    """
    message = read_message(parcel, limits)
    found = collect_payloads(message.body.manifest, message.package.parts)
    units = make_units(MessageContent(message.blocks, message.body, found))
    return SentUnit(units[0], read_own_references(message.blocks.signature))


def read_sent_header(parcel: Parcel, limits: WireLimits) -> SentUnit:
    """Return the same without payloads: of a parcel of any size only the envelope is read."""
    envelope = read_ebms2_envelope(parcel, limits)
    blocks = _read_blocks(envelope, read_fault(envelope))
    units = make_units(MessageContent(blocks, read_soap_body(envelope.body), ()))
    return SentUnit(units[0], read_own_references(blocks.signature))
