"""What an agency may write into certificates of a day alone, and what may happen to their application."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from time import process_time

import pytest
from sqlalchemy import Engine

from gateway.cases import Notice
from gateway.errors import GatewayError
from gateway.store import make_engine, overruled_notices, read_transaction
from tests.flows.craft import all_of, reference, text, withdrawal
from tests.flows.craft import at as find_first
from tests.flows.item_changes import amendment
from tests.kit.databases import BOTH
from tests.kit.day_turns import DayStory, Turn, at_hour, make_certificate, say_turn
from tests.kit.house import START

APPROVED, REJECTED = "APPROVED", "REJECTED"


def say_all_certificates(story: DayStory, application: str, turns: Sequence[Turn]) -> list[str | None]:
    return [say_turn(story, one, application) for one in turns]


def rest(story: DayStory) -> tuple[str | None, str | None]:
    """Return the outcome of the newest case when all is done, and the decision of KPTA in force."""
    for _ in range(3):
        story.tick(seconds=5)
    return story.case().outcome, story.find_decision_in_force()


@BOTH
def test_a_repeat_of_a_certificate_that_was_moved_has_no_effect(engine: Engine) -> None:
    """The cancellation came first, so the approval has moved it; other words under its number are GW702."""
    story = DayStory(engine)
    application = story.file()
    turns = (Turn("R03", "P-9"), Turn("R01", None, 10), Turn("R03", "P-9"), Turn("R01", None, 10))
    assert say_all_certificates(story, application, turns) == [None] * 4
    before = story.list_statements()
    assert len(before) == 4
    changed = make_certificate(application, "P-9", "R03")
    find_first(changed, "AdditionalInformation/Content").text = "other words"
    with pytest.raises(GatewayError, match="GW702"):
        story.deliver(changed)
    assert story.list_statements() == before
    assert rest(story) == ("PARTIAL", REJECTED)


@BOTH
def test_a_notice_that_counts_again_is_overruled_no_longer(engine: Engine) -> None:
    """The cancellation of another certificate had no effect behind the refusal, until that one came."""
    story = DayStory(engine)
    application = story.file()

    def list_overruled() -> list[str]:
        with read_transaction(engine) as conn:
            rows = overruled_notices.list_overruled(conn, START, 20)
        return [str(row.number).partition("/")[0] for row in rows]

    turns = (Turn("R04", None, 10), Turn("R03", "P-10"))
    assert say_all_certificates(story, application, turns) == [None, None]
    assert list_overruled() == ["P-10"]
    assert say_turn(story, Turn("R02", "P-1"), application) is None
    in_force = {number.partition("/")[0] for number, _, counts in story.list_statements() if counts}
    assert in_force == {"P-10"}
    with read_transaction(engine) as conn:
        number = next(number for number, _, counts in story.list_statements() if counts)
        reception = overruled_notices.find_reception(conn, "KPTA", number)
    assert reception is not None
    assert reception.overruled_by is None
    assert rest(story) == ("PARTIAL", REJECTED)


@pytest.mark.parametrize("places", [(0, 1, 2), (2, 1, 0)], ids=str)
@pytest.mark.parametrize(
    ("first", "then"), [("가-9", "가-10"), ("P-009", "P-0010"), ("9" * 34, "1" + "0" * 34)]
)
def test_a_higher_number_replaces_a_cancelled_one_in_any_script(
    engine: Engine, first: str, then: str, places: Sequence[int]
) -> None:
    story = DayStory(engine)
    application = story.file()
    turns = (Turn("R01", first), Turn("R03", first), Turn("R01", then))
    assert say_all_certificates(story, application, [turns[place] for place in places]) == [None] * 3
    assert rest(story) == (APPROVED, APPROVED)


def test_one_number_written_in_two_ways_is_told(engine: Engine) -> None:
    """P-09 was cancelled; nobody knows whether P-9 is the same certificate, or another one."""
    story = DayStory(engine)
    application = story.file()
    turns = (Turn("R01", "P-09"), Turn("R03", "P-09"), Turn("R01", "P-9"))
    assert say_all_certificates(story, application, turns) == [None, None, "GW719"]
    assert rest(story) == ("PARTIAL", REJECTED)


def test_a_number_with_letters_that_look_like_digits_is_refused_for_what_it_is(engine: Engine) -> None:
    story = DayStory(engine)
    application = story.file()
    with pytest.raises(GatewayError) as refused:
        story.deliver(make_certificate(application, "P-９", "R01"))
    assert refused.value.problem.id == "GW404"
    assert "looks like another" in refused.value.detail
    assert refused.value.location == "/Response/ID"


@pytest.mark.parametrize(
    ("day", "end"), [("20261118", APPROVED), ("20261121", REJECTED), ("20261122", APPROVED)]
)
def test_a_cancellation_of_another_day_counts_or_is_told(engine: Engine, day: str, end: str) -> None:
    """That of the next day has begun elsewhere; one of before the case, or of a later day, is GW719."""
    story = DayStory(engine)
    application = story.file()
    assert say_turn(story, Turn("R01", "P-9", 10), application) is None
    try:
        story.deliver(make_certificate(application, "P-9", "R03", day))
    except GatewayError as error:
        assert (error.problem.id, end) == ("GW719", APPROVED)  # noqa: PT017
    assert story.find_decision_in_force() == end


def test_each_law_has_its_own_last_word(engine: Engine) -> None:
    """The certificate is cancelled for both laws; another one under one law alone comes from a call."""
    story = DayStory(engine)
    application = story.file()
    first, second = story.decide_items("KPTA", "P-9")
    story.tell("KPTA", Notice(f"{application}/1", at_hour(10), "R01", (first,)))
    story.deliver(make_certificate(application, "P-9", "R03"))
    (_, anew) = story.decide_items("KPTA", "P-10")
    story.tell("KPTA", Notice(f"{application}/2", at_hour(11), "R01", (anew,)))
    in_force = [(number, decision) for number, decision, counts in story.list_statements() if counts]
    assert in_force == [
        (f"P-9/R03/2026-11-20/{application}", REJECTED),
        (f"{application}/2", APPROVED),
    ]
    for _ in range(3):
        story.tick(seconds=5)
    assert (story.case().outcome, first.law != second.law) == ("PARTIAL", True)


def test_a_question_carries_no_certificate_past_a_refusal(engine: Engine) -> None:
    """Asked at 17:00, approved by a document of the day; then comes a refusal of 12:00."""
    story = DayStory(engine)
    application = story.file()
    story.tell("KPTA", Notice(f"{application}/question", at_hour(17), "D01", (), "the label"))
    assert say_all_certificates(story, application, (Turn("R01", "P-9"), Turn("R04", None, 12))) == [
        None,
        None,
    ]
    assert rest(story) == ("PARTIAL", REJECTED)


@BOTH
def test_a_certificate_behind_an_amendment_decides_anew(engine: Engine) -> None:
    story = DayStory(engine)
    application = story.file()
    assert say_turn(story, Turn("R03", "P-9"), application) is None
    assert rest(story) == ("PARTIAL", REJECTED)
    change = amendment(text(".//GovernmentAgencyGoodsItem/Commodity/Description", "Other capsules"))
    named = all_of(change, reference(f"DAY-{story.cases_made}"))
    story.submit(story.submission(named), action="Amend")
    story.tick(seconds=5)
    assert story.list_statements() == []
    assert say_all_certificates(story, application, (Turn("R01", "P-8"), Turn("R03", "P-9"))) == [None, None]
    assert rest(story) == (APPROVED, APPROVED)


def test_a_cancellation_about_a_withdrawn_case_is_kept(engine: Engine) -> None:
    story = DayStory(engine)
    application = story.file()
    assert say_turn(story, Turn("R01", "P-9", 10), application) is None
    rest(story)
    change = all_of(withdrawal, reference(f"DAY-{story.cases_made}"))
    story.submit(story.submission(change), action="Withdraw", attach=False)
    story.tick(seconds=5)
    assert say_turn(story, Turn("R03", "P-9"), application) is None
    assert rest(story)[1] == REJECTED


@pytest.mark.night
def test_two_hundred_certificates_of_a_day_cost_little(engine: Engine) -> None:
    story = DayStory(engine)
    application = story.file()
    slowest = 0.0
    for number in range(200):
        begun = process_time()
        story.deliver(make_certificate(application, f"P-{number}", "R01" if number % 2 else "R03"))
        slowest = max(slowest, process_time() - begun)
    assert slowest < 1.0
    assert rest(story)[1] == APPROVED


@pytest.mark.long
def test_two_calls_at_once_end_as_one_behind_the_other(postgresql_url: str) -> None:
    engine = make_engine(postgresql_url)
    story = DayStory(engine)
    for turns in (
        (Turn("R01", "P-9", 10), Turn("R03", "P-9")),
        (Turn("R03", "P-9"), Turn("R01", "P-10")),
        (Turn("R03", "P-9"), Turn("R03", "P-9")),
    ):
        application = story.file()
        with ThreadPoolExecutor(2) as both:
            found = list(both.map(lambda one: say_turn(story, one, application), turns))  # noqa: B023
        assert found == [None, None]
        wanted = APPROVED if turns[1].certificate == "P-10" else REJECTED
        assert rest(story)[1] == wanted
    engine.dispose()
