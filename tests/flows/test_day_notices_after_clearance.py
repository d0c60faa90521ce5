"""Customs has cleared at 11:00; certificates of that day alone come behind, before, or in between."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from sqlalchemy import Engine

from gateway.store import cases, read_transaction
from tests.flows.test_late_children import list_late_reports
from tests.flows.test_partial_release import child
from tests.kit.databases import BOTH
from tests.kit.day_turns import DayStory, Turn, at_hour, say_turn

APPROVED_AT_TEN = Turn("R01", None, 10)
CANCELLED, RENEWED = Turn("R03", "P-9"), Turn("R01", "P-10")


def hear(story: DayStory, before: Sequence[Turn], after: Sequence[Turn]) -> None:
    """Let KPTA speak before the report of a clearance at 11:00 comes, and after it; nothing is refused."""
    application = story.file()
    for turns in (before, after):
        for one in turns:
            assert say_turn(story, one, application) is None
            for _ in range(3):
                story.tick(seconds=5)
        if turns is before:
            story.clear(at_hour(11))
            for _ in range(2):
                story.tick(seconds=5)


@BOTH
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((APPROVED_AT_TEN,), (CANCELLED,)),
        ((APPROVED_AT_TEN, CANCELLED), ()),
        ((CANCELLED, APPROVED_AT_TEN), ()),
        ((Turn("R01", "P-9", 10), CANCELLED), ()),
    ],
    ids=["after it", "before its arrival", "before the approval", "of the same number"],
)
def test_a_cancellation_of_the_day_is_late(
    engine: Engine, before: Sequence[Turn], after: Sequence[Turn]
) -> None:
    """It may have been issued after the clearance: customs is told."""
    story = DayStory(engine)
    hear(story, before, after)
    assert (story.find_decision_in_force(), story.list_late_decisions()) == ("REJECTED", ["REJECTED"])


def test_another_certificate_behind_the_cancellation_is_told_too(engine: Engine) -> None:
    story = DayStory(engine)
    hear(story, (APPROVED_AT_TEN,), (CANCELLED, RENEWED))
    assert story.find_decision_in_force() == "APPROVED"
    assert story.list_late_decisions() == ["REJECTED", "APPROVED"]


@BOTH
def test_a_refusal_that_counts_again_because_of_a_notice_behind_it_is_told(engine: Engine) -> None:
    """What was issued anew followed the refusal; then comes a certificate that it may have followed."""
    story = DayStory(engine)
    hear(story, (Turn("R04", None, 10), Turn("R02", "P-9")), (Turn("R01", "P-9", 9),))
    assert story.find_decision_in_force() == "REJECTED"
    assert story.list_late_decisions() == ["APPROVED", "REJECTED"]


@pytest.mark.parametrize(
    ("turns", "told"),
    [
        ((Turn("R01", "P-9", 10), CANCELLED), ["REJECTED"]),
        ((Turn("R04", None, 10), Turn("R02", "P-9"), Turn("R01", "P-9", 9)), ["REJECTED"]),
    ],
    ids=["cancelled", "refused again"],
)
def test_a_child_with_the_item_that_was_cleared_is_told(
    engine: Engine, turns: Sequence[Turn], told: Sequence[str]
) -> None:
    """The child took the item when it was approved, and customs cleared the child."""
    story = DayStory(engine)
    application = story.file()
    parent = str(story.case().number)
    for one in turns[:-1]:
        assert say_turn(story, one, application) is None
        story.tick(seconds=5)
    story.tick(seconds=5)
    story.submit(story.submission(child("C1", parent, (1, "1", "1"))), attach=False)
    for _ in range(3):
        story.tick(seconds=5)
    number = str(story.case().number)
    assert (number != parent, story.case().outcome) == (True, "APPROVED")
    story.clear(story.clock())
    story.tick(seconds=5)
    assert say_turn(story, turns[-1], application) is None
    for _ in range(4):
        story.tick(seconds=5)
    reports = list_late_reports(story, number, "item", "decision")
    assert [sorted(set(one)) for one in reports] == [[("1", decision)] for decision in told]
    with read_transaction(engine) as conn:
        found = cases.find_by_number(conn, number)
    assert found is not None
    assert found.outcome == "REJECTED"


def test_what_was_received_before_the_time_of_the_clearance_is_not_late(engine: Engine) -> None:
    story = DayStory(engine)
    application = story.file()
    for one in (APPROVED_AT_TEN, CANCELLED, RENEWED):
        assert say_turn(story, one, application) is None
    story.tick(minutes=5)
    story.clear(story.clock())
    story.tick(minutes=1)
    assert story.list_late_decisions() == []
