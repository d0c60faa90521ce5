"""What came of a run, as JSON and as lines."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any, Final

__all__ = ["FAILED", "NOT_YET", "PASSED", "CaseResult", "SuiteReport"]

PASSED: Final = "passed"
FAILED: Final = "failed"
NOT_YET: Final = "not_yet"


@dataclass(frozen=True, slots=True)
class CaseResult:
    """What came of one case; `got` says why, where it has not passed."""

    id: str
    title: str
    expected: str
    got: str
    verdict: str
    seconds: float

    def format_line(self) -> str:
        """Return the result as one line."""
        return f"{self.verdict:8}{self.seconds:7.2f} s  {self.id}  {self.title}\n{'':19}{self.got}"


@dataclass(frozen=True, slots=True)
class SuiteReport:
    """What came of a run."""

    suite: str
    target: str
    results: tuple[CaseResult, ...]

    def count_verdict(self, verdict: str) -> int:
        """Return how many cases have that verdict."""
        return Counter(one.verdict for one in self.results)[verdict]

    @property
    def is_successful(self) -> bool:
        """Tell whether something passed and nothing failed."""
        return self.count_verdict(PASSED) > 0 and self.count_verdict(FAILED) == 0

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON holds it."""
        cases = [asdict(one) | {"seconds": round(one.seconds, 3)} for one in self.results]
        counts = {verdict: self.count_verdict(verdict) for verdict in (PASSED, FAILED, NOT_YET)}
        return {"suite": self.suite, "target": self.target, "cases": cases, **counts}

    def format_summary(self) -> str:
        """Return the counts as one line."""
        passed, failed, open_ = (self.count_verdict(verdict) for verdict in (PASSED, FAILED, NOT_YET))
        counts = f"{passed} passed, {failed} failed, {open_} not yet"
        return f"{len(self.results)} cases against {self.target}: {counts}"
