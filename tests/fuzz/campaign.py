"""One run at one target: what it executed, how far it came, what it found; and the mutator as an engine."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from types import CodeType, FrameType
from typing import Any

from tests.fuzz.harness import Bounds, Finding, Harness
from tests.fuzz.target import Target
from tests.kit.paths import ROOT

__all__ = ["Campaign", "Mark", "Plan", "minimised", "with_mutator"]

_GATEWAY = str(ROOT / "gateway")
_MARKS = 8
_MOST_TRIES = 1500


@dataclass(frozen=True)
class Plan:
    """How long and from where; `executions` ends a run earlier, `watch` counts coverage (slowly)."""

    seconds: float
    seed: int = 1
    executions: int | None = None
    watch: bool = True
    bounds: Bounds = field(default_factory=Bounds)


@dataclass(frozen=True)
class Mark:
    """How far a run was at a moment: `features` is what the engine counts, edges the places passed."""

    seconds: float
    executions: int
    edges: int
    features: int
    corpus: int


@dataclass
class Campaign:
    """The outcome of a run."""

    target: str
    engine: str
    marks: list[Mark] = field(default_factory=list)
    findings: dict[tuple[str, str, str], Finding] = field(default_factory=dict)

    def add(self, finding: Finding) -> None:
        """Keep a finding, of several with one key the shortest."""
        known = self.findings.get(finding.key)
        if known is None or len(finding.data) < len(known.data):
            self.findings[finding.key] = finding

    def told(self) -> dict[str, Any]:
        """Return the figures of the run as one JSON object."""
        first, last = self.marks[0], self.marks[-1]
        step = max(1, len(self.marks) // _MARKS)
        shown = [*self.marks[:-1:step], last]
        return {
            "target": self.target,
            "engine": self.engine,
            "seconds": round(last.seconds, 1),
            "executions": last.executions,
            "per_second": round(last.executions / max(last.seconds, 0.001)),
            "edges": {"start": first.edges, "end": last.edges},
            "features": {"start": first.features, "end": last.features},
            "growth": [[round(one.seconds), one.executions, one.edges, one.features] for one in shown],
            "corpus": last.corpus,
            "findings": [
                {"kind": one.kind, "where": one.where, "detail": one.detail, "octets": len(one.data)}
                for one in self.findings.values()
            ],
        }


class _Calls:
    """Counts which function of the gateway calls which, by sys.settrace: lines would cost far more."""

    def __init__(self) -> None:
        self.known: set[tuple[CodeType | None, int, CodeType]] = set()

    def new(self, run: Callable[[], Finding | None]) -> tuple[Finding | None, int]:
        """Return what `run` returns, and how many calls it made that were never made before."""
        before = len(self.known)
        old = sys.gettrace()
        sys.settrace(self._call)
        try:
            finding = run()
        finally:
            sys.settrace(old)
        return finding, len(self.known) - before

    def _call(self, frame: FrameType, _event: str, _arg: Any) -> None:
        if frame.f_code.co_filename.startswith(_GATEWAY):
            caller = frame.f_back
            above = (None, 0) if caller is None else (caller.f_code, caller.f_lineno)
            self.known.add((*above, frame.f_code))


def with_mutator(target: Target, plan: Plan) -> Campaign:
    """Run the target's own mutation from its seeds; with coverage watched, what is new is built upon."""
    harness, rng, campaign = Harness(target, plan.bounds), Random(plan.seed), Campaign(target.name, "mutator")
    edges, corpus = _Calls(), list(target.seeds())
    started = time.monotonic()

    def execute(data: bytes) -> bool:
        new = 0
        if plan.watch:
            finding, new = edges.new(lambda: harness.execute(data))
        else:
            finding = harness.execute(data)
        if finding is not None:
            campaign.add(finding)
        return new > 0 and finding is None

    def mark() -> None:
        spent = time.monotonic() - started
        size = len(edges.known)
        campaign.marks.append(Mark(spent, harness.executions, size, size, len(corpus)))

    harness.warm()
    for seed in list(corpus):
        execute(seed)
    mark()
    most = plan.executions or sys.maxsize
    pause = max(plan.seconds / 60, 0.2)
    while (spent := time.monotonic() - started) < plan.seconds and harness.executions < most:
        data = target.mutate(rng.choice(corpus), rng)[: target.longest]
        if execute(data):
            corpus.append(data)
        if spent - campaign.marks[-1].seconds > pause:
            mark()
    mark()
    return campaign


def minimised(target: Target, finding: Finding, bounds: Bounds | None = None) -> Finding:
    """Return the finding with as few octets as some hundred tries can make it."""
    harness = Harness(target, bounds or Bounds(), twice=1 if finding.kind == "differs" else 8)
    best, tries = finding, 0
    size = max(1, len(best.data) // 2)
    most = 40 if finding.kind in ("slow", "memory") else _MOST_TRIES
    while size and tries < most:
        place, shorter = 0, False
        while place < len(best.data) and tries < most:
            tries += 1
            data = best.data[:place] + best.data[place + size :]
            found = harness.execute(data)
            if found is not None and found.key == finding.key:
                best, shorter = found, True
            else:
                place += size
        if not shorter:
            size //= 2
    return best
