"""The content of a CPA or CPP of CPPA 2.0 as values: its parties, channels, bindings, packages.

The names are those of the standard. A reference holds the id as written; the rules report a reference to an
id that does not exist. Each part knows its place in the document.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Place:
    """The XPath, the line and the file of a part of a document."""

    xpath: str
    line: int = 0
    file: str = ""

    def __str__(self) -> str:
        """Return file, line and XPath as a person reads them."""
        return f"{self.file}:{self.line} {self.xpath}"

    def find_attribute(self, name: str) -> Place:
        """Return the place of an attribute of this element."""
        return replace(self, xpath=f"{self.xpath}/@tp:{name}")


@dataclass(frozen=True, slots=True)
class PartyName:
    """An identifier of a party (``PartyId``)."""

    location: Place
    value: str
    type: str | None = None


@dataclass(frozen=True, slots=True)
class CpaCertificate:
    """A certificate (``Certificate``): the DER octets of the leaf first, or a digest that names one.

    `read_error` says why the octets could not be read from the document.
    """

    location: Place
    id: str
    chain: tuple[bytes, ...] = ()
    digest: str | None = None
    read_error: str | None = None


@dataclass(frozen=True, slots=True)
class SecurityDetails:
    """``SecurityDetails``: the trust anchors of a party, by their ids."""

    location: Place
    id: str
    anchors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BusinessCharacteristics:
    """``BusinessTransactionCharacteristics``: None for a value that is not stated; times in seconds."""

    location: Place
    non_repudiation: bool | None = None
    non_repudiation_receipt: bool | None = None
    authorization: bool | None = None
    intelligible_check: bool | None = None
    confidential: str | None = None
    authenticated: str | None = None
    tamper_proof: str | None = None
    time_to_acknowledge_receipt: int | None = None
    time_to_acknowledge_acceptance: int | None = None
    time_to_perform: int | None = None
    retry_count: int | None = None


@dataclass(frozen=True, slots=True)
class ActionBinding:
    """``CanSend`` or ``CanReceive`` with its binding; `nested_bindings` are those of synchronous answers."""

    location: Place
    sends: bool
    id: str
    action: str
    package: str
    business: BusinessCharacteristics
    channel_ids: tuple[str, ...]
    partner_binding_id: str | None = None
    nested_bindings: tuple[ActionBinding, ...] = ()
    context: Mapping[str, str] | None = None
    #: The terms of the gateway that CPPA has no word for, by attribute.
    extension: Mapping[str, str] | None = None
    #: The names of elements of other namespaces.
    foreign_elements: tuple[str, ...] = ()

    def list_with_nested(self) -> Iterator[tuple[ActionBinding, ActionBinding | None]]:
        """Yield this binding and those inside, each with the binding that holds it."""
        yield self, None
        for nested in self.nested_bindings:
            for binding, parent_binding in nested.list_with_nested():
                yield binding, parent_binding or self


@dataclass(frozen=True, slots=True)
class CollaborationRole:
    """A role of a party in a process, with one service."""

    location: Place
    process: str
    process_version: str
    process_uri: str
    role: str
    service: str
    service_type: str | None
    bindings: tuple[ActionBinding, ...]
    service_place: Place
    application_certificates: tuple[str, ...] = ()
    application_security: str | None = None

    def list_bindings(self) -> Iterator[tuple[ActionBinding, ActionBinding | None]]:
        """Yield every binding of the role with the binding that holds it, nested ones after their holder."""
        for binding in self.bindings:
            yield from binding.list_with_nested()


@dataclass(frozen=True, slots=True)
class DeliveryChannel:
    """A transport and a document exchange together, with ``MessagingCharacteristics``."""

    location: Place
    id: str
    transport_id: str
    exchange_id: str
    sync_reply_mode: str
    ack_requested: str
    ack_signature_requested: str
    duplicate_elimination: str
    actor: str | None = None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A URL of a receiver and its kind."""

    location: Place
    uri: str
    kind: str


@dataclass(frozen=True, slots=True)
class Algorithm:
    """An algorithm as the document names it: text, URI (``w3c``), object identifier."""

    location: Place
    text: str
    w3c: str | None = None
    oid: str | None = None

    @property
    def name(self) -> str:
        """Return the URI where there is one, else the text."""
        return self.w3c or self.text


@dataclass(frozen=True, slots=True)
class TransportSecurity:
    """``TransportClientSecurity`` or ``TransportServerSecurity``: own certificate, anchors for the peer."""

    location: Place
    protocol: str
    version: str | None
    certificate_id: str | None
    peer_security_id: str | None
    ciphers: tuple[Algorithm, ...] = ()


@dataclass(frozen=True, slots=True)
class TransportSide:
    """``TransportSender`` or ``TransportReceiver``."""

    location: Place
    protocol: str
    version: str | None
    authentication: tuple[str, ...] = ()
    endpoints: tuple[Endpoint, ...] = ()
    security: TransportSecurity | None = None


@dataclass(frozen=True, slots=True)
class Transport:
    """A ``Transport``: the protocols, endpoints and TLS by which a party sends and receives."""

    location: Place
    id: str
    sender: TransportSide | None = None
    receiver: TransportSide | None = None


