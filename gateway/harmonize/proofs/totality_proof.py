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
    CommonMeaning,
    Concatenation,
    Condition,
    ConversionError,
    ConvertedSource,
    DocumentCheck,
    DocumentMapping,
    Field,
    MappingLine,
    Repetition,
    TargetElement,
    UniqueField,
    UnitConversion,
    ValueShape,
    describe_unreachable_bound,
    list_conditions,
    list_unsplit_mapping_lines,
    parse_simple_pattern,
)
from gateway.harmonize.proofs.guard_valuations import GuardWorld, TooManyCombinationsError, Valuation
from gateway.harmonize.proofs.proof_report import ProofFindings
from gateway.harmonize.proofs.read_scope import find_attribute_source, list_value_reads
from gateway.harmonize.proofs.value_conversion import convert_value, list_settings
from gateway.wire import SourceMark

_MAX_CODES = 5_000
_MAX_SHOWN_UNITS = 9
_NUMBERS = ("decimal", "integer")
#: Replaces an unknown character of a text; no separator contains it.
_ANY = "\0"
_WRITTEN_IN_TIMES = "-"


def prove_totality(document: DocumentMapping) -> ProofFindings:
    """Return the findings about the totality of a document, from its text alone."""
    findings = ProofFindings("totality")
    lines = list(list_unsplit_mapping_lines(document))
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
    for target in document.root.walk_elements():
        if target.content is None and target.repetition is not None:
            _check_repetition_bounds(target, target.repetition, findings)
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
    compared, bound = check.factors[-1], check.bound
    if not isinstance(compared, UniqueField) or compared.attribute is None or bound is None:
        return
    findings.checked += 1
    units = ", ".join(compared.units[:_MAX_SHOWN_UNITS])
    if not isinstance(bound, str) and bound.attribute is not None:
        # A common meaning may have any unit.
        if isinstance(bound, UniqueField) and not _has_common_unit(check, compared, bound):
            relation = "the same unit" if check.compares_same_unit_only else "units of one dimension"
            message = f"{compared.name} and {bound.name} never have {relation}, so they are never compared"
            findings.add_finding(
                check.mark, check.id, message, f"{units} and {', '.join(bound.units[:_MAX_SHOWN_UNITS])}"
            )
    elif compared.type != "amount" and len(compared.units) > 1 and not _is_zero(bound):
        message = f"{compared.name} may be in one of several units, and what it is compared with has none"
        findings.add_finding(check.mark, check.id, message, units)


def _has_common_unit(check: DocumentCheck, compared: UniqueField, bound: UniqueField) -> bool:
    """Return whether two fields may have one unit, or quantities of one dimension that are converted."""
    if set(compared.units) & set(bound.units):
        return True
    if check.compares_same_unit_only or compared.attribute != "unitCode":
        return False
    dimensions, bound_dimensions = (
        {unit.dimension for code in source.units if (unit := check.units.get(code)) is not None}
        for source in (compared, bound)
    )
    return bool(dimensions & bound_dimensions)


def _is_zero(bound: str | Field) -> bool:
    """Return whether a bound is the number zero, which is the same in each unit."""
    return isinstance(bound, str) and not Decimal(bound)


def _list_combinations(
    world: GuardWorld,
    conditions: Iterable[Condition],
    findings: ProofFindings,
    mark: SourceMark,
    name: str,
) -> Iterator[Valuation]:
    """Yield the combinations of an obligation; report a finding where there are too many.

    `mark` and `name` are those of the line or field that has the obligation.
    """
    try:
        for valuation in world.list_combinations(conditions):
            findings.checked += 1
            yield valuation
    except TooManyCombinationsError as error:
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
    ask: UniqueField, lines: list[MappingLine], world: GuardWorld, findings: ProofFindings
) -> None:
    """Report a field that must be given in a case in which the conditions exclude every line with it."""
    if any(not line.conditions for line in lines):
        findings.checked += 1
        return
    when = ask.requirement.when
    conditions = [c for line in lines for c in line.conditions] + ([when] if when is not None else [])
    for valuation in _list_combinations(world, conditions, findings, ask.mark, ask.name):
        sent = any(all(c.is_satisfied(valuation) for c in line.conditions) for line in lines)
        if world.is_required(ask, valuation) and not sent and lines:
            message = "must be given and every line that sends it is shut by its condition"
            findings.add_finding(ask.mark, ask.name, message, str(valuation))
            return


def _check_line_condition(line: MappingLine, world: GuardWorld, findings: ProofFindings) -> None:
    """Report a line whose own condition holds in a case in which its field need not be given."""
    sources = list_value_reads(line)
    source = sources[0] if len(sources) == 1 else None
    if line.target.content is None or line.target.when is None:
        return
    if not isinstance(source, UniqueField) or source.requirement.when is None:
        return
    conditions = [*line.conditions, source.requirement.when]
    for valuation in _list_combinations(world, conditions, findings, line.mark, line.path):
        is_line_written = all(condition.is_satisfied(valuation) for condition in line.conditions)
        if is_line_written and not world.is_required(source, valuation):
            message = f"the line is due where the field {source.name} ({source.mark}) need not be given"
            findings.add_finding(line.mark, line.path, message, str(valuation))
            return


