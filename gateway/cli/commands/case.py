"""``gateway case|message …``: cases of submissions, and the messages received and sent."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import click
from sqlalchemy import Connection

from gateway.cli.home_folder import read_database, read_verb_settings
from gateway.cli.list_options import (
    check_partner_names,
    list_options,
    print_page,
    read_clock,
    read_list_filter,
    require_row_number,
)
from gateway.cli.result_output import (
    WrongRowError,
    format_named_values,
    print_json,
    print_line,
    print_octets,
    print_report,
    print_table,
    require_row,
)
from gateway.cli.shared_options import SEARCH_TEXT, changing_verb, home_verb, read_reason
from gateway.cli.verb_groups import Arguments
from gateway.errors import PARENT_NOT_USABLE, GatewayError
from gateway.operations import (
    add_case_waiting,
    add_message_waiting,
    find_case,
    find_message,
    format_count,
    format_value,
    list_delivery_lines,
    list_signer_admissions,
    list_transition_lines,
    read_message_report,
)
from gateway.state_machines import CASE, MESSAGE
from gateway.store import HttpResponse, list_searches, messages, read_columns, refusal_counts

_CASE_COLUMNS = ("number", "functional_reference", "declarant", "state", "outcome", "opened_at", "waits_for")


@home_verb("case list")
@list_options(CASE.states, "party", "agency", "reference")
def list_cases(arguments: Arguments) -> None:
    """Print the cases that the options name, the newest first, each with the reason why it waits."""
    now = read_clock()
    with read_database(arguments) as conn:
        list_filter = read_list_filter(arguments, now, after=_find_case_id(conn, arguments.after))
        page = list_searches.search_cases(conn, list_filter)
        check_partner_names(conn, read_verb_settings(arguments), arguments, page.rows)
        add_case_waiting(conn, page.rows, now)
    print_page(page, as_json=arguments.json, columns=_CASE_COLUMNS)


def _find_case_id(conn: Connection, number: str | None) -> int | None:
    """Return the row id of the case that ``--after`` names; report misuse when there is none."""
    if number is None:
        return None
    try:
        case = find_case(conn, number)
    except GatewayError as mistyped:
        raise click.BadParameter(mistyped.detail, param_hint="'--after'") from None
    if case is None:
        raise click.BadParameter(f"there is no case {number[:40]}", param_hint="'--after'")
    return int(case.id)


@home_verb("case show")
@click.argument("number", help="the case number")
def show_case(arguments: Arguments) -> None:
    """Print one case with all related data; exit with 1 when there is no such case."""
    # `case list` is in this module too, and does not need these imports.
    from gateway.hub import ActiveTimetable
    from gateway.operations import (
        add_delivery_waiting,
        read_case_deadlines,
        read_case_report,
        read_custody_times,
    )

    calendars = read_verb_settings(arguments).calendars
    with read_database(arguments) as conn:
        case = require_row(find_case(conn, arguments.number), f"there is no case {arguments.number}")
        report = read_case_report(conn, case)
        report["deadlines"] = read_case_deadlines(conn, case.id)
        timetable = ActiveTimetable(test_editions=calendars.test_edition).read_timetable(conn)
        report["custody"] = read_custody_times(conn, case, timetable, read_clock())
        add_case_waiting(conn, [report], read_clock())
        add_delivery_waiting(conn, report["deliveries"], read_clock())
    print_report(report, as_json=arguments.json, as_text=_print_case_report)


@changing_verb("case unask")
@click.argument("application", help="the number of the application")
@click.option("--reason", required=True, help="why, for everybody who looks")
def stop_asking(arguments: Arguments) -> None:
    """Ask an agency no longer whether it cancels an application; exit with 1 when there is no such one.

    The application stands, as if its agency had refused. The agency may still cancel it.
    """
    from gateway.cli.audited_changes import change_database, print_change
    from gateway.operations import end_cancellation_question

    reason = read_reason(arguments)
    with change_database(arguments, reason) as change:
        row = require_row(
            end_cancellation_question(change, arguments.application),
            f"there is no application {arguments.application}",
        )
    stands = "stands" if row.state != "CANCELLED" else "is CANCELLED: its agency never had it"
    sentence = f"{row.agency} is asked no longer: application {row.number} {stands}."
    print_change(change, sentence, as_json=arguments.json, application=row.number, state=row.state)


def _print_case_report(report: dict[str, Any]) -> None:
    print_line(f"case {report['number']}  {report['state']}  {report['outcome'] or 'undecided'}")
    opened = format_value(report["opened_at"])
    print_line(
        f"  reference {report['functional_reference']}  declarant {report['declarant']}  opened {opened}"
    )
    for line in _list_state_lines(report):
        print_line(f"  {line}")
    for kind, key in (("", "problems"), ("warning ", "warnings")):
        for problem in (report["detail"] or {}).get(key, ()):
            print_line(f"  {kind}{problem['id']} {problem['text']} ({problem['pointer']})")
    held = (report["detail"] or {}).get("held", {})
    for missing in held.get("missing", ()):
        kind = "waits for its parent:" if missing["id"] == PARENT_NOT_USABLE.id else "missing"
        print_line(f"  {kind} {missing['text']} ({missing['pointer']}); held until {held['until']}")
    for problem in held.get("problems", ()):
        print_line(f"  cannot go on: {problem['id']} {problem['text']} ({problem['pointer']})")
    for line in list_signer_admissions(report["evidence"]):
        print_line(f"  {line}")
    for request in report["requests"]:
        print_line(f"  {request['number']}  {request['agency']} {request['document']}  {request['state']}")
    for line in (*_list_custody_lines(report), *_list_fee_lines(report["fees"])):
        print_line(f"  {line}")
    for line in (*_list_decision_lines(report), *_list_customs_lines(report["customs"])):
        print_line(f"  {line}")
    _print_used_requirements(report)
    for delivery in report["deliveries"]:
        for line in list_delivery_lines(delivery, with_attempts=bool(delivery["problem"])):
            print_line(f"  {line}")


def _list_decision_lines(report: dict[str, Any]) -> Iterator[str]:
    """Yield each decision with why it does not count, and those of the parent that count for a child."""
    for decision in report["decisions"]:
        yield f"{_describe_decision(decision)}{_describe_no_effect(decision)}"
    for decision in report["inherited"]:
        yield f"{_describe_decision(decision)}  (by {decision['agency']} for case {decision['parent']})"
    for decision in report["inherited_cancellations"]:
        items = ", ".join(map(str, decision["items"]))
        yield f"item {items}: not approved  (GW410 application {decision['application']} is cancelled)"


def _describe_no_effect(decision: dict[str, Any]) -> str:
    """Return why a decision does not count, as the end of its line; empty for one that counts."""
    notice = decision["superseded_by_notice"]
    if notice is not None:
        return (
            f"  (never counted: notice {notice} counts)"
            if decision["never_counted"]
            else (f"  (superseded by notice {notice})")
        )
    return f"  (does not count: {decision['no_effect']})" if decision["no_effect"] else ""


def _describe_decision(decision: dict[str, Any]) -> str:
    return (
        f"item {decision['item']} law {decision['law']}: {decision['decision']} {decision['number'] or ''}"
    ).rstrip()


def _list_state_lines(report: dict[str, Any]) -> Iterator[str]:
    """Yield lines on the mappings that decide a case, on its wait, and on its message properties."""
    mappings = report["mappings"]
    if mappings["bundle"]:
        yield f"mappings {mappings['bundle'][:16]}{'' if mappings['stored'] else ' (not stored)'}"
    if report["waits_for"]:
        yield f"waits for {report['waits_for']}"
    for message_property in report["properties"]:
        yield f"property {message_property['name']}  {message_property['value']}"


def _print_used_requirements(report: dict[str, Any]) -> None:
    """Print lines on the goods items of a case.

    They show the certificates that an item uses or waits for, its results without an application, the
    quantities taken from the parent case or by child cases, the removed items, and the quantities that stay.
    """
    for use in report["requirements"]:
        back = f"  (given back: {use['return_reason']})" if use["returned_at"] else ""
        used = f"{use['quantity']} {use['unit']} of requirement {use['number']} of {use['agency']}"
        print_line(f"  item {use['item']} uses {used}{back}")
    for decision in report["results"]:
        text = f"{decision['decision']} {decision['number']} of {decision['agency']}, without an application"
        print_line(f"  item {decision['item']} law {decision['law']}: {text}")
    for awaited in report["awaited"]:
        print_line(f"  item {awaited['item']} waits for requirement {awaited['number']}")
    for row in report["taken"]:
        print_line(
            f"  item {row['item']}: {row['quantity']} {row['unit']} {row['measure']} of case {row['parent']}"
        )
    for row in report["released"]:
        back = f"  (given back: {row['return_reason']})" if row["returned_at"] else ""
        amount = f"{row['quantity']} {row['unit']} {row['measure']}"
        print_line(f"  item {row['item']}: {amount} left by case {row['child']}{back}")
    for row in report["removed"]:
        refused = ", which was refused," if row["refused"] else ""
        print_line(f"  item {row['item']}{refused} was removed: {row['reason']}")
    for row in report["stays"]:
        print_line(f"  item {row['item']}: {row['quantity']} {row['unit']} {row['measure']} stay")


def _list_customs_lines(customs: dict[str, Any]) -> Iterator[str]:
    if customs["clearance"]:
        yield f"customs: {customs['clearance']}"
    for notice in customs["notices"]:
        yield from (f"  {line}" for line in _list_notice_lines(notice))


def _list_notice_lines(notice: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of one customs notice: the notice, then its reasons and its items, both indented."""
    issued = format_value(notice["issued_at"])
    yield f"{notice['code']} {notice['number']}  {issued}  {notice['text']}".rstrip()
    for reason in notice["reasons"]:
        location = f" ({reason['pointer']})" if reason["pointer"] else ""
        yield f"  {reason['code']} {reason['text']}{location}".rstrip()
    for item in notice["items"]:
        yield f"  item {item['item']}: {item['code']}"


