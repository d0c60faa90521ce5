"""Least disclosure: an agency learns what its document lists, and nothing else makes any difference to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gateway.harmonize.given.facts import Leaf
from gateway.harmonize.language.documents import Document
from gateway.harmonize.language.readset import ReadSet, Use, read_set
from gateway.harmonize.language.sources import Hub
from gateway.harmonize.proofs.layout import conditions_of, lines_of
from gateway.harmonize.proofs.reach import INSIDE, OUTSIDE, value_reads
from gateway.harmonize.proofs.report import Findings
from gateway.harmonize.proofs.trials import Bench, Trial, changed, culprit, noisy, other_values
from gateway.harmonize.proofs.valuations import TooManyError, World
from gateway.harmonize.terms.asks import Ask
from gateway.harmonize.terms.dictionary import Dictionary, Meaning

__all__ = ["prove_disclosure", "try_disclosure"]

# What the hub says of a message is what the declaration in it says.
_HUB_TELLS: Final = {"function": "Declaration/FunctionCode"}


def prove_disclosure(
    document: Document, dictionary: Dictionary, decisions: Mapping[tuple[str, str], str]
) -> Findings:
    """Return what is wrong with a document's list of what it needs and asks, as its text alone tells.

    `decisions` are the rows of reconciled.csv, by document and field.
    """
    findings = Findings("least_disclosure")
    reads = read_set(document, dictionary)
    _listed(document, reads, findings)
    _used(document, reads, decisions, findings)
    _reaches(document, reads, findings)
    return findings


def _listed(document: Document, reads: ReadSet, findings: Findings) -> None:
    """Refuse a guard, key or check that looks at a meaning which the document does not list."""
    needs = {need.meaning.name for need in document.needs}
    for read in reads.reads.values():
        findings.checked += 1
        if isinstance(read.source, Meaning) and read.source.name not in needs:
            use = read.uses[0]
            message = f"read as {use.how} and not listed under needs: the request would tell of it"
            example = f"two submissions that differ in {read.source.path} alone"
            findings.add(use.mark, read.source.name, message, example)


def _used(
    document: Document, reads: ReadSet, decisions: Mapping[tuple[str, str], str], findings: Findings
) -> None:
    """Refuse a need that nothing reads, unless reconciled.csv says that it is not forwarded."""
    hub = [line.content.source for line in lines_of(document) if line.content is not None]
    told = {_HUB_TELLS.get(source.name) for source in hub if isinstance(source, Hub)}
    decided = [text for (name, _), text in decisions.items() if name == document.id]
    for need in document.needs:
        findings.checked += 1
        name, read = need.meaning.name, reads.get(need.meaning)
        used = read is not None and any(use != Use("count", need.mark) for use in read.uses)
        if used or need.meaning.path in told:
            continue
        if not any(text.startswith(f"common {name}, not forwarded") for text in decided):
            message = "listed under needs, and no line puts it, no guard, key or check reads it"
            findings.add(need.mark, name, message, f"any value of {need.meaning.path}")


def _reaches(document: Document, reads: ReadSet, findings: Findings) -> None:
    """Refuse a field that reaches the agency in no case in which it may be given."""
    lines = list(lines_of(document))
    world = World(document, [condition for condition, _, _ in conditions_of(document)])
    for ask in document.ask_names.values():
        own = [line for line in lines if ask in value_reads(line)]
        if ask.type == "group" or _decides(ask, reads) or any(not line.conditions for line in own):
            findings.checked += 1
            continue
        if not own:
            findings.add(ask.mark, ask.name, "asked, and it reaches nothing", f"any {ask.name}")
            continue
        when = ask.requirement.when
        conditions = [c for line in own for c in line.conditions] + ([when] if when is not None else [])
        try:
            for valuation in world.combinations(conditions):
                findings.checked += 1
                sent = any(all(c.holds(valuation) for c in line.conditions) for line in own)
                if world.allowed(ask, valuation) and not sent:
                    message = "may be given in a case in which it reaches nothing; forbid it there"
                    findings.add(ask.mark, ask.name, message, str(valuation))
                    break
        except TooManyError as error:
            findings.add(
                ask.mark, ask.name, "the guards have more combinations than can be tried", str(error)
            )


def _decides(ask: Ask, reads: ReadSet) -> bool:
    """Return whether some rule reads a field as a guard, a key or for a check."""
    read = reads.get(ask)
    ways = ("guard", "key", "count")
    return read is not None and any(use.how in ways and use.mark != ask.mark for use in read.uses)


def try_disclosure(bench: Bench, trial: Trial, findings: Findings) -> None:
    """Change leaves of a drawn submission: outside the read set nothing may change, inside something must."""
    if trial.outcome.request is None:
        return
    _ledger_agrees(bench, trial, findings)
    _outside(bench, trial, findings)
    _inside(bench, trial, findings)


def _ledger_agrees(bench: Bench, trial: Trial, findings: Findings) -> None:
    """Refuse a forwarded leaf that the mapping's own read set does not hold."""
    result = trial.outcome.result
    assert result is not None
    for entry in result.accounts.entries:
        findings.checked += 1
        fate = entry.fates[0]
        if fate is not None and fate.fate == "forwarded" and _judge(bench, trial, entry.leaf) == OUTSIDE:
            message = "a value outside the read set reached the request"
            findings.add(fate.rule, fate.targets[0], message, trial.at(entry.leaf, "is forwarded"))


