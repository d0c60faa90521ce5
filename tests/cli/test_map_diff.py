"""``gateway map diff``: what changes between two folders, for people and for programs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from gateway.cli import main
from tests.harmonize.small_bundle import write
from tests.kit.paths import ROOT


@pytest.fixture
def folders(tmp_path: Path) -> tuple[str, str]:
    before = write(tmp_path / "before")
    after = write(tmp_path / "after", document=("max: 200, req: O", "max: 300, req: O"))
    return str(before), str(after)


def test_what_changes_is_told_with_its_line(
    folders: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["map", "diff", *folders]) == 1
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("TINY asks Remark (remark) in another way: max 200 becomes 300 (agencies/ORG/")
    assert told[-1].endswith("1 file changed: agencies/ORG/TINY.yaml")


def test_a_program_gets_every_change(folders: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["map", "diff", *folders, "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["before"] != told["after"]
    assert told["files"] == ["agencies/ORG/TINY.yaml"]
    one = told["changes"][0]
    assert (one["document"], one["part"], one["name"], one["change"]) == ("TINY", "ask", "remark", "changed")
    assert (one["before"], one["after"]) == ({"max": "200"}, {"max": "300"})


@pytest.mark.night
def test_nothing_changes_between_a_folder_and_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["map", "diff", "shipped", "shipped"]) == 0
    assert "0 changes" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nowhere", "shipped"], "there is no folder nowhere"),
        (["shipped", "shipped", "--document", "NO"], "NO"),
    ],
)
def test_what_is_not_there_is_misuse(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["map", "diff", *words]) == 2
    assert told in capsys.readouterr().err


def test_a_law_is_told_in_words(folders: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    laws = [
        "law,ko,en,disclaimers\n01,약사법,Pharmaceutical Act,\n02,마약법,,\n",
        "law,ko,en,disclaimers\n01,약사법,Drugs Act,A\n64,임업법,Forestry Act,\n",
    ]
    for folder, text in zip(folders, laws, strict=True):
        needs = Path(folder) / "needs"
        needs.mkdir()
        (needs / "laws.csv").write_text(text, encoding="utf-8")
        (needs / "choices.csv").write_text("law,direction,hs,documents,reason\n", encoding="utf-8")
    told = [
        "law 01 (Drugs Act) changes: en Pharmaceutical Act becomes Drugs Act; disclaimers ABCZ becomes A",
        "law 64 (Forestry Act) is new",
        "law 02 (마약법) is gone",
    ]
    assert main(["map", "diff", *folders]) == 1
    assert capsys.readouterr().out.splitlines()[1:4] == told
    assert main(["map", "diff", *folders, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["laws"] == told
    assert main(["map", "diff", *folders, "--document", "TINY"]) == 1
    assert "law 64" not in capsys.readouterr().out


@pytest.mark.night
def test_rules_of_need_and_status_codes_are_told_in_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    after = tmp_path / "after"
    shutil.copytree(ROOT / "mappings", after)
    choices = after / "needs" / "choices.csv"
    text = choices.read_text("utf-8")
    old = "05,import,1603,KFDA-FOOD-IMP NFPQIS-FOOD-IMP"
    assert old in text
    choices.write_text(text.replace(old, "05,import,1603,KFDA-FOOD-IMP"), encoding="utf-8")
    codes = after / "codelists" / "requirement-status.csv"
    text = codes.read_text("utf-8")
    row = next(line for line in text.splitlines() if line.startswith("E06,"))
    assert row.count(",inspect,") == 1, row
    codes.write_text(text.replace(row, row.replace(",inspect,", ",acknowledge,")), encoding="utf-8")
    (table,) = (after / "needs" / "tables").glob("*.csv")
    lines = table.read_text("utf-8").splitlines(keepends=True)
    table.write_text("".join(lines[:-2]), encoding="utf-8")
    assert main(["map", "diff", "shipped", str(after), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    choice, rows, status = told["rules"]
    assert choice.startswith("law 05, import: the documents to choose from, 03 0508")
    assert "1603: KFDA-FOOD-IMP or NFPQIS-FOOD-IMP; " in choice
    assert "1603: KFDA-FOOD-IMP; " in choice.partition(" become ")[2]
    assert rows.startswith("table of needs ")
    assert rows.endswith("2 rows gone (see `gateway rules diff`)")
    assert status == "status code E06 (inspection under way) changes: event inspect becomes acknowledge"


CALENDAR = """# calendar: offices
# edition: 2026
# organisations: *
# valid_from: 2026-01-01
# valid_until: 2026-12-31
# rest_days: saturday sunday
# hours: 09:00-18:00
# source: ours
day,kind,name
2026-01-01,holiday,New Year
2026-05-05,holiday,Children
2026-06-03,holiday,Elections
"""
TERMS = """# terms: service
# edition: test
# valid_from: 2026-01-01
# source: ours
document,acknowledge,decide,answer,remind
*,1,10,10,2
TINY,1,5,,
"""


@pytest.mark.night
def test_changed_calendars_are_told_day_by_day(
    folders: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    before, after = (Path(one) / "calendars" for one in folders)
    for place in (before, after):
        place.mkdir()
        (place / "offices.csv").write_text(CALENDAR, encoding="utf-8")
        (place / "terms.csv").write_text(TERMS, encoding="utf-8")
    changed = CALENDAR.replace("2026-06-03,holiday,Elections\n", "2026-06-06,holiday,Memorial Day\n")
    changed = changed.replace("05,holiday,Children", "05,working,Children").replace("18:00", "17:00")
    (after / "offices.csv").write_text(changed, encoding="utf-8")
    (after / "terms.csv").write_text(TERMS.replace("TINY,1,5,,", "OTHER,,3,,"), encoding="utf-8")
    (before / "old.csv").write_text(CALENDAR.replace("edition: 2026", "edition: 2025"), encoding="utf-8")
    assert main(["map", "diff", *folders]) == 1
    *told, last = capsys.readouterr().out.splitlines()
    days = [one for one in told if one.startswith(("calendar", "terms"))]
    assert days == [
        "calendar offices@2025 is gone: 3 days, 2026-01-01 to 2026-12-31",
        "calendar offices@2026 changes: hours 09:00-18:00 becomes 09:00-17:00",
        "calendar offices@2026: 2026-05-05 (Tuesday): holiday, Children becomes working, Children",
        "calendar offices@2026: 2026-06-03 (Wednesday) goes: holiday, Elections",
        "calendar offices@2026: 2026-06-06 (Saturday) comes: holiday, Memorial Day",
        "terms service@test: OTHER comes: decide 3",
        "terms service@test: TINY goes: acknowledge 1, decide 5",
    ]
    assert "calendars/offices.csv" in last
    assert main(["map", "diff", *folders, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["calendars"] == days
    # A file that nobody can read is told with its mistake.
    (after / "offices.csv").write_text(CALENDAR.replace("2026-05-05", "never"), encoding="utf-8")
    main(["map", "diff", *folders])
    assert "calendars/offices.csv cannot be read: GW709" in capsys.readouterr().out
