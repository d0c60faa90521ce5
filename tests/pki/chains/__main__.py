"""``python -m tests.pki.chains [--seed S] [--number N] [--json]``: our verdicts against those of others.

Exit status 1 when we take what most of those who know the matter refuse, or the other way round, and
no page argues it.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence

from tests.pki.chains.comparing import Comparison, compare, write_agreed
from tests.pki.chains.opinions import OTHERS


def _printed(found: Comparison, shown: int) -> None:
    print(f"{'validator':10} {'asked':>6} {'agrees':>7} {'we stricter':>12} {'we laxer':>9}")
    for name, count in found.counts.items():
        print(f"{name:10} {count.asked:6} {count.agree:7} {count.stricter:12} {count.laxer:9}")
    for title, cases in found.classes.items():
        print(f"{len(cases):5} {title}")
        for line in cases[:shown]:
            print(f"        {line}")


def main(words: Sequence[str] | None = None) -> int:
    """Compare, and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.pki.chains")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--number", type=int, default=5000)
    parser.add_argument("--first", type=int, default=0, help="the number of the first case")
    parser.add_argument("--only", action="append", choices=tuple(OTHERS), help="ask these; repeatable")
    parser.add_argument("--shown", type=int, default=3, help="how many cases of a class are printed")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--write", action="store_true", help="write down what everybody agrees on")
    asked = parser.parse_args(words)
    tools = {"openssl": "openssl", "java": "javac", "gnutls": "certtool"}
    names = asked.only or [name for name in OTHERS if shutil.which(tools[name])]
    if asked.write:
        write_agreed(300, ["openssl", "java"])
        return 0
    found = compare(asked.seed, range(asked.first, asked.first + asked.number), names)
    if asked.json:
        print(json.dumps(found.as_json()))
    else:
        _printed(found, asked.shown)
    return 1 if found.alarming else 0


if __name__ == "__main__":
    sys.exit(main())
