"""Where several things are due on one application, its party, officers and operators see each of them."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from html import unescape

import pytest

from gateway.cases import AgencyAcknowledgment, NamedFee, Notice, read_money
from gateway.hub.fees.payment_policy import PaymentPolicy
from gateway.operations import add_case_waiting, format_moment
from gateway.store import read_transaction
from tests.flows.test_fees import KRW, SECRET, Provider, fees_of, pay, withdraw
from tests.flows.test_fees import provider as provider  # the payment provider, a fixture
from tests.kit.console import Browser, Console
from tests.kit.databases import BOTH
from tests.kit.story import Story, asked

KFDA = "Korea Food & Drug Administration"
PAY, ANSWER = f"You: pay the fee of {KFDA}", f"You: answer the question of {KFDA}"
DUE = {
    name: datetime.fromisoformat(f"2026-12-{day}T17:00:00+09:00")
    for name, day in (("fee", 24), ("question", 11), ("inspection", 15))
}


@pytest.fixture
def broker(console: Console) -> Browser:
    console.add_account("han", ("party", "broker1"), "filer")
    return console.sign_in("han")


@pytest.fixture
def levied(story: Story, provider: Provider) -> Story:
    """Return a case of which KFDA has levied a fee that can be paid at an address."""
    story.hub.payments = PaymentPolicy(True, {}, SECRET)
    story.submit()
    story.tick()
    story.tick(seconds=1)
    story.hear("KFDA", Notice("Y", story.clock(), "Y05", deadline=DUE["fee"], fee=NamedFee(KRW)))
    story.tick(seconds=1)
    return story


def pay_fee(story: Story) -> None:
    (fee,) = fees_of(story, "KFDA")
    assert pay(story, fee.number) == "counted"


def ask(story: Story) -> None:
    story.hear("KFDA", asked(story, "KFDA", "Q1", deadline=DUE["question"]))


def inspect(story: Story) -> None:
    story.hear("KFDA", asked(story, "KFDA", "E1", status="E01", deadline=DUE["inspection"]))


def decide(story: Story) -> None:
    story.decide_all()
    story.tick(seconds=5)
    assert story.case().state == "CLOSED"


#: What comes after the fee, and how the tasks of KFDA's application are told then beside its payment.
LATER = pytest.mark.parametrize(
    ("happen", "sentences", "reasons"),
    [
        (ask, [ANSWER], ["an answer to its question by {question} (the certificate"]),
        (inspect, [f"{KFDA}: inspection"], ["an inspection by {inspection}"]),
        (decide, [], []),
    ],
    ids=["question", "inspection", "decision"],
)


def list_lines(html: str) -> list[str]:
    """Return the lines of a piece of a page, without their elements."""
    lines = re.findall(r'<span class="line">(.*?)</span>', html, re.DOTALL)
    return [re.sub("<.*?>", "", unescape(line)) for line in lines]


def list_sections(page: str) -> list[str]:
    """Return the sections of the page of a case that say what its party has to do."""
    return re.findall(r'<section class="asked".*?</section>', unescape(page), re.DOTALL)


def read_waiting(story: Story) -> str:
    """Return what operators read in the list of cases about KFDA's application."""
    row = {"id": story.case().id, "state": story.case().state}
    with read_transaction(story.house.engine) as conn:
        add_case_waiting(conn, [row], story.clock())
    reasons = [reason for reason in str(row["waits_for"]).split("; ") if reason.startswith("KFDA: ")]
    return reasons[0] if reasons else ""


@pytest.mark.long
@pytest.mark.story("a trader who owes a fee sees it on top until it is paid, whatever is asked beside it")
@BOTH
@LATER
def test_the_list_has_an_open_fee_on_top(
    levied: Story, broker: Browser, happen: Callable[[Story], None], sentences: list[str], reasons: list[str]
) -> None:
    happen(levied)
    page = broker.get("/console/cases").text
    assert '<tr class="mine">' in page
    lines = [line for line in list_lines(page) if KFDA in line]
    assert lines[0] == f"{PAY} Deadline: 2026-12-24 17:00 KST"
    assert [line.partition(" Deadline")[0] for line in lines[1:]] == sentences
    (_, line) = csv.reader(io.StringIO(broker.get("/console/cases?format=csv").text.lstrip("\ufeff")))
    assert line[5].startswith(PAY)
    pay_fee(levied)
    assert PAY not in unescape(broker.get("/console/cases").text)


@pytest.mark.long
@LATER
def test_the_page_of_a_case_asks_for_each_task(
    levied: Story, broker: Browser, happen: Callable[[Story], None], sentences: list[str], reasons: list[str]
) -> None:
    happen(levied)
    place = f"/console/cases/{levied.case().number}"
    page = broker.get(place).text
    assert list_lines(page[page.index("Who holds it now") :])[0] == PAY
    (payment, *others) = list_sections(page)
    for words in (PAY, "30000 KRW", "2026-12-24 17:00", '">Pay the fee'):
        assert words in payment
    assert [ANSWER in section and "2026-12-11 17:00" in section for section in others] == [
        True for sentence in sentences if sentence == ANSWER
    ]
    assert [f"{place}/answers/" in section for section in (payment, *others)] == [
        False,
        *(True for _ in others),
    ]
    pay_fee(levied)
    assert list_sections(broker.get(place).text) == [section for section in others if ANSWER in section]


