"""What is due while an agency is asked whether it cancels an application, and since when."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

import pytest

from gateway.cases import AgencyAcknowledgment, NamedFee, Notice
from tests.cli.test_case_custody import custody
from tests.flows.test_deadlines import seoul
from tests.flows.test_fee_custody import waiting
from tests.flows.test_fees import KRW, Provider, fees_of, provider, story, withdraw
from tests.flows.test_late_approvals import request_of
from tests.flows.test_questioned_fees import ask_after_withdrawal
from tests.kit.databases import BOTH
from tests.kit.story import Story, asked

__all__ = ["provider", "story"]  # fixtures

AGENCY = "NPQS"


def list_tasks(held: Story) -> list[tuple[str, str | None, datetime]]:
    """Return task, payment notice of its fee and begin of everything that is due on the application."""
    names = {fee.number: fee.payment_notice for fee in fees_of(held, AGENCY)}
    tasks: list[dict[str, Any]] = custody(held, AGENCY)["tasks"]
    return [(one["task"], names.get(one["fee"]), one["since"]) for one in tasks]


def levy(held: Story, name: str, last_day: date | None) -> datetime:
    """Let the agency levy a fee; return when."""
    held.tick(seconds=1)
    at = held.clock()
    held.hear(AGENCY, Notice(name, at, "Y05", fee=NamedFee(KRW, last_day, name)))
    held.tick(seconds=1)
    return at


def ask_to_cancel(held: Story) -> datetime:
    """Let the applicant withdraw, and the agency say nothing but that it has heard; return when."""
    held.tick(seconds=1)
    held.say(AGENCY, AgencyAcknowledgment("heard"))
    withdraw(held)
    assert held.request(AGENCY).cancellation == "ASKED"
    return held.clock()


@pytest.mark.long
@BOTH
@pytest.mark.parametrize("has_provider", [True, False], ids=["provider", "paid elsewhere"])
@pytest.mark.parametrize("last_day", [date(2026, 12, 9), None], ids=["dated", "undated"])
def test_a_fee_that_could_be_paid_before_stays_due_and_a_later_one_waits(
    story: Story, provider: Provider, has_provider: bool, last_day: date | None
) -> None:
    story.hub.payments = replace(story.hub.payments, has_provider=has_provider, tariffs={})
    story.submit()
    story.tick()
    first = levy(story, "F1", last_day)
    question = ask_to_cancel(story)
    levy(story, "F2", last_day)
    assert list_tasks(story) == [("pay", "F1", first), ("cancel", None, question)]
    (reason,) = (reason for reason in waiting(story) if reason.startswith(AGENCY))
    assert reason.count("a fee") == 1
    assert reason.endswith(f", and whether it cancels {story.request(AGENCY).number}")
    story.tick(hours=20)
    answered = story.clock()
    story.hear(AGENCY, Notice("G", answered, "G04"))
    assert list_tasks(story) == [("pay", "F1", first), ("pay", "F2", answered)]


@pytest.mark.long
def test_the_time_of_the_question_is_the_agencys(story: Story, provider: Provider) -> None:
    """A question to the applicant waits meanwhile."""
    story.submit()
    story.tick()
    story.clock.now = seoul("2026-11-23T10:00")
    story.hear(AGENCY, asked(story, AGENCY, "Q1"))
    story.clock.now = seoul("2026-11-23T11:00")
    question = ask_to_cancel(story)
    story.clock.now = seoul("2026-11-24T11:00")
    assert list_tasks(story) == [("cancel", None, question)]
    seconds = custody(story, AGENCY)["working_seconds"]
    assert round(seconds["applicant"] / 3600) == 1
    assert round(seconds["agency"] / 3600) == 1 + 7 + 2
    story.hear(AGENCY, Notice("G", story.clock(), "G04"))
    assert [task for task, _, _ in list_tasks(story)] == ["answer"]


@pytest.mark.long
def test_what_was_approved_after_a_withdrawal_is_due_to_be_cancelled(
    story: Story, provider: Provider
) -> None:
    case = ask_after_withdrawal(story)
    (task,) = custody(story, AGENCY)["tasks"]
    assert (task["holder"], task["task"], task["due_at"]) == ("agency", "cancel", None)
    assert timedelta(0) < story.clock() - task["since"] < timedelta(minutes=2)
    assert waiting(story) == [f"{AGENCY}: whether it cancels {request_of(story, case, AGENCY).number}"]


@pytest.mark.long
def test_an_inspection_is_due_since_it_was_ordered(story: Story, provider: Provider) -> None:
    """Another day for it does not move its begin, nor does a fee."""
    story.hub.payments = replace(story.hub.payments, tariffs={})
    story.submit()
    story.tick()
    story.tick(seconds=1)
    ordered = story.clock()
    story.hear(AGENCY, asked(story, AGENCY, "E1", status="E01"))
    story.tick(hours=30)
    fee = levy(story, "F1", None)
    story.hear(AGENCY, asked(story, AGENCY, "E3", status="E03", deadline=story.clock() + timedelta(days=2)))
    assert list_tasks(story) == [("pay", "F1", fee), ("inspect", None, ordered)]


@pytest.mark.long
def test_a_fee_that_ended_before_it_was_levied_takes_nobodys_time(story: Story, provider: Provider) -> None:
    """An agency confirms a fee that the hub never heard of, in a notice issued hours ago."""
    story.submit()
    story.tick()
    story.clock.now = seoul("2026-11-23T17:00")
    before = custody(story, AGENCY)
    at = story.clock() - timedelta(hours=7)
    story.hear(AGENCY, Notice("E", at, "Y08", fee=NamedFee(None, None, "unknown")))
    after = custody(story, AGENCY)
    assert (after["tasks"], after["working_seconds"]) == (before["tasks"], before["working_seconds"])


@pytest.mark.long
def test_a_fee_that_is_due_again_while_its_agency_is_asked_waits(story: Story, provider: Provider) -> None:
    """A late notice shows that another fee had ended: the former one is due under a new number."""
    story.hub.payments = replace(story.hub.payments, tariffs={})
    story.submit()
    story.tick()
    story.tick(minutes=10)
    issued = story.clock() - timedelta(minutes=9)

    def hear(minutes: int, code: str, fee: NamedFee | None) -> None:
        story.hear(AGENCY, Notice(f"N{minutes}", issued + timedelta(minutes=minutes), code, fee=fee))
        story.tick(seconds=1)

    hear(0, "Y01", NamedFee(KRW, None, "F1"))
    hear(3, "Y04", None)
    ask_to_cancel(story)
    assert [task for task, _, _ in list_tasks(story)] == ["cancel"]
    hear(1, "Y01", NamedFee(KRW, None, "F2"))
    assert any(fee.state == "LEVIED" for fee in fees_of(story, AGENCY))
    assert [task for task, _, _ in list_tasks(story)] == ["cancel"]
