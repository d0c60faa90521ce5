"""Totality over drawn submissions: each is served, and each omission is served or named with a pointer."""

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
from gateway.harmonize.given.facts import Leaf
from gateway.harmonize.proofs.report import Findings
from gateway.harmonize.proofs.trials import Bench, Outcome, Trial, removed
from gateway.harmonize.terms.asks import Ask
from gateway.harmonize.terms.marks import Mark

__all__ = ["try_totality"]

# A value may be found too long, unknown or against a rule: an error with a pointer, no gap.
_JUDGED: Final = (VALUE_DOES_NOT_FIT, CODE_UNKNOWN, RULE_BROKEN, SOURCES_DISAGREE)
_KEYS: Final = ("path", "item", "n", "sequence", "wcoID", "formatCode")


def try_totality(bench: Bench, trial: Trial, findings: Findings) -> None:
    """Judge a drawn submission and, for each place of it once, the same without that place."""
    findings.checked += 1
    if not _served(bench, trial, findings):
        return
    for leaf in trial.facts.leaves:
        if leaf.application not in (None, 0) or leaf.attribute in _KEYS:
            continue
        for element, attribute, name in _omissible(bench, leaf):
            if bench.first("omit", name):
                findings.checked += 1
                _omit(bench, trial, (element, attribute, leaf), findings)


def _omissible(bench: Bench, leaf: Leaf) -> list[tuple[etree._Element, str | None, str]]:
    """Return what can be left out about a leaf: itself, and the repeated elements around it."""
    source = bench.reach.field(leaf)
    base = f"{source.name if source is not None else leaf.path}/{leaf.attribute or ''}"
    found: list[tuple[etree._Element, str | None, str]] = [(leaf.element, leaf.attribute, base)]
    parent = leaf.element.getparent()
    if isinstance(source, Ask) and source.group and parent is not None and leaf.attribute is None:
        found.append((parent, None, f"group {source.group}"))
    return found


def _served(bench: Bench, trial: Trial, findings: Findings) -> bool:
    """Return whether a submission that the mapping itself drew as valid becomes a request."""
    outcome, at = trial.outcome, f"seed {trial.seed}, {trial.items} items"
    if outcome.error is not None:
        _crashed(bench, outcome, at, findings)
        return False
    assert outcome.result is not None
    for trouble in outcome.result.problems:
        if trouble.problem in _JUDGED and trouble.pointer:
            continue
        message = (
            f"a submission that is valid by the mapping is refused: {trouble.problem.id} {trouble.detail}"
        )
        mark = trouble.rule or bench.document.mark
        findings.add(mark, _name(bench, mark), message, f"{at}: {trouble.pointer}")
    return outcome.request is not None and not outcome.result.problems


def _crashed(bench: Bench, outcome: Outcome, at: str, findings: Findings) -> None:
    assert outcome.error is not None
    message = f"the request breaks its own schema ({outcome.error.problem.id} {outcome.error.detail[:200]})"
    findings.add(bench.document.mark, outcome.error.location, message, at)


def _name(bench: Bench, mark: Mark) -> str:
    """Return the field or target that stands at a place of the mapping."""
    for ask in bench.document.ask_names.values():
        if ask.mark == mark:
            return ask.name
    for target in bench.document.root.leaves():
        if target.mark == mark:
            return target.name
    return bench.document.id


def _omit(
    bench: Bench, trial: Trial, what: tuple[etree._Element, str | None, Leaf], findings: Findings
) -> None:
    element, attribute, leaf = what
    at = trial.at(leaf, "left out" if element is leaf.element else "and the element around it left out")
    with removed(element, attribute):
        outcome = bench.run(trial.root)
    if outcome.error is not None:
        _crashed(bench, outcome, at, findings)
        return
    assert outcome.result is not None
    problems = outcome.result.problems
    if problems and not any(trouble.pointer for trouble in problems):
        mark = problems[0].rule or bench.document.mark
        message = f"refused without a pointer: {problems[0].problem.id} {problems[0].detail}"
        findings.add(mark, _name(bench, mark), message, at)
    if _demanded(bench, leaf) and attribute is None and element is leaf.element:
        missing = [t for t in outcome.result.problems if t.problem is FIELD_MISSING]
        if outcome.request is not None or not missing:
            source = bench.reach.field(leaf)
            name = source.name if source is not None else leaf.path
            message = "mandatory, and its lack is not named (no GW503 with a pointer)"
            findings.add(_place(bench, leaf), name, message, at)


def _demanded(bench: Bench, leaf: Leaf) -> bool:
    """Return whether the mapping demands the one value that the leaf is."""
    source = bench.reach.field(leaf)
    if source is None or leaf.value.strip() == "":
        return False
    if isinstance(source, Ask):
        return source.requirement.mandatory and source.repeat[1] <= 1
    return not source.many and any(n.mandatory and n.meaning is source for n in bench.document.needs)


def _place(bench: Bench, leaf: Leaf) -> Mark:
    source = bench.reach.field(leaf)
    if isinstance(source, Ask):
        return source.mark
    return next((n.mark for n in bench.document.needs if n.meaning is source), bench.document.mark)
