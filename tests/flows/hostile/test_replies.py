"""Answers of partners are hostile too: nothing is decided by them, nothing is fetched, every cost is bounded.

Every play of the suite runs over real sockets against a hub in process, one after the other
on the same delivery, which in the end the honest answer must still bring to its end.
"""

from __future__ import annotations

import socket
import ssl
import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway.client import HttpReply, IncomingRequest, read_journal
from gateway.delivery import HttpClient, HttpLimits, ServiceCall, http_client, load_contract
from gateway.delivery.soap_client import AnswerPolicy, SoapCaller, SoapDestination
from gateway.errors import PROBLEMS, SIGNER_MISMATCH, GatewayError
from gateway.pki import Certificate, encode_key_pem
from gateway.store import decisions, make_engine, migrate_schema, read_transaction
from gateway_conformance.hostile.reply_attacks.hostile_partner import REPLIES, select_replies
from gateway_conformance.hostile.reply_attacks.reply_server import (
    ACCEPTED_ANSWER,
    ReplyConnection,
    ReplyScenario,
)
from gateway_conformance.pki import CertificateOrder, issue_certificate, make_authority
from tests.conformance.test_partner_processes import process
from tests.delivery.test_http_client import Far, far, far_tls, post
from tests.flows.hostile.neighbours import PATIENT, Broker, Kpta, Trap, agency_forger, plays, served, trap
from tests.kit.house import Clock, authority, signer_named

#: What one answer may cost in octets received, beyond its body: heads, framing, one step of reading.
SLACK = 8 * 65536


@pytest.fixture(scope="module")
def caught() -> Iterator[Trap]:
    with trap() as one:
        yield one
        assert one.caught == 0, "an answer led us elsewhere"


@pytest.fixture(scope="module")
def kpta(tmp_path_factory: pytest.TempPathFactory, caught: Trap) -> Iterator[Kpta]:
    yield from _played(Kpta, tmp_path_factory, caught)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory, caught: Trap) -> Iterator[Broker]:
    yield from _played(Broker, tmp_path_factory, caught)


def _played(kind: type, folder: pytest.TempPathFactory, caught: Trap) -> Iterator:
    engine = make_engine(f"sqlite:///{folder.mktemp('hostile')}/hub.sqlite3")
    migrate_schema(engine)
    neighbour = kind(engine, caught)
    yield neighbour
    neighbour.close()
    engine.dispose()


