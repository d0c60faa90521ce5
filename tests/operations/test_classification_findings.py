"""``gateway check`` names the parties with declarations whose tariff code is not certain."""

from __future__ import annotations

import pytest
from lxml import etree
from sqlalchemy import Engine

from gateway.errors import RULE_BROKEN, XML_MALFORMED, GatewayError
from gateway.harmonize.split.declaration_findings import DeclarationFinding
from gateway.hub import load_shipped_rules
from gateway.hub.submissions import split
from gateway.operations import find_classification_warnings
from gateway.store import InsufficientStorageError, read_transaction
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


def test_a_case_that_fails_the_examination_is_named_after_the_others(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    story = Story(engine)
    numbers = {}
    for name in ("R-1", "R-2", "R-3"):
        story.submit(story.submission(reference(name)))
        story.tick()
        numbers[name] = story.case().number
    failures = {"R-1": GatewayError(XML_MALFORMED, "no XML", "line 1"), "R-3": ValueError("odd")}

    def judge(root: etree._Element, *_: object) -> tuple[DeclarationFinding, ...]:
        for name, failure in failures.items():
            if f">{name}<" in etree.tostring(root, encoding="unicode"):
                raise failure
        return (DeclarationFinding(RULE_BROKEN, "it is wrong", "42A", True, None),)

    monkeypatch.setattr("gateway.operations.admitted_declarations.find_broken_rules", judge)
    assert list_warnings(story) == [
        "party broker1: of the newest 200 cases 1 would be refused now (GW404), the newest is case "
        f"{numbers['R-2']}, 42A: it is wrong",
        f"of the newest 200 cases 2 cannot be read, the newest is case {numbers['R-3']}: "
        "GW905 the examination has failed: ValueError: odd",
    ]


def test_a_store_that_is_away_is_no_declaration_that_cannot_be_read(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    story = Story(engine)
    story.submit()
    story.tick()

    def refuse(*_: object) -> etree._Element:
        raise InsufficientStorageError("the bucket is away")

    monkeypatch.setattr("gateway.operations.admitted_declarations.load_stored_tree", refuse)
    with pytest.raises(InsufficientStorageError):
        list_warnings(story)