@dataclass(frozen=True, slots=True)
class NonRepudiation:
    """Signatures: `certificate` where the party signs, `security_id` where it verifies."""

    location: Place
    protocol: str
    hash_function: str
    algorithms: tuple[Algorithm, ...]
    certificate: str | None = None
    security_id: str | None = None


@dataclass(frozen=True, slots=True)
class DigitalEnvelope:
    """Encryption: `certificate_id` where the party decrypts, `security_id` where it encrypts."""

    location: Place
    protocol: str
    version: str | None
    algorithms: tuple[Algorithm, ...]
    certificate_id: str | None = None
    security_id: str | None = None


@dataclass(frozen=True, slots=True)
class DocumentBinding:
    """``ebXMLSenderBinding`` or ``ebXMLReceiverBinding``; durations in seconds."""

    location: Place
    version: str
    is_reliable: bool = False
    retries: int | None = None
    retry_interval: int | None = None
    is_ordered: bool = False
    persist_duration: int | None = None
    non_repudiation: NonRepudiation | None = None
    envelope: DigitalEnvelope | None = None


@dataclass(frozen=True, slots=True)
class DocExchange:
    """How documents are protected and repeated, for each direction."""

    location: Place
    id: str
    sender: DocumentBinding | None = None
    receiver: DocumentBinding | None = None


@dataclass(frozen=True, slots=True)
class MshOverride:
    """The channel of one signal (``OverrideMshActionBinding``)."""

    location: Place
    action: str
    channel_id: str


@dataclass(frozen=True, slots=True)
class CpaParty:
    """A ``PartyInfo``."""

    location: Place
    name: str
    default_channel_id: str
    default_package_id: str
    ids: tuple[PartyName, ...]
    roles: tuple[CollaborationRole, ...]
    certificates: Mapping[str, CpaCertificate]
    security_details: Mapping[str, SecurityDetails]
    channels: Mapping[str, DeliveryChannel]
    transports: Mapping[str, Transport]
    exchanges: Mapping[str, DocExchange]
    signal_overrides: tuple[MshOverride, ...]

    def find_binding(self, binding_id: str) -> ActionBinding | None:
        """Return the binding with an id, None when the party has none."""
        return next((binding for _, binding, _ in self.list_bindings() if binding.id == binding_id), None)

    def list_bindings(self) -> Iterator[tuple[CollaborationRole, ActionBinding, ActionBinding | None]]:
        """Yield every binding with its role and the binding that holds it."""
        for role in self.roles:
            for binding, parent_binding in role.list_bindings():
                yield role, binding, parent_binding

    def find_transport(self, channel: DeliveryChannel | None) -> Transport | None:
        """Return the transport of a channel."""
        return self.transports.get(channel.transport_id) if channel is not None else None

    def find_exchange(self, channel: DeliveryChannel | None) -> DocExchange | None:
        """Return the document exchange of a channel."""
        return self.exchanges.get(channel.exchange_id) if channel is not None else None


@dataclass(frozen=True, slots=True)
class SimplePart:
    """A kind of part of messages."""

    location: Place
    id: str
    mime_type: str
    parameters: str | None = None
    role: str | None = None
    namespaces: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Constituent:
    """A part within a composite or an encapsulation."""

    location: Place
    idref: str
    excluded_from_signature: bool = False
    min_occurs: int | None = None
    max_occurs: int | None = None
    transforms: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Composite:
    """Parts put together (`is_encapsulation` false), or one part wrapped."""

    location: Place
    id: str
    mime_type: str
    parameters: str | None
    constituents: tuple[Constituent, ...]
    is_encapsulation: bool = False


@dataclass(frozen=True, slots=True)
class PackagingTerms:
    """A ``Packaging``: the last composite is the whole message."""

    location: Place
    id: str
    can_parse: bool
    can_generate: bool
    composites: tuple[Composite, ...]


@dataclass(frozen=True, slots=True)
class CpaDocument:
    """A CPA, or a CPP where `status` is None; a CPP has neither period nor constraints."""

    location: Place
    file_name: str
    id: str
    version: str
    parties: tuple[CpaParty, ...]
    parts: Mapping[str, SimplePart]
    packages: Mapping[str, PackagingTerms]
    status: str | None = None
    start: datetime | None = None
    end: datetime | None = None
    start_place: Place = field(default_factory=lambda: Place(""))
    end_place: Place = field(default_factory=lambda: Place(""))
    status_place: Place = field(default_factory=lambda: Place(""))
    invocation_limit: int | None = None
    concurrent_conversations: int | None = None
    constraints_place: Place | None = None
    signatures: tuple[Place, ...] = ()
    #: By each id of the document: the local name of its element, and its place.
    elements_by_id: Mapping[str, tuple[str, Place]] = field(default_factory=dict)
    #: Every reference: the place, the id, and the local names of the elements it may name.
    references: tuple[tuple[Place, str, tuple[str, ...]], ...] = ()
    root: Any = field(default=None, repr=False, compare=False)

    def list_document_bindings(self) -> Iterator[DocumentBinding]:
        """Yield how documents are protected and repeated, by party and exchange, for each direction."""
        for party in self.parties:
            for exchange in party.exchanges.values():
                yield from (side for side in (exchange.sender, exchange.receiver) if side is not None)

    def get_other_party(self, party: CpaParty) -> CpaParty:
        """Return the other of the two parties."""
        first, second = self.parties[:2]
        return second if party is first else first
