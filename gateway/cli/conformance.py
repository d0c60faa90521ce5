"""``gateway conformance …``: the hostile suite against any gateway, its table, and its partner folder."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gateway.cli.options import add_home, add_tls, tls_of
from gateway.conformance.hostile.attacks import read_attacks
from gateway.conformance.hostile.bench import Bench, read_bench
from gateway.conformance.hostile.corpus import chosen
from gateway.conformance.hostile.partner import sample_bench
from gateway.conformance.hostile.report import Result
from gateway.conformance.hostile.runner import Runner
from gateway.conformance.hostile.target import Target, UrlTarget
from gateway.errors import SETTINGS_WRONG, GatewayError

__all__ = ["add_parser"]

_SUITES = ("hostile",)


def add_parser(verbs: Any) -> None:
    """Add ``conformance``."""
    group = verbs.add_parser("conformance", help="attack a gateway and judge its answers").add_subparsers(
        metavar="WHAT", required=True
    )
    run = group.add_parser("run", help="play a suite against a gateway, or against a hub of its own")
    run.add_argument("suite", choices=_SUITES, help="which suite")
    run.add_argument("--url", help="base URL of the gateway, or of its ebMS endpoint")
    add_tls(run)
    run.add_argument("--partner", type=Path, help="the partner folder by which the gateway knows the suite")
    run.add_argument("--only", metavar="GLOB", help="play the cases whose id fits, as 'SIG-*'")
    run.add_argument(
        "--every", type=int, default=1, metavar="N", help="send an honest message after every N cases"
    )
    run.add_argument("--has", action="append", default=[], metavar="FEATURE", help="the gateway has this")
    run.add_argument("--json", action="store_true", help="print JSON; progress goes to standard error")
    run.set_defaults(run=_run)
    cases = group.add_parser("list", help="list the cases")
    cases.add_argument("--only", metavar="GLOB", help="those whose id fits")
    cases.add_argument("--json", action="store_true", help="print JSON")
    cases.set_defaults(run=_list)
    table = group.add_parser("table", help="list the known attacks, and what holds each of them off")
    table.add_argument("--json", action="store_true", help="print JSON")
    table.set_defaults(run=_table)
    measured = group.add_parser("cost", help="measure what attacks cost a hub before it knows their sender")
    measured.add_argument("--only", metavar="GLOB", help="cases whose id fits; 'worst.*' for the search")
    measured.add_argument("--json", action="store_true", help="print JSON")
    measured.add_argument("--verbose", action="store_true", help="tell each measurement on standard error")
    measured.set_defaults(run=_cost)
    invited = group.add_parser("invite", help="register the suite's parties in a sandbox home")
    invited.add_argument("--out", type=Path, required=True, help="the partner folder to write")
    add_home(invited, as_json=False)
    invited.set_defaults(run=_invite)


def _run(arguments: argparse.Namespace) -> int:
    cases = chosen(arguments.only)
    if not cases:
        raise GatewayError(SETTINGS_WRONG, f"no case fits {str(arguments.only)[:80]!r}", "--only")
    if arguments.every < 1:
        raise GatewayError(SETTINGS_WRONG, "an honest message is sent after every 1 or more cases", "--every")
    unknown = sorted(set(arguments.has) - {case.feature for case in chosen(None) if case.feature})
    if unknown:
        raise GatewayError(SETTINGS_WRONG, f"no case asks for {unknown[0][:80]!r}", "--has")
    output = sys.stderr if arguments.json else sys.stdout

    def tell(result: Result) -> None:
        output.write(f"{result.line()}\n")
        output.flush()

    with _opponents(arguments) as (bench, target):
        report = Runner(bench, target, arguments.every, frozenset(arguments.has)).run(cases, tell)
    if arguments.json:
        print(json.dumps(report.as_json(), ensure_ascii=False))
    else:
        print(report.summary())
    return 0 if report.good else 1


@contextlib.contextmanager
def _opponents(arguments: argparse.Namespace) -> Iterator[tuple[Bench, Target]]:
    """Give the bench and the target that the options name."""
    if arguments.url is None:
        if arguments.partner is not None:
            raise GatewayError(SETTINGS_WRONG, "a partner folder is for the gateway at a --url", "--partner")
        # A hub of its own needs everything; a gateway somewhere needs no database here.
        from gateway.cli.conformance_home import throwaway

        with throwaway() as opponents:
            yield opponents
        return
    if arguments.partner is not None and not arguments.partner.is_dir():
        raise GatewayError(SETTINGS_WRONG, f"there is no folder {arguments.partner}", "--partner")
    bench = _bench_of(arguments.partner) if arguments.partner else sample_bench()
    yield bench, UrlTarget(arguments.url, bench.faces, tls=tls_of(arguments))


def _bench_of(partner: Path) -> Bench:
    """Read a partner folder; what is wrong with it is wrong with the call, not with the gateway."""
    try:
        return read_bench(partner)
    except GatewayError as wrong:
        if wrong.problem is SETTINGS_WRONG:
            raise
        raise GatewayError(SETTINGS_WRONG, f"{partner}: {wrong.detail}", wrong.location) from wrong


def _list(arguments: argparse.Namespace) -> int:
    for case in chosen(arguments.only):
        row = {"id": case.id, "face": case.face, "title": case.title, "source": case.source}
        row |= {"feature": case.feature}
        print(
            json.dumps(row, ensure_ascii=False)
            if arguments.json
            else f"{case.id}  [{case.face}] {case.title}"
        )
    return 0


def _table(arguments: argparse.Namespace) -> int:
    for attack in read_attacks():
        if arguments.json:
            print(json.dumps(attack.as_json(), ensure_ascii=False))
        else:
            print(f"{attack.id}  {attack.title}\n        {attack.held()}")
    return 0


def _cost(arguments: argparse.Namespace) -> int:
    from gateway.cli.conformance_cost import cost

    return cost(arguments)


def _invite(arguments: argparse.Namespace) -> int:
    from gateway.cli.conformance_home import invite
    from gateway.cli.settings import settings_of

    drawn = invite(settings_of(arguments), arguments.out)
    for name in sorted(drawn.files):
        print(arguments.out / name)
    return 0
