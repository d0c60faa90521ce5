"""The result of a run: one verdict for each case, its facts, and its exchanges as octets."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

#: Everything that XML cannot hold, that a terminal or a browser obeys, or that changes the direction of text.
_UNSAFE: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff\ufffe\uffff]"
)


def make_printable(text: str) -> str:
    """Return a text whose control characters are written as escapes."""
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def format_octets(data: bytes) -> str:
    """Return octets as text: UTF-8 where they are, every other octet as an escape; CR LF is a new line."""
    text = data.decode("utf-8", "backslashreplace")
    return make_printable(text.replace("\r\n", "\n"))


#: Longer bodies are kept to here; their length and digest are those of all octets.
_MAX_BODY_OCTETS: Final = 65_536


@dataclass(frozen=True, slots=True)
class RecordedMessage:
    """One HTTP message: its first line, its header fields, and the first octets of its body.

    `octets` and `sha256` are those of the whole body.
    """

    line: str
    headers: Mapping[str, str]
    body: bytes
    octets: int
    sha256: str

    def format_head(self) -> str:
        """Return the first line and the header fields."""
        return "\n".join([self.line, *(f"{name}: {value}" for name, value in self.headers.items())])


def record_message(first_line: str, headers: Mapping[str, str], body: bytes) -> RecordedMessage:
    """Return the record of a message."""
    return RecordedMessage(
        first_line, dict(headers), body[:_MAX_BODY_OCTETS], len(body), hashlib.sha256(body).hexdigest()
    )


@dataclass(frozen=True, slots=True)
class RecordedExchange:
    """A request and its answer; `to_gateway` says who sent the request, `at` the seconds since the start.

    `answer` is None when there was none; `trouble` then says why.
    """

    to_gateway: bool
    at: float
    request: RecordedMessage
    answer: RecordedMessage | None
    trouble: str = ""


@dataclass
class ExchangeLog:
    """Collects the exchanges of one case; safe for threads."""

    started: float = field(default_factory=time.monotonic)
    _exchanges: list[RecordedExchange] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add_exchange(
        self,
        request: RecordedMessage,
        answer: RecordedMessage | None,
        trouble: str = "",
        *,
        to_gateway: bool = True,
    ) -> None:
        """Append an exchange that is over."""
        with self._lock:
            at = time.monotonic() - self.started
            self._exchanges.append(RecordedExchange(to_gateway, at, request, answer, trouble))

    def list_exchanges(self) -> tuple[RecordedExchange, ...]:
        """Return the exchanges so far."""
        with self._lock:
            return tuple(self._exchanges)


#: The verdicts and their meanings.
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


class _TableRow(Protocol):
    """A row of a table of requirements, with the values that a report states about it."""

    @property
    def id(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def expectation(self) -> str: ...
    def to_json(self) -> dict[str, Any]: ...


def make_case_report(
    row: _TableRow,
    verdict: str,
    reason: str,
    seconds: float = 0.0,
    exchanges: tuple[RecordedExchange, ...] = (),
) -> CaseReport:
    """Return the result of a row, with its columns."""
    columns = ("id", "title", "expectation")
    facts = {name: value for name, value in row.to_json().items() if name not in columns}
    return CaseReport(row.id, row.title, row.expectation, reason, verdict, seconds, facts, exchanges)


class UnmetError(Exception):
    """A requirement is not met; the text says why."""


@dataclass(frozen=True, slots=True)
class RunReport:
    """The result of a run of `suite` against `target`.

    `run_details` has facts about the run: its time, the gateway, the agreement or profile, the declared
    features. `findings` are sentences about the gateway that concern many cases.
    """

    suite: str
    target: str
    cases: tuple[CaseReport, ...]
    run_details: Mapping[str, str] = field(default_factory=dict)
    findings: tuple[str, ...] = ()

    def count_verdicts(self) -> dict[str, int]:
        """Return how many cases have each verdict."""
        counted = Counter(case.verdict for case in self.cases)
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
            "about": dict(self.run_details),
            "findings": list(self.findings),
            "cases": [case.to_json() for case in self.cases],
            **self.count_verdicts(),
        }

    def format_summary(self) -> str:
        """Return the findings and the counts, one line for each."""
        parts = (
            f"{count} {name.replace('_', ' ')}" for name, count in self.count_verdicts().items() if count
        )
        counts = f"{len(self.cases)} cases against {self.target}: {', '.join(parts) or 'nothing was run'}"
        return "\n".join((*self.findings, counts))
