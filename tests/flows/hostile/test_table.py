"""The table of known attacks is whole, and what it says holds each off is there."""

from __future__ import annotations

import ast
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import pytest

from gateway.errors import GatewayError
from gateway_conformance.hostile import read_attack_table
from gateway_conformance.hostile.attack_table import KnownAttack, load_all_cases
from tests.kit.paths import ROOT

COUNTS = {"SIG": 37, "REP": 12, "PKI": 14, "DOS": 15, "APP": 13}
ATTACKS = read_attack_table()


@cache
def functions(path: str) -> frozenset[str]:
    """Return the names of the test functions of a file."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def test_every_attack_is_there_once() -> None:
    wanted = [f"{kind}-{number:02d}" for kind, count in COUNTS.items() for number in range(1, count + 1)]
    assert [attack.id for attack in ATTACKS] == wanted
    assert len(wanted) == 91


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda one: one.id)
def test_something_holds_it_off_or_it_says_what_is_to_come(attack: KnownAttack) -> None:
    assert attack.title
    assert attack.source
    assert attack.expected
    assert attack.prevented_by or attack.not_yet
    for glob in attack.case_patterns:
        assert any(fnmatchcase(case.id, glob) for case in load_all_cases()), f"{glob} fits no case"
    for node in attack.test_node_ids:
        path, _, name = node.partition("::")
        assert name in functions(path), f"{node} is not there"
        assert name.startswith("test_")
    assert len(set(attack.prevented_by)) == len(attack.prevented_by)


def test_every_case_is_of_an_attack_that_names_it() -> None:
    by_id = {attack.id: attack for attack in ATTACKS}
    for case in load_all_cases():
        assert case.attack_id in by_id, case.id
        globs = by_id[case.attack_id].case_patterns
        assert any(fnmatchcase(case.id, glob) for glob in globs), f"{case.attack_id} does not name {case.id}"


def test_problem_ids_in_the_table_and_in_the_corpus_are_of_the_catalogue() -> None:
    from gateway import errors

    known = set(errors.PROBLEMS)
    for attack in ATTACKS:
        named = attack.expected.get("problem", "").replace(" ", "").split(",")
        assert {one for one in named if one} <= known, attack.id


def test_a_row_with_an_unknown_key_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    place = tmp_path / "suites" / "hostile"
    place.mkdir(parents=True)
    (place / "attacks.yaml").write_text("SIG-01: {title: a, source: b, expected: {}, hold_by: []}\n")
    monkeypatch.setattr("gateway_conformance.hostile.attack_table.DATA_FOLDER", tmp_path)
    with pytest.raises(GatewayError, match="hold_by"):
        read_attack_table()
