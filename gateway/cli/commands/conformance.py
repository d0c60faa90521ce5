"""``gateway conformance …``: the hostile suite against any gateway, its table, and its partner folder."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from gateway.cli.home_folder import keep_files_private
from gateway.cli.progress_bars import show_progress
from gateway.cli.result_output import print_json, print_sentence
from gateway.cli.shared_options import FILE, change_options, json_option, open_tls, tls_options
from gateway.cli.verb_groups import Arguments, verb
from gateway.conformance.hostile import (
    AttackerKit,
    AttackRunner,
    CaseResult,
    RefusedControl,
    SuiteReport,
    Target,
    UrlTarget,
    find_refused_control,
    make_sample_kit,
    read_attack_table,
    read_attacker_kit,
    select_cases,
)
from gateway.errors import MISUSE, GatewayError

__all__ = ["invite_suite", "list_suite_cases", "print_attacks", "run_suite"]

_SUITES = ("hostile",)
_EVERY_WORDS = "send a valid message after every N cases"


@verb
@click.argument("suite", type=click.Choice(_SUITES), help="the suite")
@click.option("--url", help="base URL of the gateway, or of its ebMS endpoint")
@tls_options()
@click.option("--partner", type=FILE, help="the folder with the keys and agreements of the suite's parties")
@click.option("--only", metavar="GLOB", help="run the cases whose id matches, for example 'SIG-*'")
@click.option("--every", type=int, default=1, metavar="N", help=_EVERY_WORDS)
@click.option("--has", multiple=True, metavar="FEATURE", help="a feature that the gateway has; repeatable")
@json_option("print JSON; progress goes to standard error")
def run_suite(arguments: Arguments) -> int:
    """Run the cases and print their results; return 1 when one failed."""
    cases = select_cases(arguments.only)
    if not cases:
        raise GatewayError(MISUSE, f"no case id matches {str(arguments.only)[:80]!r}", "--only")
    if arguments.every < 1:
        raise GatewayError(MISUSE, "--every is 1 or more", "--every")
    unknown = sorted(set(arguments.has) - {case.feature for case in select_cases(None) if case.feature})
    if unknown:
        raise GatewayError(MISUSE, f"no case needs the feature {unknown[0][:80]!r}", "--has")
    output = sys.stderr if arguments.json else sys.stdout

    with (
        _open_opponents(arguments) as (bench, target),
        show_progress(f"{arguments.suite} suite", len(cases)) as bar,
    ):

        def print_result(result: CaseResult) -> None:
            bar.print_line(result.format_line(), output)
            bar.advance_one()

        runner = AttackRunner(bench, target, arguments.every, frozenset(arguments.has))
        if refused := find_refused_control(runner, cases):
            return _print_refused_control(arguments, target, refused)
        report = runner.run_cases(cases, print_result)
    if arguments.json:
        print_json(report.to_json())
    else:
        print(report.format_summary())
    return 0 if report.is_successful else 1


def _print_refused_control(arguments: Arguments, target: Target, refused: RefusedControl) -> int:
    """Print why no attack was made, and what to do first; return 1."""
    if arguments.json:
        report = SuiteReport(arguments.suite, target.name, ())
        print_json(report.to_json() | {"stopped": refused.to_json()})
    else:
        print(refused.format_lines())
    return 1


@contextlib.contextmanager
def _open_opponents(arguments: Arguments) -> Iterator[tuple[AttackerKit, Target]]:
    """Provide the attacker kit and the target that the options name."""
    if arguments.url is None:
        if arguments.partner is not None:
            raise GatewayError(MISUSE, "--partner needs --url", "--partner")
        # An own hub needs every package; a gateway at a URL needs no database here.
        from gateway.cli.conformance_home import open_throwaway_hub

        with open_throwaway_hub() as opponents:
            yield opponents
        return
    if arguments.partner is not None and not arguments.partner.is_dir():
        raise GatewayError(MISUSE, f"there is no folder {arguments.partner}", "--partner")
    bench = _read_partner_folder(arguments.partner) if arguments.partner else make_sample_kit()
    yield bench, UrlTarget(arguments.url, bench.faces, tls=open_tls(arguments))


def _read_partner_folder(partner: Path) -> AttackerKit:
    """Read a partner folder; report an error in it as misuse, not as a fault of the gateway."""
    try:
        return read_attacker_kit(partner)
    except GatewayError as wrong:
        if wrong.problem is MISUSE:
            raise
        raise GatewayError(MISUSE, f"{partner}: {wrong.detail}", wrong.location) from wrong


@verb
@click.option("--only", metavar="GLOB", help="the cases whose id matches")
@json_option()
def list_suite_cases(arguments: Arguments) -> int:
    """Print the cases of the suite."""
    for case in select_cases(arguments.only):
        row = {"id": case.id, "face": case.face, "title": case.title, "source": case.source}
        row |= {"feature": case.feature}
        if arguments.json:
            print_json(row)
        else:
            print(f"{case.id}  [{case.face}] {case.title}")
    return 0


@verb
@json_option()
def print_attacks(arguments: Arguments) -> int:
    """Print the known attacks, and the defence against each of them."""
    for attack in read_attack_table():
        if arguments.json:
            print_json(attack.to_json())
        else:
            print(f"{attack.id}  {attack.title}\n        {attack.format_coverage()}")
    return 0


@verb
@click.option("--out", type=FILE, required=True, help="the partner folder to write")
@change_options()
def invite_suite(arguments: Arguments) -> int:
    """Register the suite's parties in a sandbox home, and write the partner folder of the suite."""
    from gateway.cli.audited_changes import read_act
    from gateway.cli.conformance_home import invite_suite as invite
    from gateway.cli.settings import read_verb_settings

    with keep_files_private():
        drawn = invite(read_verb_settings(arguments), arguments.out, read_act(arguments))
    files = [str(arguments.out / name) for name in sorted(drawn.files)]
    sentence = f"The suite's parties are registered; {arguments.out} is their folder."
    if arguments.json:
        print_json({"verb": arguments.verb_words, "done": sentence, "files": files})
        return 0
    print("\n".join(files))
    print_sentence(sentence)
    return 0
