"""``gateway queue|delivery|retention …``: pending deliveries, lanes, refused calls, and octets kept."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click
from sqlalchemy import Connection

from gateway.cli.audited_changes import change_database, print_change, read_act
from gateway.cli.home_folder import open_engine, read_database, read_verb_settings
from gateway.cli.list_options import (
    check_partner_names,
    list_options,
    print_page,
    read_clock,
    read_list_filter,
    require_row_number,
)
from gateway.cli.result_output import (
    format_named_values,
    print_json,
    print_line,
    print_problem,
    print_sentence,
    print_table,
    require_row,
    write_error,
)
from gateway.cli.shared_options import (
    ROW_NUMBER,
    SEARCH_TEXT,
    Decorator,
    changing_verb,
    home_verb,
    join_options,
    read_reason,
)
from gateway.cli.verb_groups import Arguments
from gateway.errors import MISUSE, PROBLEMS, GatewayError
from gateway.operations import (
    CUSTOMS,
    DatabaseChange,
    LaneFault,
    add_delivery_waiting,
    describe_delivery_waiting,
    describe_destination,
    format_count,
    format_moment,
    format_value,
    list_delivery_lines,
    list_lane_faults,
    list_lane_holds,
    list_party_destinations,
    list_transition_lines,
    load_destinations,
    read_delivery_report,
    search_destinations,
    shorten_text,
)
from gateway.state_machines import DELIVERY
from gateway.store import (
    LaneBacklog,
    deliveries,
    delivery_leases,
    lanes,
    list_searches,
    octet_removal,
    parties,
    read_columns,
    transitions,
)

if TYPE_CHECKING:
    from gateway.config import Settings
    from gateway.operations import ComposedCalls, RetentionReport


#: How much of our last sentence, and of the partner's words, a row shows on a terminal.
_MAX_SHOWN_CHARACTERS = 60
_DELIVERY_COLUMNS = (
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


@home_verb("queue list")
@list_options(DELIVERY.states, "party", "agency", "reference")
@click.option("--lane", type=SEARCH_TEXT, help="only this lane")
def list_deliveries(arguments: Arguments) -> None:
    """Print the deliveries that are not finished, or those that the options name, the oldest first."""
    now = read_clock()
    with read_database(arguments) as conn:
        settings = read_verb_settings(arguments)
        destinations = load_destinations(conn, settings)
        list_filter = read_list_filter(
            arguments,
            now,
            after=require_row_number(arguments),
            equal=[("lane", arguments.lane)] if arguments.lane else [],
            partners=list_party_destinations(settings, arguments.party) if arguments.party else (),
            destinations=search_destinations(destinations, arguments.text) if arguments.text else (),
        )
        page = list_searches.search_deliveries(conn, list_filter)
        check_partner_names(conn, settings, arguments, page.rows)
        held = list_lane_holds(conn)
        last_words = delivery_leases.list_last_answer_texts(
            conn, [row["id"] for row in page.rows if row["problem"]]
        )
    for row in page.rows:
        partner = describe_destination(destinations, row)
        row |= {"partner": partner.name, "address": partner.address}
        row["waits_for"] = describe_delivery_waiting(row, now)
        row["theirs"] = last_words.get(row["id"])
        if not arguments.json:
            row["last_sentence"] = _join_sentences(row["last_sentence"], row["theirs"])
    print_page(page, as_json=arguments.json, columns=_DELIVERY_COLUMNS)
    for lane_hold in held:
        write_error(lane_hold)


def _join_sentences(ours: str | None, theirs: str | None) -> str:
    """Return our last sentence about a delivery and the partner's words; on a terminal their beginnings."""
    sentences = [ours or "", f"they said: {theirs}" if theirs else ""]
    longest = _MAX_SHOWN_CHARACTERS if sys.stdout.isatty() else None
    return "; ".join(shorten_text(sentence, longest) for sentence in sentences if sentence)


