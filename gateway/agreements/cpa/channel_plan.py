"""The facts about a party, and its channels: how it sends, receives and acknowledges messages.

Real agreements describe both halves of each channel. A P-Mode describes one half for its sender and one half
for its receiver; this module joins the two halves.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from gateway.agreements.cpa.cpa_values import find_algorithm_uri
from gateway.agreements.cpa.element_writer import DocumentIds
from gateway.agreements.pmode import PMode
from gateway.agreements.pmode_values import Encryption, Reliability, TransportTerms, TypedEndpoint
from gateway.errors import GatewayError
from gateway.message_model import PartyId
from gateway.pki import PATH_RULES, RSA_SHA256, get_signature_algorithm, read_certificate
from gateway.wire import DSIG_MORE, XENC

_DEFAULT_HASH_FUNCTION: Final = f"{XENC}sha256"
#: The algorithms of a party whose key is not known, the usual one first.
_DEFAULT_ALGORITHMS: Final = (RSA_SHA256, *(f"{DSIG_MORE}ecdsa-sha{bits}" for bits in (256, 384, 512)))


@dataclass(frozen=True, slots=True)
class RegisteredParty:
    """A party as it is registered: its name, and its certificates (SHA-256) by use, the one to use first.

    `client_certificate` and `server_certificate` are those of TLS. They are written to a CPA where the
    P-Modes name no certificate.
    """

    name: str
    signing_certificates: tuple[str, ...] = ()
    encryption_certificates: tuple[str, ...] = ()
    client_certificate: str | None = None
    server_certificate: str | None = None


@dataclass(frozen=True, slots=True)
class PartyTerms:
    """The facts about a party that hold in the whole agreement; certificates are named by SHA-256.

    `signers` and `algorithms` are those of its signatures; others encrypt for the certificate
    `decryption_certificate`.
    """

    name: str
    endpoint: str | None
    signers: tuple[str, ...]
    algorithms: tuple[str, ...]
    hash_function: str
    decryption_certificate: str | None
    client_certificate: str | None
    server_certificate: str | None


def collect_party_terms(
    party_ids: tuple[PartyId, ...],
    pmodes: Sequence[PMode],
    parties: Mapping[PartyId, RegisteredParty],
    certificates: Mapping[str, bytes],
) -> PartyTerms:
    """Return the facts about the party with these identifiers; `certificates` are DER octets by SHA-256."""
    registered_party = next(
        (parties[identifier] for identifier in party_ids if identifier in parties),
        RegisteredParty(party_ids[0].value),
    )
    sent_pmodes = [pmode for pmode in pmodes if pmode.from_party == party_ids]
    received_pmodes = [pmode for pmode in pmodes if pmode.to_party == party_ids]
    endpoints = (
        *(pmode.reply_endpoint for pmode in sent_pmodes),
        *(pmode.endpoint for pmode in received_pmodes),
    )
    signer_candidates = (
        *(pmode.security.certificates for pmode in sent_pmodes),
        *(pmode.security.reply_certificates for pmode in received_pmodes),
        registered_party.signing_certificates,
    )
    signers = next(filter(None, signer_candidates), ())
    agreed_algorithms = next(
        (pmode.security.signature_algorithms for pmode in sent_pmodes if pmode.security.signature_algorithms),
        (),
    )
    decryption_certificates = (
        *(pmode.encryption.certificate for pmode in received_pmodes if pmode.encryption),
        *registered_party.encryption_certificates,
    )
    client_certificates = (
        *(pmode.transport.client_certificate for pmode in sent_pmodes),
        registered_party.client_certificate,
    )
    server_certificates = (
        *(pmode.transport.server_certificate for pmode in received_pmodes),
        registered_party.server_certificate,
    )
    return PartyTerms(
        registered_party.name,
        next(filter(None, endpoints), None),
        signers,
        tuple(map(find_algorithm_uri, agreed_algorithms)) or _find_key_algorithms(signers, certificates),
        next(
            (pmode.security.hash_function for pmode in sent_pmodes if pmode.security.hash_function),
            _DEFAULT_HASH_FUNCTION,
        ),
        next(filter(None, decryption_certificates), None),
        next(filter(None, client_certificates), None),
        next(filter(None, server_certificates), None),
    )


def _find_key_algorithms(pins: Sequence[str], certificates: Mapping[str, bytes]) -> tuple[str, ...]:
    """Return the algorithm by which the key of the first certificate signs; several where it is not here."""
    certificate_octets = certificates.get(pins[0]) if pins else None
    if certificate_octets is None:
        return _DEFAULT_ALGORITHMS
    try:
        return (get_signature_algorithm(read_certificate(certificate_octets, PATH_RULES).public_key),)
    except GatewayError:
        return _DEFAULT_ALGORITHMS


_HTTP_VERSION: Final = "1.1"
#: The version of a digital envelope where the agreement names none.
_ENVELOPE_VERSIONS: Final = {"XMLENC": "1.0", "S/MIME": "2.0"}


@dataclass(frozen=True, slots=True)
class MessagingTerms:
    """How messages are answered, acknowledged and repeated (``MessagingCharacteristics``)."""

    sync_reply_mode: str
    reliability: Reliability

    @property
    def is_reliable(self) -> bool:
        """Return whether messages are acknowledged or repeated, which ReliableMessaging describes."""
        terms = self.reliability
        return terms.ack_requested != "never" or terms.retries > 0 or terms.message_order


#: What holds for signals, which are neither acknowledged nor repeated.
SIGNAL_RELIABILITY: Final = Reliability("never", "never", "never", 0)


@dataclass(frozen=True, slots=True)
class TlsTerms:
    """The TLS terms of one end: the certificate that it shows, and the `anchors` that it trusts (SHA-256)."""

    protocol: str = "TLS"
    version: str | None = "1.2"
    certificate: str | None = None
    anchors: tuple[str, ...] = ()
    ciphers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SignatureTerms:
    """How signatures are made (`signer`; None: a registered certificate) or verified (`anchors`)."""

    algorithms: tuple[str, ...]
    hash_function: str
    signer: str | None = None
    anchors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SendingTerms:
    """One half of a channel: ``TransportSender`` and ``ebXMLSenderBinding``."""

    signature: SignatureTerms | None = None
    envelope: Encryption | None = None
    tls: TlsTerms | None = None
    protocol_version: str = _HTTP_VERSION


@dataclass(frozen=True, slots=True)
class ReceivingTerms:
    """The other half: ``TransportReceiver`` and ``ebXMLReceiverBinding``."""

    endpoints: tuple[TypedEndpoint, ...] = ()
    signature: SignatureTerms | None = None
    envelope: Encryption | None = None
    tls: TlsTerms | None = None
    authentication: tuple[str, ...] = ()
    protocol_version: str = _HTTP_VERSION


def make_sending_terms(pmode: PMode, sender: PartyTerms, receiver: PartyTerms) -> SendingTerms:
    """Return the terms by which the From party of a P-Mode sends."""
    security, transport = pmode.security, pmode.transport
    signature = None
    if security.sign or security.certificates:
        signers = security.certificates or sender.signers
        signature = _make_signature(pmode, sender, signer=next(iter(signers), None))
    server_certificate = transport.server_certificate or receiver.server_certificate
    uses_tls = security.mutual_tls or transport.security_protocol is not None or transport.client_certificate
    tls = None
    if uses_tls or is_secure(pmode.endpoint):
        client_certificate = transport.client_certificate or (
            sender.client_certificate if security.mutual_tls else None
        )
        anchors = transport.server_anchors or tuple(filter(None, (server_certificate,)))
        tls = _make_tls(transport, client_certificate, anchors)
    return SendingTerms(
        signature,
        _make_envelope(pmode.encryption, None, is_sender=True),
        tls,
        transport.protocol_version or _HTTP_VERSION,
    )


def make_receiving_terms(
    pmode: PMode, sender: PartyTerms, receiver: PartyTerms, endpoint: str | None
) -> ReceivingTerms:
    """Return the terms by which the To party of a P-Mode receives at an endpoint."""
    security, transport, endpoints = pmode.security, pmode.transport, pmode.endpoints
    if not endpoints or endpoint != pmode.endpoint:
        endpoints = list_endpoints(endpoint)
    signature = None
    if security.sign or security.trust_anchors:
        signers = security.trust_anchors or security.certificates or sender.signers
        signature = _make_signature(pmode, sender, anchors=signers)
    server_certificate = transport.server_certificate or receiver.server_certificate
    uses_tls = transport.server_certificate or (
        server_certificate and (security.mutual_tls or transport.client_anchors)
    )
    tls = None
    if uses_tls or is_secure(endpoint):
        client_certificate = transport.client_certificate or sender.client_certificate
        client_anchors = tuple(filter(None, (client_certificate,))) if security.mutual_tls else ()
        tls = _make_tls(transport, server_certificate, transport.client_anchors or client_anchors)
    pin = pmode.encryption.certificate if pmode.encryption is not None else None
    return ReceivingTerms(
        endpoints,
        signature,
        _make_envelope(pmode.encryption, pin or receiver.decryption_certificate),
        tls,
        transport.authentication,
        transport.protocol_version or _HTTP_VERSION,
    )


def derive_sending_terms(
    receiving_terms: ReceivingTerms, party: PartyTerms, partner: PartyTerms, signer: str | None
) -> SendingTerms:
    """Return the sending terms of a party for a channel of which only its receiving terms are known."""
    signature = receiving_terms.signature
    if signature is not None:
        own_signer = signer or next(iter(party.signers), None)
        signature = SignatureTerms(party.algorithms, signature.hash_function, own_signer)
    tls = receiving_terms.tls
    if tls is not None:
        tls = replace(
            tls,
            certificate=party.client_certificate,
            anchors=tuple(filter(None, (partner.server_certificate,))),
        )
    envelope = _make_envelope(receiving_terms.envelope, None)
    return SendingTerms(signature, envelope, tls, receiving_terms.protocol_version)


def derive_receiving_terms(
    sending_terms: SendingTerms, party: PartyTerms, partner: PartyTerms
) -> ReceivingTerms:
    """Return the receiving terms of a party for a channel of which only its sending terms are known."""
    signature, envelope, tls = sending_terms.signature, sending_terms.envelope, None
    if signature is not None:
        signature = SignatureTerms(partner.algorithms, signature.hash_function, anchors=partner.signers)
    if envelope is not None:
        # No message is encrypted for a party without a decryption certificate.
        envelope = (
            _make_envelope(envelope, party.decryption_certificate)
            if party.decryption_certificate is not None
            else None
        )
    if is_secure(party.endpoint):
        tls = replace(
            sending_terms.tls or TlsTerms(),
            certificate=party.server_certificate,
            anchors=tuple(filter(None, (partner.client_certificate,))),
        )
    return ReceivingTerms(
        list_endpoints(party.endpoint),
        signature,
        envelope,
        tls,
        protocol_version=sending_terms.protocol_version,
    )


def is_secure(endpoint: str | None) -> bool:
    """Return whether an endpoint is reached over TLS."""
    return endpoint is not None and endpoint.lower().startswith("https:")


def list_endpoints(endpoint: str | None) -> tuple[TypedEndpoint, ...]:
    """Return an endpoint for all purposes as a tuple of one; an empty tuple if `endpoint` is None."""
    return (TypedEndpoint("allPurpose", endpoint),) if endpoint is not None else ()


def _make_signature(
    pmode: PMode, sender: PartyTerms, *, signer: str | None = None, anchors: tuple[str, ...] = ()
) -> SignatureTerms:
    agreed_algorithms = tuple(map(find_algorithm_uri, pmode.security.signature_algorithms))
    hash_function = find_algorithm_uri(pmode.security.hash_function or sender.hash_function)
    return SignatureTerms(agreed_algorithms or sender.algorithms, hash_function, signer, anchors)


def _make_tls(transport: TransportTerms, certificate: str | None, anchors: tuple[str, ...]) -> TlsTerms:
    """Return TLS terms, by default TLS 1.2; `certificate` and `anchors` are SHA-256 digests."""
    has_protocol = transport.security_protocol is not None
    return TlsTerms(
        transport.security_protocol or "TLS",
        transport.security_version if has_protocol else "1.2",
        certificate,
        anchors,
        transport.ciphers,
    )


def _make_envelope(
    terms: Encryption | None, certificate: str | None, *, is_sender: bool = False
) -> Encryption | None:
    """Return an envelope with its algorithms as URIs: ciphers stand before the transport of keys.

    The sender has trust anchors, the receiver the certificate; the policy is a matter of the hub.
    """
    if terms is None:
        return None
    algorithms = map(find_algorithm_uri, terms.algorithms)
    sorted_algorithms = tuple(sorted(algorithms, key=lambda uri: "rsa" in uri.rpartition("#")[2]))
    version = terms.protocol_version or _ENVELOPE_VERSIONS.get(terms.protocol)
    anchors = terms.trust_anchors if is_sender else ()
    return Encryption(terms.protocol, sorted_algorithms, certificate, version, anchors)


@dataclass(slots=True)
class PlannedChannel:
    """A channel with those of its halves that are known; `signers` may sign the messages sent through it."""

    channel_id: str
    messaging: MessagingTerms
    sending: SendingTerms | None = None
    receiving: ReceivingTerms | None = None
    signers: tuple[str, ...] = ()

    def can_receive(self, receiving_terms: ReceivingTerms) -> bool:
        """Return whether this channel can take `receiving_terms` as its receiving half.

        It can if its receiving half is not known yet, and its sending half uses a signature, an envelope and
        TLS exactly where `receiving_terms` does.
        """
        sending_terms = self.sending
        return (
            self.receiving is None
            and sending_terms is not None
            and (sending_terms.signature is None) == (receiving_terms.signature is None)
            and (sending_terms.envelope is None) == (receiving_terms.envelope is None)
            and (sending_terms.tls is None) == (receiving_terms.tls is None)
        )


@dataclass(slots=True)
class ChannelPlan:
    """The channels of one party; two that say the same are one."""

    prefix: str
    document_ids: DocumentIds
    channels: list[PlannedChannel] = field(default_factory=list)

    def add_sending_channel(
        self, messaging: MessagingTerms, sending_terms: SendingTerms, preferred_name: str
    ) -> str:
        """Return the id of the channel with these sending terms; add it if there is none.

        A new channel gets the id `preferred_name` if that is free.
        """
        for channel in self.channels:
            if channel.messaging == messaging and channel.sending == sending_terms:
                return channel.channel_id
        return self._append_channel(
            PlannedChannel(self._reserve_channel_id(preferred_name), messaging, sending=sending_terms)
        )

    def add_receiving_channel(
        self, messaging: MessagingTerms, receiving_terms: ReceivingTerms, signers: tuple[str, ...] = ()
    ) -> str:
        """Return the id of the channel with these receiving terms, whose messages one of `signers` may sign.

        It is an equal channel, else a channel whose receiving half is free, else a new one. Add the channels
        for sending first.
        """
        equal_channels = [channel for channel in self.channels if channel.messaging == messaging]
        for channel in equal_channels:
            has_signers = (
                channel.signers == signers if channel.sending is None else _has_signer(channel, signers)
            )
            if channel.receiving == receiving_terms and has_signers:
                return channel.channel_id
        free_channels = [channel for channel in equal_channels if channel.can_receive(receiving_terms)]
        if free_channels:
            chosen_channel = max(free_channels, key=lambda channel: _has_signer(channel, signers))
            chosen_channel.receiving = receiving_terms
            return chosen_channel.channel_id
        return self._append_channel(
            PlannedChannel(
                self._reserve_channel_id(""), messaging, receiving=receiving_terms, signers=signers
            )
        )

    def add_signal_channel(
        self, messaging: MessagingTerms, sending: SendingTerms, receiving: ReceivingTerms
    ) -> str:
        """Return the id of a channel for signals."""
        for channel in self.channels:
            if (channel.messaging, channel.sending, channel.receiving) == (messaging, sending, receiving):
                return channel.channel_id
        channel_id = self.document_ids.reserve_id(f"{self.prefix}-signals")
        return self._append_channel(PlannedChannel(channel_id, messaging, sending, receiving))

    def complete_halves(self, party: PartyTerms, partner: PartyTerms) -> None:
        """Give each channel the half that no P-Mode describes."""
        for channel in self.channels:
            if channel.sending is None and channel.receiving is not None:
                signer = next(iter(channel.signers[::-1]), None)
                channel.sending = derive_sending_terms(channel.receiving, party, partner, signer)
            elif channel.receiving is None and channel.sending is not None:
                channel.receiving = derive_receiving_terms(channel.sending, party, partner)

    def _append_channel(self, channel: PlannedChannel) -> str:
        self.channels.append(channel)
        return channel.channel_id

    def _reserve_channel_id(self, preferred_name: str) -> str:
        return self.document_ids.reserve_id(preferred_name or f"{self.prefix}-channel")


def _has_signer(channel: PlannedChannel, signers: Collection[str]) -> bool:
    """Return whether one of `signers` signs the messages sent through a channel; True if either is absent."""
    signature = channel.sending.signature if channel.sending is not None else None
    return not signers or signature is None or signature.signer in signers
