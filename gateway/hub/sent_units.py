"""Keeps what the answers to messages must match that were sealed just now, so that they are not read again.

A message is mostly sent by the process that sealed it, directly after its commit. Where another one
sends it, and after an answer that proved nothing, its stored octets are read.
"""

from __future__ import annotations

import threading
from typing import Final

from gateway.protocols import Parcel, SentUnit

__all__ = ["SentUnits"]

#: What is kept of a message has no payload, so this takes a few megabytes at most.
_MOST: Final = 512


class SentUnits:
    """What was sealed lately in this process, by the SHA-256 of its octets; safe for many threads."""

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._kept: dict[str, SentUnit] = {}
        self._guard = threading.Lock()

    def keep_unit(self, digest: str, parcel: Parcel) -> None:
        """Keep what was sealed in a parcel whose octets have this digest; the oldest one is forgotten."""
        if parcel.sent is None:
            return
        with self._guard:
            self._kept.pop(digest, None)
            self._kept[digest] = parcel.sent
            while len(self._kept) > self._most:
                del self._kept[next(iter(self._kept))]

    def take_unit(self, digest: str | None) -> SentUnit | None:
        """Return what was sealed in the octets of this digest, and forget it; None when it is not known."""
        with self._guard:
            return None if digest is None else self._kept.pop(digest, None)
