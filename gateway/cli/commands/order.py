"""``gateway order list|show|release|reset``: messages that wait for an earlier one of their conversation."""

from __future__ import annotations

from typing import Any

import click

from gateway.cli.audited_changes import change_database, print_change
from gateway.cli.home_folder import read_database
from gateway.cli.list_options import page_options, require_row_number
from gateway.cli.result_output import format_named_values, print_json, print_table, require_row
from gateway.cli.shared_options import ROW_NUMBER, SEARCH_TEXT, changing_verb, home_verb, read_reason
from gateway.cli.verb_groups import Arguments
from gateway.operations import describe_sequence, describe_sequence_messages, format_count
from gateway.store import message_sequences

_COLUMNS = (
    *("id", "direction", "party", "conversation_id", "next_number", "held", "first_held", "gives_up_at"),
    "agreement_id",
)
_MESSAGE_COLUMNS = ("number", "message", "message_id", "action", "state", "received_at", "gives_up_at")


@home_verb("order list")
@click.option("--party", type=SEARCH_TEXT, help="only those of this party")
@click.option("--all", "everything", is_flag=True, help="also conversations in which nothing waits")
@page_options()
def list_sequences(arguments: Arguments) -> None:
    """Print the conversations in which messages wait for an earlier one."""
    with read_database(arguments) as conn:
        sequences = message_sequences.list_sequences(
            conn,
            limit=arguments.limit,
            after=require_row_number(arguments) or 0,
            party=arguments.party,
            includes_empty=arguments.everything,
        )
    print_table([describe_sequence(row) for row in sequences], as_json=arguments.json, columns=_COLUMNS)


@home_verb("order show")
@click.argument("sequence", type=ROW_NUMBER, help="the number of the conversation's order")
def show_sequence(arguments: Arguments) -> None:
    """Print one order: the number that is next, and the messages that wait for it; exit with 1 without it."""
    with read_database(arguments) as conn:
        row = require_row(
            message_sequences.find_by_id(conn, arguments.sequence), f"there is no order {arguments.sequence}"
        )
        report: dict[str, Any] = describe_sequence(row)
        report |= {
            "waits_because": _describe_waiting(report),
            "messages": describe_sequence_messages(conn, row),
        }
    if arguments.json:
        print_json(report)
        return
    print(format_named_values({name: value for name, value in report.items() if name != "messages"}))
    print_table(report["messages"], as_json=False, columns=_MESSAGE_COLUMNS)


def _describe_waiting(report: dict[str, Any]) -> str:
    if not report["held"]:
        return ""
    return f"the message with the number {report['next_number']} has not arrived"


@changing_verb("order release")
@click.argument("sequence", type=ROW_NUMBER, help="the number of the conversation's order")
@click.option("--reason", help="why")
def release_sequence(arguments: Arguments) -> None:
    """Release what waits, although a message before it is missing; exit with 1 without such an order."""
    _change_sequence(arguments, "release")


@changing_verb("order reset")
@click.argument("sequence", type=ROW_NUMBER, help="the number of the conversation's order")
@click.option("--reason", help="why")
def reset_sequence(arguments: Arguments) -> None:
    """Give up what waits; of our own messages, let the next one begin with Reset. Exit with 1 without it."""
    _change_sequence(arguments, "reset")


def _change_sequence(arguments: Arguments, action: str) -> None:
    """Release or reset the message sequence that the arguments name, and print its next number."""
    from gateway.operations import change_sequence

    number, reason = arguments.sequence, read_reason(arguments)
    with change_database(arguments, reason) as change:
        require_row(message_sequences.find_by_id(change.conn, number), f"there is no order {number}")
        sequence_change = change_sequence(change, action, number)
    counted = format_count(len(sequence_change.moved), "message", "messages")
    word = "Released" if action == "release" else "Gave up"
    sentence = f"{word} {counted} of order {number}; the next number is {sequence_change.number_after}."
    print_change(change, sentence, as_json=arguments.json, messages=list(sequence_change.moved))
