"""``python -m tests.flows.hostile.outbound``: nothing is fetched because a message says so.

The hostile corpus, and messages that name canaries, twice: in this process, where every
audit event of Python is heard; and against a running gateway in a network namespace
without routes, where the kernel tells what is opened and connected to.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from typing import Any

from tests.flows.hostile.outbound_audit import audited
from tests.kit.paths import ROOT

__all__ = ["in_namespace"]


def in_namespace(every: int = 1) -> dict[str, Any]:
    """Return what a gateway did beside its work while every `every`-th case was played against it."""
    with tempfile.TemporaryDirectory(prefix="gateway-outbound-") as place:
        command = [sys.executable, "-m", "tests.flows.hostile.outbound_inside", place, str(every)]
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=1800,
        )
    if done.returncode != 0:
        raise RuntimeError(f"the run in a namespace failed: {done.stderr[-2000:]}")
    told: dict[str, Any] = json.loads(done.stdout)
    good = not told["heard"] and not told["canaries"] and all(told["controls"].values())
    return {
        "what": "a running gateway",
        **told,
        "good": good and told["routes"] == 0 if told["namespace"] else good,
    }


def main() -> int:
    """Run one or both, print what was seen; 1 when anything was fetched or a control was not noticed."""
    parser = argparse.ArgumentParser(prog="python -m tests.flows.hostile.outbound", description=__doc__)
    parser.add_argument("--only", choices=("audit", "namespace"), help="one of the two")
    parser.add_argument("--every", type=int, default=1, help="every so many cases of the corpus")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    args = parser.parse_args()
    good = True
    for name, run in (("audit", audited), ("namespace", in_namespace)):
        if args.only in (None, name):
            told = run(args.every)
            good = good and told["good"]
            print(json.dumps(told, indent=None if args.json else 2), flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
