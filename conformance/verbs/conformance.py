"""``gateway conformance …``: the hostile suite against any gateway, its table, and its partner folder."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gateway.cli.home_folder import keep_files_private
from gateway.cli.result_output import print_done, print_json, print_sentence, show_progress
from gateway.cli.shared_options import FILE, changing_verb, json_option, make_tls_context, tls_options
from gateway.cli.verb_groups import Arguments, verb
from gateway.errors import MISUSE, GatewayError
from gateway_conformance.hostile import (
    AttackerKit,
    AttackRunner,
    RefusedControl,
    SuiteReport,
    Target,
    UrlTarget,
    find_refused_control,
    locate_faces,
    make_sample_kit,
    read_attack_table,
    read_attacker_kit,
    select_cases,
)
from gateway_conformance.reports import CaseReport
from gateway_conformance.verbs.suite_runs import check_report_options, read_report_signature, write_reports

if TYPE_CHECKING:
    from gateway_conformance.verbs.invited_suites import ForeignGateway


_HOSTILE = "hostile"
_AS4 = "as4"
_SUITES = (_HOSTILE, "ebms2", _AS4)
_JSON_WORDS = "print JSON, progress goes to standard error; or write it to a file"
#: Where the suite listens unless told otherwise.
_CALLBACK = "http://127.0.0.1:8790"
_EVERY_WORDS = "send a valid message after every N cases"


@verb("conformance run")
@click.argument("suite", type=click.Choice(_SUITES), help="the suite")
@click.option("--url", help="base URL of the gateway, or of its ebMS endpoint")
@tls_options()
@click.option("--partner", type=FILE, help="the folder with the keys and agreements of the suite's parties")
@click.option("--only", metavar="GLOB", help="run the cases whose id matches, for example 'SIG-*'")
@click.option("--every", type=click.IntRange(1, 1_000_000), default=1, metavar="N", help=_EVERY_WORDS)
@click.option("--has", multiple=True, metavar="FEATURE", help="a feature that the gateway has; repeatable")
@click.option(
    "--agreement", metavar="A", help="(ebms2) the main agreement: a file, or a CPAId of the partner folder"
)
@click.option(
    "--profile",
    type=FILE,
    metavar="F",
    help="(ebms2) what the gateway declares, by default that of the folder; (as4) the name of a profile",
)
@click.option(
    "--listen", metavar="HOST:PORT", help="(ebms2, as4) where callbacks come, if not at the agreed endpoint"
)
@click.option("--restart-command", metavar="CMD", help="(ebms2) restarts the gateway")
@click.option("--seconds", type=float, default=1200.0, help="(ebms2, as4) the longest time of the run")
@click.option("--json", is_flag=False, flag_value="-", metavar="[F]", help=_JSON_WORDS)
@click.option("--junit", type=FILE, metavar="F", help="write JUnit XML")
@click.option("--html", type=FILE, metavar="F", help="write one HTML page with every exchange")
@click.option(
    "--sign", type=FILE, metavar="KEY", help="sign the page of --html: its name and .signature.xml beside it"
)
def run_suite(arguments: Arguments) -> int:
    """Run the cases and print their results; return 1 when one failed."""
    check_report_options(arguments)
    if arguments.suite == _AS4:
        from gateway_conformance.verbs.suite_runs import run_as4_suite

        return run_as4_suite(arguments)
    if arguments.suite != _HOSTILE:
        from gateway_conformance.verbs.suite_runs import run_standard_suite

        return run_standard_suite(arguments)
    return _run_hostile_suite(arguments)


def _run_hostile_suite(arguments: Arguments) -> int:
    cases = select_cases(arguments.only)
    if not cases:
        raise GatewayError(MISUSE, f"no case id matches {str(arguments.only)[:80]!r}", "--only")
    unknown = sorted(set(arguments.has) - {case.feature for case in select_cases(None) if case.feature})
    if unknown:
        raise GatewayError(MISUSE, f"no case needs the feature {unknown[0][:80]!r}", "--has")
    output = sys.stderr if arguments.json == "-" else sys.stdout

    with (
        _open_opponents(arguments) as (attacker_kit, target),
        show_progress(f"{arguments.suite} suite", len(cases)) as bar,
    ):

        def print_result(result: CaseReport) -> None:
            bar.print_line(result.format_line(), output)
            bar.advance_one()

        runner = AttackRunner(attacker_kit, target, arguments.every, frozenset(arguments.has))
        if refused := find_refused_control(runner, cases):
            return _print_refused_control(arguments, target, refused)
        report = runner.run_cases(cases, print_result)
    write_reports(report.to_run_report(), arguments, report.to_json())
    if arguments.json == "-":
        print_json(report.to_json())
    else:
        print(report.format_summary())
    return 0 if report.is_successful else 1


def _print_refused_control(arguments: Arguments, target: Target, refused_control: RefusedControl) -> int:
    """Write the reports, with the control as their one case, and print what to do first; return 1."""
    report = SuiteReport(arguments.suite, target.name, ())
    facts = report.to_json() | {"stopped": refused_control.to_json()}
    write_reports(replace(report, results=(refused_control.to_case(),)).to_run_report(), arguments, facts)
    if arguments.json == "-":
        print_json(facts)
    else:
        print(refused_control.format_lines())
    return 1


@contextlib.contextmanager
def _open_opponents(arguments: Arguments) -> Iterator[tuple[AttackerKit, Target]]:
    """Provide the attacker kit and the target that the options name."""
    if arguments.url is None:
        if arguments.partner is not None:
            raise GatewayError(MISUSE, "--partner needs --url", "--partner")
        # An own hub needs every package; a gateway at a URL needs no database here.
        from gateway_conformance.verbs.conformance_home import open_throwaway_hub

        with open_throwaway_hub() as opponents:
            yield opponents
        return
    if arguments.partner is not None and not arguments.partner.is_dir():
        raise GatewayError(MISUSE, f"there is no folder {arguments.partner}", "--partner")
    attacker_kit = _read_partner_folder(arguments.partner) if arguments.partner else make_sample_kit()
    # Attacks that write a whole request into a body need the path that the gateway has below its base URL.
    attacker_kit = replace(attacker_kit, faces=locate_faces(arguments.url, attacker_kit.faces))
    yield attacker_kit, UrlTarget(arguments.url, attacker_kit.faces, tls=make_tls_context(arguments))


def _read_partner_folder(partner: Path) -> AttackerKit:
    """Read a partner folder; report an error in it as misuse, not as a fault of the gateway."""
    try:
        return read_attacker_kit(partner)
    except GatewayError as wrong:
        if wrong.problem is MISUSE:
            raise
        raise GatewayError(MISUSE, f"{partner}: {wrong.detail}", wrong.location) from wrong


@verb("conformance list")
@click.argument("suite", type=click.Choice(_SUITES), default=_HOSTILE, help="the suite (default: hostile)")
@click.option("--only", metavar="GLOB", help="the cases whose id matches")
@json_option()
def list_suite_cases(arguments: Arguments) -> None:
    """Print the cases of the suite."""
    if arguments.suite == _AS4:
        _list_assertions(arguments)
        return
    if arguments.suite != _HOSTILE:
        _list_requirements(arguments)
        return
    for case in select_cases(arguments.only):
        row = {"id": case.id, "face": case.face, "title": case.title, "source": case.source}
        row |= {"feature": case.feature}
        if arguments.json:
            print_json(row)
        else:
            print(f"{case.id}  [{case.face}] {case.title}")


def _list_assertions(arguments: Arguments) -> None:
    from gateway_conformance.verbs.suite_runs import DEFAULT_PROFILE, select_profile_assertions

    rows = select_profile_assertions(DEFAULT_PROFILE, arguments.only)
    if arguments.json:
        assertions = [assertion.to_json() for assertion in rows]
        print_json({"suite": arguments.suite, "profile": DEFAULT_PROFILE, "assertions": assertions})
        return
    for assertion in rows:
        print(
            f"{assertion.id}  §{assertion.clause}  [{assertion.feature or assertion.side}] {assertion.title}"
        )


def _list_requirements(arguments: Arguments) -> None:
    from gateway_conformance.standard import select_requirements

    rows = select_requirements(arguments.only)
    if arguments.json:
        print_json(
            {"suite": arguments.suite, "requirements": [requirement.to_json() for requirement in rows]}
        )
        return
    for requirement in rows:
        print(f"{requirement.id}  §{requirement.clause}  [{requirement.feature}] {requirement.title}")


@verb("conformance table")
@json_option()
def print_attacks(arguments: Arguments) -> None:
    """Print the known attacks, and the defence against each of them."""
    for attack in read_attack_table():
        if arguments.json:
            print_json(attack.to_json())
        else:
            print(f"{attack.id}  {attack.title}\n        {attack.format_coverage()}")


@changing_verb("conformance invite")
@click.argument("suite", type=click.Choice(_SUITES), default=_HOSTILE, help="the suite (default: hostile)")
@click.option("--out", type=FILE, required=True, help="the partner folder to write")
@click.option("--callback", default=_CALLBACK, metavar="URL", help="(ebms2, as4) where the suite listens")
@click.option(
    "--certificate",
    type=FILE,
    metavar="PEM",
    help="(ebms2, as4) of a gateway of another make; no home is touched",
)
@click.option(
    "--encryption-certificate",
    type=FILE,
    metavar="PEM",
    help="(ebms2, as4) for which payloads are encrypted for it",
)
@click.option("--party", metavar="[TYPE|]ID", help="(ebms2, as4) the party id of that gateway")
@click.option("--url", help="(ebms2, as4) the ebMS endpoint of that gateway")
def invite_suite(arguments: Arguments) -> None:
    """Register the suite's parties in a sandbox home, and write the partner folder of the suite."""
    with keep_files_private():
        invite = _invite_hostile if arguments.suite == _HOSTILE else _invite_partner_suite
        files = invite(arguments)
    is_foreign = arguments.certificate is not None
    instruction = (
        f"Load what is in its {'agreements' if arguments.suite == _AS4 else 'cpa'} folder into the gateway."
        if is_foreign
        else "The suite's parties are registered."
    )
    sentence = f"{instruction} {arguments.out} is the folder of the suite."
    if not arguments.json:
        print("\n".join(files))
    print_done(arguments, sentence, files=files)


