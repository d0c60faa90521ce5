"""Lossless: every leaf has a fate, every target value a source, and what was put reads back exactly."""

from __future__ import annotations

import re
from typing import Final

from gateway.harmonize.applying.render import pieces
from gateway.harmonize.backwards.agreeing import agree
from gateway.harmonize.backwards.reading import read_request
from gateway.harmonize.backwards.undoing import line_loss
from gateway.harmonize.language.documents import Document
from gateway.harmonize.language.sources import Converted, Form, Product, Taken, Via
from gateway.harmonize.proofs.layout import Line, lines_of
from gateway.harmonize.proofs.putting import Setting, fits, got, settings_of
from gateway.harmonize.proofs.reach import carrier, value_reads
from gateway.harmonize.proofs.report import Findings
from gateway.harmonize.proofs.trials import Bench, Trial
from gateway.harmonize.sampling.draws import Draws, draw_text
from gateway.harmonize.terms.asks import Ask
from gateway.harmonize.terms.dictionary import ITEM_PATH, Meaning

__all__ = ["prove_lossless", "try_lossless"]

_DRAWN = 12
_MOST_CODES = 1_000
_MOST_SETTINGS = 8
_ZONELESS: Final = "CCYYMMDDHHMMSS"
_ZONE: Final = re.compile(r"(?<=T[0-9]{2}:[0-9]{2}:[0-9]{2})(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})?$")
_ITEM_NUMBER: Final = f"{ITEM_PATH}/SequenceNumeric"
_NO_SOURCE = ("const", "hub", "count", "index")


def prove_lossless(document: Document) -> Findings:
    """Return what a document's lines lose without saying so, as far as its text alone tells."""
    findings = Findings("lossless")
    lines = list(lines_of(document))
    exact = {s.name for line in lines if _plain(line) for s in value_reads(line)}
    for line in lines:
        if line.content is None:
            continue
        findings.checked += 1
        _residue_forwarded(line, exact, findings)
        _word_beside_code(line, exact, findings)
        _reads_back(line, line.content, findings)
    _units_put(lines, findings)
    _items_told_apart(document, findings)
    return findings


def _plain(line: Line) -> bool:
    """Return whether a line puts its one source so that it can be read back from it alone."""
    content = line.content
    return content is not None and isinstance(content.source, Taken) and line_loss(content) == "exact"


def _residue_forwarded(line: Line, exact: set[str], findings: Findings) -> None:
    """Refuse a product whose factors reach the agency nowhere as they stand; a total declares its loss."""
    if line.content is None or not isinstance(line.content.source, Product):
        return
    for source in value_reads(line):
        if source.name not in exact:
            message = f"computed from {source.name}, which no other line forwards so that it reads back"
            findings.add(line.mark, line.path, message, f"two values of {source.name} with one result")


def _word_beside_code(line: Line, exact: set[str], findings: Findings) -> None:
    """Refuse a code put only as a word that cannot be read back: its loss is declared, and kept nowhere."""
    content = line.content
    if content is None or not isinstance(content.source, Taken):
        return
    lists = [step.codes for step in content.steps if isinstance(step, Via)]
    if all(codes.direction == "both" for codes in lists):
        return
    for source in value_reads(line):
        if source.name not in exact:
            names = ", ".join(codes.name for codes in lists)
            message = f"put by {names} alone, which cannot be read back, and no other line forwards the code"
            findings.add(line.mark, line.path, message, f"two codes of {source.name} with one word")


def _items_told_apart(document: Document, findings: Findings) -> None:
    """Refuse items known by something that two of them may share: only their number is one each."""
    for target in document.root.leaves():
        each = target.each
        if each is None or each.over != "item" or not isinstance(each.key, Meaning):
            continue
        findings.checked += 1
        if each.key.path != _ITEM_NUMBER:
            message = f"the items are known by {each.key.name}, which is no number of theirs alone"
            findings.add(each.mark, target.name, message, f"two items with one {each.key.name}")


def _units_put(lines: list[Line], findings: Findings) -> None:
    """Refuse a number put without its unit or currency where it may have several."""
    carried = {source.name for line in lines if (source := carrier(line)) is not None}
    for line in lines:
        content = line.content
        source = content.carries() if content is not None and content.unit is None else None
        if not isinstance(source, Ask | Meaning) or source.attribute in (None, "cid"):
            continue
        findings.checked += 1
        several = len(source.units) > 1 if isinstance(source, Ask) else True
        if several and source.name not in carried:
            what = "currency" if source.attribute == "currencyID" else "unit"
            units = source.units[:2] if isinstance(source, Ask) else ("two units",)
            message = f"the number is put and its {what} nowhere"
            findings.add(line.mark, line.path, message, f"{source.name} = 1 in {' or '.join(units)}")


