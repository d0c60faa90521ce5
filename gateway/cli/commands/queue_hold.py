"""``gateway queue hold|release|try|lanes``: what waits in a lane, and what an operator does with it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import click

from gateway.cli.audited_changes import change_database, print_change
from gateway.cli.commands.queue import change_named_deliveries
from gateway.cli.lane_selection import lane_options, require_deliveries_or_lanes, select_lanes
from gateway.cli.result_output import count_things, print_table
from gateway.cli.settings import read_database
from gateway.cli.shared_options import change_options, home_options, read_reason
from gateway.cli.verb_groups import Arguments, verb
from gateway.operations import DatabaseChange, format_moment
from gateway.store import LaneBacklog, lanes

__all__ = ["hold_deliveries", "list_lanes", "release_deliveries", "try_deliveries"]

_COLUMNS = (
    *("name", "queued", "active", "awaiting_receipt", "held", "failed"),
    *("held_at", "held_by", "hold_reason", "open_until"),
)


@verb
@lane_options()
@click.option("--reason", help="why, for everybody who looks; a lane is not held without")
@change_options()
def hold_deliveries(arguments: Arguments) -> int:
    """Hold queued deliveries, or whole lanes with what comes later; print what waits."""
    from gateway.operations import hold_lanes

    reason = read_reason(arguments)
    if not require_deliveries_or_lanes(arguments):
        return change_named_deliveries(arguments, "hold", "Held", reason)
    if reason is None:
        raise click.UsageError("a lane is held with a --reason, such as 'planned maintenance until 18:00'")
    with change_database(arguments, reason) as change:
        found = hold_lanes(change, select_lanes(change.conn, change.settings, arguments))
    told = [f"Held lane {name}: {reason}. {_describe_backlog(one)}" for name, one in found.items()]
    _print_lane_change(change, told, found, as_json=arguments.json)
    return 0


@verb
@lane_options()
@change_options()
def release_deliveries(arguments: Arguments) -> int:
    """Release held deliveries, or held lanes; print what waited."""
    from gateway.operations import release_lanes

    if not require_deliveries_or_lanes(arguments):
        return change_named_deliveries(arguments, "release", "Released")
    with change_database(arguments) as change:
        released = release_lanes(change, select_lanes(change.conn, change.settings, arguments))
    told = []
    for name, (held, left) in released.items():
        since = f"held by {held.held_by} since {format_moment(held.held_at)}: {held.hold_reason}"
        told.append(f"Released lane {name}, {since}. {_describe_backlog(left, past=True)}")
    found = {name: left for name, (_, left) in released.items()}
    _print_lane_change(change, told, found, as_json=arguments.json)
    return 0


@verb
@lane_options()
@change_options()
def try_deliveries(arguments: Arguments) -> int:
    """Try waiting deliveries now, or those of whole lanes, and close the circuit of their lanes."""
    from gateway.operations import try_lanes

    if not require_deliveries_or_lanes(arguments):
        return change_named_deliveries(arguments, "try", "Due now:")
    with change_database(arguments) as change:
        tried = try_lanes(change, select_lanes(change.conn, change.settings, arguments))
    told = [_describe_tried_lane(name, numbers) for name, numbers in tried.items()]
    print_change(change, "\n".join(told), as_json=arguments.json, tried=tried)
    return 0


def _describe_tried_lane(name: str, numbers: Sequence[int]) -> str:
    if not numbers:
        return f"In lane {name} nothing waits for a later attempt."
    counted = count_things(len(numbers), "delivery", "deliveries")
    return f"Due now: {counted} of lane {name}: {', '.join(map(str, numbers))}."


def _describe_backlog(found: LaneBacklog, *, past: bool = False) -> str:
    waiting = count_things(found.waiting, "delivery", "deliveries")
    verb_words = "waited" if past else "waits" if found.waiting == 1 else "wait"
    since = f", the oldest since {format_moment(found.oldest)}" if found.oldest else ""
    under_way = f"; {found.active} under way will end" if found.active else ""
    later = "" if past else "; what comes later waits too"
    return f"{waiting} {verb_words}{since}{under_way}{later}."


def _print_lane_change(
    change: DatabaseChange, told: Sequence[str], found: dict[str, LaneBacklog], *, as_json: bool
) -> None:
    rows = [
        {"lane": name, "waiting": one.waiting, "oldest": _format_json_time(one.oldest), "active": one.active}
        for name, one in found.items()
    ]
    print_change(change, "\n".join(told), as_json=as_json, lanes=rows)


def _format_json_time(moment: datetime | None) -> str | None:
    return None if moment is None else format_moment(moment)


@verb
@home_options()
def list_lanes(arguments: Arguments) -> int:
    """Print the lanes with the number of deliveries in each state, and how they are held."""
    with read_database(arguments) as conn:
        rows = [dict(row._mapping) for row in lanes.summarize_lanes(conn)]
    print_table(rows, as_json=arguments.json, columns=_COLUMNS)
    return 0
