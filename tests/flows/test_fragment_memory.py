"""A message of 300 MB in fragments is taken and joined in memory that does not grow with it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from sqlalchemy import Engine

from gateway.client import FileBody
from gateway.message_model import Payload, iterate_octets
from gateway.protocols import as4
from gateway.store import ObjectFolder, get_database_state, messages
from gateway.wire import WireLimits
from tests.kit.fragments import SPLIT, FragmentStory

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak is read from /proc"),
]

OCTETS = 3 * 10**8
STEP = 10**7
AGREED = SPLIT.replace(b"fragment_size: 1000000", b"fragment_size: 10000000")
#: A tenth of the message.
MOST_MORE = OCTETS // 10


def read_memory(name: str) -> int:
    """Return a figure of this process in octets: VmRSS as it is, VmHWM as it was at most."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    (value,) = (line.split()[1] for line in lines if line.startswith(f"{name}:"))
    return int(value) * 1024


def write_source(path: Path, octets: int) -> str:
    """Write octets that gzip does not make smaller; return their digest."""
    found = hashlib.sha256()
    block = os.urandom(10**6)
    with path.open("wb") as file:
        for number in range(octets // len(block)):
            piece = number.to_bytes(8) + block[8:]
            found.update(piece)
            file.write(piece)
    return found.hexdigest()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_memory_does_not_grow_with_the_message(engine: Engine, tmp_path: Path) -> None:
    get_database_state(engine).objects = ObjectFolder(tmp_path / "payloads")
    story = FragmentStory(engine, AGREED)
    digest = write_source(tmp_path / "source", OCTETS)
    part = Payload("big@broker1.example", "application/octet-stream", FileBody(tmp_path / "source"))
    unit = story.broker.message("Store", payloads=(part,), mpc="urn:example:channel:store")
    source = as4.seal((unit,), None, story.broker.context())
    plan = as4.plan_split(source, as4.SplitTerms(STEP), WireLimits(body=2**31))
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = read_memory("VmRSS")
    story.send(plan)
    story.tick(seconds=1)
    more = read_memory("VmHWM") - before
    (row,) = story.joined()
    (stored,) = story.read(lambda conn: messages.load_payloads(conn, row.id))
    found = hashlib.sha256()
    for piece in iterate_octets(stored.octets):
        found.update(piece)
    assert found.hexdigest() == digest
    print(f"{plan.fragment_count} fragments, {more // 1024**2} MiB more, {before // 1024**2} before")
    assert more < MOST_MORE
