"""A table of needs is loaded, with a first day in the past, while a case is held, or open already."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from lxml import etree
from sqlalchemy import Engine

from gateway.cases import DecisionCode
from gateway.config import NeedSettings
from gateway.needs import read_need_table
from gateway.store import NewEdition, dated_editions, write_transaction
from tests.flows.craft import all_of, reference, supplement, text, without
from tests.flows.item_changes import amendment
from tests.flows.test_held_case_waking import HELD, NUMBER, find
from tests.flows.test_held_case_waking import naming as use_certificate
from tests.flows.test_held_cases import HOLD
from tests.flows.test_outside_results import say
from tests.kit.databases import in_turn
from tests.kit.story import Story, asked

ROW = "1905,import,13"
NEEDED = "item 2 (1905320000) needs"


def load(story: Story, *rows: str, name: str = "extra") -> None:
    """Put a further table into force, or a new edition of one, whose first day is long over."""
    lines = (f"# table: {name}", "# edition: 1", "# valid_from: 2020-01-01", "hs,direction,law", *rows)
    content = ("\n".join(lines) + "\n").encode()
    table = read_need_table(content, f"{name}@1")
    new = NewEdition(
        table.name, table.edition, table.valid_from.isoformat(), None, len(table.rows),
        hashlib.sha256(content).hexdigest(), content,
    )  # fmt: skip
    with write_transaction(story.house.engine) as conn:
        dated_editions.insert_need_table(conn, new, story.clock(), "kim")


def held_notices(story: Story) -> list[list[tuple[str | None, str | None]]]:
    """Return item and law of what each Notice names as missing."""
    found = [one.find("{*}Held") for one in story.inbox.documents("Notice")]
    return [
        [(one.get("item"), one.get("law")) for one in held.iterfind("{*}Missing")]
        for held in found
        if held is not None
    ]


def warnings(story: Story) -> list[str]:
    detail: dict[str, Any] = story.case().detail or {}
    return [one["text"] for one in detail.get("warnings", ()) if one["text"].startswith(NEEDED)]


@pytest.fixture
def held(engine: Engine) -> Story:
    story = Story(engine)
    story.hub.need_policy = HOLD
    story.submit(story.submission(HELD))
    story.tick()
    return story


@pytest.mark.long
@in_turn
def test_what_a_held_case_lacks_now_is_told_when_the_certificate_comes(held: Story) -> None:
    load(held, ROW)
    held.tick()
    assert held_notices(held) == [[("3", "12")]]
    say(held, agency="NPQS", number=NUMBER, law="12")
    held.tick()
    assert held_notices(held) == [[("3", "12")], [("2", "13")]]
    missing = find(held).detail["held"]["missing"]
    assert [(one["item"], one["law"]) for one in missing] == [(2, "13")]
    assert find(held).detail["need_tables"] == ["extra@1", "kr-customs-confirmation@2016-02"]
    # The next look finds the same, and tells nothing.
    say(held, agency="NPQS", number=NUMBER, law="12", notice="R2")
    held.tick()
    assert (len(held_notices(held)), find(held).state) == (2, "HELD")
    held.tick(hours=49)
    assert find(held).state == "REFUSED"
    (problem,) = find(held).detail["problems"]
    assert (problem["id"], problem["text"].startswith(NEEDED)) == ("GW508", True)


@pytest.mark.long
def test_a_need_that_is_taken_back_lets_a_held_case_go_on_when_its_time_is_over(held: Story) -> None:
    held.tick(minutes=5)
    load(held, "3004,import,01", "1905,import,05", name="kr-customs-confirmation")
    held.tick(hours=47)
    assert find(held).state == "HELD"
    held.tick(hours=1)
    assert (find(held).state, len(held_notices(held))) == ("IN_PROGRESS", 1)


@pytest.mark.long
def test_a_held_case_lacks_less_and_is_told(held: Story) -> None:
    """Of two documents the certificate of one comes; the other one is missing still."""
    change = all_of(reference("HELD-1"), without("Application[@id='A3']"), without("Application[@id='A1']"))
    held.submit(held.submission(all_of(change, use_certificate(NUMBER), supplement)), action="Supplement")
    held.tick()
    assert held_notices(held)[1:] == [[("1", "01"), ("3", "12")]]
    say(held, agency="NPQS", number=NUMBER, law="12")
    held.tick()
    assert held_notices(held)[2:] == [[("1", "01")]]


@pytest.fixture(params=["refuse", "hold"])
def admitted(engine: Engine, request: pytest.FixtureRequest) -> Story:
    story = Story(engine)
    story.hub.need_policy = NeedSettings(imports=request.param)
    story.submit()
    story.tick()
    assert story.case().state == "IN_PROGRESS"
    load(story, ROW)
    return story


def amend(story: Story, *changes: Any) -> str | None:
    """Amend the declaration; return the outcome of a Result that follows at once."""
    before = len(story.inbox.documents("Result"))
    story.submit(story.submission(amendment(*changes)), action="Amend")
    story.tick()
    told = story.inbox.documents("Result")[before:]
    return told[-1].findtext("{*}Outcome") if told else None


@pytest.mark.long
def test_an_amendment_is_not_refused_for_what_it_does_not_make_lacking(admitted: Story) -> None:
    assert amend(admitted, text(".//Declarant/Name", "Another Name")) is None
    assert (admitted.case().state, len(warnings(admitted))) == ("IN_PROGRESS", 1)
    # What it does make lacking refuses it.
    assert amend(admitted, without("Application[@id='A3']")) == "REFUSED"


@pytest.mark.long
def test_a_certificate_that_was_revoked_meets_no_need_that_an_amendment_brings(engine: Engine) -> None:
    """Item 3 has its own application, and names a certificate under law 05, of which it needs nothing."""
    story = Story(engine)
    story.hub.need_policy = NeedSettings(imports="refuse")
    say(story, number=NUMBER)
    story.submit(story.submission(use_certificate(NUMBER)))
    story.tick(minutes=1)
    assert story.case().state == "IN_PROGRESS"
    say(story, DecisionCode.REJECTED, number=NUMBER, notice="R2", quantity=None)
    story.tick(minutes=1)

    def change_code(root: etree._Element) -> None:
        goods = root.findall(".//{*}GovernmentAgencyGoodsItem")[2]
        (code,) = [one for one in goods.iterfind(".//{*}Classification/{*}ID") if one.text != "00"]
        code.text = "19053200"

    assert amend(story, use_certificate(NUMBER), change_code) == "REFUSED"
    assert "GW508" in [one for one, _ in story.problems()]
    # What is not changed stands in no amendment's way.
    assert amend(story, use_certificate(NUMBER), text(".//Declarant/Name", "Another Name")) is None


@pytest.mark.long
def test_an_answer_to_a_question_is_not_refused_for_another_document(admitted: Story) -> None:
    admitted.hear("KFDA", asked(admitted, "KFDA", "Q1"))
    assert admitted.request("KFDA").state == "INFORMATION_REQUIRED"
    admitted.submit(admitted.submission(supplement), action="Supplement")
    admitted.tick()
    assert (admitted.request("KFDA").state, len(warnings(admitted))) == ("ACKNOWLEDGED", 1)
