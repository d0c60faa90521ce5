"""Takes up the pieces of one body: in memory, or in a file where the body is large."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol

from gateway.web.server.body_budget import BodyBudget, BodyReservation, MinimumBodyRate, make_full_rejection

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
    """The settings for request bodies in files: those above `threshold` octets, on one of `paths`.

    `open_file(n)` makes a file for n octets (0: unknown). All files together have at most `max_octets`
    octets.
    """

    open_file: Callable[[int], SpooledBody]
    paths: frozenset[str]
    threshold: int
    max_octets: int


class BodySpool:
    """The files of one process; a sender may use a part of their room, but always one whole body."""

    def __init__(
        self,
        settings: SpoolSettings,
        max_body_octets: int,
        min_rate: MinimumBodyRate,
        clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._disk_budget = BodyBudget(settings.max_octets, max_body_octets, min_rate, clock)

    def accepts_path(self, path: str) -> bool:
        """Return whether the bodies of a path may go into files."""
        return path in self._settings.paths

    def make_collector(self, length: int | None, memory_reservation: BodyReservation) -> BodyCollector:
        """Return the taker of the pieces of one body; `length` is its number of octets, None if unknown."""
        disk_reservation = self._disk_budget.make_reservation(memory_reservation.sender)
        return BodyCollector(memory_reservation, self._settings, _BodyDiskSpace(disk_reservation, length))


@dataclass(frozen=True, slots=True)
class _BodyDiskSpace:
    """The room on disk of one body, and its length in octets where it is known."""

    reservation: BodyReservation
    length: int | None


class BodyCollector:
    """Collects the pieces of one body: in memory, or with `spool` in a file if the body is large."""

    def __init__(
        self,
        memory_reservation: BodyReservation,
        spool: SpoolSettings | None = None,
        disk_space: _BodyDiskSpace | None = None,
    ) -> None:
        self._memory_reservation = memory_reservation
        self._spool = spool
        self._disk_space = disk_space
        self._pieces: list[bytes] = []
        self._held_octets = 0
        self._is_given_up = False
        self.piece_count = 0
        self.file: SpooledBody | None = None

    @property
    def is_given_up(self) -> bool:
        """Whether the body was ended because others need its room."""
        return self._is_given_up

    @contextmanager
    def let_end(self, give_up: Callable[[], None]) -> Iterator[None]:
        """Let the body be ended for others while the block runs; `give_up` is called then, once."""

        def give_up_once() -> None:
            if not self._is_given_up:
                self._is_given_up = True
                give_up()

        with ExitStack() as stack:
            stack.enter_context(self._memory_reservation.let_end(give_up_once))
            if self._disk_space is not None:
                stack.enter_context(self._disk_space.reservation.let_end(give_up_once))
            yield

    async def add_piece(self, piece: bytes) -> None:
        """Add the next piece of the body; raises a 503 rejection if memory or disk budget is exceeded."""
        if self._is_given_up:
            raise make_full_rejection()
        self.piece_count += 1
        self._memory_reservation.record_pace(len(piece))
        if self._disk_space is not None:
            self._disk_space.reservation.record_pace(len(piece))
        self._memory_reservation.reserve_octets(len(piece))
        self._pieces.append(piece)
        self._held_octets += len(piece)
        if self._spool is not None and self._held_octets > (_BATCH if self.file else self._spool.threshold):
            await self._write_pieces()

    async def finish_body(self) -> bytes | SpooledBody:
        """Return the whole body; raises a 503 rejection if it was given up meanwhile."""
        if self._is_given_up:
            raise make_full_rejection()
        if self.file is None:
            pieces, self._pieces = self._pieces, []
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)
        await self._write_pieces()
        if self._is_given_up:
            raise make_full_rejection()
        return self.file

    async def _write_pieces(self) -> None:
        """Reserve space on the disk, write the collected octets to the file, and release their memory."""
        assert self._spool is not None
        assert self._disk_space is not None
        octets = b"".join(self._pieces)
        self._disk_space.reservation.reserve_octets(len(octets))
        await _run_blocking_work(lambda: self._write_octets(octets))
        self._pieces, self._held_octets = [], 0
        self._memory_reservation.release_all()

    def _write_octets(self, octets: bytes) -> None:
        """Write octets to the file, in a thread; the first call opens the file."""
        assert self._spool is not None
        assert self._disk_space is not None
        if self.file is None:
            self.file = self._spool.open_file(self._disk_space.length or 0)
        self.file.write(octets)

    def close(self) -> None:
        """Close the file, forget the octets, and release all that was reserved."""
        self._pieces = []
        if self.file is not None:
            self.file.close()
        if self._disk_space is not None:
            self._disk_space.reservation.release_all()
        self._memory_reservation.release_all()


async def _run_blocking_work(work: Callable[[], None]) -> None:
    """Run blocking work in a thread; also where the request is given up, the work ends before its file."""
    future = asyncio.get_running_loop().run_in_executor(None, work)
    try:
        await asyncio.shield(future)
    except asyncio.CancelledError:
        await asyncio.wait({future})
        raise
