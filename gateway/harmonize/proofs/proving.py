"""Runs the five proofs over a bundle."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator

from gateway.errors import GatewayError
from gateway.harmonize.language.bundle import Bundle
from gateway.harmonize.language.documents import Document
from gateway.harmonize.proofs.agreement import lossy_forms, prove_agreement
from gateway.harmonize.proofs.disclosure import prove_disclosure, try_disclosure
from gateway.harmonize.proofs.lossless import prove_lossless, try_lossless
from gateway.harmonize.proofs.omissions import try_totality
from gateway.harmonize.proofs.report import PROOFS, Finding, Findings, Report
from gateway.harmonize.proofs.totality import prove_totality
from gateway.harmonize.proofs.trials import Bench, Trial
from gateway.harmonize.proofs.twice import count_boxes, prove_once

__all__ = ["check"]

_MOST_ITEMS = 3


def check(
    bundle: Bundle,
    samples: int = 10,
    only: Collection[str] = (),
    seed: str = "proof",
    faults: Iterable[Finding] = (),
    tell: Callable[[int, int], None] = lambda _done, _all: None,
) -> Report:
    """Return the report of all five proofs.

    `samples` submissions are drawn for each document (0: what the text alone tells); `only`
    names the documents on trial, all where it is empty: the others are still compared with
    them.  `faults` are what kept files from loading; `tell` hears how many documents are done, of all.
    """
    every = list(bundle.documents.values())
    documents = [document for document in every if not only or document.id in only]
    totals = {name: Findings(name) for name in PROOFS}
    totals["never_asked_twice"].take(prove_once(bundle, every))
    totals["agreement"].take(prove_agreement(bundle.dictionary, every))
    submissions = 0
    for done, document in enumerate(documents):
        tell(done, len(documents))
        bench = Bench.of(bundle, document)
        for found in _of_document(bench, samples, seed):
            totals[found.proof].take(found)
        submissions += bench.tried
    names = tuple(document.id for document in documents), tuple(bundle.organisations)
    notes = (*lossy_forms(every), *_exceptions(bundle, every), *_fees(documents))
    return Report.of(names, totals.values(), faults, (notes, count_boxes(every), submissions))


def _fees(documents: Iterable[Document]) -> Iterator[str]:
    """Yield what a reader of the report should know of fees: they hold an application up."""
    for document in documents:
        if document.fee.due != "none":
            yield f"fee {document.fee.due} for {document.id}: {document.fee.en} ({document.fee.ko})"


def _exceptions(bundle: Bundle, documents: Iterable[Document]) -> Iterator[str]:
    """Yield every declared exception from agreement and from asking once: they are to be seen."""
    for document in documents:
        for name, override in document.overrides.items():
            yield f"{document.id} asks {name} in place of {override.instead_of.name}: {override.reason}"
        for (owner, name), text in bundle.decisions.items():
            if owner == document.id and text.startswith("shared"):
                yield f"{document.id} asks {name} too: {text}"


def _of_document(bench: Bench, samples: int, seed: str) -> list[Findings]:
    document, decisions = bench.document, bench.bundle.decisions
    found = [
        prove_totality(document),
        prove_lossless(document),
        prove_disclosure(document, bench.bundle.dictionary, decisions),
    ]
    served, refused = 0, ""
    for number in range(samples):
        try:
            trial = Trial.draw(bench, f"{seed}{number}", 1 + number % _MOST_ITEMS)
        except GatewayError as error:
            # The filler knows every bound that the lines set: what it cannot draw no applicant can give.
            message = f"no submission can be drawn: {error.detail}"
            found[0].add(document.mark, error.location, message, f"seed {seed}{number}")
            break
        if trial.outcome.request is not None:
            served += 1
        elif trial.outcome.result is not None and trial.outcome.result.problems:
            first = trial.outcome.result.problems[0]
            refused = f"{trial.at_all()}: {first.problem.id} {first.detail} at {first.pointer}"
        try_totality(bench, trial, found[0])
        try_lossless(bench, trial, found[1])
        try_disclosure(bench, trial, found[2])
    if refused and not served:
        message = "none of the submissions that were drawn by the mapping is served"
        found[0].add(document.mark, document.id, message, refused)
    return found
