"""Plays cases against a target and judges what came of them.

The control comes first: a gateway that does not take an honest message proves nothing by
refusing another.  And it comes last: after an attack an honest message must still be taken.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from gateway.conformance.hostile.bench import Bench
from gateway.conformance.hostile.case import (
    ACCEPTED,
    Answer,
    Case,
    Exchange,
    NotOfferedError,
    WrongAnswerError,
)
from gateway.conformance.hostile.judging import expectation, hear, wrong_with
from gateway.conformance.hostile.proof import unproved
from gateway.conformance.hostile.report import FAILED, NOT_YET, PASSED, Report, Result
from gateway.conformance.hostile.target import Target
from gateway.errors import GatewayError

__all__ = ["Runner"]

_PATIENCE: Final = 15.0
_PAUSE: Final = 0.5
#: A gateway that is gone may come back: so many cases ask once more, and wait so long.
_ASKED_AGAIN: Final = 10
_SHORT_PATIENCE: Final = 3.0
#: The gateway is busy and says so: an honest sender comes again.
_BUSY: Final = (429, 503)


@dataclass(slots=True)
class _Played:
    """How far a play came."""

    expected: list[str] = field(default_factory=list)
    got: str = ""

    def told(self) -> str:
        """Return what was expected of the last exchange."""
        return self.expected[-1] if self.expected else ""


@dataclass(slots=True)
class Runner:
    """Plays the cases of one bench against one target.

    `every`: after so many cases the gateway must still take an honest message; `features`
    are those that the gateway is said to have beside those of the bench.
    """

    bench: Bench
    target: Target
    every: int = 1
    features: frozenset[str] = frozenset()
    patience: float = _PATIENCE
    controls: dict[str, str] = field(default_factory=dict)
    lost: dict[str, int] = field(default_factory=dict)

    def run(self, cases: Iterable[Case], tell: Callable[[Result], None] = lambda _: None) -> Report:
        """Play all cases in their order; `tell` hears each result at once."""
        results: list[Result] = []
        for number, case in enumerate(cases, 1):
            result = self.play(case, still=number % self.every == 0)
            results.append(result)
            tell(result)
        return Report("hostile", self.target.name, tuple(results))

    def play(self, case: Case, *, still: bool = True) -> Result:
        """Play one case; `still`: and see whether the gateway takes an honest message afterwards."""
        started = time.monotonic()
        played = _Played()
        verdict, reason = self._judged(case, played)
        if verdict != NOT_YET and still and (broken := self._broken(case.face, self.patience)):
            verdict, reason = FAILED, f"afterwards an honest message is {broken}"
            self.controls[case.face], self.lost[case.face] = broken, _ASKED_AGAIN
        seconds = time.monotonic() - started
        return Result(case.id, case.title, played.told(), reason or played.got, verdict, seconds)

    def _judged(self, case: Case, played: _Played) -> tuple[str, str]:
        if case.feature and case.feature not in self.features | self.bench.features:
            return NOT_YET, f"the gateway is not said to have {case.feature}"
        try:
            if control := self._control(case.face):
                return NOT_YET, f"control not accepted: an honest message is {control}"
            return self._played(case, played)
        except NotOfferedError as missing:
            return NOT_YET, str(missing)
        except (LookupError, GatewayError) as unmade:
            # What other gateways agree on may lack what an attack is made of, and their answers, too.
            return NOT_YET, f"the attack cannot be made of what was agreed: {unmade}"
        except WrongAnswerError as wrong:
            return FAILED, str(wrong)

    def _played(self, case: Case, played: _Played) -> tuple[str, str]:
        play = case.play(self.bench)
        answer: Answer | None = None
        while True:
            try:
                exchange = next(play) if answer is None else play.send(answer)
            except StopIteration:
                break
            played.expected.append(expectation(exchange.expected))
            answer = self.target.send(exchange.step)
            played.got = str(hear(answer))
            if wrong := self._wrong(exchange, answer):
                play.close()
                return self._found_wrong(exchange, wrong)
        if answer is None:
            return NOT_YET, "the play has no exchange"
        return PASSED, ""

    def _wrong(self, exchange: Exchange, answer: Answer) -> str:
        """Return what is wrong with an answer; one that says yes has to prove it."""
        wrong = wrong_with(answer, exchange.expected)
        if wrong or not exchange.expected.accepted or not hear(answer).taken:
            return wrong
        return unproved(self.bench, exchange.step, answer)

    @staticmethod
    def _found_wrong(exchange: Exchange, wrong: str) -> tuple[str, str]:
        expected = exchange.expected
        if expected.accepted and not expected.lawful:
            return NOT_YET, f"control {wrong}"
        return FAILED, wrong

    def _control(self, face: str) -> str:
        """Return what is wrong with an honest message on a face, "" when it is taken.

        Asked once; and for some cases again, where the gateway took them and then no more: the
        case after which it was gone has failed, of those that follow nothing can be said.
        """
        if face not in self.controls:
            self.controls[face] = self._broken(face, self.patience)
        elif self.controls[face] and self.lost.get(face, 0) > 0:
            self.lost[face] -= 1
            self.controls[face] = self._broken(face, min(self.patience, _SHORT_PATIENCE))
        return self.controls[face]

    def _broken(self, face: str, patience: float) -> str:
        """Return what is wrong with an honest message now; one that is told to come again does."""
        end = time.monotonic() + patience
        while True:
            step = self.bench.call() if face == "soap" else self.bench.message()
            answer = self.target.send(step)
            wrong = self._wrong(Exchange(step, ACCEPTED), answer)
            busy = answer.status in _BUSY or (answer.status is None and not answer.timed_out)
            if not (wrong and busy and time.monotonic() < end):
                return wrong
            with suppress(InterruptedError):
                time.sleep(_PAUSE)
