"""An id with a character that nobody sees is refused wherever a new one comes in, with its place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from lxml import etree
from sqlalchemy import Engine
from sqlalchemy import text as sql

from gateway.cases import (
    CustomsCall,
    CustomsNotice,
    Decision,
    DecisionCode,
    Notice,
    SignedReply,
    check_requirement_result,
)
from gateway.cli import main
from gateway.errors import GatewayError
from gateway.hub import apply_customs_call
from gateway.store import read_transaction, write_transaction
from gateway.wire import SUB, WCO_DEC, serialize_element
from tests.flows.craft import Change, all_of, attribute, reference, text, withdrawal
from tests.kit.house import START
from tests.kit.story import Story, asked, story, unsigned

__all__ = ["story"]

HIDDEN = "\u200b"
#: The inputs of a report: all but the first look like the first.
REFERENCES = [
    "HB-PO-77",
    "HB-PO\u200b-77",
    "HB-\u00adPO-77",
    "\u2060HB-PO-77",
    "HB-PO-\u202e77",
    "HB\u2011PO-77",
    "HB-PO-77  A",
    "HB-PO-٧٧",
]


def test_references_that_look_alike_make_one_case(engine: Engine) -> None:
    story = Story(engine)
    for value in REFERENCES:
        story.submit(story.submission(reference(value)))
    story.tick()
    found = [result.find("{*}Problem") for result in story.inbox.documents("Result")]
    problems = [problem for problem in found if problem is not None]
    places = [(problem.get("id"), problem.get("pointer")) for problem in problems]
    assert places == [("GW404", "/Submission/Reference")] * (len(REFERENCES) - 1)
    for number, problem in zip(("200B", "00AD", "2060", "202E", "2011"), problems[:5], strict=True):
        assert f"(U+{number})" in "".join(problem.itertext())
    with read_transaction(engine) as conn:
        states = conn.execute(sql("SELECT state FROM cases ORDER BY id")).scalars().all()
    assert states[0] == "IN_PROGRESS"


def change_bill_of_lading(root: etree._Element) -> None:
    values = root.iterfind(f"{{{SUB}}}Supplement/{{{SUB}}}Value")
    bill = next(value for value in values if value.get("path", "").endswith("TransportContractDocument/ID"))
    bill.text = f"180{HIDDEN}44128890"


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (text(".//TransportEquipment/ID", f"KMTU{HIDDEN}1"), "/31B["),
        (text(".//UCR/TraderAssignedReferenceID", f"UCR{HIDDEN}"), "/009"),
        (text(".//GovernmentAgencyGoodsItem/AdditionalDocument/ID", f"C1{HIDDEN}"), "/D005"),
        (change_bill_of_lading, "SUP/Declaration/GoodsShipment/Consignment/TransportContractDocument/ID[1]"),
        (text(".//LotNo", f"B1{HIDDEN}"), "APP[1]/"),
        (attribute("Application", "id", f"A{HIDDEN}1"), "APP[1]/@id"),
    ],
    ids=["container", "ucr", "certificate", "supplement", "field", "application"],
)
def test_an_unclear_id_of_a_submission_is_refused_with_its_place(
    engine: Engine, change: Change, place: str
) -> None:
    story = Story(engine)
    story.submit(story.submission(change))
    story.tick()
    (pointer,) = [pointer for problem, pointer in story.problems() if problem == "GW404"]
    assert place in pointer
    assert not [call for call in story.soap.calls if call.destination != "customs"]


@pytest.mark.parametrize(
    "path", [".//Commodity/Description", ".//Packaging/MarksNumbersID", ".//Importer/Communication/ID"]
)
def test_a_text_for_people_may_have_any_character(engine: Engine, path: str) -> None:
    story = Story(engine)
    story.submit(story.submission(text(path, "Tablets\u300010 mg")))
    story.tick()
    assert story.case().state == "IN_PROGRESS"


def test_a_case_that_has_such_a_reference_already_can_be_withdrawn(engine: Engine) -> None:
    story = Story(engine)
    story.submit(story.submission(reference("OLD-1")))
    story.tick()
    with write_transaction(engine, "test") as conn:
        conn.execute(sql("UPDATE cases SET functional_reference = :old"), {"old": f"OLD-1{HIDDEN}"})
    root = story.submission(all_of(reference(f"OLD-1{HIDDEN}"), withdrawal))
    story.submit(root, attach=False, action="Withdraw")
    story.tick()
    assert story.inbox.documents("Result") == []
    assert [call.operation for call in story.soap.calls[-3:]] == ["CancelApplication"] * 3


def test_an_unclear_number_of_a_notice_is_refused(story: Story) -> None:
    with pytest.raises(GatewayError, match="GW404") as refused:
        story.hear("KPTA", asked(story, "KPTA", f"Q{HIDDEN}1"))
    assert refused.value.location == "NoticeNumber"
    notice = story.notice("KPTA", DecisionCode.APPROVED)
    decision = replace(notice.decisions[0], number=f"P{HIDDEN}1")
    with pytest.raises(GatewayError, match="GW404") as refused:
        story.hear("KPTA", replace(notice, decisions=(decision,)))
    assert refused.value.location == "Decision[1]/number"
    story.hear("KPTA", notice)
    assert story.request("KPTA").state == "DECIDED"


def test_an_unclear_number_of_customs_is_refused(story: Story) -> None:
    notice = CustomsNotice(f"C{HIDDEN}1", story.clock(), "R24")
    call = CustomsCall(notice, case_number=story.case().number, is_clearance_result=False)
    with pytest.raises(GatewayError, match="GW404") as refused:
        apply_customs_call(story.hub, call, SignedReply(b"x"))
    assert refused.value.location == "NoticeNumber"


def test_an_unclear_number_of_a_result_without_an_application_is_refused() -> None:
    decision = Decision(1, "70", DecisionCode.APPROVED, "C\u2011")
    notice = Notice("N1", START, "R01", (decision,))
    for number, changed in (("C\u2011", notice), ("C1", replace(notice, number="N\u2011", decisions=()))):
        with pytest.raises(GatewayError, match=r"GW404 .*U\+2011"):
            check_requirement_result("KPTA", number, changed, ["70"])


@pytest.mark.parametrize("path", [".//TransportEquipment/ID", "FunctionalReferenceID"])
def test_a_check_before_sending_tells_the_same(
    path: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = unsigned()
    (declaration,) = root.iter(f"{{{WCO_DEC}}}Declaration")
    text(path, f"KMTU{HIDDEN}1")(declaration)
    file = tmp_path / "declaration.xml"
    file.write_bytes(serialize_element(declaration))
    assert main(["declaration", "check", str(file)]) == 1
    assert "(U+200B)" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        ["party", "add", "broker\u20111"],
        ["party", "add", "broker9", "--id", f"urn:x|b{HIDDEN}"],
        ["party", "add", "broker9", "--id", f"ur{HIDDEN}n|b"],
        ["requirement", "add", "C\u2011", "--agency", "KPTA", "--quantity", "1", "--unit", "KGM"],
        ["account", "add", "ｋim", "--organisation", "operator/hub", "--role", "operator"],
    ],
)
def test_an_unclear_name_is_not_registered(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["migrate", "--new", "--home", str(tmp_path)]) == 0
    assert main([*words, "--home", str(tmp_path)]) == 2
    assert "GW808" in capsys.readouterr().err


@pytest.mark.parametrize("party", [".", ".."])
def test_a_name_that_no_address_can_have_is_not_registered(
    party: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["migrate", "--new", "--home", str(tmp_path)]) == 0
    assert main(["party", "add", party, "--role", "applicant", "--home", str(tmp_path)]) == 2
    assert "GW808" in (refusal := capsys.readouterr().err)
    assert "a step to another page" in refusal
    assert main(["party", "add", f"{party}/b", "--role", "applicant", "--home", str(tmp_path)]) == 0
