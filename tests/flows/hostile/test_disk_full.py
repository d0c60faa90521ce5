"""A full disk: nothing new is taken, nothing is lost, and it ends by itself.

On a file system of its own where the machine lets us mount one, else as `tests.kit.disk` says.
"""

from __future__ import annotations

import logging
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, func, make_url, select, update
from sqlalchemy.exc import OperationalError

from gateway.cli import main
from gateway.hub.outbox.outgoing_calls import RefusalQuota
from gateway.message_model import MemoryBody
from gateway.monitor import health, metrics
from gateway.protocols import Parcel
from gateway.store import (
    DeliveryLease,
    HttpResponse,
    InsufficientStorageError,
    deliveries,
    delivery_leases,
    disk_reserve,
    get_database_state,
    make_engine,
    messages,
    migrate_schema,
    payloads,
    read_transaction,
    retry_until_stored,
    state_counts,
    write_transaction,
)
from tests.kit import disk as kit
from tests.kit import tables
from tests.kit.databases import Templates, in_turn
from tests.kit.desk import Desk
from tests.kit.disk import Disk
from tests.kit.house import AGREEMENT, House, Neighbour
from tests.kit.live import LiveHouse
from tests.kit.rows import NOW, delivery
from tests.kit.story import Story

pytestmark = pytest.mark.long

#: Octets of a message's payload: some thousand fill the disk, one does not fit into what is left.
PAYLOAD = b"<a>" + b"x" * 60_000 + b"</a>"


@dataclass
class Full:
    """An engine whose disk the test fills."""

    engine: Engine
    url: str
    disk: Disk
    kind: str


@pytest.fixture(params=["sqlite", "postgresql"])
def full(request: pytest.FixtureRequest, templates: Templates) -> Iterator[Full]:
    """Give a database on a disk that can be filled."""
    kind = request.param
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gateway-disk-"))) / "disk"
        folder.parent.chmod(0o755)
        small = stack.enter_context(kit.small_disk(folder, 24))
        url = templates.fresh(kind)
        # Dropped with its disk, when it lies on one; dropping again changes nothing.
        stack.callback(templates.drop, url)
        if kind == "sqlite":
            if small is not None:
                path = folder / "gateway.sqlite3"
                shutil.copyfile(str(make_url(url).database), path)
                url = f"sqlite:///{path}"
            disk: Disk = small or stack.enter_context(kit.stunted_files(url))
        elif small is not None:
            stack.enter_context(kit.tablespace_on(folder, url))
            disk = small
        else:
            disk = stack.enter_context(kit.refusing_postgresql(url))
        engine = make_engine(url)
        stack.callback(engine.dispose)
        stack.callback(disk.empty)
        yield Full(engine, url, disk, "mounted" if small else "played")


@dataclass
class Sender:
    """A broker that sends, and keeps what was receipted and what was refused."""

    house: House
    broker: Neighbour
    receipted: list[tuple[Parcel, HttpResponse]] = field(default_factory=list)
    refused: list[Parcel] = field(default_factory=list)

    def send(self, parcel: Parcel | None = None) -> bool:
        """Send one message; say whether it was receipted, else it was refused as it should be."""
        parcel = parcel or self.broker.seal(self.broker.message(content=PAYLOAD))
        answer = self.house.post(parcel)
        if answer.status == 200:
            self.broker.open(answer, parcel)
            self.receipted.append((parcel, answer))
            return True
        assert answer.status == 503
        assert b"GW806" in answer.body
        self.refused.append(parcel)
        return False

    def send_until_refused(self, most: int = 1500) -> None:
        """Send until `most` messages found room, or one did not."""
        for _ in range(most):
            if not self.send():
                return
        raise AssertionError(f"{most} messages found room on a full disk")


def sending(full: Full) -> Sender:
    house = House(full.engine)
    return Sender(house, Neighbour("broker1", house.clock))


def counted(engine: Engine, table: Any) -> int:
    with read_transaction(engine) as conn:
        return int(conn.execute(select(func.count()).select_from(table)).scalar_one())


