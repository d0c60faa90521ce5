"""Large Results that a broker pulls by AS4: in fragments, encrypted or not, or whole; the hub is killed."""

from __future__ import annotations

import hashlib
import http.client
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.registration import make_certificate_row
from gateway.message_model import compute_body_digest
from gateway.store import deliveries, make_engine, parties, read_transaction, write_transaction
from gateway_conformance.pki import CertificateOrder, issue_certificate
from tests.conformance.test_split_submissions import write_broker_folder
from tests.flows.test_as4_pull import PULLED, ask, seal
from tests.kit.house import authority
from tests.kit.paths import ROOT
from tests.kit.waiting import until
from tests.system.large.large_place import FileBody, LargePlace, measure_peak
from tests.system.large.test_large_messages import MOST

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

MEBI = 1024**2
FRAGMENT = 10_000_000
SPLITTING = b"splitting: {fragment_size: %d, join_interval: 3600}, " % FRAGMENT
#: Results are pulled, each alone: a Notice would carry the file, too.
RETRIED = b"\n".join(
    line
    for line in PULLED.replace(b"retry_interval: 300", b"retry_interval: 5")
    .replace(b"retries: 3", b"retries: 20")
    .replace(b"compression: gzip ", b"compression: none ")
    .splitlines()
    if b"-notice" not in line
)
SPLIT = RETRIED.replace(b"action: Result, ", b"action: Result, " + SPLITTING)
SECRET = b"encryption: {protocol: XMLENC, algorithms: [aes128-gcm]}, "
ENCRYPTED = SPLIT.replace(b"action: Result, ", b"action: Result, " + SECRET)


class PullingPlace(LargePlace):
    """A hub whose Results carry a file, and the folder of the broker who pulls them."""

    def __init__(self, folder: Path, database_url: str, agreement: bytes, octets: int) -> None:
        super().__init__(folder, database_url, agreement)
        self.file = folder / "file"
        write_drawn_file(self.file, octets)
        self.desk = folder / "desk"
        self.desk.mkdir()
        write_broker_folder(self.desk, agreement)
        self.url = self.hub.url.replace("ebms2", "as4")
        self.peaks: dict[str, int] = {}

    def exchange_encryption_keys(self) -> None:
        """Give the broker a key that decrypts, and the hub its certificate."""
        order = CertificateOrder(profile="encryption", key_kind="rsa-2048", days=300)
        issued = issue_certificate(authority(), "CN=broker1 decrypts", datetime.now(UTC), order)
        (self.desk / "broker1.decryption.key.pem").write_bytes(issued.key_pem)
        (self.desk / "broker1.decryption.cert.pem").write_bytes(issued.certificate.pem)
        engine = make_engine(self.hub.database_url)
        with write_transaction(engine) as conn:
            row = make_certificate_row(issued.certificate, "encryption")
            parties.add_certificate(conn, "broker1", row, datetime.now(UTC))
        engine.dispose()

    @contextmanager
    def play_hub(self) -> Iterator[ExitStack]:
        """Run the serving and the working processes; note the memory that they needed at most."""
        with ExitStack() as stack:
            serving = stack.enter_context(self.run("serve", self.hub.home))
            words = ("tests.system.large.attached_result", str(self.file), "work")
            working = stack.enter_context(self.run("work", self.hub.home, words))
            self.wait_until_served(self.hub.url)
            yield stack
            for name, peak in (measure_peak(serving) | measure_peak(working)).items():
                self.peaks[name] = max(peak, self.peaks.get(name, 0))

    def pull(self) -> subprocess.Popen[bytes]:
        """Begin ``gateway pull``."""
        fixed = ("--as", "broker1", "--to", self.url, "--partner", str(self.desk), "--json")
        with (self.folder / "pulled").open("ab") as out:
            return subprocess.Popen(
                [sys.executable, "-m", "gateway", "pull", *fixed, "--folder", str(self.folder / "got")],
                cwd=self.folder,
                env=os.environ | {"PYTHONPATH": str(ROOT)},
                stdout=out,
            )

    def list_sent(self) -> list[Any]:
        """Return the deliveries of messages."""
        engine = make_engine(self.hub.database_url)
        with read_transaction(engine) as conn:
            found = deliveries.list_deliveries(conn, agent="msh", limit=200)
        engine.dispose()
        return list(found)

    def wait_for(self, what: Any) -> Any:
        return until(
            lambda: what(self.list_sent()),
            every=0.1,
            problem=lambda: [(row.id, row.state, row.problem, row.last_sentence) for row in self.list_sent()],
        )


