"""Takes the pieces of a body as they arrive: a small body in memory, a large one into a file.

The file is removed when its request is over, unless the application has kept it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from gateway.web.server.body_budget import BodyBudget, BodyReservation

__all__ = ["BodySpool", "PieceTaker", "SpoolSettings", "SpooledBody"]

#: Octets that are written at a time.
_BATCH: Final = 1024**2


class SpooledBody(Protocol):
    """A file into which a body is written."""

    @property
    def octet_count(self) -> int:
        """Return how many octets were written."""

    def write(self, octets: bytes) -> None:
        """Append the octets."""

    def open_stream(self) -> Any:
        """Return a new stream at the first octet."""

    def close(self) -> None:
        """Close the file, and remove it unless it was kept."""


@dataclass(frozen=True)
class SpoolSettings:
    """`open_file` makes a file for so many octets (0: unknown), `paths` are those whose bodies may be large.

    Bodies above `threshold` octets go into files, which have `room` octets together.
    """

    open_file: Callable[[int], SpooledBody]
    paths: frozenset[str]
    threshold: int
    room: int


class BodySpool:
    """The files of one process; an address may use a part of their room, but always one whole body."""

    def __init__(self, settings: SpoolSettings, largest: int) -> None:
        self._settings = settings
        self._room = BodyBudget(settings.room, largest)

    def accepts_path(self, path: str) -> bool:
        """Return whether the bodies of a path may go into files."""
        return path in self._settings.paths

    def make_taker(self, address: str, length: int | None, share: BodyReservation) -> PieceTaker:
        """Return what takes the pieces of one body, of this length where it is known."""
        return PieceTaker(share, self._settings, (self._room.make_reservation(address), length))


class PieceTaker:
    """The pieces of one body; without `spool` all are held in memory."""

    def __init__(
        self,
        share: BodyReservation,
        spool: SpoolSettings | None = None,
        disk: tuple[BodyReservation, int | None] | None = None,
    ) -> None:
        self._share = share
        self._spool = spool
        self._disk = disk
        self._pieces: list[bytes] = []
        self._held = 0
        self.count = 0
        self.file: SpooledBody | None = None

    async def take_piece(self, piece: bytes) -> None:
        """Take the next piece; raises where there is no room for it."""
        self.count += 1
        self._share.reserve_octets(len(piece))
        self._pieces.append(piece)
        self._held += len(piece)
        if self._spool is not None and self._held > (_BATCH if self.file else self._spool.threshold):
            await self._write_pieces()

    async def finish(self) -> bytes | SpooledBody:
        """Return the whole body."""
        if self.file is None:
            return self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        await self._write_pieces()
        return self.file

    async def _write_pieces(self) -> None:
        assert self._spool is not None
        assert self._disk is not None
        octets = b"".join(self._pieces)
        self._disk[0].reserve_octets(len(octets))
        await _run_to_its_end(lambda: self._write_octets(octets))
        self._pieces, self._held = [], 0
        self._share.release_all()

    def _write_octets(self, octets: bytes) -> None:
        """Write octets to the file, which is opened for the first; in a thread."""
        assert self._spool is not None
        assert self._disk is not None
        if self.file is None:
            self.file = self._spool.open_file(self._disk[1] or 0)
        self.file.write(octets)

    def close(self) -> None:
        """Close the file, and give back all room."""
        if self.file is not None:
            self.file.close()
        if self._disk is not None:
            self._disk[0].release_all()
        self._share.release_all()


async def _run_to_its_end(work: Callable[[], None]) -> None:
    """Run blocking work in a thread; also where the request is given up, the work ends before its file."""
    future = asyncio.get_running_loop().run_in_executor(None, work)
    try:
        await asyncio.shield(future)
    except asyncio.CancelledError:
        await asyncio.wait({future})
        raise
