"""Customs is told that a case waits again (code 18) if an amendment lets an agency decide again."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from gateway.cases import DecisionCode
from tests.flows.craft import Change, all_of
from tests.flows.item_changes import add_item, amendment, concern, new_application
from tests.flows.test_amended_items import decide
from tests.flows.test_amendments import DECLARANT, NAME, heard
from tests.kit.story import AGENCIES, QUIET, Story

WAFERS = all_of(add_item(4, 2), concern("A2", 4, 2))
BULBS = all_of(add_item(4, 3, "Narcissus bulbs"), new_application("A4", 4, "A3"))


def file_declaration(engine: Engine, *changes: Change) -> Story:
    story = Story(engine, agreement=QUIET)
    story.submit(story.submission(all_of(*changes)))
    story.tick()
    return story


def approve(story: Story, *agencies: str) -> None:
    for agency in agencies:
        items = {item for item, _ in story.request(agency).required}
        decide(story, agency, dict.fromkeys(items, DecisionCode.APPROVED), "N1")
    story.tick()


def amend(story: Story, *changes: Change) -> None:
    story.submit(story.submission(amendment(*changes)), action="Amend")
    story.tick()


@pytest.mark.parametrize(
    ("change", "agencies"),
    [(DECLARANT, ["KFDA", "NPQS"]), (NAME, ["KFDA"]), (WAFERS, ["KFDA"]), (BULBS, [])],
    ids=["application changes as a whole", "item changes", "item is added", "application is added"],
)
def test_customs_waits_again_when_a_decided_case_has_something_to_decide(
    engine: Engine, change: Change, agencies: list[str]
) -> None:
    story = file_declaration(engine)
    approve(story, *AGENCIES)
    assert story.customs_codes() == ["18", "19"]
    amend(story, change)
    assert heard(story) == agencies
    assert story.case().state == "IN_PROGRESS"
    assert story.customs_codes() == ["18", "19", "18"]


def test_customs_does_not_wait_again_when_the_agency_has_nothing_new_to_decide(engine: Engine) -> None:
    """An item is removed: its agency hears of it, and what it decided about the other item stands."""
    story = file_declaration(engine, WAFERS)
    approve(story, *AGENCIES)
    amend(story)
    assert heard(story) == ["KFDA"]
    assert (story.case().state, story.request("KFDA").state) == ("CLOSED", "DECIDED")
    assert story.customs_codes() == ["18", "19", "19"]


@pytest.mark.parametrize("change", [NAME, BULBS], ids=["application changes", "application is added"])
def test_customs_that_still_waits_is_not_told_so_again(engine: Engine, change: Change) -> None:
    """The agencies of the other applications have decided, KFDA has not."""
    story = file_declaration(engine)
    approve(story, "KPTA", "NPQS")
    amend(story, change)
    assert story.case().state == "IN_PROGRESS"
    assert story.customs_codes() == ["18"]
