"""Runs requirements against a gateway, and gives each its verdict with its exchanges."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

from gateway.errors import GatewayError
from gateway_conformance.reports import CaseReport, RunReport, UnmetError, make_case_report
from gateway_conformance.standard.outbound_plays import FORWARDING_PLAYS, PLAYS
from gateway_conformance.standard.requirement_player import Opponent, Play, play_steps
from gateway_conformance.standard.suite_requirement import EXCHANGE, Requirement

PASSED: Final = "passed"
FAILED: Final = "failed"
ADVISED: Final = "advised"
NOT_APPLICABLE: Final = "not_applicable"
NOT_YET: Final = "not_yet"
#: After this number of requirements in a row without any answer the gateway counts as gone.
_GONE_AFTER: Final = 5
_AT_ONCE: Final = 12
_ALL_PLAYS: Final = {**PLAYS, **FORWARDING_PLAYS}


@dataclass
class StandardRunner:
    """Runs requirements against one gateway within a time.

    Plays that wait for the gateway run at the same time, after all others; those with a restart run last,
    alone.
    """

    opponent: Opponent
    seconds: float = 1200.0
    report_case: Callable[[CaseReport], None] = lambda _: None
    _silent: int = 0
    _silence_lock: threading.Lock = field(default_factory=threading.Lock)
    _ends: float = field(default_factory=lambda: time.monotonic())

    def run_requirements(self, rows: Iterable[Requirement]) -> RunReport:
        """Run all requirements; return their results in the order of the tables."""
        self._ends = time.monotonic() + self.seconds
        requirements = list(rows)
        reports: dict[str, CaseReport] = {}
        quick, waiting, restarts = _sort_by_need(requirements)
        # A gateway may post few answers and give others on the connection: rows about the way come first.
        quick.sort(key=lambda row: not any("way" in dict(step.checks) for step in row.steps))
        for requirement in quick:
            self._add_report(reports, self._run_one(requirement))
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for result in pool.map(self._run_one, waiting):
                self._add_report(reports, result)
        for requirement in restarts:
            self._add_report(reports, self._run_one(requirement))
        findings = self.opponent.patience.list_findings()
        cases = tuple(reports[requirement.id] for requirement in requirements)
        return RunReport("ebms2", self.opponent.target.name, cases, findings=findings)

    def _add_report(self, reports: dict[str, CaseReport], result: CaseReport) -> None:
        reports[result.id] = result
        self.report_case(result)

    def _run_one(self, row: Requirement) -> CaseReport:
        if reason := self._find_inapplicable(row):
            return make_case_report(row, NOT_APPLICABLE, reason)
        if time.monotonic() > self._ends:
            return make_case_report(row, NOT_YET, "the time of the run is over")
        if self._silent >= _GONE_AFTER:
            return make_case_report(row, NOT_YET, "the gateway no longer answers")
        return self._play(row)

    def _find_inapplicable(self, row: Requirement) -> str:
        """Return why a requirement does not apply, an empty text when it does."""
        profile, party = self.opponent.profile, self.opponent.party
        missing = [
            feature
            for feature in row.feature.split()
            if feature != "core" and feature not in profile.features
        ]
        if missing:
            return f"the profile does not declare {missing[0]}"
        if row.agreement not in party.agreements:
            return f"the partner folder has no agreement of the kind {row.agreement}"
        if row.play.startswith("restart") and self.opponent.restart is None:
            return "no --restart-command was given, and there is no terminal to ask for a restart"
        return ""

    def _play(self, row: Requirement) -> CaseReport:
        started = time.monotonic()
        play = Play(row, self.opponent)
        verdict, reason = self._judge(row, play)
        self._count_silence(play)
        exchanges = play.log.list_exchanges()
        return make_case_report(row, verdict, reason, time.monotonic() - started, exchanges)

    def _judge(self, row: Requirement, play: Play) -> tuple[str, str]:
        try:
            (play_steps if row.play == EXCHANGE else _ALL_PLAYS[row.play])(play)
        except UnmetError as fault:
            if play.is_unsure:
                return NOT_YET, f"{fault}; the suite no longer waits long for what comes by POST"
            return (FAILED if row.level == "required" else ADVISED), str(fault)
        except (OSError, subprocess.SubprocessError) as trouble:
            return NOT_YET, f"a command of the operator failed: {trouble}"
        except LookupError as missing:
            return NOT_APPLICABLE, f"what was agreed does not allow it: {missing}"
        except GatewayError as fault:
            return (FAILED if row.level == "required" else ADVISED), f"{fault.problem.id} {fault.detail}"
        return PASSED, ""

    def _count_silence(self, play: Play) -> None:
        exchanges = play.log.list_exchanges()
        answered = any(exchange.answer is not None for exchange in exchanges)
        with self._silence_lock:
            self._silent = 0 if answered or not exchanges else self._silent + 1


def _sort_by_need(rows: Sequence[Requirement]) -> tuple[list[Requirement], ...]:
    """Return the plays that only send, those that wait, and those that restart the gateway."""
    kinds: Mapping[str, list[Requirement]] = {"quick": [], "waiting": [], "restart": []}
    for requirement in rows:
        waits = requirement.play != EXCHANGE or any(
            "silence" in dict(step.checks) for step in requirement.steps
        )
        kinds[
            "restart" if requirement.play.startswith("restart") else "waiting" if waits else "quick"
        ].append(requirement)
    return tuple(kinds.values())
