"""``gateway demo``: it prints what its partners and its database have, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import main
from gateway.wire import SchemaSet, parse_xml
from gateway.xmlsec import verify_document
from gateway_conformance.verbs import demo
from gateway_conformance.verbs.demo_stories import list_stories, read_story
from tests.kit.forked_stage import ForkedStage
from tests.kit.paths import ROOT
from tests.kit.served import read_process_file
from tests.kit.waiting import until

pytestmark = pytest.mark.night

SAMPLE = ROOT / "conformance/samples/import-three-items.xml"
AGENCIES = {"KFDA", "KPTA", "NPQS"}


def start(*words: str, where: Path) -> subprocess.Popen[str]:
    """Start the demo in an empty folder far from the checkout."""
    where.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-m", "gateway", "demo", "--json", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=where,
        env=os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(where)},
    )


def living(where: Path) -> list[int]:
    """Return the processes that were started below a folder: their environment names it."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "environ").read_bytes()
            gone = (entry / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except OSError:
            continue
        if f"TMPDIR={where}\0".encode() in words and not gone and int(entry.name) != os.getpid():
            found.append(int(entry.name))
    return found


def none_lives(where: Path) -> bool:
    """Wait until no process that was started there is left."""
    return until(lambda: not living(where), 60, problem=lambda: living(where))


@dataclass
class Played:
    """One demo that was played to its end, with its home."""

    status: int
    told: dict[str, Any]
    progress: str
    home: Path
    lines: int

    def log(self, partner: str, name: str = "effects") -> list[dict[str, Any]]:
        path = self.home / "partners" / partner.lower() / "log" / f"{name}.jsonl"
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        conn = sqlite3.connect(f"file:{self.home / 'gateway.sqlite3'}?mode=ro", uri=True)
        try:
            return conn.execute(statement).fetchall()
        finally:
            conn.close()


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    where = tmp_path_factory.mktemp("demo")
    home = where / "home"
    process = start("--home", str(home), where=where)
    output, progress = process.communicate(timeout=150)
    assert "Traceback" not in progress, progress
    return Played(process.returncode, json.loads(output), progress, home, len(output.splitlines()))


def test_every_key_is_there_and_good(played: Played) -> None:
    told = played.told
    assert (played.status, told["problems"], played.lines) == (0, [], 1), played.progress
    assert told["outcome"] == "APPROVED"
    assert (told["receipt_verified"], told["result_verified"]) == (True, True)
    assert told["customs_codes"] == ["18", "19"]
    assert set(told["ledger"]) == {"forwarded", "withheld", "consumed", "unaccounted"}
    assert told["ledger"]["unaccounted"] == 0
    assert {type(told[name]) for name in ("messages", "processes")} == {int}
    assert told["seconds"] > 0
    assert told["home"] == str(played.home)


def test_three_agencies_have_decided_and_one_condition_stands(played: Played) -> None:
    decisions = played.told["decisions"]
    assert {one["organisation"] for one in decisions} == AGENCIES
    assert [one["item"] for one in decisions] == [1, 2, 3]
    assert sorted(one["decision"] for one in decisions) == [
        "APPROVED",
        "APPROVED",
        "APPROVED_WITH_CONDITIONS",
    ]
    for one in decisions:
        assert set(one) >= {"organisation", "document", "item", "law", "decision", "number"}
        assert one["number"]
    (condition,) = [one for row in decisions for one in row["conditions"]]
    assert "isolation" in condition


def test_the_ledger_is_that_of_the_sample(played: Played, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["map", "split", str(SAMPLE), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    fates = [fate["fate"] for leaf in shown["ledger"] for fate in leaf["fates"]]
    counts = {name: fates.count(name) for name in ("forwarded", "withheld", "consumed")}
    assert played.told["ledger"] == counts | {"unaccounted": len(shown["unaccounted"])}


def test_the_database_says_the_same(played: Played) -> None:
    told = played.told
    assert played.rows("SELECT number, state, outcome, functional_reference FROM cases") == [
        (told["case_number"], "CLOSED", told["outcome"], told["reference"])
    ]
    stored = played.rows("SELECT agency, item, law, decision, number FROM decisions ORDER BY item")
    assert stored == [
        (one["organisation"], one["item"], one["law"], one["decision"], one["number"])
        for one in told["decisions"]
    ]
    assert played.rows("SELECT count(*) FROM messages") == [(told["messages"],)]
    actions = [action for (action,) in played.rows("SELECT action FROM messages WHERE direction = 'in'")]
    assert sorted(actions) == ["Submit", "Supplement"]
    assert {state for (state,) in played.rows("SELECT state FROM agency_requests")} == {"DECIDED"}
    # A minute later the hub looks once more for the certificate that the declaration names.
    asked = "SELECT DISTINCT state FROM deliveries WHERE subject_type != 'look'"
    assert played.rows(asked) == [("DELIVERED",)]


def test_the_partners_say_the_same(played: Played) -> None:
    customs = played.log("customs")
    assert [(row["effect"], row["code"]) for row in customs] == [
        ("RegisterDeclaration", ""),
        ("ReportRequirements", "18"),
        ("ReportRequirements", "19"),
    ]
    required = {(int(one["item"]), one["law"], one["number"]) for one in customs[-1]["requirements"]}
    assert required == {(one["item"], one["law"], one["number"]) for one in played.told["decisions"]}
    effects = {code: [row["effect"] for row in played.log(code)] for code in AGENCIES}
    asked = {code for code, rows in effects.items() if rows == ["SubmitApplication", "SubmitSupplement"]}
    assert len(asked) == 1
    assert all(effects[code] == ["SubmitApplication"] for code in AGENCIES - asked)
    for partner in (*AGENCIES, "customs", "broker"):
        assert played.log(partner, "refusals") == []
    calls = [row for code in AGENCIES for row in played.log(code, "calls")]
    assert sorted(row["operation"] for row in calls) == ["RequestInformation", "SubmitDecision"]
    assert all(row["verified"] for row in calls)


def test_the_broker_has_what_was_printed(played: Played) -> None:
    received = played.log("broker", "messages")
    assert all(row["said"]["verified"] for row in received)
    assert [row["action"] for row in received].count("Result") == 1
    assert len(received) + 2 == played.told["messages"]
    path = next((played.home / "partners/broker/log").glob("*-Result.xml"))
    root = parse_xml(path.read_bytes())
    SchemaSet.load_cached(ROOT / "xsd", "hub/result.xsd").validate_document(root)
    verify_document(root)
    assert root.findtext("{*}Outcome") == played.told["outcome"]
    assert len(root.findall("{*}Decision")) == len(played.told["decisions"])


def test_the_broker_sent_the_sample_and_one_application_again(played: Played) -> None:
    first, second = (
        parse_xml(next((played.home / "partners/broker/sent").glob(f"*-{name}.xml")).read_bytes())
        for name in ("Submit", "Supplement")
    )
    assert first.findtext("{*}Function") == "9"
    assert second.findtext("{*}Function") == "35"
    assert len(first.findall("{*}Application")) == 3
    assert len(second.findall("{*}Application")) == 1
    for root in (first, second):
        verify_document(root)


def test_every_partner_is_a_process_of_its_own_and_has_ended(played: Played) -> None:
    # Hub: supervisor, HTTP and delivery at the least; three agencies, customs, broker; and the demo itself.
    assert played.told["processes"] >= 9
    assert living(played.home.parent) == []


def test_keys_stay_with_their_owner(played: Played) -> None:
    for key in played.home.rglob("*.key.pem"):
        assert key.stat().st_mode & 0o077 == 0
    for place in (played.home / "partners").iterdir():
        assert [key.name for key in place.glob("*.key.pem")] == [f"{place.name}.key.pem"]


def test_progress_goes_to_standard_error(played: Played) -> None:
    for words in ("broker -> hub: Submit", "receipt", "hub -> customs", "asks about", "Result"):
        assert words in played.progress
    assert re.search(r"^ +\d+\.\d\d s  ", played.progress, re.MULTILINE)


def test_a_home_that_is_not_empty_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "something").touch()
    assert main(["demo", "--home", str(tmp_path)]) == 2
    assert "empty" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["something"]


def wait_for_line(process: subprocess.Popen[str], words: str) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        if words in line:
            return
    raise AssertionError(f"{words!r} was never said")


def interrupt(process: subprocess.Popen[str], _: Path) -> None:
    process.send_signal(signal.SIGINT)


def terminate(process: subprocess.Popen[str], _: Path) -> None:
    process.send_signal(signal.SIGTERM)


def kill_customs(_: subprocess.Popen[str], where: Path) -> None:
    for pid in living(where):
        if read_process_file(pid, "comm") == b"customs\n":
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize(
    ("when", "what", "words"),
    [
        ("starting hub", interrupt, "interrupted"),
        ("processes are ready", terminate, "interrupted"),
        ("receipt", kill_customs, "customs ended"),
    ],
    ids=["Ctrl-C while starting", "SIGTERM in the middle", "a partner dies"],
)
def test_a_demo_that_does_not_end_well_says_so_and_leaves_nothing(
    tmp_path: Path, when: str, what: Callable[[subprocess.Popen[str], Path], None], words: str
) -> None:
    where = tmp_path / "empty"
    process = start(where=where)
    wait_for_line(process, when)
    what(process, where)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 1
    told = json.loads(output)
    assert any(words in problem for problem in told["problems"]), told
    assert none_lives(where)
    assert list(where.iterdir()) == []


def test_a_demo_that_is_killed_takes_its_processes_along(tmp_path: Path) -> None:
    where = tmp_path / "empty"
    process = start(where=where)
    wait_for_line(process, "processes are ready")
    assert len(living(where)) >= 9
    process.kill()
    process.communicate(timeout=120)
    assert none_lives(where)


@pytest.mark.parametrize("name", list_stories())
def test_every_story_comes_out_as_its_file_says(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The story checks itself; here is checked that it says so, and leaves nothing behind."""
    started: list[Any] = []
    homes: list[Path] = []

    class KnownStage(ForkedStage):
        def close(self) -> None:
            started.extend(player.process for player in self.players)
            homes.append(self.home)
            super().close()

    monkeypatch.setattr(demo, "Stage", KnownStage)
    status = main(["demo", "--json", "--story", name])
    out, errors = capsys.readouterr()
    told = json.loads(out)
    assert (status, told["problems"]) == (0, []), errors
    plan = read_story(name)
    assert told["outcome"] == plan.outcome
    assert set(told["result_problems"]) == plan.problems
    own = [step.message_fields["reference"] for step in plan.steps if "reference" in step.message_fields]
    assert told["reference"] == ["HB2026-000123", *own][-1]
    assert len(started) >= 5
    assert all(process.poll() is not None for process in started)
    assert [home.exists() for home in homes] == [False]


def test_a_story_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--story", "no-such", "--json"]) == 2
    assert "withdrawal-refused" in capsys.readouterr().err
