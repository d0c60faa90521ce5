"""Runs the rows on clusters of their own, and prints what was seen."""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import psycopg

from gateway.errors import GatewayError
from tests.cluster.breaking import Breaking
from tests.cluster.cluster import Cluster, Options, open_cluster, say
from tests.cluster.database_members import find_missing_programs
from tests.cluster.judge import Outside, find_mistakes, list_acknowledged
from tests.cluster.network import say_why_no_disk, say_why_no_namespaces
from tests.cluster.rows import ROWS, Row
from tests.cluster.town import FRONT
from tests.cluster.traffic import Traffic

__all__ = ["main"]

#: MiB: enough for a member and its log, and soon full.
_SMALL_DISK = 500
#: So many messages are sent once more when all is healed.
_REPEATED = 40
#: What is a mistake of the row, and not of the suite.
_TROUBLE = (TimeoutError, RuntimeError, GatewayError, psycopg.Error)


def main(words: Sequence[str] | None = None) -> int:
    """Run the rows; 0 when all that were possible are good, 1 when one is not, 2 when none was possible."""
    arguments = _parser().parse_args(words)
    missing = find_missing_programs()
    if missing:
        print("no cluster can be made: install " + ", ".join(missing), file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, _end)
    without = "asked for" if arguments.loopback else say_why_no_namespaces()
    if without:
        print(f"NOT POSSIBLE HERE: network namespaces ({without}); all machines share one network")
    rows = [ROWS[name] for name in arguments.rows or ROWS]
    report = _run_all(arguments, rows, namespaces=not without)
    if arguments.json:
        print(json.dumps(report, indent=2))
    else:
        _print_table(report)
    judged = [one["good"] for one in report if "good" in one]
    if not judged:
        return 2
    return 0 if all(judged) else 1


def _end(*_: object) -> None:
    raise SystemExit("ended by a signal")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description=__doc__)
    parser.add_argument("--rows", nargs="*", choices=tuple(ROWS), help="the rows; all without this")
    parser.add_argument("--runs", type=int, default=1, help="so often is each row run")
    parser.add_argument("--seed", type=int, default=None, help="the seed of the first run")
    parser.add_argument("--rate", type=float, default=5.0, help="messages a second")
    parser.add_argument("--copies", type=int, default=2, help="what hub nodes wait for; 1 shows what is lost")
    parser.add_argument(
        "--asynchronous", action="store_true", help="the members do not wait for each other: rows must fail"
    )
    parser.add_argument(
        "--limit", type=float, default=30.0, help="seconds without a receipt that are allowed"
    )
    parser.add_argument("--older", default="", help="the revision from which rolling-upgrade begins")
    parser.add_argument("--loopback", action="store_true", help="make no network namespaces")
    parser.add_argument("--folder", help="where the machines have their folders; in memory without this")
    parser.add_argument("--keep", action="store_true", help="leave the folders with the logs")
    parser.add_argument("--json", action="store_true", help="print one JSON array")
    return parser


def _run_all(arguments: argparse.Namespace, rows: Sequence[Row], *, namespaces: bool) -> list[dict[str, Any]]:
    first = random.SystemRandom().randrange(1 << 30) if arguments.seed is None else arguments.seed
    options = Options(
        namespaces=namespaces,
        synchronous=not arguments.asynchronous,
        copies=arguments.copies,
        rate=arguments.rate,
        folder=arguments.folder,
        keep=arguments.keep,
        limit=arguments.limit,
        older=arguments.older,
    )
    report: list[dict[str, Any]] = []
    impossible = {row.name: _say_why_not(row, namespaces=namespaces) for row in rows}
    for run in range(1, arguments.runs + 1):
        report += [{"row": name, "run": run, "not possible": why} for name, why in impossible.items() if why]
        possible = [row for row in rows if not impossible[row.name]]
        report += [{"run": run} | found for found in _run_rows(options, possible, first + run - 1)]
    return report


