"""The interface of every protocol core.

A core converts parcels to message units and back. It uses no socket, clock or database: its
`ProtocolContext` supplies all external data.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from gateway.agreements import ForwardingRule, ForwardingTable, PMode, PModeIndex
from gateway.errors import (
    ANSWER_NOT_UNDERSTOOD,
    CERTIFICATE_UNTRUSTED,
    KEY_UNAVAILABLE,
    PARTY_UNKNOWN,
    REFUSED_FOR_GOOD,
    SIGNER_MISMATCH,
    TOO_LARGE,
    GatewayError,
)
from gateway.message_model import (
    Body,
    DigestReference,
    ErrorSignal,
    MemoryBody,
    Party,
    PartyId,
    Ping,
    Pong,
    Receipt,
    StatusRequest,
    StatusResponse,
    Unit,
    UserMessage,
    read_octets,
)
from gateway.pki import Certificate, CertificateUse, DecryptionKey, Signer, Verdict
from gateway.protocols.fragment_values import FragmentHeader, GroupTally, SplitPlan, SplitTerms
from gateway.wire import DEFAULT_LIMITS, RelatedParts, SoapFault, WireLimits, read_multipart_related
from gateway.xmlsec import VerifiedSignature

#: The most characters shown of each part of a text of a partner.
_MAX_CHARACTERS: typing.Final = 200
_NO_FORWARDING: typing.Final = ForwardingTable()


@dataclass(frozen=True, slots=True)
class Parcel:
    """The content of an HTTP message in either direction: the headers that describe content, and the body.

    `client_sha256` is the SHA-256 of the TLS client certificate, None where the client presented
    none. `sent_unit` is the unit that an answer must match, if this process has just sealed the parcel: the
    same that `read_sent_header` reads from it.
    """

    headers: Mapping[str, str]
    body: Body
    client_sha256: str | None = None
    sent_unit: SentUnit | None = field(default=None, compare=False, repr=False)

    def get_header(self, header_name: str) -> str:
        """Return the value of a header, with its name in any letter case; empty when it is absent."""
        lower_name = header_name.lower()
        for field_name, value in self.headers.items():
            if field_name.lower() == lower_name:
                return value
        return ""

    def read_octets(self) -> bytes:
        """Return all octets of the body, in memory."""
        return read_octets(self.body)

    def read_parts(self, limits: WireLimits) -> RelatedParts:
        """Return the MIME parts of the body; raise GW102 for one too large, GW103 for malformed MIME."""
        if self.body.octet_count > limits.body:
            detail = f"the body has {self.body.octet_count} octets, {limits.body} are allowed"
            raise GatewayError(TOO_LARGE, detail, "body")
        return read_multipart_related(self.get_header("Content-Type"), self.body, limits)

    def get_octets(self) -> bytes | Body:
        """Return the octets that are in memory already, else the body."""
        return self.body.content if isinstance(self.body, MemoryBody) else self.body


def _refuse_random_octets(_count: int) -> bytes:
    raise GatewayError(KEY_UNAVAILABLE, "no source of random octets is configured here", "key")


def _find_no_certificates(_party: str) -> tuple[Certificate, ...]:
    return ()


def _find_no_parcel(_protocol: str, _message_id: str) -> Parcel | None:
    return None


def _find_no_certificate(party_name: str, _pin: str | None) -> Certificate:
    detail = f"no encryption certificate of {party_name[:80]} is known here"
    raise GatewayError(CERTIFICATE_UNTRUSTED, detail, "encryption/certificate")


@dataclass(frozen=True, slots=True)
class EncryptionResources:
    """The keys, random octets and certificates with which payloads are encrypted and decrypted.

    `decryption_keys` are our decryption keys, the current one first. `make_random_octets` returns the given
    number of random octets. `find_certificate` returns the certificate for which payloads of a party, by its
    registered name, are encrypted: the pinned one (SHA-256) or that of the register; it raises where there is
    none.
    """

    decryption_keys: tuple[DecryptionKey, ...] = ()
    make_random_octets: Callable[[int], bytes] = _refuse_random_octets
    find_certificate: Callable[[str, str | None], Certificate] = _find_no_certificate


class UnwrappedPart(typing.NamedTuple):
    """How a payload was received: encrypted, compressed, or both; `sent_sha256` is the digest as received.

    `signed_sha256` is the digest of the octets that the sender signed. `cipher`, `transport` and
    `key` (the certificate, SHA-256) are empty for a payload in clear.
    """

    content_id: str
    sent_sha256: str
    signed_sha256: str
    cipher: str = ""
    transport: str = ""
    key: str = ""
    compressed: bool = False


def join_unwrapped_parts(
    decrypted_parts: tuple[UnwrappedPart, ...], expanded_parts: tuple[UnwrappedPart, ...]
) -> tuple[UnwrappedPart, ...]:
    """Return the expanded payloads, each with the values of its decryption if it was decrypted before."""
    part_by_id = {part.content_id: part._replace(compressed=True) for part in decrypted_parts}
    return tuple(part_by_id.get(part.content_id, part) for part in expanded_parts)


@dataclass(frozen=True, slots=True)
class ProtocolContext:
    """All external data and functions that a core may use.

    `validate_certificate` returns the verdict on a certificate (DER) for a use at a time,
    from loaded data. `find_certificate_party` returns the name of the registered party of a
    certificate (SHA-256), `find_party_name` that of the party with a PartyId; both return
    None for unknown and suspended parties, and `find_certificate_party` raises GW206 for a
    certificate registered for another time. `signers` contains our signers by the name of the
    party for which they sign; a message to a party without a key here is addressed to another
    handler. `make_message_id` returns a new message id, ``unique@host``. `encryption` is what
    payloads are encrypted and decrypted with. `forwarding` has the rules for messages to other
    handlers; `own_party` is our party in signals about those. `candidate_certificates` are those that
    any signature may name without containing them; `list_party_certificates` returns those
    that are registered for a party. `find_sent_parcel` returns the parcel that we sent by a protocol under
    a message id, None for an id that is not ours; `has_all_sent_messages` is whether it has every message
    that our party has sent. `issuers` are the authorities from which the path of our own
    certificate is built, where a P-Mode requires it in a signature. `find_pull_login` returns the party and
    the password of the name with which a party pulls.
    """

    agreements: PModeIndex
    validate_certificate: Callable[[bytes, CertificateUse, datetime], Verdict]
    signers: Mapping[str, Signer]
    now: datetime
    make_message_id: Callable[[], str]
    find_certificate_party: Callable[[str], str | None]
    find_party_name: Callable[[PartyId], str | None]
    limits: WireLimits = DEFAULT_LIMITS
    encryption: EncryptionResources = EncryptionResources()
    forwarding: ForwardingTable = _NO_FORWARDING
    own_party: Party | None = None
    candidate_certificates: tuple[Certificate, ...] = ()
    issuers: tuple[Certificate, ...] = ()
    list_party_certificates: Callable[[str], tuple[Certificate, ...]] = _find_no_certificates
    find_sent_parcel: Callable[[str, str], Parcel | None] = _find_no_parcel
    find_pull_login: Callable[[str], tuple[str, bytes] | None] = lambda _name: None
    has_all_sent_messages: bool = False

    def get_party_name(self, party: Party) -> str:
        """Return the registered name of `party`; raise GW302 unless all its ids belong to one known party."""
        party_name = self.find_party_name(party.ids[0]) if party.ids else None
        if party_name is None or any(
            self.find_party_name(party_id) != party_name for party_id in party.ids[1:]
        ):
            id_value = party.ids[0].value[:80] if party.ids else ""
            raise GatewayError(PARTY_UNKNOWN, f"party {id_value!r} is unknown or suspended")
        return party_name

    def check_certificate_party(self, certificate: Certificate, party: Party, location: str) -> None:
        """Raise GW209 for a certificate that is not registered for `party`."""
        party_name = self.get_party_name(party)
        if self.find_certificate_party(certificate.sha256) != party_name:
            detail = f"{certificate.subject[:120]} does not sign for {party.ids[0].value[:80]!r}"
            raise GatewayError(SIGNER_MISMATCH, detail, location)

    def find_encryption_certificate(self, party: Party, pin: str | None, location: str) -> Certificate:
        """Return the certificate to encrypt for `party`; raise unless it is valid now."""
        certificate = self.encryption.find_certificate(self.get_party_name(party), pin)
        verdict = self.validate_certificate(certificate.der, CertificateUse.ENCRYPTION, self.now)
        verdict.raise_unless_accepted(location)
        return certificate

    def check_signing_certificate(self, certificate: Certificate, location: str) -> None:
        """Raise for a certificate that may not sign now: path, validity period, revocation."""
        self.validate_certificate(certificate.der, CertificateUse.SIGNING, self.now).raise_unless_accepted(
            location
        )


@dataclass(frozen=True, slots=True)
class SentUnit:
    """A unit that we sent, with the digests of its signature, for comparison with a receipt."""

    unit: Unit
    references: tuple[DigestReference, ...] = ()

    @classmethod
    def make_without_payloads(cls, unit: Unit, references: tuple[DigestReference, ...]) -> SentUnit:
        """Return a unit that was just sealed: no answer is compared with its payloads."""
        return cls(replace(unit, payloads=()) if isinstance(unit, UserMessage) else unit, references)


@dataclass(frozen=True, slots=True)
class OpenedMessage:
    """The verified content of a parcel.

    `identity` is equal for two parcels with one message id exactly when their content is the
    same; their MIME framing may differ. `unwrapped_parts` are the payloads that arrived encrypted or
    compressed; the payloads of the unit are in clear. `forwarding_rule` is the rule by which the
    message goes on to another handler, None for a message to us. A message that goes on has no P-Mode
    here, and neither has a signal between the handlers of its way. `fragment_header` says of which larger
    message this one is a piece; its only payload is the piece. `payload_digests` are the SHA-256 of payloads
    by content id, where the verified signature has them.
    """

    units: tuple[Unit, ...]
    pmode: PMode | None
    verified_signature: VerifiedSignature | None
    parcel: Parcel
    identity: str
    unwrapped_parts: tuple[UnwrappedPart, ...] = ()
    forwarding_rule: ForwardingRule | None = None
    fragment_header: FragmentHeader | None = None
    payload_digests: Mapping[str, str] = field(default_factory=dict)

    @property
    def unit(self) -> Unit:
        """Return the unit that gives the message its id; bundled units follow it."""
        return self.units[0]


@dataclass(frozen=True, slots=True)
class RejectionResponse:
    """The answer to a refused parcel: HTTP status, parcel if any, and the signal in it.

    `pmode` is one between the parties. Unless the answer `is_synchronous`, on the same
    connection, it is sent to the `reply_endpoint` of that P-Mode. `sender` is the party that the parcel
    names as its sender; it may be unverified.
    """

    http_status: int
    parcel: Parcel | None = None
    error_signal: ErrorSignal | None = None
    pmode: PMode | None = None
    is_synchronous: bool = True
    sender: Party | None = None


class RefusedMessage(typing.NamedTuple):
    """The outline of a refused message: its id, its kind, whether an error about it may be sent."""

    message_id: str
    message_kind: str
    is_answerable: bool


class ProtocolCore(typing.Protocol):
    """One messaging protocol; a module or an object with these functions implements it."""

    @property
    def name(self) -> str:
        """Return the name of the protocol in P-Modes."""

    @property
    def message_id_place(self) -> str:
        """Return the XPath of the id of a business message in its header."""

    def list_unsupported_terms(self, pmode: PMode) -> tuple[str, ...]:
        """Return in words which terms of a P-Mode this core does not do, or its protocol does not have."""

    def open_units(
        self, parcel: Parcel, context: ProtocolContext, expected_unit: SentUnit | None = None
    ) -> OpenedMessage:
        """Return the units of a request, or of an answer to what we sent; raises GatewayError."""

    def open_related(
        self,
        related: RelatedParts,
        parcel: Parcel,
        context: ProtocolContext,
        expected_unit: SentUnit | None = None,
    ) -> OpenedMessage:
        """Return the units of a parcel whose MIME parts are already read; raise GatewayError."""

    def read_envelope(self, envelope_octets: bytes, policy: str, limits: WireLimits) -> typing.Any:
        """Return the values of an envelope for `open_reading`; None if the message must be opened whole."""

    def open_reading(
        self,
        reading: typing.Any,
        policy: str,
        related: RelatedParts,
        parcel: Parcel,
        context: ProtocolContext,
        expected_unit: SentUnit | None = None,
    ) -> OpenedMessage:
        """Return the units of a parcel whose envelope was read by a policy, after all checks."""

    def seal(self, units: tuple[Unit, ...], pmode: PMode | None, context: ProtocolContext) -> Parcel:
        """Return the parcel that contains `units`, signed as agreed."""

    def make_receipt(self, opened: OpenedMessage, context: ProtocolContext) -> Receipt:
        """Return the receipt of an opened business message."""

    def make_hop_receipt(self, opened: OpenedMessage, context: ProtocolContext) -> Receipt | None:
        """Return our receipt as the next handler on the way, None where none is requested."""

    def seal_hop_signal(
        self, unit: Receipt | ErrorSignal, context: ProtocolContext, *, is_signed: bool
    ) -> Parcel:
        """Return the parcel of a signal to another handler on the way, which no agreement governs."""

    def rewrite_for_next_hop(self, parcel: Parcel, rule: ForwardingRule, limits: WireLimits) -> Parcel:
        """Return the parcel for the next handler, with every octet that the signature covers."""

    def make_pong(self, ping: Ping, context: ProtocolContext) -> Pong:
        """Return the answer to a Ping."""

    def make_status_response(
        self, request: StatusRequest, status: str, received_at: datetime | None, context: ProtocolContext
    ) -> StatusResponse:
        """Return the answer to a StatusRequest."""

    def make_error_signal(
        self, problem: GatewayError, refused_message: Unit | Parcel, context: ProtocolContext
    ) -> ErrorSignal | None:
        """Return the signal that reports the problem to the sender of `refused_message`, or None."""

    def make_delivery_failure(
        self,
        message: UserMessage,
        problem: GatewayError,
        context: ProtocolContext,
        *,
        is_certain: bool,
        reporter: Party | None = None,
    ) -> ErrorSignal:
        """Return the signal that tells the sender that its message did not reach its destination."""

    def reject_parcel(
        self, problem: GatewayError, parcel: Parcel, context: ProtocolContext
    ) -> RejectionResponse:
        """Return the answer to a refused parcel."""

    def find_fault(self, parcel: Parcel, limits: WireLimits) -> SoapFault | None:
        """Return the SOAP Fault in a parcel, None when it contains something else."""

    def find_refused_message(self, parcel: Parcel, limits: WireLimits) -> RefusedMessage | None:
        """Return the outline of a parcel, not verified; None where its header cannot be read."""

    def read_sent_unit(self, parcel: Parcel, limits: WireLimits) -> SentUnit:
        """Return the content of a parcel that we sent, for comparison with answers."""

    def read_sent_header(self, parcel: Parcel, limits: WireLimits) -> SentUnit:
        """Return the content of a parcel that we sent, without payloads; only its envelope is read."""

    def check_answer(self, opened: OpenedMessage, sent_unit: SentUnit) -> None:
        """Raise for an answer that does not belong to what we sent."""

    def seal_source(self, unit: UserMessage, pmode: PMode) -> Parcel:
        """Return a message that is to be split; its fragments are signed and encrypted, not itself."""

    def plan_split(self, parcel: Parcel, terms: SplitTerms, limits: WireLimits) -> SplitPlan:
        """Return how a message is split; raises GatewayError for a parcel that cannot be."""

    def seal_agreed_fragment(
        self, plan: SplitPlan, number: int, pmode: PMode, context: ProtocolContext
    ) -> Parcel:
        """Return one fragment with a new message id, signed and encrypted as agreed."""

    def tally_opened_fragment(
        self, tally: GroupTally | None, opened: OpenedMessage, max_octets: int, *, is_repeated: bool
    ) -> GroupTally:
        """Return the tally of a group with one more fragment; raise for a contradiction."""

    def join_fragments(self, tally: GroupTally, pieces: Sequence[bytes | Body], max_octets: int) -> Parcel:
        """Return the message that was split, of at most `max_octets` octets, without holding it in memory."""

    def open_joined(self, tally: GroupTally, parcel: Parcel, context: ProtocolContext) -> OpenedMessage:
        """Return a joined message after all checks; its fragments have been verified."""

    def check_time_to_live(self, unit: Unit, now: datetime) -> None:
        """Raise for a message whose time to live has expired."""

    def has_synchronous_answer(self, unit: Unit, pmode: PMode | None) -> bool:
        """Return whether signals about an opened unit go into the HTTP answer."""


def make_refusal_error(unit: Receipt | ErrorSignal) -> GatewayError | None:
    """Return the problem of an ErrorList; None for a receipt."""
    if isinstance(unit, Receipt):
        return None
    first_error = next((entry for entry in unit.errors if entry.severity == "Error"), unit.errors[0])
    error_texts = [first_error.description or first_error.title, first_error.location]
    partner_text = ": ".join(
        error_text[:_MAX_CHARACTERS] for error_text in (first_error.code, *error_texts) if error_text
    )
    return GatewayError(
        REFUSED_FOR_GOOD, partner_text, first_error.location[:_MAX_CHARACTERS], theirs=partner_text
    )


def make_fault_error(fault: SoapFault, location: str) -> GatewayError:
    """Return the problem of a SOAP Fault that answers our message; `location` is that of its Body."""
    # A Client, MustUnderstand or VersionMismatch fault concerns the message, which does not change.
    partner_text = f"SOAP Fault {fault.code[:80]}: {fault.text[:300]}"
    problem = ANSWER_NOT_UNDERSTOOD if fault.is_server_fault else REFUSED_FOR_GOOD
    return GatewayError(problem, partner_text, location, theirs=partner_text)