def _reads_back(line: Line, content: Converted, findings: Findings) -> None:
    """Put values of the source's form through the line and back."""
    if not isinstance(content.source, Taken):
        return
    shape = content.source.shape()
    draws = Draws(f"{line.mark}")
    codes = shape.codes
    texts = codes[:_MOST_CODES] if codes is not None else [draw_text(draws, shape) for _ in range(_DRAWN)]
    for setting in list(settings_of(content))[:_MOST_SETTINGS]:
        for text in texts:
            if not _one_reads_back(line, (text, setting), findings):
                return


def _one_reads_back(line: Line, value: tuple[str, Setting], findings: Findings) -> bool:
    content, (text, setting) = line.content, value
    assert content is not None
    written = fits(content, text, setting)
    if written is None or not _fits(line, written):
        return True
    findings.checked += 1
    loss, back = line_loss(content), got(content, written, setting)
    again = None if back is None else fits(content, back, setting)
    wanted = (text, _without_zone(content, text))
    if (loss != "exact" or back in wanted) and (back is None or again == written):
        return True
    found = "cannot be read back" if back is None else f"reads back as {back!r}"
    name = ", ".join(source.name for source in value_reads(line))
    example = f"{name} = {text!r}{setting} is put as {written!r}"
    findings.add(line.mark, line.path, f"declared {loss}, and a value that was put {found}", example)
    return False


def _fits(line: Line, written: str) -> bool:
    """Return whether the line's target takes what is written; what it refuses is GW506 and goes nowhere."""
    if line.put is not None:
        return line.put.shape.refuse(written) is None
    if line.target.part is None:
        return line.target.shape.refuse(written) is None
    cut = pieces(written, line.target.part)
    return cut is not None and "".join(cut) == written


def _without_zone(content: Converted, text: str) -> str:
    """Return a moment as a form without zone (CCYYMMDDHHMMSS) says it: the form declares that loss."""
    zoneless = any(isinstance(step, Form) and step.name == _ZONELESS for step in content.steps)
    return _ZONE.sub("", text) if zoneless else text


def try_lossless(bench: Bench, trial: Trial, findings: Findings) -> None:
    """Account for every leaf and every value of one drawn submission, and read the request back."""
    result, request = trial.outcome.result, trial.outcome.request
    if result is None:
        return
    for leaf in result.unaccounted:
        message = "a leaf has no fate: neither forwarded nor withheld nor consumed"
        findings.add(bench.document.withholds, leaf.path or leaf.pointer, message, trial.at(leaf, "is lost"))
    findings.checked += len(result.accounts.entries)
    if request is None:
        return
    reached = {leaf for origin in request.origins for leaf in origin.leaves}
    for number, entry in enumerate(result.accounts.entries):
        fate = entry.fates[0]
        if fate is not None and (fate.fate == "forwarded") != (number in reached):
            holds = "holds" if number in reached else "lacks"
            message = f"the ledger says {fate.fate}, and the request {holds} it"
            findings.add(
                fate.rule, entry.leaf.path or entry.leaf.pointer, message, trial.at(entry.leaf, "differs")
            )
    for origin in request.origins:
        findings.checked += 1
        if not origin.leaves and origin.source.partition(":")[0] not in _NO_SOURCE:
            example = f"seed {trial.seed}, {trial.items} items: {origin.source}"
            findings.add(origin.rule, origin.target, "a value of the request has no source", example)
    _reads_whole(bench, trial, findings)


def _reads_whole(bench: Bench, trial: Trial, findings: Findings) -> None:
    """Read the request backwards and hold it against the submission."""
    request = trial.outcome.request
    assert request is not None
    reading = read_request(bench.document, request.xml)
    findings.checked += len(reading.values)
    for difference in agree(request, reading, trial.facts, bench.bundle):
        found = "nothing" if difference.found is None else repr(difference.found[:60])
        value = "nothing" if difference.expected is None else repr(difference.expected[:60])
        example = f"{trial.at_all()}: {difference.pointer} {value} reads back as {found}"
        findings.add(difference.rule, difference.path, difference.detail, example)
