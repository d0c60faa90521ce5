"""Encrypted AS4 with phase4: its keys by RSA-OAEP, X25519 and ECDH-ES are read, and ours are read by it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from lxml import etree

from gateway.cli.commands.verify import make_context
from gateway.message_model import MemoryBody, UserMessage
from gateway.pki import load_decryption_key
from gateway.protocols import Parcel, as4
from gateway.store import messages, read_transaction
from gateway.wire import XENC11, read_http_message
from gateway.xmlsec import verify_document
from tests.kit.agreement_keys import make_receiver_files
from tests.kit.databases import Templates
from tests.kit.house import authority, signer_named
from tests.kit.levels import at_night
from tests.system.interop.as4_variants import READ, VariantKeys, VariantScene
from tests.system.interop.phase4 import Phase4, build_phase4, make_key_stores
from tests.system.interop.test_as4_peer import AGREED, KINDS, STORE, write_parts

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


@pytest.mark.night
def test_a_case_is_filed_and_answered_in_secret(peer: Phase4, tmp_path: Path, templates: Templates) -> None:
    """Messages of no, one and five payloads go in; then a submission, and its Result comes back encrypted."""
    keys = VariantKeys("p-256", "x25519", "x25519")
    opened = VariantScene(tmp_path, templates.fresh("sqlite"), peer.folder, keys)
    terms = "  encryption: {algorithms: [aes128-gcm, x25519, hkdf, kw-aes128]}\n  compression: gzip "
    # phase4 names the default channel.
    channel = "    mpc: urn:example:channel:store\n"
    opened.agree("secret", changes={"  compression: gzip ": terms, channel: ""})
    with opened.run():
        for count in (0, 1, 5):
            parts, chosen = list_parts(tmp_path, count)
            report = opened.send("secret", *STORE, *chosen)
            assert (report["receipt_verified"], report["errors"]) == (True, []), report
            with read_transaction(opened.engine) as conn:
                row = messages.find_by_message_id(conn, "in", "broker1", report["message_id"])
                assert row is not None
                stored = messages.load_payloads(conn, row.id)
            assert [payload.content for payload in stored] == [part.read_bytes() for part in parts]
        assert opened.exchange("secret") == READ
        (received,) = list(opened.inbox.iterdir())
        document = etree.fromstring((received / "payload-0").read_bytes())
        assert verify_document(document).certificate == signer_named("hub").certificate
