"""Makes the terms of a P-Mode from the channels of its sender and its receiver."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from gateway.agreements.cpa.cpa_model import (
    ActionBinding,
    CollaborationRole,
    Composite,
    Constituent,
    CpaCertificate,
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

    `parent_binding` is the binding of the sender in which this one is nested: the action answers it on the
    same connection.
    """

    document: CpaDocument
    sender: CpaParty
    role: CollaborationRole
    binding: ActionBinding
    receiver: CpaParty
    other_role: CollaborationRole
    receiving_binding: ActionBinding
    parent_binding: ActionBinding | None

    def list_channels(self) -> list[tuple[ChannelUse, ChannelUse]]:
        """Return the channels of sender and receiver, of each those over HTTP first, else in their order.

        The order of ChannelIds is that of preference. The shorter list repeats its last.
        """
        sender_uses = [
            ChannelUse(self.sender, self.sender.channels.get(channel_id))
            for channel_id in self.binding.channel_ids
        ]
        receiver_uses = [
            ChannelUse(self.receiver, self.receiver.channels.get(channel_id))
            for channel_id in self.receiving_binding.channel_ids
        ]
        sender_uses.sort(key=lambda channel_use: not is_supported_transport(channel_use.client))
        receiver_uses.sort(key=lambda channel_use: not is_supported_transport(channel_use.server))
        return [
            (sender_uses[min(index, len(sender_uses) - 1)], receiver_uses[min(index, len(receiver_uses) - 1)])
            for index in range(max(len(sender_uses), len(receiver_uses)))
        ]


def is_supported_transport(transport_side: TransportSide | None) -> bool:
    """Return whether the hub speaks the protocol of a transport: HTTP, at an http(s) URL if it has any."""
    if transport_side is None:
        return True
    has_reachable_url = not transport_side.endpoints or any(
        is_endpoint(endpoint.uri) for endpoint in transport_side.endpoints
    )
    return transport_side.protocol.upper() in _PROTOCOLS and has_reachable_url


def list_bound_actions(document: CpaDocument) -> Iterator[BoundAction]:
    """Yield every action that one party sends and the other can receive, in document order."""
    for party in document.parties:
        receiver = document.get_other_party(party)
        for role, binding, parent_binding in party.list_bindings():
            if not binding.sends:
                continue
            counterpart = find_counterpart(role, binding, receiver)
            if counterpart is not None:
                yield BoundAction(document, party, role, binding, receiver, *counterpart, parent_binding)


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
    if binding.partner_binding_id is not None:
        return next(
            (candidate for candidate in candidates if candidate[1].id == binding.partner_binding_id), None
        )
    same_process = [candidate for candidate in candidates if candidate[0].process_uri == role.process_uri]
    return next(iter(same_process or candidates), None)


def find_signal_channel(party: CpaParty, signal_name: str) -> ChannelUse:
    """Return the channel of a party for a signal: of its own, or the default one."""
    channel_id = next(
        (bound.channel_id for bound in party.signal_overrides if bound.action == signal_name),
        None,
    )
    return ChannelUse(party, party.channels.get(channel_id or party.default_channel_id))


def choose_endpoint(transport_side: TransportSide | None, *kinds: str) -> str | None:
    """Return the URL of the first of these kinds that a receiver has, else its first URL."""
    endpoints = transport_side.endpoints if transport_side is not None else ()
    url_by_kind = {endpoint.kind: endpoint.uri for endpoint in reversed(endpoints)}
    chosen_url = next((url_by_kind[kind] for kind in kinds if kind in url_by_kind), None)
    return chosen_url or (endpoints[0].uri if endpoints else None)


def get_certificate_pin(certificate: CpaCertificate | None) -> str | None:
    """Return the SHA-256 of a certificate; None where there is none."""
    if certificate is None:
        return None
    return hashlib.sha256(certificate.chain[0]).hexdigest() if certificate.chain else certificate.digest


def find_pins(party: CpaParty, certificate_ids: tuple[str | None, ...]) -> tuple[str, ...]:
    """Return the SHA-256 of certificates of a party, each once."""
    pins = (get_certificate_pin(party.certificates.get(name)) for name in certificate_ids if name is not None)
    return tuple(dict.fromkeys(pin for pin in pins if pin is not None))


def list_anchor_pins(party: CpaParty, security_id: str | None) -> tuple[str, ...]:
    """Return the SHA-256 of the trust anchors that a party names."""
    security_details = party.security_details.get(security_id) if security_id is not None else None
    return find_pins(party, security_details.anchors) if security_details is not None else ()


