"""What a node says of its store of large payloads while another node marks a store at that moment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Engine, update

from gateway.errors import GatewayError
from gateway.store import (
    MarkedObjectStore,
    ObjectBucket,
    ObjectFolder,
    StoreWatch,
    compare_newest_objects,
    drop_mark,
    get_database_state,
    has_noted_mark,
    make_engine,
    mark_new_store,
    mark_objects_of,
    payloads,
    place_mark,
    read_transaction,
    shared_files,
    write_transaction,
)
from tests.kit import tables
from tests.kit.rows import NOW
from tests.kit.s3_bucket import serve_bucket


class OvertakenFolder(ObjectFolder):
    """A folder of objects; before its mark is read the first time, another node does something."""

    def __init__(self, folder: Path, act_of_other_node: Callable[[], object]) -> None:
        super().__init__(folder, inline=10)
        self.acts = [act_of_other_node]

    def read_mark(self) -> str | None:
        if self.acts:
            self.acts.pop()()
        return super().read_mark()


def use(engine: Engine, store: ObjectFolder) -> MarkedObjectStore:
    """Let a node use this store; return it as the node sees it."""
    found = mark_objects_of(engine, store)
    get_database_state(engine).objects = found
    return found


def open_another_node(engine: Engine, folder: Path) -> Engine:
    other = make_engine(engine.url.render_as_string(hide_password=False))
    use(other, ObjectFolder(folder, inline=10))
    return other


def restore_store(engine: Engine, folder: Path) -> None:
    """Make a folder that has no mark that of the database."""
    store = use(engine, ObjectFolder(folder, inline=10))
    with write_transaction(engine) as conn:
        drop_mark(conn, store)
    assert place_mark(engine, store, NOW) == store.describe_mark()


def test_a_store_that_another_node_marks_meanwhile_is_no_store_of_another_hub(
    engine: Engine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    common = tmp_path / "common"
    other = open_another_node(engine, common)
    use(engine, OvertakenFolder(common, lambda: mark_new_store(other, NOW)))
    watch = StoreWatch(engine)
    watch.ask()
    assert (watch.problem, watch.has_answer) == (None, True)
    # The operator has moved to another folder, and this node has its settings already.
    moved = tmp_path / "moved"
    use(engine, OvertakenFolder(moved, lambda: restore_store(other, moved))).require_mark()
    assert not caplog.records
    other.dispose()


def test_a_mark_that_another_node_places_after_the_store_was_read_is_read_again(
    engine: Engine, tmp_path: Path
) -> None:
    common = tmp_path / "common"
    other = open_another_node(engine, common)
    folder = ObjectFolder(common, inline=10)

    class ReadBeforeTheMark(ObjectFolder):
        def read_mark(self) -> str | None:
            before = super().read_mark()
            mark_new_store(other, NOW)
            return before

    use(engine, ReadBeforeTheMark(common, inline=10)).require_mark()
    assert folder.read_mark() is not None
    other.dispose()


def test_a_store_that_differs_in_each_answer_is_asked_a_limited_number_of_times(
    engine: Engine, tmp_path: Path
) -> None:
    answers = [f"{number:032x}" for number in range(100)]

    class ChangingFolder(ObjectFolder):
        def read_mark(self) -> str | None:
            return answers.pop()

    with pytest.raises(GatewayError, match="GW811"):
        use(engine, ChangingFolder(tmp_path / "common", inline=10)).require_mark()
    assert len(answers) == 97


@pytest.mark.long
def test_a_mark_of_a_bucket_that_is_remembered_does_not_stand_against_a_younger_one(
    engine: Engine, tmp_path: Path
) -> None:
    with serve_bucket(tmp_path / "log") as server:
        access = server.get_access(prefix=f"{tmp_path.name}/")
        first, second = (ObjectBucket(access, ObjectFolder(tmp_path / "new"), inline=10) for _ in range(2))
        store = mark_objects_of(engine, first)
        get_database_state(engine).objects = store
        mark_new_store(engine, NOW)
        store.require_mark()
        # Another node is told to mark the same bucket anew.
        second.write_mark("ab" * 16)
        with write_transaction(engine) as conn:
            shared_files.replace_shared_file(conn, shared_files.PAYLOADS, "ab" * 16, NOW)
        store.require_mark()
        for bucket in (first, second):
            bucket.close()


def test_a_store_that_another_node_marks_meanwhile_has_the_noted_mark(engine: Engine, tmp_path: Path) -> None:
    common = tmp_path / "common"
    other = open_another_node(engine, common)
    store = use(engine, OvertakenFolder(common, lambda: mark_new_store(other, NOW)))
    assert has_noted_mark(engine, store)
    other.dispose()


def test_only_a_store_without_a_mark_or_with_that_of_the_database_is_not_another_one(
    engine: Engine, tmp_path: Path
) -> None:
    store = use(engine, ObjectFolder(tmp_path / "common", inline=10))
    assert not has_noted_mark(engine, store)
    store.write_mark("cd" * 16)
    with pytest.raises(GatewayError, match="GW811 the store has a mark that the database does not know"):
        has_noted_mark(engine, store)


def test_a_store_that_another_node_has_just_marked_is_not_taken_from_it(
    engine: Engine, tmp_path: Path
) -> None:
    common = tmp_path / "common"
    other = open_another_node(engine, common)
    store = use(engine, ObjectFolder(common, inline=10))
    assert not has_noted_mark(engine, store)
    mark_new_store(other, NOW)
    mark = store.read_mark()
    with write_transaction(engine) as conn:
        assert not drop_mark(conn, store)
    with read_transaction(engine) as conn:
        row = shared_files.find_shared_file(conn, shared_files.PAYLOADS)
    assert row is not None
    assert (row.mark, row.placed_at) == (mark, NOW)
    store.require_mark()
    other.dispose()


def test_a_store_is_not_said_to_lack_what_is_stored_in_that_which_another_node_marks_meanwhile(
    engine: Engine, tmp_path: Path
) -> None:
    other = open_another_node(engine, tmp_path / "common")
    get_database_state(engine).objects = ObjectFolder(tmp_path / "common", inline=10)
    with write_transaction(engine) as conn:
        payloads.store_payload(conn, b"large octets" * 10, NOW)

    class FolderAskedFirst(ObjectFolder):
        def has_object(self, digest: str, size: int) -> bool:
            mark_new_store(other, NOW)
            return super().has_object(digest, size)

    use(engine, FolderAskedFirst(tmp_path / "own", inline=10))
    assert mark_new_store(engine, NOW) is None
    other.dispose()


def test_a_store_does_not_lack_what_retention_removes_meanwhile(engine: Engine, tmp_path: Path) -> None:
    get_database_state(engine).objects = ObjectFolder(tmp_path / "common", inline=10)
    with write_transaction(engine) as conn:
        first, second = (payloads.store_payload(conn, octets * 20, NOW) for octets in (b"first", b"second"))

    class SweptFolder(ObjectFolder):
        def has_object(self, digest: str, size: int) -> bool:
            with write_transaction(engine) as conn:
                removed = update(tables.payloads).where(tables.payloads.c.sha256 == first)
                conn.execute(removed.values(purged_at=NOW))
            return super().has_object(digest, size)

    compared = compare_newest_objects(engine, SweptFolder(tmp_path / "own", inline=10))
    assert (compared.compared, compared.missing) == (2, 1)
    assert first != second
