"""An agency that had rejected approves after the declaration was withdrawn: it is asked to cancel that."""

from __future__ import annotations

from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Engine

from gateway.cases import AgencyAcknowledgment, AgencyCallback, Decision, DecisionCode, Notice
from gateway.errors import CASE_CLOSED, GatewayError
from gateway.hub import Hub, apply_call_back
from gateway.hub.completion import operator_actions
from gateway.operations import add_case_waiting, describe_requirements
from gateway.state_machines import REQUEST
from gateway.store import agency_requests, cases, read_transaction, requirement_quantities
from tests.flows.craft import all_of, reference, withdrawal
from tests.flows.item_changes import add_item, concern
from tests.flows.test_requirement_ledger import declare, evidence, told, used_of
from tests.flows.test_withdrawals import answer, asked, cancelling, run_and_die, told_customs
from tests.kit.databases import BOTH
from tests.kit.kills import die_at
from tests.kit.story import ITEMS, LAWS, QUIET, Story, unreachable

APPROVED = DecisionCode.APPROVED
REJECTED = DecisionCode.REJECTED
REASON = "84: The goods failed their inspection."


def withdraw_rejected(story: Story, *rejecting: str, name: str = "LATE-1") -> int:
    """File, let agencies reject and the others cancel; return the withdrawn case (row id)."""
    story.submit(story.submission(reference(name)))
    story.tick()
    number = story.case().number
    for agency in rejecting:
        hear(story, int(story.case().id), agency, story.notice(agency, REJECTED, number=f"{number}-0"))
    cancelling(story, **{one: "G03" for one in ("KPTA", "KFDA", "NPQS") if one not in rejecting})
    story.submit(story.submission(all_of(withdrawal, reference(name))), action="Withdraw", attach=False)
    story.tick()
    assert story.case().state == "WITHDRAWN"
    story.tick(minutes=1)
    return int(story.case().id)


def hear(story: Story, case: int, agency: str, said: Notice) -> None:
    """Let an agency call about its application in a case."""
    apply_call_back(story.hub, agency, AgencyCallback(said, request_of(story, case, agency).number))


def request_of(story: Story, case: int, agency: str) -> Any:
    with read_transaction(story.house.engine) as conn:
        return next(row for row in agency_requests.list_by_case(conn, case) if row.agency == agency)


def approve(
    story: Story, case: int, agency: str, number: str, *, certificate: str = "Q-77", kilos: str = "100"
) -> Notice:
    """Let an agency approve a quantity under the number of a certificate."""
    said = Decision(ITEMS[agency], LAWS[agency], APPROVED, certificate, quantity=Decimal(kilos), unit="KGM")
    notice = Notice(f"{agency}-{number}", story.clock(), "R02", (said,))
    hear(story, case, agency, notice)
    return notice


def late_questions(story: Story, case: int) -> list[Any]:
    """Return the questions after the withdrawal of a case, oldest first."""
    asked_for = [row for row in story.deliveries(case_id=case) if ":notice:" in row.dedupe_key]
    return [row for row in asked_for if row.parameters.get("operation") == "CancelApplication"]


def state_of(story: Story, case: int) -> tuple[str, str]:
    with read_transaction(story.house.engine) as conn:
        row = cases.find_by_id(conn, case)
    assert row is not None
    return row.state, row.outcome


@pytest.fixture
def story(engine: Engine) -> Story:
    return Story(engine)


@pytest.mark.long
@BOTH
def test_a_late_approval_is_to_be_cancelled_and_gives_no_certificate(story: Story) -> None:
    """The notice is kept and passed on; with G03 nothing of it is left."""
    case = withdraw_rejected(story, "NPQS")
    before = told_customs(story)
    notice = approve(story, case, "NPQS", "1")
    request = request_of(story, case, "NPQS")
    assert (request.state, request.cancellation) == ("DECIDED", "ASKED")
    story.say("NPQS", AgencyAcknowledgment("heard"))
    story.tick()
    assert asked(story)[-1] == ("NPQS", REASON)
    assert [row.state for row in late_questions(story, case)] == ["DELIVERED"]
    heard = [one.findtext(".//{*}NoticeNumber") for one in story.inbox.documents("Notice")]
    assert heard.count("NPQS-1") == 1
    assert state_of(story, case) == ("WITHDRAWN", "WITHDRAWN")
    assert len(story.inbox.documents("Result")) == 1
    assert told_customs(story) == before
    assert story.evidence("case", case).count("late_approval") == 1
    declare(story, "USER-1", (1, "Q-77", "10", "KGM"))
    assert told(story)[0][0] == "GW412"
    assert used_of(story, "Q-77") == {}
    hear(story, case, "NPQS", Notice("NPQS-2", story.clock(), "G03", ()))
    story.tick()
    assert [one for one, _ in story.steps(REQUEST, request.id)][-3:] == ["correct", "ask_cancel", "cancel"]
    declare(story, "USER-2", (1, "Q-77", "10", "KGM"))
    assert told(story)[0][0] == "GW412"
    assert state_of(story, case) == ("WITHDRAWN", "WITHDRAWN")
    # Said again, it is refused to the agency: the application is cancelled.
    with pytest.raises(GatewayError) as refused:
        hear(story, case, "NPQS", notice)
    assert refused.value.problem is CASE_CLOSED
    assert len(late_questions(story, case)) == 1


