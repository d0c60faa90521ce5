"""``gateway map use|list``: the mappings in force in a gateway, running or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import click
from sqlalchemy import Row

from gateway.cli.audited_changes import change_database, print_change
from gateway.cli.commands.map_diff import date_sentence
from gateway.cli.named_files import name_file, read_file
from gateway.cli.result_output import (
    ReportedFailure,
    count_things,
    format_value,
    print_failure,
    print_json,
    print_sentence,
    print_table,
)
from gateway.cli.settings import read_database, read_verb_settings
from gateway.cli.shared_options import FILE, START, change_options, home_options
from gateway.cli.verb_groups import Arguments, verb
from gateway.errors import CONTRACT_UNFIT, MISUSE, GatewayError
from gateway.harmonize import compare_bundles
from gateway.hub import (
    MappingChanges,
    check_bundle_period,
    check_removed_documents,
    check_unsigned,
    find_beginning,
    get_current_time,
    load_active_rules,
    load_publisher_rules,
    load_shipped_rules,
)
from gateway.operations import (
    CheckedFolder,
    UnfitContract,
    activate_folder,
    check_compared_mappings,
    check_counted_units,
    check_mapping_folder,
    compare_with_active,
    describe_mapping_changes,
    describe_plan,
    find_former_parts,
    find_mapping_plan,
    find_missing_addresses,
    find_unfit_contracts,
    format_moment,
    plan_folder,
    read_offered_mappings,
    read_stored_plan,
    withdraw_mapping_plan,
)
from gateway.store import MappingPeriod, mapping_bundles

__all__ = ["list_mappings", "use_mappings"]

#: What is said of mappings by whether they are new, and of planned ones.
_NEW: Final = {True: "In force from the next message on", False: "Already in force; nothing was changed"}
_PLANNED: Final = {True: "In force for what is received", False: "Already planned for what is received"}


@verb
@click.argument(
    "folder",
    type=FILE,
    required=False,
    help="the folder, or a file of `gateway map pack`; its content is stored in the database",
)
@click.option("--shipped", is_flag=True, help="activate the mappings that are shipped with the program")
@click.option(
    "--from",
    "start",
    type=START,
    metavar="DAY",
    help="for what is received from this day (midnight in hub.time_zone) or time on; replaces the plan",
)
@click.option("--cancel", is_flag=True, help="withdraw the planned mappings")
@click.option(
    "--remove",
    multiple=True,
    metavar="ID",
    help="take this document out of force, which the folder does not contain (repeatable)",
)
@click.option(
    "--despite-wsdl",
    "despite",
    multiple=True,
    metavar="AGENCY",
    help="activate them although the WSDL of this agency does not take every request (repeatable)",
)
@change_options()
def use_mappings(arguments: Arguments) -> int:
    """Activate or plan a folder of mappings, or the shipped ones, or withdraw the plan; return 0 when done.

    A bundle file whose first day is to come is planned for that day, unless ``--from`` says a later one.
    Raises GW502 where the table of units lacks one that certificates are granted or used in, GW507 where a
    document in force would go that no ``--remove`` names, GW514 and GW515 for
    mappings whose publisher or content is not the right one, GW519 where the WSDL of an agency that no
    ``--despite-wsdl`` names would take less of the requests from now on. A plan is only warned of that.
    """
    if [arguments.folder is not None, arguments.shipped, arguments.cancel].count(True) != 1:
        raise GatewayError(MISUSE, "give a folder, --shipped or --cancel", "map use")
    if arguments.cancel:
        return _withdraw_plan(arguments)
    starts, folder = _check_offer(arguments)
    # What takes long comes before the transaction, which then finds out whether it still holds.
    over, said = _compare_folder(arguments, folder)
    with change_database(arguments) as change:
        check_compared_mappings(change, over)
        if starts is None:
            is_new, plan = activate_folder(change, folder, said), find_mapping_plan(change.conn, change.at)
        else:
            is_new, plan = plan_folder(change, folder, said, starts), None
    documents = count_things(len(folder.bundle.documents), "document")
    words = _NEW[is_new] if starts is None else f"{_PLANNED[is_new]} from {format_moment(starts)} on"
    sentence = f"{words}: {documents}, bundle {folder.bundle.digest[:16]}."
    said["warnings"] += _warn_of_plan(arguments, plan, said["added"])
    if plan is not None and plan.starts is not None:
        sentence += f" The plan from {format_moment(plan.starts)} on stays."
    if arguments.json:
        print_json(change.describe_done(sentence, **said, **({"from": starts} if starts else {})))
    else:
        for words in said["warnings"]:
            print(f"warning: {words}")
        print_sentence(sentence)
    return 0


def _warn_of_plan(arguments: Arguments, plan: MappingPeriod | None, added: Sequence[str]) -> list[str]:
    """Return a warning where documents that came into force end again with the plan."""
    if plan is None or plan.starts is None or not added:
        return []
    with read_database(arguments) as conn:
        effect = read_stored_plan(conn, plan, added)
    if effect.problem:
        return [f"the mappings that are planned from {format_moment(plan.starts)} on: {effect.problem}"]
    ending = effect.ending
    words = f"{', '.join(ending)}: not in the mappings that are planned from {format_moment(plan.starts)} on"
    return [f"{words}, so out of force then. Plan them anew with what was added now"] if ending else []


def _read_start(arguments: Arguments) -> datetime | None:
    """Return the time from which on the folder is in force: of a day, its midnight; None for at once.

    Raises GW808 for a time that has come.
    """
    start = find_beginning(arguments.start, _get_zone(arguments))
    if start is None:
        return None
    if start <= get_current_time():
        raise GatewayError(MISUSE, f"{arguments.start} is not in the future", "--from")
    return start.astimezone(UTC)


def _withdraw_plan(arguments: Arguments) -> int:
    with change_database(arguments) as change:
        plan = withdraw_mapping_plan(change)
    assert plan.starts is not None, "a plan has its date"
    named = f"bundle {plan.digest[:16]}" if plan.digest else "the shipped mappings"
    sentence = f"Withdrawn: {named}, planned from {format_moment(plan.starts)} on."
    print_change(change, sentence, as_json=arguments.json)
    return 0


def _compare_folder(arguments: Arguments, folder: CheckedFolder) -> tuple[str | None, dict[str, Any]]:
    """Return which bundle is in force, and what the folder changes in it; print that, unless with JSON."""
    with read_database(arguments) as conn:
        now = get_current_time()
        over = mapping_bundles.find_active_digest(conn, now)
        changes, before = compare_with_active(conn, folder, now)
        check_counted_units(conn, before, folder.bundle)
    said = describe_mapping_changes(changes, folder.bundle, before)
    _check_despite(arguments, folder)
    settings = read_verb_settings(arguments)
    unfit = list(find_unfit_contracts(settings, folder.bundle))
    said["warnings"] = [*find_missing_addresses(settings, folder.bundle), *map(str, unfit)]
    said["warnings"] += [*find_former_parts(folder.place), *_find_unread_calendars(folder, changes)]
    if arguments.start is not None:
        fields = compare_bundles(before, folder.bundle)
        said["fields"] = [date_sentence(one, arguments.start) for one in fields]
    if not arguments.json:
        _print_changes(said)
    _check_removals(changes, arguments)
    if arguments.start is None:
        worse = set(unfit) - set(find_unfit_contracts(settings, before))
        _check_contracts([one for one in unfit if one in worse], arguments, said)
    return over, said


def _find_unread_calendars(folder: CheckedFolder, changes: MappingChanges) -> list[str]:
    """Return a sentence for each calendar that the folder brings, which do not come into force with it."""
    if folder.octets is None:
        return []
    return [
        f"{name} does not come into force with the folder: load it with `gateway calendar load {name}`"
        for name in changes.files
        if name.startswith("calendars/") and folder.place.joinpath(*name.split("/")).is_file()
    ]


def _get_zone(arguments: Arguments) -> ZoneInfo:
    """Return the zone of the hub, where days begin."""
    return ZoneInfo(read_verb_settings(arguments).hub.time_zone)


def _check_offer(arguments: Arguments) -> tuple[datetime | None, CheckedFolder]:
    """Return the time from which on mappings come into force (None: at once), and them, proved."""
    starts, now = _read_start(arguments), get_current_time()
    folder = _check_folder(arguments.folder, arguments, now)
    if folder.file is not None:
        zone = _get_zone(arguments)
        planned = folder.file.terms.find_start(zone)
        if starts is None and planned is not None and planned > now:
            starts, arguments.start = planned, folder.file.terms.starts
        with name_file(arguments.folder):
            check_bundle_period(folder.file, starts or now, zone)
    return starts, folder


def _check_folder(folder: Path | None, arguments: Arguments, now: datetime) -> CheckedFolder:
    """Return a folder, the content of a bundle file, or (None) the shipped folder."""
    if folder is None:
        return check_mapping_folder(None)
    if not folder.exists():
        raise GatewayError(MISUSE, f"there is no folder or file {folder}", "map use")
    rules = load_publisher_rules(read_verb_settings(arguments))
    if folder.is_dir():
        check_unsigned(rules)
        return check_mapping_folder(folder)
    with name_file(folder):
        return read_offered_mappings(read_file(folder), rules, now)


def _check_removals(changes: MappingChanges, arguments: Arguments) -> None:
    """Raise GW507 for what goes out of force and is not named; with JSON it has the changes with it."""
    try:
        check_removed_documents(changes, arguments.remove)
    except GatewayError as refused:
        if not arguments.json:
            raise
        told = {name: list(getattr(changes, name)) for name in ("added", "changed", "removed")}
        print_failure(ReportedFailure(refused.detail, refused.problem.id, more=told))
        # The end of the verb takes the transaction back.
        raise click.exceptions.Exit(1) from refused


def _check_despite(arguments: Arguments, folder: CheckedFolder) -> None:
    """Raise GW808 for an agency of ``--despite-wsdl`` that the folder does not have."""
    for name in arguments.despite:
        if name not in folder.bundle.organisations:
            raise GatewayError(MISUSE, f"the mappings have no organisation {name[:40]}", "--despite-wsdl")


def _check_contracts(worse: Sequence[UnfitContract], arguments: Arguments, said: Mapping[str, Any]) -> None:
    """Raise GW519 where WSDLs take less than before, of agencies that ``--despite-wsdl`` does not name."""
    refused = [one for one in worse if one.is_certain and one.agency not in arguments.despite]
    if not refused:
        return
    options = " ".join(f"--despite-wsdl {name}" for name in dict.fromkeys(one.agency for one in refused))
    told = "; ".join(f"{one.document}: the WSDL {one.wsdl} {one.lacks}" for one in refused)
    remedies = dict.fromkeys(
        "Take the new WSDLs first" if one.form == "xml" else one.remedy for one in refused
    )
    detail = (
        f"agencies would refuse requests by these mappings. {told}. Nothing was changed. "
        f"{'. '.join(remedies)}, plan the mappings with --from for the day on which they are taken, or add "
        f"{options}"
    )
    if not arguments.json:
        raise GatewayError(CONTRACT_UNFIT, detail)
    print_failure(ReportedFailure(detail, CONTRACT_UNFIT.id, more={"warnings": said["warnings"]}))
    raise click.exceptions.Exit(1)


def _print_changes(said: Mapping[str, Any]) -> None:
    """Print what a folder changes in what is in force: one line for each kind of change."""
    for sentence in said.get("fields", ()):
        print_sentence(sentence)
    for title, key in (("added", "added"), ("changed", "changed"), ("removed", "removed"), ("", "files")):
        words = f"documents {title}" if title else "other files that differ"
        print_sentence(f"{words}: {', '.join(said[key]) or 'none'}")


@verb
@home_options()
def list_mappings(arguments: Arguments) -> int:
    """Print the documents in force, what is planned and stored; with JSON also every earlier activation."""
    with read_database(arguments) as conn:
        now = get_current_time()
        rules = load_active_rules(conn, load_shipped_rules(), now)
        past, plan = mapping_bundles.list_activations(conn), find_mapping_plan(conn, now)
        effect = read_stored_plan(conn, plan, rules.bundle.documents)
        stored = [_describe_stored(row) for row in mapping_bundles.list_bundles(conn)]
    rows: list[dict[str, Any]] = [
        {
            "document": document.id,
            "organisation": document.organisation,
            "direction": document.direction,
            "status": document.status,
            "title": f"{document.en} ({document.ko})",
        }
        for document in rules.bundle.documents.values()
    ]
    if arguments.json:
        told = {"bundle": rules.bundle.digest, "documents": rows, "planned": describe_plan(plan)}
        unread = {"unread": effect.problem} if effect.problem else {}
        uses = [_describe_use(row) for row in past]
        print_json(told | {"ending": effect.ending, **unread, "uses": uses, "stored": stored})
        return 0
    print(f"bundle {rules.bundle.digest[:16]}" + ("" if rules.version else ", as it came with the program"))
    if plan is not None and plan.starts is not None:
        named = f"bundle {plan.digest[:16]}" if plan.digest else "the mappings that came with the program"
        print(f"planned from {format_moment(plan.starts)} on: {named} (by {plan.actor})")
        if effect.problem:
            print(f"the planned mappings do not load: {effect.problem}")
        if effect.ending:
            print(f"out of force then: {', '.join(effect.ending)}")
    for one in stored:
        print(f"stored since {one['stored_at']}: bundle {one['bundle'][:16]}")
    print_table(rows, as_json=False, columns=("document", "organisation", "direction", "status", "title"))
    return 0


def _describe_stored(row: Row[Any]) -> dict[str, Any]:
    return {"bundle": row.digest, "stored_at": format_value(row.loaded_at), "octets": row.octets}


def _describe_use(row: Row[Any]) -> dict[str, Any]:
    """Return one act as plain values: a bundle from a time on (`from`), or the plan that it took back."""
    return {
        "id": row.id,
        "bundle": row.digest,
        "at": format_value(row.at),
        "actor": row.actor,
        "from": None if row.starts is None else format_value(row.starts),
        "withdraws": row.cancels,
    }
