"""``gateway message list|show|dump|refusals``: messages received, sent and refused."""

from __future__ import annotations

import base64
import json
import sys
from http import HTTPStatus
from typing import Any

import click

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
    format_value,
    print_json,
    print_table,
    report_wrong_row,
)
from gateway.cli.settings import read_database, read_verb_settings
from gateway.cli.shared_options import home_options
from gateway.cli.verb_groups import Arguments, verb
from gateway.operations import (
    add_message_waiting,
    find_message,
    list_delivery_lines,
    list_transition_lines,
    read_message_report,
)
from gateway.state_machines import MESSAGE
from gateway.store import HttpResponse, list_searches, messages, refusal_counts

__all__ = ["dump_message", "list_messages", "list_refused", "show_message"]

_COLUMNS = (
    *("id", "direction", "from_party", "to_party", "action", "state", "received_at"),
    *("case_number", "waits_for", "message_id"),
)

#: What the text of one message shows of its row.
_FIELDS = (
    *("message_id", "ref_to_message_id", "conversation_id", "from_party", "to_party", "action"),
    *("received_at", "case_id", "problem", "last_sentence"),
)


@verb
@list_options(MESSAGE.states, "party", "agency", "reference")
@click.option("--direction", type=click.Choice(("in", "out")), help="only messages received, or sent")
@home_options()
def list_messages(arguments: Arguments) -> int:
    """Print the messages that the options name, the newest first, each with what it waits for."""
    now = read_clock()
    with read_database(arguments) as conn:
        equal = [("direction", arguments.direction)] if arguments.direction else []
        after = require_row_number(arguments)
        page = list_searches.search_messages(conn, read_list_filter(arguments, now, after=after, equal=equal))
        check_partner_names(conn, read_verb_settings(arguments), arguments, page.rows)
        add_message_waiting(conn, page.rows, now)
    print_page(page, as_json=arguments.json, columns=_COLUMNS)
    return 0


@verb
@click.argument("id", help="the row id or the MessageId")
@home_options()
def show_message(arguments: Arguments) -> int:
    """Print one message with payloads, transitions, deliveries and evidence; return 1 when there is none."""
    with read_database(arguments) as conn:
        row = find_message(conn, arguments.id)
        if row is None:
            return _report_missing_message(arguments.id)
        report = read_message_report(conn, row)
    if arguments.json:
        print_json(report)
    else:
        _print_message_report(report)
    return 0


def _print_message_report(report: dict[str, Any]) -> None:
    """Print a message as text: its fields, payloads, deliveries, transitions and evidence."""
    fields = {name: report[name] for name in _FIELDS}
    print(f"message {report['id']}  {report['direction']}  {report['state']}")
    print(format_facts(fields))
    for part in report["payloads"]:
        print(f"  payload {part['cid']}  {part['media_type']}  {count_things(part['size'], 'octet')}")
        for one in part["properties"]:
            print(f"    property {one['name']}  {one['value']}")
    for one in report["properties"]:
        print(f"  property {one['name']}  {one['value']}")
    if report["fragments"] is not None:
        print(f"  {_describe_fragments(report['fragments'])}")
    for delivery in report["deliveries"]:
        for line in list_delivery_lines(delivery, with_attempts=True):
            print(f"  {line}")
    for line in list_transition_lines(report["transitions"]):
        print(f"  {line}")
    for proof in report["evidence"]:
        told = json.dumps(proof["data"], ensure_ascii=False)
        print(f"  evidence {proof['kind']}  {format_value(proof['at'])}  {told}")


def _describe_fragments(group: dict[str, Any]) -> str:
    """Return what is known of the group of a fragment, or of the whole message, in a line."""
    of = "an unknown number" if group["count"] is None else group["count"]
    sent = group["direction"] == "out"
    whole, done = ("sent in", "have receipts") if sent else ("joined from", "came")
    piece = whole if group["number"] is None else f"fragment {group['number']} of"
    told = f"{piece} group {group['group']}  {group['state']}  {group['came']} of {of} {done}"
    problem = " ".join(one for one in (group["problem"], group["code"]) if one)
    why = f"  {problem}: {group['detail']}" if problem else ""
    joined = f"  message {group['message']}" if group["message"] and group["number"] else ""
    return told + joined + why


@verb
@click.argument("id", help="the row id or the MessageId")
@click.option("--answer", is_flag=True, help="the answer to the message instead")
@home_options()
def dump_message(arguments: Arguments) -> int:
    """Write the octets of a message as stored; return 1 when there is no such message."""
    with read_database(arguments) as conn:
        row = find_message(conn, arguments.id)
        if row is None:
            return _report_missing_message(arguments.id)
        headers, body = messages.load_parcel(conn, row.id)
        status = None
        if arguments.answer:
            answer = messages.find_response(conn, row.id) or HttpResponse(204, {}, b"")
            status, headers, body = answer.status, dict(answer.headers), answer.body
    if arguments.json:
        octets = base64.b64encode(body).decode()
        print_json({"status": status, "headers": dict(headers), "body_base64": octets})
        return 0
    start = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n" if status else ""
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    sys.stdout.buffer.write(f"{start}{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    sys.stdout.buffer.flush()
    return 0


def _report_missing_message(name: str) -> int:
    return report_wrong_row(f"there is no message {name}")


@verb
@click.option("--sender", help="only this party; an empty word means senders that are no party")
@click.option("--problem", help="only this problem id")
@home_options()
def list_refused(arguments: Arguments) -> int:
    """Print how many messages and calls were refused, by sender and problem, the latest first."""
    problem = arguments.problem.upper() if arguments.problem else None
    with read_database(arguments) as conn:
        found = refusal_counts.list_refusals(conn, sender=arguments.sender, problem=problem)
        rows = [dict(row._mapping) for row in found]
    columns = ("sender", "problem", "number", "first_at", "last_at", "last_sentence")
    print_table(rows, as_json=arguments.json, columns=columns)
    return 0