@pytest.mark.long
@pytest.mark.parametrize("told", [True, False], ids=["behind the Result", "before the Result"])
def test_the_result_of_a_withdrawal_names_no_approval_that_came_later(story: Story, told: bool) -> None:
    """The Result is made by a task of its own: what an agency says before that is no part of it."""
    story.submit()
    story.tick()
    case = int(story.case().id)
    hear(story, case, "NPQS", story.notice("NPQS", REJECTED, number="0"))
    story.submit(story.submission(withdrawal), action="Withdraw", attach=False)
    story.tick(seconds=1)
    for agency in ("KPTA", "KFDA"):
        hear(story, case, agency, Notice(f"{agency}-G", story.clock(), "G03", ()))
    assert state_of(story, case) == ("WITHDRAWN", "WITHDRAWN")
    if told:
        story.tick(seconds=1)
    story.clock.forward(seconds=1)
    approve(story, case, "NPQS", "1")
    story.tick(minutes=1)
    assert story.outcome() == ("WITHDRAWN", {3: "REJECTED"})
    assert len(story.inbox.documents("Result")) == 1


@pytest.mark.long
def test_a_repeat_and_a_correction_of_it_ask_no_second_time(story: Story) -> None:
    """An approval is what the question is about: it is no answer to it either."""
    case = withdraw_rejected(story, "NPQS")
    notice = approve(story, case, "NPQS", "1")
    story.say("NPQS", AgencyAcknowledgment("heard"))
    hear(story, case, "NPQS", notice)
    story.tick()
    hear(story, case, "NPQS", notice)
    story.tick(minutes=1)
    approve(story, case, "NPQS", "2", kilos="50")
    story.tick(minutes=1)
    assert len(late_questions(story, case)) == 1
    assert request_of(story, case, "NPQS").cancellation == "ASKED"


@pytest.mark.long
def test_the_agency_that_refuses_keeps_its_certificate(story: Story) -> None:
    """Who issued a certificate says whether it stands; the declaration stays withdrawn all the same."""
    case = withdraw_rejected(story, "NPQS")
    notice = approve(story, case, "NPQS", "1")
    story.tick()
    declare(story, "USER-1", (1, "Q-77", "10", "KGM"))
    assert told(story)[0][0] == "GW412"
    hear(story, case, "NPQS", Notice("NPQS-NO", story.clock(), "G04", ()))
    story.tick()
    assert state_of(story, case) == ("WITHDRAWN", "WITHDRAWN")
    declare(story, "USER-2", (1, "Q-77", "10", "KGM"))
    assert story.outcome()[0] == "APPROVED"
    assert used_of(story, "Q-77") == {"KGM": "10"}
    # What it refused to cancel is not asked for again when it is told again.
    hear(story, case, "NPQS", notice)
    approve(story, case, "NPQS", "2", kilos="90")
    story.tick()
    assert len(late_questions(story, case)) == 1


@pytest.mark.long
def test_a_case_that_waits_for_the_number_has_it_when_the_agency_keeps_it(story: Story) -> None:
    """Until then it waits: the certificate of a withdrawn declaration is nobody's."""
    case = withdraw_rejected(story, "NPQS")
    declare(story, "USER-1", (1, "Q-77", "10", "KGM"))
    waiting = int(story.case().id)
    approve(story, case, "NPQS", "1")
    story.tick()
    assert used_of(story, "Q-77") == {}
    assert [one["problem"] for one in evidence(story, waiting, "not_left")] == ["GW412"]
    hear(story, case, "NPQS", Notice("NPQS-NO", story.clock(), "G04", ()))
    story.tick()
    assert used_of(story, "Q-77") == {"KGM": "10"}
    assert state_of(story, case)[0] == "WITHDRAWN"


