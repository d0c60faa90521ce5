"""Fees: due before forwarding or before the result, paid at the provider, cancelled, given back."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Engine

from gateway.cases import (
    Money,
    NamedFee,
    Notice,
    ProviderEvent,
    read_money,
    sign_payment_message,
    verify_payment_message,
)
from gateway.config import PaymentSettings
from gateway.delivery.agents import PaymentAgent
from gateway.delivery.http_answer_reader import HttpAnswer
from gateway.errors import FEE_WRONG, PAYMENT_REFUSED, TRANSITION_REFUSED, GatewayError
from gateway.hub.completion import operator_actions
from gateway.hub.fees.payment_events import apply_provider_event
from gateway.hub.fees.payment_policy import PaymentPolicy, Tariff
from gateway.store import exact_searches, fees, read_transaction
from tests.flows.craft import text, withdrawal
from tests.kit.databases import BOTH
from tests.kit.house import signer_named
from tests.kit.story import PLAN, Story, unreachable

SECRET = b"a secret of the tests, 32 octets long"
KRW = read_money("30000", "KRW")


@dataclass
class Provider:
    """The payment provider: keeps what it was asked, and answers it, signed."""

    story: Story
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    down: int = 0
    secret: bytes = SECRET
    address: str = "https://pay.example/{}"
    #: Under which payment-id it answers a call: the same.
    name_answer: Callable[[str], str] = str
    #: How long ago it signed its answer.
    answer_age: timedelta = timedelta(0)
    refuse: Callable[[str], HttpAnswer] | None = None

    def post(self, url: str, headers: Any, body: bytes, limits: object = None) -> HttpAnswer:
        small = {name.lower(): value for name, value in headers.items()}
        said = verify_payment_message(small, body, SECRET, self.story.clock(), timedelta(minutes=5))
        self.asked.append((url.rpartition("/")[2], said))
        if self.down:
            self.down -= 1
            raise unreachable()
        if self.refuse is not None:
            return self.refuse(small["payment-id"])
        answer = {
            "address": self.address.format(said.get("order")),
            "reference": f"R-{said.get('refund')}",
        }
        octets = json.dumps(answer | {"at": "2026-11-20T10:00:00Z"}).encode()
        answer_id = self.name_answer(small["payment-id"])
        signed_at = self.story.clock() - self.answer_age
        made = sign_payment_message(self.secret, answer_id, signed_at, octets)
        return HttpAnswer(200, {name.lower(): value for name, value in made.items()}, octets)

    def list_calls(self, operation: str) -> list[dict[str, Any]]:
        return [said for name, said in self.asked if name == operation]


@pytest.fixture
def story(engine: Engine) -> Story:
    started = Story(engine)
    tariffs = {"KPTA-PHARM-IMP": Tariff(KRW, days=10)}
    started.hub.payments = PaymentPolicy(True, tariffs, SECRET)
    return started


@pytest.fixture
def provider(story: Story, tmp_path: Any) -> Provider:
    file = tmp_path / "secret"
    file.write_bytes(SECRET)
    settings = PaymentSettings.model_validate(
        {"endpoint": "https://pay.example", "secret": {"file": str(file)}}, context={"home": tmp_path}
    )
    made = Provider(story)
    story.agents["payment"] = PaymentAgent(story.hub, made, settings, PLAN)
    story.worker = story.new_worker("w2")
    return made


def pay(story: Story, order: str, reference: str = "P-1", money: Money = KRW) -> str:
    event = ProviderEvent("paid", order, reference, money, story.clock())
    return apply_provider_event(story.hub, event)


def fees_of(story: Story, agency: str) -> list[Any]:
    with read_transaction(story.house.engine) as conn:
        return list(fees.list_by_request(conn, story.request(agency).id))


def movements(story: Story, agency: str) -> list[tuple[str, str, str, str]]:
    with read_transaction(story.house.engine) as conn:
        return [
            (one.kind, one.state, one.amount, one.reason)
            for fee in fees.list_by_request(conn, story.request(agency).id)
            for one in fees.list_movements(conn, fee.id)
        ]


def told_of(story: Story, code: str) -> list[Any]:
    found = [one.find("{*}Request") for one in story.inbox.documents("Notice")]
    return [one for one in found if one is not None and one.findtext("{*}StatusCode") == code]


def notice(story: Story, number: str, code: str, **fee: Any) -> Notice:
    return Notice(f"NPQS-{number}", story.clock(), code, fee=NamedFee(**fee) if fee else None)


def calls(story: Story, agency: str) -> list[str]:
    return [one.operation for one in story.soap.calls if one.destination == agency]


@pytest.mark.story("a trader pays, and the application goes to its agency")
@BOTH
def test_an_application_is_forwarded_when_its_fee_is_paid(story: Story, provider: Provider) -> None:
    story.submit()
    story.tick(seconds=1)
    request = story.request("KPTA")
    assert (request.state, request.status_code, calls(story, "KPTA")) == ("FEE_DUE", "Y17", [])
    assert calls(story, "KFDA") == ["SubmitApplication"]
    (order,) = provider.list_calls("orders")
    assert (order["order"], order["amount"], order["currency"]) == (f"{request.number}-F01", "30000", "KRW")
    (due,) = told_of(story, "Y17")
    fee = due.find("{*}Fee")
    assert (fee.text, dict(fee.attrib)) == (
        "30000",
        {"currencyID": "KRW", "dueDate": "2026-11-30", "address": f"https://pay.example/{order['order']}"},
    )
    assert pay(story, order["order"]) == "counted"
    assert pay(story, order["order"]) == "repeated"
    story.tick(seconds=1)
    assert calls(story, "KPTA") == ["SubmitApplication"]
    assert [row.state for row in fees_of(story, "KPTA")] == ["PAID"]
    assert len(told_of(story, "Y03")) == 1
    story.decide_all()
    story.tick(seconds=1)
    assert story.outcome()[0] == "APPROVED"
    assert story.case().state == "CLOSED"


def test_the_declarant_pays_also_where_another_party_has_sent_the_declaration(
    story: Story, provider: Provider
) -> None:
    story.register("importer", "IMP-1")
    story.mandate("broker1", "importer")
    story.submit(story.submission(text(".//Declarant/ID", "IMP-1"), signer_named("importer")))
    story.tick(seconds=1)
    (order,) = provider.list_calls("orders")
    assert (order["payer"], story.case().applicant) == ("importer", "broker1")


@pytest.mark.refusal("an operator releases an application that is not paid")
@pytest.mark.parametrize("act", [operator_actions.release_delivery, operator_actions.cancel_delivery])
def test_an_operator_does_not_release_or_cancel_what_is_not_paid(
    story: Story, provider: Provider, act: Callable[..., None]
) -> None:
    story.submit()
    story.tick(seconds=1)
    (held,) = story.deliveries(state="HELD")
    with pytest.raises(GatewayError) as refused:
        story.operate(act, held.id)
    assert refused.value.problem is TRANSITION_REFUSED
    story.tick(minutes=5)
    assert (story.delivery(destination="KPTA").state, calls(story, "KPTA")) == ("HELD", [])


def test_an_agency_decides_while_a_fee_that_it_levied_is_due(story: Story, provider: Provider) -> None:
    """Only a fee before forwarding keeps the application from its agency."""
    story.submit()
    story.tick(seconds=1)
    story.hear("NPQS", notice(story, "N1", "Y05", money=KRW))
    assert story.request("NPQS").state == "FEE_DUE"
    story.decide("NPQS", number="N2")
    assert story.request("NPQS").state == "DECIDED"


@pytest.mark.refusal("a trader pays what fits no order")
@pytest.mark.parametrize(
    ("order", "money"),
    [("F-1", "30000 KRW"), ("", "29999 KRW"), ("", "300.00 USD")],
    ids=["unknown order", "another amount", "another currency"],
)
def test_what_fits_no_order_is_not_counted(story: Story, provider: Provider, order: str, money: str) -> None:
    story.submit()
    story.tick(seconds=1)
    with pytest.raises(GatewayError) as refused:
        pay(story, order or fees_of(story, "KPTA")[0].number, money=read_money(*money.split()))
    assert refused.value.problem is PAYMENT_REFUSED
    assert movements(story, "KPTA") == []
    assert fees_of(story, "KPTA")[0].state == "ORDERED"


def test_one_reference_is_one_payment(story: Story, provider: Provider) -> None:
    story.submit()
    story.tick(seconds=1)
    story.hear("NPQS", notice(story, "N1", "Y01", money=KRW))
    pay(story, fees_of(story, "KPTA")[0].number)
    with pytest.raises(GatewayError) as refused:
        pay(story, fees_of(story, "NPQS")[0].number)
    assert refused.value.problem is PAYMENT_REFUSED
    assert movements(story, "NPQS") == []


def test_paid_before_the_answer_to_the_order_is_stored(story: Story, provider: Provider) -> None:
    provider.down = 1
    story.submit()
    story.tick(seconds=1)
    assert fees_of(story, "KPTA")[0].state == "LEVIED"
    assert pay(story, fees_of(story, "KPTA")[0].number) == "counted"
    story.tick(minutes=1)
    assert fees_of(story, "KPTA")[0].state == "PAID"
    # The same key and the same content: the provider has one order.
    first, second = provider.list_calls("orders")
    assert first == second
    assert calls(story, "KPTA") == ["SubmitApplication"]
    assert told_of(story, "Y17") == []


@pytest.mark.parametrize(
    "fault",
    [
        {"secret": b"another secret of somebody else's choice"},
        {"answer_age": timedelta(seconds=301)},
        {"answer_age": timedelta(seconds=-301)},
    ],
    ids=["another secret", "an old answer", "an answer of the future"],
)
def test_an_answer_that_the_provider_did_not_sign_now_is_not_believed(
    story: Story, provider: Provider, fault: dict[str, Any]
) -> None:
    for name, value in fault.items():
        setattr(provider, name, value)
    story.submit()
    story.tick(seconds=1)
    assert fees_of(story, "KPTA")[0].state == "LEVIED"
    assert story.delivery(agent="payment").problem == "GW603"


def call_for_order(story: Story) -> None:
    story.submit()
    story.tick(seconds=1)


def call_for_cancellation(story: Story) -> None:
    call_for_order(story)
    withdraw(story)


def call_for_refund(story: Story) -> None:
    """Let a fee be paid twice: the second payment is given back."""
    call_for_order(story)
    for reference in ("P-1", "P-2"):
        pay(story, fees_of(story, "KPTA")[0].number, reference)
    story.tick(seconds=1)


PROVIDER_CALLS = {"order": call_for_order, "cancel": call_for_cancellation, "refund": call_for_refund}


def list_stored_answers(story: Story) -> list[str | None]:
    """Return what the provider said of the fee of KPTA: its address, and the state of each refund."""
    refunds = [state for kind, state, _, _ in movements(story, "KPTA") if kind == "refund"]
    return [fees_of(story, "KPTA")[0].address, *refunds]


@pytest.mark.parametrize("operation", PROVIDER_CALLS)
@pytest.mark.parametrize(
    "answer_id", ["{operation}:{key}2", "{operation}:F-1", "{operation}:", "pay:{key}", ":{key}", "{key}"]
)
def test_the_recorded_answer_to_another_call_is_not_believed(
    story: Story, provider: Provider, operation: str, answer_id: str
) -> None:
    """The provider signed it: the address, or the end of the refund, is that of somebody else."""

    def name_answer(payment_id: str) -> str:
        called, _, key = payment_id.partition(":")
        return answer_id.format(operation=operation, key=key) if called == operation else payment_id

    provider.name_answer = name_answer
    PROVIDER_CALLS[operation](story)
    call = story.deliveries(agent="payment")[-1]
    assert (call.parameters["operation"], call.state, call.problem) == (operation, "QUEUED", "GW603")
    address = f"https://pay.example/{fees_of(story, 'KPTA')[0].number}"
    without_answer = {"order": [None], "cancel": [address], "refund": [address, "ORDERED"]}
    assert list_stored_answers(story) == without_answer[operation]
    provider.name_answer = str
    story.tick(minutes=1)
    assert story.deliveries(agent="payment")[-1].state == "DELIVERED"
    with_answer = {"order": [address], "cancel": [address], "refund": [address, "DONE"]}
    assert list_stored_answers(story) == with_answer[operation]


@pytest.mark.parametrize("status", [400, 404, 409, 422])
@pytest.mark.parametrize(
    ("writer", "state"),
    [("proxy", "QUEUED"), ("stranger", "QUEUED"), ("provider", "FAILED"), ("another call", "QUEUED")],
)
def test_only_the_provider_itself_refuses_a_call(
    story: Story, provider: Provider, writer: str, state: str, status: int
) -> None:
    """A gateway in front of it answers with JSON, too: the provider signs what it says, of which call."""
    secret = {"proxy": None, "stranger": b"another secret of somebody else's choice"}.get(writer, SECRET)

    def refuse(key: str) -> HttpAnswer:
        octets = b'{"message": "no Route matched with those values"}'
        answer_id = f"{key}2" if writer == "another call" else key
        signed = {} if secret is None else sign_payment_message(secret, answer_id, story.clock(), octets)
        headers = {"content-type": "application/json"} | {name.lower(): word for name, word in signed.items()}
        return HttpAnswer(status, headers, octets)

    provider.refuse = refuse
    story.submit()
    story.tick()
    (row,) = story.deliveries(agent="payment")
    assert (row.state, row.problem) == (state, "GW602" if state == "FAILED" else "GW608")
    provider.refuse = None
    story.tick(minutes=1)
    (row,) = story.deliveries(agent="payment")
    assert row.state == ("FAILED" if state == "FAILED" else "DELIVERED")


def test_paid_twice_is_given_back_once(story: Story, provider: Provider) -> None:
    story.submit()
    story.tick(seconds=1)
    number = fees_of(story, "KPTA")[0].number
    assert [pay(story, number), pay(story, number, "P-2"), pay(story, number, "P-2")] == [
        "counted",
        "excess",
        "repeated",
    ]
    story.tick(seconds=1)
    story.tick(seconds=1)
    assert [one["payment"] for one in provider.list_calls("refunds")] == ["P-2"]
    assert fees_of(story, "KPTA")[0].state == "PAID"
    assert movements(story, "KPTA") == [
        ("payment", "COUNTED", "30000", ""),
        ("payment", "NOT_COUNTED", "30000", "paid twice"),
        ("refund", "DONE", "30000", "paid twice"),
    ]


@pytest.mark.parametrize("away", [0, 1], ids=["", "the provider is away"])
def test_what_its_agency_gives_back_is_of_the_payment_that_counts(
    story: Story, provider: Provider, away: int
) -> None:
    """The second payment goes back by itself, before the fee or while it is still under way."""
    story.submit()
    story.tick(seconds=1)
    story.hear("NPQS", notice(story, "N1", "Y05", money=KRW))
    story.tick(seconds=1)
    number = fees_of(story, "NPQS")[0].number
    assert [pay(story, number), pay(story, number, "P-2")] == ["counted", "excess"]
    provider.down = away
    story.hear("NPQS", notice(story, "N2", "Y16", money=read_money("12000", "KRW")))
    for _ in range(2):
        story.tick(seconds=1)
    assert fees_of(story, "NPQS")[0].state == "PARTLY_REFUNDED"
    with pytest.raises(GatewayError) as refused:
        story.hear("NPQS", notice(story, "N3", "Y16", money=read_money("18001", "KRW")))
    assert refused.value.problem is FEE_WRONG
    story.hear("NPQS", notice(story, "N4", "Y16"))
    for _ in range(2):
        story.tick(seconds=1)
    assert fees_of(story, "NPQS")[0].state == "REFUNDED"
    refunds = [one[1:3] for one in movements(story, "NPQS") if one[0] == "refund"]
    assert refunds == [("ORDERED" if away else "DONE", "30000"), ("DONE", "12000"), ("DONE", "18000")]
    story.tick(minutes=5)
    given = {(one["payment"], one["amount"]) for one in provider.list_calls("refunds")}
    assert given == {("P-2", "30000"), ("P-1", "12000"), ("P-1", "18000")}
    assert fees_of(story, "NPQS")[0].state == "REFUNDED"
    with pytest.raises(GatewayError, match=r"0 KRW of .* is left") as refused:
        story.hear("NPQS", notice(story, "N5", "Y16", money=read_money("1", "KRW")))
    assert refused.value.problem is FEE_WRONG


def withdraw(story: Story) -> None:
    story.submit(story.submission(withdrawal), action="Withdraw", attach=False)
    story.tick(seconds=1)


@pytest.mark.parametrize("paid", ["before", "after"])
def test_a_withdrawn_application_gets_its_fee_back(story: Story, provider: Provider, paid: str) -> None:
    story.submit()
    story.tick(seconds=1)
    number = fees_of(story, "KPTA")[0].number
    if paid == "before":
        pay(story, number)
    withdraw(story)
    if paid == "before":
        story.hear("KPTA", Notice("KPTA-C", story.clock(), "G03"))
    else:
        assert fees_of(story, "KPTA")[0].state == "CANCELLED"
        assert [one["order"] for one in provider.list_calls("cancellations")] == [number]
        assert pay(story, number) == "late"
        assert calls(story, "KPTA") == []
    story.tick(seconds=1)
    assert fees_of(story, "KPTA")[0].state == "REFUNDED"
    assert [one["amount"] for one in provider.list_calls("refunds")] == ["30000"]
    assert len(told_of(story, "Y16")) == 1


def test_an_agency_levies_and_confirms(story: Story, provider: Provider) -> None:
    story.submit()
    story.tick(seconds=1)
    due = date(2026, 12, 24)
    euros = Money(Decimal("12.50"), "EUR")
    story.hear("NPQS", notice(story, "N1", "Y05", money=euros, due=due, payment_notice="A-77"))
    story.tick(seconds=1)
    assert story.request("NPQS").state == "FEE_DUE"
    (order,) = [one for one in provider.list_calls("orders") if one["payee"] == "NPQS"]
    assert (order["amount"], order["payment_notice"], order["due"]) == ("12.50", "A-77", "2026-12-24")
    (fee,) = told_of(story, "Y05")[-1:]
    assert fee.find("{*}Fee").get("paymentNotice") == "A-77"
    pay(story, order["order"], money=euros)
    story.tick(seconds=1)
    assert story.request("NPQS").state == "ACKNOWLEDGED"
    assert len(told_of(story, "Y07")) == 1
    story.hear("NPQS", notice(story, "N2", "Y08"))
    assert fees_of(story, "NPQS")[0].state == "CONFIRMED"
    story.tick(seconds=1)
    story.hear("NPQS", notice(story, "N3", "Y16", money=Money(Decimal("2.50"), "EUR")))
    story.tick(seconds=1)
    story.tick(seconds=1)
    assert fees_of(story, "NPQS")[0].state == "PARTLY_REFUNDED"
    for too_much in (Money(Decimal("10.01"), "EUR"), Money(Decimal(1), "KRW")):
        with pytest.raises(GatewayError) as refused:
            story.hear("NPQS", notice(story, "N4", "Y16", money=too_much))
        assert refused.value.problem is FEE_WRONG


@pytest.mark.parametrize("end", ["Y02", "Y04"])
@pytest.mark.parametrize("early", [False, True])
def test_the_order_of_levy_and_end_does_not_matter(
    story: Story, provider: Provider, end: str, early: bool
) -> None:
    story.submit()
    story.tick(seconds=1)
    levy = notice(story, "N1", "Y01", money=KRW)
    story.tick(seconds=1)
    said = [levy, notice(story, "N2", end)]
    for one in reversed(said) if early else said:
        story.hear("NPQS", one)
    (fee,) = fees_of(story, "NPQS")
    assert (fee.state, fee.amount) == ({"Y02": "CANCELLED", "Y04": "CONFIRMED"}[end], "30000")
    assert story.request("NPQS").state == "ACKNOWLEDGED"


def test_a_fee_of_an_old_agency_has_no_amount(story: Story, provider: Provider) -> None:
    story.submit()
    story.tick(seconds=1)
    story.hear("NPQS", notice(story, "N1", "Y01"))
    story.tick(seconds=1)
    assert story.request("NPQS").state == "FEE_DUE"
    assert [one["payee"] for one in provider.list_calls("orders")] == ["KPTA"]
    story.hear("NPQS", notice(story, "N2", "Y04"))
    assert story.request("NPQS").state == "ACKNOWLEDGED"


def test_an_agency_that_wants_it_is_told_of_the_payment(story: Story, provider: Provider) -> None:
    story.addresses["KPTA"] = replace(story.addresses["KPTA"], has_payment_notices=True)
    story.submit()
    story.tick(seconds=1)
    pay(story, fees_of(story, "KPTA")[0].number)
    story.tick(seconds=1)
    story.tick(seconds=1)
    assert calls(story, "KPTA") == ["SubmitApplication", "NotifyPayment"]
    told = next(one for one in story.soap.calls if one.operation == "NotifyPayment")
    assert (told.text("Amount"), told.text("Currency"), told.text("Payment")) == ("30000", "KRW", "P-1")
    assert fees_of(story, "KPTA")[0].told_at is not None
    call = story.delivery(agent="soap", destination="KPTA", subject_type="fee")
    with read_transaction(story.house.engine) as conn:
        # Who has the MessageID of the call finds its case.
        assert [row.id for row in exact_searches.find_cases(conn, call.wire_id)] == [story.case().id]


@pytest.mark.parametrize(
    ("said", "state", "fee"), [("decides", "DECIDED", "PAID"), ("confirms", "ACKNOWLEDGED", "CONFIRMED")]
)
def test_what_an_agency_says_when_it_is_told_of_the_payment_counts(
    story: Story, provider: Provider, said: str, state: str, fee: str
) -> None:
    """The answer to NotifyPayment is a notice like any other: stored once, passed on, and with its effect."""
    story.addresses["NPQS"] = replace(story.addresses["NPQS"], has_payment_notices=True)
    story.submit()
    story.tick(seconds=1)
    story.hear("NPQS", notice(story, "N1", "Y05", payment_notice="A", money=KRW))
    story.tick(seconds=1)
    spoken = {
        "decides": story.notice("NPQS", number="N9"),
        "confirms": notice(story, "N2", "Y08", payment_notice="A"),
    }[said]
    story.say("NPQS", spoken)
    pay(story, fees_of(story, "NPQS")[0].number)
    for _ in range(3):
        story.tick(seconds=1)
    assert calls(story, "NPQS") == ["SubmitApplication", "NotifyPayment"]
    assert story.request("NPQS").state == state
    assert [(row.state, row.told_at is not None) for row in fees_of(story, "NPQS")] == [(fee, True)]
    assert len(told_of(story, spoken.status_code)) == 1