def _invite_hostile(arguments: Arguments) -> list[str]:
    from gateway.cli.audited_changes import read_act
    from gateway.cli.home_folder import read_verb_settings
    from gateway_conformance.verbs.conformance_home import invite_suite as invite

    partner_folder = invite(read_verb_settings(arguments), arguments.out, read_act(arguments))
    return [str(arguments.out / name) for name in sorted(partner_folder.files)]


def _invite_partner_suite(arguments: Arguments) -> list[str]:
    """Invite a suite to a sandbox home, or to a gateway of another make; return the files written."""
    from gateway.cli.audited_changes import read_act
    from gateway.cli.home_folder import read_verb_settings
    from gateway_conformance.verbs.conformance_home import read_own_gateway
    from gateway_conformance.verbs.invited_suites import INVITED_SUITES

    suite, out, callback = INVITED_SUITES[arguments.suite], arguments.out, arguments.callback
    if arguments.certificate is not None:
        receiver = arguments.encryption_certificate
        files = suite.invite_to_foreign(out, _read_foreign_gateway(arguments), callback, receiver)
        return _list_partner_files(arguments, files)
    settings = read_verb_settings(arguments)
    gateway = read_own_gateway(settings, suite.protocol)
    files = suite.invite_to_home(settings, out, callback, gateway, read_act(arguments))
    return _list_partner_files(arguments, files)


