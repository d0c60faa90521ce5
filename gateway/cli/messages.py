"""``gateway message list|show|dump``: what was received and sent."""

from __future__ import annotations

import argparse
import base64
import json
import sys
from http import HTTPStatus
from typing import Any

from gateway.cli.settings import add_home, looking, print_rows, shown
from gateway.evidence.log import of_subject
from gateway.states import MESSAGE
from gateway.store import messages, transitions
from gateway.store.messages import Answer

__all__ = ["add_parser", "find_message"]


def add_parser(verbs: Any) -> None:
    """Add ``message``."""
    group = verbs.add_parser("message", help="the messages").add_subparsers(metavar="WHAT", required=True)
    listed = group.add_parser("list", help="list messages, newest first")
    listed.add_argument("--state", type=str.upper, choices=MESSAGE.states, help="only this state")
    listed.add_argument("--direction", choices=("in", "out"))
    listed.add_argument("--limit", type=int, default=50)
    add_home(listed)
    listed.set_defaults(run=_list)
    for name, words, function in (
        ("show", "show one message", _show),
        ("dump", "write the stored octets of a message as an HTTP message", _dump),
    ):
        parser = group.add_parser(name, help=words)
        parser.add_argument("id", help="the row id, or the MessageId")
        if name == "dump":
            parser.add_argument("--answer", action="store_true", help="what it was answered with instead")
        add_home(parser)
        parser.set_defaults(run=function)


def _list(arguments: argparse.Namespace) -> int:
    wanted = {"state": arguments.state, "direction": arguments.direction}
    equal = {name: value for name, value in wanted.items() if value}
    with looking(arguments) as conn:
        rows = [dict(row._mapping) for row in messages.search(conn, limit=arguments.limit, **equal)]
    columns = ("id", "direction", "from_party", "action", "state", "received_at", "message_id")
    print_rows(rows, as_json=arguments.json, columns=columns)
    return 0


def find_message(conn: Any, name: str) -> Any:
    """Return the message of a row id or a MessageId, the newest one; None when there is none."""
    if name.isascii() and name.isdigit() and len(name) < 18:
        return messages.get(conn, int(name))
    found = messages.search(conn, limit=1, message_id=name)
    return found[0] if found else None


def _show(arguments: argparse.Namespace) -> int:
    with looking(arguments) as conn:
        row = find_message(conn, arguments.id)
        if row is None:
            return _nothing(arguments.id)
        parts = messages.payloads_of(conn, row.id)
        steps = [dict(step._mapping) for step in transitions.history(conn, MESSAGE, row.id)]
        # Who signed what the message carried, and how he was admitted, stands with its case.
        about = of_subject(conn, "case", row.case_id) if row.case_id else ()
        judged = [one for one in about if one.digest == row.identity_sha256]
        proofs = [*of_subject(conn, "message", row.id), *judged]
    told = dict(row._mapping) | {
        "payloads": [
            {"cid": one.content_id, "media_type": one.media_type, "size": len(one.content)} for one in parts
        ],
        "transitions": steps,
        "evidence": [{"kind": one.kind, "at": one.at, "data": json.loads(one.data)} for one in proofs],
    }
    print(json.dumps(told, default=shown, ensure_ascii=False, indent=None if arguments.json else 2))
    return 0


def _dump(arguments: argparse.Namespace) -> int:
    with looking(arguments) as conn:
        row = find_message(conn, arguments.id)
        if row is None:
            return _nothing(arguments.id)
        headers, body = messages.parcel_of(conn, row.id)
        status = None
        if arguments.answer:
            answer = messages.answer_of(conn, row.id) or Answer(204, {}, b"")
            status, headers, body = answer.status, dict(answer.headers), answer.body
    if arguments.json:
        told = {"status": status, "headers": dict(headers), "body_base64": base64.b64encode(body).decode()}
        print(json.dumps(told, ensure_ascii=False))
        return 0
    start = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n" if status else ""
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    sys.stdout.buffer.write(f"{start}{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    sys.stdout.buffer.flush()
    return 0


def _nothing(name: str) -> int:
    sys.stderr.write(f"gateway: there is no message {name}\n")
    return 1
