"""Writes the reports of a run of a suite to files, and signs the page with the tester's key."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gateway.cli.result_output import print_json
from gateway.cli.verb_groups import Arguments
from gateway.conformance.reports import (
    RunReport,
    SignedReport,
    get_signature_path,
    sign_report,
    verify_report,
    write_html_report,
    write_junit_report,
)
from gateway.errors import MISUSE, GatewayError
from gateway.pki import (
    CertificateUse,
    CertificateValidator,
    RevocationData,
    Signer,
    TrustPolicy,
    TrustStore,
    load_signer,
    read_certificates,
)

__all__ = ["check_report_options", "publish_report", "read_report_signature", "write_reports"]


def check_report_options(arguments: Arguments) -> Signer | None:
    """Return the tester's key, None without one; raise GW808 for options that cannot be carried out."""
    if arguments.sign is None:
        return None
    if arguments.html is None:
        raise GatewayError(MISUSE, "--sign signs the page of --html", "--sign")
    return _load_tester_key(arguments.sign)


def _load_tester_key(path: Path) -> Signer:
    """Return the key in a PEM file that has its certificate too, or beside NAME.key.pem as NAME.cert.pem."""
    try:
        key = path.read_bytes()
        beside = path.with_name(path.name.replace(".key.", ".cert."))
        own = b"-----BEGIN CERTIFICATE-----" in key
        certificate = key if own or beside == path else beside.read_bytes()
    except OSError as error:
        raise GatewayError(MISUSE, f"{error.filename} cannot be read: {error.strerror}", "--sign") from None
    return load_signer(key, certificate)


def write_reports(report: RunReport, arguments: Arguments, facts: Mapping[str, Any] | None = None) -> None:
    """Write the files that the options name; `facts` are those of the JSON, if not those of the report."""
    signer = check_report_options(arguments)
    if arguments.json not in (None, "-"):
        text = json.dumps(facts or report.to_json(), ensure_ascii=False, indent=1)
        _write_file(Path(arguments.json), f"{text}\n".encode(), "--json")
    if arguments.junit is not None:
        _write_file(arguments.junit, write_junit_report(report), "--junit")
    if arguments.html is not None:
        page = write_html_report(report)
        _write_file(arguments.html, page, "--html")
        if signer is not None:
            signature = sign_report(arguments.html.name, page, signer, datetime.now(UTC))
            _write_file(get_signature_path(arguments.html), signature, "--html")


def publish_report(report: RunReport, arguments: Arguments) -> int:
    """Write the reports and print the summary, or the JSON; return 1 when the gateway was found wanting."""
    write_reports(report, arguments)
    if arguments.json == "-":
        print_json(report.to_json())
    else:
        print(report.format_summary())
    return 0 if report.is_successful else 1


def read_report_signature(path: Path, trust: Path | None) -> SignedReport:
    """Return who signed a report, after all checks; raise GW903, or the problem of its signature.

    With `trust`, the signer is one of its certificates or was certified by one of them.
    """
    content, signature = _read_file(path), _read_file(get_signature_path(path))
    signed = verify_report(content, signature)
    if trust is not None:
        anchors = read_certificates(_read_file(trust))
        at = signed.signed_at or datetime.now(UTC)
        if signed.certificate.sha256 not in {one.sha256 for one in anchors}:
            policy = TrustPolicy(revocation="if_present")
            judge = CertificateValidator(TrustStore(anchors, (), policy), RevocationData(()))
            judge(signed.certificate.der, CertificateUse.SIGNING, at).raise_unless_accepted("ds:Signature")
    return signed


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise GatewayError(MISUSE, f"{path} cannot be read: {error.strerror}", str(path)) from None


def _write_file(path: Path, content: bytes, option: str) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        raise GatewayError(MISUSE, f"{path} cannot be written: {error.strerror}", option) from None
