"""Keeps objects as files of a folder: written beside, on disk, and only then under their name.

The folder has one folder for each first octet of a digest, the mark of its database, and `new` for files that
are being written. A file in `new` is locked by its writer: an unlocked file was left by a process that was
killed, and is removed at the next start.
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
from typing import BinaryIO, Final, cast

from gateway.errors import OBJECT_MISSING, GatewayError
from gateway.file_owner import make_owned_folder, open_owned_file
from gateway.message_model import Body, PositionedStream, iterate_octets
from gateway.store.disk_reserve import DiskReserve, InsufficientStorageError
from gateway.store.object_store import INLINE_OCTETS, MARK_NAME, make_changed_error

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_NEW: Final = "new"
_MOST_MARK_OCTETS: Final = 100
#: What says that there is no such file; any other error may pass.
_ABSENT: Final = frozenset({errno.ENOENT, errno.ENOTDIR})


class ArrivingFile:
    """A body that is being written to a file, locked as long as this process lives.

    It is removed when it is closed, unless it was kept.
    """

    def __init__(self, folder: Path) -> None:
        self.path, self._descriptor = _create_locked_file(folder)
        self.octet_count = 0
        self.is_kept = False
        self._digest = sha256()

    @property
    def sha256_hex(self) -> str:
        """Return the SHA-256 of the written octets in lower-case hexadecimal."""
        return self._digest.hexdigest()

    def write(self, octets: bytes) -> None:
        """Append the octets; raises GW806 if the disk cannot store them."""
        self._digest.update(octets)
        view = memoryview(octets)
        try:
            while view:
                view = view[os.write(self._descriptor, view) :]
        except OSError as error:
            raise _make_write_error(error, self.path.parent.parent) from error
        self.octet_count += len(octets)

    def open_stream(self) -> BinaryIO:
        """Return a new stream at the first octet, which can be read until the file is closed."""
        return cast("BinaryIO", PositionedStream(self._descriptor))

    def keep_as(self, path: Path) -> None:
        """Move the file to `path`, and sync the file and its folder to the disk."""
        os.fsync(self._descriptor)
        if not path.parent.is_dir():
            make_owned_folder(path.parent, 0o700)
            _sync_folder(path.parent.parent)
        os.replace(self.path, path)
        self.is_kept = True
        _sync_folder(path.parent)

    def close(self) -> None:
        """Close the file; remove it unless it was kept."""
        if not self.is_kept:
            with suppress(OSError):
                self.path.unlink()
        os.close(self._descriptor)


class ObjectFolder:
    """An `ObjectStore` in a folder of its own; `inline` octets stay in the database.

    `reserve` octets of its disk are kept free for messages that were accepted before.
    """

    def __init__(self, folder: Path, inline: int = INLINE_OCTETS, reserve: int = 0) -> None:
        self.inline = inline
        self._folder = folder
        self._reserve = DiskReserve(str(folder), reserve)

    def put_object(self, digest: str, content: Body) -> None:
        """Store the content durably; raises GW806 where this fails. A repeat changes nothing."""
        if self.has_object(digest, content.octet_count):
            # Fresh again: so the sweep keeps it, as a transaction is about to name it.
            with suppress(OSError):
                os.utime(self._get_path(digest))
            return
        try:
            self._write_object(digest, content)
        except OSError as error:
            raise _make_write_error(error, self._folder) from error

    def _write_object(self, digest: str, content: Body) -> None:
        """Store the content as the file of its digest; raise GW326 if it does not have this digest."""
        if isinstance(content, ArrivingFile) and not content.is_kept and content.sha256_hex == digest:
            # It came into this folder: it gets its name, and is not copied.
            content.keep_as(self._get_path(digest))
            return
        file = self._open_file()
        try:
            for piece in iterate_octets(content):
                file.write(piece)
            if file.sha256_hex != digest:
                raise make_changed_error(self, digest)
            file.keep_as(self._get_path(digest))
        finally:
            file.close()

    def _open_file(self) -> ArrivingFile:
        make_owned_folder(self._folder / _NEW, 0o700)
        return ArrivingFile(self._folder / _NEW)

    def open_arriving_file(self, octets: int = 0) -> ArrivingFile:
        """Return a new file for a body that arrives; `octets` is its size, 0 if that is not known.

        Raises GW806 if the disk has no space for it beside the reserve, or the file cannot be made.
        """
        try:
            file = self._open_file()
        except OSError as error:
            raise _make_write_error(error, self._folder) from error
        try:
            self._reserve.require_octets(octets)
        except InsufficientStorageError:
            file.close()
            raise
        return file

    def has_object(self, digest: str, size: int) -> bool:
        """Return whether there is an object of this size."""
        try:
            return self._get_path(digest).stat().st_size == size
        except OSError:
            return False

    def open_object(self, digest: str) -> BinaryIO:
        """Return a stream at the first octet; raises GW325 if the object is missing, GW806 if it may pass."""
        try:
            return self._get_path(digest).open("rb", buffering=0)
        except OSError as error:
            location = self.describe_object(digest)
            if error.errno in _ABSENT:
                raise GatewayError(OBJECT_MISSING, "the object is not there", location) from None
            detail = f"the object cannot be read now: {error.strerror}"
            raise InsufficientStorageError(detail, location) from error

    def describe_object(self, digest: str) -> str:
        """Return the path of an object."""
        return str(self._get_path(digest))

    def remove_object(self, digest: str) -> None:
        """Remove an object; one that is gone is no error."""
        self._get_path(digest).unlink(missing_ok=True)

    def check_store(self) -> None:
        """Do nothing: a missing folder is made, and each access to a file raises its own problem."""

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

    def read_mark(self) -> str | None:
        """Return the mark of the folder; None where it has none, GW806 where it cannot be read now."""
        try:
            with (self._folder / MARK_NAME).open("rb") as file:
                return file.read(_MOST_MARK_OCTETS).decode("ascii", "replace").strip()
        except OSError as error:
            if error.errno in _ABSENT:
                return None
            detail = f"the mark of the folder cannot be read now: {error.strerror}"
            raise InsufficientStorageError(detail, self.describe_mark()) from error

    def forget_mark(self) -> None:
        """Do nothing: the mark is read from the disk each time."""

    def write_mark(self, mark: str) -> None:
        """Store the mark durably; raises GW806 where this fails."""
        try:
            file = self._open_file()
            try:
                file.write(f"{mark}\n".encode())
                file.keep_as(self._folder / MARK_NAME)
            finally:
                file.close()
        except OSError as error:
            raise _make_write_error(error, self._folder) from error

    def describe_mark(self) -> str:
        """Return the path of the mark."""
        return str(self._folder / MARK_NAME)

    def _get_path(self, digest: str) -> Path:
        if not _DIGEST.fullmatch(digest):
            raise ValueError("a digest must be 64 hexadecimal digits")
        return self._folder / digest[:2] / digest


def _make_write_error(error: OSError, folder: Path) -> InsufficientStorageError:
    detail = f"the object store accepts no writes now: {error.strerror}"
    return InsufficientStorageError(detail, str(folder))


def _create_locked_file(folder: Path) -> tuple[Path, int]:
    """Create a file in `folder` and lock it; return its path and its descriptor."""
    while True:
        path = folder / secrets.token_hex(16)
        descriptor = open_owned_file(path, os.O_RDWR | os.O_EXCL)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        # Between the two calls, it looked abandoned.
        if path.exists():
            return path, descriptor
        os.close(descriptor)


def _remove_unlocked_file(path: str) -> int:
    """Remove a file unless a process has locked it; return the number of removed files (0 or 1)."""
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
