"""Two last decisions at the same instant: the second sees the first, and the case is decided once."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, Row, text

from gateway.cases import Decision, DecisionCode, Notice
from gateway.hub.completion import conclude
from gateway.hub.deadlines.case_deadlines import settle_deadlines
from gateway.state_machines import CASE
from gateway.store import (
    agency_requests,
    cases,
    deadlines,
    deliveries,
    make_engine,
    open_requests,
    read_transaction,
    write_transaction,
)
from tests.flows.craft import without_applications
from tests.kit.cases import OpenCase, open_case
from tests.kit.databases import in_turn
from tests.kit.story import QUIET, Story

ASKED = {"KPTA": [(1, "01")], "KFDA": [(2, "05")]}


def opened(story: Story, number: int) -> list[OpenCase]:
    story.submit(story.submission(without_applications), attach=False)
    story.tick()
    with write_transaction(story.house.engine) as conn:
        many = [open_case(conn, 1, one, ASKED) for one in range(1, number + 1)]
        for one in many:
            # As at admission: what is due begins then, and no decision has to begin it for the other.
            settle_deadlines(conn, story.hub, one.id, story.clock())
        return many


def decide_all_at_once(story: Story, many: list[OpenCase]) -> None:
    """Let two agencies decide each case at the same instant, from two threads."""
    together = threading.Barrier(2)

    def decide(agency: str) -> None:
        for one in many:
            ((item, law),) = ASKED[agency]
            decision = Decision(item, law, DecisionCode.APPROVED, f"P-{one.id}")
            notice = Notice(f"N-{one.id}", story.clock(), "R01", (decision,))
            together.wait(60)
            one.hear(story.hub, agency, notice)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(decide, ASKED))


def states(story: Story, many: list[OpenCase]) -> Counter[str]:
    with read_transaction(story.house.engine) as conn:
        return Counter(cases.find_by_id(conn, one.id).state for one in many)  # type: ignore[union-attr]


def tasks(story: Story, many: list[OpenCase], agent: str, key: str) -> Counter[int]:
    """Return how many deliveries of a kind each case has."""
    with read_transaction(story.house.engine) as conn:
        return Counter(
            one.id
            for one in many
            for row in deliveries.list_by_case(conn, one.id)
            if row.agent == agent and row.dedupe_key.startswith(key)
        )


def work_it_off(story: Story, workers: int) -> None:
    """Let several workers do everything that is due."""

    def work(number: int) -> None:
        worker = story.new_worker(f"w{number}")
        while worker.run_once():
            pass

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(work, range(workers)))
    while story.worker.run_once():
        pass


def race(story: Story, number: int) -> None:
    many = opened(story, number)
    decide_all_at_once(story, many)
    decided = states(story, many)
    print(f"\n{story.house.engine.dialect.name}: {number} cases, {decided['DECIDED']} decided")
    assert decided == {"DECIDED": number}
    assert set(tasks(story, many, "local", "conclude:").values()) == {1}
    work_it_off(story, 2)
    told = tasks(story, many, "msh", "result:")
    assert told == Counter({one.id: 1 for one in many})
    assert states(story, many) == {"CLOSED": number}
    assert tasks(story, many, "soap", "customs:19") == told
    print(f"{sum(told.values())} results, one each")
    for one in (many[0], many[-1]):
        events = [event for event, _ in story.steps(CASE, one.id)]
        assert events == ["dispatch", "decision", "last_decision", "relayed"]
        assert story.evidence("case", one.id).count("decided") == 1


@pytest.mark.long
@in_turn
def test_two_last_decisions_at_once_decide_the_case(engine: Engine) -> None:
    race(Story(engine), 12)


@in_turn
@pytest.mark.night
def test_of_three_hundred_cases_three_hundred_are_decided(engine: Engine) -> None:
    race(Story(engine, agreement=QUIET), 300)


@pytest.fixture
def postgresql(postgresql_url: str) -> Iterator[Engine]:
    made = make_engine(postgresql_url)
    yield made
    made.dispose()


@pytest.mark.long
def test_without_the_lock_cases_stay_undecided(postgresql: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shows that the race is there and that the lock is what wins it."""
    story = Story(postgresql)
    many = opened(story, 40)
    monkeypatch.setattr(cases, "lock_case", cases.find_by_id)
    monkeypatch.setattr(open_requests, "lock_case_of_request", _find_case_of_request)
    decide_all_at_once(story, many)
    left = states(story, many)
    print(f"\nwithout the lock: of {len(many)} cases {left['IN_PROGRESS']} are undecided")
    assert left["IN_PROGRESS"] > 0


def _find_case_of_request(conn: Connection, request: int) -> Row[Any] | None:
    row = agency_requests.find_by_id(conn, request)
    return None if row is None else cases.find_by_id(conn, row.case_id)


def wait_until_it_ends_or_waits(engine: Engine, other: Future[None]) -> None:
    """Return when `other` is done, or waits for a lock of the database."""
    waits = text("SELECT count(*) FROM pg_stat_activity"
                 " WHERE datname = current_database() AND wait_event_type = 'Lock'")  # fmt: skip
    for _ in range(6000):
        with engine.connect() as conn:
            if other.done() or conn.execute(waits).scalar_one():
                return
        time.sleep(0.01)
    raise AssertionError("the other transaction neither ended nor waited")


@pytest.mark.long
def test_a_loaded_calendar_waits_for_a_case_whose_deadlines_change(postgresql: Engine) -> None:
    """The load locks no case: both lock the deadlines in their order, so neither has what the other wants."""
    story = Story(postgresql)
    (one,) = opened(story, 1)
    with write_transaction(postgresql) as conn:
        conn.execute(text("UPDATE deadlines SET state = 'UNKNOWN'"))
        wanted = [row.id for row in deadlines.list_live(conn, one.id)]
    assert len(wanted) > 1
    with ThreadPoolExecutor(1) as pool:

        def load() -> None:
            with write_transaction(postgresql) as conn:
                assert deadlines.wake_unknown(conn, story.clock()) >= len(wanted)

        with write_transaction(postgresql) as conn:
            assert [row.id for row in deadlines.list_live(conn, one.id)] == wanted
            deadlines.change_deadline(conn, wanted[-1], {"problem": "the last first"})
            loading = pool.submit(load)
            wait_until_it_ends_or_waits(postgresql, loading)
            deadlines.change_deadline(conn, wanted[0], {"problem": "the first last"})
        loading.result(60)


@pytest.mark.long
def test_a_correction_waits_for_a_conclusion_that_has_read_the_decisions(
    postgresql: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the lock the corrected result is sent first, and the overtaken one after it."""
    story = Story(postgresql, agreement=QUIET)
    story.submit()
    story.tick()
    story.decide_all()
    story.clock.forward(seconds=1)
    corrected = story.notice("KPTA", DecisionCode.REJECTED, number="N2", status="R03")
    store, others = conclude.store_message, ThreadPoolExecutor(1)
    started: list[Future[None]] = []

    def correct() -> None:
        story.hear("KPTA", corrected)
        worker = story.new_worker("w2")
        while worker.run_once():
            pass

    def store_late(*words: Any) -> None:
        if not started:
            started.append(others.submit(correct))
            wait_until_it_ends_or_waits(postgresql, started[0])
        store(*words)

    monkeypatch.setattr(conclude, "store_message", store_late)
    story.tick()
    started[0].result(60)
    others.shutdown()
    story.tick()
    assert [one.findtext("{*}Outcome") for one in story.inbox.documents("Result")] == ["APPROVED", "PARTIAL"]
    assert story.case().state == "CLOSED"
