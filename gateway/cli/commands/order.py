"""``gateway order list|show|release|reset``: messages that wait for an earlier one of their conversation."""

from __future__ import annotations

from typing import Any

import click

from gateway.cli.audited_changes import change_database, print_change
from gateway.cli.list_options import page_options, require_row_number
from gateway.cli.result_output import count_things, format_facts, print_json, print_table, report_wrong_row
from gateway.cli.settings import read_database
from gateway.cli.shared_options import ROW_NUMBER, change_options, home_options, read_reason
from gateway.cli.verb_groups import Arguments, verb
from gateway.operations import describe_sequence, describe_sequence_places
from gateway.store import message_sequences

__all__ = ["list_sequences", "release_sequence", "reset_sequence", "show_sequence"]

_COLUMNS = (
    *("id", "direction", "party", "conversation_id", "next_number", "held", "first_held", "gives_up_at"),
    "agreement_id",
)
_PLACES = ("number", "message", "message_id", "action", "state", "received_at", "gives_up_at")


@verb
@click.option("--party", help="only those of this party")
@click.option("--all", "everything", is_flag=True, help="also conversations in which nothing waits")
@page_options()
@home_options()
def list_sequences(arguments: Arguments) -> int:
    """Print the conversations in which messages wait for an earlier one."""
    with read_database(arguments) as conn:
        found = message_sequences.list_sequences(
            conn,
            limit=arguments.limit,
            after=require_row_number(arguments) or 0,
            party=arguments.party,
            everything=arguments.everything,
        )
    print_table([describe_sequence(row) for row in found], as_json=arguments.json, columns=_COLUMNS)
    return 0


@verb
@click.argument("sequence", type=ROW_NUMBER, help="the number of the conversation's order")
@home_options()
def show_sequence(arguments: Arguments) -> int:
    """Print one order: the number that is next, and the messages that wait for it; return 1 without it."""
    with read_database(arguments) as conn:
        row = message_sequences.find_by_id(conn, arguments.sequence)
        if row is None:
            return report_wrong_row(f"there is no order {arguments.sequence}")
        told: dict[str, Any] = describe_sequence(row)
        told |= {"waits_because": _describe_waiting(told), "messages": describe_sequence_places(conn, row)}
    if arguments.json:
        print_json(told)
        return 0
    print(format_facts({name: value for name, value in told.items() if name != "messages"}))
    print_table(told["messages"], as_json=False, columns=_PLACES)
    return 0


def _describe_waiting(told: dict[str, Any]) -> str:
    if not told["held"]:
        return ""
    return f"the message with the number {told['next_number']} has not arrived"


@verb
@click.argument("sequence", type=ROW_NUMBER, help="the number of the conversation's order")
@click.option("--reason", help="why")
@change_options()
def release_sequence(arguments: Arguments) -> int:
    """Release what waits, although a message before it is missing; return 1 when there is no such order."""
    return _change_sequence(arguments, "release")


@verb
@click.argument("sequence", type=ROW_NUMBER, help="the number of the conversation's order")
@click.option("--reason", help="why")
@change_options()
def reset_sequence(arguments: Arguments) -> int:
    """Give up what waits; of our own messages, let the next one begin with Reset. Return 1 without it."""
    return _change_sequence(arguments, "reset")


def _change_sequence(arguments: Arguments, act: str) -> int:
    from gateway.operations import change_sequence

    number, reason = arguments.sequence, read_reason(arguments)
    with change_database(arguments, reason) as change:
        if message_sequences.find_by_id(change.conn, number) is None:
            change.leave_unchanged()
            return report_wrong_row(f"there is no order {number}")
        done = change_sequence(change, act, number)
    counted = count_things(len(done.moved), "message", "messages")
    word = "Released" if act == "release" else "Gave up"
    sentence = f"{word} {counted} of order {number}; the next number is {done.number_after}."
    print_change(change, sentence, as_json=arguments.json, messages=list(done.moved))
    return 0
