"""The connections to a SQLite file that was closed to its process for a time, and then open again.

The account of the tests may be root, to whom no mode closes a file: `ReadOnlyFile` lets SQLite open a file as
one that takes no writes.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from gateway.store import (
    InsufficientStorageError,
    get_database_state,
    make_engine,
    read_transaction,
    watch_for_lasting_failure,
    write_transaction,
)
from gateway.store.database_damage import (
    check_database_file,
    describe_inaccessible_file,
    list_closed_files,
    make_damage_error,
)
from gateway.store.database_guard import DatabaseGuard
from gateway.store.database_marks import DatabaseHeldError
from gateway.store.lasting_failure import is_failure_lasting
from gateway.store.write_lock import WriteLock

#: The account without rights by which a child works on files, as they have no effect on root.
_NOBODY = 65534


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    made = make_engine(f"sqlite:///{tmp_path}/hub.sqlite3")
    with write_transaction(made) as conn:
        conn.execute(text("CREATE TABLE marks (mark INTEGER)"))
    yield made
    made.dispose()


def write_mark(engine: Engine) -> None:
    with write_transaction(engine) as conn:
        conn.execute(text("INSERT INTO marks VALUES (1)"))


def count_marks(engine: Engine) -> int:
    with read_transaction(engine) as conn:
        return int(conn.execute(text("SELECT count(*) FROM marks")).scalar_one())


class ReadOnlyFile:
    """A file that SQLite finds to take no writes when it is opened, until `is_open`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_open = False
        connect = sqlite3.connect

        def open_as_it_is(path: str, *arguments: object, **parameters: object) -> sqlite3.Connection:
            if self.is_open:
                return connect(path, *arguments, **parameters)  # type: ignore[call-overload,no-any-return]
            parameters["uri"] = True
            return connect(f"file:{path}?mode=ro", *arguments, **parameters)  # type: ignore[call-overload,no-any-return]

        monkeypatch.setattr(sqlite3, "connect", open_as_it_is)


