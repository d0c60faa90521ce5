"""``gateway rules``: asks the rules of need, checks a submission, compares tables."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import main
from tests.kit.databases import Templates
from tests.kit.paths import ROOT

SAMPLE = ROOT / "conformance/samples/import-three-items.xml"
HEAD = "# table: border\n# edition: {edition}\n# valid_from: 2026-01-01\nhs,direction,law,origin\n"

Output = pytest.CaptureFixture[str]


def run(capsys: Output, *words: str, status: int = 0) -> Any:
    """Return the JSON of a verb that ends with a status."""
    capsys.readouterr()
    assert main([*words, "--json"]) == status
    return json.loads(capsys.readouterr().out)


def refuse(capsys: Output, *words: str) -> Any:
    """Return the JSON of a failure."""
    capsys.readouterr()
    assert main([*words, "--json"]) == 1
    return json.loads(capsys.readouterr().err)


def ask(capsys: Output, *words: str, **options: int) -> Any:
    return run(capsys, "rules", "ask", "--direction", "import", *words, **options)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    file = tmp_path / "border.csv"
    rows = "0301110000,import,76,\n0301110000,import,12,CN\n2106,import,05,\n"
    file.write_text(HEAD.format(edition="1") + rows, "utf-8")
    return file


def test_a_certain_need_has_every_key(capsys: Output) -> None:
    told = ask(capsys, "--hs", "3002904000", "--date", "2026-11-22")
    by_law = {one["law"]: one for one in told["needs"]}
    assert sorted(by_law) == ["01", "05", "12", "27", "73", "76", "80"]
    assert by_law["01"] == {
        "law": "01",
        "law_name": "Pharmaceutical Affairs Act",
        "law_names": {"ko": "약사법", "en": "Pharmaceutical Affairs Act"},
        "organisation": "KPTA",
        "organisations": ["KPTA"],
        "documents": ["KPTA-PHARM-IMP"],
        "certainty": "certain",
        "mandatory": True,
        "exemptions": ["A", "B", "C", "Z"],
        "table": "kr-customs-confirmation@2016-02",
        "test_edition": True,
        "valid_from": "2016-02-01",
        "valid_until": None,
    }
    # Law 27 is asked by an authority outside the gateway.
    assert (by_law["27"]["documents"], by_law["27"]["organisation"]) == ([], "")
    assert [one["id"] for one in told["warnings"]] == ["GW510"]


def test_a_shorter_code_is_possible_with_a_warning(capsys: Output) -> None:
    told = ask(capsys, "--hs", "3002.90", "--date", "2026-11-22")
    assert {one["certainty"] for one in told["needs"]} == {"possible"}
    assert "6 digits, not ten" in told["warnings"][-1]["message"]
    nothing = ask(capsys, "--hs", "98", "--date", "2026-11-22")
    assert nothing["needs"] == []
    assert "possible" not in " ".join(one["message"] for one in nothing["warnings"])
    foreign = ask(capsys, "--hs", "3002904000", "--country", "gb", "--date", "2026-11-22")
    assert {one["certainty"] for one in foreign["needs"]} == {"possible"}


def test_a_code_that_does_not_exist_is_told(capsys: Output) -> None:
    """No need is no answer then: a declaration with it is refused, or warned of."""
    words = ("--date", "2026-11-22", "--hs")
    for code in ("9999999999", "0000000000", "00"):
        told = ask(capsys, *words, code)
        assert (told["needs"], told["warnings"][0]["id"]) == ([], "GW403")
        assert told["warnings"][0]["message"].startswith(f"The HS code is of no chapter: '{code}'")
        assert told["warnings"][0]["message"].endswith("a declaration with it is refused")
    (first, *_) = ask(capsys, *words, "0301999999")["warnings"]
    assert "The HS code is not in HS 2022" not in first["message"]
    (first, *_) = ask(capsys, *words, "0309999999")["warnings"]
    assert first["message"].startswith("The HS code is not in HS 2022: ")
    assert main(["rules", "ask", "--direction", "import", *words, "9999999999"]) == 0
    assert "warning: The HS code is of no chapter" in capsys.readouterr().out


def test_before_its_first_day_a_table_says_nothing(capsys: Output) -> None:
    told = ask(capsys, "--hs", "3002904000", "--date", "2016-01-31")
    assert told["needs"] == []
    assert "no table is in force on 2016-01-31" in told["warnings"][0]["message"]


def test_today_is_that_of_the_zone_of_the_hub(
    capsys: Output, tmp_path: Path, templates: Templates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub weighs what it receives by its own day: that of Seoul begins nine hours before that of UTC."""
    home = tmp_path / "home"
    templates.fill_home(home)
    settings = '[hub]\nhome = "."\ntime_zone = "{}"\n'
    (home / "gateway.toml").write_text(settings.format("UTC"))
    late = datetime(2026, 11, 21, 20, 0, tzinfo=UTC)
    monkeypatch.setattr("gateway.hub.get_current_time", lambda: late)
    # Without a home it is the zone of a hub whose settings say none.
    assert ask(capsys, "--hs", "3002904000")["date"] == "2026-11-22"
    assert ask(capsys, "--hs", "3002904000", "--home", str(home))["date"] == "2026-11-21"
    (home / "gateway.toml").write_text(settings.format("Asia/Seoul"))
    assert ask(capsys, "--hs", "3002904000", "--home", str(home))["date"] == "2026-11-22"
    table = tmp_path / "border.csv"
    row = "1905320000,import,05,\n"
    table.write_text(HEAD.format(edition="1").replace("2026-01-01", "2026-11-22") + row, "utf-8")
    assert main(["rules", "load", str(table), "--home", str(home)]) == 0
    told = run(capsys, "rules", "check", str(SAMPLE), "--home", str(home))
    assert "border@1" in told["tables"]


