"""What one case costs: processor time, statements, transactions and octets, of the hub and of its partners.

Statements are counted in the processes themselves (`tests.load.statement_counter`), case after
case, so that the count does not depend on the load: no case shares a claim with another one.  What a
worker asks though nothing is due, and the upkeep of every second, is no part of a case.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, text

from gateway.store import read_transaction
from gateway_conformance.verbs.demo_stage import Stage
from tests.kit.paths import ROOT
from tests.kit.served import read_process_file
from tests.kit.waiting import until
from tests.load.statement_counter import ASKED, OFF, SEPARATOR
from tests.load.stopwatch import tree_cpu

KINDS = ("SELECT", "INSERT", "UPDATE", "DELETE", "WITH")
#: What is asked every second or again and again, whether there are cases or not.
_NO_CASE = ("upkeep", "attempt tsa", "attempt fetch", "serve hub.node_keeper")
_POLL = "store.lanes.list_due_lanes"
#: Seconds for which an idle hub is watched.
_IDLE = 3.0


@dataclass(frozen=True)
class Counted:
    """What one row of the count says: how often, what kind, who was at work, who asked, what was called."""

    times: int
    kind: str
    root: str
    asker: str
    called: str


class StatementCounts:
    """The counts of all processes that were started while it was open."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._asked = 0
        self._ask(0)

    def read(self, processes: set[int]) -> Counter[str]:
        """Return what these processes have counted until now; one that has ended: until its end."""
        self._asked += 1
        self._ask(self._asked)
        files = [self._folder / f"{pid}.json" for pid in processes]
        # Other processes than those of Python have no file.
        return sum((self._read_answer(file) for file in files if file.exists()), Counter())

    def end(self) -> None:
        """Let every process count no more: what follows is timed."""
        self._ask(OFF)
        for file in self._folder.glob("*.json"):
            self._read_answer(file)

    def _ask(self, number: int) -> None:
        part = self._folder / "asked.part"
        part.write_text(str(number))
        part.replace(self._folder / ASKED)

    def _read_answer(self, file: Path) -> Counter[str]:
        asked = int((self._folder / ASKED).read_text())

        def read_answer() -> dict[str, Any] | None:
            answer: dict[str, Any] = json.loads(file.read_text())
            ended = not Path("/proc", file.stem).exists()
            return answer if ended or answer["asked"] in (asked, OFF) else None

        answer = until(read_answer)
        assert answer is not None
        return Counter(answer["counts"])


@contextmanager
def count_statements(folder: Path) -> Iterator[StatementCounts]:
    """Let the processes that are started meanwhile count their statements into `folder`."""
    folder.mkdir()
    counts = StatementCounts(folder)
    hook = f"from tests.load.statement_counter import start\nstart({str(folder)!r})\n"
    (folder / "sitecustomize.py").write_text(hook)
    before = os.environ.get("PYTHONPATH")
    # A hook is imported before the folder that a process starts in is on its path.
    os.environ["PYTHONPATH"] = os.pathsep.join([str(folder), str(ROOT), *([before] if before else [])])
    try:
        yield counts
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def list_counted(counts: Counter[str]) -> list[Counted]:
    """Return the rows of a count that belong to cases."""
    rows = [Counted(times, *key.split(SEPARATOR)) for key, times in counts.items() if times]
    rows = [one for one in rows if is_of_a_case(one.root)]
    claims = sum(
        one.times for one in rows if (one.kind, one.root) == ("COMMIT", "claim") and "write" in one.asker
    )
    return [_without_idle_polls(one, claims) for one in rows]


def is_of_a_case(root: str) -> bool:
    """Return whether what is at work is done for a case, and not every second."""
    return not root.startswith(_NO_CASE)


def _without_idle_polls(one: Counted, claims: int) -> Counted:
    """Return the row with no more polls than there were claims: the others found nothing due."""
    if one.root != "claim" or not (one.called == _POLL or one.asker.startswith("read ")):
        return one
    return Counted(min(one.times, claims), one.kind, one.root, one.asker, one.called)


def price_statements(counts: Counter[str], cases: int) -> dict[str, Any]:
    """Return statements and transactions of one case: together, by kind, and by function group."""
    rows = list_counted(counts)
    statements = [one for one in rows if one.kind != "COMMIT"]
    commits = [one for one in rows if one.kind == "COMMIT"]
    return {
        "case_statements": _per_case(statements, cases),
        "case_transactions": _per_case(commits, cases),
        "case_writing": _per_case([one for one in commits if one.asker.startswith("write ")], cases),
        "case_kinds": {
            kind: _per_case([one for one in statements if one.kind == kind], cases) for kind in KINDS
        },
        "case_groups": _group(statements, cases, ("root",)),
        "case_askers": _group(statements, cases, ("root", "asker", "called", "kind")),
        "case_transactions_by_name": _group(commits, cases, ("root", "asker")),
    }


def _per_case(rows: Sequence[Counted], cases: int) -> float:
    return sum(one.times for one in rows) / cases


