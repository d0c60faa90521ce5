"""The hub with partners that misbehave, all of them processes: every effect once, and the right result."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.client import read_journal
from gateway_conformance.verbs.demo_stage import Stage, read_cast
from tests.kit.forked_stage import ForkedStage
from tests.kit.forked_verbs import run_verb
from tests.kit.paths import ROOT

pytestmark = pytest.mark.night

SAMPLE = ROOT / "conformance/samples/import-three-items.xml"
LABEL = f"korean-label@sample={ROOT / 'conformance/samples/korean-label.pdf'}"


@contextmanager
def stage(home: Path, plans: dict[str, dict[str, Any]], **options: Sequence[str]) -> Iterator[Stage]:
    """Start everybody but the broker, whose place ``gateway submit`` takes."""
    home.mkdir()
    cast = read_cast()
    agencies = tuple(one | {"plan": plans[one["code"]]} for one in cast.agencies)
    made = ForkedStage(home, dataclasses.replace(cast, agencies=agencies), options, frozenset({"broker"}))
    try:
        made.build()
        made.start()
        yield made
    finally:
        made.close()


def submit(made: Stage, *words: str, wait: int = 60) -> tuple[int, dict[str, Any], str]:
    """Run ``gateway submit`` as the broker of a stage."""
    fixed = (
        "--as",
        "broker",
        "--to",
        f"{made.hub_url}/msh/ebms2",
        "--partner",
        str(made.get_partner_folder("broker")),
    )
    done = run_verb("submit", str(SAMPLE), *fixed, "--wait", str(wait), "--json", *words, folder=made.home)
    assert "Traceback" not in done.stderr
    return done.returncode, json.loads(done.stdout), done.stderr


def rows(made: Stage, partner: str, name: str) -> list[dict[str, Any]]:
    return list(read_journal(made.get_partner_folder(partner) / "log" / f"{name}.jsonl"))


def test_misbehaving_partners_change_nothing(tmp_path: Path) -> None:
    plans: dict[str, dict[str, Any]] = {
        "KFDA": {"mischief": ["lost*1", "garbage*1"]},
        "KPTA": {
            "behaviour": "later",
            "delay": 0.2,
            "steps": ["E01"],
            "mischief": ["duplicate", "overtaking"],
        },
        "NPQS": {"mischief": ["silent*1", "fault-server*1", "wrong-signature*1"]},
    }
    with stage(tmp_path / "home", plans, customs=("--misbehave", "lost*1")) as made:
        status, told, words = submit(made, "--attach", LABEL)
        assert (status, told["receipt_verified"]) == (0, True), words
        assert (told["result"]["outcome"], told["result"]["verified"]) == ("APPROVED", True)
        for code in plans:
            assert [row["effect"] for row in rows(made, code, "effects")] == ["SubmitApplication"]
        assert [row["code"] for row in rows(made, "customs", "effects")][:2] == ["", "18"]
        calls = rows(made, "KPTA", "calls")
        assert len(calls) >= 4
        assert all(row["verified"] for row in calls)


def test_a_refusal_frees_the_reference_and_a_case_keeps_it(tmp_path: Path) -> None:
    plans: dict[str, dict[str, Any]] = {
        "KFDA": {},
        "KPTA": {"items": [{"number": 1, "decision": "REJECTED"}]},
        "NPQS": {"items": [{"decision": "NOT_CONCERNED"}]},
    }
    with stage(tmp_path / "home", plans) as made:
        status, told, words = submit(made)
        assert (status, told["receipt_verified"]) == (1, True)
        assert (told["result"]["outcome"], told["result"]["verified"]) == ("REFUSED", True)
        assert [one["id"] for one in told["result"]["problems"]] == ["GW408"]
        assert words == ""
        assert [rows(made, partner, "effects") for partner in (*plans, "customs")] == [[], [], [], []]
        status, told, words = submit(made, "--attach", LABEL)
        assert (status, told["result"]["outcome"]) == (0, "PARTIAL"), words
        status, told, words = submit(made, "--attach", LABEL)
        assert (status, told["receipt_verified"], told["result"]["outcome"]) == (1, True, "REFUSED"), words
        assert [one["id"] for one in told["result"]["problems"]] == ["GW406"]
