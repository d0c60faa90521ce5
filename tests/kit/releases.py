"""A decided case of which one item has left, and from which the refused one was removed."""

from __future__ import annotations

from gateway.cases.agency_notices import DecisionCode
from tests.flows.item_changes import amendment, drop_application, remove_item
from tests.flows.test_partial_release import child
from tests.kit.story import Story

__all__ = ["release"]


def release(story: Story) -> tuple[str, str]:
    """Let a part of item 1 leave, then remove item 2; return the numbers of the parent and the child."""
    story.submit()
    story.tick()
    parent = str(story.case().number)
    story.decide_all("KFDA")
    story.decide("KFDA", DecisionCode.REJECTED)
    story.tick()
    story.submit(story.submission(child("C1", parent, (1, "20.5", "10"))), attach=False)
    story.tick(seconds=1)
    number = str(story.case().number)
    change = amendment(remove_item(2), drop_application("A2"))
    story.submit(story.submission(change), action="Amend", attach=False)
    story.tick(seconds=1)
    story.tick(seconds=1)
    return parent, number
