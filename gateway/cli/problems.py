"""``gateway error``: explains a problem by its id."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from typing import Any

from gateway.errors import PROBLEMS, Problem

__all__ = ["add_parser", "run"]


def add_parser(verbs: Any) -> None:
    """Add the verb ``error``."""
    parser = verbs.add_parser("error", help="explain a problem by its id")
    parser.add_argument("id", nargs="?", help="a problem id such as GW206; without it all are listed")
    parser.add_argument("--json", action="store_true", help="print JSON, one object a line")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print one problem, or the list of all."""
    if arguments.id is None:
        chosen = list(PROBLEMS.values())
    elif arguments.id.upper() in PROBLEMS:
        chosen = [PROBLEMS[arguments.id.upper()]]
    else:
        sys.stderr.write(f"gateway: there is no problem {arguments.id!r}; `gateway error` lists all\n")
        return 2
    for problem in chosen:
        if arguments.json:
            print(json.dumps(dataclasses.asdict(problem), ensure_ascii=False))
        elif arguments.id is None:
            print(f"{problem.id}  {problem.title}")
        else:
            print(explain(problem))
    return 0


def explain(problem: Problem) -> str:
    """Return a problem as a page for a person."""
    faces = {
        "ebMS 2.0": problem.ebms2,
        "ebMS 3.0": problem.ebms3,
        "SOAP": problem.soap,
        "HTTP": problem.http,
    }
    shown = ", ".join(f"{name} {face}" for name, face in faces.items() if face is not None)
    return "\n".join(
        (
            f"{problem.id}  {problem.title}",
            f"  meaning  {problem.meaning}",
            f"  cause    {problem.cause}",
            f"  remedy   {problem.remedy}",
            f"  fault    {'the gateway or its keeper' if problem.ours else 'the sender'}",
            f"  retry    the same bytes {'may succeed later' if problem.retry else 'fail again'}",
            f"  shown as {shown or 'nothing outside'}",
        )
    )
