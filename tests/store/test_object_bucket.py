"""A bucket of large octets: what a server, or the way to it, can do to them."""

from __future__ import annotations

import io
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from gateway.errors import GatewayError
from gateway.message_model import MemoryBody
from gateway.store import ObjectBucket, ObjectFolder
from gateway.store.object_store import StoredBody
from gateway_conformance.pki import CertificateOrder, issue_certificate, make_authority
from tests.kit.kept_objects import KeptInBucket
from tests.kit.ports import find_free_port
from tests.kit.s3_bucket import BucketServer, serve_bucket
from tests.system.tls.place import pem_file

pytestmark = pytest.mark.long

LARGE = b"large octets" * 50_000
DIGEST = sha256(LARGE).hexdigest()
BODY = MemoryBody(LARGE)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BucketServer]:
    with serve_bucket(tmp_path_factory.mktemp("s3") / "log") as found:
        yield found


@pytest.fixture
def kept(server: BucketServer, tmp_path: Path) -> Iterator[KeptInBucket]:
    made = KeptInBucket(server, tmp_path)
    server.ask("calm")
    yield made
    server.ask("calm")
    made.close()


def read_all(store: ObjectBucket) -> bytes:
    with StoredBody(store, DIGEST, len(LARGE)).open_stream() as stream:
        return stream.read()


def test_a_file_that_has_arrived_is_sent_and_removed(kept: KeptInBucket, tmp_path: Path) -> None:
    file = ObjectFolder(tmp_path / "arriving").open_arriving_file()
    file.write(LARGE)
    kept.store.put_object(DIGEST, file)
    assert not file.is_kept
    file.close()
    assert not kept.list_unfinished()
    assert not list((tmp_path / "arriving" / "new").iterdir())
    assert read_all(kept.store) == LARGE


def test_a_second_put_sends_nothing(kept: KeptInBucket) -> None:
    kept.store.put_object(DIGEST, BODY)
    kept.server.ask("calm")
    kept.store.put_object(DIGEST, BODY)
    assert kept.server.ask("calm") == ["HEAD"]


def test_a_shorter_object_is_replaced(kept: KeptInBucket) -> None:
    kept.replace(DIGEST, LARGE[:10])
    assert not kept.store.has_object(DIGEST, len(LARGE))
    kept.store.put_object(DIGEST, BODY)
    assert kept.read(DIGEST) == LARGE


def test_octets_that_were_not_confirmed_are_sent_again(kept: KeptInBucket) -> None:
    """The server has an object of this size, and it is another one."""
    kept.replace(DIGEST, LARGE.upper())
    kept.store.put_object(DIGEST, BODY)
    assert kept.read(DIGEST) == LARGE


def test_an_old_object_is_made_young_and_not_sent(kept: KeptInBucket) -> None:
    kept.store.put_object(DIGEST, BODY)
    kept.age(DIGEST)
    kept.server.ask("calm")
    for _ in range(2):
        kept.store.put_object(DIGEST, BODY)
    # Looked at, copied onto itself by the server, looked at.
    assert kept.server.ask("calm") == ["HEAD", "PUT", "HEAD"]
    assert kept.read(DIGEST) == LARGE


