"""``gateway case unask``: an operator ends a question that an agency does not answer."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Engine

from gateway.cases import AgencyAcknowledgment
from gateway.cli import main
from gateway.store import read_transaction
from tests.flows.craft import withdrawal
from tests.kit.audited import list_actions
from tests.kit.databases import BOTH
from tests.kit.story import AGENCIES, Story


@BOTH
def test_a_silent_agency_is_asked_no_longer(
    engine: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = engine.url.render_as_string(hide_password=False)
    text = f'[hub]\nhome = "."\n[database]\nurl = "{url}"\n'
    tmp_path.joinpath("gateway.toml").write_text(text, encoding="utf-8")
    story = Story(engine)
    story.submit()
    story.tick()
    story.decide_all()
    for agency in AGENCIES:
        story.say(agency, AgencyAcknowledgment("again"))
    story.submit(story.submission(withdrawal), action="Withdraw", attach=False)
    story.tick()
    number = story.number_of("KFDA")

    def run(*words: str) -> tuple[int, str, str]:
        status = main(["case", *words, "--home", str(tmp_path)])
        told = capsys.readouterr()
        return status, told.out, told.err

    assert f"KFDA: whether it cancels {number}" in run("show", story.case().number)[1]
    act = ("unask", number, "--reason", "no answer since Monday")
    assert run(*act)[:2] == (0, f"KFDA is asked no longer: application {number} stands.\n")
    status, _, told = run(*act)
    assert (status, "GW705" in told, "is not asked" in told) == (1, True, True)
    assert run("unask", "A26000999003H", "--reason", "x")[0] != 0
    with read_transaction(engine) as conn:
        row = list_actions(conn)[0]
    assert (row.action, row.reason) == ("case unask", "no answer since Monday")
    assert row.after["cancellation"] == "REFUSED"
    assert "KFDA: whether" not in run("show", story.case().number)[1]
