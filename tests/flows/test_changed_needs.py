"""Amendments and supplements are weighed by the rules of need; warnings reach the trader in the Result."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from lxml import etree
from sqlalchemy import Engine

from gateway.config import NeedSettings
from gateway.store import (
    RegisteredRequirement,
    cases,
    read_transaction,
    requirement_quantities,
    write_transaction,
)
from gateway.wire import WCO_DEC
from tests.flows.craft import Change, all_of, because, supplement, text, without
from tests.flows.test_requirement_ledger import record_registration
from tests.kit.databases import BOTH
from tests.kit.story import Story, asked


def disclaim(item: str, law: str, reason: str) -> Change:
    def change(root: etree._Element) -> None:
        element = etree.SubElement(root, "{urn:single-window:submission:1}Disclaimer")
        element.attrib.update({"item": item, "law": law, "reason": reason})

    return change


def code_of(item: int, code: str) -> Change:
    """Give an item another tariff code, of ten digits in the parts that the sample has."""

    def change(root: etree._Element) -> None:
        element = root.findall(".//{*}GovernmentAgencyGoodsItem")[item - 1]
        parts = element.findall("{*}Commodity/{*}Classification")
        rest = code
        for n, one in enumerate(parts):
            found = one.find("{*}ID")
            assert found is not None
            taken = rest if n == len(parts) - 1 else rest[: len(found.text or "")]
            found.text, rest = taken, rest[len(taken) :]

    return change


def amendment(*changes: Change) -> Change:
    return all_of(text("Function", "13"), lambda root: because(root, "17", "Other goods."), *changes)


def start(engine: Engine, policy: str, *changes: Change) -> Story:
    story = Story(engine)
    story.hub.need_policy = NeedSettings(imports=policy, hold_time=timedelta(hours=1))
    story.submit(story.submission(all_of(*changes)))
    story.tick()
    return story


def send(story: Story, action: str, change: Change) -> None:
    story.submit(story.submission(change), action=action)
    story.tick()


def warned(story: Story, case: int) -> list[str]:
    with read_transaction(story.house.engine) as conn:
        row = cases.find_by_id(conn, case)
    assert row is not None
    return [one["text"] for one in (row.detail or {}).get("warnings", ()) if one["id"] == "GW508"]


def in_result(story: Story) -> list[tuple[str | None, str | None]]:
    found = [(one.get("id"), one.get("pointer")) for one in story.result().findall("{*}Warning")]
    # The sample names a number that nobody knows, which is told of as well (GW413).
    return [one for one in found if one[0] != "GW413"]


@BOTH
def test_a_warning_reaches_the_trader_in_the_signed_result(engine: Engine) -> None:
    story = start(engine, "warn", without("Application[@id='A3']"))
    story.decide_all("NPQS")
    story.tick()
    assert in_result(story) == [("GW508", "42A/67A[1]/68A[3]")]
    assert "needs NPQS-PLA-IMP under law 12" in (story.result().findtext("{*}Warning") or "")
    names = [etree.QName(one).localname for one in story.result()]
    assert names.index("Response") == names.index("Warning") + names.count("Warning")
    assert story.result().find("{*}Response/{*}Error") is None


@pytest.mark.parametrize("policy", ["refuse", "hold"])
def test_an_amendment_to_goods_that_need_another_document_is_refused(engine: Engine, policy: str) -> None:
    story = start(engine, policy)
    case = story.case().id
    send(story, "Amend", amendment(code_of(2, "0601101000")))
    assert story.problems() == [("GW508", "42A/67A[1]/68A[2]")]
    assert "item 2 (0601101000) needs NPQS-PLA-IMP" in (story.result().findtext("{*}Problem") or "")
    assert not [one for one in story.soap.calls if one.operation in ("SubmitSupplement", "AmendDeclaration")]
    with read_transaction(story.house.engine) as conn:
        assert cases.find_by_id(conn, case).state == "IN_PROGRESS"  # type: ignore[union-attr]


def test_by_policy_it_is_only_warned_of_and_the_result_says_so(engine: Engine) -> None:
    story = start(engine, "warn")
    assert warned(story, story.case().id) == []
    send(story, "Amend", amendment(code_of(2, "0601101000")))
    assert len(warned(story, story.case().id)) == 1
    send(story, "Amend", amendment())
    assert warned(story, story.case().id) == []


def test_a_disclaimer_that_an_amendment_takes_away_is_missed(engine: Engine) -> None:
    gone = without("Application[@id='A3']")
    story = start(engine, "refuse", gone, disclaim("3", "12", "B"))
    case = story.case().id
    send(story, "Amend", amendment(gone, disclaim("3", "12", "B")))
    assert len(story.inbox.documents("Result")) == 0
    send(story, "Amend", amendment(gone))
    assert story.problems() == [("GW508", "42A/67A[1]/68A[3]")]
    with read_transaction(story.house.engine) as conn:
        assert len(cases.find_by_id(conn, case).detail["disclaimers"]) == 1  # type: ignore[union-attr]


def test_an_unchanged_disclaimer_is_not_told_to_its_agency_again(engine: Engine) -> None:
    story = start(engine, "warn", disclaim("2", "12", "B"))
    send(story, "Amend", amendment(disclaim("2", "12", "B")))
    assert [one for one in story.soap.calls if one.operation == "SubmitSupplement"] == []


def test_what_the_case_was_warned_of_before_does_not_refuse_its_amendment(engine: Engine) -> None:
    """The policy became stricter; the case goes on as it was taken."""
    gone = without("Application[@id='A3']")
    story = start(engine, "warn", gone)
    story.hub.need_policy = NeedSettings(imports="refuse")
    send(story, "Amend", amendment(gone, text("Application[@id='A2']/Fields/Item/ProductNameKo", "와플")))
    assert [one.destination for one in story.soap.calls if one.operation == "SubmitSupplement"] == ["KFDA"]
    assert len(warned(story, story.case().id)) == 1


@pytest.mark.parametrize(
    ("policy", "expect"),
    [("refuse", lambda story: story.problems() == [("GW508", "42A/67A[1]/68A[2]")]),
     ("warn", lambda story: len(warned(story, story.case().id)) == 1)],
)  # fmt: skip
def test_a_supplement_whose_goods_need_another_document(
    engine: Engine, policy: str, expect: Callable[[Story], bool]
) -> None:
    """It names one application; those that the case has besides are not missing."""
    story = start(engine, policy)
    story.hear("KFDA", asked(story, "KFDA", "Q1"))
    story.tick()
    only = all_of(supplement, without("Application[@id='A1']"), without("Application[@id='A3']"))
    send(story, "Supplement", all_of(only, code_of(2, "0601101000")))
    assert expect(story)
    told = [one for one in story.soap.calls if one.operation == "SubmitSupplement"]
    assert len(told) == (policy == "warn")


@pytest.mark.parametrize("policy", ["refuse", "hold"])
def test_the_certificate_that_a_case_uses_up_covers_its_supplement(engine: Engine, policy: str) -> None:
    """All of it is written off, by this case."""

    def use_certificate(root: etree._Element) -> None:
        goods = root.findall(".//{*}GovernmentAgencyGoodsItem")[2]
        for stated in goods.findall("{*}AdditionalDocument"):
            goods.remove(stated)
        used = etree.Element(f"{{{WCO_DEC}}}AdditionalDocument")
        etree.SubElement(used, f"{{{WCO_DEC}}}ID").text = "P-1"
        off = etree.SubElement(used, f"{{{WCO_DEC}}}WriteOff")
        etree.SubElement(off, f"{{{WCO_DEC}}}QuantityQuantity", unitCode="KGM").text = "100"
        goods.insert([child.tag.rpartition("}")[2] for child in goods].index("Commodity"), used)

    story = Story(engine)
    story.hub.need_policy = NeedSettings(imports=policy, hold_time=timedelta(hours=1))
    with write_transaction(engine) as conn:
        certificate = RegisteredRequirement("P-1", "NPQS", "100", "KGM", laws=("12",))
        assert requirement_quantities.register_requirement(conn, certificate, story.clock())
        record_registration(conn, certificate, story.clock())
    filed = all_of(without("Application[@id='A3']"), use_certificate)
    story.submit(story.submission(filed))
    story.tick()
    assert story.case().state == "IN_PROGRESS"
    story.hear("KFDA", asked(story, "KFDA", "Q1"))
    story.tick()
    send(story, "Supplement", all_of(supplement, filed, without("Application[@id='A1']")))
    assert len([one for one in story.soap.calls if one.operation == "SubmitSupplement"]) == 1


def test_a_supplement_that_changes_no_goods_is_not_warned_of(engine: Engine) -> None:
    story = start(engine, "refuse")
    story.hear("KFDA", asked(story, "KFDA", "Q1"))
    story.tick()
    only = all_of(supplement, without("Application[@id='A1']"), without("Application[@id='A3']"))
    send(story, "Supplement", only)
    assert len([one for one in story.soap.calls if one.operation == "SubmitSupplement"]) == 1
    assert warned(story, story.case().id) == []
