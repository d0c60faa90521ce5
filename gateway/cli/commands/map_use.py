"""``gateway map use|list|export``: the mappings in force in a gateway, running or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import click
from sqlalchemy import Connection

from gateway.cli.audited_changes import change_database, print_change
from gateway.cli.commands.map_diff import date_sentence
from gateway.cli.home_folder import read_database, read_verb_settings
from gateway.cli.named_files import add_file_name_to_problem, read_file, write_file
from gateway.cli.result_output import (
    ReportedFailure,
    print_failure,
    print_json,
    print_sentence,
    print_table,
)
from gateway.cli.shared_options import FILE, START, changing_verb, home_verb
from gateway.cli.verb_groups import Arguments
from gateway.errors import CONTRACT_UNFIT, MISUSE, GatewayError
from gateway.harmonize import MappingBundle, compare_mapping_files, generate_all_files, load_bundle
from gateway.hub import (
    MappingChanges,
    check_bundle_period,
    check_removed_documents,
    check_unsigned_allowed,
    find_day_start,
    get_current_time,
    load_active_rules,
    load_publisher_rules,
    load_shipped_rules,
    open_active_mappings,
    open_stored_mappings,
    read_mapping_files,
)
from gateway.operations import (
    CheckedFolder,
    UnfitContract,
    activate_folder,
    check_compared_mappings,
    check_mapping_folder,
    check_used_units,
    compare_with_active,
    describe_mapping_changes,
    describe_plan,
    find_mapping_plan,
    find_missing_addresses,
    find_unfit_contracts,
    format_count,
    format_moment,
    format_value,
    read_published_mappings,
    read_stored_plan_effect,
    store_folder_plan,
    withdraw_mapping_plan,
)
from gateway.share import MemoryPath, get_data_folder
from gateway.store import MappingBundleRow, MappingPeriod, MappingUseRow, mapping_bundles

#: The beginnings of the sentence, by whether the mappings are new: for activated and for planned ones.
_ACTIVATION_PHRASES: Final = {
    True: "In force from the next message on",
    False: "Already in force; nothing was changed",
}
_PLAN_PHRASES: Final = {True: "In force for what is received", False: "Already planned for what is received"}


@changing_verb("map use")
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
def use_mappings(arguments: Arguments) -> None:
    """Activate or plan a folder of mappings, or the shipped ones, or withdraw the plan.

    A bundle file whose first day is to come is planned for that day, unless ``--from`` says a later one.
    Raises GW502 where the table of units lacks one that certificates are granted or used in, GW507 where a
    document in force would go that no ``--remove`` names, GW514 and GW515 for
    mappings whose publisher or content is not the right one, GW519 where the WSDL of an agency that no
    ``--despite-wsdl`` names would take less of the requests from now on. A plan is only warned of that.
    """
    if [arguments.folder is not None, arguments.shipped, arguments.cancel].count(True) != 1:
        raise GatewayError(MISUSE, "give a folder, --shipped or --cancel", "map use")
    if arguments.cancel:
        _withdraw_plan(arguments)
        return
    starts, folder = _check_asked_mappings(arguments)
    # What takes long comes before the transaction, which then finds out whether it still holds.
    replaced_digest, report = _compare_folder(arguments, folder)
    with change_database(arguments) as change:
        check_compared_mappings(change, replaced_digest)
        if starts is None:
            is_new, plan = activate_folder(change, folder, report), find_mapping_plan(change.conn, change.at)
        else:
            is_new, plan = store_folder_plan(change, folder, report, starts), None
    documents = format_count(len(folder.bundle.documents), "document")
    clause = (
        _ACTIVATION_PHRASES[is_new]
        if starts is None
        else f"{_PLAN_PHRASES[is_new]} from {format_moment(starts)} on"
    )
    sentence = f"{clause}: {documents}, bundle {folder.bundle.digest[:16]}."
    report["warnings"] += _warn_of_plan(arguments, plan, report["added"])
    if plan is not None and plan.starts is not None:
        sentence += f" The plan from {format_moment(plan.starts)} on stays."
    if arguments.json:
        print_json(change.describe_performed_act(sentence, **report, **({"from": starts} if starts else {})))
    else:
        for warning in report["warnings"]:
            print(f"warning: {warning}")
        print_sentence(sentence)


def _warn_of_plan(arguments: Arguments, plan: MappingPeriod | None, added: Sequence[str]) -> list[str]:
    """Return a warning where documents that came into force end again with the plan."""
    if plan is None or plan.starts is None or not added:
        return []
    with read_database(arguments) as conn:
        effect = read_stored_plan_effect(conn, plan, added)
    if effect.problem:
        return [f"the mappings that are planned from {format_moment(plan.starts)} on: {effect.problem}"]
    ending = effect.ending
    clause = f"{', '.join(ending)}: not in the mappings that are planned from {format_moment(plan.starts)} on"
    return [f"{clause}, so out of force then. Plan them anew with what was added now"] if ending else []


def _read_start(arguments: Arguments) -> datetime | None:
    """Return the time from which on the folder is in force: of a day, its midnight; None for at once.

    Raises GW808 for a time that has come.
    """
    start = find_day_start(arguments.start, _get_zone(arguments))
    if start is None:
        return None
    if start <= get_current_time():
        raise GatewayError(MISUSE, f"{arguments.start} is not in the future", "--from")
    return start.astimezone(UTC)


def _withdraw_plan(arguments: Arguments) -> None:
    """Withdraw the planned mappings, and print which ones they were and from when on they were planned."""
    with change_database(arguments) as change:
        plan = withdraw_mapping_plan(change)
    assert plan.starts is not None, "a plan has its date"
    bundle_name = f"bundle {plan.digest[:16]}" if plan.digest else "the shipped mappings"
    sentence = f"Withdrawn: {bundle_name}, planned from {format_moment(plan.starts)} on."
    print_change(change, sentence, as_json=arguments.json)


def _compare_folder(arguments: Arguments, folder: CheckedFolder) -> tuple[str | None, dict[str, Any]]:
    """Return the bundle in force and the changes of it by the folder; print the changes, unless with JSON."""
    with read_database(arguments) as conn:
        now = get_current_time()
        replaced_digest = mapping_bundles.find_active_digest(conn, now)
        changes, before = compare_with_active(conn, folder, now)
        active_files = read_mapping_files(open_active_mappings(conn, now))
        check_used_units(conn, before, folder.bundle)
    report = describe_mapping_changes(changes, folder.bundle, before)
    _check_despite_wsdl(arguments, folder)
    settings = read_verb_settings(arguments)
    unfit = list(find_unfit_contracts(settings, folder.bundle))
    report["warnings"] = [*find_missing_addresses(settings, folder.bundle), *map(str, unfit)]
    report["warnings"] += _find_unread_calendars(folder, changes)
    if arguments.start is not None:
        fields = compare_mapping_files(active_files, read_mapping_files(folder.folder))
        report["fields"] = [date_sentence(change, arguments.start) for change in fields]
    if not arguments.json:
        _print_changes(report)
    _check_removals(changes, arguments)
    if arguments.start is None:
        worse = set(unfit) - set(find_unfit_contracts(settings, before))
        _check_contracts([contract for contract in unfit if contract in worse], arguments, report)
    return replaced_digest, report


def _find_unread_calendars(folder: CheckedFolder, changes: MappingChanges) -> list[str]:
    """Return a sentence for each changed calendar file of the folder: it does not come into force with it."""
    if folder.octets is None:
        return []
    return [
        f"{name} does not come into force with the folder: load it with `gateway calendar load {name}`"
        for name in changes.files
        if name.startswith("calendars/") and folder.folder.joinpath(*name.split("/")).is_file()
    ]


def _get_zone(arguments: Arguments) -> ZoneInfo:
    """Return the zone of the hub, where days begin."""
    return ZoneInfo(read_verb_settings(arguments).hub.time_zone)


def _check_asked_mappings(arguments: Arguments) -> tuple[datetime | None, CheckedFolder]:
    """Return the time from which on mappings come into force (None: at once), and the checked mappings."""
    starts, now = _read_start(arguments), get_current_time()
    folder = _check_folder(arguments.folder, arguments, now)
    if folder.bundle_file is not None:
        zone = _get_zone(arguments)
        planned = folder.bundle_file.terms.find_start(zone)
        if starts is None and planned is not None and planned > now:
            starts, arguments.start = planned, folder.bundle_file.terms.starts
        with add_file_name_to_problem(arguments.folder):
            check_bundle_period(folder.bundle_file, starts or now, zone)
    return starts, folder


def _check_folder(folder: Path | None, arguments: Arguments, now: datetime) -> CheckedFolder:
    """Return the checked mappings of a folder or a bundle file, or for None the shipped ones."""
    if folder is None:
        return check_mapping_folder(None)
    if not folder.exists():
        raise GatewayError(MISUSE, f"there is no folder or file {folder}", "map use")
    rules = load_publisher_rules(read_verb_settings(arguments))
    if folder.is_dir():
        check_unsigned_allowed(rules)
        return check_mapping_folder(folder)
    with add_file_name_to_problem(folder):
        return read_published_mappings(read_file(folder), rules, now)


def _check_removals(changes: MappingChanges, arguments: Arguments) -> None:
    """Raise GW507 for a document that goes out of force unnamed; with JSON, print the changes with it."""
    try:
        check_removed_documents(changes, arguments.remove)
    except GatewayError as refused:
        if not arguments.json:
            raise
        changed_documents = {name: list(getattr(changes, name)) for name in ("added", "changed", "removed")}
        print_failure(ReportedFailure(refused.detail, refused.problem.id, details=changed_documents))
        # The end of the verb takes the transaction back.
        raise click.exceptions.Exit(1) from refused


def _check_despite_wsdl(arguments: Arguments, folder: CheckedFolder) -> None:
    """Raise GW808 for an agency of ``--despite-wsdl`` that the folder does not have."""
    for name in arguments.despite:
        if name not in folder.bundle.organisations:
            raise GatewayError(MISUSE, f"the mappings have no organisation {name[:40]}", "--despite-wsdl")


def _check_contracts(
    worse_contracts: Sequence[UnfitContract], arguments: Arguments, report: Mapping[str, Any]
) -> None:
    """Raise GW519 where WSDLs take less than before, of agencies that ``--despite-wsdl`` does not name."""
    refused = [
        contract
        for contract in worse_contracts
        if contract.is_certain and contract.agency not in arguments.despite
    ]
    if not refused:
        return
    options = " ".join(
        f"--despite-wsdl {name}" for name in dict.fromkeys(contract.agency for contract in refused)
    )
    contract_faults = "; ".join(
        f"{contract.document_name}: the WSDL {contract.wsdl} {contract.gap}" for contract in refused
    )
    remedies = dict.fromkeys(
        "Take the new WSDLs first" if contract.syntax == "xml" else contract.remedy for contract in refused
    )
    detail = (
        f"agencies would refuse requests by these mappings. {contract_faults}. Nothing was changed. "
        f"{'. '.join(remedies)}, plan the mappings with --from for the day on which they are taken, or add "
        f"{options}"
    )
    if not arguments.json:
        raise GatewayError(CONTRACT_UNFIT, detail)
    print_failure(ReportedFailure(detail, CONTRACT_UNFIT.id, details={"warnings": report["warnings"]}))
    raise click.exceptions.Exit(1)


def _print_changes(report: Mapping[str, Any]) -> None:
    """Print the changes that a folder makes to the mappings in force: one line for each kind of change."""
    for sentence in report.get("fields", ()):
        print_sentence(sentence)
    for title, key in (("added", "added"), ("changed", "changed"), ("removed", "removed"), ("", "files")):
        label = f"documents {title}" if title else "other files that differ"
        print_sentence(f"{label}: {', '.join(report[key]) or 'none'}")


@home_verb("map list")
def list_mappings(arguments: Arguments) -> None:
    """Print the documents in force, the plan, the stored bundles; with JSON also all earlier activations."""
    with read_database(arguments) as conn:
        now = get_current_time()
        rules = load_active_rules(conn, load_shipped_rules(), now)
        past, plan = mapping_bundles.list_activations(conn), find_mapping_plan(conn, now)
        effect = read_stored_plan_effect(conn, plan, rules.bundle.documents)
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
        report = {"bundle": rules.bundle.digest, "documents": rows, "planned": describe_plan(plan)}
        unread = {"unread": effect.problem} if effect.problem else {}
        uses = [_describe_use(row) for row in past]
        print_json(report | {"ending": effect.ending, **unread, "uses": uses, "stored": stored})
        return
    print(f"bundle {rules.bundle.digest[:16]}" + ("" if rules.version else ", as it came with the program"))
    if plan is not None and plan.starts is not None:
        bundle_name = (
            f"bundle {plan.digest[:16]}" if plan.digest else "the mappings that came with the program"
        )
        print(f"planned from {format_moment(plan.starts)} on: {bundle_name} (by {plan.actor})")
        if effect.problem:
            print(f"the planned mappings do not load: {effect.problem}")
        if effect.ending:
            print(f"out of force then: {', '.join(effect.ending)}")
    for bundle in stored:
        print(f"stored since {bundle['stored_at']}: bundle {bundle['bundle'][:16]}")
    print_table(rows, as_json=False, columns=("document", "organisation", "direction", "status", "title"))


def _describe_stored(row: MappingBundleRow) -> dict[str, Any]:
    return {"bundle": row.digest, "stored_at": format_value(row.loaded_at), "octets": row.octets}


def _describe_use(row: MappingUseRow) -> dict[str, Any]:
    """Return one act as plain values: a bundle from a time on (`from`), or the plan that it took back."""
    return {
        "id": row.id,
        "bundle": row.digest,
        "at": format_value(row.at),
        "actor": row.actor,
        "from": None if row.starts is None else format_value(row.starts),
        "withdraws": row.cancels,
    }


_GENERATED = "mappings/"


@home_verb("map export")
@click.argument("folder", type=FILE, help="the folder to write: absent or empty")
@click.option(
    "--bundle",
    metavar="DIGEST",
    help="these stored mappings, as `case show` and `map list` name them; default: those in force",
)
@click.option("--shipped", is_flag=True, help="the mappings that are shipped with the program; needs no home")
def export_mappings(arguments: Arguments) -> None:
    """Write a whole folder: documents, dictionary, codes, notices and labels.

    Mappings that this version of the program does not load are written as they are stored, to be mended.
    """
    if arguments.shipped and arguments.bundle is not None:
        raise GatewayError(MISUSE, "give --shipped or --bundle", "map export")
    _refuse_used_folder(arguments.folder)
    files, fault, digest = _read_files(arguments), None, None
    documents: list[str] = []
    try:
        bundle = load_bundle(MemoryPath(files))
    except GatewayError as error:
        fault = error
    else:
        files = _generate_missing_files(bundle) | files
        digest, documents = bundle.digest, sorted(bundle.documents)
    for name, content in files.items():
        write_file(arguments.folder / name, content, make_folder=True)
    if arguments.json:
        problem_report = {} if fault is None else {"problem": {"id": fault.problem.id, "message": str(fault)}}
        print_json({"bundle": digest, "documents": documents, "written": sorted(files), **problem_report})
        return
    source = "everything in force" if arguments.bundle is None else "the stored mappings"
    source = "the shipped mappings" if arguments.shipped else source
    written = format_count(len(files), "file")
    if digest is None:
        print_sentence(f"Wrote {source} to {arguments.folder} as stored: {written}.")
        print_sentence(f"They do not load: {fault}. Mend this, then `gateway map use {arguments.folder}`.")
        return
    held = f"{format_count(len(documents), 'document')}, {written}"
    print_sentence(f"Wrote {source} to {arguments.folder}: {held}, bundle {digest[:16]}.")


def _read_files(arguments: Arguments) -> dict[str, bytes]:
    if arguments.shipped:
        return read_mapping_files(get_data_folder("mappings"))
    with read_database(arguments) as conn:
        return read_mapping_files(_open_mappings(conn, arguments.bundle))


def _open_mappings(conn: Connection, digest: str | None) -> Traversable:
    """Return the folder in force, or the stored one of a digest or its beginning; raise GW808 without one."""
    if digest is None:
        return open_active_mappings(conn, get_current_time())
    return open_stored_mappings(conn, find_stored_digest(conn, digest))


def find_stored_digest(conn: Connection, prefix: str) -> str:
    """Return the stored digest that begins so; raise GW808 where none does, or more than one."""
    digests = [row.digest for row in mapping_bundles.list_bundles(conn) if row.digest.startswith(prefix)]
    if len(digests) != 1:
        clause = "no stored mappings have" if not digests else f"{len(digests)} stored mappings have"
        raise GatewayError(MISUSE, f"{clause} a digest that begins with {prefix[:64]!r}", "--bundle")
    return str(digests[0])


def _refuse_used_folder(folder: Path) -> None:
    """Raise GW808 for a file, or for a folder with content: its documents would be activated too."""
    try:
        if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
            return
        reason = "is not empty" if folder.is_dir() else "is not a folder"
    except (OSError, ValueError) as mistake:
        reason = f"cannot be read: {getattr(mistake, 'strerror', None) or 'the name is not possible'}"
    raise GatewayError(MISUSE, f"{folder} {reason}")


def _generate_missing_files(bundle: MappingBundle) -> dict[str, bytes]:
    """Return the labels of all documents, by their names in the folder."""
    template = get_data_folder("wsdl").joinpath("agency-template.wsdl").read_bytes()
    return {
        name.removeprefix(_GENERATED): content
        for name, content in generate_all_files(bundle, template).items()
        if name.startswith(_GENERATED)
    }
