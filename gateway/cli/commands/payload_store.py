"""``gateway restore payloads``: the folder or bucket of large payloads that a database has from now on."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import click
from sqlalchemy import Engine

from gateway.cli.audited_changes import print_change, read_act
from gateway.cli.home_folder import open_engine, read_verb_settings
from gateway.cli.result_output import print_done
from gateway.cli.shared_options import changing_verb, read_reason
from gateway.cli.verb_groups import Arguments
from gateway.errors import MISUSE, GatewayError
from gateway.hub import get_current_time
from gateway.operations import format_count, open_change
from gateway.store import (
    ComparedObjects,
    MarkedObjectStore,
    compare_newest_objects,
    drop_mark,
    get_marked_store,
    has_noted_mark,
    place_mark,
)

_LOST_WORDS: Final = "go on although large payloads are missing in this store: they are lost"


@changing_verb("restore payloads")
@click.option("--lost", is_flag=True, help=_LOST_WORDS)
@click.option("--reason", help="why, for everybody who looks")
def mark_payload_store(arguments: Arguments) -> None:
    """Make the folder or bucket of the settings that of the database; any former one is not used any more."""
    reason, settings = read_reason(arguments), read_verb_settings(arguments)
    act = replace(read_act(arguments), reason=reason)
    with open_engine(settings) as engine:
        store = get_marked_store(engine)
        location = store.describe_mark()
        if has_noted_mark(engine, store):
            _print_present_store(arguments, engine, store)
            return
        comparison = compare_newest_objects(engine, store)
        if comparison.missing and not arguments.lost:
            detail = f"{_describe_missing(comparison)}: copy them, name the right store, or say --lost"
            raise GatewayError(MISUSE, detail, location)
        with open_change(engine, settings, act) as change:
            is_dropped = drop_mark(change.conn, store)
            if is_dropped:
                after = {"mark": location, "missing": comparison.missing}
                change.record_change("payloads", before=None, after=after)
            else:
                # Another node has marked the same store meanwhile.
                change.leave_unchanged()
        if not is_dropped:
            _print_present_store(arguments, engine, store)
            return
        # A payload that was stored since the first comparison is in the former store.
        comparison = compare_newest_objects(engine, store)
        place_mark(engine, store, get_current_time())
        # If this runs on two nodes at once, one of them has the store.
        store.require_mark()
    sentence = f"Large payloads of the database are from now on in the store with {location}."
    print_change(
        change,
        *(sentence, f"{_describe_missing(comparison).capitalize()}."),
        as_json=arguments.json,
        compared=comparison.compared,
        missing=comparison.missing,
    )


def _print_present_store(arguments: Arguments, engine: Engine, store: MarkedObjectStore) -> None:
    """Say that the store is that of the database; if this was begun and not ended, end it before."""
    place_mark(engine, store, get_current_time())
    print_done(
        arguments,
        f"The store with {store.describe_mark()} is that of the database already.",
        "A copy of the store or of the database with the same mark counts, too: to end that, name a "
        "store of its own, or remove this mark, and repeat.",
    )


def _describe_missing(comparison: ComparedObjects) -> str:
    compared = format_count(comparison.compared, "newest large payload")
    return f"the store lacks {comparison.missing} of the {compared} of the database"
