"""Evaluates the rules on a declaration itself: every broken one with its pointer and severity."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from itertools import chain
from typing import Final

from lxml import etree

from gateway.errors import CODE_UNKNOWN, DOCUMENT_INVALID, RULE_BROKEN, GatewayError, Problem
from gateway.harmonize.language import DataDictionary, DeclarationRule, MappingBundle
from gateway.harmonize.split.submission_index import (
    DATE_STRING,
    FoundValue,
    SubmissionIndex,
    index_submission,
)
from gateway.wire import (
    SUB,
    describe_unclear_id,
    describe_wrong_moment,
    describe_wrong_wco_moment,
    find_unclear_character,
    is_calendar_text,
    load_wco_elements,
    read_leaf_text,
    read_tariff_code,
)

_MOST_FINDINGS = 50
_SPACE: Final = " \t\r\n"
#: Elements that are texts although their names end in ``ID``: marks on packages, and postcodes.
_TEXTS: Final = frozenset({"MarksNumbersID", "PostcodeID"})
_SUB = f"{{{SUB}}}"


@dataclass(frozen=True, slots=True)
class DeclarationFinding:
    """One broken rule: the problem, the sentence, the pointer of the value, and whether it refuses.

    `rule` is that of the mappings; None: classifications are not one tariff code, an id is not clear
    (`find_unclear_character`), or a date or time does not exist, which no mappings allow.
    """

    problem: Problem
    detail: str
    pointer: str
    is_error: bool
    rule: DeclarationRule | None


def find_broken_rules(
    root: etree._Element | SubmissionIndex, bundle: MappingBundle, received: datetime | None = None
) -> tuple[DeclarationFinding, ...]:
    """Return the rules that the declaration of a submission breaks, at most fifty; errors come first.

    `root` is a submission, or its index, or a declaration alone. Without `received`, the rules about
    the day of receipt are left out. A value that is missing breaks no rule. Classifications of an item
    that are not one tariff code are an error even without a rule, and so are ids that are not clear, and
    dates and times that do not exist.
    """
    try:
        facts = root if isinstance(root, SubmissionIndex) else index_submission(_wrap_declaration(root))
    except GatewayError as error:
        if error.problem is not DOCUMENT_INVALID:
            raise
        return ()  # not one declaration: the schema says so
    uncertain = [item for item in facts.items.values() if read_tariff_code(item).faults]
    findings = [finding for item in uncertain for finding in _report_classifications(facts, item)]
    findings += _report_unclear_ids(facts)
    findings += _report_wrong_moments(facts)
    values: dict[str, list[FoundValue]] = {}
    day = None if received is None else received.isoformat()
    for rule in bundle.rules:
        judged = values.get(rule.meaning.name)
        if judged is None:
            judged = values[rule.meaning.name] = _list_values(
                rule, facts, bundle.dictionary, uncertain if rule.meaning.join else ()
            )
        broken = _apply_rule(rule, facts, judged, day) if judged else None
        if broken:
            # A value of a wrong form is in no list, and a date that is a year too early is a month too early.
            reported_pointers = {finding.pointer for finding in findings if _is_alike(finding.rule, rule)}
            findings += [finding for finding in broken if finding.pointer not in reported_pointers]
    return tuple(sorted(findings, key=lambda finding: not finding.is_error)[:_MOST_FINDINGS])


def _report_classifications(facts: SubmissionIndex, item: etree._Element) -> Iterator[DeclarationFinding]:
    """Yield a finding for each reason why the classifications of an item are not one tariff code."""
    for fault in read_tariff_code(item).faults:
        detail = f"The tariff code is not certain (HS 부호를 하나로 읽을 수 없습니다): {fault.detail}"
        yield DeclarationFinding(RULE_BROKEN, detail, facts.get_pointer(fault.element), True, None)


def _report_unclear_ids(facts: SubmissionIndex) -> Iterator[DeclarationFinding]:
    """Yield each id of the declaration and of the supplement with a character that no id may have."""
    names = _list_id_names()
    declared = facts.declaration.iter(*[f"{{*}}{name}" for name in names])
    # The reference of a submission is judged with its function: an old one may have anything.
    is_submission = facts.root.find(f"{_SUB}Reference") is not None
    added = [values for key, values in facts.supplement.items() if key[0].rpartition("/")[2] in names]
    for element in chain(declared, *added):
        character = find_unclear_character(read_leaf_text(element).strip(_SPACE))
        if character is None or _is_contact(element) or (is_submission and _is_reference(element)):
            continue
        pointer = facts.get_pointer(element)
        yield DeclarationFinding(RULE_BROKEN, describe_unclear_id(character), pointer, True, None)


def _report_wrong_moments(facts: SubmissionIndex) -> Iterator[DeclarationFinding]:
    """Yield each date and time of the declaration and of the supplement that does not exist."""
    for element in facts.declaration.iter(DATE_STRING):
        text = read_leaf_text(element)
        violation = describe_wrong_wco_moment(text) if text.strip() else None
        if violation is not None:
            yield _make_moment_finding(facts, element, violation)
    dated = [values for key, values in facts.supplement.items() if key[0].endswith("DateTime")]
    for values in dated:
        for element in values:
            text = read_leaf_text(element)
            if not is_calendar_text(text, "moment"):
                yield _make_moment_finding(facts, element, describe_wrong_moment(text))


def _make_moment_finding(
    facts: SubmissionIndex, element: etree._Element, violation: str
) -> DeclarationFinding:
    detail = f"The date or time is wrong (날짜 또는 시각이 바르지 않습니다): {violation}"
    return DeclarationFinding(RULE_BROKEN, detail, facts.get_pointer(element), True, None)


def _is_contact(element: etree._Element) -> bool:
    """Return whether an element is a telephone number or an address of mail: a text."""
    parent = element.getparent()
    outer = "" if parent is None else str(parent.tag)
    return outer.endswith("}Communication") or element.get("path", "").endswith("/Communication/ID")


def _is_reference(element: etree._Element) -> bool:
    return str(element.tag).endswith("}FunctionalReferenceID")


@cache
def _list_id_names() -> frozenset[str]:
    """Return the names of the elements of a declaration that are ids."""
    names = {path.rpartition("/")[2] for path in load_wco_elements()}
    return frozenset(name for name in names if name.endswith("ID")) - _TEXTS


def _is_alike(first: DeclarationRule | None, second: DeclarationRule) -> bool:
    """Return whether two rules compare the same value with the same bound, so that one finding is enough."""
    if first is None:
        return False
    return (first.meaning, first.operator, first.bound) == (second.meaning, second.operator, second.bound)


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
    """Return the findings of a rule on the values of its meaning; `day` is that of receipt."""
    findings: list[DeclarationFinding] = []
    bound = _read_bound(rule, facts, day) if rule.is_dated else None
    for value in values:
        text = value.text.strip()
        if not text or rule.accepts(text):
            continue
        if rule.counts_items:
            violation = rule.find_count_violation(text, len(facts.items))
        elif rule.is_dated:
            violation = None if bound is None else rule.find_date_violation(text, bound)
        else:
            violation = rule.find_violation(text)
        if violation is not None:
            problem = CODE_UNKNOWN if rule.kind == "listed" else RULE_BROKEN
            detail = f"{rule.en} ({rule.ko}): {violation}"
            pointer = facts.get_pointer(value.element)
            findings.append(DeclarationFinding(problem, detail, pointer, rule.is_error, rule))
    return findings


def _read_bound(rule: DeclarationRule, facts: SubmissionIndex, day: str | None) -> str | None:
    """Return the right side of a comparison, None where it is not one value."""
    if rule.bound is None:
        return day
    values = facts.find_values(rule.bound, facts.declaration, None)
    return values[0].text.strip() if len(values) == 1 else None


def _list_values(
    rule: DeclarationRule,
    facts: SubmissionIndex,
    dictionary: DataDictionary,
    apart: Collection[etree._Element],
) -> list[FoundValue]:
    """Return every value of the rule's meaning, of all occurrences of its groups; none below `apart`."""
    values: list[FoundValue] = []
    for item, base in facts.list_bases(rule.meaning, dictionary):
        if base in apart:
            continue
        values += facts.find_values(rule.meaning, base, item)
    return values