@home_verb("queue show")
@click.argument("delivery", type=ROW_NUMBER, help="the number of the delivery")
def show_delivery(arguments: Arguments) -> None:
    """Print one delivery with its attempts and transitions; exit with 1 when there is no such delivery."""
    with read_database(arguments) as conn:
        row = require_row(
            deliveries.find_by_id(conn, arguments.delivery), f"there is no delivery {arguments.delivery}"
        )
        steps = [read_columns(step) for step in transitions.list_transitions(conn, DELIVERY, row.id)]
        report = read_delivery_report(conn, row) | {"transitions": steps}
        add_delivery_waiting(conn, [report], read_clock())
    if arguments.json:
        print_json(report)
        return
    facts = ("lane", "dedupe_key", "attempt", "due_at", "leased_by", "lease_until", "wire_id", "case_id")
    for line in list_delivery_lines(report, with_attempts=True):
        print_line(line)
    print(format_named_values({name: report[name] for name in facts}))
    for line in list_transition_lines(steps):
        print_line(f"  {line}")


def change_named_deliveries(
    arguments: Arguments, action: str, past_verb: str, reason: str | None = None
) -> None:
    """Apply an act of an operator to each named delivery, all of them or none; print a sentence about it.

    `past_verb` begins the sentence, such as "Held".
    """
    from gateway.operations import change_deliveries

    numbers = tuple(dict.fromkeys(arguments.delivery))
    with change_database(arguments, reason) as change:
        after = change_deliveries(change, action, numbers)
    lanes = {row["lane"] for row in after.values()}
    lane_text = f"lane {lanes.pop()}" if len(lanes) == 1 else "several lanes"
    counted = format_count(len(numbers), "delivery", "deliveries")
    sentence = f"{past_verb} {counted} of {lane_text}: {', '.join(map(str, numbers))}."
    print_change(change, sentence, as_json=arguments.json, deliveries=numbers)


@changing_verb("queue requeue")
@click.argument(
    "delivery", type=ROW_NUMBER, nargs=-1, required=True, help="the number of the delivery; repeatable"
)
def requeue_deliveries(arguments: Arguments) -> None:
    """Put failed deliveries back in the queue, with all their attempts."""
    change_named_deliveries(arguments, "requeue", "Queued again")


@changing_verb("queue cancel")
@click.argument(
    "delivery", type=ROW_NUMBER, nargs=-1, required=True, help="the number of the delivery; repeatable"
)
def cancel_deliveries(arguments: Arguments) -> None:
    """Cancel deliveries that wait, are held or have failed."""
    change_named_deliveries(arguments, "cancel", "Cancelled")


_MAX_NAMED = 20


def lane_options() -> Decorator:
    """Return the numbers of deliveries, and in their place ``--lane``, ``--agency`` and ``--party``."""
    delivery_help = "the number of the delivery; repeatable"
    return join_options(
        click.argument("delivery", type=ROW_NUMBER, nargs=-1, help=delivery_help),
        click.option("--lane", type=SEARCH_TEXT, help="the whole lane of this name"),
        click.option("--agency", type=SEARCH_TEXT, help="the whole lane of this agency"),
        click.option(
            "--party",
            type=SEARCH_TEXT,
            help="every lane to this party: its messages, and its calls as an agency",
        ),
    )


def require_deliveries_or_lanes(arguments: Arguments) -> bool:
    """Return whether lanes are named, not deliveries; report misuse for both, and for neither."""
    names_lanes = any((arguments.lane, arguments.agency, arguments.party))
    if names_lanes == bool(arguments.delivery):
        raise click.UsageError("name either deliveries by their numbers, or --lane, --agency or --party")
    return names_lanes


def select_lanes(conn: Connection, settings: Settings, arguments: Arguments) -> tuple[str, ...]:
    """Return the lanes that the options name, also those without deliveries yet; report unknown names."""
    lane_names = dict.fromkeys(_list_named_lanes(conn, settings, arguments))
    return tuple(sorted(lane_names))


def _list_named_lanes(conn: Connection, settings: Settings, arguments: Arguments) -> Iterator[str]:
    """Yield the lanes of the lane, agency and party that the arguments name; report an unknown name."""
    lane_names = {row.name for row in lanes.summarize_lanes(conn)}
    agencies = {*settings.agency, CUSTOMS}
    if arguments.lane:
        _require_existing_name("lane", arguments.lane, lane_names | agencies)
        yield arguments.lane
    if arguments.agency:
        # An agency that has left the settings may still have deliveries.
        _require_existing_name(
            "agency", arguments.agency, agencies | {name for name in lane_names if ":" not in name}
        )
        yield arguments.agency
    if arguments.party:
        _require_existing_name("party", arguments.party, {row.id for row in parties.list_parties(conn)})
        yield f"msh:{arguments.party}"
        yield from list_party_destinations(settings, arguments.party)


