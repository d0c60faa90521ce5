"""The statistics of each day count every step once, and a correction moves what was counted."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from sqlalchemy import Engine

from gateway.cases import DecisionCode
from gateway.errors import GatewayError
from gateway.hub import statistics_keeper
from gateway.state_machines import REQUEST
from gateway.store import (
    StatisticsFilter,
    StatisticsSubjectRow,
    daily_statistics,
    find_duration_band,
    read_transaction,
    write_transaction,
)
from gateway.store.cases import cases
from gateway.store.daily_statistics import BAND_LIMITS, estimate_quantile
from gateway.store.daily_statistics import daily_statistics as sums
from tests.kit.databases import in_turn
from tests.kit.story import LAWS, Story, asked


@pytest.fixture
def story(engine: Engine) -> Story:
    return Story(engine)


def count(story: Story) -> None:
    """Let the upkeep run as often as PostgreSQL needs."""
    for _ in range(6):
        story.hub.statistics.count_new_steps()


def total(story: Story, measure: str, by: tuple[str, ...] = (), **wanted: str) -> dict[tuple[str, ...], int]:
    day = story.clock().date()
    found = StatisticsFilter(measure, day - timedelta(days=40), day + timedelta(days=1), **wanted)
    with read_transaction(story.house.engine) as conn:
        rows = daily_statistics.sum_statistics(conn, found, by)
    return {tuple(str(row[place]) for place in range(len(by))): int(row.number) for row in rows}


def decide_story(story: Story, **but: DecisionCode) -> None:
    story.submit()
    story.tick()
    for agency in LAWS:
        story.decide(agency, but.get(agency, DecisionCode.APPROVED))
    story.tick(hours=5)


@pytest.mark.long
@in_turn
def test_a_case_that_goes_through_is_counted_once_everywhere(story: Story) -> None:
    decide_story(story)
    count(story)
    for party in ("", "broker1"):
        assert total(story, "case_opened", party=party) == {(): 1}
        assert total(story, "case_outcome", ("outcome",), party=party) == {("APPROVED",): 1}
        assert total(story, "case_first_right", party=party) == {(): 1}
        assert total(story, "request_outcome", ("agency", "outcome"), party=party) == {
            (agency, "APPROVED"): 1 for agency in LAWS
        }
    assert total(story, "case_outcome", party="somebody") == {}
    assert total(story, "request_opened", agency="KFDA") == {(): 1}
    before = dump(story)
    count(story)
    assert dump(story) == before


def dump(story: Story) -> list[tuple[object, ...]]:
    with read_transaction(story.house.engine) as conn:
        return sorted(tuple(row) for row in conn.execute(sums.select()))


@pytest.mark.long
def test_a_question_is_counted_and_the_case_is_not_right_the_first_time(story: Story) -> None:
    story.submit()
    story.tick()
    story.hear("KFDA", asked(story, "KFDA", "Q1"))
    story.tick(hours=30)
    story.decide_all()
    story.tick()
    count(story)
    assert total(story, "request_asked", ("agency", "state")) == {("KFDA", "INFORMATION_REQUIRED"): 1}
    assert total(story, "case_outcome") == {(): 1}
    assert total(story, "case_first_right") == {}
    day = story.clock().date()
    waited = StatisticsFilter("request_state", day - timedelta(days=9), day, state="INFORMATION_REQUIRED")
    with read_transaction(story.house.engine) as conn:
        (row,) = daily_statistics.sum_statistics(conn, waited, ("agency", "band"))
    assert (row.agency, row.band) == ("KFDA", find_duration_band(30 * 3600))
    assert int(row.seconds) == pytest.approx(30 * 3600, abs=60)


@pytest.mark.long
def test_a_correction_moves_the_outcome(story: Story) -> None:
    decide_story(story)
    count(story)
    story.decide("KFDA", DecisionCode.REJECTED, number="N2", at=story.clock())
    story.tick()
    count(story)
    assert total(story, "case_outcome", ("outcome",)) == {("PARTIAL",): 1}
    assert total(story, "request_outcome", ("outcome",), agency="KFDA") == {("REJECTED",): 1}


@pytest.mark.long
def test_a_correction_that_came_before_the_count_is_counted_once(story: Story) -> None:
    decide_story(story)
    story.decide("KFDA", DecisionCode.REJECTED, number="N2", at=story.clock())
    story.tick()
    count(story)
    assert total(story, "case_outcome", ("outcome",)) == {("PARTIAL",): 1}


def test_a_refused_submission_counts_its_problems_and_refused_messages_theirs(story: Story) -> None:
    story.submit(b"<wrong/>", attach=False)
    story.tick()
    count(story)
    story.hub.tally.store_counts()
    assert total(story, "case_outcome", ("outcome",), party="broker1") == {("REFUSED",): 1}
    problems = total(story, "case_problem", ("problem",), party="broker1")
    assert problems
    assert set(total(story, "message_refused", ("problem",), party="broker1")) == set(problems)
    assert total(story, "case_first_right") == {}


@pytest.mark.long
def test_a_backlog_is_counted_in_small_steps(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    decide_story(story)
    with write_transaction(story.house.engine) as conn:
        for table in ("daily_statistics", "counted_outcomes", "statistics_progress"):
            conn.exec_driver_sql(f"DELETE FROM {table}")
    monkeypatch.setattr("gateway.hub.statistics_keeper._STEPS", 3)
    count(story)
    assert total(story, "case_outcome", ("outcome",)) == {("APPROVED",): 1}
    assert total(story, "request_outcome") == {(): 3}
    with read_transaction(story.house.engine) as conn:
        assert daily_statistics.read_counted_until(conn) == story.clock()
    left = sum(len(story.steps(REQUEST, story.request(agency).id)) > 0 for agency in LAWS)
    assert left == 3


def test_quantiles_are_estimated_within_their_band() -> None:
    day = BAND_LIMITS[2]
    assert estimate_quantile({}, 0.5) is None
    assert estimate_quantile({2: 10}, 0.5) == pytest.approx((BAND_LIMITS[1] + day) / 2)
    assert estimate_quantile({0: 9, 2: 1}, 0.95) == pytest.approx(BAND_LIMITS[1] + (day - BAND_LIMITS[1]) / 2)
    assert estimate_quantile({len(BAND_LIMITS): 3}, 0.5) == BAND_LIMITS[-1]


@pytest.mark.parametrize(("days_asked", "days_summed"), [(1, 1), (366, 366), (367, 366), (3000, 366)])
def test_at_most_366_days_are_summed(engine: Engine, days_asked: int, days_summed: int) -> None:
    until = date(2026, 12, 31)
    criteria = StatisticsFilter("case_opened", until - timedelta(days=days_asked - 1), until)
    counts = {
        daily_statistics.DailyCount(measure="case_opened", day=until - timedelta(days=days)): (1, 0)
        for days in (*range(0, 400, 30), 364, 365, 366)
    }
    with write_transaction(engine) as conn:
        daily_statistics.add_counts(conn, counts)
    with read_transaction(engine) as conn:
        days = [row.day for row in daily_statistics.sum_statistics(conn, criteria, ("day",))]
    assert criteria.first_day == until - timedelta(days=days_summed - 1)
    assert days == sorted(count.day for count in counts if count.day >= criteria.first_day)


def test_the_first_day_of_the_calendar_is_no_mistake() -> None:
    assert StatisticsFilter("case_opened", date.min, date.min + timedelta(days=3)).first_day == date.min


@pytest.mark.parametrize(
    "detail",
    [
        {"problems": [{"text": "of another version"}, {"id": "GW402"}]},
        {"problems": {"GW402": "in words"}},
        [],
        {"problems": [{"id": "x" * 129}, {"id": "GW402"}]},
        {"problems": [{"id": "GW\0"}, {"id": "GW402"}]},
    ],
    ids=["without an id", "no list", "no object", "a long id", "an id with NUL"],
)
def test_a_case_with_an_odd_detail_takes_no_other_from_the_statistics(
    story: Story, caplog: pytest.LogCaptureFixture, detail: object
) -> None:
    """It is counted without what it lacks, and the log names it once."""
    story.submit(b"<wrong/>", attach=False)
    story.tick()
    odd = story.case().id
    with write_transaction(story.house.engine) as conn:
        conn.execute(cases.update().where(cases.c.id == odd).values(detail=detail))
    story.submit(b"<wrong/>", attach=False)
    story.tick()
    count(story)
    assert total(story, "case_opened") == {(): 2}
    assert total(story, "case_outcome", ("outcome",)) == {("REFUSED",): 2}
    assert ("GW402",) in total(story, "case_problem", ("problem",))
    logged = [record.case_id for record in caplog.records if "in another form" in record.message]
    assert logged == [odd]


def test_a_step_that_cannot_be_counted_takes_no_other_from_the_statistics(
    story: Story, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    story.submit(b"<wrong/>", attach=False)
    story.tick()
    odd = story.case().id
    story.submit(b"<wrong/>", attach=False)
    list_parties = statistics_keeper._list_parties

    def break_one(subject: StatisticsSubjectRow) -> frozenset[str]:
        if subject.id == odd:
            raise KeyError("a row of another version")
        return list_parties(subject)

    monkeypatch.setattr(statistics_keeper, "_list_parties", break_one)
    story.tick()
    count(story)
    assert total(story, "case_outcome", ("outcome",)) == {("REFUSED",): 1}
    logged = [record.case_id for record in caplog.records if "a step is counted without" in record.message]
    assert set(logged) == {odd}


def test_memory_that_is_used_up_is_no_fault_of_a_step(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its step is counted when there is memory again."""

    def use_up_memory(*_: object) -> None:
        raise MemoryError

    story.submit(b"<wrong/>", attach=False)
    while story.worker.run_once():
        pass
    with monkeypatch.context() as patch:
        patch.setattr(statistics_keeper, "_count_step", use_up_memory)
        with pytest.raises(GatewayError, match="GW806"):
            count(story)
    story.tick(seconds=6)
    count(story)
    assert total(story, "case_outcome", ("outcome",)) == {("REFUSED",): 1}
