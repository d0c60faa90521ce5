"""``gateway agreement lint``: the findings on an agreement, from its file alone or at a hub."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import click

from gateway.cli.home_folder import read_database, read_verb_settings
from gateway.cli.named_files import read_file
from gateway.cli.result_output import print_json, print_sentence
from gateway.cli.shared_options import FILE, home_verb
from gateway.cli.verb_groups import Arguments

if TYPE_CHECKING:
    from gateway.agreements import AgreementFinding


#: Where the rules of an agreement in YAML are stated.
_YAML_CLAUSE: Final = "manual, page agreements.md"


@home_verb("agreement lint")
@click.argument("file", type=FILE, help="the agreement: YAML, a CPA, or a P-Mode of Holodeck B2B or phase4")
def lint_file(arguments: Arguments) -> int:
    """Print every finding on a file; return 1 when it cannot be read or has an error."""
    from gateway.hub import get_current_time

    data, name, now = read_file(arguments.file), arguments.file.name, get_current_time()
    agreement, findings = _collect_findings(arguments, data, name, now)
    failed = any(finding.severity == "error" for finding in findings)
    if arguments.json:
        report = {"readable": agreement is not None, "agreement": agreement}
        print_json(report | {"findings": [_describe_finding(finding) for finding in findings]})
        return 1 if failed else 0
    from gateway.operations import format_finding, format_finding_counts

    for finding in findings:
        print(format_finding(finding))
    print_sentence(f"{format_finding_counts(findings)} found")
    return 1 if failed else 0


def _describe_finding(finding: AgreementFinding) -> dict[str, Any]:
    return {
        "id": finding.rule,
        "severity": finding.severity,
        "xpath": finding.xpath or "",
        "message": finding.text,
        "clause": finding.clause or _YAML_CLAUSE,
        "place": finding.location,
    }


def _collect_findings(
    arguments: Arguments, data: bytes, name: str, now: datetime
) -> tuple[str | None, list[AgreementFinding]]:
    """Return the id of the agreement, None where it cannot be read, and the findings on the file."""
    from gateway.agreements import is_peer_pmode, is_xml_document

    at_hub = bool(arguments.home or arguments.config)
    if is_xml_document(data) and not is_peer_pmode(data):
        return _lint_cpa(arguments, data, name, now) if at_hub else _lint_cpa_alone(data, name, now)
    return _lint_yaml(arguments if at_hub else None, data, name, now)


def _lint_cpa_alone(data: bytes, name: str, now: datetime) -> tuple[str | None, list[AgreementFinding]]:
    from gateway.agreements import check_cpa

    judged = check_cpa(data, name, now)
    return judged.document.id if judged.document is not None else None, list(judged.findings)


def _lint_cpa(
    arguments: Arguments, data: bytes, name: str, now: datetime
) -> tuple[str | None, list[AgreementFinding]]:
    """Return the name of the agreement in a CPA (None if unreadable), and the findings of the hub on it."""
    from gateway.cli.cpa_reception import examine_cpa_at_hub

    settings = read_verb_settings(arguments)
    with read_database(arguments) as conn:
        judged = examine_cpa_at_hub(conn, settings, data, name, now)
    return judged.document.id if judged.document is not None else None, list(judged.findings)


def _lint_yaml(
    arguments: Arguments | None, data: bytes, name: str, now: datetime
) -> tuple[str | None, list[AgreementFinding]]:
    """Judge an agreement in YAML; with `arguments` also by the register of their home."""
    from gateway.agreements import AgreementFinding, find_document_findings
    from gateway.cli.named_files import read_agreement_file
    from gateway.errors import GatewayError
    from gateway.operations import list_agreement_findings
    from gateway.protocols import PROTOCOLS, list_unsupported_terms

    try:
        document = read_agreement_file(data, name, now)
    except GatewayError as refused:
        return None, [AgreementFinding("yaml", "error", refused.location, refused.detail)]
    if arguments is None:
        findings = find_document_findings(document, now, frozenset(PROTOCOLS), list_unsupported_terms)
    else:
        settings = read_verb_settings(arguments)
        with read_database(arguments) as conn:
            findings = list_agreement_findings(conn, settings, document, now)
    return document.pmodes[0].agreement, list(findings)
