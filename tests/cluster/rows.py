"""The rows: what is broken, how it is healed, and what must be seen meanwhile."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from tests.cluster.cluster import MEMBERS, Cluster, knows_copies, say
from tests.cluster.database_members import wait_for
from tests.cluster.judge import find_longest_pause
from tests.cluster.network import find_processes
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

    def note_receipts_meanwhile(self, since: float, *, allowed: bool = False) -> None:
        """Note how many messages that were sent since a moment have a receipt; is one a mistake?"""
        given = sum(bool(one.receipt) and one.begun > since for one in self.traffic.attempts)
        self.figures["receipts meanwhile"] = given
        if given and not allowed and self.cluster.options.synchronous:
            self.mistakes.append(f"{given} receipts while no copy was made")

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
    small_disks: bool = False


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
    # Only the servers stop: every member still is in touch with etcd.
    for name in standbys:
        cluster.network[name].signal(signal.SIGSTOP, ("postgres",))
    begun, ended = time.monotonic(), {"pg_cancel_backend": 0, "pg_terminate_backend": 0}
    while time.monotonic() - begun < 8:
        for pid in cluster.list_waiting_commits(primary):
            act = run.dice.choice(tuple(ended))
            with suppress(psycopg.Error), cluster.members.connect(primary) as conn:
                ended[act] += bool(conn.execute(f"SELECT {act}({pid})").rowcount)
        time.sleep(0.2)
    run.figures |= {"cancelled": ended["pg_cancel_backend"], "terminated": ended["pg_terminate_backend"]}
    run.note_receipts_meanwhile(begun + 1)
    cluster.network[primary].kill()
    # What waits in their sockets must not arrive after all: they end, and Patroni starts them again.
    for name in standbys:
        cluster.network[name].kill(("postgres",))
    run.fail_over(primary)
    # What was here before is lost: the member begins again as a copy of the new primary.
    cluster.members.restart(primary)
    cluster.members.wait_until_whole(120)
    run.steady(2)


def lose_standbys(run: Breaking) -> None:
    """Kill both standbys while etcd lives: the primary stays, and nothing may be acknowledged."""
    cluster, primary = run.cluster, run.cluster.members.primary()
    standbys = cluster.members.standbys()
    begun = time.monotonic()
    for name in standbys:
        cluster.network[name].kill(("patroni", "postgres"))
    run.steady(20)
    run.note_receipts_meanwhile(begun + 2)
    run.figures["ready meanwhile"] = [cluster.town.read_status(name) for name in NODES]
    run.figures["threads"], run.figures["MiB"] = _measure_nodes(cluster)
    if knows_copies() and 200 in run.figures["ready meanwhile"] and cluster.options.copies > 1:
        run.mistakes.append("a node says that it is ready while no copy is made")
    run.figures["still primary"] = cluster.members.find_primary() == primary
    for name in standbys:
        cluster.members.restart(name)
    cluster.members.wait_until_whole(120)
    whole = time.monotonic()
    run.wait_for_receipts(10, 60, whole)
    run.measure_failover(whole)


def cut_one_direction(run: Breaking) -> None:
    """Drop what the primary sends to the other members, or what they send to it; never both."""
    cluster, primary = run.cluster, run.cluster.members.primary()
    others = [name for name in MEMBERS if name != primary]
    run.figures["cut"] = run.dice.choice(("what it sends", "what it gets"))
    begun = time.monotonic()
    for other in others:
        ends = (primary, other) if run.figures["cut"] == "what it sends" else (other, primary)
        cluster.network.cut(*ends)
    run.fail_over(primary)
    run.measure_failover(begun)
    run.steady(3)
    cluster.network.heal()
    cluster.members.wait_until_whole(120)
    run.steady(2)


def freeze_member(run: Breaking) -> None:
    """Stop every process on the primary's machine without ending one, and let them go on later."""
    cluster, primary = run.cluster, run.cluster.members.primary()
    begun = time.monotonic()
    run.figures["stopped"] = cluster.network[primary].signal(signal.SIGSTOP)
    run.fail_over(primary)
    run.measure_failover(begun)
    run.steady(5)
    cluster.network[primary].signal(signal.SIGCONT)
    say("  the old primary goes on")
    cluster.members.wait_until_whole(120)
    run.steady(3)


#: Where a hub node ends: beside each commit of a case, and between an exchange and its effect.
_PLACES = (
    *(
        f"{name}.{side}_commit"
        for name in ("receive.message", "delivery.claim", "admit.case", "reply.answer", "conclude.result")
        for side in ("before", "after")
    ),
    "soap.after_call",
    "msh.after_post",
    "delivery.soap.done",
)


