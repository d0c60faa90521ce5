"""``gateway submit``: a broker's reference client, usable against any hub that speaks ebMS 2.0."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gateway.cli.options import add_tls, tls_of
from gateway.conformance.client import Client, Patience
from gateway.conformance.membership import Membership, read_membership
from gateway.conformance.submission import Submission, prepare, seal
from gateway.errors import SETTINGS_WRONG, GatewayError

__all__ = ["add_parser"]

_WAIT = 60.0


def add_parser(verbs: Any) -> None:
    """Add ``submit``."""
    parser = verbs.add_parser("submit", help="send a submission as a broker does, and wait for its result")
    parser.add_argument("file", type=Path, help="the submission; it is signed unless it is signed already")
    parser.add_argument("--as", dest="party", required=True, metavar="PARTY", help="who sends: PARTY.key.pem")
    parser.add_argument(
        "--to", required=True, metavar="URL", help="the hub's endpoint, as http://…/msh/ebms2"
    )
    parser.add_argument(
        "--partner",
        type=Path,
        default=Path(),
        metavar="DIR",
        help="the folder with PARTY.key.pem, PARTY.cert.pem, ca.pem, crl.pem, agreement.yaml (default: .)",
    )
    parser.add_argument(
        "--agreement", type=Path, help="the agreement, when not agreement.yaml of that folder"
    )
    parser.add_argument(
        "--hub-certificate",
        type=Path,
        action="append",
        default=[],
        help="the hub's certificate, when not hub.cert.pem",
    )
    parser.add_argument(
        "--attach", action="append", default=[], metavar="cid=FILE", help="an attachment; repeatable"
    )
    parser.add_argument(
        "--wait", type=float, default=_WAIT, metavar="S", help="seconds to wait for the result; 0 does not"
    )
    parser.add_argument("--retries", type=int, help="attempts after the first one, when not as agreed")
    parser.add_argument(
        "--retry-interval", type=float, default=1.0, metavar="S", help="seconds between attempts"
    )
    parser.add_argument(
        "--time-out", type=float, default=30.0, metavar="S", help="seconds an answer may take"
    )
    add_tls(parser)
    parser.add_argument("--folder", type=Path, help="keep what the hub sends in this folder")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_submit)


def _submit(arguments: argparse.Namespace) -> int:
    member = read_membership(
        arguments.partner, arguments.party, arguments.agreement, tuple(arguments.hub_certificate)
    )
    files = dict(_attachment(text) for text in arguments.attach)
    message = seal(prepare(_content(arguments.file), member), files, member, arguments.to)
    with tempfile.TemporaryDirectory(prefix="gateway-submit-") as scratch:
        client = Client(
            member,
            arguments.folder or Path(scratch),
            _patience(arguments, member, message),
            _say,
            tls_of(arguments),
        )
        try:
            told, problem = _exchange(client, message, arguments.wait)
        finally:
            client.close()
    if arguments.json:
        print(json.dumps(told, ensure_ascii=False))
    else:
        _print(told)
    if problem is not None:
        _say(problem)
    return 0 if problem is None else 1


def _patience(arguments: argparse.Namespace, member: Membership, message: Submission) -> Patience:
    agreed = member.outgoing(message.unit.action).reliability.retries
    retries = agreed if arguments.retries is None else arguments.retries
    return Patience(retries, arguments.retry_interval, arguments.time_out)


def _exchange(client: Client, message: Submission, wait: float) -> tuple[dict[str, Any], str | None]:
    """Send, and wait for the result; return what came of it, and what is wrong with that."""
    told: dict[str, Any] = {"message_id": message.unit.message_id, "receipt_verified": False, "result": None}
    try:
        if wait > 0:
            client.listen()
        client.send(message)
    except GatewayError as problem:
        return told | {"problem": str(problem)}, str(problem)
    told["receipt_verified"] = message.unit.ack_requested is not None
    if wait <= 0:
        return told, None
    row = client.wait(message, wait)
    if row is None:
        return told, f"no result within {wait:g} s"
    told["result"] = row["said"] | {"message_id": row["message_id"]}
    if not row["said"]["verified"]:
        return told, f"the result is not verified: {row['said']['problem']}"
    refused = row["said"]["outcome"] == "REFUSED"
    return told, "the hub refuses the submission" if refused else None


def _attachment(text: str) -> tuple[str, bytes]:
    cid, equals, name = text.partition("=")
    if not (cid and equals and name):
        raise GatewayError(SETTINGS_WRONG, f"--attach is cid=FILE, not {text[:80]!r}", "--attach")
    return cid.removeprefix("cid:"), _content(Path(name))


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise GatewayError(SETTINGS_WRONG, f"{path} cannot be read: {error.strerror}", str(path)) from None


def _say(words: str) -> None:
    sys.stderr.write(f"gateway: {words}\n")


_LINES: tuple[tuple[str, Callable[[dict[str, Any]], str]], ...] = (
    ("message", lambda told: str(told["message_id"])),
    ("receipt", lambda told: "verified" if told["receipt_verified"] else "none"),
)


def _print(told: dict[str, Any]) -> None:
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
