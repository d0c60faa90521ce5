"""``python -m tests.fuzz``: fuzzes the readers of the gateway and prints what came of it."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.fuzz.atheris_engine import installed, with_atheris
from tests.fuzz.campaign import Campaign, Plan, minimised, with_mutator
from tests.fuzz.catalogue import FOUND, targets
from tests.fuzz.harness import Bounds
from tests.fuzz.target import Target


def main() -> int:
    """Fuzz each target for some seconds; 1 when anything was found."""
    args = _parser().parse_args()
    work = args.work or Path(tempfile.mkdtemp(prefix="gateway-fuzz-work-"))
    wrong = 0
    for name in args.target or targets():
        target = targets()[name]
        campaign = _run(target, args, work)
        wrong += len(campaign.findings)
        told = campaign.told()
        told["kept"] = [str(path) for path in _kept(target, campaign)] if args.keep else []
        print(json.dumps(told, ensure_ascii=False) if args.json else _shown(told), flush=True)
    return 1 if wrong else 0


def _run(target: Target, args: argparse.Namespace, work: Path) -> Campaign:
    plan = Plan(args.seconds, args.seed, bounds=Bounds(seconds=args.limit))
    if args.engine == "atheris":
        return with_atheris(target, plan, work)
    return with_mutator(target, plan)


def _kept(target: Target, campaign: Campaign) -> list[Path]:
    """Write each finding, made small, to where the tests find it."""
    paths = []
    for finding in campaign.findings.values():
        small = minimised(target, finding)
        path = FOUND / target.name / f"{small.kind}-{hashlib.sha256(small.data).hexdigest()[:12]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(small.data)
        paths.append(path)
    return paths


def _shown(told: dict[str, Any]) -> str:
    lines = [
        f"{told['target']}: {told['executions']} executions in {told['seconds']} s ({told['per_second']}/s), "
        f"edges {told['edges']['start']} to {told['edges']['end']}, "
        f"features {told['features']['start']} to {told['features']['end']}, corpus {told['corpus']}"
    ]
    lines += [f"  FOUND {one['kind']} {one['where']}: {one['detail'][-400:]}" for one in told["findings"]]
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument(
        "--target", action="append", choices=sorted(targets()), help="only this one; may be repeated"
    )
    parser.add_argument("--seconds", type=float, default=60, help="for each target")
    parser.add_argument(
        "--engine", choices=("atheris", "mutator"), default="atheris" if installed() else "mutator"
    )
    parser.add_argument("--seed", type=int, default=1, help="the mutator does the same for the same seed")
    parser.add_argument(
        "--limit", type=float, default=2.0, help="seconds of processor time for one execution"
    )
    parser.add_argument("--work", type=Path, help="where atheris keeps its corpora, to go on from them")
    parser.add_argument(
        "--keep", action="store_true", help="make each finding small and keep it for the tests"
    )
    parser.add_argument("--json", action="store_true", help="each target as one line of JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
