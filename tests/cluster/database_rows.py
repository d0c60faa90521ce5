"""The rows that break members of the database, or the ways between them."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import psycopg

from tests.cluster.breaking import Breaking
from tests.cluster.cluster import MEMBERS, Cluster, say
from tests.cluster.database_members import wait_for
from tests.cluster.network import find_processes
from tests.cluster.town import FRONT, NODES

__all__ = [
    "cancel_commits",
    "cut_one_direction",
    "cut_primary_off",
    "fill_disk",
    "freeze_member",
    "kill_member",
    "lose_etcd",
    "lose_standbys",
]


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
    run.figures["old side"] = cluster.town.read_status(beside, 15)
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
    if 200 in run.figures["ready meanwhile"]:
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
