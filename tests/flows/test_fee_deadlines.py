"""A fee has a last day: its declarant is reminded, and what is not paid is overdue."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

import pytest

from gateway.cases import AgencyAcknowledgment, NamedFee, Notice, ProviderEvent
from gateway.hub.fees.agency_payment_notes import (
    settle_fee_elsewhere,
    waive_fee,
)
from gateway.hub.fees.payment_events import (
    apply_provider_event,
)
from gateway.hub.fees.payment_policy import Tariff
from gateway.store import write_transaction
from tests.flows.craft import all_of, because, supplement, text
from tests.flows.test_deadlines import notices, rows, seoul, states, told, until
from tests.flows.test_fees import KRW, Provider, calls, fees_of, pay, provider, story, withdraw
from tests.kit.databases import BOTH
from tests.kit.story import Story, asked, unreachable

__all__ = ["provider", "story"]  # fixtures

# The story begins on Friday, 20 November 2026, 18:00 in Seoul; the hub counts days in UTC.
LAST_SECOND = datetime.fromisoformat("2026-11-30T23:59:59+00:00")


def pay_of(held: Story, agency: str = "KPTA") -> list[str]:
    return states(held, agency).get("pay", [])


def file(held: Story) -> str:
    """Submit, and return the number of the fee that is due before forwarding."""
    held.submit()
    held.tick(seconds=1)
    return str(fees_of(held, "KPTA")[0].number)


def end(held: Story, agency: str, how: str) -> None:
    """End the one fee of an agency."""
    (fee,) = fees_of(held, agency)
    if how == "paid":
        pay(held, fee.number, f"P-{agency}")
    elif how == "withdrawn":
        withdraw(held)
    else:
        act = waive_fee if how == "waived" else settle_fee_elsewhere
        with write_transaction(held.house.engine) as conn:
            act(conn, fee.id, held.clock(), "operator", "at the counter")


@pytest.mark.long
@BOTH
def test_a_fee_before_forwarding_is_reminded_of_and_overdue(story: Story, provider: Provider) -> None:
    number = file(story)
    (owed,) = rows(story, "KPTA", "pay")
    assert (owed.state, owed.due_at, owed.cause) == ("OPEN", LAST_SECOND, number)
    assert story.request("KPTA").due_at == LAST_SECOND
    assert story.request("KPTA").state == "FEE_DUE"
    until(story, owed.remind_at + timedelta(seconds=1))
    assert told(story) == [("deadline.reminded", "KPTA", "pay")]
    until(story, LAST_SECOND - timedelta(seconds=1))
    assert pay_of(story) == ["OPEN"]
    until(story, LAST_SECOND + timedelta(seconds=2))
    story.tick(seconds=1)
    assert pay_of(story) == ["OVERDUE"]
    assert ("deadline.overdue", "KPTA", "pay") in told(story)
    assert [words.partition(":")[0] for words, _ in notices(story) if "payment" in words] == [
        "Reminder",
        "Overdue",
    ]
    # It is still accepted.
    assert pay(story, number) == "counted"
    story.tick(seconds=1)
    assert (pay_of(story), calls(story, "KPTA")) == (["LATE"], ["SubmitApplication"])
    assert states(story, "KPTA")["decide"] == ["OPEN"]


def test_money_in_time_is_in_time_when_the_hub_hears_of_it_late(story: Story, provider: Provider) -> None:
    number = file(story)
    until(story, LAST_SECOND + timedelta(hours=1))
    paid = ProviderEvent("paid", number, "P-1", KRW, LAST_SECOND - timedelta(hours=1))
    assert apply_provider_event(story.hub, paid) == "counted"
    assert pay_of(story) == ["MET"]


@pytest.mark.long
@pytest.mark.parametrize("how", ["paid", "waived"])
def test_the_time_to_acknowledge_begins_when_the_application_is_forwarded(
    story: Story, provider: Provider, how: str
) -> None:
    """An agency that is not reached must not keep the application unnoticed until the time to decide."""
    story.say("KPTA", *[unreachable()] * 50)
    file(story)
    story.tick(hours=3)
    assert "acknowledge" not in states(story, "KPTA")
    forwarded_at = story.clock()
    end(story, "KPTA", how)
    story.tick(seconds=1)
    (acknowledge,) = rows(story, "KPTA", "acknowledge")
    assert acknowledge.state == "OPEN"
    assert forwarded_at <= acknowledge.started_at <= story.clock()
    until(story, acknowledge.due_at + timedelta(seconds=1))
    assert ("deadline.overdue", "KPTA", "acknowledge") in told(story)
    # What the declarant adds later does not begin it again.
    story.submit(
        story.submission(all_of(supplement, text(".//Importer/Name", "Another name"))), action="Supplement"
    )
    story.tick(seconds=1)
    assert states(story, "KPTA")["acknowledge"] == ["OVERDUE"]


@pytest.mark.long
def test_a_payment_of_another_age_moves_no_time_to_decide(story: Story, provider: Provider) -> None:
    number = file(story)
    story.tick(minutes=1)
    paid = ProviderEvent("paid", number, "P-1", KRW, story.clock() - timedelta(days=4000))
    assert apply_provider_event(story.hub, paid) == "counted"
    assert (pay_of(story), states(story, "KPTA")["decide"]) == (["MET"], ["OPEN"])


@pytest.mark.long
def test_a_fee_without_a_last_day_is_never_overdue(story: Story, provider: Provider) -> None:
    story.hub.payments = replace(story.hub.payments, tariffs={"KPTA-PHARM-IMP": Tariff(KRW)})
    file(story)
    until(story, LAST_SECOND + timedelta(days=30))
    assert (pay_of(story), story.request("KPTA").due_at) == ([], None)


@pytest.mark.long
@pytest.mark.parametrize("ended", ["paid", "waived", "settled", "withdrawn"])
def test_what_is_not_due_any_more_is_not_overdue(story: Story, provider: Provider, ended: str) -> None:
    file(story)
    (owed,) = rows(story, "KPTA", "pay")
    until(story, owed.remind_at + timedelta(seconds=1))
    end(story, "KPTA", ended)
    story.tick(seconds=1)
    assert pay_of(story) == ["CANCELLED" if ended in ("waived", "withdrawn") else "MET"]
    until(story, LAST_SECOND + timedelta(hours=1))
    assert ("deadline.overdue", "KPTA", "pay") not in told(story)


@pytest.mark.long
@pytest.mark.parametrize("ended", ["paid", "waived", "settled"])
def test_the_time_to_decide_goes_on_when_a_levied_fee_is_not_due(
    story: Story, provider: Provider, ended: str
) -> None:
    """Paid or waived in time after the reminder, it is never overdue, whoever says so."""
    file(story)
    due = seoul("2026-12-02T12:00")
    levy = Notice("NPQS-F", story.clock(), "Y05", deadline=due, fee=NamedFee(money=KRW))
    story.hear("NPQS", levy)
    story.tick(seconds=1)
    assert (pay_of(story, "NPQS"), states(story, "NPQS")["decide"]) == (["OPEN"], ["HELD"])
    until(story, due - timedelta(hours=1))
    end(story, "NPQS", ended)
    story.tick(seconds=1)
    wanted = ["CANCELLED" if ended == "waived" else "MET"]
    assert (pay_of(story, "NPQS"), states(story, "NPQS")["decide"]) == (wanted, ["OPEN"])
    until(story, due + timedelta(hours=1))
    assert ("deadline.overdue", "NPQS", "pay") not in told(story)


def levy(held: Story, number: str, code: str = "Y05", **said: Any) -> None:
    """Let NPQS levy a fee: `last` is its last day in the Fee, `deadline` the time in the notice."""
    fee = NamedFee(KRW, said.get("last"), number)
    held.hear("NPQS", Notice(number, held.clock(), code, deadline=said.get("deadline"), fee=fee))
    held.tick(seconds=1)


def find_fee(held: Story, payment_notice: str) -> str:
    return next(str(one.number) for one in fees_of(held, "NPQS") if one.payment_notice == payment_notice)


@pytest.mark.long
def test_a_levied_fee_whose_last_day_stands_in_the_fee_alone_is_overdue(
    story: Story, provider: Provider
) -> None:
    file(story)
    levy(story, "F1", last=date(2026, 11, 30))
    number = find_fee(story, "F1")
    (owed,) = rows(story, "NPQS", "pay")
    assert (owed.state, owed.due_at, owed.cause) == ("OPEN", LAST_SECOND, number)
    assert (story.request("NPQS").due_at, states(story, "NPQS")["decide"]) == (LAST_SECOND, ["HELD"])
    until(story, owed.remind_at + timedelta(seconds=1))
    assert ("deadline.reminded", "NPQS", "pay") in told(story)
    until(story, LAST_SECOND + timedelta(seconds=2))
    story.tick(seconds=1)
    assert (pay_of(story, "NPQS"), told(story).count(("deadline.overdue", "NPQS", "pay"))) == (["OVERDUE"], 1)
    assert [words.partition(":")[0] for words, _ in notices(story) if "NPQS waits for a pay" in words] == [
        "Reminder"
    ]
    assert pay(story, number) == "counted"
    assert (pay_of(story, "NPQS"), states(story, "NPQS")["decide"]) == (["LATE"], ["OPEN"])


@pytest.mark.long
def test_the_time_in_the_notice_counts_before_the_last_day_in_the_fee(
    story: Story, provider: Provider
) -> None:
    file(story)
    due = seoul("2026-12-02T12:00")
    levy(story, "F1", last=date(2026, 12, 20), deadline=due)
    assert [(one.due_at, one.cause) for one in rows(story, "NPQS", "pay")] == [(due, find_fee(story, "F1"))]


@pytest.mark.long
@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("timed", [False, True], ids=["last days", "a time in the first"])
def test_each_of_several_fees_has_its_deadline(
    story: Story, provider: Provider, swapped: bool, timed: bool
) -> None:
    """What is due first counts for the application. A third one without a last day changes nothing."""
    file(story)
    first, second = date(2026, 12, 2), date(2026, 12, 9)
    said = {"deadline": seoul("2026-12-02T12:00")} if timed else {"last": first}
    named = [("F1", "Y01", said), ("F2", "Y05", {"last": second}), ("F3", "Y09", {})]
    for number, code, more in named[::-1] if swapped else named:
        levy(story, number, code, **more)
    assert deadlines_of(story) == {"F1": ("OPEN", first), "F2": ("OPEN", second)}
    assert story.request("NPQS").due_at.date() == first
    pay(story, find_fee(story, "F1"), "P-1")
    assert deadlines_of(story) == {"F1": ("MET", first), "F2": ("OPEN", second)}
    assert (story.request("NPQS").state, story.request("NPQS").due_at.date()) == ("FEE_DUE", second)
    pay(story, find_fee(story, "F2"), "P-2")
    assert deadlines_of(story) == {"F1": ("MET", first), "F2": ("MET", second)}
    assert (story.request("NPQS").state, story.request("NPQS").due_at) == ("FEE_DUE", None)
    assert states(story, "NPQS")["decide"] == ["HELD"]
    pay(story, find_fee(story, "F3"), "P-3")
    assert states(story, "NPQS")["decide"] == ["OPEN"]
    until(story, seoul("2026-12-20T12:00"))
    assert ("deadline.overdue", "NPQS", "pay") not in told(story)


def deadlines_of(held: Story) -> dict[str, tuple[str, date | None]]:
    """Return state and last day of the deadline of each fee of NPQS, by its payment notice."""
    known = {row.cause: row for row in rows(held, "NPQS", "pay")}
    assert len(known) == len(rows(held, "NPQS", "pay"))
    return {
        one.payment_notice: (row.state, row.due_at and row.due_at.date())
        for one in fees_of(held, "NPQS")
        if (row := known.get(one.number)) is not None
    }


@pytest.mark.long
def test_a_levied_fee_that_is_cancelled_or_has_no_limit_is_not_overdue(
    story: Story, provider: Provider
) -> None:
    file(story)
    levy(story, "F1", last=date(9999, 12, 31))
    # A day of the last year is no limit.
    assert rows(story, "NPQS", "pay") == []
    levy(story, "F2", last=date(2026, 11, 30))
    assert pay_of(story, "NPQS") == ["OPEN"]
    story.hear("NPQS", Notice("F3", story.clock(), "Y06", fee=NamedFee(payment_notice="F2")))
    assert pay_of(story, "NPQS") == ["CANCELLED"]
    until(story, LAST_SECOND + timedelta(days=9))
    assert ("deadline.overdue", "NPQS", "pay") not in told(story)


def overtake(held: Story, turn: str) -> None:
    """Let something happen to the application of NPQS whose fee is open."""
    if turn in ("asked", "answered"):
        held.hear("NPQS", asked(held, "NPQS", "Q1", deadline=seoul("2026-12-09T12:00")))
    elif turn == "inspected":
        held.hear("NPQS", asked(held, "NPQS", "Q1", status="E01"))
    elif turn in ("decided", "closed"):
        held.decide("NPQS")
    if turn == "closed":
        held.decide_all("NPQS")
    elif turn == "answered":
        held.submit(held.submission(supplement), action="Supplement")
    elif turn == "amended":
        named = text("Application[@id='A3']/Fields/Item/IssuingNppo", "NVWA")
        change = all_of(text("Function", "13"), lambda root: because(root, "17", "A name was wrong."), named)
        held.submit(held.submission(change), action="Amend")
    elif turn in ("withdrawn", "kept"):
        held.say("NPQS", AgencyAcknowledgment("heard"))
        withdraw(held)
    if turn == "kept":
        held.hear("NPQS", Notice("K1", held.clock(), "G04"))
    held.tick(seconds=1)


_TURNS: dict[str, tuple[str, ...]] = {
    "asked": ("INFORMATION_REQUIRED", "HELD"),
    "answered": ("FEE_DUE", "HELD"),
    "inspected": ("INSPECTION", "HELD"),
    "decided": ("DECIDED", "MET"),
    "closed": ("DECIDED", "MET"),
    "amended": ("FEE_DUE", "CANCELLED", "HELD"),
    "withdrawn": ("FEE_DUE", "CANCELLED"),
    "kept": ("FEE_DUE", "CANCELLED", "HELD"),
}


@pytest.mark.long
@pytest.mark.parametrize("turn", _TURNS)
def test_a_fee_stays_due_whatever_happens_to_its_application(
    story: Story, provider: Provider, turn: str
) -> None:
    """It is reminded of and overdue once, and paid late; then the time to decide goes on."""
    story.hub.payments = replace(story.hub.payments, tariffs={})
    story.submit()
    story.tick(seconds=1)
    levy(story, "F1", last=date(2026, 11, 30))
    overtake(story, turn)
    state, *decide = _TURNS[turn]
    assert (story.request("NPQS").state, states(story, "NPQS")["decide"]) == (state, decide)
    (owed,) = rows(story, "NPQS", "pay")
    assert (owed.state, owed.due_at) == ("OPEN", LAST_SECOND)
    until(story, owed.remind_at + timedelta(seconds=1))
    until(story, LAST_SECOND + timedelta(seconds=2))
    story.tick(seconds=1)
    story.tick(seconds=1)
    assert [one[0] for one in told(story) if one[1:] == ("NPQS", "pay")] == [
        "deadline.reminded",
        "deadline.overdue",
    ]
    waits = [words.partition(":")[0] for words, _ in notices(story) if "waits for a payment" in words]
    waited = [words.partition(":")[0] for words, _ in notices(story) if "waited for a payment" in words]
    assert (waits, waited) == (["Reminder"], ["Overdue"])
    assert pay_of(story, "NPQS") == ["OVERDUE"]
    assert pay(story, find_fee(story, "F1")) == "counted"
    story.tick(seconds=1)
    assert pay_of(story, "NPQS") == ["LATE"]
    if turn == "closed":
        assert story.case().state == "CLOSED"


@pytest.mark.long
@pytest.mark.parametrize("state", ["decided", "closed"])
def test_a_fee_of_an_application_that_is_decided_has_its_deadline(
    story: Story, provider: Provider, state: str
) -> None:
    story.hub.payments = replace(story.hub.payments, tariffs={})
    story.submit()
    story.tick(seconds=1)
    overtake(story, state)
    levy(story, "F1", last=date(2026, 11, 30))
    assert deadlines_of(story) == {"F1": ("OPEN", date(2026, 11, 30))}
    assert (story.request("NPQS").state, story.request("NPQS").due_at) == ("DECIDED", None)
    until(story, LAST_SECOND + timedelta(seconds=2))
    assert told(story).count(("deadline.overdue", "NPQS", "pay")) == 1
    pay(story, find_fee(story, "F1"))
    assert pay_of(story, "NPQS") == ["LATE"]
    if state == "closed":
        assert story.case().state == "CLOSED"


@pytest.mark.long
def test_a_fee_of_an_application_that_its_agency_cancels_is_owed_no_more(
    story: Story, provider: Provider
) -> None:
    story.submit()
    story.tick(seconds=1)
    levy(story, "F1", last=date(2026, 11, 30))
    overtake(story, "withdrawn")
    assert pay_of(story, "NPQS") == ["OPEN"]
    story.hear("NPQS", Notice("C1", story.clock(), "G03"))
    assert pay_of(story, "NPQS") == ["CANCELLED"]
    until(story, LAST_SECOND + timedelta(days=1))
    assert ("deadline.overdue", "NPQS", "pay") not in told(story)


@pytest.mark.long
@BOTH
@pytest.mark.parametrize("swapped", [False, True])
def test_of_two_levies_of_one_instant_each_has_its_own_time(
    story: Story, provider: Provider, swapped: bool
) -> None:
    """The time in the notice of the one is no time of the other, which has none."""
    file(story)
    at, due = story.clock(), seoul("2026-12-02T12:00")
    named: list[tuple[str, datetime | None]] = [("F1", due), ("F2", None)]
    for number, deadline in named[::-1] if swapped else named:
        story.hear("NPQS", Notice(number, at, "Y05", deadline=deadline, fee=NamedFee(KRW, None, number)))
    story.tick(seconds=1)
    assert deadlines_of(story) == {"F1": ("OPEN", due.date())}
    pay(story, find_fee(story, "F2"), "P-2")
    assert deadlines_of(story) == {"F1": ("OPEN", due.date())}
    pay(story, find_fee(story, "F1"), "P-1")
    assert deadlines_of(story) == {"F1": ("MET", due.date())}


@pytest.mark.long
def test_a_fee_without_a_last_day_holds_the_time_to_decide_until_it_is_waived(
    story: Story, provider: Provider
) -> None:
    file(story)
    levy(story, "F1")
    overtake(story, "answered")
    assert states(story, "NPQS")["decide"] == ["HELD"]
    until(story, seoul("2027-01-20T12:00"))
    assert states(story, "NPQS")["decide"] == ["HELD"]
    end(story, "NPQS", "waived")
    story.tick(seconds=1)
    assert (pay_of(story, "NPQS"), states(story, "NPQS")["decide"]) == ([], ["OPEN"])
