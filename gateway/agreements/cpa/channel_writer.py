"""Writes the channels of one party: delivery channels, transports, document exchanges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from lxml import etree

from gateway.agreements.cpa.channel_plan import (
    SIGNAL_RELIABILITY,
    ChannelPlan,
    MessagingTerms,
    PartyTerms,
    PlannedChannel,
    ReceivingTerms,
    SendingTerms,
    SignatureTerms,
    TlsTerms,
    is_secure,
    list_endpoints,
)
from gateway.agreements.cpa.cpa_values import find_algorithm_uri, format_duration
from gateway.agreements.cpa.element_writer import DocumentIds, PartyCertificates, add_element
from gateway.agreements.pmode import PMode, is_uri
from gateway.agreements.pmode_values import (
    ANY_SIGNAL,
    Encryption,
    PackagedPart,
    Packaging,
    Reliability,
)
from gateway.message_model import PartyId
from gateway.wire import DS, EB, XLINK

_RELIABILITY_CHOICES: Final = {"always": "always", "never": "never", "per_message": "perMessage"}
#: What holds where an agreement says nothing.
_DEFAULT_RELIABILITY: Final = Reliability()
_ACTOR_PREFIX: Final = "urn:oasis:names:tc:ebxml-msg:actor:"


def write_channels(
    party_element: etree._Element,
    channels: list[PlannedChannel],
    document_ids: DocumentIds,
    party_certificates: PartyCertificates,
) -> None:
    """Write all delivery channels, then all transports, then all document exchanges."""
    channel_ids = [
        (
            channel,
            document_ids.reserve_id(f"{channel.channel_id}-transport"),
            document_ids.reserve_id(f"{channel.channel_id}-exchange"),
        )
        for channel in channels
    ]
    for channel, transport_id, exchange_id in channel_ids:
        _write_channel(party_element, channel, transport_id, exchange_id)
    for channel, transport_id, _ in channel_ids:
        _write_transport(party_element, channel, transport_id, party_certificates)
    for channel, _, exchange_id in channel_ids:
        _write_exchange(party_element, channel, exchange_id, party_certificates)


def _write_channel(
    party: etree._Element, planned_channel: PlannedChannel, transport_id: str, exchange_id: str
) -> None:
    """Write a DeliveryChannel into the PartyInfo `party`."""
    terms = planned_channel.messaging.reliability
    channel_element = add_element(
        party,
        "DeliveryChannel",
        channelId=planned_channel.channel_id,
        transportId=transport_id,
        docExchangeId=exchange_id,
    )
    add_element(
        channel_element,
        "MessagingCharacteristics",
        syncReplyMode=planned_channel.messaging.sync_reply_mode,
        ackRequested=_RELIABILITY_CHOICES[terms.ack_requested],
        ackSignatureRequested=_RELIABILITY_CHOICES[terms.ack_signed],
        duplicateElimination=_RELIABILITY_CHOICES[terms.duplicate_elimination],
        actor=_ACTOR_PREFIX + terms.ack_actor,
    )


def _write_transport(
    party: etree._Element, channel: PlannedChannel, transport_id: str, party_certificates: PartyCertificates
) -> None:
    """Write a Transport into the PartyInfo `party`, with those halves of `channel` that are known."""
    transport = add_element(party, "Transport", transportId=transport_id)
    if channel.sending is not None:
        _write_sender(transport, channel.sending, party_certificates)
    # A receiver has an endpoint. A party of which no URL is known cannot be sent to.
    if channel.receiving is not None and channel.receiving.endpoints:
        _write_receiver(transport, channel.receiving, party_certificates)


def _write_sender(
    transport: etree._Element, sending_terms: SendingTerms, party_certificates: PartyCertificates
) -> None:
    """Write a TransportSender, with its TransportClientSecurity if TLS is agreed."""
    sender = add_element(transport, "TransportSender")
    add_element(sender, "TransportProtocol", "HTTP", version=sending_terms.protocol_version)
    if sending_terms.tls is None:
        return
    security_element = add_element(sender, "TransportClientSecurity")
    add_element(
        security_element,
        "TransportSecurityProtocol",
        sending_terms.tls.protocol,
        version=sending_terms.tls.version,
    )
    if sending_terms.tls.certificate is not None:
        certificate_id = party_certificates.reserve_certificate_id("client", sending_terms.tls.certificate)
        add_element(security_element, "ClientCertificateRef", certId=certificate_id)
    _write_tls_anchors(security_element, "ServerSecurityDetailsRef", sending_terms.tls, party_certificates)


def _write_receiver(
    transport: etree._Element, receiving_terms: ReceivingTerms, party_certificates: PartyCertificates
) -> None:
    """Write a TransportReceiver, with its TransportServerSecurity if TLS is agreed."""
    receiver = add_element(transport, "TransportReceiver")
    add_element(receiver, "TransportProtocol", "HTTP", version=receiving_terms.protocol_version)
    for scheme in receiving_terms.authentication:
        add_element(receiver, "AccessAuthentication", scheme)
    for endpoint in receiving_terms.endpoints:
        add_element(receiver, "Endpoint", uri=endpoint.url, type=endpoint.kind)
    if receiving_terms.tls is None:
        return
    security_element = add_element(receiver, "TransportServerSecurity")
    add_element(
        security_element,
        "TransportSecurityProtocol",
        receiving_terms.tls.protocol,
        version=receiving_terms.tls.version,
    )
    certificate_id = party_certificates.reserve_certificate_id("server", receiving_terms.tls.certificate)
    add_element(security_element, "ServerCertificateRef", certId=certificate_id)
    _write_tls_anchors(security_element, "ClientSecurityDetailsRef", receiving_terms.tls, party_certificates)


def _write_tls_anchors(
    security_element: etree._Element,
    reference_name: str,
    terms: TlsTerms,
    party_certificates: PartyCertificates,
) -> None:
    """Write the reference to the trust anchors, under `reference_name`, and the TLS ciphers."""
    if terms.anchors:
        add_element(
            security_element, reference_name, securityId=party_certificates.reserve_anchors_id(terms.anchors)
        )
    for cipher in terms.ciphers:
        add_element(security_element, "EncryptionAlgorithm", cipher)


def _write_exchange(
    party: etree._Element, channel: PlannedChannel, exchange_id: str, party_certificates: PartyCertificates
) -> None:
    """Write a DocExchange into the PartyInfo `party`: how messages are repeated, signed and encrypted."""
    exchange, messaging = add_element(party, "DocExchange", docExchangeId=exchange_id), channel.messaging
    if channel.sending is not None:
        sending_terms = channel.sending
        binding = add_element(exchange, "ebXMLSenderBinding", version="2.0")
        _write_reliability(binding, messaging)
        if sending_terms.signature is not None:
            signature_element = add_element(binding, "SenderNonRepudiation")
            _write_signature(signature_element, sending_terms.signature)
            certificate_id = party_certificates.reserve_certificate_id(
                "signing", sending_terms.signature.signer
            )
            add_element(signature_element, "SigningCertificateRef", certId=certificate_id)
        if sending_terms.envelope is not None:
            envelope_element = add_element(binding, "SenderDigitalEnvelope")
            _write_envelope(envelope_element, sending_terms.envelope)
            if sending_terms.envelope.trust_anchors:
                anchors_id = party_certificates.reserve_anchors_id(sending_terms.envelope.trust_anchors)
                add_element(envelope_element, "EncryptionSecurityDetailsRef", securityId=anchors_id)
    if channel.receiving is not None:
        _write_receiver_binding(exchange, messaging, channel.receiving, party_certificates)


def _write_receiver_binding(
    exchange: etree._Element,
    messaging: MessagingTerms,
    receiving_terms: ReceivingTerms,
    party_certificates: PartyCertificates,
) -> None:
    """Write an ebXMLReceiverBinding: how received messages are repeated, verified and decrypted."""
    binding = add_element(exchange, "ebXMLReceiverBinding", version="2.0")
    _write_reliability(binding, messaging)
    if receiving_terms.signature is not None:
        signature_element = add_element(binding, "ReceiverNonRepudiation")
        _write_signature(signature_element, receiving_terms.signature)
        if receiving_terms.signature.anchors:
            anchors_id = party_certificates.reserve_anchors_id(receiving_terms.signature.anchors)
            add_element(signature_element, "SigningSecurityDetailsRef", securityId=anchors_id)
    if receiving_terms.envelope is not None:
        envelope_element = add_element(binding, "ReceiverDigitalEnvelope")
        _write_envelope(envelope_element, receiving_terms.envelope)
        certificate_id = party_certificates.reserve_certificate_id(
            "encryption", receiving_terms.envelope.certificate
        )
        add_element(envelope_element, "EncryptionCertificateRef", certId=certificate_id)


def _write_reliability(binding: etree._Element, messaging: MessagingTerms) -> None:
    """Write ReliableMessaging and PersistDuration if the terms need them; times are in seconds."""
    terms = messaging.reliability
    if messaging.is_reliable:
        reliable_element = add_element(binding, "ReliableMessaging")
        add_element(reliable_element, "Retries", str(terms.retries))
        add_element(reliable_element, "RetryInterval", format_duration(terms.retry_interval))
        semantics = "Guaranteed" if terms.message_order else "NotGuaranteed"
        add_element(reliable_element, "MessageOrderSemantics", semantics)
    if messaging.is_reliable or terms.persist_duration != _DEFAULT_RELIABILITY.persist_duration:
        add_element(binding, "PersistDuration", format_duration(terms.persist_duration))


def _write_signature(parent: etree._Element, terms: SignatureTerms) -> None:
    add_element(parent, "NonRepudiationProtocol", DS)
    add_element(parent, "HashFunction", terms.hash_function)
    _write_algorithms(parent, "SignatureAlgorithm", terms.algorithms)


def _write_envelope(parent: etree._Element, terms: Encryption) -> None:
    add_element(parent, "DigitalEnvelopeProtocol", terms.protocol, version=terms.protocol_version)
    _write_algorithms(parent, "EncryptionAlgorithm", terms.algorithms)


def _write_algorithms(parent: etree._Element, element_name: str, algorithms: tuple[str, ...]) -> None:
    """Write algorithms by their URIs; a name without URI stands alone."""
    for algorithm in algorithms:
        add_element(parent, element_name, algorithm, w3c=algorithm if is_uri(algorithm) else None)


_HEADER_PART: Final = PackagedPart("message-header", "text/xml", namespaces=(EB,))
_TYPE_PARAMETER: Final = 'type="text/xml"'
_SIGNAL_PACKAGING: Final = Packaging("signal-package", "multipart/related", (_HEADER_PART,), _TYPE_PARAMETER)
_PAYLOAD_PART: Final = PackagedPart("payload", "application/xml")
#: The packaging of a message if the agreement does not state it.
_MESSAGE_PACKAGING: Final = Packaging(
    "message-package", "multipart/related", (_HEADER_PART, _PAYLOAD_PART), _TYPE_PARAMETER
)
#: The version of the schema of message headers (ebMS 2.0 §2.2.2).
_HEADER_VERSION: Final = "2.0"
_PartKey = tuple[str, str, str | None, tuple[str, ...]]


def _make_part_key(part: PackagedPart) -> _PartKey:
    return (part.name, part.mime_type, part.role, part.namespaces)


@dataclass(slots=True)
class PackageWriter:
    """The packages of a document; equal ones are written once."""

    names: DocumentIds
    _package_ids: dict[Packaging, str] = field(default_factory=dict)
    _part_ids: dict[_PartKey, str] = field(default_factory=dict)

    def reserve_signal_package_id(self) -> str:
        """Return the id of the package of signals, which is only a header."""
        return self._reserve_package_id(_SIGNAL_PACKAGING)

    def reserve_package_id(self, packaging: Packaging | None) -> str:
        """Return the id of a package of messages; the message header is its first part."""
        package = packaging or _MESSAGE_PACKAGING
        if not package.parts[0].mime_type.lower().startswith("text/xml"):
            package = replace(
                package,
                parts=(_HEADER_PART, *package.parts),
                parameters=package.parameters or _TYPE_PARAMETER,
            )
        return self._reserve_package_id(package)

    def _reserve_package_id(self, packaging: Packaging) -> str:
        if packaging not in self._package_ids:
            self._package_ids[packaging] = self.names.reserve_id(packaging.name)
            for part in packaging.parts:
                self._reserve_part_id(part)
        return self._package_ids[packaging]

    def _reserve_part_id(self, part: PackagedPart) -> str:
        part_key = _make_part_key(part)
        if part_key not in self._part_ids:
            self._part_ids[part_key] = self.names.reserve_id(part.name)
        return self._part_ids[part_key]

    def write_packages(self, root: etree._Element) -> None:
        """Write all simple parts, then all packages."""
        for (_, mime_type, role, namespaces), element_id in self._part_ids.items():
            part = add_element(root, "SimplePart", id=element_id, mimetype=mime_type)
            if role is not None:
                part.set(f"{{{XLINK}}}role", role)
            for namespace in namespaces:
                version = _HEADER_VERSION if namespace == EB else None
                add_element(part, "NamespaceSupported", namespace, location=namespace, version=version)
        for packaging, element_id in self._package_ids.items():
            package = add_element(root, "Packaging", id=element_id)
            add_element(package, "ProcessingCapabilities", parse="true", generate="true")
            self._write_composites(add_element(package, "CompositeList"), packaging, element_id)

    def _write_composites(self, composites: etree._Element, packaging: Packaging, package_id: str) -> None:
        """Write a Composite with all parts of `packaging`, after the composites that wrap a part."""
        outermost_ids = [self._write_wrappers(composites, part, package_id) for part in packaging.parts]
        composite_element = add_element(
            composites,
            "Composite",
            id=self.names.reserve_id(f"{package_id}-whole"),
            mimetype=packaging.mime_type,
            mimeparameters=packaging.parameters,
        )
        for part, idref in zip(packaging.parts, outermost_ids, strict=True):
            add_element(
                composite_element,
                "Constituent",
                idref=idref,
                excludedFromSignature="true" if part.excluded_from_signature else None,
                minOccurs=str(part.min_occurs) if part.min_occurs is not None else None,
                maxOccurs=str(part.max_occurs) if part.max_occurs is not None else None,
            )

    def _write_wrappers(self, composites: etree._Element, part: PackagedPart, package_id: str) -> str:
        """Write the encapsulations of a part, the innermost first; return the id of the outermost."""
        inner_id = self._reserve_part_id(part)
        for mime_type in reversed(part.wrapper_types):
            wrapper_id = self.names.reserve_id(f"{package_id}-wrapped")
            encapsulation = add_element(composites, "Encapsulation", id=wrapper_id, mimetype=mime_type)
            add_element(encapsulation, "Constituent", idref=inner_id)
            inner_id = wrapper_id
        return inner_id


STATUS_REQUEST: Final = "StatusRequest"


class SignalPlan(NamedTuple):
    """The channel of signals, and those of single signals by their action."""

    default_channel_id: str
    channel_by_signal: list[tuple[str, str]]


def plan_signals(
    plan: ChannelPlan,
    party_ids: tuple[PartyId, ...],
    pmodes: Sequence[PMode],
    party: PartyTerms,
    partner: PartyTerms,
) -> SignalPlan:
    """Add the channels of the signals of a party, which has all its other channels.

    A StatusRequest that must be signed is bound to a channel with signatures, also where that is the default
    one (ebMS 2.0 §7.1.1).
    """
    sent_pmodes = [pmode for pmode in pmodes if pmode.from_party == party_ids]
    received_pmodes = [pmode for pmode in pmodes if pmode.to_party == party_ids]
    signals = {signal.action: signal for pmode in reversed(sent_pmodes) for signal in pmode.signals}
    common_channel = signals.pop(ANY_SIGNAL, None)
    endpoint = next((pmode.reply_endpoint for pmode in sent_pmodes if pmode.reply_endpoint), party.endpoint)
    sync_reply_mode = (sent_pmodes or received_pmodes)[0].sync_reply_mode
    if common_channel is not None:
        endpoint, sync_reply_mode = common_channel.endpoint or endpoint, common_channel.sync_reply_mode
    signs_status = any(pmode.security.needs_signed_status for pmode in sent_pmodes)
    pins = next(
        (pmode.security.reply_certificates for pmode in received_pmodes if pmode.security.reply_certificates),
        (),
    )
    signs_acknowledgments = any(pmode.reliability.ack_signed != "never" for pmode in received_pmodes)
    verifies_signals = any(
        pmode.security.reply_certificates or pmode.reliability.ack_signed != "never" for pmode in sent_pmodes
    ) or any(pmode.security.needs_signed_status for pmode in received_pmodes)
    # If only the partner signs, the signature is described only if this party has certificates as well.
    has_signatures = (
        bool(pins) or signs_acknowledgments or signs_status or (verifies_signals and bool(party.signers))
    )
    writer = _SignalWriter(plan, party, partner, has_signatures)
    signer = next(iter(pins or party.signers), None)
    default_channel_id = writer.add_channel(endpoint, sync_reply_mode, signer)
    overrides = []
    for action, signal in sorted(signals.items()):
        signers = _list_signers(action, received_pmodes) or ((signer,) if signer is not None else ())
        channel_id = writer.add_channel(
            signal.endpoint or endpoint, signal.sync_reply_mode, next(iter(signers), None)
        )
        overrides.append((action, channel_id))
    if signs_status and STATUS_REQUEST not in signals:
        overrides.append((STATUS_REQUEST, default_channel_id))
    return SignalPlan(default_channel_id, overrides)


def _list_signers(signal_name: str, received_pmodes: Sequence[PMode]) -> tuple[str, ...]:
    """Return the certificates with which a party signs a signal."""
    signal_channels = (
        signal for pmode in received_pmodes for signal in pmode.signals if signal.action == signal_name
    )
    return next((signal.certificates for signal in signal_channels if signal.certificates), ())


class _SignalWriter(NamedTuple):
    """Adds channels for the signals of a party, signed if `has_signatures`; TLS as on its other channels."""

    plan: ChannelPlan
    party_terms: PartyTerms
    partner_terms: PartyTerms
    has_signatures: bool

    def add_channel(self, endpoint: str | None, sync_reply_mode: str, signer: str | None) -> str:
        """Return the id of a channel for signals, which are neither acknowledged nor repeated."""
        hash_function = find_algorithm_uri(self.party_terms.hash_function)
        own_signature = partner_signature = None
        if self.has_signatures:
            own_signature = SignatureTerms(self.party_terms.algorithms, hash_function, signer)
            partner_signature = SignatureTerms(
                self.partner_terms.algorithms, hash_function, anchors=self.partner_terms.signers
            )
        channel_halves = [(channel.sending, channel.receiving) for channel in self.plan.channels]
        client_tls = next((sending.tls for sending, _ in channel_halves if sending and sending.tls), None)
        server_tls = next(
            (receiving.tls for _, receiving in channel_halves if receiving and receiving.tls), None
        )
        return self.plan.add_signal_channel(
            MessagingTerms(sync_reply_mode, SIGNAL_RELIABILITY),
            SendingTerms(own_signature, tls=client_tls),
            ReceivingTerms(
                list_endpoints(endpoint), partner_signature, tls=server_tls if is_secure(endpoint) else None
            ),
        )
