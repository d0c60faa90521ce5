"""A broker without a server, by AS4, with all others as processes: it files, pulls, and gets its result."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway_conformance.verbs.demo_stage import Stage, read_cast
from tests.kit.forked_stage import ForkedStage
from tests.kit.forked_verbs import run_verb
from tests.kit.paths import ROOT
from tests.system.demo.test_partners_live import LABEL, SAMPLE

pytestmark = pytest.mark.night

FOLDER = ROOT / "conformance/agreements"
PULLED = (FOLDER / "as4-pull.yaml").read_text(encoding="utf-8")
PUSHED = (FOLDER / "as4.yaml").read_text(encoding="utf-8")
#: A Notice goes before the Result, which then is not in the answer.
SYNC = "\n".join(line for line in PUSHED.splitlines() if "broker1-notice" not in line).replace(
    "action: Submit,", "action: Submit, sync_reply_mode: signalsAndResponse,"
)
CALLBACK = PUSHED.replace("action: Submit,", "action: Submit, reply_pattern: callback,").replace(
    "action: Result}", "action: Result, reply_pattern: callback}"
)


@contextmanager
def stage(home: Path, agreement: str) -> Iterator[Stage]:
    """Start everybody but the broker under an agreement of AS4; every agency decides at once."""
    cast = read_cast()
    words = {
        "urn:example:party-type": "urn:single-window:demo:party",
        "value: broker1": "value: broker",
        "2026-01-01": "2020-01-01",
        ":8900/": ":{hub}/",
        ":8901/": ":{broker}/",
    }
    for word, other in words.items():
        agreement = agreement.replace(word, other)
    agencies = tuple(one | {"plan": {}} for one in cast.agencies)
    home.mkdir()
    cast = dataclasses.replace(cast, agencies=agencies, agreement=agreement)
    made = ForkedStage(home, cast, {}, frozenset({"broker"}))
    try:
        made.build()
        made.start()
        yield made
    finally:
        made.close()


def run(made: Stage, *words: str) -> tuple[int, list[dict[str, Any]], str]:
    """Run a verb; return its status, and the objects that it printed."""
    done = run_verb(*words, "--json", folder=made.home)
    assert "Traceback" not in done.stderr
    return done.returncode, list(map(json.loads, done.stdout.splitlines())), done.stderr


def run_as_broker(made: Stage, *words: str) -> tuple[int, list[dict[str, Any]], str]:
    """Run a verb as the broker of a stage."""
    fixed = (
        "--as",
        "broker",
        "--to",
        f"{made.hub_url}/msh/as4",
        "--partner",
        str(made.get_partner_folder("broker")),
    )
    return run(made, *words, *fixed)


def file_submission(made: Stage, file: Path, wait: str) -> dict[str, Any]:
    """Submit a file, whose receipt is good; return the report."""
    status, (told,), words = run_as_broker(made, "submit", str(file), "--attach", LABEL, "--wait", wait)
    assert (status, told["receipt_verified"]) == (0, True), words
    return told


def pull_until_result(made: Stage, folder: Path) -> list[dict[str, Any]]:
    """Pull again and again until the Result has come; return a row for each message."""
    rows: list[dict[str, Any]] = []
    for _ in range(15):
        status, pulled, words = run_as_broker(made, "pull", "--folder", str(folder), "--wait", "4")
        assert status == 0, words
        rows += pulled
        if any(one["action"] == "Result" for one in rows):
            return rows
    raise AssertionError(f"no Result among {[one['action'] for one in rows]}")


def test_a_broker_without_a_server_files_and_pulls_its_case(tmp_path: Path) -> None:
    with stage(tmp_path / "home", PULLED) as made:
        told = file_submission(made, SAMPLE, "60")
        assert (told["state"], told["result"]["outcome"]) == ("DECIDED", "APPROVED")
        assert told["result"]["verified"]
        again = tmp_path / "again.xml"
        again.write_bytes(SAMPLE.read_bytes().replace(b"HB2026-000123", b"HB2026-000124"))
        file_submission(made, again, "0")
        rows = pull_until_result(made, tmp_path / "results")
        assert {(one["said"]["verified"], one["said"]["reference"]) for one in rows} == {
            (True, "HB2026-000124")
        }
        assert len(list((tmp_path / "results").glob("[0-9]*"))) == len(rows)


@pytest.mark.parametrize("agreement", [SYNC, CALLBACK], ids=["in the answer", "posted"])
def test_receipts_and_results_come_in_the_answer_or_are_posted(tmp_path: Path, agreement: str) -> None:
    with stage(tmp_path / "home", agreement) as made:
        told = file_submission(made, SAMPLE, "60")
        assert (told["result"]["outcome"], told["result"]["verified"]) == ("APPROVED", True)
        found = run(made, "case", "list", "--home", str(made.home))[1]
        # The hub has the receipt of the Result.
        assert [one["state"] for one in found] == ["CLOSED"]