def _format_fee_deadline(fee: dict[str, Any]) -> str:
    """Return the time until which a fee is due, exact if it is known, and the state of that deadline."""
    if not (fee["due_at"] or fee["due_on"]):
        return ""
    state = f" ({fee['deadline']})" if fee["deadline"] else ""
    return f", until {format_value(fee['due_at'] or fee['due_on'])}{state}"


def _list_fee_lines(fees: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Yield each fee with its amount, its deadline and its address; then each payment and refund of it."""
    for fee in fees:
        until = _format_fee_deadline(fee)
        money = f"{fee['amount']} {fee['currency']}" if fee["amount"] else "paid elsewhere"
        payment_address = (
            f", paid at {fee['address']}" if fee["state"] == "ORDERED" and fee["address"] else ""
        )
        yield f"fee {fee['number']}  {fee['agency']}  {fee['state']}  {money}{until}{payment_address}"
        for movement in fee["movements"]:
            why = f" ({movement['reason']})" if movement["reason"] else ""
            amount_text = f"{movement['amount']} {movement['currency']}"
            yield f"  {movement['kind']} {movement['reference']}  {amount_text}{why}"


def _format_tasks(tasks: Sequence[Mapping[str, Any]]) -> str:
    """Return who has to do what, and until when, in one phrase."""
    phrases = []
    for task in tasks:
        until = f" by {format_value(task['due_at'])}" if task["due_at"] else ""
        act = "say whether it cancels" if task["task"] == "cancel" else task["task"].replace("_", " ")
        phrases.append(f"the {task['holder']} to {act}{until}")
    return f"held by {' and '.join(phrases)}" if phrases else "ended"


def _list_custody_lines(report: dict[str, Any]) -> Iterator[str]:
    """Yield the holder of each application with each holder's working hours, then open and late deadlines."""
    for record in report["custody"]:
        times = record["working_seconds"]
        spent = [f"{holder} {seconds / 3600:.1f} h" for holder, seconds in (times or {}).items()]
        hours_text = f" ({', '.join(spent)})" if spent else ""
        if times is None:
            hours_text = " (working time unknown: GW710)"
        yield f"{record['application'] or report['number']}  {_format_tasks(record['tasks'])}{hours_text}"
    for record in report["deadlines"]:
        if record["ended_at"] is None or record["state"] == "LATE":
            due = record["problem"] or f"due {format_value(record['due_at'])}"
            yield f"{record['application']}  {record['kind']}: {record['state']}, {due}"


_MESSAGE_COLUMNS = (
    *("id", "direction", "from_party", "to_party", "action", "state", "received_at"),
    *("case_number", "waits_for", "message_id"),
)

#: The fields of its row that the text of one message shows.
_SHOWN_FIELDS = (
    *("message_id", "ref_to_message_id", "conversation_id", "from_party", "to_party", "action"),
    *("received_at", "case_id", "problem", "last_sentence"),
)


@home_verb("message list")
@list_options(MESSAGE.states, "party", "agency", "reference")
@click.option("--mailbox", is_flag=True, help="only those that rest in the mailbox: nobody processes them")
@click.option("--direction", type=click.Choice(("in", "out")), help="only messages received, or sent")
def list_messages(arguments: Arguments) -> None:
    """Print the messages that the options name, the newest first, each with the reason why it waits."""
    now = read_clock()
    with read_database(arguments) as conn:
        column_values = [("direction", arguments.direction)] if arguments.direction else []
        after = require_row_number(arguments)
        list_filter = read_list_filter(arguments, now, after=after, equal=column_values)
        page = list_searches.search_messages(conn, list_filter, resting=arguments.mailbox)
        check_partner_names(conn, read_verb_settings(arguments), arguments, page.rows)
        add_message_waiting(conn, page.rows, now)
    print_page(page, as_json=arguments.json, columns=_MESSAGE_COLUMNS)


@home_verb("message show")
@click.argument("id", help="the row id or the MessageId")
def show_message(arguments: Arguments) -> None:
    """Print one message with payloads, transitions, deliveries and evidence; exit with 1 without it."""
    with read_database(arguments) as conn:
        row = require_row(find_message(conn, arguments.id), f"there is no message {arguments.id}")
        report = read_message_report(conn, row)
    print_report(report, as_json=arguments.json, as_text=_print_message_report)


def _print_message_report(report: dict[str, Any]) -> None:
    """Print a message as text: its fields, payloads, deliveries, transitions and evidence."""
    fields = {name: report[name] for name in _SHOWN_FIELDS}
    print_line(f"message {report['id']}  {report['direction']}  {report['state']}")
    print(format_named_values(fields))
    for part in report["payloads"]:
        print_line(f"  payload {part['cid']}  {part['media_type']}  {format_count(part['size'], 'octet')}")
        for message_property in part["properties"]:
            print_line(f"    property {message_property['name']}  {message_property['value']}")
    for message_property in report["properties"]:
        print_line(f"  property {message_property['name']}  {message_property['value']}")
    if report["fragments"] is not None:
        print_line(f"  {_describe_fragments(report['fragments'])}")
    for delivery in report["deliveries"]:
        for line in list_delivery_lines(delivery, with_attempts=True):
            print_line(f"  {line}")
    for line in list_transition_lines(report["transitions"]):
        print_line(f"  {line}")
    for proof in report["evidence"]:
        data_text = proof["problem"] or json.dumps(proof["data"], ensure_ascii=False)
        print_line(f"  evidence {proof['kind']}  {format_value(proof['at'])}  {data_text}")


def _describe_fragments(group: dict[str, Any]) -> str:
    """Return a line on the fragment group of a fragment, or of a whole message."""
    total = "an unknown number" if group["count"] is None else group["count"]
    is_sent = group["direction"] == "out"
    whole, progress = ("sent in", "have receipts") if is_sent else ("joined from", "came")
    piece = whole if group["number"] is None else f"fragment {group['number']} of"
    line = f"{piece} group {group['group']}  {group['state']}  {group['came']} of {total} {progress}"
    problem = " ".join(part for part in (group["problem"], group["code"]) if part)
    why = f"  {problem}: {group['detail']}" if problem else ""
    joined = f"  message {group['message']}" if group["message"] and group["number"] else ""
    return line + joined + why


@home_verb("message dump")
@click.argument("id", help="the row id or the MessageId")
@click.option("--answer", is_flag=True, help="the answer to the message instead")
def dump_message(arguments: Arguments) -> None:
    """Write the octets of a message as stored; exit with 1 when there is no such message."""
    with read_database(arguments) as conn:
        row = require_row(find_message(conn, arguments.id), f"there is no message {arguments.id}")
        headers, body = messages.load_parcel(conn, row.id)
        status = None
        if arguments.answer:
            answer = messages.find_response(conn, row.id) or HttpResponse(204, {}, b"")
            status, headers, body = answer.status, dict(answer.headers), answer.body
    if arguments.json:
        octets = base64.b64encode(body).decode()
        print_json({"status": status, "headers": dict(headers), "body_base64": octets})
        return
    start = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n" if status else ""
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    print_octets(f"{start}{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)


@home_verb("message refusals")
@click.option("--sender", help="only this party; an empty word means senders that are no party")
@click.option("--problem", type=SEARCH_TEXT, help="only this problem id")
def list_refused(arguments: Arguments) -> None:
    """Print how many messages and calls were refused, by sender and problem, the latest first."""
    problem = arguments.problem.upper() if arguments.problem else None
    with read_database(arguments) as conn:
        refusals = refusal_counts.list_refusals(conn, sender=arguments.sender, problem=problem)
        rows = [read_columns(row) for row in refusals]
    columns = ("sender", "problem", "number", "first_at", "last_at", "signed_at", "last_sentence")
    print_table(rows, as_json=arguments.json, columns=columns)


@changing_verb("message admit")
@click.argument("message", nargs=-1, required=True, help="the row id or the MessageId; repeatable")
@click.option("--reason", required=True, help="why, for everybody who looks")
def admit_messages(arguments: Arguments) -> None:
    """Queue the admission of messages, all of them or none; exit with 1 where there is no such message."""
    from gateway.cli.audited_changes import change_database, print_change
    from gateway.operations import admit_messages

    with change_database(arguments, read_reason(arguments)) as change:
        rows = {name: find_message(change.conn, name) for name in arguments.message}
        missing = next((name for name, row in rows.items() if row is None), None)
        if missing is not None:
            raise WrongRowError(f"there is no message {missing}")
        queued = admit_messages(change, [row.id for row in rows.values() if row is not None])
    counted = format_count(len(queued), "message")
    sentence = f"Queued the admission of {counted}: {', '.join(map(str, queued))}."
    print_change(change, sentence, as_json=arguments.json, deliveries=tuple(queued.values()))