def test_an_object_that_somebody_else_puts_at_the_same_time_is_there(
    kept: KeptInBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = kept.store._find

    def lose_the_race(digest: str) -> Any:
        found = look(digest)
        kept.store._send_object(DIGEST, BODY, is_new=True)
        monkeypatch.setattr(kept.store, "_find", look)
        return found

    monkeypatch.setattr(kept.store, "_find", lose_the_race)
    kept.store.put_object(DIGEST, BODY)
    # The look, the put of the other one, ours, which the server refuses, and the look at what is there.
    assert kept.server.ask("calm") == ["HEAD", "PUT", "PUT", "HEAD"]
    assert kept.read(DIGEST) == LARGE


def test_a_server_without_conditional_put_is_sent_the_object(kept: KeptInBucket) -> None:
    # A 501 is final for the client: it is asked once, and once more without the condition.
    kept.server.fail("unknown_condition", "PUT", 9)
    kept.store.put_object(DIGEST, BODY)
    assert kept.read(DIGEST) == LARGE


@pytest.mark.parametrize("kind", ["busy", "cut"])
@pytest.mark.parametrize("method", ["HEAD", "PUT"])
def test_what_fails_once_is_asked_again(kept: KeptInBucket, kind: str, method: str) -> None:
    kept.server.fail(kind, method)
    kept.store.put_object(DIGEST, BODY)
    assert kept.read(DIGEST) == LARGE


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("busy", "the object store refuses the request: 503 SlowDown"),
        ("cut", r"the object store does not answer \(\w+\)"),
        ("other_checksum", "the server confirms another SHA-256 for what it was sent"),
    ],
)
def test_what_is_not_confirmed_is_not_stored(kept: KeptInBucket, kind: str, words: str) -> None:
    kept.server.fail(kind, "PUT", 9)
    with pytest.raises(GatewayError, match=f"GW806 {words}") as refused:
        kept.store.put_object(DIGEST, BODY)
    assert refused.value.location == f"s3://payloads/{kept.prefix}{DIGEST[:2]}/{DIGEST}"


def test_a_server_that_confirms_no_checksum_is_refused(kept: KeptInBucket) -> None:
    kept.server.fail("no_checksum", "PUT")
    kept.store.put_object(DIGEST, BODY)  # told by HEAD
    kept.store.remove_object(DIGEST)
    kept.server.fail("no_checksum", "PUT", 9)
    kept.server.fail("no_checksum", "HEAD", 9)
    with pytest.raises(GatewayError, match="GW806 the server confirms no SHA-256"):
        kept.store.put_object(DIGEST, BODY)


def test_a_stream_that_is_cut_goes_on_where_it_was(kept: KeptInBucket) -> None:
    kept.store.put_object(DIGEST, BODY)
    kept.server.fail("cut", "GET", 3)
    assert read_all(kept.store) == LARGE
    kept.server.fail("cut", "GET", 99)
    with pytest.raises(GatewayError, match="GW806 the server cuts the connection"):
        read_all(kept.store)


@pytest.mark.parametrize("kind", ["no_times", "no_range"])
def test_what_is_no_answer_of_s3_may_pass(kept: KeptInBucket, kind: str) -> None:
    """A proxy before the server may answer anything."""
    kept.store.put_object(DIGEST, BODY)
    kept.server.fail(kind, "HEAD" if kind == "no_times" else "GET", 9)

    def read_later_part() -> None:
        with kept.store.open_object(DIGEST) as stream:
            stream.seek(5)
            stream.read(5)

    with pytest.raises(GatewayError, match="GW806 the server does not answer as a server of S3 does"):
        read_later_part()


def test_nothing_of_the_environment_decides(
    kept: KeptInBucket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "config").write_text("no configuration [")
    for name, value in {
        "AWS_PROFILE": "nobody",
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "config"),
        "AWS_ACCESS_KEY_ID": "other",
        "AWS_SESSION_TOKEN": "other",
        "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1",
        "AWS_RETRY_MODE": "other",
        "HTTP_PROXY": "http://127.0.0.1:1",
    }.items():
        monkeypatch.setenv(name, value)
    kept.store.put_object(DIGEST, BODY)
    assert read_all(kept.store) == LARGE


def test_a_server_is_called_over_tls_and_must_be_believed(tmp_path: Path) -> None:
    authority, now = make_authority("CN=Root", datetime.now(UTC)), datetime.now(UTC)
    order = CertificateOrder("tls-server", alternative_names=("dns:localhost",))
    pem = pem_file(tmp_path / "server.pem", issue_certificate(authority, "CN=localhost", now, order))
    (tmp_path / "ca.pem").write_bytes(authority.certificate.pem)
    with serve_bucket(tmp_path / "log", pem) as server:
        believing = ObjectBucket(server.get_access(ca=str(tmp_path / "ca.pem")), ObjectFolder(tmp_path))
        believing.put_object(DIGEST, BODY)
        assert read_all(believing) == LARGE
        with pytest.raises(GatewayError, match="GW326"):
            believing.put_object(sha256(b"").hexdigest(), BODY)
        assert not believing.has_object(sha256(b"").hexdigest(), len(LARGE))
        believing.close()
        for ca in (None, str(tmp_path / "none.pem"), str(tmp_path / "log")):
            store = ObjectBucket(server.get_access(ca=ca), ObjectFolder(tmp_path))
            with pytest.raises(GatewayError, match="GW806 the object store does not answer"):
                store.check_store()
            store.close()