def check_rows(engine: Engine, receipted: list[tuple[Parcel, HttpResponse]]) -> None:
    """What was receipted is there, whole and once; of what was refused nothing is."""
    number = len(receipted)
    assert counted(engine, tables.messages) == number
    assert counted(engine, tables.message_payloads) == number
    assert counted(engine, tables.evidence) == number
    assert counted(engine, tables.transitions) == number
    with read_transaction(engine) as conn:
        bodies = conn.execute(select(tables.messages.c.answer_body)).scalars().all()
        parcels = [
            messages.load_parcel(conn, row)[1] for row in conn.execute(select(tables.messages.c.id)).scalars()
        ]
    assert sorted(bodies) == sorted(answer.body for _, answer in receipted)
    assert sorted(parcels) == sorted(parcel.body.open_stream().read() for parcel, _ in receipted)


def test_filled_while_messages_come_it_refuses_loses_nothing_and_recovers(
    full: Full, caplog: pytest.LogCaptureFixture
) -> None:
    sender = sending(full)
    for _ in range(5):
        assert sender.send()
    assert health.find_readiness_problem(full.engine) is None
    full.disk.fill()
    with caplog.at_level(logging.WARNING):
        sender.send_until_refused()
        for _ in range(20):
            sender.send()
    assert len(sender.refused) > 10
    # Whoever has a receipt gets it again, the same octets, on the full disk.
    for parcel, answer in (sender.receipted[0], sender.receipted[-1]):
        assert sender.house.post(parcel) == answer
    told = [one for one in caplog.records if one.levelno >= logging.WARNING]
    # Refusals cannot be counted while the disk is full: that is told once. Hubs of other tests tell theirs.
    counted = [one for one in told if one.name == "gateway.hub.intake.refusal_tally"]
    assert len([one for one in counted if "cannot be counted" in one.getMessage()]) <= 1
    told = [one for one in told if one not in counted]
    assert [(one.name, one.levelname) for one in told] == [("gateway.store.disk_reserve", "ERROR")]
    assert "GW806" in told[0].getMessage()
    problem = health.find_readiness_problem(full.engine)
    assert problem is not None
    assert problem.problem.id == "GW806"
    assert "gateway_database_short 1.0\n" in metrics.render_metrics(full.engine)
    check_rows(full.engine, sender.receipted)

    full.disk.empty()
    again, sender.refused = sender.refused, []
    assert all(sender.send(parcel) for parcel in again)
    for parcel, answer in sender.receipted:
        assert sender.house.post(parcel) == answer
    check_rows(full.engine, sender.receipted)


