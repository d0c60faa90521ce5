"""Least disclosure: a request depends on the values that its document lists, and on nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gateway.harmonize.language import (
    CommonMeaning,
    DataDictionary,
    DocumentMapping,
    HubValue,
    ReadSet,
    ReadUse,
    UniqueField,
    build_read_set,
    list_conditions,
    list_unsplit_mapping_lines,
)
from gateway.harmonize.proofs.drawn_trials import (
    DrawnTrial,
    TrialBench,
    add_noise,
    change_leaf,
    find_culprit,
    list_other_values,
    set_leaf_text,
)
from gateway.harmonize.proofs.guard_valuations import GuardWorld, TooManyCombinationsError
from gateway.harmonize.proofs.proof_report import ProofFindings
from gateway.harmonize.proofs.read_scope import INSIDE, OUTSIDE, list_value_reads
from gateway.harmonize.split import Leaf

# Hub values that repeat a value of the declaration.
_HUB_TELLS: Final = {"function": "Declaration/FunctionCode"}


def prove_disclosure(
    document: DocumentMapping, dictionary: DataDictionary, decisions: Mapping[tuple[str, str], str]
) -> ProofFindings:
    """Return the findings about the needs and asked fields of a document, from its text alone.

    `decisions` are the rows of reconciled.csv, by document and field.
    """
    findings = ProofFindings("least_disclosure")
    reads = build_read_set(document, dictionary)
    _check_listed_meanings(document, reads, findings)
    _check_used_needs(document, reads, decisions, findings)
    _check_reachable_fields(document, reads, findings)
    return findings


def _check_listed_meanings(document: DocumentMapping, reads: ReadSet, findings: ProofFindings) -> None:
    """Report a guard, key or check that reads a meaning which the document does not list."""
    needs = {need.meaning.name for need in document.needs}
    for read in reads.entries_by_key.values():
        findings.checked += 1
        if isinstance(read.source, CommonMeaning) and read.source.name not in needs:
            use = read.uses[0]
            message = f"read as {use.read_kind} and not listed under needs: the request would tell of it"
            example = f"two submissions that differ in {read.source.path} alone"
            findings.add_finding(use.mark, read.source.name, message, example)


def _check_used_needs(
    document: DocumentMapping,
    reads: ReadSet,
    decisions: Mapping[tuple[str, str], str],
    findings: ProofFindings,
) -> None:
    """Report a need that nothing reads, unless reconciled.csv declares that it is not forwarded."""
    hub = [line.content.source for line in list_unsplit_mapping_lines(document) if line.content is not None]
    hub_paths = {_HUB_TELLS.get(source.name) for source in hub if isinstance(source, HubValue)}
    decided = [text for (name, _), text in decisions.items() if name == document.id]
    for need in document.needs:
        findings.checked += 1
        name, read = need.meaning.name, reads.find_entry(need.meaning)
        used = read is not None and any(use != ReadUse("count", need.mark) for use in read.uses)
        if used or need.meaning.path in hub_paths:
            continue
        if not any(text.startswith(f"common {name}, not forwarded") for text in decided):
            message = "listed under needs, and no line puts it, no guard, key or check reads it"
            findings.add_finding(need.mark, name, message, f"any value of {need.meaning.path}")


def _check_reachable_fields(document: DocumentMapping, reads: ReadSet, findings: ProofFindings) -> None:
    """Report a field that may be given in a case in which it does not reach the agency."""
    lines = list(list_unsplit_mapping_lines(document))
    world = GuardWorld(document, [condition for condition, _, _ in list_conditions(document)])
    for ask in document.ask_names.values():
        field_lines = [line for line in lines if ask in list_value_reads(line)]
        if (
            ask.type == "group"
            or _is_decided_by(ask, reads)
            or any(not line.conditions for line in field_lines)
        ):
            findings.checked += 1
            continue
        if not field_lines:
            findings.add_finding(ask.mark, ask.name, "asked, and it reaches nothing", f"any {ask.name}")
            continue
        when = ask.requirement.when
        conditions = [c for line in field_lines for c in line.conditions] + (
            [when] if when is not None else []
        )
        try:
            for valuation in world.list_combinations(conditions):
                findings.checked += 1
                sent = any(all(c.is_satisfied(valuation) for c in line.conditions) for line in field_lines)
                if world.is_allowed(ask, valuation) and not sent:
                    message = "may be given in a case in which it reaches nothing; forbid it there"
                    findings.add_finding(ask.mark, ask.name, message, str(valuation))
                    break
        except TooManyCombinationsError as error:
            findings.add_finding(
                ask.mark, ask.name, "the guards have more combinations than can be tried", str(error)
            )


def _is_decided_by(ask: UniqueField, reads: ReadSet) -> bool:
    """Return whether some rule reads a field as a guard, a key or a count."""
    read = reads.find_entry(ask)
    deciding_uses = ("guard", "key", "count")
    return read is not None and any(
        use.read_kind in deciding_uses and use.mark != ask.mark for use in read.uses
    )


def check_disclosure_of_trial(bench: TrialBench, trial: DrawnTrial, findings: ProofFindings) -> None:
    """Change leaves of a drawn submission; report a leaf outside the read set that changes the request.

    Report also a forwarded leaf inside the read set whose change does not change the request.
    """
    if trial.outcome.request is None:
        return
    _check_ledger(bench, trial, findings)
    _check_outside_leaves(bench, trial, findings)
    _check_forwarded_leaves(bench, trial, findings)


def _check_ledger(bench: TrialBench, trial: DrawnTrial, findings: ProofFindings) -> None:
    """Report a forwarded leaf that is not in the read set of the mapping."""
    result = trial.outcome.result
    assert result is not None
    for entry in result.ledger.entries:
        findings.checked += 1
        fate = entry.fates[0]
        if (
            fate is not None
            and fate.fate == "forwarded"
            and _classify_leaf(bench, trial, entry.leaf) == OUTSIDE
        ):
            message = "a value outside the read set reached the request"
            findings.add_finding(
                fate.rule, fate.targets[0], message, trial.describe_change(entry.leaf, "is forwarded")
            )


def _classify_leaf(bench: TrialBench, trial: DrawnTrial, leaf: Leaf) -> str:
    return bench.read_scope.classify_leaf(trial.submission_index, leaf, trial.item_numbers, 0)


def _check_outside_leaves(bench: TrialBench, trial: DrawnTrial, findings: ProofFindings) -> None:
    """Add a finding if values outside the read set of the document change its request.

    First other elements are added to the submission of `trial`, then the values outside are changed.
    """
    before, root = trial.outcome.octets, add_noise(bench, trial)
    outcome = bench.split_root(root)
    if outcome.octets != before:
        message = "values beside those that the document lists change its request"
        example = f"seed {trial.seed}, {trial.items} items: {outcome.error or 'more elements, not listed'}"
        findings.add_finding(bench.document.withholds_mark, bench.document.id, message, example)
        return
    assert outcome.result is not None
    facts = outcome.result.submission_index
    leaves = [
        leaf
        for leaf in facts.leaves
        if bench.read_scope.classify_leaf(facts, leaf, trial.item_numbers, 0) == OUTSIDE
    ]
    findings.checked += len(leaves)

    def changes_request(some: list[Leaf]) -> bool:
        old = [leaf.value for leaf in some]
        for leaf, value in zip(some, old, strict=True):
            set_leaf_text(leaf, f"{value[::-1]}7Q")
        after = bench.split_root(root).octets
        for leaf, value in zip(some, old, strict=True):
            set_leaf_text(leaf, value)
        return after != before

    if changes_request(leaves):
        leaf = find_culprit(leaves, changes_request)
        at = (
            trial.describe_change(leaf, "changed")
            if leaf is not None
            else f"seed {trial.seed}: several values together"
        )
        name = (leaf.path or leaf.pointer) if leaf is not None else bench.document.id
        findings.add_finding(
            bench.document.withholds_mark, name, "a value outside the read set changes the request", at
        )


def _check_forwarded_leaves(bench: TrialBench, trial: DrawnTrial, findings: ProofFindings) -> None:
    """Change forwarded values, one for each path of the submission: the request must change."""
    result = trial.outcome.result
    assert result is not None
    for entry in result.ledger.entries:
        leaf, fate = entry.leaf, entry.fates[0]
        if fate is None or fate.fate != "forwarded" or _classify_leaf(bench, trial, leaf) != INSIDE:
            continue
        source = bench.read_scope.find_field(leaf)
        name = f"{source.name if source is not None else leaf.path}/{leaf.attribute or ''}"
        if not bench.is_first_try("inside", name):
            continue
        findings.checked += 1
        if not any(
            _is_change_shown(bench, trial, leaf, value)
            for value in list_other_values(bench, leaf, trial.seed)
        ):
            message = "a value is in the read set and forwarded, and no change of it shows in the request"
            findings.add_finding(
                fate.rule, name.rstrip("/"), message, trial.describe_change(leaf, f"{leaf.value!r} changed")
            )


def _is_change_shown(bench: TrialBench, trial: DrawnTrial, leaf: Leaf, value: str) -> bool:
    with change_leaf(leaf, value):
        return bench.split_root(trial.root).octets != trial.outcome.octets
