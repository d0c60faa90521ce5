"""A fee in a document of an agency's own form: levied at the provider, given back as the document says."""

from __future__ import annotations

from typing import Any

import pytest
from lxml import etree

from tests.flows.test_delivered_notices import Window, make_document
from tests.flows.test_fees import KRW, Provider, fees_of, pay, provider, story
from tests.kit.databases import BOTH
from tests.kit.story import Story

__all__ = ["provider", "story"]

AGENCY = "NPQS"
FEE = "2026-00000000000001"


@pytest.fixture
def window(story: Story, provider: Provider) -> Window:
    story.submit()
    story.tick(seconds=1)
    story.tick(minutes=10)
    return Window(story)


def write_fee(story: Story, kind: str, payment: str, *, status: str = "", minute: int = 5) -> etree._Element:
    about = f"<TypeCode>GOVCBRBR1</TypeCode><ID>{story.number_of(AGENCY)}</ID>"
    named = f"<DutyTaxFee><Payment><ReferenceID>{FEE}</ReferenceID>{payment}</Payment></DutyTaxFee>"
    code = f"<Status><NameCode>{status}</NameCode></Status>" if status else ""
    return make_document(
        kind,
        f"<TypeCode>{kind}</TypeCode><Declaration>{about}{named}</Declaration><ID>{kind}-{minute}</ID>"
        f"<IssueDateTime>2026112018{minute:02d}00</IssueDateTime>{code}",
    )


def levy(story: Story) -> etree._Element:
    due = "<DueDateTime>20261215</DueDateTime>"
    return write_fee(story, "GOVCBRASA", f"<PaymentAmount>30000</PaymentAmount>{due}", status="Y05")


def refund(story: Story, amount: str, minute: int = 7) -> etree._Element:
    return write_fee(story, "GOVCBRASK", f"<RefundAmount>{amount}</RefundAmount>", minute=minute)


def deliver(window: Window, document: etree._Element) -> bytes:
    answer = window.call(AGENCY, "DeliverNotice", document)
    window.story.tick(seconds=1)
    return answer


def get_fee(story: Story) -> Any:
    (fee,) = fees_of(story, AGENCY)
    return fee


@BOTH
def test_a_levy_is_ordered_and_a_part_of_it_is_given_back(window: Window, provider: Provider) -> None:
    story = window.story
    assert b"DeliverNoticeResponse" in deliver(window, levy(story))
    assert b"DeliverNoticeResponse" in deliver(window, levy(story))
    fee = get_fee(story)
    assert (fee.payment_notice, fee.amount, fee.currency, fee.state) == (FEE, "30000", "KRW", "ORDERED")
    assert fee.due_on.isoformat() == "2026-12-15"
    told = story.inbox.documents("Notice")[-1].find(".//{*}Fee")
    assert told is not None
    assert (told.text, told.get("paymentNotice")) == ("30000", FEE)
    pay(story, fee.number, money=KRW)
    story.tick(minutes=5)
    deliver(window, refund(story, "5000"))
    assert [one["amount"] for one in provider.list_calls("refunds")] == ["5000"]
    assert get_fee(story).state == "PARTLY_REFUNDED"
    answer = deliver(window, refund(story, "25001", minute=8))
    assert b"GW711" in answer
    assert b"/Response/Declaration/DutyTaxFee/Payment/RefundAmount" in answer
    deliver(window, refund(story, "25000", minute=9))
    assert get_fee(story).state == "REFUNDED"


@pytest.mark.parametrize("order", ["levy first", "end first"])
@pytest.mark.parametrize(("kind", "status", "state"), [("GOVCBRASA", "Y06", "CANCELLED"),
                                                       ("GOVCBRASI", "Y08", "CONFIRMED")])  # fmt: skip
def test_its_end_is_about_the_fee_that_it_names(
    window: Window, provider: Provider, order: str, kind: str, status: str, state: str
) -> None:
    story = window.story
    amount = "<PaymentAmount>30000</PaymentAmount>" if kind == "GOVCBRASI" else ""
    documents = [levy(story), write_fee(story, kind, amount, status=status, minute=6)]
    for one in documents if order == "levy first" else reversed(documents):
        assert b"DeliverNoticeResponse" in deliver(window, one)
    assert (get_fee(story).payment_notice, get_fee(story).state) == (FEE, state)
