"""``gateway queue list|hold|release|requeue|cancel``: what is still to be handed over."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from gateway.cli.settings import add_home, looking, print_rows, writing
from gateway.hub import operate
from gateway.hub.assembly import now as clock
from gateway.states import DELIVERY
from gateway.store import deliveries

__all__ = ["add_parser"]

_ACTOR = "operator"
_OPEN = ("QUEUED", "ACTIVE", "AWAITING_RECEIPT", "HELD", "FAILED")


def add_parser(verbs: Any) -> None:
    """Add ``queue``."""
    group = verbs.add_parser("queue", help="the deliveries").add_subparsers(metavar="WHAT", required=True)
    listed = group.add_parser("list", help="list deliveries that are not done")
    listed.add_argument("--state", type=str.upper, choices=DELIVERY.states, help="only this state")
    listed.add_argument("--lane", help="only this lane")
    listed.add_argument("--limit", type=int, default=50)
    add_home(listed)
    listed.set_defaults(run=_list)
    for name, words, function in (
        ("hold", "keep a delivery back", operate.hold),
        ("release", "let a held delivery go", operate.release),
        ("requeue", "try a failed delivery again", operate.requeue),
        ("cancel", "never make a queued, held or failed delivery", operate.cancel),
    ):
        parser = group.add_parser(name, help=words)
        parser.add_argument("delivery", type=int, nargs="+")
        add_home(parser)
        parser.set_defaults(run=_acting(function))


def _list(arguments: argparse.Namespace) -> int:
    states = (arguments.state,) if arguments.state else _OPEN
    lane = {"lane": arguments.lane} if arguments.lane else {}
    with looking(arguments) as conn:
        rows = [
            dict(row._mapping)
            for state in states
            for row in deliveries.search(conn, limit=arguments.limit, state=state, **lane)
        ]
    rows.sort(key=lambda row: row["id"])
    columns = ("id", "lane", "agent", "state", "attempt", "due_at", "problem", "dedupe_key")
    print_rows(rows[: arguments.limit], as_json=arguments.json, columns=columns)
    return 0


def _acting(function: Callable[..., None]) -> Callable[[argparse.Namespace], int]:
    def act(arguments: argparse.Namespace) -> int:
        with writing(arguments) as conn:
            for delivery in arguments.delivery:
                function(conn, delivery, clock(), _ACTOR)
        return 0

    return act
