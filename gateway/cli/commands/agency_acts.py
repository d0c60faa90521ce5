"""``gateway agency acts``: what officers did with an application, and whether the proofs are right."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import click
from sqlalchemy import Connection, Row

from gateway.accounts import PasskeyError, verify_confirmation
from gateway.cases import encode_batch
from gateway.cli.result_output import print_table
from gateway.cli.settings import read_database
from gateway.cli.shared_options import home_options
from gateway.cli.verb_groups import Arguments, verb
from gateway.errors import MISUSE, GatewayError
from gateway.store import agency_requests, officer_acts, payloads

__all__ = ["list_agency_acts"]

_COLUMNS: Final = ("act", "at", "kind", "state", "officer", "confirmed", "approver", "approval", "problem")


@verb
@click.argument("number", help="the number of the application")
@home_options()
def list_agency_acts(arguments: Arguments) -> int:
    """Print the acts about an application; return 1 when the proof of a confirmation is wrong."""
    with read_database(arguments) as conn:
        request = agency_requests.find_by_number(conn, arguments.number)
        if request is None:
            raise GatewayError(MISUSE, f"there is no application {arguments.number[:40]!r}", "NUMBER")
        rows = [_describe_act(conn, act) for act in officer_acts.list_by_request(conn, request.id)]
    print_table(rows, as_json=arguments.json, columns=_COLUMNS)
    return 1 if any("WRONG" in f"{row['confirmed']} {row['approval']}" for row in rows) else 0


def _describe_act(conn: Connection, act: Row[Any]) -> dict[str, Any]:
    """Return an act as a row; the octets of what is decided match their digest, or GW805 is raised."""
    content = payloads.get_payload_octets(conn, act.content)
    approval = act.approver_confirmation
    return {
        "act": act.id,
        "at": act.at,
        "kind": act.kind,
        "state": act.state,
        "officer": act.name,
        "confirmed": _verify_proof(conn, content, act.confirmation),
        "approver": act.approver_name,
        "approval": None if approval is None else _verify_proof(conn, content, approval),
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


def _verify_proof(conn: Connection, content: bytes, said: Mapping[str, Any]) -> str:
    """Return how an act was confirmed, in words; the proof of a passkey is verified."""
    if said["method"] == "certificate":
        return f"certificate {said['certificate'][:16]}"
    if said["method"] != "passkey":
        return str(said["method"])
    document = encode_batch(said["batch"]) if "batch" in said else content
    proof = payloads.get_payload_octets(conn, said["octets"])
    try:
        used = verify_confirmation(document, proof)
    except PasskeyError:
        return "passkey, proof WRONG"
    return "passkey, proof right" if used.credential_id == said["credential"] else "passkey, proof WRONG"
