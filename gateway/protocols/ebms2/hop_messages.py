"""Messages that an intermediary forwards, and signals between two neighbouring handlers.

A message is forwarded with every octet that its signature covers (ebMS 2.0 chapter 10). Only header
blocks for the next handler are removed and added: SyncReply, and AckRequested for the actor nextMSH.
The signature does not cover them. So each handler on the way may write them, and their values have no
effect beyond this handler.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Final

from gateway.agreements import ForwardingRule
from gateway.errors import FORWARDING_LOOP, FORWARDING_REFUSED, OUR_MISTAKE, GatewayError
from gateway.message_model import (
    NEXT_MSH,
    AckRequest,
    DigestReference,
    ErrorSignal,
    Receipt,
    UserMessage,
)
from gateway.protocols.core import OpenedMessage, Parcel, ProtocolContext
from gateway.protocols.ebms2.header_blocks import (
    HeaderBlocks,
    MessageHeader,
    read_actor,
    read_header_blocks,
)
from gateway.protocols.ebms2.message_reading import sign_envelope
from gateway.protocols.ebms2.message_sealing import (
    NAMESPACES,
    write_ack_request,
    write_envelope,
    write_sync_reply,
)
from gateway.protocols.ebms2.message_units import get_unit_kind
from gateway.protocols.ebms2.packaging import MessagePackage, build_parcel, open_package, rebuild_parcel
from gateway.protocols.element_reader import make_eb_name
from gateway.protocols.signed_values import to_model_reference
from gateway.wire import EB, SOAP11, ByteRange, TreeByteRanges, WireLimits, write_attribute

_HEADER: Final = "/soap:Envelope/soap:Header/eb:MessageHeader"
_MESSAGE_HEADER, _SYNC_REPLY, _ACK_REQUESTED = (
    make_eb_name("MessageHeader"),
    make_eb_name("SyncReply"),
    make_eb_name("AckRequested"),
)
#: A block that is put into a foreign envelope brings its namespaces along.
_NAMESPACE_DECLARATIONS: Final = write_attribute("xmlns:eb", EB) + write_attribute("xmlns:soap", SOAP11)


def match_forwarding_rule(header: MessageHeader, context: ProtocolContext) -> ForwardingRule | None:
    """Return the rule by which a message for another handler goes on; None for any other message."""
    if context.find_party_name(header.receiver.ids[0]) in context.signers:
        return None
    return context.forwarding.find_rule(header.receiver, header.service, header.action)


def is_hop_signal(blocks: HeaderBlocks, context: ProtocolContext) -> bool:
    """Return whether a signal is between us and another handler on the way, outside of any agreement.

    These are an Acknowledgment of the next handler, to any To party; and, addressed to us by a sender that is
    not a party of its agreement, a MessageError of a next handler or a StatusRequest of a party whose
    messages we forward. From other senders the agreement of these two must be known.
    """
    header = blocks.header
    unit_kind = get_unit_kind(header)
    if unit_kind == "Receipt":
        return blocks.hop_acknowledgment is not None and blocks.acknowledgment is None
    if unit_kind not in ("ErrorSignal", "StatusRequest"):
        return False
    if context.find_party_name(header.receiver.ids[0]) not in context.signers:
        return False
    sender_name = context.find_party_name(header.sender.ids[0])
    forwarding_table = context.forwarding
    allowed_senders = (
        forwarding_table.next_parties if unit_kind == "ErrorSignal" else forwarding_table.senders
    )
    return sender_name in allowed_senders and not context.agreements.is_member(
        header.agreement, header.sender
    )


def check_forwarding_allowed(header: MessageHeader, rule: ForwardingRule, context: ProtocolContext) -> None:
    """Raise for a message that its sender may not send this way (GW317), or that would return (GW318)."""
    sender_name = context.get_party_name(header.sender)
    if sender_name == rule.next_party or sender_name in context.signers:
        detail = f"a message of {sender_name[:80]} would come back to its sender"
        raise GatewayError(FORWARDING_LOOP, detail, f"{_HEADER}/eb:To/eb:PartyId")
    if sender_name not in rule.senders:
        detail = f"{sender_name[:80]} may not send to {header.receiver.ids[0].value[:80]!r} by this handler"
        raise GatewayError(FORWARDING_REFUSED, detail, f"{_HEADER}/eb:From/eb:PartyId")


def make_hop_receipt(opened: OpenedMessage, context: ProtocolContext) -> Receipt | None:
    """Return our Acknowledgment as the next handler (ebMS 2.0 §6.3.2), None where none is requested."""
    message = opened.unit
    ack_request = message.hop_ack_requested if isinstance(message, UserMessage) else None
    if ack_request is None:
        return None
    signed_references = (
        opened.verified_signature.references
        if ack_request.signed and opened.verified_signature is not None
        else ()
    )
    references: tuple[DigestReference, ...] = tuple(
        to_model_reference(reference) for reference in signed_references
    )
    return Receipt(
        message_id=context.make_message_id(),
        conversation_id=message.conversation_id,
        sender=context.own_party or message.receiver,
        receiver=message.sender,
        agreement=message.agreement,
        timestamp=context.now,
        ref_to_message_id=message.message_id,
        received_at=context.now,
        references=references,
        actor=NEXT_MSH,
    )


def seal_hop_signal(unit: Receipt | ErrorSignal, context: ProtocolContext, *, is_signed: bool) -> Parcel:
    """Return the parcel of our signal that no agreement governs; if `is_signed`, signed with our only key."""
    unsigned_envelope = write_envelope((unit,))
    signature = ""
    if is_signed:
        (signer,) = context.signers.values()
        signature = sign_envelope(unsigned_envelope.signable_octets, NAMESPACES, {}, signer).text
    return build_parcel(unsigned_envelope.with_signature(signature), (), unit.message_id)


def rewrite_for_next_hop(parcel: Parcel, rule: ForwardingRule, limits: WireLimits) -> Parcel:
    """Return the parcel for the next handler: the same message, with header blocks for that handler.

    Requests of the previous handler to us are removed, and those of the rule are inserted. Every
    other octet of the envelope, and every other part, stays as it came. Where there is nothing to
    change, the parcel is returned as it is.
    """
    package = open_package(parcel, limits)
    ranges = TreeByteRanges(package.envelope_octets, package.envelope.root)
    removed_ranges = sorted(
        _list_removed_ranges(package, ranges, rule), key=lambda byte_range: byte_range.start
    )
    insertion_offset, inserted_blocks = (
        _find_insertion_offset(package, ranges),
        _write_inserted_blocks(package, rule),
    )
    if not removed_ranges and not inserted_blocks:
        return Parcel({name: parcel.get_header(name) for name in ("Content-Type", "SOAPAction")}, parcel.body)
    replacements = sorted(
        [(byte_range.start, byte_range.end, b"") for byte_range in removed_ranges]
        + [(insertion_offset, insertion_offset, inserted_blocks)]
    )
    pieces: list[bytes] = []
    copied_end = 0
    for cut_start, cut_end, new_octets in replacements:
        pieces += (package.envelope_octets[copied_end:cut_start], new_octets)
        copied_end = cut_end
    envelope_octets = b"".join((*pieces, package.envelope_octets[copied_end:]))
    return rebuild_parcel(
        package, envelope_octets, parcel, f"{hashlib.sha256(envelope_octets).hexdigest()[:32]}@onward"
    )


def _list_removed_ranges(
    package: MessagePackage, ranges: TreeByteRanges, rule: ForwardingRule
) -> Iterator[ByteRange]:
    """Yield the ranges of the header blocks that were for us only."""
    for block in package.envelope.header_blocks:
        is_ack_request = block.tag == _ACK_REQUESTED and read_actor(block) == NEXT_MSH
        if is_ack_request or (block.tag == _SYNC_REPLY and rule.sync_reply == "remove"):
            byte_range = ranges.find_element_range(block)
            if byte_range is not None:
                yield byte_range


def _find_insertion_offset(package: MessagePackage, ranges: TreeByteRanges) -> int:
    """Return the offset at which blocks are inserted: directly after eb:MessageHeader."""
    (header,) = (block for block in package.envelope.header_blocks if block.tag == _MESSAGE_HEADER)
    byte_range = ranges.find_element_range(header)
    if byte_range is None:
        raise GatewayError(OUR_MISTAKE, "the header is not in its own envelope", _HEADER)
    return byte_range.end


def _write_inserted_blocks(package: MessagePackage, rule: ForwardingRule) -> bytes:
    """Return the blocks for the next handler that `rule` adds to a business message; none for a signal."""
    blocks = read_header_blocks(package.envelope.root[0])
    block_text = ""
    if blocks.header.is_signal:
        return b""
    if rule.sync_reply == "add" and not blocks.sync_reply:
        block_text += write_sync_reply(_NAMESPACE_DECLARATIONS)
    if rule.acknowledgment != "never":
        ack_request = AckRequest(signed=rule.acknowledgment == "signed")
        block_text += write_ack_request(ack_request, NEXT_MSH, _NAMESPACE_DECLARATIONS)
    return block_text.encode()
