"""``gateway pki list make|show|import|list``: trusted lists, our own and those of other parties."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from gateway.cli.list_description import read_list_description
from gateway.cli.named_files import load_key_file, read_file, read_signers, replace_file
from gateway.cli.result_output import format_named_values, print_json, print_sentence, print_table
from gateway.cli.shared_options import (
    FILE,
    changing_verb,
    home_verb,
    json_option,
    moment_option,
    signing_options,
)
from gateway.cli.verb_groups import Arguments, verb
from gateway.errors import MISUSE, GatewayError
from gateway.operations import format_value
from gateway.recognition import (
    RecognitionContext,
    TrustedList,
    check_list_freshness,
    choose_successor,
    get_levels,
    open_named_list,
    open_trusted_list,
    sign_trusted_list,
)
from gateway.store import TrustListRow, read_columns

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from gateway.hub import ImportedList, RecognitionPolicy

_COLUMNS = ("territory", "form", "sequence", "state", "issued", "next_update", "named_by")
_LIST_WORDS = "the list, in the gateway's own form or of ETSI TS 119 612"
_SIGNER_WORDS = "a certificate that may sign the list; repeatable"
_SIGNER_OPTION = click.option("--signer", type=FILE, multiple=True, metavar="PEM", help=_SIGNER_WORDS)


@verb("pki list make")
@click.argument("file", type=FILE, help="the description in TOML, with the certificates in the same folder")
@click.option("--out", type=FILE, required=True, help="the file to write")
@signing_options()
@moment_option("time of issue")
@json_option()
def make_list(arguments: Arguments) -> None:
    """Sign a list of our own from its description, and write it."""
    draft = read_list_description(arguments.file)
    at = arguments.at or datetime.now(UTC)
    signer = load_key_file(arguments)
    signed_list = sign_trusted_list(draft, signer, now=at)
    opened = open_trusted_list(signed_list, {signer.certificate})
    check_list_freshness(opened, opened.issued)
    replace_file(arguments.out, signed_list)
    sentence = f"Signed list {opened.sequence} of {opened.territory}: {arguments.out}."
    print_sentence(sentence, as_json=arguments.json)
    _print_list_report({"written": str(arguments.out), **_describe_list(opened, at)}, as_json=arguments.json)


@verb("pki list show")
@click.argument("file", type=FILE, help=_LIST_WORDS)
@_SIGNER_OPTION
@moment_option("time of validation")
@json_option()
def show_list(arguments: Arguments) -> int:
    """Verify a list and print its content; return 1 when it is no longer fresh."""
    at = arguments.at or datetime.now(UTC)
    trusted_list = open_trusted_list(read_file(arguments.file), read_signers(arguments.signer))
    report = _describe_list(trusted_list, at)
    _print_list_report({"file": str(arguments.file), **report}, as_json=arguments.json)
    return 0 if report["problem"] is None else 1


@changing_verb("pki list import")
@click.argument("file", type=FILE, help=_LIST_WORDS)
@click.option("--into", type=FILE, metavar="DIR", help="a folder of lists that no hub uses")
@_SIGNER_OPTION
@click.option(
    "--named-by", type=FILE, metavar="FILE", help="a list in such a folder that names the permitted signers"
)
@moment_option("time of validation")
def import_list_file(arguments: Arguments) -> None:
    """Verify a list and store it, in a hub or in a folder; raise its problem."""
    at = arguments.at or datetime.now(UTC)
    trusted_list, report = (
        _import_to_folder(arguments, at) if arguments.into else _import_to_home(arguments, at)
    )
    sentence = _describe_import(trusted_list, was_activated=bool(report["taken"]), before=report["before"])
    print_sentence(sentence, as_json=arguments.json)
    report = {"verb": arguments.verb_words, "done": sentence, **report} if arguments.json else report
    _print_list_report({**report, **_describe_list(trusted_list, at)}, as_json=arguments.json)


def _describe_import(trusted_list: TrustedList, *, was_activated: bool, before: int | None) -> str:
    name = f"Trusted list {trusted_list.sequence} of {trusted_list.territory} ({trusted_list.list_format})"
    if not was_activated:
        return f"{name} was stored already: nothing was changed."
    return f"{name} is in force, in place of {before}." if before is not None else f"{name} is in force."


def _import_to_home(arguments: Arguments, at: datetime) -> tuple[TrustedList, dict[str, Any]]:
    """Activate the list in a hub, whose settings and lists determine the permitted signers."""
    if arguments.signer or arguments.named_by or not (arguments.home or arguments.config):
        raise GatewayError(
            MISUSE,
            (
                "give --into DIR, or --home without --signer and --named-by: the hub knows the permitted "
                "signers"
            ),
            "--into",
        )
    import_outcome = _activate_home_list(arguments, at)
    return import_outcome.list, {
        "taken": import_outcome.was_activated,
        "before": import_outcome.previous_sequence,
        "named_by": import_outcome.named_by,
    }


def _import_to_folder(arguments: Arguments, at: datetime) -> tuple[TrustedList, dict[str, Any]]:
    """Store the list in the folder `--into` if it succeeds the stored one; return the list in force.

    `taken` is False if the stored list stays; `before` is the number of the list stored before. The signers
    of both lists are written first, so that the list can be read after an interruption between the writes.
    """
    data = read_file(arguments.file)
    new_list = _open_expected_list(data, arguments)
    list_file = arguments.into / f"{_make_file_name(new_list)}.xml"
    signer_file = list_file.with_suffix(".signer.pem")
    stored_list = (
        open_trusted_list(read_file(list_file), read_signers([signer_file])) if list_file.exists() else None
    )
    trusted_list = choose_successor(stored_list, new_list, at)
    if trusted_list is new_list:
        replace_file(signer_file, _join_both_signers(stored_list, new_list))
        replace_file(list_file, data)
        replace_file(signer_file, new_list.signer.pem)
    return trusted_list, {
        "file": str(list_file),
        "taken": trusted_list is new_list,
        "before": stored_list.sequence if stored_list else None,
    }


def _join_both_signers(stored_list: TrustedList | None, new_list: TrustedList) -> bytes:
    """Return the signers of the old and the new list, so that either file can be read again."""
    return (stored_list.signer.pem if stored_list else b"") + new_list.signer.pem


def _open_expected_list(data: bytes, arguments: Arguments) -> TrustedList:
    """Open a list whose signer the command line names, or a stored list names for its territory."""
    signers = read_signers(arguments.signer)
    if arguments.named_by is None:
        return open_trusted_list(data, signers)
    naming = open_trusted_list(
        read_file(arguments.named_by), read_signers([arguments.named_by.with_suffix(".signer.pem")])
    )
    check_list_freshness(naming, arguments.at or datetime.now(UTC))
    return open_named_list(data, [naming], signers)[0]


def _make_file_name(trusted_list: TrustedList) -> str:
    territory = trusted_list.territory
    if not territory.isascii() or not territory.isalnum() or len(territory) > 20:
        raise GatewayError(MISUSE, f"territory {territory[:20]!r} cannot be part of a file name", "territory")
    return f"{territory}-{trusted_list.list_format}"


def _describe_list(trusted_list: TrustedList, at: datetime) -> dict[str, Any]:
    """Return a trusted list as plain values; `problem` and `reason` say why it is not fresh at `at`."""
    problem = None
    try:
        check_list_freshness(trusted_list, at)
    except GatewayError as stale:
        problem = stale
    return {
        "form": trusted_list.list_format,
        "operator": trusted_list.operator,
        "territory": trusted_list.territory,
        "sequence": trusted_list.sequence,
        "issued": trusted_list.issued,
        "next_update": trusted_list.next_update,
        "signer": trusted_list.signer.subject,
        "certificate": trusted_list.signer.sha256,
        "problem": problem.problem.id if problem else None,
        "reason": problem.detail if problem else "",
        "services": [
            _describe_service(trusted_list, number, at) for number in range(len(trusted_list.services))
        ],
        "schemes": [
            {
                "territory": each.territory,
                "role": each.role,
                "location": each.location,
                "signers": [signer.sha256 for signer in each.signers],
                "unread": list(each.unread),
                "rules": None if each.rules is None else [rule.identifier for rule in each.rules],
            }
            for each in trusted_list.schemes
        ],
        "bridges": [
            {"certificate": each.certificate.sha256, "policies": dict(each.policies)}
            for each in trusted_list.bridges
        ],
    }


def _describe_service(trusted_list: TrustedList, number: int, at: datetime) -> dict[str, Any]:
    """Return the service with index `number` of a trusted list, with its status and its levels at `at`."""
    service = trusted_list.services[number]
    service_status = service.find_status(at)
    return {
        "provider": service.provider,
        "name": service.name,
        "type": service_status.type if service_status else None,
        "status": service_status.status if service_status else None,
        "since": service_status.since if service_status else None,
        "levels": sorted(get_levels(service_status, (trusted_list.rules,), at)) if service_status else [],
        "certificates": [each.sha256 for each in service.certificates],
        "unread": list(service.unread),
    }


def _print_list_report(report: Mapping[str, Any], *, as_json: bool) -> None:
    """Print the report as JSON; or as text, with counts in place of lists and one line for each service."""
    if as_json:
        print_json(report)
        return
    counted = {name: len(value) if isinstance(value, list) else value for name, value in report.items()}
    print(format_named_values(counted))
    for each in report["services"]:
        levels = ", ".join(each["levels"]) or "no level"
        print(f"  {each['name']}: {each['status']} since {format_value(each['since'])}, {levels}")


def _activate_home_list(arguments: Arguments, at: datetime) -> ImportedList:
    """Activate the list of a file in a home; after a refusal the previous list stays in force."""
    # Imported on use, because it loads the database packages.
    from gateway.cli.audited_changes import read_act
    from gateway.cli.home_folder import open_engine, read_verb_settings
    from gateway.hub import import_trusted_list, load_recognition_policy

    settings = read_verb_settings(arguments)
    octets = read_file(arguments.file)
    entry = read_act(arguments).make_audit_entry("-", None, None)
    with open_engine(settings) as engine:
        return import_trusted_list(engine, octets, at, load_recognition_policy(settings), entry=entry)


@home_verb("pki list list")
@click.option("--all", is_flag=True, help="also lists that were replaced")
def list_lists(arguments: Arguments) -> None:
    """Print the stored lists and whether each is in force; with ``--all`` also the earlier ones."""
    from gateway.cli.home_folder import read_database, read_verb_settings
    from gateway.hub import get_current_time, load_recognition_policy
    from gateway.store import fetched_lists

    settings = read_verb_settings(arguments)
    with read_database(arguments) as conn:
        rows = (
            fetched_lists.list_all_trusted_lists(conn)
            if arguments.all
            else fetched_lists.list_latest_trusted_lists(conn)
        )
        states = _find_list_states(conn, load_recognition_policy(settings), get_current_time())
    report = [_make_list_row(row, states.get(row.sha256, "not in force")) for row in rows]
    print_table(report, as_json=arguments.json, columns=_COLUMNS)


def _find_list_states(
    conn: Connection, recognition_policy: RecognitionPolicy, at: datetime
) -> dict[str, str]:
    """Return the state of each list in force, by its digest."""
    from gateway.hub import LoadedTrustedLists, TrustedListCache
    from gateway.pki import TrustStore

    lists: LoadedTrustedLists = TrustedListCache().load_lists(conn, recognition_policy)
    context = RecognitionContext(TrustStore(()), lists.root, lists.others).list_current_lists(at)
    return {each.sha256: "ours" if each is lists.root else "in force" for each, _ in context}


def _make_list_row(row: TrustListRow, state: str) -> dict[str, Any]:
    report = read_columns(row)
    del report["signer"]
    return report | {"state": state}
