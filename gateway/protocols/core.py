"""What every protocol core takes and gives.

A core turns parcels into message units and back, and knows neither socket nor clock nor
database: all that it may ask of the world stands, already fetched, in its `ProtocolContext`.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from gateway.agreements import PMode, PModeIndex
from gateway.errors import PARTY_UNKNOWN, REFUSED_FOR_GOOD, SIGNER_MISMATCH, GatewayError
from gateway.message_model import (
    Body,
    DigestReference,
    ErrorSignal,
    Party,
    PartyId,
    Ping,
    Pong,
    Receipt,
    StatusRequest,
    StatusResponse,
    Unit,
)
from gateway.pki import Certificate, CertificateUse, Signer, Verdict
from gateway.wire import DEFAULT_LIMITS, WireLimits
from gateway.xmlsec import VerifiedSignature

__all__ = [
    "OpenedMessage",
    "Parcel",
    "ProtocolContext",
    "ProtocolCore",
    "RejectionResponse",
    "SentUnit",
    "make_refusal_error",
]


@dataclass(frozen=True, slots=True)
class Parcel:
    """What HTTP carries in either direction: the headers that describe content, and the body.

    `client` is the SHA-256 of the certificate that a client showed over TLS, None where it showed none.
    """

    headers: Mapping[str, str]
    body: Body
    client: str | None = None

    def get_header(self, name: str) -> str:
        """Return the value of a header whatever its letter case, empty when it is absent."""
        wanted = name.lower()
        for key, value in self.headers.items():
            if key.lower() == wanted:
                return value
        return ""


@dataclass(frozen=True, slots=True)
class ProtocolContext:
    """Everything a core may ask of the world.

    `validate_certificate` gives the verdict on a certificate (DER) for a use at a moment, from data in
    hand.  `find_certificate_party` names the registered party to which a certificate (SHA-256) belongs,
    `find_party_name` the one that has a PartyId; both give None for unknown and suspended
    parties, and `find_certificate_party` raises GW206 for a certificate registered for another time.  `keys`
    holds our signers by the name of the party for which they sign; a message to a party without
    key here is for somebody else.
    `make_message_id` returns a new message id, ``unique@host``.
    """

    agreements: PModeIndex
    validate_certificate: Callable[[bytes, CertificateUse, datetime], Verdict]
    keys: Mapping[str, Signer]
    now: datetime
    make_message_id: Callable[[], str]
    find_certificate_party: Callable[[str], str | None]
    find_party_name: Callable[[PartyId], str | None]
    limits: WireLimits = DEFAULT_LIMITS

    def get_party_name(self, party: Party) -> str:
        """Return the registered name of `party`, all of whose ids must be its; raises GW302."""
        names = {self.find_party_name(one) for one in party.ids}
        if len(names) != 1 or None in names:
            raise GatewayError(PARTY_UNKNOWN, f"party {party.ids[0].value[:80]!r} is unknown or suspended")
        return str(names.pop())

    def check_certificate_party(self, certificate: Certificate, party: Party, location: str) -> None:
        """Refuse a certificate that is not registered for `party` (GW209)."""
        wanted = self.get_party_name(party)
        if self.find_certificate_party(certificate.sha256) != wanted:
            detail = f"{certificate.subject[:120]} does not sign for {party.ids[0].value[:80]!r}"
            raise GatewayError(SIGNER_MISMATCH, detail, location)

    def check_signing_certificate(self, certificate: Certificate, location: str) -> None:
        """Refuse a certificate that may not sign now: its path, its life, its revocation."""
        self.validate_certificate(certificate.der, CertificateUse.SIGNING, self.now).raise_unless_accepted(
            location
        )


@dataclass(frozen=True, slots=True)
class SentUnit:
    """A unit that we sent, with the digests of its signature: what a receipt is held against."""

    unit: Unit
    references: tuple[DigestReference, ...] = ()


@dataclass(frozen=True, slots=True)
class OpenedMessage:
    """What was in a parcel, judged.

    `identity` is equal for two parcels with one message id exactly when they say the
    same, whatever their MIME framing.
    """

    units: tuple[Unit, ...]
    pmode: PMode | None
    signed: VerifiedSignature | None
    parcel: Parcel
    identity: str

    @property
    def unit(self) -> Unit:
        """Return the unit that gives the message its id; what rides with it comes after."""
        return self.units[0]


@dataclass(frozen=True, slots=True)
class RejectionResponse:
    """How a refused parcel is answered: HTTP status, parcel if any, and the signal in it.

    `pmode` is one between the parties; unless the parcel goes back `is_synchronous`, on the same
    connection, it goes to the `reply_endpoint` of that P-Mode.
    """

    status: int
    parcel: Parcel | None = None
    unit: ErrorSignal | None = None
    pmode: PMode | None = None
    is_synchronous: bool = True


class ProtocolCore(typing.Protocol):
    """One messaging protocol; a module or an object with these functions is one."""

    @property
    def name(self) -> str:
        """The name by which P-Modes speak of the protocol."""

    def open(
        self, parcel: Parcel, context: ProtocolContext, expecting: SentUnit | None = None
    ) -> OpenedMessage:
        """Return the units of a request, or of an answer to what we sent; raises GatewayError."""

    def seal(self, units: tuple[Unit, ...], pmode: PMode | None, context: ProtocolContext) -> Parcel:
        """Return the parcel that carries `units`, signed as agreed."""

    def make_receipt(self, opened: OpenedMessage, context: ProtocolContext) -> Receipt:
        """Return the receipt of an opened business message."""

    def collect_payload_digests(self, opened: OpenedMessage) -> Mapping[str, str]:
        """Return the SHA-256 of payloads, by content id, as far as the signature was verified with it."""

    def make_pong(self, ping: Ping, context: ProtocolContext) -> Pong:
        """Return the answer to a Ping."""

    def make_status_response(
        self, request: StatusRequest, status: str, received_at: datetime | None, context: ProtocolContext
    ) -> StatusResponse:
        """Return the answer to a StatusRequest."""

    def make_error_signal(
        self, problem: GatewayError, ref: Unit | Parcel, context: ProtocolContext
    ) -> ErrorSignal | None:
        """Return the signal that tells the sender of `ref` the problem, None when there is no such signal."""

    def reject_parcel(
        self, problem: GatewayError, parcel: Parcel, context: ProtocolContext
    ) -> RejectionResponse:
        """Return how a refused parcel is answered."""

    def read_sent_unit(self, parcel: Parcel, limits: WireLimits) -> SentUnit:
        """Return what a parcel of our own says, to hold answers against it."""

    def check_answer(self, opened: OpenedMessage, sent: SentUnit) -> None:
        """Refuse an answer that does not belong to what we sent."""

    def check_time_to_live(self, unit: Unit, now: datetime) -> None:
        """Refuse a message that came too late."""

    def has_synchronous_answer(self, unit: Unit, pmode: PMode | None) -> bool:
        """Return whether signals about an opened unit go into the HTTP answer."""


def make_refusal_error(unit: Receipt | ErrorSignal) -> GatewayError | None:
    """Return the problem that an ErrorList is; None for a receipt."""
    if isinstance(unit, Receipt):
        return None
    worst = next((entry for entry in unit.errors if entry.severity == "Error"), unit.errors[0])
    return GatewayError(REFUSED_FOR_GOOD, f"{worst.code}: {worst.description[:200]}", worst.location)