_DEFAULT_RELIABILITY: Final = Reliability()
_RELIABILITY_CHOICES: Final = {"always": "always", "never": "never", "perMessage": "per_message"}
_NEXT_ACTOR: Final = "urn:oasis:names:tc:ebxml-msg:actor:nextMSH"


def is_persistent(persistence: str | None) -> bool:
    """Return whether protection is wanted beyond the connection: by signature or encryption."""
    return persistence in ("persistent", "transient-and-persistent")


def needs_signature(action: BoundAction, sender: ChannelUse) -> bool:
    """Return whether the messages of an action are signed.

    The business says so. Where it says nothing at all, a described signature is meant.
    """
    business_terms = action.binding.business
    if (
        business_terms.non_repudiation
        or is_persistent(business_terms.authenticated)
        or is_persistent(business_terms.tamper_proof)
    ):
        return True
    terms_of_signature = (
        business_terms.non_repudiation,
        business_terms.authenticated,
        business_terms.tamper_proof,
    )
    return all(term is None for term in terms_of_signature) and sender.signature is not None


def needs_encryption(action: BoundAction, sender: ChannelUse, receiver: ChannelUse) -> bool:
    """Return whether payloads of an action are encrypted; a described envelope decides alike."""
    persistence = action.binding.business.confidential
    return is_persistent(persistence) or (
        persistence is None and sender.sent_envelope is not None and receiver.received_envelope is not None
    )


def make_reliability(sender: ChannelUse, receiver: ChannelUse) -> Reliability:
    """Return the terms of repeats, acknowledgment and duplicate elimination of a message."""
    sender_binding, receiver_binding, channel = sender.sender, receiver.receiver, sender.channel
    retries, retry_interval = 0, _DEFAULT_RELIABILITY.retry_interval
    if sender_binding is not None and sender_binding.is_reliable:
        retries = (
            sender_binding.retries if sender_binding.retries is not None else _DEFAULT_RELIABILITY.retries
        )
        retry_interval = (
            sender_binding.retry_interval if sender_binding.retry_interval is not None else retry_interval
        )
    if retries == 0 and retry_interval <= 0:
        retry_interval = _DEFAULT_RELIABILITY.retry_interval
    persist_duration = receiver_binding.persist_duration if receiver_binding is not None else None
    if persist_duration is None:
        persist_duration = max(_DEFAULT_RELIABILITY.persist_duration, (retries + 1) * retry_interval)
    return Reliability(
        _RELIABILITY_CHOICES[channel.ack_requested] if channel is not None else "per_message",
        _RELIABILITY_CHOICES[channel.ack_signature_requested] if channel is not None else "per_message",
        _RELIABILITY_CHOICES[channel.duplicate_elimination] if channel is not None else "per_message",
        retries,
        retry_interval,
        persist_duration,
        message_order=sender_binding is not None and sender_binding.is_ordered,
        ack_actor="nextMSH" if channel is not None and channel.actor == _NEXT_ACTOR else "toPartyMSH",
    )


def make_security(
    action: BoundAction, sender: ChannelUse, receiver: ChannelUse, *, sign_status: bool
) -> Security:
    """Return the signature terms: signers, algorithms, and the requirements of the business."""
    signature_terms, verification_terms, business_terms = (
        sender.signature,
        receiver.verification,
        action.binding.business,
    )
    signal_pins = find_signer_pins(find_signal_channel(action.receiver, "Acknowledgment"))
    receiver_pins = find_signer_pins(receiver)
    return Security(
        sign=needs_signature(action, sender),
        mutual_tls=_is_client_identified(sender, receiver),
        sign_status=sign_status,
        certificates=find_signer_pins(sender),
        reply_certificates=tuple(dict.fromkeys((*signal_pins, *receiver_pins))),
        signature_algorithms=tuple(algorithm.name for algorithm in signature_terms.algorithms)
        if signature_terms
        else (),
        hash_function=signature_terms.hash_function if signature_terms is not None else None,
        trust_anchors=list_anchor_pins(action.receiver, verification_terms.security_id)
        if verification_terms is not None
        else (),
        non_repudiation_of_origin=bool(business_terms.non_repudiation),
        non_repudiation_of_receipt=bool(business_terms.non_repudiation_receipt),
        authenticated=business_terms.authenticated or "none",
        confidential=business_terms.confidential or "none",
        tamper_proof=business_terms.tamper_proof or "none",
    )


