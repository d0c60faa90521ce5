"""A gateway's home with RSA-2048 keys on both sides, and a broker that signs messages to it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import Engine

from gateway.agreements import PMode, PModeIndex, read_pmodes
from gateway.cli.home_folder import read_home_settings
from gateway.cli.registration import register_certificate
from gateway.config import Settings
from gateway.message_model import AckRequest, MemoryBody, PartyId, Payload, UserMessage
from gateway.operations import load_unchecked_agreement
from gateway.pki import (
    CertificateValidator,
    KeySigner,
    RevocationData,
    TrustStore,
    encode_key_pem,
    load_signer,
    read_certificate,
    read_certificates,
)
from gateway.protocols import PROTOCOLS, Parcel, ProtocolContext
from gateway.store import make_engine, migrate_schema, parties, write_transaction
from gateway_conformance.pki import CertificateOrder, issue_certificate, make_authority, make_revocation_list
from tests.kit.paths import ROOT
from tests.kit.ports import find_free_port
from tests.kit.stores import mark_store

AGREEMENT = (ROOT / "conformance" / "agreements" / "example.yaml").read_bytes()
EBMS2 = PROTOCOLS["ebms2"]
PARTY_TYPE = "urn:example:party-type"
AGENCIES = ("KPTA", "KFDA", "NPQS")
#: Agencies that are called, those of a case of five among them.
CALLED = (*AGENCIES, "NVRQS", "KTL")
PARTIES = {"hub": "hub", "broker1": "applicant", "customs": "customs", **dict.fromkeys(CALLED, "agency")}
#: With their own keys; the others are called, never heard.
SIGNING = ("hub", "broker1")


@dataclass(frozen=True)
class Place:
    """A home folder, where its gateway listens and where its rows are."""

    home: Path
    port: int
    database: str

    @property
    def settings(self) -> Settings:
        """The settings as the gateway reads them."""
        return read_home_settings(self.home)

    def engine(self) -> Engine:
        """Return a new engine for the database."""
        return make_engine(self.database)


def make_place(
    folder: Path, *, database: str = "", processes: int = 2, http: str = "", at_console: tuple[str, ...] = ()
) -> Place:
    """Make keys, settings, an empty database and the register of a gateway below `folder`.

    Agencies `at_console` decide there, with keys of their own.
    """
    home = folder / "home"
    pki = home / "pki"
    pki.mkdir(parents=True)
    place = Place(home, find_free_port(), database or f"sqlite:///{home}/gateway.sqlite3")
    certificates = _make_keys(pki, datetime.now(UTC), at_console)
    set_up(place, certificates, processes, http=http, at_console=at_console)
    return place


def set_up(
    place: Place,
    certificates: dict[str, bytes],
    processes: int,
    more: str = "",
    *,
    http: str = "",
    at_console: tuple[str, ...] = (),
) -> None:
    """Write the settings, which may say more, and make database and register; the keys are there."""
    partners = "".join(_write_partner(name, at_console=name in at_console) for name in CALLED)
    (place.home / "gateway.toml").write_text(
        f'[hub]\nhome = "."\n[database]\nurl = "{place.database}"\n'
        f"[http]\nport = {place.port}\nprocesses = {processes}\n{http}"
        f'{partners}[customs]\nendpoint = "http://127.0.0.1:9/customs"\n'
        f"{more}"
    )
    engine = place.engine()
    migrate_schema(engine)
    _register(engine, certificates)
    engine.dispose()
    mark_store(place.home)


def _write_partner(name: str, *, at_console: bool) -> str:
    if not at_console:
        return f'[agency.{name}]\nendpoint = "http://127.0.0.1:9/{name}"\n'
    key, certificate = f"pki/{name}.key.pem", f"pki/{name}.cert.pem"
    return (
        f'[agency.{name}]\nconsole = true\nconfirm = ["session"]\n'
        f'[agency.{name}.pki]\nsigning_key = {{ file = "{key}" }}\nsigning_certificate = "{certificate}"\n'
    )


def _make_keys(pki: Path, now: datetime, more: tuple[str, ...] = ()) -> dict[str, bytes]:
    authority = make_authority("CN=Load CA", now - timedelta(days=1), "rsa-2048")
    crl = make_revocation_list(authority, [], now - timedelta(hours=1), now + timedelta(days=365))
    (pki / "ca.pem").write_bytes(authority.certificate.pem)
    (pki / "crl.pem").write_bytes(x509.load_der_x509_crl(crl).public_bytes(Encoding.PEM))
    certificates = {}
    for name in (*SIGNING, *more):
        issued = issue_certificate(
            authority, f"CN={name}", now, CertificateOrder(key_kind="rsa-2048", days=300)
        )
        (pki / f"{name}.cert.pem").write_bytes(issued.certificate.pem)
        (pki / f"{name}.key.pem").write_bytes(encode_key_pem(issued.key))
        certificates[name] = issued.certificate.der
    return certificates


def _register(engine: Engine, certificates: dict[str, bytes]) -> None:
    now = datetime.now(UTC)
    with write_transaction(engine) as conn:
        for name, role in PARTIES.items():
            parties.register_party(conn, name, name, role, now, [PartyId(name, PARTY_TYPE)])
            if name in certificates:
                register_certificate(conn, name, certificates[name], now)
        parties.add_identifier(conn, "broker1", PartyId("6N001", "urn:example:customs-id"))
        load_unchecked_agreement(conn, AGREEMENT, "agreement", now)


class Broker:
    """Signs messages to the hub, and judges what the hub says."""

    def __init__(self, home: Path) -> None:
        pki = home / "pki"
        self._known = {name: read_certificate((pki / f"{name}.cert.pem").read_bytes()) for name in SIGNING}
        self._pmodes = read_pmodes(AGREEMENT, "agreement")
        judge = CertificateValidator(
            TrustStore(read_certificates((pki / "ca.pem").read_bytes())),
            RevocationData([(pki / "crl.pem").read_bytes()]),
        )
        self.signer = _signer(pki, "broker1")
        self._book, self._judge = PModeIndex(self._pmodes), judge

    @property
    def pmodes(self) -> tuple[PMode, ...]:
        """The P-Modes of its agreement."""
        return self._pmodes

    def pmode(self, action: str) -> PMode:
        """Return the P-Mode of an action."""
        return next(one for one in self._pmodes if one.action == action)

    def context(self) -> ProtocolContext:
        """Return what the broker judges by, as of now."""
        return ProtocolContext(
            agreements=self._book,
            validate_certificate=self._judge,
            signers={"broker1": self.signer},
            now=datetime.now(UTC),
            make_message_id=lambda: f"{uuid.uuid4()}@broker1.example",
            find_certificate_party={one.sha256: name for name, one in self._known.items()}.get,
            find_party_name={PartyId(name, PARTY_TYPE): name for name in SIGNING}.get,
        )

    def message(self, action: str, *payloads: Payload, **terms: Any) -> UserMessage:
        """Return a message with a new MessageId; `terms` are those that its protocol states itself."""
        pmode, context = self.pmode(action), self.context()
        message_id = context.make_message_id()
        return UserMessage(
            message_id=message_id,
            conversation_id=f"c-{message_id}",
            sender=pmode.sender,
            receiver=pmode.receiver,
            agreement=pmode.agreement,
            timestamp=context.now,
            service=pmode.service,
            service_type=pmode.service_type,
            action=action,
            payloads=payloads,
            **terms,
        )

    def seal(self, action: str, *payloads: Payload) -> Parcel:
        """Return a signed message with a new MessageId."""
        asked = AckRequest(signed=True)
        unit = self.message(
            action, *payloads, duplicate_elimination=True, ack_requested=asked, sync_reply=True
        )
        return EBMS2.seal((unit,), self.pmode(action), self.context())

    def check_receipt(self, sent: Parcel, headers: dict[str, str], body: bytes) -> None:
        """Raise unless this is the hub's signed receipt of what was sent."""
        context = self.context()
        EBMS2.open_units(
            Parcel(headers, MemoryBody(body)), context, EBMS2.read_sent_unit(sent, context.limits)
        )


def _signer(pki: Path, name: str) -> KeySigner:
    return load_signer((pki / f"{name}.key.pem").read_bytes(), (pki / f"{name}.cert.pem").read_bytes())


def payload(octets: int) -> Payload:
    """Return an XML payload of so many octets, like none before."""
    name = uuid.uuid4().hex
    row = b"<item><code>0101.21</code><quantity unit='KGM'>1250.5</quantity><origin>NZ</origin></item>"
    start, end = f"<goods id='{name}'>".encode(), b"</goods>"
    room = octets - len(start) - len(end)
    content = (row * (room // len(row) + 1))[: room // len(row) * len(row)]
    return Payload(f"p1.{name}", "application/xml", start + content + b" " * (room - len(content)) + end)


def sealed(broker: Broker, octets: int, number: int) -> Iterator[Parcel]:
    """Yield so many messages to the mailbox, each of so many octets in all."""
    around = broker.seal("Store", payload(1000)).body.octet_count - 1000
    for _ in range(number):
        yield broker.seal("Store", payload(octets - around))
