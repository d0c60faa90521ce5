"""ebMS 2.0 with SOAP with Attachments: parcels into units and back.

`open` checks in the order of cost: MIME, XML, SOAP, header, P-Mode, that every payload is
there, then algorithms, whether the signer is the sender, coverage, signature and digests,
and last the certificate path.  What it returns has passed all of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from gateway.agreements import PMode
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
from gateway.model import ErrorSignal, Octets, Unit, UserMessage
from gateway.pki.certificates import Certificate
from gateway.protocols.core import Answer, Context, Opened, Parcel, Sent
from gateway.protocols.ebms2 import answers, signals, signature
from gateway.protocols.ebms2 import package as packaging
from gateway.protocols.ebms2.answers import (
    answerable,
    check_answer,
    check_time_to_live,
    pong,
    receipt,
    status_response,
)
from gateway.protocols.ebms2.compose import NAMESPACES, write
from gateway.protocols.ebms2.header import Blocks, MessageHeader, check_action, check_terms, read_blocks
from gateway.protocols.ebms2.signals import kind_of
from gateway.wire.prescan import Limits
from gateway.wire.soap import Fault, fault_envelope
from gateway.xmlsec.signature import Believe, Signed

__all__ = [
    "address",
    "answerable",
    "answers_at_once",
    "check_answer",
    "check_time_to_live",
    "error",
    "examine",
    "fault",
    "fault_in",
    "kind_of",
    "name",
    "open",
    "payload_digests",
    "pong",
    "receipt",
    "refuse",
    "seal",
    "sent",
    "status_response",
]

name: Final = "ebms2"


@dataclass(frozen=True, slots=True)
class _Message:
    """A message read and not yet believed."""

    package: packaging.Package
    blocks: Blocks
    body: packaging.BodyContent


@dataclass(frozen=True, slots=True)
class _Heard:
    """What is needed to answer a refused message: its header, and whether it asks for SyncReply."""

    header: MessageHeader
    sync_reply: bool


def open(parcel: Parcel, context: Context, expecting: Sent | None = None) -> Opened:
    """Return the units of a parcel, all of them checked.

    `expecting` is what we sent on the connection that brings the parcel; a receipt or an
    error must then belong to it.  Without it, `check_answer` does the same once it is known.
    """
    message = _read(parcel, context.limits)
    with _heard(message.blocks):
        pmode = _agreed(message, context)
        with _receipts_mismatch(message, expecting):
            signed = _verified(
                message, pmode.security.policy, context.limits, _bound(message, pmode, context)
            )
            _check_signer(message, signed, pmode, context)
        opened = _opened(message, signed, pmode, parcel)
    if expecting is not None:
        check_answer(opened, expecting)
    return opened


def examine(parcel: Parcel, policy: str, context: Context) -> Opened:
    """Return the units of a parcel judged by itself: structure, signature and certificate, no agreement.

    A business message or a receipt must be signed; other signals need not be.
    """
    message = _read(parcel, context.limits)
    signed = _verified(message, policy, context.limits)
    kind = kind_of(message.blocks.header)
    if kind in ("UserMessage", "Receipt"):
        signature.check_required(signed)
    if signed is not None:
        context.check_good(signed.certificate, signature.SIGNATURE)
    return _opened(message, signed, None, parcel)


def _read(parcel: Parcel, limits: Limits) -> _Message:
    package = packaging.open_package(parcel, limits)
    if package.fault is not None:
        raise _faulted(package.fault)
    if package.envelope.header is None:
        raise GatewayError(HEADER_INVALID, "there is no SOAP Header", "/soap:Envelope")
    blocks = read_blocks(package.envelope.header)
    with _heard(blocks):
        check_action(blocks.header, parcel.header("SOAPAction"))
        return _Message(package, blocks, packaging.read_body(package.envelope.body))


@contextmanager
def _heard(blocks: Blocks) -> Iterator[None]:
    """Let a refusal carry the header that was read: its answer needs no second reading of the envelope."""
    try:
        yield
    except GatewayError as refused:
        refused.heard = _Heard(blocks.header, blocks.sync_reply)
        raise


def fault_in(parcel: Parcel, limits: Limits) -> Fault | None:
    """Return the SOAP Fault that a parcel carries, None when it carries something else."""
    return packaging.open_package(parcel, limits).fault


def _faulted(fault: Fault) -> GatewayError:
    """Return the problem that a SOAP Fault in answer to our message is."""
    # A Client, MustUnderstand or VersionMismatch fault blames the message, which stays the same.
    final = fault.code.rpartition(":")[2] != "Server"
    detail = f"SOAP Fault {fault.code[:80]}: {fault.text[:300]}"
    return GatewayError(
        REFUSED_FOR_GOOD if final else ANSWER_NOT_UNDERSTOOD, detail, "/soap:Envelope/soap:Body"
    )


def _agreed(message: _Message, context: Context) -> PMode:
    """Return the P-Mode of a message that is for us."""
    header = message.blocks.header
    kind = kind_of(header)
    pmode = _found(message, kind, context)
    if context.party_named(header.receiver.ids[0]) not in context.keys:
        where = "/soap:Envelope/soap:Header/eb:MessageHeader/eb:To/eb:PartyId"
        raise GatewayError(PARTY_UNKNOWN, "this message is for another handler", where)
    return pmode


def _found(message: _Message, kind: str, context: Context) -> PMode:
    header = message.blocks.header
    if kind != "UserMessage":
        return context.agreements.between(header.route, context.now, answers=header.action in answers.ANSWERS)
    pmode = context.agreements.find(header.route, context.now)
    check_terms(message.blocks, pmode)
    return pmode


def _verified(
    message: _Message, policy: str, limits: Limits, believe: Believe | None = None
) -> Signed | None:
    packaging.check_present(message.body.manifest, message.package.parts)
    found = message.blocks.signature is not None
    signed = signature.verify(message.package, policy, limits, signed=found, believe=believe)
    if signed is not None:
        signature.check_coverage(signed, message.body.manifest)
    packaging.check_vouched(message.body.manifest, message.package.parts, signature.signed_parts(signed))
    return signed


def _bound(message: _Message, pmode: PMode, context: Context) -> Believe:
    """Return what refuses a signer that is not the sender: a look at the register, before any digest."""
    sender = message.blocks.header.sender
    forward = sender.ids[0] in pmode.from_party
    pins = pmode.security.certificates if forward else pmode.security.reply_certificates

    def believe(certificate: Certificate) -> None:
        signature.check_pin(certificate, pins)
        context.check_bound(certificate, sender, signature.SIGNATURE)

    return believe


def _check_signer(message: _Message, signed: Signed | None, pmode: PMode, context: Context) -> None:
    """Refuse a message that is not signed though it must be, or by a certificate that is not good now."""
    header = message.blocks.header
    if _must_be_signed(kind_of(header), pmode):
        signature.check_required(signed)
    if signed is None:
        # Without signature the ids of the header are all there is; they must at least be known.
        context.party(header.sender)
        return
    context.check_good(signed.certificate, signature.SIGNATURE)


@contextmanager
def _receipts_mismatch(message: _Message, expecting: Sent | None) -> Iterator[None]:
    """Call a receipt that is expected and not its sender's what it is: no receipt of ours."""
    try:
        yield
    except GatewayError as refused:
        forged = refused.problem in (SIGNATURE_MISSING, SIGNER_MISMATCH)
        if expecting is not None and forged and kind_of(message.blocks.header) == "Receipt":
            raise GatewayError(RECEIPT_MISMATCH, refused.detail, refused.location) from refused
        raise


