"""Who checks a change of a case before filing is told what its admission says, by the rules of the case."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from lxml import etree
from sqlalchemy import Engine

from gateway.config import NeedSettings
from gateway.hub import inspect_submission, load_rules, make_inspection_rules
from gateway.hub.register.active_rules import ActiveRules
from gateway.share import get_data_folder
from gateway.store import cases, read_transaction
from gateway.wire import serialize_element
from tests.flows.craft import Change, all_of, reference, supplement, text, without
from tests.flows.item_changes import amendment
from tests.flows.test_changed_needs import code_of, disclaim
from tests.flows.test_held_case_waking import HELD, NUMBER, naming
from tests.flows.test_held_cases import HOLD
from tests.flows.test_held_cases import naming as name_place
from tests.flows.test_tables_in_between import ROW, load
from tests.kit.databases import BOTH
from tests.kit.story import LABEL, Story, asked

FOOD = Path("agencies") / "KFDA" / "KFDA-FOOD-IMP.yaml"
_ACTIONS = {"13": "Amend", "35": "Supplement"}
#: An unknown number is told by the Result and not kept with the case.
_UNKNOWN_NUMBER = "GW413"


def compare(story: Story, change: Change, *, attach: bool = True) -> list[str]:
    """Check a change of the case and file it: both say the same; return the ids of problems and warnings."""
    root: etree._Element = story.submission(change)
    rules = make_inspection_rules(story.hub, "broker1", story.clock())
    files = {"korean-label@sample": LABEL} if attach else {}
    report = inspect_submission(serialize_element(root), files, rules)
    assert report.findings or report.skipped_steps == []
    found = sorted((one.problem.id, one.pointer) for one in report.findings)
    warned = {(one.problem.id, one.message) for one in report.warnings}
    results, held = len(story.inbox.documents("Result")), len(held_notices(story))
    story.submit(root, action=_ACTIONS[root.findtext("{*}Function") or ""], attach=attach)
    story.tick(seconds=1)
    refused = len(story.inbox.documents("Result")) > results and story.outcome()[0] == "REFUSED"
    assert found == (sorted(story.problems()) if refused else [])
    if not refused:
        told = held_notices(story)[held:]
        # A Notice tells of each number that an item names, too.
        missing = {("GW508", words.partition("; the item names")[0]) for one in told for words in one}
        assert {one for one in warned if one[0] != _UNKNOWN_NUMBER} == read_warnings(story, root) | missing
    return [one for one, _ in found] + sorted(one for one, _ in warned if one != _UNKNOWN_NUMBER)


def read_warnings(story: Story, root: etree._Element) -> set[tuple[str, str]]:
    with read_transaction(story.house.engine) as conn:
        case = cases.find_by_reference(conn, "broker1", root.findtext("{*}Reference") or "")
    assert case is not None
    return {(one["id"], one["text"]) for one in (case.detail or {}).get("warnings", ())}


def held_notices(story: Story) -> list[list[str]]:
    """Return the words by which each Notice names what is missing."""
    found = [one.find("{*}Held") for one in story.inbox.documents("Notice")]
    return [[one.text or "" for one in held.iterfind("{*}Missing")] for held in found if held is not None]


def start(engine: Engine, policy: NeedSettings, *changes: Change) -> Story:
    story = Story(engine)
    story.hub.need_policy = policy
    story.submit(story.submission(all_of(*changes)))
    story.tick()
    return story


REFUSE = NeedSettings(imports="refuse")
WARN = NeedSettings(imports="warn")
NO_PLANTS = without("Application[@id='A3']")
PLANTS = disclaim("3", "12", "B")
ONLY_FOOD = all_of(supplement, without("Application[@id='A1']"), NO_PLANTS)
NEEDS: dict[str, tuple[NeedSettings, Change, Change]] = {
    "nothing": (REFUSE, all_of(), amendment()),
    "other goods": (REFUSE, all_of(), amendment(code_of(2, "0601101000"))),
    "other goods, only warned of": (WARN, all_of(), amendment(code_of(2, "0601101000"))),
    "a disclaimer": (REFUSE, all_of(NO_PLANTS, PLANTS), amendment(NO_PLANTS, PLANTS)),
    "a disclaimer gone": (REFUSE, all_of(NO_PLANTS, PLANTS), amendment(NO_PLANTS)),
}


@BOTH
@pytest.mark.parametrize(("policy", "first", "change"), NEEDS.values(), ids=list(NEEDS))
def test_an_amendment_after_a_table_came_into_force(
    engine: Engine, policy: NeedSettings, first: Change, change: Change
) -> None:
    """The table asks a document for item 2 since long ago: no amendment makes that lacking."""
    story = start(engine, policy, first)
    assert story.case().state == "IN_PROGRESS"
    load(story, ROW)
    assert "GW508" in compare(story, change)


@pytest.mark.long
def test_the_warnings_of_items_and_pointers_are_told(engine: Engine) -> None:
    story = start(engine, REFUSE)
    named = name_place("57C", "R012")
    assert compare(story, amendment(named, text(".//Declarant/Name", "Another Name"))) == ["GW417", "GW418"]


@pytest.mark.long
def test_what_the_case_was_warned_of_stays_a_warning(engine: Engine) -> None:
    story = start(engine, WARN, NO_PLANTS)
    load(story, ROW)
    story.hub.need_policy = REFUSE
    assert compare(story, amendment(NO_PLANTS)) == ["GW508", "GW508"]
    assert story.case().state == "IN_PROGRESS"


@pytest.mark.long
@pytest.mark.parametrize("policy", [REFUSE, WARN], ids=["refuse", "warn"])
@pytest.mark.parametrize("other", [False, True], ids=["same goods", "other goods"])
def test_a_supplement_after_a_table_came_into_force(
    engine: Engine, policy: NeedSettings, other: bool
) -> None:
    """It names one application alone: those that the case has besides are not missing."""
    story = start(engine, policy)
    story.hear("KFDA", asked(story, "KFDA", "Q1"))
    story.tick()
    load(story, ROW)
    compare(story, all_of(ONLY_FOOD, *((code_of(2, "0601101000"),) if other else ())))


@pytest.mark.parametrize("kind", ["supplement", "amendment"])
@pytest.mark.parametrize("whole", [False, True], ids=["lacking", "whole"])
def test_a_held_case_goes_on_or_is_held_on(engine: Engine, kind: str, whole: bool) -> None:
    story = start(engine, HOLD, HELD)
    assert story.case().state == "HELD"
    changes = all_of(reference("HELD-1"), naming(NUMBER)) if whole else HELD
    compare(story, all_of(supplement, changes) if kind == "supplement" else all_of(changes, amendment()))
    assert story.case().state == ("IN_PROGRESS" if whole else "HELD")


def put_into_force(story: Story, folder: Path) -> None:
    """Let the hub go on with other mappings in force; its cases stay with theirs."""
    story.hub.register._active_rules = ActiveRules(load_rules(folder))
    story.hub.register._snapshot = None


@pytest.fixture(scope="module")
def stricter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return mappings whose food document asks a further field and allows a shorter name."""
    place = tmp_path_factory.mktemp("stricter") / "mappings"
    shutil.copytree(str(get_data_folder("mappings")), place)
    shutil.copytree(place, place.parent / "shipped")
    words = (place / FOOD).read_text()
    asks = "  product_name_ko: {type: text, max: 200,"
    assert asks in words
    more = "  grade: {type: text, max: 9, req: M, per: item, means: food.grade, ko: 등급, en: Grade}\n"
    line = "        - NetMass: {common: item.net_mass"
    words = words.replace(asks, more + asks).replace(line, f"        - Grade: {{ask: grade}}\n{line}")
    (place / FOOD).write_text(words)
    return place


