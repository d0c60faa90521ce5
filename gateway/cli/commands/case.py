"""``gateway case list|show|unask``: the cases of submissions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import click
from sqlalchemy import Connection

from gateway.cli.list_options import list_options, print_page, read_clock, read_list_filter
from gateway.cli.partner_names import check_partner_names
from gateway.cli.result_output import format_value, print_json, report_wrong_row
from gateway.cli.settings import read_database, read_verb_settings
from gateway.cli.shared_options import change_options, home_options, read_reason
from gateway.cli.verb_groups import Arguments, verb
from gateway.errors import PARENT_NOT_USABLE, GatewayError
from gateway.operations import add_case_waiting, find_case, list_admitted_signers, list_delivery_lines
from gateway.state_machines import CASE
from gateway.store import list_searches

__all__ = ["list_cases", "show_case", "stop_asking"]

_COLUMNS = ("number", "functional_reference", "declarant", "state", "outcome", "opened_at", "waits_for")


@verb
@list_options(CASE.states, "party", "agency", "reference")
@home_options()
def list_cases(arguments: Arguments) -> int:
    """Print the cases that the options name, the newest first, each with what it waits for."""
    now = read_clock()
    with read_database(arguments) as conn:
        wanted = read_list_filter(arguments, now, after=_find_case_number(conn, arguments.after))
        page = list_searches.search_cases(conn, wanted)
        check_partner_names(conn, read_verb_settings(arguments), arguments, page.rows)
        add_case_waiting(conn, page.rows, now)
    print_page(page, as_json=arguments.json, columns=_COLUMNS)
    return 0


def _find_case_number(conn: Connection, number: str | None) -> int | None:
    """Return the row id of the case that ``--after`` names; report misuse when there is none."""
    if number is None:
        return None
    try:
        case = find_case(conn, number)
    except GatewayError as mistyped:
        raise click.BadParameter(mistyped.detail, param_hint="'--after'") from None
    if case is None:
        raise click.BadParameter(f"there is no case {number[:40]}", param_hint="'--after'")
    return int(case.id)


@verb
@click.argument("number", help="the case number")
@home_options()
def show_case(arguments: Arguments) -> int:
    """Print one case with all related data; return 1 when there is no such case."""
    # A list shares this module, and needs none of what a report loads.
    from gateway.hub import ActiveTimetable
    from gateway.operations import (
        add_delivery_waiting,
        read_case_deadlines,
        read_case_report,
        read_custody_times,
    )

    calendars = read_verb_settings(arguments).calendars
    with read_database(arguments) as conn:
        case = find_case(conn, arguments.number)
        if case is None:
            return report_wrong_row(f"there is no case {arguments.number}")
        report = read_case_report(conn, case)
        report["deadlines"] = read_case_deadlines(conn, case.id)
        timetable = ActiveTimetable(test_editions=calendars.test_edition).read_timetable(conn)
        report["custody"] = read_custody_times(conn, case, timetable, read_clock())
        add_case_waiting(conn, [report], read_clock())
        add_delivery_waiting(conn, report["deliveries"], read_clock())
    if arguments.json:
        print_json(report)
    else:
        _print_case_report(report)
    return 0


@verb
@click.argument("application", help="the number of the application")
@click.option("--reason", required=True, help="why, for everybody who looks")
@change_options()
def stop_asking(arguments: Arguments) -> int:
    """Ask an agency no longer whether it cancels an application; return 1 when there is no such one.

    The application stands, as if its agency had refused. The agency may still cancel it.
    """
    from gateway.cli.audited_changes import change_database, print_change
    from gateway.operations import stop_asking_agency

    reason = read_reason(arguments)
    with change_database(arguments, reason) as change:
        row = stop_asking_agency(change, arguments.application)
        if row is None:
            change.leave_unchanged()
            return report_wrong_row(f"there is no application {arguments.application}")
    stands = "stands" if row.state != "CANCELLED" else "is CANCELLED: its agency never had it"
    sentence = f"{row.agency} is asked no longer: application {row.number} {stands}."
    print_change(change, sentence, as_json=arguments.json, application=row.number, state=row.state)
    return 0


def _print_case_report(report: dict[str, Any]) -> None:
    print(f"case {report['number']}  {report['state']}  {report['outcome'] or 'undecided'}")
    opened = format_value(report["opened_at"])
    print(f"  reference {report['functional_reference']}  declarant {report['declarant']}  opened {opened}")
    for line in _list_state_lines(report):
        print(f"  {line}")
    for kind, key in (("", "problems"), ("warning ", "warnings")):
        for problem in (report["detail"] or {}).get(key, ()):
            print(f"  {kind}{problem['id']} {problem['text']} ({problem['pointer']})")
    held = (report["detail"] or {}).get("held", {})
    for missing in held.get("missing", ()):
        kind = "waits for its parent:" if missing["id"] == PARENT_NOT_USABLE.id else "missing"
        print(f"  {kind} {missing['text']} ({missing['pointer']}); held until {held['until']}")
    for problem in held.get("problems", ()):
        print(f"  cannot go on: {problem['id']} {problem['text']} ({problem['pointer']})")
    for line in list_admitted_signers(report["evidence"]):
        print(f"  {line}")
    for request in report["requests"]:
        print(f"  {request['number']}  {request['agency']} {request['document']}  {request['state']}")
    for line in (*_list_custody_lines(report), *_list_fee_lines(report["fees"])):
        print(f"  {line}")
    for line in (*_list_decision_lines(report), *_list_customs_lines(report["customs"])):
        print(f"  {line}")
    _print_used_requirements(report)
    for delivery in report["deliveries"]:
        for line in list_delivery_lines(delivery, with_attempts=bool(delivery["problem"])):
            print(f"  {line}")


def _list_decision_lines(report: dict[str, Any]) -> Iterator[str]:
    """Yield each decision with why it does not count, and those of the parent that count for a child."""
    for one in report["decisions"]:
        why = one["no_effect"] or ""
        marked = f"  (does not count: {why})" if why not in ("", "superseded") else f"  ({why})"
        yield f"{_describe_decision(one)}{marked if why else ''}"
    for one in report["inherited"]:
        yield f"{_describe_decision(one)}  (by {one['agency']} for case {one['parent']})"
    for one in report["inherited_cancellations"]:
        items = ", ".join(map(str, one["items"]))
        yield f"item {items}: not approved  (GW410 application {one['application']} is cancelled)"


def _describe_decision(one: dict[str, Any]) -> str:
    return f"item {one['item']} law {one['law']}: {one['decision']} {one['number'] or ''}".rstrip()


def _list_state_lines(report: dict[str, Any]) -> Iterator[str]:
    """Yield by which mappings a case was decided, and what it waits for."""
    mappings = report["mappings"]
    if mappings["bundle"]:
        yield f"mappings {mappings['bundle'][:16]}{'' if mappings['stored'] else ' (not stored)'}"
    if report["waits_for"]:
        yield f"waits for {report['waits_for']}"
    for one in report["properties"]:
        yield f"property {one['name']}  {one['value']}"


def _print_used_requirements(report: dict[str, Any]) -> None:
    """Print what the items use of certificates, what was said of those by itself, and what they wait for."""
    for use in report["requirements"]:
        back = f"  (given back: {use['return_reason']})" if use["returned_at"] else ""
        used = f"{use['quantity']} {use['unit']} of requirement {use['number']} of {use['agency']}"
        print(f"  item {use['item']} uses {used}{back}")
    for said in report["results"]:
        words = f"{said['decision']} {said['number']} of {said['agency']}, without an application"
        print(f"  item {said['item']} law {said['law']}: {words}")
    for awaited in report["awaited"]:
        print(f"  item {awaited['item']} waits for requirement {awaited['number']}")
    for row in report["taken"]:
        print(
            f"  item {row['item']}: {row['quantity']} {row['unit']} {row['measure']} of case {row['parent']}"
        )
    for row in report["released"]:
        back = f"  (given back: {row['return_reason']})" if row["returned_at"] else ""
        amount = f"{row['quantity']} {row['unit']} {row['measure']}"
        print(f"  item {row['item']}: {amount} left by case {row['child']}{back}")
    for row in report["removed"]:
        refused = ", which was refused," if row["refused"] else ""
        print(f"  item {row['item']}{refused} was removed: {row['reason']}")
    for row in report["stays"]:
        print(f"  item {row['item']}: {row['quantity']} {row['unit']} {row['measure']} stay")


def _list_customs_lines(customs: dict[str, Any]) -> Iterator[str]:
    if customs["clearance"]:
        yield f"customs: {customs['clearance']}"
    for notice in customs["notices"]:
        yield from (f"  {line}" for line in _list_notice_lines(notice))


def _list_notice_lines(notice: dict[str, Any]) -> Iterator[str]:
    issued = format_value(notice["issued_at"])
    yield f"{notice['code']} {notice['number']}  {issued}  {notice['text']}".rstrip()
    for reason in notice["reasons"]:
        place = f" ({reason['pointer']})" if reason["pointer"] else ""
        yield f"  {reason['code']} {reason['text']}{place}".rstrip()
    for item in notice["items"]:
        yield f"  item {item['item']}: {item['code']}"


def _name_fee_time(fee: dict[str, Any]) -> str:
    """Return until when a fee is due, exactly where its deadline says so, and what became of that."""
    if not (fee["due_at"] or fee["due_on"]):
        return ""
    state = f" ({fee['deadline']})" if fee["deadline"] else ""
    return f", until {format_value(fee['due_at'] or fee['due_on'])}{state}"


def _list_fee_lines(fees: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Yield each fee with what is due, until when and where; with what was paid and given back of it."""
    for fee in fees:
        until = _name_fee_time(fee)
        money = f"{fee['amount']} {fee['currency']}" if fee["amount"] else "paid elsewhere"
        where = f", paid at {fee['address']}" if fee["state"] == "ORDERED" and fee["address"] else ""
        yield f"fee {fee['number']}  {fee['agency']}  {fee['state']}  {money}{until}{where}"
        for moved in fee["movements"]:
            why = f" ({moved['reason']})" if moved["reason"] else ""
            yield f"  {moved['kind']} {moved['reference']}  {moved['amount']} {moved['currency']}{why}"


def _list_custody_lines(report: dict[str, Any]) -> Iterator[str]:
    """Yield who holds each application with the working hours of each holder, and what is due or overdue."""
    for one in report["custody"]:
        times = one["working_seconds"]
        spent = [f"{holder} {seconds / 3600:.1f} h" for holder, seconds in (times or {}).items()]
        words = ", ".join(spent) if times is not None else "working time unknown: GW710"
        holder = f"held by the {one['holder']} to {one['task']}" if one["holder"] else "ended"
        yield f"{one['application']}  {holder} ({words})"
    for one in report["deadlines"]:
        if one["ended_at"] is None or one["state"] == "LATE":
            due = one["problem"] or f"due {format_value(one['due_at'])}"
            yield f"{one['application']}  {one['kind']}: {one['state']}, {due}"
