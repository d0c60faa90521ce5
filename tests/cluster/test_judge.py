"""The judge of `tests.cluster` finds each kind of mistake, and none in a history without one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.cluster.judge import Attempt, Outside, find_longest_pause, find_mistakes

RECEIPT, OTHER = "a" * 64, "b" * 64
HISTORY = (
    Attempt("m1", "front", 1.0, 1.1, 200, RECEIPT),
    Attempt("m2", "front", 2.0, 2.1, 503, "", "GW806"),
    Attempt("m2", "hub1", 3.0, 3.1, 0),
    Attempt("m2", "hub1", 4.0, 4.1, 200, OTHER),
    Attempt("m1", "hub2", 9.0, 9.1, 200, RECEIPT),
)
SEEN = Outside(
    {"m1": [RECEIPT], "m2": [OTHER], "m9": [OTHER]},
    {"m1": "Received", "m2": "Processed"},
    (("KFDA", "SubmitApplication", "A-1"), ("KPTA", "SubmitApplication", "A-2")),
    frozenset({"A-1", "A-2"}),
)


def test_a_history_without_mistakes_has_none() -> None:
    assert find_mistakes(HISTORY, SEEN) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"stored": {"m2": [OTHER]}}, "acknowledged, and stored 0 times: m1"),
        ({"stored": {"m1": [RECEIPT] * 2, "m2": [OTHER]}}, "acknowledged, and stored 2 times: m1"),
        ({"stored": {"m1": [OTHER], "m2": [OTHER]}}, "acknowledged, and stored with another receipt: m1"),
        ({"statuses": {"m1": "NotRecognized"}}, "acknowledged, then NotRecognized: m1"),
        ({"statuses": {"m1": "no answer: cut"}}, "acknowledged, then no answer: cut: m1"),
        ({"effects": SEEN.effects[:1]}, "no effect at its agency: A-2"),
        (
            {"effects": (*SEEN.effects, SEEN.effects[0])},
            "2 effects at an agency: ('KFDA', 'SubmitApplication', 'A-1')",
        ),
        ({"open": ["m1: OPEN"]}, "the case has not ended: m1: OPEN"),
    ],
)
def test_what_is_seen_afterwards_is_held_against_what_was_said(changes: dict[str, Any], words: str) -> None:
    assert find_mistakes(HISTORY, replace(SEEN, **changes)) == [words]


@pytest.mark.parametrize(
    ("attempt", "words"),
    [
        (Attempt("m1", "hub2", 9.0, 9.1, 200, OTHER), "2 different receipts: m1"),
        (Attempt("m3", "front", 9.0, 9.1, 503, "", "busy"), "never acknowledged: m3"),
        (Attempt("m1", "front", 9.0, 9.1, 200, "", "Unknown"), "refused at front with 200: m1 Unknown"),
        (Attempt("m1", "front", 9.0, 9.1, 500, "", "oops"), "refused at front with 500: m1 oops"),
    ],
)
def test_what_the_broker_hears_is_judged(attempt: Attempt, words: str) -> None:
    assert find_mistakes((*HISTORY, attempt), SEEN) == [words]


def test_the_longest_pause_counts_the_edges() -> None:
    assert find_longest_pause(HISTORY, 1.0, 10.0) == pytest.approx(5.0)
    assert find_longest_pause((), 2.0, 5.0) == pytest.approx(3.0)