def test_a_file_is_asked_instead_of_the_tables_in_force(capsys: Output, table: Path) -> None:
    words = ("--hs", "0301110000", "--table", str(table), "--date", "2026-11-22")
    assert [(one["law"], one["certainty"]) for one in ask(capsys, *words)["needs"]] == [
        ("12", "possible"),
        ("76", "certain"),
    ]
    (warning,) = ask(capsys, *words)["warnings"]
    assert "law 12 depends on the origin or the use" in warning["message"]
    stated = ask(capsys, *words, "--origin", "US")
    assert [one["law"] for one in stated["needs"]] == ["76"]
    assert stated["warnings"] == []


@pytest.mark.parametrize(
    "words",
    [
        ("--hs", "12345"),
        ("--hs", "fish"),
        ("--hs", "03", "--date", "soon"),
        ("--hs", "03", "--origin", "KOR"),
    ],
)
def test_misuse_is_told(capsys: Output, words: tuple[str, ...]) -> None:
    assert main(["rules", "ask", "--direction", "import", *words]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_a_wrong_table_is_named_with_line_and_column(capsys: Output, table: Path) -> None:
    table.write_text(table.read_text("utf-8") + "0302,import,99,\n", "utf-8")
    assert main(["rules", "ask", "--hs", "03", "--direction", "import", "--table", str(table)]) == 1
    said = capsys.readouterr()
    assert "GW512" in said.err
    assert f"{table}: line 8, column 3 (law): expected a law of laws.csv, found 99" in said.out


@pytest.mark.parametrize(
    "words", [("ask", "--hs", "03", "--direction", "import", "--table"), ("check", str(SAMPLE), "--table")]
)
def test_every_mistake_of_a_table_is_told(capsys: Output, table: Path, words: tuple[str, ...]) -> None:
    table.write_text(table.read_text("utf-8") + "0302,import,99,\n030,out,76,XX\n", "utf-8")
    told = refuse(capsys, "rules", *words, str(table))
    places = [(one["file"], one["line"], one["field"]) for one in told["mistakes"]]
    lines = [(8, "law"), (9, "hs"), (9, "direction"), (9, "origin")]
    assert places == [(str(table), line, field) for line, field in lines]
    assert "4 mistakes; nothing was asked" in told["detail"]


def test_the_mistakes_of_both_tables_are_told_and_at_most_a_hundred_of_each(
    capsys: Output, tmp_path: Path, table: Path
) -> None:
    other = tmp_path / "other.csv"
    other.write_text(HEAD.format(edition="2") + "x,import,76,\n" * 500, "utf-8")
    table.write_text(table.read_text("utf-8") + "0302,import,99,\n", "utf-8")
    told = refuse(capsys, "rules", "diff", str(table), str(other))
    assert [one["file"] for one in told["mistakes"]] == [str(table), *[str(other)] * 100]
    assert f"{table}: 1 mistake; {other}: at least 100 mistakes" in told["detail"]


def test_tables_that_have_nothing_to_do_with_each_other_are_told_as_that(
    capsys: Output, tmp_path: Path, table: Path
) -> None:
    other = tmp_path / "other.csv"
    other.write_text(HEAD.format(edition="1").replace("border", "port") + "8471,export,76,\n", "utf-8")
    names, rows = run(capsys, "rules", "diff", str(table), str(other))["remarks"]
    assert names.startswith("border and port are different tables")
    assert rows == "No row of one is in the other: the tables are wholly different."
    assert run(capsys, "rules", "diff", str(table), str(table))["remarks"] == [
        "The tables have the same rows."
    ]
    assert main(["rules", "diff", str(table), str(other)]) == 0
    assert "wholly different" in capsys.readouterr().out


def test_a_submission_is_checked_item_by_item(capsys: Output, tmp_path: Path, table: Path) -> None:
    words = ("--table", str(table), "--date", "2026-11-22")
    text = SAMPLE.read_text("utf-8")
    file = tmp_path / "submission.xml"
    file.write_text(text, "utf-8")
    good = run(capsys, "rules", "check", str(file), *words)
    codes = [one["hs"] for one in good["items"]]
    assert good["missing"] == []
    assert good["direction"] == "import"
    with table.open("a", encoding="utf-8") as more:
        more.write(f"{codes[0]},import,23,\n")
    lacking = run(capsys, "rules", "check", str(file), *words, status=1)
    assert [(one["id"], one["pointer"]) for one in lacking["missing"]] == [("GW508", "42A/67A[1]/68A[1]")]
    assert "needs KTL-ELEC-IMP under law 23" in lacking["missing"][0]["message"]
    assert lacking["missing"][0]["line"] > 1
    assert lacking["missing"][0]["xpath"].endswith("GovernmentAgencyGoodsItem[1]")
    # A disclaimer of the law answers the need.
    text = text.replace("</Submission>", '<Disclaimer item="1" law="23" reason="B"/></Submission>')
    file.write_text(text, "utf-8")
    weighed = run(capsys, "rules", "check", str(file), *words)
    assert weighed["missing"] == []
    assert [(one["law"], one["verdict"]) for one in weighed["disclaimers"]] == [("23", "accepted")]
    assert main(["rules", "check", str(file), *words]) == 0
    assert "nothing missing" in capsys.readouterr().out
    # The case of an amendment is not asked here.
    assert "submission check" not in str(weighed["warnings"])
    file.write_text(text.replace("<Function>9<", "<Function>13<"), "utf-8")
    changed = run(capsys, "rules", "check", str(file), *words)
    assert "`gateway submission check FILE --home DIR` says what it will say" in str(changed["warnings"])


def test_applications_of_the_other_direction_are_named(capsys: Output, tmp_path: Path) -> None:
    file = tmp_path / "submission.xml"
    text = SAMPLE.read_text("utf-8")
    file.write_text(text.replace("<TypeCode>IMA<", "<TypeCode>EXA<"), "utf-8")
    # No table is in force on that day: the direction is judged without one, too.
    for day in ("2026-11-22", "2010-01-01"):
        told = run(capsys, "rules", "check", str(file), "--date", day, status=1)
        errors = [(one["id"], one["pointer"]) for one in told["missing"] if one["id"] == "GW404"]
        assert errors == [("GW404", f"APP[{number}]") for number in range(1, text.count("<Application ") + 1)]
        assert "is for import (수입), and the declaration is for export" in told["missing"][0]["message"]
    # It is not superfluous, and sent on all the same: it is refused.
    narcotics = ROOT / "conformance" / "submissions" / "KFDA-NARC-EXP" / "valid.xml"
    file.write_text(narcotics.read_text("utf-8").replace("<TypeCode>EXA<", "<TypeCode>IMA<"), "utf-8")
    told = run(capsys, "rules", "check", str(file), "--date", "2026-11-22", status=1)
    assert "GW404" in {one["id"] for one in told["missing"]}
    assert "GW511" not in {one["id"] for one in told["warnings"]}


@pytest.mark.parametrize(
    ("day", "words"), [("2010-01-01", "no table is in force on 2010-01-01"), ("2026-11-22", "a test edition")]
)
def test_who_checks_is_told_what_the_tables_are(capsys: Output, day: str, words: str) -> None:
    told = run(capsys, "rules", "check", str(SAMPLE), "--date", day)
    assert words in told["warnings"][0]["message"]
    assert main(["rules", "check", str(SAMPLE), "--date", day]) == 0
    assert f"warning: {told['warnings'][0]['message']}\n" in capsys.readouterr().out


def test_a_declaration_alone_is_checked_and_other_files_are_refused(capsys: Output, tmp_path: Path) -> None:
    declaration = tmp_path / "declaration.xml"
    declaration.write_text(
        '<Declaration xmlns="urn:wco:datamodel:WCO:DEC-DMS:2"><TypeCode>IMA</TypeCode><GoodsShipment>'
        "<GovernmentAgencyGoodsItem><SequenceNumeric>1</SequenceNumeric><Commodity><Classification>"
        "<ID>3002904000</ID></Classification></Commodity></GovernmentAgencyGoodsItem></GoodsShipment>"
        "</Declaration>",
        "utf-8",
    )
    told = run(capsys, "rules", "check", str(declaration), "--date", "2026-11-22", status=1)
    assert {one["id"] for one in told["missing"]} == {"GW508"}
    declaration.write_text("<other/>", "utf-8")
    assert main(["rules", "check", str(declaration)]) == 1
    assert "GW402" in capsys.readouterr().err


def test_two_tables_are_compared(capsys: Output, tmp_path: Path, table: Path) -> None:
    later = tmp_path / "later.csv"
    later.write_text(
        HEAD.format(edition="2") + "0301110000,import,76,\n2106,import,73,\n2106,import,05,JP\n", "utf-8"
    )
    told = run(capsys, "rules", "diff", str(table), str(later))
    assert (told["before"], told["after"], told["remarks"]) == ("border@1", "border@2", [])
    assert [(one["law"], one["origin"]) for one in told["added"]] == [("05", "JP"), ("73", "")]
    assert [(one["hs"], one["law"]) for one in told["removed"]] == [("0301110000", "12"), ("2106", "05")]
    assert main(["rules", "diff", str(table), str(later)]) == 0
    assert "+ 2106 import law 73" in capsys.readouterr().out
