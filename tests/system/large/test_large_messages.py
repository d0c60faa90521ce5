"""500 MB in one part by ebMS 2.0, and 1 GB by AS4: received, forwarded and stored in less than 200 MiB."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.message_model import MemoryBody, Receipt, compute_body_digest
from gateway.protocols import Parcel
from gateway.store import ObjectFolder, get_database_state, make_engine, messages, read_transaction
from tests.kit.house import AGREEMENT, AS4
from tests.kit.waiting import until
from tests.system.large.large_place import LargePlace, make_large_file, measure_peak

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

MOST = 200
UNCOMPRESSED = b"\n".join(one for one in AS4.splitlines() if b"compress" not in one)
MEBI = 1024**2


def check_peaks(*processes: Any) -> None:
    peaks = {name: peak for one in processes for name, peak in measure_peak(one).items()}
    print(peaks)
    assert peaks
    assert max(peaks.values()) < MOST, peaks


def check_stored(place: LargePlace, digest: str) -> None:
    """The part that the hub has stored is the file that was sent."""
    engine = make_engine(place.hub.database_url)
    get_database_state(engine).objects = ObjectFolder(place.hub.home / "payloads")
    try:
        with read_transaction(engine) as conn:
            (row,) = messages.list_messages(conn, action="Store")
            (part,) = messages.load_payloads(conn, row.id)
            assert compute_body_digest(part.octets) == digest
    finally:
        engine.dispose()


@pytest.mark.parametrize(
    ("agreement", "path", "mebibytes"),
    [
        pytest.param(AGREEMENT, "ebms2", 500, marks=pytest.mark.night, id="ebms2"),
        pytest.param(UNCOMPRESSED, "as4", 500, id="as4"),
    ],
)
def test_a_large_part_is_received_in_little_memory(
    tmp_path: Path, sqlite_url: str, agreement: bytes, path: str, mebibytes: int
) -> None:
    place = LargePlace(tmp_path, sqlite_url, agreement)
    url = place.hub.url.replace("ebms2", path)
    body = make_large_file(tmp_path / "body", mebibytes * MEBI)
    with place.run("serve", place.hub.home) as hub:
        place.wait_until_served(url)
        parcel = place.seal(body)
        # A repeat is read like the first one, by either protocol: one of them says so.
        times = 2 if path == "ebms2" else 1
        answers = [place.post(url, parcel) for _ in range(times)]
        check_peaks(hub)
    assert [one.status for one in answers] == [200] * times
    assert answers[0].body == answers[-1].body
    receipt = Parcel({"Content-Type": answers[0].headers["content-type"]}, MemoryBody(answers[0].body))
    expected = place.broker.core.read_sent_unit(parcel, place.limits)
    context = place.make_context()
    assert isinstance(place.broker.core.open_units(receipt, context, expected).unit, Receipt)
    check_stored(place, body.sha256_hex)


@pytest.mark.night
def test_a_large_part_goes_through_a_hop_in_little_memory(
    tmp_path: Path, sqlite_url: str, templates: Any
) -> None:
    place = LargePlace(tmp_path, sqlite_url)
    hop_database = templates.fresh("sqlite")
    home, url = place.add_hop(hop_database)
    body = make_large_file(tmp_path / "body", 500 * MEBI)
    with (
        place.run("serve", place.hub.home) as hub,
        place.run("serve", home) as hop,
        place.run("work", home) as worker,
    ):
        for one in (place.hub.url, url):
            place.wait_until_served(one)
        assert place.post(url, place.seal(body)).status == 204

        def has_passed() -> bool:
            rows = place.list_stored(hop_database)[1]
            return ("hop", "hub", "DELIVERED") in {(row.agent, row.destination, row.state) for row in rows}

        until(has_passed, 240, every=0.3, problem=lambda: place.list_stored(hop_database)[1])
        check_peaks(hub, hop, worker)
    check_stored(place, body.sha256_hex)
