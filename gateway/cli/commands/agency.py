"""``gateway agency …``: officers who decide at the console, and their acts on an application."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import click
from sqlalchemy import Connection

from gateway.accounts import PasskeyError, verify_confirmation
from gateway.cases import encode_batch
from gateway.cli.audited_changes import change_database, print_change
from gateway.cli.home_folder import read_database
from gateway.cli.result_output import print_table
from gateway.cli.shared_options import changing_verb, home_verb, read_reason
from gateway.cli.verb_groups import Arguments
from gateway.errors import MISUSE, GatewayError
from gateway.operations import format_count
from gateway.store import OfficerActRow, agency_requests, officer_work, payloads


@changing_verb("agency console")
@click.argument("code", help="the code of the agency")
@click.option("--back", is_flag=True, help="give new applications to the agency's own system again")
@click.option("--reason", required=True, help="why, for the audit and for everybody who looks")
def switch_agency_console(arguments: Arguments) -> None:
    """Switch an agency to the console, or back to its own system; print what waits for its officers."""
    from gateway.operations import switch_agency

    reason = read_reason(arguments)
    with change_database(arguments, reason) as change:
        switch = switch_agency(change, arguments.code, is_switched_back=arguments.back)
    resting = f"{format_count(switch.undecided_count, 'undecided application')} in the mailbox of the console"
    if arguments.back:
        sentence = (
            f"Agency {arguments.code} gets new applications in its own system again. It has {resting}, which "
            "its officers decide there."
        )
    else:
        waiting = format_count(switch.backlog.waiting, "delivery", "deliveries")
        sentence = (
            f"The officers of agency {arguments.code} decide at the console: {reason}. {waiting} of its lane "
            f"go to the mailbox; {switch.backlog.active} under way may still reach its own system. "
            f"It has {resting}."
        )
    print_change(
        change,
        sentence,
        as_json=arguments.json,
        waiting=switch.backlog.waiting,
        active=switch.backlog.active,
        undecided=switch.undecided_count,
    )


_COLUMNS: Final = ("act", "at", "kind", "state", "officer", "confirmed", "approver", "approval", "problem")


@home_verb("agency acts")
@click.argument("number", help="the number of the application")
def list_agency_acts(arguments: Arguments) -> int:
    """Print the acts about an application; return 1 when the proof of a confirmation is wrong."""
    with read_database(arguments) as conn:
        request = agency_requests.find_by_number(conn, arguments.number)
        if request is None:
            raise GatewayError(MISUSE, f"there is no application {arguments.number[:40]!r}", "NUMBER")
        rows = [_describe_act(conn, act) for act in officer_work.list_acts(conn, request.id)]
    print_table(rows, as_json=arguments.json, columns=_COLUMNS)
    return 1 if any("WRONG" in f"{row['confirmed']} {row['approval']}" for row in rows) else 0


def _describe_act(conn: Connection, act: OfficerActRow) -> dict[str, Any]:
    """Return an act as a row; raise GW805 if the octets of the act do not match their digest."""
    content = payloads.get_payload_octets(conn, act.content)
    approval = act.approver_confirmation
    return {
        "act": act.id,
        "at": act.at,
        "kind": act.kind,
        "state": act.state,
        "officer": act.name,
        "confirmed": _describe_confirmation(conn, content, act.confirmation),
        "approver": act.approver_name,
        "approval": None if approval is None else _describe_confirmation(conn, content, approval),
        "problem": act.problem,
        "role": act.role,
        "digest": act.content,
        "shown": act.shown_sha256,
        "decided": json.loads(content),
        "notice": act.notice_number,
        "message": act.message_id,
        "call": act.call_sha256,
        "reason": act.reason,
        "ended_at": act.ended_at,
    }


def _describe_confirmation(conn: Connection, content: bytes, confirmation: Mapping[str, Any]) -> str:
    """Return how an act was confirmed, in words; the proof of a passkey is verified."""
    if confirmation["method"] == "certificate":
        return f"certificate {confirmation['certificate'][:16]}"
    if confirmation["method"] != "passkey":
        return str(confirmation["method"])
    document = encode_batch(confirmation["batch"]) if "batch" in confirmation else content
    proof = payloads.get_payload_octets(conn, confirmation["octets"])
    try:
        used = verify_confirmation(document, proof)
    except PasskeyError:
        return "passkey, proof WRONG"
    return (
        "passkey, proof right" if used.credential_id == confirmation["credential"] else "passkey, proof WRONG"
    )
