"""A decided case of which one item has left, and from which the refused one was removed."""

from __future__ import annotations

from gateway.cases import AgencyCallback, DecisionCode, Notice
from gateway.hub import apply_call_back
from gateway.store import agency_requests, cases, read_transaction
from tests.flows.item_changes import amendment, drop_application, remove_item
from tests.flows.test_partial_release import child
from tests.kit.story import Story

__all__ = ["cancel_above", "release"]


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


def cancel_above(story: Story, parent: str, agency: str) -> str:
    """Let an agency cancel its application in a case (number); return the number of the application."""
    with read_transaction(story.house.engine) as conn:
        case = cases.find_by_number(conn, parent)
        assert case is not None
        asked = agency_requests.list_by_case(conn, case.id)
    number = next(str(row.number) for row in asked if row.agency == agency)
    apply_call_back(story.hub, agency, AgencyCallback(Notice("G-1", story.clock(), "G01", ()), number))
    for _ in range(3):
        story.tick(seconds=5)
    return number
