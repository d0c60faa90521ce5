"""A whole case by AS4 with phase4: it submits and verifies our receipt, and the Result is pushed to it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from gateway.cli.commands.verify import make_context
from gateway.message_model import MemoryBody, PartyId, UserMessage
from gateway.pki import load_decryption_key
from gateway.protocols import Parcel, as4
from gateway.store import (
    cases,
    deliveries,
    make_engine,
    messages,
    parties,
    read_transaction,
    write_transaction,
)
from gateway.wire import XENC11, read_http_message, serialize_element
from gateway.xmlsec import sign_document, verify_document
from gateway_conformance.pki import CertificateOrder, issue_certificate
from tests.flows.craft import without_applications
from tests.kit.databases import Templates
from tests.kit.gateway import RunningGateway, post
from tests.kit.house import AS4, PARTY_TYPE, START, authority, signer_named
from tests.kit.levels import at_night
from tests.kit.live import LiveHouse
from tests.kit.ports import find_free_port
from tests.kit.story import unsigned
from tests.kit.waiting import until
from tests.system.interop.phase4 import Phase4, build_phase4, make_key_stores

pytestmark = [pytest.mark.peer, pytest.mark.vectors, pytest.mark.long]

AGREED = (
    *("--agreement", "urn:example:agreement:broker1-hub:as4:2026"),
    *("--initiator", "broker1", "--initiator-type", PARTY_TYPE, "--initiator-role", "Applicant"),
    *("--responder", "hub", "--responder-type", PARTY_TYPE, "--responder-role", "Hub"),
)
STORE = ("--service", "store", "--service-type", "example", "--action", "Store")
CHANNEL = "urn:example:channel:results"
DECLARE = ("--service", "urn:single-window:services:declaration", "--action", "Submit")


@pytest.fixture(scope="module")
def peer(vectors: Path, tmp_path_factory: pytest.TempPathFactory) -> Phase4:
    """Return the peer, built when it is not yet."""
    return Phase4(build_phase4(vectors), make_key_stores(tmp_path_factory.mktemp("keys")))


class Scene:
    """A hub whose partner is phase4, served at a port."""

    def __init__(self, folder: Path, database_url: str, terms: str = "mep: one-way") -> None:
        self.port = find_free_port()
        # phase4 accepts no RefToMessageId outside of an exchange of its own, and names the default channel.
        text = AS4.replace(b"http://127.0.0.1:8901/msh/as4", f"http://127.0.0.1:{self.port}/as4".encode())
        text = text.replace(b"    mpc: urn:example:channel:store\n", b"")
        text = text.replace(b"action: Result}", f"action: Result, {terms}}}".encode())
        self.live = LiveHouse(folder, database_url, text, "[delivery]\npoll = '50ms'\n")
        self.url = self.live.url.replace("/msh/ebms2", "/msh/as4")
        engine = make_engine(self.live.database_url)
        with write_transaction(engine) as conn:
            parties.add_identifier(conn, "broker1", PartyId("6N001", "urn:example:customs-id"))
        engine.dispose()

    def read(self, question: Any) -> Any:
        engine = make_engine(self.live.database_url)
        try:
            with read_transaction(engine) as conn:
                return question(conn)
        finally:
            engine.dispose()


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, templates: Templates) -> Iterator[Scene]:
    found = Scene(tmp_path_factory.mktemp("as4"), templates.fresh("sqlite"))
    with RunningGateway(found.live.home, "both"):
        yield found


@pytest.fixture
def pulled(tmp_path: Path, templates: Templates) -> Iterator[Scene]:
    """A hub from which phase4 pulls its Results: it runs no server."""
    terms = f"mep: one-way, mpc: {CHANNEL}, pull: {{authorization: certificate}}"
    found = Scene(tmp_path / "pulled", templates.fresh("sqlite"), terms)
    with RunningGateway(found.live.home, "both"):
        yield found


def write_parts(folder: Path) -> list[Path]:
    contents = {
        "one.xml": b'<a  b="1">\n<c/></a>',
        "two.txt": b"one\ntwo\r\n",
        "three.bin": bytes(range(256)),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in contents]


KINDS = ("application/xml", "text/plain", "application/octet-stream")


@pytest.mark.parametrize("compressed", ["yes", *at_night("no")])
@pytest.mark.parametrize("count", [*at_night(0, 1), 3])
def test_phase4_sends_and_verifies_our_receipt(
    peer: Phase4, scene: Scene, tmp_path: Path, count: int, compressed: str
) -> None:
    parts = write_parts(tmp_path)[:count]
    chosen = [
        word for part, kind in zip(parts, KINDS, strict=False) for word in ("--payload", part, "--mime", kind)
    ]
    report = peer.send(scene.url, *AGREED, *STORE, *chosen, "--compress", compressed)  # type: ignore[arg-type]
    assert (report["receipt"], report["receipt_verified"], report["errors"]) == (True, True, [])
    row = scene.read(lambda conn: messages.find_by_message_id(conn, "in", "broker1", report["message_id"]))
    assert row.protocol == "as4"
    kept = scene.read(lambda conn: messages.load_payloads(conn, row.id))
    assert [one.content for one in kept] == [part.read_bytes() for part in parts]


@pytest.mark.night
@pytest.mark.parametrize("named", ["pkipath", "x509"])
def test_phase4_names_its_certificate_otherwise(
    peer: Phase4, scene: Scene, tmp_path: Path, named: str
) -> None:
    parts = write_parts(tmp_path)
    report = peer.send(
        scene.url, *AGREED, *STORE, "--payload", parts[0], "--mime", KINDS[0], "--key-id", named
    )
    assert (report["receipt_verified"], report["errors"]) == (True, [])


def test_a_repeat_of_its_octets_gets_the_stored_receipt(peer: Phase4, scene: Scene, tmp_path: Path) -> None:
    dumped, kept = tmp_path / "dumped", tmp_path / "kept"
    dumped.mkdir()
    parts = write_parts(tmp_path)
    words = ("--payload", parts[2], "--mime", KINDS[2], "--dump", dumped, "--keep-response", kept)
    report = peer.send(scene.url, *AGREED, *STORE, *words)
    assert report["receipt_verified"]
    (file,) = dumped.iterdir()
    sent = read_http_message(file.read_bytes())
    answers = [post(scene.url, Parcel(sent.headers, MemoryBody(sent.body))) for _ in range(2)]
    assert answers[0] == answers[1]
    assert answers[0] is not None
    assert answers[0].body in kept.read_bytes()
    # Another message under the same id is none: a new Timestamp is another header.
    again = peer.send(scene.url, *AGREED, *STORE, "--message-id", str(report["message_id"]))
    assert "EBMS:0003" in json.dumps(again["errors"])


def test_phase4_reads_our_errors(peer: Phase4, scene: Scene) -> None:
    for words, code in (
        ((*STORE[:-1], "Restore"), "EBMS:0010"),
        ((*STORE, "--sign", "no"), "EBMS:0103"),
    ):
        report = peer.send(scene.url, *AGREED, *words)
        assert not report["receipt"]
        assert code in json.dumps(report["errors"])


@pytest.mark.parametrize(
    "named",
    ["ski", *at_night("bst", "issuer-serial", "thumbprint", "x509")],
)
def test_what_phase4_encrypts_is_decrypted(peer: Phase4, tmp_path: Path, named: str) -> None:
    order = CertificateOrder(profile="encryption", key_kind="rsa-2048", days=3600)
    issued = issue_certificate(authority(), "CN=hub decrypts", START, order)
    (tmp_path / "hub.pem").write_bytes(issued.certificate.pem)
    dumped, parts = tmp_path / "dumped", write_parts(tmp_path)
    dumped.mkdir()
    chosen = (
        word for part, kind in zip(parts, KINDS, strict=True) for word in ("--payload", part, "--mime", kind)
    )
    secret = ("--encrypt", "yes", "--peer-cert", tmp_path / "hub.pem", "--crypt-key-id", named)
    quiet = ("--build-only", "--dump", dumped)
    peer.send("http://127.0.0.1:9/as4", *AGREED, *STORE, *chosen, *secret, *quiet)  # type: ignore[arg-type]
    (file,) = dumped.iterdir()
    sent = read_http_message(file.read_bytes())
    key = load_decryption_key(issued.key_pem, issued.certificate.der)
    context = make_context([authority().certificate.pem], datetime.now(UTC), (key,))
    opened = as4.verify_parcel(Parcel(sent.headers, MemoryBody(sent.body)), "strict", context)
    assert isinstance(opened.unit, UserMessage)
    assert [one.content for one in opened.unit.payloads] == [part.read_bytes() for part in parts]
    assert [one.media_type for one in opened.unit.payloads] == list(KINDS)
    assert {one.cipher for one in opened.unwrapped_parts} == {f"{XENC11}aes128-gcm"}


def file_submission(peer: Phase4, scene: Scene, folder: Path) -> None:
    """Let phase4 file a submission, and verify our receipt."""
    root = unsigned()
    without_applications(root)
    signed = sign_document(root, signer_named("broker1"), now=scene.live.now)
    (folder / "submission.xml").write_bytes(serialize_element(signed))
    report = peer.send(
        scene.url, *AGREED, *DECLARE, "--payload", folder / "submission.xml", "--mime", KINDS[0],
        "--compress", "yes",
    )  # fmt: skip
    assert report["receipt_verified"], report


def check_result(folder: Path) -> None:
    """Hold what phase4 has received against the Result of the hub."""
    document = etree.fromstring((folder / "payload-0").read_bytes())
    assert verify_document(document).certificate == signer_named("hub").certificate
    assert document.findtext("{*}Outcome") == "APPROVED"


def wait_for_delivery(scene: Scene, *states: str) -> Any:
    """Return the delivery of the Result when it is in one of these states."""

    def list_sent() -> Any:
        return scene.read(lambda conn: deliveries.list_deliveries(conn, agent="msh"))

    return until(
        lambda: next((row for row in list_sent() if row.state in states), None),
        every=0.2,
        problem=lambda: [(row.state, row.problem) for row in list_sent()],
    )


def test_a_case_is_filed_by_phase4_and_its_result_received_by_phase4(
    peer: Phase4, scene: Scene, tmp_path: Path
) -> None:
    with peer.serve(tmp_path, scene.port, "--encrypt", "no") as inbox:
        file_submission(peer, scene, tmp_path)
        delivery = wait_for_delivery(scene, "DELIVERED", "FAILED")
        (case,) = scene.read(lambda conn: cases.list_cases(conn, limit=5))
        assert (case.state, delivery.state) == ("CLOSED", "DELIVERED"), (case, delivery)
        (received,) = list(inbox.iterdir())
        check_result(received)


def test_a_case_is_filed_by_phase4_and_its_result_pulled_by_phase4(
    peer: Phase4, pulled: Scene, tmp_path: Path
) -> None:
    words = ("--mpc", CHANNEL, "--encrypt", "no")
    none = peer.pull(pulled.url, tmp_path, *words)
    assert "EBMS:0006" in json.dumps(none["errors"])
    file_submission(peer, pulled, tmp_path)
    assert wait_for_delivery(pulled, "QUEUED").state == "QUEUED"
    other = peer.pull(pulled.url, tmp_path, "--mpc", "urn:example:channel:other", "--encrypt", "no")
    assert "EBMS:0101" in json.dumps(other["errors"])
    report = peer.pull(pulled.url, tmp_path, *words)
    assert (report["errors"], report["receipt_http_status"]) == ([], 204), report
    (received,) = list((tmp_path / "inbox").iterdir())
    check_result(received)
    assert wait_for_delivery(pulled, "DELIVERED", "FAILED").state == "DELIVERED"
    (case,) = pulled.read(lambda conn: cases.list_cases(conn, limit=5))
    assert case.state == "CLOSED"
