"""A broker without a server, by AS4, with all others as processes: it files, pulls, and gets its result."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.demo_stage import Stage, read_cast
from tests.kit.paths import ROOT
from tests.system.demo.test_partners_live import LABEL, SAMPLE

pytestmark = pytest.mark.long

AGREEMENT = (ROOT / "conformance/agreements/as4-pull.yaml").read_text(encoding="utf-8")


def run(made: Stage, *words: str) -> tuple[int, list[dict[str, Any]], str]:
    """Run a verb as the broker of a stage; return its status and the objects that it printed."""
    fixed = ("--as", "broker", "--to", f"{made.hub_url}/msh/as4", "--partner", str(made.partner("broker")))
    done = subprocess.run(
        [sys.executable, "-m", "gateway", *words, *fixed, "--json"],
        capture_output=True,
        text=True,
        cwd=made.home,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        timeout=120,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, list(map(json.loads, done.stdout.splitlines())), done.stderr


def test_a_broker_without_a_server_files_and_pulls_its_case(tmp_path: Path) -> None:
    cast = read_cast()
    agreement = AGREEMENT.replace("urn:example:party-type", "urn:single-window:demo:party")
    agreement = agreement.replace("value: broker1", "value: broker").replace("2026-01-01", "2020-01-01")
    agencies = tuple(one | {"plan": {}} for one in cast.agencies)
    home = tmp_path / "home"
    home.mkdir()
    made = Stage(
        home, dataclasses.replace(cast, agencies=agencies, agreement=agreement), {}, frozenset({"broker"})
    )
    try:
        made.build()
        made.start()
        status, (told,), words = run(made, "submit", str(SAMPLE), "--attach", LABEL, "--wait", "60")
        assert (status, told["receipt_verified"], told["state"]) == (0, True, "DECIDED"), words
        assert (told["result"]["outcome"], told["result"]["verified"]) == ("APPROVED", True)
        again = home / "again.xml"
        again.write_bytes(SAMPLE.read_bytes().replace(b"HB2026-000123", b"HB2026-000124"))
        status, (told,), words = run(made, "submit", str(again), "--attach", LABEL, "--wait", "0")
        assert (status, told["receipt_verified"]) == (0, True), words
        status, rows, words = run(made, "pull", "--folder", str(home / "results"), "--wait", "8")
        assert status == 0, words
        assert rows[-1]["action"] == "Result"
        assert {(one["said"]["verified"], one["said"]["reference"]) for one in rows} == {
            (True, "HB2026-000124")
        }
        assert len(list((home / "results").glob("[0-9]*"))) == len(rows)
    finally:
        made.close()
