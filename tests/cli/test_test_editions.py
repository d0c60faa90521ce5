"""Test editions: `gateway check` warns while they are in force, and settings switch them off."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.cli import main

OFF = "[calendars]\ntest_edition = false\n[needs]\ntest_edition = false\n"
OWN = """# calendar: kfda
# edition: 2028
# organisations: KFDA
# valid_from: 2028-01-01
# valid_until: 2028-12-31
# rest_days: saturday sunday
# hours: 09:00-18:00
day,kind,name
2028-01-01,holiday,New Year's Day
"""
Output = pytest.CaptureFixture[str]


def ask(capsys: Output, *words: str) -> list[str]:
    capsys.readouterr()
    main([*words, "--json"])
    return capsys.readouterr().out.splitlines()


@pytest.mark.night
def test_check_warns_of_test_editions_until_they_are_switched_off(capsys: Output, tmp_path: Path) -> None:
    home = ["--home", str(tmp_path)]
    assert main(["migrate", "--new", *home]) == 0
    (checked,) = ask(capsys, "check", *home)
    told = [one for one in json.loads(checked)["warnings"] if one.startswith("test editions")]
    assert len(told) == 2
    assert "kr-public-offices@2026-2027, service-terms@test; `calendars.test_edition" in told[0]
    assert "kr-customs-confirmation@2016-02; `needs.test_edition" in told[1]
    assert len(ask(capsys, "calendar", "list", *home)) == 2
    settings = tmp_path / "gateway.toml"
    settings.write_text((settings.read_text() if settings.exists() else "") + OFF)
    (checked,) = ask(capsys, "check", *home)
    assert not [one for one in json.loads(checked)["warnings"] if one.startswith("test editions")]
    assert ask(capsys, "calendar", "list", *home) == []


@pytest.mark.night
def test_what_is_loaded_is_listed_and_counts_before_what_is_shipped(capsys: Output, tmp_path: Path) -> None:
    home = ["--home", str(tmp_path)]
    assert main(["migrate", "--new", *home]) == 0
    file = tmp_path / "kfda.csv"
    file.write_text(OWN)
    for sentence in ("Loaded kfda@2028", "Loaded already: kfda@2028"):
        assert main(["calendar", "load", str(file), *home, "--by", "anna"]) == 0
        assert sentence in capsys.readouterr().out
    first = json.loads(ask(capsys, "calendar", "list", *home)[0])
    assert (first["edition"], first["loaded_by"], first["test_edition"]) == ("kfda@2028", "anna", False)
    file.write_text(OWN.replace("New", "The new"))
    assert main(["calendar", "load", str(file), *home, "--by", "anna"]) == 1
    assert "was loaded already with another content" in capsys.readouterr().err
    for garbage in (b"", b"\xff\xfe", b"\x00" * 100, b"# calendar: x\n" * 3, b'"' * 5000, b"day,kind,name\r"):
        file.write_bytes(garbage)
        assert main(["calendar", "load", str(file), *home, "--by", "anna"]) == 1
        assert "nothing was loaded" in capsys.readouterr().err
    assert len(ask(capsys, "calendar", "list", *home)) == 3
    assert ask(capsys, "calendar", "overdue", *home) == []
    assert main(["calendar", "overdue", "--state", "LOST", *home]) == 2
