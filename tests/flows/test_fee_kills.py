"""Fees while processes die and events come together: each step of a fee has its effect once."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from gateway.cases import ProviderEvent
from gateway.delivery.agents import LocalAgent, MshAgent, PartnerAgent, PaymentAgent
from gateway.delivery.delivery_worker import DeliveryWorker, WorkerSettings
from gateway.errors import PAYMENT_REFUSED, GatewayError
from gateway.evidence import list_subject_leaves
from gateway.hub import Hub
from gateway.hub.fees.payment_events import apply_provider_event
from gateway.store import read_transaction
from tests.flows.craft import reference, withdrawal
from tests.flows.test_fees import KRW, Provider, fees_of, movements, pay, provider, story
from tests.kit.databases import in_turn
from tests.kit.kills import die_at
from tests.kit.story import PLAN, Story

__all__ = ["provider", "story"]


def run_and_die(story: Story, hub: Hub) -> None:
    """Let the worker of another process do what is due."""
    hub.composer, hub.payments = story.hub.composer, story.hub.payments
    soap, payment = story.agents["soap"], story.agents["payment"]
    agents: dict[str, Any] = {
        "local": LocalAgent(hub, PLAN),
        "msh": MshAgent(hub, story.inbox),  # type: ignore[arg-type]
        "soap": PartnerAgent(hub, story.soap, soap._partners, soap._get_retry_plans),  # type: ignore[arg-type]
        "payment": PaymentAgent(hub, payment._http_client, payment._settings, PLAN),
    }
    pace = WorkerSettings(
        threads=1, lease_time=timedelta(seconds=60), poll_seconds=0.01, maintenance_seconds=0.05
    )
    worker = DeliveryWorker(hub.engine, agents, story.clock, name="other", worker_settings=pace)
    while worker.run_once():
        pass


def die(story: Story, commit: str, side: str, act: Callable[[Hub], object] | None = None) -> None:
    """Kill a process at a commit; then its leases are over, and others may take what it had."""
    die_at(story, f"{commit}.{side}", act or (lambda hub: run_and_die(story, hub)))
    story.clock.forward(minutes=2)
    story.worker.run_maintenance()


def steps(story: Story) -> Counter[str]:
    """Return how often each step of the fees of KPTA is in the evidence."""
    with read_transaction(story.house.engine) as conn:
        leaves = list_subject_leaves(conn, "request", story.request("KPTA").id)
    return Counter(json.loads(one.data)["step"] for one in leaves if one.kind == "fee")


def check_deliveries(story: Story) -> None:
    """Every message and call was queued once, and was delivered."""
    sent = [row for row in story.deliveries() if row.agent != "local"]
    assert {row.state for row in sent} == {"DELIVERED"}
    assert max(Counter((row.agent, row.destination, row.dedupe_key) for row in sent).values()) == 1


@pytest.mark.long
@in_turn
@pytest.mark.parametrize("side", ["before_commit", "after_commit"])
def test_wherever_a_process_dies_a_fee_has_one_effect(story: Story, provider: Provider, side: str) -> None:
    story.addresses["KPTA"] = replace(story.addresses["KPTA"], has_payment_notices=True)
    story.submit()
    for commit in ("fees.ordered", "fees.notice"):
        die(story, commit, side)
    story.tick()
    number = fees_of(story, "KPTA")[0].number
    event = ProviderEvent("paid", number, "P-1", KRW, story.clock())
    die(story, "fees.payment", side, lambda hub: apply_provider_event(hub, event))
    assert apply_provider_event(story.hub, event) == {"before_commit": "counted"}.get(side, "repeated")
    for commit in ("fees.told", "fees.agency_told"):
        die(story, commit, side)
    story.tick()
    assert pay(story, number, "P-2") == "excess"
    die(story, "fees.refunded", side)
    story.tick()
    story.tick(minutes=2)
    assert [row.state for row in fees_of(story, "KPTA")] == ["PAID"]
    assert fees_of(story, "KPTA")[0].told_at is not None
    assert movements(story, "KPTA") == [
        ("payment", "COUNTED", "30000", ""),
        ("payment", "NOT_COUNTED", "30000", "paid twice"),
        ("refund", "DONE", "30000", "paid twice"),
    ]
    assert (steps(story)["ordered"], steps(story)["told"], steps(story)["refunded"]) == (1, 1, 1)
    assert steps(story)["paid"] == 2
    check_deliveries(story)


@pytest.mark.long
@in_turn
@pytest.mark.parametrize("side", ["before_commit", "after_commit"])
def test_wherever_a_process_dies_an_order_is_cancelled_once(
    story: Story, provider: Provider, side: str
) -> None:
    story.submit()
    story.tick()
    story.submit(story.submission(withdrawal), action="Withdraw", attach=False)
    die(story, "payment.cancelled", side)
    story.tick()
    assert [row.state for row in fees_of(story, "KPTA")] == ["CANCELLED"]
    (cancelled,) = [row for row in story.deliveries(agent="payment") if "cancel" in row.dedupe_key]
    assert cancelled.state == "DELIVERED"
    assert steps(story)["cancelled"] == 1


def together(*acts: Callable[[], str]) -> list[str]:
    """Do several things at the same instant, each in a thread; return what each said."""
    begin = threading.Barrier(len(acts))

    def act(one: Callable[[], str]) -> str:
        begin.wait(60)
        try:
            return one()
        except GatewayError as error:
            return "refused" if error.problem is PAYMENT_REFUSED else str(error)

    with ThreadPoolExecutor(len(acts)) as pool:
        return sorted(pool.map(act, acts))


@pytest.mark.long
@in_turn
@pytest.mark.parametrize("turn", range(3))
def test_one_event_at_the_same_instant_is_counted_once(story: Story, provider: Provider, turn: int) -> None:
    story.submit()
    story.tick()
    number = fees_of(story, "KPTA")[0].number
    said = together(*[lambda: pay(story, number)] * 2)
    assert said == ["counted", "repeated"]
    story.tick()
    assert movements(story, "KPTA") == [("payment", "COUNTED", "30000", "")]
    assert [one.operation for one in story.soap.calls if one.destination == "KPTA"] == ["SubmitApplication"]


@pytest.mark.long
@in_turn
def test_two_payments_at_the_same_instant_are_one_and_a_refund(story: Story, provider: Provider) -> None:
    story.submit()
    story.tick()
    number = fees_of(story, "KPTA")[0].number
    said = together(lambda: pay(story, number, "P-1"), lambda: pay(story, number, "P-2"))
    assert said == ["counted", "excess"]
    story.tick()
    assert [one["amount"] for one in provider.list_calls("refunds")] == ["30000"]


@pytest.mark.long
@in_turn
def test_one_reference_for_two_cases_at_the_same_instant_is_one_payment(
    story: Story, provider: Provider
) -> None:
    numbers = []
    for name in ("FIRST", "SECOND"):
        story.submit(story.submission(reference(name)))
        story.tick()
        numbers.append(fees_of(story, "KPTA")[0].number)
    assert numbers[0] != numbers[1]
    said = together(lambda: pay(story, numbers[0]), lambda: pay(story, numbers[1]))
    assert said == ["counted", "refused"]
