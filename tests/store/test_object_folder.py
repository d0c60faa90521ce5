"""Large octets are files under their digest: on disk before their row, found again, swept when unnamed."""

from __future__ import annotations

import os
import threading
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest
from sqlalchemy import Engine, select, update

from gateway.errors import GatewayError
from gateway.message_model import MemoryBody
from gateway.store import ObjectFolder, find_object_problems, payloads, sweep_objects, tables
from gateway.store.engine import read_transaction, use_object_store, write_transaction
from tests.kit.rows import NOW, later

LARGE = b"large octets" * 10
SMALL = b"small"
DIGEST = sha256(LARGE).hexdigest()
PART = int(DIGEST[:2], 16)


@pytest.fixture
def folder(engine: Engine, tmp_path: Path) -> ObjectFolder:
    """Give the engine an object store for everything above ten octets."""
    made = ObjectFolder(tmp_path / "payloads", inline=10)
    use_object_store(engine, made)
    return made


def list_files(folder: ObjectFolder) -> list[str]:
    return [digest for part in range(256) for digest, _ in folder.list_objects(part)]


def age(folder: ObjectFolder, digest: str) -> datetime:
    """Make an object two days old; return a time after that."""
    two_days_ago = (datetime.now(UTC) - timedelta(days=2)).timestamp()
    os.utime(folder.describe_object(digest), (two_days_ago, two_days_ago))
    return datetime.now(UTC) - timedelta(days=1)


def test_large_octets_are_a_file_and_small_ones_a_row(engine: Engine, folder: ObjectFolder) -> None:
    with write_transaction(engine) as conn:
        assert payloads.store_payloads(conn, (LARGE, SMALL), NOW)[0] == DIGEST
    assert Path(folder.describe_object(DIGEST)).read_bytes() == LARGE
    with read_transaction(engine) as conn:
        assert payloads.get_payload_octets(conn, DIGEST) == LARGE
        assert payloads.get_payload_octets(conn, payloads.compute_sha256(SMALL)) == SMALL
        inside = conn.execute(select(tables.payloads.c.content)).scalars().all()
        assert sorted(inside) == [b"", SMALL]
        assert not list(find_object_problems(conn))
    assert list_files(folder) == [DIGEST]


def test_a_missing_and_a_changed_object_are_told_with_their_place(
    engine: Engine, folder: ObjectFolder
) -> None:
    with write_transaction(engine) as conn:
        payloads.store_payload(conn, LARGE, NOW)
    path = Path(folder.describe_object(DIGEST))
    path.write_bytes(LARGE.upper())
    for name in ("GW326", "GW325"):
        with read_transaction(engine) as conn:
            for look in (payloads.get_payload_octets, payloads.verify_payload):
                with pytest.raises(GatewayError, match=name) as refused:
                    look(conn, DIGEST)
                assert refused.value.location == str(path)
            (told,) = find_object_problems(conn)
            assert (told.problem.id, told.location) == (name, str(path))
        path.unlink(missing_ok=True)


def test_a_process_without_object_store_says_so(engine: Engine, folder: ObjectFolder) -> None:
    with write_transaction(engine) as conn:
        payloads.store_payload(conn, LARGE, NOW)
        use_object_store(engine, None)
        with pytest.raises(GatewayError, match="GW325 this process has no object store"):
            payloads.get_payload_octets(conn, DIGEST)


def test_only_old_objects_without_row_are_swept(engine: Engine, folder: ObjectFolder) -> None:
    named = sha256(b"named octets").hexdigest()
    with write_transaction(engine) as conn:
        payloads.store_payload(conn, b"named octets", NOW)
    payloads.put_large_octets(engine, LARGE)
    now = datetime.now(UTC) - timedelta(days=1)
    assert sweep_objects(engine, PART, now) == 0
    before = age(folder, DIGEST)
    age(folder, named)
    assert sweep_objects(engine, (PART + 1) % 256, before) == 0
    assert sweep_objects(engine, PART, before) == 1
    assert sweep_objects(engine, int(named[:2], 16), before) == 0
    assert list_files(folder) == [named]


def test_an_object_that_is_put_again_is_young_again(engine: Engine, folder: ObjectFolder) -> None:
    payloads.put_large_octets(engine, LARGE)
    before = age(folder, DIGEST)
    payloads.put_large_octets(engine, LARGE)
    assert sweep_objects(engine, PART, before) == 0


def test_the_sweep_waits_for_a_transaction_that_names_an_object(engine: Engine, folder: ObjectFolder) -> None:
    """Whoever has it before the sweep keeps it; whoever comes after the sweep writes it anew."""
    payloads.put_large_octets(engine, LARGE)
    before, swept = age(folder, DIGEST), []
    sweeper = threading.Thread(target=lambda: swept.append(sweep_objects(engine, PART, before)))
    with write_transaction(engine) as conn:
        payloads.store_payload(conn, LARGE, NOW)
        age(folder, DIGEST)
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
    assert list_files(folder) == [DIGEST]


def test_a_rolled_back_transaction_leaves_an_object_that_is_swept(
    engine: Engine, folder: ObjectFolder
) -> None:
    def fail() -> None:
        with write_transaction(engine) as conn:
            payloads.store_payload(conn, LARGE, NOW)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list_files(folder) == [DIGEST]
    assert sweep_objects(engine, PART, age(folder, DIGEST)) == 1


def test_what_a_killed_process_was_writing_is_removed(folder: ObjectFolder) -> None:
    mine = folder.open_arriving_file()
    mine.write(b"half")
    child = os.fork()
    if not child:
        folder.open_arriving_file().write(b"of a killed one")
        os._exit(9)
    os.waitpid(child, 0)
    assert len(list(mine.path.parent.iterdir())) == 2
    assert folder.remove_abandoned_files() == 1
    assert [one.name for one in mine.path.parent.iterdir()] == [mine.path.name]
    mine.close()
    assert not list(mine.path.parent.iterdir())


def test_octets_with_another_digest_are_not_stored(folder: ObjectFolder) -> None:
    with pytest.raises(GatewayError, match="GW326"):
        folder.put_object(DIGEST, MemoryBody(b"others"))
    assert not folder.has_object(DIGEST, len(LARGE))
    assert not list((Path(folder.describe_object(DIGEST)).parent.parent / "new").iterdir())


def test_a_folder_that_cannot_be_written_is_no_room(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(GatewayError, match="GW806") as refused:
        ObjectFolder(tmp_path / "file").put_object(DIGEST, MemoryBody(LARGE))
    assert refused.value.location == str(tmp_path / "file")
