"""A hub with its neighbours, in process: real database, real keys, a clock that tests move.

`House` is the gateway as its partners meet it; `Neighbour` is one partner with its own
key, its own book of agreements and its own opinion of the hub's signatures.
"""

from __future__ import annotations

import itertools
import uuid
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import Engine

from gateway.agreements import PMode, PModeIndex, read_pmodes
from gateway.cases import read_status_codes
from gateway.cli.registration import register_certificate
from gateway.errors import KEY_UNAVAILABLE, GatewayError
from gateway.harmonize import MappingBundle, load_bundle
from gateway.hub import ActiveNeeds, Hub, RecognitionPolicy, RejectingComposer, receive_parcel
from gateway.hub.hub import HubResources
from gateway.hub.outbox.outgoing_calls import CallComposer
from gateway.hub.register.active_rules import (
    ActiveRules,
)
from gateway.hub.register.decision_rules import (
    DecisionRules,
)
from gateway.hub.register.trusted_register import (
    TrustedRegister,
)
from gateway.hub.trust.trusted_lists import NOBODY, Recognizer
from gateway.message_model import AckRequest, MemoryBody, PartyId, Payload, UserMessage
from gateway.operations import activate_pmodes
from gateway.pki import CertificateValidator, KeySigner, RevocationData, TrustStore
from gateway.protocols import PROTOCOLS, OpenedMessage, Parcel, ProtocolContext, ProtocolCore, SentUnit
from gateway.share import get_data_folder
from gateway.store import HttpResponse, parties, write_transaction
from gateway_conformance.pki import (
    CertificateOrder,
    CertificationAuthority,
    issue_certificate,
    make_authority,
    make_revocation_list,
)
from tests.kit.paths import ROOT

PARTY_TYPE = "urn:example:party-type"
START = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
EBMS2 = PROTOCOLS["ebms2"]
AGREEMENT = (ROOT / "conformance" / "agreements" / "example.yaml").read_bytes()
AS4 = (ROOT / "conformance" / "agreements" / "as4.yaml").read_bytes()


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self, at: datetime = START) -> None:
        self.now = at

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **words: float) -> None:
        self.now += timedelta(**words)


@cache
def authority() -> CertificationAuthority:
    return make_authority("CN=Test CA", START - timedelta(days=1), "p-256")


def signer_named(name: str, kind: str = "p-256") -> KeySigner:
    """Return the key of a party, the same one at every call."""
    return _make_signer(name, kind)


@cache
def _make_signer(name: str, kind: str) -> KeySigner:
    issued = issue_certificate(
        authority(), f"CN={name}", START - timedelta(hours=1), CertificateOrder(key_kind=kind, days=3600)
    )
    return issued.signer


class Away:
    """The key of the hub, or of a party, while it is not there."""

    def __init__(self, name: str = "hub") -> None:
        self.certificate = signer_named(name).certificate
        self.algorithm = signer_named(name).algorithm

    def sign(self, data: bytes) -> bytes:
        raise GatewayError(KEY_UNAVAILABLE, "the token is away", "pki.token")


@cache
def crl() -> bytes:
    return make_revocation_list(authority(), [], START - timedelta(hours=1), START + timedelta(days=3600))


@cache
def bundle() -> MappingBundle:
    return load_bundle(get_data_folder("mappings"))


@cache
def needs() -> ActiveNeeds:
    return ActiveNeeds(get_data_folder("mappings"), bundle())


@cache
def status_codes() -> Any:
    return read_status_codes(
        get_data_folder("mappings")
        .joinpath("codelists", "requirement-status.csv")
        .read_text(encoding="utf-8")
    )


@cache
def pmodes(agreement: bytes) -> tuple[PMode, ...]:
    """Return the P-Modes of an agreement; reading one takes as long as a whole message."""
    return read_pmodes(agreement, "agreement")


def find_core(agreement: bytes) -> ProtocolCore:
    """Return the protocol of an agreement."""
    return PROTOCOLS[pmodes(agreement)[0].protocol]


@cache
def trust() -> tuple[TrustStore, RevocationData]:
    return TrustStore((authority().certificate,)), RevocationData([crl()])


def register_parties(engine: Engine, now: datetime, agreement: bytes = AGREEMENT) -> None:
    """Register hub and broker1 with their certificates, and load an agreement between them."""
    with write_transaction(engine) as conn:
        for party, role in (("hub", "hub"), ("broker1", "applicant")):
            parties.register_party(conn, party, party.title(), role, now, [PartyId(party, PARTY_TYPE)])
            register_certificate(conn, party, signer_named(party).certificate.der, now)
        # As `load_unchecked_agreement` does it, with what was read before.
        by_agreement = itertools.groupby(pmodes(agreement), key=lambda mode: mode.agreement)
        for _, modes in by_agreement:
            activate_pmodes(conn, list(modes), "pmode", agreement, now, "operator")


