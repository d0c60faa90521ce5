"""Officers cancel an application, and say whether they cancel one that its applicant withdraws.

Nobody downstream sees whether an agency answers by its own system or by its officers.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from sqlalchemy import Engine

from gateway.cases import (
    AgencyCallback,
    DecisionCode,
    DecisionPurpose,
    InspectionAct,
    Notice,
    ReceiveAct,
)
from gateway.errors import GatewayError
from gateway.hub import apply_call_back
from gateway.store import WorkFilter, WorkTab, make_engine, read_transaction, work_lists
from gateway.web.officers import Officer
from tests.flows.craft import withdrawal
from tests.kit.databases import BOTH, KINDS, Templates
from tests.kit.officers import ConsoleStory

AGENCY = "KFDA"
OTHERS = ("KPTA", "NPQS")


def refused(problem: str) -> Any:
    return pytest.raises(GatewayError, match=problem)


def offered(story: ConsoleStory) -> set[str]:
    """Return the codes that the form of a receipt offers now."""
    return {one.code for one in story.desk.list_status_codes("receive", story.look().number)}


def is_at_console(story: ConsoleStory) -> bool:
    return story.settings.agency[AGENCY].console


def list_asked(story: ConsoleStory) -> list[str]:
    with read_transaction(story.house.engine) as conn:
        wanted = WorkFilter(AGENCY, WorkTab.CANCEL, 1, story.clock())
        return [row.number for row in work_lists.list_work(conn, wanted)]


def perform(story: ConsoleStory, officer: Officer, code: str) -> None:
    seen = story.look()
    done = story.desk.perform_act(officer, seen.number, ReceiveAct(code), seen.shown_digest)
    assert (done.state, done.problem) == ("PERFORMED", None)


def decide_and_withdraw(story: ConsoleStory) -> Officer:
    """Let all agencies approve, and the declarant withdraw; return an approver."""
    lee = story.officer("lee", "approver")
    if is_at_console(story):
        seen = story.arrive()
        story.desk.perform_act(lee, seen.number, story.decision(), seen.shown_digest)
    else:
        story.submit()
        story.tick()
        story.decide(AGENCY)
    story.decide_others()
    story.tick(seconds=1)
    assert story.outcome()[0] == "APPROVED"
    story.submit(story.submission(withdrawal), action="Withdraw", attach=False)
    story.tick(seconds=1)
    assert story.request(AGENCY).cancellation == "ASKED"
    return lee


def tell(story: ConsoleStory, agency: str, code: str) -> None:
    """Let an agency's own system answer."""
    notice = Notice(f"{agency}-{code}", story.clock(), code)
    apply_call_back(story.hub, agency, AgencyCallback(notice, story.request(agency).number))


def see(story: ConsoleStory) -> dict[str, Any]:
    """Return what became of a case, and what everybody was told."""
    agencies = (AGENCY, *OTHERS)
    told = [
        (one.findtext(".//{*}Agency"), one.findtext(".//{*}StatusCode"))
        for one in story.inbox.documents("Notice")
    ]
    return {
        "case": (story.case().state, story.case().outcome),
        "requests": [(one, story.request(one).state, story.request(one).cancellation) for one in agencies],
        "results": [one.findtext("{*}Outcome") for one in story.inbox.documents("Result")],
        "notices": sorted(told, key=repr),
        "customs": story.customs_codes(),
    }


def see_both(templates: Templates, kind: str, live: Callable[[ConsoleStory], None]) -> list[dict[str, Any]]:
    """Return what became of a case with officers, and of one with a system."""
    found = []
    for console in (True, False):
        url = templates.fresh(kind)
        engine = make_engine(url)
        story = ConsoleStory(engine, AGENCY, console=console)
        live(story)
        found.append(see(story))
        engine.dispose()
        templates.drop(url)
    return found


def answer_all(story: ConsoleStory, order: Sequence[str], said: str) -> None:
    lee = decide_and_withdraw(story)
    for agency in order:
        story.clock.forward(seconds=1)
        if agency == AGENCY and is_at_console(story):
            perform(story, lee, said)
        else:
            tell(story, agency, said if agency == AGENCY else "G03")
        story.tick(seconds=1)


@pytest.mark.night
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("said", ["G03", "G04"])
@pytest.mark.parametrize("order", list(itertools.permutations((AGENCY, *OTHERS))), ids="-".join)
def test_officers_answer_a_withdrawal_as_a_system_does_in_every_order(
    order: tuple[str, ...], said: str, kind: str, templates: Templates
) -> None:
    console, system = see_both(templates, kind, lambda story: answer_all(story, order, said))
    state = ("CANCELLED", "ACCEPTED") if said == "G03" else ("DECIDED", "REFUSED")
    assert console["requests"][0] == (AGENCY, *state)
    assert console["case"][0] == ("WITHDRAWN" if said == "G03" else "CLOSED")
    assert console == system


