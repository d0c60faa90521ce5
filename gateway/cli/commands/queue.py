"""``gateway queue list|show|requeue|cancel``: pending deliveries."""

from __future__ import annotations

import sys

import click

from gateway.cli.audited_changes import change_database, print_change
from gateway.cli.list_options import (
    list_options,
    print_page,
    read_clock,
    read_list_filter,
    require_row_number,
)
from gateway.cli.partner_names import check_partner_names
from gateway.cli.result_output import (
    count_things,
    format_facts,
    print_json,
    report_wrong_row,
    shorten_sentence,
)
from gateway.cli.settings import read_database, read_verb_settings
from gateway.cli.shared_options import ROW_NUMBER, change_options, home_options
from gateway.cli.terminal_text import write_error
from gateway.cli.verb_groups import Arguments, verb
from gateway.operations import (
    add_delivery_waiting,
    describe_delivery_waiting,
    find_destinations,
    list_delivery_lines,
    list_lane_holds,
    list_party_destinations,
    list_transition_lines,
    load_destinations,
    name_destination,
    read_delivery_report,
)
from gateway.state_machines import DELIVERY
from gateway.store import deliveries, delivery_leases, list_searches, transitions

__all__ = [
    "cancel_deliveries",
    "change_named_deliveries",
    "list_deliveries",
    "requeue_deliveries",
    "show_delivery",
]

#: How much of our last sentence, and of the partner's words, a row shows on a terminal.
_LONGEST = 60
_COLUMNS = (
    *(
        "id",
        "case_number",
        "lane",
        "partner",
        "address",
        "state",
        "attempt",
        "waits_for",
        "problem",
        "last_sentence",
    ),
    "dedupe_key",
)


@verb
@list_options(DELIVERY.states, "party", "agency", "reference")
@click.option("--lane", help="only this lane")
@home_options()
def list_deliveries(arguments: Arguments) -> int:
    """Print the deliveries that are not finished, or those that the options name, the oldest first."""
    now = read_clock()
    with read_database(arguments) as conn:
        settings = read_verb_settings(arguments)
        known = load_destinations(conn, settings)
        wanted = read_list_filter(
            arguments,
            now,
            after=require_row_number(arguments),
            equal=[("lane", arguments.lane)] if arguments.lane else [],
            partners=list_party_destinations(settings, arguments.party) if arguments.party else (),
            destinations=find_destinations(known, arguments.text) if arguments.text else (),
        )
        page = list_searches.search_deliveries(conn, wanted)
        check_partner_names(conn, settings, arguments, page.rows)
        held = list_lane_holds(conn)
        said = delivery_leases.list_last_words(conn, [row["id"] for row in page.rows if row["problem"]])
    for row in page.rows:
        partner = name_destination(known, row)
        row |= {"partner": partner.name, "address": partner.address}
        row["waits_for"] = describe_delivery_waiting(row, now)
        row["theirs"] = said.get(row["id"])
        if not arguments.json:
            row["last_sentence"] = _join_sentences(row["last_sentence"], row["theirs"])
    print_page(page, as_json=arguments.json, columns=_COLUMNS)
    for words in held:
        write_error(words)
    return 0


def _join_sentences(ours: str | None, theirs: str | None) -> str:
    """Return our last sentence about a delivery and the partner's words; on a terminal their beginnings."""
    told = [ours or "", f"they said: {theirs}" if theirs else ""]
    longest = _LONGEST if sys.stdout.isatty() else None
    return "; ".join(shorten_sentence(one, longest) for one in told if one)


@verb
@click.argument("delivery", type=ROW_NUMBER, help="the number of the delivery")
@home_options()
def show_delivery(arguments: Arguments) -> int:
    """Print one delivery with its attempts and transitions; return 1 when there is no such delivery."""
    with read_database(arguments) as conn:
        row = deliveries.find_by_id(conn, arguments.delivery)
        if row is None:
            return report_wrong_row(f"there is no delivery {arguments.delivery}")
        steps = [dict(step._mapping) for step in transitions.list_transitions(conn, DELIVERY, row.id)]
        report = read_delivery_report(conn, row) | {"transitions": steps}
        add_delivery_waiting(conn, [report], read_clock())
    if arguments.json:
        print_json(report)
        return 0
    facts = ("lane", "dedupe_key", "attempt", "due_at", "leased_by", "lease_until", "wire_id", "case_id")
    for line in list_delivery_lines(report, with_attempts=True):
        print(line)
    print(format_facts({name: report[name] for name in facts}))
    for line in list_transition_lines(steps):
        print(f"  {line}")
    return 0


def change_named_deliveries(arguments: Arguments, act: str, past: str, reason: str | None = None) -> int:
    """Apply an act of an operator to each delivery that is named, all of them or none; print it."""
    from gateway.operations import change_deliveries

    numbers = tuple(dict.fromkeys(arguments.delivery))
    with change_database(arguments, reason) as change:
        after = change_deliveries(change, act, numbers)
    lanes = {row["lane"] for row in after.values()}
    about = f"lane {lanes.pop()}" if len(lanes) == 1 else "several lanes"
    counted = count_things(len(numbers), "delivery", "deliveries")
    sentence = f"{past} {counted} of {about}: {', '.join(map(str, numbers))}."
    print_change(change, sentence, as_json=arguments.json, deliveries=numbers)
    return 0


@verb
@click.argument(
    "delivery", type=ROW_NUMBER, nargs=-1, required=True, help="the number of the delivery; repeatable"
)
@change_options()
def requeue_deliveries(arguments: Arguments) -> int:
    """Put failed deliveries back in the queue, with all their attempts."""
    return change_named_deliveries(arguments, "requeue", "Queued again")


@verb
@click.argument(
    "delivery", type=ROW_NUMBER, nargs=-1, required=True, help="the number of the delivery; repeatable"
)
@change_options()
def cancel_deliveries(arguments: Arguments) -> int:
    """Cancel deliveries that wait, are held or have failed."""
    return change_named_deliveries(arguments, "cancel", "Cancelled")
