"""Reads fragments of a large message, verifies them and what they are joined to (ebMS 3.0 part 2 §4.3.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from gateway.errors import FRAGMENT_MALFORMED, OUR_MISTAKE, GatewayError
from gateway.message_model import Body, UserMessage
from gateway.protocols.as4.fragment_header import Fragment
from gateway.protocols.as4.fragment_joining import JoinTerms, check_member, join_pieces, tally_fragment
from gateway.protocols.as4.header_values import SIGNATURE
from gateway.protocols.as4.message_reading import (
    make_opened_message,
    read_message,
    require_signature,
    verify_signature,
)
from gateway.protocols.core import OpenedMessage, Parcel, ProtocolContext
from gateway.protocols.fragment_values import GroupTally

__all__ = ["join_fragments", "open_fragment", "tally_opened_fragment"]

_HEADER: Final = "/soap12:Envelope/soap12:Header"


def open_fragment(parcel: Parcel, policy: str, context: ProtocolContext) -> Fragment:
    """Return a fragment whose signature covers header, MessageFragment, Body and part; raise GatewayError.

    The certificate of the signature is judged by the context. Whether it is that of the sender is for who
    knows the parties.
    """
    message = read_message(parcel, context.limits)
    if message.fragment is None:
        raise GatewayError(FRAGMENT_MALFORMED, "there is no mf:MessageFragment", _HEADER)
    signed = verify_signature(message, policy, context.limits, None, context.known_certificates)
    require_signature(message, signed)
    opened = make_opened_message(message, signed, None, parcel, context.limits)
    found = make_fragment(opened)
    context.check_signing_certificate(found.signed.certificate, SIGNATURE)
    return found


def make_fragment(opened: OpenedMessage) -> Fragment:
    """Return the fragment in an opened message."""
    unit = opened.unit
    if opened.fragment is None or opened.signed is None or not isinstance(unit, UserMessage):
        raise GatewayError(OUR_MISTAKE, "this message is no signed fragment")
    (piece,) = unit.payloads
    return Fragment(opened.fragment, replace(unit, payloads=()), piece.octets, opened.signed, opened.identity)


def tally_opened_fragment(
    tally: GroupTally | None, opened: OpenedMessage, most: int, *, known: bool
) -> GroupTally:
    """Return what is known of a group with one more fragment; raise GW209, GW351 for a contradiction.

    `most` are the octets that all pieces may have, and the message. `known` says that a fragment of this
    number came before.
    """
    fragment, terms = make_fragment(opened), opened.pmode.splitting if opened.pmode is not None else None
    if terms is None:
        raise GatewayError(OUR_MISTAKE, "nothing is agreed of splitting")
    check_member(fragment, tally)
    agreed = JoinTerms(terms.fragment_size, terms.routing_properties)
    return tally_fragment(tally, fragment, agreed, most, known=known)


def join_fragments(tally: GroupTally, pieces: Sequence[bytes | Body], most: int) -> Parcel:
    """Return the message that was split, of at most `most` octets; raise GW352. Nothing is held of it."""
    return join_pieces(tally, pieces, most)
