"""The time to decide is as many working days longer as the declarant had to act, whenever that is told.

What is expected is counted day by day from the rules of the manual (deadlines.md) alone.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

import pytest

from gateway.calendars import Timetable, make_timetable, read_calendar, read_terms
from gateway.cases import NamedFee, Notice, ProviderEvent
from gateway.hub.deadlines.due_times import HeldTimes
from gateway.hub.fees.agency_payment_notes import (
    waive_fee,
)
from gateway.hub.fees.payment_events import (
    apply_provider_event,
)
from gateway.store import deadlines, write_transaction
from tests.flows.craft import all_of, supplement, without
from tests.flows.test_deadlines import evidence, rows, seoul, told, until
from tests.flows.test_fees import KRW, Provider, fees_of, provider, story
from tests.kit.databases import BOTH
from tests.kit.levels import at_night
from tests.kit.story import Story, asked

__all__ = ["provider", "story"]  # fixtures

AGENCY = "NPQS"
#: The application is of Friday, 20 November 2026, and gives ten working days.
FILED = date(2026, 11, 20)
TERM_DAYS = 10
HOLIDAYS = (date(2026, 12, 7), date(2026, 12, 9))
_CALENDAR = """# calendar: office
# edition: {until}
# organisations: *
# zone: {zone}
# valid_from: 2026-01-01
# valid_until: {until}
# rest_days: saturday sunday
# hours: 09:00-18:00
# source: test
day,kind,name
2026-01-01,holiday,New Year
"""
_TERMS = """# terms: office
# edition: {since}
# valid_from: {since}
# source: test
document,acknowledge,decide,answer,remind
*,1,10,10,2
"""
#: What happens, in its own order: the fee is levied, paid, and told of; the question is asked and answered.
CHAINS = (("levy", "paid", "told"), ("ask", "answer"))
#: Every order in which both may happen.
ORDERS = [
    order
    for order in itertools.permutations([one for chain in CHAINS for one in chain])
    if all([one for one in order if one in chain] == list(chain) for chain in CHAINS)
]
#: The last day that the calendar knows before the next edition is loaded.
KNOWN = (date(2026, 11, 27), date(2026, 12, 4), date(2026, 12, 8))


def make_office(*editions: date, since: str = "2026-01-01", zone: str = "Asia/Seoul") -> Timetable:
    """Return a timetable of calendars until these days, with holidays, and of terms since a day."""
    found: list[Any] = [read_terms(_TERMS.format(since=since).encode(), "terms.csv")]
    for one in editions:
        rest = "".join(f"{day},holiday,x\n" for day in HOLIDAYS if day <= one)
        found.append(read_calendar((_CALENDAR.format(until=one, zone=zone) + rest).encode(), "days.csv"))
    return make_timetable(found)


def use_office(held: Story, *editions: date, **said: str) -> None:
    """Let a timetable be in force, as if it had been loaded now."""
    held.hub.timetable._cached = (0, make_office(*editions, **said))
    with write_transaction(held.house.engine) as conn:
        deadlines.wake_unknown(conn, held.clock())
    held.tick(seconds=1)


def list_working_days(first: date) -> Iterator[date]:
    """Yield the working days after a day."""
    for number in itertools.count(1):
        day = first + timedelta(days=number)
        if day.weekday() < 5 and day not in HOLIDAYS:
            yield day


def expect_end(periods: Sequence[tuple[date, date]]) -> date:
    """Return the last day of the time to decide: no day counts on which the declarant had to act."""
    held = {day for start, end in periods for day in _list_between(start, end)}
    working = list(itertools.islice(list_working_days(FILED), 100))
    return working[TERM_DAYS - 1 + len(held & set(working))]


def _list_between(start: date, end: date) -> list[date]:
    return [start + timedelta(days=number) for number in range(1, (end - start).days + 1)]


def happen(held: Story, what: str, days: Mapping[str, date], way: str) -> None:
    """Let something happen now; a payment is heard of when it is told."""
    if what == "levy":
        held.hear(AGENCY, _make_fee_notice(held, "Y05", NamedFee(KRW, payment_notice="F1")))
    elif what == "ask":
        held.hear(AGENCY, asked(held, AGENCY, "Q1"))
    elif what == "answer":
        drops = [without(f"Application[@id='{one}']") for one in ("A1", "A2")]
        held.submit(held.submission(all_of(supplement, *drops)), action="Supplement", attach=False)
    elif what == "told":
        _end_fee(held, way, days["paid"])
    held.tick(seconds=1)


def _make_fee_notice(held: Story, code: str, fee: NamedFee) -> Notice:
    return replace(asked(held, AGENCY, code, status=code), fee=fee)


def _end_fee(held: Story, way: str, paid: date) -> None:
    (fee,) = fees_of(held, AGENCY)
    if way == "paid":
        event = ProviderEvent("paid", fee.number, "P-1", KRW, seoul(f"{paid}T10:00"))
        assert apply_provider_event(held.hub, event) == "counted"
    elif way == "confirmed":
        held.hear(AGENCY, _make_fee_notice(held, "Y08", NamedFee(payment_notice="F1")))
    else:
        with write_transaction(held.house.engine) as conn:
            waive_fee(conn, fee.id, held.clock(), "operator", "at the counter")


def draw_days(order: Sequence[str], draw: random.Random) -> dict[str, date]:
    """Return a day for each thing that happens; several may be of one day."""
    drawn = sorted(draw.randint(1, 14) for _ in order)
    return {what: FILED + timedelta(days=number) for what, number in zip(order, drawn, strict=True)}


@pytest.mark.long
@BOTH
@pytest.mark.parametrize("way", ["paid", "confirmed", *at_night("waived")])
@pytest.mark.parametrize("order", ORDERS, ids="-".join)
def test_every_order_of_what_the_declarant_owes_and_of_the_calendar(
    story: Story, provider: Provider, order: Sequence[str], way: str
) -> None:
    draw = random.Random(f"{order} {way}")
    days = draw_days(order, draw)
    if way != "paid":
        days["paid"] = days["told"]
    known, loaded = draw.choice(KNOWN), draw.randint(0, len(order) + 1)
    story.hub.payments = replace(story.hub.payments, tariffs={})
    use_office(story, *([] if loaded == 0 else [known]), *([date(2027, 12, 31)] if loaded == 0 else []))
    story.submit()
    story.tick(seconds=1)
    for number, what in enumerate(order, 1):
        until(story, seoul(f"{days[what]}T10:00") + timedelta(minutes=number))
        if number == loaded:
            use_office(story, known, date(2027, 12, 31))
        happen(story, what, days, way)
    if loaded > len(order):
        use_office(story, known, date(2027, 12, 31))
    (decide,) = rows(story, AGENCY, "decide")
    end = expect_end([(days["levy"], days["paid"]), (days["ask"], days["answer"])])
    assert (decide.state, decide.due_at) == ("OPEN", seoul(f"{end}T18:00")), (days, known, loaded)
    assert (decide.held_at, decide.held, decide.days) == (None, None, TERM_DAYS)
    assert story.request(AGENCY).due_at == decide.due_at
    # It is told overdue then, and not before.
    until(story, decide.due_at - timedelta(seconds=1))
    assert ("deadline.overdue", AGENCY, "decide") not in told(story)
    until(story, decide.due_at + timedelta(seconds=2))
    assert ("deadline.overdue", AGENCY, "decide") in told(story)


@pytest.mark.parametrize("hour", ["08", "10"])
def test_the_reminder_after_a_question_is_by_the_terms_of_the_day_in_the_zone(
    story: Story, provider: Provider, hour: str
) -> None:
    story.hub.payments = replace(story.hub.payments, tariffs={})
    use_office(story, date(2027, 12, 31), since="2026-11-24")
    # At eight in the morning of Seoul it is the day before in UTC.
    until(story, seoul(f"2026-11-24T{hour}:00"))
    story.submit()
    story.tick(seconds=1)
    (began,) = rows(story, AGENCY, "decide")
    for what in ("ask", "answer"):
        happen(story, what, {}, "")
    (decide,) = rows(story, AGENCY, "decide")
    assert (decide.due_at, decide.remind_at) == (began.due_at, began.remind_at)
    assert decide.remind_at is not None


@pytest.mark.long
def test_a_reminder_that_was_told_is_not_looked_at_again(story: Story, provider: Provider) -> None:
    """The time goes on after its reminder: the clockwork waits until it is due."""
    story.hub.payments = replace(story.hub.payments, tariffs={})
    use_office(story, date(2027, 12, 31))
    story.submit()
    story.tick(seconds=1)
    (decide,) = rows(story, AGENCY, "decide")
    until(story, decide.remind_at + timedelta(hours=1))
    happen(story, "ask", {}, "")
    # Answered before the working hours in which the reminder would go out.
    until(story, seoul("2026-12-04T08:00"))
    happen(story, "answer", {}, "")
    (decide,) = rows(story, AGENCY, "decide")
    until(story, decide.remind_at + timedelta(hours=1))
    story.tick(seconds=1)
    (decide,) = rows(story, AGENCY, "decide")
    assert decide.next_at == decide.due_at
    assert told(story).count(("deadline.reminded", AGENCY, "decide")) == 1


@pytest.mark.parametrize(
    ("answered", "decided", "state"),
    [
        # While the declarant has to answer, the time to decide does not run.
        (None, "2026-12-03", "MET"),
        (None, "2026-12-14", "MET"),
        (None, "2027-01-20", "MET"),
        # After the answer of 25 November it ends on 10 December: two days later, and two holidays.
        ("2026-11-25", "2026-12-10", "MET"),
        ("2026-11-25", "2026-12-11", "LATE"),
    ],
)
def test_a_decision_while_the_declarant_has_to_act_is_not_late(
    story: Story, provider: Provider, answered: str | None, decided: str, state: str
) -> None:
    story.hub.payments = replace(story.hub.payments, tariffs={})
    use_office(story, date(2027, 12, 31))
    story.submit()
    story.tick(seconds=1)
    until(story, seoul("2026-11-23T10:00"))
    happen(story, "ask", {}, "")
    if answered:
        until(story, seoul(f"{answered}T10:00"))
        happen(story, "answer", {}, "")
    until(story, seoul(f"{decided}T10:00"))
    story.decide(AGENCY)
    story.tick(seconds=1)
    (decide,) = rows(story, AGENCY, "decide")
    days = date.fromisoformat(answered or decided)
    end = expect_end([(date(2026, 11, 23), days)])
    assert (decide.state, decide.due_at) == (state, seoul(f"{end}T18:00"))
    assert [one["due"] for one in evidence(story, AGENCY, "late") if one["kind"] == "decide"] == (
        ["2026-12-10T09:00:00+00:00"] if state == "LATE" else []
    )


@pytest.mark.long
@BOTH
def test_a_fee_that_is_waived_while_no_worker_runs_ends_when_it_was_waived(
    story: Story, provider: Provider
) -> None:
    story.hub.payments = replace(story.hub.payments, tariffs={})
    use_office(story, date(2027, 12, 31))
    story.submit()
    story.tick(seconds=1)
    until(story, seoul("2026-11-23T10:00"))
    happen(story, "levy", {}, "")
    until(story, seoul("2026-11-25T10:00"))
    _end_fee(story, "waived", date(2026, 11, 25))
    until(story, seoul("2026-11-30T10:00"))
    story.tick(seconds=1)
    (decide,) = rows(story, AGENCY, "decide")
    end = expect_end([(date(2026, 11, 23), date(2026, 11, 25))])
    assert (decide.state, decide.due_at) == ("OPEN", seoul(f"{end}T18:00"))


def test_each_day_of_periods_that_overlap_counts_once() -> None:
    calendar = make_office(date(2027, 12, 31)).get_calendar(AGENCY)
    draw = random.Random(7)
    for _ in range(200):
        starts = [FILED + timedelta(days=draw.randint(0, 20)) for _ in range(draw.randint(0, 5))]
        periods = [(start, start + timedelta(days=draw.randint(0, 9))) for start in starts]
        moments = tuple((_make_moment(start, draw), _make_moment(end, draw)) for start, end in periods)
        wanted = {day for start, end in periods for day in _list_between(start, end)}
        working = set(itertools.islice(list_working_days(FILED), 60))
        held = HeldTimes(past_periods=moments)
        assert held.count_days(calendar) == len(wanted & working), periods
        assert HeldTimes.restore(held.describe()) == held


def _make_moment(day: date, draw: random.Random) -> datetime:
    return seoul(f"{day}T{draw.randint(0, 23):02}:30")
