"""``gateway submit`` sends a large submission in fragments, and goes on with those that have no receipt."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from gateway.cli import main
from gateway.client import (
    BrokerClient,
    EndpointListener,
    FileBody,
    HttpPoster,
    HttpReply,
    IncomingRequest,
    Membership,
    MessageFolder,
    MessageHandler,
    PartnerServer,
    ResendPolicy,
    SendingError,
    SendingState,
    SplitSubmission,
    read_membership,
    read_split_submission,
    sign_submission,
    split_submission,
)
from gateway.client.kept_submissions import find_stored_parcel
from gateway.delivery.agents import MshAgent
from gateway.delivery.http_answer_reader import HttpAnswer
from gateway.errors import GatewayError
from gateway.message_model import MemoryBody
from gateway.pki import encode_key_pem
from gateway.protocols import Parcel
from tests.kit.databases import BOTH
from tests.kit.fragments import FragmentStory
from tests.kit.house import AS4, authority, signer_named
from tests.kit.paths import ROOT
from tests.kit.ports import find_free_port
from tests.kit.waiting import until

SAMPLE = ROOT / "conformance/samples/import-three-items.xml"
LABEL = ROOT / "conformance/samples/korean-label.pdf"
TERMS = "{fragment_size: 2000, compression: %s, message_size: 1000000}"


class Hub:
    """A hub behind HTTP, which a script lets be silent or busy; it keeps the octets that came."""

    def __init__(self, engine: Engine, agreement: bytes) -> None:
        self.story = FragmentStory(engine, agreement)
        self.story.clock.now = datetime.now(UTC)
        self.story.agents["msh"] = MshAgent(self.story.hub, self)  # type: ignore[arg-type]
        self.story.worker = self.story.new_worker("w3")
        self.script: list[str] = []
        self.came: list[bytes] = []
        self.server = PartnerServer(self.answer)
        self.server.start()
        self.url = f"http://127.0.0.1:{self.server.port}/msh/as4"

    def answer(self, request: IncomingRequest) -> HttpReply:
        self.came.append(request.body)
        done = self.script.pop(0) if self.script else ""
        if done == "busy":
            return HttpReply(503, "text/plain", b"busy")
        parcel = Parcel({"Content-Type": request.headers["content-type"]}, MemoryBody(request.body))
        answer = self.story.house.post(parcel)
        if done == "deaf":
            return HttpReply(closes_connection=True)
        return HttpReply(answer.status, answer.headers["Content-Type"], answer.body)

    @staticmethod
    def post(url: str, headers: dict[str, str], body: bytes, _bounds: Any = None) -> HttpAnswer:
        """Post what the hub sends by itself."""
        with closing(HttpPoster(url)) as poster:
            reply = poster.post(headers, body)
        return HttpAnswer(reply.status, {"content-type": reply.content_type}, reply.body)


def write_broker_folder(folder: Path, agreement: bytes) -> None:
    """Write what a broker has: its key, whom it trusts, the agreement."""
    broker = signer_named("broker1")
    for name, content in {
        "broker1.key.pem": encode_key_pem(broker.key),
        "broker1.cert.pem": broker.certificate.pem,
        "hub.cert.pem": signer_named("hub").certificate.pem,
        "ca.pem": authority().certificate.pem,
        "agreement.yaml": agreement,
    }.items():
        (folder / name).write_bytes(content)


class Desk:
    """A broker's folder and its hub."""

    def __init__(self, engine: Engine, folder: Path, compression: str = "gzip") -> None:
        agreement = AS4.replace(
            b"  compression: gzip ",
            f"  splitting: {TERMS % compression}\n  compression: gzip ".encode(),
        ).replace(b":8901/", f":{find_free_port()}/".encode())
        self.hub = Hub(engine, agreement)
        self.folder = folder
        write_broker_folder(folder, agreement)

    def submit(self, capsys: pytest.CaptureFixture[str], *words: str, file: Path = SAMPLE) -> Any:
        fixed = ("--as", "broker1", "--to", self.hub.url, "--partner", str(self.folder))
        status = main(["submit", str(file), *fixed, "--retry-interval", "0.05", "--json", *words])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return status, json.loads(captured.out) if captured.out else captured.err

    def member(self) -> Membership:
        return read_membership(self.folder, "broker1")

    def split(self) -> SplitSubmission:
        member = self.member()
        signed = sign_submission(SAMPLE.read_bytes(), member)
        files = {"korean-label@sample": FileBody(LABEL)}
        made = split_submission(signed, files, member, self.hub.url, self.folder / "sent")
        assert made is not None
        return made

    def client(self) -> BrokerClient:
        return BrokerClient(self.member(), self.folder / "came", ResendPolicy(0, 0.01, 10))


