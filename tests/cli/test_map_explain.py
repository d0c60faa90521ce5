"""``gateway map explain`` from the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from gateway.cli import main
from gateway.harmonize import draw_notice, load_bundle
from gateway.share import get_data_folder
from gateway_conformance import DATA_FOLDER
from tests.kit.error_keys import get_error_keys
from tests.kit.paths import ROOT

SAMPLE = Path(str(DATA_FOLDER)) / "samples" / "import-three-items.xml"
IMPORTER = "42A/67A[1]/74A[1]/R037"


def explained(capsys: pytest.CaptureFixture[str], *words: str, status: int = 0) -> dict[str, Any]:
    """Return what the verb prints as JSON."""
    assert main(["map", "explain", *words, "--json"]) == status
    shown: dict[str, Any] = json.loads(capsys.readouterr().out)
    return shown


@pytest.mark.night
def test_a_leaf_with_its_octets_and_every_agency(capsys: pytest.CaptureFixture[str]) -> None:
    shown = explained(capsys, IMPORTER, "--submission", str(SAMPLE))
    (leaf,) = shown["leaves"]
    octets = SAMPLE.read_bytes()[leaf["bytes"]["start"] : leaf["bytes"]["end"]]
    assert octets.decode() == leaf["value"] == "주식회사 한빛무역"
    assert leaf["xpath"].endswith("/wco:Importer/wco:Name")
    before = SAMPLE.read_bytes()[: leaf["bytes"]["start"]]
    assert leaf["line"] == before.count(b"\n") + 1
    assert [fate["organisation"] for fate in leaf["fates"]] == ["KPTA", "KFDA", "NPQS"]
    written = leaf["fates"][0]["written"][0]
    assert (written["path"], written["loss"]) == ("Declaration/Agent/Name", "exact")
    assert written["rule"].startswith("agencies/KPTA/KPTA-PHARM-IMP.yaml:")
    assert len(shown["bundle"]) == 64


def test_the_version_of_a_code_list_and_the_chain(capsys: pytest.CaptureFixture[str]) -> None:
    pointer = "APP[1]/KPTA-PHARM-IMP/ITEM[1]/ModelQuantity[1]/@unitCode"
    (leaf,) = explained(capsys, pointer, "--submission", str(SAMPLE))["leaves"]
    (written,) = leaf["fates"][0]["written"]
    assert written["transforms"] == ["via rec20ToKcs@2026-11"]
    assert written["lists"][0]["version"] == "2026-11"
    assert written["value"] == "BOX"


def test_a_place_in_a_request_leads_back(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--request", "LPCO[FR2001]/DetailContents/Product/BatchNo", "--document", "KPTA-PHARM-IMP")
    (one,) = explained(capsys, *words, "--submission", str(SAMPLE))["requests"]
    (spot,) = one["from"]
    assert (one["application"], spot["pointer"]) == ("A1", "APP[1]/KPTA-PHARM-IMP/ITEM[1]/BatchNo[1]")
    octets = SAMPLE.read_bytes()[spot["bytes"]["start"] : spot["bytes"]["end"]]
    assert octets.decode() == spot["value"] == one["value"]
    assert explained(capsys, *words)["declared"][0]["name"] == "batch_no"
    assert explained(capsys, *words, "--submission", str(SAMPLE), "--application", "A1")["requests"]


def test_an_xpath_and_one_document_alone(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--submission", str(SAMPLE), "--document", "NPQS-PLA-IMP")
    (leaf,) = explained(capsys, "//wco:Importer/wco:Name", *words)["leaves"]
    assert leaf["pointer"] == IMPORTER
    assert [fate["document"] for fate in leaf["fates"]] == ["NPQS-PLA-IMP"]
    currencies = explained(capsys, "//@currencyID", *words)["leaves"]
    assert {leaf["value"] for leaf in currencies} == {"KRW", "USD"}
    (unsent,) = explained(capsys, IMPORTER, "--submission", str(SAMPLE), "--application", "A2")["leaves"]
    assert [len(fate["written"]) > 0 for fate in unsent["fates"]].count(True) == 1
    assert main(["map", "explain", "//[", *words]) == 1
    assert "GW404" in capsys.readouterr().err


def test_the_class_of_a_pointer_is_all_that_stands_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    names = [one["name"] for one in explained(capsys, "42A/67A[1]/68A[2]/02A[1]")["declared"]]
    assert "licence.id" in names


def test_an_error_notice_leads_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = load_bundle(get_data_folder("mappings"))
    document = bundle.documents["KPTA-PHARM-IMP"]
    kind = next(one for one in bundle.notices.notices.values() if one.id == "GOVCBRRBG")
    path = "Declaration/LPCO/DetailContents/Product/BatchNo"
    notice, _ = draw_notice(kind, bundle.notices, "explain", document)
    (error, *others) = notice.findall("{*}Error")
    for other in others:
        notice.remove(other)
    place = error.find("{*}Pointer")
    assert place is not None
    section, first, second = get_error_keys(document, path, "1")
    for child in list(place)[1:]:
        place.remove(child)
    for name, text in (("DocumentSectionCode", section), ("TagID", first), ("TagID", second)):
        etree.SubElement(place, f"{{{kind.namespace}}}{name}").text = text
    file = tmp_path / "rbg.xml"
    file.write_bytes(etree.tostring(notice, encoding="UTF-8", xml_declaration=True))
    words = ("--notice", str(file), "--document", "KPTA-PHARM-IMP", "--submission", str(SAMPLE))
    (one,) = explained(capsys, *words)["requests"]
    assert one["path"] == "Declaration/LPCO[1]/DetailContents/Product/BatchNo"
    assert one["from"][0]["pointer"] == "APP[1]/KPTA-PHARM-IMP/ITEM[1]/BatchNo[1]"
    assert [field["name"] for field in explained(capsys, *words[:4])["declared"]] == ["batch_no"]


def test_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["map", "explain", IMPORTER, "--submission", str(SAMPLE)]) == 0
    page = capsys.readouterr().out
    assert "Importer name (수입자 상호), importer.name" in page
    assert "KPTA-PHARM-IMP: forwarded by agencies/KPTA/KPTA-PHARM-IMP.yaml:" in page
    assert main(["map", "explain", "bse_origin"]) == 0
    page = capsys.readouterr().out
    assert "mandatory where bse is 1AU, else forbidden" in page
    assert main(["map", "explain", "--request", "Agent/ID", "--submission", str(SAMPLE)]) == 0
    page = capsys.readouterr().out
    assert "from 42A/67A[1]/74A[1]/R038" in page


def test_what_keeps_a_request_back_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "a.xml"
    text = SAMPLE.read_text("utf-8").replace("<Name>한빛관세법인</Name>", "")
    file.write_text(text, encoding="utf-8")
    shown = explained(capsys, IMPORTER, "--submission", str(file), "--document", "KPTA-PHARM-IMP")
    assert [one["id"] for one in shown["problems"]] == ["GW503"]
    assert shown["leaves"][0]["fates"][0]["written"] == []


def test_nothing_known_is_found_wanting(capsys: pytest.CaptureFixture[str]) -> None:
    shown = explained(capsys, "42A/999", status=1)
    assert (shown["leaves"], shown["requests"], shown["declared"]) == ([], [], [])
    assert main(["map", "explain", "no such thing"]) == 1
    assert "nothing is known" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        [],
        [IMPORTER, "--request", "Agent/ID"],
        [IMPORTER, "--document", "NO-SUCH"],
        [IMPORTER, "--submission", "no-such-file.xml"],
        ["--notice", str(SAMPLE)],
    ],
)
def test_misuse(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["map", "explain", *words]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_a_condition_of_a_repetition_decides_about_its_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(ROOT / "mappings", tmp_path / "mappings")
    file = tmp_path / "mappings/agencies/FITI/FITI-MODEL-IMP.yaml"
    each = "each: {asked: certified_factory, bound: [1, 1]}"
    text = file.read_text(encoding="utf-8")
    assert each in text
    condition = "each: {asked: certified_factory, bound: [0, 1], when: {certified_factory.country: {is: KR}}}"
    file.write_text(text.replace(each, condition), encoding="utf-8")
    found = explained(
        capsys, "certified_factory.name", "--path", str(tmp_path / "mappings"), "--document", "FITI-MODEL-IMP"
    )
    assert "certified_factory.country is KR" in json.dumps(found)
