"""The receive path of encrypted messages beside its floor, and beside what cryptography alone costs."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from lxml import etree

from gateway.agreements import Encryption, PMode
from gateway.hub import RejectingComposer, build_hub, tune_garbage_collector
from gateway.operations import load_unchecked_agreement
from gateway.pki import RsaDecryptionKey, load_decryption_key
from gateway.protocols import EncryptionResources, Parcel, ProtocolContext
from gateway.store import write_transaction
from gateway.wire import prescan_xml
from gateway_conformance.pki import CertificateOrder, issue_certificate, make_authority
from tests.load.durable import DurableFile
from tests.load.place import AGREEMENT, Broker, Place, sealed
from tests.load.receiving import MESSAGE, Arrived, Floor, arrived, hub_takes
from tests.load.stopwatch import Laps, by_turns, say

_VALUES = ".//{http://www.w3.org/2001/04/xmlenc#}CipherValue"
_OAEP = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
_PKCS1 = padding.PKCS1v15()
_SHA256 = hashes.SHA256()
_ENCRYPTED = AGREEMENT.replace(
    b"    action: Store\n", b"    action: Store\n    encryption: {protocol: XMLENC}\n"
)


class Encrypting(Broker):
    """Encrypts what a broker sends to the mailbox, by these algorithms."""

    key: RsaDecryptionKey
    algorithms: tuple[str, ...] = ("http://www.w3.org/2009/xmlenc11#aes256-gcm",)

    def pmode(self, action: str) -> PMode:
        """Return the P-Mode of an action with its envelope."""
        return replace(super().pmode(action), encryption=Encryption("XMLENC", self.algorithms))

    def context(self) -> ProtocolContext:
        """Return what the broker judges and encrypts by, as of now."""
        known = EncryptionResources((), os.urandom, lambda *_: self.key.certificate)
        return replace(
            super().context(),
            encryption=known,
            validate_certificate=lambda *_: _Accepted(),  # type: ignore[arg-type, return-value]
        )


class _Accepted:
    """Sealing is not what is measured: the broker believes the certificate that it encrypts for."""

    def raise_unless_accepted(self, location: str) -> None:
        """Accept."""


@dataclass(frozen=True)
class EncryptedFloor:
    """The floor of a signed message, and around it what nobody can leave out for one encrypted payload."""

    floor: Floor
    key: Any

    def __call__(self, arrival: Arrived) -> None:
        """Pre-scan and parse the encrypted form, decrypt key and content; then as for a payload in clear."""
        prescan_xml(arrival.payload)
        values = [base64.b64decode(one.text) for one in etree.fromstring(arrival.payload).iterfind(_VALUES)]
        content = AESGCM(self.key.decrypt(values[0], _OAEP)).decrypt(values[1][:12], values[1][12:], None)
        self.floor(replace(arrival, payload=content))


@dataclass(frozen=True)
class Primitives:
    """Cryptography alone: two RSA operations of ours, one of theirs, AES-GCM, and every digest."""

    floor: Floor
    key: Any

    def __call__(self, arrival: Arrived, values: list[bytes], signed_info: bytes) -> None:
        """Verify, decrypt key and content, digest, sign."""
        self.floor.public.verify(arrival.value, signed_info, _PKCS1, _SHA256)
        content = AESGCM(self.key.decrypt(values[0], _OAEP)).decrypt(values[1][:12], values[1][12:], None)
        for octets in (arrival.envelope, content, self.floor.receipt):
            hashlib.sha256(octets).digest()
        self.floor.key.sign(self.floor.receipt, _PKCS1, _SHA256)


def measure(place: Place, messages: int) -> Mapping[str, Any]:
    """Time primitives, floor and receive path on alternating messages with encrypted payloads."""
    say(f"encrypted: {messages} messages of {MESSAGE} octets beside their floor")
    key = set_up_encryption(place)
    broker = Encrypting(place.home)
    broker.key = key
    hub = build_hub(place.settings, RejectingComposer())
    tune_garbage_collector()
    for parcel in sealed(broker, MESSAGE, 20):
        receipt = hub_takes(hub, parcel)
    file = DurableFile(place.home / "floor.sqlite3")
    bare = Floor(broker.signer.certificate.public_key, hub.signer.key, receipt.body, file)  # type: ignore[attr-defined]
    floor, alone = EncryptedFloor(bare, key.key), Primitives(bare, key.key)
    laps = [Laps(), Laps(), Laps()]
    for number, parcel in enumerate(sealed(broker, MESSAGE, messages)):
        arrival, values, signed_info = _cut(parcel)
        by_turns(
            number,
            partial(laps[0].time, partial(alone, arrival, values, signed_info)),
            partial(laps[1].time, partial(floor, arrival)),
            partial(laps[2].time, partial(hub_takes, hub, parcel)),
        )
    file.close()
    hub.close()
    return _report(*laps)


def _report(alone: Laps, floor: Laps, ours: Laps) -> Mapping[str, Any]:
    return {
        "encrypted_primitives_ms": alone.wall_ms,
        "encrypted_floor_ms": floor.wall_ms,
        "encrypted_ms": ours.wall_ms,
        "encrypted_ratio": ours.wall_ms / floor.wall_ms,
        "encrypted_primitives_cpu_ms": alone.cpu_ms,
        "encrypted_floor_cpu_ms": floor.cpu_ms,
        "encrypted_cpu_ms": ours.cpu_ms,
        "encrypted_cpu_ratio": ours.cpu_ms / floor.cpu_ms,
    }


def _cut(parcel: Parcel) -> tuple[Arrived, list[bytes], bytes]:
    message = arrived(parcel)
    values = [base64.b64decode(one.text) for one in etree.fromstring(message.payload).iterfind(_VALUES)]
    signature = etree.fromstring(message.envelope).find(".//{http://www.w3.org/2000/09/xmldsig#}Signature")
    return message, values, etree.tostring(signature[0], method="c14n", with_tail=False)


def set_up_encryption(place: Place, agreement: bytes = _ENCRYPTED) -> RsaDecryptionKey:
    """Give the hub a key that decrypts, and an agreement by which the mailbox gets encrypted messages."""
    now = datetime.now(UTC)
    order = CertificateOrder(profile="encryption", key_kind="rsa-2048")
    issued = issue_certificate(make_authority("CN=Load", now - timedelta(days=1)), "CN=decrypts", now, order)
    (place.home / "pki" / "decrypts.key.pem").write_bytes(issued.key_pem)
    (place.home / "pki" / "decrypts.cert.pem").write_bytes(issued.certificate.pem)
    with (place.home / "gateway.toml").open("a") as file:
        file.write(
            '\n[decryption.load]\nkey = { file = "pki/decrypts.key.pem" }\n'
            'certificate = "pki/decrypts.cert.pem"\n'
        )
    engine = place.engine()
    with write_transaction(engine) as conn:
        load_unchecked_agreement(conn, agreement, "agreement", now)
    engine.dispose()
    return load_decryption_key(issued.key_pem, issued.certificate.der)
