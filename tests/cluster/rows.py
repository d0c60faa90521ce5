"""The rows: what is broken, how it is healed, and what must be seen meanwhile."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import psycopg

from tests.cluster.cluster import MEMBERS, Cluster, say
from tests.cluster.database_members import wait_for
from tests.cluster.judge import find_longest_pause
from tests.cluster.town import FRONT, NODES
from tests.cluster.traffic import Traffic

__all__ = ["ROWS", "Breaking", "Row"]

#: The front may take so long until a receipt comes again after a failover.
LIMIT = 30.0


@dataclass
class Breaking:
    """One run of a row: the cluster, what is sent, chance, and what is found out."""

    cluster: Cluster
    traffic: Traffic
    dice: random.Random
    figures: dict[str, Any] = field(default_factory=dict)
    mistakes: list[str] = field(default_factory=list)

    def steady(self, seconds: float) -> None:
        """Let the broker send for a while."""
        time.sleep(seconds)

    def wait_for_receipts(self, count: int, seconds: float, since: float) -> None:
        """Wait until so many receipts were given since a moment; their absence is a mistake."""

        def enough() -> bool:
            return sum(bool(one.receipt) and one.begun >= since for one in self.traffic.attempts) >= count

        try:
            wait_for(enough, seconds, "no receipts came")
        except TimeoutError as late:
            self.mistakes.append(str(late))

    def measure_failover(self, since: float) -> None:
        """Note the longest time without a receipt since a moment, and the new primary."""
        pause = find_longest_pause(self.traffic.attempts, since, time.monotonic())
        self.figures["pause"] = round(pause, 1)
        if pause > LIMIT:
            self.mistakes.append(f"{pause:.1f} s without a receipt, {LIMIT:g} s are allowed")

    def fail_over(self, old: str) -> str:
        """Wait for another primary, then for receipts; return its name."""
        since = time.monotonic()

        def find_other() -> str | None:
            for name in MEMBERS:
                told = self.cluster.members.ask(name, "primary") if name != old else None
                if told is not None:
                    return name
            return None

        new = wait_for(find_other, 90, "there is no other primary")
        self.figures["elected"] = round(time.monotonic() - since, 1)
        say(f"  {new} is primary after {self.figures['elected']} s")
        self.wait_for_receipts(10, 60, time.monotonic())
        return new


@dataclass(frozen=True)
class Row:
    """One row of the table."""

    name: str
    words: str
    breaks: Callable[[Breaking], None]
    needs_network: bool = False


def kill_member(run: Breaking) -> None:
    """Kill everything on the primary's machine at one moment, and let the machine come back."""
    primary, begun = run.cluster.members.primary(), time.monotonic()
    run.figures["killed"] = run.cluster.network[primary].kill()
    run.fail_over(primary)
    run.measure_failover(begun)
    run.cluster.members.restart(primary)
    run.cluster.members.wait_until_whole(120)
    run.steady(2)


def cut_primary_off(run: Breaking) -> None:
    """Cut the primary off together with a hub node; clients are on both sides."""
    cluster, primary = run.cluster, run.cluster.members.primary()
    beside = run.dice.choice(NODES)
    others = [name for name in (*MEMBERS, *NODES, FRONT) if name not in (primary, beside)]
    run.traffic.entries = (FRONT, beside)
    run.steady(3)
    begun = time.monotonic()
    cluster.network.separate((primary, beside), others)
    new = run.fail_over(primary)
    run.measure_failover(begun)
    run.figures["old side"] = cluster.town.read_status(beside)
    run.figures["receipts of the old side"] = sum(
        bool(one.receipt) and one.entry == beside and one.begun > begun for one in run.traffic.attempts
    )
    run.steady(5)
    say(f"  healed; {new} stays primary")
    cluster.network.heal()
    cluster.members.wait_until_whole(120)
    wait_for(lambda: cluster.town.is_ready(beside), 60, f"{beside} is not ready")
    run.steady(3)


def cancel_commits(run: Breaking) -> None:
    """Stop the standbys, cancel or terminate the commits that wait, then lose the primary."""
    cluster, primary = run.cluster, run.cluster.members.primary()
    standbys = cluster.members.standbys()
    # Only the receivers of the log stop: every member still is in touch with etcd.
    receivers = [pid for name in standbys for pid in _find_receivers(cluster, name)]
    for pid in receivers:
        _send_signal(pid, signal.SIGSTOP)
    begun, ended = time.monotonic(), {"pg_cancel_backend": 0, "pg_terminate_backend": 0}
    while time.monotonic() - begun < 8:
        for pid in cluster.list_waiting_commits(primary):
            act = run.dice.choice(tuple(ended))
            with suppress(psycopg.Error), cluster.members.connect(primary) as conn:
                ended[act] += bool(conn.execute(f"SELECT {act}({pid})").rowcount)
        time.sleep(0.2)
    run.figures |= {"cancelled": ended["pg_cancel_backend"], "terminated": ended["pg_terminate_backend"]}
    run.figures["receipts meanwhile"] = sum(
        bool(one.receipt) and one.begun > begun + 1 for one in run.traffic.attempts
    )
    cluster.network[primary].kill()
    for pid in receivers:
        _send_signal(pid, signal.SIGCONT)
    run.fail_over(primary)
    # What was here before is lost: the member begins again as a copy of the new primary.
    cluster.members.restart(primary)
    cluster.members.wait_until_whole(120)
    run.steady(2)


def _find_receivers(cluster: Cluster, name: str) -> list[int]:
    with cluster.members.connect(name, "postgres") as conn:
        return [int(row[0]) for row in conn.execute("SELECT pid FROM pg_stat_wal_receiver")]


def _send_signal(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


ROWS = {
    row.name: row
    for row in (
        Row("member-killed", "the primary's machine is killed under load", kill_member),
        Row(
            "primary-cut-off",
            "the primary is cut off with a hub node and clients on its side",
            cut_primary_off,
            needs_network=True,
        ),
        Row(
            "commit-cancelled",
            "commits that wait for a standby are cancelled and terminated, then the primary is lost",
            cancel_commits,
        ),
    )
}
