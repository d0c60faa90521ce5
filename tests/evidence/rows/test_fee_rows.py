"""A fee, a payment or a refund that is changed by SQL differs from its steps."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, update

from gateway.cases import Notice
from gateway.evidence.rows.fee_rows import COMPARED, compare_fees
from gateway.hub.fees.payment_policy import PaymentPolicy, Tariff
from gateway.store import write_transaction
from gateway.store.fees import fees
from tests.evidence.rows.changed_columns import compare_all, list_missed_columns, list_missed_rows
from tests.flows.test_fees import KRW, SECRET, Provider, fees_of, notice, pay, provider
from tests.kit.databases import in_turn
from tests.kit.story import Story

__all__ = ["provider"]


@pytest.fixture
def story(engine: Engine) -> Story:
    started = Story(engine)
    started.hub.payments = PaymentPolicy(True, {"KPTA-PHARM-IMP": Tariff(KRW, days=10)}, SECRET)
    return started


def move_money(story: Story) -> None:
    """Let one fee be paid twice, one be confirmed and given back, and one be cancelled before its levy."""
    story.submit()
    story.tick(seconds=1)
    order = fees_of(story, "KPTA")[0].number
    pay(story, order)
    pay(story, order, "P-2")
    story.hear("NPQS", notice(story, "N1", "Y01", money=KRW))
    story.tick(seconds=1)
    story.hear("NPQS", notice(story, "N2", "Y04"))
    story.hear("NPQS", notice(story, "N3", "Y16"))
    story.tick(seconds=1)
    early = story.clock()
    story.clock.now += timedelta(seconds=1)
    story.hear("KFDA", Notice("KFDA-F2", story.clock(), "Y06"))
    story.hear("KFDA", Notice("KFDA-F1", early, "Y05"))
    story.tick(seconds=1)


@in_turn
def test_fees_are_as_their_steps_say(engine: Engine, story: Story, provider: Provider) -> None:
    move_money(story)
    findings = compare_all(engine, compare_fees)
    assert (findings.differences, dict(findings.older)) == ([], {})
    assert dict(findings.compared) == {"fees": 3, "fee_movements": 4}
    assert list_missed_columns(engine, compare_fees, COMPARED) == []
    assert list_missed_rows(engine, compare_fees, COMPARED) == []


@pytest.mark.parametrize("state", ["LEVIED", "PAID", "REFUNDED"])
def test_a_difference_names_the_state_that_the_steps_give(
    engine: Engine, story: Story, provider: Provider, state: Any
) -> None:
    story.submit()
    story.tick(seconds=1)
    with write_transaction(engine) as conn:
        conn.execute(update(fees).values(state=state))
    (difference,) = compare_all(engine, compare_fees).differences
    assert difference.row == fees_of(story, "KPTA")[0].number
    assert f"state is '{state}'; evidence row" in difference.detail
    assert difference.detail.endswith("(fee) says 'ORDERED'")
