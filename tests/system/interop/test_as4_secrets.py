"""Encrypted AS4 with phase4: its keys by RSA-OAEP, X25519 and ECDH-ES are read, and ours are read by it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway.cli.commands.verify import make_context
from gateway.message_model import MemoryBody, UserMessage
from gateway.pki import CertificateOrder, issue_certificate, load_decryption_key
from gateway.protocols import Parcel, as4
from gateway.wire import XENC11
from gateway.wire.http_message import read_http_message
from tests.kit.agreement_keys import make_agreement_files
from tests.kit.house import authority
from tests.system.interop.peer import build
from tests.system.interop.phase4 import Phase4, make_key_stores
from tests.system.interop.test_as4_peer import AGREED, KINDS, STORE, write_parts

pytestmark = [pytest.mark.peer, pytest.mark.vectors, pytest.mark.long]

BEGAN = datetime.now(UTC) - timedelta(hours=1)
#: How keys are sent: the kind of the receiver's key, and what phase4 calls it.
WAYS = {"rsa": ("rsa", "none"), "x25519": ("x25519", "x25519"), "ecdh-es": ("p-256", "ecdh-es")}


@pytest.fixture(scope="module")
def peer(vectors: Path, tmp_path_factory: pytest.TempPathFactory) -> Phase4:
    """Return the peer, built when it is not yet."""
    return Phase4(build(vectors / "peers" / "phase4"), make_key_stores(tmp_path_factory.mktemp("keys")))


def make_files(name: str, kind: str) -> tuple[bytes, bytes]:
    """Return the key and the certificate of a receiver, as PEM."""
    if kind != "rsa":
        return make_agreement_files(authority(), name, BEGAN, kind)
    order = CertificateOrder(profile="encryption", key_kind="rsa-2048", days=3600)
    issued = issue_certificate(authority(), f"CN={name}", BEGAN, order)
    return issued.key_pem, issued.certificate.pem


def list_parts(folder: Path, count: int) -> tuple[list[Path], list[str | Path]]:
    """Return the files of a message, and the words by which phase4 sends them."""
    parts = write_parts(folder)[:count]
    words: list[str | Path] = []
    for part, kind in zip(parts, KINDS, strict=False):
        words += ["--payload", part, "--mime", kind]
    return parts, words


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("compressed", ["yes", "no"])
def test_what_phase4_encrypts_is_decrypted(peer: Phase4, tmp_path: Path, way: str, compressed: str) -> None:
    kind, agreement = WAYS[way]
    key, certificate = make_files("hub decrypts", kind)
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
    assert {one.cipher for one in opened.unwrapped} == {f"{XENC11}aes128-gcm"}
