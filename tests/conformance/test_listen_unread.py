"""``gateway listen`` and ``pull`` store and acknowledge also where nobody reads what they print."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest

from gateway.client import read_journal
from gateway.message_model import MemoryBody
from gateway.protocols import Parcel
from tests.conformance.hub_messages import MessagingHub, agreement, octets
from tests.conformance.test_listen_command import (
    listening,
    push,
    push_until_taken,
    read_line,
)
from tests.conformance.test_pull_command import Desk, desk
from tests.kit.ports import find_free_port

__all__ = ["desk"]

#: More lines than a pipe of 4 KiB takes.
MESSAGES = 20


@pytest.fixture
def hub(keys: Path, tmp_path: Path) -> MessagingHub:
    content = agreement(8900, find_free_port())
    (tmp_path / "agreement.yaml").write_bytes(content)
    return MessagingHub(keys, content)


def push_messages(hub: MessagingHub, count: int) -> None:
    """Push so many messages; each must be acknowledged."""
    for number in range(count):
        parcel = hub.seal(hub.message("Result", hub.result(), f"m-{number}"))
        hub.judge(push_until_taken(hub, parcel) if number == 0 else push(hub, parcel), parcel)


def count_stored(place: Path) -> int:
    return len(list((place / "results").glob("[0-9]*/")))


def shrink(process: subprocess.Popen[str]) -> None:
    """Let a pipe hold 4 KiB only."""
    assert process.stdout is not None
    fcntl.fcntl(process.stdout.fileno(), fcntl.F_SETPIPE_SZ, 4096)


def end(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Tell the process to end; return its status and what it says of problems."""
    process.terminate()
    assert process.stderr is not None
    problems = process.stderr.read()
    return process.wait(60), problems


@pytest.mark.night
@pytest.mark.parametrize("words", [(), ("--json",)])
def test_messages_are_acknowledged_where_the_reader_is_stopped(
    keys: Path,
    tmp_path: Path,
    hub: MessagingHub,
    words: tuple[str, ...],
) -> None:
    with listening(keys, tmp_path, *words) as process:
        shrink(process)
        push_messages(hub, MESSAGES * (1 if words else 3))
        status, problems = end(process)
        assert process.stdout is not None
        printed = process.stdout.read()
    stored = count_stored(tmp_path)
    details = (
        [json.loads(line)["detail"] for line in problems.splitlines()] if words else problems.splitlines()
    )
    assert stored == MESSAGES * (1 if words else 3)
    assert status == 1
    assert "nobody has read it for 5 s; messages are stored and acknowledged" in details[0]
    complete = printed.count("\n") - (not words)
    assert f"{stored - complete} messages stored without a printed line" in details[1]
    assert len(details) == 2


@pytest.mark.night
def test_a_reader_that_goes_on_gets_every_line(
    keys: Path,
    tmp_path: Path,
    hub: MessagingHub,
) -> None:
    with listening(keys, tmp_path, "--json") as process:
        shrink(process)
        push_messages(hub, MESSAGES)
        files = [json.loads(read_line(process))["file"] for _ in range(MESSAGES)]
        assert end(process) == (0, "")
    assert files == sorted(path.name for path in (tmp_path / "results").glob("[0-9]*/"))


@pytest.mark.night
def test_messages_are_acknowledged_where_the_reader_is_gone(
    keys: Path,
    tmp_path: Path,
    hub: MessagingHub,
) -> None:
    with listening(keys, tmp_path) as process:
        assert read_line(process).startswith("ready: ")
        assert process.stdout is not None
        process.stdout.close()
        push_messages(hub, 3)
        status, problems = end(process)
    assert (status, count_stored(tmp_path)) == (1, 3)
    assert problems == (
        "gateway: GW808 standard output cannot be written: Broken pipe; "
        "messages are stored and acknowledged\n"
        "gateway: 3 messages stored without a printed line\n"
    )


@pytest.mark.night
@pytest.mark.parametrize("fate", ["gone", "stopped"])
def test_refusals_are_answered_where_nobody_reads_problems(
    keys: Path,
    tmp_path: Path,
    hub: MessagingHub,
    fate: str,
) -> None:
    sealed = hub.seal(hub.message("Result", hub.result()))
    bad = Parcel(sealed.headers, MemoryBody(octets(sealed).replace(b"APPROVED", b"REJECTED")))
    with listening(keys, tmp_path) as process:
        assert read_line(process).startswith("ready: ")
        assert process.stderr is not None
        if fate == "gone":
            process.stderr.close()
        else:
            fcntl.fcntl(process.stderr.fileno(), fcntl.F_SETPIPE_SZ, 4096)
        for _ in range(40):
            assert b"GW202" in push(hub, bad).body
        push_messages(hub, 1)
        process.terminate()
        assert process.wait(60) == 0
    assert len((tmp_path / "results/refusals.jsonl").read_text().splitlines()) == 40


@pytest.fixture
def unread_output() -> Iterator[TextIO]:
    """Provide a pipe whose reader is gone."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as broken:
        yield broken


@pytest.mark.night
def test_what_is_pulled_is_acknowledged_where_the_reader_is_gone(
    desk: Desk, unread_output: TextIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert desk.submit("--wait", "0")[0] == 0
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", unread_output)
        status, _, problems = desk.pull()
    assert (status, desk.stored()) == (1, [f"0001-Result-{desk.story.case().number}"])
    details = [json.loads(line)["detail"] for line in problems.splitlines()]
    assert "cannot be written: Broken pipe" in details[0]
    assert details[1] == "1 message stored without a printed line"
    assert desk.states() == {"DELIVERED"}


@pytest.mark.night
def test_a_result_that_submit_cannot_print_stays_in_its_folder(
    desk: Desk, unread_output: TextIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", unread_output)
        status, _, problems = desk.run("submit", str(desk.folder / "submission.xml"), "--wait", "10")
    assert (status, desk.states()) == (1, {"DELIVERED"}), "it is acknowledged"
    folder = Path(json.loads(problems.splitlines()[-1])["detail"].removeprefix("what has come is in "))
    assert [row["action"] for row in read_journal(folder / "messages.jsonl")] == ["Result"]


SCRIPT = """
import sys, threading
from gateway.cli.arrival_printer import ArrivalPrinter
printer, stop = ArrivalPrinter(as_json=True), threading.Event()
names = "at", "file", "message_id", "action", "ref_to", "said"
for _ in range(int(sys.argv[1])):
    printer.announce_message(dict.fromkeys(names, "x" * 99))
sys.exit(printer.close(stop))
"""


def test_the_end_waits_for_a_reader_as_long_as_nothing_stops_it() -> None:
    with subprocess.Popen([sys.executable, "-c", SCRIPT, "400"], stdout=subprocess.PIPE) as process:
        time.sleep(6)
        assert process.poll() is None
        assert process.stdout is not None
        assert process.stdout.read().count(b"\n") == 400
        assert process.wait(60) == 0


def test_a_disk_that_is_full_is_told() -> None:
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-c", SCRIPT, "2"], check=False, stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert ended.returncode == 1
    assert ended.stderr == (
        "gateway: GW808 standard output cannot be written: No space left on device; "
        "messages are stored and acknowledged\n"
        "gateway: 2 messages stored without a printed line\n"
    )
