"""Claims: who works on an application, guarded by the version that was seen."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Engine

from gateway.cases import ReceiveAct
from gateway.errors import GatewayError
from gateway.hub import ClaimChange, change_work_claim
from tests.kit.databases import BOTH
from tests.kit.officers import ConsoleStory


def refused(problem: str) -> Any:
    return pytest.raises(GatewayError, match=problem)


@BOTH
def test_an_application_is_claimed_released_and_handed_over(engine: Engine) -> None:
    story = ConsoleStory(engine)
    seen = story.arrive()
    kim, lee, head = story.officer("kim"), story.officer("lee"), story.officer("park", "head")
    assert (seen.claim, seen.claim_version) == (None, 0)
    claim = story.desk.claim_application(kim, seen.number, 0)
    assert (claim.account, claim.name, claim.version) == (kim.account, "Kim", 1)
    with refused("GW708.*kim works on it"):
        story.desk.claim_application(lee, seen.number, 1)
    with refused("GW708"):
        story.desk.perform_act(lee, seen.number, ReceiveAct(), seen.shown_digest)
    with refused("GW708"):
        story.desk.hand_over_application(lee, seen.number, lee.account, 1)
    # The head hands over what another one has; a version that is old changes nothing.
    with refused("GW708.*in the meantime"):
        story.desk.hand_over_application(head, seen.number, lee.account, 0)
    assert story.desk.hand_over_application(head, seen.number, lee.account, 1).version == 2
    stranger = story.officer("choi", agency="KFDA")
    with refused("GW707.*no officer"):
        story.desk.hand_over_application(lee, seen.number, stranger.account, 2)
    story.desk.release_application(lee, seen.number, 2)
    now = story.look()
    assert (now.claim, now.claim_version) == (None, 3)
    # A claim is no part of what is shown: it changes nothing that is decided.
    assert now.shown_digest == seen.shown_digest
    assert story.evidence("request", seen.request.id).count("claim") == 3


@pytest.mark.parametrize("may_change_any_claim", [False, True])
def test_a_claim_on_an_application_of_another_agency_changes_nothing(
    engine: Engine, may_change_any_claim: bool
) -> None:
    story = ConsoleStory(engine)
    seen = story.arrive()
    story.desk.claim_application(story.officer("kim"), seen.number, 0)
    before = story.look().claim
    choi = story.officer("choi", "head", agency="KFDA").to_acting_officer()
    for number in (seen.number, "A99"):
        change = ClaimChange("hand over", number, choi.account, 1, may_change_any_claim)
        with refused(f"GW701.*KFDA has no application '{number}'"):
            change_work_claim(story.hub, choi, change)
    assert story.look().claim == before
    assert story.evidence("request", seen.request.id).count("claim") == 1


def test_of_many_claims_at_once_one_succeeds(engine: Engine) -> None:
    story = ConsoleStory(engine)
    seen = story.arrive()
    many = [story.officer(f"officer-{number}") for number in range(10)]

    def claim(number: int) -> bool:
        try:
            story.desk.claim_application(many[number], seen.number, 0)
        except GatewayError as problem:
            if problem.problem.id != "GW708":
                raise
            return False
        return True

    with ThreadPoolExecutor(10) as pool:
        assert sum(pool.map(claim, range(10))) == 1
