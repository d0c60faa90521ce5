"""A receipt is compared with the envelope of what we sent; the parts of a large message are not read."""

from __future__ import annotations

import random
import sqlite3.dbapi2
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from sqlalchemy import Engine

from gateway.errors import GatewayError
from gateway.message_model import Payload
from gateway.protocols import Parcel
from gateway.store import make_engine
from tests.flows.test_streamed_messages import PLAIN
from tests.kit.databases import BOTH
from tests.kit.house import AGREEMENT, AS4, House, Neighbour
from tests.kit.sent_fragments import PULLED_SMALL, PulledStory

MEBI = 1024**2
#: Octets of a body that may be read: the first steps of it.
FEW = 3 * MEBI
#: Statements for handing out a fragment, and for taking its receipt.
MOST_OF_PULL, MOST_OF_RECEIPT = 15, 17


@dataclass
class CountedBody:
    """A body that notes how many of its octets are read."""

    content: bytes
    read: list[int] = field(default_factory=list)

    @property
    def octet_count(self) -> int:
        return len(self.content)

    @property
    def sha256_hex(self) -> str:
        raise AssertionError("its digest is asked for")

    def open_stream(self) -> BinaryIO:
        noted = self.read

        class Stream(BytesIO):
            def read(self, count: int | None = -1, /) -> bytes:
                octets = super().read(count)
                noted.append(len(octets))
                return octets

        return Stream(self.content)


@pytest.mark.long
@BOTH
@pytest.mark.parametrize("agreement", [AGREEMENT, PLAIN, AS4], ids=["ebms2", "as4", "as4-gzip"])
def test_of_a_large_message_only_the_envelope_is_read(engine: Engine, agreement: bytes) -> None:
    house = House(engine, agreement=agreement)
    broker = Neighbour("broker1", house.clock, house.agreement)
    unit = broker.message()
    # It hardly gets smaller by gzip.
    large = Payload("large@broker1", "application/octet-stream", b"".join(_draw(12 * MEBI)))
    sealed = broker.seal(replace(unit, payloads=(*unit.payloads, large)))
    body = CountedBody(sealed.read_octets())
    limits = broker.context().limits
    whole = broker.core.read_sent_unit(sealed, limits)
    assert len(whole.unit.payloads) == 2  # type: ignore[union-attr]
    # What is sent may be larger than what is taken of others.
    narrow = replace(limits, body=MEBI)
    with pytest.raises(GatewayError, match="GW102"):
        broker.core.read_sent_unit(sealed, narrow)
    parcel: Any = Parcel(sealed.headers, body)
    found = broker.core.read_sent_header(parcel, narrow)
    assert found == replace(whole, unit=replace(whole.unit, payloads=()))  # type: ignore[arg-type]
    assert 0 < sum(body.read) < FEW


def _draw(count: int) -> Iterator[bytes]:
    drawn = random.Random(1)
    yield from (drawn.randbytes(MEBI) for _ in range(count // MEBI))


@pytest.mark.long
def test_the_receipt_of_a_whole_counts_that_is_larger_than_what_is_taken(
    engine: Engine, tmp_path: Path
) -> None:
    story = PulledStory(engine, tmp_path)
    story.file()
    story.tick(seconds=1)
    story.pull_all()
    limit = len(story.joiner.receipts[-1].body) + 1
    assert len(story.joiner.octets[-1]) > limit
    story.hub.limits = replace(story.hub.limits, body=limit)
    assert story.post_receipt().status == 204
    assert (story.whole().state, story.case().state) == ("DELIVERED", "CLOSED")


class StatementCount:
    """Counts the statements that SQLite runs in this process, whoever gave them to it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen = 0
        connect = sqlite3.dbapi2.connect

        def connect_traced(*given: Any, **named: Any) -> sqlite3.Connection:
            made = connect(*given, **named)
            made.set_trace_callback(self._note)
            return made

        monkeypatch.setattr(sqlite3.dbapi2, "connect", connect_traced)

    def _note(self, statement: str) -> None:
        # What a trigger runs is traced as a comment; a transaction begins and ends by statements of its own.
        if not statement.startswith(("--", "BEGIN", "COMMIT", "ROLLBACK", "PRAGMA")):
            self.seen += 1

    def take(self) -> int:
        """Return how many there were since it was last asked."""
        seen, self.seen = self.seen, 0
        return seen


@pytest.mark.long
@pytest.mark.parametrize("size", [1500, 300], ids=["few", "many"])
def test_the_work_for_a_fragment_does_not_grow_with_their_number(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    count = StatementCount(monkeypatch)
    engine = make_engine(sqlite_url)
    agreement = PULLED_SMALL.replace(b"fragment_size: 1500", b"fragment_size: %d" % size).replace(
        b"message_size: 10000000", b"message_size: 1000000"
    )
    story = PulledStory(engine, tmp_path, agreement)
    story.file()
    story.tick(seconds=1)
    number = story.group().count
    assert number > (20 if size == 300 else 4)
    pulls, receipts = [], []
    for _ in range(number):
        count.take()
        receipt = story.take(story.pull())
        pulls.append(count.take())
        assert story.acknowledge(receipt).status == 204
        receipts.append(count.take())
    assert max(pulls) == min(pulls) <= MOST_OF_PULL, pulls
    assert max(receipts) == min(receipts) <= MOST_OF_RECEIPT, receipts
    engine.dispose()