@pytest.fixture
def received(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the sizes of all that our client received."""
    sizes: list[int] = []
    real = http_client._ClientConnection.receive

    def receive(self: http_client._ClientConnection, most: int) -> bytes:
        octets = real(self, most)
        sizes.append(len(octets))
        return octets

    monkeypatch.setattr(http_client._ClientConnection, "receive", receive)
    return sizes


def reason_of(play: ReplyScenario) -> str:
    """Return what the words of a refusal must hold, so that it was not refused for something else."""
    if "redirect" in play.id:
        return f"HTTP status {play.id[-3:]}"
    if "fault" in play.id:
        return "fault Client"
    if play.id == "REP-07.unsigned-error":
        return "SecurityFailure"
    return "allowed" if "trickling" in play.id else ""


def after(problem: str) -> str:
    return "QUEUED" if PROBLEMS[problem].retry else "FAILED"


@pytest.mark.parametrize("play", plays("soap", taken=False), ids=lambda play: play.id)
def test_an_agencys_hostile_answer_decides_nothing(
    kpta: Kpta, play: ReplyScenario, received: list[int]
) -> None:
    expected = play.outcome_by_face["soap"]
    state, problem, words = kpta.attempt(play, seconds=2)
    assert (state, problem) == (after(expected), expected), words
    assert sum(received) <= PATIENT.max_answer_octets + SLACK
    assert words.isprintable()
    assert reason_of(play) in words
    if play.attack_id.startswith("DOS-0") and "xinclude" not in play.id:
        assert "GW102" in words or "GW104" in words, f"it was refused, but for another reason: {words}"
    story = kpta.story
    request = story.request("KPTA")
    assert request.state in ("PREPARED", "STRANDED", "SENT")  # the last: sent again by an operator
    assert story.case().state == "IN_PROGRESS"
    assert story.evidence("request", request.id) == []
    with read_transaction(story.house.engine) as conn:
        assert decisions.list_current_decisions(conn, story.case().id) == []


@pytest.mark.parametrize("play", plays("ebms2", taken=False), ids=lambda play: play.id)
def test_a_brokers_hostile_answer_receipts_nothing(
    broker: Broker, play: ReplyScenario, received: list[int]
) -> None:
    expected = play.outcome_by_face["ebms2"]
    state, problem, words = broker.attempt(play, seconds=301)
    assert (state, problem) == (after(expected), expected), words
    assert sum(received) <= PATIENT.max_answer_octets + SLACK
    assert words.isprintable()
    assert reason_of(play) in words
    assert broker.story.case().state == "DECIDED"
    assert "NRR" not in broker.story.evidence("delivery", broker.delivery().id)


def test_after_all_that_the_honest_answer_decides(kpta: Kpta) -> None:
    (honest,) = (one for one in REPLIES if one.id == "APP-08.honest-answer")
    assert kpta.attempt(honest, seconds=2)[0] == "DELIVERED"
    assert kpta.story.request("KPTA").state == "DECIDED"


def test_after_all_that_the_honest_receipt_ends_it(broker: Broker) -> None:
    (honest,) = (one for one in REPLIES if one.id == "APP-08.honest-answer")
    assert broker.attempt(honest, seconds=301)[0] == "DELIVERED"
    assert broker.story.case().state == "CLOSED"


@pytest.mark.parametrize("play", plays("soap", taken=True), ids=lambda play: play.id)
def test_what_harms_nobody_is_taken(tmp_path: Path, caught: Trap, play: ReplyScenario) -> None:
    engine = make_engine(f"sqlite:///{tmp_path}/hub.sqlite3")
    migrate_schema(engine)
    one = Kpta(engine, caught)
    assert one.attempt(play, seconds=2)[0] == "DELIVERED"
    assert one.story.request("KPTA").state == "DECIDED"
    one.close()
    engine.dispose()


@pytest.mark.parametrize("name", ["APP-08.two-answers", "APP-08.answer-to-nothing"])
def test_an_answer_nobody_asked_for_is_not_the_next_one(name: str) -> None:
    """The connection on which it came is not used again."""
    asked: list[bytes] = []

    class Counting:
        face = "soap"

        def make_honest_reply(self, request: IncomingRequest) -> HttpReply:
            if request.body not in asked:
                asked.append(request.body)
            return HttpReply(200, "text/plain", b"answer to " + request.body)

    sent = threading.Event()

    def send_and_say_so(connection: ReplyConnection) -> None:
        try:
            play.run(connection)
        finally:
            sent.set()

    (play,) = (one for one in REPLIES if one.id == name)
    sender = HttpClient(PATIENT)
    with served(Counting(), replace(play, run=send_and_say_so)) as server:
        for number in range(3):
            assert sender.post(server.url, {}, b"%d" % number).body == b"answer to %d" % number
            assert sent.wait(60)
            sent.clear()
        assert server.connections == 3
    sender.close()


FLOODS = ("gigabyte-sent", "endless-chunks", "chunk-extensions", "interim-flood", "endless-trailers")


@pytest.mark.parametrize("flood", FLOODS)
def test_a_flood_costs_no_more_memory_than_the_bound(flood: str) -> None:
    (play,) = (one for one in REPLIES if one.id == f"APP-08.{flood}")
    bounds = HttpLimits(max_answer_octets=1_000_000)
    with served(agency_forger(Clock()), play) as server:
        tracemalloc.start()
        try:
            with pytest.raises(GatewayError) as refused:
                HttpClient(bounds).post(server.url, {}, b"<x/>")
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert refused.value.problem.id == "GW603"
    assert peak < 3 * bounds.max_answer_octets


def test_every_play_has_a_name_of_its_own_and_a_real_outcome() -> None:
    names = [one.id for one in REPLIES]
    assert len(names) == len(set(names)) >= 100
    for one in REPLIES:
        assert one.outcome_by_face.keys() <= {"soap", "ebms2"}
        assert all(end == ACCEPTED_ANSWER or end in PROBLEMS for end in one.outcome_by_face.values())


def hello(version: bytes) -> bytes:
    """Return a ServerHello of an old TLS, with RC4 as its cipher."""
    body = version + bytes(32) + b"\0" + b"\x00\x05" + b"\0"
    message = b"\x02" + len(body).to_bytes(3, "big") + body
    return b"\x16" + version + len(message).to_bytes(2, "big") + message


TLS_ANSWERS = {
    "TLS 1.0": hello(b"\x03\x01"),
    "TLS 1.1": hello(b"\x03\x02"),
    "SSL 3": hello(b"\x03\x00"),
    "no TLS at all": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "an alert": b"\x15\x03\x03\x00\x02\x02\x28",
}


@pytest.mark.parametrize("octets", TLS_ANSWERS.values(), ids=TLS_ANSWERS)
def test_no_request_is_sent_over_less_than_tls_1_2(octets: bytes) -> None:
    heard = bytearray()

    def old(there: Far, connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(octets)
        with suppress(OSError):
            while piece := connection.recv(65536):
                heard.extend(piece)

    with far(old) as there, pytest.raises(GatewayError) as refused:
        post(there.url.replace("http:", "https:"))
    assert refused.value.problem.id == "GW601"
    assert b"POST" not in heard


@pytest.mark.parametrize("trouble", ["expired", "for another host", "another authority", "for signing only"])
def test_no_request_is_sent_to_a_server_with_a_wrong_certificate(tmp_path: Path, trouble: str) -> None:
    now = datetime.now(UTC) - timedelta(days=30)
    believed = make_authority("CN=TLS CA", now)
    issuer = make_authority("CN=TLS CA", now) if trouble == "another authority" else believed
    order = CertificateOrder(
        profile="signing" if trouble == "for signing only" else "tls-server",
        days=1 if trouble == "expired" else 60,
        alternative_names=("dns:elsewhere.example" if trouble == "for another host" else "dns:localhost",),
    )
    issued = issue_certificate(issuer, "CN=localhost", now, order)
    (tmp_path / "server.pem").write_bytes(issued.key_pem + issued.certificate.pem)
    sender = HttpClient(PATIENT, ssl.create_default_context(cadata=believed.certificate.pem.decode()))
    with far_tls(tmp_path / "server.pem") as there, pytest.raises(GatewayError) as refused:
        sender.post(there.url, {}, b"<x/>")
    assert refused.value.problem.id == "GW601"
    assert there.requests == []


def test_a_body_that_a_cut_may_have_ended_is_no_answer(tmp_path: Path) -> None:
    """Without a length only the end that TLS signs tells the end of a body from a cut."""
    now = datetime.now(UTC) - timedelta(hours=1)
    authority = make_authority("CN=TLS CA", now)
    order = CertificateOrder(profile="tls-server", alternative_names=("dns:localhost",))
    issued = issue_certificate(authority, "CN=localhost", now, order)
    (tmp_path / "server.pem").write_bytes(issued.key_pem + issued.certificate.pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")

    def cut(there: Far, connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as wrapped:
            there.read(wrapped)
            wrapped.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhalf an answer")

    sender = HttpClient(PATIENT, ssl.create_default_context(cadata=authority.certificate.pem.decode()))
    with far(cut) as there, pytest.raises(GatewayError) as refused:
        sender.post(there.url.replace("http://127.0.0.1", "https://localhost"), {}, b"<x/>")
    assert refused.value.problem.id == "GW601"
    assert len(there.requests) == 1


@pytest.fixture
def partner(tmp_path: Path) -> Path:
    """Return a partner folder with the keys of two agencies."""
    folder = tmp_path / "partner"
    folder.mkdir()
    for name in ("kpta", "kfda"):
        (folder / f"{name}.key.pem").write_bytes(encode_key_pem(signer_named(name).key))
        (folder / f"{name}.cert.pem").write_bytes(signer_named(name).certificate.pem)
    (folder / "ca.pem").write_bytes(authority().certificate.pem)
    return folder


@pytest.mark.parametrize("pattern", ["APP-08.honest-answer", "REP-09.*", "DOS-0[12].*-answer"])
def test_a_hostile_partner_is_a_process_too(partner: Path, tmp_path: Path, pattern: str) -> None:
    """Others point it at their own client; it says what each answer must have come to."""

    def judge(certificate: Certificate, _: datetime) -> None:
        if certificate.sha256 != signer_named("kpta").certificate.sha256:
            raise GatewayError(SIGNER_MISMATCH, "not KPTA")

    call = ServiceCall("CancelApplication", "urn:uuid:c", "urn:to", {"ApplicationNumber": "A", "Reason": "r"})
    envelope = load_contract("agency-template.wsdl").compose_envelope(call)
    words = ("--folder", str(tmp_path), "--other", "kfda", "--play", pattern)
    came: list[str] = []
    with process(partner, "hostile", "kpta", *words) as (_, port):
        where = SoapDestination("agency-template.wsdl", f"http://127.0.0.1:{port}/", AnswerPolicy(judge))
        sender = HttpClient(PATIENT)
        agent = SoapCaller(sender, lambda: signer_named("hub"), lambda: datetime.now(UTC))
        for _ in select_replies("soap", pattern):
            try:
                agent.read_answer(agent.post_call(envelope, where))
                came.append(ACCEPTED_ANSWER)
            except GatewayError as problem:
                came.append(problem.problem.id)
        sender.close()
    told = list(read_journal(tmp_path / "plays.jsonl"))
    assert [row["outcome"] for row in told] == came
    assert [row["play"] for row in told] == [one.id for one in select_replies("soap", pattern)]