@pytest.mark.long
def test_who_is_asked_is_listed_until_an_officer_answers(engine: Engine) -> None:
    story = ConsoleStory(engine, AGENCY)
    lee = decide_and_withdraw(story)
    number = story.look().number
    assert list_asked(story) == [number]
    assert offered(story) == {"G03", "G04"}
    seen = story.look()
    with refused("GW707.*decisions.correct"):
        story.desk.perform_act(story.officer("kim"), number, ReceiveAct("G03"), seen.shown_digest)
    with refused("GW705.*corrected or revoked"):
        story.desk.perform_act(lee, number, ReceiveAct("C04"), seen.shown_digest)
    perform(story, lee, "G04")
    assert (list_asked(story), offered(story)) == ([], {"G03"})
    seen = story.look()
    with refused("GW705"):
        story.desk.perform_act(lee, number, ReceiveAct("G04"), seen.shown_digest)
    # An agency that does not cancel may do so later.
    perform(story, lee, "G03")
    assert story.look().state == "CANCELLED"


@pytest.mark.long
def test_a_revocation_answers_the_question_too(engine: Engine) -> None:
    story = ConsoleStory(engine, AGENCY)
    lee = decide_and_withdraw(story)
    seen = story.look()
    revoke = story.decision(DecisionCode.REJECTED, DecisionPurpose.REVOKE)
    story.desk.perform_act(lee, seen.number, revoke, seen.shown_digest)
    assert (list_asked(story), story.look().request.cancellation) == ([], "REFUSED")
    for agency in OTHERS:
        tell(story, agency, "G03")
    story.tick(seconds=1)
    assert story.case().state == "WITHDRAWN"


def cancel_open(story: ConsoleStory, *, asked: bool) -> None:
    """Let the agency cancel what it has not decided, when it has asked something or not."""
    story.submit()
    story.tick(seconds=1)
    story.decide_others()
    if asked:
        tell(story, AGENCY, "D01")
        story.clock.forward(seconds=1)
    if not is_at_console(story):
        tell(story, AGENCY, "G01")
    else:
        assert "G01" in offered(story)
        assert not {"G03", "G04"} & offered(story)
        seen = story.look()
        with refused("GW705.*nobody asks"):
            story.desk.perform_act(story.officer("kim"), seen.number, ReceiveAct("G03"), seen.shown_digest)
        perform(story, story.officer("han"), "G01")
    story.tick(seconds=1)


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("asked", [False, True], ids=["received", "asked"])
def test_officers_cancel_what_is_not_decided_as_a_system_does(
    kind: str, templates: Templates, *, asked: bool
) -> None:
    console, system = see_both(templates, kind, lambda story: cancel_open(story, asked=asked))
    assert console["requests"][0] == (AGENCY, "CANCELLED", "ACCEPTED")
    assert console == system


@pytest.mark.long
def test_an_inspection_is_ended_by_an_officer(engine: Engine) -> None:
    story = ConsoleStory(engine, AGENCY)
    seen = story.arrive()
    kim = story.officer("kim")
    for code, state in (("E01", "INSPECTION"), ("E07", "ACKNOWLEDGED")):
        story.clock.forward(seconds=1)
        story.desk.perform_act(kim, seen.number, InspectionAct(code), story.look().shown_digest)
        assert story.look().state == state


@BOTH
def test_what_is_decided_while_the_mailbox_answers_is_not_cancelled(engine: Engine) -> None:
    """An officer decides between the answer of the mailbox and its effect: it answers again."""
    story = ConsoleStory(engine, AGENCY)
    seen = story.arrive()
    kim = story.officer("kim")

    def decide() -> None:
        shown = story.look().shown_digest
        assert story.desk.perform_act(kim, seen.number, story.decision(), shown).state == "PERFORMED"

    story.submit(story.submission(withdrawal), action="Withdraw", attach=False)
    story.keys.at_next_use = decide
    story.tick(seconds=1)
    request = story.request(AGENCY)
    assert (request.state, request.cancellation) == ("DECIDED", "REFUSED")
    assert [call.operation for call in story.rested()] == ["SubmitApplication", "CancelApplication"]
    assert {row.state for row in story.deliveries(destination=AGENCY)} == {"DELIVERED"}


@pytest.mark.long
@pytest.mark.parametrize("meanwhile", [False, True], ids=["before", "meanwhile"])
@pytest.mark.parametrize("code", ["G03", "G04"])
@pytest.mark.parametrize("decided", [False, True], ids=["open", "decided"])
def test_what_officers_answer_before_the_mailbox_does_is_the_answer(
    engine: Engine, *, decided: bool, code: str, meanwhile: bool
) -> None:
    """The applicant withdraws, and the officers say whether they cancel before the call is in the mailbox."""
    story = ConsoleStory(engine, AGENCY)
    seen = story.arrive()
    lee = story.officer("lee", "approver")
    if decided:
        story.desk.perform_act(lee, seen.number, story.decision(), seen.shown_digest)
    story.decide_others()
    story.tick(seconds=1)
    state = story.request(AGENCY).state
    story.submit(story.submission(withdrawal), action="Withdraw", attach=False)
    if meanwhile:
        story.keys.at_next_use = lambda: perform(story, lee, code)
    else:
        while list_asked(story) == []:
            assert story.worker.run_once()
        assert len(story.rested()) == 1
        perform(story, lee, code)
    story.tick(seconds=1)
    request = story.request(AGENCY)
    expected = ("CANCELLED", "ACCEPTED") if code == "G03" else (state, "REFUSED")
    assert (request.state, request.cancellation) == expected
    assert [call.operation for call in story.rested()] == ["SubmitApplication", "CancelApplication"]
    notices = [status for _, status in see(story)["notices"]]
    assert [status for status in notices if status in ("G03", "G04")] == [code]
