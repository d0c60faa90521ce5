"""Finds the lanes that ``--lane``, ``--agency`` and ``--party`` of an act on the queue name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import click
from sqlalchemy import Connection

from gateway.cli.shared_options import ROW_NUMBER, Decorator, join_options
from gateway.cli.verb_groups import Arguments
from gateway.config import Settings
from gateway.operations import CUSTOMS, list_party_destinations
from gateway.store import lanes, parties

__all__ = ["lane_options", "require_deliveries_or_lanes", "select_lanes"]

_MOST_NAMED = 20


def lane_options() -> Decorator:
    """Return the numbers of deliveries, and in their place ``--lane``, ``--agency`` and ``--party``."""
    words = "the number of the delivery; repeatable"
    return join_options(
        click.argument("delivery", type=ROW_NUMBER, nargs=-1, help=words),
        click.option("--lane", help="the whole lane of this name"),
        click.option("--agency", help="the whole lane of this agency"),
        click.option("--party", help="every lane to this party: its messages, and its calls as an agency"),
    )


def require_deliveries_or_lanes(arguments: Arguments) -> bool:
    """Return whether lanes are named, not deliveries; report misuse for both, and for neither."""
    named = any((arguments.lane, arguments.agency, arguments.party))
    if named == bool(arguments.delivery):
        raise click.UsageError("name either deliveries by their numbers, or --lane, --agency or --party")
    return named


def select_lanes(conn: Connection, settings: Settings, arguments: Arguments) -> tuple[str, ...]:
    """Return the lanes that the options name, also those without deliveries yet; report unknown names."""
    found = dict.fromkeys(_list_named_lanes(conn, settings, arguments))
    return tuple(sorted(found))


def _list_named_lanes(conn: Connection, settings: Settings, arguments: Arguments) -> Iterator[str]:
    known = {row.name for row in lanes.summarize_lanes(conn)}
    agencies = {*settings.agency, CUSTOMS}
    if arguments.lane:
        _require_known("lane", arguments.lane, known | agencies)
        yield arguments.lane
    if arguments.agency:
        # An agency that has left the settings may still have deliveries.
        _require_known("agency", arguments.agency, agencies | {name for name in known if ":" not in name})
        yield arguments.agency
    if arguments.party:
        _require_known("party", arguments.party, {row.id for row in parties.list_parties(conn)})
        yield f"msh:{arguments.party}"
        yield from list_party_destinations(settings, arguments.party)


def _require_known(kind: str, name: str, known: Iterable[str]) -> None:
    """Report misuse unless the name is one of those that are known."""
    names = sorted(known)
    if name not in names:
        more = ", …" if len(names) > _MOST_NAMED else ""
        told = f"there is no {kind} {name[:80]}; there are {', '.join(names[:_MOST_NAMED])}{more}"
        raise click.BadParameter(told, param_hint=f"'--{kind}'")