@pytest.mark.long
@BOTH
def test_an_operator_who_ends_the_question_lets_the_certificate_stand(story: Story) -> None:
    case = withdraw_rejected(story, "NPQS")
    declare(story, "USER-1", (1, "Q-77", "10", "KGM"))
    approve(story, case, "NPQS", "1")
    story.say("NPQS", AgencyAcknowledgment("heard"))
    story.tick()
    act = partial(operator_actions.end_question, reason="confirmed by telephone")
    story.operate(act, request_of(story, case, "NPQS").id)
    story.tick()
    assert used_of(story, "Q-77") == {"KGM": "10"}
    assert state_of(story, case)[0] == "WITHDRAWN"


def describe(story: Story, case: int) -> tuple[str, list[tuple[str, bool, bool]]]:
    """Return what a case waits for, and of each certificate whether it is revoked and suspended."""
    with read_transaction(story.house.engine) as conn:
        row = cases.find_by_id(conn, case)
        assert row is not None
        told = dict(row._mapping)
        add_case_waiting(conn, [told], story.clock())
        found = requirement_quantities.list_requirements(conn)
        listed = describe_requirements(conn, found, story.hub.rules.bundle.units)
    return told["waits_for"], [(one["number"], one["revoked"], one["suspended"]) for one in reversed(listed)]


@pytest.mark.long
def test_while_the_agency_is_asked_everybody_is_told_so(story: Story) -> None:
    case = withdraw_rejected(story, "NPQS")
    approve(story, case, "NPQS", "1")
    story.say("NPQS", unreachable(), AgencyAcknowledgment("heard"))
    story.tick()
    number = request_of(story, case, "NPQS").number
    waits, certificates = describe(story, case)
    assert waits.startswith(f"NPQS: whether it cancels {number} (delivery ")
    assert certificates == [("Q-77", False, True)]
    story.tick(minutes=1)
    assert describe(story, case)[0] == f"NPQS: whether it cancels {number}"
    declare(story, "USER-1", (1, "Q-77", "10", "KGM"))
    text = story.result().findtext("{*}Problem") or ""
    assert "requirement Q-77 is suspended until NPQS answers" in text
    hear(story, case, "NPQS", Notice("NPQS-NO", story.clock(), "G03", ()))
    assert describe(story, case) == ("", [("Q-77", True, False)])


def decide_items(story: Story, case: int, number: str, **codes: DecisionCode) -> None:
    """Let an agency decide items of its application, each with a certificate of its own."""
    row = request_of(story, case, "KFDA")
    said = tuple(
        Decision(int(item[1:]), "05", code, f"Q-{item[1:]}", quantity=Decimal(100), unit="KGM")
        for item, code in codes.items()
    )
    status = "R01" if any(code is APPROVED for code in codes.values()) else "R04"
    notice = Notice(f"KFDA-{number}", story.clock(), status, said)
    apply_call_back(story.hub, "KFDA", AgencyCallback(notice, row.number))
    story.tick(minutes=1)


@pytest.mark.long
def test_what_the_agency_keeps_is_not_suspended_by_what_it_approves_next(story: Story) -> None:
    """Only what was approved last is asked about; a rejection takes from what is kept, for good."""
    story.submit(story.submission(all_of(add_item(4, like=2), concern("A2", 4, like=2), reference("LATE-2"))))
    story.tick()
    case = int(story.case().id)
    decide_items(story, case, "0", i2=REJECTED, i4=REJECTED)
    cancelling(story, KPTA="G03", NPQS="G03")
    story.submit(story.submission(all_of(withdrawal, reference("LATE-2"))), action="Withdraw", attach=False)
    story.tick(minutes=1)
    assert state_of(story, case)[0] == "WITHDRAWN"
    story.say("KFDA", *[AgencyAcknowledgment("heard")] * 3)
    decide_items(story, case, "1", i2=APPROVED)
    assert describe(story, case)[1] == [("Q-2", False, True), ("Q-4", True, False)]
    hear(story, case, "KFDA", Notice("KFDA-NO", story.clock(), "G04", ()))
    story.tick(minutes=1)
    decide_items(story, case, "2", i4=APPROVED)
    assert len(late_questions(story, case)) == 2
    assert describe(story, case)[1] == [("Q-2", False, False), ("Q-4", False, True)]
    # Said once more while the question is open, it stands as before.
    decide_items(story, case, "3", i2=APPROVED)
    assert describe(story, case)[1] == [("Q-2", False, False), ("Q-4", False, True)]
    declare(story, "USER-1", (1, "Q-2", "10", "KGM"))
    assert (story.outcome()[0], used_of(story, "Q-2")) == ("APPROVED", {"KGM": "10"})
    decide_items(story, case, "4", i2=REJECTED)
    decide_items(story, case, "5", i2=APPROVED)
    assert describe(story, case)[1] == [("Q-2", False, True), ("Q-4", False, True)]
    hear(story, case, "KFDA", Notice("KFDA-NO2", story.clock(), "G04", ()))
    story.tick(minutes=1)
    assert describe(story, case)[1] == [("Q-2", False, False), ("Q-4", False, False)]


