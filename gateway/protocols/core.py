"""What every protocol core takes and gives.

A core turns parcels into message units and back, and knows neither socket nor clock nor
database: all that it may ask of the world stands, already fetched, in its `Context`.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from gateway.agreements import AgreementBook, PMode
from gateway.errors import PARTY_UNKNOWN, SIGNER_MISMATCH, GatewayError
from gateway.model import (
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
from gateway.pki.certificates import Certificate
from gateway.pki.keys import Signer
from gateway.pki.trust import Use, Verdict
from gateway.wire.prescan import DEFAULT_LIMITS, Limits
from gateway.xmlsec.signature import Signed

__all__ = ["Answer", "Context", "Opened", "Parcel", "Protocol", "Sent"]


@dataclass(frozen=True, slots=True)
class Parcel:
    """What HTTP carries in either direction: the headers that describe content, and the body.

    `client` is the SHA-256 of the certificate that a client showed over TLS, None where it showed none.
    """

    headers: Mapping[str, str]
    body: Body
    client: str | None = None

    def header(self, name: str) -> str:
        """Return the value of a header whatever its letter case, empty when it is absent."""
        wanted = name.lower()
        for key, value in self.headers.items():
            if key.lower() == wanted:
                return value
        return ""


@dataclass(frozen=True, slots=True)
class Context:
    """Everything a core may ask of the world.

    `judge` gives the verdict on a certificate (DER) for a use at a moment, from data in
    hand.  `party_of` names the registered party to which a certificate (SHA-256) belongs,
    `party_named` the one that has a PartyId; both give None for unknown and suspended
    parties, and `party_of` raises GW206 for a certificate registered for another time.  `keys`
    holds our signers by the name of the party for which they sign; a message to a party without
    key here is for somebody else.
    `new_id` returns a new message id, ``unique@host``.
    """

    agreements: AgreementBook
    judge: Callable[[bytes, Use, datetime], Verdict]
    keys: Mapping[str, Signer]
    now: datetime
    new_id: Callable[[], str]
    party_of: Callable[[str], str | None]
    party_named: Callable[[PartyId], str | None]
    limits: Limits = DEFAULT_LIMITS

    def party(self, party: Party) -> str:
        """Return the registered name of `party`, all of whose ids must be its; raises GW302."""
        names = {self.party_named(one) for one in party.ids}
        if len(names) != 1 or None in names:
            raise GatewayError(PARTY_UNKNOWN, f"party {party.ids[0].value[:80]!r} is unknown or suspended")
        return str(names.pop())

    def check_bound(self, certificate: Certificate, party: Party, location: str) -> None:
        """Refuse a certificate that is not registered for `party` (GW209)."""
        wanted = self.party(party)
        if self.party_of(certificate.sha256) != wanted:
            detail = f"{certificate.subject[:120]} does not sign for {party.ids[0].value[:80]!r}"
            raise GatewayError(SIGNER_MISMATCH, detail, location)

    def check_good(self, certificate: Certificate, location: str) -> None:
        """Refuse a certificate that may not sign now: its path, its life, its revocation."""
        self.judge(certificate.der, Use.SIGNING, self.now).demand(location)


@dataclass(frozen=True, slots=True)
class Sent:
    """A unit that we sent, with the digests of its signature: what a receipt is held against."""

    unit: Unit
    references: tuple[DigestReference, ...] = ()


@dataclass(frozen=True, slots=True)
class Opened:
    """What was in a parcel, judged.

    `identity` is equal for two parcels with one message id exactly when they say the
    same, whatever their MIME framing.
    """

    units: tuple[Unit, ...]
    pmode: PMode | None
    signed: Signed | None
    parcel: Parcel
    identity: str

    @property
    def unit(self) -> Unit:
        """Return the unit that gives the message its id; what rides with it comes after."""
        return self.units[0]


@dataclass(frozen=True, slots=True)
class Answer:
    """How a refused parcel is answered: HTTP status, parcel if any, and the signal in it.

    `pmode` is one between the parties; unless the parcel goes back `at_once`, on the same
    connection, it goes to the `reply_endpoint` of that P-Mode.
    """

    status: int
    parcel: Parcel | None = None
    unit: ErrorSignal | None = None
    pmode: PMode | None = None
    at_once: bool = True


class Protocol(typing.Protocol):
    """One messaging protocol; a module or an object with these functions is one."""

    @property
    def name(self) -> str:
        """The name by which P-Modes speak of the protocol."""

    def open(self, parcel: Parcel, context: Context, expecting: Sent | None = None) -> Opened:
        """Return the units of a request, or of an answer to what we sent; raises GatewayError."""

    def seal(self, units: tuple[Unit, ...], pmode: PMode | None, context: Context) -> Parcel:
        """Return the parcel that carries `units`, signed as agreed."""

    def receipt(self, opened: Opened, context: Context) -> Receipt:
        """Return the receipt of an opened business message."""

    def payload_digests(self, opened: Opened) -> Mapping[str, str]:
        """Return the SHA-256 of payloads, by content id, as far as the signature was verified with it."""

    def pong(self, ping: Ping, context: Context) -> Pong:
        """Return the answer to a Ping."""

    def status_response(
        self, request: StatusRequest, status: str, received_at: datetime | None, context: Context
    ) -> StatusResponse:
        """Return the answer to a StatusRequest."""

    def error(self, problem: GatewayError, ref: Unit | Parcel, context: Context) -> ErrorSignal | None:
        """Return the signal that tells the sender of `ref` the problem, None when there is no such signal."""

    def refuse(self, problem: GatewayError, parcel: Parcel, context: Context) -> Answer:
        """Return how a refused parcel is answered."""

    def sent(self, parcel: Parcel, limits: Limits) -> Sent:
        """Return what a parcel of our own says, to hold answers against it."""

    def check_answer(self, opened: Opened, sent: Sent) -> None:
        """Refuse an answer that does not belong to what we sent."""

    def check_time_to_live(self, unit: Unit, now: datetime) -> None:
        """Refuse a message that came too late."""

    def answers_at_once(self, unit: Unit, pmode: PMode | None) -> bool:
        """Return whether signals about an opened unit go into the HTTP answer."""
