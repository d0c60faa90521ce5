"""``gateway audit list|show``: who changed what, and how it was before and after."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from gateway.cli.home_folder import read_database
from gateway.cli.list_options import (
    list_options,
    print_page,
    read_clock,
    read_list_filter,
    require_row_number,
)
from gateway.cli.result_output import format_named_values, print_json, require_row
from gateway.cli.shared_options import ROW_NUMBER, SEARCH_TEXT, home_verb
from gateway.cli.verb_groups import Arguments
from gateway.operations import format_value
from gateway.store import AuditFilter, ListPage, audit_log, read_columns

_COLUMNS = ("id", "at", "by", "account", "verb", "object", "outcome")
_WHO_WORDS = "only what this person (as --by said) or this system user did"
_VERB_WORDS = "only this verb, or all verbs of this noun: 'party add', party"
_WHAT_WORDS = "only objects whose name contains this"


@home_verb("audit list")
@click.option("--who", type=SEARCH_TEXT, metavar="NAME", help=_WHO_WORDS)
@click.option("--verb", type=SEARCH_TEXT, metavar="WORDS", help=_VERB_WORDS)
@click.option("--what", type=SEARCH_TEXT, metavar="TEXT", help=_WHAT_WORDS)
@list_options(())
def list_audit(arguments: Arguments) -> None:
    """Print the changes that the options select, newest first."""
    audit_filter = AuditFilter(arguments.who, arguments.verb, arguments.what)
    with read_database(arguments) as conn:
        list_filter = read_list_filter(arguments, read_clock(), after=require_row_number(arguments))
        page = audit_log.search_actions(conn, audit_filter, list_filter)
    rows = [_describe_row(row) for row in page.rows]
    print_page(ListPage(rows, page.remaining), as_json=arguments.json, columns=_COLUMNS)


@home_verb("audit show")
@click.argument("change", type=ROW_NUMBER, help="the number of the change")
def show_audit(arguments: Arguments) -> None:
    """Print one change with the object before and after it; exit with 1 when there is no such change."""
    with read_database(arguments) as conn:
        row = require_row(
            audit_log.find_action(conn, arguments.change),
            f"there is no change {arguments.change} in the audit",
        )
    report = _describe_row(read_columns(row))
    if arguments.json:
        print_json(report)
        return
    before, after = report.pop("before"), report.pop("after")
    print(format_named_values({name: format_value(value) for name, value in report.items()}))
    for name, value in (("before", before), ("after", after)):
        print(f"{name}:")
        print_json(value, indent=2)


def _describe_row(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": row["id"],
        "at": row["at"],
        "by": row["actor"],
        "account": row["account"] or "",
        "verb": row["action"],
        "object": row["object"],
        "outcome": row["outcome"],
        "reason": row["reason"] or "",
        "before": row["before"],
        "after": row["after"],
    }
