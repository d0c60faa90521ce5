"""``gateway message refusals`` shows whose messages were refused, how often and why."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import Engine

from gateway.cli import main
from gateway.errors import PARTY_UNKNOWN, SIGNER_MISMATCH, GatewayError
from gateway.hub.intake.refusal_tally import RefusalTally
from tests.kit.databases import BOTH
from tests.kit.house import Clock


@BOTH
def test_refusals_are_listed_by_sender_and_problem(
    tmp_path: Path, engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    url = engine.url.render_as_string(hide_password=False)
    (tmp_path / "gateway.toml").write_text(f'[hub]\nhome = "."\n[database]\nurl = "{url}"\n')
    tally = RefusalTally(engine, Clock())
    tally.count_refusal("broker1", GatewayError(SIGNER_MISMATCH, "CN=x does not sign for broker1"))
    tally.count_refusal(None, GatewayError(PARTY_UNKNOWN, "party X is unknown"))
    tally.store_counts()
    words = ["message", "refusals", "--home", str(tmp_path)]
    assert main(words) == 0
    assert "broker1" in capsys.readouterr().out
    assert main([*words, "--problem", "gw209", "--json"]) == 0
    (row,) = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (row["sender"], row["number"]) == ("broker1", 1)
    assert row["last_sentence"] == "CN=x does not sign for broker1"
    assert main([*words, "--sender", "", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["problem"] == "GW302"