@pytest.mark.long
def test_a_change_is_judged_by_the_mappings_of_its_case(engine: Engine, stricter: Path) -> None:
    story = Story(engine)
    put_into_force(story, stricter.parent / "shipped")
    story.submit()
    story.tick()
    put_into_force(story, stricter)
    renamed = text("Application[@id='A2']/Fields/Item/ProductNameKo", "와플")
    assert compare(story, amendment(renamed)) == []
    too_long = text("Application[@id='A2']/Fields/Item/ProductNameKo", "와" * 201)
    assert compare(story, amendment(too_long)) == ["GW506"]
    # A new submission is judged by those in force.
    rules = make_inspection_rules(story.hub, "broker1", story.clock())
    content = serialize_element(story.submission(reference("NEW-1")))
    report = inspect_submission(content, {"korean-label@sample": LABEL}, rules)
    assert {one.problem.id for one in report.findings} == {"GW503"}


@pytest.mark.long
def test_a_change_of_a_case_that_is_not_known_is_not_weighed(engine: Engine) -> None:
    story = start(engine, REFUSE)
    content = serialize_element(story.submission(all_of(amendment(), reference("OTHER-1"))))
    rules: Any = make_inspection_rules(story.hub, "broker1", story.clock())
    report = inspect_submission(content, {"korean-label@sample": LABEL}, rules)
    assert [one.problem.id for one in report.findings] == ["GW407"]
    assert report.skipped_steps == ["needs and certificates: the case that is changed is not known"]