@pytest.fixture
def read_only_file(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> ReadOnlyFile:
    engine.pool.dispose()
    sqlite = get_database_state(engine).sqlite
    assert sqlite is not None
    sqlite.readers.pool.dispose()
    return ReadOnlyFile(monkeypatch)


def test_a_file_that_was_opened_for_reading_only_is_opened_again(
    engine: Engine, read_only_file: ReadOnlyFile
) -> None:
    with pytest.raises(InsufficientStorageError, match="accepts no writes now"):
        write_mark(engine)
    read_only_file.is_open = True
    write_mark(engine)
    assert count_marks(engine) == 1


def test_nothing_is_opened_before_the_last_connection_of_the_former_time_is_closed(
    engine: Engine, read_only_file: ReadOnlyFile
) -> None:
    """A new connection would share what the former one has opened, and could not write either."""
    with read_transaction(engine) as reader:
        with pytest.raises(InsufficientStorageError, match="accepts no writes now"):
            write_mark(engine)
        read_only_file.is_open = True
        with pytest.raises(InsufficientStorageError, match="its connections are closed, to be opened again"):
            write_mark(engine)
        # The reader ends what it has begun.
        assert reader.execute(text("SELECT count(*) FROM marks")).scalar_one() == 0
    write_mark(engine)
    assert count_marks(engine) == 1


def test_threads_that_read_all_the_time_do_not_keep_the_file_closed(
    engine: Engine, read_only_file: ReadOnlyFile
) -> None:
    is_over, mistakes = threading.Event(), []

    def read_on() -> None:
        while not is_over.is_set():
            try:
                count_marks(engine)
            except InsufficientStorageError:
                """Told for a moment, while the connections are closed."""
            except Exception as mistake:
                mistakes.append(mistake)

    readers = [threading.Thread(target=read_on) for _ in range(4)]
    for reader in readers:
        reader.start()
    try:
        with pytest.raises(InsufficientStorageError):
            write_mark(engine)
        read_only_file.is_open = True
        for _ in range(200):
            try:
                write_mark(engine)
                break
            except InsufficientStorageError:
                is_over.wait(0.01)
        else:
            pytest.fail("the file stays closed")
    finally:
        is_over.set()
        for reader in readers:
            reader.join()
    assert not mistakes


def test_an_error_of_the_disk_closes_what_was_opened(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a connection has opened may be gone for ever, as after a file system that was mounted anew."""
    sqlite = get_database_state(engine).sqlite
    assert sqlite is not None
    gone = sqlite3.OperationalError("disk I/O error")
    gone.sqlite_errorcode = sqlite3.SQLITE_IOERR | 4 << 8  # SQLITE_IOERR_FSYNC
    opened = engine.raw_connection()
    with pytest.raises(InsufficientStorageError), read_transaction(engine):
        raise gone
    opened.close()
    assert sqlite.connections.failed_at is not None
    assert engine.pool.checkedin() == 1  # the record, whose connection is closed
    assert not sqlite.connections._open
    write_mark(engine)
    assert sqlite.connections.failed_at is None


def test_a_reader_that_tries_to_write_closes_nothing(engine: Engine) -> None:
    sqlite = get_database_state(engine).sqlite
    assert sqlite is not None
    with pytest.raises(InsufficientStorageError), read_transaction(engine) as conn:
        conn.execute(text("INSERT INTO marks VALUES (1)"))
    assert sqlite.connections.failed_at is None


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm"])
def test_no_file_is_left_that_is_closed_to_its_account(suffix: str) -> None:
    """SQLite gives a file that it makes beside a database the mode of the database."""
    if os.getuid() != 0:
        pytest.skip("only root can work as another account")
    # The folders of the test are closed to other accounts.
    with tempfile.TemporaryDirectory() as folder:
        os.chown(folder, _NOBODY, _NOBODY)
        child = os.fork()
        if child == 0:
            os._exit(_run_as_nobody(Path(folder, "hub.sqlite3"), f"{folder}/hub.sqlite3{suffix}"))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _run_as_nobody(path: Path, closed: str) -> int:
    """Use a database of which one file is closed for a time; return 0 if it then takes writes."""
    try:
        os.setuid(_NOBODY)
        keeper = sqlite3.connect(path)
        keeper.execute("PRAGMA journal_mode = wal")
        keeper.execute("CREATE TABLE marks (mark INTEGER)")
        keeper.commit()
        if closed == str(path):
            keeper.close()
        made = make_engine(f"sqlite:///{path}")
        Path(closed).chmod(0o444)
        for use in (count_marks, write_mark):
            with pytest.raises(InsufficientStorageError, match="is closed to this account"):
                use(made)
        with pytest.raises(InsufficientStorageError, match="is closed to this account"):
            check_database_file(get_database_state(made).damage)
        Path(closed).chmod(0o600)
        keeper.close()
        write_mark(made)
        assert count_marks(made) == 1
        assert all(os.access(file, os.R_OK | os.W_OK) for file in path.parent.iterdir())
    except BaseException:
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


def test_a_process_ends_that_cannot_use_a_file_which_a_new_process_can_use(
    engine: Engine, read_only_file: ReadOnlyFile, caplog: pytest.LogCaptureFixture
) -> None:
    has_ended = threading.Event()
    with read_transaction(engine):
        with pytest.raises(InsufficientStorageError):
            write_mark(engine)
        watch_for_lasting_failure(engine, has_ended.set, lasting_seconds=0.2, watch_seconds=0.05)
        assert has_ended.wait(20)
    assert "this process could not use the database file, while a new process can" in caplog.text


@pytest.mark.parametrize("condition", ["young", "exchanged", "damaged", "closed", "no new process"])
def test_a_process_goes_on_where_a_new_one_would_not_help(
    condition: str,
    engine: Engine,
    read_only_file: ReadOnlyFile,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    state, path = get_database_state(engine), tmp_path / "hub.sqlite3"
    with read_transaction(engine):
        with pytest.raises(InsufficientStorageError):
            write_mark(engine)
        read_only_file.is_open = True
        assert is_failure_lasting(engine, 0.0)
        seconds = 0.0
        if condition == "young":
            seconds = 60.0
        elif condition == "exchanged":
            os.replace(path, tmp_path / "former")
            path.write_bytes((tmp_path / "former").read_bytes())
        elif condition == "damaged":
            state.damage.record(make_damage_error("a page is bad"))
        elif condition == "closed":
            # A new process would make files beside it that stay closed to this account.
            monkeypatch.setattr("gateway.store.database_damage._is_usable", lambda _path: False)
        else:
            monkeypatch.setattr("gateway.store.lasting_failure.sys.executable", "/nowhere/python")
        assert not is_failure_lasting(engine, seconds)


def test_an_idle_process_whose_file_is_open_again_goes_on(
    engine: Engine, read_only_file: ReadOnlyFile
) -> None:
    sqlite = get_database_state(engine).sqlite
    assert sqlite is not None
    with pytest.raises(InsufficientStorageError):
        write_mark(engine)
    read_only_file.is_open = True
    assert sqlite.connections.failed_at is not None
    assert not is_failure_lasting(engine, 0.0)
    assert sqlite.connections.failed_at is None


def test_a_process_whose_database_is_held_goes_on(
    engine: Engine, read_only_file: ReadOnlyFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InsufficientStorageError):
        write_mark(engine)
    read_only_file.is_open = True

    def hold(_conn: object) -> None:
        raise DatabaseHeldError("it lacks a leaf")

    state = get_database_state(engine)
    state.guard = DatabaseGuard(tmp_path / "mark", lambda: 0)
    monkeypatch.setattr(state.guard, "require_current", hold)
    assert not is_failure_lasting(engine, 0.0)


@pytest.mark.parametrize("use", [count_marks, write_mark])
def test_a_connection_may_be_used_once_when_all_are_closed_while_it_is_opened(
    use: Callable[[Engine], object], engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    sqlite = get_database_state(engine).sqlite
    assert sqlite is not None
    count_marks(engine)
    sqlite.connections._period += 1  # as `close_all` does, before it closes the idle ones
    monkeypatch.setattr(sqlite.file, "record_opened_file", sqlite.connections.close_all)
    use(engine)
    assert not sqlite.connections._open


@pytest.mark.parametrize("find_closed", [list_closed_files, describe_inaccessible_file])
@pytest.mark.parametrize("change", ["removed", "made"])
def test_a_file_that_is_removed_or_made_meanwhile_is_not_closed(
    find_closed: Callable[[str], object], change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, log = tmp_path / "hub.sqlite3", tmp_path / "hub.sqlite3-wal"
    path.touch()
    if change == "removed":
        log.touch()

    def change_log(file: str) -> bool:
        if file == str(log) and change == "removed":
            log.unlink(missing_ok=True)
        is_usable = os.access(file, os.R_OK | os.W_OK)
        if file == str(log) and change == "made":
            log.touch()
        return is_usable

    monkeypatch.setattr("gateway.store.database_damage._is_usable", change_log)
    assert not find_closed(str(path))


def test_a_closed_file_that_is_removed_before_it_is_described_is_not_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "hub.sqlite3"
    path.touch()
    monkeypatch.setattr("gateway.store.database_damage._is_usable", lambda file: file != str(path))

    def remove_first(file: str) -> os.statvfs_result:
        path.unlink()
        raise FileNotFoundError(2, "No such file or directory", file)

    monkeypatch.setattr(os, "statvfs", remove_first)
    assert describe_inaccessible_file(str(path)) is None


def test_a_lock_file_whose_file_system_fails_is_opened_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = WriteLock(str(tmp_path / "hub.sqlite3"))
    with lock.run_as_writer():
        """It is open from now on."""

    def fail(_descriptor: int, _operation: int) -> None:
        raise OSError(116, "Stale file handle")

    with monkeypatch.context() as patched:
        patched.setattr("gateway.store.write_lock.fcntl.flock", fail)
        with (
            pytest.raises(InsufficientStorageError, match="-writer: Stale file handle"),
            lock.run_as_writer(1.0),
        ):
            raise AssertionError("it has no lock")
    with lock.run_as_writer(1.0):
        """It was opened again."""


@pytest.mark.long
def test_a_process_asks_itself_to_end_and_its_parent_sees_it() -> None:
    program = """
        import threading, time
        from gateway.stop_signals import catch_stop_signals, end_own_process
        with catch_stop_signals() as stop:
            threading.Thread(target=end_own_process, daemon=True).start()
            assert stop.wait(10)
    """
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], timeout=30)
    assert ended.returncode == 0