def find_signer_pins(channel_use: ChannelUse) -> tuple[str, ...]:
    """Return the certificates with which a party signs messages that it sends through a channel."""
    signature_terms = channel_use.signature
    return find_pins(channel_use.party, (signature_terms.certificate,)) if signature_terms is not None else ()


def _is_client_identified(sender: ChannelUse, receiver: ChannelUse) -> bool:
    """Return whether the sender shows a certificate in TLS, and the receiver asks for it."""
    client, server = sender.client_security, receiver.server_security
    return (
        client is not None
        and client.certificate_id is not None
        and server is not None
        and server.peer_security_id is not None
    )


def make_encryption(action: BoundAction, sender: ChannelUse, receiver: ChannelUse) -> Encryption | None:
    """Return the terms by which payloads are encrypted; None where they are not."""
    sender_envelope, receiver_envelope = sender.sent_envelope, receiver.received_envelope
    # The envelope of the receiver, which must decrypt it, has priority.
    envelope = receiver_envelope or sender_envelope
    if envelope is None or not needs_encryption(action, sender, receiver):
        return None
    pins = (
        find_pins(action.receiver, (receiver_envelope.certificate_id,))
        if receiver_envelope is not None
        else ()
    )
    return Encryption(
        envelope.protocol,
        tuple(algorithm.name for algorithm in envelope.algorithms),
        pins[0] if pins else None,
        envelope.version,
        list_anchor_pins(action.sender, sender_envelope.security_id) if sender_envelope is not None else (),
    )


def make_transport(sender: ChannelUse, receiver: ChannelUse) -> TransportTerms:
    """Return the security of the connection from the sender to the receiver."""
    client_security, server_security = sender.client_security, receiver.server_security
    transport_security = client_security or server_security
    client_pins = (
        find_pins(sender.party, (client_security.certificate_id,)) if client_security is not None else ()
    )
    server_pins = (
        find_pins(receiver.party, (server_security.certificate_id,)) if server_security is not None else ()
    )
    return TransportTerms(
        security_protocol=transport_security.protocol if transport_security is not None else None,
        security_version=transport_security.version if transport_security is not None else None,
        client_certificate=client_pins[0] if client_pins else None,
        server_certificate=server_pins[0] if server_pins else None,
        client_anchors=list_anchor_pins(receiver.party, server_security.peer_security_id)
        if server_security is not None
        else (),
        server_anchors=list_anchor_pins(sender.party, client_security.peer_security_id)
        if client_security is not None
        else (),
        ciphers=tuple(cipher.name for cipher in transport_security.ciphers)
        if transport_security is not None
        else (),
        authentication=receiver.server.authentication if receiver.server is not None else (),
        protocol_version=receiver.server.version if receiver.server is not None else None,
    )


_MAX_DEPTH = 8


def make_packaging(document: CpaDocument, package_id: str) -> Packaging | None:
    """Return a package with its parts; None where the id names none, or nothing is in it."""
    package = document.packages.get(package_id)
    if package is None or not package.composites:
        return None
    composite_by_id = {composite.id: composite for composite in package.composites}
    outer_composite = package.composites[-1]
    parts = _list_parts(document, composite_by_id, outer_composite, 0)
    return (
        Packaging(package_id, outer_composite.mime_type, tuple(parts), outer_composite.parameters)
        if parts
        else None
    )


def _list_parts(
    document: CpaDocument, composite_by_id: dict[str, Composite], outer_composite: Composite, depth: int
) -> list[PackagedPart]:
    """Return the parts of a composite in order, those of inner composites included down to `_MAX_DEPTH`."""
    packaged_parts: list[PackagedPart] = []
    for constituent in outer_composite.constituents:
        part, inner_composite = document.parts.get(constituent.idref), composite_by_id.get(constituent.idref)
        if part is not None:
            packaged_parts.append(
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
        elif inner_composite is not None and depth < _MAX_DEPTH:
            inner_parts = _list_parts(document, composite_by_id, inner_composite, depth + 1)
            packaged_parts += [_wrap_part(each, constituent, inner_composite) for each in inner_parts]
    return packaged_parts


def _wrap_part(part: PackagedPart, constituent: Constituent, composite: Composite) -> PackagedPart:
    """Return a part with the media type of its composite, and how often the composite occurs."""
    return replace(
        part,
        excluded_from_signature=part.excluded_from_signature or constituent.excluded_from_signature,
        min_occurs=part.min_occurs if constituent.min_occurs is None else constituent.min_occurs,
        max_occurs=part.max_occurs if constituent.max_occurs is None else constituent.max_occurs,
        wrapper_types=(composite.mime_type, *part.wrapper_types),
    )
