"""Verbs of other packages: found by their entry points, and refused where they are in the way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.cli import added_verbs, main
from gateway.cli.verb_nouns import NOUNS
from gateway.cli.verb_table import VERBS
from tests.kit.paths import ROOT

#: A package with a verb, and what it writes.
PACKAGE = """
import click
from gateway.cli.result_output import print_json
from gateway.cli.verb_groups import verb
from gateway.cli.verb_table import Noun, Verb, VerbTable

def greet_partner(arguments):
    print_json({"greeted": arguments.verb_words})
    return 0

for words in ("greet", "case greet"):
    verb(words)(greet_partner)

def make_table(words):
    nouns = {words: Noun("Test", "greet")} if " " not in words else {}
    return VerbTable(nouns, {words: Verb("greeter", "greet a partner")})

GREET, CASE, CASE_LIST = map(make_table, ("greet", "case", "case list"))
CASE_GREET = make_table("case greet")
NO_TABLE = {}
MODULE_AWAY = VerbTable({"wave": Noun("Test", "wave")}, {"wave": Verb("absent_greeter", "wave")})
UNDECLARED = VerbTable({"wave": Noun("Test", "wave")}, {"wave": Verb("greeter", "wave")})
"""


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "greeter.py").write_text(PACKAGE)
    monkeypatch.syspath_prepend(str(tmp_path))
    added_verbs._load_added_verbs.cache_clear()
    yield tmp_path
    added_verbs._load_added_verbs.cache_clear()
    sys.modules.pop("greeter", None)


def add_entry(packages: Path, value: str, distribution: str = "greeting-gateway") -> None:
    folder = packages / f"{distribution.replace('-', '_')}-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text(f"[gateway.verbs]\ngreeting = {value}\n")


@pytest.mark.parametrize(("table", "words"), [("GREET", "greet"), ("CASE_GREET", "case greet")])
def test_a_verb_of_another_package_is_one_of_the_command_line(
    table: str, words: str, packages: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add_entry(packages, f"greeter:{table}")
    assert main(words.split()) == 0
    assert json.loads(capsys.readouterr().out) == {"greeted": words}
    assert main([*words.split()[:-1], "--help"]) == 0
    assert "  greet " in capsys.readouterr().out
    # Those of the conformance package are there beside it.
    assert main(["conformance", "--help"]) == 0


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("greeter:CASE", "`gateway case` is there already"),
        ("greeter:CASE_LIST", "`gateway case list` is there already"),
        ("greeter:NO_TABLE", "greeter:NO_TABLE is no table of verbs"),
        ("greeter:ABSENT", "ABSENT"),
        ("absent_greeter:TABLE", "No module named 'absent_greeter'"),
    ],
)
def test_a_package_whose_verbs_are_in_the_way_is_refused_by_its_name(
    value: str, sentence: str, packages: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add_entry(packages, value)
    for words in (["--help"], ["demo", "--help"], ["no-such-verb"]):
        assert main(words) == 2, words
        told = capsys.readouterr().err
        assert told.startswith("gateway: GW801 the verbs of the package greeting-gateway cannot be used: ")
        assert sentence in told
    # Our own verbs work on, and stay our own.
    assert main(["error", "GW801", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["id"] == "GW801"


@pytest.mark.parametrize(
    ("table", "detail"),
    [
        ("MODULE_AWAY", "No module named 'absent_greeter'"),
        ("UNDECLARED", "the module greeter does not declare it"),
    ],
)
def test_a_verb_whose_module_is_no_good_is_told(
    table: str, detail: str, packages: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add_entry(packages, f"greeter:{table}")
    for words in (["wave"], ["wave", "--help"]):
        assert main(words) == 2
        sentence = f"the verb `gateway wave` of another package cannot be used: {detail}"
        assert f"GW801 {sentence}" in capsys.readouterr().err


def test_two_packages_do_not_bring_one_verb(packages: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add_entry(packages, "greeter:GREET")
    add_entry(packages, "greeter:GREET", "greeting-again")
    assert main(["greet"]) == 2
    assert "`gateway greet` is there already" in capsys.readouterr().err


def test_our_own_verbs_start_without_those_of_others() -> None:
    program = (
        "import sys\n"
        "from gateway.cli import main\n"
        "main(['error', 'GW801'])\n"
        "main(['case', 'list', '--home', 'absent'])\n"
        "assert 'gateway_conformance' not in sys.modules\n"
        "main(['--help'])\n"
        "assert 'gateway_conformance.verb_table' in sys.modules\n"
        "assert 'gateway_conformance.verbs' not in sys.modules\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, env=environment)


def test_no_verb_of_ours_is_in_another_package() -> None:
    assert not {words for words, verb in VERBS.items() if "." in verb.module}
    assert {"demo", "practice", "conformance", "map import"}.isdisjoint({*VERBS, *NOUNS})
    assert {"demo", "practice", "conformance run", "map import"} <= set(added_verbs.list_verbs())
