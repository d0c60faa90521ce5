"""Splits a source message into fragments, each a signed message of AS4 (ebMS 3.0 part 2 §4.3.1).

The source message is cut as octets, without regard to their content. Its MIME header is not among them: the
first fragment repeats it, with the number of fragments and the sizes. Only the envelopes are held in memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace

from gateway.agreements import MOST_FRAGMENTS, PMode
from gateway.errors import HEADER_INVALID, MEDIA_TYPE_REFUSED, NOT_SUPPORTED, TOO_LARGE, GatewayError
from gateway.message_model import Body, SlicedBody, UserMessage, as_body
from gateway.pki import Certificate, Signer
from gateway.protocols.as4.encrypted_parts import encrypt_parts
from gateway.protocols.as4.fragment_header import (
    FRAGMENT_TYPE,
    is_header_value,
    write_fragment_header,
)
from gateway.protocols.as4.header_reader import read_messaging
from gateway.protocols.as4.message_sealing import (
    apply_pmode_terms,
    build_parcel,
    make_parts,
    write_as4_envelope,
)
from gateway.protocols.as4.packaging import check_parts_named, find_messaging, open_as4_package
from gateway.protocols.as4.pmode_matching import require_supported_terms
from gateway.protocols.core import Parcel, ProtocolContext, SentUnit
from gateway.protocols.fragment_values import FragmentHeader, SourceType, SplitPlan, SplitTerms
from gateway.protocols.payload_parts import compress_content, is_expansion_allowed
from gateway.protocols.signed_values import to_model_reference
from gateway.wire import MimePart, WireLimits, parse_media_type
from gateway.xmlsec import SigningToken, SwaAttachment, write_swa_security


def plan_split(parcel: Parcel, terms: SplitTerms, limits: WireLimits) -> SplitPlan:
    """Return how a source message is split; raise GatewayError for a parcel that is none.

    A source message is a business message of AS4 with parts. It is cut as it is, signed or not: by part 2
    §4.4.2 the fragments are signed, and the source message is not. What would expand so far that its
    receiver takes it for a bomb is not compressed, as eDelivery AS4 1.15 §1.5.6.7 permits: the terms of
    the plan say whether it is.
    """
    source, action = _read_source_type(parcel)
    package = open_as4_package(parcel, limits)
    header = read_messaging(find_messaging(package.envelope))
    check_parts_named(header.parts, package.parts)
    if not isinstance(header.unit, UserMessage) or header.bundled_units:
        # Part 2 §4.4.2: a PullRequest is never split; a signal beside the message would not be copied.
        raise GatewayError(NOT_SUPPORTED, "one business message alone is split", "eb3:Messaging")
    message_body = as_body(parcel.get_octets())
    compressed_body = _compress_within_limits(message_body) if terms.compressed else None
    terms = replace(terms, compressed=compressed_body is not None)
    plan = SplitPlan(
        header.unit, source, message_body.octet_count, compressed_body or message_body, terms, action
    )
    if plan.fragment_count > MOST_FRAGMENTS:
        detail = f"there would be {plan.fragment_count} fragments, {MOST_FRAGMENTS} are allowed"
        raise GatewayError(TOO_LARGE, detail, "fragment size")
    return plan


def _compress_within_limits(message_body: Body) -> Body | None:
    """Return the octets compressed, None where they would expand too far."""
    compressed_body = as_body(compress_content(message_body))
    return (
        compressed_body
        if is_expansion_allowed(message_body.octet_count, compressed_body.octet_count)
        else None
    )


def _read_source_type(parcel: Parcel) -> tuple[SourceType, str | None]:
    """Return the values of the Content-Type of a source message, and its action."""
    media_type = parse_media_type(parcel.get_header("Content-Type"))
    parameters = media_type.parameters
    if media_type.name != "multipart/related" or "start" not in parameters:
        detail = "only a multipart/related message with the parameter start is split"
        raise GatewayError(MEDIA_TYPE_REFUSED, detail, "Content-Type")
    description = parcel.get_header("Content-Description") or None
    source = SourceType(
        parameters.get("boundary", ""),
        parameters["start"].strip("<>"),
        parameters.get("start-info"),
        description,
    )
    action = parameters.get("action")
    values = (source.boundary, source.start, source.start_info, description, action)
    if not all(is_header_value(value) for value in values if value is not None):
        raise GatewayError(HEADER_INVALID, "a value of the MIME header cannot be repeated", "Content-Type")
    return source, action


def seal_source(unit: UserMessage, pmode: PMode) -> Parcel:
    """Return a message that is to be split, with its parts as they are: nothing of it is held.

    It is neither signed nor encrypted, as its fragments are, and its parts are not compressed one by one
    (part 2 §4.4.2, eDelivery AS4 1.15 §1.5.6.5 and §1.5.6.7).
    """
    require_supported_terms(pmode)
    unit = apply_pmode_terms(unit, pmode)
    envelope = write_as4_envelope(unit, is_compressed=False)
    return build_parcel(
        envelope.with_security(), make_parts(unit.payloads, is_compressed=False), unit.message_id
    )


def seal_fragment(plan: SplitPlan, number: int, message_id: str, signer: Signer) -> Parcel:
    """Return one fragment, signed and with its own message id; the first one has the number 1."""
    return _seal_piece(plan, number, message_id, signer)


def seal_agreed_fragment(plan: SplitPlan, number: int, pmode: PMode, context: ProtocolContext) -> Parcel:
    """Return one fragment with a new message id, signed and encrypted as the P-Mode says (part 2 §4.4.2)."""
    signer = context.signers[context.get_party_name(plan.unit.sender)]
    message_id, token_kind = context.make_message_id(), pmode.security.token_reference

    def encrypt_piece(part: MimePart, id_suffix: str) -> tuple[str, MimePart]:
        if pmode.encryption is None:
            return "", part
        receiver = plan.unit.receiver
        encryption_elements, (encrypted_part,) = encrypt_parts(
            [part], receiver, pmode.encryption, id_suffix, context
        )
        return encryption_elements, encrypted_part

    return _seal_piece(plan, number, message_id, signer, token_kind, context.issuers, encrypt_piece)


def _seal_piece(
    plan: SplitPlan,
    number: int,
    message_id: str,
    signer: Signer,
    token_kind: str | None = None,
    issuers: tuple[Certificate, ...] = (),
    encrypt_piece: Callable[[MimePart, str], tuple[str, MimePart]] = lambda part, _: ("", part),
) -> Parcel:
    """Return a signed fragment; `encrypt_piece` returns its header elements and the encrypted piece."""
    routing_properties = tuple(
        message_property
        for message_property in plan.unit.properties
        if message_property.name in plan.terms.routing_properties
    )
    unit = replace(plan.unit, message_id=message_id, properties=routing_properties, payloads=())
    envelope = write_as4_envelope(unit, is_compressed=False)
    id_suffix = hashlib.sha256(message_id.encode()).hexdigest()[:32]
    header = _make_fragment_header(plan, number, f"fragment.{message_id}")
    fragment_block = write_fragment_header(header, f"fragment-{id_suffix}")
    fragment_size = plan.terms.fragment_size
    piece_start = (number - 1) * fragment_size
    piece = SlicedBody(plan.octets, piece_start, min(fragment_size, plan.octets.octet_count - piece_start))
    signed_octets = {
        envelope.messaging_id: envelope.messaging.encode(),
        envelope.body_id: envelope.body.encode(),
        f"fragment-{id_suffix}": fragment_block.encode(),
    }
    clear_part = MimePart({"content-type": FRAGMENT_TYPE}, header.content_id, FRAGMENT_TYPE, piece)
    encryption_elements, sent_part = encrypt_piece(clear_part, id_suffix)
    signed_attachment, token = (
        SwaAttachment(FRAGMENT_TYPE, piece),
        SigningToken(f"token-{id_suffix}", token_kind, issuers),
    )
    security = write_swa_security(
        signed_octets, {header.content_id: signed_attachment}, signer, token, encryption_elements
    )
    parcel = build_parcel(envelope.with_security(security.text + fragment_block), [sent_part], message_id)
    return replace(parcel, sent_unit=SentUnit(unit, tuple(map(to_model_reference, security.references))))


def _make_fragment_header(plan: SplitPlan, number: int, content_id: str) -> FragmentHeader:
    """Return the header of one fragment; the first states all that one fragment of a group states."""
    # Part 2 §4.4.2: the group has the name of the source message.
    header = FragmentHeader(content_id, plan.unit.message_id, number)
    if number > 1:
        return header
    return replace(
        header,
        message_size=plan.message_size,
        count=plan.fragment_count,
        source=plan.source,
        action=plan.action,
        compressed_size=plan.octets.octet_count if plan.terms.compressed else None,
    )