def _require_existing_name(kind: str, name: str, existing_names: Iterable[str]) -> None:
    """Report misuse unless the name is one of those that are known."""
    names = sorted(existing_names)
    if name not in names:
        ellipsis = ", …" if len(names) > _MAX_NAMED else ""
        sentence = f"there is no {kind} {name[:80]}; there are {', '.join(names[:_MAX_NAMED])}{ellipsis}"
        raise click.BadParameter(sentence, param_hint=f"'--{kind}'")


_LANE_COLUMNS = (
    *("name", "queued", "active", "awaiting_receipt", "held", "failed"),
    *("failing_since", "last_problem", "held_at", "held_by", "hold_reason"),
)


@changing_verb("queue hold")
@lane_options()
@click.option("--reason", help="why, for everybody who looks; a lane is not held without")
def hold_deliveries(arguments: Arguments) -> None:
    """Hold queued deliveries, or whole lanes with their later deliveries; print the backlog of a lane."""
    from gateway.operations import hold_lanes

    reason = read_reason(arguments)
    if not require_deliveries_or_lanes(arguments):
        change_named_deliveries(arguments, "hold", "Held", reason)
        return
    if reason is None:
        raise click.UsageError(
            "a lane must be held with a --reason, such as 'planned maintenance until 18:00'"
        )
    with change_database(arguments, reason) as change:
        backlogs = hold_lanes(change, select_lanes(change.conn, change.settings, arguments))
    sentences = [
        f"Held lane {name}: {reason}. {_describe_backlog(backlog)}" for name, backlog in backlogs.items()
    ]
    _print_lane_change(change, sentences, backlogs, as_json=arguments.json)


@changing_verb("queue release")
@lane_options()
def release_deliveries(arguments: Arguments) -> None:
    """Release held deliveries, or held lanes; print the backlog of a lane."""
    from gateway.operations import release_lanes

    if not require_deliveries_or_lanes(arguments):
        change_named_deliveries(arguments, "release", "Released")
        return
    with change_database(arguments) as change:
        released = release_lanes(change, select_lanes(change.conn, change.settings, arguments))
    sentences = []
    for name, (held, backlog) in released.items():
        since = f"held by {held.held_by} since {format_moment(held.held_at)}: {held.hold_reason}"
        sentences.append(f"Released lane {name}, {since}. {_describe_backlog(backlog, is_past=True)}")
    backlogs = {name: backlog for name, (_, backlog) in released.items()}
    _print_lane_change(change, sentences, backlogs, as_json=arguments.json)


@changing_verb("queue try")
@lane_options()
def try_deliveries(arguments: Arguments) -> None:
    """Try waiting deliveries now, or those of whole lanes."""
    from gateway.operations import try_lanes

    if not require_deliveries_or_lanes(arguments):
        change_named_deliveries(arguments, "try", "Due now:")
        return
    with change_database(arguments) as change:
        tried = try_lanes(change, select_lanes(change.conn, change.settings, arguments))
    sentences = [_describe_tried_lane(name, numbers) for name, numbers in tried.items()]
    print_change(change, *sentences, as_json=arguments.json, tried=tried)


def _describe_tried_lane(name: str, numbers: Sequence[int]) -> str:
    if not numbers:
        return f"In lane {name} nothing waits for a later attempt."
    counted = format_count(len(numbers), "delivery", "deliveries")
    return f"Due now: {counted} of lane {name}: {', '.join(map(str, numbers))}."


