"""``gateway map import`` from the command line: writes what loads, and nothing over other work."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.cli import main

INVENTORY = """organisations: [{code: O, name_ko: 기관, kind: government}]
documents:
- {id: D-1, organisation: O, direction: import, law_codes: ['7'], unique: [
    {name: colour, name_ko: 색, type: code, req: M, level: item, code_list: {R: red, G: green}},
    {name: why, name_ko: 이유, type: text, req: C, level: item, max_length: 9, condition: colour is odd}]}
"""


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    """Return a small inventory."""
    path = tmp_path / "inventory.yaml"
    path.write_text(INVENTORY, encoding="utf-8")
    return path


@pytest.mark.story("an author of mappings makes a folder of an inventory")
def test_an_inventory_becomes_a_folder_that_the_other_verbs_take(
    inventory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["map", "import", str(inventory), "--out", str(out), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert set(shown["written"]) == {
        path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()
    }
    (counts,) = shown["documents"]
    assert (counts["document"], counts["asked"], counts["conditions_open"]) == ("D-1", 2, 1)
    assert ("D-1", "why", "condition") in {
        (one["document"], one["field"], one["kind"]) for one in shown["to_finish"]
    }
    assert main(["map", "sample", "D-1", "--path", str(out)]) == 0
    (tmp_path / "s.xml").write_text(capsys.readouterr().out, encoding="utf-8")
    assert main(["map", "split", str(tmp_path / "s.xml"), "--path", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["unaccounted"] == []
    assert main(["map", "build", "--path", str(out), "--out", str(tmp_path / "made")]) == 0
    assert (tmp_path / "made" / "xsd" / "agencies" / "O" / "D-1.xsd").is_file()


@pytest.mark.night
def test_the_work_of_a_person_is_not_written_over(
    inventory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["map", "import", str(inventory), "--out", str(tmp_path / "out")]
    assert main(words) == 0
    assert main(words) == 0
    assert "to finish: D-1 why: the condition 'colour is odd'" in capsys.readouterr().out
    mine = tmp_path / "out" / "agencies" / "O" / "D-1.yaml"
    mine.write_text("# mine\n" + mine.read_text("utf-8"), encoding="utf-8")
    assert main(words) == 2
    assert "GW808" in capsys.readouterr().err
    assert mine.read_text("utf-8").startswith("# mine")
    assert main([*words, "--replace"]) == 0
    assert not mine.read_text("utf-8").startswith("# mine")


def test_a_wrong_inventory_writes_nothing(
    inventory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inventory.write_text(INVENTORY.replace("type: code", "type: colour"), encoding="utf-8")
    assert main(["map", "import", str(inventory), "--out", str(tmp_path / "out")]) == 1
    assert "GW502 D-1.unique.colour.type: expected one of" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["nothing.yaml", "--out", "out"],
        ["inventory.yaml", "--out", "inventory.yaml/x"],
        ["inventory.yaml", "--out", "out", "--documents", "Q"],
    ],
)
def test_misuse_is_told(
    words: list[str],
    inventory: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["map", "import", *words]) == 2
    assert "GW808" in capsys.readouterr().err
