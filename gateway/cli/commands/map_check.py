"""``gateway map check``: the five proofs over a folder of mappings, with a counter-example per failure."""

from __future__ import annotations

from dataclasses import replace
from importlib.resources.abc import Traversable
from typing import Any

import click

from gateway.cli.mapping_folder import find_mappings, mapping_path_option
from gateway.cli.progress_bars import ProgressBar, show_progress
from gateway.cli.result_output import print_json
from gateway.cli.settings import read_verb_settings
from gateway.cli.shared_options import home_options, json_option
from gateway.cli.verb_groups import Arguments, verb
from gateway.config import Settings
from gateway.errors import GatewayError
from gateway.harmonize import (
    PROOFS,
    MappingBundle,
    ProofFinding,
    ProofReport,
    check_bundle,
    load_bundle,
    make_fault_finding,
)
from gateway.hub import ActiveNeeds, load_status_codes
from gateway.operations import find_former_parts, find_unfit_contracts

__all__ = ["check_mappings"]

_SAMPLES = 10


@verb
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
    folder = find_mappings(arguments.path)
    settings = read_verb_settings(arguments) if arguments.home or arguments.config else None
    with show_progress("proving the mappings") as bar:
        report = _prove_mapping_folder(folder, arguments.samples, str(arguments.seed), bar, settings)
    facts = _describe_report(report) if isinstance(report, ProofReport) else _describe_load_fault(report)
    if arguments.json:
        print_json(facts)
    else:
        _print_proof_report(facts)
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
    notes += find_former_parts(folder)
    if settings is not None:
        notes += map(str, find_unfit_contracts(settings, bundle))
    found = [make_fault_finding(error) for error in faults]
    report = check_bundle(bundle, samples=samples, seed=seed, faults=found, tell=bar.advance_to)
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
        f"law {law} of {one.id} is not in needs/laws.csv: no rule of need and no disclaimer can name it"
        for one in bundle.documents.values()
        for law in one.laws
        if law not in book.laws
    ]


def _describe_report(report: ProofReport) -> dict[str, Any]:
    # Nothing is proved for a mapping that does not load.
    nothing = not report.documents and bool(report.findings)
    proofs = {name: {"ok": v.ok and not nothing, "checked": v.checked} for name, v in report.verdicts.items()}
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
    print(f"{facts['documents']} documents of {facts['organisations']} organisations")
    for name, verdict in facts["proofs"].items():
        words = "holds" if verdict["ok"] else "BROKEN"
        print(f"  {name.replace('_', ' '):20} {words:7} {verdict['checked']:>8} checked")
    if "boxes" in facts:
        boxes = facts["boxes"]
        print(f"  {boxes['on_forms']} boxes on the forms, {boxes['asked']} distinct fields asked")
        print(f"  {facts['submissions']} submissions drawn, changed or shortened, and split")
    for note in facts["notes"]:
        print(f"  note: {note}")
    for problem in facts["problems"]:
        place = f"{problem['file']}:{problem['line']}" if problem["line"] else problem["file"]
        print(f"{place} {problem['field']} ({problem['proof']}): {problem['message']}")
        print(f"    for example: {problem['counter_example']}")