def _group(rows: Sequence[Counted], cases: int, names: Sequence[str]) -> dict[str, float]:
    """Return how many there are a case under each of these words, the most frequent first."""
    found: Counter[str] = Counter()
    for one in rows:
        found[" > ".join(str(getattr(one, name)) for name in names)] += one.times
    return {words: number / cases for words, number in found.most_common()}


@dataclass(frozen=True)
class Used:
    """What hub and partners have used so far: processor seconds, and octets that they keep."""

    hub_cpu: float
    partners_cpu: float
    hub_octets: int
    partners_octets: int
    log_octets: int | None
    #: Of the processes of a database server that are on this machine.
    server_cpu: float | None = None

    def price(self, before: Used, cases: int) -> dict[str, Any]:
        """Return the cost of one of the cases between two moments."""
        log = (
            None
            if self.log_octets is None or before.log_octets is None
            else self.log_octets - before.log_octets
        )
        server = (
            None
            if self.server_cpu is None or before.server_cpu is None
            else (self.server_cpu - before.server_cpu) / cases * 1000
        )
        return {
            "case_cpu_ms": (self.hub_cpu - before.hub_cpu) / cases * 1000,
            "case_server_cpu_ms": server,
            "case_octets": (self.hub_octets - before.hub_octets) / cases,
            "case_log_octets": None if log is None else log / cases,
            "partners_cpu_ms": (self.partners_cpu - before.partners_cpu) / cases * 1000,
            "partners_octets": (self.partners_octets - before.partners_octets) / cases,
        }


def read_used(stage: Stage, engine: Engine) -> Used:
    """Return what hub and partners have used until now."""
    octets, log = _read_database_size(engine)
    partners = [player.process.pid for player in stage.players if player.name != "hub"]
    return Used(
        tree_cpu(hub_process(stage)),
        sum(tree_cpu(pid) for pid in partners),
        octets,
        sum(file.stat().st_size for file in (stage.home / "partners").rglob("*") if file.is_file()),
        log,
        read_server_cpu(engine),
    )


def read_server_cpu(engine: Engine, *, everybody: bool = True) -> float | None:
    """Return the processor seconds of PostgreSQL's processes for this database, if they are here.

    With `everybody` those of the processes are added that work for all databases, as what writes the log.
    """
    if engine.dialect.name == "sqlite":
        return None
    mine = "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
    mine += " OR datname IS NULL" if everybody else " AND backend_type = 'client backend'"
    with read_transaction(engine) as conn:
        pids = conn.execute(text(mine)).scalars().all()
    try:
        spent = [Path(f"/proc/{pid}/schedstat").read_text().split()[0] for pid in pids]
    except OSError:
        return None
    return sum(map(int, spent)) / 1e9


def measure_idle_hub(stage: Stage, seconds: float = _IDLE) -> float:
    """Return the processor time that a hub without any work takes, in seconds for each second."""
    hub = hub_process(stage)
    before, began = tree_cpu(hub), time.monotonic()
    time.sleep(seconds)
    return (tree_cpu(hub) - before) / (time.monotonic() - began)


def share_cpu(used: Mapping[str, Any], idle: float, seconds: float) -> dict[str, float]:
    """Return what part of the processor time of a case its partners take, and what an idle hub would take.

    `seconds` passed for each case: at few cases a second, polling and upkeep are a good part of its time.
    """
    hub, partners = used["case_cpu_ms"], used["partners_cpu_ms"]
    waited = min(hub, idle * seconds * 1000)
    return {
        "hub_idle_cpu": idle,
        "case_idle_cpu_ms": waited,
        "case_working_cpu_ms": hub - waited,
        "partners_cpu_share": partners / (hub + partners) if hub + partners else 0.0,
    }


def hub_process(stage: Stage) -> int:
    """Return the process id of the hub; its serving and working processes are its children."""
    return next(player.process.pid for player in stage.players if player.name == "hub")


def list_processes(root: int) -> set[int]:
    """Return a process and its descendants."""
    children = read_process_file(root, f"task/{root}/children").split()
    return {root}.union(*(list_processes(int(child)) for child in children))


def _read_database_size(engine: Engine) -> tuple[int, int | None]:
    """Return the octets of the database, and those of its log so far, where it is a server."""
    with read_transaction(engine) as conn:
        if engine.dialect.name == "sqlite":
            pages, free, size = (
                conn.execute(text(f"PRAGMA {name}")).scalar_one()
                for name in ("page_count", "freelist_count", "page_size")
            )
            return (pages - free) * size, None
        octets = conn.execute(text("SELECT pg_database_size(current_database())")).scalar_one()
        log = conn.execute(text("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn")).scalar_one()
    return int(octets), int(log)


def name_figures(hub: Mapping[str, Any], partners: Mapping[str, Any]) -> dict[str, Any]:
    """Return the counted figures under the names of the report."""
    return {
        **hub,
        "partners_statements": partners["case_statements"],
        "partners_transactions": partners["case_transactions"],
    }
