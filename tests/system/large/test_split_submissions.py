"""100 MB filed in fragments, encrypted and not: killed on the way, and less than 200 MiB on both sides."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from gateway.message_model import compute_body_digest
from gateway.store import ObjectFolder, cases, get_database_state, make_engine, messages, read_transaction
from tests.conformance.test_split_submissions import LABEL, SAMPLE, write_broker_folder
from tests.kit.house import AS4
from tests.kit.paths import ROOT
from tests.kit.ports import find_free_port
from tests.kit.waiting import until
from tests.system.large.large_place import LargePlace, measure_peak
from tests.system.large.test_large_messages import MOST

pytestmark = [pytest.mark.night, pytest.mark.timeout(900)]

OCTETS = 10**8
TERMS = b"  splitting: {fragment_size: 10000000, compression: gzip}\n"
CID = "korean-label@sample"


def make_agreement() -> bytes:
    found = AS4.replace(b"  compression: gzip ", TERMS + b"  compression: gzip ")
    return found.replace(b":8901/", f":{find_free_port()}/".encode())


def write_attachment(path: Path) -> str:
    """Write a file that gzip does not make smaller; return its digest."""
    with path.open("wb") as file:
        file.write(b"%PDF-1.7\n")
        for _ in range(OCTETS // 10**6):
            file.write(os.urandom(10**6))
    return compute_body_digest(path.read_bytes())


def write_submission(path: Path, attachment: Path, digest: str) -> None:
    label = LABEL.read_bytes()
    text = SAMPLE.read_bytes().replace(compute_body_digest(label).encode(), digest.encode())
    path.write_bytes(text.replace(f'size="{len(label)}"'.encode(), b'size="%d"' % attachment.stat().st_size))


def start_submit(place: Path, url: str, file: Path, *words: str) -> subprocess.Popen[bytes]:
    fixed = ("--as", "broker1", "--to", url, "--partner", str(place / "broker"), "--json")
    with (place / "submit.out").open("wb") as out:
        return subprocess.Popen(
            [sys.executable, "-m", "gateway", "submit", str(file), *fixed, *words],
            cwd=place,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=out,
        )


def end_submit(process: subprocess.Popen[bytes]) -> int:
    """Wait for a process; return the MiB that it had at most, as far as was seen."""
    peak = 0
    while process.poll() is None:
        peak = max(peak, *measure_peak(process).values(), 0)
        time.sleep(0.05)
    return peak


def test_a_large_submission_in_fragments_takes_little_memory(tmp_path: Path, sqlite_url: str) -> None:
    agreement = make_agreement()
    place = LargePlace(tmp_path, sqlite_url, agreement)
    (tmp_path / "broker").mkdir()
    write_broker_folder(tmp_path / "broker", agreement)
    digest = write_attachment(tmp_path / "label.pdf")
    write_submission(tmp_path / "one.xml", tmp_path / "label.pdf", digest)
    url = place.hub.url.replace("ebms2", "as4")
    with place.run("serve", place.hub.home) as hub, place.run("work", place.hub.home) as worker:
        place.wait_until_served(url)
        attached = ("--attach", f"{CID}={tmp_path / 'label.pdf'}", "--folder", str(tmp_path / "kept"))
        first = start_submit(tmp_path, url, tmp_path / "one.xml", *attached)
        folder = wait_for_receipts(tmp_path / "kept" / "sent", 3)
        peaks = {"submit, killed": max(measure_peak(first).values())}
        first.kill()
        first.wait(30)
        second = start_submit(tmp_path, url, folder, "--wait", "60")
        peaks["submit"] = end_submit(second)
        peaks |= measure_peak(hub) | measure_peak(worker)
    told = json.loads((tmp_path / "submit.out").read_bytes())
    print(told["fragments"], "fragments:", peaks)
    assert (told["sent"], told["joined"]) == ("sent", True), told
    assert max(peaks.values()) < MOST, peaks
    check_case(place, digest)


def wait_for_receipts(folder: Path, count: int) -> Path:
    receipt = f"*/fragment-{count:04}.receipt"
    return until(lambda: list(folder.glob(receipt)), every=0.02)[0].parent


def check_case(place: LargePlace, digest: str) -> None:
    """The hub has one case, whose attachment is the file."""
    engine: Engine = make_engine(place.hub.database_url)
    get_database_state(engine).objects = ObjectFolder(place.hub.home / "payloads")
    try:
        with read_transaction(engine) as conn:
            (case,) = cases.list_cases(conn)
            rows: list[Any] = [one for one in messages.list_messages(conn) if one.kind == "UserMessage"]
            (row,) = [one for one in rows if one.direction == "in"]
            parts = messages.load_payloads(conn, row.id)
            assert (case.id, compute_body_digest(parts[1].octets)) == (row.case_id, digest)
    finally:
        engine.dispose()