@pytest.mark.long
def test_what_is_rejected_again_needs_no_cancellation_and_a_new_approval_does(story: Story) -> None:
    case = withdraw_rejected(story, "NPQS")
    approve(story, case, "NPQS", "1")
    story.say("NPQS", AgencyAcknowledgment("heard"), AgencyAcknowledgment("heard"))
    story.tick(minutes=1)
    hear(story, case, "NPQS", story.notice("NPQS", REJECTED, number="again"))
    assert request_of(story, case, "NPQS").cancellation == "REFUSED"
    story.tick(minutes=1)
    approve(story, case, "NPQS", "3")
    assert request_of(story, case, "NPQS").cancellation == "ASKED"
    story.tick()
    assert [row.state for row in late_questions(story, case)] == ["DELIVERED"] * 2


@pytest.mark.long
def test_what_was_issued_before_the_rejection_is_overtaken_and_asks_nothing(story: Story) -> None:
    case = withdraw_rejected(story, "NPQS")
    said = Notice(
        "NPQS-EARLY",
        story.case().opened_at,
        "R01",
        (Decision(ITEMS["NPQS"], LAWS["NPQS"], APPROVED, "Q-1", quantity=Decimal(5), unit="KGM"),),
    )
    hear(story, case, "NPQS", said)
    story.tick()
    assert late_questions(story, case) == []
    assert request_of(story, case, "NPQS").cancellation is None


@pytest.mark.long
def test_each_agency_is_asked_for_itself_and_the_question_is_repeated(story: Story) -> None:
    case = withdraw_rejected(story, "NPQS", "KFDA")
    approve(story, case, "NPQS", "1")
    approve(story, case, "KFDA", "1", certificate="Q-78")
    story.say("NPQS", unreachable(), answer(story, "NPQS", "G03", "OK"))
    story.say("KFDA", answer(story, "KFDA", "G04", "NO"))
    story.tick()
    assert request_of(story, case, "NPQS").state == "DECIDED"
    story.tick(minutes=5)
    assert request_of(story, case, "NPQS").state == "CANCELLED"
    assert (request_of(story, case, "KFDA").state, request_of(story, case, "KFDA").cancellation) == (
        "DECIDED",
        "REFUSED",
    )
    assert [row.state for row in late_questions(story, case)] == ["DELIVERED"] * 2
    envelopes = [one.envelope for one in story.soap.calls if one.operation == "CancelApplication"]
    assert len(envelopes) == 1 + 3
    assert state_of(story, case)[0] == "WITHDRAWN"


@pytest.mark.long
@BOTH
@pytest.mark.parametrize("commit", ["reply.call_back", "withdraw.asked", "reply.cancellation"])
def test_wherever_a_process_dies_the_agency_is_asked_once(engine: Engine, commit: str) -> None:
    story = Story(engine, agreement=QUIET)
    for number, side in enumerate(("before_commit", "after_commit")):
        story.soap.answers.clear()
        case = withdraw_rejected(story, "NPQS", name=f"LATE-{number}")
        name = story.case().number
        said = Decision(ITEMS["NPQS"], LAWS["NPQS"], APPROVED, f"Q-{number}", quantity=Decimal(5), unit="KGM")
        call = AgencyCallback(
            Notice(f"{name}-LATE", story.clock(), "R02", (said,)), request_of(story, case, "NPQS").number
        )
        story.say("NPQS", answer(story, "NPQS", "G03", "OK"))

        def act(hub: Hub, call: AgencyCallback = call) -> None:
            apply_call_back(hub, "NPQS", call)
            run_and_die(story, hub)

        die_at(story, f"{commit}.{side}", act)
        story.soap.answers.clear()
        story.say("NPQS", answer(story, "NPQS", "G03", "OK"))
        if commit == "reply.call_back":
            apply_call_back(story.hub, "NPQS", call)
        story.tick(minutes=2)
        assert request_of(story, case, "NPQS").state == "CANCELLED"
        assert [row.state for row in late_questions(story, case)] == ["DELIVERED"]
        assert story.evidence("case", case).count("late_approval") == 1