def build_hub(world: HubResources, party: str, terms: RecognitionPolicy = NOBODY) -> Hub:
    """Return the hub of a party as a newly started process has it, with the documents of the tests."""
    store, revocations = trust()
    recognizer = Recognizer(terms)
    register = TrustedRegister(
        world.engine,
        CertificateValidator(store, revocations, examine=recognizer),
        ActiveRules(DecisionRules(bundle(), status_codes(), needs())),
        crls=(crl(),),
        recognizer=recognizer,
    )
    return Hub(world, party, signer_named(party), register)


class House:
    """One hub on one database, with parties hub and broker1 registered and one agreement loaded.

    With `first` the database is that of an earlier house: all is registered, and ids go on from there.
    """

    def __init__(
        self,
        engine: Engine,
        composer: CallComposer | None = None,
        agreement: bytes = AGREEMENT,
        terms: RecognitionPolicy = NOBODY,
        *,
        first: int = 1,
    ) -> None:
        self.engine = engine
        self.terms = terms
        self.clock = Clock()
        self.agreement = agreement
        if first == 1:
            register_parties(engine, self.clock(), agreement)
        # A generator would refuse two threads at once.
        self._ids = map(lambda number: str(uuid.UUID(int=number)), itertools.count(first))
        self.hub = self.new_hub(composer)

    def new_hub(self, composer: CallComposer | None = None) -> Hub:
        """Return a hub as a newly started process has it."""
        world = HubResources(
            self.engine, self.clock, lambda: next(self._ids), "hub.example", composer or RejectingComposer()
        )
        return build_hub(world, "hub", self.terms)

    def post(self, parcel: Parcel, hub: Hub | None = None) -> HttpResponse:
        """Hand a parcel in as the web does."""
        return receive_parcel(hub or self.hub, find_core(self.agreement), parcel)


@dataclass
class Neighbour:
    """A partner: seals what it sends, and judges by its own book what it gets."""

    name: str
    clock: Clock
    agreement: bytes = AGREEMENT
    numbers: Any = field(default_factory=lambda: itertools.count(1))

    @property
    def core(self) -> ProtocolCore:
        """Return the protocol that the agreement of this partner is for."""
        return find_core(self.agreement)

    def context(self) -> ProtocolContext:
        store, revocations = trust()
        signers = {one: signer_named(one) for one in ("hub", "broker1", self.name)}
        return ProtocolContext(
            agreements=PModeIndex(pmodes(self.agreement)),
            validate_certificate=CertificateValidator(store, revocations),
            signers={self.name: signers[self.name]},
            now=self.clock(),
            make_message_id=lambda: f"m{next(self.numbers)}@{self.name}.example",
            find_certificate_party={signer.certificate.sha256: one for one, signer in signers.items()}.get,
            find_party_name={PartyId(one, PARTY_TYPE): one for one in signers}.get,
        )

    def message(self, action: str = "Store", content: bytes = b"<a/>", **changes: Any) -> UserMessage:
        """Return a message of one P-Mode of the agreement, with one payload."""
        pmode = next(one for one in pmodes(self.agreement) if one.action == action)
        context = self.context()
        message_id = context.make_message_id()
        unit = UserMessage(
            message_id=message_id,
            conversation_id=f"c-{message_id}",
            sender=pmode.sender,
            receiver=pmode.receiver,
            agreement=pmode.agreement,
            timestamp=self.clock(),
            service=pmode.service,
            service_type=pmode.service_type,
            action=action,
            duplicate_elimination=True,
            ack_requested=AckRequest(signed=True),
            sync_reply=pmode.sync_reply_mode != "none",
            payloads=(Payload(f"p1.{message_id}", "application/xml", content),),
        )
        return replace(unit, **changes)

    def seal(self, unit: UserMessage) -> Parcel:
        """Return the signed parcel of a unit."""
        pmode = next(one for one in pmodes(self.agreement) if one.action == unit.action)
        return self.core.seal((unit,), pmode, self.context())

    def open(self, answer: HttpResponse, sent: Parcel | None = None) -> OpenedMessage:
        """Open what came back, and hold it against what was sent."""
        context = self.context()
        expecting: SentUnit | None = self.core.read_sent_unit(sent, context.limits) if sent else None
        return self.core.open_units(Parcel(answer.headers, MemoryBody(answer.body)), context, expecting)
