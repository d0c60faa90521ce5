"""A declarant withdraws: every agency cancels its application, or says that it does not."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Engine

from gateway.cases import AgencyAcknowledgment, DecisionCode, Notice
from gateway.delivery.agents import LocalAgent, MshAgent, PartnerAgent
from gateway.delivery.delivery_worker import DeliveryWorker, WorkerSettings
from gateway.errors import CASE_CLOSED, REFUSED_FOR_GOOD, GatewayError
from gateway.hub import Hub
from gateway.hub.completion import operator_actions
from gateway.state_machines import CASE, REQUEST
from gateway.store import write_transaction
from tests.flows.craft import (
    all_of,
    because,
    reference,
    supplement,
    text,
    withdrawal,
    without,
    without_applications,
)
from tests.flows.item_changes import amendment, drop_application, remove_item
from tests.kit.databases import BOTH
from tests.kit.kills import die_at
from tests.kit.story import AGENCIES, PLAN, QUIET, Story, unreachable

REJECTED = DecisionCode.REJECTED


@pytest.fixture
def story(engine: Engine) -> Story:
    started = Story(engine)
    started.submit()
    return started


def withdraw(story: Story, *changes: Any) -> None:
    story.submit(story.submission(all_of(withdrawal, *changes)), action="Withdraw", attach=False)


def answer(story: Story, agency: str, status: str, number: str = "C1") -> Notice:
    """Return how an agency answers whether it cancels: G03 it does, G04 it does not."""
    return Notice(f"{story.case().number}-{agency}-{number}", story.clock(), status, (), "heard")


def cancelling(story: Story, **said: str) -> None:
    """Lay out what each agency answers to its next call."""
    for agency, status in said.items():
        story.say(agency, answer(story, agency, status))


def asked(story: Story) -> list[tuple[str, str]]:
    """Return which agencies were asked to cancel, in the order of their names, and with which reason."""
    return sorted(
        (one.destination, one.text("Reason") or "")
        for one in story.soap.calls
        if one.operation == "CancelApplication"
    )


def told_customs(story: Story) -> list[str]:
    return [one.operation for one in story.soap.calls if one.destination == "customs"]


def reported(story: Story) -> list[str]:
    return [one.get("id", "") for one in story.result().findall("{*}Problem")]


@pytest.mark.story("a trader withdraws a declaration")
@BOTH
def test_every_agency_cancels_and_the_declaration_is_withdrawn(story: Story) -> None:
    story.tick()
    cancelling(story, KPTA="G03", KFDA="G03", NPQS="G03")
    withdraw(story)
    story.tick()
    assert asked(story) == [(one, "84: The goods failed their inspection.") for one in sorted(AGENCIES)]
    assert {story.request(one).state for one in AGENCIES} == {"CANCELLED"}
    assert (story.case().state, story.case().outcome) == ("WITHDRAWN", "WITHDRAWN")
    assert story.outcome() == ("WITHDRAWN", {})
    assert story.result().findtext("{*}Response/{*}FunctionCode") == "10"
    assert told_customs(story) == ["RegisterDeclaration", "ReportRequirements", "WithdrawDeclaration"]
    assert story.soap.calls[-1].text("Reason") == "84: The goods failed their inspection."
    assert [one for one, _ in story.steps(CASE, story.case().id)] == [
        "dispatch", "withdraw", "decision", "decision", "withdrawn",
    ]  # fmt: skip
    kinds = story.evidence("case", story.case().id)
    assert kinds.count("withdrawal") == kinds.count("withdrawn") == 1
    assert [one for one, _ in story.steps(REQUEST, story.request("KFDA").id)] == [
        "send", "acknowledge", "ask_cancel", "cancel",
    ]  # fmt: skip
    with pytest.raises(GatewayError) as refused:
        story.decide("KFDA")
    assert refused.value.problem is CASE_CLOSED
    assert not [row for row in story.deliveries(case_id=story.case().id) if row.state != "DELIVERED"]


@pytest.mark.refusal("a trader withdraws what an agency keeps")
def test_an_agency_that_refuses_keeps_the_declaration(story: Story) -> None:
    """Nothing looks withdrawn: the case waits for the agency that goes on, and what is left is told."""
    story.tick()
    cancelling(story, KPTA="G03", KFDA="G04", NPQS="G03")
    withdraw(story)
    story.tick()
    assert (story.case().state, story.case().outcome) == ("IN_PROGRESS", None)
    assert not story.inbox.documents("Result")
    heard = [one.findtext(".//{*}StatusCode") for one in story.inbox.documents("Notice")]
    assert sorted(heard) == ["G03", "G03", "G04"]  # type: ignore[type-var]
    story.decide("KFDA")
    story.tick()
    assert story.outcome() == ("PARTIAL", {2: "APPROVED"})
    assert reported(story) == ["GW410", "GW409", "GW410"]
    assert "does not cancel" in (story.result().findall("{*}Problem")[1].text or "")
    assert told_customs(story) == ["RegisterDeclaration", "ReportRequirements", "ReportRequirements"]
    assert [one.findtext("{*}item") for one in story.soap.calls[-1].body.findall("{*}Requirement")] == ["2"]
    assert story.case().state == "CLOSED"


def test_the_agency_that_refused_may_be_asked_again(story: Story) -> None:
    story.tick()
    cancelling(story, KPTA="G03", KFDA="G04", NPQS="G03")
    withdraw(story)
    story.tick()
    story.say("KFDA", answer(story, "KFDA", "G03", "C2"))
    withdraw(story)
    story.tick()
    assert [one for one, _ in asked(story)].count("KFDA") == 2
    assert len(asked(story)) == 4
    assert story.outcome()[0] == "WITHDRAWN"


def test_what_the_refusing_agency_rejects_withdraws_the_rest(story: Story) -> None:
    """Whether the refusal or the rejection comes first: no approval stands."""
    story.tick()
    cancelling(story, KPTA="G03", KFDA="G04", NPQS="G03")
    withdraw(story)
    story.tick()
    story.decide("KFDA", REJECTED)
    story.tick()
    assert story.outcome() == ("WITHDRAWN", {2: "REJECTED"})
    assert told_customs(story)[-1] == "WithdrawDeclaration"


def test_an_agency_may_take_its_time(story: Story) -> None:
    """An acknowledgment of the question is no answer to it; the answer comes in a call of the agency."""
    story.tick()
    for agency in AGENCIES:
        story.say(agency, AgencyAcknowledgment(f"again-{agency}"))
    withdraw(story)
    story.tick()
    assert story.case().state == "IN_PROGRESS"
    for agency in ("KPTA", "KFDA"):
        story.hear(agency, answer(story, agency, "G03"))
    story.tick()
    assert story.case().state == "IN_PROGRESS"
    story.hear("NPQS", answer(story, "NPQS", "G03"))
    story.tick()
    assert story.outcome()[0] == "WITHDRAWN"
    assert story.request("KPTA").receipt_number.startswith("R-KPTA")


def test_an_agency_that_decides_before_it_hears_the_question(story: Story) -> None:
    """Nothing is decided while an agency has yet to say whether it cancels."""
    story.tick()
    withdraw(story)
    assert story.worker.run_once() == 1  # the withdrawal is admitted, and nobody is asked yet
    story.decide_all()
    for agency in AGENCIES:
        story.say(agency, AgencyAcknowledgment("again"))
    story.tick()
    assert story.case().state == "IN_PROGRESS"
    assert not story.inbox.documents("Result")
    for agency in AGENCIES:
        story.hear(agency, answer(story, agency, "G04"))
    story.tick()
    assert story.outcome()[0] == "APPROVED"
    assert reported(story) == ["GW409"] * 3
    assert story.case().state == "CLOSED"


@BOTH
def test_an_agency_that_only_rejects_after_the_question_ends_the_withdrawal(story: Story) -> None:
    """What is rejected needs no cancellation: the case does not wait for it."""
    story.tick()
    cancelling(story, KPTA="G03", NPQS="G03")
    story.say("KFDA", AgencyAcknowledgment("again"))
    withdraw(story)
    story.tick()
    story.decide("KFDA", REJECTED)
    story.tick()
    assert story.outcome() == ("WITHDRAWN", {2: "REJECTED"})
    assert story.case().state == "WITHDRAWN"


def test_an_agency_that_only_approves_after_the_question_has_refused(story: Story) -> None:
    """Its approval stands until it says that it cancels all the same."""
    story.tick()
    cancelling(story, KPTA="G03", NPQS="G03")
    story.say("KFDA", AgencyAcknowledgment("again"))
    withdraw(story)
    story.tick()
    story.decide("KFDA")
    story.tick()
    assert story.outcome() == ("PARTIAL", {2: "APPROVED"})
    assert story.case().state == "CLOSED"
    story.hear("KFDA", answer(story, "KFDA", "G03"))
    story.tick()
    assert story.outcome() == ("WITHDRAWN", {})


def test_an_approved_declaration_is_withdrawn_before_clearance(story: Story) -> None:
    story.tick()
    story.decide_all("NPQS")
    story.decide("NPQS", REJECTED)
    story.tick()
    assert (story.case().state, story.case().outcome) == ("CLOSED", "PARTIAL")
    cancelling(story, KPTA="G03", KFDA="G03")
    withdraw(story)
    story.tick()
    assert [one for one, _ in asked(story)] == ["KFDA", "KPTA"]
    assert story.outcome() == ("WITHDRAWN", {3: "REJECTED"})
    assert story.case().state == "WITHDRAWN"
    assert told_customs(story)[-1] == "WithdrawDeclaration"


def test_an_approval_that_stands_is_told_again(story: Story) -> None:
    story.tick()
    story.decide_all()
    story.tick()
    cancelling(story, KPTA="G04", KFDA="G04", NPQS="G04")
    withdraw(story)
    story.tick()
    assert [one.findtext("{*}Outcome") for one in story.inbox.documents("Result")] == ["APPROVED"] * 2
    assert reported(story) == ["GW409"] * 3
    assert story.case().state == "CLOSED"


def test_agencies_that_know_nothing_are_not_asked(story: Story) -> None:
    """Nothing has been sent to KFDA: its application is cancelled here, and its supplement with it."""
    with write_transaction(story.house.engine) as conn:
        operator_actions.hold_lane(conn, "KFDA", story.clock(), "operator", "under repair")
    story.tick()
    story.submit(story.submission(supplement), action="Supplement")
    story.tick()
    cancelling(story, KPTA="G03", NPQS="G03")
    withdraw(story)
    story.tick()
    assert [one for one, _ in asked(story)] == ["KPTA", "NPQS"]
    assert not [one for one in story.soap.calls if one.destination == "KFDA"]
    assert story.request("KFDA").cancellation == "UNTOLD"
    assert story.outcome()[0] == "WITHDRAWN"
    assert {row.state for row in story.deliveries(destination="KFDA")} == {"CANCELLED"}


def let_lane_rest(story: Story) -> None:
    with write_transaction(story.house.engine) as conn:
        operator_actions.hold_lane(conn, "KFDA", story.clock(), "operator", "under repair")
    story.tick()


def hold_untried(story: Story) -> None:
    story.worker.run_once()
    story.operate(operator_actions.hold_delivery, story.delivery(destination="KFDA").id)
    story.tick()


def time_out_once(story: Story) -> None:
    story.say("KFDA", unreachable("timed out"))
    story.tick()


def time_out_and_hold(story: Story) -> None:
    time_out_once(story)
    story.operate(operator_actions.hold_delivery, story.delivery(destination="KFDA").id)


def time_out_for_good(story: Story) -> None:
    story.say("KFDA", *[unreachable("timed out")] * (PLAN.max_retries + 1))
    for _ in range(PLAN.max_retries + 1):
        story.tick(minutes=10)
    assert story.delivery(destination="KFDA").state == "FAILED"


def time_out_and_requeue(story: Story) -> None:
    """Let an operator send it again: its tries are counted anew, but it was tried all the same."""
    time_out_for_good(story)
    delivery = story.delivery(destination="KFDA")
    story.operate(operator_actions.requeue_delivery, delivery.id)
    story.operate(operator_actions.hold_delivery, delivery.id)


def refuse_for_good(story: Story) -> None:
    story.say("KFDA", GatewayError(REFUSED_FOR_GOOD, "unknown document"))
    story.tick()


def time_out_and_refuse(story: Story) -> None:
    time_out_once(story)
    story.say("KFDA", GatewayError(REFUSED_FOR_GOOD, "unknown document"))
    story.tick(minutes=10)


def arrive(story: Story) -> None:
    story.tick()


#: What happens to the application of KFDA before it is cancelled.
MAYBE_RECEIVED = [time_out_once, time_out_and_hold, time_out_for_good, time_out_and_requeue, arrive]
NEVER_RECEIVED = [let_lane_rest, hold_untried, refuse_for_good, time_out_and_refuse]


def remove_food(story: Story) -> None:
    """Remove the item of KFDA and its application from the declaration."""
    change = amendment(remove_item(2), drop_application("A2"))
    story.submit(story.submission(change), action="Amend", attach=False)


def cancel_and_wait(story: Story, history: Callable[[Story], None], cancel: Callable[[Story], None]) -> None:
    """Let something happen to the application of KFDA, and then cancel it; wait for all calls."""
    history(story)
    cancel(story)
    story.tick()
    for delivery in story.deliveries(destination="KFDA", state="HELD"):
        story.operate(operator_actions.release_delivery, delivery.id)
    for delivery in story.deliveries(destination="KFDA", state="FAILED"):
        story.operate(operator_actions.requeue_delivery, delivery.id)
    story.tick(minutes=10)


CANCELLING_ACTS = pytest.mark.parametrize("cancel", [withdraw, remove_food], ids=["withdrawal", "amendment"])


@CANCELLING_ACTS
@pytest.mark.parametrize("history", MAYBE_RECEIVED, ids=lambda history: history.__name__)
def test_an_agency_that_may_have_the_application_is_asked_to_cancel_it(
    story: Story, history: Callable[[Story], None], cancel: Callable[[Story], None]
) -> None:
    """A call without an answer may have arrived: an agency that is not asked would go on with it."""
    cancel_and_wait(story, history, cancel)
    assert [agency for agency, _ in asked(story)].count("KFDA") == 1
    assert story.request("KFDA").cancellation == "ASKED"


@CANCELLING_ACTS
@pytest.mark.parametrize("history", NEVER_RECEIVED, ids=lambda history: history.__name__)
def test_an_agency_that_does_not_have_the_application_is_not_asked(
    story: Story, history: Callable[[Story], None], cancel: Callable[[Story], None]
) -> None:
    cancel_and_wait(story, history, cancel)
    assert "KFDA" not in [agency for agency, _ in asked(story)]
    assert (story.request("KFDA").state, story.request("KFDA").cancellation) == ("CANCELLED", "UNTOLD")
    calls = [call for call in story.soap.calls if call.destination == "KFDA"]
    with write_transaction(story.house.engine) as conn:
        if history is let_lane_rest:
            operator_actions.release_lane(conn, "KFDA", story.clock(), "operator")
    story.tick(minutes=10)
    assert [call for call in story.soap.calls if call.destination == "KFDA"] == calls, "it is never sent"


def test_an_application_that_was_refused_for_good_is_nowhere(story: Story) -> None:
    story.say("KFDA", GatewayError(REFUSED_FOR_GOOD, "unknown document"))
    story.tick()
    assert story.request("KFDA").state == "STRANDED"
    cancelling(story, KPTA="G03", NPQS="G03")
    withdraw(story)
    story.tick()
    assert [one for one, _ in asked(story)] == ["KPTA", "NPQS"]
    assert story.outcome()[0] == "WITHDRAWN"


def test_the_question_is_repeated_until_the_agency_has_heard_it(story: Story) -> None:
    story.tick()
    cancelling(story, KPTA="G03", NPQS="G03")
    story.say("KFDA", unreachable(), unreachable(), answer(story, "KFDA", "G03"))
    withdraw(story)
    story.tick()
    assert story.case().state == "IN_PROGRESS"
    for _ in range(2):
        story.tick(minutes=5)
    assert [one for one, _ in asked(story)].count("KFDA") == 3
    assert len({one.envelope for one in story.soap.calls if one.destination == "KFDA"}) == 2
    assert story.outcome()[0] == "WITHDRAWN"


def test_an_operator_who_gives_up_asking_lets_the_application_stand(story: Story) -> None:
    """An agency that has acknowledged the application may still decide; one that never did cannot."""
    story.say("NPQS", *[unreachable()] * 20)
    for _ in range(8):
        story.tick(minutes=10)
    assert story.request("NPQS").state == "STRANDED"
    story.say("KFDA", *[unreachable()] * 4)
    cancelling(story, KPTA="G03")
    withdraw(story)
    for _ in range(6):
        story.tick(minutes=10)
    waiting = [row for row in story.deliveries() if row.parameters.get("operation") == "CancelApplication"]
    assert {row.destination: row.state for row in waiting} == {
        "KPTA": "DELIVERED", "KFDA": "FAILED", "NPQS": "FAILED",
    }  # fmt: skip
    assert (story.request("KFDA").state, story.request("NPQS").state) == ("ACKNOWLEDGED", "STRANDED")
    # To ask once more does not bring the application there.
    (question,) = [row for row in waiting if row.destination == "NPQS"]
    story.operate(operator_actions.requeue_delivery, question.id)
    assert story.request("NPQS").state == "STRANDED"
    for _ in range(6):
        story.tick(minutes=10)
    for row in waiting[1:]:
        story.operate(operator_actions.cancel_delivery, row.id)
    assert (story.request("KFDA").state, story.request("NPQS").state) == ("ACKNOWLEDGED", "CANCELLED")
    assert story.request("KFDA").cancellation == "REFUSED"
    assert story.case().state == "IN_PROGRESS"
    story.decide("KFDA")
    story.tick()
    assert story.outcome() == ("PARTIAL", {2: "APPROVED"})


@BOTH
def test_an_operator_ends_the_question_that_an_agency_does_not_answer(story: Story) -> None:
    """It approved before, acknowledges the question, and says nothing more: its application stands."""
    story.tick()
    story.decide("KFDA")
    cancelling(story, KPTA="G03", NPQS="G03")
    story.say("KFDA", unreachable(), AgencyAcknowledgment("again"))
    withdraw(story)
    story.tick()
    act = partial(operator_actions.end_question, reason="no answer since Monday")
    with pytest.raises(GatewayError, match="gateway queue cancel"):
        story.operate(act, story.request("KFDA").id)
    story.tick(minutes=5)
    assert (story.case().state, story.request("KFDA").state) == ("IN_PROGRESS", "DECIDED")
    story.operate(act, story.request("KFDA").id)
    story.tick()
    assert story.outcome() == ("PARTIAL", {2: "APPROVED"})
    assert reported(story) == ["GW410", "GW409", "GW410"]
    assert story.case().state == "CLOSED"
    assert story.evidence("request", story.request("KFDA").id)[-1] == "operator"
    for agency in ("KFDA", "KPTA"):
        with pytest.raises(GatewayError, match="is not asked"):
            story.operate(act, story.request(agency).id)
    story.hear("KFDA", answer(story, "KFDA", "G03"))
    story.tick()
    assert story.outcome()[0] == "WITHDRAWN"


def test_a_declaration_without_applications_is_withdrawn_at_once(engine: Engine) -> None:
    story = Story(engine)
    story.submit(story.submission(without_applications), attach=False)
    story.tick()
    withdraw(story)
    story.tick()
    assert [one.findtext("{*}Outcome") for one in story.inbox.documents("Result")] == [
        "APPROVED",
        "WITHDRAWN",
    ]
    assert told_customs(story) == ["RegisterDeclaration", "WithdrawDeclaration"]


def test_a_result_that_was_not_made_yet_is_not_sent(engine: Engine) -> None:
    story = Story(engine)
    story.submit(story.submission(without_applications), attach=False)
    withdraw(story)
    story.tick()
    assert [one.findtext("{*}Outcome") for one in story.inbox.documents("Result")] == ["WITHDRAWN"]


REFUSED: dict[str, tuple[list[Any], list[tuple[str, str]]]] = {
    "no reason": ([without(".//Amendment")], [("GW404", "42A/06A[1]/099")]),
    "unknown reference": ([reference("X-1")], [("GW407", "/Submission/Reference")]),
    "rejected": ([], [("GW407", "/Submission/Reference")]),
    "withdrawn": ([], [("GW407", "/Submission/Reference")]),
    "under way": ([], [("GW407", "/Submission/Reference")]),
}


@pytest.mark.parametrize("why", REFUSED)
def test_a_withdrawal_that_cannot_be_is_refused(story: Story, why: str) -> None:
    story.tick()
    if why == "rejected":
        for agency in AGENCIES:
            story.decide(agency, REJECTED)
    if why == "withdrawn":
        cancelling(story, KPTA="G03", KFDA="G03", NPQS="G03")
    if why in ("withdrawn", "under way"):
        withdraw(story)
    story.tick()
    before = story.case().state
    changes, problems = REFUSED[why]
    withdraw(story, *changes)
    story.tick()
    assert story.problems() == problems
    assert before == ("CLOSED" if why == "rejected" else "WITHDRAWN" if why == "withdrawn" else "IN_PROGRESS")


def test_a_repeated_submission_may_be_the_withdrawal(story: Story) -> None:
    """The whole submission again, with Function 1: its applications must be those of the case."""
    story.tick()
    whole = all_of(text("Function", "1"), lambda root: because(root, "82", "again"))
    story.submit(story.submission(all_of(whole, text("Application[@id='A3']/Items", "3"))), action="Withdraw")
    story.tick()
    assert len(asked(story)) == 3
    story.submit(
        story.submission(all_of(whole, lambda root: root.remove(root.find("{*}Application[@id='A3']")))),
        action="Withdraw",
    )
    story.tick()
    assert [one for one, _ in story.problems()] == ["GW407"]


def test_a_supplement_waits_for_no_withdrawal(story: Story) -> None:
    story.tick()
    withdraw(story)
    story.submit(story.submission(supplement), action="Supplement")
    story.tick()
    assert [one for one, _ in story.problems()] == ["GW407"]


def test_an_agency_that_cancels_by_itself_leaves_its_items_unapproved(story: Story) -> None:
    """Before or after the other decisions, the outcome is the same."""
    story.tick()
    story.decide_all("KFDA")
    story.hear("KFDA", answer(story, "KFDA", "G01"))
    story.tick()
    assert story.outcome() == ("PARTIAL", {1: "APPROVED", 3: "APPROVED"})
    assert reported(story) == ["GW410"]
    story.hear("KPTA", answer(story, "KPTA", "G01"))
    story.tick()
    assert story.outcome() == ("PARTIAL", {3: "APPROVED"})
    assert story.case().state == "CLOSED"


def run_and_die(story: Story, hub: Hub) -> None:
    """Let the worker of another process do what is due."""
    hub.composer = story.hub.composer
    soap = story.agents["soap"]
    agents: dict[str, Any] = {
        "local": LocalAgent(hub, PLAN),
        "msh": MshAgent(hub, story.inbox),  # type: ignore[arg-type]
        "soap": PartnerAgent(hub, story.soap, soap._partners, soap._get_retry_plans),  # type: ignore[arg-type]
    }
    pace = WorkerSettings(
        threads=1, lease_time=timedelta(seconds=60), poll_seconds=0.01, maintenance_seconds=0.05
    )
    worker = DeliveryWorker(hub.engine, agents, story.clock, name="other", worker_settings=pace)
    while worker.run_once():
        pass


@pytest.mark.long
@BOTH
@pytest.mark.parametrize("commit", ["admit.withdrawal", "reply.cancellation", "conclude.result"])
def test_wherever_a_process_dies_the_case_is_withdrawn_once(engine: Engine, commit: str) -> None:
    story = Story(engine, agreement=QUIET)
    for number, side in enumerate(("before_commit", "after_commit")):
        name = reference(f"WITHDRAWN-{number}")
        story.submit(story.submission(name))
        story.tick()
        withdraw(story, name)
        cancelling(story, KPTA="G03", KFDA="G03", NPQS="G03")
        die_at(story, f"{commit}.{side}", lambda hub: run_and_die(story, hub))
        cancelling(story, KPTA="G03", KFDA="G03", NPQS="G03")
        story.tick(minutes=2)
        story.soap.answers.clear()
        assert story.case().state == "WITHDRAWN"
        kinds = story.evidence("case", story.case().id)
        assert (kinds.count("withdrawal"), kinds.count("withdrawn")) == (1, 1)
        sent = [row for row in story.deliveries(case_id=story.case().id) if row.agent != "local"]
        keys = [f"{row.destination}:{row.parameters.get('operation', row.agent)}" for row in sent]
        assert len(keys) == len(set(keys)) == 2 * 3 + 3 + 1
        assert {row.state for row in sent} == {"DELIVERED"}


@pytest.mark.parametrize("status", ["D01", "E01"], ids=["asked for information", "inspects"])
def test_an_application_that_is_worked_on_without_an_acknowledgment_stands(story: Story, status: str) -> None:
    """The agency gave no receipt number, but what it asked for shows that it has the application."""
    story.say("KFDA", Notice("KFDA-Q1", story.clock(), status, (), "more is needed"))
    story.tick()
    before = story.request("KFDA")
    assert (before.receipt_number, before.cancellation) == (None, None)
    cancelling(story, KPTA="G03", NPQS="G03")
    withdraw(story)
    story.tick()
    story.operate(partial(operator_actions.end_question, reason="no answer"), before.id)
    after = story.request("KFDA")
    assert (after.state, after.cancellation) == (before.state, "REFUSED")
    assert story.case().state == "IN_PROGRESS"
