"""Downloads of large octets: what is in the object store is read while it is sent, in every room."""

from __future__ import annotations

import hashlib
import random
import tracemalloc
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from lxml import etree
from sqlalchemy import Engine

from gateway.message_model import read_octets
from gateway.store import ObjectFolder, get_database_state, messages, read_transaction
from gateway.wire import SUB
from tests.kit import story as stories
from tests.kit.api import Api
from tests.kit.console import Console
from tests.kit.databases import in_turn
from tests.kit.story import Story

MEBI = 1024**2
LARGE = 24 * MEBI
#: What a download may add to the memory of the process.
FEW = 8 * MEBI


@pytest.fixture
def label(monkeypatch: pytest.MonkeyPatch) -> bytes:
    octets = b"%PDF-" + random.Random(1).randbytes(LARGE)
    monkeypatch.setattr(stories, "LABEL", octets)
    return octets


@pytest.fixture
def story(engine: Engine, tmp_path: Path, label: bytes) -> Story:
    """A case with a large attachment."""
    get_database_state(engine).objects = ObjectFolder(tmp_path)
    made = Story(engine)

    def attach(root: etree._Element) -> None:
        (one,) = root.iter(f"{{{SUB}}}Attachment")
        one.set("sha256", hashlib.sha256(label).hexdigest())
        one.set("size", str(len(label)))

    made.submit(made.submission(attach))
    made.tick()
    # No agency takes so large a label, and the case has it nevertheless.
    assert made.case().state == "REFUSED"
    return made


def read_in_pieces(get: Callable[[], Any]) -> tuple[Any, bytes, int]:
    """Return an answer with its octets, and the octets of memory that it took beside these."""
    get().close()
    digest, size = hashlib.sha256(), 0
    tracemalloc.start()
    try:
        answer = get()
        for piece in answer.iter_encoded():
            digest.update(piece)
            size += len(piece)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        answer.close()
    assert answer.status_code == 200
    assert answer.content_length == size
    return answer, digest.digest(), peak


def came(story: Story) -> Any:
    with read_transaction(story.house.engine) as conn:
        (row,) = messages.list_messages(conn, direction="in", action="Submit")
    return row


@in_turn
@pytest.mark.long
def test_operators_download_what_came(story: Story, label: bytes) -> None:
    console = Console(story.house.hub)
    console.add_account("kim", ("operator", "operator"), "operator")
    client, row = console.sign_in("kim").client, came(story)
    with read_transaction(story.house.engine) as conn:
        whole = read_octets(messages.open_parcel(conn, row.id)[1])
    for name, wanted in ((f"{row.id}/parts/2", label), (f"{row.id}/octets", whole)):
        place = f"/console/operations/messages/{name}"
        answer, digest, peak = read_in_pieces(lambda at=place: client.get(at, buffered=False))
        assert peak < FEW, (name, peak)
        assert answer.headers["Content-Disposition"].startswith("attachment")
        assert answer.headers["Content-Security-Policy"].startswith("sandbox")
        if name.endswith("parts/2"):
            assert digest == hashlib.sha256(wanted).digest()
        else:
            assert client.get(place).data.endswith(wanted)


@pytest.fixture
def places(story: Story) -> dict[str, Callable[[], Any]]:
    """Where an applicant gets the files and the evidence of a case: at the console, and by the API."""
    console = Console(story.house.hub)
    console.add_account("lee", ("party", "broker1"), "viewer")
    client, row, number = console.sign_in("lee").client, came(story), story.case().number
    at = f"/console/cases/{number}"
    return {
        "file": lambda: client.get(f"{at}/messages/{row.id}/1", buffered=False),
        "message": lambda: client.get(f"{at}/messages/{row.id}/message", buffered=False),
        "bundle": lambda: client.get(f"{at}/evidence", buffered=False),
    }


@in_turn
@pytest.mark.long
def test_applicants_download_files_and_evidence(places: dict[str, Callable[[], Any]], label: bytes) -> None:
    for name, get in places.items():
        _, digest, peak = read_in_pieces(get)
        assert peak < FEW, (name, peak)
        if name == "file":
            assert digest == hashlib.sha256(label).digest()
        if name.startswith("bundle"):
            with get() as again:
                bundle = zipfile.ZipFile(BytesIO(b"".join(again.iter_encoded())))
            assert label in [bundle.read(one) for one in bundle.namelist()]
            assert bundle.testzip() is None


@in_turn
@pytest.mark.night
def test_the_bundle_of_the_api_has_the_large_file(story: Story, label: bytes) -> None:
    answer = Api(story.house.hub).client("broker1").get(f"cases/{story.case().number}/evidence/bundle")
    bundle = zipfile.ZipFile(BytesIO(answer.data))
    assert label in [bundle.read(one) for one in bundle.namelist()]
    assert answer.headers["ETag"].strip('"') == hashlib.sha256(answer.data).hexdigest()[:32]
