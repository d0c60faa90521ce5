"""The rows: what is broken, how it is healed, and what must be seen meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.cluster.breaking import Breaking
from tests.cluster.database_rows import (
    cancel_commits,
    cut_one_direction,
    cut_primary_off,
    fill_disk,
    freeze_member,
    kill_member,
    lose_etcd,
    lose_standbys,
)
from tests.cluster.node_rows import kill_nodes, replace_nodes, set_clocks_wrong

__all__ = ["ROWS", "Row"]


@dataclass(frozen=True)
class Row:
    """One row of the table."""

    name: str
    words: str
    breaks: Callable[[Breaking], None]
    needs_network: bool = False
    small_disks: bool = False
    needs_compiler: bool = False
    #: The nodes begin with an older version, if one is named.
    upgrades: bool = False


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
        Row(
            "clocks-off",
            "the clocks of the hub nodes are ten minutes apart",
            set_clocks_wrong,
            needs_compiler=True,
        ),
        Row("disk-full", "the disk of the primary is full for a while", fill_disk, small_disks=True),
        Row(
            "rolling-upgrade", "the hub nodes are replaced one after the other", replace_nodes, upgrades=True
        ),
        Row("etcd-lost", "two of three etcd are killed, and come back", lose_etcd),
    )
}
