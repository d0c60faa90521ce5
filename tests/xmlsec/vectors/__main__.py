"""``python -m tests.xmlsec.vectors [--json]``: outside vectors of signatures, canonical forms, primitives.

Prints what was judged and what was refused by policy, by reason; exit status 1 when
anything is wrong.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from gateway.xmlsec import POLICIES
from tests.kit.paths import VECTORS
from tests.xmlsec.vectors import forms, signed, wycheproof


def figures() -> dict[str, Any]:
    """Run everything and return the counts."""
    return {
        "signed": {
            f"{suite} {policy.name}": vars(signed.count(VECTORS, suite, policy))
            for suite in signed.SUITES
            for policy in POLICIES.values()
        },
        "canonical": vars(forms.count(VECTORS)),
        "wycheproof": {
            name: vars(wycheproof.count(VECTORS, name)) for name in (*wycheproof.JUDGED, *wycheproof.REFUSED)
        },
    }


def wrong_in(told: dict[str, Any]) -> list[str]:
    """Return what is wrong, in words."""
    rows = [*told["signed"].values(), told["canonical"], *told["wycheproof"].values()]
    return [line for row in rows for line in row["wrong"]]


def main() -> int:
    """Print the counts."""
    parser = argparse.ArgumentParser(prog="python -m tests.xmlsec.vectors")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    asked = parser.parse_args()
    told = figures()
    if asked.json:
        print(json.dumps(told, ensure_ascii=False))
    else:
        _print(told)
    return 1 if wrong_in(told) else 0


def _print(told: dict[str, Any]) -> None:
    for name, row in told["signed"].items():
        refused = ", ".join(f"{ground} {number}" for ground, number in sorted(row["refused"].items()))
        print(
            f"{name}: {row['documents']} documents, {row['valid']} valid, {row['invalid']} invalid"
            f" ({len(row['argued'])} argued), refused by policy {sum(row['refused'].values())} ({refused}),"
            f" wrong {len(row['wrong'])}"
        )
    row = told["canonical"]
    print(
        f"canonical forms: {row['equal']} files equal octet for octet, {row['not_ours']} of node-sets that"
        f" are not ours; {row['digests']} digests match, {row['bad_digests']} that must not do not,"
        f" wrong {len(row['wrong'])}"
    )
    for name, row in told["wycheproof"].items():
        right = ", ".join(f"{result} {number}" for result, number in sorted(row["right"].items()))
        print(
            f"{name}: {row['cases']} cases, right: {right or 'none judged'},"
            f" refused by policy {sum(row['refused'].values())}, wrong {len(row['wrong'])}"
        )
    for line in wrong_in(told):
        print("WRONG", line)


if __name__ == "__main__":
    sys.exit(main())
