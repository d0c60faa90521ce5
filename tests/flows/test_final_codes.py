"""A status code means the same in both forms: one that is final decides, the others wait for decisions."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import Any

import pytest
from lxml import etree
from sqlalchemy import Engine, select

from gateway.cases import AgencyCallback, Notice, SignedReply
from gateway.hub import apply_agency_document, apply_call_back
from gateway.share import get_data_folder
from gateway.store import make_engine, read_transaction
from tests.flows.test_delivered_notices import about, make_document
from tests.flows.test_outside_documents import rows
from tests.flows.test_outside_results import name
from tests.flows.test_outside_results import say as say_outside
from tests.kit import tables
from tests.kit.databases import BOTH, Templates
from tests.kit.story import Story
from tests.web.test_delivered_notices import make_status

_TABLE = get_data_folder("mappings").joinpath("codelists", "requirement-status.csv").read_text("utf-8")
CODES = [row for row in csv.DictReader(_TABLE.splitlines())
         if row["event"] == "decide" and row["carrier"] == "GOVCBRRBH"]  # fmt: skip
FINAL = {"C03", "E08", "F01", "F04", "F06", "F13", "G02"}


@pytest.fixture
def stories(engine: Engine, templates: Templates) -> Iterator[tuple[Story, Story]]:
    """Give two hubs in the same state."""
    url = templates.fresh("sqlite")
    other = make_engine(url)
    made = Story(engine), Story(other)
    for one in made:
        one.submit()
        one.tick()
    yield made
    other.dispose()
    templates.drop(url)


def write_status(story: Story, code: str, more: str = "") -> etree._Element:
    document = make_status(code, about=about(story.number_of("KPTA")) + more)
    return make_document("GOVCBRRBH", document)


def list_decided(story: Story) -> list[dict[str, Any]]:
    wanted = (
        select(tables.decisions).where(tables.decisions.c.agency == "KPTA").order_by(tables.decisions.c.id)
    )
    names = ("item", "law", "decision", "number", "date", "issued_at")
    with read_transaction(story.house.engine) as conn:
        return [{one: row[one] for one in names} for row in conn.execute(wanted).mappings()]


@pytest.mark.long
@BOTH
@pytest.mark.parametrize("code", [row["code"] for row in CODES])
def test_a_code_without_items_means_the_same_in_both_forms(stories: tuple[Story, Story], code: str) -> None:
    own, ours = stories
    apply_agency_document(own.hub, "KPTA", write_status(own, code), SignedReply())
    notice = Notice("H-1", own.clock(), code)
    apply_call_back(ours.hub, "KPTA", AgencyCallback(notice, ours.number_of("KPTA")))
    decided = [(one["law"], one["decision"]) for one in list_decided(ours)]
    assert decided == ([("01", "REJECTED"), ("70", "REJECTED")] if code in FINAL else [])
    plain = [{**one, "issued_at": None} for one in list_decided(own)]
    assert plain == [{**one, "issued_at": None} for one in list_decided(ours)]
    assert ours.request("KPTA").state == ("DECIDED" if code in FINAL else "ACKNOWLEDGED")
    assert own.request("KPTA").state == ours.request("KPTA").state


def test_every_final_code_of_the_table_is_known_here() -> None:
    assert {row["code"] for row in CODES if row["terminal"] == "y"} == FINAL


@pytest.mark.long
def test_an_approval_does_not_outlive_its_cancellation(stories: tuple[Story, Story]) -> None:
    story, _ = stories
    story.tick(seconds=5)
    for agency in ("KPTA", "KFDA", "NPQS"):
        story.decide(agency)
    story.tick(seconds=5)
    assert story.outcome()[0] == "APPROVED"
    for _ in range(2):  # a repeat changes nothing
        apply_call_back(
            story.hub, "KPTA", AgencyCallback(Notice("G-1", story.clock(), "G02"), story.number_of("KPTA"))
        )
        story.tick()
    assert story.outcome() == ("PARTIAL", {1: "REJECTED", 2: "APPROVED", 3: "APPROVED"})
    assert len(list_decided(story)) == 3


@pytest.mark.long
def test_a_pass_under_a_number_of_the_requirement_decides(stories: tuple[Story, Story]) -> None:
    story, _ = stories
    more = "<AdditionalDocument><ID>P-7</ID></AdditionalDocument>"
    apply_agency_document(story.hub, "KPTA", write_status(story, "F03", more), SignedReply())
    assert [(one["decision"], one["number"]) for one in list_decided(story)] == [("APPROVED", "P-7")] * 2


@pytest.mark.long
def test_a_final_code_takes_back_all_that_was_said_under_a_number(engine: Engine) -> None:
    story = Story(engine)
    for item, law in ((1, "01"), (2, "70")):
        say_outside(story, agency="KPTA", law=law, item=item, notice=f"R{item}", quantity="60")
    name(story, quantity="120")
    story.tick()
    back = Notice("G-9", story.clock(), "G02")
    apply_call_back(story.hub, "KPTA", AgencyCallback(back, requirement_number="2026-118"))
    story.tick(seconds=5)
    revoked = [(one["item"], one["law"]) for one in rows(story)["requirement_results"]
               if one["decision"] == "REJECTED"]  # fmt: skip
    assert revoked == [(1, "01"), (2, "70")]
    assert story.outcome()[1] == {1: "REJECTED"}
