"""A part of 100 MB from phase4 to the hub, and from the hub to phase4; the hub's memory stays small."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.message_model import Payload, compute_body_digest
from gateway.pki import load_signer
from gateway.protocols import as4
from gateway.store import (
    NewDelivery,
    ObjectFolder,
    deliveries,
    get_database_state,
    make_engine,
    payloads,
    write_transaction,
)
from tests.kit.house import AS4
from tests.kit.ports import find_free_port
from tests.kit.waiting import until
from tests.system.interop.phase4 import Phase4, build_phase4, make_key_stores
from tests.system.interop.test_as4_peer import AGREED, STORE
from tests.system.large.large_place import FileBody, LargePlace, make_large_file, measure_peak
from tests.system.large.test_large_messages import MOST, check_stored

pytestmark = [pytest.mark.peer, pytest.mark.vectors, pytest.mark.long, pytest.mark.timeout(900)]

OCTETS = 100 * 1024**2
MINUTES = 10
PLAIN = b"\n".join(one for one in AS4.splitlines() if b"compress" not in one and b"mpc:" not in one)


@pytest.fixture(scope="module")
def peer(vectors: Path, tmp_path_factory: pytest.TempPathFactory) -> Phase4:
    return Phase4(build_phase4(vectors), make_key_stores(tmp_path_factory.mktemp("keys")))


def check_small(process: Any) -> None:
    """Hold the peak of every process of the hub against what is allowed, and print it."""
    peaks = measure_peak(process)
    print(peaks)
    assert peaks
    assert max(peaks.values()) < MOST, peaks


@pytest.mark.night
def test_phase4_sends_100_megabytes(peer: Phase4, tmp_path: Path, sqlite_url: str) -> None:
    place = LargePlace(tmp_path, sqlite_url, PLAIN)
    url = place.hub.url.replace("ebms2", "as4")
    body = make_large_file(tmp_path / "body", OCTETS)
    with place.run("serve", place.hub.home) as hub:
        place.wait_until_served(url)
        chosen = ("--payload", body.path, "--mime", "application/octet-stream")
        report = peer.send(url, *AGREED, *STORE, *chosen)
        assert (report["receipt_verified"], report["errors"]) == (True, []), report
        check_small(hub)
    check_stored(place, body.sha256_hex)


def queue_message(place: LargePlace, body: FileBody, url: str) -> None:
    """Queue a message with the file for the broker, as the hub queues a Result."""
    engine = make_engine(place.hub.database_url)
    get_database_state(engine).objects = ObjectFolder(place.hub.home / "payloads")
    pki, now = place.hub.home / "pki", datetime.now(UTC)
    signer = load_signer((pki / "hub.key.pem").read_bytes(), (pki / "hub.cert.pem").read_bytes())
    context = replace(place.broker.context(), signers={"hub": signer})
    part = Payload("large@hub.example", "application/octet-stream", body)
    unit = place.broker.message("Result", payloads=(part,))
    pmode = next(one for one in context.agreements.pmodes if one.action == "Result")
    parcel = as4.seal((unit,), replace(pmode, mep="one-way"), context)
    with write_transaction(engine) as conn:
        digest = payloads.store_payload(conn, parcel.get_octets(), now)
        new = NewDelivery(
            agent="msh",
            destination="broker1",
            lane="msh:broker1",
            subject_type="message",
            subject_id=unit.message_id,
            dedupe_key=unit.message_id,
            wire_id=unit.message_id,
            payload_sha256=digest,
            parameters={
                "endpoint": url,
                "headers": dict(parcel.headers),
                "action": unit.action,
                "agreement": pmode.agreement,
                "pmode": pmode.id,
                "retries": 3,
                "retry_interval": 60,
                "receipt": True,
            },
            due_at=now,
            expires_at=now + timedelta(minutes=MINUTES),
        )
        assert deliveries.enqueue_delivery(conn, new, now) is not None
    engine.dispose()


@pytest.mark.night
def test_phase4_receives_100_megabytes(peer: Phase4, tmp_path: Path, sqlite_url: str) -> None:
    port = find_free_port()
    place = LargePlace(tmp_path, sqlite_url, PLAIN)
    body = make_large_file(tmp_path / "body", OCTETS)
    (tmp_path / "peer").mkdir()
    with peer.serve(tmp_path / "peer", port, "--encrypt", "no") as inbox:
        queue_message(place, body, f"http://127.0.0.1:{port}/as4")
        with place.run("work", place.hub.home) as worker:

            def find_ended() -> Any:
                rows = [row for row in place.list_stored(sqlite_url)[1] if row.agent == "msh"]
                return rows[0] if rows[0].state in ("DELIVERED", "FAILED") else None

            sent = until(find_ended, 60 * MINUTES, every=0.5)
            check_small(worker)
        # The receipt is signed, and has every digest.
        assert sent.state == "DELIVERED", sent
        (received,) = list(inbox.iterdir())
        with (received / "payload-0").open("rb") as file:
            assert hashlib.file_digest(file, "sha256").hexdigest() == body.sha256_hex
    assert compute_body_digest(body) == body.sha256_hex
