"""Notices of one number in every order: the last Result, all its content, depends on none of them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import permutations

import pytest
from lxml import etree
from sqlalchemy import Engine

from gateway.cases import AgencyCallback, Decision, DecisionCode, Notice
from gateway.hub import apply_call_back
from tests.flows.test_outside_results import customs
from tests.flows.test_requirement_ledger import declare
from tests.kit.databases import BOTH, KINDS
from tests.kit.levels import at_night
from tests.kit.story import LAWS, Story

A, C, R = DecisionCode.APPROVED, DecisionCode.APPROVED_WITH_CONDITIONS, DecisionCode.REJECTED
ORDER = (A, C, R)
AGENCY = "KFDA"


@dataclass(frozen=True, slots=True)
class Said:
    """What an agency says in one notice: its name, when it was issued, and what it decides of the goods."""

    name: str
    minute: int
    goods: tuple[tuple[int, DecisionCode], ...]

    def tell(self, story: Story, number: str, start: datetime) -> None:
        """Let the agency say it under a number."""
        decisions = tuple(
            Decision(
                item,
                LAWS[AGENCY],
                code,
                number,
                quantity=None if code is R else Decimal(100),
                unit=None if code is R else "KGM",
                conditions=("keep dry",) if code is C else (),
            )
            for item, code in self.goods
        )
        status = "R04" if all(code is R for _, code in self.goods) else "R01"
        notice = Notice(f"{number}/{self.name}", start + timedelta(minutes=self.minute), status, decisions)
        apply_call_back(story.hub, AGENCY, AgencyCallback(notice, requirement_number=number))


def expect(said: Sequence[Said]) -> tuple[str, str]:
    """Return the decision that counts and the name of its notice: the best of the latest ones on the goods.

    Of equal ones that on the first of the goods is told.
    """
    latest: dict[int, tuple[int, str, DecisionCode]] = {}
    for one in said:
        for item, code in one.goods:
            latest[item] = max(latest.get(item, (-1, "", R)), (one.minute, one.name, code))
    best = min((ORDER.index(code), item, name) for item, (_, name, code) in latest.items())
    return ORDER[best[0]].value, best[2]


def end(story: Story, number: str, reference: str, said: Sequence[Said]) -> tuple[str | None, ...]:
    """Return how a case has ended and what was told of it, without its own ids and times.

    What it was told of each item is what counts.
    """
    for _ in range(3):
        story.tick(minutes=2)
    case, root = story.case(), story.result()
    named = {(one.get("decision"), one.findtext("{*}NoticeNumber")) for one in root.findall("{*}Decision")}
    code, notice = expect(said)
    assert named == {(code, f"{number}/{notice}")}, f"{named}, not {code} of {notice}"
    for one in root.iter("{*}DateTimeString"):
        one.text = ""
    for one in root.findall("{*}Signature"):
        root.remove(one)
    calls = [call for call in customs(story) if call[1] == "19"]
    told = etree.tostring(root).decode()
    for own, word in ((number, "N"), (reference, "R"), (str(case.number), "C")):
        told = told.replace(own, word)
    assert root.findtext("{*}CaseNumber") == case.number
    heard = str(calls[-1:]).replace(number, "N") if case.outcome != "REJECTED" else None
    return case.state, case.outcome, told, heard


def hear(story: Story, said: Sequence[Said], name: str, start: datetime, ticks: Sequence[bool]) -> None:
    """File a declaration that waits for a number, and let the agency say the notices in this order."""
    declare(story, f"{name}-D", *((item, f"{name}-N", "10", "KGM") for item in (1, 2)))
    for one, tick in zip(said, ticks, strict=True):
        one.tell(story, f"{name}-N", start)
        if tick:
            story.tick(seconds=1)


#: What counts at last counted once before, and something else in between.
RETURNED: dict[str, tuple[Said, ...]] = {
    "a notice": (Said("002", 2, ((1, A), (2, A))), Said("007", 7, ((1, A),)), Said("008", 8, ((1, R),))),
    "other words": (Said("002", 2, ((2, C),)), Said("007", 7, ((1, A),)), Said("008", 8, ((1, R),))),
    "another outcome": (Said("002", 2, ((1, R),)), Said("007", 7, ((2, A),)), Said("008", 8, ((2, R),))),
}  # fmt: skip


@BOTH
@pytest.mark.parametrize("told", [True, False], ids=["told between", "told at last"])
@pytest.mark.parametrize(
    "name", ["another outcome", *at_night(*(name for name in RETURNED if name != "another outcome"))]
)
def test_the_notice_that_counts_is_told_in_every_order(engine: Engine, name: str, told: bool) -> None:
    story, ends = Story(engine), []
    start = story.clock() - timedelta(minutes=30)
    for place, order in enumerate(permutations(RETURNED[name])):
        hear(story, order, f"O{place}", start, [told] * len(order))
        ends.append(end(story, f"O{place}-N", f"O{place}-D", order))
    for one in ends:
        assert one == ends[0]
    assert ends[0][0] == "CLOSED"


def draw(seed: int) -> tuple[Said, ...]:
    """Return notices that agencies may issue in any order, some of them at one instant."""
    drawn = random.Random(seed)
    return tuple(
        Said(f"{place:03}", drawn.randint(0, 4), tuple((item, drawn.choice(codes)) for item in goods))
        for place in range(drawn.choice((3, 4, 5)))
        for goods in [sorted(drawn.sample((1, 2, 3), drawn.choice((1, 1, 2))))]
        for codes in [drawn.choice(((A, C), (A,), (R,)))]
    )


def check(engine: Engine, seeds: range) -> None:
    """Let drawn notices come in drawn orders; a failure names the seed and the order."""
    story = Story(engine)
    start = story.clock()
    for seed in seeds:
        drawn, said = random.Random(-seed), draw(seed)
        first: tuple[str | None, ...] | None = None
        for place in range(4):
            order = drawn.sample(said, len(said))
            ticks = [drawn.random() < 0.6 for _ in order]
            name = f"S{seed:03}-{place}"
            hear(story, order, name, start, ticks)
            found = end(story, f"{name}-N", f"{name}-D", order)
            first = first or found
            assert found == first, f"seed {seed}, order {place}: {list(zip(order, ticks, strict=True))}"


@pytest.mark.night
def test_drawn_notices_in_drawn_orders_end_alike(engine: Engine) -> None:
    check(engine, range(4))


@pytest.mark.night
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    ("database_url", "block"), [(KINDS[one % 2], one) for one in range(2)], indirect=["database_url"]
)
def test_many_drawn_notices_in_drawn_orders_end_alike(engine: Engine, block: int) -> None:
    check(engine, range(100 + 25 * block, 103 + 25 * block))
