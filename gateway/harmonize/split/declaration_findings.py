"""Evaluates the rules on a declaration itself: every broken one with its pointer and severity."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from copy import deepcopy
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

_MAX_FINDINGS = 50
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
        submission_index = (
            root if isinstance(root, SubmissionIndex) else index_submission(_wrap_declaration(root))
        )
    except GatewayError as error:
        if error.problem is not DOCUMENT_INVALID:
            raise
        return ()  # not one declaration: the schema says so
    items_with_unclear_code = [
        item for item in submission_index.items.values() if read_tariff_code(item).faults
    ]
    findings = [
        finding
        for item in items_with_unclear_code
        for finding in _report_classifications(submission_index, item)
    ]
    findings += _report_unclear_ids(submission_index)
    findings += _report_wrong_moments(submission_index)
    values: dict[str, list[FoundValue]] = {}
    receipt_time = None if received is None else received.isoformat()
    for rule in bundle.rules:
        checked_values = values.get(rule.meaning.name)
        if checked_values is None:
            checked_values = values[rule.meaning.name] = _list_values(
                rule,
                submission_index,
                bundle.dictionary,
                items_with_unclear_code if rule.meaning.join else (),
            )
        broken = _apply_rule(rule, submission_index, checked_values, receipt_time) if checked_values else None
        if broken:
            # Rules that make the same comparison report a value once: a value of a wrong form is also in no
            # list, and a date that is a year too early is also a month too early.
            reported_pointers = {
                finding.pointer for finding in findings if _has_same_comparison(finding.rule, rule)
            }
            findings += [finding for finding in broken if finding.pointer not in reported_pointers]
    return tuple(sorted(findings, key=lambda finding: not finding.is_error)[:_MAX_FINDINGS])


def _report_classifications(
    submission_index: SubmissionIndex, item: etree._Element
) -> Iterator[DeclarationFinding]:
    """Yield a finding for each reason why the classifications of an item are not one tariff code."""
    for fault in read_tariff_code(item).faults:
        detail = f"The tariff code is not certain (HS 부호를 하나로 읽을 수 없습니다): {fault.detail}"
        yield DeclarationFinding(RULE_BROKEN, detail, submission_index.get_pointer(fault.element), True, None)


def _report_unclear_ids(submission_index: SubmissionIndex) -> Iterator[DeclarationFinding]:
    """Yield each id of the declaration and of the supplement with a character that no id may have."""
    names = _list_id_names()
    declared = submission_index.declaration.iter(*[f"{{*}}{name}" for name in names])
    # Another check judges the reference of a submission, together with its function.
    is_submission = submission_index.root.find(f"{_SUB}Reference") is not None
    added = [
        values for key, values in submission_index.supplement.items() if key[0].rpartition("/")[2] in names
    ]
    for element in chain(declared, *added):
        character = find_unclear_character(read_leaf_text(element).strip(_SPACE))
        if character is None or _is_contact(element) or (is_submission and _is_reference(element)):
            continue
        pointer = submission_index.get_pointer(element)
        yield DeclarationFinding(RULE_BROKEN, describe_unclear_id(character), pointer, True, None)


def _report_wrong_moments(submission_index: SubmissionIndex) -> Iterator[DeclarationFinding]:
    """Yield each date and time of the declaration and of the supplement that does not exist."""
    for element in submission_index.declaration.iter(DATE_STRING):
        text = read_leaf_text(element)
        violation = describe_wrong_wco_moment(text) if text.strip() else None
        if violation is not None:
            yield _make_moment_finding(submission_index, element, violation)
    dated = [values for key, values in submission_index.supplement.items() if key[0].endswith("DateTime")]
    for values in dated:
        for element in values:
            text = read_leaf_text(element)
            if not is_calendar_text(text, "moment"):
                yield _make_moment_finding(submission_index, element, describe_wrong_moment(text))


def _make_moment_finding(
    submission_index: SubmissionIndex, element: etree._Element, violation: str
) -> DeclarationFinding:
    detail = f"The date or time is wrong (날짜 또는 시각이 바르지 않습니다): {violation}"
    return DeclarationFinding(RULE_BROKEN, detail, submission_index.get_pointer(element), True, None)


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


def _has_same_comparison(first: DeclarationRule | None, second: DeclarationRule) -> bool:
    """Return whether two rules compare the same value with the same bound, so that one finding is enough."""
    if first is None:
        return False
    return (first.meaning, first.operator, first.bound_meaning) == (
        second.meaning,
        second.operator,
        second.bound_meaning,
    )


def _wrap_declaration(root: etree._Element) -> etree._Element:
    """Return a submission: `root` itself, or one around a copy of the declaration."""
    if root.tag == f"{_SUB}Submission":
        return root
    shell = etree.Element(f"{_SUB}Submission")
    shell.append(deepcopy(root))
    return shell


def _apply_rule(
    rule: DeclarationRule,
    submission_index: SubmissionIndex,
    values: Iterable[FoundValue],
    receipt_time: str | None,
) -> list[DeclarationFinding]:
    """Return the findings of a rule on the values of its meaning; `receipt_time` is that of receipt."""
    findings: list[DeclarationFinding] = []
    bound = _read_bound(rule, submission_index, receipt_time) if rule.is_dated else None
    for value in values:
        text = value.text.strip()
        if not text or rule.accepts(text):
            continue
        if rule.counts_items:
            violation = rule.find_count_violation(text, len(submission_index.items))
        elif rule.is_dated:
            violation = None if bound is None else rule.find_date_violation(text, bound)
        else:
            violation = rule.find_violation(text)
        if violation is not None:
            problem = CODE_UNKNOWN if rule.kind == "listed" else RULE_BROKEN
            detail = f"{rule.en} ({rule.ko}): {violation}"
            pointer = submission_index.get_pointer(value.element)
            findings.append(DeclarationFinding(problem, detail, pointer, rule.is_error, rule))
    return findings


def _read_bound(
    rule: DeclarationRule, submission_index: SubmissionIndex, receipt_time: str | None
) -> str | None:
    """Return the right side of a comparison, None where it is not one value."""
    if rule.bound_meaning is None:
        return receipt_time
    values = submission_index.find_values(rule.bound_meaning, submission_index.declaration, None)
    return values[0].text.strip() if len(values) == 1 else None


def _list_values(
    rule: DeclarationRule,
    submission_index: SubmissionIndex,
    dictionary: DataDictionary,
    excluded_elements: Collection[etree._Element],
) -> list[FoundValue]:
    """Return every value of the meaning of `rule`, of all occurrences of its groups.

    A value whose base element is in `excluded_elements` is left out.
    """
    values: list[FoundValue] = []
    for item, base in submission_index.list_bases(rule.meaning, dictionary):
        if base in excluded_elements:
            continue
        values += submission_index.find_values(rule.meaning, base, item)
    return values
