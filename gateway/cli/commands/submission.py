"""``gateway submission check``: judges a submission with its attachments as the hub would."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from gateway.cases import Submission
from gateway.cli.home_folder import find_today, read_verb_settings
from gateway.cli.hub_findings import open_read_only_hub
from gateway.cli.named_files import (
    find_mapping_folder,
    mapping_path_option,
    read_certificate_files,
    read_file,
    split_named_file,
)
from gateway.cli.result_output import print_json
from gateway.cli.shared_options import FILE, home_verb
from gateway.cli.verb_groups import Arguments
from gateway.client import read_membership, sign_submission
from gateway.config import NeedSettings
from gateway.errors import MISUSE, GatewayError
from gateway.hub import (
    InspectionFinding,
    InspectionReport,
    InspectionRules,
    NeedsAssessment,
    assess_submission_needs,
    inspect_submission,
    load_rules,
    make_inspection_rules,
)
from gateway.operations import format_count
from gateway.pki import CertificateUse, CertificateValidator, TrustPolicy, TrustStore
from gateway.wire import serialize_element
from gateway.xmlsec import verify_document

_TRUST_WORDS = "without --home: the authority of the signer's certificate"
_SENDER_WORDS = "the party that will send the message, as registered; default: the signer"
_SIGN_WORDS = "sign as this party, as `gateway submit` does, if there is no signature"


@home_verb("submission check")
@click.argument("file", type=FILE, help="the submission")
@click.option("--attach", multiple=True, metavar="cid=FILE", help="an attachment; repeatable")
@click.option("--as", "party", metavar="PARTY", help=_SIGN_WORDS)
@click.option("--partner", type=FILE, default=Path(), metavar="DIR", help="the folder of --as (default: .)")
@click.option("--sender", metavar="PARTY", help=_SENDER_WORDS)
@click.option("--trust", type=FILE, multiple=True, metavar="PEM", help=_TRUST_WORDS)
@mapping_path_option()
def check_submission(arguments: Arguments) -> int:
    """Print every problem of a submission; return 0 without problems, else 1."""
    content = _read_signed_content(arguments)
    attachments = (split_named_file(text, "--attach") for text in arguments.attach)
    files = {cid.removeprefix("cid:"): read_file(path) for cid, path in attachments}
    unchecked: list[str] = []
    with _open_rules(arguments, unchecked) as rules:
        report = inspect_submission(content, files, rules)
    report.skipped_steps[:0] = unchecked
    if arguments.json:
        print_json(_describe_report(arguments, report))
    else:
        _print_report(arguments, report)
    return 1 if report.findings else 0


def _read_signed_content(arguments: Arguments) -> bytes:
    """Return the octets of the file; signed in memory where ``--as`` asks for it."""
    content = read_file(arguments.file)
    if arguments.party is None:
        return content
    member = read_membership(arguments.partner, arguments.party)
    try:
        return serialize_element(sign_submission(content, member))
    except GatewayError:
        # It cannot be read: the inspection says why and where.
        return content


@contextmanager
def _open_rules(arguments: Arguments, unchecked: list[str]) -> Iterator[InspectionRules]:
    """Provide the rules of a home or of the shipped mappings; append the checks left out to `unchecked`."""
    at = datetime.now(UTC)
    if not (arguments.home or arguments.config):
        yield _make_offline_rules(arguments, at, unchecked)
        return
    if arguments.trust or arguments.path:
        raise GatewayError(MISUSE, "a home has its own trust and mappings", "--trust, --path")
    with open_read_only_hub(read_verb_settings(arguments)) as hub:
        yield make_inspection_rules(hub, arguments.sender, at)


def _make_offline_rules(arguments: Arguments, at: datetime, unchecked: list[str]) -> InspectionRules:
    """Return the rules for a submission in a file where no hub is asked.

    Its signature is verified, and its certificate by the authorities of ``--trust``. Appends to `unchecked`
    a sentence for each check that is left out.
    """
    anchors = read_certificate_files(arguments.trust)
    validator = CertificateValidator(TrustStore(anchors, policy=TrustPolicy(revocation="if_present")))
    if not anchors:
        unchecked.append("whether the hub trusts the signer's certificate: give --home, or --trust ca.pem")
    unchecked.append("revocation of the certificate, and whether the reference is in use: give --home")

    def check_signer(opened: Any) -> None:
        certificate = verify_document(opened.root).certificate
        if anchors:
            validator(certificate.der, CertificateUse.SIGNING, at).raise_unless_accepted(
                "/Submission/ds:Signature"
            )

    rules = load_rules(find_mapping_folder(arguments.path))
    day = find_today(arguments)

    def weigh_needs(submission: Submission, _release: object) -> NeedsAssessment:
        return assess_submission_needs(submission, rules, NeedSettings(), day)

    return InspectionRules(rules.bundle, check_signer, at=at, assess_needs=weigh_needs)


def _describe_report(arguments: Arguments, report: InspectionReport) -> dict[str, Any]:
    """Return an inspection as plain values; `accepted` is True if there are no problems, only warnings."""
    return {
        "file": str(arguments.file),
        "accepted": not report.findings,
        "reference": report.reference,
        "signer": report.signer,
        "problems": [_describe_finding(finding) for finding in report.findings],
        "warnings": [_describe_finding(warning) for warning in report.warnings],
        "not_checked": report.skipped_steps,
    }


def _describe_finding(finding: InspectionFinding) -> dict[str, Any]:
    return {
        "id": finding.problem.id,
        "title": finding.problem.title,
        "message": finding.message,
        "pointer": finding.pointer,
        "xpath": finding.xpath,
        "line": finding.line,
        "application": finding.application,
        "document": finding.document,
        "organisation": finding.organisation,
    }


def _print_report(arguments: Arguments, report: InspectionReport) -> None:
    number = len(report.findings)
    verdict = f"the hub would refuse it: {format_count(number, 'problem')}" if number else "no problem found"
    print(f"{arguments.file}: {verdict}")
    pairs = [("", finding) for finding in report.findings] + [
        ("warning ", finding) for finding in report.warnings
    ]
    for kind, finding in pairs:
        line = f"line {finding.line}, " if finding.line else ""
        concern = f" ({finding.concern})" if finding.concern else ""
        print(
            f"  {kind}{finding.problem.id} {line}{finding.pointer or finding.xpath or 'the file'}{concern}: "
            f"{finding.message}"
        )
    for reason in report.skipped_steps:
        print(f"  not checked: {reason}")
