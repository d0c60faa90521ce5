"""Totality over drawn submissions: each gives a request, each omission a request or a problem's pointer."""

from __future__ import annotations

from typing import Final

from lxml import etree

from gateway.errors import (
    CODE_UNKNOWN,
    FIELD_MISSING,
    RULE_BROKEN,
    SOURCES_DISAGREE,
    VALUE_DOES_NOT_FIT,
)
from gateway.harmonize.proofs.drawn_trials import DrawnTrial, TrialBench, TrialOutcome, remove_node
from gateway.harmonize.proofs.proof_report import ProofFindings
from gateway.harmonize.submission import Leaf
from gateway.harmonize.types import SourceMark, UniqueField

__all__ = ["try_totality"]

# A value that is too long, unknown or breaks a rule is an error with a pointer, not a gap.
_JUDGED: Final = (VALUE_DOES_NOT_FIT, CODE_UNKNOWN, RULE_BROKEN, SOURCES_DISAGREE)
_KEYS: Final = ("path", "item", "n", "sequence", "wcoID", "formatCode")


def try_totality(bench: TrialBench, trial: DrawnTrial, findings: ProofFindings) -> None:
    """Evaluate a drawn submission, and the same with each leaf left out, once for each name."""
    findings.checked += 1
    if not _check_served(bench, trial, findings):
        return
    for leaf in trial.submission_index.leaves:
        if leaf.application not in (None, 0) or leaf.attribute in _KEYS:
            continue
        for element, attribute, name in _list_omissions(bench, leaf):
            if bench.is_first_try("omit", name):
                findings.checked += 1
                _try_omission(bench, trial, (element, attribute, leaf), findings)


def _list_omissions(bench: TrialBench, leaf: Leaf) -> list[tuple[etree._Element, str | None, str]]:
    """Return the nodes that can be left out for a leaf: itself, and the group element around it."""
    source = bench.reach.find_field(leaf)
    base = f"{source.name if source is not None else leaf.path}/{leaf.attribute or ''}"
    found: list[tuple[etree._Element, str | None, str]] = [(leaf.element, leaf.attribute, base)]
    parent = leaf.element.getparent()
    if isinstance(source, UniqueField) and source.group and parent is not None and leaf.attribute is None:
        found.append((parent, None, f"group {source.group}"))
    return found


def _check_served(bench: TrialBench, trial: DrawnTrial, findings: ProofFindings) -> bool:
    """Return whether a submission drawn as valid from the mapping gives a request without problems."""
    outcome, at = trial.outcome, f"seed {trial.seed}, {trial.items} items"
    if outcome.error is not None:
        _report_crash(bench, outcome, at, findings)
        return False
    assert outcome.result is not None
    for trouble in outcome.result.problems:
        if trouble.problem in _JUDGED and trouble.pointer:
            continue
        message = (
            f"a submission that is valid by the mapping is refused: {trouble.problem.id} {trouble.detail}"
        )
        mark = trouble.rule or bench.document.mark
        findings.add_finding(mark, _get_place_name(bench, mark), message, f"{at}: {trouble.pointer}")
    return outcome.request is not None and not outcome.result.problems


def _report_crash(bench: TrialBench, outcome: TrialOutcome, at: str, findings: ProofFindings) -> None:
    assert outcome.error is not None
    message = f"the request breaks its own schema ({outcome.error.problem.id} {outcome.error.detail[:200]})"
    findings.add_finding(bench.document.mark, outcome.error.location, message, at)


def _get_place_name(bench: TrialBench, mark: SourceMark) -> str:
    """Return the name of the field or target at a place of the mapping."""
    for ask in bench.document.ask_names.values():
        if ask.mark == mark:
            return ask.name
    for target in bench.document.root.walk_elements():
        if target.mark == mark:
            return target.name
    return bench.document.id


def _try_omission(
    bench: TrialBench,
    trial: DrawnTrial,
    what: tuple[etree._Element, str | None, Leaf],
    findings: ProofFindings,
) -> None:
    element, attribute, leaf = what
    at = trial.describe_change(
        leaf, "left out" if element is leaf.element else "and the element around it left out"
    )
    with remove_node(element, attribute):
        outcome = bench.split_root(trial.root)
    if outcome.error is not None:
        _report_crash(bench, outcome, at, findings)
        return
    assert outcome.result is not None
    problems = outcome.result.problems
    if problems and not any(trouble.pointer for trouble in problems):
        mark = problems[0].rule or bench.document.mark
        message = f"refused without a pointer: {problems[0].problem.id} {problems[0].detail}"
        findings.add_finding(mark, _get_place_name(bench, mark), message, at)
    if _is_demanded(bench, leaf) and attribute is None and element is leaf.element:
        missing = [t for t in outcome.result.problems if t.problem is FIELD_MISSING]
        if outcome.request is not None or not missing:
            source = bench.reach.find_field(leaf)
            name = source.name if source is not None else leaf.path
            message = "mandatory, and its lack is not named (no GW503 with a pointer)"
            findings.add_finding(_get_place_mark(bench, leaf), name, message, at)


def _is_demanded(bench: TrialBench, leaf: Leaf) -> bool:
    """Return whether the mapping requires the leaf: the only value of a mandatory field or meaning."""
    source = bench.reach.find_field(leaf)
    if source is None or leaf.value.strip() == "":
        return False
    if isinstance(source, UniqueField):
        return source.requirement.mandatory and source.repeat[1] <= 1
    return not source.many and any(n.mandatory and n.meaning is source for n in bench.document.needs)


def _get_place_mark(bench: TrialBench, leaf: Leaf) -> SourceMark:
    source = bench.reach.find_field(leaf)
    if isinstance(source, UniqueField):
        return source.mark
    return next((n.mark for n in bench.document.needs if n.meaning is source), bench.document.mark)
