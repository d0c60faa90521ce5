"""The result of a run: one verdict for each case, its facts, and its exchanges."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.conformance.reports.recorded_exchange import RecordedExchange

__all__ = ["VERDICTS", "CaseReport", "RunReport"]

#: The verdicts, and what each of them means.
VERDICTS: Final[Mapping[str, str]] = {
    "passed": "the gateway did what is required",
    "failed": "the gateway did not do what is required",
    "advised": "a recommendation is not followed; the run does not fail by it",
    "not_applicable": "the gateway does not declare the feature, or the agreement lacks what is needed",
    "not_yet": "no verdict was possible",
}


@dataclass(frozen=True, slots=True)
class CaseReport:
    """The result of one case; `got` says why it has not passed.

    `facts` are further columns, such as clause and feature.
    """

    id: str
    title: str
    expected: str
    got: str
    verdict: str
    seconds: float = 0.0
    facts: Mapping[str, Any] = field(default_factory=dict)
    exchanges: tuple[RecordedExchange, ...] = ()

    def format_line(self) -> str:
        """Return the result as one line, or two where there is something to say."""
        line = f"{self.verdict:14}{self.seconds:7.2f} s  {self.id}  {self.title}"
        return f"{line}\n{'':25}{self.got}" if self.got else line

    def to_json(self) -> dict[str, Any]:
        """Return the result as a JSON object; exchanges are only counted."""
        return {
            "id": self.id,
            "title": self.title,
            "expected": self.expected,
            "got": self.got,
            "verdict": self.verdict,
            "seconds": round(self.seconds, 3),
            **self.facts,
            "exchanges": len(self.exchanges),
        }


@dataclass(frozen=True, slots=True)
class RunReport:
    """The result of a run of `suite` against `target`.

    `about` has what is to be told of the run: when, by whom, under which agreement. `findings` are
    sentences about the gateway that concern many cases.
    """

    suite: str
    target: str
    cases: tuple[CaseReport, ...]
    about: Mapping[str, str] = field(default_factory=dict)
    findings: tuple[str, ...] = ()

    def count_verdicts(self) -> dict[str, int]:
        """Return how many cases have each verdict."""
        counted = Counter(one.verdict for one in self.cases)
        return {name: counted[name] for name in VERDICTS}

    @property
    def is_successful(self) -> bool:
        """Return whether something passed, nothing failed, and nothing is without verdict."""
        counted = self.count_verdicts()
        return counted["passed"] > 0 and counted["failed"] == 0 and counted["not_yet"] == 0

    def to_json(self) -> dict[str, Any]:
        """Return the report as a JSON object."""
        return {
            "suite": self.suite,
            "target": self.target,
            "about": dict(self.about),
            "findings": list(self.findings),
            "cases": [one.to_json() for one in self.cases],
            **self.count_verdicts(),
        }

    def format_summary(self) -> str:
        """Return the findings and the counts, one line for each."""
        told = (f"{count} {name.replace('_', ' ')}" for name, count in self.count_verdicts().items() if count)
        counts = f"{len(self.cases)} cases against {self.target}: {', '.join(told) or 'nothing was run'}"
        return "\n".join((*self.findings, counts))
