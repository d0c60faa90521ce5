"""HTTP messages in files, of any size: their bodies remain in the file."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, Final, cast

from gateway.errors import MIME_MALFORMED, NO_ROOM, GatewayError, make_path_problem
from gateway.message_model import (
    Body,
    DigestedBody,
    MemoryBody,
    PositionedStream,
    SlicedBody,
    iterate_octets,
)
from gateway.protocols import Parcel
from gateway.wire import WireLimits, read_http_head, read_http_message

#: The size, in octets, up to which files are held in memory.
_MAX_MEMORY_OCTETS: Final = 1024**2


class FileBody(DigestedBody):
    """A file as a body; it must not change while it is read."""

    __slots__ = ("path",)

    def __init__(self, path: Path) -> None:
        super().__init__(path.stat().st_size)
        self.path = path

    def open_stream(self) -> BinaryIO:
        """Return a new stream at the first octet."""
        return self.path.open("rb")


class UnnamedFile(DigestedBody):
    """The arriving octets, in a file without a name in a folder: a process that is killed leaves no file.

    Each method raises GW806 if the disk does not take the octets. Streams can be read until the file is
    closed.
    """

    __slots__ = ("_file",)

    def __init__(self, folder: Path) -> None:
        super().__init__(0)
        try:
            self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115  # see close()
        except OSError as problem:
            raise _make_no_space_error(problem) from None

    def write(self, octets: bytes) -> None:
        """Append the octets."""
        unwritten_octets = memoryview(octets)
        try:
            while unwritten_octets:
                unwritten_octets = unwritten_octets[self._file.write(unwritten_octets) :]
        except OSError as problem:
            raise _make_no_space_error(problem) from None
        self.octet_count += len(octets)

    def open_stream(self) -> BinaryIO:
        """Return a new stream at the first octet."""
        return cast("BinaryIO", PositionedStream(self._file.fileno()))

    def close(self) -> None:
        """Give the octets back to the disk."""
        self._file.close()


def _make_no_space_error(problem: OSError) -> GatewayError:
    return GatewayError(NO_ROOM, f"cannot store: {problem.strerror}", "folder")


def open_message_file(path: Path, limits: WireLimits) -> Parcel:
    """Return the HTTP message in a file; a large body is read from the file. Raises GW103, GW808."""
    try:
        with path.open("rb") as file:
            first_octets = file.read(_MAX_MEMORY_OCTETS + 1)
        file_body = FileBody(path)
    except (OSError, ValueError) as error:
        raise make_path_problem(path, "read", error) from None
    if len(first_octets) <= _MAX_MEMORY_OCTETS:
        message = read_http_message(first_octets, limits)
        return Parcel(message.headers, MemoryBody(message.body))
    head = read_http_head(first_octets, limits)
    body_size = file_body.octet_count - head.body_offset
    if "transfer-encoding" in head.headers:
        detail = f"a message of more than {_MAX_MEMORY_OCTETS} octets in a file is not chunked"
        raise GatewayError(MIME_MALFORMED, detail, str(path))
    if head.headers.get("content-length", str(body_size)) != str(body_size):
        detail = f"Content-Length is {head.headers['content-length'][:20]!r}, the body has {body_size} octets"
        raise GatewayError(MIME_MALFORMED, detail, str(path))
    return Parcel(head.headers, SlicedBody(file_body, head.body_offset, body_size))


def write_message_file(path: Path, parcel: Parcel) -> None:
    """Write a parcel as an HTTP message; a reader finds the whole file or none. Raises GW808."""
    fields = (*parcel.headers.items(), ("Content-Length", str(parcel.body.octet_count)))
    head = "".join(f"{name}: {value}\r\n" for name, value in fields) + "\r\n"
    write_octets(path, (MemoryBody(head.encode()), parcel.body))


def write_octets(path: Path, bodies: Iterable[Body]) -> None:
    """Write bodies one after the other into a file, which then replaces the one at `path`; raise GW808."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, bodies)
    except (OSError, ValueError) as error:
        raise make_path_problem(path, "written", error) from None


def replace_file(path: Path, bodies: Iterable[Body]) -> None:
    """Write bodies durably into a file, which then replaces the one at `path`; raise OSError."""
    new_path = path.with_name(path.name + ".new")
    try:
        with new_path.open("wb") as file:
            for body in bodies:
                file.writelines(iterate_octets(body))
            file.flush()
            os.fsync(file.fileno())
        os.replace(new_path, path)
        synchronize_folder(path.parent)
    except (OSError, ValueError, GatewayError):
        new_path.unlink(missing_ok=True)
        raise


def synchronize_folder(folder: Path) -> None:
    """Make the names in a folder as durable as the octets behind them."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
