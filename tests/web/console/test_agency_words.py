"""What an agency's own system says arrives at the applicant: in Notice, Result, on the page, by the API."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import pytest
from lxml import etree

from gateway.cases import Decision, DecisionCode, NamedFee, Notice, read_money
from gateway.hub.fees.payment_policy import PaymentPolicy
from tests.flows.test_fees import SECRET, Provider, pay
from tests.flows.test_fees import provider as provider  # the payment provider, a fixture
from tests.flows.test_outside_results import name as declare_use
from tests.flows.test_outside_results import say
from tests.kit.applicant_words import read_applicant_words
from tests.kit.console import Console
from tests.kit.databases import BOTH
from tests.kit.house import START
from tests.kit.story import Story

#: Each case is another kind of notice.

POINTERS = ("42A/67A[1]/68A[2]/23A/138", "42A/D026")
DUE = START + timedelta(days=3)
LONG = "\n".join(f"{line:03} 시험성적서를 제출하십시오." for line in range(190))
KRW = read_money("12000", "KRW")
REFUND = "Refund (환불(예정)금액): 12000 KRW"
LAST = date(2027, 2, 28)
LAST_DAY = "유효기간: 2027-02-28 (valid until)"


@dataclass(frozen=True)
class Words:
    """What a notice of an agency says, and the elements in which the applicant gets it.

    `shown` are words of the page, and `answered` of the answers of the API; the text is in both.
    """

    content: dict[str, Any]
    notice: dict[str, list[str]]
    result: dict[str, list[str]] = field(default_factory=dict)
    shown: tuple[str, ...] = ()
    answered: tuple[str, ...] = ()


def decide(code: DecisionCode, *conditions: str) -> dict[str, Any]:
    return {"decisions": (Decision(2, "05", code, "F-77", conditions=conditions),)}


NOTICES = {
    "question": Words(
        {"status_code": "D01", "text": "Which lot?", "pointers": POINTERS, "deadline": DUE},
        {"Text": ["Which lot?"], "Pointer": [*POINTERS], "Deadline": ["2026-11-23T09:00:00.000Z"]},
        shown=(*POINTERS, "2026-11-23 18:00"),
        answered=(*POINTERS, "2026-11-23T09:00:00"),
    ),
    "text of 4,000 characters": Words({"status_code": "C04", "text": LONG}, {"Text": [LONG]}),
    "inspection": Words(
        {"status_code": "E01", "text": "Gate 4.", "pointers": POINTERS[1:], "deadline": DUE},
        {"Text": ["Gate 4."], "Pointer": [POINTERS[1]], "Deadline": ["2026-11-23T09:00:00.000Z"]},
        shown=(POINTERS[1], "2026-11-23 18:00"),
        answered=(POINTERS[1], "2026-11-23T09:00:00"),
    ),
    "fee": Words(
        {"status_code": "Y05", "text": "Bring it.", "fee": NamedFee(KRW, date(2026, 12, 1), "N-9")},
        {"Text": ["Bring it."], "Fee": ["12000"], "Deadline": ["2026-12-01T23:59:59.000Z"]},
        shown=("12000 KRW", "2026-12-02 08:59", "N-9"),
        answered=('"amount": "12000", "currency": "KRW"', '"due_on": "2026-12-01"', "N-9"),
    ),
    "fee without an amount": Words(
        {"status_code": "Y05", "text": "As posted.", "fee": NamedFee(due=date(2026, 12, 1))},
        {"Text": ["As posted."], "Fee": [], "Deadline": ["2026-12-01T23:59:59.000Z"]},
        shown=("2026-12-02 08:59",),
        answered=('"due_on": "2026-12-01"',),
    ),
    "fee without a limit": Words(
        {"status_code": "Y05", "text": "At any time.", "fee": NamedFee(KRW, date(9999, 12, 31))},
        # West of Greenwich the end of this day is in no year that can be written.
        {"Text": ["At any time."], "Fee": ["12000"], "Deadline": []},
        answered=('"due_on": "9999-12-31"',),
    ),
    "refund of a fee that was paid to the agency": Words(
        {"status_code": "Y16", "text": "By bank.", "fee": NamedFee(KRW)},
        {"Text": [f"{REFUND}\nBy bank."], "Fee": []},
        shown=(REFUND,),
        answered=(REFUND,),
    ),
    "refund in the agency's own document": Words(
        {"status_code": "Y16", "text": f"By bank.\n{REFUND}", "fee": NamedFee(KRW)},
        {"Text": [f"By bank.\n{REFUND}"], "Fee": []},
    ),
    "refund of all": Words(
        {"status_code": "Y16", "text": "By bank.", "fee": NamedFee()}, {"Text": ["By bank."], "Fee": []}
    ),
    "fee that is not due": Words(
        {"status_code": "Y06", "text": "Free.", "fee": NamedFee(KRW)}, {"Text": ["Free."], "Fee": []}
    ),
    "decision": Words(
        {"status_code": "R01", "text": "Look\nat it.", "pointers": POINTERS[1:]}
        | decide(DecisionCode.APPROVED_WITH_CONDITIONS, "소독", "dry <b>"),
        {"Text": ["Look\nat it."], "Pointer": [POINTERS[1]], "Decision/{*}Condition": ["소독", "dry <b>"]}
        | {"Decision/{*}Number": ["F-77"], "Decision/{*}Text": [], "Decision/{*}NoticeNumber": []},
        {"Text": ["Look\nat it."], "Condition": ["소독", "dry <b>"]},
        shown=("소독", "dry <b>", POINTERS[1]),
        answered=("소독", "dry <b>", POINTERS[1]),
    ),
    "refusal": Words(
        {"status_code": "R04", "text": "Lead.", "valid_until": LAST} | decide(DecisionCode.REJECTED),
        {"Text": ["Lead."], "Decision/{*}Condition": []},
        {"Text": ["Lead."], "Condition": []},
    ),
    "last day": Words(
        {"status_code": "R01", "text": "Good.", "valid_until": LAST} | decide(DecisionCode.APPROVED, "소독"),
        {"Text": ["Good."], "Decision/{*}Condition": ["소독", LAST_DAY]},
        {"Condition": ["소독", LAST_DAY]},
        shown=(LAST_DAY,),
        answered=(LAST_DAY,),
    ),
    "last day that is told already": Words(
        {"status_code": "R01", "text": "Good.", "valid_until": LAST}
        | decide(DecisionCode.APPROVED, LAST_DAY, "소독"),
        {"Text": ["Good."], "Decision/{*}Condition": [LAST_DAY, "소독"]},
        {"Condition": [LAST_DAY, "소독"]},
    ),
}


@BOTH
@pytest.mark.parametrize("kind", NOTICES)
def test_what_an_agency_says_arrives_at_the_applicant(story: Story, console: Console, kind: str) -> None:
    words = NOTICES[kind]
    story.submit()
    story.tick()
    story.hear("KFDA", Notice("N-1", story.clock(), **words.content))
    story.tick(seconds=1)
    sent = next(one for one in story.inbox.documents("Notice") if one.findtext("*/{*}NoticeNumber") == "N-1")
    found = {name: [one.text for one in sent.iterfind(f"{{*}}Request/{{*}}{name}")] for name in words.notice}
    assert found == words.notice
    if words.result:
        story.decide_all("KFDA")
        story.tick(seconds=1)
        (decision,) = story.result().iterfind("{*}Decision[@item='2']")
        assert {name: [one.text for one in decision.iterfind(f"{{*}}{name}")] for name in words.result} == (
            words.result
        )
    page, answers = read_applicant_words(console)
    for word in (*words.content["text"].splitlines(), *words.shown):
        assert word in page, word
    for word in (*words.content["text"].splitlines(), *words.answered):
        assert word in answers, word


def test_the_words_of_a_result_without_an_application_are_in_the_result(story: Story) -> None:
    say(story, text="Keep the original.")
    declare_use(story)
    (decision,) = story.result().iterfind("{*}Decision")
    assert decision.findtext("{*}Text") == "Keep the original."


def test_what_the_provider_gives_back_is_on_the_page(
    story: Story, console: Console, provider: Provider
) -> None:
    console.add_account("han", ("party", "broker1"), "filer")
    browser = console.sign_in("han")

    def read_page() -> str:
        return "".join(etree.HTML(browser.get(f"/console/cases/{story.case().number}").data).itertext())

    euros = read_money("12.50", "EUR")
    story.hub.payments = PaymentPolicy(True, {}, SECRET)
    story.submit()
    story.tick(seconds=1)
    story.hear("NPQS", Notice("N-1", story.clock(), "Y05", fee=NamedFee(euros)))
    story.tick(seconds=1)
    (order,) = provider.list_calls("orders")
    pay(story, order["order"], money=euros)
    story.tick(seconds=1)
    story.hear("NPQS", Notice("N-2", story.clock(), "Y08"))
    for number, amount in (("N-3", "2.50"), ("N-4", "1.25")):
        story.tick(seconds=1)
        story.hear("NPQS", Notice(number, story.clock(), "Y16", fee=NamedFee(read_money(amount, "EUR"))))
        assert f"Is being given back: {amount} EUR" in read_page()
        story.tick(seconds=1)
    story.tick(seconds=1)
    page = read_page()
    assert "Given back: 2.50 EUR" in page
    assert "Given back: 1.25 EUR" in page
    assert "Is being given back" not in page


def test_the_last_day_of_a_result_without_an_application_is_in_the_result(story: Story) -> None:
    say(story, valid_until=LAST)
    declare_use(story)
    (decision,) = story.result().iterfind("{*}Decision")
    assert [one.text for one in decision.iterfind("{*}Condition")] == [LAST_DAY]


def test_an_agency_may_repeat_a_notice_whose_words_are_told_otherwise(story: Story) -> None:
    """What is stored is compared as the agency said it, not as its applicant is told it."""
    story.submit()
    story.tick()
    for content in (
        {"status_code": "Y16", "fee": NamedFee(KRW)},
        {"status_code": "R01", "valid_until": LAST} | decide(DecisionCode.APPROVED),
    ):
        said = Notice(f"N-{content['status_code']}", story.clock(), **content)
        story.hear("KFDA", said)
        story.hear("KFDA", said)
    assert story.request("KFDA").state == "DECIDED"


@pytest.mark.parametrize(("code", "more"), [("D01", {}), ("Y01", {"fee": NamedFee(KRW)})])
def test_what_must_be_done_stands_first_whatever_comes_behind_it(
    story: Story, console: Console, code: str, more: dict[str, Any]
) -> None:
    story.submit()
    story.tick()
    story.hear("KFDA", Notice("N-1", story.clock(), code, text="Do this.", **more))
    story.tick(seconds=1)
    story.hear("KFDA", Notice("N-2", story.clock(), "C04", text="It is with Kim."))
    story.tick(seconds=1)
    number = story.case().number
    console.add_account("han", ("party", "broker1"), "filer")
    browser = console.sign_in("han")
    page = etree.HTML(browser.get(f"/console/cases/{number}").data)
    assert [one.text for one in page.iterfind(".//section[@class='asked']/blockquote")] == ["Do this."]
    if code == "D01":
        answer = browser.get(f"/console/cases/{number}/answers/{story.request('KFDA').number}").text
        assert "Do this." in answer
        assert "It is with Kim." not in answer