def _read_foreign_gateway(arguments: Arguments) -> ForeignGateway:
    """Return the gateway of another make; raise GW808 where its party id or its URL is missing."""
    from gateway.cli.registration import read_party_id
    from gateway_conformance.verbs.invited_suites import ForeignGateway

    for name in ("party", "url"):
        if getattr(arguments, name) is None:
            raise GatewayError(MISUSE, f"a gateway of another make needs --{name}", f"--{name}")
    return ForeignGateway(arguments.certificate, read_party_id(arguments.party), arguments.url)


def _list_partner_files(arguments: Arguments, files: Iterable[str]) -> list[str]:
    return [str(arguments.out / name) for name in sorted([*files, "profile.yaml"])]


@verb("conformance verify")
@click.argument("report", type=FILE, help="the page that was signed")
@click.option("--trust", type=FILE, metavar="PEM", help="the authority or the certificate of the tester")
@json_option()
def verify_report_signature(arguments: Arguments) -> None:
    """Verify that a report is as its tester signed it; exit with 1 when it is not."""
    signed_report = read_report_signature(arguments.report, arguments.trust)
    row = {
        "file": signed_report.file,
        "sha256": signed_report.sha256,
        "signer": signed_report.certificate.subject,
        "signed_at": signed_report.signed_at.isoformat() if signed_report.signed_at else None,
        "trusted": arguments.trust is not None,
    }
    if arguments.json:
        print_json(row)
    else:
        unchecked = "" if arguments.trust is not None else " Who that is was not checked: --trust does."
        print_sentence(f"{arguments.report} is as {signed_report.certificate.subject} signed it.{unchecked}")