def test_there_is_room_again_when_nothing_was_refused_for_a_while(
    full: Full, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    sender = sending(full)
    full.disk.fill()
    sender.send_until_refused()
    full.disk.empty()
    known = get_database_state(full.engine).reserve
    assert known.is_lacking
    assert health.find_readiness_problem(full.engine) is not None, "one small commit shows nothing"
    monkeypatch.setattr(disk_reserve, "_CALM", 0.0)
    with caplog.at_level(logging.WARNING):
        assert health.find_readiness_problem(full.engine) is None
    assert not known.is_lacking
    assert "new messages are taken again" in caplog.records[-1].getMessage()
    assert "gateway_database_short 0.0\n" in metrics.render_metrics(full.engine)


def test_a_process_that_begins_on_a_full_disk_begins_when_there_is_room(full: Full) -> None:
    assert sending(full).send()
    full.engine.dispose()
    full.disk.fill()
    waited = []

    def wait(seconds: float) -> None:
        waited.append(seconds)
        full.disk.empty()

    def begin() -> int:
        migrate_schema(full.engine)
        with write_transaction(full.engine) as conn:
            payloads.store_payload(conn, PAYLOAD * 10, NOW)
        return 7

    assert retry_until_stored(begin, wait=wait) == 7
    assert waited == [1.0]


@in_turn
def test_work_that_was_taken_is_done_out_of_the_reserve(database_url: str) -> None:
    """Short of room nothing new is taken; repeats get their receipts, and what was taken comes to its end."""
    # On PostgreSQL a folder says which disk it is.
    engine = make_engine(database_url, reserve_octets=1 << 60, volume=str(Path.cwd()))
    known = get_database_state(engine).reserve
    story = Story(engine)
    sender = Sender(story.house, story.broker)
    assert not sender.send()
    known.reserved_octets = 0
    story.submit()
    assert sender.send()
    parcel, answer = sender.receipted[0]

    known.reserved_octets = 1 << 60
    assert not sender.send()
    assert story.house.post(parcel) == answer
    problem = health.find_readiness_problem(engine)
    assert problem is not None
    assert (problem.problem.id, problem.location) == ("GW806", "database.reserve")
    shown = metrics.render_metrics(engine)
    assert "gateway_database_short 1.0\n" in shown
    assert "gateway_database_reserve_octets 1.152921504606847e+18\n" in shown
    story.tick()
    story.decide_all()
    story.tick()
    assert (story.case().state, story.case().outcome) == ("CLOSED", "APPROVED")
    assert len(story.inbox.documents("Result")) == 1
    incoming = select(tables.messages).where(tables.messages.c.direction == "in")
    assert counted(engine, incoming.subquery()) == 2
    known.reserved_octets = 0
    assert all(sender.send(one) for one in [*sender.refused])
    engine.dispose()


def test_the_reserve_is_measured_on_the_disk_of_the_database(tmp_path: Path) -> None:
    free = disk_reserve.DiskReserve(str(tmp_path), 1).measure_free_octets()
    assert free is not None
    known = disk_reserve.DiskReserve(str(tmp_path), free // 2)
    assert known.find_shortage() is None
    assert known.find_shortage(free // 4) is None
    with pytest.raises(InsufficientStorageError, match="GW806"):
        known.require_octets(free)
    assert known.is_lacking
    assert disk_reserve.DiskReserve(str(tmp_path / "gone"), 1 << 60).find_shortage(1) is None
    assert disk_reserve.DiskReserve(None, 1 << 60).find_shortage(1) is None


@in_turn
def test_a_refusal_by_post_takes_nothing_of_the_reserve(engine: Engine) -> None:
    asynchronous = AGREEMENT.replace(b"mshSignalsOnly", b"none")
    assert asynchronous != AGREEMENT
    house = House(engine, agreement=asynchronous)
    broker = Neighbour("broker1", house.clock, asynchronous)
    sealed = [broker.seal(broker.message(content=b"<a>abc</a>")) for _ in range(2)]
    spoilt = [
        Parcel(one.headers, MemoryBody(one.body.open_stream().read().replace(b"<a>abc</a>", b"<a>abd</a>")))
        for one in sealed
    ]
    known = get_database_state(engine).reserve
    get_database_state(engine).reserve = disk_reserve.DiskReserve(str(Path.cwd()), 1 << 60)
    answer = house.post(spoilt[0])
    assert (answer.status, b"GW202" in answer.body) == (200, True)
    assert counted(engine, tables.deliveries) == 0
    get_database_state(engine).reserve = known
    assert house.post(spoilt[1]).status == 204
    assert counted(engine, tables.deliveries) == 1


@in_turn
def test_refusals_by_post_are_so_many_an_hour_even_when_each_is_delivered(engine: Engine) -> None:
    quota, begun = RefusalQuota(200), NOW
    assert all(quota.acquire_slot("http://a.example", begun + timedelta(seconds=n)) for n in range(200))
    assert not quota.acquire_slot("http://a.example", begun + timedelta(seconds=300))
    assert quota.acquire_slot("http://b.example", begun + timedelta(seconds=300))
    assert quota.acquire_slot("http://a.example", begun + timedelta(hours=1))
    assert not quota.acquire_slot("http://a.example", begun + timedelta(hours=1))
    # The clock was a day ahead, and is set back.
    assert all(quota.acquire_slot("http://c.example", begun + timedelta(days=1)) for _ in range(200))
    assert quota.acquire_slot("http://c.example", begun)

    asynchronous = AGREEMENT.replace(b"mshSignalsOnly", b"none")
    house = House(engine, agreement=asynchronous)
    broker = Neighbour("broker1", house.clock, asynchronous)
    spoilt = [
        Parcel(one.headers, MemoryBody(one.body.open_stream().read().replace(b"<a>abc</a>", b"<a>abd</a>")))
        for one in (broker.seal(broker.message(content=b"<a>abc</a>")) for _ in range(203))
    ]
    answers = []
    for parcel in spoilt:
        answers.append(house.post(parcel).status)
        with write_transaction(engine) as conn:
            # The partner takes each at once: none waits.
            conn.execute(update(tables.deliveries).values(state="DELIVERED"))
    assert answers == [204] * 200 + [200] * 3
    assert counted(engine, tables.deliveries) == 200


def test_a_worker_that_finds_no_room_stores_later_what_it_did(
    full: Full, caplog: pytest.LogCaptureFixture
) -> None:
    def act(lease: DeliveryLease) -> None:
        if lease.attempt > 1:
            return
        full.disk.fill()
        for number in range(100_000):
            with write_transaction(full.engine) as conn:
                payloads.store_payload(conn, b"%d" % number, NOW)

    desk = Desk(full.engine, act)
    (one,) = desk.queue()
    with caplog.at_level(logging.WARNING):
        assert desk.worker.run_once() == 1
        # Longer than the lease: nobody takes it for a worker that died.
        desk.clock.forward(seconds=61)
        with suppress(InsufficientStorageError):
            desk.worker.run_maintenance()
        full.disk.empty()
        desk.worker.run_maintenance()
        desk.clock.forward(seconds=6)
        desk.worker.run_maintenance()
        assert desk.worker.run_once() == 1
    row = desk.row(one)
    assert (row.state, row.tries, row.lost) == ("DELIVERED", 1, 0)
    assert desk.events(one) == ["lease", "defer", "lease", "delivered"]
    assert desk.postman.given_up == []
    assert [one.name for one in caplog.records if one.levelno > logging.WARNING] == [
        "gateway.store.disk_reserve"
    ]


def test_a_worker_on_a_full_disk_waits_and_says_nothing(
    sqlite_url: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_engine(sqlite_url)
    desk = Desk(engine)
    (one,) = desk.queue()
    asked = []
    real = delivery_leases.claim_lane

    def claim(*arguments: Any, **words: Any) -> Any:
        asked.append(1)
        if len(asked) <= 2:
            full = sqlite3.OperationalError("database or disk is full")
            full.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise OperationalError("INSERT", {}, full)
        return real(*arguments, **words)

    monkeypatch.setattr(delivery_leases, "claim_lane", claim)
    monkeypatch.setattr("gateway.delivery.delivery_worker._NO_SPACE_PAUSE_SECONDS", 0.01)
    with caplog.at_level(logging.WARNING):
        stop = threading.Event()
        thread = threading.Thread(target=desk.worker.run, args=(stop,))
        thread.start()
        while desk.row(one).state != "DELIVERED" and thread.is_alive():
            stop.wait(0.01)
        stop.set()
        thread.join(30)
    assert desk.row(one).state == "DELIVERED"
    assert [(one.name, one.levelname) for one in caplog.records] == [("gateway.store.disk_reserve", "ERROR")]
    engine.dispose()


def test_a_verb_that_finds_no_room_says_so_in_one_line(full: Full, tmp_path: Path) -> None:
    live = LiveHouse(tmp_path, full.url)
    with write_transaction(full.engine) as conn:
        numbers = [deliveries.enqueue_delivery(conn, delivery(), NOW) for _ in range(1500)]
    full.engine.dispose()
    full.disk.fill()
    words = ["queue", "hold", *map(str, numbers), "--home", str(live.home)]
    ended = subprocess.run([sys.executable, "-m", "gateway", *words], capture_output=True, text=True)
    assert ended.returncode == 1
    assert ended.stderr.startswith("gateway: GW806 ")
    assert (ended.stdout, ended.stderr.count("\n")) == ("", 1)
    full.disk.empty()
    with read_transaction(full.engine) as conn:
        assert state_counts.count_deliveries(conn)["QUEUED"] == len(numbers)
    assert main(words) == 0
    with read_transaction(full.engine) as conn:
        assert state_counts.count_deliveries(conn)["HELD"] == len(numbers)
