"""Evaluates the rules on a declaration itself: every broken one with its pointer and severity."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from lxml import etree

from gateway.errors import CODE_UNKNOWN, DOCUMENT_INVALID, RULE_BROKEN, GatewayError, Problem
from gateway.harmonize.language import DeclarationRule, MappingBundle
from gateway.harmonize.submission import FoundValue, SubmissionIndex, index_submission
from gateway.harmonize.types import DataDictionary
from gateway.wire import SUB

__all__ = ["DeclarationFinding", "find_broken_rules"]

_MOST_FINDINGS = 50
_SUB = f"{{{SUB}}}"


@dataclass(frozen=True, slots=True)
class DeclarationFinding:
    """One broken rule: the problem, the sentence, the pointer of the value, and whether it refuses."""

    problem: Problem
    detail: str
    pointer: str
    is_error: bool
    rule: DeclarationRule


def find_broken_rules(
    root: etree._Element | SubmissionIndex, bundle: MappingBundle, received: datetime | None = None
) -> tuple[DeclarationFinding, ...]:
    """Return the rules that the declaration of a submission breaks, at most fifty; errors come first.

    `root` is a submission, or its index, or a declaration alone. Without `received`, the rules about
    the day of receipt are left out. A value that is missing breaks no rule.
    """
    if not bundle.rules:
        return ()
    try:
        facts = root if isinstance(root, SubmissionIndex) else index_submission(_wrap_declaration(root))
    except GatewayError as error:
        if error.problem is not DOCUMENT_INVALID:
            raise
        return ()  # not one declaration: the schema says so
    found: list[DeclarationFinding] = []
    values: dict[str, list[FoundValue]] = {}
    day = None if received is None else received.isoformat()
    for rule in bundle.rules:
        judged = values.get(rule.meaning.name)
        if judged is None:
            judged = values[rule.meaning.name] = _list_values(rule, facts, bundle.dictionary)
        broken = _apply_rule(rule, facts, judged, day) if judged else None
        if broken:
            # A value of a wrong form is in no list, and what is a year too early is a month too early.
            known = {one.pointer for one in found if _is_alike(one.rule, rule)}
            found += [one for one in broken if one.pointer not in known]
    return tuple(sorted(found, key=lambda one: not one.is_error)[:_MOST_FINDINGS])


def _is_alike(one: DeclarationRule, other: DeclarationRule) -> bool:
    """Return whether two rules judge one value by one bound, so that only the first is told."""
    return (one.meaning, one.operator, one.bound) == (other.meaning, other.operator, other.bound)


def _wrap_declaration(root: etree._Element) -> etree._Element:
    """Return a submission: `root` itself, or one around a copy of the declaration."""
    if root.tag == f"{_SUB}Submission":
        return root
    shell = etree.Element(f"{_SUB}Submission")
    shell.append(etree.fromstring(etree.tostring(root, with_tail=False)))
    return shell


def _apply_rule(
    rule: DeclarationRule, facts: SubmissionIndex, values: Iterable[FoundValue], day: str | None
) -> list[DeclarationFinding]:
    """Return what a rule says of the values of its meaning; `day` is that of receipt."""
    found: list[DeclarationFinding] = []
    bound = _read_bound(rule, facts, day) if rule.is_dated else None
    for value in values:
        text = value.text.strip()
        if not text or rule.accepts(text):
            continue
        if rule.counts_items:
            words = rule.find_count_violation(text, len(facts.items))
        elif rule.is_dated:
            words = None if bound is None else rule.find_date_violation(text, bound)
        else:
            words = rule.find_violation(text)
        if words is not None:
            problem = CODE_UNKNOWN if rule.kind == "listed" else RULE_BROKEN
            detail = f"{rule.en} ({rule.ko}): {words}"
            pointer = facts.get_pointer(value.element)
            found.append(DeclarationFinding(problem, detail, pointer, rule.is_error, rule))
    return found


def _read_bound(rule: DeclarationRule, facts: SubmissionIndex, day: str | None) -> str | None:
    """Return the right side of a comparison, None where it is not one value."""
    if rule.bound is None:
        return day
    found = facts.find_values(rule.bound, facts.declaration, None)
    return found[0].text.strip() if len(found) == 1 else None


def _list_values(
    rule: DeclarationRule, facts: SubmissionIndex, dictionary: DataDictionary
) -> list[FoundValue]:
    """Return every value of the rule's meaning, those of all occurrences of its groups."""
    found: list[FoundValue] = []
    for item, base in facts.list_bases(rule.meaning, dictionary):
        found += facts.find_values(rule.meaning, base, item)
    return found
