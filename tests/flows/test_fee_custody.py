"""Who holds a case of which a fee is open: the applicant, whatever was sent beside it."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

import pytest

from gateway.cases import Money, NamedFee, Notice
from gateway.operations import add_case_waiting, format_moment
from gateway.store import read_transaction
from tests.cli.test_case_custody import custody
from tests.flows.craft import all_of, supplement, text
from tests.flows.test_amendments import amend
from tests.flows.test_fees import Provider, fees_of, pay, provider, story
from tests.kit.databases import BOTH
from tests.kit.story import Story

__all__ = ["provider", "story"]  # fixtures


@BOTH
@pytest.mark.parametrize("what", ["supplement", "amendment"])
def test_a_fee_that_is_open_is_the_applicants_behind_everything_else(
    story: Story, provider: Provider, what: str
) -> None:
    story.submit()
    story.tick(seconds=1)
    due = datetime.fromisoformat("2026-12-24T17:00:00+09:00")
    euros = Money(Decimal("12.50"), "EUR")
    fee = NamedFee(euros, payment_notice="A-77")
    story.hear("KFDA", Notice("KFDA-N1", story.clock(), "Y05", deadline=due, fee=fee))
    story.tick(seconds=1)
    change = text("Application[@id='A2']/Fields/Item/ProductNameKo", "카라멜 와플 320 g")
    if what == "supplement":
        story.submit(story.submission(all_of(supplement, change)), action="Supplement")
        story.tick()
    else:
        amend(story, change)
    assert story.request("KFDA").state == "FEE_DUE"
    story.clock.now = datetime.fromisoformat("2026-11-23T11:00:00+09:00")
    held = custody(story, "KFDA")
    assert (held["holder"], held["task"], held["due_at"]) == ("applicant", "pay", due)
    # Two hours of Monday morning.
    assert held["working_seconds"]["applicant"] // 60 == 2 * 60
    assert held["working_seconds"].get("agency", 0) == 0
    assert f"KFDA: a fee by {format_moment(due)}" in waiting(story)
    pay(story, fees_of(story, "KFDA")[0].number, money=euros)
    story.clock.now = datetime.fromisoformat("2026-11-23T12:00:00+09:00")
    paid = custody(story, "KFDA")
    assert (paid["holder"], paid["task"]) == ("agency", "decide")
    assert (paid["working_seconds"]["applicant"] // 60, paid["working_seconds"]["agency"] // 60) == (120, 60)


def waiting(story: Story) -> list[str]:
    """Return what the case waits for, as lists of cases say it."""
    row = {"id": story.case().id, "state": story.case().state}
    with read_transaction(story.house.engine) as conn:
        add_case_waiting(conn, [row], story.clock())
    return str(row["waits_for"]).split("; ")
