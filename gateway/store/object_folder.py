"""Keeps objects as files of a folder: written beside, on disk, and only then under their name.

The folder has one folder for each first octet of a digest, and `new` for files that are being
written. A file in `new` is locked by its writer: one that nobody locks was left by a process that
was killed, and is removed at the next start.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, Final

from gateway.errors import OBJECT_MISSING, GatewayError
from gateway.message_model import Body
from gateway.store.disk_reserve import InsufficientStorageError
from gateway.store.object_store import INLINE_OCTETS, make_changed_error

__all__ = ["ObjectFolder", "TemporaryFile"]

_STEP: Final = 1024**2
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_NEW: Final = "new"
#: What says that there is no such file; any other error may pass.
_ABSENT: Final = frozenset({errno.ENOENT, errno.ENOTDIR})


class TemporaryFile:
    """A file that is being written, locked as long as this process lives; closing it removes it."""

    def __init__(self, folder: Path) -> None:
        self.path, self.descriptor = _create_locked_file(folder)
        self._kept = False

    def write(self, octets: bytes) -> None:
        """Append the octets."""
        view = memoryview(octets)
        while view:
            view = view[os.write(self.descriptor, view) :]

    def keep_as(self, path: Path) -> None:
        """Bring the file to the disk under its name, with the folder that holds it."""
        os.fsync(self.descriptor)
        if not path.parent.is_dir():
            path.parent.mkdir(mode=0o700, exist_ok=True)
            _sync_folder(path.parent.parent)
        os.replace(self.path, path)
        self._kept = True
        _sync_folder(path.parent)

    def close(self) -> None:
        """Close the file; remove it unless it was kept."""
        if not self._kept:
            with suppress(OSError):
                self.path.unlink()
        os.close(self.descriptor)


class ObjectFolder:
    """An `ObjectStore` in a folder of its own; `inline` octets stay in the database."""

    def __init__(self, folder: Path, inline: int = INLINE_OCTETS) -> None:
        self.inline = inline
        self._folder = folder

    def put_object(self, digest: str, content: Body) -> None:
        """Store the content durably; raises GW806 where that fails. A second time changes nothing."""
        if self.has_object(digest, content.octet_count):
            # Fresh again: whoever sweeps sees that somebody is about to name it.
            with suppress(OSError):
                os.utime(self._get_path(digest))
            return
        try:
            self._write_object(digest, content)
        except OSError as error:
            raise self._make_write_error(error) from error

    def _write_object(self, digest: str, content: Body) -> None:
        file, found = self.open_new_file(), sha256()
        try:
            with content.open_stream() as stream:
                while piece := stream.read(_STEP):
                    found.update(piece)
                    file.write(piece)
            if found.hexdigest() != digest:
                raise make_changed_error(self, digest)
            file.keep_as(self._get_path(digest))
        finally:
            file.close()

    def open_new_file(self) -> TemporaryFile:
        """Return a new file on the disk of the folder; raises GW806 where none can be made."""
        try:
            (self._folder / _NEW).mkdir(mode=0o700, parents=True, exist_ok=True)
            return TemporaryFile(self._folder / _NEW)
        except OSError as error:
            raise self._make_write_error(error) from error

    def has_object(self, digest: str, size: int) -> bool:
        """Return whether there is an object of this size."""
        try:
            return self._get_path(digest).stat().st_size == size
        except OSError:
            return False

    def open_object(self, digest: str) -> BinaryIO:
        """Return a stream at its first octet; raises GW325 where there is none, GW806 where it may pass."""
        try:
            return self._get_path(digest).open("rb", buffering=0)
        except OSError as error:
            where = self.describe_object(digest)
            if error.errno in _ABSENT:
                raise GatewayError(OBJECT_MISSING, "the object is not there", where) from None
            detail = f"the object cannot be read now: {error.strerror}"
            raise InsufficientStorageError(detail, where) from error

    def describe_object(self, digest: str) -> str:
        """Return the path of an object."""
        return str(self._get_path(digest))

    def remove_object(self, digest: str) -> None:
        """Remove an object; one that is gone is no error."""
        self._get_path(digest).unlink(missing_ok=True)

    def get_write_time(self, digest: str) -> datetime | None:
        """Return when an object was last written; None where there is none."""
        try:
            return datetime.fromtimestamp(self._get_path(digest).stat().st_mtime, UTC)
        except OSError:
            return None

    def list_objects(self, part: int) -> Iterator[tuple[str, datetime]]:
        """Yield digest and time of the last writing of the objects whose digest begins with this octet."""
        with suppress(FileNotFoundError), os.scandir(self._folder / f"{part:02x}") as entries:
            for entry in entries:
                written = self.get_write_time(entry.name) if _DIGEST.fullmatch(entry.name) else None
                if written is not None:
                    yield entry.name, written

    def remove_abandoned_files(self) -> int:
        """Remove files that a killed process was writing; return how many."""
        removed = 0
        with suppress(FileNotFoundError), os.scandir(self._folder / _NEW) as entries:
            for entry in entries:
                removed += _remove_unlocked_file(entry.path)
        return removed

    def _get_path(self, digest: str) -> Path:
        if not _DIGEST.fullmatch(digest):
            raise ValueError("a digest is 64 hexadecimal digits")
        return self._folder / digest[:2] / digest

    def _make_write_error(self, error: OSError) -> InsufficientStorageError:
        detail = f"the object store accepts no writes now: {error.strerror}"
        return InsufficientStorageError(detail, str(self._folder))


def _create_locked_file(folder: Path) -> tuple[Path, int]:
    while True:
        path = folder / secrets.token_hex(16)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        # Between the two calls, it looked abandoned.
        if path.exists():
            return path, descriptor
        os.close(descriptor)


def _remove_unlocked_file(path: str) -> int:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(path)
    except OSError:
        return 0
    finally:
        os.close(descriptor)
    return 1


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