def test_a_stream_begins_anywhere(kept: KeptInBucket) -> None:
    kept.store.put_object(DIGEST, BODY)
    with kept.store.open_object(DIGEST) as stream:
        for offset in (500_000, 7, len(LARGE) - 3, 0):
            stream.seek(offset)
            assert stream.read(5) == LARGE[offset : offset + 5]
        stream.seek(len(LARGE) + 9)
        assert stream.read(5) == b""


def test_an_object_that_is_removed_while_it_is_read_is_missing(kept: KeptInBucket) -> None:
    kept.store.put_object(DIGEST, BODY)
    with kept.store.open_object(DIGEST) as stream:
        kept.store.remove_object(DIGEST)
        kept.store.remove_object(DIGEST)
        with pytest.raises(GatewayError, match="GW325") as missing:
            stream.read(5)
        assert missing.value.location == kept.store.describe_object(DIGEST)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"bucket": "elsewhere"}, "the object store takes nothing now: there is no bucket elsewhere"),
        ({"access_key": "AKIAUNKNOWN"}, "the object store takes nothing now"),
        ({"secret_key": "wrong"}, "the object store takes nothing now"),
        (
            {"endpoint": "http://127.0.0.1:{port}"},
            r"the object store does not answer \(EndpointConnectionError\)",
        ),
    ],
)
def test_a_store_that_cannot_be_used_may_pass(
    server: BucketServer, tmp_path: Path, other: dict[str, str], words: str
) -> None:
    terms = {name: value.format(port=find_free_port()) for name, value in other.items()}
    store = ObjectBucket(replace(server.get_access(), **terms), ObjectFolder(tmp_path))
    acts = (
        lambda: store.put_object(DIGEST, BODY),
        lambda: store.open_object(DIGEST),
        lambda: list(store.list_objects(1)),
        store.check_store,
    )
    for act in acts:
        with pytest.raises(GatewayError, match=f"GW806 {words}") as refused:
            act()
        assert refused.value.location.startswith(f"s3://{other.get('bucket', 'payloads')}/")
    store.close()


class KillingBody:
    """Kills the server when half of it is sent; before, it is read once for the signature of the request."""

    def __init__(self, server: BucketServer) -> None:
        self.octet_count, self.sha256_hex = len(LARGE), DIGEST
        self.server = server
        self.openings = 0

    def open_stream(self) -> BinaryIO:
        self.openings += 1
        body = self

        class Stream(io.BytesIO):
            def read(self, size: int | None = -1) -> bytes:
                if body.openings > 1 and self.tell() > len(LARGE) // 2:
                    body.server.kill()
                return super().read(size)

        return Stream(LARGE)


def test_a_server_that_is_killed_during_a_put_confirms_nothing(tmp_path: Path) -> None:
    with serve_bucket(tmp_path / "log") as server:
        store, body = ObjectBucket(server.get_access(), ObjectFolder(tmp_path)), KillingBody(server)
        with pytest.raises(GatewayError, match=r"GW806 the object store does not answer"):
            store.put_object(DIGEST, body)
        assert server.process.returncode is not None
        store.close()


def test_large_octets_are_sent_and_read_in_pieces(kept: KeptInBucket, tmp_path: Path) -> None:
    file = ObjectFolder(tmp_path / "arriving").open_arriving_file()
    for _ in range(24):
        file.write(bytes(1024**2))
    digest = file.sha256_hex
    kept.store.check_store()
    tracemalloc.start()
    kept.store.put_object(digest, file)
    with kept.store.open_object(digest) as stream:
        found, size = sha256(), 0
        while piece := stream.read(1024**2):
            found.update(piece)
            size += len(piece)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    file.close()
    assert (found.hexdigest(), size) == (digest, 24 * 1024**2)
    assert peak < 8 * 1024**2
