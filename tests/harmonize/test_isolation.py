"""Least disclosure over generated submissions; ``python -m tests.harmonize.isolation`` tries many more."""

from __future__ import annotations

from collections import Counter

import pytest

from gateway.harmonize import DocumentMapping
from gateway.harmonize.language import build_read_set
from tests.harmonize.isolation import trials as isolation
from tests.harmonize.isolation.trials import Trial, generated, trials
from tests.kit.filling import shipped

pytestmark = pytest.mark.night
SUBMISSIONS = 560


@pytest.fixture(scope="module")
def tried() -> list[Trial]:
    return [trial for seed in range(SUBMISSIONS) for trial in trials(seed, generated(seed))]


def test_no_leaf_outside_the_read_set_reaches_an_agency(tried: list[Trial]) -> None:
    assert [trial for trial in tried if not trial.hows and trial.effect not in ("same", "none")] == []


def test_every_leaf_inside_changes_the_request_or_stops_it_or_is_looked_at_only(tried: list[Trial]) -> None:
    assert [trial for trial in tried if trial.hows and not trial.holds] == []


def test_the_trials_are_of_every_kind_and_of_every_document(tried: list[Trial]) -> None:
    effects = Counter((bool(trial.hows), trial.effect) for trial in tried)
    assert effects[False, "same"] > 100
    assert effects[True, "changed"] > 100
    assert effects[True, "refused"] > 100
    assert {trial.document for trial in tried} == set(shipped().documents)
    assert {trial.change for trial in tried} == set(isolation.CHANGES)


def test_a_read_set_that_forgets_something_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def forgetful(name: str) -> object:
        document: DocumentMapping = shipped().documents[name]
        told = build_read_set(document, shipped().dictionary)
        return type(told)(told.document, told.entries_by_key, {}, told.item_rule_marks, told.supplement_mark)

    monkeypatch.setattr(isolation, "reads_of", forgetful)
    found = [trial for seed in range(120) for trial in trials(seed, generated(seed)) if not trial.holds]
    assert len(found) > 5
