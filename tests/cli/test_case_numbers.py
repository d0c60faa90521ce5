"""``gateway case show`` finds numbers of both forms, however they are written, and tells a mistyped one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Engine, update

from gateway.cli import main
from gateway.store import write_transaction
from gateway.store.cases import cases
from tests.kit.databases import BOTH
from tests.kit.story import Story, story

__all__ = ["story"]

Show = Callable[[str], tuple[int, str]]


@pytest.fixture
def show(story: Story, tmp_path: Path, engine: Engine, capsys: pytest.CaptureFixture[str]) -> Show:
    url = engine.url.render_as_string(hide_password=False)
    (tmp_path / "gateway.toml").write_text(f'[hub]\nhome = "."\n[database]\nurl = "{url}"\n')

    def run(number: str) -> tuple[int, str]:
        status = main(["case", "show", number, "--home", str(tmp_path)])
        captured = capsys.readouterr()
        return status, captured.out or captured.err

    return run


@BOTH
def test_a_number_is_found_and_a_mistyped_one_is_told_as_that(story: Story, show: Show) -> None:
    number = story.case().number
    assert len(number) == 12
    for written in (
        number,
        number.lower(),
        f"{number[:4]} {number[4:8]}-{number[8:]}",
        number.replace("0", "O"),
    ):
        assert show(written)[1].startswith(f"case {number}")
    status, words = show(number[:-1] + ("0" if number[-1] != "0" else "2"))
    assert status == 1
    assert "GW513" in words
    assert "is mistyped: its check sign does not fit" in words
    assert "there is no case SW25" in show("SW250000001")[1]


def test_a_number_of_the_older_form_is_found(story: Story, show: Show) -> None:
    with write_transaction(story.house.engine, "test") as conn:
        conn.execute(update(cases).values(number="SW26000000I"))
    assert show("SW26000000I")[1].startswith("case SW26000000I")
    assert show("sw26000000i")[1].startswith("case SW26000000I")
    assert "there is no case" in show("SW260000001")[1]
