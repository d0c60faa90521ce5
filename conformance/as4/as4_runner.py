"""Runs assertions against a gateway of AS4, and gives each its verdict with its exchanges."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from gateway.errors import GatewayError
from gateway_conformance.as4.answer_plays import ANSWER_PLAYS, PULL_PLAYS
from gateway_conformance.as4.as4_assertion import Assertion
from gateway_conformance.as4.as4_play import MESSAGE_PLAYS, As4Opponent, As4Play
from gateway_conformance.reports import CaseReport, RunReport, UnmetError, make_case_report

_PLAYS: Final[Mapping[str, Callable[[As4Play], None]]] = {**MESSAGE_PLAYS, **ANSWER_PLAYS, **PULL_PLAYS}


def run_play(play: As4Play) -> None:
    """Play an assertion; raise UnmetError where it does not hold, LookupError when it cannot be played."""
    if play.assertion.play:
        _PLAYS[play.assertion.play](play)
    else:
        play.play_one_message()


#: After this number of assertions in a row without any answer the gateway counts as gone.
_GONE_AFTER: Final = 5


@dataclass
class As4Runner:
    """Runs assertions against one gateway within a time, one after the other."""

    opponent: As4Opponent
    seconds: float = 1200.0
    report_case: Callable[[CaseReport], None] = lambda _: None
    _silent: int = 0
    _ends: float = 0.0

    def run_assertions(self, rows: Iterable[Assertion]) -> RunReport:
        """Run all assertions; return their results in the order of the table."""
        self._ends = time.monotonic() + self.seconds
        cases = []
        for row in rows:
            cases.append(self._run_one(row))
            self.report_case(cases[-1])
        return RunReport("as4", self.opponent.target.name, tuple(cases))

    def _run_one(self, row: Assertion) -> CaseReport:
        if not self.opponent.declarations.has_feature(row.feature):
            return make_case_report(row, "not_applicable", f"the gateway does not declare {row.feature}")
        if time.monotonic() > self._ends:
            return make_case_report(row, "not_yet", "the time of the run is over")
        if self._silent >= _GONE_AFTER:
            return make_case_report(row, "not_yet", "the gateway no longer answers")
        started, play = time.monotonic(), As4Play(row, self.opponent)
        verdict, reason = self._judge(row, play)
        exchanges = play.log.list_exchanges()
        answered = any(exchange.answer is not None for exchange in exchanges)
        self._silent = 0 if answered or not exchanges else self._silent + 1
        return make_case_report(row, verdict, reason, time.monotonic() - started, exchanges)

    def _judge(self, row: Assertion, play: As4Play) -> tuple[str, str]:
        wanting = "failed" if row.level == "required" else "advised"
        try:
            run_play(play)
        except UnmetError as wrong:
            return wanting, str(wrong)
        except (OSError, subprocess.SubprocessError) as trouble:
            return "not_yet", f"a command of the operator failed: {trouble}"
        except LookupError as missing:
            return "not_applicable", f"it cannot be played: {missing}"
        except GatewayError as wrong:
            return wanting, f"{wrong.problem.id} {wrong.detail}"
        return "passed", ""
