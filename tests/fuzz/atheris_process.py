"""The process that atheris takes over: ``TARGET FINDINGS SECONDS`` and then what libFuzzer is told.

What is found is written to a file and the run goes on: one mistake shall not hide the next.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from random import Random

import atheris

with atheris.instrument_imports(include=["gateway"]):
    from tests.fuzz.catalogue import targets
    from tests.fuzz.harness import Bounds, Finding, Harness

#: How often libFuzzer's own changes are made in the place of the target's.
_PLAIN = 0.15


def main() -> None:
    name, findings, seconds = sys.argv[1], Path(sys.argv[2]), float(sys.argv[3])
    target = targets()[name]
    harness = Harness(target, Bounds(seconds=seconds))
    harness.warm()
    shortest: dict[tuple[str, str, str], int] = {}

    def execute(data: bytes) -> None:
        finding = harness.execute(data)
        if finding is not None and len(data) < shortest.get(finding.key, sys.maxsize):
            shortest[finding.key] = len(data)
            _keep(finding, findings)

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        rng = Random(seed)
        if rng.random() < _PLAIN:
            return bytes(atheris.Mutate(data, most))
        return target.mutate(data, rng)[:most]

    atheris.Setup([sys.argv[0], *sys.argv[4:]], execute, custom_mutator=mutate)
    atheris.Fuzz()


def _keep(finding: Finding, path: Path) -> None:
    said = {
        "target": finding.target,
        "kind": finding.kind,
        "where": finding.where,
        "detail": finding.detail,
        "data": finding.data.hex(),
    }
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(said) + "\n")


if __name__ == "__main__":
    main()
