"""``gateway evidence check``: recomputes the evidence, and compares the working rows with it."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

import click

from gateway.cli.home_folder import open_engine_of_any_version, read_verb_settings
from gateway.cli.named_files import read_certificate_files, read_head_text
from gateway.cli.result_output import print_json, print_line, show_progress
from gateway.cli.shared_options import FILE, home_verb
from gateway.cli.verb_groups import Arguments
from gateway.errors import CERTIFICATE_UNTRUSTED, EVIDENCE_BROKEN, GatewayError
from gateway.evidence import (
    RowFindings,
    TimeStampAuthorities,
    TrustedEvidence,
    VerificationReport,
    verify_all_evidence,
)
from gateway.hub import Hub, RejectingComposer, build_hub
from gateway.operations import compare_rows, format_count, format_value
from gateway.store import check_database_file, get_database_state, read_transaction, time_stamps

_HEAD_WORDS = "a proof or a head that was stored elsewhere: the evidence under it must be unchanged"
_SIGNER_WORDS = "an earlier signing certificate of the gateway"
_ANCHOR_WORDS = "an earlier trust anchor of time-stamping authorities"
#: Of more messages or cases than this only a random choice is compared, unless all are asked for.
_SHARE: Final = 10_000
_ROWS_WORDS = f"compare the rows of all messages and cases, also where there are more than {_SHARE:,} of them"


@home_verb("evidence check")
@click.option("--head", type=FILE, multiple=True, metavar="FILE", help=_HEAD_WORDS)
@click.option("--signer", type=FILE, multiple=True, metavar="PEM", help=_SIGNER_WORDS)
@click.option("--anchor", type=FILE, multiple=True, metavar="PEM", help=_ANCHOR_WORDS)
@click.option("--rows", is_flag=True, help=_ROWS_WORDS)
def check_evidence(arguments: Arguments) -> int:
    """Recompute the evidence and compare the working rows with it; raise GW805 where they differ.

    Return 1 when there are heads, and no signature and no time stamp covers one.
    """
    heads = tuple(read_head_text(file) for file in arguments.head)
    settings = read_verb_settings(arguments)
    with open_engine_of_any_version(settings) as engine, show_progress("reading the file of the database"):
        check_database_file(get_database_state(engine).damage)
    recomputed = _recompute_evidence(arguments, heads)
    verification, waiting_since = recomputed.verification, recomputed.waiting_since
    if arguments.json:
        rows = describe_row_findings(recomputed.rows)
        report = {} if verification is None else asdict(verification)
        print_json({**report, "waiting_since": waiting_since, "rows": rows})
    else:
        if verification is not None:
            _print_check_report(verification, waiting_since)
        _print_row_findings(recomputed.rows)
    if recomputed.fault is not None:
        raise recomputed.fault
    _demand_equal_rows(recomputed.rows)
    is_covered = (
        verification is None or not verification.leaves or max(verification.vouched, verification.stamped) > 0
    )
    return 0 if is_covered else 1


@dataclass(frozen=True, slots=True)
class _RecomputedEvidence:
    """The report of one recomputing, with what the comparison of the rows has shown.

    `waiting_since` is since when evidence waits for a time stamp; None if none waits. Where the evidence is
    broken, `fault` is the GW805 of that, and there is no verification.
    """

    verification: VerificationReport | None
    waiting_since: datetime | None
    rows: RowFindings
    fault: GatewayError | None = None


@dataclass(frozen=True, slots=True)
class _UntrustedEvidence:
    """Whom we trusted, and the GW205 of a signer or an authority that was none of these."""

    trusted: TrustedEvidence
    problem: GatewayError


def _recompute_evidence(arguments: Arguments, heads: tuple[str, ...]) -> _RecomputedEvidence:
    """Recompute the evidence, and trust whom the settings name now.

    A GW805 of the evidence is returned with the rest; any other problem is raised.

    On GW205 the settings and keys are read again; if they name others now, it is recomputed once more. For a
    hub that was restarted with a new key may have sealed a head after they were read the first time.
    """
    refused: _UntrustedEvidence | None = None
    while True:
        with closing(build_hub(read_verb_settings(arguments), RejectingComposer(), at_work=False)) as hub:
            trusted = _read_trusted_evidence(hub, arguments, heads)
            if refused is not None and trusted == refused.trusted:
                raise refused.problem
            try:
                return _recompute_trusted_evidence(hub, trusted, None if arguments.rows else _SHARE)
            except GatewayError as problem:
                if refused is not None or problem.problem is not CERTIFICATE_UNTRUSTED:
                    raise
                refused = _UntrustedEvidence(trusted, problem)


def _read_trusted_evidence(hub: Hub, arguments: Arguments, heads: tuple[str, ...]) -> TrustedEvidence:
    """Return the keys and authorities of a hub and of the command line, with heads stored elsewhere."""
    signers = (*(signer.certificate for signer in hub.signers), *read_certificate_files(arguments.signer))
    anchors = (*hub.register.stamp_judge.trust.anchors, *read_certificate_files(arguments.anchor))
    authorities = TimeStampAuthorities(tuple(anchor.der for anchor in anchors))
    return TrustedEvidence(frozenset(signer.sha256 for signer in signers), authorities, heads)


def _recompute_trusted_evidence(hub: Hub, trusted: TrustedEvidence, share: int | None) -> _RecomputedEvidence:
    """Recompute the evidence, and compare the rows with it also where it is broken."""
    with read_transaction(hub.engine) as conn:
        verification, fault = None, None
        with show_progress("recomputing the evidence"):
            try:
                verification = verify_all_evidence(conn, trusted)
            except GatewayError as problem:
                if problem.problem is not EVIDENCE_BROKEN:
                    raise
                fault = problem
        with show_progress("comparing the rows with the evidence"):
            rows = compare_rows(conn, share)
        waiting_since = time_stamps.find_unstamped_since(conn) if hub.stamping is not None else None
    return _RecomputedEvidence(verification, waiting_since, rows, fault)


def _print_check_report(report: VerificationReport, waiting_since: datetime | None) -> None:
    print_line(
        f"{report.leaves} leaves under {report.heads} heads, {report.unsealed} not yet under a head: "
        "all digests match"
    )
    print_line(f"{report.signed} heads signed by the gateway, over {report.vouched} leaves")
    print_line(f"{report.stamps} valid time stamps, over {report.stamped} leaves")
    print_line(f"{report.verdicts} verdicts and {report.octets} stored contents: all digests match")
    if report.removed:
        print_line(f"{report.removed} contents were removed by retention, as the evidence says")
    if report.leaves and not max(report.vouched, report.stamped):
        print("no signature of the gateway and no time stamp covers this evidence")
    if waiting_since is not None:
        print_line(f"evidence since {format_value(waiting_since)} waits for a time stamp")


def describe_row_findings(findings: RowFindings) -> dict[str, Any]:
    """Return for JSON which rows were compared, by table, and each difference."""
    return {
        "chosen": {
            each.table: {"compared": each.compared, "stored": each.stored} for each in findings.chosen
        },
        "compared": dict(sorted(findings.compared.items())),
        "older": dict(sorted(findings.older.items())),
        "different": findings.difference_count,
        "differences": [asdict(difference) for difference in findings.differences],
    }


def _print_row_findings(findings: RowFindings) -> None:
    """Print how many rows were compared, of which share, and each difference."""
    for difference in findings.differences:
        print_line(f"{difference.table} {difference.row}: {difference.detail}")
    shares = [f"{each.compared} of {each.stored} {each.table}" for each in findings.chosen]
    row_count = format_count(findings.compared.total(), "row")
    result = (
        format_count(findings.difference_count, "difference") if findings.difference_count else "all agree"
    )
    print_line(f"{row_count} compared with the evidence ({', '.join(shares)}): {result}")
    if any(each.compared < each.stored for each in findings.chosen):
        print_line("the others were not compared: --rows compares all")
    if findings.older:
        older = format_count(findings.older.total(), "row is", "rows are")
        print_line(f"{older} stated in part only: by an earlier version, or before the hub was first started")


def _demand_equal_rows(findings: RowFindings) -> None:
    """Raise GW805 for rows that differ from the evidence."""
    if findings.difference_count:
        first = findings.differences[0]
        rows = format_count(findings.difference_count, "row differs", "rows differ")
        detail = f"{rows} from the evidence; the first: {first.detail}"
        raise GatewayError(EVIDENCE_BROKEN, detail, f"{first.table} {first.row}")