@pytest.fixture
def desk(engine: Engine, tmp_path: Path) -> Iterator[Desk]:
    found = Desk(engine, tmp_path)
    yield found
    found.hub.server.close()


ATTACHED = ("--attach", f"korean-label@sample={LABEL}", "--wait", "0")


@pytest.mark.night
@BOTH
def test_the_same_octets_are_sent_until_their_receipt(desk: Desk, capsys: Any, tmp_path: Path) -> None:
    desk.hub.script = ["", "deaf", "busy", "deaf"]
    status, told = desk.submit(capsys, *ATTACHED, "--folder", str(tmp_path / "kept"))
    assert (status, told["sent"], told["receipt_verified"], told["joined"]) == (0, "sent", True, None)
    assert told["fragments"] > 3
    came = desk.hub.came
    assert len(came) == told["fragments"] + 3
    assert came[1] == came[2] == came[3] == came[4] != came[5]
    assert len(set(came)) == told["fragments"]
    desk.hub.story.tick(seconds=1)
    (row,) = desk.hub.story.joined()
    assert (row.message_id, row.state, row.case_id is None) == (told["message_id"], "PROCESSED", False)


@pytest.mark.night
@BOTH
def test_what_has_no_receipt_is_sent_later(desk: Desk, capsys: Any, tmp_path: Path) -> None:
    desk.hub.script = ["", "", "deaf", "busy"]
    words = ("--retries", "1", "--folder", str(tmp_path / "kept"))
    status, told = desk.submit(capsys, *ATTACHED, *words)
    assert (status, told["sent"]) == (1, "unanswered")
    folder = Path(told["kept"])
    assert any(str(folder) in line for line in told["advice"])
    before = list(desk.hub.came)
    status, again = desk.submit(capsys, "--wait", "0", file=folder)
    assert (status, again["fragments"], again["message_id"]) == (0, told["fragments"], told["message_id"])
    assert desk.hub.came[len(before)] == before[-1]
    assert len(desk.hub.came) == len(before) + told["fragments"] - 2
    # Once more: nothing is left to send.
    assert desk.submit(capsys, "--wait", "0", file=folder)[0] == 0
    assert len(desk.hub.came) == len(before) + told["fragments"] - 2
    desk.hub.story.tick(seconds=1)
    assert len(desk.hub.story.joined()) == 1


@BOTH
def test_a_refused_fragment_ends_the_sending_once(desk: Desk, capsys: Any) -> None:
    path = desk.folder / "agreement.yaml"
    path.write_bytes(path.read_bytes().replace(b"fragment_size: 2000", b"fragment_size: 2100"))
    status, told = desk.submit(capsys, *ATTACHED)
    assert (status, told["sent"], "kept" in told) == (1, "refused", False)
    # The error itself is a warning (part 2 §4.6): the repeat says that the whole message is refused.
    assert ("EBMS:0050" in told["progress"][0], "EBMS:0040" in told["problem"]) == (True, True)
    assert len(desk.hub.came) == 2


@pytest.mark.night
@BOTH
def test_a_posted_error_about_the_whole_ends_the_sending(desk: Desk) -> None:
    """What is joined is no gzip: the hub says so when all fragments have their receipts."""
    split = desk.split()
    whole = split.folder / "whole.gz"
    whole.write_bytes(bytes(len(whole.read_bytes())))
    client = desk.client()
    client.start_listening()
    try:
        client.send_fragments(split)
        assert not client.wait_for_join(split, 0)
        for _ in range(2):
            desk.hub.story.tick(seconds=1)
        with pytest.raises(SendingError) as refused:
            client.wait_for_join(split, 20)
        assert (refused.value.state, "EBMS:0055" in refused.value.detail) == (SendingState.REFUSED, True)
        # Whoever goes on sends nothing more.
        count = len(desk.hub.came)
        (split.folder / "fragment-0001.receipt").unlink()
        with pytest.raises(SendingError):
            client.send_fragments(split)
        assert len(desk.hub.came) == count
    finally:
        client.close()


@pytest.mark.night
@BOTH
def test_the_receipt_of_the_joined_message_is_verified(desk: Desk) -> None:
    split, client = desk.split(), desk.client()
    client.start_listening()
    try:
        client.send_fragments(split)
        for _ in range(2):
            desk.hub.story.tick(seconds=1)
        assert client.wait_for_join(split, 20)
    finally:
        client.close()
    assert not (desk.folder / "came" / "refusals.jsonl").read_bytes()


