"""``gateway map check``: verdicts, breaches and exit status, over folders that load and others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway import cli
from gateway.harmonize import load_bundle
from gateway.operations import find_static_problems, mapping_activation
from tests.harmonize.proofs.small_mapping import DOCUMENT, SECOND, line_of, plant, write

PROOFS = {"totality", "lossless", "least_disclosure", "never_asked_twice", "agreement"}


def check(folder: Path, capsys: pytest.CaptureFixture[str], *more: str) -> tuple[int, dict[str, Any]]:
    status = cli.main(["map", "check", "--path", str(folder), "--json", "--samples", "2", *more])
    return status, json.loads(capsys.readouterr().out)


@pytest.mark.story("an author of mappings proves a folder")
def test_a_good_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, shown = check(plant(tmp_path), capsys)
    assert status == 0
    assert (shown["documents"], shown["organisations"], shown["problems"]) == (2, 1, [])
    assert set(shown["proofs"]) == PROOFS
    assert all(proof["ok"] and proof["checked"] > 0 for proof in shown["proofs"].values())
    assert shown["document_ids"] == ["PLANT", "SEED"]
    assert shown["boxes"] == {
        "on_forms": 16,
        "asked": 14,
        "common": {"boxes": 8, "distinct": 6},
        "own": {"boxes": 8, "distinct": 8},
    }


@pytest.mark.refusal("an author of mappings breaks a rule")
def test_a_breach_names_place_and_counter_example(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = plant(
        tmp_path, ('            when: {risky: {is: "true"}}', '            when: {risky: {is: "false"}}')
    )
    status, shown = check(folder, capsys)
    assert status == 1
    assert not shown["proofs"]["totality"]["ok"]
    assert shown["problems"][0] == {
        "proof": "totality",
        "file": DOCUMENT,
        "line": line_of(tmp_path, "  reason: {"),
        "field": "reason",
        "message": "must be given and every line that sends it is shut by its condition",
        "counter_example": "risky = true",
    }


def test_every_document_that_does_not_load_is_told_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write(tmp_path, (DOCUMENT, "law:", "lore:"), (SECOND, "means: seed.variety", "means: hue"))
    status, shown = check(folder, capsys)
    assert status == 1
    assert shown["documents"] == 0
    assert {(one["proof"], one["file"]) for one in shown["problems"]} == {
        ("load", DOCUMENT),
        ("never_asked_twice", SECOND),
    }
    assert not shown["proofs"]["never_asked_twice"]["ok"]
    assert all(one["line"] > 0 and one["counter_example"] for one in shown["problems"])


def test_a_folder_that_does_not_load_at_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write(tmp_path, ("common.yaml", "meanings:", "meaning:"))
    status, shown = check(folder, capsys)
    assert status == 1
    assert {proof["ok"] for proof in shown["proofs"].values()} == {False}
    (problem,) = shown["problems"]
    assert (problem["proof"], problem["file"]) == ("load", "common.yaml")
    (tmp_path / "common.yaml").unlink()
    status, shown = check(folder, capsys)
    assert (status, shown["problems"][0]["file"], shown["problems"][0]["line"]) == (1, "common.yaml", 0)


@pytest.mark.night
def test_laws_that_cannot_be_read_are_told_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write(tmp_path)
    needs = tmp_path / "needs"
    needs.mkdir()
    (needs / "choices.csv").write_text("law,direction,hs,documents,reason\n")
    (needs / "laws.csv").write_text("law,ko,en,disclaimers\n91,하나,One,\n91,둘,Two,\n")
    status, shown = check(folder, capsys)
    (problem,) = shown["problems"]
    assert (status, problem["file"], problem["line"]) == (1, "needs/laws.csv", 3)
    assert "each code once" in problem["message"]


def test_for_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = plant(tmp_path, ("ko: 비고, en: Remark", "ko: 수입자, en: Importer"))
    assert cli.main(["map", "check", "--path", str(folder), "--samples", "0"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "2 documents of 1 organisations"
    assert any(line.split()[:4] == ["never", "asked", "twice", "BROKEN"] for line in lines)
    assert lines[-2].startswith(f"{DOCUMENT}:{line_of(tmp_path, '  remark: {')} remark (never_asked_twice): ")
    assert lines[-1] == "    for example: Declaration/GoodsShipment/Importer/Name = A and remark = B"


def test_no_folder_is_misuse(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["map", "check", "--path", str(tmp_path / "none")]) == 2
    assert "GW808" in capsys.readouterr().err


def test_the_check_of_a_gateway_tells_what_the_text_breaks(tmp_path: Path) -> None:
    assert list(find_static_problems(load_bundle(plant(tmp_path / "good")))) == []
    folder = plant(tmp_path / "bad", ("ko: 비고, en: Remark", "ko: 수입자, en: Importer"))
    (problem,) = find_static_problems(load_bundle(folder))
    assert (problem.problem.id, problem.location) == ("GW502", f"{DOCUMENT}:{line_of(folder, '  remark: {')}")


def test_the_same_mappings_are_proved_once_in_a_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = plant(tmp_path / "bad", ("ko: 비고, en: Remark", "ko: 수입자, en: Importer"))
    (first,) = find_static_problems(load_bundle(bad))
    monkeypatch.setattr(mapping_activation, "check_bundle", lambda *_, **__: pytest.fail("proved again"))
    (second,) = find_static_problems(load_bundle(bad))
    assert (str(first), first.location) == (str(second), second.location)
    assert first is not second


def test_of_a_folder_in_which_nothing_loads_nothing_holds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = plant(tmp_path / "bad", ("ko: 비고, en: Remark", "ka: 비고, en: Remark"))
    for other in folder.rglob("agencies/**/*.yaml"):
        if other != folder / DOCUMENT:
            other.unlink()
    assert cli.main(["map", "check", "--path", str(folder), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert [one["proof"] for one in told["problems"]] == ["load"]
    assert not any(verdict["ok"] for verdict in told["proofs"].values())


@pytest.mark.night
def test_a_law_that_the_law_book_lacks_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = plant(tmp_path, ('law: ["99"]', 'law: ["12", "X9"]'))
    note = "law {} of PLANT is not in needs/laws.csv: no rule of need and no disclaimer can name it"
    status, shown = check(folder, capsys)
    assert (status, [one for one in shown["notes"] if "PLANT is not" in one]) == (0, [note.format("X9")])
    needs = folder / "needs"
    needs.mkdir()
    (needs / "laws.csv").write_text("law,ko,en,disclaimers\nX9,하나,One,\n", "utf-8")
    (needs / "choices.csv").write_text("law,direction,hs,documents,reason\n", "utf-8")
    status, shown = check(folder, capsys)
    assert note.format("12") in shown["notes"]
    assert note.format("X9") not in shown["notes"]


def test_a_law_with_white_space_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, shown = check(plant(tmp_path, ('law: ["99"]', 'law: ["61x y"]')), capsys)
    assert status == 1
    assert shown["problems"][0]["message"] == "expected codes of laws without white space, found 61x y"
