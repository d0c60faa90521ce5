"""The facts about a party, and its channels: how it sends, receives and acknowledges messages.

Real agreements describe both halves of each channel. A P-Mode describes one half for its sender and one half
for its receiver; this module joins the two halves.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from gateway.agreements.cpa.cpa_values import find_algorithm_uri
from gateway.agreements.cpa.element_writer import IdNames
from gateway.agreements.pmode import PMode
from gateway.agreements.pmode_values import Encryption, Reliability, TransportTerms, TypedEndpoint
from gateway.errors import GatewayError
from gateway.message_model import PartyId
from gateway.pki import PATH_RULES, RSA_SHA256, get_signature_algorithm, read_certificate
from gateway.wire import DSIG_MORE, XENC

_HASH: Final = f"{XENC}sha256"
#: The algorithms of a party whose key is not known, the usual one first.
_USUAL: Final = (RSA_SHA256, *(f"{DSIG_MORE}ecdsa-sha{bits}" for bits in (256, 384, 512)))


@dataclass(frozen=True, slots=True)
class RegisteredParty:
    """A party as it is registered: its name, and its certificates (SHA-256) by use, the one to use first.

    `client` and `server` are those of TLS. They are written to a CPA where the P-Modes name no certificate.
    """

    name: str
    signing: tuple[str, ...] = ()
    encryption: tuple[str, ...] = ()
    client: str | None = None
    server: str | None = None


@dataclass(frozen=True, slots=True)
class PartyFacts:
    """The facts about a party that hold in the whole agreement; certificates are named by SHA-256.

    `signers` and `algorithms` are those of its signatures; others encrypt for the certificate `decryption`.
    """

    name: str
    endpoint: str | None
    signers: tuple[str, ...]
    algorithms: tuple[str, ...]
    hash_function: str
    decryption: str | None
    client: str | None
    server: str | None


def collect_party_facts(
    ids: tuple[PartyId, ...],
    pmodes: Sequence[PMode],
    parties: Mapping[PartyId, RegisteredParty],
    certificates: Mapping[str, bytes],
) -> PartyFacts:
    """Return the facts about the party with these identifiers; `certificates` are DER octets by SHA-256."""
    registered = next(
        (parties[identifier] for identifier in ids if identifier in parties), RegisteredParty(ids[0].value)
    )
    sent = [pmode for pmode in pmodes if pmode.from_party == ids]
    received = [pmode for pmode in pmodes if pmode.to_party == ids]
    endpoints = (*(pmode.reply_endpoint for pmode in sent), *(pmode.endpoint for pmode in received))
    pins = (
        *(pmode.security.certificates for pmode in sent),
        *(pmode.security.reply_certificates for pmode in received),
        registered.signing,
    )
    signers = next(filter(None, pins), ())
    agreed = next(
        (pmode.security.signature_algorithms for pmode in sent if pmode.security.signature_algorithms), ()
    )
    decrypting = (
        *(pmode.encryption.certificate for pmode in received if pmode.encryption),
        *registered.encryption,
    )
    clients = (*(pmode.transport.client_certificate for pmode in sent), registered.client)
    servers = (*(pmode.transport.server_certificate for pmode in received), registered.server)
    return PartyFacts(
        registered.name,
        next(filter(None, endpoints), None),
        signers,
        tuple(map(find_algorithm_uri, agreed)) or _find_key_algorithms(signers, certificates),
        next((pmode.security.hash_function for pmode in sent if pmode.security.hash_function), _HASH),
        next(filter(None, decrypting), None),
        next(filter(None, clients), None),
        next(filter(None, servers), None),
    )


def _find_key_algorithms(pins: Sequence[str], certificates: Mapping[str, bytes]) -> tuple[str, ...]:
    """Return the algorithm by which the key of the first certificate signs; several where it is not here."""
    octets = certificates.get(pins[0]) if pins else None
    if octets is None:
        return _USUAL
    try:
        return (get_signature_algorithm(read_certificate(octets, PATH_RULES).public_key),)
    except GatewayError:
        return _USUAL


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
SILENT: Final = Reliability("never", "never", "never", 0)


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


def make_sending_terms(pmode: PMode, sender: PartyFacts, receiver: PartyFacts) -> SendingTerms:
    """Return the terms by which the From party of a P-Mode sends."""
    security, transport = pmode.security, pmode.transport
    signature = None
    if security.sign or security.certificates:
        signers = security.certificates or sender.signers
        signature = _make_signature(pmode, sender, signer=next(iter(signers), None))
    server = transport.server_certificate or receiver.server
    secured = security.mutual_tls or transport.security_protocol is not None or transport.client_certificate
    tls = None
    if secured or is_secure(pmode.endpoint):
        client = transport.client_certificate or (sender.client if security.mutual_tls else None)
        anchors = transport.server_anchors or tuple(filter(None, (server,)))
        tls = _make_tls(transport, client, anchors)
    return SendingTerms(
        signature,
        _make_envelope(pmode.encryption, None, sends=True),
        tls,
        transport.protocol_version or _HTTP_VERSION,
    )


def make_receiving_terms(
    pmode: PMode, sender: PartyFacts, receiver: PartyFacts, endpoint: str | None
) -> ReceivingTerms:
    """Return the terms by which the To party of a P-Mode receives at an endpoint."""
    security, transport, urls = pmode.security, pmode.transport, pmode.endpoints
    if not urls or endpoint != pmode.endpoint:
        urls = list_endpoints(endpoint)
    signature = None
    if security.sign or security.trust_anchors:
        signers = security.trust_anchors or security.certificates or sender.signers
        signature = _make_signature(pmode, sender, anchors=signers)
    server = transport.server_certificate or receiver.server
    secured = transport.server_certificate or (server and (security.mutual_tls or transport.client_anchors))
    tls = None
    if secured or is_secure(endpoint):
        client = transport.client_certificate or sender.client
        clients = tuple(filter(None, (client,))) if security.mutual_tls else ()
        tls = _make_tls(transport, server, transport.client_anchors or clients)
    pin = pmode.encryption.certificate if pmode.encryption is not None else None
    return ReceivingTerms(
        urls,
        signature,
        _make_envelope(pmode.encryption, pin or receiver.decryption),
        tls,
        transport.authentication,
        transport.protocol_version or _HTTP_VERSION,
    )


def mirror_sending(
    half: ReceivingTerms, party: PartyFacts, partner: PartyFacts, signer: str | None
) -> SendingTerms:
    """Return the sending terms of a party for a channel of which only its receiving terms are known."""
    signature = half.signature
    if signature is not None:
        own_signer = signer or next(iter(party.signers), None)
        signature = SignatureTerms(party.algorithms, signature.hash_function, own_signer)
    tls = half.tls
    if tls is not None:
        tls = replace(tls, certificate=party.client, anchors=tuple(filter(None, (partner.server,))))
    envelope = _make_envelope(half.envelope, None)
    return SendingTerms(signature, envelope, tls, half.protocol_version)


def mirror_receiving(half: SendingTerms, party: PartyFacts, partner: PartyFacts) -> ReceivingTerms:
    """Return the receiving terms of a party for a channel of which only its sending terms are known."""
    signature, envelope, tls = half.signature, half.envelope, None
    if signature is not None:
        signature = SignatureTerms(partner.algorithms, signature.hash_function, anchors=partner.signers)
    if envelope is not None:
        # No message is encrypted for a party without a decryption certificate.
        envelope = _make_envelope(envelope, party.decryption) if party.decryption is not None else None
    if is_secure(party.endpoint):
        tls = replace(
            half.tls or TlsTerms(), certificate=party.server, anchors=tuple(filter(None, (partner.client,)))
        )
    return ReceivingTerms(
        list_endpoints(party.endpoint), signature, envelope, tls, protocol_version=half.protocol_version
    )


def is_secure(endpoint: str | None) -> bool:
    """Return whether an endpoint is reached over TLS."""
    return endpoint is not None and endpoint.lower().startswith("https:")


def list_endpoints(endpoint: str | None) -> tuple[TypedEndpoint, ...]:
    """Return an endpoint for all purposes as a tuple of one; an empty tuple if `endpoint` is None."""
    return (TypedEndpoint("allPurpose", endpoint),) if endpoint is not None else ()


def _make_signature(
    pmode: PMode, sender: PartyFacts, *, signer: str | None = None, anchors: tuple[str, ...] = ()
) -> SignatureTerms:
    agreed = tuple(map(find_algorithm_uri, pmode.security.signature_algorithms))
    digest = find_algorithm_uri(pmode.security.hash_function or sender.hash_function)
    return SignatureTerms(agreed or sender.algorithms, digest, signer, anchors)


def _make_tls(transport: TransportTerms, certificate: str | None, anchors: tuple[str, ...]) -> TlsTerms:
    described = transport.security_protocol is not None
    return TlsTerms(
        transport.security_protocol or "TLS",
        transport.security_version if described else "1.2",
        certificate,
        anchors,
        transport.ciphers,
    )


def _make_envelope(
    terms: Encryption | None, certificate: str | None, *, sends: bool = False
) -> Encryption | None:
    """Return an envelope with its algorithms as URIs: ciphers stand before the transport of keys.

    The sender has trust anchors, the receiver the certificate; the policy is a matter of the hub.
    """
    if terms is None:
        return None
    algorithms = map(find_algorithm_uri, terms.algorithms)
    ordered = tuple(sorted(algorithms, key=lambda uri: "rsa" in uri.rpartition("#")[2]))
    version = terms.protocol_version or _ENVELOPE_VERSIONS.get(terms.protocol)
    anchors = terms.trust_anchors if sends else ()
    return Encryption(terms.protocol, ordered, certificate, version, anchors)


@dataclass(slots=True)
class PlannedChannel:
    """A channel with those of its halves that are known; `signers` may sign the messages sent through it."""

    name: str
    messaging: MessagingTerms
    sending: SendingTerms | None = None
    receiving: ReceivingTerms | None = None
    signers: tuple[str, ...] = ()

    def can_receive(self, half: ReceivingTerms) -> bool:
        """Return whether this channel can take `half` as its receiving half.

        It can if its receiving half is not known yet, and its sending half uses a signature, an envelope and
        TLS exactly where `half` does.
        """
        sent = self.sending
        return (
            self.receiving is None
            and sent is not None
            and (sent.signature is None) == (half.signature is None)
            and (sent.envelope is None) == (half.envelope is None)
            and (sent.tls is None) == (half.tls is None)
        )


@dataclass(slots=True)
class ChannelPlan:
    """The channels of one party; two that say the same are one."""

    prefix: str
    names: IdNames
    channels: list[PlannedChannel] = field(default_factory=list)

    def add_sending(self, messaging: MessagingTerms, half: SendingTerms, preferred_name: str) -> str:
        """Return the id of the channel by which the party sends so; `preferred_name` where that is free."""
        for channel in self.channels:
            if channel.messaging == messaging and channel.sending == half:
                return channel.name
        return self._add(PlannedChannel(self._reserve_name(preferred_name), messaging, sending=half))

    def add_receiving(
        self, messaging: MessagingTerms, half: ReceivingTerms, signers: tuple[str, ...] = ()
    ) -> str:
        """Return the id of the channel by which the party receives so, and sends with one of `signers`.

        Everything that the party sends must have its channel before.
        """
        equal_channels = [channel for channel in self.channels if channel.messaging == messaging]
        for channel in equal_channels:
            signs = channel.signers == signers if channel.sending is None else _has_signer(channel, signers)
            if channel.receiving == half and signs:
                return channel.name
        free = [channel for channel in equal_channels if channel.can_receive(half)]
        if free:
            chosen = max(free, key=lambda channel: _has_signer(channel, signers))
            chosen.receiving = half
            return chosen.name
        return self._add(PlannedChannel(self._reserve_name(""), messaging, receiving=half, signers=signers))

    def add_both(self, messaging: MessagingTerms, sending: SendingTerms, receiving: ReceivingTerms) -> str:
        """Return the id of a channel for signals."""
        for channel in self.channels:
            if (channel.messaging, channel.sending, channel.receiving) == (messaging, sending, receiving):
                return channel.name
        name = self.names.reserve_name(f"{self.prefix}-signals")
        return self._add(PlannedChannel(name, messaging, sending, receiving))

    def complete_halves(self, party: PartyFacts, partner: PartyFacts) -> None:
        """Give each channel the half that no P-Mode describes."""
        for channel in self.channels:
            if channel.sending is None and channel.receiving is not None:
                signer = next(iter(channel.signers[::-1]), None)
                channel.sending = mirror_sending(channel.receiving, party, partner, signer)
            elif channel.receiving is None and channel.sending is not None:
                channel.receiving = mirror_receiving(channel.sending, party, partner)

    def _add(self, channel: PlannedChannel) -> str:
        self.channels.append(channel)
        return channel.name

    def _reserve_name(self, preferred_name: str) -> str:
        return self.names.reserve_name(preferred_name or f"{self.prefix}-channel")


def _has_signer(channel: PlannedChannel, signers: Collection[str]) -> bool:
    """Return whether one of `signers` signs the messages sent through a channel; True if either is absent."""
    signature = channel.sending.signature if channel.sending is not None else None
    return not signers or signature is None or signature.signer in signers
