"""``gateway submit``: a reference client for brokers, usable with any hub that supports ebMS 2.0."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from gateway.cli.named_files import read_file, split_named_file
from gateway.cli.result_output import print_json, print_problem
from gateway.cli.shared_options import FILE, json_option, open_tls, tls_options
from gateway.cli.verb_groups import Arguments, verb
from gateway.conformance.partners import (
    BrokerClient,
    Membership,
    ResendPolicy,
    SealedSubmission,
    read_membership,
    seal_submission,
    sign_submission,
)
from gateway.errors import GatewayError

__all__ = ["submit_file"]

_WAIT = 60.0
_PARTNER_WORDS = "the folder with PARTY.key.pem, PARTY.cert.pem, ca.pem, crl.pem, agreement.yaml (default: .)"
_HUB_WORDS = "the hub's certificate, if not hub.cert.pem"
_WAIT_WORDS = "seconds to wait for the result; 0: do not wait"


@verb
@click.argument("file", type=FILE, help="the submission; it is signed if it has no signature")
@click.option(
    "--as", "party", required=True, metavar="PARTY", help="the sending party: its key is PARTY.key.pem"
)
@click.option("--to", required=True, metavar="URL", help="the hub's endpoint, for example http://…/msh/ebms2")
@click.option("--partner", type=FILE, default=Path(), metavar="DIR", help=_PARTNER_WORDS)
@click.option("--agreement", type=FILE, help="the agreement, if not agreement.yaml in that folder")
@click.option("--hub-certificate", type=FILE, multiple=True, help=_HUB_WORDS)
@click.option("--attach", multiple=True, metavar="cid=FILE", help="an attachment; repeatable")
@click.option("--wait", type=float, default=_WAIT, metavar="S", help=_WAIT_WORDS)
@click.option("--retries", type=int, help="attempts after the first one, if not as agreed")
@click.option("--retry-interval", type=float, default=1.0, metavar="S", help="seconds between attempts")
@click.option("--time-out", type=float, default=30.0, metavar="S", help="time limit for an answer in seconds")
@tls_options()
@click.option("--folder", type=FILE, help="store the messages of the hub in this folder")
@json_option()
def submit_file(arguments: Arguments) -> int:
    """Send a signed submission, check its receipt, wait for its result; return 1 when one of them fails."""
    member = read_membership(
        arguments.partner, arguments.party, arguments.agreement, tuple(arguments.hub_certificate)
    )
    named = (split_named_file(text, "--attach") for text in arguments.attach)
    files = {cid.removeprefix("cid:"): read_file(path) for cid, path in named}
    message = seal_submission(sign_submission(read_file(arguments.file), member), files, member, arguments.to)
    with tempfile.TemporaryDirectory(prefix="gateway-submit-") as scratch:
        client = BrokerClient(
            member,
            arguments.folder or Path(scratch),
            _read_agreed_patience(arguments, member, message),
            print_problem,
            open_tls(arguments),
        )
        try:
            told, problem = _exchange_messages(client, message, arguments.wait)
        finally:
            client.close()
    if arguments.json:
        print_json(told)
    else:
        _print_submission_report(told)
    if problem is not None:
        print_problem(problem)
    return 0 if problem is None else 1


def _read_agreed_patience(
    arguments: Arguments, member: Membership, message: SealedSubmission
) -> ResendPolicy:
    agreed = member.get_outgoing_pmode(message.unit.action).reliability.retries
    retries = agreed if arguments.retries is None else arguments.retries
    return ResendPolicy(retries, arguments.retry_interval, arguments.time_out)


def _exchange_messages(
    client: BrokerClient, message: SealedSubmission, wait: float
) -> tuple[dict[str, Any], str | None]:
    """Send, and wait for the result; return the report and the problem, if any."""
    told: dict[str, Any] = {"message_id": message.unit.message_id, "receipt_verified": False, "result": None}
    try:
        if wait > 0:
            client.start_listening()
        client.send_submission(message)
    except GatewayError as problem:
        return told | {"problem": str(problem)}, str(problem)
    told["receipt_verified"] = message.unit.ack_requested is not None
    if wait <= 0:
        return told, None
    row = client.wait_for_result(message, wait)
    if row is None:
        return told, f"no result within {wait:g} s"
    told["result"] = row["said"] | {"message_id": row["message_id"]}
    if not row["said"]["verified"]:
        return told, f"the result is not verified: {row['said']['problem']}"
    refused = row["said"]["outcome"] == "REFUSED"
    return told, "the hub refused the submission" if refused else None


_LINES: tuple[tuple[str, Callable[[dict[str, Any]], str]], ...] = (
    ("message", lambda told: str(told["message_id"])),
    ("receipt", lambda told: "verified" if told["receipt_verified"] else "none"),
)


def _print_submission_report(told: dict[str, Any]) -> None:
    for name, words in _LINES:
        print(f"{name}: {words(told)}")
    result = told["result"]
    if result is None:
        return
    if not result["verified"]:
        print("result: not verified")
        return
    about = f"case {result['case_number']}, reference {result['reference']}"
    print(f"result: {result['outcome']}, {about}, verified")
    for one in result["decisions"]:
        subject = f"item {one['item']} {one['organisation']} law {one['law']}"
        print(f"  {subject}: {one['decision']} {one['number'] or ''}")
        for condition in one["conditions"]:
            print(f"    on condition: {condition}")
    for one in result["problems"]:
        print(f"  {one['id']} {one['text']} {one['pointer'] or ''}")
