"""What a child declaration states of a certificate that its parent uses."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest
from lxml import etree
from sqlalchemy import Engine

from gateway.cases import (
    DeclaredUses,
    GrantedQuantity,
    RequirementBalance,
    RequirementUse,
    validate_child_uses,
)
from gateway.hub import admit_submission, inspect_submission, join_requirements, make_inspection_rules
from gateway.store import cases, messages, read_transaction, requirement_quantities, requirement_results
from gateway.wire import serialize_element
from tests.flows.craft import Change, all_of, reference, text, withdrawal
from tests.flows.test_amendments import amendment
from tests.flows.test_held_cases import HOLD
from tests.flows.test_outside_results import say
from tests.flows.test_partial_release import child
from tests.flows.test_requirement_ledger import declare, register, told, used_of, using
from tests.kit.databases import BOTH
from tests.kit.story import LAWS, Story


def naming(number: str, quantity: str, unit: str = "KGM") -> Change:
    """Name a certificate at the only item of a child, behind what takes that from its parent."""
    return using("-", (1, number, quantity, unit))


@pytest.fixture
def story(engine: Engine) -> Story:
    """Return a story with a declaration that uses 60 of 100 kg of C-1 for item 2."""
    story = Story(engine, customs=False)
    register(story, "C-1", "100", "KGM")
    declare(story, "P", (2, "C-1", "60", "KGM"))
    assert story.outcome()[0] == "APPROVED"
    return story


def take(story: Story, name: str, parent: str, *, kilos: str, quantity: str, unit: str = "KGM") -> str:
    """File a child that takes some of item 2 and names C-1; return its case number."""
    named = all_of(child(name, parent, (2, kilos, "1")), naming("C-1", quantity, unit))
    again = (text("Reference", name), text(".//FunctionalReferenceID", name))
    story.submit(story.submission(all_of(named, *again)), attach=False)
    story.tick(seconds=1)
    return str(story.case().number)


def shortage(story: Story) -> str:
    return next(words for problem, _, words in told(story) if problem == "GW411")


@pytest.mark.long
@BOTH
def test_a_child_states_at_most_what_its_parent_uses(story: Story) -> None:
    """It is written off for the parent, once; of more nobody has written off anything."""
    parent = str(story.case().number)
    take(story, "C-A", parent, kilos="10", quantity="20")
    assert story.outcome()[0] == "APPROVED"
    take(story, "C-B", parent, kilos="10", quantity="90")
    ((problem, place, words),) = told(story)
    assert (problem, place.endswith("/502")) == ("GW411", True)
    assert words == (
        "requirement C-1 of KFDA: 90 KGM used, 40 KGM left of what is written off for item 2 of case "
        f"{parent}"
    )
    take(story, "C-C", parent, kilos="10", quantity="1", unit="NMB")
    assert [one for one, _, _ in told(story)] == ["GW412"]
    assert used_of(story, "C-1") == {"KGM": "60"}


@pytest.mark.long
def test_all_children_of_a_parent_state_no_more_together(story: Story) -> None:
    """What one gives back by its withdrawal or its amendment another one may state."""
    parent = str(story.case().number)
    take(story, "C-A", parent, kilos="10", quantity="0.04", unit="TNE")
    first = story.case().id
    take(story, "C-B", parent, kilos="10", quantity="40")
    assert "40 KGM used, 20 KGM left" in told(story)[0][2]
    take(story, "C-B", parent, kilos="10", quantity="20")
    assert story.outcome()[0] == "APPROVED"
    assert take_again(story, "C-B", parent, quantity="21") == ["GW411"]
    assert take_again(story, "C-B", parent, quantity="20") == []
    assert take_again(story, "C-A", parent, quantity="35") == []
    assert take_again(story, "C-B", parent, quantity="25") == []
    story.submit(story.submission(all_of(withdrawal, reference("C-A"))), action="Withdraw", attach=False)
    story.tick(seconds=1)
    take(story, "C-C", parent, kilos="10", quantity="36")
    assert "36 KGM used, 35 KGM left" in told(story)[0][2]
    take(story, "C-C", parent, kilos="10", quantity="35")
    assert story.outcome()[0] == "APPROVED"
    assert used_of(story, "C-1") == {"KGM": "60"}
    with read_transaction(story.house.engine) as conn:
        # What a child states is no use of its own.
        assert requirement_quantities.list_uses_of_case(conn, first) == []
        assert requirement_quantities.list_stated_uses(conn, [first]) == []


@pytest.mark.long
@pytest.mark.parametrize("first", ["parent", "child"])
@pytest.mark.parametrize(("granted", "used"), [("100", "60"), ("60", "60"), ("50", "0")])
def test_children_that_wait_with_their_parent_state_what_is_written_off_for_it(
    engine: Engine, first: str, granted: str, used: str
) -> None:
    """The number comes when all three wait for it: it is written off for the parent, whoever looks first."""
    story = Story(engine, customs=False)
    declare(story, "P", (2, "C-1", "60", "KGM"))
    parent, row = str(story.case().number), story.case().id
    take(story, "C-A", parent, kilos="10", quantity="40")
    child_row = story.case().id
    take(story, "C-B", parent, kilos="10", quantity="0.03", unit="TNE")
    last = story.case().id
    say(story, number="C-1", quantity=granted)
    for one in (row, child_row) if first == "parent" else (child_row, last, row):
        join_requirements(story.hub, one, None, lambda conn: None)
    for _ in range(3):
        story.tick(seconds=1)
    assert used_of(story, "C-1") == ({} if used == "0" else {"KGM": used})
    with read_transaction(story.house.engine) as conn:
        stated = {
            one.case_id: one.quantity
            for one in requirement_quantities.list_stated_uses(conn, [child_row, last])
        }
        waiting = [len(requirement_results.list_awaited_uses(conn, one)) for one in (row, child_row, last)]
    # The second child would state more than is left of the 60 kg.
    assert (stated, waiting) == (({child_row: "40"}, [0, 0, 1]) if used != "0" else ({}, [1, 1, 1]))
    warnings = [(one.get("id"), one.text or "") for one in story.result().findall("{*}Warning")]
    mine = [one for one in warnings if "C-1" in one[1]]
    # Also where nothing is decided anew, a new Result says that the number is known by now.
    assert [one for one, _ in mine] == ["GW411"]
    assert "nothing of requirement C-1 is written off for item 2 yet" in mine[0][1]


def take_again(story: Story, name: str, parent: str, *, quantity: str) -> list[str]:
    """Amend a child; return the ids of the problems."""
    named = all_of(child(name, parent, (2, "10", "1")), naming("C-1", quantity))
    again = (text("Reference", name), text(".//FunctionalReferenceID", name))
    story.submit(story.submission(all_of(named, *again, amendment())), action="Amend", attach=False)
    story.tick(seconds=1)
    return [one for one, _, _ in told(story)] if story.case().outcome == "REFUSED" else []


@pytest.mark.long
def test_what_is_written_off_above_the_parent_is_not_written_off_again(story: Story) -> None:
    """A child of a child states a part of what that states, or in its stead."""
    parent = str(story.case().number)
    first = take(story, "C-A", parent, kilos="10", quantity="30")
    take(story, "G-A", first, kilos="5", quantity="20")
    assert story.outcome()[0] == "APPROVED"
    assert used_of(story, "C-1") == {"KGM": "60"}
    take(story, "G-B", first, kilos="5", quantity="11")
    assert "11 KGM used, 10 KGM left" in shortage(story)
    story.submit(story.submission(child("C-B", parent, (2, "10", "2"))), attach=False)
    story.tick(seconds=1)
    silent = str(story.case().number)
    take(story, "G-C", silent, kilos="5", quantity="31")
    assert "31 KGM used, 30 KGM left" in shortage(story)
    take(story, "G-C", silent, kilos="4", quantity="25")
    assert story.outcome()[0] == "APPROVED"
    take(story, "C-C", parent, kilos="10", quantity="6")
    assert "6 KGM used, 5 KGM left" in shortage(story)
    take(story, "G-D", silent, kilos="1", quantity="5")
    assert story.outcome()[0] == "APPROVED"


def check(story: Story, root: etree._Element) -> list[tuple[str, str, str]]:
    """Return the problems that who checks a submission before filing is told."""
    rules = make_inspection_rules(story.hub, "broker1", story.clock())
    report = inspect_submission(serialize_element(root), {}, rules)
    return [(one.problem.id, one.pointer, one.message) for one in report.findings]


@pytest.mark.long
@pytest.mark.parametrize(
    ("quantity", "kilos", "ids"),
    [("40", "10", []), ("41", "10", ["GW411"]), ("41", "99999", ["GW415", "GW411"])],
)
def test_who_checks_a_child_before_filing_is_told_as_when_it_is_filed(
    story: Story, quantity: str, kilos: str, ids: list[str]
) -> None:
    parent = str(story.case().number)
    take(story, "C-A", parent, kilos="10", quantity="20")
    named = all_of(child("C-B", parent, (2, kilos, "1")), naming("C-1", quantity))
    again = (text("Reference", "C-B"), text(".//FunctionalReferenceID", "C-B"))
    root = story.submission(all_of(named, *again))
    found = check(story, root)
    assert [one for one, _, _ in found] == ids
    story.submit(root, attach=False)
    story.tick(seconds=1)
    assert told(story) == found
    assert check(story, story.submission(child("C-D", "SW260000009X", (2, "1", "1"))))[0][0] == "GW416"


def check_waiting(story: Story, root: etree._Element) -> list[tuple[str | None, ...]]:
    """Return what who checks a submission before filing is told of numbers that it would wait for."""
    rules = make_inspection_rules(story.hub, "broker1", story.clock())
    report = inspect_submission(serialize_element(root), {}, rules)
    told = ((one.problem.id, one.pointer, one.message) for one in report.warnings)
    return [one for one in told if one[0] in ("GW411", "GW413")]


@pytest.mark.parametrize("granted", [None, "5"])
def test_who_checks_a_child_is_told_that_it_waits_with_its_parent(
    engine: Engine, granted: str | None
) -> None:
    """Nobody knows the number of the parent, or too little of it is left: also where a child needs less."""
    story = Story(engine, customs=False)
    declare(story, "PARENT", (2, "N-1", "40", "KGM"))
    if granted is not None:
        say(story, number="N-1", quantity=granted)
    story.tick(minutes=2)
    parent = str(story.case().number)
    for name, action in (("C-A", "Submit"), ("C-A", "Amend")):
        changes = [child(name, parent, (2, "10", "1")), naming("N-1", "4")]
        changes += [text("Reference", name), text(".//FunctionalReferenceID", name)]
        changes += [amendment()] if action == "Amend" else []
        root = story.submission(all_of(*changes))
        found = check_waiting(story, root)
        assert [one for one, _, _ in found] == ["GW413" if granted is None else "GW411"]
        story.submit(root, action=action, attach=False)
        story.tick(seconds=1)
        warned = [
            (one.get("id"), one.get("pointer"), one.text) for one in story.result().findall("{*}Warning")
        ]
        assert [one for one in warned if one[0] in ("GW411", "GW413")] == found


@pytest.mark.long
def test_what_is_approved_above_a_child_is_no_need_of_it(engine: Engine) -> None:
    story = Story(engine, customs=False)
    story.hub.need_policy = HOLD
    story.submit()
    story.tick()
    story.decide_all("KFDA")
    change = child("C-A", str(story.case().number), (1, "1", "1"))
    rules = make_inspection_rules(story.hub, "broker1", story.clock())
    report = inspect_submission(serialize_element(story.submission(change)), {}, rules)
    # KFDA has not decided: nothing leaves yet, but no document is needed for item 1. It would be held.
    assert [one.problem.id for one in report.findings] == []
    assert [one.problem.id for one in report.warnings if one.problem.id in ("GW416", "GW508")] == ["GW416"]


@pytest.mark.long
@pytest.mark.parametrize("left", ["40", "0"])
def test_what_a_certificate_covers_above_a_child_is_no_need_of_it(engine: Engine, left: str) -> None:
    """The child need not name it, and nothing of it need be left."""
    story = Story(engine, customs=False)
    register(story, "C-1", str(60 + int(left)), "KGM", laws=(LAWS["KFDA"],))
    declare(story, "P", (2, "C-1", "60", "KGM"))
    parent = str(story.case().number)
    story.hub.need_policy = HOLD
    for item, state in ((2, "CLOSED"), (1, "HELD")):
        again = (text("Reference", f"C-{item}"), text(".//FunctionalReferenceID", f"C-{item}"))
        part = all_of(child(f"C-{item}", parent, (item, "10", "1")), *again)
        story.submit(story.submission(part), attach=False)
        story.tick(seconds=1)
        assert story.case().state == state


def race(story: Story, parents: list[str]) -> None:
    """Let a child of each of two cases state 40 of 60 at the same instant."""
    for name, parent in zip(("C-A", "C-B"), parents, strict=True):
        named = all_of(child(name, parent, (2, "5", "1")), naming("C-1", "40"))
        again = (text("Reference", name), text(".//FunctionalReferenceID", name))
        story.submit(story.submission(all_of(named, *again)), attach=False)
    with read_transaction(story.house.engine) as conn:
        filed = sorted(row.id for row in messages.list_messages(conn, limit=2, action="Submit"))
    together = threading.Barrier(2)

    def admit(message: int) -> None:
        together.wait(60)
        admit_submission(story.hub, message, lambda _: None)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(admit, filed))
    with read_transaction(story.house.engine) as conn:
        assert sorted(row.outcome for row in cases.list_cases(conn, limit=2)) == ["APPROVED", "REFUSED"]


@BOTH
@pytest.mark.long
def test_of_two_children_at_the_same_instant_one_is_refused(story: Story) -> None:
    parent = str(story.case().number)
    race(story, [parent, parent])


@pytest.mark.long
def test_of_two_in_different_generations_one_is_refused(story: Story) -> None:
    """The child of a silent child is judged beside its uncle, whose parent is another case."""
    parent = str(story.case().number)
    story.submit(story.submission(child("C-0", parent, (2, "10", "1"))), attach=False)
    story.tick(seconds=1)
    race(story, [str(story.case().number), parent])


def test_all_lines_of_an_item_count_together(story: Story) -> None:
    units = story.hub.rules.bundle.units

    def use(number: str, quantity: str, unit: str, item: int = 1, agency: str = "") -> RequirementUse:
        return RequirementUse(item, number, Decimal(quantity), unit, f"{item}/{number}/{quantity}", agency)

    granted = (GrantedQuantity(Decimal(50), "KGM"), GrantedQuantity(Decimal("0.01"), "TNE"))
    above = [(1, RequirementBalance("KFDA", "C", granted, {"GRM": Decimal(2000)}))]
    lines = (use("C", "0.04", "TNE"), use("C", "19", "KGM"), use("C", "1", "GRM"), use("D", "7", "KGM"),
             use("C", "5", "KGM", agency="NPQS"), use("C", "9", "KGM", item=2))  # fmt: skip
    judged = validate_child_uses(DeclaredUses(lines, "1"), above, "SW1", units)
    assert (judged.own_uses.uses, judged.own_uses.importer) == (lines[3:], "1")
    assert [one for one, _ in judged.parent_uses] == [lines[0], lines[2]]
    assert [(one.problem.id, one.pointer) for one in judged.problems] == [("GW411", "1/C/19")]