def kill_nodes(run: Breaking) -> None:
    """Let hub nodes end at commit points, one after the other, while the other one goes on."""
    cluster, places = run.cluster, run.dice.sample(_PLACES, 5)
    reached = []
    for number, place in enumerate(places):
        name = NODES[number % 2]
        here = cluster.network[name]
        here.kill()
        passage = run.dice.randrange(1, 4)
        cluster.town.start_node(name, {"GATEWAY_FAILPOINT": f"{place}:{passage}"}, single=True)
        end = time.monotonic() + 15
        while time.monotonic() < end and here.signal(0, ("tests.kit.single",)):
            time.sleep(0.2)
        reached += [] if here.signal(0, ("tests.kit.single",)) else [place]
        here.kill()
        cluster.town.start_node(name)
        wait_for(lambda name=name: cluster.town.is_ready(name), 60, f"{name} is not ready")  # type: ignore[misc]
    run.figures["ended at"] = reached
    if len(reached) < 3:
        run.mistakes.append(f"only {len(reached)} nodes ended where they were to end")


def set_clocks_wrong(run: Breaking) -> None:
    """Let the clock of one hub node be five minutes fast, and that of the other as much slow."""
    cluster = run.cluster
    library = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    for name, offset in zip(NODES, run.dice.sample(("+300", "-300"), 2), strict=True):
        cluster.network[name].kill()
        wrong = {"LD_PRELOAD": str(library), "FAKETIME": offset, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
        cluster.town.start_node(name, wrong)
    run.steady(5)
    for name in NODES:
        wait_for(lambda name=name: cluster.town.is_ready(name), 60, f"{name} is not ready")  # type: ignore[misc]
    begun, before = time.monotonic(), cluster.count_attempts()
    run.steady(25)
    after = cluster.count_attempts()
    run.wait_for_receipts(50, 30, begun)
    run.figures["deliveries"] = after[0] - before[0]
    run.figures["attempts beyond the first"] = after[1] - before[1]
    if after[1] > before[1]:
        run.mistakes.append(f"{after[1] - before[1]} deliveries were tried twice: a lease was taken early")


def fill_disk(run: Breaking) -> None:
    """Let the disk of the primary be full for a while."""
    cluster, primary = run.cluster, run.cluster.members.primary()
    folder, begun = cluster.network[primary].folder, time.monotonic()
    filler = folder / "filler"
    with filler.open("wb") as full, suppress(OSError):
        while True:
            full.write(bytes(1 << 16))
            full.flush()
    run.figures["left"] = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
    run.steady(25)
    run.figures["ready meanwhile"] = [cluster.town.read_status(name) for name in NODES]
    run.note_receipts_meanwhile(begun + 2, allowed=True)
    filler.unlink()
    room = time.monotonic()
    cluster.members.restart(primary)
    cluster.members.wait_until_whole(120)
    run.figures["primary afterwards"] = "another" if cluster.members.primary() != primary else "the same"
    run.wait_for_receipts(10, 60, room)
    run.measure_failover(room)


def lose_etcd(run: Breaking) -> None:
    """Kill two of three etcd: nobody may be primary without a majority; it comes back by itself."""
    cluster = run.cluster
    begun = time.monotonic()
    for name in run.dice.sample(MEMBERS, 2):
        cluster.network[name].kill(("etcd --logger",))
    run.steady(30)
    run.note_receipts_meanwhile(begun + 15, allowed=True)
    for name in MEMBERS:
        cluster.members.restart(name)
    back = time.monotonic()
    run.wait_for_receipts(10, 60, back)
    run.measure_failover(back)
    cluster.members.wait_until_whole(120)


def _measure_nodes(cluster: Cluster) -> tuple[int, int]:
    """Return the most threads and the most MiB of one process of a hub node."""
    threads, octets = 0, 0
    for name in NODES:
        for pid in find_processes(cluster.network[name].folder):
            with suppress(OSError):
                words = Path(f"/proc/{pid}/status").read_text()
                threads = max(threads, int(words.split("Threads:")[1].split()[0]))
                octets = max(octets, int(words.split("VmRSS:")[1].split()[0]) // 1024)
    return threads, octets


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
        Row("standbys-gone", "both standbys are killed: the primary is alone", lose_standbys),
        Row(
            "one-direction",
            "the primary is cut off from the other members in one direction",
            cut_one_direction,
            needs_network=True,
        ),
        Row("frozen", "the primary's machine stops without ending, and goes on later", freeze_member),
        Row(
            "commit-cancelled",
            "commits that wait for a standby are cancelled and terminated, then the primary is lost",
            cancel_commits,
        ),
        Row("nodes-killed", "hub nodes end at commit points", kill_nodes),
        Row("clocks-off", "the clocks of the hub nodes are ten minutes apart", set_clocks_wrong),
        Row("disk-full", "the disk of the primary is full for a while", fill_disk, small_disks=True),
        Row("etcd-lost", "two of three etcd are killed, and come back", lose_etcd),
    )
}
