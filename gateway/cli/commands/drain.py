"""``gateway drain`` and ``gateway node list``: the nodes that work on the database, and their drain."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import click
from sqlalchemy import Engine

from gateway.cli.audited_changes import print_change, read_act
from gateway.cli.home_folder import open_engine, read_database, read_verb_settings
from gateway.cli.result_output import print_table
from gateway.cli.shared_options import changing_verb, home_verb, read_reason
from gateway.cli.verb_groups import Arguments
from gateway.config import Settings
from gateway.errors import MISUSE, GatewayError
from gateway.hub import get_node_name
from gateway.operations import Act, DatabaseChange, format_count, open_change
from gateway.store import read_columns, read_transaction, working_nodes

_COLUMNS: Final = (
    *("name", "version", "schema_revision", "seen_at", "leases"),
    *("drained_at", "drained_by", "drain_reason"),
)
#: Seconds until every process of the node, and a front that asks every two seconds, has heard of it.
_PROPAGATION_SECONDS: Final = 5.0
_MAX_WAIT_SECONDS: Final = 3600


@changing_verb("drain")
@click.argument("node", required=False, help="the node (default: this one)")
@click.option("--end", is_flag=True, help="let the node work again")
@click.option(
    "--wait", type=click.IntRange(0, _MAX_WAIT_SECONDS), default=60, help="wait so many seconds at most"
)
@click.option("--reason", help="why, for everybody who looks")
def drain_node(arguments: Arguments) -> int:
    """Let a node take no new work, and wait until it holds none; return 1 while it still does."""
    settings, reason = read_verb_settings(arguments), read_reason(arguments)
    name = arguments.node or get_node_name(settings)
    act = replace(read_act(arguments), reason=reason)
    with open_engine(settings) as engine:
        change = _change_drain(engine, settings, act, name, ends_drain=arguments.end)
        lease_count = 0 if arguments.end else _await_released_deliveries(engine, name, arguments.wait)
    if arguments.end:
        sentence = f"Node {name} works again."
    elif lease_count:
        held = format_count(lease_count, "delivery", "deliveries")
        sentence = f"Node {name} is drained, and still holds {held} after {arguments.wait} seconds."
    else:
        sentence = f"Node {name} is drained and holds no deliveries: its processes can be stopped."
    print_change(change, sentence, as_json=arguments.json, node=name, leases=lease_count)
    return 1 if lease_count else 0


def _change_drain(
    engine: Engine, settings: Settings, act: Act, name: str, *, ends_drain: bool
) -> DatabaseChange:
    """Drain the node `name`, or end its drain; return the change. Raises GW808 for an unknown node."""
    with open_change(engine, settings, act) as change:
        before = working_nodes.find_node(change.conn, name)
        if before is None:
            detail = f"no node {name[:40]} was seen: `gateway node list` names them"
            raise GatewayError(MISUSE, detail, "node")
        if ends_drain:
            working_nodes.end_drain(change.conn, name)
        else:
            working_nodes.set_drain(change.conn, name, change.actor, act.reason, change.at)
        change.record_change(
            f"node {name}",
            before={"drained": before.drained_at is not None},
            after={"drained": not ends_drain},
        )
    return change


def _await_released_deliveries(
    engine: Engine, name: str, seconds: int, pause: Callable[[float], None] = time.sleep
) -> int:
    """Wait until the node holds no delivery, at most `seconds` seconds; return how many it holds then."""
    began = time.monotonic()
    pause(min(_PROPAGATION_SECONDS, seconds))
    while True:
        with read_transaction(engine) as conn:
            lease_count = working_nodes.count_leases(conn).get(name, 0)
        if not lease_count or time.monotonic() - began >= seconds:
            return lease_count
        pause(0.5)


@home_verb("node list")
def list_nodes(arguments: Arguments) -> None:
    """Print the nodes: version, when each was seen, how many deliveries it holds, whether it is drained."""
    with read_database(arguments) as conn:
        held = working_nodes.count_leases(conn)
        rows: list[dict[str, Any]] = [
            read_columns(row) | {"leases": held.get(row.name, 0)} for row in working_nodes.list_nodes(conn)
        ]
    print_table(rows, as_json=arguments.json, columns=_COLUMNS)
