"""``gateway requirement``: an operator registers a certificate, sees what is left."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import Engine

from gateway.cases import DecisionCode, DeclaredUses, RequirementUse
from gateway.cli import main
from gateway.hub import get_current_time
from gateway.hub.requirements.requirement_coverage import list_covered_laws
from gateway.store import (
    RegisteredRequirement,
    read_transaction,
    requirement_quantities,
    write_transaction,
)
from tests.flows.test_amendments import NAME, amendment
from tests.flows.test_requirement_ledger import decide, declare
from tests.kit.audited import list_actions
from tests.kit.databases import BOTH
from tests.kit.story import Story

Run = Callable[..., tuple[int, str, str]]
ADD = ("--agency", "KFDA", "--unit", "KGM")


@pytest.fixture
def run(tmp_path: Path, engine: Engine, capsys: pytest.CaptureFixture[str]) -> Run:
    url = engine.url.render_as_string(hide_password=False)
    text = f'[hub]\nhome = "."\n[database]\nurl = "{url}"\n'
    (tmp_path / "gateway.toml").write_text(text, encoding="utf-8")

    def run(*words: str) -> tuple[int, str, str]:
        status = main([*words, "--home", str(tmp_path)])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


@BOTH
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
        verbs = [row.action for row in list_actions(conn)]
    assert verbs.count("requirement add") == 2
    assert verbs.count("requirement revoke") == 1


def test_numbers_and_holders_are_composed_as_those_of_declarations_are(run: Run, engine: Engine) -> None:
    number, holder = "수허02-7", "가-é"
    typed, typed_holder = (unicodedata.normalize("NFD", text) for text in (number, holder))
    assert run("requirement", "add", typed, "--quantity", "9", "--holder", typed_holder, *ADD)[0] == 0
    row = json.loads(run("requirement", "list", "--json")[1])
    assert (row["number"], row["holder"]) == (number, holder)
    assert "already" in run("requirement", "add", number, "--quantity", "9", *ADD)[2]
    assert run("requirement", "show", typed)[0] == 0
    assert run("requirement", "revoke", typed, "--agency", "KFDA")[0] == 0
    assert json.loads(run("requirement", "show", number, "--json")[1])["revoked"] is True


def test_what_is_not_there_or_no_quantity(run: Run) -> None:
    assert run("requirement", "show", "C-9")[0] == 1
    for wrong in ("0", "-1", "x", "NaN", "1.0000001", "1e40", "1_000", "\uff11\uff10", "٣", "1e99999999"):
        assert run("requirement", "add", "C-1", f"--quantity={wrong}", *ADD)[0] == 2


@pytest.mark.parametrize("unit", ["NMB", "PCE", "H87", "KGM"])
def test_a_unit_that_declarations_have_is_taken(run: Run, unit: str) -> None:
    """Units without a factor, such as the withdrawn NMB, are those of many declarations."""
    agency = ("--agency", "KFDA")
    assert run("requirement", "add", "C-1", "--quantity", "1950", "--unit", unit, *agency)[0] == 0
    shown = json.loads(run("requirement", "show", "C-1", "--json")[1])
    assert shown["left"] == [{"quantity": "1950", "unit": unit}]


@pytest.mark.parametrize(
    ("number", "more", "words"),
    [
        ("", (), "1 to 70 characters"),
        (" C-1", (), "without blanks"),
        ("C\n1", (), "one line"),
        ("C" * 71, (), "1 to 70 characters"),
        ("C-1", ("--agency", "NOBODY"), "no agency 'NOBODY'"),
        ("C-1", ("--unit", "kgs"), "no declaration has a unit 'kgs'"),
        ("C-1", ("--unit", "nmb"), "no declaration has a unit 'nmb'"),
        ("C-1", ("--unit", ""), "no declaration has a unit ''"),
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
    covered = list_covered_laws(hub, DeclaredUses(uses), get_current_time().date())
    assert sorted(covered) == [(1, "05"), (1, "73"), (3, "12")]
    assert json.loads(run("requirement", "show", "C-1", "--json")[1])["laws"] == ["05", "73"]
    assert "05, 73" in run("requirement", "list")[1]
    # Registered again after a revocation, under another law.
    assert run("requirement", "revoke", "C-1", "--agency", "KFDA")[0] == 0
    assert run("requirement", "add", "C-1", "--quantity", "9", *ADD, "--law", "69")[0] == 0
    covered = list_covered_laws(hub, DeclaredUses(uses[:1]), get_current_time().date())
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


def test_a_certificate_whose_application_is_amended_is_shown_so(run: Run, engine: Engine) -> None:
    """Nobody has revoked it."""
    story = Story(engine, customs=False)
    story.submit()
    story.tick()
    decide(story, "150", DecisionCode.APPROVED, "N1")
    story.submit(story.submission(amendment(NAME)), action="Amend")
    story.tick(seconds=1)
    row = json.loads(run("requirement", "list", "--json")[1])
    assert (row["revoked"], row["suspended"], row["reopened"]) == (False, False, True)
    assert "until KFDA decides again" in run("requirement", "show", "K-77")[1]
