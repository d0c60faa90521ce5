"""Encrypted AS4 with phase4: its keys by RSA-OAEP, X25519 and ECDH-ES are read, and ours are read by it."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from gateway.cli.commands.verify import make_context
from gateway.cli.registration import make_certificate_row
from gateway.message_model import MemoryBody, PartyId, UserMessage
from gateway.pki import load_decryption_key, read_certificate
from gateway.protocols import Parcel, as4
from gateway.store import deliveries, make_engine, messages, parties, read_transaction, write_transaction
from gateway.wire import XENC11, read_http_message, serialize_element
from gateway.xmlsec import sign_document, verify_document
from tests.flows.craft import without_applications
from tests.kit.agreement_keys import make_receiver_files
from tests.kit.databases import Templates
from tests.kit.gateway import RunningGateway
from tests.kit.house import AS4, authority, signer_named
from tests.kit.levels import at_night
from tests.kit.live import LiveHouse
from tests.kit.ports import find_free_port
from tests.kit.story import unsigned
from tests.kit.waiting import until
from tests.system.interop.phase4 import Phase4, build_phase4, make_key_stores
from tests.system.interop.test_as4_peer import AGREED, DECLARE, KINDS, STORE, write_parts

pytestmark = [pytest.mark.peer, pytest.mark.vectors, pytest.mark.long]

BEGAN = datetime.now(UTC) - timedelta(hours=1)
#: How keys are sent: the kind of the receiver's key, and what phase4 calls it.
WAYS = {"rsa": ("rsa", "none"), "x25519": ("x25519", "x25519"), "ecdh-es": ("p-256", "ecdh-es")}


@pytest.fixture(scope="module")
def peer(vectors: Path, tmp_path_factory: pytest.TempPathFactory) -> Phase4:
    """Return the peer, built when it is not yet."""
    return Phase4(build_phase4(vectors), make_key_stores(tmp_path_factory.mktemp("keys")))


def list_parts(folder: Path, count: int) -> tuple[list[Path], list[str | Path]]:
    """Return the files of a message, and the words by which phase4 sends them."""
    parts = write_parts(folder)
    for number in range(len(parts), count):
        parts.append(folder / f"{number}.bin")
        parts[-1].write_bytes(bytes([number]) * 1000)
    parts = parts[:count]
    words: list[str | Path] = []
    for number, part in enumerate(parts):
        words += ["--payload", part, "--mime", KINDS[min(number, 2)]]
    return parts, words


@pytest.mark.parametrize("way", ["rsa", *at_night(*(way for way in WAYS if way != "rsa"))])
@pytest.mark.parametrize("compressed", ["yes", *at_night("no")])
def test_what_phase4_encrypts_is_decrypted(peer: Phase4, tmp_path: Path, way: str, compressed: str) -> None:
    kind, agreement = WAYS[way]
    key, certificate = make_receiver_files(authority(), "hub decrypts", BEGAN, kind)
    (tmp_path / "hub.pem").write_bytes(certificate)
    dumped, (parts, chosen) = tmp_path / "dumped", list_parts(tmp_path, 3)
    dumped.mkdir()
    secret = ("--encrypt", "yes", "--peer-cert", tmp_path / "hub.pem", "--key-agreement", agreement)
    named = ("--crypt-key-id", "ski", "--compress", compressed)
    quiet = ("--build-only", "--dump", dumped)
    peer.send("http://127.0.0.1:9/as4", *AGREED, *STORE, *chosen, *secret, *named, *quiet)
    (file,) = dumped.iterdir()
    sent = read_http_message(file.read_bytes())
    context = make_context(
        [authority().certificate.pem], datetime.now(UTC), (load_decryption_key(key, certificate),)
    )
    opened = as4.verify_parcel(Parcel(sent.headers, MemoryBody(sent.body)), "strict", context)
    assert isinstance(opened.unit, UserMessage)
    assert [one.content for one in opened.unit.payloads] == [part.read_bytes() for part in parts]
    assert {one.cipher for one in opened.unwrapped_parts} == {f"{XENC11}aes128-gcm"}


class SecretScene:
    """A hub and phase4 that encrypt for each other, as eDelivery AS4 1.15 or 2.0 has it."""

    def __init__(self, folder: Path, database_url: str, way: str) -> None:
        kind, self.agreement = WAYS[way]
        self.port = find_free_port()
        names = "[aes128-gcm, rsa-oaep]"
        if way != "rsa":
            names = f"[aes128-gcm, {'x25519' if way == 'x25519' else 'ECDH-ES'}, hkdf, kw-aes128]"
        text = AS4.replace(b"http://127.0.0.1:8901/msh/as4", f"http://127.0.0.1:{self.port}/as4".encode())
        text = text.replace(b"    mpc: urn:example:channel:store\n", b"")
        text = text.replace(b"action: Result}", b"action: Result, mep: one-way}")
        text = text.replace(
            b"  compression: gzip ", f"  encryption: {{algorithms: {names}}}\n  compression: gzip ".encode()
        )
        more = (
            "[delivery]\npoll = '50ms'\n[decryption.live]\nkey = { file = 'pki/secret.key.pem' }\n"
            "certificate = 'pki/secret.cert.pem'\n"
        )
        self.live = LiveHouse(folder, database_url, text, more)
        self.url = self.live.url.replace("/msh/ebms2", "/msh/as4")
        key, self.own = make_receiver_files(authority(), "hub decrypts", BEGAN, kind)
        for name, content in (("secret.key.pem", key), ("secret.cert.pem", self.own)):
            (self.live.home / "pki" / name).write_bytes(content)
        self.certificate = self.live.home / "pki" / "secret.cert.pem"
        self._register_partner(kind, folder)

    def _register_partner(self, kind: str, folder: Path) -> None:
        """Give the partner a key of the kind, and register its certificate for encryption."""
        key, certificate = make_receiver_files(authority(), "broker1 decrypts", BEGAN, kind)
        pem, self.store = folder / "crypt.pem", folder / "crypt.p12"
        pem.write_bytes(key + certificate + authority().certificate.pem)
        words = ["openssl", "pkcs12", "-export", "-in", pem, "-out", self.store, "-name", "broker1-crypt"]
        subprocess.run([*words, "-passout", "pass:secret"], check=True, capture_output=True)
        engine = make_engine(self.live.database_url)
        with write_transaction(engine) as conn:
            parties.add_identifier(conn, "broker1", PartyId("6N001", "urn:example:customs-id"))
            row = make_certificate_row(read_certificate(certificate), "encryption")
            parties.add_certificate(conn, "broker1", row, datetime.now(UTC))
        engine.dispose()

    def read(self, question: Any) -> Any:
        engine = make_engine(self.live.database_url)
        try:
            with read_transaction(engine) as conn:
                return question(conn)
        finally:
            engine.dispose()


@pytest.mark.night
@pytest.mark.parametrize("way", ["x25519"])
def test_a_case_is_filed_and_answered_in_secret(
    peer: Phase4, tmp_path: Path, templates: Templates, way: str
) -> None:
    """Parts of no, one and five payloads go in; then a submission, and its Result comes back encrypted."""
    scene = SecretScene(tmp_path, templates.fresh("sqlite"), way)
    known = ("--peer-cert", scene.certificate, "--crypt-key-id", "ski")
    secret = ("--encrypt", "yes", "--key-agreement", scene.agreement, *known, "--compress", "yes")
    with RunningGateway(scene.live.home, "both"):
        for count in (0, 1, 5):
            parts, chosen = list_parts(tmp_path, count)
            report = peer.send(scene.url, *AGREED, *STORE, *chosen, *secret)
            assert (report["receipt_verified"], report["errors"]) == (True, []), report
            row = scene.read(
                lambda conn, name=report["message_id"]: messages.find_by_message_id(
                    conn, "in", "broker1", name
                )
            )
            kept = scene.read(lambda conn, number=row.id: messages.load_payloads(conn, number))
            assert [one.content for one in kept] == [part.read_bytes() for part in parts]
        root = unsigned()
        without_applications(root)
        signed = sign_document(root, signer_named("broker1"), now=scene.live.now)
        submission = tmp_path / "submission.xml"
        submission.write_bytes(serialize_element(signed))
        own = ("--crypt-alias", "broker1-crypt", "--crypt-keystore", str(scene.store))
        with peer.serve(tmp_path, scene.port, "--encrypt", "yes", *own) as inbox:
            report = peer.send(
                scene.url, *AGREED, *DECLARE, "--payload", submission, "--mime", KINDS[0], *secret
            )
            assert report["receipt_verified"], report
            found = wait_for_delivery(scene)
            assert found.state == "DELIVERED", found
            (received,) = list(inbox.iterdir())
            document = etree.fromstring((received / "payload-0").read_bytes())
            assert verify_document(document).certificate == signer_named("hub").certificate


def wait_for_delivery(scene: SecretScene) -> Any:
    """Return the one delivery to the partner when it has ended."""

    def find_ended() -> Any:
        rows = scene.read(lambda conn: deliveries.list_deliveries(conn, agent="msh"))
        return next((row for row in rows if row.state in ("DELIVERED", "FAILED")), None)

    return until(find_ended, every=0.2)
