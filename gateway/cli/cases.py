"""``gateway case list|show``: what became of submissions."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Row

from gateway.cli.settings import add_home, looking, print_rows, shown
from gateway.evidence.log import of_subject
from gateway.store import cases, decisions, deliveries, notices, requests

__all__ = ["add_parser"]


def add_parser(verbs: Any) -> None:
    """Add ``case``."""
    group = verbs.add_parser("case", help="the cases").add_subparsers(metavar="WHAT", required=True)
    listed = group.add_parser("list", help="list cases, newest first")
    listed.add_argument("--state")
    listed.add_argument("--limit", type=int, default=50)
    add_home(listed)
    listed.set_defaults(run=_list)
    one = group.add_parser("show", help="show one case with everything about it")
    one.add_argument("number")
    add_home(one)
    one.set_defaults(run=_show)


def _list(arguments: argparse.Namespace) -> int:
    equal = {"state": arguments.state.upper()} if arguments.state else {}
    with looking(arguments) as conn:
        rows = [dict(row._mapping) for row in cases.search(conn, limit=arguments.limit, **equal)]
    columns = ("number", "functional_reference", "declarant", "state", "outcome", "opened_at")
    print_rows(rows, as_json=arguments.json, columns=columns)
    return 0


def _show(arguments: argparse.Namespace) -> int:
    with looking(arguments) as conn:
        case = cases.by_number(conn, arguments.number)
        if case is None:
            sys.stderr.write(f"gateway: there is no case {arguments.number}\n")
            return 1
        told = dict(case._mapping) | _about(conn, case)
    if arguments.json:
        print(json.dumps(told, default=shown, ensure_ascii=False))
    else:
        _print(told)
    return 0


def _about(conn: Connection, case: Row[Any]) -> dict[str, Any]:
    asked = requests.of_case(conn, case.id)
    names = {row.id: row.number for row in asked}
    return {
        "requests": [dict(row._mapping) for row in asked],
        "notices": [dict(row._mapping) for one in asked for row in notices.of_request(conn, one.id)],
        "decisions": [
            dict(row._mapping) | {"request": names[row.request_id]}
            for row in decisions.of_case(conn, case.id)
        ],
        "deliveries": [dict(row._mapping) for row in deliveries.of_case(conn, case.id)],
        "evidence": [dict(row._mapping) for row in of_subject(conn, "case", case.id)],
    }


def _admissions(evidence: list[dict[str, Any]]) -> Iterator[str]:
    """Yield who signed each submission of the case, and by which way he was admitted."""
    for one in evidence:
        data = json.loads(one["data"])
        way = data.get("admitted")
        if way:
            levels = f" as {', '.join(way['levels'])}" if way.get("levels") else ""
            yield f"signed by {data['signer']}, admitted by {way['mode']}{levels}: {way['source']}"


def _print(told: dict[str, Any]) -> None:
    print(f"case {told['number']}  {told['state']}  {told['outcome'] or 'undecided'}")
    opened = shown(told["opened_at"])
    print(f"  reference {told['functional_reference']}  declarant {told['declarant']}  opened {opened}")
    for problem in (told["detail"] or {}).get("problems", ()):
        print(f"  {problem['id']} {problem['text']} ({problem['pointer']})")
    for line in _admissions(told["evidence"]):
        print(f"  {line}")
    for request in told["requests"]:
        print(f"  {request['number']}  {request['agency']} {request['document']}  {request['state']}")
    for decision in told["decisions"]:
        past = "  (superseded)" if decision["superseded_by"] else ""
        what = f"{decision['decision']} {decision['number'] or ''}{past}"
        print(f"  item {decision['item']} law {decision['law']}: {what}")
    for delivery in told["deliveries"]:
        words = str(delivery["parameters"].get("operation") or delivery["parameters"].get("action") or "")
        words = words or str(delivery["parameters"].get("task", ""))
        problem = f"  {delivery['problem']}" if delivery["problem"] else ""
        print(
            f"  delivery {delivery['id']}  {words} to {delivery['destination']}  {delivery['state']}{problem}"
        )
