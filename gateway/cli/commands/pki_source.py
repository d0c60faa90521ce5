"""``gateway pki source list|refresh|forget`` and ``pki crl``: fetched lists and their freshness."""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import asdict
from typing import Any, Final

import click

from gateway.cli.audited_changes import change_database, print_change
from gateway.cli.home_folder import read_database, read_verb_settings
from gateway.cli.named_files import read_file
from gateway.cli.registration import (
    LoadedList,
    WithdrawnList,
    list_trusted_authorities,
    load_crls,
    read_hub_revocations,
    read_lists_not_loaded,
    withdraw_crls,
)
from gateway.cli.result_output import print_line, print_table, show_progress
from gateway.cli.shared_options import FILE, SECONDS, changing_verb, home_verb
from gateway.cli.verb_groups import Arguments
from gateway.config import mask_url
from gateway.errors import MISUSE, REVOCATION_UNKNOWN, GatewayError
from gateway.hub import (
    FetchSource,
    delete_fetched_lists,
    fetch_source_now,
    get_current_time,
    load_trust_store,
    read_fetch_sources,
)
from gateway.monitor import SourceTerm, list_source_freshness
from gateway.operations import describe_source, format_count
from gateway.pki import MAX_CRLS, ListSuccession, RevocationData
from gateway.store import deliveries

_COLUMNS: Final = (
    *("name", "kind", "state", "words", "number", "this_update", "next_update"),
    *("fetched_at", "failures", "problem"),
)
_FETCHES: Final = ("delivery", "name", "state", "problem")
_POLL_SECONDS: Final = 0.2
_WAIT_WORDS: Final = "time to wait for the end of the first attempts"
_FINAL_STATES: Final = frozenset({"DELIVERED", "FAILED", "CANCELLED"})


@home_verb("pki source list")
def list_sources(arguments: Arguments) -> int:
    """Print each source of fetched lists, its URL and its freshness; return 1 when one is stale."""
    sources = read_fetch_sources(read_verb_settings(arguments))
    terms = {name: SourceTerm(source.settings.kind, source.settings.warn) for name, source in sources.items()}
    with read_database(arguments) as conn:
        freshness = list_source_freshness(conn, get_current_time(), terms)
    rows = [
        asdict(source) | {"url": mask_url(sources[source.name].url) if source.name in sources else ""}
        for source in freshness
    ]
    print_table(rows, as_json=arguments.json, columns=_COLUMNS)
    if not arguments.json:
        for source_state in freshness:
            if remark := source_state.format_remark():
                print_line(remark)
    return 1 if any(source.state == "stale" for source in freshness) else 0


@changing_verb("pki source refresh")
@click.argument("name", nargs=-1, help="a source of the settings; if not given, all sources")
@click.option("--wait", type=SECONDS, default=0.0, metavar="SECONDS", help=_WAIT_WORDS)
def refresh_sources(arguments: Arguments) -> int:
    """Queue the fetching of sources, and print the state of each; return 1 when one failed."""
    queued: dict[int, str] = {}
    chosen = _choose_named_sources(arguments)
    with change_database(arguments) as change:
        for source in chosen:
            delivery = fetch_source_now(change.conn, source, change.at, change.actor)
            queued[delivery] = source.name
        subject = f"source {', '.join(source.name for source in chosen)}"
        change.record_change(subject, after={"deliveries": queued})
    with show_progress("waiting for the fetches") if arguments.wait else nullcontext():
        rows = _await_fetch_deliveries(arguments, queued)
    if arguments.json:
        print_table(rows, as_json=True, columns=_FETCHES)
    else:
        print_change(change, f"Queued {format_count(len(queued), 'fetch', 'fetches')}.", as_json=False)
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
            delivery_rows = [deliveries.find_by_id(conn, delivery) for delivery in queued]
        rows = [row for row in delivery_rows if row is not None]
        if all(row.state in _FINAL_STATES or row.problem for row in rows) or time.monotonic() >= end:
            return [
                {"delivery": row.id, "name": queued[row.id], "state": row.state, "problem": row.problem or ""}
                for row in rows
            ]
        time.sleep(_POLL_SECONDS)


@changing_verb("pki source forget")
@click.argument("name", help="the source")
def forget_source(arguments: Arguments) -> None:
    """Withdraw the lists that were fetched from a source; raise GW808 for an unknown source."""
    name = arguments.name
    with change_database(arguments) as change:
        before = describe_source(change.conn, name)
        withdrawn_count = delete_fetched_lists(change.conn, name, change.at, change.actor)
        change.record_trust_change(f"source {name}", before=before)
    sentence = f"Deactivated {format_count(withdrawn_count, 'list')} of source {name}."
    print_change(change, sentence, as_json=arguments.json, source=name, lists=withdrawn_count)


