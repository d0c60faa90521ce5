"""``gateway pki source list|refresh|forget`` and ``pki crl``: fetched lists and their freshness."""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import asdict
from typing import Any, Final

import click

from gateway.cli.audited_changes import change_database, print_change
from gateway.cli.named_files import read_file
from gateway.cli.progress_bars import show_progress
from gateway.cli.registration import load_crls
from gateway.cli.result_output import count_things, print_table
from gateway.cli.settings import read_database, read_verb_settings
from gateway.cli.shared_options import FILE, change_options, home_options
from gateway.cli.verb_groups import Arguments, verb
from gateway.errors import MISUSE, GatewayError
from gateway.hub import FetchSource, get_current_time, operator_actions, read_fetch_sources
from gateway.monitor import list_source_freshness
from gateway.operations import describe_source
from gateway.store import deliveries

__all__ = ["forget_source", "list_sources", "load_crl_file", "refresh_sources"]

_COLUMNS: Final = (
    *("name", "kind", "state", "words", "number", "this_update", "next_update"),
    *("fetched_at", "failures", "problem"),
)
_FETCHES: Final = ("delivery", "name", "state", "problem")
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
@change_options()
def refresh_sources(arguments: Arguments) -> int:
    """Queue the fetching of sources, and print the state of each; return 1 when one failed."""
    queued: dict[int, str] = {}
    chosen = _choose_named_sources(arguments)
    with change_database(arguments) as change:
        for source in chosen:
            delivery = operator_actions.fetch_source_now(change.conn, source, change.at, change.by)
            queued[delivery] = source.name
        what = f"source {', '.join(source.name for source in chosen)}"
        change.record_change(what, after={"deliveries": queued})
    with show_progress("waiting for the fetches") if arguments.wait else nullcontext():
        rows = _await_fetch_deliveries(arguments, queued)
    if arguments.json:
        print_table(rows, as_json=True, columns=_FETCHES)
    else:
        print_change(change, f"Queued {count_things(len(queued), 'fetch', 'fetches')}.", as_json=False)
        print_table(rows, as_json=False, columns=_FETCHES)
    return 1 if any(row["state"] == "FAILED" or row["problem"] for row in rows) else 0


def _choose_named_sources(arguments: Arguments) -> list[FetchSource]:
    sources = read_fetch_sources(read_verb_settings(arguments))
    unknown = [name for name in arguments.name if name not in sources]
    if unknown:
        raise GatewayError(MISUSE, f"there is no source {unknown[0][:40]!r} in the settings", "fetch")
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
@change_options()
def forget_source(arguments: Arguments) -> int:
    """Withdraw what was fetched from a source; raise GW808 for an unknown source."""
    name = arguments.name
    with change_database(arguments) as change:
        before = describe_source(change.conn, name)
        gone = operator_actions.withdraw_fetched_lists(change.conn, name, change.at, change.by)
        change.record_trust_change(f"source {name}", before=before)
    sentence = f"Deactivated {count_things(gone, 'list')} of source {name}."
    print_change(change, sentence, as_json=arguments.json, source=name, lists=gone)
    return 0


@verb
@click.argument("file", type=FILE, help="a DER list, or a file of PEM lists")
@change_options()
def load_crl_file(arguments: Arguments) -> int:
    """Store revocation lists in the register; every process uses them from its next message on."""
    with change_database(arguments) as change:
        taken = load_crls(change.conn, read_file(arguments.file), change.at)
        lists = [{"issuer": issuer, "new": new} for issuer, new in taken]
        change.record_trust_change(_name_issuers(taken), after=lists)
    told = [
        f"List of {issuer}: {'loaded, and used from now on' if new else 'loaded already'}."
        for issuer, new in taken
    ]
    print_change(change, "\n".join(told), as_json=arguments.json, lists=lists)
    return 0


def _name_issuers(taken: list[tuple[str, bool]]) -> str:
    return f"revocation list of {'; '.join(dict.fromkeys(issuer for issuer, _ in taken))}"
