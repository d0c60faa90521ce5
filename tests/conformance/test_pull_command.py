"""``gateway submit`` and ``gateway pull`` by AS4: a broker without a server gets its whole case."""

from __future__ import annotations

import json
import shlex
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from lxml import etree

from gateway.cli import main
from gateway.client import HttpReply, IncomingRequest, PartnerServer, broker_client
from gateway.message_model import MemoryBody
from gateway.operations import load_unchecked_agreement
from gateway.pki import encode_key_pem
from gateway.protocols import Parcel
from gateway.store import make_engine, write_transaction
from tests.flows.craft import without_applications
from tests.flows.test_as4_pull import PULLED
from tests.flows.test_as4_push_and_pull import EXCHANGE
from tests.kit.house import authority, crl, signer_named
from tests.kit.paths import ROOT
from tests.kit.story import Story, unsigned

#: What becomes of an exchange with the hub, which is made by calling the first argument.
Fate = Callable[[Callable[[], HttpReply]], HttpReply]
RETRIED = PULLED.replace(b"retry_interval: 300", b"retry_interval: 1")


@dataclass
class Desk:
    """A hub in this process behind a port, a broker's folder, and the verbs of the broker."""

    story: Story
    folder: Path
    capsys: pytest.CaptureFixture[str]
    fates: list[Fate] = field(default_factory=list)
    asked: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.server = PartnerServer(self._serve)
        self.url = f"http://127.0.0.1:{self.server.port}/msh/as4"
        self.server.start()

    def _serve(self, request: IncomingRequest) -> HttpReply:
        """Answer as the hub, changed as the test says, and let the workers do what is due."""
        self.asked.append(request.body)
        return self.fates.pop(0)(lambda: self._ask_hub(request)) if self.fates else self._ask_hub(request)

    def _ask_hub(self, request: IncomingRequest) -> HttpReply:
        parcel = Parcel({"Content-Type": request.headers["content-type"]}, MemoryBody(request.body))
        answer = self.story.house.post(parcel)
        self.story.tick(seconds=0.01)
        return HttpReply(answer.status, answer.headers.get("Content-Type", ""), answer.body)

    def run(self, *words: str) -> tuple[int, list[dict[str, Any]], str]:
        """Run a verb; return its status, the objects that it printed, and its problems."""
        fixed = ("--as", "broker1", "--partner", str(self.folder), "--to", self.url, "--json")
        status = main([*words, *fixed])
        captured = self.capsys.readouterr()
        assert "Traceback" not in captured.err
        return status, list(map(json.loads, captured.out.splitlines())), captured.err

    def submit(self, *words: str) -> tuple[int, dict[str, Any]]:
        status, (told,), _ = self.run("submit", str(self.folder / "submission.xml"), *words)
        return status, told

    def pull(self) -> tuple[int, list[dict[str, Any]], str]:
        return self.run("pull", "--folder", str(self.folder / "results"))

    def stored(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "results").glob("[0-9]*"))

    def states(self) -> set[str]:
        return {row.state for row in self.story.deliveries(agent="msh")}


@pytest.fixture
def desk(
    sqlite_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Desk]:
    monkeypatch.setattr(broker_client, "_PULL_INTERVAL_SECONDS", 0.05)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    engine = make_engine(sqlite_url)
    story = Story(engine, customs=False, agreement=RETRIED)
    # The broker's tool has the clock of the machine.
    story.clock.now = datetime.now(UTC)
    signer = signer_named("broker1")
    files = {
        "broker1.key.pem": encode_key_pem(signer.key),
        "broker1.cert.pem": signer.certificate.pem,
        "hub.cert.pem": signer_named("hub").certificate.pem,
        "ca.pem": authority().certificate.pem,
        "crl.pem": x509.load_der_x509_crl(crl()).public_bytes(Encoding.PEM),
        "agreement.yaml": RETRIED,
    }
    root = unsigned()
    without_applications(root)
    files["submission.xml"] = etree.tostring(root)
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    made = Desk(story, tmp_path, capsys)
    yield made
    made.server.close()
    engine.dispose()


def lose_request(_ask: Callable[[], HttpReply]) -> HttpReply:
    return HttpReply(closes_connection=True)


def lose_answer(ask: Callable[[], HttpReply]) -> HttpReply:
    ask()
    return HttpReply(closes_connection=True)


def give(ask: Callable[[], HttpReply]) -> HttpReply:
    return ask()


def spoil(ask: Callable[[], HttpReply]) -> HttpReply:
    reply = ask()
    return replace(reply, body=reply.body.replace(b"Result", b"Resulx"))


@pytest.mark.night
def test_a_case_is_filed_and_its_result_is_pulled_and_acknowledged(desk: Desk) -> None:
    status, told = desk.submit("--wait", "10")
    assert (status, told["sent"], told["receipt_verified"], told["state"]) == (0, "sent", True, "DECIDED")
    assert told["result"]["verified"]
    assert told["case_number"] == desk.story.case().number
    assert desk.states() == {"DELIVERED"}
    assert desk.story.case().state == "CLOSED"
    # Nothing is left for the next one.
    assert desk.pull() == (0, [], "")
    assert desk.stored() == []


