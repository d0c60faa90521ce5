"""Runs the five proofs over a bundle."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Final

from gateway.errors import GatewayError
from gateway.harmonize.language import DocumentMapping, MappingBundle, describe_unreachable_bound, walk_fields
from gateway.harmonize.proofs.agreement_proof import list_lossy_formats, prove_agreement
from gateway.harmonize.proofs.asked_once_proof import count_boxes, prove_asked_once
from gateway.harmonize.proofs.disclosure_proof import check_disclosure_of_trial, prove_disclosure
from gateway.harmonize.proofs.drawn_trials import DrawnTrial, TrialBench, check_totality_of_trial
from gateway.harmonize.proofs.lossless_proof import (
    check_losslessness_of_trial,
    list_unit_notes,
    prove_lossless,
)
from gateway.harmonize.proofs.proof_report import LOAD, PROOFS, ProofFinding, ProofFindings, ProofReport
from gateway.harmonize.proofs.totality_proof import list_separator_clashes, prove_totality

_MESSAGE: Final = "a code begins or ends with a space, so nobody who writes it without is understood"


def list_spaced_codes(bundle: MappingBundle) -> Iterator[ProofFinding]:
    """Yield each code of a list or of an asked field that begins or ends with a space, with its place."""
    # Several lists can be read from one file.
    spaced = {
        (code, mark): name
        for name, codes in reversed(tuple(bundle.lists.items()))
        for code, mark in codes.codes_with_spaces
    }
    for (code, mark), name in spaced.items():
        yield ProofFinding(LOAD, mark, name, _MESSAGE, repr(code))
    for document in bundle.documents.values():
        for ask in walk_fields(document.asks):
            for code in ask.labels:
                if code != code.strip():
                    yield ProofFinding(LOAD, ask.mark, ask.name, _MESSAGE, repr(code))


def list_file_notes(documents: Iterable[DocumentMapping]) -> Iterator[str]:
    """Yield a note for each document that is in a file of another name than its own."""
    for document in documents:
        name = f"agencies/{document.organisation}/{document.id}.yaml"
        if document.mark.file != name:
            yield f"{document.mark} contains {document.id} of {document.organisation}; its file is {name}"


_MAX_ITEMS = 3


def check_bundle(
    bundle: MappingBundle,
    sample_count: int = 10,
    only: Collection[str] = (),
    seed: str = "proof",
    faults: Iterable[ProofFinding] = (),
    report_progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> ProofReport:
    """Return the report of all five proofs.

    `sample_count` submissions are drawn for each document (0: only proofs from the text); `only`
    names the documents to prove, all where it is empty; the others are still compared with
    them.  `faults` are the errors of files that could not be loaded; `report_progress` is called with the
    number of documents done and of all documents.
    """
    every = list(bundle.documents.values())
    documents = [document for document in every if not only or document.id in only]
    totals = {name: ProofFindings(name) for name in PROOFS}
    totals["never_asked_twice"].merge_findings(prove_asked_once(bundle, every))
    totals["agreement"].merge_findings(prove_agreement(bundle.dictionary, every))
    submissions = 0
    for position, document in enumerate(documents):
        report_progress(position, len(documents))
        bench = TrialBench.from_bundle(bundle, document)
        for findings in _prove_document(bench, sample_count, seed):
            totals[findings.proof].merge_findings(findings)
        submissions += bench.split_count
    notes = (*list_lossy_formats(every), *_list_exceptions(bundle, every), *_list_fee_notes(documents))
    notes += tuple(list_unit_notes(documents, bundle.collect_allowed_units()))
    notes += tuple(list_file_notes(documents))
    faults = (*faults, *list_spaced_codes(bundle))
    return ProofReport.from_findings(
        totals.values(),
        faults,
        documents=tuple(document.id for document in documents),
        organisations=tuple(bundle.organisations),
        notes=notes,
        boxes=count_boxes(every),
        submissions=submissions,
    )


def _list_fee_notes(documents: Iterable[DocumentMapping]) -> Iterator[str]:
    """Yield a note for each document with a fee, since a fee delays the application."""
    for document in documents:
        if document.fee.due != "none":
            yield f"fee {document.fee.due} for {document.id}: {document.fee.en} ({document.fee.ko})"


def _list_exceptions(bundle: MappingBundle, documents: Iterable[DocumentMapping]) -> Iterator[str]:
    """Yield a note for each declared exception from agreement and from asking once."""
    for document in documents:
        for name, override in document.overrides.items():
            yield f"{document.id} asks {name} in place of {override.instead_of.name}: {override.reason}"
        for (owner, name), text in bundle.decisions.items():
            if owner == document.id and text.startswith("shared"):
                yield f"{document.id} asks {name} too: {text}"


def _is_unsatisfiable(document: DocumentMapping) -> bool:
    """Return whether the text alone shows that no values satisfy the mapping."""
    never = any(describe_unreachable_bound(check, document) is not None for check in document.checks)
    return never or next(list_separator_clashes(document), None) is not None


def _prove_document(bench: TrialBench, sample_count: int, seed: str) -> list[ProofFindings]:
    """Return the findings about totality, losslessness and disclosure of one document.

    Each is proved by the mapping alone, then tested with `sample_count` submissions drawn from `seed`.
    """
    document, decisions = bench.document, bench.bundle.decisions
    findings = [
        prove_totality(document),
        prove_lossless(document),
        prove_disclosure(document, bench.bundle.dictionary, decisions),
    ]
    if _is_unsatisfiable(document):
        # `prove_totality` reports it. No draw would satisfy it, and each try would take minutes.
        sample_count = 0
    served, refused = 0, ""
    for number in range(sample_count):
        try:
            trial = DrawnTrial.draw_trial(bench, f"{seed}{number}", 1 + number % _MAX_ITEMS)
        except GatewayError as error:
            # The sample maker observes every limit, so an applicant could not give the values either.
            message = f"no submission can be drawn: {error.detail}"
            findings[0].add_finding(document.mark, error.location, message, f"seed {seed}{number}")
            break
        if trial.outcome.request is not None:
            served += 1
        elif trial.outcome.result is not None and trial.outcome.result.problems:
            first = trial.outcome.result.problems[0]
            refused = f"{trial.describe_trial()}: {first.problem.id} {first.detail} at {first.pointer}"
        check_totality_of_trial(bench, trial, findings[0])
        check_losslessness_of_trial(bench, trial, findings[1])
        check_disclosure_of_trial(bench, trial, findings[2])
    if refused and not served:
        message = "none of the submissions that were drawn by the mapping is served"
        findings[0].add_finding(document.mark, document.id, message, refused)
    return findings
