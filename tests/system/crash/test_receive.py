"""Killed between commit and answer, the hub answers the repeat with the stored octets."""

from __future__ import annotations

import hashlib
import signal
from pathlib import Path

import pytest

from gateway.store import make_engine, messages, read_transaction
from tests.kit.databases import in_turn
from tests.kit.gateway import RunningGateway
from tests.kit.house import Clock, Neighbour
from tests.kit.live import LiveHouse

pytestmark = pytest.mark.long


@in_turn
@pytest.mark.parametrize("point", ["receive.message.before_commit", "receive.message.after_commit"])
def test_a_kill_around_the_commit_loses_nothing(tmp_path: Path, database_url: str, point: str) -> None:
    live = LiveHouse(tmp_path, database_url)
    broker = Neighbour("broker1", Clock(live.now), live.agreement)
    parcel = broker.seal(broker.message(content=b"<declaration/>"))
    with RunningGateway(live.home, "serve", failpoint=point) as gateway:
        assert gateway.post(live.url, parcel) is None
        assert gateway.ended_by() == signal.SIGKILL
    engine = make_engine(database_url)
    with read_transaction(engine) as conn:
        kept = messages.list_messages(conn)
    assert len(kept) == (1 if point.endswith("after_commit") else 0)
    with RunningGateway(live.home, "serve") as gateway:
        answers = [gateway.post(live.url, parcel) for _ in range(2)]
    with read_transaction(engine) as conn:
        (row,) = messages.list_messages(conn)
        stored = messages.find_response(conn, row.id)
    engine.dispose()
    assert stored is not None
    for answer in answers:
        assert answer is not None
        assert hashlib.sha256(answer.body).hexdigest() == row.answer_sha256
        assert answer.body == stored.body
        broker.open(answer, parcel)
