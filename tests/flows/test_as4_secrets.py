"""Encrypted AS4 through the door of a running hub: each way to send a key, and what is refused there."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from gateway.agreements import Encryption
from gateway.message_model import ErrorSignal, MemoryBody, Receipt
from gateway.pki import Certificate, DecryptionKey, KeyPadding, encrypt_key, load_decryption_key
from gateway.protocols import EncryptionResources, Parcel, ProtocolContext
from gateway.store import make_engine, messages, read_transaction
from gateway.wire import DS, DSIG_MORE, XENC, XENC11
from tests.kit.agreement_keys import make_receiver_files
from tests.kit.databases import Templates
from tests.kit.gateway import RunningGateway, post
from tests.kit.house import AS4, START, Clock, Neighbour, authority, pmodes
from tests.kit.live import LiveHouse

pytestmark = pytest.mark.long

CONTENT = b"<declaration>" + b"secret " * 40 + b"</declaration>"
KINDS = ("x25519", "p-256", "p-384", "p-521")
NAMES = (
    "aes128-gcm, aes192-gcm, aes256-gcm, rsa-oaep, rsa-oaep-mgf1p, x25519, ECDH-ES, hkdf, ConcatKDF, "
    "kw-aes128, kw-aes192, kw-aes256"
)
DIGESTS = {"sha1": DS, "sha256": XENC, "sha384": DSIG_MORE, "sha512": XENC}
STRONG = ("sha256", "sha384", "sha512")
#: The agreement of a hub whose policy is strict, and of one that reads what older products send.
STRICT = AS4.replace(
    b"  compression: gzip ", f"  encryption: {{algorithms: [{NAMES}]}}\n  compression: gzip ".encode()
)
LEGACY = STRICT.replace(b"kw-aes256]}", b"kw-aes256], policy: legacy-cbc}")


@dataclass
class Sender(Neighbour):
    """A partner that encrypts for one key of the hub, and remembers what it drew."""

    drawn: list[bytes] = field(default_factory=list)
    certificate: Certificate | None = None

    def context(self) -> ProtocolContext:
        assert self.certificate is not None
        certificate = self.certificate
        resources = EncryptionResources((), self._draw, lambda *_: certificate)
        return replace(super().context(), encryption=resources)

    def _draw(self, count: int) -> bytes:
        self.drawn.append(os.urandom(count))
        return self.drawn[-1]

    def seal_for(self, receiver: DecryptionKey, *algorithms: str) -> Parcel:
        """Return a message that is encrypted by these algorithms."""
        self.certificate, self.drawn = receiver.certificate, []
        pmode = next(one for one in pmodes(self.agreement) if one.action == "Store")
        terms = replace(pmode.encryption or Encryption("XMLENC"), algorithms=algorithms)
        unit = self.message(content=CONTENT)
        return self.core.seal((unit,), replace(pmode, encryption=terms), self.context())

    def seal_by_oaep(self, receiver: DecryptionKey, transport: str, digest: str, mask: str) -> Parcel:
        """Return a message whose key is sent by OAEP with a digest and a mask; `mask` empty: not named."""
        parcel = self.seal_for(receiver, "aes128-gcm", "rsa-oaep")
        sent = encrypt_key(receiver.certificate, self.drawn[0], KeyPadding(digest, mask or "sha1"))
        named = f'<ds:DigestMethod Algorithm="{DIGESTS[digest]}{digest}"></ds:DigestMethod>'
        if mask:
            named += f'<xenc11:MGF xmlns:xenc11="{XENC11}" Algorithm="{XENC11}mgf1{mask}"></xenc11:MGF>'
        method = f'<xenc:EncryptionMethod Algorithm="{transport}">{named}</xenc:EncryptionMethod>'
        head, start, rest = parcel.read_octets().partition(b"<xenc:EncryptedKey")
        key, end, tail = rest.partition(b"</xenc:EncryptedKey>")
        changed = re.sub(b"<xenc:EncryptionMethod.*?</xenc:EncryptionMethod>", method.encode(), key)
        value = b"<xenc:CipherValue>" + base64.b64encode(sent)
        changed = re.sub(b"<xenc:CipherValue>[^<]*", value, changed)
        assert changed != key
        return Parcel(parcel.headers, MemoryBody(head + start + changed + end + tail))


@dataclass(frozen=True)
class SecretHub:
    """A running hub with a key of each kind, and the partner that encrypts for them."""

    url: str
    database_url: str
    keys: dict[str, DecryptionKey]
    sender: Sender

    def post(self, parcel: Parcel) -> Any:
        """Post a message; return the unit of the verified answer."""
        answer = post(self.url, parcel)
        assert answer is not None
        return self.sender.open(answer, parcel).unit

    def load_content(self, message_id: str) -> bytes:
        """Return the payload that the hub has stored of a message."""
        engine = make_engine(self.database_url)
        try:
            with read_transaction(engine) as conn:
                row = messages.find_by_message_id(conn, "in", "broker1", message_id)
                assert row is not None
                return messages.load_payloads(conn, row.id)[0].content
        finally:
            engine.dispose()

    def check_taken(self, parcel: Parcel) -> None:
        """Hold that a message got its receipt and is stored in clear."""
        answer = self.post(parcel)
        assert isinstance(answer, Receipt), answer
        assert answer.ref_to_message_id is not None
        assert self.load_content(answer.ref_to_message_id) == CONTENT


def run_hub(folder: Path, database_url: str, agreement: bytes) -> Iterator[SecretHub]:
    more = ""
    files = {kind: make_receiver_files(authority(), f"hub {kind}", START, kind) for kind in ("rsa", *KINDS)}
    for kind in files:
        more += f"[decryption.{kind}]\nkey = {{ file = 'pki/{kind}.key.pem' }}\n"
        more += f"certificate = 'pki/{kind}.cert.pem'\n"
    live = LiveHouse(folder, database_url, agreement, more)
    for kind, (key, certificate) in files.items():
        (live.home / "pki" / f"{kind}.key.pem").write_bytes(key)
        (live.home / "pki" / f"{kind}.cert.pem").write_bytes(certificate)
    keys = {kind: load_decryption_key(*pair) for kind, pair in files.items()}
    sender = Sender("broker1", Clock(datetime.now(UTC)), agreement)
    with RunningGateway(live.home, "serve"):
        yield SecretHub(live.url.replace("ebms2", "as4"), database_url, keys, sender)


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory, templates: Templates) -> Iterator[SecretHub]:
    yield from run_hub(tmp_path_factory.mktemp("strict"), templates.fresh("sqlite"), STRICT)


@pytest.fixture(scope="module")
def legacy(tmp_path_factory: pytest.TempPathFactory, templates: Templates) -> Iterator[SecretHub]:
    yield from run_hub(tmp_path_factory.mktemp("legacy"), templates.fresh("sqlite"), LEGACY)


@pytest.mark.parametrize(("cipher", "wrap"), [(128, 128), (128, 192), (256, 256)])
@pytest.mark.parametrize("derivation", ["hkdf", "ConcatKDF"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_key_that_both_agree_on(
    strict: SecretHub, kind: str, derivation: str, cipher: int, wrap: int
) -> None:
    way = "x25519" if kind == "x25519" else "ECDH-ES"
    names = (f"aes{cipher}-gcm", way, derivation, f"kw-aes{wrap}")
    strict.check_taken(strict.sender.seal_for(strict.keys[kind], *names))


@pytest.mark.parametrize(("digest", "mask"), list(product(STRONG, STRONG)))
def test_oaep_with_each_digest_and_mask(strict: SecretHub, digest: str, mask: str) -> None:
    parcel = strict.sender.seal_by_oaep(strict.keys["rsa"], f"{XENC11}rsa-oaep", digest, mask)
    strict.check_taken(parcel)


@pytest.mark.parametrize("digest", DIGESTS)
@pytest.mark.parametrize("mask", [*DIGESTS, ""])
def test_oaep_with_sha1_is_read_by_the_older_policy(legacy: SecretHub, digest: str, mask: str) -> None:
    parcel = legacy.sender.seal_by_oaep(legacy.keys["rsa"], f"{XENC11}rsa-oaep", digest, mask)
    legacy.check_taken(parcel)


@pytest.mark.parametrize("digest", DIGESTS)
def test_the_older_transport_has_a_mask_by_sha1(legacy: SecretHub, digest: str) -> None:
    legacy.check_taken(legacy.sender.seal_by_oaep(legacy.keys["rsa"], f"{XENC}rsa-oaep-mgf1p", digest, ""))


def test_the_older_transport_is_taken_by_the_strict_policy_where_it_is_named(strict: SecretHub) -> None:
    # What it means where nobody names it: tests/encryption/test_xml_encryption.py.
    strict.check_taken(strict.sender.seal_by_oaep(strict.keys["rsa"], f"{XENC}rsa-oaep-mgf1p", "sha256", ""))


@pytest.mark.parametrize(("digest", "mask"), [("sha1", "sha256"), ("sha256", "sha1"), ("sha256", "")])
def test_oaep_with_sha1_is_refused_by_the_strict_policy(strict: SecretHub, digest: str, mask: str) -> None:
    answer = strict.post(strict.sender.seal_by_oaep(strict.keys["rsa"], f"{XENC11}rsa-oaep", digest, mask))
    assert isinstance(answer, ErrorSignal)
    assert (answer.errors[0].code, answer.errors[0].description[:5]) == ("EBMS:0103", "GW216")


def test_a_mask_that_is_not_the_named_one_opens_nothing(strict: SecretHub) -> None:
    parcel = strict.sender.seal_by_oaep(strict.keys["rsa"], f"{XENC11}rsa-oaep", "sha256", "sha512")
    octets = parcel.read_octets().replace(b"mgf1sha512", b"mgf1sha384")
    answer = strict.post(Parcel(parcel.headers, MemoryBody(octets)))
    assert isinstance(answer, ErrorSignal)
    assert (answer.errors[0].code, answer.errors[0].description[:5]) == ("EBMS:0102", "GW210")
