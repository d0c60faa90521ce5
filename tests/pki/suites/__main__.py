"""``python -m tests.pki.suites [--json]``: the published suites through the verb, and how long each took.

Exit status 1 when anything is wrong.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator

from tests.kit.paths import VECTORS
from tests.pki.suites import limbo, odd, pkits
from tests.pki.suites.verb import Tally, run_batch, tally


def tallies() -> Iterator[Tally]:
    """Run every suite, one after the other."""
    vectors = VECTORS / "vectors"
    yield tally("PKITS, expected results given", pkits.given_rows(vectors / "nist-pkits"))
    yield tally("PKITS, all sections", list(pkits.Suite(vectors / "nist-pkits").rows()))
    for use in ("tls", "any"):
        yield tally(f"x509-limbo, --use {use}", limbo.rows(vectors / "x509-limbo", use))
    yield _ending("x509-limbo, other families (must end)", limbo.others(vectors / "x509-limbo"))
    files = odd.asked(vectors / "pyca-x509")
    yield _ending(
        "pyca odd files and OCSP (no crash)", [asked for _, asked in files], [name for name, _ in files]
    )


def _ending(suite: str, cases: list[dict[str, object]], names: list[str] | None = None) -> Tally:
    counted = Tally(suite)
    for number, told in enumerate(run_batch(cases)):
        counted.cases += 1
        name = names[number] if names else str(number)
        counted.slowest = sorted([*counted.slowest, (told["milliseconds"], name)], reverse=True)[:5]
        if odd.broken(told):
            counted.wrong.append(f"{name}: {told['verdict']} {told['problem']} {told['reason']}")
        else:
            counted.right += 1
    return counted


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.pki.suites")
    parser.add_argument("--json", action="store_true", help="print JSON, one object a suite")
    asked = parser.parse_args()
    wrong: list[str] = []
    if not asked.json:
        print(f"{'suite':40} {'cases':>5} {'right':>5} {'argued':>6} {'wrong':>5} {'slowest ms':>10}")
    for row in tallies():
        wrong += row.wrong
        if asked.json:
            print(json.dumps(vars(row), ensure_ascii=False))
            continue
        spent, name = row.slowest[0]
        print(
            f"{row.suite:40} {row.cases:5} {row.right:5} {row.argued:6} {len(row.wrong):5} {spent:10} {name}"
        )
    for line in wrong:
        print("WRONG", line, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
