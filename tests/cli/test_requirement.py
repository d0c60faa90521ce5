"""``gateway requirement``: an operator registers a certificate, sees what is left; a broker asks first."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from gateway.cases import ClaimedRequirements, RequirementUse
from gateway.cases.agency_notices import DecisionCode
from gateway.cli import main
from gateway.hub import get_current_time
from gateway.hub.requirement_coverage import list_covered_laws
from gateway.share import get_data_folder
from gateway.store import RegisteredRequirement, audit_log, requirement_quantities
from gateway.store.engine import read_transaction, write_transaction
from tests.flows.test_amendments import NAME, amendment
from tests.flows.test_requirement_ledger import decide, declare
from tests.kit.story import Story

Run = Callable[..., tuple[int, str, str]]
SAMPLE = str(get_data_folder("conformance").joinpath("samples", "import-three-items.xml"))
ADD = ("--agency", "KFDA", "--unit", "KGM")


@pytest.fixture
def run(tmp_path: Path, engine: Engine, capsys: pytest.CaptureFixture[str]) -> Run:
    url = engine.url.render_as_string(hide_password=False)
    text = f'[hub]\nhome = "."\n[database]\nurl = "{url}"\n'
    (tmp_path / "gateway.toml").write_text(text, encoding="utf-8")

    def run(*words: str) -> tuple[int, str, str]:
        home = () if "check" in words else ("--home", str(tmp_path))
        status = main([*words, *home])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def test_a_certificate_from_registration_to_revocation(run: Run, engine: Engine) -> None:
    status, out, _ = run("requirement", "add", "C-1", "--quantity", "1.5", *ADD, "--until", "2096-01-31")
    assert (status, out) == (0, "Requirement C-1 of KFDA: declarations may use 1.5 KGM.\n")
    status, _, told = run("requirement", "add", "C-1", "--quantity", "9", *ADD)
    assert status == 1
    assert "GW808" in told
    assert "has requirement C-1 of KFDA already" in told
    declare(Story(engine, customs=False), "D1", (1, "C-1", "600", "GRM"))
    (row,) = [json.loads(line) for line in run("requirement", "list", "--json")[1].splitlines()]
    assert row["left"] == [{"quantity": "0.9", "unit": "KGM"}]
    assert row["used"] == [{"quantity": "600", "unit": "GRM"}]
    assert (row["source"], row["valid_until"], row["revoked"]) == ("registered", "2096-01-31", False)
    shown = json.loads(run("requirement", "show", "C-1", "--json")[1])
    (use,) = shown["uses"]
    assert (use["item"], use["quantity"], use["unit"], use["returned_at"]) == (1, "600", "GRM", None)
    assert "600" in run("requirement", "show", "C-1")[1]
    assert "0.9 KGM" in run("requirement", "list")[1]
    assert "item 1 uses 600 GRM of requirement C-1 of KFDA" in run("case", "show", use["case"])[1]
    assert run("requirement", "revoke", "C-1", "--agency", "KFDA")[0] == 0
    status, _, told = run("requirement", "revoke", "C-1", "--agency", "KFDA")
    assert status == 1
    assert "requirement C-1 of KFDA is revoked already" in told
    assert json.loads(run("requirement", "list", "--json")[1])["revoked"] is True
    # What is revoked may be registered again; what was used of it stays used.
    assert run("requirement", "add", "C-1", "--quantity", "1", *ADD)[0] == 0
    assert json.loads(run("requirement", "list", "--json")[1])["left"] == [{"quantity": "0.4", "unit": "KGM"}]
    with read_transaction(engine) as conn:
        verbs = [row.action for row in audit_log.list_actions(conn)]
    assert verbs.count("requirement add") == 2
    assert verbs.count("requirement revoke") == 1


def test_what_is_not_there_or_no_quantity(run: Run) -> None:
    assert run("requirement", "show", "C-9")[0] == 1
    for wrong in ("0", "-1", "x", "NaN", "1.0000001", "1e40", "1_000", "\uff11\uff10", "٣", "1e99999999"):
        assert run("requirement", "add", "C-1", f"--quantity={wrong}", *ADD)[0] == 2


@pytest.mark.parametrize(
    ("number", "more", "words"),
    [
        ("", (), "1 to 70 characters"),
        (" C-1", (), "without blanks"),
        ("C\n1", (), "one line"),
        ("C" * 71, (), "1 to 70 characters"),
        ("C-1", ("--agency", "NOBODY"), "no agency 'NOBODY'"),
        ("C-1", ("--unit", "kgs"), "does not have 'kgs'"),
        ("C-1", ("--unit", ""), "does not have ''"),
        ("C-1", ("--until", "2020-01-31"), "2020-01-31 is over"),
        ("C-1", ("--holder", "1 "), "without blanks"),
        ("C-1", ("--law", "12"), "KFDA has no document under law '12', but under 05, 69, 73"),
        ("C-1", ("--law", "05", "--law", ""), "no document under law ''"),
    ],
)
def test_what_no_declaration_can_use_is_not_registered(
    run: Run, number: str, more: tuple[str, ...], words: str
) -> None:
    status, _, told = run("requirement", "add", number, "--quantity", "1", *ADD, *more)
    assert status == 2
    assert "GW808" in told
    assert words in told
    assert run("requirement", "list", "--json")[1] == ""


def test_a_registered_certificate_meets_the_laws_that_it_is_registered_for(run: Run, engine: Engine) -> None:
    """KFDA has three laws, NPQS one: without a law the certificate of NPQS alone meets a need."""
    hub = Story(engine, customs=False).hub
    for number, *more in (
        ("C-1", "--agency", "KFDA", "--law", "73", "--law", "05"),
        ("C-2", "--agency", "KFDA"),
        ("C-3", "--agency", "NPQS"),
    ):
        assert run("requirement", "add", number, "--quantity", "9", "--unit", "KGM", *more)[0] == 0
    uses = tuple(RequirementUse(item, f"C-{item}", Decimal(1), "KGM") for item in (1, 2, 3))
    covered = list_covered_laws(hub, ClaimedRequirements(uses), get_current_time().date())
    assert sorted(covered) == [(1, "05"), (1, "73"), (3, "12")]
    assert json.loads(run("requirement", "show", "C-1", "--json")[1])["laws"] == ["05", "73"]
    assert "05, 73" in run("requirement", "list")[1]
    # Registered again after a revocation, under another law.
    assert run("requirement", "revoke", "C-1", "--agency", "KFDA")[0] == 0
    assert run("requirement", "add", "C-1", "--quantity", "9", *ADD, "--law", "69")[0] == 0
    covered = list_covered_laws(hub, ClaimedRequirements(uses[:1]), get_current_time().date())
    assert sorted(covered) == [(1, "69")]


def test_a_cut_list_says_how_many_follow(run: Run, engine: Engine) -> None:
    with write_transaction(engine) as conn:
        for one in range(51):
            new = RegisteredRequirement(f"C-{one}", "KFDA", "1", "KGM")
            assert requirement_quantities.register_requirement(conn, new, get_current_time())
    status, out, told = run("requirement", "list", "--json")
    last = json.loads(out.splitlines()[-1])["id"]
    assert (status, len(out.splitlines()), told) == (0, 50, f"… 1 more: --after {last}\n")
    _, out, told = run("requirement", "list", "--json", "--limit", "51")
    assert (len(out.splitlines()), told) == (51, "")


def test_a_submission_is_judged_from_files(run: Run, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.jsonl"
    line = {"number": "수허02-1184", "agency": "KFDA", "granted": [{"quantity": "150", "unit": "NMB"}]}
    ledger.write_text(json.dumps(line) + "\n\n")
    command = ("requirement", "check", SAMPLE, "--ledger", str(ledger))
    status, out, _ = run(*command, "--json")
    told = json.loads(out)
    assert (status, told["accepted"], told["importer"]) == (0, True, "1248612345")
    (use,) = told["uses"]
    assert (use["item"], use["number"], use["quantity"], use["unit"]) == (1, "수허02-1184", "100", "NMB")
    ledger.write_text(json.dumps(line | {"used": [{"quantity": "51", "unit": "NMB"}]}))
    status, out, _ = run(*command)
    assert status == 1
    assert "GW411 requirement 수허02-1184 of KFDA: 100 NMB used, 99 NMB left" in out
    ledger.write_text("")
    status, out, _ = run(*command)
    assert status == 0
    assert out.startswith("warning GW413")


def test_a_last_day_ends_in_the_time_zone_of_a_hub(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hub has the days of Seoul unless told, and these begin nine hours before those of UTC."""
    ledger = tmp_path / "ledger.jsonl"
    granted = {"granted": [{"quantity": "150", "unit": "NMB"}], "valid_until": "2026-11-21"}
    ledger.write_text(json.dumps({"number": "수허02-1184", "agency": "KFDA"} | granted))
    command = ("requirement", "check", SAMPLE, "--ledger", str(ledger))
    evening = datetime(2026, 11, 21, 14, 59, tzinfo=UTC)
    monkeypatch.setattr("gateway.hub.get_current_time", lambda: evening)
    assert run(*command)[0] == 0
    monkeypatch.setattr("gateway.hub.get_current_time", lambda: evening + timedelta(minutes=1))
    status, out, _ = run(*command)
    assert (status, "2026-11-21" in out) == (1, True)
    assert run(*command, "--date", "2026-11-21")[0] == 0


