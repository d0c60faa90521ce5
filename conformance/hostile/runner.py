"""Runs cases against a target, evaluates the answers, and reports them as JSON and as lines.

The control comes first: if a gateway does not accept an honest message, a refusal is no evidence. The suite
stops there, and says which step is missing. The control also comes last: after an attack an honest message
must still be accepted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from gateway.errors import GatewayError
from gateway_conformance.hostile.answer_evaluation import (
    describe_expectation,
    explain_mismatch,
    explain_missing_proof,
    summarize_answer,
)
from gateway_conformance.hostile.attack_cases import AttackCase
from gateway_conformance.hostile.attack_targets import Target
from gateway_conformance.hostile.attacker_kit import AttackerKit, make_as4_kit
from gateway_conformance.hostile.exchange import (
    ACCEPTED,
    Answer,
    Exchange,
    NotOfferedError,
    RawScript,
    Step,
    WrongAnswerError,
)
from gateway_conformance.reports import (
    CaseReport,
    ExchangeLog,
    RecordedMessage,
    RunReport,
    record_message,
)


def record_step(log: ExchangeLog, step: Step, answer: Answer) -> None:
    """Append a step and its answer to the exchanges of a case."""
    received = None
    if answer.status is not None:
        received = record_message(
            f"HTTP/1.1 {answer.status}", answer.headers, answer.body + answer.trailing_octets
        )
    no_answer_reason = answer.connect_problem or (
        "no answer in time" if answer.timed_out else "closed without an answer"
    )
    log.add_exchange(_record_request(step), received, no_answer_reason)


def _record_request(step: Step) -> RecordedMessage:
    if isinstance(step, RawScript):
        line = f"octets on {step.connections} connections"
        return record_message(line, {}, b"".join(octets for octets, _ in step.script))
    return record_message(f"{step.method} {step.face} HTTP/1.1", step.headers, step.body)


PASSED: Final = "passed"
FAILED: Final = "failed"
NOT_YET: Final = "not_yet"


@dataclass(frozen=True, slots=True)
class SuiteReport:
    """The result of a run."""

    suite: str
    target: str
    results: tuple[CaseReport, ...]

    def count_verdict(self, verdict: str) -> int:
        """Return how many cases have that verdict."""
        return sum(case.verdict == verdict for case in self.results)

    @property
    def is_successful(self) -> bool:
        """Return whether something passed and nothing failed."""
        return self.count_verdict(PASSED) > 0 and self.count_verdict(FAILED) == 0

    def to_json(self) -> dict[str, Any]:
        """Return the report as a JSON object."""
        cases = [_report_case(case) for case in self.results]
        counts = {verdict: self.count_verdict(verdict) for verdict in (PASSED, FAILED, NOT_YET)}
        return {"suite": self.suite, "target": self.target, "cases": cases, **counts}

    def to_run_report(self) -> RunReport:
        """Return the report in the form from which JUnit XML and the page are written."""
        return RunReport(self.suite, self.target, self.results)

    def format_summary(self) -> str:
        """Return the counts as one line."""
        passed, failed, open_ = (self.count_verdict(verdict) for verdict in (PASSED, FAILED, NOT_YET))
        counts = f"{passed} passed, {failed} failed, {open_} not yet"
        return f"{len(self.results)} cases against {self.target}: {counts}"


def _report_case(case: CaseReport) -> dict[str, Any]:
    names = ("id", "title", "expected", "got", "verdict")
    return {name: getattr(case, name) for name in names} | {"seconds": round(case.seconds, 3)}


_RECOVERY_SECONDS: Final = 15.0
_PAUSE: Final = 0.5
#: A gateway that is away may come back: this number of cases try again, after this time.
_MAX_REPEATED_CONTROLS: Final = 10
_SHORT_PATIENCE: Final = 3.0
#: The gateway answers that it is busy: an honest sender repeats.
_BUSY: Final = (429, 503)


@dataclass(slots=True)
class _ScenarioProgress:
    """The progress of a scenario."""

    expectations: list[str] = field(default_factory=list)
    last_answer: str = ""
    exchange_log: ExchangeLog = field(default_factory=ExchangeLog)

    def get_last_expectation(self) -> str:
        """Return the expectation of the last exchange; an empty text before the first one."""
        return self.expectations[-1] if self.expectations else ""


@dataclass(slots=True)
class AttackRunner:
    """Runs the cases of one kit against one target.

    `control_interval`: after this number of cases the gateway must still accept an honest message. `features`
    are features of the gateway in addition to those of the kit.
    """

    kit: AttackerKit
    target: Target
    control_interval: int = 1
    features: frozenset[str] = frozenset()
    recovery_timeout: float = _RECOVERY_SECONDS
    control_problems: dict[str, str] = field(default_factory=dict)
    remaining_retries: dict[str, int] = field(default_factory=dict)

    def run_cases(
        self, cases: Iterable[AttackCase], report_result: Callable[[CaseReport], None] = lambda _: None
    ) -> SuiteReport:
        """Run all cases in order; `report_result` is called with each result."""
        results: list[CaseReport] = []
        for number, case in enumerate(cases, 1):
            result = self.run_case(case, probes_after=number % self.control_interval == 0)
            results.append(result)
            report_result(result)
        return SuiteReport("hostile", self.target.name, tuple(results))

    def run_case(self, case: AttackCase, *, probes_after: bool = True) -> CaseReport:
        """Run one case; with `probes_after` then check that the gateway still accepts an honest message."""
        started = time.monotonic()
        progress = _ScenarioProgress()
        verdict, reason = self._evaluate_case(case, progress)
        if (
            verdict != NOT_YET
            and probes_after
            and (control_problem := self._probe_honest_request(case.face, self.recovery_timeout))
        ):
            verdict, reason = FAILED, f"afterwards an honest message is {control_problem}"
            self.control_problems[case.face], self.remaining_retries[case.face] = (
                control_problem,
                _MAX_REPEATED_CONTROLS,
            )
        seconds = time.monotonic() - started
        return CaseReport(
            case.id,
            case.title,
            progress.get_last_expectation(),
            reason or progress.last_answer,
            verdict,
            seconds,
            exchanges=progress.exchange_log.list_exchanges(),
        )

    def _evaluate_case(self, case: AttackCase, progress: _ScenarioProgress) -> tuple[str, str]:
        """Return verdict and reason of a case; a control that is not accepted leaves it open (not_yet)."""
        if case.feature and case.feature not in self.features | self.kit.features:
            return NOT_YET, f"the gateway is not said to have {case.feature}"
        try:
            if control_problem := self._check_control(case.face):
                return NOT_YET, f"control not accepted: an honest message is {control_problem}"
            return self._run_scenario(case, progress)
        except NotOfferedError as missing:
            return NOT_YET, str(missing)
        except (LookupError, GatewayError) as unmade:
            # The agreements and answers of other gateways may lack a value that an attack needs.
            return NOT_YET, f"the attack cannot be made of what was agreed: {unmade}"
        except WrongAnswerError as wrong:
            return FAILED, str(wrong)

    def _run_scenario(self, case: AttackCase, progress: _ScenarioProgress) -> tuple[str, str]:
        """Send the exchanges of a case until an answer is wrong; return verdict and reason."""
        scenario = case.scenario(self.kit)
        answer: Answer | None = None
        while True:
            try:
                exchange = next(scenario) if answer is None else scenario.send(answer)
            except StopIteration:
                break
            progress.expectations.append(describe_expectation(exchange.expected))
            answer = self.target.send(exchange.step)
            record_step(progress.exchange_log, exchange.step, answer)
            progress.last_answer = str(summarize_answer(answer))
            if problem := self._find_answer_problem(exchange, answer):
                scenario.close()
                return self._classify_failure(exchange, problem)
        if answer is None:
            return NOT_YET, "the scenario has no exchange"
        return PASSED, ""

    def _find_answer_problem(self, exchange: Exchange, answer: Answer) -> str:
        """Return the fault of an answer, or an empty text; an acceptance without a proof is a fault."""
        problem = explain_mismatch(answer, exchange.expected)
        if problem or not exchange.expected.is_acceptance or not summarize_answer(answer).is_acceptance:
            return problem
        return explain_missing_proof(self.kit, exchange.step, answer)

    @staticmethod
    def _classify_failure(exchange: Exchange, problem: str) -> tuple[str, str]:
        expected = exchange.expected
        if expected.is_acceptance and not expected.must_accept:
            return NOT_YET, f"control {problem}"
        return FAILED, problem

    def _check_control(self, face: str) -> str:
        """Return why an honest message is not accepted on a face; an empty text when it is.

        The control is sent once for each face. After a case that made the gateway refuse it, it is sent again
        for the next `_MAX_REPEATED_CONTROLS` cases, because the gateway may come back.
        """
        if face not in self.control_problems:
            self.control_problems[face] = self._probe_honest_request(face, self.recovery_timeout)
        elif self.control_problems[face] and self.remaining_retries.get(face, 0) > 0:
            self.remaining_retries[face] -= 1
            self.control_problems[face] = self._probe_honest_request(
                face, min(self.recovery_timeout, _SHORT_PATIENCE)
            )
        return self.control_problems[face]

    def send_control(self, face: str) -> tuple[str, Answer]:
        """Send one honest message; return why it is not accepted, and the answer."""
        builders = {"soap": self.kit.build_call, "customs": self.kit.build_customs_call}
        kit = make_as4_kit(self.kit) if face == "as4" else self.kit
        step = builders.get(face, kit.build_message)()
        answer = self.target.send(step)
        return self._find_answer_problem(Exchange(step, ACCEPTED), answer), answer

    def _probe_honest_request(self, face: str, max_seconds: float) -> str:
        """Return why an honest message is not accepted now; it is repeated when the gateway asks for that."""
        end = time.monotonic() + max_seconds
        while True:
            problem, answer = self.send_control(face)
            is_busy = answer.status in _BUSY or (answer.status is None and not answer.timed_out)
            if not (problem and is_busy and time.monotonic() < end):
                return problem
            with suppress(InterruptedError):
                time.sleep(_PAUSE)


_INVITE: Final = (
    "the gateway does not know the suite: register it with `gateway conformance invite --home D --out "
    "partner`, and run with `--partner partner`"
)
_INVITE_AGAIN: Final = (
    "the partner folder is not that of this gateway, or is old: write a new one with `gateway conformance "
    "invite --home D --out partner`"
)
_RESUME: Final = "a party or agreement of the suite is suspended: `gateway party resume suite-a --home D`"
_TRUST: Final = (
    "the gateway does not trust the authority of the partner folder: `pki.anchors` in its settings must name "
    "the authority of the home in which the suite was invited"
)
_PATH: Final = "this path serves no such endpoint: correct `--url`, or the `path` in suite.toml"
_REACH: Final = "start the gateway with `gateway run --home D`, or correct `--url`"
_WAIT: Final = "wait until `/status/ready` of the gateway answers 200, then run again"
_EXPLAIN: Final = "`gateway error ID` explains a problem that the gateway names; mend that, then run again"
#: What to do, by the problem that the gateway names.
_ADVICE_BY_PROBLEM: Final = {
    "GW301": _INVITE,
    "GW302": f"{_INVITE}; or {_RESUME}",
    "GW303": _INVITE_AGAIN,
    "GW205": _TRUST,
    "GW206": _INVITE_AGAIN,
    "GW207": _INVITE_AGAIN,
    "GW209": _INVITE_AGAIN,
    "GW701": _INVITE_AGAIN,
}


@dataclass(frozen=True, slots=True)
class RefusedControl:
    """An honest message that was not accepted: the endpoint, the reason, and the advice to the operator."""

    face: str
    reason: str
    advice: str

    def format_lines(self) -> str:
        """Return two lines for people."""
        return f"stopped: the first honest message on {self.face} was not taken: {self.reason}\n{self.advice}"

    def to_json(self) -> dict[str, str]:
        """Return the three values."""
        return asdict(self)

    def to_case(self) -> CaseReport:
        """Return the failed control as a case of a report."""
        title = f"the first honest message on {self.face}"
        return CaseReport("control", title, "accepted", f"{self.reason} {self.advice}", FAILED)


def find_refused_control(runner: AttackRunner, cases: Iterable[AttackCase]) -> RefusedControl | None:
    """Return the first honest message that is not taken, on the endpoints that the cases attack.

    An endpoint for which the kit has no key, or that the gateway is not said to have, is left out: its
    cases have no verdict.
    """
    features = runner.features | runner.kit.features | {""}
    for face in dict.fromkeys(case.face for case in cases if case.feature in features):
        with suppress(NotOfferedError, LookupError, GatewayError):
            reason, answer = runner.send_control(face)
            if reason:
                return RefusedControl(face, answer.connect_problem or reason, _find_advice(reason, answer))
    return None


def _find_advice(reason: str, answer: Answer) -> str:
    if answer.connect_problem:
        return _REACH
    if "answered without proof" in reason:
        return _INVITE_AGAIN
    problem = next(
        (code for code in summarize_answer(answer).problem_ids if code in _ADVICE_BY_PROBLEM), None
    )
    if problem is not None:
        return _ADVICE_BY_PROBLEM[problem]
    if answer.status in (404, 405):
        return _PATH
    return _WAIT if answer.status == 503 else _EXPLAIN
