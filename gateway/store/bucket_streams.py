"""Octets on their way to and from a bucket, a piece at a time."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from typing import Any, BinaryIO, Final

from gateway.message_model import Body
from gateway.store.bucket_errors import load_bucket_errors

__all__ = ["BucketStream", "SentBody"]

#: How often a stream asks again where the server has cut it.
_RESUMES: Final = 5


class SentBody:
    """A body that is sent: its last octets are not given away before they have their digest.

    So octets with another digest never make a whole request. It can be sent again from its beginning.
    """

    def __init__(self, content: Body, make_error: Callable[[], Exception], digest: str) -> None:
        #: What was wrong with the body itself; a client tells only that it was not sent.
        self.problem: Exception | None = None
        self._content = content
        self._make_error = make_error
        self._wanted = digest
        self._stream: BinaryIO | None = None
        self._position = 0
        self._digest: Any = hashlib.sha256()

    def __enter__(self) -> SentBody:
        return self

    def __exit__(self, *_: object) -> None:
        self._close_stream()

    def __len__(self) -> int:
        return self._content.octet_count

    def tell(self) -> int:
        """Return how many octets were read."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go back to the beginning, or stay."""
        if (offset, whence) == (self._position, io.SEEK_SET):
            return offset
        if (offset, whence) != (0, io.SEEK_SET):
            raise io.UnsupportedOperation("only to the beginning")
        self._close_stream()
        self._position, self._digest = 0, hashlib.sha256()
        return 0

    def read(self, size: int = -1) -> bytes:
        """Return the next octets; raises what is wrong with the body."""
        try:
            return self._read_piece(size)
        except Exception as error:
            self.problem = error
            raise

    def _read_piece(self, size: int) -> bytes:
        left = self._content.octet_count - self._position
        wanted = left if size is None or size < 0 else min(size, left)
        if self._stream is None:
            self._stream = self._content.open_stream()
        piece = self._stream.read(wanted) if wanted else b""
        self._position += len(piece)
        self._digest.update(piece)
        is_last = self._position == self._content.octet_count
        if (wanted and not piece) or (is_last and self._digest.hexdigest() != self._wanted):
            raise self._make_error()
        return piece

    def _close_stream(self) -> None:
        if self._stream is not None:
            self._stream.close()
        self._stream = None


class BucketStream(io.RawIOBase):
    """Reads an object of `size` octets; where the connection is cut, it goes on from the same octet.

    `open_from` opens it at an offset; `cut` is raised where that has been tried too often.
    """

    def __init__(self, size: int, open_from: Callable[[int], Any], cut: Exception) -> None:
        self._size = size
        self._open_from = open_from
        self._cut = cut
        self._left = _RESUMES
        self._position = 0
        self._body: Any = None

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the place of the next octet."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to an offset; the next octets are asked for from there."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if start + offset != self._position:
            self._drop_body()
            self._position = start + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Read one piece; raises GW325 where the object is gone, GW806 where it may pass."""
        if self._position >= self._size:
            return 0
        piece = self._read_piece(len(buffer))
        while not piece:
            self._drop_body()
            if not self._left:
                raise self._cut
            self._left -= 1
            piece = self._read_piece(len(buffer))
        buffer[: len(piece)] = piece
        self._position += len(piece)
        return len(piece)

    def _read_piece(self, size: int) -> bytes:
        """Return the next octets; none where the connection is cut."""
        if self._body is None:
            self._body = self._open_from(self._position)
        try:
            piece: bytes = self._body.read(size)
        except load_bucket_errors():
            return b""
        return piece

    def _drop_body(self) -> None:
        if self._body is not None:
            self._body.close()
        self._body = None

    def close(self) -> None:
        """Give up the connection."""
        self._drop_body()
        super().close()
