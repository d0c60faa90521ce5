"""Makes the terms of a P-Mode from the channels of its sender and its receiver."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from gateway.agreements.cpa.cpa_model import (
    ActionBinding,
    CertificateHolder,
    CollaborationRole,
    Composite,
    Constituent,
    CpaDocument,
    CpaParty,
    DeliveryChannel,
    DigitalEnvelope,
    DocumentBinding,
    NonRepudiation,
    TransportSecurity,
    TransportSide,
)
from gateway.agreements.pmode_values import (
    Encryption,
    PackagedPart,
    Packaging,
    Reliability,
    Security,
    TransportTerms,
    is_endpoint,
)

_PROTOCOLS: Final = ("HTTP", "HTTPS")


@dataclass(frozen=True, slots=True)
class ChannelUse:
    """A party together with one of its channels; the channel is None where an id names nothing."""

    party: CpaParty
    channel: DeliveryChannel | None

    @property
    def sender(self) -> DocumentBinding | None:
        """Return the document exchange for messages that the party sends."""
        exchange = self.party.find_exchange(self.channel)
        return exchange.sender if exchange is not None else None

    @property
    def receiver(self) -> DocumentBinding | None:
        """Return the document exchange for messages that the party receives."""
        exchange = self.party.find_exchange(self.channel)
        return exchange.receiver if exchange is not None else None

    @property
    def signature(self) -> NonRepudiation | None:
        """Return the terms by which the party signs messages that it sends; None if it does not."""
        return self.sender.non_repudiation if self.sender is not None else None

    @property
    def verification(self) -> NonRepudiation | None:
        """Return the terms by which the party verifies signatures of received messages; None if none."""
        return self.receiver.non_repudiation if self.receiver is not None else None

    @property
    def sent_envelope(self) -> DigitalEnvelope | None:
        """Return the terms by which the party encrypts messages that it sends; None if it does not."""
        return self.sender.envelope if self.sender is not None else None

    @property
    def received_envelope(self) -> DigitalEnvelope | None:
        """Return the terms by which messages to the party are encrypted; None if they are not."""
        return self.receiver.envelope if self.receiver is not None else None

    @property
    def client(self) -> TransportSide | None:
        """Return the transport for messages that the party sends."""
        transport = self.party.find_transport(self.channel)
        return transport.sender if transport is not None else None

    @property
    def server(self) -> TransportSide | None:
        """Return the transport for messages that the party receives."""
        transport = self.party.find_transport(self.channel)
        return transport.receiver if transport is not None else None

    @property
    def client_security(self) -> TransportSecurity | None:
        """Return the security of the connection through which the party sends."""
        return self.client.security if self.client is not None else None

    @property
    def server_security(self) -> TransportSecurity | None:
        """Return the security of the connection through which the party receives."""
        return self.server.security if self.server is not None else None


@dataclass(frozen=True, slots=True)
class BoundAction:
    """One action that one party sends and the other receives.

    `holder` is the binding of the sender in which this one is nested: the action answers it on the
    same connection.
    """

    document: CpaDocument
    sender: CpaParty
    role: CollaborationRole
    binding: ActionBinding
    receiver: CpaParty
    other_role: CollaborationRole
    receiving_binding: ActionBinding
    holder: ActionBinding | None

    def list_channels(self) -> list[tuple[ChannelUse, ChannelUse]]:
        """Return the channels of sender and receiver, of each those over HTTP first, else in their order.

        The order of ChannelIds is that of preference. The shorter list repeats its last.
        """
        ours = [
            ChannelUse(self.sender, self.sender.channels.get(channel_id))
            for channel_id in self.binding.channels
        ]
        theirs = [
            ChannelUse(self.receiver, self.receiver.channels.get(channel_id))
            for channel_id in self.receiving_binding.channels
        ]
        ours.sort(key=lambda use: not is_spoken(use.client))
        theirs.sort(key=lambda use: not is_spoken(use.server))
        return [
            (ours[min(at, len(ours) - 1)], theirs[min(at, len(theirs) - 1)])
            for at in range(max(len(ours), len(theirs)))
        ]


def is_spoken(side: TransportSide | None) -> bool:
    """Return whether the hub speaks the protocol of a transport: HTTP, at an http(s) URL if it has any."""
    if side is None:
        return True
    reached = not side.endpoints or any(is_endpoint(endpoint.uri) for endpoint in side.endpoints)
    return side.protocol.upper() in _PROTOCOLS and reached


def list_bound_actions(document: CpaDocument) -> Iterator[BoundAction]:
    """Yield every action that one party sends and the other can receive, in document order."""
    for party in document.parties:
        receiver = document.get_other_party(party)
        for role, binding, holder in party.list_bindings():
            if not binding.sends:
                continue
            counterpart = find_counterpart(role, binding, receiver)
            if counterpart is not None:
                yield BoundAction(document, party, role, binding, receiver, *counterpart, holder)


def find_counterpart(
    role: CollaborationRole, binding: ActionBinding, other_party: CpaParty
) -> tuple[CollaborationRole, ActionBinding] | None:
    """Return the other party's role and binding for an action: the named one, else one of the same action.

    A named binding counts only when it has the same service and action in the other direction.
    """
    candidates = [
        (candidate_role, candidate)
        for candidate_role, candidate, _ in other_party.list_bindings()
        if candidate.sends != binding.sends
        and candidate.action == binding.action
        and (candidate_role.service, candidate_role.service_type) == (role.service, role.service_type)
    ]
    if binding.partner_binding is not None:
        return next(
            (candidate for candidate in candidates if candidate[1].id == binding.partner_binding), None
        )
    same_process = [candidate for candidate in candidates if candidate[0].process_uri == role.process_uri]
    return next(iter(same_process or candidates), None)


def find_signal_channel(party: CpaParty, action: str) -> ChannelUse:
    """Return the channel of a party for a signal: of its own, or the default one."""
    override = next(
        (bound.channel for bound in party.overrides if bound.action == action),
        None,
    )
    return ChannelUse(party, party.channels.get(override or party.default_channel))


def choose_endpoint(side: TransportSide | None, *kinds: str) -> str | None:
    """Return the URL of the first of these kinds that a receiver has, else its first URL."""
    urls = side.endpoints if side is not None else ()
    by_kind = {endpoint.kind: endpoint.uri for endpoint in reversed(urls)}
    chosen = next((by_kind[kind] for kind in kinds if kind in by_kind), None)
    return chosen or (urls[0].uri if urls else None)


def compute_pin(holder: CertificateHolder | None) -> str | None:
    """Return the SHA-256 of a certificate; None where there is none."""
    if holder is None:
        return None
    return hashlib.sha256(holder.chain[0]).hexdigest() if holder.chain else holder.digest


def find_pins(party: CpaParty, names: tuple[str | None, ...]) -> tuple[str, ...]:
    """Return the SHA-256 of certificates of a party, each once."""
    pins = (compute_pin(party.certificates.get(name)) for name in names if name is not None)
    return tuple(dict.fromkeys(pin for pin in pins if pin is not None))


def list_anchor_pins(party: CpaParty, security: str | None) -> tuple[str, ...]:
    """Return the SHA-256 of the trust anchors that a party names."""
    details = party.security.get(security) if security is not None else None
    return find_pins(party, details.anchors) if details is not None else ()


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
    terms_of_signature = (terms.non_repudiation, terms.authenticated, terms.tamper_proof)
    return all(term is None for term in terms_of_signature) and sender.signature is not None


def needs_encryption(action: BoundAction, sender: ChannelUse, receiver: ChannelUse) -> bool:
    """Return whether payloads of an action are encrypted; a described envelope decides alike."""
    level = action.binding.business.confidential
    return is_persistent(level) or (
        level is None and sender.sent_envelope is not None and receiver.received_envelope is not None
    )


def make_reliability(sender: ChannelUse, receiver: ChannelUse) -> Reliability:
    """Return the terms of repeats, acknowledgment and duplicate elimination of a message."""
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
    """Return the signature terms: signers, algorithms, and the requirements of the business."""
    signed, verified, terms = sender.signature, receiver.verification, action.binding.business
    signal = read_reply_pins(find_signal_channel(action.receiver, "Acknowledgment"))
    receiver_pins = read_reply_pins(receiver)
    return Security(
        sign=needs_signature(action, sender),
        mutual_tls=_is_client_identified(sender, receiver),
        sign_status=sign_status,
        certificates=read_reply_pins(sender),
        reply_certificates=tuple(dict.fromkeys((*signal, *receiver_pins))),
        signature_algorithms=tuple(algorithm.name for algorithm in signed.algorithms) if signed else (),
        hash_function=signed.hash_function if signed is not None else None,
        trust_anchors=list_anchor_pins(action.receiver, verified.security) if verified is not None else (),
        non_repudiation_of_origin=bool(terms.non_repudiation),
        non_repudiation_of_receipt=bool(terms.non_repudiation_receipt),
        authenticated=terms.authenticated or "none",
        confidential=terms.confidential or "none",
        tamper_proof=terms.tamper_proof or "none",
    )


def read_reply_pins(channel: ChannelUse) -> tuple[str, ...]:
    """Return the certificates with which a party signs messages that it sends through a channel."""
    signed = channel.signature
    return find_pins(channel.party, (signed.certificate,)) if signed is not None else ()


def _is_client_identified(sender: ChannelUse, receiver: ChannelUse) -> bool:
    """Return whether the sender shows a certificate in TLS, and the receiver asks for it."""
    client, server = sender.client_security, receiver.server_security
    return (
        client is not None
        and client.certificate is not None
        and server is not None
        and server.peer_security is not None
    )


def make_encryption(action: BoundAction, sender: ChannelUse, receiver: ChannelUse) -> Encryption | None:
    """Return the terms by which payloads are encrypted; None where they are not."""
    ours, theirs = sender.sent_envelope, receiver.received_envelope
    # That of the receiver, who must open it, counts.
    envelope = theirs or ours
    if envelope is None or not needs_encryption(action, sender, receiver):
        return None
    pins = find_pins(action.receiver, (theirs.certificate,)) if theirs is not None else ()
    return Encryption(
        envelope.protocol,
        tuple(algorithm.name for algorithm in envelope.algorithms),
        pins[0] if pins else None,
        envelope.version,
        list_anchor_pins(action.sender, ours.security) if ours is not None else (),
    )


def make_transport(sender: ChannelUse, receiver: ChannelUse) -> TransportTerms:
    """Return the security of the connection from the sender to the receiver."""
    client, server = sender.client_security, receiver.server_security
    secured = client or server
    client_pins = find_pins(sender.party, (client.certificate,)) if client is not None else ()
    server_pins = find_pins(receiver.party, (server.certificate,)) if server is not None else ()
    return TransportTerms(
        security_protocol=secured.protocol if secured is not None else None,
        security_version=secured.version if secured is not None else None,
        client_certificate=client_pins[0] if client_pins else None,
        server_certificate=server_pins[0] if server_pins else None,
        client_anchors=list_anchor_pins(receiver.party, server.peer_security) if server is not None else (),
        server_anchors=list_anchor_pins(sender.party, client.peer_security) if client is not None else (),
        ciphers=tuple(cipher.name for cipher in secured.ciphers) if secured is not None else (),
        authentication=receiver.server.authentication if receiver.server is not None else (),
        protocol_version=receiver.server.version if receiver.server is not None else None,
    )


_DEEPEST = 8


def make_packaging(document: CpaDocument, name: str) -> Packaging | None:
    """Return a package with its parts; None where the id names none, or nothing is in it."""
    package = document.packages.get(name)
    if package is None or not package.composites:
        return None
    by_id = {composite.id: composite for composite in package.composites}
    whole = package.composites[-1]
    parts = _list_parts(document, by_id, whole, 0)
    return Packaging(name, whole.mime_type, tuple(parts), whole.parameters) if parts else None


def _list_parts(
    document: CpaDocument, composites: dict[str, Composite], whole: Composite, depth: int
) -> list[PackagedPart]:
    packaged: list[PackagedPart] = []
    for constituent in whole.constituents:
        part, inner = document.parts.get(constituent.idref), composites.get(constituent.idref)
        if part is not None:
            packaged.append(
                PackagedPart(
                    part.id,
                    part.mime_type,
                    part.role,
                    constituent.excluded_from_signature,
                    constituent.min_occurs,
                    constituent.max_occurs,
                    namespaces=part.namespaces,
                )
            )
        elif inner is not None and depth < _DEEPEST:
            within = _list_parts(document, composites, inner, depth + 1)
            packaged += [_wrap_part(each, constituent, inner) for each in within]
    return packaged


def _wrap_part(part: PackagedPart, holder: Constituent, composite: Composite) -> PackagedPart:
    """Return a part with the media type of its composite, and how often the composite occurs."""
    return replace(
        part,
        excluded_from_signature=part.excluded_from_signature or holder.excluded_from_signature,
        min_occurs=part.min_occurs if holder.min_occurs is None else holder.min_occurs,
        max_occurs=part.max_occurs if holder.max_occurs is None else holder.max_occurs,
        wrapper_types=(composite.mime_type, *part.wrapper_types),
    )
