"""One whole cluster: opened, looked at from outside, and ended."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import select

from gateway.errors import GatewayError
from gateway.store import agency_requests, cases, make_engine, messages, read_transaction
from gateway.store.messages import messages as message_rows
from tests.cluster.database_members import Members, wait_for
from tests.cluster.judge import Outside, list_acknowledged
from tests.cluster.network import Network
from tests.cluster.town import FRONT, NODES, ClusterTown
from tests.cluster.traffic import Traffic
from tests.kit.paths import ROOT

__all__ = ["Cluster", "Options", "open_cluster", "say"]

MEMBERS = ("db1", "db2", "db3")
#: So many acknowledged messages are asked about after a row.
_ASKED = 60


@dataclass(frozen=True)
class Options:
    """How a cluster is made."""

    namespaces: bool = True
    synchronous: bool = True
    copies: int = 2
    rate: float = 5.0
    folder: str | None = None
    keep: bool = False
    #: So many seconds may pass without a receipt after a failover.
    limit: float = 30.0
    #: MiB of the disk of each member, a tmpfs; 0 is the machine's own disk.
    disk: int = 0
    #: The revision whose code the hub nodes have at first; empty is this one.
    older: str = ""


def say(words: str) -> None:
    """Tell whoever waits how far it is."""
    print(time.strftime("%H:%M:%S"), words, file=sys.stderr, flush=True)


@dataclass
class Cluster:
    """Everything of one cluster."""

    options: Options
    network: Network
    members: Members
    town: ClusterTown

    def look(self, traffic: Traffic, entry: str = FRONT) -> Outside:
        """Return what can be seen once everything that was sent has ended."""
        stored = self._read_stored()
        given = list(list_acknowledged(traffic.attempts))
        asked = given[:: max(1, len(given) // _ASKED)]
        with ThreadPoolExecutor(4) as pool:
            said = list(pool.map(lambda name: self.town.ask_status(entry, name), asked))
        numbers, unended = self._wait_for_cases(traffic, 60)
        return Outside(
            stored, dict(zip(asked, said, strict=True)), self._read_effects(), frozenset(numbers), unended
        )

    def _read_stored(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        engine = make_engine(self.town.database_url)
        columns = (message_rows.c.message_id, message_rows.c.answer_sha256)
        try:
            with read_transaction(engine) as conn:
                for name, digest in conn.execute(select(*columns).where(message_rows.c.direction == "in")):
                    found.setdefault(name, []).append(digest)
        finally:
            engine.dispose()
        return found

    def _read_effects(self) -> list[tuple[str, str, str]]:
        return [
            (agency, row["effect"], row["application"])
            for agency in (one["code"] for one in self.town.cast.agencies)
            for row in self.town.effects(agency)
        ]

    def _wait_for_cases(self, traffic: Traffic, seconds: float) -> tuple[set[str], list[str]]:
        """Wait for the end of the cases that were opened; return their applications, and what is open."""
        given = list_acknowledged(traffic.attempts)
        filed = [one.unit.message_id for one in traffic.filed if one.unit.message_id in given]
        end, engine = time.monotonic() + seconds, make_engine(self.town.database_url)
        try:
            while True:
                numbers, unended = self._read_cases(engine, filed)
                if not unended or time.monotonic() > end:
                    return numbers, unended
                time.sleep(1)
        finally:
            engine.dispose()

    @staticmethod
    def _read_cases(engine: Any, filed: list[str]) -> tuple[set[str], list[str]]:
        numbers: set[str] = set()
        unended: list[str] = []
        with read_transaction(engine) as conn:
            for name in filed:
                row = messages.find_by_message_id(conn, "in", "broker", name)
                case = cases.find_by_id(conn, row.case_id) if row is not None and row.case_id else None
                if case is None or case.state != "CLOSED":
                    unended.append(f"{name}: {case.state if case else 'no case'}")
                if case is not None:
                    numbers |= {one.number for one in agency_requests.list_by_case(conn, case.id)}
        return numbers, unended

    def restore(self) -> None:
        """Heal every link, start again what does not run, and wait until all is as it was."""
        self.network.heal()
        for name in MEMBERS:
            self.network[name].signal(signal.SIGCONT)
            self.members.restart(name)
        for name in NODES:
            self.network[name].signal(signal.SIGCONT)
            if not self.network[name].signal(0, ("gateway run",)):
                self.network[name].kill()
                self.town.start_node(name)
        self.members.wait_until_whole(120)
        for name in (*NODES, FRONT):
            wait_for(lambda name=name: self.town.is_ready(name), 120, f"{name} is not ready")  # type: ignore[misc]

    def count_repeats(self) -> Counter[str]:
        """Return why deliveries were tried once more: how often, by what ended the attempt before."""
        words = """
            SELECT coalesce(a.outcome, 'nothing') || ' ' || coalesce(a.problem, '')
                || ' ' || coalesce(left(a.sentence, 80), '')
            FROM delivery_attempts a JOIN deliveries d ON d.id = a.delivery AND a.attempt < d.attempt"""
        with self.members.connect(self.members.primary()) as conn:
            return Counter(str(row[0]).strip() for row in conn.execute(words))

    def list_waiting_commits(self, primary: str) -> list[int]:
        """Return the backends of the primary that wait for a standby."""
        with suppress(psycopg.Error), self.members.connect(primary) as conn:
            words = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
            return [int(row[0]) for row in conn.execute(words)]
        return []


@contextmanager
def open_cluster(options: Options) -> Iterator[Cluster]:
    """Give a cluster that works; whatever happens, nothing of it is left."""
    quick = "/dev/shm" if Path("/dev/shm").is_dir() else None
    folder = Path(tempfile.mkdtemp(prefix="gateway-cluster-", dir=options.folder or quick))
    folder.chmod(0o755)
    network = Network(folder, (*MEMBERS, *NODES, FRONT), namespaces=options.namespaces)
    members = Members(network, MEMBERS, options.synchronous)
    town: ClusterTown | None = None
    try:
        network.open()
        if options.disk:
            for name in MEMBERS:
                network[name].mount_disk(options.disk)
        say("the members of the database start")
        members.start()
        say("hub nodes, front and partners start")
        copies = options.copies if options.synchronous else 1
        database = f'copies = {copies}\ntime_out = "5s"'
        town = ClusterTown(network, members, database)
        town.start_nodes({"PYTHONPATH": str(unpack(options.older, folder))} if options.older else None)
        yield Cluster(options, network, members, town)
    finally:
        with _undisturbed():
            if town is not None:
                with suppress(GatewayError):
                    town.close()
            network.close()
            if options.keep:
                say(f"the logs are in {folder}")
            else:
                shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Let a signal that comes meanwhile end the program afterwards: nothing is left half removed."""
    came: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda got, _: came.append(got)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:
        raise SystemExit("ended by a signal")


def unpack(revision: str, folder: Path) -> Path:
    """Return the folder into which the code of a revision was unpacked."""
    place = folder / "older"
    place.mkdir()
    packed = subprocess.run(["git", "-C", str(ROOT), "archive", revision], capture_output=True, check=True)
    subprocess.run(["tar", "-x", "-C", str(place)], input=packed.stdout, check=True)
    return place
