"""A notice whose time of issue is ahead of the hub's clock counts from its receipt, and this is told."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from itertools import permutations
from pathlib import Path

import pytest
from sqlalchemy import Engine, select, update

from gateway.cases import (
    AgencyCallback,
    CustomsCall,
    CustomsNotice,
    Decision,
    DecisionCode,
    DecisionPurpose,
    Notice,
)
from gateway.hub import take_call_back
from gateway.hub.answers.reply import TakenAnswer
from gateway.operations import compare_rows, find_ahead_notices
from gateway.store import decisions, notices, read_transaction
from gateway.store.customs_notices import clearances
from gateway.wire import SERVICE_AGENCY, format_instant
from tests.evidence.rows.changed_columns import open_trial
from tests.flows.test_issue_times import file_and_decide, report_to_hub, story
from tests.flows.test_overruled_notices import OVERRULED, AgencyLine, list_signed_tags
from tests.kit.console import Console
from tests.kit.databases import BOTH, BOTH_AT_LANDING
from tests.kit.day_turns import DayStory, make_certificate
from tests.kit.officers import ConsoleStory
from tests.kit.story import ITEMS, LAWS, Story

__all__ = ["story"]

APPROVED, REJECTED = DecisionCode.APPROVED, DecisionCode.REJECTED
_SECOND = timedelta(seconds=1)
COUNTS_FROM = f"{{{SERVICE_AGENCY}}}CountsFrom"


#: A local time of Seoul that is marked as UTC.
_HOURS_AHEAD = timedelta(hours=9)


def list_in_force(story: Story, agency: str = "KPTA") -> list[str]:
    """Return the decisions of an agency that count."""
    with read_transaction(story.house.engine) as conn:
        rows = decisions.list_by_request(conn, story.request(agency).id)
    return [row.decision for row in rows if row.superseded_by is None]


def say(story: Story, number: str, code: DecisionCode, at: datetime) -> TakenAnswer:
    """Let an agency decide on its application in a call of its own."""
    said = AgencyCallback(story.notice("KPTA", code, number=number, at=at), story.number_of("KPTA"))
    return take_call_back(story.hub, "KPTA", said)


@BOTH
def test_a_notice_ahead_of_the_clock_hides_no_correction(
    story: Story, caplog: pytest.LogCaptureFixture
) -> None:
    """18:00 in Seoul is 09:00 in UTC: written as 18:00Z, it would count above everything of nine hours."""
    story.submit()
    story.tick()
    received_at, stated_at = story.clock(), story.clock() + _HOURS_AHEAD
    assert say(story, "N1", APPROVED, stated_at) == TakenAnswer(story.case().number, None, received_at)
    (line,) = (record for record in caplog.records if "ahead of the clock" in record.getMessage())
    assert stated_at.isoformat(timespec="seconds") in line.getMessage()
    assert (line.levelname, line.__dict__["partner"]) == ("WARNING", "KPTA")
    story.tick(minutes=60)
    assert say(story, "N2", REJECTED, story.clock()) == TakenAnswer(story.case().number)
    assert list_in_force(story) == ["REJECTED"]
    # The agency repeats its first call, also when its time has come.
    for _ in range(2):
        assert say(story, "N1", APPROVED, stated_at) == TakenAnswer(story.case().number, None, received_at)
        story.tick(minutes=600)
    assert list_in_force(story) == ["REJECTED"]
    with read_transaction(story.house.engine) as conn:
        (told,) = find_ahead_notices(conn, story.clock())
        (first, _) = notices.list_by_request(conn, story.request("KPTA").id)
        assert compare_rows(conn, None).differences == []
    assert "KPTA state times ahead of the clock" in told
    assert "N1, by 9 h 0 min" in told
    assert (first.issued_at, first.stated_at) == (received_at, stated_at)


@BOTH
def test_a_changed_time_of_a_notice_ahead_is_found(story: Story) -> None:
    story.submit()
    story.tick()
    say(story, "N1", APPROVED, story.clock() + _HOURS_AHEAD)
    for column in ("issued_at", "stated_at"):
        with open_trial(story.house.engine) as conn:
            conn.execute(update(notices.notices).values({column: story.clock() + _SECOND}))
            tables = {difference.table for difference in compare_rows(conn, None).differences}
        assert "notices" in tables


@pytest.mark.parametrize("order", list(permutations(range(1, 4))), ids=str)
@pytest.mark.parametrize("ahead", [_HOURS_AHEAD, timedelta(minutes=6), timedelta(seconds=30)], ids=str)
def test_notices_of_one_clock_that_is_ahead_keep_their_order(
    story: Story, order: tuple[int, ...], ahead: timedelta
) -> None:
    """Also where their numbers do not grow with time."""
    story.submit()
    story.tick()
    begin = story.clock() + ahead
    codes = {1: APPROVED, 2: REJECTED, 3: APPROVED}
    for number in order:
        say(story, f"N{9 - number}", codes[number], begin + _SECOND * number)
        story.clock.forward(seconds=5)
    assert list_in_force(story) == ["APPROVED"]
    with read_transaction(story.house.engine) as conn:
        rows = notices.list_by_request(conn, story.request("KPTA").id)
    assert [row.number[-2:] for row in sorted(rows, key=lambda row: row.issued_at)] == ["N8", "N7", "N6"]


@BOTH
@pytest.mark.parametrize("fast", [0.001, 61, 299, 301])
def test_another_clock_that_is_a_little_fast_corrects_it(story: Story, fast: float) -> None:
    story.submit()
    story.tick()
    say(story, "N1", APPROVED, story.clock() + _HOURS_AHEAD)
    story.tick(minutes=60)
    assert say(story, "N2", REJECTED, story.clock() + timedelta(seconds=fast)).overruled_by is None
    assert list_in_force(story) == ["REJECTED"]


def test_an_answer_ahead_of_the_clock_hides_no_correction(story: Story) -> None:
    story.say("KPTA", lambda _: story.notice("KPTA", number="N1", at=story.clock() + _HOURS_AHEAD))
    story.submit()
    story.tick()
    assert list_in_force(story) == ["APPROVED"]
    story.tick(minutes=60)
    say(story, "N2", REJECTED, story.clock())
    assert list_in_force(story) == ["REJECTED"]


@BOTH
def test_a_clearance_ahead_of_the_clock_hides_no_later_one(story: Story, tmp_path: Path) -> None:
    file_and_decide(story, tmp_path)
    ahead = CustomsCall(
        CustomsNotice("CUS-K1", story.clock() + _HOURS_AHEAD, "5EC"), case_number=story.case().number
    )
    for _ in range(2):
        assert report_to_hub(story, ahead) is None
    story.tick(minutes=60)
    cancelled = CustomsNotice("CUS-K2", story.clock() + _SECOND, "10")
    assert report_to_hub(story, CustomsCall(cancelled, case_number=story.case().number)) is None
    with read_transaction(story.house.engine) as conn:
        assert conn.execute(select(clearances.c.state)).scalars().all() == ["CANCELLED"]
        assert compare_rows(conn, None).differences == []


@BOTH
def test_a_result_ahead_of_the_clock_hides_no_later_one(story: Story) -> None:
    """Also where a declaration comes later that names its number; a repeat is taken as the first one was."""

    def report(number: str, status: str, code: DecisionCode, at: datetime) -> TakenAnswer:
        decision = Decision(ITEMS["KFDA"], LAWS["KFDA"], code, "2026-118")
        said = AgencyCallback(Notice(number, at, status, (decision,)), requirement_number="2026-118")
        return take_call_back(story.hub, "KFDA", said)

    first, stated_at = story.clock(), story.clock() + _HOURS_AHEAD
    for _ in range(2):
        assert report("R-1", "R01", APPROVED, stated_at) == TakenAnswer("2026-118", None, first)
    story.tick(minutes=60)
    assert report("R-2", "R04", REJECTED, story.clock()) == TakenAnswer("2026-118")
    story.submit()
    story.tick()
    number = story.number_of("KFDA")
    decision = Decision(ITEMS["KFDA"], LAWS["KFDA"], APPROVED, "2026-118")
    said = Notice("N-1", story.clock() - timedelta(minutes=90), "R01", (decision,))
    take_call_back(story.hub, "KFDA", AgencyCallback(said, number))
    story.tick()
    assert list_in_force(story, "KFDA") == ["REJECTED"]
    assert report("R-1", "R01", APPROVED, stated_at).counts_from == first
    with read_transaction(story.house.engine) as conn:
        assert compare_rows(conn, None).differences == []


def test_an_officer_decides_behind_a_notice_of_a_clock_that_is_ahead(engine: Engine) -> None:
    story = ConsoleStory(engine)
    seen, lee = story.arrive(), story.officer("lee", "approver")
    story.hear_of(Notice("own-1", story.clock() + timedelta(minutes=1), "R02", story.decision().decisions))
    seen, act = story.look(), story.decision(DecisionCode.REJECTED, DecisionPurpose.CORRECT)
    story.desk.perform_act(lee, seen.number, act, seen.shown_digest)
    assert story.look().decisions[0].decision == DecisionCode.REJECTED


def test_a_day_that_has_not_begun_counts_from_its_receipt(engine: Engine) -> None:
    """That of the next day has begun in another time zone; its cancellation comes after it."""
    story = DayStory(engine)
    application = story.file()
    story.deliver(make_certificate(application, "P-9", "R01", "20261121"))
    assert story.find_decision_in_force() == "APPROVED"
    story.clock.forward(seconds=1)
    story.deliver(make_certificate(application, "P-9", "R03", "20261121"))
    assert story.find_decision_in_force() == "REJECTED"
    story.clock.forward(seconds=1)
    story.deliver(make_certificate(application, "P-9", "R02", "20261121"))
    assert story.find_decision_in_force() == "APPROVED"
    with read_transaction(engine) as conn:
        assert compare_rows(conn, None).differences == []


@BOTH_AT_LANDING
def test_the_signed_answer_says_from_when_a_notice_ahead_counts(story: Story) -> None:
    story.submit()
    story.tick()
    line, received_at = AgencyLine(story), story.clock()
    stated_at = received_at + _HOURS_AHEAD
    for _ in range(2):  # a repeat gets the same answer
        answer = line.decide("9", APPROVED, stated_at)
        assert answer.findtext(f".//{COUNTS_FROM}") == format_instant(received_at)
        assert COUNTS_FROM in list_signed_tags(story, answer)
        story.clock.forward(seconds=1)
    # One without effect is told which notice counts.
    overruled = line.decide("8", REJECTED, stated_at - _SECOND)
    assert (overruled.find(f".//{COUNTS_FROM}"), overruled.findtext(f".//{OVERRULED}")) == (None, "9")
    assert line.decide("10", REJECTED, story.clock()).find(f".//{COUNTS_FROM}") is None


def test_the_page_of_a_case_has_the_stated_time(story: Story) -> None:
    story.submit()
    story.tick()
    say(story, "N1", APPROVED, story.clock() + _HOURS_AHEAD)
    console = Console(story.house.hub)
    console.add_account("han", ("party", story.case().declarant), "filer")
    browser, address = console.sign_in("han"), f"/console/cases/{story.case().number}"
    (line,) = re.findall(
        r'states <time datetime="([^"]+)">[^<]+</time>, which was ahead', browser.get(address).text
    )
    assert datetime.fromisoformat(line) == story.clock() + _HOURS_AHEAD
    browser.post("/console/language", language="ko")
    assert "시계보다 앞섰음" in browser.get(address).text
