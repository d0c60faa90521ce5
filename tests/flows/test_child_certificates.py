"""What a child declaration states of a certificate that its parent uses."""

from __future__ import annotations

from decimal import Decimal

import pytest
from sqlalchemy import Engine

from gateway.cases import ClaimedRequirements, RequirementUse, judge_child_claim
from tests.flows.craft import Change, all_of, text
from tests.flows.test_partial_release import child
from tests.flows.test_requirement_ledger import declare, register, told, used_of, using
from tests.kit.story import Story


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


def test_a_child_states_at_most_what_its_parent_uses(story: Story) -> None:
    """It is written off for the parent, once; of more nobody has written off anything."""
    parent = str(story.case().number)
    take(story, "C-A", parent, kilos="10", quantity="60")
    assert story.outcome()[0] == "APPROVED"
    take(story, "C-B", parent, kilos="10", quantity="90")
    ((problem, place, words),) = told(story)
    assert (problem, place.endswith("/502")) == ("GW411", True)
    assert words == (
        "requirement C-1 of KFDA: 90 KGM used, 60 KGM left of what is written off for item 2 of case "
        f"{parent}"
    )
    take(story, "C-C", parent, kilos="10", quantity="1", unit="NMB")
    assert [one for one, _, _ in told(story)] == ["GW412"]
    assert used_of(story, "C-1") == {"KGM": "60"}


def test_what_is_written_off_above_the_parent_is_not_written_off_again(story: Story) -> None:
    first = take(story, "C-A", str(story.case().number), kilos="10", quantity="30")
    take(story, "G-A", first, kilos="5", quantity="20")
    assert story.outcome()[0] == "APPROVED"
    assert used_of(story, "C-1") == {"KGM": "60"}
    take(story, "G-B", first, kilos="5", quantity="61")
    assert "GW411" in [one for one, _, _ in told(story)]


def test_all_lines_of_an_item_count_together(story: Story) -> None:
    units = story.hub.rules.bundle.units

    def use(number: str, quantity: str, unit: str, item: int = 1, agency: str = "") -> RequirementUse:
        return RequirementUse(item, number, Decimal(quantity), unit, f"{item}/{number}/{quantity}", agency)

    above = [use("C", "50", "KGM", agency="KFDA"), use("C", "0.01", "TNE", agency="KFDA")]
    lines = (use("C", "0.04", "TNE"), use("C", "20", "KGM"), use("C", "1", "GRM"), use("D", "7", "KGM"),
             use("C", "5", "KGM", agency="NPQS"), use("C", "9", "KGM", item=2))  # fmt: skip
    rest, problems = judge_child_claim(ClaimedRequirements(lines, "1"), above, "SW1", units)
    assert (rest.uses, rest.importer) == (lines[3:], "1")
    assert [(one.problem.id, one.pointer) for one in problems] == [("GW411", "1/C/1")]
