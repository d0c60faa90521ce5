"""What phase4 signs and encrypts by, read by a running hub: Ed25519, and ways to send a key.

A hub is tried with every combination in tests/flows/test_as4_secrets.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.registration import register_certificate
from gateway.pki import encode_key_pem
from gateway.store import make_engine, messages, read_transaction, write_transaction
from gateway.wire import DSIG_MORE, XENC, XENC11
from tests.kit.agreement_keys import CURVES, make_receiver_files
from tests.kit.databases import Templates
from tests.kit.gateway import RunningGateway
from tests.kit.house import AS4, authority, signer_named
from tests.kit.live import LiveHouse
from tests.system.interop.as4_variants import SIGNATURES
from tests.system.interop.phase4 import Phase4, build_phase4, make_key_stores
from tests.system.interop.test_as4_peer import AGREED, STORE

pytestmark = [pytest.mark.peer, pytest.mark.vectors, pytest.mark.long, pytest.mark.timeout(900)]

BEGAN = datetime.now(UTC) - timedelta(hours=1)
NAMES = (
    "aes128-gcm, aes256-gcm, rsa-oaep, rsa-oaep-mgf1p, x25519, ECDH-ES, hkdf, ConcatKDF, kw-aes128, kw-aes256"
)
KINDS = ("rsa", "x25519", *CURVES)
DIGESTS = {"sha256": f"{XENC}sha256", "sha384": f"{DSIG_MORE}sha384", "sha512": f"{XENC}sha512"}


class Scene:
    """A hub that signs by one kind of key and decrypts by many, and phase4 with a key of that kind."""

    def __init__(self, folder: Path, database_url: str, program: Path, kind: str) -> None:
        text = AS4.replace(b"    mpc: urn:example:channel:store\n", b"")
        terms = f"  encryption: {{algorithms: [{NAMES}]}}\n  compression: gzip ".encode()
        files = {one: make_receiver_files(authority(), f"hub {one}", BEGAN, one) for one in KINDS}
        more = "".join(
            f"[decryption.{one}]\nkey = {{ file = 'pki/{one}.key.pem' }}\n"
            f"certificate = 'pki/{one}.cert.pem'\n"
            for one in files
        )
        self.live = LiveHouse(folder, database_url, text.replace(b"  compression: gzip ", terms), more)
        self.pki = self.live.home / "pki"
        for one, (key, certificate) in files.items():
            (self.pki / f"{one}.key.pem").write_bytes(key)
            (self.pki / f"{one}.cert.pem").write_bytes(certificate)
        hub = signer_named("hub", kind)
        (self.pki / "hub.cert.pem").write_bytes(hub.certificate.pem)
        (self.pki / "hub.key.pem").write_bytes(encode_key_pem(hub.key))
        engine = make_engine(database_url)
        with write_transaction(engine) as conn:
            for party in ("hub", "broker1") if kind != "p-256" else ():
                register_certificate(
                    conn, party, signer_named(party, kind).certificate.der, datetime.now(UTC)
                )
        engine.dispose()
        keys = folder / "keys"
        keys.mkdir()
        self.peer = Phase4(program, make_key_stores(keys, kind), SIGNATURES[kind])
        self.url = self.live.url.replace("/msh/ebms2", "/msh/as4")
        self.part = folder / "one.xml"
        self.part.write_bytes(b"<order>1</order>")

    def send(self, *words: str | Path) -> dict[str, Any]:
        """Let phase4 send the part; return what it reports."""
        chosen = ("--payload", self.part, "--mime", "application/xml", "--compress", "yes")
        return self.peer.send(self.url, *AGREED, *STORE, *chosen, *words)

    def send_secretly(self, receiver: str, *words: str | Path) -> dict[str, Any]:
        """Let phase4 send the part encrypted for one of the hub's keys."""
        known = ("--peer-cert", self.pki / f"{receiver}.cert.pem", "--crypt-key-id", "ski")
        return self.send("--encrypt", "yes", *known, *words)

    def check_taken(self, report: dict[str, Any]) -> None:
        """Hold that phase4 has verified the receipt, and that the hub has stored the part in clear."""
        assert (report["receipt_verified"], report["errors"]) == (True, []), report
        engine = make_engine(self.live.database_url)
        try:
            with read_transaction(engine) as conn:
                row = messages.find_by_message_id(conn, "in", "broker1", report["message_id"])
                assert row is not None
                (kept,) = messages.load_payloads(conn, row.id)
                assert kept.content == self.part.read_bytes()
        finally:
            engine.dispose()


@pytest.fixture(scope="module")
def program(vectors: Path) -> Path:
    return build_phase4(vectors)


@pytest.fixture(scope="module")
def scene(program: Path, tmp_path_factory: pytest.TempPathFactory, templates: Templates) -> Iterator[Scene]:
    found = Scene(tmp_path_factory.mktemp("ecdsa"), templates.fresh("sqlite"), program, "p-256")
    with RunningGateway(found.live.home, "serve"):
        yield found


@pytest.fixture(scope="module")
def edwards(program: Path, tmp_path_factory: pytest.TempPathFactory, templates: Templates) -> Iterator[Scene]:
    """A hub and phase4 that sign by Ed25519."""
    found = Scene(tmp_path_factory.mktemp("edwards"), templates.fresh("sqlite"), program, "ed25519")
    with RunningGateway(found.live.home, "serve"):
        yield found


def test_edelivery_2_signs_by_ed25519_and_agrees_on_keys_by_x25519(edwards: Scene) -> None:
    """The common usage of eDelivery AS4 2.0, as phase4 presets it, with the chain of certificates."""
    words = ("--profile", "edelivery2", "--key-id", "pkipath")
    edwards.check_taken(edwards.send_secretly("x25519", *words))


@pytest.mark.night
@pytest.mark.parametrize(
    ("digest", "mask"), [("sha256", "sha384"), ("sha384", "sha256"), ("sha512", "sha512")]
)
def test_oaep_with_other_digests_and_masks(scene: Scene, digest: str, mask: str) -> None:
    words = ("--oaep-digest", DIGESTS[digest], "--oaep-mask", f"{XENC11}mgf1{mask}")
    scene.check_taken(scene.send_secretly("rsa", *words))


@pytest.mark.night
def test_oaep_with_a_mask_by_sha1_is_refused(scene: Scene) -> None:
    report = scene.send_secretly("rsa", "--oaep-mask", f"{XENC11}mgf1sha1")
    assert not report["receipt"]
    assert "EBMS:0103" in json.dumps(report["errors"])


@pytest.mark.night
@pytest.mark.parametrize(
    ("receiver", "wrap", "derivation"),
    [
        ("x25519", "AES_256", "CONCAT_KDF"),
        ("p-256", "AES_128", "HKDF"),
        ("p-384", "AES_128", "CONCAT_KDF"),
        ("p-521", "AES_256", "HKDF"),
    ],
)
def test_a_key_that_both_agree_on(scene: Scene, receiver: str, wrap: str, derivation: str) -> None:
    way = "x25519" if receiver == "x25519" else "ecdh-es"
    words = ("--key-agreement", way, "--key-wrap", wrap, "--key-derivation", derivation)
    scene.check_taken(scene.send_secretly(receiver, *words))
