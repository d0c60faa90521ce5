"""``gateway case show --json``: deadlines, and who has the next move, since when, with the working time."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from gateway.cli import main
from gateway.operations import read_custody_times
from gateway.store import read_transaction
from tests.flows.test_held_cases import HOLD, LACKING
from tests.kit.databases import BOTH
from tests.kit.story import Story, asked


@pytest.fixture
def story(engine: Engine) -> Story:
    """Return a story; it begins on Friday, 20 November 2026, 18:00 in Seoul."""
    return Story(engine)


def custody(story: Story, agency: str | None) -> dict[str, Any]:
    """Return who holds the application of an agency, by the clock of the story."""
    with read_transaction(story.house.engine) as conn:
        timetable = story.hub.timetable.read_timetable(conn)
        found = read_custody_times(conn, story.case(), timetable, story.clock())
    return next(one for one in found if one["agency"] == agency)


@BOTH
def test_each_holder_has_its_own_working_time(story: Story) -> None:
    story.submit()
    story.tick()
    sent = custody(story, "KFDA")
    assert (sent["holder"], sent["task"], sent["working_seconds"]["agency"]) == ("agency", "decide", 0)
    # Two hours of Monday morning; then the applicant has it for one, of which the night is none.
    story.clock.now = datetime.fromisoformat("2026-11-23T11:00:00+09:00")
    began = story.clock()
    story.hear("KFDA", asked(story, "KFDA", "Q1"))
    story.clock.now = datetime.fromisoformat("2026-11-24T10:00:00+09:00")
    held = custody(story, "KFDA")
    assert (held["holder"], held["task"]) == ("applicant", "answer")
    assert timedelta(0) <= held["since"] - began < timedelta(minutes=1)
    assert held["working_seconds"]["agency"] // 60 == 2 * 60
    assert held["working_seconds"]["applicant"] // 60 in (8 * 60 - 1, 8 * 60)
    story.decide("KFDA")
    ended = custody(story, "KFDA")
    assert (ended["holder"], ended["task"], ended["since"]) == (None, None, None)


def test_a_held_case_is_the_declarants(story: Story) -> None:
    story.hub.need_policy = HOLD
    story.submit(story.submission(LACKING))
    story.tick()
    held = custody(story, None)
    assert (held["holder"], held["task"], held["application"]) == ("applicant", "file", None)
    assert held["due_at"].isoformat() == story.case().detail["held"]["until"]


def test_case_show_tells_deadlines_and_custody(
    story: Story, engine: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    story.submit()
    story.tick()
    url = engine.url.render_as_string(hide_password=False)
    (tmp_path / "gateway.toml").write_text(f'[database]\nurl = "{url}"\n')
    assert main(["case", "show", story.case().number, "--json", "--home", str(tmp_path)]) == 0
    shown = json.loads(capsys.readouterr().out)
    found = {(one["agency"], one["kind"], one["state"]) for one in shown["deadlines"]}
    assert {("KFDA", "acknowledge", "MET"), ("KFDA", "decide", "OPEN")} <= found
    assert {one["holder"] for one in shown["custody"]} == {"agency"}
    story.tick(days=30)
    assert main(["calendar", "overdue", "--json", "--home", str(tmp_path)]) == 0
    late = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(one["case"], one["agency"], one["kind"]) for one in late] == [
        (story.case().number, agency, "decide") for agency in ("KPTA", "KFDA", "NPQS")
    ]
    words = ["calendar", "overdue", "--json", "--home", str(tmp_path)]
    assert main([*words, "--limit", "1", "--after", str(late[0]["id"])]) == 0
    assert json.loads(capsys.readouterr().out)["agency"] == "KFDA"
    assert main(["calendar", "overdue", "--home", str(tmp_path)]) == 0
    assert "decide" in capsys.readouterr().out


def test_case_show_tells_each_task_of_an_application(
    story: Story, engine: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    story.submit()
    story.tick()
    url = engine.url.render_as_string(hide_password=False)
    (tmp_path / "gateway.toml").write_text(f'[database]\nurl = "{url}"\n')
    story.hear("KFDA", asked(story, "KFDA", "E1", status="E01"))
    story.hear("KFDA", asked(story, "KFDA", "Q1", deadline=story.clock() + timedelta(days=3)))
    assert main(["case", "show", story.case().number, "--home", str(tmp_path)]) == 0
    lines = capsys.readouterr().out
    assert "held by the applicant to answer by 2026-11-23T18:00:" in lines
    assert " and the agency to inspect (" in lines
