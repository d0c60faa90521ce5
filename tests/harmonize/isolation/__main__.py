"""``python -m tests.harmonize.isolation [--submissions 20000] [--first 0] [--json]``."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter

from tests.harmonize.isolation.trials import generated, trials


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.harmonize.isolation")
    parser.add_argument("--submissions", type=int, default=20_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    started, table, broken, tried = time.monotonic(), Counter[tuple[str, str]](), [], 0
    for seed in range(arguments.first, arguments.first + arguments.submissions):
        tried += 1
        for trial in trials(seed, generated(seed)):
            table["outside" if not trial.hows else "inside", trial.effect] += 1
            if not trial.holds:
                place = f"{trial.seed} {trial.document} {trial.pointer}"
                broken.append(f"{place} {trial.change} {trial.effect} {sorted(trial.hows)}")
    told = {
        "submissions": tried,
        "trials": sum(table.values()),
        "effects": {f"{where} {effect}": count for (where, effect), count in sorted(table.items())},
        "broken": broken[:50],
        "broken_count": len(broken),
        "seconds": round(time.monotonic() - started, 1),
    }
    print(json.dumps(told, ensure_ascii=False, indent=None if arguments.json else 2))
    return 1 if broken else 0


sys.exit(main())