def test_a_certificate_whose_application_is_amended_is_shown_so(
    run: Run, engine: Engine, tmp_path: Path
) -> None:
    """Nobody has revoked it; the file of the ledger says the same as the ledger."""
    story = Story(engine, customs=False)
    story.submit()
    story.tick()
    decide(story, "150", DecisionCode.APPROVED, "N1")
    story.submit(story.submission(amendment(NAME)), action="Amend")
    story.tick(seconds=1)
    row = json.loads(run("requirement", "list", "--json")[1])
    assert (row["revoked"], row["suspended"], row["reopened"]) == (False, False, True)
    assert "until KFDA decides again" in run("requirement", "show", "K-77")[1]
    (tmp_path / "ledger.jsonl").write_text(json.dumps(row | {"number": "수허02-1184"}))
    status, out, _ = run("requirement", "check", SAMPLE, "--ledger", str(tmp_path / "ledger.jsonl"))
    assert status == 1
    assert "수허02-1184 of KFDA cannot be used until KFDA decides again" in out


_GOOD = {"number": "1", "agency": "A", "granted": [{"quantity": "1", "unit": "K"}]}


@pytest.mark.parametrize(
    "wrong",
    [
        {"granted": [{"quantity": "x", "unit": "K"}]},
        {"granted": [{"quantity": "1e99999999", "unit": "K"}]},
        {"granted": [{"quantity": "-1", "unit": "K"}]},
        {"granted": [{"quantity": 1, "unit": "K"}]},
        {"granted": [{"quantity": "1", "unit": None}]},
        {"granted": {}},
        {"used": "12"},
        {"number": 1},
        {"number": ""},
        {"agency": None},
        {"holder": 5},
        {"revoked": "no"},
        {"revoked": 0},
        {"valid_until": 20270101},
        {"valid_until": "2027"},
    ],
)
def test_each_value_of_a_ledger_has_its_type(run: Run, tmp_path: Path, wrong: dict[str, Any]) -> None:
    assert ask(run, tmp_path, json.dumps(_GOOD)) == (0, "")
    status, told = ask(run, tmp_path, json.dumps(_GOOD | wrong))
    assert status in (1, 2)
    assert "GW808" in told
    assert "line 2" in told


def ask(run: Run, folder: Path, line: str) -> tuple[int, str]:
    ledger = folder / "ledger.jsonl"
    ledger.write_text("\n" + line)
    status, _, told = run("requirement", "check", SAMPLE, "--ledger", str(ledger))
    return status, told


@pytest.mark.parametrize("line", ["[]", "{}", "}"])
def test_a_line_that_is_no_requirement_is_named(run: Run, tmp_path: Path, line: str) -> None:
    status, told = ask(run, tmp_path, line)
    assert status in (1, 2)
    assert "GW808" in told
    assert "line 2" in told
