"""Runs cases through the verb, as an outsider would: a file of lines in, a line for each out."""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.cli import main
from gateway.pki.certificate_examiner import TIME_LIMIT_TEXT


@dataclass(frozen=True)
class Row:
    """One case of a suite: what is asked and what must come of it.

    ``good``: whether the path is; ``argued``: why another outcome is right here, None mostly.
    """

    name: str
    asked: dict[str, Any]
    good: bool
    argued: str | None = None


@dataclass
class Tally:
    """What came of a suite."""

    suite: str
    cases: int = 0
    right: int = 0
    argued: int = 0
    wrong: list[str] = field(default_factory=list)
    slowest: list[tuple[float, str]] = field(default_factory=list)

    def note(self, row: Row, told: dict[str, Any]) -> None:
        """Count one case."""
        self.cases += 1
        self.slowest = sorted([*self.slowest, (told["milliseconds"], row.name)], reverse=True)[:5]
        if told["reason"] == TIME_LIMIT_TEXT:
            self.wrong.append(f"{row.name}: {TIME_LIMIT_TEXT}")
        elif (told["verdict"] == "valid") == row.good:
            # A deviation that is argued for must be one.
            if row.argued is None:
                self.right += 1
            else:
                self.wrong.append(f"{row.name}: argued for, but it is right")
        elif row.argued is not None:
            self.argued += 1
        else:
            self.wrong.append(f"{row.name}: {told['verdict']} {told['problem']} {told['reason']}")


def run_batch(cases: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what `gateway pki validate --batch` says of the cases."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "cases.jsonl"
        file.write_text("".join(json.dumps(case) + "\n" for case in cases), "utf-8")
        spoken = io.StringIO()
        with contextlib.redirect_stdout(spoken):
            main(["pki", "validate", "--batch", str(file), "--json"])
    told = [json.loads(line) for line in spoken.getvalue().splitlines()]
    assert len(told) == len(cases), f"{len(cases)} cases, {len(told)} answers"
    return told


def tally(suite: str, rows: Sequence[Row]) -> Tally:
    """Run a suite and count."""
    counted = Tally(suite)
    for row, told in zip(rows, run_batch([row.asked for row in rows]), strict=True):
        counted.note(row, told)
    return counted