@changing_verb("pki crl")
@click.argument("file", type=FILE, help="a DER list, or a file of PEM lists")
@click.option("--withdraw", is_flag=True, help="put these lists out of force")
def load_crl_file(arguments: Arguments) -> None:
    """Store revocation lists in the register; every process uses them from its next message on."""
    content = read_file(arguments.file)
    with change_database(arguments) as change:
        trust = load_trust_store(change.settings)
        origins = read_lists_not_loaded(change.settings, change.conn)
        if arguments.withdraw:
            withdrawn = withdraw_crls(change.conn, content, change.at, origins)
            revocations_in_hand = read_hub_revocations(
                change.settings, change.conn, trust.policy.certificates
            )
            remaining = [_count_remaining_lists(each, revocations_in_hand) for each in withdrawn]
            lists = [*map(_describe_withdrawn_list, withdrawn, remaining)]
            sentences = [*map(_format_withdrawal, withdrawn, remaining)]
        else:
            before = read_hub_revocations(change.settings, change.conn, trust.policy.certificates)
            authorities = list_trusted_authorities(change.settings, change.conn, change.at)
            succession = ListSuccession(authorities, change.at, trust.policy.crl_age_most)
            loaded = load_crls(change.conn, content, succession, origins)
            revocations_in_hand = read_hub_revocations(
                change.settings, change.conn, trust.policy.certificates
            )
            _check_list_count(len(before.lists), len(revocations_in_hand.lists))
            lists = [_describe_list(each) for each in loaded]
            sentences = [_format_loading(each) for each in loaded]
        issuers = "; ".join(dict.fromkeys(each["issuer"] or each["sha256"] for each in lists))
        change.record_trust_change(f"revocation list of {issuers}", after=lists)
    print_change(change, *sentences, as_json=arguments.json, lists=lists)


def _check_list_count(before: int, after: int) -> None:
    """Raise GW208 where more lists come to be in hand than each process should keep in memory.

    A list that takes the place of another one is never refused for that.
    """
    if after > max(before, MAX_CRLS):
        detail = f"{after} revocation lists would be in hand, {MAX_CRLS} are allowed: withdraw others first"
        raise GatewayError(REVOCATION_UNKNOWN, detail, "revocation list")


def _describe_list(loaded: LoadedList) -> dict[str, Any]:
    """Return a revocation list that was loaded from a file as plain values."""
    return {
        "issuer": loaded.issuer,
        "new": loaded.is_new,
        "sha256": loaded.sha256,
        "delta": loaded.is_delta,
        "in_force": loaded.is_in_force,
        "used_again": loaded.is_used_again,
        "replaces": list(loaded.replaces),
        "repeated_by": loaded.repeated_by.description if loaded.repeated_by else None,
    }


def _count_remaining_lists(withdrawn: WithdrawnList, in_hand: RevocationData) -> int | None:
    """Return how many lists of its issuer are in hand; None where the issuer cannot be read."""
    return len(in_hand.find_lists(withdrawn.crl.issuer_key)) if withdrawn.crl else None


def _describe_withdrawn_list(withdrawn: WithdrawnList, remaining: int | None) -> dict[str, Any]:
    """Return a withdrawn list as plain values; `in_force` says whether it is still used from another origin.

    `remaining` is the number of lists of the issuer; None if the issuer cannot be read.
    """
    crl = withdrawn.crl
    return {
        "issuer": crl.issuer if crl else None,
        "sha256": withdrawn.sha256,
        "delta": crl.base_number is not None if crl else None,
        "in_force": withdrawn.origin is not None,
        "remaining": remaining,
    }


def _format_loading(loaded: LoadedList) -> str:
    """Return a sentence on the loading of a revocation list: whether it is new, and whether it is used."""
    name = f"List of changes of {loaded.issuer}" if loaded.is_delta else f"List of {loaded.issuer}"
    if not loaded.is_in_force:
        return (
            f"{name}: loaded{'' if loaded.is_new else ' already'}, but not used: a list in force repeats it."
        )
    replaced = f", in place of {format_count(len(loaded.replaces), 'list')}" if loaded.replaces else ""
    if loaded.repeated_by is not None:
        state = "loaded" if loaded.is_new else "loaded already"
        origin = loaded.repeated_by.description
        return f"{name}: {state}{replaced}, but a list that repeats it decides, {origin}."
    if loaded.is_used_again:
        state = "loaded already, and used again from now on"
    else:
        state = "loaded, and used from now on" if loaded.is_new else "loaded already"
    return f"{name}: {state}{replaced}."


def _format_withdrawal(withdrawn: WithdrawnList, remaining: int | None) -> str:
    """Return sentences on a withdrawn list; `remaining` counts the lists of its issuer, None if unknown."""
    sentence = f"{withdrawn.description[0].upper()}{withdrawn.description[1:]} is withdrawn."
    if withdrawn.origin is not None:
        return f"{sentence} It is in force {withdrawn.origin.description} still: {withdrawn.origin.remedy}."
    if remaining is None:
        return sentence
    if remaining == 0:
        return f"{sentence} No list of this issuer is in hand any more: load its present one."
    return f"{sentence} This issuer has {format_count(remaining, 'list')} in hand still."
