"""``gateway case replay``: which notices of the agencies count for a case, and why the others do not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
from sqlalchemy import Connection

from gateway.cli.home_folder import read_database, read_verb_settings
from gateway.cli.list_options import read_clock
from gateway.cli.named_files import add_file_name_to_problem, read_file
from gateway.cli.result_output import measure_cells, print_line, print_report, require_row
from gateway.cli.shared_options import FILE, home_verb
from gateway.cli.verb_groups import Arguments
from gateway.hub import CaseReplayer, Hub, read_offered_notice
from gateway.operations import (
    compose_difference,
    compose_item_outcome,
    compose_notice_effect,
    describe_case_replay,
    find_case,
    format_issue_time,
    format_moment,
)


@dataclass(frozen=True, slots=True)
class _OfferedFiles:
    """The file of each notice that the hub has not received, by the numbers of application and notice.

    `repeated` are the files with notices that the hub has received before.
    """

    names_by_number: dict[tuple[str, str], str] = field(default_factory=dict)
    repeated: list[str] = field(default_factory=list)


@home_verb("case replay")
@click.argument("number", help="the case number")
@click.argument(
    "notices",
    type=FILE,
    nargs=-1,
    metavar="[NOTICE.xml]...",
    help="files with notices that the hub has not received: as if they came now, in this order",
)
def replay_case(arguments: Arguments) -> None:
    """Print which notices count for a case, and why others do not; exit with 1 when there is no such case.

    Nothing is changed. A file has a document of the agency's own form, or a call of its service
    (SubmitDecision, RequestInformation, DeliverNotice), alone or in its SOAP envelope. Signatures are not
    verified. A notice that the hub would refuse is a problem with the name of its file (exit with 1).
    """
    settings = read_verb_settings(arguments)
    with ExitStack() as resources:
        conn = resources.enter_context(read_database(arguments))
        case = require_row(find_case(conn, arguments.number), f"there is no case {arguments.number}")
        replayer = CaseReplayer(conn, case, read_clock())
        files = _OfferedFiles()
        if arguments.notices:
            # Only a hub reads what an agency sends; it needs the keys of its settings.
            from gateway.cli.hub_findings import open_read_only_hub

            hub = resources.enter_context(open_read_only_hub(settings))
            hub.refresh_snapshot()
            files = _add_files(conn, hub, replayer, arguments.notices)
        report = describe_case_replay(case, replayer.replay(), files.names_by_number)
        report["repeated_files"] = files.repeated
    print_report(report, as_json=arguments.json, as_text=_print_replay)


def _add_files(conn: Connection, hub: Hub, replayer: CaseReplayer, paths: Iterable[Path]) -> _OfferedFiles:
    """Add the notices in files to those of a case; return which file brings which notice."""
    files = _OfferedFiles()
    for path in paths:
        with add_file_name_to_problem(path):
            offered = read_offered_notice(conn, hub, replayer.requests, read_file(path))
            if replayer.add_offered_notice(hub, offered):
                files.names_by_number[offered.application, offered.notice.number] = str(path)
            else:
                files.repeated.append(str(path))
    return files


def _print_replay(report: dict[str, Any]) -> None:
    print_line(f"case {report['case']}  {report['state']}  {report['outcome'] or 'undecided'}")
    for application in report["applications"]:
        head = f"{application['number']}  {application['agency']} {application['document']}"
        print_line(f"  {head}  {application['state']}")
        for line in _list_notice_lines(application["notices"]):
            print_line(f"    {line}")
        for item in application["items"]:
            print_line(f"    {compose_item_outcome(item, application, report['outcome'])}")
        for difference in application["differences"]:
            print_line(f"    {compose_difference(difference)}")
    for name in report["repeated_files"]:
        print_line(f"  {name}: this notice was received, or is in an earlier file, and changes nothing")
    print_line(f"  by these notices: {report['outcome_by_notices'] or 'undecided'}")


def _list_notice_lines(notices: list[dict[str, Any]]) -> Iterator[str]:
    """Yield a line for each notice in aligned columns; its effect is the last one."""
    if not notices:
        yield "no notice yet"
        return
    rows = [
        (
            notice["number"],
            f"{notice['status_code']} {notice['status'] or ''}".rstrip(),
            f"issued {format_issue_time(notice)}",
            _describe_receipt(notice),
        )
        for notice in notices
    ]
    widths = [max(map(measure_cells, column)) for column in zip(*rows, strict=True)]
    for row, notice in zip(rows, notices, strict=True):
        cells = [cell + " " * (width - measure_cells(cell)) for cell, width in zip(row, widths, strict=True)]
        yield "  ".join([*cells, compose_notice_effect(notice)])


def _describe_receipt(notice: dict[str, Any]) -> str:
    if notice["received_at"] is None:
        return f"not received ({notice['file']})"
    return f"received {format_moment(notice['received_at'])}"