@pytest.mark.night
def test_a_request_and_its_pulled_reply_are_one_exchange(desk: Desk) -> None:
    (desk.folder / "agreement.yaml").write_bytes(EXCHANGE)
    status, told = desk.submit("--wait", "10")
    assert (status, told["state"], desk.states()) == (0, "DECIDED", {"DELIVERED"})
    # Another program of the broker may have sent the request: this folder does not know it.
    assert desk.submit("--wait", "0")[0] == 0
    status, told_rows, _ = desk.pull()
    assert (status, [one["action"] for one in told_rows]) == (0, ["Result"])


@pytest.mark.night
def test_a_reply_without_its_request_is_refused_and_the_hub_hears_of_it(desk: Desk) -> None:
    apart = RETRIED.replace(b"action: Result,", b"action: Result, mep: one-way,")
    with write_transaction(desk.story.house.engine) as conn:
        load_unchecked_agreement(conn, apart, "apart.yaml", desk.story.clock())
    (desk.folder / "agreement.yaml").write_bytes(EXCHANGE)
    status, told = desk.submit("--wait", "10")
    assert (status, told["result"]) == (1, None)
    assert "a reply by push-and-pull refers to its request" in told["problem"]
    assert b"EBMS:0003" in desk.asked[-1]
    assert "DELIVERED" not in desk.states()


@pytest.mark.night
@pytest.mark.parametrize("lost", [lose_request, lose_answer])
def test_what_waits_is_stored_once_although_its_receipt_is_lost(desk: Desk, lost: Fate) -> None:
    assert desk.submit("--wait", "0")[0] == 0
    desk.fates = [give, lost]
    status, told, problem = desk.pull()
    assert (status, len(told)) == (1, 1)
    assert "GW601" in problem
    desk.story.tick(seconds=2)
    status, told, _ = desk.pull()
    # The one that came again is not told again; it has the receipt of the first time.
    assert status == 0
    assert [one["action"] for one in told] == []
    assert desk.stored() == [f"0001-Result-{desk.story.case().number}"]
    receipts = [body for body in desk.asked if b"NonRepudiationInformation" in body]
    # Where only the answer to it was lost, the hub has it.
    assert len(receipts) == (2 if lost is lose_request else 1)
    assert len(set(receipts)) == 1
    assert desk.states() == {"DELIVERED"}


@pytest.mark.night
def test_what_was_changed_on_its_way_is_refused_and_the_hub_hears_of_it(desk: Desk) -> None:
    desk.submit("--wait", "0")
    desk.fates = [spoil]
    status, told, problem = desk.pull()
    assert (status, told, desk.stored()) == (1, [], [])
    assert "GW" in problem
    assert b"eb3:Error " in desk.asked[-1]
    assert "DELIVERED" not in desk.states()


@pytest.mark.night
def test_kept_octets_are_sent_again_and_get_their_receipt(desk: Desk) -> None:
    desk.fates = [lose_answer]
    status, told = desk.submit("--wait", "0", "--retries", "0")
    assert (status, told["sent"]) == (1, "unanswered")
    status, (again,), _ = desk.run("submit", told["kept"], "--wait", "0")
    assert (status, again["receipt_verified"], again["message_id"]) == (0, True, told["message_id"])
    assert desk.asked[0] == desk.asked[1]


@pytest.mark.night
def test_messages_about_other_submissions_are_kept(desk: Desk) -> None:
    desk.submit("--wait", "0")
    file = desk.folder / "submission.xml"
    file.write_bytes(file.read_bytes().replace(b"HB2026-000123", b"HB2026-000999"))
    status, told = desk.submit("--wait", "10")
    assert (status, told["others"]) == (0, 1)
    assert len((Path(told["folder"]) / "messages.jsonl").read_text().splitlines()) == 2


def answer_with(body: bytes, ask: Callable[[], HttpReply]) -> HttpReply:
    return replace(ask(), body=body)


@pytest.mark.night
def test_an_answer_that_is_no_as4_is_told(desk: Desk) -> None:
    desk.submit("--wait", "0")
    for body in (b"", b"<html/>", b"\xff"):
        desk.fates = [partial(answer_with, body)]
        assert desk.pull()[0] == 1
    assert desk.stored() == []


def test_an_agreement_without_pull_is_misuse(desk: Desk) -> None:
    for name in ("as4.yaml", "example.yaml"):
        content = (ROOT / "conformance/agreements" / name).read_bytes()
        (desk.folder / "agreement.yaml").write_bytes(content)
        status, _, problem = desk.pull()
        assert (status, "GW808" in problem, "pulls nothing" in problem) == (2, True, True)


@pytest.mark.night
def test_a_message_that_is_not_good_ends_the_wait_and_what_came_is_kept(desk: Desk) -> None:
    desk.fates = [give, spoil]
    status, told = desk.submit("--wait", "10")
    assert (status, told["receipt_verified"], told["result"]) == (1, True, None)
    assert told["problem"].startswith("the result is not there: GW")
    assert shlex.split(told["advice"][-1].removeprefix("to go on waiting: "))[:2] == ["gateway", "pull"]


@pytest.mark.night
def test_a_hub_that_is_away_for_a_while_is_asked_again(desk: Desk) -> None:
    desk.fates = [give, lose_request]
    status, told = desk.submit("--wait", "10")
    assert (status, told["state"]) == (0, "DECIDED")
