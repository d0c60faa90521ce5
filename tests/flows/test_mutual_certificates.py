"""Two declarations that use each other's certificates are amended at the same instant, on PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Engine

from gateway.cases import Decision, DecisionCode, Notice
from gateway.hub import admit_submission
from gateway.hub.amendments import amend
from gateway.store import make_engine
from tests.flows.craft import Change, all_of, reference
from tests.flows.item_changes import amendment
from tests.flows.test_amended_values import name_of
from tests.flows.test_held_case_waking import naming
from tests.flows.test_late_approvals import hear
from tests.flows.test_requirement_ledger import told, used_of
from tests.kit.story import ITEMS, LAWS, QUIET, Story

ITEM = ITEMS["KFDA"]


@pytest.fixture
def engine(postgresql_url: str) -> Iterator[Engine]:
    made = make_engine(postgresql_url)
    yield made
    made.dispose()


def grant(story: Story, name: str, number: str, *changes: Change) -> int:
    """File, or amend, and let KFDA approve 100 kg as a certificate; return the case (row id)."""
    story.submit(story.submission(all_of(reference(name), *changes)))
    story.tick()
    case = int(story.case().id)
    approve(story, case, f"{name}-1", number)
    return case


def approve(story: Story, case: int, notice: str, number: str) -> None:
    quantity = Decimal(100)
    said = Decision(ITEM, LAWS["KFDA"], DecisionCode.APPROVED, number, quantity=quantity, unit="KGM")
    hear(story, case, "KFDA", Notice(f"KFDA-{notice}", story.clock(), "R01", (said,)))
    story.tick(seconds=2)


def amend_use(story: Story, name: str, number: str, quantity: str, product: str) -> int:
    """Hand in an amendment that uses another quantity, and another name of the product; return its row."""
    change = amendment(naming(number, quantity, ITEM), name_of(ITEM, product))
    known = {row.id for row in story.deliveries(subject_type="message")}
    story.submit(story.submission(all_of(reference(name), change)), action="Amend")
    (row,) = [one for one in story.deliveries(subject_type="message") if one.id not in known]
    return int(row.subject_id)


@pytest.mark.long
def test_of_two_that_are_amended_at_once_the_second_sees_the_first(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    story = Story(engine, agreement=QUIET)
    first = grant(story, "P", "KF-P")
    grant(story, "Q", "KF-Q", naming("KF-P", "30", ITEM))
    amend_use(story, "P", "KF-Q", "30", "과자")
    story.tick(seconds=2)
    approve(story, first, "P-2", "KF-P")
    assert (used_of(story, "KF-P"), used_of(story, "KF-Q")) == ({"KGM": "30"}, {"KGM": "30"})
    judge, together = amend.lock_and_judge_uses, threading.Barrier(2)

    def wait_and_judge(*given: Any, **more: Any) -> Any:
        # Both get here only where no lock keeps one of them back.
        with suppress(threading.BrokenBarrierError):
            together.wait(timeout=3)
        return judge(*given, **more)

    monkeypatch.setattr(amend, "lock_and_judge_uses", wait_and_judge)
    rows = [amend_use(story, name, number, "60", "사탕") for name, number in (("P", "KF-Q"), ("Q", "KF-P"))]
    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(admit_submission, story.hub, row, lambda _: None) for row in rows]:
            done.result(timeout=60)
    story.tick(seconds=2)
    assert sorted((used_of(story, "KF-P")["KGM"], used_of(story, "KF-Q")["KGM"])) == ["30", "60"]
    assert [words for _, _, words in told(story) if "until KFDA decides again" in words]
