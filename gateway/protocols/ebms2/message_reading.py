"""Reads a parcel and its unverified signature, without agreement and register; makes our signature (§4.1).

Nothing is verified here, and no key of another party is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from lxml import etree

from gateway.agreements import PMode
from gateway.errors import HEADER_INVALID, SIGNATURE_MISSING, GatewayError
from gateway.message_model import (
    Body,
    DigestReference,
    ErrorSignal,
    Payload,
    Receipt,
    StatusRequest,
    Unit,
    UserMessage,
)
from gateway.pki import Signer
from gateway.protocols.core import Parcel, SentUnit, make_fault_error
from gateway.protocols.ebms2.header_blocks import (
    HeaderBlocks,
    MessageHeader,
    check_soap_action,
    read_header_blocks,
)
from gateway.protocols.ebms2.message_units import MessageContent, make_units
from gateway.protocols.ebms2.packaging import (
    ManifestReference,
    MessagePackage,
    SoapBodyContent,
    check_parts_present,
    collect_payloads,
    make_package,
    open_package,
    read_ebms2_envelope,
    read_soap_body,
)
from gateway.protocols.element_reader import allow_stored_values, make_eb_name
from gateway.protocols.signed_values import compute_values_digest, read_references
from gateway.wire import DS, MimePart, RelatedParts, SoapEnvelope, SoapFault, WireLimits, read_fault
from gateway.xmlsec import (
    SHA256,
    SignatureReading,
    VerifiedSignature,
    WrittenSignature,
    find_signature,
    get_signature_policy,
    read_message_signature,
    write_message_signature,
)

SIGNATURE: Final = "/soap:Envelope/soap:Header/ds:Signature"


def require_signature(verified_signature: VerifiedSignature | None) -> VerifiedSignature:
    """Return the signature of a message that must have one; raise GW201 without it."""
    if verified_signature is None:
        raise GatewayError(SIGNATURE_MISSING, "this message must be signed", "/soap:Envelope/soap:Header")
    return verified_signature


def list_signed_parts(verified_signature: VerifiedSignature | None) -> frozenset[str]:
    """Return the content ids of the parts that the signature covers."""
    if verified_signature is None:
        return frozenset()
    return frozenset(
        _parse_cid_uri(reference.uri) for reference in verified_signature.references if reference.uri
    )


def collect_payload_digests(verified_signature: VerifiedSignature | None) -> dict[str, str]:
    """Return the SHA-256 of each part in a valid signature, in hexadecimal, by content id."""
    if verified_signature is None:
        return {}
    return {
        _parse_cid_uri(reference.uri): reference.digest_value.hex()
        for reference in verified_signature.references
        if reference.uri and reference.digest_algorithm == SHA256
    }


def needs_signature(unit: Unit, pmode: PMode | None) -> bool:
    """Return whether we sign `unit`.

    A receipt is signed when the sender asked for that (§6.3.1.2), when it repeats digests, or when
    the agreement always requires it. A StatusRequest is signed where the agreement answers only
    signed ones. Ping, Pong and StatusResponse are not signed: no known peer expects it.
    """
    if isinstance(unit, Receipt) and (unit.references or unit.signature_requested):
        return True
    if pmode is None:
        return False
    if isinstance(unit, Receipt):
        return pmode.reliability.ack_signed == "always"
    if isinstance(unit, StatusRequest):
        return pmode.security.needs_signed_status
    return isinstance(unit, UserMessage | ErrorSignal) and pmode.security.sign


def sign_envelope(
    envelope_octets: bytes, namespaces: str, octets_by_id: Mapping[str, bytes | Body], signer: Signer
) -> WrittenSignature:
    """Return the signature of the envelope, whose root declares `namespaces`, and of the payloads."""
    return write_message_signature(envelope_octets, namespaces, octets_by_id, signer)


def compute_message_identity(
    envelope_octets: bytes, parts: Mapping[str, MimePart], verified_signature: VerifiedSignature | None
) -> str:
    """Return a digest that distinguishes a repeated message from another one with the same id.

    For a signed message it covers the digests in the signature and does not depend on MIME
    framing and key. For an unsigned message it covers the octets of the envelope and its parts.
    """
    if verified_signature is not None:
        return _compute_signed_identity(verified_signature)
    values: list[bytes | Body] = [envelope_octets]
    for content_id in sorted(parts):
        part = parts[content_id]
        values += (content_id.encode(), part.media_type.encode(), part.octets)
    return compute_values_digest(values)


def _compute_signed_identity(verified_signature: VerifiedSignature) -> str:
    """Return the identity of a signed message: a digest of the digests in its signature."""
    entries = sorted(
        (reference.uri, reference.digest_algorithm, reference.digest_value)
        for reference in verified_signature.references
    )
    return compute_values_digest(
        [value for uri, algorithm, digest in entries for value in (uri.encode(), algorithm.encode(), digest)]
    )


def _read_own_references(element: etree._Element | None) -> tuple[DigestReference, ...]:
    """Return the references of our own ds:Signature, which is not verified again."""
    if element is None:
        return ()
    return read_references(element.iterfind(f"{{{DS}}}SignedInfo/{{{DS}}}Reference"))


def _parse_cid_uri(uri: str) -> str:
    """Return the content id of a cid: URI that is known to be well-formed."""
    return unquote(uri[4:])


_ACTION: Final = f"{make_eb_name('MessageHeader')}/{make_eb_name('Action')}"


@dataclass(frozen=True, slots=True)
class UnverifiedMessage:
    """A message that is read but not yet verified."""

    package: MessagePackage
    blocks: HeaderBlocks
    body: SoapBodyContent

    def make_reading(self) -> MessageReading:
        """Return the values and parts of the message, for its checks and its opening."""
        package = self.package
        return MessageReading(
            self.blocks.header, self.body.manifest, package.parts, package.envelope_octets, self._make_units
        )

    def _make_units(self, payloads: tuple[Payload, ...]) -> tuple[Unit, ...]:
        return make_units(MessageContent(self.blocks, self.body, payloads))


@dataclass(frozen=True, slots=True)
class MessageReading:
    """The values of a message, its parts by content id and its envelope; nothing is verified yet.

    `make_units` returns its units with the payloads that it is given.
    """

    header: MessageHeader
    manifest: tuple[ManifestReference, ...]
    parts: Mapping[str, MimePart]
    envelope_octets: bytes
    make_units: Callable[[tuple[Payload, ...]], tuple[Unit, ...]]


@dataclass(frozen=True, slots=True)
class ReplyAddress:
    """The data for an answer to a refused message: its header, and whether it asks for SyncReply."""

    header: MessageHeader
    sync_reply: bool


def read_message(parcel: Parcel, limits: WireLimits) -> UnverifiedMessage:
    """Return a message with its header blocks and its Body; raise GatewayError for a malformed one."""
    return read_related_message(parcel.read_parts(limits), parcel, limits)


def read_related_message(related: RelatedParts, parcel: Parcel, limits: WireLimits) -> UnverifiedMessage:
    """Return a message of which the MIME parts were read; see `read_message`."""
    package = make_package(related, limits)
    blocks = _read_blocks(package.envelope, package.fault)
    with attach_reply_address(blocks):
        check_soap_action(blocks.header, parcel.get_header("SOAPAction"))
        # A Fault beside an ErrorList says no more than that.
        body = read_soap_body(package.envelope.body) if package.fault is None else SoapBodyContent()
        return UnverifiedMessage(package, blocks, body)


def read_signature(message: UnverifiedMessage, policy: str, limits: WireLimits) -> SignatureReading | None:
    """Return the signature of a message as read, None where it has none; no key is used.

    A signature that was not required is read too, and verified: an invalid one indicates tampering. It must
    cover the envelope and every part. Where the header has none, one elsewhere in the envelope is searched
    for, and refused. Raises for a payload that is named but absent.
    """
    check_parts_present(message.body.manifest, message.package.parts)
    root = message.package.envelope.root
    if message.blocks.signature is None and find_signature(root) is None:
        return None
    return read_message_signature(root, message.package.parts, get_signature_policy(policy), limits)


def _read_blocks(envelope: SoapEnvelope, fault: SoapFault | None) -> HeaderBlocks:
    if fault is not None and not _is_error(envelope):
        raise make_fault_error(fault, "/soap:Envelope/soap:Body")
    if envelope.header is None:
        raise GatewayError(HEADER_INVALID, "there is no SOAP Header", "/soap:Envelope")
    return read_header_blocks(envelope.header)


def _is_error(envelope: SoapEnvelope) -> bool:
    """Return whether an envelope is a MessageError with its ErrorList (ebMS 2.0 §4.2.4)."""
    header = envelope.header
    if header is None or header.find(make_eb_name("ErrorList")) is None:
        return False
    return header.findtext(_ACTION) == "MessageError"


@contextmanager
def attach_reply_address(blocks: HeaderBlocks) -> Iterator[None]:
    """Attach the header to a refusal, so that the answer needs no second reading of the envelope."""
    try:
        yield
    except GatewayError as refused:
        refused.message_part = ReplyAddress(blocks.header, blocks.sync_reply)
        raise


def find_fault(parcel: Parcel, limits: WireLimits) -> SoapFault | None:
    """Return the SOAP Fault in a parcel, None when it contains something else."""
    package = open_package(parcel, limits)
    return None if _is_error(package.envelope) else package.fault


@allow_stored_values()
def read_sent_unit(parcel: Parcel, limits: WireLimits) -> SentUnit:
    """Return the content of a parcel that we sent, to compare an answer with its stored octets.

    Nothing is verified: these are our octets, and the certificate may have expired since.
    """
    message = read_message(parcel, limits)
    payloads = collect_payloads(message.body.manifest, message.package.parts)
    units = make_units(MessageContent(message.blocks, message.body, payloads))
    return SentUnit(units[0], _read_own_references(message.blocks.signature))


@allow_stored_values()
def read_sent_header(parcel: Parcel, limits: WireLimits) -> SentUnit:
    """Return the content of a parcel that we sent, without payloads; only its envelope is read."""
    envelope = read_ebms2_envelope(parcel, limits)
    blocks = _read_blocks(envelope, read_fault(envelope))
    units = make_units(MessageContent(blocks, read_soap_body(envelope.body), ()))
    return SentUnit(units[0], _read_own_references(blocks.signature))
