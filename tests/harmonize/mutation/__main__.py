"""``python -m tests.harmonize.mutation``: breaks the shipped mappings and prints what stopped each."""

from __future__ import annotations

import argparse
import json
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import cache

from tests.harmonize.mutation.argued import argument
from tests.harmonize.mutation.catalogue import chosen, every
from tests.harmonize.mutation.judging import GOLDEN, Court, Verdict
from tests.harmonize.mutation.mutants import KINDS, Mutant
from tests.harmonize.mutation.tables import summary, table


@cache
def _court() -> Court:
    return Court.open()


def _judge(mutant: Mutant) -> Verdict:
    return _court().judge(mutant)


def main() -> int:
    """Judge the mutants and print the table; 1 when one lives that nothing argues for."""
    args = _parser().parse_args()
    if args.write_golden:
        return _write_golden()
    court = _court()
    if not court.facts:
        print("the facts are left out: no outside vectors (GATEWAY_VECTORS)", file=sys.stderr)
    mutants = every(court.sheets)
    if args.kind:
        mutants = {name: row for name, row in mutants.items() if name in args.kind}
    some = chosen(mutants, args.mutants, args.seed)
    verdicts = []
    with ProcessPoolExecutor(args.processes) as pool:
        for verdict in pool.map(_judge, some, chunksize=2):
            verdicts.append(verdict)
            if args.json:
                print(json.dumps(_shown(verdict), ensure_ascii=False), flush=True)
    total = sum(len({one.name for one in row}) for row in mutants.values())
    if not args.json:
        print(f"{len(verdicts)} of {total} mutants, seed {args.seed}, {len(court.sheets)} documents\n")
        print(table(verdicts))
        print(summary(verdicts))
    return 1 if any(one.first == "alive" and argument(one.mutant) is None for one in verdicts) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.harmonize.mutation", description=__doc__)
    parser.add_argument("--mutants", type=int, default=600, help="how many are tried")
    parser.add_argument("--seed", default="1", help="the same seed tries the same mutants")
    parser.add_argument("--kind", action="append", choices=sorted(KINDS), help="only mutants of this kind")
    parser.add_argument("--processes", type=int, default=2, help="how many at one time")
    parser.add_argument("--json", action="store_true", help="each verdict as it falls, as a line of JSON")
    parser.add_argument("--write-golden", action="store_true", help="keep the requests as they are made now")
    return parser


def _shown(verdict: Verdict) -> dict[str, object]:
    mutant = verdict.mutant
    reason = argument(mutant) if verdict.first == "alive" else None
    return {
        "kind": mutant.kind,
        "document": mutant.document,
        "what": mutant.what,
        "file": mutant.mark.file,
        "line": mutant.mark.line,
        "first": verdict.first,
        "found": dict(verdict.found),
        "argument": None if reason is None else f"{reason.verdict}: {reason.reason}",
    }


def _write_golden() -> int:
    court = _court()
    for name in court.sheets:
        (GOLDEN / f"{name}.xml").write_bytes(court.request_of(name))
    return 0


if __name__ == "__main__":
    sys.exit(main())