def _judge(bench: Bench, trial: Trial, leaf: Leaf) -> str:
    return bench.reach.judge(trial.facts, leaf, trial.numbers, 0)


def _outside(bench: Bench, trial: Trial, findings: Findings) -> None:
    before, root = trial.outcome.octets, noisy(bench, trial)
    outcome = bench.run(root)
    if outcome.octets != before:
        message = "values beside those that the document lists change its request"
        example = f"seed {trial.seed}, {trial.items} items: {outcome.error or 'more elements, not listed'}"
        findings.add(bench.document.withholds, bench.document.id, message, example)
        return
    assert outcome.result is not None
    facts = outcome.result.facts
    leaves = [leaf for leaf in facts.leaves if bench.reach.judge(facts, leaf, trial.numbers, 0) == OUTSIDE]
    findings.checked += len(leaves)

    def differs(some: list[Leaf]) -> bool:
        old = [leaf.value for leaf in some]
        for leaf, value in zip(some, old, strict=True):
            _write(leaf, f"{value[::-1]}7Q")
        after = bench.run(root).octets
        for leaf, value in zip(some, old, strict=True):
            _write(leaf, value)
        return after != before

    if differs(leaves):
        leaf = culprit(leaves, differs)
        at = trial.at(leaf, "changed") if leaf is not None else f"seed {trial.seed}: several values together"
        name = (leaf.path or leaf.pointer) if leaf is not None else bench.document.id
        findings.add(bench.document.withholds, name, "a value outside the read set changes the request", at)


def _write(leaf: Leaf, value: str) -> None:
    if leaf.attribute is None:
        leaf.element.text = value
    else:
        leaf.element.set(leaf.attribute, value)


def _inside(bench: Bench, trial: Trial, findings: Findings) -> None:
    """Change forwarded values, each place of the submission once: the request must show it."""
    result = trial.outcome.result
    assert result is not None
    for entry in result.accounts.entries:
        leaf, fate = entry.leaf, entry.fates[0]
        if fate is None or fate.fate != "forwarded" or _judge(bench, trial, leaf) != INSIDE:
            continue
        source = bench.reach.field(leaf)
        name = f"{source.name if source is not None else leaf.path}/{leaf.attribute or ''}"
        if not bench.first("inside", name):
            continue
        findings.checked += 1
        if not any(_shows(bench, trial, leaf, value) for value in other_values(bench, leaf, trial.seed)):
            message = "a value is in the read set and forwarded, and no change of it shows in the request"
            findings.add(fate.rule, name.rstrip("/"), message, trial.at(leaf, f"{leaf.value!r} changed"))


def _shows(bench: Bench, trial: Trial, leaf: Leaf, value: str) -> bool:
    with changed(leaf, value):
        return bench.run(trial.root).octets != trial.outcome.octets
