"""Two parties and a third, with keys, agreement and registry, for the tests of protocol cores."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache

from gateway.agreements import PMode, PModeIndex, Reliability, Security
from gateway.message_model import AckRequest, MemoryBody, Party, PartyId, Payload, UserMessage
from gateway.pki import CertificateValidator, Keyring, RevocationData, TrustStore
from gateway.protocols import Parcel, ProtocolContext
from gateway_conformance.pki import (
    CertificateOrder,
    CertificationAuthority,
    IssuedCertificate,
    issue_certificate,
    make_authority,
    make_revocation_list,
)

NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
T = "urn:example:party-type"
SERVICE = "urn:single-window:services:declaration"
BROKER, HUB, OTHER = PartyId("broker1", T), PartyId("hub", T), PartyId("broker2", T)
FROM_BROKER, FROM_HUB = Party((BROKER,), "Applicant"), Party((HUB,), "Hub")
FLEXIBLE = Reliability("per_message", "per_message", "per_message")
_YEAR = timedelta(days=365)


@cache
def authority() -> CertificationAuthority:
    return make_authority("CN=Test CA", NOW - timedelta(days=30))


@cache
def issued(name: str) -> IssuedCertificate:
    """Return the key pair of `name`: the broker has RSA, the hub EC."""
    kind = "rsa-2048" if name.startswith("broker") else "p-256"
    return issue_certificate(
        authority(), f"CN={name}", NOW - timedelta(days=1), CertificateOrder(key_kind=kind)
    )


@cache
def judge(*revoked: str) -> CertificateValidator:
    crl = make_revocation_list(
        authority(), [issued(name).certificate.serial for name in revoked], NOW - timedelta(days=1)
    )
    return CertificateValidator(TrustStore((authority().certificate,)), RevocationData((crl,)))


def pmode(name: str = "submit", **changes: object) -> PMode:
    values: dict[str, object] = {
        "id": name,
        "agreement": "agreement-1",
        "from_party": (BROKER,),
        "from_role": "Applicant",
        "to_party": (HUB,),
        "to_role": "Hub",
        "service": SERVICE,
        "action": "Submit",
        "valid_from": NOW - _YEAR,
        "valid_until": NOW + _YEAR,
        "security": Security(),
        "reliability": FLEXIBLE,
        "sync_reply_mode": "mshSignalsOnly",
        "endpoint": "http://hub.example/msh",
        "reply_endpoint": "http://broker.example/msh",
        "deliver_to": "case",
    }
    return PMode(**{**values, **changes})  # type: ignore[arg-type]


SUBMIT = pmode()
LOOSE = pmode("loose", action="Loose", security=Security(sign=False), sync_reply_mode="none")
EXACT = pmode("exact", action="Exact", reliability=Reliability())
NEVER = pmode("never", action="Never", reliability=Reliability("never", "never", "never"))
RESULT = pmode(
    "result", action="Result", from_party=(HUB,), from_role="Hub", to_party=(BROKER,), to_role="Applicant"
)
FOREIGN = pmode("foreign", agreement="agreement-2", from_party=(OTHER,))
BOOK = PModeIndex((SUBMIT, LOOSE, EXACT, NEVER, RESULT, FOREIGN), epoch=1)
OWNERS: Mapping[PartyId, str] = {BROKER: "broker1", HUB: "hub", OTHER: "broker2"}


@cache
def keyring() -> Keyring:
    return Keyring({name: issued(name).signer for name in ("broker1", "hub", "broker2")})


def owner(sha256: str) -> str | None:
    for name in ("broker1", "hub", "broker2"):
        if issued(name).certificate.sha256 == sha256:
            return name
    return None


_numbers = itertools.count(1)


def context(**changes: object) -> ProtocolContext:
    good = ProtocolContext(
        agreements=BOOK,
        validate_certificate=judge(),
        signers=keyring(),
        now=NOW,
        make_message_id=lambda: f"m{next(_numbers)}@gateway.example",
        find_certificate_party=owner,
        find_party_name=OWNERS.get,
    )
    return replace(good, **changes)  # type: ignore[arg-type]


def message(**changes: object) -> UserMessage:
    """Return a business message of the broker to the hub."""
    good = UserMessage(
        message_id="m-1@broker.example",
        conversation_id="c-1",
        sender=FROM_BROKER,
        receiver=FROM_HUB,
        agreement="agreement-1",
        timestamp=NOW - timedelta(seconds=1),
        service=SERVICE,
        action="Submit",
        expires_at=NOW + timedelta(hours=1),
        duplicate_elimination=True,
        ack_requested=AckRequest(signed=True),
        sync_reply=True,
        payloads=(
            Payload("p1@broker.example", "application/xml", "<신고>가</신고>".encode()),
            Payload("p2@broker.example", "application/octet-stream", bytes(range(256))),
        ),
    )
    return replace(good, **changes)  # type: ignore[arg-type]


def parcel(data: bytes, content_type: str = "text/xml", action: str = '"ebXML"') -> Parcel:
    return Parcel({"Content-Type": content_type, "SOAPAction": action}, MemoryBody(data))


def octets(one: Parcel) -> bytes:
    with one.body.open_stream() as stream:
        return stream.read()


def replaced(one: Parcel, old: bytes, new: bytes, count: int = 1) -> Parcel:
    """Return the parcel with some octets exchanged; they must be there."""
    data = octets(one)
    assert old in data, old
    return Parcel(dict(one.headers), MemoryBody(data.replace(old, new, count)))
