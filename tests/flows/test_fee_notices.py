"""What the applicant and the agency are told of each step of a fee: its amount, currency, code and text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from functools import partial

import pytest

from gateway.cases import Money, NamedFee, Notice, ProviderEvent
from gateway.hub.fees.agency_payment_notes import settle_fee_elsewhere, waive_fee
from gateway.hub.fees.payment_events import apply_provider_event
from gateway.hub.fees.payment_policy import PaymentPolicy
from gateway.wire import format_instant
from tests.flows.test_fees import (
    SECRET,
    Provider,
    calls,
    fees_of,
    movements,
    notice,
    pay,
    provider,
    story,
    told_of,
)
from tests.kit.story import Story, unreachable

__all__ = ["provider", "story"]  # fixtures

EUROS = Money(Decimal("12.50"), "EUR")
LEVY = NamedFee(EUROS, date(2026, 12, 24), "A-77", refundable=True)
LEVIED_ATTRIBUTES = {"currencyID": "EUR", "paymentNotice": "A-77", "dueDate": "2026-12-24"}
AWAITED_ATTRIBUTES = {"currencyID": "KRW", "dueDate": "2026-11-30"}
AWAITED = "The application is forwarded to the agency when this fee is paid."
PAID, NOT_DUE = "The fee is paid.", "The fee is not due any more."


@dataclass(frozen=True)
class ToldFee:
    """What a Notice of the hub tells of a fee; `suffix` is the end of its number, behind that of the fee."""

    suffix: str
    amount: str
    attributes: dict[str, str]
    text: str


def list_told_fees(story: Story, agency: str, code: str) -> list[ToldFee]:
    """Return what the hub itself, not the agency, told the applicant under a status code of a fee."""
    (fee,) = fees_of(story, agency)
    return [
        ToldFee(
            request.findtext("{*}NoticeNumber").removeprefix(fee.number),
            request.findtext("{*}Fee"),
            dict(request.find("{*}Fee").attrib),
            request.findtext("{*}Text"),
        )
        for request in told_of(story, code)
        if request.findtext("{*}NoticeNumber").startswith(fee.number)
    ]


def levy(story: Story) -> str:
    """Let NPQS levy a fee for its inspection, in euros; return the number of the fee."""
    story.submit()
    story.tick(seconds=1)
    story.hear("NPQS", Notice("N1", story.clock(), "Y05", fee=LEVY))
    story.tick(seconds=1)
    return str(fees_of(story, "NPQS")[0].number)


def make_told_refund(suffix: str, amount: str) -> ToldFee:
    return ToldFee(suffix, amount, LEVIED_ATTRIBUTES, "This amount is given back.")


@pytest.mark.parametrize("teller", ["answer", "event"])
def test_the_notice_of_each_refund_tells_the_amount_that_went_back(
    story: Story, provider: Provider, teller: str
) -> None:
    """A part of the fee first, then the rest: the provider answers the call, or reports the refund."""
    number = levy(story)
    pay(story, number, money=EUROS)
    for refund, named, amount in (("-R01", "2.50", "2.50"), ("-R02", "", "10.00")):
        provider.down = teller == "event"
        fee = {"money": Money(Decimal(named), "EUR")} if named else {"payment_notice": "A-77"}
        story.hear("NPQS", notice(story, f"B{refund}", "Y16", **fee))
        story.tick(seconds=1)
        if teller == "event":
            money = Money(Decimal(amount), "EUR")
            event = ProviderEvent("refunded", number, f"R{refund}", money, story.clock(), number + refund)
            assert apply_provider_event(story.hub, event) == "refunded"
        story.tick(seconds=1)
    assert list_told_fees(story, "NPQS", "Y16") == [
        make_told_refund("-R01", "2.50"),
        make_told_refund("-R02", "10.00"),
    ]


@pytest.mark.long
def test_a_payment_in_excess_is_told_as_given_back_beside_the_fee_that_is_paid(
    story: Story, provider: Provider
) -> None:
    number = levy(story)
    for reference in ("P-1", "P-2"):
        pay(story, number, reference, EUROS)
    story.tick(seconds=1)
    story.tick(seconds=1)
    assert list_told_fees(story, "NPQS", "Y07") == [ToldFee("-PAY", "12.50", LEVIED_ATTRIBUTES, PAID)]
    assert list_told_fees(story, "NPQS", "Y16") == [make_told_refund("-R01", "12.50")]


def test_a_refund_is_of_the_paid_fee_while_another_one_is_due(story: Story, provider: Provider) -> None:
    number = levy(story)
    pay(story, number, money=EUROS)
    story.hear("NPQS", Notice("N2", story.clock(), "Y05", fee=NamedFee(Money(Decimal("7.00"), "EUR"))))
    story.hear("NPQS", notice(story, "N3", "Y16"))
    story.tick(seconds=1)
    assert [one["amount"] for one in provider.list_calls("refunds")] == ["12.50"]
    assert [row.state for row in fees_of(story, "NPQS")][1] == "ORDERED"


@pytest.mark.parametrize(("named", "levied"), [("", "A-77"), ("A-77", "A-77"), ("", "")])
@pytest.mark.parametrize("code", ["Y06", "Y08"])
def test_a_fee_whose_end_came_first_has_the_number_of_its_levy(
    story: Story, code: str, named: str, levied: str
) -> None:
    story.submit()
    story.tick(seconds=1)
    issued_at = story.clock()
    story.tick(seconds=1)
    story.hear("NPQS", notice(story, "N2", code, payment_notice=named))
    story.hear("NPQS", Notice("N1", issued_at, "Y05", fee=replace(LEVY, payment_notice=levied)))
    (fee,) = fees_of(story, "NPQS")
    assert (fee.payment_notice, fee.amount, fee.notice) == (levied, "12.50", "N1")


def pay_fee(story: Story, agency: str) -> None:
    (fee,) = fees_of(story, agency)
    pay(story, fee.number, money=Money(Decimal(fee.amount), fee.currency))


def operate(story: Story, agency: str, act: Callable[..., None]) -> None:
    (fee,) = fees_of(story, agency)
    story.operate(lambda *words: act(*words, "at the counter"), fee.id)


@dataclass(frozen=True)
class ToldStep:
    """A step of a fee: the act that leads to it, and the code and notice that tell of it."""

    code: str
    suffix: str
    text: str
    act: Callable[[Story, str], None] | None = None


WAIVE, SETTLE = partial(operate, act=waive_fee), partial(operate, act=settle_fee_elsewhere)
#: The steps of the fee in euros that NPQS levies for its inspection.
LEVIED_STEPS = {
    "levied": ToldStep("Y05", "-LEVY", "This fee can be paid at the address."),
    "paid": ToldStep("Y07", "-PAY", PAID, pay_fee),
    "settled": ToldStep("Y07", "-PAY", PAID, SETTLE),
    "waived": ToldStep("Y06", "-CANCEL", NOT_DUE, WAIVE),
}
#: The steps of the fee that is due before the application is forwarded to KPTA.
AWAITED_STEPS = {
    "awaited": ToldStep("Y17", "-AWAIT", AWAITED),
    "paid": ToldStep("Y03", "-PAY", PAID, pay_fee),
    "settled": ToldStep("Y03", "-PAY", PAID, SETTLE),
    "waived": ToldStep("Y02", "-CANCEL", NOT_DUE, WAIVE),
}


def check_told_step(
    story: Story, agency: str, step: ToldStep, amount: str, attributes: dict[str, str]
) -> None:
    """Let the step happen; the applicant is told of it once, and of the address only while it can be paid."""
    (fee,) = fees_of(story, agency)
    address = {} if step.act else {"address": f"https://pay.example/{fee.number}"}
    if step.act:
        step.act(story, agency)
    story.tick(seconds=1)
    expected = ToldFee(step.suffix, amount, attributes | address, step.text)
    assert list_told_fees(story, agency, step.code) == [expected]


@pytest.mark.parametrize("step", LEVIED_STEPS.values(), ids=list(LEVIED_STEPS))
def test_the_applicant_is_told_of_each_step_of_a_levied_fee(
    story: Story, provider: Provider, step: ToldStep
) -> None:
    levy(story)
    check_told_step(story, "NPQS", step, "12.50", LEVIED_ATTRIBUTES)


@pytest.mark.long
@pytest.mark.parametrize("step", AWAITED_STEPS.values(), ids=list(AWAITED_STEPS))
def test_the_applicant_is_told_of_each_step_of_a_fee_before_forwarding(
    story: Story, provider: Provider, step: ToldStep
) -> None:
    story.submit()
    story.tick(seconds=1)
    check_told_step(story, "KPTA", step, "30000", AWAITED_ATTRIBUTES)


def test_an_agency_is_told_of_the_payment_that_counts_for_its_fee(story: Story, provider: Provider) -> None:
    """A payment in excess came first; the time is that of the payment, not that of its report."""
    story.addresses["NPQS"] = replace(story.addresses["NPQS"], has_payment_notices=True)
    number = levy(story)
    paid_at = story.clock()
    story.tick(minutes=1)
    story.hear("NPQS", notice(story, "N2", "Y08", payment_notice="A-77"))
    story.tick(minutes=1)
    assert pay(story, number, "P-2", EUROS) == "excess"
    event = ProviderEvent("paid", number, "P-1", EUROS, paid_at)
    assert apply_provider_event(story.hub, event) == "counted"
    story.tick(seconds=1)
    story.tick(seconds=1)
    told = [call for call in story.soap.calls if call.operation == "NotifyPayment"]
    names = ("ApplicationNumber", "FeeNumber", "PaymentNotice", "Amount", "Currency", "PaidAt", "Payment")
    assert [[call.text(name) for name in names] for call in told] == [
        [story.number_of("NPQS"), number, "A-77", "12.50", "EUR", format_instant(paid_at), "P-1"]
    ]


def test_an_agency_is_told_of_a_payment_behind_its_application(story: Story, provider: Provider) -> None:
    story.addresses["KPTA"] = replace(story.addresses["KPTA"], has_payment_notices=True)
    story.submit()
    story.tick(seconds=1)
    story.say("KPTA", unreachable())
    pay_fee(story, "KPTA")
    story.tick(seconds=1)
    story.tick(seconds=1)
    assert "NotifyPayment" not in calls(story, "KPTA")
    story.tick(minutes=10)
    story.tick(seconds=1)
    assert calls(story, "KPTA")[-2:] == ["SubmitApplication", "NotifyPayment"]


def test_the_note_of_a_payment_does_not_wait_for_an_application_that_failed(
    story: Story, provider: Provider
) -> None:
    """The agency has levied the fee: it has the application, though no answer of it arrived."""
    story.addresses["NPQS"] = replace(story.addresses["NPQS"], has_payment_notices=True)
    story.say("NPQS", *[unreachable()] * 4)
    levy(story)
    for _ in range(3):
        story.tick(minutes=30)
    assert story.delivery(destination="NPQS").state == "FAILED"
    pay_fee(story, "NPQS")
    story.tick(seconds=1)
    story.tick(seconds=1)
    assert calls(story, "NPQS")[-1] == "NotifyPayment"
    assert fees_of(story, "NPQS")[0].told_at is not None


def test_a_fee_that_the_hub_never_collects_has_no_refund_that_waits_for_its_payment(story: Story) -> None:
    story.hub.payments = PaymentPolicy(False, {}, SECRET)
    levy(story)
    story.hear("NPQS", notice(story, "N2", "Y08"))
    for amount in ("2.50", "99.00"):
        story.hear("NPQS", notice(story, f"B{amount}", "Y16", money=Money(Decimal(amount), "EUR")))
    assert ([row.state for row in fees_of(story, "NPQS")], movements(story, "NPQS")) == (["CONFIRMED"], [])