def write_drawn_file(path: Path, octets: int) -> None:
    with path.open("wb") as file:
        for _ in range(octets // MEBI):
            file.write(os.urandom(MEBI))


def file_refused(place: PullingPlace) -> None:
    """File what is no submission: it is refused, and its Result follows at once."""
    unit = place.broker.message("Submit", content=b"<a/>")
    answer = place.post(place.url, place.broker.seal(unit))
    assert answer.status == 200, answer.body


def check_arrived(place: PullingPlace) -> None:
    """The broker has the file once, and the hub its receipt."""
    place.wait_for(lambda rows: [one for one in rows if one.case_id and one.state == "DELIVERED"])
    (folder,) = (place.folder / "got").glob("[0-9]*-Result-*")
    wanted = FileBody(place.file)
    found = [one for one in folder.iterdir() if one.stat().st_size == wanted.octet_count]
    assert [compute_body_digest(FileBody(one)) for one in found] == [wanted.sha256_hex]
    assert not [row for row in place.list_sent() if row.state == "FAILED"]


@pytest.mark.night
@pytest.mark.parametrize(
    ("agreement", "mebibytes"), [(SPLIT, 300), (ENCRYPTED, 100)], ids=["signed", "encrypted"]
)
def test_fragments_are_pulled_though_the_hub_is_killed(
    tmp_path: Path, sqlite_url: str, agreement: bytes, mebibytes: int
) -> None:
    place = PullingPlace(tmp_path, sqlite_url, agreement, mebibytes * MEBI)
    if agreement is ENCRYPTED:
        place.exchange_encryption_keys()
    started = time.monotonic()
    with place.play_hub():
        file_refused(place)
        place.wait_for(lambda rows: len(rows) > mebibytes // 11)
        sealed = time.monotonic()
        first = place.pull()
        place.wait_for(lambda rows: sum(row.state == "DELIVERED" for row in rows) > mebibytes // 30)
        place.kill_all()
        assert first.wait(60) != 0
    resumed = time.monotonic()
    with place.play_hub():
        for _ in range(20):
            assert place.pull().wait(300) == 0
            if any(row.case_id and row.state == "DELIVERED" for row in place.list_sent()):
                break
            time.sleep(2)
        check_arrived(place)
    seconds = [round(one) for one in (sealed - started, time.monotonic() - resumed)]
    print(len(place.list_sent()), "deliveries:", place.peaks, "sealed, pulled in seconds:", seconds)
    assert max(place.peaks.values()) < MOST, place.peaks


@pytest.mark.night
def test_a_large_message_is_pulled_whole_by_a_slow_broker(tmp_path: Path, sqlite_url: str) -> None:
    place = PullingPlace(tmp_path, sqlite_url, RETRIED, 300 * MEBI)
    settings = place.hub.home / "gateway.toml"
    settings.write_text(settings.read_text().replace("[http]\n", '[http]\nread_time_out = "3s"\n'))
    with place.play_hub():
        file_refused(place)
        (row,) = place.wait_for(lambda rows: rows)
        started = time.monotonic()
        status, octets, digest = pull_slowly(place)
        assert time.monotonic() - started > 6
        assert (status, digest) == (200, row.payload_sha256)
        assert octets > 300 * MEBI
    print(place.peaks)
    assert max(place.peaks.values()) < MOST, place.peaks


@pytest.mark.night
def test_a_broker_needs_no_memory_for_what_it_pulls_whole(tmp_path: Path, sqlite_url: str) -> None:
    place = PullingPlace(tmp_path, sqlite_url, RETRIED, 300 * MEBI)
    with place.play_hub():
        file_refused(place)
        place.wait_for(len)
        broker = place.pull()
        while broker.poll() is None:
            place.peaks |= measure_peak(broker)
            time.sleep(0.05)
        assert broker.returncode == 0
        check_arrived(place)
    print(place.peaks)
    assert any("pull" in name for name in place.peaks)
    assert max(place.peaks.values()) < MOST, place.peaks


def pull_slowly(place: PullingPlace) -> tuple[int, int, str]:
    """Pull once; return the status, the octets, and their digest. It takes longer than a connection idles."""
    parcel = seal(place.broker, ask(place.broker))
    line = http.client.HTTPConnection("127.0.0.1", place.hub.port, timeout=60)
    found, octets = hashlib.sha256(), 0
    with closing(line):
        line.request("POST", "/msh/as4", parcel.read_octets(), dict(parcel.headers))
        answer = line.getresponse()
        assert answer.getheader("Content-Length") is not None
        while piece := answer.read(4 * MEBI):
            found.update(piece)
            octets += len(piece)
            time.sleep(0.1)
    return answer.status, octets, found.hexdigest()
