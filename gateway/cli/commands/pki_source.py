"""``gateway pki source list|refresh|forget`` and ``pki crl``: fetched lists and their freshness."""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import asdict
from typing import Any, Final

import click

from gateway.cli.named_files import read_file
from gateway.cli.progress_bars import show_progress
from gateway.cli.registration import load_crls
from gateway.cli.result_output import count_things, print_sentence, print_table
from gateway.cli.settings import read_database, read_verb_settings, write_database
from gateway.cli.shared_options import FILE, home_options
from gateway.cli.verb_groups import Arguments, verb
from gateway.errors import SETTINGS_WRONG, GatewayError
from gateway.hub import FetchSource, get_current_time, operator_actions, read_fetch_sources
from gateway.monitor import list_source_freshness
from gateway.store import deliveries

__all__ = ["forget_source", "list_sources", "load_crl_file", "refresh_sources"]

_ACTOR: Final = "operator"
_COLUMNS: Final = (
    *("name", "kind", "state", "words", "number", "this_update", "next_update"),
    *("fetched_at", "failures", "problem"),
)
_POLL: Final = 0.2
_WAIT_WORDS: Final = "time to wait for the end of the first attempts"
_OVER: Final = frozenset({"DELIVERED", "FAILED", "CANCELLED"})


@verb
@home_options()
def list_sources(arguments: Arguments) -> int:
    """Print what is fetched, from where, and its freshness; return 1 when something is stale."""
    sources = read_fetch_sources(read_verb_settings(arguments))
    warn = {name: (one.settings.kind, one.settings.warn) for name, one in sources.items()}
    with read_database(arguments) as conn:
        found = list_source_freshness(conn, get_current_time(), warn)
    rows = [asdict(one) | {"url": sources[one.name].url if one.name in sources else ""} for one in found]
    print_table(rows, as_json=arguments.json, columns=_COLUMNS)
    if not arguments.json:
        for one in found:
            if remark := one.format_remark():
                print(remark)
    return 1 if any(one.state == "stale" for one in found) else 0


@verb
@click.argument("name", nargs=-1, help="a source of the settings; if not given, all sources")
@click.option("--wait", type=float, default=0.0, metavar="SECONDS", help=_WAIT_WORDS)
@home_options()
def refresh_sources(arguments: Arguments) -> int:
    """Queue the fetching of sources, and print the state of each; return 1 when one failed."""
    queued: dict[int, str] = {}
    chosen = _choose_named_sources(arguments)
    with write_database(arguments) as conn:
        for source in chosen:
            queued[operator_actions.fetch_source_now(conn, source, get_current_time(), _ACTOR)] = source.name
    with show_progress("waiting for the fetches") if arguments.wait else nullcontext():
        rows = _await_fetch_deliveries(arguments, queued)
    print_table(rows, as_json=arguments.json, columns=("delivery", "name", "state", "problem"))
    return 1 if any(row["state"] == "FAILED" or row["problem"] for row in rows) else 0


def _choose_named_sources(arguments: Arguments) -> list[FetchSource]:
    sources = read_fetch_sources(read_verb_settings(arguments))
    unknown = [name for name in arguments.name if name not in sources]
    if unknown:
        raise GatewayError(SETTINGS_WRONG, f"there is no source {unknown[0][:40]!r} in the settings", "fetch")
    return [sources[name] for name in dict.fromkeys(arguments.name or sources)]


def _await_fetch_deliveries(arguments: Arguments, queued: dict[int, str]) -> list[dict[str, Any]]:
    """Return the states of the deliveries when each was tried, or when the waiting time is over."""
    end = time.monotonic() + arguments.wait
    while True:
        with read_database(arguments) as conn:
            found = [deliveries.find_by_id(conn, delivery) for delivery in queued]
        rows = [row for row in found if row is not None]
        if all(row.state in _OVER or row.problem for row in rows) or time.monotonic() >= end:
            return [
                {"delivery": row.id, "name": queued[row.id], "state": row.state, "problem": row.problem or ""}
                for row in rows
            ]
        time.sleep(_POLL)


@verb
@click.argument("name", help="the source")
@home_options(as_json=False)
def forget_source(arguments: Arguments) -> int:
    """Withdraw what was fetched from a source; raise GW801 for an unknown source."""
    with write_database(arguments) as conn:
        gone = operator_actions.withdraw_fetched_lists(conn, arguments.name, get_current_time(), _ACTOR)
    lists = count_things(gone, "list")
    print_sentence(f"Deactivated {lists} of source {arguments.name}.")
    return 0


@verb
@click.argument("file", type=FILE, help="a DER list, or a file of PEM lists")
@home_options(as_json=False)
def load_crl_file(arguments: Arguments) -> int:
    """Store revocation lists in the register; every process uses them from its next message on."""
    with write_database(arguments) as conn:
        for issuer, new in load_crls(conn, read_file(arguments.file), get_current_time()):
            state = "loaded, and used from now on" if new else "loaded already"
            print_sentence(f"List of {issuer}: {state}.")
    return 0
