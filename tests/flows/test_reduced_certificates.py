"""A declaration waits for a number, and its agency approves too little under it: every order ends alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from decimal import Decimal
from itertools import permutations
from typing import Any, Final

import pytest
from sqlalchemy import Engine

from gateway.cases import AgencyCallback, Decision, DecisionCode, Notice
from gateway.hub import apply_call_back, join_waiting_cases
from gateway.operations import read_case_report
from gateway.store import cases, make_engine, read_transaction, write_transaction
from tests.flows.craft import all_of, text
from tests.flows.test_amended_certificates import amend
from tests.flows.test_joined_certificates import wait
from tests.flows.test_outside_results import say
from tests.flows.test_partial_release import child
from tests.flows.test_requirement_ledger import declare, register, used_of, using
from tests.kit.databases import Templates
from tests.kit.levels import at_night
from tests.kit.story import Story

NUMBER: Final = "2026-118"
#: What KFDA says: minutes of its issue, quantity (None: it rejects), and law.
Said = tuple[int, str | None, str]
ENOUGH: Final[Said] = (-9, "100", "05")
REJECTED: Final[Said] = (-8, None, "05")
TOO_LITTLE: Final[Said] = (-3, "20", "05")


@pytest.fixture
def story(engine: Engine) -> Story:
    return Story(engine)


def tell(story: Story, said: Said) -> None:
    minutes, quantity, law = said
    begin = story.clock().replace(hour=8, minute=30, second=0, microsecond=0)
    code = DecisionCode.REJECTED if quantity is None else DecisionCode.APPROVED
    amount = None if quantity is None else Decimal(quantity)
    one = Decision(1, law, code, NUMBER, quantity=amount, unit=None if amount is None else "KGM")
    notice = Notice(f"K{minutes}", begin + timedelta(minutes=minutes), "R01" if quantity else "R04", (one,))
    apply_call_back(story.hub, "KFDA", AgencyCallback(notice, requirement_number=NUMBER))
    story.tick(seconds=5)


def results(story: Story, number: str) -> list[Any]:
    return [one for one in story.inbox.documents("Result") if one.findtext("{*}CaseNumber") == number]


def warned(result: Any) -> list[str]:
    found = [one.get("id", "") for one in result.findall("{*}Warning")]
    return sorted(one for one in found if one in ("GW411", "GW413"))


def heard(story: Story, number: str) -> tuple[bool, list[list[str | None]]]:
    """Return what stands at customs: whether it waits for agencies, and the approvals that it knows."""
    calls = [
        one
        for one in story.soap.calls
        if one.destination == "customs"
        and one.text("CaseNumber") == number
        and one.operation == "ReportRequirements"
    ]
    if not calls:
        return False, []
    told = [[leaf.text for leaf in one] for one in calls[-1].body.iter("{*}Requirement")]
    return calls[-1].text("PendingCode") == "18", told


def ended(story: Story, case: int) -> tuple[Any, ...]:
    """Return all that must not depend on the order: state, Result, customs, ledger, what is waited for."""
    with read_transaction(story.house.engine) as conn:
        row = cases.find_by_id(conn, case)
        assert row is not None
        report = read_case_report(conn, row)
    last = results(story, str(row.number))[-1]
    decided = [
        (one.get("item"), one.get("law"), one.get("decision"), one.findtext("{*}Number"))
        for one in last.findall("{*}Decision")
    ]
    awaited = [(one["number"], one["item"], one["quantity"]) for one in report["awaited"]]
    told = [(one["item"], one["decision"]) for one in report["results"]]
    return (row.state, row.outcome, last.findtext("{*}Outcome"), decided, warned(last), told, awaited,
            heard(story, str(row.number)), used_of(story, NUMBER))  # fmt: skip


def end_of(
    templates: Templates, kind: str, items: Sequence[int], order: Sequence[Said], quantity: str = "40"
) -> tuple[Any, ...]:
    engine = make_engine(templates.fresh(kind))
    story = Story(engine)
    declare(story, "D2", *((item, NUMBER, quantity, "KGM") for item in items))
    case = story.case().id
    for said in order:
        tell(story, said)
    wait(story)
    found = ended(story, case)
    engine.dispose()
    return found


@pytest.mark.parametrize("items", [(1,), *at_night((1, 2, 3))], ids=["an item", "all items"])
@pytest.mark.parametrize("kind", ["sqlite", *at_night("postgresql")])
def test_every_order_of_too_little_ends_alike(
    items: tuple[int, ...], kind: str, templates: Templates
) -> None:
    """What was used before the agency reduced it stays used; in every other order nothing is approved."""
    # Of three items each uses so little that 100 are enough for all, and 20 for none.
    quantity = "40" if len(items) == 1 else "25"
    found = {
        order: end_of(templates, kind, items, order, quantity)
        for order in permutations((ENOUGH, REJECTED, TOO_LITTLE))
    }
    used = found.pop((ENOUGH, TOO_LITTLE, REJECTED))
    nothing = (
        "CLOSED", "APPROVED", "APPROVED", [], ["GW411"] * len(items), [],
        [(NUMBER, item, quantity) for item in items], (False, []), {},
    )  # fmt: skip
    assert [one for one in found.values() if one != nothing] == []
    assert (used[3], used[8]) == (
        [(str(item), "05", "APPROVED", NUMBER) for item in items],
        {"KGM": str(int(quantity) * len(items))},
    )


#: Rejected under another law, and approved under that again; too little under the first at last.
TWO_LAWS: Final[tuple[Said, ...]] = ((-9, "100", "05"), (-8, None, "69"), (-3, "20", "05"))


@pytest.mark.parametrize("kind", ["sqlite", *at_night("postgresql")])
def test_a_rejection_under_one_law_decides_in_every_order(kind: str, templates: Templates) -> None:
    """Its item is rejected, whether the other law approves enough, too little, or was heard of before."""
    found = [end_of(templates, kind, (1,), order)[:3] for order in permutations(TWO_LAWS)]
    assert found == [("CLOSED", "PARTIAL", "PARTIAL")] * 6


def by_result(story: Story) -> None:
    say(story, quantity="20")


def by_registration(story: Story) -> None:
    register(story, NUMBER, "20", "KGM", laws=("05",))
    with write_transaction(story.house.engine) as conn:
        join_waiting_cases(conn, [NUMBER], "registered", story.clock())


@pytest.mark.long
@pytest.mark.parametrize("come", [by_result, by_registration])
def test_a_result_says_that_the_ledger_knows_the_number_by_now(
    story: Story, come: Callable[[Story], None]
) -> None:
    declare(story, "D2", (1, NUMBER, "40", "KGM"))
    wait(story)
    number = str(story.case().number)
    assert [warned(one) for one in results(story, number)] == [["GW413"]]
    come(story)
    wait(story)
    assert [warned(one) for one in results(story, number)] == [["GW413"], ["GW411"]]
    # What says the same is not told again.
    say(story, quantity="30", notice="R2", at=story.clock() + timedelta(minutes=1))
    wait(story)
    assert [warned(one) for one in results(story, number)] == [["GW413"], ["GW411"]]
    assert (story.case().state, used_of(story, NUMBER)) == ("CLOSED", {})
    say(story, quantity="60", notice="R3", at=story.clock() + timedelta(minutes=2))
    wait(story)
    assert [warned(one) for one in results(story, number)] == [["GW413"], ["GW411"], []]
    assert used_of(story, NUMBER) == {"KGM": "40"}


@pytest.mark.long
def test_children_wait_again_with_their_parent(story: Story) -> None:
    """The number of the parent is taken back and comes with too little: nobody in its line is approved."""
    declare(story, "D1", (2, NUMBER, "40", "KGM"))
    family = [story.case()]
    tell(story, ENOUGH)
    for parent, reference, item in ((0, "C1", (2, "10", "10")), (1, "G1", (2, "1", "1"))):
        change = child(reference, str(family[parent].number), item)
        named = using(reference, (1, NUMBER, item[1], "KGM"))
        story.submit(story.submission(all_of(change, named)), attach=False)
        story.tick(seconds=1)
        family.append(story.case())
    wait(story)
    approved = [ended(story, one.id)[3] for one in family]
    assert approved == [[("2", "05", "APPROVED", NUMBER)]] * 3
    tell(story, REJECTED)
    wait(story)
    tell(story, TOO_LITTLE)
    wait(story)
    for one in family:
        found = ended(story, one.id)
        assert (found[1], found[3], found[4], found[7], found[8]) == (
            "APPROVED", [], ["GW411"], (False, []), {},
        )  # fmt: skip
    tell(story, (-2, "60", "05"))
    wait(story)
    assert [ended(story, one.id)[3:5] for one in family] == [([("2", "05", "APPROVED", NUMBER)], [])] * 3
    assert used_of(story, NUMBER) == {"KGM": "40"}


@pytest.mark.long
@pytest.mark.parametrize("order", [(TOO_LITTLE,), (ENOUGH, REJECTED, TOO_LITTLE)], ids=["never had", "had"])
def test_what_a_declaration_waits_for_keeps_no_amendment_out(story: Story, order: Sequence[Said]) -> None:
    declare(story, "D1", (1, NUMBER, "40", "KGM"))
    for said in order:
        tell(story, said)
    wait(story)
    case = story.case().id
    before = ended(story, case)
    assert amend(story, "D1", (1, NUMBER, "40", "KGM")) == []
    wait(story)
    assert ended(story, case) == before
    assert amend(story, "D1", (1, NUMBER, "41", "KGM")) == ["GW411"]
    other = text(".//Importer/Name", "ANOTHER NAME")
    assert amend(story, "D1", (1, NUMBER, "15", "KGM"), change=other) == []
    wait(story)
    assert ended(story, case)[3:5] == ([("1", "05", "APPROVED", NUMBER)], [])
    assert used_of(story, NUMBER) == {"KGM": "15"}


@pytest.mark.parametrize("order", [("C-1", "C-2"), ("C-2", "C-1")], ids="".join)
def test_each_certificate_that_comes_back_smaller_is_waited_for_again(
    engine: Engine, order: Sequence[str]
) -> None:
    story = Story(engine, customs=False)
    at = story.clock()
    for number in ("C-1", "C-2"):
        say(story, number=number, notice=f"{number}-1", at=at)
    declare(story, "D", (1, "C-1", "40", "KGM"), (2, "C-2", "40", "KGM"))
    story.tick()
    for minute, (code, quantity) in enumerate(
        [(DecisionCode.REJECTED, None), (DecisionCode.APPROVED, "30")], 2
    ):
        for number in order:
            said_at, notice = at + timedelta(minutes=minute), f"{number}-{minute}"
            say(story, code, number=number, notice=notice, quantity=quantity, at=said_at)
        story.tick()
    assert (used_of(story, "C-1"), used_of(story, "C-2")) == ({}, {})
    with read_transaction(story.house.engine) as conn:
        awaited = read_case_report(conn, story.case())["awaited"]
    assert sorted(one["number"] for one in awaited) == ["C-1", "C-2"]
    # One correction for the rejections, and one for the approvals.
    assert story.evidence("case", story.case().id).count("corrected") == 2
