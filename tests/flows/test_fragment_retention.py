"""Retention keeps the fragments of a message for as long as they are needed, and removes them then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, update

from gateway.cli.home_folder import read_home_settings
from gateway.message_model import ErrorSignal, Receipt
from gateway.operations import Act, purge_octets, read_retention_report
from gateway.store import write_transaction
from tests.kit import tables
from tests.kit.databases import in_turn
from tests.kit.fragments import SPLIT, FragmentStory

ACT = Act("retention purge", "Kim")
#: Longer than what retention keeps, and what the agreement keeps.
SLOW = SPLIT.replace(b"join_interval: 3600", b"join_interval: 2000000")


class Kept(FragmentStory):
    """A hub that keeps octets for ten days."""

    def __init__(self, engine: Engine, home: Path, agreement: bytes = SLOW) -> None:
        super().__init__(engine, agreement)
        url = engine.url.render_as_string(hide_password=False)
        (home / "gateway.toml").write_text(
            f'[hub]\nhome = "."\n[database]\nurl = "{url}"\n[retention]\noctets = "10d"\n'
        )
        self.settings = read_home_settings(home)

    def purge(self) -> int:
        """Remove what may be removed; return how many messages it was, as it was told before."""
        told = self.read(lambda conn: read_retention_report(conn, self.settings, self.clock()))
        done = purge_octets(self.house.engine, self.settings, ACT, now=self.clock())
        assert (done.messages, done.cases) == (told.messages, told.cases)
        return done.messages

    def purged(self) -> list[bool]:
        return [row.purged_at is not None for row in self.fragments()]


@pytest.fixture
def story(engine: Engine, tmp_path: Path) -> Kept:
    return Kept(engine, tmp_path)


@pytest.mark.long
@in_turn
def test_fragments_of_an_open_group_stay_until_they_are_joined(story: Kept) -> None:
    plan = story.plan()
    story.send(plan, range(1, plan.fragment_count))
    story.clock.forward(days=20)
    assert story.purge() == 0
    story.send(plan, [plan.fragment_count])
    # Complete, and not joined yet.
    assert [row.state for row in story.groups()] == ["COMPLETE"]
    assert story.purge() == 0
    story.tick(seconds=1)
    (row,) = story.joined()
    assert row.message_id == plan.unit.message_id
    # What they were joined to is kept for ten days; they have been there for longer, but for the last one.
    assert story.purge() == plan.fragment_count - 1
    assert story.purged() == [True] * (plan.fragment_count - 1) + [False]
    story.clock.forward(days=11)
    assert story.purge() == 2
    story.tick(seconds=1)
    assert [type(one.unit) for one in story.ears.heard] == [Receipt]


@pytest.mark.long
def test_the_first_fragment_stays_until_the_sender_of_a_refused_message_is_told(story: Kept) -> None:
    plan = story.plan()
    story.send(plan, [1, 2])
    story.clock.forward(days=20)
    again = story.seal(plan, 1, "again@broker1.example")
    story.house.post(again)
    assert [row.state for row in story.groups()] == ["REFUSED"]
    assert story.purge() == 0
    story.tick(seconds=1)
    story.tick(seconds=1)
    assert [type(one.unit) for one in story.ears.heard] == [ErrorSignal]
    assert story.purged() == [True, True]
    assert story.purge() == 0


@pytest.mark.long
def test_an_expired_group_is_told_and_leaves_nothing_behind(story: Kept) -> None:
    plan = story.plan()
    story.send(plan, [2, 3])
    story.clock.forward(days=24)
    assert story.purge() == 0
    for _ in range(3):
        story.tick(seconds=1)
    (error,) = [one.unit for one in story.ears.heard]
    assert error.errors[0].code == "EBMS:0051"
    assert story.purged() == [True, True]
    assert not story.tasks("FAILED")
    assert story.purge() == 0


@pytest.mark.long
def test_fragments_go_with_the_case_that_they_prove(story: Kept) -> None:
    unit = story.broker.message("Submit", payloads=story.sealed_payloads())
    plan = story.plan(unit)
    story.send(plan)
    story.tick(seconds=1)
    (row,) = story.joined()
    story.clock.forward(days=20)
    assert story.purge() == 0, "the case goes on"
    end_case(story, row.case_id)
    # The joined message and the notice are of the case.
    assert story.purge() == plan.fragment_count + 2
    assert all(story.purged())


def end_case(story: Kept, case: int) -> None:
    """End a case and its deliveries long ago, as if all had been said."""
    with write_transaction(story.house.engine) as conn:
        ended: dict[str, Any] = {"state": "CLOSED", "closed_at": story.clock.now}
        conn.execute(update(tables.cases).where(tables.cases.c.id == case).values(ended))
        over = update(tables.deliveries).where(tables.deliveries.c.case_id == case)
        conn.execute(over.values(state="CANCELLED"))
    story.clock.forward(days=11)