def _say_why_not(row: Row, *, namespaces: bool) -> str:
    """Return why a row is not possible here; nothing when it is."""
    if row.needs_network and not namespaces:
        return "it needs network namespaces"
    if row.needs_compiler and shutil.which("cc") is None:
        return "it needs a C compiler (apt install gcc libc6-dev)"
    if row.small_disks and (why := say_why_no_disk()):
        return f"it needs a small disk: {why}"
    return ""


def _run_rows(options: Options, rows: Sequence[Row], seed: int) -> Iterator[dict[str, Any]]:
    """Run rows one after the other; those that ask for nothing else share a cluster while it is good."""
    waiting = list(rows)
    while waiting:
        made = _choose_cluster(options, waiting[0])
        with open_cluster(made) as cluster:
            good = True
            while waiting and good and _choose_cluster(options, waiting[0]) == made:
                found = _run_row(cluster, waiting.pop(0), seed)
                good = found["good"]
                yield found


def _choose_cluster(options: Options, row: Row) -> Options:
    return replace(
        options, disk=_SMALL_DISK if row.small_disks else 0, older=options.older if row.upgrades else ""
    )


def _run_row(cluster: Cluster, row: Row, seed: int) -> dict[str, Any]:
    say(f"{row.name}, seed {seed}: {row.words}")
    found = _break(cluster, row, seed)
    say("  " + ", ".join(f"{name} {value}" for name, value in found.items() if name != "mistakes"))
    say(f"{row.name}: {'good' if found['good'] else 'NOT GOOD: ' + '; '.join(found['mistakes'][:5])[:1500]}")
    return found


def _break(cluster: Cluster, row: Row, seed: int) -> dict[str, Any]:
    traffic = Traffic(cluster.town, cluster.options.rate, seed)
    run = Breaking(cluster, traffic, random.Random(seed))
    say("  the broker begins to send")
    try:
        with traffic.running():
            run.steady(4)
            say("  it is broken")
            row.breaks(run)
            say("  it is healed")
        cluster.restore()
    except _TROUBLE as problem:
        say(f"  {problem}")
        run.mistakes.append(f"{type(problem).__name__}: {problem}")
    seen = _look(run)
    mistakes = [*run.mistakes, *find_mistakes(traffic.attempts, seen)]
    return {
        "row": row.name,
        "seed": seed,
        "offered": len(traffic.sent),
        "acknowledged": len(list_acknowledged(traffic.attempts)),
        "attempts": len(traffic.attempts),
        "cases": len(traffic.filed),
        "effects": len(seen.effects),
        "asked": len(seen.statuses),
        **run.figures,
        "good": not mistakes,
        "mistakes": mistakes[:50],
    }


def _look(run: Breaking) -> Outside:
    """Return what is seen afterwards; nothing, which is a mistake, when nothing can be seen."""
    try:
        repeated = run.traffic.repeat_some(_REPEATED, FRONT)
        run.figures["repeated"] = len(repeated)
        run.mistakes += [f"a repeat has no receipt: {one}" for one in repeated if not one.receipt]
        return run.cluster.look(run.traffic)
    except _TROUBLE as problem:
        run.mistakes.append(f"nothing can be seen afterwards: {problem}")
        return Outside({}, {}, ())


def _print_table(report: Sequence[dict[str, Any]]) -> None:
    for one in report:
        if "not possible" in one:
            print(f"{one['row']:18} run {one['run']}  NOT POSSIBLE HERE: {one['not possible']}")
            continue
        figures = {
            name: value for name, value in one.items() if name not in ("row", "run", "mistakes", "good")
        }
        words = ", ".join(f"{name} {value}" for name, value in figures.items())
        print(f"{one['row']:18} run {one['run']}  {'good' if one['good'] else 'NOT GOOD'}  {words}")
        for mistake in one["mistakes"]:
            print(f"{'':18}   {mistake[:300]}")