@BOTH
def test_a_message_larger_than_agreed_is_not_sent(desk: Desk, capsys: Any, tmp_path: Path) -> None:
    path = desk.folder / "agreement.yaml"
    path.write_bytes(path.read_bytes().replace(b"message_size: 1000000", b"message_size: 5000"))
    status, told = desk.submit(capsys, *ATTACHED, "--folder", str(tmp_path / "kept"))
    assert (status, "GW102" in str(told)) == (1, True), told
    assert not desk.hub.came
    assert not (tmp_path / "kept" / "sent").exists()


def spoil(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)


SPOILED: dict[str, Callable[[Path], None]] = {
    "another folder": lambda folder: (folder / "terms.json").unlink(),
    "no terms": lambda folder: spoil(folder, "terms.json", b'{"fragment_size": 5}'),
    "no JSON": lambda folder: spoil(folder, "terms.json", b"{"),
    "an odd size": lambda folder: spoil(
        folder, "terms.json", b'{"fragment_size": 0, "routing_properties": [], "compressed": false}'
    ),
    "no message": lambda folder: spoil(folder, "whole.http", b"Content-Type: text/plain\r\n\r\nx"),
    "nothing cut": lambda folder: (folder / "whole.gz").unlink(),
}


@pytest.mark.night
@BOTH
@pytest.mark.parametrize("case", SPOILED)
def test_a_folder_that_is_none_is_refused(desk: Desk, capsys: Any, case: str) -> None:
    split = desk.split()
    SPOILED[case](split.folder)
    status, told = desk.submit(capsys, "--wait", "0", file=split.folder)
    assert status != 0
    assert "GW" in str(told)
    assert not desk.hub.came


@BOTH
def test_attachments_are_in_the_kept_message(desk: Desk, capsys: Any) -> None:
    status, told = desk.submit(capsys, *ATTACHED, file=desk.split().folder)
    assert (status, "--attach" in str(told)) == (2, True)


@BOTH
@pytest.mark.parametrize("compression", ["gzip", "none"])
def test_a_folder_is_read_as_it_was_made(engine: Engine, tmp_path: Path, compression: str) -> None:
    desk = Desk(engine, tmp_path, compression)
    split = desk.split()
    again = read_split_submission(split.folder, desk.member(), desk.hub.url)
    assert (again.plan.terms, again.plan.source) == (split.plan.terms, split.plan.source)
    assert again.fragment_count == split.fragment_count == len(split.list_unreceipted_numbers())
    assert (again.unit, again.whole.reference) == (split.unit, split.whole.reference)
    assert (split.folder / "whole.gz").exists() == (compression == "gzip")
    first = split.open_fragment(1)
    assert again.open_fragment(1).body_octets == first.body_octets
    with pytest.raises(GatewayError, match="GW808"):
        read_split_submission(tmp_path, desk.member(), desk.hub.url)
    desk.hub.server.close()


@pytest.mark.night
@BOTH
@pytest.mark.parametrize("outcome", ["receipt", "error"])
def test_a_listener_on_the_same_folder_knows_what_was_sent(desk: Desk, outcome: str) -> None:
    """What the hub posts when nobody waits any more is compared with what is kept there."""
    split, told = desk.split(), list[str]()
    if outcome == "error":
        whole = split.folder / "whole.gz"
        whole.write_bytes(bytes(whole.stat().st_size))
    desk.client().send_fragments(split)
    member = desk.member()
    handler = MessageHandler(member, desk.folder, store=MessageFolder(desk.folder, told.append))
    listener = EndpointListener(member.listening_endpoint, handler)
    listener.start()
    try:
        for _ in range(2):
            desk.hub.story.tick(seconds=1)
        until(lambda: bool(told))
    finally:
        listener.close()
    kind = "Receipt" if outcome == "receipt" else "ErrorSignal"
    assert told[0].startswith(f"{kind} for {split.unit.message_id}"), told
    assert not desk.hub.story.tasks("FAILED")


@pytest.mark.parametrize("name", ["..", ".", "", "../../etc/passwd", "x" * 500, "unknown@broker1.example"])
def test_a_message_that_is_not_kept_is_not_found(tmp_path: Path, name: str) -> None:
    (tmp_path / "whole.http").write_bytes(b"Content-Type: text/plain\r\n\r\n")
    (tmp_path / "sent").mkdir()
    assert find_stored_parcel(tmp_path / "sent", name) is None


@pytest.mark.night
@BOTH
def test_one_process_at_a_time_sends_from_a_folder(desk: Desk, capsys: Any) -> None:
    split = desk.split()
    with split.lock_folder():
        status, told = desk.submit(capsys, "--wait", "0", file=split.folder)
    assert (status, "another process" in told["problem"], desk.hub.came) == (1, True, [])
    assert desk.submit(capsys, "--wait", "0", file=split.folder)[0] == 0