@pytest.mark.long
@LATER
def test_operators_and_officers_see_each_task(
    levied: Story,
    console: Console,
    happen: Callable[[Story], None],
    sentences: list[str],
    reasons: list[str],
) -> None:
    happen(levied)
    # The time zone in which operators read times is that of the process.
    times = {name: format_moment(due) for name, due in DUE.items()}
    waiting = ", and ".join(("KFDA: a fee by {fee}", *reasons))
    assert read_waiting(levied).startswith(waiting.format(**times))
    console.add_account("kim", ("agency", "KFDA"), "officer")
    officer = console.sign_in("kim")
    place = f"/console/applications/{levied.request('KFDA').number}"
    page = officer.get(place).text
    lines = list_lines(page[page.index("Waits for") : page.index("</dl>")])
    assert lines[0] == "The applicant: the fee (Deadline: 2026-12-24 17:00 KST)"
    assert len(lines) == 1 + len(reasons)
    pay_fee(levied)
    assert "a fee" not in read_waiting(levied)
    assert "The applicant: the fee" not in officer.get(place).text


@pytest.mark.long
def test_a_question_behind_an_inspection_can_be_answered(story: Story, broker: Browser) -> None:
    """The form says until when: by the question, and not by the inspection."""
    story.submit()
    story.tick()
    ask(story)
    story.tick(seconds=1)
    inspect(story)
    assert story.request("KFDA").state == "INSPECTION"
    place = f"/console/cases/{story.case().number}"
    (section,) = list_sections(broker.get(place).text)
    (link,) = re.findall(r'href="([^"]*/answers/[^"]*)"', section)
    assert "2026-12-11 17:00" in section
    form = broker.get(link).text
    assert "2026-12-11 17:00" in form
    assert "2026-12-15" not in form


@pytest.mark.long
@BOTH
def test_a_closed_case_is_open_for_its_party_until_its_fee_is_paid(
    levied: Story, console: Console, broker: Browser
) -> None:
    """Also when it is searched for by its reference; the deadline that passes is told in the list."""
    decide(levied)
    number = levied.case().number
    for query in (
        "state=open",
        "state=open&reference=HB2026-000123",
        "state=open&text=000123",
        "state=ended",
    ):
        assert f"/console/cases/{number}" in broker.get(f"/console/cases?{query}").text, query
    assert "The deadline has passed" not in broker.get("/console/cases?state=open").text
    levied.clock.now = DUE["fee"] + timedelta(minutes=1)
    broker = console.enter("han")
    assert "The deadline has passed" in broker.get("/console/cases?state=open").text
    pay_fee(levied)
    for query, is_listed in {
        "state=open": False,
        "state=open&reference=HB2026-000123": False,
        "": True,
    }.items():
        assert (f"/console/cases/{number}" in broker.get(f"/console/cases?{query}").text) is is_listed, query


@pytest.mark.long
def test_each_fee_has_its_own_section_and_deadline_the_next_one_first(levied: Story, broker: Browser) -> None:
    earlier = DUE["fee"] - timedelta(days=8)
    levied.hear(
        "KFDA", Notice("Y2", levied.clock(), "Y01", deadline=earlier, fee=NamedFee(None, None, "PN-2"))
    )
    levied.tick(seconds=1)
    second, first = list_sections(broker.get(f"/console/cases/{levied.case().number}").text)
    assert "2026-12-16 17:00" in second
    assert "Fee: paid to the agency itself, payment notice PN-2" in second
    assert "Pay the fee<" not in second
    assert "2026-12-24 17:00" in first
    assert "<strong>30000 KRW</strong>" in first
    assert "Pay the fee<" in first
    lines = list_lines(broker.get("/console/cases").text)[:2]
    assert lines == [f"{PAY} Deadline: 2026-12-{day} 17:00 KST" for day in (16, 24)]


@pytest.mark.long
def test_a_fee_that_waits_for_the_answer_of_its_agency_is_not_asked_for(
    levied: Story, broker: Browser
) -> None:
    """It can be paid only if the application is not cancelled."""
    levied.say("KFDA", AgencyAcknowledgment("heard"))
    withdraw(levied)
    levied.tick(seconds=1)
    levied.hear("KFDA", Notice("Y2", levied.clock(), "Y01", fee=NamedFee(read_money("777", "KRW"))))
    levied.tick(seconds=1)
    page = broker.get(f"/console/cases/{levied.case().number}").text
    (section,) = list_sections(page)
    assert "30000 KRW" in section
    assert "777" not in section
    assert "The agency is asked whether it cancels" in page
    assert page.count("Due if the application is not cancelled") == 1
    assert f"{KFDA}: whether it cancels the application" in unescape(page)
