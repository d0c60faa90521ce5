"""Stored octets as bodies that are read in pieces, and compared with their digest at their end."""

from __future__ import annotations

import hashlib
import io
from typing import Any, BinaryIO, cast

from gateway.message_model import Body, SlicedBody
from gateway.store.object_store import ObjectStore, make_changed_error

__all__ = ["StoredBody", "StoredPart"]


class StoredBody:
    """An object; whoever reads it from its beginning to its end gets GW326 where its octets have changed."""

    def __init__(self, store: ObjectStore, sha256: str, octets: int) -> None:
        self.sha256_hex = sha256
        self.octet_count = octets
        self.store = store

    def open_stream(self) -> BinaryIO:
        """Return a new stream at the first octet; raises GW325 where the object is gone."""
        return cast("BinaryIO", _CheckedStream(self.store.open_object(self.sha256_hex), self, self))


class StoredPart:
    """A piece of an object with a digest of its own, checked in the same way."""

    def __init__(self, whole: StoredBody, offset: int, sha256: str, octets: int) -> None:
        self.sha256_hex = sha256
        self.octet_count = octets
        self._whole = whole
        self._piece = SlicedBody(whole, offset, octets)

    def open_stream(self) -> BinaryIO:
        """Return a new stream at the first octet; raises GW325 where the object is gone."""
        return cast("BinaryIO", _CheckedStream(self._piece.open_stream(), self, self._whole))


class _CheckedStream(io.RawIOBase):
    """A stream that is compared with the digest of its body when its last octet is read.

    After a seek nothing is compared: whoever reads pieces compares them with digests of their own.
    """

    def __init__(self, stream: BinaryIO, body: Body, whole: StoredBody) -> None:
        self._stream = stream
        self._body = body
        self._whole = whole
        self._found: Any = hashlib.sha256()
        self._left = body.octet_count

    def readable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._found = None
        return self._stream.seek(offset, whence)

    def readinto(self, buffer: Any) -> int:
        piece = self._stream.read(len(buffer))
        buffer[: len(piece)] = piece
        if self._found is not None:
            self._compare(piece)
        return len(piece)

    def _compare(self, piece: bytes) -> None:
        self._found.update(piece)
        self._left -= len(piece)
        changed = self._left < 0 or (not piece and self._left > 0)
        if changed or (self._left == 0 and self._found.hexdigest() != self._body.sha256_hex):
            raise make_changed_error(self._whole.store, self._whole.sha256_hex)

    def close(self) -> None:
        self._stream.close()
        super().close()
