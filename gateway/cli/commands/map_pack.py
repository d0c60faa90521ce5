"""``gateway map pack|verify``: a folder of mappings as one signed file, and what such a file is worth."""

from __future__ import annotations

from datetime import UTC
from pathlib import Path
from typing import Any, Final

import click

from gateway.cli.mapping_folder import find_mappings
from gateway.cli.named_files import load_key_file, read_file, read_signers, replace_file
from gateway.cli.progress_bars import show_progress
from gateway.cli.result_output import count_things, print_json, print_report, print_sentence
from gateway.cli.settings import read_verb_settings
from gateway.cli.shared_options import FILE, START, home_options, json_option, moment_option
from gateway.cli.verb_groups import Arguments, verb
from gateway.errors import MAPPING_WRONG, MISUSE, GatewayError
from gateway.harmonize import ProofReport, check_bundle
from gateway.hub import (
    BundleFile,
    BundleTerms,
    PublisherRules,
    check_bundle_period,
    check_publisher,
    get_current_time,
    load_publisher_rules,
    read_bundle_file,
    write_bundle_file,
)
from gateway.operations import CheckedFolder, check_mapping_folder, get_display_zone, open_bundle_file

__all__ = ["pack_mappings", "verify_bundle_file"]

_SAMPLES: Final = click.IntRange(0, 1000)
_SAMPLES_HELP: Final = "number of random submissions for each document; 0: only the proofs from the text"


@verb
@click.argument("folder", type=FILE, help="the folder, or the word shipped")
@click.option("--out", type=FILE, required=True, metavar="F", help="the file to write")
@click.option("--key", type=FILE, metavar="F", help="the key to sign with; without it nothing is signed")
@click.option("--certificate", type=FILE, metavar="F", help="the certificate of the key")
@click.option("--password-file", type=FILE, metavar="F", help="a file with the password of the key")
@click.option(
    "--from",
    "start",
    type=START,
    metavar="DAY",
    help="in force from this day, as it begins where the hub is, or from this time on at the earliest",
)
@click.option(
    "--until", "end", type=START, metavar="DAY", help="not to be put into force from this day or time on"
)
@click.option("--samples", type=_SAMPLES, default=0, help=_SAMPLES_HELP)
@moment_option("time of signing")
@json_option("print one JSON object")
def pack_mappings(arguments: Arguments) -> int:
    """Prove a folder and write it as one file; return 0. Raises GW502 for mappings that do not hold."""
    if arguments.key is None and (arguments.certificate or arguments.password_file):
        raise GatewayError(MISUSE, "--certificate and --password-file need --key", "--key")
    signer = None if arguments.key is None else load_key_file(arguments)
    folder = check_mapping_folder(_find_folder(arguments.folder))
    proved = _prove(folder, arguments.samples)
    _check_proofs(proved)
    made = arguments.at or get_current_time()
    terms = BundleTerms(folder.bundle.digest, made, arguments.start, arguments.end)
    end = terms.find_end(UTC)
    if end is not None and end <= max(made, terms.find_start(UTC) or made):
        raise GatewayError(MISUSE, "--until is not after --from and the time of signing", "--until")
    assert folder.octets is not None, "a folder that was named is packed"
    replace_file(arguments.out, write_bundle_file(terms, folder.octets, (proved, arguments.samples), signer))
    documents = count_things(len(folder.bundle.documents), "document")
    by = f"signed by {signer.certificate.subject}" if signer else "not signed"
    sentence = f"Wrote {arguments.out}: {documents}, bundle {folder.bundle.digest[:16]}, {by}."
    if arguments.json:
        told = {
            "written": str(arguments.out),
            "bundle": folder.bundle.digest,
            "documents": sorted(folder.bundle.documents),
        }
        signed = None if signer is None else signer.certificate.sha256
        print_json({"verb": "map pack", "done": sentence} | told | {"certificate": signed})
    else:
        print_sentence(sentence)
    return 0


def _find_folder(named: Path) -> Any:
    return find_mappings(None if str(named) == "shipped" else named)


def _prove(folder: CheckedFolder, samples: int) -> ProofReport:
    with show_progress("proving the mappings") as bar:
        return check_bundle(folder.bundle, samples=samples, tell=bar.advance_to)


def _check_proofs(proved: ProofReport) -> None:
    for finding in proved.findings:
        detail = (
            f"{finding.field}: {finding.message} ({finding.proof}; for example {finding.counter_example})"
        )
        raise GatewayError(MAPPING_WRONG, detail, str(finding.mark))


@verb
@click.argument("file", type=FILE, help="the file that `gateway map pack` wrote")
@click.option(
    "--publisher", type=FILE, multiple=True, metavar="F", help="a certificate that may sign it; repeatable"
)
@click.option("--samples", type=_SAMPLES, default=0, help=_SAMPLES_HELP)
@moment_option("time of use")
@home_options(json_words="print one JSON object")
def verify_bundle_file(arguments: Arguments) -> int:
    """Print what a bundle file is worth; return 1 where `map use` would refuse it."""
    at = arguments.at or get_current_time()
    rules = _read_rules(arguments)
    report = _describe_nothing(arguments.file)
    try:
        file = read_bundle_file(read_file(arguments.file))
        report |= _describe_file(file)
        check_publisher(file, rules, at)
        folder = open_bundle_file(file)
        report["documents"] = sorted(folder.bundle.documents)
        proved = _prove(folder, arguments.samples)
        report["proofs"] = _compare_proofs(file, proved)
        # Without the settings of a home nobody knows where the hub is.
        zone = get_display_zone()
        check_bundle_period(file, max(at, file.terms.find_start(zone) or at), zone)
        _check_proofs(proved)
    except GatewayError as refused:
        if refused.problem is MISUSE:
            raise
        told = {"problem": refused.problem.id, "reason": refused.detail, "location": refused.location}
        print_report(report | told, as_json=arguments.json)
        return 1
    print_report(report | {"accepted": True}, as_json=arguments.json)
    return 0


def _read_rules(arguments: Arguments) -> PublisherRules:
    """Return the rules of the home, or those of the certificates that are named: one of them must sign."""
    if arguments.publisher:
        return PublisherRules(frozenset(read_signers(arguments.publisher)), require_signature=True)
    if arguments.home or arguments.config:
        return load_publisher_rules(read_verb_settings(arguments))
    raise GatewayError(MISUSE, "name a --publisher, or the --home whose settings name some", "--publisher")


def _describe_nothing(path: Path) -> dict[str, Any]:
    empty = ("bundle", "made", "from", "until", "signer", "certificate", "signed_at", "documents", "proofs")
    judged = dict.fromkeys(("problem", "reason", "location"))
    return {"file": str(path), "accepted": False, **dict.fromkeys(empty), **judged}


def _describe_file(file: BundleFile) -> dict[str, Any]:
    terms, signer = file.terms, file.signer
    moments = {"made": terms.made, "from": terms.starts, "until": terms.ends, "signed_at": file.signed_at}
    told: dict[str, Any] = {name: one.isoformat() if one else None for name, one in moments.items()}
    named = {"signer": signer.subject, "certificate": signer.sha256} if signer else {}
    return {"bundle": terms.address, **told, **named}


def _compare_proofs(file: BundleFile, proved: ProofReport) -> dict[str, Any]:
    """Return of each proof what the file says and what was found now; the second one counts."""
    return {
        name: {
            "claimed": {"ok": claim.holds, "checked": claim.checked},
            "found": {"ok": proved.verdicts[name].ok, "checked": proved.verdicts[name].checked},
        }
        for name, claim in file.proofs.items()
    }
