"""``gateway calendar``: shows days, checks files, computes what is due."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import main
from gateway.share import get_data_folder
from tests.kit.paths import ROOT

SHIPPED = ROOT / "mappings/calendars/kr-public-offices-2026.csv"
Output = pytest.CaptureFixture[str]


def run(capsys: Output, *words: str, status: int = 0) -> list[Any]:
    """Return what a verb prints as JSON, its failure where it fails."""
    capsys.readouterr()
    assert main(["calendar", *words, "--json"]) == status
    printed = capsys.readouterr()
    return [json.loads(line) for line in (printed.out if status == 0 else printed.err).splitlines()]


def test_a_period_has_working_days_holidays_and_substitutes(capsys: Output) -> None:
    days = run(capsys, "show", "KFDA", "--from", "2026-10-02", "--until", "2026-10-06")
    assert [(one["day"], one["working"], one["kind"]) for one in days] == [
        ("2026-10-02", True, None),
        ("2026-10-03", False, "holiday"),
        ("2026-10-04", False, None),
        ("2026-10-05", False, "substitute"),
        ("2026-10-06", True, None),
    ]
    assert {(one["edition"], one["test_edition"]) for one in days} == {("kr-public-offices@2026-2027", True)}


def test_a_day_that_is_not_known_fails_with_its_problem(capsys: Output) -> None:
    (told,) = run(capsys, "show", "KFDA", "--from", "2027-12-30", status=1)
    assert told["problem"] == "GW710"
    (told,) = run(capsys, "deadline", "KFDA", "--from", "2027-12-30T10:00:00+09:00", "--days", "9", status=1)
    assert (told["problem"], told["location"]) == ("GW710", "2028-01-01")


def test_a_deadline_of_days_and_of_a_document(capsys: Output) -> None:
    start = ("--from", "2026-09-21T10:00:00+09:00")
    (told,) = run(capsys, "deadline", "KFDA", *start, "--days", "5")
    assert (told["due"], told["remind"]) == ("2026-09-30T18:00:00+09:00", None)
    (told,) = run(capsys, "deadline", "KFDA", *start, "--document", "KFDA-FOOD-IMP", "--term", "decide")
    assert (told["working_days"], told["due"], told["remind"]) == (
        10,
        "2026-10-08T18:00:00+09:00",
        "2026-10-06T09:00:00+09:00",
    )
    assert main(["calendar", "deadline", "KFDA", *start]) == 2


def test_a_file_is_checked(capsys: Output, tmp_path: Path) -> None:
    (told,) = run(capsys, "check", str(SHIPPED))
    assert (told["kind"], told["organisations"], told["test_edition"]) == ("calendar", ["*"], True)
    wrong = tmp_path / "wrong.csv"
    wrong.write_text(SHIPPED.read_text("utf-8").replace("holiday", "feast").replace("*", "KFDX"), "utf-8")
    (told,) = run(capsys, "check", str(wrong), status=1)
    assert told["problem"] == "GW709"
    assert told["mistakes"][0] == {"line": 3, "message": "organisations: 'KFDX' is not known"}


@pytest.mark.night
def test_a_file_of_an_organisation_of_other_mappings_is_checked(capsys: Output, tmp_path: Path) -> None:
    mappings = tmp_path / "mappings"
    shutil.copytree(str(get_data_folder("mappings")), mappings)
    names = mappings / "organisations.yaml"
    names.write_text(names.read_text("utf-8") + "  KFDX: {kind: government, ko: 새 기관, en: New}\n", "utf-8")
    own = tmp_path / "own.csv"
    own.write_text(SHIPPED.read_text("utf-8").replace("organisations: *", "organisations: KFDX"), "utf-8")
    (told,) = run(capsys, "check", str(own), "--path", str(mappings))
    assert told["organisations"] == ["KFDX"]


def test_an_own_file_counts_instead_of_the_shipped_ones(capsys: Output, tmp_path: Path) -> None:
    own = tmp_path / "own.csv"
    own.write_text(SHIPPED.read_text("utf-8").replace("saturday sunday", "none"), "utf-8")
    days = run(capsys, "show", "KFDA", "--from", "2026-11-21", "--until", "2026-11-22", "--file", str(own))
    assert [one["working"] for one in days] == [True, True]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("show", "NOSUCH", "--from", "2026-09-21"), "no organisation 'NOSUCH', but "),
        (("deadline", "NOSUCH", "--from", "2026-09-21T10:00:00Z", "--days", "1"), "no organisation 'NOSUCH'"),
        (("deadline", "KFDA", "--from", "2026-09-21T10:00:00Z", "--document", "X-1"), "no document 'X-1'"),
        (("show", "KFDA", "--from", "9999-12-30"), "9999-12-30 is outside the calendar"),
        (("deadline", "KFDA", "--from", "9999-12-31T23:59:59Z", "--days", "1"), "9999-12-31 is outside"),
    ],
)
def test_what_nobody_knows_is_an_error(capsys: Output, words: tuple[str, ...], said: str) -> None:
    (told,) = run(capsys, *words, status=2 if "no " in said else 1)
    assert said in told["detail"]
