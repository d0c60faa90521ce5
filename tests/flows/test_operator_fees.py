"""An operator waives a fee that is due, or records that it was paid elsewhere."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from gateway.cases import ProviderEvent
from gateway.errors import TRANSITION_REFUSED, GatewayError
from gateway.hub import Hub, settle_fee_elsewhere, waive_fee
from gateway.hub.fees.payment_events import apply_provider_event
from gateway.state_machines import FEE
from gateway.store import write_transaction
from tests.flows.test_fee_odd_orders import hold, settle
from tests.flows.test_fees import KRW, Provider, fees_of, movements, notice, pay, provider, story
from tests.kit.databases import BOTH
from tests.kit.kills import die_at
from tests.kit.story import Story

__all__ = ["provider", "story"]

ACTS = {"waive": waive_fee, "settle": settle_fee_elsewhere}
ENDS = {"waive": "CANCELLED", "settle": "CONFIRMED"}
#: What the applicant is told: cancelled, or paid.
CODES = {"waive": "Y02", "settle": "Y03"}


def do(story: Story, act: str, fee: int, hub: Hub | None = None) -> None:
    engine = (hub or story.hub).engine
    with write_transaction(engine, "operator.act") as conn:
        ACTS[act](conn, fee, story.clock(), "kim", "agreed with the agency")


@BOTH
@pytest.mark.parametrize("act", ACTS)
def test_an_application_that_waits_for_its_fee_goes_on(story: Story, provider: Provider, act: str) -> None:
    number = hold(story)
    (fee,) = fees_of(story, "KPTA")
    do(story, act, fee.id)
    with pytest.raises(GatewayError) as refused:
        do(story, act, fee.id)
    assert refused.value.problem is TRANSITION_REFUSED
    settle(story)
    (fee,) = fees_of(story, "KPTA")
    assert fee.state == ENDS[act]
    assert [call.text("ApplicationNumber") for call in story.soap.calls if call.destination == "KPTA"] == [
        number
    ]
    assert [one["order"] for one in provider.list_calls("cancellations")] == [fee.number]
    assert (story.steps(FEE, fee.id)[-1], "operator" in story.evidence("request", fee.request_id)) == (
        ("cancel" if act == "waive" else "confirm", ENDS[act]), True,
    )  # fmt: skip
    told = [leaf.text for one in story.inbox.documents("Notice") for leaf in one.iter("{*}StatusCode")]
    assert CODES[act] in told
    story.decide_all()
    settle(story)
    assert story.outcome()[0] == "APPROVED"


@pytest.mark.parametrize("act", ACTS)
def test_a_payment_that_comes_all_the_same(story: Story, provider: Provider, act: str) -> None:
    """What was paid before the act is counted for a settled fee; all else is given back."""
    hold(story)
    (fee,) = fees_of(story, "KPTA")
    before = ProviderEvent("paid", fee.number, "P-1", KRW, story.clock())
    story.tick(seconds=60)
    do(story, act, fee.id)
    story.tick(seconds=60)
    assert apply_provider_event(story.hub, before) == ("late" if act == "waive" else "counted")
    after = ProviderEvent("paid", fee.number, "P-2", KRW, story.clock())
    assert apply_provider_event(story.hub, after) == "excess"
    settle(story)
    back = [one["payment"] for one in provider.list_calls("refunds")]
    assert back == (["P-1", "P-2"] if act == "waive" else ["P-2"])


def test_a_fee_of_an_agency_is_due_no_more(story: Story, provider: Provider) -> None:
    hold(story)
    story.hear("NPQS", notice(story, "N1", "Y05", money=KRW))
    (fee,) = fees_of(story, "NPQS")
    assert story.request("NPQS").state == "FEE_DUE"
    do(story, "waive", fee.id)
    assert story.request("NPQS").state == "ACKNOWLEDGED"
    # What its agency says of it later changes nothing, and another levy is another fee.
    story.hear("NPQS", notice(story, "N2", "Y06"))
    story.tick(seconds=60)
    story.hear("NPQS", notice(story, "N3", "Y05", money=KRW))
    assert {row.state for row in fees_of(story, "NPQS")[:-1]} == {"CANCELLED"}
    assert story.request("NPQS").state == "FEE_DUE"


@BOTH
@pytest.mark.parametrize("act", ACTS)
def test_an_act_and_a_payment_at_one_instant(story: Story, provider: Provider, act: str) -> None:
    """Whoever is first, the money is counted once, or given back, and the application is forwarded once."""
    hold(story)
    (fee,) = fees_of(story, "KPTA")

    def try_act() -> str:
        try:
            do(story, act, fee.id)
        except GatewayError as error:
            return error.problem.id
        return "done"

    with ThreadPoolExecutor(2) as pool:
        told, done = pool.submit(pay, story, fee.number), pool.submit(try_act)
        told.result()
        assert done.result() in ("done", "GW705")
    settle(story)
    (fee,) = fees_of(story, "KPTA")
    assert fee.state in ("PAID", "CONFIRMED", "REFUNDING", "REFUNDED")
    counted = [one for one in movements(story, "KPTA") if one[1] == "COUNTED"]
    given = provider.list_calls("refunds")
    assert len(counted) + len(given) == 1
    assert len([call for call in story.soap.calls if call.destination == "KPTA"]) == 1


@pytest.mark.long
@BOTH
@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("act", ACTS)
def test_a_process_that_dies_over_an_act(story: Story, provider: Provider, act: str, place: str) -> None:
    hold(story)
    (fee,) = fees_of(story, "KPTA")
    die_at(story, f"operator.act.{place}_commit", lambda hub: do(story, act, fee.id, hub))
    if place == "before":
        do(story, act, fee.id)
    settle(story)
    (fee,) = fees_of(story, "KPTA")
    assert fee.state == ENDS[act]
    assert len([call for call in story.soap.calls if call.destination == "KPTA"]) == 1
