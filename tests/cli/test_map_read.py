"""The verb ``map read``: what a notice says, for people and for programs; what is wrong, by its XPath."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from lxml import etree

from gateway.cli import main
from gateway.harmonize import MappingBundle, draw_notice, load_bundle
from gateway.share import get_data_folder
from tests.harmonize.test_notice_catalog_reader import XML
from tests.harmonize.test_notice_catalog_reader import folder as small


@pytest.fixture(scope="module")
def bundle() -> MappingBundle:
    return load_bundle(get_data_folder("mappings"))


@pytest.fixture
def notice(bundle: MappingBundle, tmp_path: Path) -> Path:
    """Return the file of an error notice about a pharmaceutical document."""
    maps = bundle.notices
    root, _ = draw_notice(maps.notices["GOVCBRRBG"], maps, "3", bundle.documents["KPTA-PHARM-IMP"])
    path = tmp_path / "notice.xml"
    path.write_bytes(etree.tostring(root, encoding="utf-8"))
    return path


def test_the_facts_are_told_with_place_and_rule(notice: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["map", "read", str(notice), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["notice"], shown["role"], shown["from"]) == ("GOVCBRRBG", "error", "agency")
    assert shown["document"] == "KPTA-PHARM-IMP"
    facts = {fact["name"]: fact for fact in shown["facts"] if not fact["at"]}
    assert facts["status"]["value"] == "B01"
    assert facts["outcome"]["value"] == "error"
    assert facts["outcome"]["transforms"][-1] == "via requirementOutcome@2014-07"
    file, line = facts["issued_at"]["rule"].split(":")
    text = (Path(str(get_data_folder("mappings"))) / file).read_text(encoding="utf-8").splitlines()
    assert "gives: issued_at" in text[int(line) - 1]
    assert facts["issued_at"]["xpath"] == "/Response/IssueDateTime"
    errors = [fact for fact in shown["facts"] if fact["name"] == "error.text"]
    assert [place["about"] for place in shown["places"]] == [
        f"error {fact['value']}" for fact in shown["facts"] if fact["name"] == "error.number"
    ]
    assert len(errors) == len(shown["places"]) > 0
    assert shown["problems"] == []


def test_the_facts_are_told_to_people(notice: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["map", "read", str(notice), "--document", "KPTA-PHARM-IMP"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("GOVCBRRBG Error notice (요건신청 오류통보) about KPTA-PHARM-IMP\n")
    assert "status: B01  (/Response, notices.yaml:" in told
    assert "within Declaration" in told


def test_a_notice_that_is_not_understood(notice: Path, capsys: pytest.CaptureFixture[str]) -> None:
    notice.write_bytes(notice.read_bytes().replace(b"IssueDateTime", b"IssuedDateTime"))
    assert main(["map", "read", str(notice), "--json"]) == 1
    (problem,) = json.loads(capsys.readouterr().out)["problems"]
    assert (problem["id"], problem["xpath"]) == ("GW402", "/Response/IssuedDateTime")
    assert main(["map", "read", str(notice)]) == 1
    assert "GW402" in capsys.readouterr().err


def test_a_notice_of_another_document(notice: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["map", "read", str(notice), "--document", "KPTA-TISSUE-IMP", "--json"]) == 1
    (problem,) = json.loads(capsys.readouterr().out)["problems"]
    assert (problem["id"], problem["xpath"]) == ("GW603", "/Response/Declaration/TypeCode")


@pytest.mark.parametrize(
    "words", [["none.xml"], ["none.xml", "--json"], [], ["NOTICE", "--document", "NONE"]]
)
def test_misuse(words: list[str], notice: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = [str(notice) if word == "NOTICE" else word for word in words]
    assert main(["map", "read", *given]) in (1, 2)
    assert "Traceback" not in capsys.readouterr().err


def test_a_folder_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mappings = small(tmp_path / "mappings")
    (tmp_path / "note.xml").write_text(XML, encoding="utf-8")
    words = ["map", "read", str(tmp_path / "note.xml"), "--document", "TINY", "--path", str(mappings)]
    assert main([*words, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)["facts"]
    weight = next(fact for fact in facts if fact["name"] == "line.weight")
    assert (weight["value"], weight["unit"], weight["item"]) == ("1.5", "KGM", "2")
    assert weight["at"] == ["line[1]"]


@pytest.mark.parametrize("name", ["GOVCBRRBH", "GOVCBRFS7", "GOVCBRFS8", "CERTIFICATE", "GOVCBRDD2"])
def test_a_sample_of_a_notice_is_read(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["map", "sample", name, "--seed", "4"]) == 0
    (tmp_path / "n.xml").write_text(capsys.readouterr().out, encoding="utf-8")
    assert main(["map", "read", str(tmp_path / "n.xml"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["notice"] == name


@pytest.mark.night
def test_a_sample_of_a_certificate_has_a_unit_and_a_document(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    units, path = set(), tmp_path / "n.xml"
    for seed in range(8):
        assert main(["map", "sample", "CERTIFICATE", "--seed", str(seed)]) == 0
        path.write_text(capsys.readouterr().out, encoding="utf-8")
        assert main(["map", "read", str(path), "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert told["document"] in load_bundle(get_data_folder("mappings")).documents
        units |= {one["unit"] for one in told["facts"] if one["name"] == "certified.quantity"}
    assert units - {None, ""} <= {"KGM", "LTR", "C62"}
    assert len(units) > 1


@pytest.mark.parametrize("form", ["json", "fixed"])
def test_a_notice_in_the_form_of_an_organisation_is_read_as_its_xml(
    notice: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    said = ("--document", "KPTA-PHARM-IMP", "--json")
    assert main(["map", "read", str(notice), *said]) == 0
    shown = json.loads(capsys.readouterr().out)
    carried = tmp_path / "carried"
    words = ["map", "render", str(notice), "--document", "GOVCBRRBG", "--form", form, "--out", str(carried)]
    assert main(words) == 0
    capsys.readouterr()
    assert main(["map", "read", str(carried), "--from", form, "--notice", "GOVCBRRBG", *said]) == 0
    assert json.loads(capsys.readouterr().out) == shown
    carried.write_bytes(carried.read_bytes()[:-40])
    assert main(["map", "read", str(carried), "--from", form, "--notice", "GOVCBRRBG", *said]) == 1
    assert json.loads(capsys.readouterr().out)["problems"][0]["id"] == "GW718"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--from", "json"), "needs the --notice"),
        (("--notice", "GOVCBRRBG"), "belong to --from"),
        (("--from", "json", "--notice", "GOVCBRRBG", "--organisation", "NOBODY"), "no organisation 'NOBODY'"),
    ],
)
def test_what_the_form_of_a_file_needs(
    notice: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], told: str
) -> None:
    assert main(["map", "read", str(notice), *words]) == 2
    assert told in capsys.readouterr().err


PASS = (
    '<Response xmlns="urn:single-window:document:govcbrrbh:1"><TypeCode>GOVCBRRBH</TypeCode><Declaration>'
    "<TypeCode>GOVCBRBR1</TypeCode><ID>A26000001001N</ID></Declaration><ID>H-1</ID>"
    "<IssueDateTime>20261120180000</IssueDateTime><Status><NameCode>{code}</NameCode></Status></Response>"
)


@pytest.mark.parametrize(("code", "waits"), [("F03", True), ("F01", False), ("C01", False)])
def test_a_pass_that_the_hub_waits_with_is_told_so(
    code: str, waits: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "n.xml"
    file.write_text(PASS.format(code=code), encoding="utf-8")
    words = ["map", "read", str(file), "--document", "NPQS-PLA-IMP"]
    assert main(words) == 0
    assert ("The hub does not decide by this notice alone" in capsys.readouterr().out) is waits
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["waits"] is waits


def test_another_documents_code_is_told_as_the_hub_tells_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "n.xml"
    file.write_text(PASS.format(code="F03"), encoding="utf-8")
    assert main(["map", "read", str(file), "--document", "KFDA-FOOD-IMP", "--json"]) == 1
    (problem,) = json.loads(capsys.readouterr().out)["problems"]
    assert (problem["id"], problem["xpath"]) == ("GW603", "/Response/Declaration/TypeCode")
