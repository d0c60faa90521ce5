"""``gateway map check``: the five proofs over a folder of mappings, each breach with its counter-example."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from importlib.resources.abc import Traversable
from typing import Any

from gateway.errors import MAPPING_WRONG, GatewayError
from gateway.harmonize import Bundle, load
from gateway.harmonize.proofs import PROOFS, Finding, Report, check, fault

__all__ = ["add_verb", "check_mappings", "static_problems"]

_SAMPLES = 10


def add_verb(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Add the verb ``map check`` and return its parser."""
    parser = verbs.add_parser("check", help="prove the mappings, or say where they break a proof")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument(
        "--samples", type=int, default=_SAMPLES, help="submissions drawn for each document; 0: none"
    )
    parser.add_argument("--seed", default="0", help="the same seed draws the same submissions")
    return parser


def check_mappings(args: argparse.Namespace, folder: Traversable) -> int:
    """Print what the proofs say of a folder; 1 when one of them does not hold or a file does not load."""
    report = _proved(folder, max(0, args.samples), str(args.seed))
    shown = _shown(report) if isinstance(report, Report) else _unloaded(report)
    if args.json:
        print(json.dumps(shown, ensure_ascii=False))
    else:
        _print(shown)
    return 1 if shown["problems"] else 0


def static_problems(bundle: Bundle) -> Iterator[GatewayError]:
    """Yield what the text alone of mappings that load breaks (GW502): quick, and nothing is drawn."""
    for finding in check(bundle, samples=0).findings:
        example = f"{finding.proof}; for example {finding.counter_example}"
        detail = f"{finding.field}: {finding.message} ({example})"
        yield GatewayError(MAPPING_WRONG, detail, str(finding.mark))


def _proved(folder: Traversable, samples: int, seed: str) -> Report | Finding:
    """Return the report, or what keeps the whole folder from loading."""
    faults: list[GatewayError] = []
    try:
        bundle = load(folder, faults)
    except GatewayError as error:
        return fault(error)
    return check(bundle, samples=samples, seed=seed, faults=[fault(error) for error in faults])


def _shown(report: Report) -> dict[str, Any]:
    # Of what does not load nothing is proved.
    nothing = not report.documents and bool(report.findings)
    proofs = {name: {"ok": v.ok and not nothing, "checked": v.checked} for name, v in report.verdicts.items()}
    boxes = report.boxes
    return {
        "documents": len(report.documents),
        "organisations": len(report.organisations),
        "proofs": proofs,
        "problems": [_problem(finding) for finding in report.findings],
        "document_ids": list(report.documents),
        "submissions": report.submissions,
        "boxes": {
            "on_forms": boxes.boxes,
            "asked": boxes.fields,
            "common": {"boxes": boxes.common_boxes, "distinct": boxes.common_meanings},
            "own": {"boxes": boxes.own_boxes, "distinct": boxes.own_meanings},
        },
        "notes": list(report.notes),
    }


def _unloaded(finding: Finding) -> dict[str, Any]:
    proofs = {name: {"ok": False, "checked": 0} for name in PROOFS}
    return {
        "documents": 0,
        "organisations": 0,
        "proofs": proofs,
        "problems": [_problem(finding)],
        "notes": [],
    }


def _problem(finding: Finding) -> dict[str, Any]:
    return {
        "proof": finding.proof,
        "file": finding.mark.file,
        "line": finding.mark.line,
        "field": finding.field,
        "message": finding.message,
        "counter_example": finding.counter_example,
    }


def _print(shown: dict[str, Any]) -> None:
    print(f"{shown['documents']} documents of {shown['organisations']} organisations")
    for name, verdict in shown["proofs"].items():
        words = "holds" if verdict["ok"] else "BROKEN"
        print(f"  {name.replace('_', ' '):20} {words:7} {verdict['checked']:>8} checked")
    if "boxes" in shown:
        boxes = shown["boxes"]
        print(f"  {boxes['on_forms']} boxes on the forms, {boxes['asked']} distinct fields asked")
        print(f"  {shown['submissions']} submissions drawn, changed or shortened, and split")
    for note in shown["notes"]:
        print(f"  note: {note}")
    for problem in shown["problems"]:
        place = f"{problem['file']}:{problem['line']}" if problem["line"] else problem["file"]
        print(f"{place} {problem['field']} ({problem['proof']}): {problem['message']}")
        print(f"    for example: {problem['counter_example']}")
