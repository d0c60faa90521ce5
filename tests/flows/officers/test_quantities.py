"""What officers grant is in a unit of the table, and not above what was declared without a reason."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Engine

from gateway.errors import GatewayError
from gateway.web.officers import SESSION_ONLY, OfficerDesk
from tests.kit.databases import BOTH
from tests.kit.officers import ConsoleStory


def refused(problem: str) -> Any:
    return pytest.raises(GatewayError, match=problem)


def grant(story: ConsoleStory, quantity: str, unit: str, text: str = "") -> Any:
    act = story.decision(quantity=Decimal(quantity), unit=unit)
    return type(act)(act.purpose, act.decisions, "remark", None, text)


@BOTH
@pytest.mark.parametrize("four_eyes", [False, True])
def test_the_desk_itself_compares_what_is_granted_with_what_was_declared(
    engine: Engine, four_eyes: bool
) -> None:
    story = ConsoleStory(engine, "KFDA", four_eyes=four_eyes)
    kim = story.officer("kim")
    seen = story.arrive()
    begin = story.desk.propose_act if four_eyes else story.desk.perform_act
    for quantity, unit, problem in (
        ("5000", "pieces", "GW404 5000 pieces for item 2: the table of units has no such unit"),
        ("1951", "NMB", "GW404 1951 NMB for item 2 is more than the declared 1950 NMB or 600 KGM"),
        ("0.7", "TNE", "GW404 0.7 TNE for item 2 is more than"),
        ("5000", "H87", "GW404 5000 H87 for item 2 cannot be compared with"),
    ):
        with refused(problem):
            begin(kim, seen.number, grant(story, quantity, unit), seen.shown_digest)
    assert story.look().state == "ACKNOWLEDGED"
    done = begin(kim, seen.number, grant(story, "0.6", "TNE"), seen.shown_digest)
    assert done.state == ("PROPOSED" if four_eyes else "PERFORMED")


def test_more_than_declared_is_granted_with_a_reason(engine: Engine) -> None:
    story = ConsoleStory(engine, "KFDA")
    seen = story.arrive()
    act = grant(story, "5000", "NMB", "Samples are counted with.")
    assert (
        story.desk.perform_act(story.officer("kim"), seen.number, act, seen.shown_digest).state == "PERFORMED"
    )
    assert str(story.look().decisions[0].quantity) == "5000"


def test_what_an_earlier_version_let_propose_is_not_approved(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    story = ConsoleStory(engine, "KFDA", four_eyes=True)
    kim, lee = story.officer("kim"), story.officer("lee", "approver")
    seen = story.arrive()
    with monkeypatch.context() as earlier:
        earlier.setattr(OfficerDesk, "_check_quantities", lambda *_: None)
        story.desk.propose_act(kim, seen.number, grant(story, "5000", "pieces", "Many."), seen.shown_digest)
    proposal = story.look().proposal
    assert proposal is not None
    with refused("GW404 5000 pieces"):
        story.desk.approve_proposal(
            lee, proposal.row.id, proposal.row.content, seen.shown_digest, SESSION_ONLY
        )
    story.desk.return_proposal(lee, proposal.row.id, proposal.row.content, "Which unit?")
    assert story.look().state == "ACKNOWLEDGED"


def test_another_agency_reads_nothing_of_a_proposal_that_breaks_the_contract(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    story = ConsoleStory(engine, "KFDA", four_eyes=True)
    story.settings.agency["KPTA"] = story.settings.agency["KFDA"]
    kim, lee = story.officer("kim"), story.officer("lee", "approver")
    stranger = story.officer("choi", "approver", agency="KPTA")
    seen = story.arrive()
    with monkeypatch.context() as earlier:
        earlier.setattr(OfficerDesk, "_check_act", lambda *_: None)
        story.desk.propose_act(kim, seen.number, grant(story, "1", "N" * 100), seen.shown_digest)
    proposal = story.look().proposal
    assert proposal is not None
    shown = (proposal.row.content, seen.shown_digest, SESSION_ONLY)
    with refused("GW402.*maxLength"):
        story.desk.approve_proposal(lee, proposal.row.id, *shown)
    for number in (proposal.row.id, proposal.row.id + 1):
        with refused(f"GW701.*KPTA has no proposal {number}"):
            story.desk.approve_proposal(stranger, number, *shown)
