"""Totality: for every valid submission, a mandatory target has a value, or a problem has its pointer.

The guards of each obligation are enumerated (see `guard_valuations`); code lists are tried
code by code.  Open texts and numbers are validated at run time, always with a pointer.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from decimal import Decimal

from gateway.errors import VALUE_DOES_NOT_FIT
from gateway.harmonize.language import (
    NEVER_HOLDS,
    ConversionError,
    DocumentCheck,
    DocumentMapping,
    Repetition,
    TargetElement,
    UnitConversion,
    describe_unreachable_bound,
)
from gateway.harmonize.proofs.document_lines import ProofLine, list_conditions, list_containers, list_lines
from gateway.harmonize.proofs.guard_valuations import GuardWorld, TooManyCombinationsError, Valuation
from gateway.harmonize.proofs.proof_report import ProofFindings
from gateway.harmonize.proofs.read_scope import find_attribute_source, list_value_reads
from gateway.harmonize.proofs.separator_clashes import list_separator_clashes
from gateway.harmonize.proofs.value_conversion import convert_value, list_settings
from gateway.harmonize.types import CommonMeaning, Condition, UniqueField

__all__ = ["prove_totality"]

_MOST_CODES = 5_000
_MOST_SHOWN = 9
_NUMBERS = ("decimal", "integer")


def prove_totality(document: DocumentMapping) -> ProofFindings:
    """Return the findings about the totality of a document, from its text alone."""
    findings = ProofFindings("totality")
    lines = list(list_lines(document))
    world = GuardWorld(document, [condition for condition, _, _ in list_conditions(document)])
    _check_satisfiable_conditions(document, world, findings)
    for ask in document.ask_names.values():
        if ask.type != "group":
            _check_field_arrival(
                ask, [line for line in lines if ask in list_value_reads(line)], world, findings
            )
    for line in lines:
        _check_line_condition(line, world, findings)
        _check_code_coverage(line, findings)
    for target in list_containers(document):
        if target.each is not None:
            _check_repetition_bounds(target, target.each, findings)
    for line in lines:
        _check_value_sizes(line, findings)
        _check_converted_dimension(line, findings)
    _check_separators(document, findings)
    for check in document.checks:
        _check_compared_units(check, findings)
        _check_reachable_bound(check, document, findings)
    return findings


def _check_separators(document: DocumentMapping, findings: ProofFindings) -> None:
    """Report a part of a concatenated text each of whose values contains the separator."""
    for line, part, separator in list_separator_clashes(document):
        name = ", ".join(source.name for source in part.list_forwarded_sources())
        message = f"each value of {name} contains the separator of the concat, so each is refused"
        findings.add_finding(line.mark, line.path, message, f"{name} cannot be told apart by {separator!r}")


def _check_reachable_bound(check: DocumentCheck, document: DocumentMapping, findings: ProofFindings) -> None:
    """Report a rule that no values satisfy: it refuses every submission to which it applies."""
    findings.checked += 1
    ranges = describe_unreachable_bound(check, document)
    if ranges is not None:
        findings.add_finding(check.mark, check.id, NEVER_HOLDS, ranges)


def _check_compared_units(check: DocumentCheck, findings: ProofFindings) -> None:
    """Report a comparison whose number has no unit where values may have several, and one of unlike units."""
    left, bound = check.factors[-1], check.bound
    if not isinstance(left, UniqueField) or left.attribute is None or bound is None:
        return
    findings.checked += 1
    units = ", ".join(left.units[:_MOST_SHOWN])
    if not isinstance(bound, str) and bound.attribute is not None:
        # A common meaning may have any unit.
        if isinstance(bound, UniqueField) and not _has_common_unit(check, left, bound):
            what = "the same unit" if check.same_unit else "units of one dimension"
            message = f"{left.name} and {bound.name} never have {what}, so they are never compared"
            findings.add_finding(
                check.mark, check.id, message, f"{units} and {', '.join(bound.units[:_MOST_SHOWN])}"
            )
    elif left.type != "amount" and len(left.units) > 1 and not _is_zero(bound):
        message = f"{left.name} may be in one of several units, and what it is compared with has none"
        findings.add_finding(check.mark, check.id, message, units)


def _has_common_unit(check: DocumentCheck, left: UniqueField, bound: UniqueField) -> bool:
    """Return whether two fields may have one unit, or quantities of one dimension that are converted."""
    if set(left.units) & set(bound.units):
        return True
    if check.same_unit or left.attribute != "unitCode":
        return False
    own, theirs = (
        {unit.dimension for code in source.units if (unit := check.units.get(code)) is not None}
        for source in (left, bound)
    )
    return bool(own & theirs)


def _is_zero(bound: str | UniqueField | CommonMeaning) -> bool:
    """Return whether a bound is the number zero, which is the same in each unit."""
    return isinstance(bound, str) and not Decimal(bound)


def _list_combinations(
    world: GuardWorld,
    conditions: Iterable[Condition],
    line: tuple[ProofFindings, ProofLine | None, UniqueField | None],
) -> Iterator[Valuation]:
    """Yield the combinations of an obligation; report a finding where there are too many."""
    findings, at, ask = line
    try:
        for valuation in world.list_combinations(conditions):
            findings.checked += 1
            yield valuation
    except TooManyCombinationsError as error:
        mark = at.mark if at is not None else ask.mark if ask is not None else None
        assert mark is not None
        name = at.path if at is not None else ask.name if ask is not None else ""
        findings.add_finding(mark, name, "the guards have more combinations than can be tried", str(error))


def _check_satisfiable_conditions(
    document: DocumentMapping, world: GuardWorld, findings: ProofFindings
) -> None:
    """Report a condition that holds in no valid submission, since its rule would never apply."""
    for condition, mark, name in list_conditions(document):
        findings.checked += 1
        try:
            tried = list(world.list_combinations([condition]))
        except TooManyCombinationsError as error:
            findings.add_finding(
                mark, name, "the guards have more combinations than can be tried", str(error)
            )
            continue
        if not any(condition.is_satisfied(valuation) for valuation in tried):
            example = str(tried[-1]) if tried else "no valid submission"
            findings.add_finding(mark, name, "the condition never holds in a valid submission", example)


def _check_field_arrival(
    ask: UniqueField, lines: list[ProofLine], world: GuardWorld, findings: ProofFindings
) -> None:
    """Report a field that must be given in a case in which the conditions exclude every line with it."""
    if any(not line.conditions for line in lines):
        findings.checked += 1
        return
    when = ask.requirement.when
    conditions = [c for line in lines for c in line.conditions] + ([when] if when is not None else [])
    for valuation in _list_combinations(world, conditions, (findings, None, ask)):
        sent = any(all(c.is_satisfied(valuation) for c in line.conditions) for line in lines)
        if world.is_required(ask, valuation) and not sent and lines:
            message = "must be given and every line that sends it is shut by its condition"
            findings.add_finding(ask.mark, ask.name, message, str(valuation))
            return


def _check_line_condition(line: ProofLine, world: GuardWorld, findings: ProofFindings) -> None:
    """Report a line whose own condition holds in a case in which its field need not be given."""
    sources = list_value_reads(line)
    source = sources[0] if len(sources) == 1 else None
    if line.own is None or not isinstance(source, UniqueField) or source.requirement.when is None:
        return
    conditions = [*line.conditions, source.requirement.when]
    for valuation in _list_combinations(world, conditions, (findings, line, None)):
        open_now = all(condition.is_satisfied(valuation) for condition in line.conditions)
        if open_now and not world.is_required(source, valuation):
            message = f"the line is due where the field {source.name} ({source.mark}) need not be given"
            findings.add_finding(line.mark, line.path, message, str(valuation))
            return


def _check_code_coverage(line: ProofLine, findings: ProofFindings) -> None:
    """Report a conversion that rejects a code, or a unit, which its source may have."""
    if line.content is None:
        _check_unit_coverage(line, findings)
        return
    shape = line.content.source.infer_shape()
    codes = shape.codes if shape.codes is not None else ("1",) if shape.kind in _NUMBERS else ()
    tried = itertools.product(codes, list_settings(line.content)) if line.content.steps else iter(())
    for code, setting in itertools.islice(tried, _MOST_CODES):
        findings.checked += 1
        try:
            written = convert_value(line.content, code, setting)
        except ConversionError as misfit:
            if shape.codes is not None or misfit.problem is not VALUE_DOES_NOT_FIT:
                _add_uncovered_finding(line, f"{code}{setting}", misfit.detail, findings)
                return
            continue
        plain = line.put is None and line.target.part is None and shape.codes is not None
        refusal = line.target.shape.find_violation(written) if written is not None and plain else None
        if refusal is not None:
            example = f"{_describe_reads(line)} = {code}{setting}"
            findings.add_finding(line.mark, line.path, f"a code does not fit: {refusal[1]}", example)
            return


def _check_unit_coverage(line: ProofLine, findings: ProofFindings) -> None:
    via = line.put.via if line.put is not None else None
    carried = find_attribute_source(line)
    if isinstance(carried, UniqueField) and via is not None:
        for unit in carried.units:
            findings.checked += 1
            if via.translate_code(unit) is None:
                _add_uncovered_finding(line, unit, f"{unit!r} is not in the list {via.name}", findings)
                return


def _add_uncovered_finding(line: ProofLine, code: str, detail: str, findings: ProofFindings) -> None:
    message = f"a code that the field may have is refused ({detail})"
    findings.add_finding(line.mark, line.path, message, f"{_describe_reads(line)} = {code}")


def _check_value_sizes(line: ProofLine, findings: ProofFindings) -> None:
    """Report a code that its target rejects; an open text that is too long is GW506 at run time."""
    content = line.content
    if content is None or content.steps or line.target.part is not None or line.put is not None:
        return
    if line.target.empty:
        return
    for code in (content.source.infer_shape().codes or ())[:_MOST_CODES]:
        findings.checked += 1
        refusal = line.target.shape.find_violation(code)
        if refusal is not None:
            findings.add_finding(
                line.mark,
                line.path,
                f"a code does not fit: {refusal[1]}",
                f"{_describe_reads(line)} = {code}",
            )
            return


def _check_converted_dimension(line: ProofLine, findings: ProofFindings) -> None:
    """Report a common measure that is converted to a unit of another dimension than the dictionary says."""
    steps = line.content.steps if line.content is not None else ()
    named = [one for one in list_value_reads(line) if isinstance(one, CommonMeaning) and one.dimension]
    for step in steps if len(named) == 1 else ():
        if isinstance(step, UnitConversion) and (unit := step.units.get(step.to)) is not None:
            findings.checked += 1
            if unit.dimension != named[0].dimension:
                message = (
                    f"a measure of {named[0].dimension} is converted to {step.to}, a unit of {unit.dimension}"
                )
                example = f"{named[0].name} in any unit of {named[0].dimension}"
                findings.add_finding(line.mark, line.path, message, example)


def _describe_reads(line: ProofLine) -> str:
    return ", ".join(source.name for source in list_value_reads(line)) or "const"


def _check_repetition_bounds(target: TargetElement, each: Repetition, findings: ProofFindings) -> None:
    """Report bounds of a repetition that a valid submission can fall below or exceed."""
    findings.checked += 1
    low, high = each.bound
    if each.over == "item":
        if low > 1:
            findings.add_finding(
                each.mark, target.name, f"at least {low} items are demanded", "an application for 1 item"
            )
        return
    conditional = target.when is not None or each.when is not None
    if each.ask is None:
        # Too few occurrences of a dictionary group are reported at run time: GW503 with a pointer.
        return
    ask = each.ask
    least = max(ask.repeat[0], 1) if ask.requirement.mandatory and not conditional else 0
    if low > least:
        findings.add_finding(
            each.mark,
            target.name,
            f"at least {low} are demanded, {ask.name} may have {least}",
            f"{least} × {ask.name}",
        )
    if high < max(ask.repeat[1], 1):
        message = f"at most {high} fit, {ask.name} may be given {ask.repeat[1]} times"
        findings.add_finding(each.mark, target.name, message, f"{ask.repeat[1]} × {ask.name}")
