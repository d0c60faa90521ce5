"""What the manifests of Kubernetes say is run: pods of folders and processes, one bucket, one database."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, build_opener

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.config import load_settings
from gateway.hub import build_engine
from gateway.message_model import Payload, compute_body_digest
from gateway.protocols import Parcel
from gateway.store import cases, messages, read_transaction
from tests.install.test_manifest_settings import find_files_to_make
from tests.kit.databases import Templates
from tests.kit.gateway import post
from tests.kit.levels import at_night
from tests.kit.pods import Pod, PodMaker
from tests.kit.ports import find_free_port
from tests.kit.s3_bucket import BucketServer, serve_bucket
from tests.kit.s3_server import BUCKET
from tests.kit.waiting import until
from tests.load.large_case import submission
from tests.load.place import SIGNING, Broker, Place, make_place, set_up
from tests.system.large.large_place import list_family

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

#: An address of this machine that is not the default of `http.host`.
_POD_ADDRESS = "127.0.0.2"
_LARGE = 3 * 1024**2
_ROLES = {"serve": "port = 8080", "console": "port = 8081", "api": "port = 8082"}


class Hub:
    """A hub of pods: its keys and partners are those of a place of the load tests."""

    def __init__(self, folder: Path, database_url: str, bucket: BucketServer | None) -> None:
        self.outside = make_place(folder / "outside").home
        self.database_url = database_url
        self.ports: dict[str, int] = {}
        pki = self.outside / "pki"
        secrets = {
            "hub.key": (pki / "hub.key.pem").read_bytes(),
            "hub.cert.pem": (pki / "hub.cert.pem").read_bytes(),
            "database.url": database_url.encode() + b"\n",
            "webhook.key": os.urandom(32),
        }
        keys = bucket.keys if bucket else ["", ""]
        secrets |= {"bucket.access": keys[0].encode() + b"\n", "bucket.secret": keys[1].encode() + b"\n"}
        trust = {"ca.pem": (pki / "ca.pem").read_bytes()}
        assert (set(secrets), set(trust)) == (find_files_to_make("secrets"), find_files_to_make("trust"))
        words = {
            "HUB_NAME": "hub.example",
            "CONSOLE_NAME": "console.example",
            "API_NAME": "api.example",
            "FRONT_ADDRESS": "192.0.2.10",
            "copies = 2 ": "copies = 1 ",
        }
        if bucket:
            words |= {
                "BUCKET_NAME": BUCKET,
                "https://BUCKET_SERVER": bucket.url,
                "BUCKET_REGION": "us-east-1",
            }
        partners = (self.outside / "gateway.toml").read_text()
        self._maker = PodMaker(
            folder / "pods",
            words,
            {"secrets": secrets, "trust": trust},
            more_settings=partners[partners.index("[agency.") :],
            has_shared_folder=bucket is None,
        )

    def make_pod(self, role: str, number: int = 0) -> Pod:
        """Return a pod; the pods share one machine here, so each has a port and a name of its own."""
        name, changes = f"gateway-{role}-{number}", {"[hub]\n": f'[hub]\nnode = "gateway-{role}-{number}"\n'}
        if role in _ROLES:
            self.ports[name] = find_free_port()
            changes[_ROLES[role]] = f"port = {self.ports[name]}"
        return self._maker.make_pod(f"gateway-{role}", number, changes)

    def begin(self) -> None:
        """Make the database as the manifests say, and register the parties."""
        made = self.make_pod("new").run()
        assert made.returncode == 0, made.stderr
        certificates = {
            name: x509.load_pem_x509_certificate(
                (self.outside / "pki" / f"{name}.cert.pem").read_bytes()
            ).public_bytes(Encoding.DER)
            for name in SIGNING
        }
        set_up(Place(self.outside, 0, self.database_url), certificates, 1)
        migration = self.make_pod("migrate")
        migrated = migration.run()
        assert migrated.returncode == 0, migrated.stderr
        loaded = migration.run("pki", "crl", str(self.outside / "pki" / "crl.pem"))
        assert loaded.returncode == 0, loaded.stderr

    def ask(self, pod: Pod, kind: str) -> int:
        """Return the status that a probe of a pod gets at its address; 0 without an answer."""
        path = pod.container[kind]["httpGet"]["path"]
        url = f"http://{_POD_ADDRESS}:{self.ports[pod.name]}{path}"
        try:
            with build_opener(ProxyHandler({})).open(url, timeout=10) as answer:
                return int(answer.status)
        except HTTPError as answer:
            return answer.code
        except (URLError, OSError):
            return 0

    def await_probes(self, *pods: Pod) -> None:
        """Wait until every probe of these pods is answered."""
        for pod in pods:
            for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
                until(
                    lambda pod=pod, kind=kind: self.ask(pod, kind) == 200,  # type: ignore[misc]
                    problem=lambda pod=pod: pod.root.with_suffix(".log").read_text(),  # type: ignore[misc]
                )


class LargeFiling:
    """A broker that files submissions with a large file, and keeps what it sent and which receipts it got."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._broker = Broker(hub.outside)
        self._lock = threading.Lock()
        self.large_digests: dict[str, str] = {}
        self.receipted: set[str] = set()

    def seal(self, reference: str) -> Parcel:
        """Return a signed submission whose first file is large and like no other."""
        file = b"%PDF-1.4 " + os.urandom(_LARGE)
        octets, files = submission(self._broker, 1, reference, file)
        self.large_digests[reference] = compute_body_digest(file)
        return self._broker.seal("Submit", Payload("submission@load", "application/xml", octets), *files)

    def send(self, reference: str, parcel: Parcel, pod: Pod) -> bool:
        """POST a submission to a pod; return whether its receipt came."""
        answer = post(f"http://{_POD_ADDRESS}:{self._hub.ports[pod.name]}/msh/ebms2", parcel)
        if answer is None:
            return False
        assert answer.status == 200, answer.body[:500]
        self._broker.check_receipt(parcel, dict(answer.headers), answer.body)
        with self._lock:
            self.receipted.add(reference)
        return True


