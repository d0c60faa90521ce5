"""Who checks an amendment before filing is told what the Result would say of certificates and parents."""

from __future__ import annotations

import pytest
from lxml import etree
from sqlalchemy import Engine

from tests.flows.craft import Change, all_of, text
from tests.flows.test_amendments import amendment
from tests.flows.test_child_certificates import check, naming, take
from tests.flows.test_partial_release import child
from tests.flows.test_requirement_ledger import declare, register, told, used_of, using
from tests.kit.databases import BOTH
from tests.kit.story import Story


@pytest.fixture
def story(engine: Engine) -> Story:
    """Return a story with a declaration that uses 60 of 100 kg of C-1 for item 2, and one that uses 30."""
    story = Story(engine, customs=False)
    register(story, "C-1", "100", "KGM")
    declare(story, "P", (2, "C-1", "60", "KGM"))
    return story


def compare(story: Story, change: Change) -> list[str]:
    """Check an amendment and file it: both say the same; return the ids of the problems."""
    root: etree._Element = story.submission(all_of(change, amendment()))
    before = dict(used_of(story, "C-1"))
    found = check(story, root)
    assert used_of(story, "C-1") == before
    story.submit(root, action="Amend", attach=False)
    story.tick(seconds=1)
    refused = [] if story.outcome()[0] != "REFUSED" else told(story)
    assert found == refused
    return [one for one, _, _ in found]


@BOTH
@pytest.mark.parametrize(
    ("line", "ids"),
    [
        ((2, "C-1", "70", "KGM"), []),
        ((2, "C-1", "0.07", "TNE"), []),
        ((2, "C-1", "70.001", "KGM"), ["GW411"]),
        ((1, "C-1", "71", "KGM"), ["GW411"]),
        ((2, "C-1", "1", "LTR"), ["GW412"]),
        ((2, "C-9", "9", "KGM"), []),
    ],
)
def test_what_an_amended_declaration_uses(
    story: Story, line: tuple[int, str, str, str], ids: list[str]
) -> None:
    """What it used until now counts as given back."""
    declare(story, "D2", (1, "C-1", "30", "KGM"))
    assert compare(story, using("P", line)) == ids


@pytest.mark.parametrize(
    ("kilos", "quantity", "ids"),
    [
        ("10", "40", []),
        ("10", "40.5", ["GW411"]),
        ("99999", "40", ["GW415"]),
        ("99999", "41", ["GW415", "GW411"]),
    ],
)
def test_what_an_amended_child_takes_and_states(
    story: Story, kilos: str, quantity: str, ids: list[str]
) -> None:
    """What it took and stated until now counts as given back, what its siblings have does not."""
    parent = str(story.case().number)
    take(story, "C-A", parent, kilos="5", quantity="20")
    take(story, "C-B", parent, kilos="10", quantity="30")
    named = all_of(child("C-B", parent, (2, kilos, "1")), naming("C-1", quantity))
    again = (text("Reference", "C-B"), text(".//FunctionalReferenceID", "C-B"))
    assert compare(story, all_of(named, *again)) == ids


@pytest.mark.long
def test_a_child_may_not_be_amended_to_take_of_another_case(story: Story) -> None:
    parent = str(story.case().number)
    take(story, "C-A", parent, kilos="5", quantity="20")
    named = all_of(child("C-A", "SW260000009X", (2, "5", "1")), naming("C-1", "20"))
    again = (text("Reference", "C-A"), text(".//FunctionalReferenceID", "C-A"))
    assert compare(story, all_of(named, *again)) == ["GW416"]


@pytest.mark.parametrize(("quantity", "ids"), [("40", []), ("41", ["GW412"])])
def test_what_is_unchanged_is_no_problem_though_its_certificate_is_over(
    story: Story, quantity: str, ids: list[str]
) -> None:
    register(story, "C-2", "100", "KGM", valid_until=story.clock().date())
    declare(story, "D2", (1, "C-2", "40", "KGM"))
    story.clock.forward(seconds=2 * 86400)
    assert compare(story, using("D2", (1, "C-2", quantity, "KGM"))) == ids
