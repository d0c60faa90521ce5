"""The rows that break hub nodes, or replace them."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from tests.cluster.breaking import Breaking
from tests.cluster.cluster import Cluster
from tests.cluster.database_members import wait_for
from tests.cluster.network import Machine, find_processes
from tests.cluster.town import NODES

__all__ = ["kill_nodes", "replace_nodes", "set_clocks_wrong"]

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
        # How long it takes to start depends on what else this machine does.
        wait_for(lambda: _has_ended(here) or cluster.town.is_ready(name), 150, f"{name} does not start")  # noqa: B023
        end = time.monotonic() + 20
        while time.monotonic() < end and not _has_ended(here):
            time.sleep(0.2)
        reached += [place] if _has_ended(here) else []
        here.kill()
        cluster.town.start_node(name)
        wait_for(lambda name=name: cluster.town.is_ready(name), 150, f"{name} is not ready")  # type: ignore[misc]
    run.figures["ended at"] = reached
    if len(reached) < 3:
        run.mistakes.append(f"only {len(reached)} nodes ended where they were to end")


def _has_ended(here: Machine) -> bool:
    return not here.signal(0, ("tests.kit.single",))


def set_clocks_wrong(run: Breaking) -> None:
    """Let the clock of one hub node be five minutes fast, and that of the other as much slow."""
    cluster = run.cluster
    library = cluster.network.folder / "shifted_clock.so"
    source = Path(__file__).with_name("shifted_clock.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(source)], check=True)
    for name, offset in zip(NODES, run.dice.sample(("300", "-300"), 2), strict=True):
        cluster.network[name].kill()
        cluster.town.start_node(name, {"LD_PRELOAD": str(library), "SHIFTED_CLOCK": offset})
    run.steady(5)
    for name in NODES:
        wait_for(lambda name=name: cluster.town.is_ready(name), 150, f"{name} is not ready")  # type: ignore[misc]
    begun, before = time.monotonic(), cluster.count_repeats()
    run.steady(25)
    run.wait_for_receipts(50, 60, begun)
    repeats = cluster.count_repeats() - before
    run.figures["tried again"] = dict(repeats)
    # Neither a partner nor another node may have been the cause.
    if repeats:
        run.mistakes.append(f"deliveries were tried again: {dict(repeats)}")
    for name in NODES:
        cluster.network[name].kill()
        cluster.town.start_node(name)


def replace_nodes(run: Breaking) -> None:
    """Bring the database to a newer schema, then replace the nodes one after the other, under load."""
    cluster = run.cluster
    run.figures["from"] = cluster.options.older or "the same version"
    begun = time.monotonic()
    _expand_schema(cluster)
    run.steady(4)
    for name in NODES:
        here = cluster.network[name]
        drain = [sys.executable, "-m", "gateway", "drain", "--home", str(here.folder / "home")]
        here.run([*drain, "--reason", "upgrade"])
        if cluster.town.is_ready(name):
            run.mistakes.append(f"{name} is drained, and says that it is ready")
        here.signal(signal.SIGTERM, ("gateway run",))
        wait_for(lambda here=here: not find_processes(here.folder), 60, f"{name} does not end")  # type: ignore[misc]
        cluster.town.start_node(name)
        here.run([*drain, "--end"])
        wait_for(lambda name=name: cluster.town.is_ready(name), 90, f"{name} is not ready")  # type: ignore[misc]
        run.steady(2)
    run.measure_failover(begun)
    refused = [one for one in run.traffic.attempts if one.begun > begun and not one.receipt]
    run.figures["attempts without a receipt"] = len(refused)
    if refused:
        run.mistakes.append(
            f"{len(refused)} attempts had no receipt: {Counter(one.status for one in refused)}"
        )


def _expand_schema(cluster: Cluster) -> None:
    """Do what the migration of a next version does first: it adds, and takes nothing away."""
    with cluster.members.connect(cluster.members.primary()) as conn:
        conn.execute("ALTER TABLE messages ADD COLUMN IF NOT EXISTS of_the_next_version TEXT")
        conn.execute("UPDATE alembic_version SET version_num = '9999'")
