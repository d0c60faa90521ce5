"""A large body goes into a file while it arrives, uses no memory, and leaves nothing when it is refused."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from gateway.errors import GatewayError
from gateway.store import ObjectFolder
from gateway.store.object_folder import ArrivingFile
from gateway.web.server import SpoolSettings
from gateway.web.server.body_budget import BodyBudget, BodySender, MinimumBodyRate
from gateway.web.server.body_collector import BodyCollector, BodySpool
from gateway.web.server.request_bodies import read_whole_body

SENDER = BodySender("party broker1", "broker1", is_proved=True)
MEBI = 1024**2
PATH = "/msh/ebms2"


def make_budget(octets: int, largest: int) -> BodyBudget:
    return BodyBudget(octets, largest, MinimumBodyRate(30.0, 1000), time.monotonic)


async def pieces(sent: Sequence[bytes]) -> AsyncIterator[bytes]:
    for one in sent:
        yield one


def make_spool(folder: Path, room: int = 10 * MEBI, largest: int = 10 * MEBI, reserve: int = 0) -> BodySpool:
    made = ObjectFolder(folder, reserve=reserve)
    settings = SpoolSettings(made.open_arriving_file, frozenset({PATH}), MEBI, room)
    return BodySpool(settings, largest, MinimumBodyRate(30.0, 1000), time.monotonic)


def receive(taker: BodyCollector, sent: Sequence[bytes], length: int | None = None) -> bytes | None:
    """Return a body that was held in memory; None where it is in a file, which has its octets."""

    async def read() -> bytes | None:
        whole = await read_whole_body(pieces(sent), length, 100 * MEBI, MinimumBodyRate(30, 1), taker)
        if isinstance(whole, bytes):
            return whole
        with whole.open_stream() as stream:
            assert stream.readall() == b"".join(sent)
        return None

    return asyncio.run(read())


def list_files(folder: Path) -> list[Path]:
    return [one for one in folder.rglob("*") if one.is_file()]


def test_a_large_body_is_in_a_file_and_memory_is_given_back(tmp_path: Path) -> None:
    memory = make_budget(2 * MEBI, 2 * MEBI)
    spool = make_spool(tmp_path)
    sent = [bytes([number]) * (MEBI // 4) for number in range(20)]
    taker = spool.make_collector(5 * MEBI, memory.make_reservation(SENDER))
    assert receive(taker, sent, 5 * MEBI) is None
    memory.make_reservation(SENDER).reserve_octets(2 * MEBI)
    assert len(list_files(tmp_path)) == 1
    taker.close()
    assert list_files(tmp_path) == []


def test_a_small_body_stays_in_memory(tmp_path: Path) -> None:
    taker = make_spool(tmp_path).make_collector(None, make_budget(MEBI, MEBI).make_reservation(SENDER))
    assert receive(taker, [b"small", b""]) == b"small"
    taker.close()
    assert list_files(tmp_path) == []


def test_what_is_cut_off_or_has_no_room_leaves_nothing(tmp_path: Path) -> None:
    sent = [b"x" * MEBI] * 5
    for room, length, words in (
        (10, 6 * MEBI, "the body ends after"),
        (3, 5 * MEBI, "too much arrives at once"),
    ):
        spool = make_spool(tmp_path, room=room * MEBI, largest=3 * MEBI if room == 3 else 10 * MEBI)
        memory = make_budget(4 * MEBI, 4 * MEBI)
        taker = spool.make_collector(length, memory.make_reservation(SENDER))
        with pytest.raises(GatewayError, match=words):
            receive(taker, sent, length)
        taker.close()
        assert list_files(tmp_path) == []
        memory.make_reservation(SENDER).reserve_octets(4 * MEBI)
        other = make_budget(4 * MEBI, 4 * MEBI).make_reservation(SENDER)
        again = spool.make_collector(None, other)
        assert receive(again, [b"x" * MEBI, b"y" * MEBI, b""]) is None
        again.close()


def test_a_disk_without_room_beside_the_reserve_takes_no_body(tmp_path: Path) -> None:
    spool = make_spool(tmp_path, reserve=2**60)
    taker = spool.make_collector(5 * MEBI, make_budget(9 * MEBI, 9 * MEBI).make_reservation(SENDER))
    with pytest.raises(GatewayError, match="GW806") as refused:
        receive(taker, [b"x" * MEBI] * 5, 5 * MEBI)
    assert refused.value.problem.codes.http == 503
    taker.close()
    assert list_files(tmp_path) == []


def test_only_paths_of_messages_have_files(tmp_path: Path) -> None:
    spool = make_spool(tmp_path)
    assert spool.accepts_path(PATH)
    assert not spool.accepts_path("/soap/agency")


def test_a_request_that_is_given_up_ends_after_its_writing(tmp_path: Path) -> None:
    """A descriptor that is closed while a thread writes to it may be another file by then."""
    made, ended = ObjectFolder(tmp_path), []

    class SlowFile(ArrivingFile):
        def write(self, octets: bytes) -> None:
            time.sleep(0.2)
            super().write(octets)
            ended.append(len(octets))

    def open_file(_: int) -> SlowFile:
        made.open_arriving_file().close()
        return SlowFile(tmp_path / "new")

    settings = SpoolSettings(open_file, frozenset({PATH}), MEBI, 10 * MEBI)
    spool = BodySpool(settings, 10 * MEBI, MinimumBodyRate(30.0, 1000), time.monotonic)
    taker = spool.make_collector(None, make_budget(9 * MEBI, 9 * MEBI).make_reservation(SENDER))

    async def give_up() -> None:
        try:
            async with asyncio.timeout(0.05):
                await taker.add_piece(b"x" * 2 * MEBI)
        finally:
            assert ended == [2 * MEBI]
            taker.close()

    with pytest.raises(TimeoutError):
        asyncio.run(give_up())
    assert list_files(tmp_path) == []
