"""A store of large payloads is that of one database: it has the mark that the database has noted.

The same holds for each store: a folder, and a part of a bucket.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from gateway import failpoints
from gateway.errors import GatewayError
from gateway.message_model import MemoryBody
from gateway.store import (
    MarkedObjectStore,
    ObjectBucket,
    ObjectFolder,
    StoreWatch,
    compare_newest_objects,
    drop_mark,
    find_object_problems,
    get_database_state,
    make_engine,
    mark_new_store,
    mark_objects_of,
    object_bucket,
    payloads,
    place_mark,
    read_transaction,
    shared_files,
    store_marking,
    sweep_objects,
    write_transaction,
)
from tests.kit.rows import NOW, later
from tests.kit.s3_bucket import BucketServer, serve_bucket

LARGE = b"large octets" * 10
DIGEST = sha256(LARGE).hexdigest()
PART = int(DIGEST[:2], 16)

MakeStore = Callable[[str], ObjectFolder | ObjectBucket]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BucketServer]:
    with serve_bucket(tmp_path_factory.mktemp("s3") / "log") as found:
        yield found


@pytest.fixture(params=["folder", pytest.param("bucket", marks=pytest.mark.long)])
def make_store(
    tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[MakeStore]:
    """Return a function that makes the store of a name: a folder, or a part of a bucket."""
    monkeypatch.setattr(object_bucket, "_MARK_KEPT_SECONDS", 0.0)
    made: list[ObjectBucket] = []

    def make(name: str) -> ObjectFolder | ObjectBucket:
        if request.param == "folder":
            return ObjectFolder(tmp_path / name, inline=10)
        access = request.getfixturevalue("server").get_access(prefix=f"{tmp_path.name}/{name}/")
        made.append(ObjectBucket(access, ObjectFolder(tmp_path / "arriving"), inline=10))
        return made[-1]

    yield make
    for bucket in made:
        bucket.close()


def use(engine: Engine, store: ObjectFolder | ObjectBucket) -> MarkedObjectStore:
    """Let a node use this store; return it as the node sees it."""
    found = mark_objects_of(engine, store)
    get_database_state(engine).objects = found
    return found


def open_another_node(engine: Engine) -> Engine:
    return make_engine(engine.url.render_as_string(hide_password=False))


def refuse(problem: str, act: Callable[[], object]) -> str:
    """Return the place of the problem with this id, with which an act is refused."""
    with pytest.raises(GatewayError, match=problem) as refused:
        act()
    return refused.value.location


def store_large(engine: Engine) -> None:
    with write_transaction(engine) as conn:
        payloads.store_payload(conn, LARGE, NOW)


def read_large(engine: Engine) -> bytes:
    with read_transaction(engine) as conn:
        return payloads.get_payload_octets(conn, DIGEST)


def test_a_node_with_a_store_of_its_own_stores_reads_and_removes_nothing(
    engine: Engine, make_store: MakeStore
) -> None:
    common = use(engine, make_store("common"))
    mark_new_store(engine, NOW)
    store_large(engine)
    other = open_another_node(engine)
    own = use(other, make_store("own"))
    for act in (
        lambda: payloads.put_large_octets(other, LARGE),
        lambda: payloads.keep_body(other, MemoryBody(LARGE)),
        lambda: store_large(other),
        lambda: read_large(other),
        lambda: own.remove_object(DIGEST),
        own.check_store,
    ):
        assert refuse("GW811 the store of large payloads has no mark", act) == own.describe_mark()
    with read_transaction(other) as conn:
        assert [found.problem.id for found in find_object_problems(conn)] == ["GW811"]
    assert read_large(engine) == LARGE
    # With the store of the other nodes it does all of that.
    use(other, make_store("common"))
    store_large(other)
    assert read_large(other) == LARGE
    with read_transaction(other) as conn:
        assert not list(find_object_problems(conn))
    assert not own.has_object(DIGEST, len(LARGE))
    assert common.has_object(DIGEST, len(LARGE))
    other.dispose()


def test_small_payloads_need_no_store(engine: Engine, make_store: MakeStore) -> None:
    use(engine, make_store("unmarked"))
    with write_transaction(engine) as conn:
        digest = payloads.store_payload(conn, b"small", NOW)
    with read_transaction(engine) as conn:
        assert payloads.get_payload_octets(conn, digest) == b"small"


def test_no_hub_sweeps_the_store_of_another_one(engine: Engine, tmp_path: Path) -> None:
    folder = ObjectFolder(tmp_path / "common", inline=10)
    use(engine, folder)
    mark_new_store(engine, NOW)
    store_large(engine)
    path = Path(folder.describe_object(DIGEST))
    os.utime(path, (0, 0))
    with write_transaction(engine) as conn:
        # As the database of another hub, which names nothing here.
        shared_files.replace_shared_file(conn, shared_files.PAYLOADS, "ef" * 16, NOW)
        conn.exec_driver_sql("DELETE FROM payloads")
    refuse("GW811 the store of large payloads has another mark", lambda: sweep_objects(engine, PART, NOW))
    assert path.read_bytes() == LARGE


def test_a_database_whose_mark_was_not_noted_has_no_store(engine: Engine, make_store: MakeStore) -> None:
    use(engine, make_store("common"))
    refuse("GW811 the database has not noted the mark", lambda: store_large(engine))


def test_a_store_is_marked_once(engine: Engine, make_store: MakeStore) -> None:
    common = use(engine, make_store("common"))
    mark_new_store(engine, NOW)
    mark = common.read_mark()
    store_large(engine)
    mark_new_store(engine, later(86_400))
    assert (common.read_mark(), len(mark or "")) == (mark, 32)
    # The next migration, from a machine with another folder, does not make it a second store.
    own = use(engine, make_store("own"))
    mark_new_store(engine, later(86_400))
    assert own.read_mark() is None
    with read_transaction(engine) as conn:
        row = shared_files.find_shared_file(conn, shared_files.PAYLOADS)
    assert row is not None
    assert (row.mark, row.placed_at) == (mark, NOW)


def test_of_nodes_that_mark_their_own_stores_at_once_one_has_that_of_the_database(
    engine: Engine, make_store: MakeStore
) -> None:
    stores, nodes = [], []
    for name in ("first", "second"):
        nodes.append(open_another_node(engine))
        stores.append(use(nodes[-1], make_store(name)))
    # Both have found that the database has no store.
    assert [place_mark(*both, NOW) is None for both in zip(nodes, stores, strict=True)] == [False, True]
    assert [store.read_mark() is None for store in stores] == [False, True]
    for node in nodes:
        node.dispose()


def test_a_node_does_not_place_a_mark_that_another_node_has_replaced(
    engine: Engine, make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = use(engine, make_store("first")), make_store("second")
    other = open_another_node(engine)
    marked_second = use(other, second)
    note = store_marking._note_mark

    def note_before_the_other_node(*arguments: Any) -> str | None:
        mark = note(*arguments)
        note(other, marked_second)
        return mark

    monkeypatch.setattr(store_marking, "_note_mark", note_before_the_other_node)
    assert place_mark(engine, first, NOW) is None
    monkeypatch.setattr(store_marking, "_note_mark", note)
    assert place_mark(other, marked_second, NOW) == second.describe_mark()
    marked_second.require_mark()
    assert first.read_mark() is None
    other.dispose()


@pytest.mark.parametrize("place", ["payloads.mark_noted.after_commit", "payloads.mark_placed.before_commit"])
@pytest.mark.parametrize("repeats", [("common",), ("own",)])
def test_a_marking_that_was_killed_is_repeated(
    engine: Engine, make_store: MakeStore, place: str, repeats: tuple[str, ...]
) -> None:
    url = engine.url.render_as_string(hide_password=False)
    engine.dispose()
    child = os.fork()
    if child == 0:
        try:
            failpoints._FAILPOINT_NAME = place  # type: ignore[misc]
            killed = make_engine(url)
            use(killed, make_store("common"))
            mark_new_store(killed, NOW)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert (os.WIFSIGNALED(status), os.WTERMSIG(status)) == (True, signal.SIGKILL)
    # Whether it is repeated for the same store or for another one, one store is that of the database.
    stores = {name: use(engine, make_store(name)) for name in repeats}
    mark_new_store(engine, NOW)
    store_large(engine)
    assert read_large(engine) == LARGE
    use(engine, make_store("common"))
    mark_new_store(engine, NOW)
    marks = {make_store(name).read_mark() for name in {"common", *stores}}
    assert len(marks) == len({"common", *stores})


def test_the_store_of_an_earlier_version_is_marked_where_it_has_what_the_database_names(
    engine: Engine, make_store: MakeStore
) -> None:
    get_database_state(engine).objects = make_store("common")
    store_large(engine)
    own = use(engine, make_store("own"))
    place = refuse("GW811 the store lacks 1 of the 1 newest", lambda: mark_new_store(engine, NOW))
    assert place == own.describe_mark()
    found = compare_newest_objects(engine, own)
    assert (found.compared, found.missing) == (1, 1)
    use(engine, make_store("common"))
    mark_new_store(engine, NOW)
    assert read_large(engine) == LARGE


def test_a_store_with_the_mark_of_another_database_is_not_marked(
    engine: Engine, make_store: MakeStore
) -> None:
    common = use(engine, make_store("common"))
    common.write_mark("cd" * 16)
    refuse("GW811 the store has a mark that the database does not know", lambda: mark_new_store(engine, NOW))
    assert common.read_mark() == "cd" * 16


def test_a_mark_that_is_no_mark_is_that_of_another_database(engine: Engine, tmp_path: Path) -> None:
    use(engine, ObjectFolder(tmp_path / "common", inline=10))
    mark_new_store(engine, NOW)
    for octets in (b"", b"\xff" * 10_000, b"ab\n" * 40):
        (tmp_path / "common" / "database-mark").write_bytes(octets)
        refuse("GW811 the store of large payloads has another mark", lambda: store_large(engine))


def test_a_watch_says_when_a_folder_is_not_mounted_any_more_and_when_it_is_again(
    engine: Engine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    use(engine, ObjectFolder(tmp_path / "common", inline=10))
    mark_new_store(engine, NOW)
    watch = StoreWatch(engine)
    watch.ask()
    assert (watch.problem, watch.has_answer) == (None, True)
    (tmp_path / "common").rename(tmp_path / "elsewhere")
    (tmp_path / "common").mkdir()
    for _ in range(2):
        watch.ask()
        assert watch.problem is not None
        assert watch.problem.problem.id == "GW811"
    refuse("GW811", lambda: store_large(engine))
    # Nothing lies in what is under the place of the mount.
    assert not list((tmp_path / "common").iterdir())
    (tmp_path / "common").rmdir()
    (tmp_path / "elsewhere").rename(tmp_path / "common")
    watch.ask()
    assert watch.problem is None
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]


def test_a_folder_that_cannot_be_read_now_is_not_another_one(engine: Engine, tmp_path: Path) -> None:
    use(engine, ObjectFolder(tmp_path / "common", inline=10))
    mark_new_store(engine, NOW)
    mark = tmp_path / "common" / "database-mark"
    mark.unlink()
    mark.mkdir()  # reading a folder fails, as reading from a server does that is away
    watch = StoreWatch(engine)
    watch.ask()
    assert (watch.problem, watch.has_answer) == (None, False)
    refuse("GW806 the mark of the folder cannot be read now", lambda: store_large(engine))
    # What was known before holds.
    mark.rmdir()
    watch.ask()
    assert watch.problem is not None
    mark.mkdir()
    watch.ask()
    assert (watch.problem is not None, watch.has_answer) == (True, True)


def test_an_object_that_was_put_before_the_store_was_exchanged_is_not_named(
    engine: Engine, make_store: MakeStore
) -> None:
    use(engine, make_store("former"))
    mark_new_store(engine, NOW)
    payloads.put_large_octets(engine, LARGE)
    # Beside this process, which remembers what it has put, another one goes over to a new store.
    other = open_another_node(engine)
    present = use(other, make_store("present"))
    with write_transaction(other) as conn:
        drop_mark(conn, present)
    refuse("GW811 the store of large payloads has another mark", lambda: store_large(engine))
    assert place_mark(other, present, NOW) == present.describe_mark()
    refuse("GW811 the store of large payloads has another mark", lambda: store_large(engine))
    use(engine, make_store("present"))
    store_large(engine)
    assert read_large(other) == LARGE
    other.dispose()
