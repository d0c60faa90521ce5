"""``python -m tests.xmlsec.opinions [--messages 5000] [--json]``: four opinions of changed messages.

Exit status 1 when a disagreement is explained by no rule.  The changes are drawn by the
seed; keys are new in every run, so a message that nobody can explain is printed whole.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.kit.paths import VECTORS
from tests.xmlsec.opinions.messages import live, own
from tests.xmlsec.opinions.rules import used
from tests.xmlsec.opinions.trials import COLUMNS, Trial, trials


def figures(messages: int, seed: int) -> dict[str, Any]:
    """Run so many trials and return the table."""
    started = time.monotonic()
    table: dict[str, Counter[str]] = {}
    rules: Counter[tuple[str, str, str]] = Counter()
    unexplained: list[dict[str, Any]] = []
    seeds = own() + live(VECTORS)
    with _quiet():
        for one in trials(seeds, messages, seed):
            table.setdefault(one.change, Counter())[one.column] += 1
            rules.update(_pairs(one))
            if one.column == "unexplained":
                unexplained.append(_told(one))
    return {
        "messages": messages,
        "seed": seed,
        "started_from": len(seeds),
        "table": {
            change: {column: row[column] for column in COLUMNS} for change, row in sorted(table.items())
        },
        "rules": [
            {
                "id": rule.id,
                "words": rule.words,
                "accepting_refusing": {
                    f"{accepting} accepts, {refusing} refuses": number
                    for (id, accepting, refusing), number in sorted(rules.items())
                    if id == rule.id
                },
            }
            for rule in used(id for id, *_ in rules)
        ],
        "unexplained": unexplained,
        "seconds": round(time.monotonic() - started, 1),
    }


def _pairs(trial: Trial) -> Iterator[tuple[str, str, str]]:
    for ours, theirs, rule in trial.explained:
        accepted = trial.opinions[ours].accepted
        yield (rule or "", *((ours, theirs) if accepted else (theirs, ours)))


def _told(trial: Trial) -> dict[str, Any]:
    return {
        "number": trial.number,
        "change": trial.change,
        "opinions": {name: one.reason or "accepted" for name, one in trial.opinions.items()},
        "xml": trial.message.xml.decode("utf-8", "replace"),
        "parts": {name: base64.b64encode(one).decode() for name, one in trial.message.parts.items()},
    }


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep libxml2's own lines about hostile documents off the terminal."""
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.xmlsec.opinions")
    parser.add_argument("--messages", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    asked = parser.parse_args()
    told = figures(asked.messages, asked.seed)
    print(json.dumps(told, ensure_ascii=False) if asked.json else _page(told))
    return 1 if told["unexplained"] else 0


def _page(told: dict[str, Any]) -> str:
    lines = [f"{'change':58}" + "".join(f"{column:>26}" for column in COLUMNS)]
    for change, row in told["table"].items():
        lines.append(f"{change:58}" + "".join(f"{row[column]:26}" for column in COLUMNS))
    sums = [sum(row[column] for row in told["table"].values()) for column in COLUMNS]
    lines.append(f"{'all ' + str(told['messages']):58}" + "".join(f"{number:26}" for number in sums))
    for rule in told["rules"]:
        lines.append(f"{rule['id']}: {rule['words']}")
        lines += [f"    {pair}: {number}" for pair, number in rule["accepting_refusing"].items()]
    lines += [f"UNEXPLAINED {json.dumps(one, ensure_ascii=False)}" for one in told["unexplained"]]
    lines.append(f"from {told['started_from']} messages, seed {told['seed']}, {told['seconds']} s")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
