"""``gateway map check|pack|verify``: proofs over a folder of mappings, and the folder as one signed file."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Final

import click

from gateway.cli.home_folder import read_verb_settings
from gateway.cli.named_files import (
    find_mapping_folder,
    load_key_file,
    mapping_path_option,
    read_file,
    read_signers,
    replace_file,
)
from gateway.cli.result_output import ProgressBar, print_done, print_report, show_progress
from gateway.cli.shared_options import FILE, START, home_options, json_option, moment_option
from gateway.cli.verb_groups import Arguments, verb
from gateway.config import Settings
from gateway.errors import MAPPING_WRONG, MISUSE, GatewayError
from gateway.harmonize import (
    PROOFS,
    MappingBundle,
    ProofFinding,
    ProofReport,
    check_bundle,
    load_bundle,
    make_fault_finding,
)
from gateway.hub import (
    ActiveNeeds,
    BundleFile,
    BundleTerms,
    PublisherRules,
    check_bundle_period,
    check_publisher,
    get_current_time,
    load_publisher_rules,
    load_status_codes,
    read_bundle_file,
    write_bundle_file,
)
from gateway.operations import (
    CheckedFolder,
    check_mapping_folder,
    find_unfit_contracts,
    format_count,
    get_display_zone,
    open_bundle_file,
)

_SAMPLES = 10


@verb("map check")
@json_option("one JSON object")
@click.option(
    "--samples",
    type=click.IntRange(0, 100_000),
    default=_SAMPLES,
    help="number of random submissions for each document; 0: none",
)
@click.option("--seed", default="0", help="the seed of the random submissions")
@home_options(as_json=False)
@mapping_path_option()
def check_mappings(arguments: Arguments) -> int:
    """Print the results of the proofs of a folder; return 1 when one fails or a file does not load.

    With ``--home`` it notes each document that the WSDL of its agency does not take.
    """
    folder = find_mapping_folder(arguments.path)
    settings = read_verb_settings(arguments) if arguments.home or arguments.config else None
    with show_progress("proving the mappings") as bar:
        report = _prove_mapping_folder(folder, arguments.samples, str(arguments.seed), bar, settings)
    facts = _describe_report(report) if isinstance(report, ProofReport) else _describe_load_fault(report)
    print_report(facts, as_json=arguments.json, as_text=_print_proof_report)
    return 1 if facts["problems"] else 0


def _prove_mapping_folder(
    folder: Traversable, samples: int, seed: str, bar: ProgressBar, settings: Settings | None
) -> ProofReport | ProofFinding:
    """Return the report, or the finding that prevents the whole folder from loading.

    With settings it has a note on each document that the WSDL of its agency does not take.
    """
    faults: list[GatewayError] = []
    try:
        bundle = load_bundle(folder, faults)
    except GatewayError as error:
        return make_fault_finding(error)
    notes: list[str] = []
    for check in (lambda: load_status_codes(folder), lambda: notes.extend(_check_laws(folder, bundle))):
        try:
            check()
        except GatewayError as error:
            faults.append(error)
    if settings is not None:
        notes += map(str, find_unfit_contracts(settings, bundle))
    fault_findings = [make_fault_finding(error) for error in faults]
    report = check_bundle(
        bundle, sample_count=samples, seed=seed, faults=fault_findings, report_progress=bar.advance_to
    )
    return replace(report, notes=(*report.notes, *notes))


def _check_laws(folder: Traversable, bundle: MappingBundle) -> list[str]:
    """Return a note on each law of a document that the law book does not have.

    Raise GW512 for rules of need that cannot be read.
    """
    try:
        book = ActiveNeeds(folder, bundle).get_rules().book
    except GatewayError as error:
        raise GatewayError(error.problem, error.detail, f"needs/{error.location}") from error
    return [
        f"law {law} of {document.id} is not in needs/laws.csv: no rule of need and no disclaimer can name it"
        for document in bundle.documents.values()
        for law in document.laws
        if law not in book.laws
    ]


def _describe_report(report: ProofReport) -> dict[str, Any]:
    """Return a proof report as plain values; no proof is `ok` if there are findings, but no documents."""
    # Nothing is proved for a mapping that does not load.
    is_nothing_proved = not report.documents and bool(report.findings)
    proofs = {
        name: {"ok": verdict.ok and not is_nothing_proved, "checked": verdict.checked}
        for name, verdict in report.verdicts.items()
    }
    boxes = report.boxes
    return {
        "documents": len(report.documents),
        "organisations": len(report.organisations),
        "proofs": proofs,
        "problems": [_describe_finding(finding) for finding in report.findings],
        "document_ids": list(report.documents),
        "submissions": report.submissions,
        "boxes": {
            "on_forms": boxes.box_count,
            "asked": boxes.field_count,
            "common": {"boxes": boxes.common_boxes, "distinct": boxes.common_meanings},
            "own": {"boxes": boxes.own_boxes, "distinct": boxes.own_meanings},
        },
        "notes": list(report.notes),
    }


def _describe_load_fault(finding: ProofFinding) -> dict[str, Any]:
    """Return the plain values of a report for mappings that do not load: every proof fails by `finding`."""
    proofs = {name: {"ok": False, "checked": 0} for name in PROOFS}
    return {
        "documents": 0,
        "organisations": 0,
        "proofs": proofs,
        "problems": [_describe_finding(finding)],
        "notes": [],
    }


def _describe_finding(finding: ProofFinding) -> dict[str, Any]:
    return {
        "proof": finding.proof,
        "file": finding.mark.file,
        "line": finding.mark.line,
        "field": finding.field,
        "message": finding.message,
        "counter_example": finding.counter_example,
    }


def _print_proof_report(facts: dict[str, Any]) -> None:
    """Print the values of `_describe_report` or `_describe_load_fault` as text."""
    print(f"{facts['documents']} documents of {facts['organisations']} organisations")
    for name, verdict in facts["proofs"].items():
        verdict_word = "holds" if verdict["ok"] else "BROKEN"
        print(f"  {name.replace('_', ' '):20} {verdict_word:7} {verdict['checked']:>8} checked")
    if "boxes" in facts:
        boxes = facts["boxes"]
        print(f"  {boxes['on_forms']} boxes on the forms, {boxes['asked']} distinct fields asked")
        print(f"  {facts['submissions']} submissions drawn, changed or shortened, and split")
    for note in facts["notes"]:
        print(f"  note: {note}")
    for problem in facts["problems"]:
        location = f"{problem['file']}:{problem['line']}" if problem["line"] else problem["file"]
        print(f"{location} {problem['field']} ({problem['proof']}): {problem['message']}")
        print(f"    for example: {problem['counter_example']}")


_SAMPLE_COUNT: Final = click.IntRange(0, 1000)
_SAMPLES_HELP: Final = "number of random submissions for each document; 0: only the proofs from the text"


@verb("map pack")
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
@click.option("--samples", type=_SAMPLE_COUNT, default=0, help=_SAMPLES_HELP)
@moment_option("time of signing")
@json_option("print one JSON object")
def pack_mappings(arguments: Arguments) -> None:
    """Prove a folder and write it as one file. Raises GW502 for mappings that do not hold."""
    if arguments.key is None and (arguments.certificate or arguments.password_file):
        raise GatewayError(MISUSE, "--certificate and --password-file need --key", "--key")
    signer = None if arguments.key is None else load_key_file(arguments)
    folder = check_mapping_folder(_find_folder(arguments.folder))
    proved = _prove_folder(folder, arguments.samples)
    _check_proofs(proved)
    signing_time = arguments.at or get_current_time()
    terms = BundleTerms(folder.bundle.digest, signing_time, arguments.start, arguments.end)
    end = terms.find_end(UTC)
    if end is not None and end <= max(signing_time, terms.find_start(UTC) or signing_time):
        raise GatewayError(MISUSE, "--until is not after --from and the time of signing", "--until")
    assert folder.octets is not None, "a folder that was named is packed"
    octets = write_bundle_file(terms, folder.octets, proved, arguments.samples, signer)
    replace_file(arguments.out, octets)
    documents = format_count(len(folder.bundle.documents), "document")
    by = f"signed by {signer.certificate.subject}" if signer else "not signed"
    sentence = f"Wrote {arguments.out}: {documents}, bundle {folder.bundle.digest[:16]}, {by}."
    print_done(
        arguments,
        sentence,
        written=str(arguments.out),
        bundle=folder.bundle.digest,
        documents=sorted(folder.bundle.documents),
        certificate=None if signer is None else signer.certificate.sha256,
    )


def _find_folder(path: Path) -> Any:
    return find_mapping_folder(None if str(path) == "shipped" else path)


def _prove_folder(folder: CheckedFolder, samples: int) -> ProofReport:
    with show_progress("proving the mappings") as bar:
        return check_bundle(folder.bundle, sample_count=samples, report_progress=bar.advance_to)


def _check_proofs(proved: ProofReport) -> None:
    for finding in proved.findings:
        detail = (
            f"{finding.field}: {finding.message} ({finding.proof}; for example {finding.counter_example})"
        )
        raise GatewayError(MAPPING_WRONG, detail, str(finding.mark))


@verb("map verify")
@click.argument("file", type=FILE, help="the file that `gateway map pack` wrote")
@click.option(
    "--publisher", type=FILE, multiple=True, metavar="F", help="a certificate that may sign it; repeatable"
)
@click.option("--samples", type=_SAMPLE_COUNT, default=0, help=_SAMPLES_HELP)
@moment_option("time of use")
@home_options(json_words="print one JSON object")
def verify_bundle_file(arguments: Arguments) -> int:
    """Print the results of all checks of a bundle file; return 1 where `map use` would refuse it."""
    at = arguments.at or get_current_time()
    rules = _read_publisher_rules(arguments)
    report = _make_refused_report(arguments.file)
    try:
        file = read_bundle_file(read_file(arguments.file))
        report |= _describe_file(file)
        check_publisher(file, rules, at)
        folder = open_bundle_file(file)
        report["documents"] = sorted(folder.bundle.documents)
        proved = _prove_folder(folder, arguments.samples)
        report["proofs"] = _compare_proofs(file, proved)
        # Without the settings of a home, the time zone of the hub is not known.
        zone = get_display_zone()
        check_bundle_period(file, max(at, file.terms.find_start(zone) or at), zone)
        _check_proofs(proved)
    except GatewayError as refused:
        if refused.problem is MISUSE:
            raise
        refusal_report = {
            "problem": refused.problem.id,
            "reason": refused.detail,
            "location": refused.location,
        }
        print_report(report | refusal_report, as_json=arguments.json)
        return 1
    print_report(report | {"accepted": True}, as_json=arguments.json)
    return 0


def _read_publisher_rules(arguments: Arguments) -> PublisherRules:
    """Return the rules of the home, or those of the certificates that are named: one of them must sign."""
    if arguments.publisher:
        return PublisherRules(frozenset(read_signers(arguments.publisher)), require_signature=True)
    if arguments.home or arguments.config:
        return load_publisher_rules(read_verb_settings(arguments))
    raise GatewayError(MISUSE, "name a --publisher, or the --home whose settings name some", "--publisher")


def _make_refused_report(path: Path) -> dict[str, Any]:
    empty = ("bundle", "made", "from", "until", "signer", "certificate", "signed_at", "documents", "proofs")
    judged = dict.fromkeys(("problem", "reason", "location"))
    return {"file": str(path), "accepted": False, **dict.fromkeys(empty), **judged}


def _describe_file(file: BundleFile) -> dict[str, Any]:
    """Return the address, the period and the signer of a bundle file as plain values."""
    terms, signer = file.terms, file.signer
    moments = {"made": terms.made_at, "from": terms.starts, "until": terms.ends, "signed_at": file.signed_at}
    period_fields: dict[str, Any] = {
        name: moment.isoformat() if moment else None for name, moment in moments.items()
    }
    signer_fields = {"signer": signer.subject, "certificate": signer.sha256} if signer else {}
    return {"bundle": terms.address, **period_fields, **signer_fields}


def _compare_proofs(file: BundleFile, proved: ProofReport) -> dict[str, Any]:
    """Return for each proof the result that the file states, and the result of now, which alone counts."""
    return {
        name: {
            "claimed": {"ok": stated_result.holds, "checked": stated_result.checked},
            "found": {"ok": proved.verdicts[name].ok, "checked": proved.verdicts[name].checked},
        }
        for name, stated_result in file.proofs.items()
    }
