"""What an amendment leaves as it is stands in its way no more, though its certificate cannot be used."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from gateway.cases import DecisionCode
from gateway.store import read_transaction, requirement_results
from tests.flows.craft import all_of, text
from tests.flows.test_amendments import amendment
from tests.flows.test_held_case_waking import HELD, NUMBER
from tests.flows.test_held_cases import HOLD
from tests.flows.test_outside_results import say
from tests.flows.test_requirement_ledger import amend, declare, evidence, used_of
from tests.kit.databases import BOTH
from tests.kit.story import Story

REJECTED = DecisionCode.REJECTED
USE = (1, "2026-118", "40", "KGM")


@pytest.fixture
def story(engine: Engine) -> Story:
    return Story(engine)


def revoke(story: Story, notice: str = "R2", **more: str) -> None:
    story.clock.forward(seconds=5)
    say(story, REJECTED, notice=notice, **more)
    story.tick()


def waits(story: Story, case: int) -> list[str]:
    with read_transaction(story.house.engine) as conn:
        return [row.number for row in requirement_results.list_awaited_uses(conn, case)]


@BOTH
def test_an_item_that_its_certificate_rejects_stays_so(story: Story) -> None:
    """The rest can be amended; a larger use, another item and another number are judged as ever."""
    say(story)
    declare(story, "D1", USE, (1, "UNKNOWN", "1", "KGM"))
    case = int(story.case().id)
    revoke(story)
    assert story.outcome() == ("PARTIAL", {1: "REJECTED"})
    assert amend(story, "D1", (1, "2026-118", "41", "KGM")) == ["GW412"]
    assert amend(story, "D1", USE, (2, "2026-118", "1", "KGM")) == ["GW412"]
    assert amend(story, "D1", USE, (1, "UNKNOWN", "1", "KGM"), (2, "UNKNOWN", "5", "KGM")) == []
    assert (story.outcome(), used_of(story, "2026-118")) == (("PARTIAL", {1: "REJECTED"}), {})
    # What the rejected item waits for is awaited still.
    assert waits(story, case) == ["UNKNOWN", "UNKNOWN"]
    assert amend(story, "D1", (1, "2026-118", "30", "KGM")) == []
    say(story, notice="R3", at=story.clock())
    story.tick()
    assert (story.outcome(), used_of(story, "2026-118")) == (("APPROVED", {1: "APPROVED"}), {"KGM": "30"})


def test_another_number_takes_a_rejected_item_up_again(story: Story) -> None:
    say(story)
    say(story, notice="N1", number="2026-119", quantity="50")
    declare(story, "D1", USE, (1, "2026-119", "20", "KGM"))
    revoke(story)
    assert used_of(story, "2026-119") == {}
    declare(story, "D2", (1, "2026-119", "40", "KGM"))
    # It stays rejected with both, and has to have enough of the good one without the other.
    assert amend(story, "D1", USE, (1, "2026-119", "20", "KGM")) == []
    assert amend(story, "D1", (1, "2026-119", "20", "KGM")) == ["GW411"]
    assert amend(story, "D1", (1, "2026-119", "10", "KGM")) == []
    assert (story.outcome()[0], used_of(story, "2026-119")) == ("APPROVED", {"KGM": "50"})


def test_what_was_not_left_keeps_no_amendment_out(story: Story) -> None:
    say(story)
    declare(story, "D1", USE)
    first = story.case().id
    revoke(story)
    story.clock.forward(seconds=5)
    say(story, notice="R3", quantity="30", at=story.clock())
    story.tick()
    assert (story.outcome()[0], used_of(story, "2026-118")) == ("APPROVED", {})
    assert [one["problem"] for one in evidence(story, first, "not_left")] == ["GW411"]
    assert amend(story, "D1", USE) == []
    assert (story.outcome()[0], used_of(story, "2026-118")) == ("APPROVED", {})
    assert amend(story, "D1", (1, "2026-118", "41", "KGM")) == ["GW411"]
    assert amend(story, "D1", (1, "2026-118", "25", "KGM")) == []
    assert used_of(story, "2026-118") == {"KGM": "25"}


def test_a_revoked_certificate_meets_the_need_of_what_is_unchanged(story: Story) -> None:
    story.hub.need_policy = HOLD
    say(story, agency="NPQS", number=NUMBER, law="12")
    story.submit(story.submission(HELD))
    story.tick()
    assert story.case().state == "IN_PROGRESS"
    revoke(story, agency="NPQS", number=NUMBER, law="12")
    change = all_of(HELD, amendment(text(".//Importer/Name", "ANOTHER NAME")))
    story.submit(story.submission(change), action="Amend")
    story.tick(seconds=1)
    assert (story.case().state, story.evidence("case", story.case().id)[-1]) == ("IN_PROGRESS", "amended")
