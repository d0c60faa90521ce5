"""Who looks at a case sees which decisions count, why others do not, and what a child has from its parent."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Engine

from gateway.cases import DecisionCode, Notice
from gateway.cli import main
from tests.flows.test_late_approvals import approve, withdraw_rejected
from tests.flows.test_partial_release import take
from tests.kit.databases import BOTH
from tests.kit.story import Story

REJECTED = DecisionCode.REJECTED


@pytest.fixture
def story(engine: Engine) -> Story:
    return Story(engine)


def show(story: Story, number: str, home: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return the lines of a case that tell decisions and signers."""
    url = story.house.engine.url.render_as_string(hide_password=False)
    (home / "gateway.toml").write_text(f'[database]\nurl = "{url}"\n')
    assert main(["case", "show", number, "--home", str(home)]) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    return [line for line in lines if " law " in line or "signed by" in line]


@BOTH
def test_a_decision_of_a_cancelled_application_is_marked(
    story: Story, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    story.submit()
    story.tick()
    story.decide_all()
    story.hear("KFDA", Notice("KFDA-G01", story.clock(), "G01", ()))
    story.tick()
    shown = show(story, story.case().number, tmp_path, capsys)
    assert shown[1:] == [
        "item 1 law 01: APPROVED KPTA-P-N1",
        "item 2 law 05: APPROVED KFDA-P-N1  (does not count: GW410 the application is cancelled)",
        "item 3 law 12: APPROVED NPQS-P-N1",
    ]


def test_an_approval_of_a_withdrawn_declaration_is_marked(
    story: Story, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case = withdraw_rejected(story, "NPQS")
    number = story.case().number
    approve(story, case, "NPQS", "1")
    story.tick()
    shown = show(story, number, tmp_path, capsys)
    assert [line.partition(" signed by ")[0] for line in shown[:2]] == ["submission", "withdrawal"]
    assert [line.partition("  ")[2] for line in shown[2:]] == [
        "(superseded by notice NPQS-1)",
        "(does not count: the declaration is withdrawn)",
    ]


def test_a_child_shows_the_decisions_of_its_parent_that_count_for_it(
    story: Story, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    story.submit()
    story.tick()
    story.decide_all()
    story.tick()
    parent = story.case().number
    story.parent = parent  # type: ignore[attr-defined]
    take(story, "C1", (1, "20.5", "10"))
    child = story.case().number
    assert show(story, child, tmp_path, capsys)[1:] == [
        f"item 1 law 01: APPROVED KPTA-P-N1  (by KPTA for case {parent})"
    ]
    story.clock.forward(minutes=1)
    story.decide("KPTA", REJECTED, number="N2")
    story.tick()
    assert show(story, child, tmp_path, capsys)[1:] == [
        f"item 1 law 01: REJECTED KPTA-P-N2  (by KPTA for case {parent})"
    ]
