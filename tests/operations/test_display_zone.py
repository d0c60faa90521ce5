"""Times are shown in the zone of the hub, and columns are measured in cells of a terminal."""

from __future__ import annotations

import io
import json
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine

from gateway.cli import main
from gateway.cli.result_output import format_named_values, measure_cells, print_table
from gateway.operations import format_moment, format_value, keep_display_zone, restate_times, set_display_zone
from gateway.store import write_transaction
from tests.kit.databases import BOTH
from tests.kit.rows import NOW, open_case

EIGHT = datetime(2026, 7, 1, 8, 30, 5, 250000, tzinfo=UTC)


@pytest.fixture
def seoul():
    with keep_display_zone():
        set_display_zone("Asia/Seoul")
        yield


def make_home(folder: Path, engine: Engine, zone: str) -> str:
    url = engine.url.render_as_string(hide_password=False)
    (folder / "gateway.toml").write_text(
        f'[hub]\nhome = "."\ntime_zone = "{zone}"\n[database]\nurl = "{url}"\n', encoding="utf-8"
    )
    return str(folder)


@BOTH
@pytest.mark.parametrize(
    ("zone", "shown"), [("Asia/Seoul", "2026-11-20T17:30:15+09:00"), ("UTC", "2026-11-20T08:30:15Z")]
)
def test_a_list_shows_times_in_the_zone_of_the_hub(
    tmp_path: Path, engine: Engine, capsys: pytest.CaptureFixture[str], zone: str, shown: str
) -> None:
    with write_transaction(engine) as conn:
        open_case(conn)
    home = make_home(tmp_path, engine, zone)
    assert main(["case", "list", "--home", home]) == 0
    assert shown in capsys.readouterr().out
    assert main(["case", "list", "--json", "--home", home]) == 0
    told = json.loads(capsys.readouterr().out)["opened_at"]
    assert told.endswith(shown[19:])
    assert datetime.fromisoformat(told) == NOW.replace(microsecond=123000)


def test_a_verb_without_settings_shows_utc_also_after_one_with_settings(
    tmp_path: Path, engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    # Whatever an earlier test of this process has read.
    with keep_display_zone():
        assert main(["case", "list", "--home", make_home(tmp_path, engine, "Asia/Seoul")]) == 0
        capsys.readouterr()
        assert format_moment(EIGHT) == "2026-07-01T08:30:05Z"


def test_a_zone_that_is_unknown_is_refused_with_its_key(
    tmp_path: Path, engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["case", "list", "--home", make_home(tmp_path, engine, "Asia/Seol")]) == 2
    told = capsys.readouterr().err
    assert "hub.time_zone" in told
    assert "IANA" in told


@pytest.mark.usefixtures("seoul")
def test_times_in_sentences_are_restated() -> None:
    assert restate_times("ends at 2026-07-01T08:30:05Z, not later") == (
        "ends at 2026-07-01T17:30:05+09:00, not later"
    )
    assert restate_times("since 2026-07-01T20:30:05.5+00:00") == "since 2026-07-02T05:30:05+09:00"
    assert restate_times("2026-07-01T08:30:05+02:00") == "2026-07-01T08:30:05+02:00"
    assert restate_times("2026-13-01T08:30:05Z") == "2026-13-01T08:30:05Z"
    assert format_value(EIGHT) == "2026-07-01T17:30:05.250+09:00"


@pytest.mark.parametrize(
    ("text", "cells"),
    [("A-1", 3), ("식품의약품안전처", 16), ("한 글", 5), ("中", 2), ("é", 1), ("e\u0301", 1)],
)
def test_cells_are_counted_as_a_terminal_does(text: str, cells: int) -> None:
    assert measure_cells(text) == cells


def test_a_line_feed_in_a_value_begins_no_line() -> None:
    assert (
        format_named_values({"name": "Kim\nstate       ACTIVE", "state": None})
        == "name         Kim\\nstate       ACTIVE"
    )


KOREAN = [
    {"id": "KFDA", "name": "식품의약품안전처", "state": "ACTIVE"},
    {"id": "한글업체", "name": "Broker One", "state": "SUSPENDED"},
    {"id": "B3", "name": "관세법인 하나", "state": "ACTIVE"},
]


def test_korean_text_keeps_the_columns_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(KOREAN, as_json=False, columns=("id", "name", "state"))
    lines = capsys.readouterr().out.splitlines()
    starts = {
        measure_cells(line[: line.index(word)])
        for line, word in zip(lines, ("STATE", "ACTIVE", "SUSPENDED", "ACTIVE"), strict=True)
    }
    assert starts == {8 + 2 + 16 + 2}


def test_korean_text_keeps_the_columns_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(screen, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "60")
    print_table(KOREAN, as_json=False, columns=("id", "name", "state"))
    lines = [line for line in screen.getvalue().splitlines() if "ACTIVE" in line or "SUSPENDED" in line]
    assert len(lines) == 3
    assert (
        len({measure_cells(line[: line.rindex("ACTIVE" if "ACTIVE" in line else "SUSP")]) for line in lines})
        == 1
    )


def test_a_line_break_in_a_value_keeps_a_row_on_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([{"id": "a\nb\t\x1b[2J", "state": "HELD"}], as_json=False, columns=("id", "state"))
    assert capsys.readouterr().out.splitlines()[1] == "a\\nb\\t\\u001b[2J  HELD"


def test_a_number_and_a_list_are_shown_as_they_are_written(capsys: pytest.CaptureFixture[str]) -> None:
    row = {"count": 0, "names": ["a", "b"], "none": None, "empty": [], "signed": False}
    print_table([row], as_json=False, columns=tuple(row))
    assert capsys.readouterr().out.splitlines()[1].split() == ["0", "a,", "b", "-", "-", "-"]
