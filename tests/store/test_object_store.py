"""Large octets are objects under their digest: stored before their row, found again, swept when unnamed.

The same holds for each store: a folder, and a bucket of a server that speaks S3.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest
from sqlalchemy import Engine, select, update

from gateway.errors import GatewayError
from gateway.message_model import MemoryBody
from gateway.store import (
    find_object_problems,
    get_database_state,
    object_store,
    payloads,
    read_transaction,
    sweep_objects,
    write_transaction,
)
from tests.kit import tables
from tests.kit.kept_objects import KeptInBucket, KeptInFolder, KeptStore
from tests.kit.rows import NOW, later
from tests.kit.s3_bucket import BucketServer, serve_bucket

LARGE = b"large octets" * 10
SMALL = b"small"
DIGEST = sha256(LARGE).hexdigest()
PART = int(DIGEST[:2], 16)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BucketServer]:
    with serve_bucket(tmp_path_factory.mktemp("s3") / "log") as found:
        yield found


@pytest.fixture(params=["folder", pytest.param("bucket", marks=pytest.mark.long)])
def kept(engine: Engine, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[KeptStore]:
    """Give the engine an object store for everything above ten octets."""
    if request.param == "folder":
        made: KeptStore = KeptInFolder(tmp_path / "payloads")
    else:
        made = KeptInBucket(request.getfixturevalue("server"), tmp_path)
    get_database_state(engine).objects = made.store
    yield made
    made.close()


@pytest.mark.long
def test_large_octets_are_an_object_and_small_ones_a_row(engine: Engine, kept: KeptStore) -> None:
    with write_transaction(engine) as conn:
        assert payloads.store_payloads(conn, (LARGE, SMALL), NOW)[0] == DIGEST
    assert kept.read(DIGEST) == LARGE
    with read_transaction(engine) as conn:
        assert payloads.get_payload_octets(conn, DIGEST) == LARGE
        assert payloads.get_payload_octets(conn, payloads.compute_sha256(SMALL)) == SMALL
        inside = conn.execute(select(tables.payloads.c.content)).scalars().all()
        assert sorted(inside) == [b"", SMALL]
        assert not list(find_object_problems(conn))
    assert kept.list(DIGEST) == [DIGEST]


@pytest.mark.long
def test_a_missing_and_a_changed_object_are_told_with_their_place(engine: Engine, kept: KeptStore) -> None:
    with write_transaction(engine) as conn:
        payloads.store_payload(conn, LARGE, NOW)
    place = kept.store.describe_object(DIGEST)
    kept.replace(DIGEST, LARGE.upper())
    for name in ("GW326", "GW325"):
        with read_transaction(engine) as conn:
            for look in (payloads.get_payload_octets, payloads.verify_payload):
                with pytest.raises(GatewayError, match=name) as refused:
                    look(conn, DIGEST)
                assert refused.value.location == place
            (told,) = find_object_problems(conn)
            assert (told.problem.id, told.location) == (name, place)
        kept.store.remove_object(DIGEST)


def test_a_process_without_object_store_says_so(engine: Engine, kept: KeptStore) -> None:
    with write_transaction(engine) as conn:
        payloads.store_payload(conn, LARGE, NOW)
        get_database_state(engine).objects = None
        with pytest.raises(GatewayError, match="GW325 this process has no object store"):
            payloads.get_payload_octets(conn, DIGEST)


@pytest.mark.long
def test_only_old_objects_without_row_are_swept(engine: Engine, kept: KeptStore) -> None:
    named = sha256(b"named octets").hexdigest()
    with write_transaction(engine) as conn:
        payloads.store_payload(conn, b"named octets", NOW)
    payloads.put_large_octets(engine, LARGE)
    now = datetime.now(UTC) - timedelta(days=1)
    assert sweep_objects(engine, PART, now) == 0
    before = kept.age(DIGEST)
    kept.age(named)
    assert sweep_objects(engine, (PART + 1) % 256, before) == 0
    assert sweep_objects(engine, PART, before) == 1
    assert sweep_objects(engine, int(named[:2], 16), before) == 0
    assert kept.list(DIGEST, named) == [named]


def test_an_object_that_is_put_again_is_young_again(engine: Engine, kept: KeptStore) -> None:
    payloads.put_large_octets(engine, LARGE)
    before = kept.age(DIGEST)
    payloads.put_large_octets(engine, LARGE)
    assert sweep_objects(engine, PART, before) == 0


@pytest.mark.long
def test_the_sweep_waits_for_a_transaction_that_names_an_object(engine: Engine, kept: KeptStore) -> None:
    """Whoever has it before the sweep keeps it; whoever comes after the sweep writes it anew."""
    payloads.put_large_octets(engine, LARGE)
    before, swept = kept.age(DIGEST), []
    sweeper = threading.Thread(target=lambda: swept.append(sweep_objects(engine, PART, before)))
    with write_transaction(engine) as conn:
        payloads.store_payload(conn, LARGE, NOW)
        kept.age(DIGEST)
        sweeper.start()
        sweeper.join(0.2)
        assert sweeper.is_alive()
    sweeper.join()
    assert swept == [0]
    with write_transaction(engine) as conn:
        conn.execute(update(tables.payloads).values(purged_at=NOW, stored_in=None))
    assert sweep_objects(engine, PART, before) == 1
    with write_transaction(engine) as conn:
        payloads.store_payload(conn, LARGE, later(1))
        assert payloads.get_payload_octets(conn, DIGEST) == LARGE
    assert kept.list(DIGEST) == [DIGEST]


def test_what_was_put_before_is_named_without_the_store(
    engine: Engine, kept: KeptStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    payloads.put_large_octets(engine, LARGE)
    asked: list[str] = []
    monkeypatch.setattr(kept.store, "put_object", lambda digest, _: asked.append(digest))
    with write_transaction(engine) as conn:
        payloads.store_payload(conn, LARGE, NOW)
    assert not asked
    with read_transaction(engine) as conn:
        assert payloads.get_payload_octets(conn, DIGEST) == LARGE


def test_what_was_put_long_ago_is_put_again(
    engine: Engine, kept: KeptStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    payloads.put_large_octets(engine, LARGE)
    asked: list[str] = []
    monkeypatch.setattr(kept.store, "put_object", lambda digest, _: asked.append(digest))
    monkeypatch.setattr(object_store, "_NAMED_WITHIN", -1.0)
    with write_transaction(engine) as conn:
        payloads.store_payload(conn, LARGE, NOW)
    assert asked == [DIGEST]


def test_what_was_removed_between_put_and_transaction_is_put_again(engine: Engine, kept: KeptStore) -> None:
    payloads.put_large_octets(engine, LARGE)
    assert sweep_objects(engine, PART, kept.age(DIGEST)) == 1
    with write_transaction(engine) as conn:
        payloads.store_payload(conn, LARGE, NOW)
    assert kept.read(DIGEST) == LARGE


def test_a_sweep_that_was_killed_lets_nobody_trust_what_was_put(
    engine: Engine, kept: KeptStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It dies after the removal and before its commit; another process has put the object meanwhile."""
    payloads.put_large_octets(engine, LARGE)
    before, remove = kept.age(DIGEST), kept.store.remove_object

    def die(digest: str) -> None:
        remove(digest)
        raise RuntimeError

    monkeypatch.setattr(kept.store, "remove_object", die)
    with pytest.raises(RuntimeError):
        sweep_objects(engine, PART, before)
    monkeypatch.undo()
    with write_transaction(engine) as conn:
        payloads.store_payload(conn, LARGE, NOW)
    assert kept.read(DIGEST) == LARGE
    # The same while the mark is odd; a later removal ends that.
    other = b"other large octets"
    payloads.put_large_octets(engine, other)
    kept.store.remove_object(payloads.compute_sha256(other))
    with write_transaction(engine) as conn:
        payloads.store_payload(conn, other, NOW)
    assert kept.read(payloads.compute_sha256(other)) == other


def test_a_rolled_back_transaction_leaves_an_object_that_is_swept(engine: Engine, kept: KeptStore) -> None:
    def fail() -> None:
        with write_transaction(engine) as conn:
            payloads.store_payload(conn, LARGE, NOW)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert kept.list(DIGEST) == [DIGEST]
    assert sweep_objects(engine, PART, kept.age(DIGEST)) == 1


def test_octets_with_another_digest_are_not_stored(kept: KeptStore) -> None:
    with pytest.raises(GatewayError, match="GW326"):
        kept.store.put_object(DIGEST, MemoryBody(b"others"))
    assert not kept.store.has_object(DIGEST, len(LARGE))
    assert not kept.list(DIGEST)
    assert not kept.list_unfinished()
