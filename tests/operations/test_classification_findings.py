"""``gateway check`` names the parties with declarations whose tariff code is not certain."""

from __future__ import annotations

import pytest
from lxml import etree
from sqlalchemy import Engine

from gateway.hub import load_shipped_rules
from gateway.hub.submissions import split
from gateway.operations import find_classification_warnings
from gateway.store import read_transaction
from tests.flows.craft import all_of, at, reference
from tests.kit.databases import BOTH
from tests.kit.story import Story


def repeat_type(root: etree._Element) -> None:
    """Give the second part of the first item's tariff code the type of the first."""
    at(root, ".//GovernmentAgencyGoodsItem/Commodity/Classification[2]/IdentificationTypeCode").text = "TSP"


def list_warnings(story: Story) -> list[str]:
    with read_transaction(story.house.engine) as conn:
        return list(find_classification_warnings(conn, load_shipped_rules().bundle))


@pytest.mark.night
@BOTH
def test_a_party_whose_case_would_be_refused_now_is_named(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    story = Story(engine)
    story.submit()
    story.tick()
    assert list_warnings(story) == []
    with monkeypatch.context() as former:
        former.setattr(split, "find_broken_rules", lambda *_: ())
        story.submit(story.submission(all_of(repeat_type, reference("R-2"))))
        story.tick()
    (warning,) = list_warnings(story)
    assert warning.startswith("party broker1: of the newest 200 cases 1 would be refused now (GW404)")
    place = "42A/67A[1]/68A[1]/23A[1]/21A[2]/145"
    assert f"{place}: " in warning
    assert warning.endswith("'00' is a second classification of type TSP")
    story.submit(story.submission(all_of(repeat_type, reference("R-3"))))
    story.tick()
    assert story.outcome()[0] == "REFUSED"
    assert len(list_warnings(story)) == 1
