"""``gateway listen`` stores what the hub sends durably, acknowledges it, and knows it after a restart."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import main
from gateway.client import HttpPoster, HttpReply, Journal, MessageFolder, MessageHandler, read_membership
from gateway.errors import GatewayError
from gateway.message_model import MemoryBody
from gateway.protocols import Parcel
from gateway.wire import parse_xml
from gateway.xmlsec import verify_document
from tests.conformance.hub_messages import EBMS2, MessagingHub, agreement, as_request, octets
from tests.kit.paths import ROOT
from tests.kit.ports import find_free_port
from tests.kit.waiting import retry


@pytest.fixture
def side(keys: Path, tmp_path: Path) -> MessagingHub:
    made = agreement(8900, find_free_port())
    (tmp_path / "agreement.yaml").write_bytes(made)
    return MessagingHub(keys, made)


@contextmanager
def listening(keys: Path, place: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    """Run the verb as a process, from its line "ready" on."""
    fixed = ("--as", "broker", "--partner", str(keys), "--agreement", str(place / "agreement.yaml"))
    command = [sys.executable, "-m", "gateway", "listen", *fixed, "--folder", str(place / "results"), *words]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def push(side: MessagingHub, parcel: Parcel) -> HttpReply:
    """Send a parcel to the broker's endpoint, as the hub does."""
    poster = HttpPoster(str(side.pmode("Result").endpoint))
    try:
        return poster.post({"SOAPAction": '"ebXML"', **parcel.headers}, octets(parcel))
    finally:
        poster.close()


def read_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


