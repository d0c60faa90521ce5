"""Prints the statements of one plain case in their order, transaction by transaction, with who asks each.

``python -m tests.load.statement_order [--database URL] [--width N]``.  The counts are those of
`tests.load.case_price`: upkeep, and looks for what is due that find nothing, are left out.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.client import read_membership
from gateway_conformance.verbs.demo_stage import read_cast
from tests.load.case_price import count_statements, hub_process, is_of_a_case, list_processes
from tests.load.filing import CaseStage, file_submissions, make_quick_cast, make_submission, wait_until_closed
from tests.load.statement_counter import TOLD

__all__ = ["main"]

_WARM_UP = 5
_SETTLED = 1.0


@dataclass(frozen=True)
class Told:
    """One statement, or a COMMIT: when, by whom (process and thread), for what, who asked, and how often."""

    at: int
    process: int
    thread: int
    root: str
    asker: str
    called: str
    times: int
    text: str


def main(words: Sequence[str] | None = None) -> int:
    """File a case and print its statements."""
    parser = argparse.ArgumentParser(prog="python -m tests.load.statement_order", description=__doc__)
    parser.add_argument("--database", default="", help="SQLAlchemy URL of an empty database")
    parser.add_argument("--width", type=int, default=160, help="characters of each statement")
    arguments = parser.parse_args(words)
    folder = Path(tempfile.mkdtemp(prefix="gateway-statements-"))
    try:
        told = list(_file_one(folder, arguments.database))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    together = 0
    for group in _group(told):
        asked = [one for one in group if one.text != "COMMIT"]
        if not is_of_a_case(group[0].root) or (group[0].root == "claim" and len(asked) <= 1):
            continue
        together += sum(one.times for one in asked)
        ended = group[-1].asker if group[-1].text == "COMMIT" else ""
        print(f"{group[0].root} / {ended}: {sum(one.times for one in asked)} ({together})")
        for one in asked:
            print(f"    {one.times} {one.asker} > {one.called}: {one.text[: arguments.width]}")
    return 0


def _file_one(folder: Path, database: str) -> Iterator[Told]:
    stage = CaseStage(folder / "home", make_quick_cast(read_cast()), database_url=database)
    try:
        stage.build()
        with count_statements(folder / "counts"):
            (folder / "counts" / TOLD).touch()
            stage.start()
        member = read_membership(stage.get_partner_folder("broker"), "broker")
        file_submissions(stage, [make_submission(stage, member, number) for number in range(_WARM_UP)])
        wait_until_closed(stage, _WARM_UP)
        time.sleep(_SETTLED)
        hub, began = list_processes(hub_process(stage)), time.time_ns()
        file_submissions(stage, [make_submission(stage, member, _WARM_UP)])
        wait_until_closed(stage, _WARM_UP + 1)
        time.sleep(_SETTLED)
    finally:
        stage.close()
    for line in (folder / "counts" / TOLD).read_text().splitlines():
        at, process, thread, root, asker, called, times, text = line.split("\t", 7)
        if int(at) >= began and int(process) in hub:
            yield Told(int(at), int(process), int(thread), root, asker, called, int(times), text)


def _group(told: Iterable[Told]) -> list[list[Told]]:
    """Return the statements of each transaction, in the order in which these began."""
    groups: list[list[Told]] = []
    current: dict[tuple[int, int], list[Told]] = {}
    for one in sorted(told, key=lambda each: each.at):
        who = one.process, one.thread
        if who not in current:
            current[who] = []
            groups.append(current[who])
        current[who].append(one)
        if one.text == "COMMIT":
            del current[who]
    return groups


if __name__ == "__main__":
    sys.exit(main())
