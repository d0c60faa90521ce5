"""Writes the channels of one party: how it sends, how it receives, and how its signals travel."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from lxml import etree

from gateway.agreements.cpa.cpa_values import format_duration
from gateway.agreements.cpa.element_writer import IdNames, PartyStock, add_element
from gateway.agreements.pmode import PMode
from gateway.agreements.pmode_values import Encryption, Reliability, TransportTerms, TypedEndpoint
from gateway.wire import DS, DSIG_MORE, XENC

__all__ = ["ChannelOrder", "ChannelWriter", "order_receiving", "order_sending"]

_CHOICES: Final = {"always": "always", "never": "never", "per_message": "perMessage"}
_ACTOR: Final = "urn:oasis:names:tc:ebxml-msg:actor:"
_HASH: Final = f"{XENC}sha256"
_SIGNATURE: Final = f"{DSIG_MORE}rsa-sha256"
_OPEN: Final = TransportTerms()
_SILENT: Final = Reliability("never", "never", "never", 0)


@dataclass(frozen=True, slots=True)
class ChannelOrder:
    """What a channel shall say; two channels of one party that say the same are one.

    `signer` is the certificate that signs (None: not described; an empty text: a registered one),
    `anchors` whom the party believes as a receiver of signatures, None where it receives none.
    """

    sync_reply_mode: str
    reliability: Reliability
    sends: bool
    receives: bool
    reliable: bool = True
    signer: str | None = None
    algorithms: tuple[str, ...] = ()
    hash_function: str | None = None
    anchors: tuple[str, ...] | None = None
    encryption: Encryption | None = None
    transport: TransportTerms = _OPEN
    mutual: bool = False
    endpoints: tuple[TypedEndpoint, ...] = ()


def _make_base(pmode: PMode, signer: str | None) -> dict[str, object]:
    security = pmode.security
    return {
        "algorithms": security.signature_algorithms or (_SIGNATURE,),
        "hash_function": security.hash_function or _HASH,
        "encryption": pmode.encryption,
        "transport": pmode.transport,
        "mutual": security.mutual_tls,
        "signer": signer,
    }


def order_sending(
    pmode: PMode, sync_reply_mode: str | None = None, reliability: Reliability | None = None
) -> ChannelOrder:
    """Return the channel by which the From party of a P-Mode sends."""
    pins = pmode.security.certificates
    described = pmode.security.sign or bool(pins)
    return ChannelOrder(
        sync_reply_mode or pmode.sync_reply_mode,
        reliability or pmode.reliability,
        sends=True,
        receives=False,
        **_make_base(pmode, (pins[0] if pins else "") if described else None),  # type: ignore[arg-type]
    )


def order_receiving(
    pmode: PMode,
    endpoint: str | None,
    sync_reply_mode: str | None = None,
    reliability: Reliability | None = None,
) -> ChannelOrder:
    """Return the channel by which the To party of a P-Mode receives at an endpoint."""
    security, urls = pmode.security, pmode.endpoints
    if not urls or endpoint != pmode.endpoint:
        urls = (TypedEndpoint("allPurpose", endpoint),) if endpoint is not None else ()
    described = security.sign or bool(security.trust_anchors)
    return ChannelOrder(
        sync_reply_mode or pmode.sync_reply_mode,
        reliability or pmode.reliability,
        sends=False,
        receives=True,
        anchors=security.trust_anchors if described else None,
        endpoints=urls,
        **_make_base(pmode, None),  # type: ignore[arg-type]
    )


@dataclass(slots=True)
class ChannelWriter:
    """The channels of one party of a document."""

    prefix: str
    names: IdNames
    stock: PartyStock
    _known: dict[ChannelOrder, str] = field(default_factory=dict)

    def name_channel(self, order: ChannelOrder, wanted: str | None = None) -> str:
        """Return the id of the channel that says what is ordered; `wanted` where that is free."""
        if order not in self._known:
            self._known[order] = self.names.reserve_name(wanted or f"{self.prefix}-channel")
        return self._known[order]

    def order_signals(
        self, endpoint: str | None, sync_reply_mode: str, signer: str | None, transport: TransportTerms
    ) -> ChannelOrder:
        """Return a channel for signals, which are neither acknowledged nor repeated."""
        urls = (TypedEndpoint("allPurpose", endpoint),) if endpoint is not None else ()
        return ChannelOrder(
            sync_reply_mode,
            _SILENT,
            sends=True,
            receives=True,
            reliable=False,
            signer=signer,
            algorithms=(_SIGNATURE,),
            hash_function=_HASH,
            transport=transport,
            endpoints=urls,
        )

    def write_channels(self, party: etree._Element) -> None:
        """Write all channels, then all transports, then all document exchanges."""
        parts = {
            order: (
                name,
                self.names.reserve_name(f"{name}-transport"),
                self.names.reserve_name(f"{name}-exchange"),
            )
            for order, name in self._known.items()
        }
        for order, (name, transport, exchange) in parts.items():
            _write_channel(party, order, name, transport, exchange)
        for order, (_, transport, _) in parts.items():
            self._write_transport(party, order, transport)
        for order, (_, _, exchange) in parts.items():
            self._write_exchange(party, order, exchange)

    def _write_transport(self, party: etree._Element, order: ChannelOrder, name: str) -> None:
        transport, terms = add_element(party, "Transport", transportId=name), order.transport
        if order.sends:
            sender = add_element(transport, "TransportSender")
            add_element(sender, "TransportProtocol", "HTTP", version=terms.protocol_version)
            if order.mutual or terms.security_protocol is not None or terms.client_certificate:
                self._write_client_security(sender, order)
        if order.receives and order.endpoints:
            receiver = add_element(transport, "TransportReceiver")
            add_element(receiver, "TransportProtocol", "HTTP", version=terms.protocol_version)
            for one in terms.authentication:
                add_element(receiver, "AccessAuthentication", one)
            for url in order.endpoints:
                add_element(receiver, "Endpoint", uri=url.url, type=url.kind)
            if order.mutual or terms.server_certificate or terms.client_anchors:
                self._write_server_security(receiver, order)

    def _write_client_security(self, sender: etree._Element, order: ChannelOrder) -> None:
        terms = order.transport
        secured = add_element(sender, "TransportClientSecurity")
        _write_tls(secured, terms)
        if order.mutual or terms.client_certificate is not None:
            shown = self.stock.name_certificate(terms.client_certificate)
            add_element(secured, "ClientCertificateRef", certId=shown)
        if terms.server_anchors:
            believed = self.stock.name_anchors(terms.server_anchors)
            add_element(secured, "ServerSecurityDetailsRef", securityId=believed)
        _write_algorithms(secured, "EncryptionAlgorithm", terms.ciphers)

    def _write_server_security(self, receiver: etree._Element, order: ChannelOrder) -> None:
        terms = order.transport
        secured = add_element(receiver, "TransportServerSecurity")
        _write_tls(secured, terms)
        held = self.stock.name_certificate(terms.server_certificate)
        add_element(secured, "ServerCertificateRef", certId=held)
        if order.mutual or terms.client_anchors:
            believed = self.stock.name_anchors(terms.client_anchors)
            add_element(secured, "ClientSecurityDetailsRef", securityId=believed)
        _write_algorithms(secured, "EncryptionAlgorithm", terms.ciphers)

    def _write_exchange(self, party: etree._Element, order: ChannelOrder, name: str) -> None:
        exchange = add_element(party, "DocExchange", docExchangeId=name)
        if order.sends:
            binding = add_element(exchange, "ebXMLSenderBinding", version="2.0")
            _write_reliability(binding, order)
            if order.signer is not None:
                signed = add_element(binding, "SenderNonRepudiation")
                _write_signature(signed, order)
                held = self.stock.name_certificate(order.signer or None)
                add_element(signed, "SigningCertificateRef", certId=held)
            self._write_sender_envelope(binding, order.encryption)
        if order.receives:
            binding = add_element(exchange, "ebXMLReceiverBinding", version="2.0")
            _write_reliability(binding, order)
            if order.anchors is not None:
                verified = add_element(binding, "ReceiverNonRepudiation")
                _write_signature(verified, order)
                if order.anchors:
                    believed = self.stock.name_anchors(order.anchors)
                    add_element(verified, "SigningSecurityDetailsRef", securityId=believed)
            self._write_receiver_envelope(binding, order.encryption)

    def _write_sender_envelope(self, binding: etree._Element, terms: Encryption | None) -> None:
        if terms is None:
            return
        envelope = add_element(binding, "SenderDigitalEnvelope")
        _write_envelope(envelope, terms)
        if terms.trust_anchors:
            believed = self.stock.name_anchors(terms.trust_anchors)
            add_element(envelope, "EncryptionSecurityDetailsRef", securityId=believed)

    def _write_receiver_envelope(self, binding: etree._Element, terms: Encryption | None) -> None:
        if terms is None:
            return
        envelope = add_element(binding, "ReceiverDigitalEnvelope")
        _write_envelope(envelope, terms)
        held = self.stock.name_certificate(terms.certificate)
        add_element(envelope, "EncryptionCertificateRef", certId=held)


def _write_channel(
    party: etree._Element, order: ChannelOrder, name: str, transport: str, exchange: str
) -> None:
    terms = order.reliability
    channel = add_element(
        party, "DeliveryChannel", channelId=name, transportId=transport, docExchangeId=exchange
    )
    add_element(
        channel,
        "MessagingCharacteristics",
        syncReplyMode=order.sync_reply_mode,
        ackRequested=_CHOICES[terms.ack_requested],
        ackSignatureRequested=_CHOICES[terms.ack_signed],
        duplicateElimination=_CHOICES[terms.duplicate_elimination],
        actor=_ACTOR + terms.ack_actor,
    )


def _write_tls(secured: etree._Element, terms: TransportTerms) -> None:
    version = terms.security_version if terms.security_protocol is not None else "1.2"
    add_element(secured, "TransportSecurityProtocol", terms.security_protocol or "TLS", version=version)


def _write_algorithms(parent: etree._Element, name: str, algorithms: tuple[str, ...]) -> None:
    for one in algorithms:
        add_element(parent, name, one)


def _write_reliability(binding: etree._Element, order: ChannelOrder) -> None:
    terms = order.reliability
    if not order.reliable:
        return
    reliable = add_element(binding, "ReliableMessaging")
    add_element(reliable, "Retries", str(terms.retries))
    add_element(reliable, "RetryInterval", format_duration(terms.retry_interval))
    words = "Guaranteed" if terms.message_order else "NotGuaranteed"
    add_element(reliable, "MessageOrderSemantics", words)
    add_element(binding, "PersistDuration", format_duration(terms.persist_duration))


def _write_signature(parent: etree._Element, order: ChannelOrder) -> None:
    add_element(parent, "NonRepudiationProtocol", DS)
    add_element(parent, "HashFunction", order.hash_function)
    for one in order.algorithms:
        add_element(parent, "SignatureAlgorithm", one, w3c=one)


def _write_envelope(parent: etree._Element, terms: Encryption) -> None:
    add_element(parent, "DigitalEnvelopeProtocol", terms.protocol, version=terms.protocol_version)
    _write_algorithms(parent, "EncryptionAlgorithm", terms.algorithms)