@pytest.mark.night
def test_a_result_is_stored_acknowledged_and_known_after_a_restart(
    keys: Path, tmp_path: Path, side: MessagingHub
) -> None:
    parcel = side.seal(side.message("Result", side.result(), "m-1"))
    with listening(keys, tmp_path) as process:
        assert read_line(process).startswith("ready: http://127.0.0.1:")
        first = push(side, parcel)
        side.judge(first, parcel)
        assert "Result  case SW1  reference HB2026-000123  APPROVED  0001-Result-SW1" in read_line(process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        assert read_line(process) == "stopped: 1 message received\n"
    with listening(keys, tmp_path) as process:
        assert "1 message stored before" in read_line(process)
        assert push(side, parcel).body == first.body
        process.kill()
    (stored,) = (tmp_path / "results").glob("*/")
    assert sorted(path.name for path in stored.iterdir()) == [
        "message.http", "payload-1.xml", "receipt.http", "summary.json",
    ]  # fmt: skip
    verify_document(parse_xml((stored / "payload-1.xml").read_bytes()))
    summary = json.loads((stored / "summary.json").read_bytes())
    assert (summary["said"]["outcome"], summary["said"]["verified"], summary["ref_to"]) == (
        "APPROVED", True, "m-1",
    )  # fmt: skip
    assert octets(parcel) in (stored / "message.http").read_bytes()


@pytest.mark.night
def test_a_refusal_is_told_as_json(keys: Path, tmp_path: Path, side: MessagingHub) -> None:
    sealed = side.seal(side.message("Result", side.result()))
    parcel = Parcel(sealed.headers, MemoryBody(octets(sealed).replace(b"APPROVED", b"REJECTED")))
    with listening(keys, tmp_path, "--json") as process:
        push_until_taken(side, parcel)
        assert process.stderr is not None
        assert "GW202" in json.loads(process.stderr.readline())["detail"]


def push_until_taken(side: MessagingHub, parcel: Parcel) -> HttpReply:
    """Push a parcel as soon as the verb listens, which says nothing of that with ``--json``."""
    return retry(lambda: push(side, parcel), GatewayError, every=0.1)


@pytest.mark.night
def test_a_notice_is_told_as_json(keys: Path, tmp_path: Path, side: MessagingHub) -> None:
    with listening(keys, tmp_path, "--json") as process:
        parcel = side.seal(side.message("Notice", side.notice()))
        side.judge(push_until_taken(side, parcel), parcel)
        told = json.loads(read_line(process))
    assert (told["action"], told["said"]["deadline"] is not None) == ("Notice", True)


@pytest.fixture
def said() -> list[str]:
    return []


def handler_of(keys: Path, place: Path, said: list[str]) -> MessageHandler:
    member = read_membership(keys, "broker", place / "agreement.yaml")
    return MessageHandler(member, place, store=MessageFolder(place / "results", said.append))


@pytest.mark.night
def test_what_cannot_be_written_is_not_acknowledged(
    keys: Path, tmp_path: Path, side: MessagingHub, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = handler_of(keys, tmp_path, said)
    parcel = side.seal(side.message("Result", side.result()))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full_disk)
        assert handler(as_request(parcel)).status == 503
    assert said == ["refused: GW806 cannot store: No space left on device at folder"]
    with monkeypatch.context() as patch:
        # Not even the refusal can be stored.
        patch.setattr(os, "fsync", full_disk)
        patch.setattr(Journal, "write", lambda _journal, _row: full_disk(None))
        assert handler(as_request(parcel)).status == 503
        spoilt = replace(as_request(parcel), body=b"no message")
        assert handler(spoilt).status in (400, 500, 200)
    assert len(said) == 3
    side.judge(handler(as_request(parcel)), parcel)
    assert [path.name for path in (tmp_path / "results").glob("*/")] == ["0001-Result-SW1"]


def full_disk(_: Any) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.night
def test_a_message_cut_short_by_a_kill_is_taken_again(
    keys: Path, tmp_path: Path, side: MessagingHub, said: list[str]
) -> None:
    handler = handler_of(keys, tmp_path, said)
    handler(as_request(side.seal(side.message("Result", side.result()))))
    (tmp_path / "results/.new-0002-Result-SW1").mkdir()
    (tmp_path / "results/.new-0002-Result-SW1/message.http").write_bytes(b"half")
    again = handler_of(keys, tmp_path, said)
    again(as_request(side.seal(side.message("Result", side.result()))))
    names = sorted(path.name for path in (tmp_path / "results").iterdir() if path.is_dir())
    assert names == ["0001-Result-SW1", "0002-Result-SW1"]


def test_a_receipt_for_another_process_is_stored(
    keys: Path, tmp_path: Path, side: MessagingHub, said: list[str]
) -> None:
    handler = handler_of(keys, tmp_path, said)
    member = read_membership(keys, "broker", tmp_path / "agreement.yaml")
    sending, context = member.build_context(), side.context()
    unit = member.make_user_message("Submit", "m-9@broker", sending.now)
    pmode = member.get_outgoing_pmode("Submit", sending.now)
    opened = EBMS2.open_units(EBMS2.seal((unit,), pmode, sending), context)
    receipt = EBMS2.seal((EBMS2.make_receipt(opened, context),), opened.pmode, context)
    assert handler(as_request(receipt)).status == 204
    assert said == ["Receipt for m-9@broker, not compared with what was sent: 0001-Receipt"]


def test_what_is_stored_is_read_by_its_owner_alone(
    keys: Path, tmp_path: Path, side: MessagingHub, said: list[str]
) -> None:
    before = os.umask(0o022)
    try:
        handler = handler_of(keys, tmp_path, said)
        parcel = side.seal(side.message("Result", side.result()))
        side.judge(handler(as_request(parcel)), parcel)
    finally:
        os.umask(before)
    stored = [tmp_path / "results", *(tmp_path / "results").rglob("*")]
    assert {oct(path.stat().st_mode & 0o777) for path in stored if path.is_dir()} == {"0o700"}
    assert {oct(path.stat().st_mode & 0o777) for path in stored if path.is_file()} == {"0o600"}


@pytest.mark.parametrize("name", ["agreement.yaml", "agreement.yaml/below"])
def test_a_folder_that_is_a_file_is_misuse(
    keys: Path, tmp_path: Path, side: MessagingHub, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    fixed = ("--as", "broker", "--partner", str(keys), "--agreement", str(tmp_path / "agreement.yaml"))
    assert main(["listen", *fixed, "--folder", str(tmp_path / name)]) == 2
    told = capsys.readouterr().err
    assert f"GW808 {tmp_path / name} is no folder for messages: it is a file" in told


@pytest.mark.night
@pytest.mark.parametrize("address", ["8901", "here:port", ":1", "127.0.0.1:99999"])
def test_an_address_that_is_none_is_misuse(
    keys: Path, tmp_path: Path, side: MessagingHub, address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    fixed = ("--as", "broker", "--partner", str(keys), "--agreement", str(tmp_path / "agreement.yaml"))
    assert main(["listen", *fixed, "--folder", str(tmp_path / "r"), "--at", address]) == 2
    assert "HOST:PORT" in capsys.readouterr().err


def test_messages_are_read_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for number in (10_000, 9999, 10_001, 2):
        stored = tmp_path / f"{number:04d}-Result"
        stored.mkdir()
        (stored / "summary.json").write_text(json.dumps({"number": number}))
        (stored / "receipt.http").write_bytes(b"Content-Type: text/xml\r\n\r\n<receipt/>")
    rows = MessageFolder(tmp_path, print).read_rows()
    assert [row["number"] for row in rows] == [2, 9999, 10_000, 10_001]
