"""Each proof can fail: mutants of the shipped documents, a seeded choice, and what stops each.

``python -m tests.harmonize.mutation`` tries hundreds and prints the whole table.
"""

from __future__ import annotations

import functools
from pathlib import Path

import pytest

from gateway.harmonize.proofs import PROOFS
from tests.harmonize.mutation.argued import argument, arguments
from tests.harmonize.mutation.catalogue import chosen, every
from tests.harmonize.mutation.judging import GOLDEN, Court, Verdict, golden
from tests.harmonize.mutation.mutants import KINDS, Mutant
from tests.harmonize.mutation.tables import alone, table

SEED, NUMBER = "1", 88
LEAST = {"load": 10, **dict.fromkeys(PROOFS, 2)}

# One test gives all verdicts.
pytestmark = [pytest.mark.night, pytest.mark.timeout(900)]


@functools.cache
def court() -> Court:
    return Court.open()


def give_verdicts() -> tuple[Verdict, ...]:
    """Judge the chosen mutants."""
    some = chosen(every(court().sheets), NUMBER, SEED)
    return tuple(court().judge(mutant) for mutant in some)


def test_there_are_mutants_of_every_kind_and_enough_of_them() -> None:
    kinds = every(court().sheets)
    assert kinds.keys() == KINDS.keys()
    assert all(kinds.values())
    assert sum(map(len, kinds.values())) > 5_000
    assert {mutant.kind for mutant in chosen(kinds, NUMBER, SEED)} == set(KINDS)


def test_the_documents_as_they_are_are_stopped_by_nothing() -> None:
    for sheet in court().sheets.values():
        same = Mutant("none", sheet.document.id, "nothing", sheet.tree.mark, sheet.tree)
        assert court().judge(same).found == {}, sheet.document.id


@pytest.mark.vectors
def test_every_proof_stops_some_of_them_and_what_lives_is_argued() -> None:
    # One test: two would run in two processes, and each process would judge all mutants.
    given = give_verdicts()
    counts = alone(given)
    assert {layer: counts[layer] for layer in LEAST if counts[layer] < LEAST[layer]} == {}, table(given)
    alive = [v.mutant for v in given if v.first == "alive" and argument(v.mutant) is None]
    assert [f"{mutant.mark} {mutant.name}" for mutant in alive] == []


def test_every_argument_is_about_a_mutant() -> None:
    mutants = [mutant for row in every(court().sheets).values() for mutant in row]
    idle = [one for one in arguments() if not any(one.covers(mutant) for mutant in mutants)]
    assert idle == []


@pytest.mark.parametrize("name", sorted(path.stem for path in Path(GOLDEN).iterdir()))
def test_the_valid_submission_still_gives_the_kept_request(name: str) -> None:
    assert court().request_of(name) == golden(name), (
        "looked at? then: python -m tests.harmonize.mutation --write-golden"
    )