def read_admitted_files(pod: Pod) -> Mapping[str, set[str]]:
    """Return the digests of all files of each submission that has a case, as they are read in this pod."""
    engine = build_engine(load_settings(pod.settings_file))
    try:
        with read_transaction(engine) as conn:
            return {
                row.functional_reference: {
                    compute_body_digest(part.octets) for part in messages.load_payloads(conn, row.message)
                }
                for row in cases.list_cases(conn, limit=100)
            }
    finally:
        engine.dispose()


def kill(pid: int) -> None:
    for process in list_family(pid):
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def file_through_a_lost_pod(hub: Hub) -> None:
    """File to one pod, deliver by another one, lose the first in the middle of it, and read everything."""
    hub.begin()
    lost, other, work = hub.make_pod("serve", 0), hub.make_pod("serve", 1), hub.make_pod("work")
    filing = LargeFiling(hub)
    with ExitStack() as running:
        serving = running.enter_context(lost.start())
        for pod in (other, work):
            running.enter_context(pod.start())
        hub.await_probes(lost, other)
        assert filing.send("FIRST", filing.seal("FIRST"), lost)
        until(lambda: "FIRST" in read_admitted_files(work), problem=work.root.with_suffix(".log").read_text)
        assert work.probe() == 0

        parcels = {f"LOST-{number}": filing.seal(f"LOST-{number}") for number in range(12)}
        with ThreadPoolExecutor(4) as senders:
            sent = [senders.submit(filing.send, *each, lost) for each in parcels.items()]
            until(lambda: len(filing.receipted) >= 4, every=0.01)
            kill(serving.pid)
            lost.remove()
        receipt_count = sum(each.result() for each in sent)
        receipted = frozenset(filing.receipted)
        print(f"{receipt_count} of {len(parcels)} had their receipt when the pod was lost")
        assert receipt_count < len(parcels)
        until(lambda: receipted <= set(read_admitted_files(work)))
        # A broker sends again what has no receipt: it arrives once.
        for reference in parcels.keys() - receipted:
            assert filing.send(reference, parcels[reference], other)
        until(lambda: set(filing.large_digests) <= set(read_admitted_files(work)))
        for pod in (work, other):
            files = read_admitted_files(pod)
            assert set(files) == set(filing.large_digests)
            assert all(digest in files[reference] for reference, digest in filing.large_digests.items())
        checked = work.run("check")
        assert checked.returncode == 0, checked.stdout + checked.stderr
        assert "no problem found" in checked.stdout + checked.stderr
        assert work.probe() == 0
    assert (work.root / "srv/gateway/acknowledged.json").is_file()


@pytest.fixture
def new_database_url(templates: Templates) -> Iterator[str]:
    """Give the URL of a PostgreSQL database without tables."""
    url = templates.empty("postgresql")
    yield url
    templates.drop(url)


@pytest.mark.parametrize("store", ["shared folder", *at_night("bucket")])
def test_no_acknowledged_submission_is_lost_with_a_pod(
    tmp_path: Path, new_database_url: str, store: str
) -> None:
    if store == "shared folder":
        file_through_a_lost_pod(Hub(tmp_path, new_database_url, None))
        return
    with serve_bucket(tmp_path / "bucket.log") as bucket:
        file_through_a_lost_pod(Hub(tmp_path, new_database_url, bucket))


@pytest.mark.night
def test_console_and_api_answer_their_probes(tmp_path: Path, new_database_url: str) -> None:
    hub = Hub(tmp_path, new_database_url, None)
    hub.begin()
    pods = [hub.make_pod(role) for role in ("console", "api")]
    with ExitStack() as running:
        for pod in pods:
            running.enter_context(pod.start())
        hub.await_probes(*pods)
