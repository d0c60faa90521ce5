"""Makes the terms of a P-Mode from the channels of its sender and its receiver."""

from __future__ import annotations

from typing import Final

from gateway.agreements.cpa.channel_choice import (
    BoundAction,
    ChannelUse,
    find_pins,
    find_signal_channel,
    list_anchor_pins,
)
from gateway.agreements.cpa.cpa_model import DigitalEnvelope
from gateway.agreements.pmode_values import Encryption, Reliability, Security, TransportTerms

__all__ = [
    "is_persistent",
    "make_encryption",
    "make_reliability",
    "make_security",
    "make_transport",
    "needs_encryption",
    "needs_signature",
    "read_reply_pins",
]

_DEFAULT: Final = Reliability()
_CHOICES: Final = {"always": "always", "never": "never", "perMessage": "per_message"}
_NEXT: Final = "urn:oasis:names:tc:ebxml-msg:actor:nextMSH"


def is_persistent(level: str | None) -> bool:
    """Return whether protection is wanted beyond the connection: by signature or encryption."""
    return level in ("persistent", "transient-and-persistent")


def needs_signature(action: BoundAction, sender: ChannelUse) -> bool:
    """Return whether the messages of an action are signed.

    The business says so. Where it says nothing at all, a described signature is meant.
    """
    terms = action.binding.business
    if terms.non_repudiation or is_persistent(terms.authenticated) or is_persistent(terms.tamper_proof):
        return True
    said = (terms.non_repudiation, terms.authenticated, terms.tamper_proof)
    described = sender.sender is not None and sender.sender.non_repudiation is not None
    return all(one is None for one in said) and described


def needs_encryption(action: BoundAction, sender: ChannelUse, receiver: ChannelUse) -> bool:
    """Return whether payloads of an action are encrypted; a described envelope decides alike."""
    level = action.binding.business.confidential
    return is_persistent(level) or (
        level is None
        and _find_envelope(sender, receiver) is not None
        and _are_both_enveloped(sender, receiver)
    )


def _are_both_enveloped(sender: ChannelUse, receiver: ChannelUse) -> bool:
    sides = (sender.sender, receiver.receiver)
    return all(one is not None and one.envelope is not None for one in sides)


def _find_envelope(sender: ChannelUse, receiver: ChannelUse) -> DigitalEnvelope | None:
    """Return the envelope of the receiver, who must open it, else that of the sender."""
    for side in (receiver.receiver, sender.sender):
        if side is not None and side.envelope is not None:
            return side.envelope
    return None


def make_reliability(sender: ChannelUse, receiver: ChannelUse) -> Reliability:
    """Return how a message is repeated, acknowledged and remembered."""
    ours, theirs, channel = sender.sender, receiver.receiver, sender.channel
    retries, interval = 0, _DEFAULT.retry_interval
    if ours is not None and ours.reliable:
        retries = ours.retries if ours.retries is not None else _DEFAULT.retries
        interval = ours.retry_interval if ours.retry_interval is not None else interval
    if retries == 0 and interval <= 0:
        interval = _DEFAULT.retry_interval
    persist = theirs.persist_duration if theirs is not None else None
    if persist is None:
        persist = max(_DEFAULT.persist_duration, (retries + 1) * interval)
    return Reliability(
        _CHOICES[channel.ack_requested] if channel is not None else "per_message",
        _CHOICES[channel.ack_signature_requested] if channel is not None else "per_message",
        _CHOICES[channel.duplicate_elimination] if channel is not None else "per_message",
        retries,
        interval,
        persist,
        message_order=ours is not None and ours.ordered,
        ack_actor="nextMSH" if channel is not None and channel.actor == _NEXT else "toPartyMSH",
    )


def make_security(
    action: BoundAction, sender: ChannelUse, receiver: ChannelUse, *, sign_status: bool
) -> Security:
    """Return who signs, by which algorithms, and what the business wants."""
    signed = sender.sender.non_repudiation if sender.sender is not None else None
    verified = receiver.receiver.non_repudiation if receiver.receiver is not None else None
    terms = action.binding.business
    signal = read_reply_pins(find_signal_channel(action.receiver, "Acknowledgment"))
    own = read_reply_pins(receiver)
    return Security(
        sign=needs_signature(action, sender),
        mutual_tls=_is_client_identified(sender, receiver),
        sign_status=sign_status,
        certificates=find_pins(action.sender, (signed.certificate,)) if signed is not None else (),
        reply_certificates=tuple(dict.fromkeys((*signal, *own))),
        signature_algorithms=tuple(one.name for one in signed.algorithms) if signed is not None else (),
        hash_function=signed.hash_function if signed is not None else None,
        trust_anchors=list_anchor_pins(action.receiver, verified.security) if verified is not None else (),
        non_repudiation_of_origin=bool(terms.non_repudiation),
        non_repudiation_of_receipt=bool(terms.non_repudiation_receipt),
        authenticated=terms.authenticated or "none",
        confidential=terms.confidential or "none",
        tamper_proof=terms.tamper_proof or "none",
    )


def read_reply_pins(channel: ChannelUse) -> tuple[str, ...]:
    """Return the certificates with which a party signs what it sends by a channel."""
    signed = channel.sender.non_repudiation if channel.sender is not None else None
    return find_pins(channel.party, (signed.certificate,)) if signed is not None else ()


def _is_client_identified(sender: ChannelUse, receiver: ChannelUse) -> bool:
    """Return whether the sender shows a certificate in TLS, and the receiver asks for it."""
    client = sender.client.security if sender.client is not None else None
    server = receiver.server.security if receiver.server is not None else None
    return (
        client is not None
        and client.certificate is not None
        and server is not None
        and server.peer_security is not None
    )


def make_encryption(action: BoundAction, sender: ChannelUse, receiver: ChannelUse) -> Encryption | None:
    """Return how payloads are encrypted, None where they are not."""
    envelope = _find_envelope(sender, receiver)
    if envelope is None or not needs_encryption(action, sender, receiver):
        return None
    ours = sender.sender.envelope if sender.sender is not None else None
    theirs = receiver.receiver.envelope if receiver.receiver is not None else None
    pins = find_pins(action.receiver, (theirs.certificate,)) if theirs is not None else ()
    return Encryption(
        envelope.protocol,
        tuple(one.name for one in envelope.algorithms),
        pins[0] if pins else None,
        envelope.version,
        list_anchor_pins(action.sender, ours.security) if ours is not None else (),
    )


def make_transport(sender: ChannelUse, receiver: ChannelUse) -> TransportTerms:
    """Return what protects the connection from the sender to the receiver."""
    client = sender.client.security if sender.client is not None else None
    server = receiver.server.security if receiver.server is not None else None
    secured = client or server
    shown = find_pins(sender.party, (client.certificate,)) if client is not None else ()
    held = find_pins(receiver.party, (server.certificate,)) if server is not None else ()
    return TransportTerms(
        security_protocol=secured.protocol if secured is not None else None,
        security_version=secured.version if secured is not None else None,
        client_certificate=shown[0] if shown else None,
        server_certificate=held[0] if held else None,
        client_anchors=list_anchor_pins(receiver.party, server.peer_security) if server is not None else (),
        server_anchors=list_anchor_pins(sender.party, client.peer_security) if client is not None else (),
        ciphers=tuple(one.name for one in secured.ciphers) if secured is not None else (),
        authentication=receiver.server.authentication if receiver.server is not None else (),
        protocol_version=receiver.server.version if receiver.server is not None else None,
    )
