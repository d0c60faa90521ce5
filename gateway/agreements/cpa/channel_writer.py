"""Writes the channels of one party: delivery channels, transports, document exchanges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from lxml import etree

from gateway.agreements.cpa.channel_plan import (
    SILENT,
    ChannelPlan,
    MessagingTerms,
    PartyFacts,
    PlannedChannel,
    ReceivingTerms,
    SendingTerms,
    SignatureTerms,
    TlsTerms,
    is_secure,
    list_endpoints,
)
from gateway.agreements.cpa.cpa_values import find_algorithm_uri, format_duration
from gateway.agreements.cpa.element_writer import IdNames, PartyStock, add_element
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

_CHOICES: Final = {"always": "always", "never": "never", "per_message": "perMessage"}
#: What holds where an agreement says nothing.
_UNSAID: Final = Reliability()
_ACTOR: Final = "urn:oasis:names:tc:ebxml-msg:actor:"


def write_channels(
    party: etree._Element, channels: list[PlannedChannel], names: IdNames, stock: PartyStock
) -> None:
    """Write all delivery channels, then all transports, then all document exchanges."""
    parts = [
        (
            channel,
            names.reserve_name(f"{channel.name}-transport"),
            names.reserve_name(f"{channel.name}-exchange"),
        )
        for channel in channels
    ]
    for channel, transport, exchange in parts:
        _write_channel(party, channel, transport, exchange)
    for channel, transport, _ in parts:
        _write_transport(party, channel, transport, stock)
    for channel, _, exchange in parts:
        _write_exchange(party, channel, exchange, stock)


def _write_channel(party: etree._Element, planned: PlannedChannel, transport: str, exchange: str) -> None:
    terms = planned.messaging.reliability
    channel = add_element(
        party, "DeliveryChannel", channelId=planned.name, transportId=transport, docExchangeId=exchange
    )
    add_element(
        channel,
        "MessagingCharacteristics",
        syncReplyMode=planned.messaging.sync_reply_mode,
        ackRequested=_CHOICES[terms.ack_requested],
        ackSignatureRequested=_CHOICES[terms.ack_signed],
        duplicateElimination=_CHOICES[terms.duplicate_elimination],
        actor=_ACTOR + terms.ack_actor,
    )


def _write_transport(party: etree._Element, channel: PlannedChannel, name: str, stock: PartyStock) -> None:
    transport = add_element(party, "Transport", transportId=name)
    if channel.sending is not None:
        _write_sender(transport, channel.sending, stock)
    # A receiver has an endpoint. A party of which no URL is known cannot be sent to.
    if channel.receiving is not None and channel.receiving.endpoints:
        _write_receiver(transport, channel.receiving, stock)


def _write_sender(transport: etree._Element, half: SendingTerms, stock: PartyStock) -> None:
    sender = add_element(transport, "TransportSender")
    add_element(sender, "TransportProtocol", "HTTP", version=half.protocol_version)
    if half.tls is None:
        return
    secured = add_element(sender, "TransportClientSecurity")
    add_element(secured, "TransportSecurityProtocol", half.tls.protocol, version=half.tls.version)
    if half.tls.certificate is not None:
        certificate_id = stock.name_certificate("client", half.tls.certificate)
        add_element(secured, "ClientCertificateRef", certId=certificate_id)
    _write_tls_anchors(secured, "ServerSecurityDetailsRef", half.tls, stock)


def _write_receiver(transport: etree._Element, half: ReceivingTerms, stock: PartyStock) -> None:
    receiver = add_element(transport, "TransportReceiver")
    add_element(receiver, "TransportProtocol", "HTTP", version=half.protocol_version)
    for scheme in half.authentication:
        add_element(receiver, "AccessAuthentication", scheme)
    for url in half.endpoints:
        add_element(receiver, "Endpoint", uri=url.url, type=url.kind)
    if half.tls is None:
        return
    secured = add_element(receiver, "TransportServerSecurity")
    add_element(secured, "TransportSecurityProtocol", half.tls.protocol, version=half.tls.version)
    certificate_id = stock.name_certificate("server", half.tls.certificate)
    add_element(secured, "ServerCertificateRef", certId=certificate_id)
    _write_tls_anchors(secured, "ClientSecurityDetailsRef", half.tls, stock)


def _write_tls_anchors(secured: etree._Element, name: str, terms: TlsTerms, stock: PartyStock) -> None:
    if terms.anchors:
        add_element(secured, name, securityId=stock.name_anchors(terms.anchors))
    for cipher in terms.ciphers:
        add_element(secured, "EncryptionAlgorithm", cipher)


def _write_exchange(party: etree._Element, channel: PlannedChannel, name: str, stock: PartyStock) -> None:
    exchange, messaging = add_element(party, "DocExchange", docExchangeId=name), channel.messaging
    if channel.sending is not None:
        half = channel.sending
        binding = add_element(exchange, "ebXMLSenderBinding", version="2.0")
        _write_reliability(binding, messaging)
        if half.signature is not None:
            signed = add_element(binding, "SenderNonRepudiation")
            _write_signature(signed, half.signature)
            certificate_id = stock.name_certificate("signing", half.signature.signer)
            add_element(signed, "SigningCertificateRef", certId=certificate_id)
        if half.envelope is not None:
            envelope = add_element(binding, "SenderDigitalEnvelope")
            _write_envelope(envelope, half.envelope)
            if half.envelope.trust_anchors:
                trusted = stock.name_anchors(half.envelope.trust_anchors)
                add_element(envelope, "EncryptionSecurityDetailsRef", securityId=trusted)
    if channel.receiving is not None:
        _write_receiver_binding(exchange, messaging, channel.receiving, stock)


def _write_receiver_binding(
    exchange: etree._Element, messaging: MessagingTerms, half: ReceivingTerms, stock: PartyStock
) -> None:
    binding = add_element(exchange, "ebXMLReceiverBinding", version="2.0")
    _write_reliability(binding, messaging)
    if half.signature is not None:
        verified = add_element(binding, "ReceiverNonRepudiation")
        _write_signature(verified, half.signature)
        if half.signature.anchors:
            trusted = stock.name_anchors(half.signature.anchors)
            add_element(verified, "SigningSecurityDetailsRef", securityId=trusted)
    if half.envelope is not None:
        envelope = add_element(binding, "ReceiverDigitalEnvelope")
        _write_envelope(envelope, half.envelope)
        certificate_id = stock.name_certificate("encryption", half.envelope.certificate)
        add_element(envelope, "EncryptionCertificateRef", certId=certificate_id)


def _write_reliability(binding: etree._Element, messaging: MessagingTerms) -> None:
    terms = messaging.reliability
    if messaging.is_reliable:
        reliable = add_element(binding, "ReliableMessaging")
        add_element(reliable, "Retries", str(terms.retries))
        add_element(reliable, "RetryInterval", format_duration(terms.retry_interval))
        semantics = "Guaranteed" if terms.message_order else "NotGuaranteed"
        add_element(reliable, "MessageOrderSemantics", semantics)
    if messaging.is_reliable or terms.persist_duration != _UNSAID.persist_duration:
        add_element(binding, "PersistDuration", format_duration(terms.persist_duration))


def _write_signature(parent: etree._Element, terms: SignatureTerms) -> None:
    add_element(parent, "NonRepudiationProtocol", DS)
    add_element(parent, "HashFunction", terms.hash_function)
    _write_algorithms(parent, "SignatureAlgorithm", terms.algorithms)


def _write_envelope(parent: etree._Element, terms: Encryption) -> None:
    add_element(parent, "DigitalEnvelopeProtocol", terms.protocol, version=terms.protocol_version)
    _write_algorithms(parent, "EncryptionAlgorithm", terms.algorithms)


def _write_algorithms(parent: etree._Element, name: str, algorithms: tuple[str, ...]) -> None:
    """Write algorithms by their URIs; a name without URI stands alone."""
    for algorithm in algorithms:
        add_element(parent, name, algorithm, w3c=algorithm if is_uri(algorithm) else None)


_HEADER: Final = PackagedPart("message-header", "text/xml", namespaces=(EB,))
_TYPE: Final = 'type="text/xml"'
_SIGNAL: Final = Packaging("signal-package", "multipart/related", (_HEADER,), _TYPE)
_PAYLOAD: Final = PackagedPart("payload", "application/xml")
#: The packaging of a message if the agreement does not state it.
_MESSAGE: Final = Packaging("message-package", "multipart/related", (_HEADER, _PAYLOAD), _TYPE)
#: The version of the schema of message headers (ebMS 2.0 §2.2.2).
_HEADER_VERSION: Final = "2.0"
_Shape = tuple[str, str, str | None, tuple[str, ...]]


def _get_shape(part: PackagedPart) -> _Shape:
    return (part.name, part.mime_type, part.role, part.namespaces)


@dataclass(slots=True)
class PackageWriter:
    """The packages of a document; equal ones are written once."""

    names: IdNames
    _packages: dict[Packaging, str] = field(default_factory=dict)
    _parts: dict[_Shape, str] = field(default_factory=dict)

    def name_signal_package(self) -> str:
        """Return the id of the package of signals, which is only a header."""
        return self._name_package(_SIGNAL)

    def name_package(self, packaging: Packaging | None) -> str:
        """Return the id of a package of messages; the message header is its first part."""
        package = packaging or _MESSAGE
        if not package.parts[0].mime_type.lower().startswith("text/xml"):
            package = replace(
                package, parts=(_HEADER, *package.parts), parameters=package.parameters or _TYPE
            )
        return self._name_package(package)

    def _name_package(self, packaging: Packaging) -> str:
        if packaging not in self._packages:
            self._packages[packaging] = self.names.reserve_name(packaging.name)
            for part in packaging.parts:
                self._name_part(part)
        return self._packages[packaging]

    def _name_part(self, part: PackagedPart) -> str:
        shape = _get_shape(part)
        if shape not in self._parts:
            self._parts[shape] = self.names.reserve_name(part.name)
        return self._parts[shape]

    def write_packages(self, root: etree._Element) -> None:
        """Write all simple parts, then all packages."""
        for (_, mime_type, role, namespaces), name in self._parts.items():
            part = add_element(root, "SimplePart", id=name, mimetype=mime_type)
            if role is not None:
                part.set(f"{{{XLINK}}}role", role)
            for namespace in namespaces:
                version = _HEADER_VERSION if namespace == EB else None
                add_element(part, "NamespaceSupported", namespace, location=namespace, version=version)
        for packaging, name in self._packages.items():
            package = add_element(root, "Packaging", id=name)
            add_element(package, "ProcessingCapabilities", parse="true", generate="true")
            self._write_composites(add_element(package, "CompositeList"), packaging, name)

    def _write_composites(self, composites: etree._Element, packaging: Packaging, name: str) -> None:
        wrapped = [self._write_wrappers(composites, part, name) for part in packaging.parts]
        whole = add_element(
            composites,
            "Composite",
            id=self.names.reserve_name(f"{name}-whole"),
            mimetype=packaging.mime_type,
            mimeparameters=packaging.parameters,
        )
        for part, idref in zip(packaging.parts, wrapped, strict=True):
            add_element(
                whole,
                "Constituent",
                idref=idref,
                excludedFromSignature="true" if part.excluded_from_signature else None,
                minOccurs=str(part.min_occurs) if part.min_occurs is not None else None,
                maxOccurs=str(part.max_occurs) if part.max_occurs is not None else None,
            )

    def _write_wrappers(self, composites: etree._Element, part: PackagedPart, name: str) -> str:
        """Write the encapsulations of a part, the innermost first; return the id of the outermost."""
        inner = self._name_part(part)
        for mime_type in reversed(part.wrapper_types):
            wrapper = self.names.reserve_name(f"{name}-wrapped")
            encapsulation = add_element(composites, "Encapsulation", id=wrapper, mimetype=mime_type)
            add_element(encapsulation, "Constituent", idref=inner)
            inner = wrapper
        return inner


STATUS_REQUEST: Final = "StatusRequest"


class SignalPlan(NamedTuple):
    """The channel of signals, and those of single signals by their action."""

    default: str
    overrides: list[tuple[str, str]]


def plan_signals(
    plan: ChannelPlan,
    ids: tuple[PartyId, ...],
    pmodes: Sequence[PMode],
    party: PartyFacts,
    partner: PartyFacts,
) -> SignalPlan:
    """Add the channels of the signals of a party, which has all its other channels.

    A StatusRequest that must be signed is bound to a channel with signatures, also where that is the default
    one (ebMS 2.0 §7.1.1).
    """
    sent = [pmode for pmode in pmodes if pmode.from_party == ids]
    received = [pmode for pmode in pmodes if pmode.to_party == ids]
    signals = {signal.action: signal for pmode in reversed(sent) for signal in pmode.signals}
    general = signals.pop(ANY_SIGNAL, None)
    endpoint = next((pmode.reply_endpoint for pmode in sent if pmode.reply_endpoint), party.endpoint)
    mode = (sent or received)[0].sync_reply_mode
    if general is not None:
        endpoint, mode = general.endpoint or endpoint, general.sync_reply_mode
    signs_status = any(pmode.security.needs_signed_status for pmode in sent)
    pins = next(
        (pmode.security.reply_certificates for pmode in received if pmode.security.reply_certificates), ()
    )
    signs_acknowledgments = any(pmode.reliability.ack_signed != "never" for pmode in received)
    verifies = any(
        pmode.security.reply_certificates or pmode.reliability.ack_signed != "never" for pmode in sent
    ) or any(pmode.security.needs_signed_status for pmode in received)
    # Where only the partner signs, a channel has both halves if there is a certificate for them.
    signed = bool(pins) or signs_acknowledgments or signs_status or (verifies and bool(party.signers))
    writer = _SignalWriter(plan, party, partner, signed)
    signer = next(iter(pins or party.signers), None)
    default = writer.add_channel(endpoint, mode, signer)
    overrides = []
    for action, signal in sorted(signals.items()):
        signers = _list_signers(action, received) or ((signer,) if signer is not None else ())
        channel = writer.add_channel(
            signal.endpoint or endpoint, signal.sync_reply_mode, next(iter(signers), None)
        )
        overrides.append((action, channel))
    if signs_status and STATUS_REQUEST not in signals:
        overrides.append((STATUS_REQUEST, default))
    return SignalPlan(default, overrides)


def _list_signers(action: str, received: Sequence[PMode]) -> tuple[str, ...]:
    """Return the certificates with which a party signs a signal."""
    listed = (signal for pmode in received for signal in pmode.signals if signal.action == action)
    return next((signal.certificates for signal in listed if signal.certificates), ())


class _SignalWriter(NamedTuple):
    """Adds channels for the signals of a party, `signed` ones or not; TLS is as on its other channels."""

    plan: ChannelPlan
    party_facts: PartyFacts
    partner: PartyFacts
    signed: bool

    def add_channel(self, endpoint: str | None, mode: str, signer: str | None) -> str:
        """Return the id of a channel for signals, which are neither acknowledged nor repeated."""
        digest = find_algorithm_uri(self.party_facts.hash_function)
        own_signature = partner_signature = None
        if self.signed:
            own_signature = SignatureTerms(self.party_facts.algorithms, digest, signer)
            partner_signature = SignatureTerms(self.partner.algorithms, digest, anchors=self.partner.signers)
        halves = [(channel.sending, channel.receiving) for channel in self.plan.channels]
        client = next((sending.tls for sending, _ in halves if sending and sending.tls), None)
        server = next((receiving.tls for _, receiving in halves if receiving and receiving.tls), None)
        return self.plan.add_both(
            MessagingTerms(mode, SILENT),
            SendingTerms(own_signature, tls=client),
            ReceivingTerms(
                list_endpoints(endpoint), partner_signature, tls=server if is_secure(endpoint) else None
            ),
        )