def _describe_backlog(backlog: LaneBacklog, *, is_past: bool = False) -> str:
    """Return a sentence on the deliveries that wait in a lane; with `is_past`, in the past tense."""
    waiting = format_count(backlog.waiting, "delivery", "deliveries")
    verb_words = "waited" if is_past else "waits" if backlog.waiting == 1 else "wait"
    since = f", the oldest since {format_moment(backlog.oldest)}" if backlog.oldest else ""
    under_way = f"; {backlog.active} under way will end" if backlog.active else ""
    later = "" if is_past else "; what comes later waits too"
    return f"{waiting} {verb_words}{since}{under_way}{later}."


def _print_lane_change(
    change: DatabaseChange, sentences: Sequence[str], backlogs: dict[str, LaneBacklog], *, as_json: bool
) -> None:
    """Print a change of lanes; with `as_json`, also the backlog of each lane."""
    rows = [
        {
            "lane": name,
            "waiting": backlog.waiting,
            "oldest": _format_json_time(backlog.oldest),
            "active": backlog.active,
        }
        for name, backlog in backlogs.items()
    ]
    print_change(change, *sentences, as_json=as_json, lanes=rows)


def _format_json_time(moment: datetime | None) -> str | None:
    return None if moment is None else format_moment(moment)


@home_verb("queue lanes")
def list_lanes(arguments: Arguments) -> None:
    """Print the lanes with the number of deliveries in each state, why attempts fail, and who holds them."""
    with read_database(arguments) as conn:
        lane_rows = lanes.summarize_lanes(conn)
        faults = list_lane_faults(conn, lane_rows)
    rows = [read_columns(row) | _describe_fault(faults.get(row.name)) for row in lane_rows]
    print_table(rows, as_json=arguments.json, columns=_LANE_COLUMNS)


def _describe_fault(fault: LaneFault | None) -> dict[str, Any]:
    """Return the columns that say why the attempts of a lane fail, and since when; None if they do not."""
    if fault is None:
        return dict.fromkeys(("failing_since", "partner_failing_since", "last_failed_at", "last_problem"))
    return {
        "failing_since": fault.since,
        "partner_failing_since": fault.partner_since,
        "last_problem": fault.problem,
    }


@changing_verb("delivery compose")
@click.argument("delivery", type=ROW_NUMBER, nargs=-1, help="the number of the delivery; repeatable")
@list_options((), "agency", text=False)
@click.option(
    "--error", type=SEARCH_TEXT, metavar="ID", help="only those whose last problem is this one, as GW602"
)
@click.option(
    "--current-mappings", is_flag=True, help="also write the documents again, by the mappings in force"
)
@click.option("--reason", help="why, for the audit and the evidence")
def compose_refused_calls(arguments: Arguments) -> int:
    """Compose refused calls anew and queue them again; return 1 where one is left as it is."""
    from gateway.operations import change_composed_calls

    reason = read_reason(arguments)
    composed = _compose_chosen_calls(arguments)
    if not composed.calls and len(composed.problems_by_delivery) == 1:
        raise next(iter(composed.problems_by_delivery.values()))
    refusals = {str(number): str(problem) for number, problem in composed.problems_by_delivery.items()}
    if composed.calls:
        numbers = [call.delivery_id for call in composed.calls]
        with change_database(arguments, reason) as change:
            after = change_composed_calls(change, composed.calls)
        counted = format_count(len(numbers), "delivery", "deliveries")
        listed = ", ".join(f"{number} {after[number]['state']}" for number in numbers)
        sentence = f"Composed the calls of {counted} anew: {listed}."
        print_change(change, sentence, as_json=arguments.json, deliveries=numbers, left=refusals)
    for number, problem in composed.problems_by_delivery.items():
        print_problem(f"delivery {number} is left as it is: {problem}")
    return 1 if composed.problems_by_delivery or not composed.calls else 0


