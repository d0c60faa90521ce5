"""``gateway agreement load|check|list|show|suspend``: agreements with partners."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import click
from sqlalchemy import Connection

from gateway.agreements import AgreementDocument, AgreementFinding, PMode, pmode_to_json, write_overrides
from gateway.cli.audited_changes import change_database, print_change
from gateway.cli.cpa_reception import examine_cpa_at_hub
from gateway.cli.home_folder import read_database, read_verb_settings
from gateway.cli.list_options import (
    check_partner_names,
    list_options,
    print_page,
    read_clock,
    read_list_filter,
)
from gateway.cli.loaded_agreements import (
    STORED_FILE,
    LoadedAgreement,
    collect_certificates,
    find_loaded_agreement,
    is_cpa_file,
    list_pinned_certificates,
)
from gateway.cli.named_files import read_agreement_file, read_file
from gateway.cli.result_output import (
    ReportedFailure,
    format_named_values,
    print_failure,
    print_json,
    print_line,
    print_problem,
    print_sentence,
    print_table,
)
from gateway.cli.shared_options import FILE, changing_verb, home_verb
from gateway.cli.verb_groups import Arguments
from gateway.config import Settings
from gateway.errors import GatewayError
from gateway.hub import get_current_time, read_later_versions, read_stored_overrides
from gateway.message_model import PartyId
from gateway.operations import (
    DatabaseChange,
    finding_to_json,
    format_count,
    format_finding,
    format_value,
    list_agreement_findings,
    list_known_parties,
)
from gateway.store import AgreementRow, agreements, list_searches, parties

_FILE_WORDS = "the agreement: YAML, a CPA of CPPA 2.0, or a P-Mode of Holodeck B2B or phase4"
_AS_WORDS = "the identifier, in a CPA, of the party that this hub is; it is registered for the hub"
_ACCEPT_WORDS = "load the agreement although it has warnings"
_STATES = ("ACTIVE", "SUSPENDED", "RETIRED")
_COLUMNS = ("id", "kind", "status", "valid_from", "valid_until")


@changing_verb("agreement load")
@click.argument("file", type=FILE, help=_FILE_WORDS)
@click.option("--accept-warnings", is_flag=True, help=_ACCEPT_WORDS)
@click.option("--as", "own_id", metavar="[TYPE|]VALUE", help=_AS_WORDS)
def load_file(arguments: Arguments) -> int:
    """Print every finding on a file, and activate its P-Modes; return 1 if the findings prevent this."""
    from gateway.operations import load_checked_agreement

    source, name = read_file(arguments.file), arguments.file.name
    if is_cpa_file(source):
        return _load_cpa(arguments, source, name)
    document = read_agreement_file(source, name, get_current_time())
    agreement = document.pmodes[0].agreement
    with change_database(arguments) as change:
        was_suspended = _is_suspended(change, agreement)
        findings, problem = load_checked_agreement(
            change, document, source, name, accepts_warnings=arguments.accept_warnings
        )
    loaded = _CheckedFile(agreement, [pmode.id for pmode in document.pmodes], findings, was_suspended)
    _print_load_result(loaded, problem, change, as_json=arguments.json)
    return 0 if problem is None else 1


def _load_cpa(arguments: Arguments, cpa_octets: bytes, file_name: str) -> int:
    """Check a CPA, and activate its P-Modes, parties and certificates; return 1 if a finding prevents it."""
    from gateway.cli.cpa_reception import load_cpa
    from gateway.cli.registration import read_party_id

    own_id = read_party_id(arguments.own_id) if arguments.own_id is not None else None
    with change_database(arguments) as change:
        reception = examine_cpa_at_hub(change.conn, change.settings, cpa_octets, file_name, change.at, own_id)
        agreement = reception.document.id if reception.document is not None else None
        was_suspended = agreement is not None and _is_suspended(change, agreement)
        problem = load_cpa(
            change, reception, cpa_octets, file_name, accepts_warnings=arguments.accept_warnings
        )
    loaded = _CheckedFile(
        agreement, [pmode.id for pmode in reception.pmodes], reception.findings, was_suspended
    )
    _print_load_result(loaded, problem, change, as_json=arguments.json)
    return 0 if problem is None else 1


def _is_suspended(change: DatabaseChange, agreement: str) -> bool:
    """Return whether an agreement that is loaded now was loaded before, and is suspended."""
    row = agreements.find_agreement(change.conn, agreement)
    return row is not None and row.status == "SUSPENDED"


@dataclass(frozen=True, slots=True)
class _CheckedFile:
    """A file that was judged: its agreement, None where it cannot be read, P-Modes and findings.

    `was_suspended` says that the agreement was suspended until now.
    """

    agreement: str | None
    pmode_ids: list[str]
    findings: Sequence[AgreementFinding]
    was_suspended: bool


def _print_load_result(
    checked_file: _CheckedFile,
    problem: GatewayError | None,
    change: DatabaseChange,
    *,
    as_json: bool,
) -> None:
    """Print the findings, and that the agreement is in force, or the problem that prevents this."""
    pmode_ids, findings = checked_file.pmode_ids, checked_file.findings
    pmode_list = f"{format_count(len(pmode_ids), 'P-Mode')}: {', '.join(pmode_ids)}"
    lifted = " It is no longer suspended." if checked_file.was_suspended else ""
    sentence = f"Agreement {checked_file.agreement} is loaded with {pmode_list}.{lifted}"
    if as_json:
        report: dict[str, Any] = {
            "agreement": checked_file.agreement,
            "loaded": problem is None,
            "pmodes": pmode_ids,
        }
        report["findings"] = [finding_to_json(finding) for finding in findings]
        if problem is not None:
            print_failure(
                ReportedFailure(problem.detail, problem.problem.id, problem.location, details=report)
            )
        else:
            print_json(change.describe_performed_act(sentence, **report, problem=None))
        return
    for finding in findings:
        say = print if problem is None else print_problem
        say(format_finding(finding))
    if problem is not None:
        print_problem(str(problem))
    else:
        print_sentence(sentence)


@home_verb("agreement check")
@click.argument("file", type=FILE, help=_FILE_WORDS)
def check_file(arguments: Arguments) -> int:
    """Print what loading the file would find; return 1 when there is an error."""
    from gateway.operations import format_finding_counts

    data, name, now = read_file(arguments.file), arguments.file.name, get_current_time()
    settings = read_verb_settings(arguments)
    findings: Sequence[AgreementFinding]
    with read_database(arguments) as conn:
        if is_cpa_file(data):
            findings = examine_cpa_at_hub(conn, settings, data, name, now).findings
        else:
            findings = list_agreement_findings(conn, settings, read_agreement_file(data, name, now), now)
    failed = any(finding.severity == "error" for finding in findings)
    if arguments.json:
        print_json({"ok": not failed, "findings": [finding_to_json(finding) for finding in findings]})
        return 1 if failed else 0
    for finding in findings:
        print(format_finding(finding))
    print_sentence(f"{format_finding_counts(findings)} found")
    return 1 if failed else 0


@home_verb("agreement list")
@list_options(_STATES, "party", timed=False)
def list_agreements(arguments: Arguments) -> None:
    """Print the agreements that the options name, with their validity periods, by name."""
    with read_database(arguments) as conn:
        page = list_searches.search_agreements(conn, read_list_filter(arguments, read_clock()))
        check_partner_names(conn, read_verb_settings(arguments), arguments, page.rows)
    print_page(page, as_json=arguments.json, columns=_COLUMNS)


@changing_verb("agreement suspend")
@click.argument("agreement", help="the agreement's name (`eb:CPAId`)")
def suspend_agreement(arguments: Arguments) -> None:
    """Suspend an agreement; raise the problem of the register for an unknown one."""
    from gateway.operations import suspend_agreement

    name = arguments.agreement
    with change_database(arguments) as change:
        sentence = suspend_agreement(change, name)
    print_change(change, sentence, as_json=arguments.json, agreements=(name,))


_SHOWN_FIELDS: Final = ("id", "state", "valid_from", "valid_until", "loaded_at", "loaded_by", "sha256")
_PARTY_COLUMNS: Final = ("party", "status", "ids", "role", "endpoint")
_PMODE_COLUMNS: Final = ("id", "from", "to", "service", "action", "deliver_to", "receipt", "signed")


@home_verb("agreement show")
@click.argument("agreement", help="the agreement's name (`eb:CPAId`)")
def show_agreement(arguments: Arguments) -> None:
    """Print one agreement; raise GW301 when none is loaded under this name.

    `status` is the stored one; `state` also says whether an active agreement is in force now.
    """
    settings, now = read_verb_settings(arguments), get_current_time()
    with read_database(arguments) as conn:
        loaded = find_loaded_agreement(conn, arguments.agreement)
        findings = _find_current_findings(conn, settings, loaded, now)
        owners = {identifier: party for party in list_known_parties(conn) for identifier in party.ids}
        certificates = _list_certificate_rows(conn, loaded)
    parties_by_id = {identifier: (party.name, party.status) for identifier, party in owners.items()}
    agreement_values = {name: getattr(loaded.row, name) for name in _SHOWN_FIELDS if name != "state"}
    agreement_values |= {"kind": loaded.row.kind, "status": loaded.row.status}
    agreement_values["state"] = _describe_state(loaded.row, now)
    party_rows = _list_party_rows(loaded.pmodes, parties_by_id)
    if arguments.json:
        details = {"parties": party_rows, "pmodes": [pmode_to_json(pmode) for pmode in loaded.pmodes]}
        details["overrides"] = write_overrides(read_stored_overrides(loaded.row))
        details["versions"] = _list_versions(loaded)
        details |= {
            "certificates": certificates,
            "findings": [finding_to_json(finding) for finding in findings],
        }
        print_json(agreement_values | details)
    else:
        _print_sections(agreement_values, party_rows, loaded.pmodes, findings)
        for version in _list_versions(loaded):
            print_line(f"from {version['valid_from']} on: a later version, loaded by {version['loaded_by']}")
        for override in read_stored_overrides(loaded.row):
            scope = f" of P-Mode {override.pmode}" if override.pmode is not None else ""
            print_line(
                f"override: {override.term}{scope} {override.value}, by {override.by} at {override.at}: "
                f"{override.reason}"
            )


def _find_current_findings(
    conn: Connection, settings: Settings, loaded: LoadedAgreement, at: datetime
) -> Sequence[AgreementFinding]:
    """Return the present findings on a loaded agreement, at the places of its file."""
    if loaded.cpa is not None:
        return examine_cpa_at_hub(conn, settings, loaded.row.source, STORED_FILE, at).findings
    try:
        document = read_agreement_file(loaded.row.source, STORED_FILE, at)
    except GatewayError:  # this version refuses a file that an older version accepted
        document = AgreementDocument(loaded.pmodes, loaded.row.id)
    return list_agreement_findings(conn, settings, document, at)


def _list_versions(loaded: LoadedAgreement) -> list[dict[str, Any]]:
    """Return the later versions of an agreement, without their files."""
    return [
        {
            "kind": version.kind,
            "valid_from": version.stored["valid_from"],
            "valid_until": version.stored["valid_until"],
            "loaded_at": version.loaded_at,
            "loaded_by": version.loaded_by,
        }
        for version in read_later_versions(loaded.row)
    ]


def _list_certificate_rows(conn: Connection, loaded: LoadedAgreement) -> list[dict[str, Any]]:
    """Return the certificates that the P-Modes name: their uses, and which party of the register has them."""
    uses: dict[str, dict[str, None]] = {}
    for pin, use in list_pinned_certificates(loaded.pmodes):
        uses.setdefault(pin, {})[use] = None
    certificates, certificate_rows = collect_certificates(conn, loaded), []
    for pin, used in sorted(uses.items()):
        certificate = certificates.get(pin)
        rows = parties.list_certificate_rows(conn, pin)
        certificate_rows.append(
            {
                "sha256": pin,
                "uses": list(used),
                "subject": certificate.subject if certificate is not None else None,
                "issuer": certificate.issuer if certificate is not None else None,
                "not_before": certificate.not_before if certificate is not None else None,
                "not_after": certificate.not_after if certificate is not None else None,
                "party": rows[0].party_id if rows else None,
            }
        )
    return certificate_rows


def _describe_state(row: AgreementRow, at: datetime) -> str:
    """Return SUSPENDED or RETIRED, or for an active agreement: future, in force or over."""
    if row.status != "ACTIVE":
        return str(row.status)
    if row.valid_from is not None and at < row.valid_from:
        return "future"
    return "over" if row.valid_until is not None and at >= row.valid_until else "in force"


def _list_party_rows(
    pmodes: Sequence[PMode], parties_by_id: Mapping[PartyId, tuple[str, str]]
) -> list[dict[str, Any]]:
    """Return a row for each side of the agreement, the sender of the first P-Mode first."""
    rows: dict[tuple[PartyId, ...], dict[str, Any]] = {}
    for pmode in pmodes:
        for ids, role, endpoint in (
            (pmode.from_party, pmode.from_role, pmode.reply_endpoint),
            (pmode.to_party, pmode.to_role, pmode.endpoint),
        ):
            name, status = next(
                (parties_by_id[identifier] for identifier in ids if identifier in parties_by_id), (None, None)
            )
            row = {"party": name, "status": status, "ids": [_format_id(identifier) for identifier in ids]}
            rows.setdefault(ids, row | {"role": role, "endpoint": endpoint})
    return list(rows.values())


def _format_id(identifier: PartyId) -> str:
    return f"{identifier.type}|{identifier.value}" if identifier.type is not None else identifier.value


def _print_sections(
    agreement_values: Mapping[str, Any],
    party_rows: Sequence[dict[str, Any]],
    pmodes: Sequence[PMode],
    findings: Sequence[AgreementFinding],
) -> None:
    """Print the agreement, its parties, its P-Modes and the findings as text."""
    print(format_named_values({name: format_value(agreement_values[name]) for name in _SHOWN_FIELDS}))
    print()
    rows = [row | {"ids": ", ".join(row["ids"])} for row in party_rows]
    print_table(rows, as_json=False, columns=_PARTY_COLUMNS)
    print()
    names = {tuple(row["ids"]): row["party"] or row["ids"][0] for row in party_rows}
    print_table([_make_pmode_row(pmode, names) for pmode in pmodes], as_json=False, columns=_PMODE_COLUMNS)
    print()
    for finding in findings:
        print(format_finding(finding))
    if not findings:
        print("nothing is wrong with it")


def _make_pmode_row(pmode: PMode, names: Mapping[tuple[str, ...], str]) -> dict[str, Any]:
    """Return the table row of a P-Mode; `names` has the name of each party by its formatted identifiers."""
    sender, receiver = (
        names[tuple(_format_id(identifier) for identifier in ids)]
        for ids in (pmode.from_party, pmode.to_party)
    )
    receipt = "by a POST" if pmode.posts_signals or pmode.pull is not None else "in the answer"
    return {
        "id": pmode.id,
        "from": sender,
        "to": receiver,
        "service": pmode.service + (f" ({pmode.service_type})" if pmode.service_type else ""),
        "action": pmode.action,
        "deliver_to": pmode.deliver_to,
        "receipt": "none" if pmode.reliability.ack_requested == "never" else receipt,
        "signed": "yes" if pmode.security.sign else "no",
    }