def _must_be_signed(kind: str, pmode: PMode) -> bool:
    if kind == "Receipt":
        return pmode.reliability.ack_signed == "always" and pmode.reliability.ack_requested != "never"
    return kind == "UserMessage" and pmode.security.sign


def _opened(message: _Message, signed: Signed | None, pmode: PMode | None, parcel: Parcel) -> Opened:
    found = packaging.payloads(message.body.manifest, message.package.parts)
    units = signals.units_of(signals.Content(message.blocks, message.body, found))
    return Opened(units, pmode, signed, parcel, signature.identity(message.package, signed))


def seal(units: tuple[Unit, ...], pmode: PMode | None, context: Context) -> Parcel:
    """Return the parcel that carries `units`, signed as `pmode` says; what rides comes after the first."""
    written = write(units)
    first = units[0]
    found = first.payloads if isinstance(first, UserMessage) else ()
    signed = ""
    if any(signature.must_be_signed(unit, pmode) for unit in units):
        contents = {one.content_id: one.content for one in found}
        signer = context.keys[context.party(first.sender)]
        signed = signature.sign(written.signable, NAMESPACES, contents, signer)
    return packaging.wrap(written.with_signature(signed), found, first.message_id)


def sent(parcel: Parcel, limits: Limits) -> Sent:
    """Return what a parcel of our own says, so that an answer can be held against its stored octets.

    Nothing is verified: these are our octets, and the certificate may have expired since.
    """
    message = _read(parcel, limits)
    found = packaging.payloads(message.body.manifest, message.package.parts)
    units = signals.units_of(signals.Content(message.blocks, message.body, found))
    return Sent(units[0], signature.claimed(message.blocks.signature))


