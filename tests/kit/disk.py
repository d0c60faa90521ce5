"""A disk of few octets for one database, which a test fills and empties.

Where the machine lets us mount, it is a file system of its own; elsewhere the database is
made to answer as on a full disk: SQLite by a limit on the size of this process's files,
PostgreSQL by a trigger that raises its own error ``disk_full``.
"""

from __future__ import annotations

import os
import pwd
import resource
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from sqlalchemy import create_engine, make_url, text

__all__ = ["Disk", "SmallDisk", "refusing_postgresql", "small_disk", "stunted_files", "tablespace_on"]


class Disk(Protocol):
    """Something that holds a database, and can be full."""

    def fill(self) -> None:
        """Let nothing more fit."""

    def empty(self) -> None:
        """Let things fit again."""


class SmallDisk:
    """A mounted file system; full by a file of ballast."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self) -> None:
        """Write ballast until the system refuses the last octet."""
        with suppress(OSError), self._ballast.open("ab", buffering=0) as file:
            found = os.statvfs(self.folder)
            with suppress(OSError):
                os.posix_fallocate(file.fileno(), 0, found.f_bavail * found.f_frsize)
            file.seek(0, os.SEEK_END)
            for size in (1 << 20, 1 << 12, 1):
                with suppress(OSError):
                    while True:
                        file.write(b"\0" * size)

    def empty(self) -> None:
        """Remove the ballast."""
        self._ballast.unlink(missing_ok=True)


@contextmanager
def small_disk(folder: Path, mebibytes: int, kind: str = "tmpfs") -> Iterator[SmallDisk | None]:
    """Mount a file system of so many MiB at `folder`; None where the system does not let us.

    `kind` ``tmpfs`` lies in memory; ``ext4`` in a file beside the folder, so that its writes
    take the time that a disk takes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    image = folder.with_suffix(".img")
    if not _mount(folder, mebibytes, kind, image):
        yield None
        return
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
        image.unlink(missing_ok=True)


def _mount(folder: Path, mebibytes: int, kind: str, image: Path) -> bool:
    if kind == "tmpfs":
        return _done("mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", str(folder))
    with image.open("wb") as file:
        file.truncate(mebibytes << 20)
    made = _done("mkfs.ext4", "-q", "-m", "0", str(image)) and _done(
        "mount", "-o", "loop", str(image), str(folder)
    )
    if not made:
        image.unlink()
    return made


def _done(*words: str) -> bool:
    if shutil.which(words[0]) is None:
        return False
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


class _StuntedFiles:
    def __init__(self, database: Path) -> None:
        self._log = database.with_name(database.name + "-wal")

    def fill(self) -> None:
        size = self._log.stat().st_size if self._log.exists() else 0
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 1, resource.RLIM_INFINITY))

    def empty(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


@contextmanager
def stunted_files(url: str) -> Iterator[Disk]:
    """Give a disk that lets no file of this process grow beyond the log of a SQLite database."""
    disk = _StuntedFiles(Path(str(make_url(url).database)))
    try:
        yield disk
    finally:
        disk.empty()


class _RefusingPostgresql:
    _FUNCTION = """CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE disk_full USING MESSAGE = 'could not extend file: No space left on device'; END $$"""
    _TABLES = ("payloads", "messages", "deliveries", "delivery_attempts", "transitions", "evidence")

    def __init__(self, url: str) -> None:
        self._engine = create_engine(url, isolation_level="AUTOCOMMIT")
        self._run(self._FUNCTION)

    def fill(self) -> None:
        for table in self._TABLES:
            # For each row that is really added: a repeat adds none.
            self._run(
                f"CREATE TRIGGER full_disk AFTER INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION full_disk()"
            )

    def empty(self) -> None:
        for table in self._TABLES:
            self._run(f"DROP TRIGGER IF EXISTS full_disk ON {table}")

    def close(self) -> None:
        self._engine.dispose()

    def _run(self, statement: str) -> None:
        with self._engine.connect() as conn:
            conn.execute(text(statement))


@contextmanager
def refusing_postgresql(url: str) -> Iterator[Disk]:
    """Give a disk that is full when the server says so: with its own error, through its own protocol."""
    disk = _RefusingPostgresql(url)
    try:
        yield disk
    finally:
        disk.close()


@contextmanager
def tablespace_on(folder: Path, url: str) -> Iterator[None]:
    """Move a PostgreSQL database of our own server onto the file system mounted at `folder`."""
    parsed = make_url(url)
    name = f"small_{parsed.database}"
    admin = create_engine(parsed.set(database="postgres"), isolation_level="AUTOCOMMIT")
    try:
        with admin.connect() as conn:
            data = Path(str(conn.execute(text("SHOW data_directory")).scalar_one()))
            _give(folder, data.stat().st_uid)
            place = folder / "space"
            place.mkdir()
            _give(place, data.stat().st_uid)
            conn.execute(text(f"CREATE TABLESPACE \"{name}\" LOCATION '{place}'"))
            conn.execute(text(f'ALTER DATABASE "{parsed.database}" SET TABLESPACE "{name}"'))
        yield
        with admin.connect() as conn:
            conn.execute(text(f'DROP DATABASE "{parsed.database}" WITH (FORCE)'))
            conn.execute(text(f'DROP TABLESPACE "{name}"'))
    finally:
        admin.dispose()


def _give(folder: Path, owner: int) -> None:
    os.chown(folder, owner, pwd.getpwuid(owner).pw_gid)
