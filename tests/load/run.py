"""Runs the measurements that were asked for, each in a home of its own."""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gateway.cli.result_output import ProgressBar, show_progress
from gateway.pki import KEY_KINDS
from tests.load import (
    admitting,
    as4_receiving,
    as4_serving,
    encrypted,
    filing,
    large_case,
    many_agreements,
    need_lookups,
    receiving,
    serving,
    shared_answers,
    splitting,
)
from tests.load.place import make_place
from tests.load.serving import Load
from tests.load.stopwatch import machine

#: The keys of the report, in their order; what was not measured is null.
KEYS = (
    "floor_ms", "receive_ms", "ratio", "admit_floor_ms", "admit_ms", "http_messages_per_s",
    "phase4_messages_per_s", "http_p50_ms", "http_p99_ms", "generator_cpu", "distinct_accepted", "sent",
    "cases_per_s", "case_cpu_ms", "case_working_cpu_ms", "hub_idle_cpu",
    "case_floors", "case_statements", "case_transactions", "case_octets",
    "partners_cpu_ms", "partners_cpu_share",
    "partners_statements", "partners_transactions", "partners_octets",
    "encrypted_ms", "encrypted_floor_ms", "machine",
)  # fmt: skip
PARTS = (
    "floor",
    "receive",
    "as4",
    "as4-http",
    "encrypted",
    "admit",
    "split",
    "shared",
    "large",
    "needs",
    "http",
    "cases",
    "agreements",
)


def main(words: Sequence[str] | None = None) -> int:
    """Measure and print."""
    arguments = _parser().parse_args(words)
    folder = Path(tempfile.mkdtemp(prefix="gateway-load-", dir=arguments.folder))
    try:
        with show_progress("measuring", len(arguments.only or PARTS)) as bar:
            found = _measure(arguments, folder, bar)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    _print(found, as_json=arguments.json)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.load", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--only", action="append", choices=PARTS, help="measure only this; repeatable")
    parser.add_argument("--messages", type=int, default=6000, help="messages sent over HTTP")
    parser.add_argument("--seconds", type=float, default=120, help="seconds of sending at most")
    parser.add_argument("--processes", type=int, default=2, help="processes that serve")
    parser.add_argument("--workers", type=int, default=1, help="processes that deliver the cases")
    parser.add_argument("--threads", type=int, default=None, help="threads of each of them")
    parser.add_argument("--connections", type=int, default=16, help="connections of the generator")
    parser.add_argument("--samples", type=int, default=600, help="messages timed one by one")
    parser.add_argument("--cases", type=int, default=150, help="cases filed end to end")
    parser.add_argument("--counted", type=int, default=5, help="cases whose statements are counted")
    key = "the kind of the hub's key in the cases, where it is not that of the demo"
    parser.add_argument("--hub-key", choices=KEY_KINDS, default=None, help=key)
    parser.add_argument("--agreements", type=int, default=10_000, help="agreements that are loaded")
    parser.add_argument("--database", default="", help="SQLAlchemy URL of an empty database for http")
    parser.add_argument("--folder", default=None, help="where the files are put: a real disk, not memory")
    parser.add_argument("--phase4", type=float, default=None, help="messages/s of phase4, measured by hand")
    return parser


def _measure(arguments: argparse.Namespace, folder: Path, bar: ProgressBar) -> dict[str, Any]:
    wanted = arguments.only or PARTS
    found: dict[str, Any] = {"phase4_messages_per_s": arguments.phase4, "machine": machine(folder)}
    done = iter(range(len(PARTS)))

    def begin(part: str) -> None:
        bar.change_title(f"measuring {part}")
        bar.advance_to(next(done), len(wanted))

    if "floor" in wanted or "receive" in wanted:
        begin("floor and receive")
        found |= receiving.measure(make_place(folder / "receive"), arguments.samples)
    found |= _measure_as4(arguments, folder, begin)
    if "encrypted" in wanted:
        begin("encrypted")
        found |= encrypted.measure(make_place(folder / "encrypted"), arguments.samples)
    if "admit" in wanted:
        begin("admit")
        found |= admitting.measure(make_place(folder / "admit"), max(5, arguments.samples // 6))
    if "split" in wanted:
        begin("split")
        found |= splitting.measure(max(5, arguments.samples // 4))
    if "shared" in wanted:
        begin("shared answers")
        found |= shared_answers.measure(max(1, arguments.samples // 200))
    if "large" in wanted:
        begin("a large case")
        own = "" if "http" in wanted else arguments.database
        found |= large_case.measure(make_place(folder / "large", database=own), 999)
    if "needs" in wanted:
        begin("needs")
        found |= need_lookups.measure(max(1, arguments.samples // 20))
    if "http" in wanted:
        begin("http")
        more = f"threads = {arguments.threads}\n" if arguments.threads else ""
        place = make_place(
            folder / "http", database=arguments.database, processes=arguments.processes, http=more
        )
        warm_up = min(200, arguments.messages // 10)
        load = Load(arguments.messages, arguments.seconds, arguments.connections, warm_up=warm_up)
        found |= serving.measure(place, load)
    if "cases" in wanted:
        begin("cases")
        found |= _measure_cases(arguments, folder, found.get("floor_cpu_ms"))
    if "agreements" in wanted:
        begin("agreements")
        found |= many_agreements.measure(folder / "agreements", arguments.agreements, arguments.samples)
    return found


def _measure_as4(arguments: argparse.Namespace, folder: Path, begin: Callable[[str], None]) -> dict[str, Any]:
    """Measure messages of AS4, where they are asked for: one by one beside their floor, and over HTTP."""
    wanted = arguments.only or PARTS
    found: dict[str, Any] = {}
    if "as4" in wanted:
        begin("receive by AS4")
        found |= as4_receiving.measure(make_place(folder / "as4"), arguments.samples)
    if "as4-http" in wanted:
        begin("AS4 over HTTP")
        place, warm_up = (
            make_place(folder / "as4-http", processes=arguments.processes),
            arguments.messages // 10,
        )
        load = Load(arguments.messages, arguments.seconds, arguments.connections, warm_up=warm_up)
        found |= as4_serving.measure(place, load)
    return found


def _measure_cases(arguments: argparse.Namespace, folder: Path, floor: float | None) -> dict[str, Any]:
    """Measure the cases, in units of the floor too where it was measured before."""
    others = {"http", "large"} & set(arguments.only or PARTS)
    own = "" if others else arguments.database
    found = dict(
        filing.measure(
            folder / "cases",
            arguments.cases,
            counted=arguments.counted,
            database=own,
            hub_key=arguments.hub_key,
            workers=arguments.workers,
        )
    )
    return found | {"case_floors": found["case_cpu_ms"] / floor if floor else None}


def report(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the figures under their agreed keys, and whatever else was seen under ``detail``."""
    rounded = {name: round(value, 4) if isinstance(value, float) else value for name, value in found.items()}
    detail = {name: value for name, value in rounded.items() if name not in KEYS}
    return {name: rounded.get(name) for name in KEYS} | {"detail": detail}


def _print(found: Mapping[str, Any], *, as_json: bool) -> None:
    figures = report(found)
    if as_json:
        print(json.dumps(figures, ensure_ascii=False))
        return
    for name, value in {**figures, **figures["detail"]}.items():
        if name not in ("detail", "machine"):
            print(f"{name:24}{'-' if value is None else value}")
    print(f"{'machine':24}{figures['machine']}")
