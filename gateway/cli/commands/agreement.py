"""``gateway agreement load|check|list|suspend``: agreements with partners."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from gateway.cli.audited_changes import change_database, print_change
from gateway.cli.list_options import list_options, print_page, read_clock, read_list_filter
from gateway.cli.named_files import read_file
from gateway.cli.partner_names import check_partner_names
from gateway.cli.result_output import (
    ReportedFailure,
    count_things,
    print_failure,
    print_json,
    print_problem,
    print_sentence,
)
from gateway.cli.settings import read_database, read_verb_settings
from gateway.cli.shared_options import FILE, change_options, home_options
from gateway.cli.verb_groups import Arguments, verb
from gateway.operations import DatabaseChange
from gateway.store import agreements, register_searches

if TYPE_CHECKING:
    from gateway.agreements import AgreementFinding
    from gateway.errors import GatewayError
    from gateway.operations import StatedFinding

__all__ = ["check_file", "list_agreements", "load_file", "suspend_agreement"]

_FILE_WORDS = "the agreement: YAML, a CPA of CPPA 2.0, or a P-Mode of Holodeck B2B or phase4"
_AS_WORDS = "the identifier, in a CPA, of the party that this hub is; it is registered for the hub"
_ACCEPT_WORDS = "load the agreement although it has warnings"
_STATES = ("ACTIVE", "SUSPENDED", "RETIRED")
_COLUMNS = ("id", "kind", "status", "valid_from", "valid_until")


@verb
@click.argument("file", type=FILE, help=_FILE_WORDS)
@click.option("--accept-warnings", is_flag=True, help=_ACCEPT_WORDS)
@click.option("--as", "own_id", metavar="[TYPE|]VALUE", help=_AS_WORDS)
@change_options()
def load_file(arguments: Arguments) -> int:
    """Say every finding, and activate the P-Modes of a file; return 1 when its findings refuse it."""
    from gateway.agreements import is_peer_pmode, is_xml_document
    from gateway.cli.agreement_files import read_agreement_file
    from gateway.hub import get_current_time
    from gateway.operations import load_judged_agreement

    source, name = read_file(arguments.file), arguments.file.name
    if is_xml_document(source) and not is_peer_pmode(source):
        return _load_cpa(arguments, source, name)
    document = read_agreement_file(source, name, get_current_time())
    agreement = document.pmodes[0].agreement
    with change_database(arguments) as change:
        suspended = _is_suspended(change, agreement)
        findings, problem = load_judged_agreement(
            change, document, source, name, accepted=arguments.accept_warnings
        )
    loaded = _LoadedFile(agreement, [pmode.id for pmode in document.pmodes], findings, suspended)
    _print_judgment(loaded, problem, (change, arguments.json))
    return 0 if problem is None else 1


def _load_cpa(arguments: Arguments, source: bytes, name: str) -> int:
    """Judge a CPA, and activate its P-Modes, its parties and their certificates."""
    from gateway.cli.cpa_reception import judge_cpa_at_hub, load_cpa
    from gateway.cli.registration import read_party_id

    own_id = read_party_id(arguments.own_id) if arguments.own_id is not None else None
    with change_database(arguments) as change:
        judged = judge_cpa_at_hub(change.conn, change.settings, (source, name), change.at, own_id)
        agreement = judged.document.id if judged.document is not None else None
        suspended = agreement is not None and _is_suspended(change, agreement)
        problem = load_cpa(change, judged, (source, name), accepted=arguments.accept_warnings)
    loaded = _LoadedFile(agreement, [pmode.id for pmode in judged.pmodes], judged.findings, suspended)
    _print_judgment(loaded, problem, (change, arguments.json))
    return 0 if problem is None else 1


def _is_suspended(change: DatabaseChange, agreement: str) -> bool:
    """Return whether an agreement that is loaded now was loaded before, and is suspended."""
    row = agreements.find_agreement(change.conn, agreement)
    return row is not None and row.status == "SUSPENDED"


class _LoadedFile(NamedTuple):
    """A file that was judged: its agreement, None where it cannot be read, P-Modes and findings.

    `suspended` says that the agreement was suspended until now.
    """

    agreement: str | None
    modes: list[str]
    findings: Sequence[AgreementFinding | StatedFinding]
    suspended: bool


def _print_judgment(
    loaded: _LoadedFile,
    problem: GatewayError | None,
    output: tuple[DatabaseChange, bool],
) -> None:
    """Print the findings, and that the agreement is in force, or the problem that prevents this."""
    from gateway.operations import finding_to_json, format_finding

    name, modes, findings, suspended = loaded
    (change, as_json), words = output, f"{count_things(len(modes), 'P-Mode')}: {', '.join(modes)}"
    lifted = " It is no longer suspended." if suspended else ""
    sentence = f"Agreement {name} is loaded with {words}.{lifted}"
    if as_json:
        told: dict[str, Any] = {"agreement": name, "loaded": problem is None, "pmodes": modes}
        told["findings"] = [finding_to_json(one) for one in findings]
        if problem is not None:
            print_failure(ReportedFailure(problem.detail, problem.problem.id, problem.location, more=told))
        else:
            print_json(change.describe_done(sentence, **told, problem=None))
        return
    for one in findings:
        say = print if problem is None else print_problem
        say(format_finding(one))
    if problem is not None:
        print_problem(str(problem))
    else:
        print_sentence(sentence)


@verb
@click.argument("file", type=FILE, help=_FILE_WORDS)
@home_options()
def check_file(arguments: Arguments) -> int:
    """Print what loading the file would find; return 1 when there is an error."""
    from gateway.agreements import is_peer_pmode, is_xml_document
    from gateway.cli.agreement_files import read_agreement_file
    from gateway.cli.cpa_reception import judge_cpa_at_hub
    from gateway.hub import get_current_time
    from gateway.operations import (
        count_findings,
        finding_to_json,
        format_finding,
        judge_agreement,
    )

    data, name, now = read_file(arguments.file), arguments.file.name, get_current_time()
    settings = read_verb_settings(arguments)
    findings: Sequence[AgreementFinding | StatedFinding]
    with read_database(arguments) as conn:
        if is_xml_document(data) and not is_peer_pmode(data):
            findings = judge_cpa_at_hub(conn, settings, (data, name), now).findings
        else:
            findings = judge_agreement(conn, settings, read_agreement_file(data, name, now), now)
    failed = any(one.severity == "error" for one in findings)
    if arguments.json:
        print_json({"ok": not failed, "findings": [finding_to_json(one) for one in findings]})
        return 1 if failed else 0
    for one in findings:
        print(format_finding(one))
    print_sentence(f"{count_findings(findings)} found")
    return 1 if failed else 0


@verb
@list_options(_STATES, "party", timed=False)
@home_options()
def list_agreements(arguments: Arguments) -> int:
    """Print the agreements that the options name, with their validity periods, by name."""
    with read_database(arguments) as conn:
        page = register_searches.search_agreements(conn, read_list_filter(arguments, read_clock()))
        check_partner_names(conn, read_verb_settings(arguments), arguments, page.rows)
    print_page(page, as_json=arguments.json, columns=_COLUMNS)
    return 0


@verb
@click.argument("agreement", help="the agreement's name (`eb:CPAId`)")
@change_options()
def suspend_agreement(arguments: Arguments) -> int:
    """Suspend an agreement; raise the problem of the register for an unknown one."""
    from gateway.operations import suspend_agreement

    name = arguments.agreement
    with change_database(arguments) as change:
        sentence = suspend_agreement(change, name)
    print_change(change, sentence, as_json=arguments.json, agreements=(name,))
    return 0
