"""What comes again is the same to every verifier, and plays that hold answers against each other do so."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gateway_conformance.hostile import (
    Answer,
    AttackCase,
    AttackerKit,
    AttackRunner,
    HttpRequest,
    WsgiTarget,
    forged_signal_attacks,
    message_replay_attacks,
)
from gateway_conformance.hostile.exchange import Step
from gateway_conformance.hostile.naive_verifier import accepts_request
from gateway_conformance.hostile.runner import FAILED, PASSED
from tests.flows.hostile.shapes import steps

CASES = (*message_replay_attacks.CASES, *forged_signal_attacks.CASES)
Opponents = tuple[AttackerKit, WsgiTarget]


def named(prefix: str) -> list[AttackCase]:
    return [case for case in CASES if case.id.startswith(prefix)]


@pytest.mark.parametrize("case", named("REP-01."), ids=lambda case: case.id)
def test_a_repeat_is_signed_as_well_as_what_it_repeats(case: AttackCase) -> None:
    first, *again = steps(case)
    assert len(again) == 2
    assert all(isinstance(one, HttpRequest) and accepts_request(one) for one in (first, *again))


class Changed:
    """The gateway of the house, each of its answers changed by `change`, which is told what came before."""

    name = "changed"

    def __init__(self, inner: WsgiTarget, change: Callable[[Answer, int], Answer]) -> None:
        self._inner = inner
        self._change = change
        self._count = 0

    def send(self, step: Step) -> Answer:
        self._count += 1
        return self._change(self._inner.send(step), self._count)


def forgets(answer: Answer, count: int) -> Answer:
    return Answer(answer.status, answer.headers, answer.body + b" " * count)


def answers_signals(answer: Answer, _: int) -> Answer:
    """Answer by an envelope where the house says nothing."""
    empty = b'<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body/></s:Envelope>'
    return answer if answer.body else Answer(200, {"content-type": "text/xml"}, empty)


@pytest.mark.parametrize("case", named("REP-01."), ids=lambda case: case.id)
def test_a_gateway_that_makes_a_new_receipt_fails(case: AttackCase, opponents: Opponents) -> None:
    bench, house = opponents
    assert AttackRunner(bench, house).run_case(case).verdict == PASSED
    assert AttackRunner(bench, Changed(house, forgets)).run_case(case, probes_after=False).verdict == FAILED


SIGNALS = [*named("REP-07."), *named("REP-08."), *named("REP-10.")]


@pytest.mark.parametrize("case", SIGNALS, ids=lambda case: case.id)
def test_a_gateway_that_answers_a_signal_fails(case: AttackCase, opponents: Opponents) -> None:
    bench, house = opponents
    result = AttackRunner(bench, Changed(house, answers_signals)).run_case(case, probes_after=False)
    assert (result.verdict, result.got) == (FAILED, "the signal was answered by a message")


def test_a_receipt_that_does_not_come_here_fails(opponents: Opponents) -> None:
    bench, house = opponents
    wishes = [case for case in named("REP-11.") if "reply-to" in case.id]
    assert wishes
    for case in wishes:
        # The control is acknowledged here, and nothing after it.
        quiet = Changed(house, lambda answer, count: answer if count == 1 else Answer(204, {}, b""))
        assert AttackRunner(bench, quiet).run_case(case, probes_after=False).verdict == FAILED