def _compose_chosen_calls(arguments: Arguments) -> ComposedCalls:
    """Return the calls of the deliveries that are named, or of those that the options choose."""
    from gateway.hub import CurrentMappings, get_current_time
    from gateway.operations import compose_calls, find_refused_calls

    has_filter_options = any((arguments.agency, arguments.since, arguments.older, arguments.error))
    if bool(arguments.delivery) == has_filter_options:
        raise click.UsageError("name deliveries, or choose them by --agency, --error, --since or --older")
    problem = None if arguments.error is None else str(arguments.error).upper()
    if problem is not None and problem not in PROBLEMS:
        raise GatewayError(MISUSE, f"there is no problem {problem[:40]}; `gateway error` lists all")
    with read_database(arguments) as conn:
        settings = read_verb_settings(arguments)
        numbers = arguments.delivery
        if has_filter_options:
            filters = read_list_filter(arguments, read_clock(), after=require_row_number(arguments))
            page = find_refused_calls(conn, filters, problem)
            check_partner_names(conn, settings, arguments, page.rows)
            numbers = tuple(int(row["id"]) for row in page.rows)
            if page.remaining:
                write_error(f"… {page.remaining} more: --after {numbers[-1]}")
            if not numbers:
                write_error("no refused call is among these")
        mappings = CurrentMappings(conn, get_current_time()) if arguments.current_mappings else None
        return compose_calls(conn, settings, numbers, mappings)


_LIMIT_WORDS = "at most so many cases and messages"
_COMPACT_WORDS = "give the space back to the file system afterwards; writers wait meanwhile"


@home_verb("retention show")
def show_retention(arguments: Arguments) -> None:
    """Print which octets `gateway retention purge` would remove now: how many, and since when."""
    from gateway.operations import read_retention_report

    settings = read_verb_settings(arguments)
    with read_database(arguments) as conn:
        report = read_retention_report(conn, settings)
    if arguments.json:
        print_json(_describe_report(report))
        return
    for line in _list_retention_lines(report, settings):
        print(line)


def _describe_report(report: RetentionReport) -> dict[str, Any]:
    description = report.to_json()
    del description["audit"]
    return description


def _list_retention_lines(report: RetentionReport, settings: Settings) -> list[str]:
    """Return the lines of a retention report: the content that may be removed, and the retention settings."""
    if report.before is None and report.drafts_before is None:
        return ["nothing: neither `retention.octets` nor `retention.drafts` is set"]
    lines = []
    if report.before is not None:
        cases, letters = format_count(report.cases, "case"), format_count(report.letters, "message")
        lines.append(f"ended before {format_value(report.before)}: {cases}, and {letters} in mailboxes")
        lines.append(f"messages: {report.messages}")
    if report.drafts_before is not None:
        drafts = format_count(report.drafts, "draft or prepared answer", "drafts and prepared answers")
        lines.append(f"not changed since {format_value(report.drafts_before)}: {drafts}")
    lines.append(f"octets: at most {report.octets}")
    if report.oldest is not None:
        lines.append(f"the oldest: {format_value(report.oldest)}")
    lines.append(f"a repeat of a removed message: {settings.retention.repeats}")
    return lines + _list_unread_lines(report)


def _list_unread_lines(report: RetentionReport) -> list[str]:
    """Return a line for each agreement that this version does not read."""
    return [
        f"agreement {agreement} is not read by this version (GW906): the octets of its messages stay"
        for agreement in report.unread
    ]


@changing_verb("retention purge")
@click.option("--limit", type=click.IntRange(1, 10**9), metavar="N", help=_LIMIT_WORDS)
@click.option("--compact", is_flag=True, help=_COMPACT_WORDS)
def purge_old_octets(arguments: Arguments) -> None:
    """Remove the octets that the settings and the agreements no longer keep; rows and evidence stay."""
    from gateway.operations import purge_octets

    settings, act = read_verb_settings(arguments), read_act(arguments)
    with open_engine(settings) as engine:
        report = purge_octets(engine, settings, act, limit=arguments.limit)
        sizes = octet_removal.compact_database(engine) if arguments.compact else None
    octets = format_count(report.octets, "octet")
    sentence = f"Removed {octets} of {format_count(report.messages, 'message')} in "
    sentence += f"{format_count(report.cases, 'case')}, and of {format_count(report.drafts, 'draft')}."
    if sizes is not None:
        sentence += f" The database had {sizes[0]} octets and has {sizes[1]}."
    if arguments.json:
        report_json = report.to_json() | {"verb": act.verb, "by": act.actor, "done": sentence}
        report_json["audit"] = report.audit[-1] if report.audit else None
        print_json(report_json | {"database": sizes})
        return
    for line in _list_unread_lines(report):
        print_line(line)
    print_sentence(sentence)
