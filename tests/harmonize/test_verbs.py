"""The verb ``map`` from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.cli import main
from gateway.wire import parse_xml
from tests.harmonize import small_bundle
from tests.harmonize.conftest import SAMPLES


@pytest.mark.night
def test_split_prints_requests_ledger_unaccounted_and_problems(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["map", "split", str(SAMPLES / "import-three-items.xml"), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [request["organisation"] for request in shown["requests"]] == ["KPTA", "KFDA", "NPQS"]
    assert all(
        set(request) >= {"organisation", "document", "application", "xml"} for request in shown["requests"]
    )
    assert (shown["unaccounted"], shown["problems"]) == ([], [])
    importer = next(line for line in shown["ledger"] if line["pointer"] == "42A/67A[1]/74A[1]/R037")
    assert importer["value"] == "주식회사 한빛무역"
    assert [fate["fate"] for fate in importer["fates"]] == ["forwarded"] * 3
    assert importer["fates"][0]["target"] == "Declaration/Agent/Name"
    assert importer["fates"][0]["targets"] == ["Declaration/Agent/Name", "Declaration/Importer/Name"]
    file, line = importer["fates"][0]["rule"].split(":")
    assert file == "agencies/KPTA/KPTA-PHARM-IMP.yaml"
    assert line.isdigit()


def test_the_xpath_of_every_leaf_finds_its_value(capsys: pytest.CaptureFixture[str]) -> None:
    path = SAMPLES / "import-three-items.xml"
    main(["map", "split", str(path), "--json"])
    shown = json.loads(capsys.readouterr().out)
    tree = parse_xml(path.read_bytes()).getroottree()
    assert len({line["pointer"] for line in shown["ledger"]}) == len(shown["ledger"])
    for line in shown["ledger"]:
        (found,) = tree.xpath(line["xpath"], namespaces=shown["namespaces"])
        assert (str(found) if isinstance(found, str) else found.text or "") == line["value"]


def test_split_finds_a_submission_wanting(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (SAMPLES / "import-three-items.xml").read_text("utf-8").replace("<Name>한빛관세법인</Name>", "")
    (tmp_path / "a.xml").write_text(text, encoding="utf-8")
    assert main(["map", "split", str(tmp_path / "a.xml"), "--json"]) == 1
    shown = json.loads(capsys.readouterr().out)
    assert shown["requests"] == []
    assert {(p["id"], p["pointer"]) for p in shown["problems"]} == {("GW503", "42A/57B[1]/R124")}
    assert all(len(line["fates"]) == 3 for line in shown["ledger"])


@pytest.mark.parametrize(
    "content", ["<x/>", "no xml", '<Submission xmlns="urn:single-window:submission:1"/>']
)
def test_split_names_what_is_no_submission(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    (tmp_path / "a.xml").write_text(content, encoding="utf-8")
    assert main(["map", "split", str(tmp_path / "a.xml"), "--json"]) == 1
    problem, *_ = json.loads(capsys.readouterr().out)["problems"]
    assert problem["id"] in ("GW402", "GW104")
    assert problem["line"] == 1
    assert main(["map", "split", str(tmp_path / "a.xml")]) == 1
    assert problem["id"] in capsys.readouterr().err


def test_split_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["map", "split", str(SAMPLES / "import-three-items.xml")]) == 0
    assert "0 unaccounted" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words", [["map", "split", "none.xml"], ["map", "sample", "X", "--items", "0"], ["map"]]
)
def test_misuse(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) in (1, 2)
    assert "Traceback" not in capsys.readouterr().err


def test_a_folder_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mappings = small_bundle.write(tmp_path / "mappings")
    assert main(["map", "build", "--path", str(mappings), "--out", str(tmp_path / "made"), "--json"]) == 0
    written = json.loads(capsys.readouterr().out)["written"]
    schemas = [f"xsd/agencies/ORG/TINY{kind}.xsd" for kind in ("-application", "-fields", "")]
    others = ["mappings/labels/ORG/TINY.csv", "wsdl/agencies/ORG.wsdl"]
    assert sorted(written) == [*others, *schemas]
    assert all((tmp_path / "made" / name).is_file() for name in written)
    assert main(["map", "sample", "TINY", "--path", str(mappings), "--seed", "5"]) == 0
    assert b"TINY" in capsys.readouterr().out.encode()
    assert main(["map", "sample", "TINY", "--path", str(tmp_path / "none")]) == 2


def test_sample_prints_what_split_accepts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["map", "sample", "KFDA-FOOD-IMP", "--seed", "3", "--items", "2"]) == 0
    (tmp_path / "s.xml").write_text(capsys.readouterr().out, encoding="utf-8")
    assert main(["map", "split", str(tmp_path / "s.xml"), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert len(shown["requests"]) == 1
