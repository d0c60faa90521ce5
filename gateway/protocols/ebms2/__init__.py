"""ebMS 2.0 with SOAP with Attachments: parcels to units and back.

`open` checks in the order of cost: MIME, XML, SOAP, header, P-Mode, presence of every
payload, then algorithms, whether the signer is the sender, coverage, signature and digests,
and last the certificate path. The units that it returns have passed all checks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

from gateway.agreements import ForwardingRule, PMode
from gateway.errors import (
    ANSWER_NOT_UNDERSTOOD,
    HEADER_INVALID,
    NOT_UNDERSTOOD,
    PARTY_UNKNOWN,
    RECEIPT_MISMATCH,
    REFUSED_FOR_GOOD,
    SIGNATURE_MISSING,
    SIGNER_MISMATCH,
    GatewayError,
)
from gateway.message_model import ErrorSignal, MemoryBody, Unit, UserMessage
from gateway.pki import Certificate
from gateway.protocols.core import (
    OpenedMessage,
    Parcel,
    ProtocolContext,
    RejectionResponse,
    SentUnit,
    join_unwrapped_parts,
)
from gateway.protocols.ebms2 import (
    answer_signals,
    compressed_payloads,
    encrypted_payloads,
    hop_messages,
    message_signature,
    message_units,
    packaging,
)
from gateway.protocols.ebms2.answer_signals import (
    check_answer,
    check_time_to_live,
    is_answerable,
    make_pong,
    make_receipt,
    make_status_response,
)
from gateway.protocols.ebms2.delivery_failure import make_delivery_failure
from gateway.protocols.ebms2.envelope_writer import NAMESPACES, write_envelope
from gateway.protocols.ebms2.header_blocks import (
    HeaderBlocks,
    MessageHeader,
    check_agreed_terms,
    check_soap_action,
    read_header_blocks,
)
from gateway.protocols.ebms2.hop_messages import make_hop_receipt, seal_hop_signal, write_onward_parcel
from gateway.protocols.ebms2.message_order import require_agreed_order
from gateway.protocols.ebms2.message_units import get_unit_kind
from gateway.wire import SoapFault, WireLimits, write_fault_envelope
from gateway.xmlsec import CertificateCheck, PartDecryption, VerifiedSignature

__all__ = [
    "check_answer",
    "check_time_to_live",
    "collect_payload_digests",
    "find_fault",
    "find_message_header",
    "get_unit_kind",
    "has_synchronous_answer",
    "is_answerable",
    "make_delivery_failure",
    "make_error_signal",
    "make_fault_response",
    "make_hop_receipt",
    "make_pong",
    "make_receipt",
    "make_status_response",
    "name",
    "open",
    "read_sent_unit",
    "reject_parcel",
    "seal",
    "seal_hop_signal",
    "verify_parcel",
    "write_onward_parcel",
]

name: Final = "ebms2"


@dataclass(frozen=True, slots=True)
class _UnverifiedMessage:
    """A message that is read but not yet verified."""

    package: packaging.MessagePackage
    blocks: HeaderBlocks
    body: packaging.SoapBodyContent


@dataclass(frozen=True, slots=True)
class _ReplyAddress:
    """The data for an answer to a refused message: its header, and whether it asks for SyncReply."""

    header: MessageHeader
    sync_reply: bool


def open(parcel: Parcel, context: ProtocolContext, expecting: SentUnit | None = None) -> OpenedMessage:
    """Return the units of a parcel after all checks; raise GatewayError.

    `expecting` is the unit that we sent on the connection of this parcel; a receipt or an
    error must then belong to it. Without it, call `check_answer` when the unit is known.
    """
    message = _read_message(parcel, context.limits)
    with _attach_reply_address(message.blocks):
        onward = hop_messages.find_onward_rule(message.blocks.header, context)
        if hop_messages.is_hop_signal(message.blocks, context):
            opened = _open_hop_signal(message, parcel, context, expecting)
        elif onward is not None:
            opened = _open_passing_message(message, (parcel, onward), context, expecting)
        else:
            opened = _open_agreed_message(message, parcel, context, expecting)
    if expecting is not None:
        check_answer(opened, expecting)
    return opened


def _open_agreed_message(
    message: _UnverifiedMessage, parcel: Parcel, context: ProtocolContext, expecting: SentUnit | None
) -> OpenedMessage:
    """Return a message to us under an agreement of ours."""
    pmode = _match_addressed_pmode(message, context)
    secret = _read_encrypted_parts(message, pmode, context)
    with _map_receipt_mismatch(message, expecting):
        signed = _verify_signature(
            message,
            pmode.security.policy,
            context.limits,
            _build_signer_check(message, pmode, context, secret=bool(secret)),
            secret.list_decryptions(),
        )
        _check_signer_validity(message, signed, pmode, context)
    return _make_opened_message(message, (signed, secret), pmode, parcel, context.limits)


def _open_hop_signal(
    message: _UnverifiedMessage, parcel: Parcel, context: ProtocolContext, expecting: SentUnit | None
) -> OpenedMessage:
    """Return a signal of another handler on the way, signed unless it is on the connection of our own."""
    with _map_receipt_mismatch(message, expecting):
        signed = _verify_party_signature(message, context, required=expecting is None)
    return _make_opened_message(
        message, (signed, encrypted_payloads.EncryptedParts({}, context)), None, parcel, context.limits
    )


def _open_passing_message(
    message: _UnverifiedMessage,
    passing: tuple[Parcel, ForwardingRule],
    context: ProtocolContext,
    expecting: SentUnit | None,
) -> OpenedMessage:
    """Return a message for another handler, verified as far as an intermediary may.

    It must be signed by its From party, as that party is registered here. A signal on the connection
    of our own needs no signature. Its agreement is between others, and is not looked at.
    """
    parcel, onward = passing
    header = message.blocks.header
    hop_messages.check_passage(header, onward, context)
    signed = _verify_party_signature(message, context, required=expecting is None or not header.is_signal)
    opened = _make_opened_message(
        message, (signed, encrypted_payloads.EncryptedParts({}, context)), None, parcel, context.limits
    )
    return replace(opened, onward=onward)


def _leave_encrypted(_is_genuine: object) -> None:
    """Leave a payload as it is: an intermediary has no key for it."""


def _verify_party_signature(
    message: _UnverifiedMessage, context: ProtocolContext, *, required: bool
) -> VerifiedSignature | None:
    """Return the signature of the registered From party, by the strict policy.

    The digests of encrypted payloads are left to the To party.
    """
    sender = message.blocks.header.sender

    def check_signer_certificate(certificate: Certificate) -> None:
        context.check_certificate_party(certificate, sender, message_signature.SIGNATURE)

    # A message is signed before it is encrypted: only the To party can compute those digests.
    named = encrypted_payloads.find_encrypted_parts(message.body.manifest, message.package.parts)
    unread = dict.fromkeys(named, _leave_encrypted)
    signed = _verify_signature(message, "strict", context.limits, check_signer_certificate, unread)
    if required:
        message_signature.require_signature(signed)
    if signed is None:
        context.get_party_name(sender)
    else:
        context.check_signing_certificate(signed.certificate, message_signature.SIGNATURE)
    return signed


def verify_parcel(
    parcel: Parcel, policy: str, context: ProtocolContext, encryption: str = "strict"
) -> OpenedMessage:
    """Return the units of a parcel verified without agreement: structure, signature and certificate.

    A business message or a receipt must be signed; other signals need no signature. Encrypted
    payloads are decrypted with the keys of the context, where it has any, by the policy
    `encryption`; a payload that was compressed stays so.
    """
    message = _read_message(parcel, context.limits)
    named = message.body.manifest if context.encryption.keys else ()
    secret = encrypted_payloads.read_encrypted_parts(named, message.package.parts, encryption, context)
    signed = _verify_signature(message, policy, context.limits, None, secret.list_decryptions())
    kind = get_unit_kind(message.blocks.header)
    if kind in ("UserMessage", "Receipt"):
        message_signature.require_signature(signed)
    if signed is not None:
        context.check_signing_certificate(signed.certificate, message_signature.SIGNATURE)
    return _make_opened_message(message, (signed, secret), None, parcel, context.limits)


def _read_message(parcel: Parcel, limits: WireLimits) -> _UnverifiedMessage:
    package = packaging.open_package(parcel, limits)
    if package.fault is not None:
        raise _make_fault_error(package.fault)
    if package.envelope.header is None:
        raise GatewayError(HEADER_INVALID, "there is no SOAP Header", "/soap:Envelope")
    blocks = read_header_blocks(package.envelope.header)
    with _attach_reply_address(blocks):
        check_soap_action(blocks.header, parcel.get_header("SOAPAction"))
        return _UnverifiedMessage(package, blocks, packaging.read_soap_body(package.envelope.body))


@contextmanager
def _attach_reply_address(blocks: HeaderBlocks) -> Iterator[None]:
    """Attach the header to a refusal, so that the answer needs no second reading of the envelope."""
    try:
        yield
    except GatewayError as refused:
        refused.heard = _ReplyAddress(blocks.header, blocks.sync_reply)
        raise


def find_fault(parcel: Parcel, limits: WireLimits) -> SoapFault | None:
    """Return the SOAP Fault in a parcel, None when it contains something else."""
    return packaging.open_package(parcel, limits).fault


def _make_fault_error(fault: SoapFault) -> GatewayError:
    """Return the problem of a SOAP Fault that answers our message."""
    # A Client, MustUnderstand or VersionMismatch fault concerns the message, which does not change.
    final = fault.code.rpartition(":")[2] != "Server"
    detail = f"SOAP Fault {fault.code[:80]}: {fault.text[:300]}"
    return GatewayError(
        REFUSED_FOR_GOOD if final else ANSWER_NOT_UNDERSTOOD, detail, "/soap:Envelope/soap:Body"
    )


def _match_addressed_pmode(message: _UnverifiedMessage, context: ProtocolContext) -> PMode:
    """Return the P-Mode of a message that is addressed to us."""
    header = message.blocks.header
    kind = get_unit_kind(header)
    pmode = _match_pmode(message, kind, context)
    if context.find_party_name(header.receiver.ids[0]) not in context.keys:
        where = "/soap:Envelope/soap:Header/eb:MessageHeader/eb:To/eb:PartyId"
        raise GatewayError(PARTY_UNKNOWN, "this message is for another handler", where)
    return pmode


def _match_pmode(message: _UnverifiedMessage, kind: str, context: ProtocolContext) -> PMode:
    header = message.blocks.header
    if kind != "UserMessage":
        return context.agreements.match_signal_pmode(
            header.route, context.now, answers=header.action in answer_signals.ANSWERS
        )
    pmode = context.agreements.match_pmode(header.route, context.now)
    check_agreed_terms(message.blocks, pmode)
    return pmode


def _read_encrypted_parts(
    message: _UnverifiedMessage, pmode: PMode, context: ProtocolContext
) -> encrypted_payloads.EncryptedParts:
    """Return the encrypted payloads of a business message; a signal has none."""
    business = get_unit_kind(message.blocks.header) == "UserMessage"
    named = message.body.manifest if business else ()
    return encrypted_payloads.read_agreed_parts(named, message.package.parts, pmode.encryption, context)


def _verify_signature(
    message: _UnverifiedMessage,
    policy: str,
    limits: WireLimits,
    believe: CertificateCheck | None = None,
    encrypted: Mapping[str, PartDecryption] | None = None,
) -> VerifiedSignature | None:
    packaging.check_parts_present(message.body.manifest, message.package.parts)
    found = message.blocks.signature is not None
    signed = message_signature.verify_package_signature(
        message.package, policy, limits, signed=found, believe=believe, encrypted=encrypted
    )
    if signed is not None:
        message_signature.check_payload_coverage(signed, message.body.manifest)
    packaging.reject_unnamed_parts(
        message.body.manifest, message.package.parts, message_signature.list_signed_parts(signed)
    )
    return signed


def _build_signer_check(
    message: _UnverifiedMessage, pmode: PMode, context: ProtocolContext, *, secret: bool
) -> CertificateCheck:
    """Return a check that the signer is the sender, by the register, before any digest is computed.

    For a `secret` message its certificate must be valid too, before anything is decrypted.
    """
    sender = message.blocks.header.sender
    forward = sender.ids[0] in pmode.from_party
    pins = pmode.security.certificates if forward else pmode.security.reply_certificates

    def check_signer_certificate(certificate: Certificate) -> None:
        message_signature.check_pinned_certificate(certificate, pins)
        context.check_certificate_party(certificate, sender, message_signature.SIGNATURE)
        if secret:
            context.check_signing_certificate(certificate, message_signature.SIGNATURE)

    return check_signer_certificate


def _check_signer_validity(
    message: _UnverifiedMessage, signed: VerifiedSignature | None, pmode: PMode, context: ProtocolContext
) -> None:
    """Raise for a message without a required signature, or with a certificate that is not valid now."""
    header = message.blocks.header
    if _needs_sender_signature(get_unit_kind(header), pmode):
        message_signature.require_signature(signed)
    if signed is None:
        # Without signature only the ids of the header identify the sender; they must at least be known.
        context.get_party_name(header.sender)
        return
    context.check_signing_certificate(signed.certificate, message_signature.SIGNATURE)


@contextmanager
def _map_receipt_mismatch(message: _UnverifiedMessage, expecting: SentUnit | None) -> Iterator[None]:
    """Report an expected receipt that its sender did not sign as a receipt mismatch."""
    try:
        yield
    except GatewayError as refused:
        forged = refused.problem in (SIGNATURE_MISSING, SIGNER_MISMATCH)
        if expecting is not None and forged and get_unit_kind(message.blocks.header) == "Receipt":
            raise GatewayError(RECEIPT_MISMATCH, refused.detail, refused.location) from refused
        raise


def _needs_sender_signature(kind: str, pmode: PMode) -> bool:
    if kind == "Receipt":
        return pmode.reliability.ack_signed == "always" and pmode.reliability.ack_requested != "never"
    return kind == "UserMessage" and pmode.security.sign


def _make_opened_message(
    message: _UnverifiedMessage,
    verified: tuple[VerifiedSignature | None, encrypted_payloads.EncryptedParts],
    pmode: PMode | None,
    parcel: Parcel,
    limits: WireLimits,
) -> OpenedMessage:
    signed, secret = verified
    if signed is None:
        secret.decrypt_unsigned()
    parts, unwrapped = (
        secret.replace_parts(message.package.parts),
        secret.list_unwrapped(message.package.parts),
    )
    if pmode is not None and pmode.compresses_payloads:
        parts, expanded = compressed_payloads.expand_parts(message.body.manifest, parts, pmode, limits.body)
        unwrapped = join_unwrapped_parts(unwrapped, expanded)
    found = packaging.collect_payloads(message.body.manifest, parts)
    units = message_units.make_units(message_units.MessageContent(message.blocks, message.body, found))
    identity = message_signature.compute_message_identity(message.package, signed)
    return OpenedMessage(units, pmode, signed, parcel, identity, unwrapped)


def seal(units: tuple[Unit, ...], pmode: PMode | None, context: ProtocolContext) -> Parcel:
    """Return the parcel that contains `units`, signed by `pmode`; bundled units follow the first."""
    first = units[0]
    if isinstance(first, UserMessage) and pmode is not None:
        require_agreed_order(first, pmode)
    written = write_envelope(units)
    found = first.payloads if isinstance(first, UserMessage) else ()
    if pmode is not None and pmode.compresses_payloads:
        found = compressed_payloads.compress_payloads(found)
    signed = ""
    if any(message_signature.needs_signature(unit, pmode) for unit in units):
        contents = {one.content_id: one.content for one in found}
        signer = context.keys[context.get_party_name(first.sender)]
        signed = message_signature.sign_envelope(written.signable_octets, NAMESPACES, contents, signer)
    if found and pmode is not None and pmode.encryption is not None:
        found = encrypted_payloads.encrypt_payloads(found, first.receiver, pmode.encryption, context)
    return packaging.build_parcel(written.with_signature(signed), found, first.message_id)


def read_sent_unit(parcel: Parcel, limits: WireLimits) -> SentUnit:
    """Return the content of a parcel that we sent, to compare an answer with its stored octets.

    Nothing is verified: these are our octets, and the certificate may have expired since.
    """
    message = _read_message(parcel, limits)
    found = packaging.collect_payloads(message.body.manifest, message.package.parts)
    units = message_units.make_units(message_units.MessageContent(message.blocks, message.body, found))
    return SentUnit(units[0], message_signature.read_own_references(message.blocks.signature))


def make_error_signal(
    problem: GatewayError, ref: Unit | Parcel, context: ProtocolContext
) -> ErrorSignal | None:
    """Return the MessageError that reports a problem to the sender of `ref` (ebMS 2.0 §4.2).

    None when there is none to send: the problem has no code, `ref` is itself an answer, or
    its header is too malformed to identify the sender.
    """
    if not isinstance(ref, Parcel):
        return answer_signals.make_error_signal(problem, ref, context)
    header = find_message_header(ref, context.limits)
    return None if header is None else answer_signals.make_error_signal(problem, header, context)


def find_message_header(parcel: Parcel, limits: WireLimits) -> MessageHeader | None:
    """Return the MessageHeader of a refused parcel if it can be read, else None."""
    return packaging.find_message_header(parcel, limits)[0]


def make_fault_response(problem: GatewayError) -> RejectionResponse:
    """Return the SOAP Fault of a problem, with its HTTP status."""
    row = problem.problem
    words = row.title if row.ours else problem.detail
    code = row.soap if row.soap in ("Client", "Server", "MustUnderstand", "VersionMismatch") else "Client"
    octets = write_fault_envelope(SoapFault(code, f"{row.id} {words}"))
    return RejectionResponse(
        row.http or 500, Parcel({"Content-Type": packaging.CONTENT_TYPE}, MemoryBody(octets))
    )


def reject_parcel(problem: GatewayError, parcel: Parcel, context: ProtocolContext) -> RejectionResponse:
    """Return the answer to a refused parcel: an ErrorList, a SOAP Fault, or an empty response.

    A mandatory header that is not understood is answered with the Fault of SOAP 1.1 §4.4; so
    is any message without an identifiable sender.
    """
    header, sync_reply = _find_reply_address(problem, parcel, context.limits)
    answer = _answer_refusal(problem, header, sync_reply, context)
    return answer if header is None else replace(answer, sender=header.sender)


def _answer_refusal(
    problem: GatewayError, header: MessageHeader | None, sync_reply: bool, context: ProtocolContext
) -> RejectionResponse:
    if header is not None and not is_answerable(header):
        return RejectionResponse(204)
    signal = None if header is None else answer_signals.make_error_signal(problem, header, context)
    if signal is not None and header is not None and hop_messages.find_onward_rule(header, context):
        # The To party has not seen the message: who refuses it is the handler on the way.
        signal = replace(signal, sender=context.own_party or signal.sender)
    if header is None or signal is None or problem.problem is NOT_UNDERSTOOD:
        return make_fault_response(problem)
    pmode = _find_reply_pmode(header, context)
    try:
        sealed = seal((signal,), pmode, context)
        return RejectionResponse(200, sealed, signal, pmode, sync_reply or _has_sync_reply_mode(pmode))
    except GatewayError:
        # Without a key no ErrorList can be signed; the first problem is reported to the sender nevertheless.
        return make_fault_response(problem)


def _find_reply_address(
    problem: GatewayError, parcel: Parcel, limits: WireLimits
) -> tuple[MessageHeader | None, bool]:
    """Return the header for the answer to a refused parcel, and whether it asks for SyncReply."""
    if isinstance(problem.heard, _ReplyAddress):
        return problem.heard.header, problem.heard.sync_reply
    return packaging.find_message_header(parcel, limits)


def _find_reply_pmode(header: MessageHeader, context: ProtocolContext) -> PMode | None:
    """Return a P-Mode between the parties of a refused message, if there is one."""
    try:
        return context.agreements.match_signal_pmode(header.route, context.now, answers=False)
    except GatewayError:
        return None


def collect_payload_digests(opened: OpenedMessage) -> dict[str, str]:
    """Return the SHA-256 of payloads by content id, if the signature was verified with it."""
    # What was signed of a compressed payload is not its content.
    packed = {one.content_id for one in opened.unwrapped if one.compressed}
    found = message_signature.collect_payload_digests(opened.signed)
    return {name: digest for name, digest in found.items() if name not in packed}


def has_synchronous_answer(unit: Unit, pmode: PMode | None) -> bool:
    """Return whether signals about `unit` go into the HTTP answer (ebMS 2.0 §4.3), not into a new POST."""
    if pmode is not None and pmode.sync_reply_mode == "responseOnly" and isinstance(unit, UserMessage):
        # The answer has room for the response only; the receipt has a POST of its own.
        return False
    return bool(getattr(unit, "sync_reply", False)) or _has_sync_reply_mode(pmode)


def _has_sync_reply_mode(pmode: PMode | None) -> bool:
    return pmode is None or pmode.has_signals_in_answer