def error(problem: GatewayError, ref: Unit | Parcel, context: Context) -> ErrorSignal | None:
    """Return the MessageError that tells the sender of `ref` its problem (ebMS 2.0 §4.2).

    None when there is none to send: the problem has no code, `ref` is itself an answer, or
    its header cannot be read well enough to know whom to tell.
    """
    if not isinstance(ref, Parcel):
        return answers.error(problem, ref, context)
    header = address(ref, context.limits)
    return None if header is None else answers.error(problem, header, context)


def address(parcel: Parcel, limits: Limits) -> MessageHeader | None:
    """Return the MessageHeader of a refused parcel where it can be read, else None."""
    return packaging.find_message_header(parcel, limits)[0]


def fault(problem: GatewayError) -> Answer:
    """Return the SOAP Fault of a problem, with its HTTP status."""
    row = problem.problem
    words = row.title if row.ours else problem.detail
    code = row.soap if row.soap in ("Client", "Server", "MustUnderstand", "VersionMismatch") else "Client"
    octets = fault_envelope(Fault(code, f"{row.id} {words}"))
    return Answer(row.http or 500, Parcel({"Content-Type": packaging.CONTENT_TYPE}, Octets(octets)))


def refuse(problem: GatewayError, parcel: Parcel, context: Context) -> Answer:
    """Return how a refused parcel is answered: by an ErrorList, a SOAP Fault, or by silence.

    A header that must be understood and is not gets the Fault of SOAP 1.1 §4.4; so does
    whatever leaves us without a sender to address.
    """
    header, sync_reply = _whom(problem, parcel, context.limits)
    if header is not None and not answerable(header):
        return Answer(204)
    signal = None if header is None else answers.error(problem, header, context)
    if header is None or signal is None or problem.problem is NOT_UNDERSTOOD:
        return fault(problem)
    pmode = _pmode_of(header, context)
    try:
        sealed = seal((signal,), pmode, context)
        return Answer(200, sealed, signal, pmode, sync_reply or _synchronous(pmode))
    except GatewayError:
        # Without a key there is no signed ErrorList; the sender shall hear the first problem all the same.
        return fault(problem)


def _whom(problem: GatewayError, parcel: Parcel, limits: Limits) -> tuple[MessageHeader | None, bool]:
    """Return the header by which a refused parcel is answered, and whether it asks for SyncReply."""
    if isinstance(problem.heard, _Heard):
        return problem.heard.header, problem.heard.sync_reply
    return packaging.find_message_header(parcel, limits)


def _pmode_of(header: MessageHeader, context: Context) -> PMode | None:
    """Return a P-Mode between the parties of a refused message, if there is any."""
    try:
        return context.agreements.between(header.route, context.now, answers=False)
    except GatewayError:
        return None


def payload_digests(opened: Opened) -> dict[str, str]:
    """Return the SHA-256 of payloads, by content id, as far as the signature was verified with it."""
    return signature.payload_digests(opened.signed)


def answers_at_once(unit: Unit, pmode: PMode | None) -> bool:
    """Return whether signals about `unit` go into the HTTP answer (ebMS 2.0 §4.3), not by a POST of ours."""
    return bool(getattr(unit, "sync_reply", False)) or _synchronous(pmode)


def _synchronous(pmode: PMode | None) -> bool:
    return pmode is None or pmode.sync_reply_mode in ("mshSignalsOnly", "signalsOnly", "signalsAndResponse")
