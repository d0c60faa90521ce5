"""One run of the suite of ebMS 2.0 or of AS4 against a gateway; its reports, signed with the tester's key."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gateway.cli.result_output import print_json, show_progress
from gateway.cli.shared_options import make_tls_context
from gateway.cli.verb_groups import Arguments
from gateway.client import read_file
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
from gateway_conformance.as4 import (
    As4Listener,
    As4Opponent,
    As4Runner,
    Assertion,
    GatewayDeclarations,
    list_assertion_profiles,
    read_as4_party,
    read_gateway_declarations,
    select_assertions,
)
from gateway_conformance.hostile import UrlTarget, make_endpoint_target
from gateway_conformance.reports import (
    CaseReport,
    RunReport,
    SignedReport,
    get_signature_path,
    sign_report,
    verify_report,
    write_html_report,
    write_junit_report,
)
from gateway_conformance.standard import (
    CallbackListener,
    Opponent,
    Requirement,
    StandardRunner,
    SuiteProfile,
    read_suite_party,
    read_suite_profile,
    select_requirements,
)


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
        certificate_path = path.with_name(path.name.replace(".key.", ".cert."))
        holds_certificate = b"-----BEGIN CERTIFICATE-----" in key
        certificate = key if holds_certificate or certificate_path == path else certificate_path.read_bytes()
    except OSError as error:
        raise GatewayError(MISUSE, f"{error.filename} cannot be read: {error.strerror}", "--sign") from None
    return load_signer(key, certificate)


def write_reports(
    report: RunReport, arguments: Arguments, json_values: Mapping[str, Any] | None = None
) -> None:
    """Write the files that the options name; `facts` are those of the JSON, if not those of the report."""
    signer = check_report_options(arguments)
    if arguments.json not in (None, "-"):
        text = json.dumps(json_values or report.to_json(), ensure_ascii=False, indent=1)
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
    content, signature = read_file(path), read_file(get_signature_path(path))
    signed = verify_report(content, signature)
    if trust is not None:
        anchors = read_certificates(read_file(trust))
        at = signed.signed_at or datetime.now(UTC)
        if signed.certificate.sha256 not in {anchor.sha256 for anchor in anchors}:
            policy = TrustPolicy(revocation="if_present")
            judge = CertificateValidator(TrustStore(anchors, (), policy), RevocationData(()))
            judge(signed.certificate.der, CertificateUse.SIGNING, at).raise_unless_accepted("ds:Signature")
    return signed


def _write_file(path: Path, content: bytes, option: str) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        raise GatewayError(MISUSE, f"{path} cannot be written: {error.strerror}", option) from None


#: The profile of AS4 whose assertions are run unless told otherwise.
DEFAULT_PROFILE = "edelivery-1.15"
_RESTART_SECONDS = 120.0


def select_profile_assertions(profile: Path | str | None, only: str | None) -> tuple[Assertion, ...]:
    """Return the assertions of a profile whose id matches a glob; raise GW808 where there is none."""
    name = str(profile or DEFAULT_PROFILE)
    if name not in list_assertion_profiles():
        profiles = ", ".join(list_assertion_profiles())
        raise GatewayError(
            MISUSE, f"{name[:80]!r} has no assertions; there are those of {profiles}", "--profile"
        )
    rows = select_assertions(name, only)
    if not rows:
        raise GatewayError(MISUSE, f"no assertion has an id like {str(only)[:80]!r}", "--only")
    return rows


def run_as4_suite(arguments: Arguments) -> int:
    """Run the assertions and write the reports; return 1 when the gateway was found wanting."""
    rows = select_profile_assertions(arguments.profile, arguments.only)
    return publish_report(_run_assertions(arguments, rows), arguments)


def run_standard_suite(arguments: Arguments) -> int:
    """Run the requirements and write the reports; return 1 when the gateway was found wanting."""
    rows = select_requirements(arguments.only)
    if not rows:
        raise GatewayError(MISUSE, f"no requirement has an id like {str(arguments.only)[:80]!r}", "--only")
    return publish_report(_run_requirements(arguments, rows), arguments)


def _run_assertions(arguments: Arguments, rows: tuple[Assertion, ...]) -> RunReport:
    folder = _get_partner_folder(arguments, "url")
    profile_path = folder / "profile.yaml"
    declarations = (
        read_gateway_declarations(profile_path) if profile_path.is_file() else GatewayDeclarations()
    )
    party = read_as4_party(folder)
    target = _open_target(arguments)
    listener = As4Listener(party, arguments.listen)
    opponent = As4Opponent(party, target, listener, declarations)

    def run_rows(print_result: Callable[[CaseReport], None]) -> RunReport:
        return As4Runner(opponent, arguments.seconds, print_result).run_assertions(rows)

    report = _run_and_print_rows(arguments, "AS4", len(rows), listener, run_rows)
    profile = {"profile": str(arguments.profile or DEFAULT_PROFILE)}
    return _add_run_details(report, declarations.name or arguments.url, profile, declarations.features)


def _run_requirements(arguments: Arguments, rows: tuple[Requirement, ...]) -> RunReport:
    folder = _get_partner_folder(arguments, "url", "agreement")
    profile = _read_profile(arguments, folder)
    party = read_suite_party(folder, arguments.agreement, profile.action)
    target = _open_target(arguments)
    listener = CallbackListener(party, target.send, arguments.listen)
    opponent = Opponent(party, target, listener, profile, _make_restart(arguments, target))

    def run_rows(print_result: Callable[[CaseReport], None]) -> RunReport:
        return StandardRunner(opponent, arguments.seconds, print_result).run_requirements(rows)

    report = _run_and_print_rows(arguments, "ebMS 2.0", len(rows), listener, run_rows)
    agreement = {"agreement": party.agreements["main"].name}
    return _add_run_details(report, profile.name or arguments.url, agreement, profile.features)


def _get_partner_folder(arguments: Arguments, *needed: str) -> Path:
    """Return the partner folder; raise GW808 where there is none, or a needed option is missing."""
    for name in needed:
        if getattr(arguments, name) is None:
            raise GatewayError(MISUSE, f"the suite {arguments.suite} needs --{name}", f"--{name}")
    folder: Path = arguments.partner or Path("partner")
    if not folder.is_dir():
        verb_words = f"gateway conformance invite {arguments.suite} --out {folder}"
        raise GatewayError(MISUSE, f"there is no folder {folder}: `{verb_words}` makes one", "--partner")
    return folder


def _open_target(arguments: Arguments) -> UrlTarget:
    """Return the gateway to be tested; raise GW808 where it cannot be reached."""
    target = make_endpoint_target(arguments.url, make_tls_context(arguments))
    if not target.can_be_reached():
        raise GatewayError(MISUSE, f"nothing accepts a connection at {arguments.url}", "--url")
    return target


def _run_and_print_rows(
    arguments: Arguments,
    title: str,
    count: int,
    listener: As4Listener | CallbackListener,
    run_rows: Callable[[Callable[[CaseReport], None]], RunReport],
) -> RunReport:
    """Run that many rows while the suite listens, and print each result."""
    output = sys.stderr if arguments.json == "-" else sys.stdout
    listener.start()
    try:
        with show_progress(title, count) as bar:

            def print_result(result: CaseReport) -> None:
                bar.print_line(result.format_line(), output)
                bar.advance_one()

            return run_rows(print_result)
    finally:
        listener.close()


def _add_run_details(
    report: RunReport, gateway: str, rules: dict[str, str], features: frozenset[str]
) -> RunReport:
    """Return the report with the time, the gateway, the rules of the test, and the declared features."""
    at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    declared = ", ".join(sorted(features)) or "none"
    return replace(report, run_details={"at": at, "gateway": gateway, **rules, "features": declared})


def _read_profile(arguments: Arguments, folder: Path) -> SuiteProfile:
    if arguments.profile is not None:
        return read_suite_profile(arguments.profile)
    profile_path = folder / "profile.yaml"
    return read_suite_profile(profile_path) if profile_path.is_file() else SuiteProfile()


def _make_restart(arguments: Arguments, target: UrlTarget) -> Callable[[], None] | None:
    """Return how the gateway is restarted: by the command, or by the operator at the terminal.

    Either way the suite then waits until the gateway can be reached again.
    """
    command = arguments.restart_command
    if command is None and not sys.stdin.isatty():
        return None

    def restart_gateway() -> None:
        if command is None:
            _ask_operator()
        else:
            subprocess.run(command, shell=True, check=True, timeout=_RESTART_SECONDS)  # noqa: S602
        end = time.monotonic() + _RESTART_SECONDS
        while time.monotonic() < end and not target.can_be_reached():
            time.sleep(0.2)

    return restart_gateway


def _ask_operator() -> None:
    """Ask at the terminal for a restart, and wait for Enter; progress bars and JSON are left alone."""
    print("\nRestart the gateway now. Press Enter when it runs again.", file=sys.stderr, flush=True)
    sys.stdin.readline()