def _check_code_coverage(line: MappingLine, findings: ProofFindings) -> None:
    """Report a conversion that rejects a code, or a unit, which its source may have."""
    if line.content is None:
        _check_unit_coverage(line, findings)
        return
    shape = line.content.source.infer_shape()
    codes = shape.codes if shape.codes is not None else ("1",) if shape.kind in _NUMBERS else ()
    tried = itertools.product(codes, list_settings(line.content)) if line.content.steps else iter(())
    for code, setting in itertools.islice(tried, _MAX_CODES):
        findings.checked += 1
        try:
            written = convert_value(line.content, code, setting)
        except ConversionError as misfit:
            if shape.codes is not None or misfit.problem is not VALUE_DOES_NOT_FIT:
                _add_uncovered_finding(line, f"{code}{setting}", misfit.detail, findings)
                return
            continue
        plain = line.attribute is None and line.target.text_piece is None and shape.codes is not None
        violation = line.target.shape.find_violation(written) if written is not None and plain else None
        if violation is not None:
            example = f"{_describe_reads(line)} = {code}{setting}"
            findings.add_finding(line.mark, line.path, f"a code does not fit: {violation.detail}", example)
            return


def _check_unit_coverage(line: MappingLine, findings: ProofFindings) -> None:
    """Add a finding if a unit that the field allows has no translation in the code list of the attribute."""
    via = line.attribute.via if line.attribute is not None else None
    carried = find_attribute_source(line)
    if isinstance(carried, UniqueField) and via is not None:
        for unit in carried.units:
            findings.checked += 1
            if via.translate_code(unit) is None:
                _add_uncovered_finding(line, unit, f"{unit!r} is not in the list {via.name}", findings)
                return


def _add_uncovered_finding(line: MappingLine, code: str, detail: str, findings: ProofFindings) -> None:
    message = f"a code that the field may have is refused ({detail})"
    findings.add_finding(line.mark, line.path, message, f"{_describe_reads(line)} = {code}")


def _check_value_sizes(line: MappingLine, findings: ProofFindings) -> None:
    """Report a code that its target rejects; an open text that is too long is GW506 at run time."""
    content = line.content
    if content is None or content.steps or line.target.text_piece is not None or line.attribute is not None:
        return
    if line.target.has_no_text:
        return
    for code in (content.source.infer_shape().codes or ())[:_MAX_CODES]:
        findings.checked += 1
        violation = line.target.shape.find_violation(code)
        if violation is not None:
            findings.add_finding(
                line.mark,
                line.path,
                f"a code does not fit: {violation.detail}",
                f"{_describe_reads(line)} = {code}",
            )
            return


def _check_converted_dimension(line: MappingLine, findings: ProofFindings) -> None:
    """Report a common measure that is converted to a unit of another dimension than the dictionary says."""
    steps = line.content.steps if line.content is not None else ()
    measures = [
        source for source in list_value_reads(line) if isinstance(source, CommonMeaning) and source.dimension
    ]
    for step in steps if len(measures) == 1 else ():
        if isinstance(step, UnitConversion) and (unit := step.units.get(step.target_unit)) is not None:
            findings.checked += 1
            if unit.dimension != measures[0].dimension:
                message = (
                    f"a measure of {measures[0].dimension} is converted to {step.target_unit}, "
                    f"a unit of {unit.dimension}"
                )
                example = f"{measures[0].name} in any unit of {measures[0].dimension}"
                findings.add_finding(line.mark, line.path, message, example)


def _describe_reads(line: MappingLine) -> str:
    return ", ".join(source.name for source in list_value_reads(line)) or "const"


def _check_repetition_bounds(target: TargetElement, repetition: Repetition, findings: ProofFindings) -> None:
    """Report bounds of a repetition that a valid submission can fall below or exceed."""
    findings.checked += 1
    low, high = repetition.bound.low, repetition.bound.high
    if repetition.over == "item":
        if low > 1:
            findings.add_finding(
                repetition.mark,
                target.name,
                f"at least {low} items are demanded",
                "an application for 1 item",
            )
        return
    conditional = target.when is not None or repetition.when is not None
    if repetition.ask is None:
        # Too few occurrences of a dictionary group are reported at run time: GW503 with a pointer.
        return
    ask = repetition.ask
    least = max(ask.repeat.low, 1) if ask.requirement.mandatory and not conditional else 0
    if low > least:
        findings.add_finding(
            repetition.mark,
            target.name,
            f"at least {low} are demanded, {ask.name} may have {least}",
            f"{least} × {ask.name}",
        )
    if high < max(ask.repeat.high, 1):
        message = f"at most {high} fit, {ask.name} may be given {ask.repeat.high} times"
        findings.add_finding(repetition.mark, target.name, message, f"{ask.repeat.high} × {ask.name}")


def list_separator_clashes(document: DocumentMapping) -> Iterator[tuple[MappingLine, ConvertedSource, str]]:
    """Yield each part of a concatenation whose every value contains the separator: line, part, separator."""
    for line in list_unsplit_mapping_lines(document):
        source = None if line.content is None else line.content.source
        if isinstance(source, Concatenation):
            for part in source.parts:
                if _always_contains(part.infer_shape(), source.separator):
                    yield line, part, source.separator


def _always_contains(shape: ValueShape, text: str) -> bool:
    """Return whether every value of a shape contains `text`."""
    if shape.codes is not None:
        return bool(shape.codes) and all(text in code for code in shape.codes)
    if shape.kind in ("date", "moment"):
        return text == _WRITTEN_IN_TIMES
    return shape.pattern is not None and text in _build_certain_text(shape.pattern)


def _build_certain_text(pattern: str) -> str:
    """Return the characters that each text of a simple pattern has, with `_ANY` where they differ."""
    text = ""
    for part in parse_simple_pattern(pattern):
        text += part.choices[0] * part.low if len(part.choices) == 1 else _ANY
        text += _ANY if part.high > part.low else ""
    return text
