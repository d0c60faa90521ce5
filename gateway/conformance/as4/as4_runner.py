"""Runs assertions against a gateway of AS4, and gives each its verdict with its exchanges."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from gateway.conformance.as4.as4_assertion import Assertion, UnmetError
from gateway.conformance.as4.as4_play import As4Opponent, As4Play
from gateway.conformance.as4.play_table import run_play
from gateway.conformance.reports import CaseReport, RecordedExchange, RunReport
from gateway.errors import GatewayError

__all__ = ["As4Runner"]

#: After this number of assertions in a row without any answer the gateway counts as gone.
_GONE_AFTER: Final = 5


@dataclass
class As4Runner:
    """Runs assertions against one gateway within a time, one after the other."""

    opponent: As4Opponent
    seconds: float = 1200.0
    tell: Callable[[CaseReport], None] = lambda _: None
    _silent: int = 0
    _ends: float = 0.0

    def run_assertions(self, rows: Iterable[Assertion]) -> RunReport:
        """Run all assertions; return their results in the order of the table."""
        self._ends = time.monotonic() + self.seconds
        cases = []
        for row in rows:
            cases.append(self._run_one(row))
            self.tell(cases[-1])
        return RunReport("as4", self.opponent.target.name, tuple(cases))

    def _run_one(self, row: Assertion) -> CaseReport:
        if not self.opponent.facts.has_feature(row.feature):
            return _make_report(row, "not_applicable", f"the gateway does not declare {row.feature}")
        if time.monotonic() > self._ends:
            return _make_report(row, "not_yet", "the time of the run is over")
        if self._silent >= _GONE_AFTER:
            return _make_report(row, "not_yet", "the gateway no longer answers")
        started, play = time.monotonic(), As4Play(row, self.opponent)
        verdict, reason = self._judge(row, play)
        exchanges = play.log.list_exchanges()
        answered = any(one.answer is not None for one in exchanges)
        self._silent = 0 if answered or not exchanges else self._silent + 1
        return _make_report(row, verdict, reason, time.monotonic() - started, exchanges)

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


def _make_report(
    row: Assertion,
    verdict: str,
    reason: str,
    seconds: float = 0.0,
    exchanges: tuple[RecordedExchange, ...] = (),
) -> CaseReport:
    facts = {
        name: value for name, value in row.to_json().items() if name not in ("id", "title", "expectation")
    }
    return CaseReport(row.id, row.title, row.expectation, reason, verdict, seconds, facts, exchanges)
