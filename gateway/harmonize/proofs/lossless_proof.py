"""Losslessness: every leaf has a fate, every target value a source, every put value its inverse."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from decimal import Decimal
from typing import Final

from gateway.harmonize.language import (
    ITEM_PATH,
    NUMBER_TESTS,
    CommonMeaning,
    ConvertedSource,
    DocumentMapping,
    Field,
    FieldValue,
    FormatStep,
    MappingLine,
    Product,
    Sum,
    TranslationStep,
    UniqueField,
    list_conditions,
    list_guard_tests,
    list_unsplit_mapping_lines,
    localize_moment,
    may_have_several_units,
    walk_fields,
)
from gateway.harmonize.proofs.drawn_trials import DrawnTrial, TrialBench
from gateway.harmonize.proofs.proof_report import ProofFindings
from gateway.harmonize.proofs.read_scope import find_attribute_source, list_value_reads
from gateway.harmonize.proofs.value_conversion import (
    ConversionSetting,
    convert_if_fitting,
    invert_value,
    list_settings,
)
from gateway.harmonize.readback import compare_request, compute_line_loss, read_request
from gateway.harmonize.samples import SeededDraws, draw_text
from gateway.harmonize.split import split_text

_DRAWN = 12
_MAX_CODES = 1_000
_MAX_SETTINGS = 8
_ZONELESS: Final = "CCYYMMDDHHMMSS"
_ZONE: Final = re.compile(r"(?<=T[0-9]{2}:[0-9]{2}:[0-9]{2})(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})?$")
_ITEM_NUMBER: Final = f"{ITEM_PATH}/SequenceNumeric"
_NO_SOURCE = ("const", "hub", "count", "index")


def prove_lossless(document: DocumentMapping) -> ProofFindings:
    """Return the undeclared losses of a document's lines, from its text alone."""
    findings = ProofFindings("lossless")
    lines = list(list_unsplit_mapping_lines(document))
    exact = {s.name for line in lines if _is_plain_line(line) for s in list_value_reads(line)}
    for line in lines:
        if line.content is None:
            continue
        findings.checked += 1
        _check_residue(line, exact, findings)
        _check_code_words(line, exact, findings)
        _check_read_back(line, line.content, findings)
    _check_units(lines, findings)
    _check_item_identity(document, findings)
    return findings


def _is_plain_line(line: MappingLine) -> bool:
    """Return whether a line writes one field or meaning that can be read back from the line alone."""
    content = line.content
    return (
        content is not None
        and isinstance(content.source, FieldValue)
        and compute_line_loss(content) == "exact"
    )


def _check_residue(line: MappingLine, exact: set[str], findings: ProofFindings) -> None:
    """Report a product with a factor that no line forwards exactly; a sum declares its loss."""
    if line.content is None or not isinstance(line.content.source, Product):
        return
    for source in list_value_reads(line):
        if source.name not in exact:
            message = f"computed from {source.name}, which no other line forwards so that it reads back"
            findings.add_finding(
                line.mark, line.path, message, f"two values of {source.name} with one result"
            )


def _check_code_words(line: MappingLine, exact: set[str], findings: ProofFindings) -> None:
    """Report a code that only a translation without inverse can write."""
    content = line.content
    if content is None or not isinstance(content.source, FieldValue):
        return
    lists = [step.code_list for step in content.steps if isinstance(step, TranslationStep)]
    if all(codes.direction == "both" for codes in lists):
        return
    for source in list_value_reads(line):
        if source.name not in exact:
            names = ", ".join(codes.name for codes in lists)
            message = f"put by {names} alone, which cannot be read back, and no other line forwards the code"
            findings.add_finding(line.mark, line.path, message, f"two codes of {source.name} with one word")


def _check_item_identity(document: DocumentMapping, findings: ProofFindings) -> None:
    """Report items with a key other than their sequence number, since only that is unique."""
    for target in document.root.walk_elements():
        each = target.repetition
        if each is None or each.over != "item" or not isinstance(each.key, CommonMeaning):
            continue
        findings.checked += 1
        if each.key.path != _ITEM_NUMBER:
            message = f"the items are known by {each.key.name}, which is no number of theirs alone"
            findings.add_finding(each.mark, target.name, message, f"two items with one {each.key.name}")


def _check_units(lines: list[MappingLine], findings: ProofFindings) -> None:
    """Report a number that is written without its unit or currency where several are possible.

    The unit of a total follows from all its values, so no line of the single values gives it.
    """
    carrying = [(line, source) for line in lines if (source := find_attribute_source(line)) is not None]
    carried = {source.name for _, source in carrying}
    complete = {id(line.target) for line, _ in carrying}
    for line in lines:
        content = line.content
        source = (
            content.find_attribute_carrier()
            if content is not None and content.converted_unit is None
            else None
        )
        if content is None or not isinstance(source, Field):
            continue
        if source.attribute in (None, "cid"):
            continue
        findings.checked += 1
        has_several_units = len(source.units) > 1 if isinstance(source, UniqueField) else True
        totalled = isinstance(content.source, Sum) and source.attribute == "unitCode"
        is_unit_put = id(line.target) in complete if totalled else source.name in carried
        if has_several_units and not is_unit_put:
            unit_kind = "currency" if source.attribute == "currencyID" else "unit"
            units = source.units[:2] if isinstance(source, UniqueField) else ("two units",)
            number = "total" if totalled else "number"
            message = f"the {number} is put and its {unit_kind} nowhere"
            findings.add_finding(line.mark, line.path, message, f"{source.name} = 1 in {' or '.join(units)}")


def _check_read_back(line: MappingLine, content: ConvertedSource, findings: ProofFindings) -> None:
    """Convert drawn values of the source's shape by the line and invert them; report a difference."""
    if not isinstance(content.source, FieldValue):
        return
    shape = content.source.infer_shape()
    draws = SeededDraws(f"{line.mark}")
    codes = shape.codes
    texts = codes[:_MAX_CODES] if codes is not None else [draw_text(draws, shape) for _ in range(_DRAWN)]
    for setting in list(list_settings(content))[:_MAX_SETTINGS]:
        for text in texts:
            if not _is_value_read_back(line, text, setting, findings):
                return


def _is_value_read_back(
    line: MappingLine, text: str, setting: ConversionSetting, findings: ProofFindings
) -> bool:
    """Return whether `text`, written by `line`, is read back as the declared loss allows; else add a finding.

    A text that the line cannot write counts as read back.
    """
    content = line.content
    assert content is not None
    written = convert_if_fitting(content, text, setting)
    if written is None or not _fits_target(line, written):
        return True
    findings.checked += 1
    loss, back = compute_line_loss(content), invert_value(content, written, setting)
    rewritten = None if back is None else convert_if_fitting(content, back, setting)
    accepted = (text, _remove_zone(content, text))
    if (loss != "exact" or back in accepted) and (back is None or rewritten == written):
        return True
    outcome = "cannot be read back" if back is None else f"reads back as {back!r}"
    name = ", ".join(source.name for source in list_value_reads(line))
    example = f"{name} = {text!r}{setting} is put as {written!r}"
    findings.add_finding(
        line.mark, line.path, f"declared {loss}, and a value that was put {outcome}", example
    )
    return False


def _fits_target(line: MappingLine, written: str) -> bool:
    """Return whether the line's target accepts the text; a violation is GW506 and is not sent."""
    if line.attribute is not None:
        return line.attribute.shape.find_violation(written) is None
    if line.target.text_piece is None:
        return line.target.shape.find_violation(written) is None
    cut = split_text(written, line.target.text_piece)
    return cut is not None and "".join(cut) == written


def _remove_zone(content: ConvertedSource, text: str) -> str:
    """Remove the zone of a time that the form CCYYMMDDHHMMSS writes: the form declares that loss."""
    for step in content.steps:
        if isinstance(step, FormatStep) and step.format_name == _ZONELESS:
            return _ZONE.sub("", localize_moment(text, step.zone))
    return text


def check_losslessness_of_trial(bench: TrialBench, trial: DrawnTrial, findings: ProofFindings) -> None:
    """Check the fate of every leaf and the source of every value of one drawn submission; read it back."""
    result, request = trial.outcome.result, trial.outcome.request
    if result is None:
        return
    for leaf in result.unaccounted_leaves:
        message = "a leaf has no fate: neither forwarded nor withheld nor consumed"
        findings.add_finding(
            bench.document.withholds_mark,
            leaf.path or leaf.pointer,
            message,
            trial.describe_change(leaf, "is lost"),
        )
    findings.checked += len(result.ledger.entries)
    if request is None:
        return
    reached = {leaf for origin in request.origins for leaf in origin.leaves}
    for number, entry in enumerate(result.ledger.entries):
        fate = entry.fates[0]
        if fate is not None and (fate.fate == "forwarded") != (number in reached):
            holds = "holds" if number in reached else "lacks"
            message = f"the ledger says {fate.fate}, and the request {holds} it"
            findings.add_finding(
                fate.rule,
                entry.leaf.path or entry.leaf.pointer,
                message,
                trial.describe_change(entry.leaf, "differs"),
            )
    for origin in request.origins:
        findings.checked += 1
        if not origin.leaves and origin.source.partition(":")[0] not in _NO_SOURCE:
            example = f"seed {trial.seed}, {trial.items} items: {origin.source}"
            findings.add_finding(origin.rule, origin.target, "a value of the request has no source", example)
    _check_whole_request(bench, trial, findings)


def _check_whole_request(bench: TrialBench, trial: DrawnTrial, findings: ProofFindings) -> None:
    """Read the request back and report its differences from the submission."""
    request = trial.outcome.request
    assert request is not None
    reading = read_request(bench.document, request.xml)
    findings.checked += len(reading.values)
    for difference in compare_request(request, reading, trial.submission_index, bench.bundle):
        read_text = "nothing" if difference.actual is None else repr(difference.actual[:60])
        value = "nothing" if difference.expected is None else repr(difference.expected[:60])
        example = f"{trial.describe_trial()}: {difference.pointer} {value} reads back as {read_text}"
        findings.add_finding(difference.rule, difference.path, difference.detail, example)


def list_unit_notes(
    documents: Iterable[DocumentMapping], allowed_units: Collection[str] = ()
) -> Iterator[str]:
    """Yield a note on each number of a mapping that is used without its unit.

    Such a number is a factor of a check, or a limit in a condition, whose value may have several units. If
    `allowed_units` is not empty, a note is also yielded on each unit of a unique field that is not among
    them.
    """
    for document in documents:
        yield from _list_unknown_units(document, allowed_units)
        yield from _list_factor_notes(document)
        yield from dict.fromkeys(_list_condition_notes(document))


def _list_unknown_units(document: DocumentMapping, allowed_units: Collection[str]) -> Iterator[str]:
    """Yield a note for each field whose units are not all in `allowed_units`; none if that is empty."""
    for ask in walk_fields(document.asks) if allowed_units else ():
        unknown = (
            [unit for unit in ask.units if unit not in allowed_units] if ask.attribute == "unitCode" else []
        )
        if unknown:
            yield (
                f"{ask.mark} {ask.name} of {document.id}: {', '.join(unknown)} is no unit of Recommendation "
                "20 or of the table of units; the agency gets it as it is"
            )


def _list_factor_notes(document: DocumentMapping) -> Iterator[str]:
    """Yield a note for each factor of a product whose unit the mapping does not state."""
    for check in document.checks:
        for source in check.list_factors_without_unit():
            yield (
                f"{check.mark} check {check.id} of {document.id}: {source.name} may be in different "
                "units, and its number alone is multiplied. Say in which it counts, as "
                f"{{of: {source.name}, in: UNIT}}, or in: stated"
            )


def _list_condition_notes(document: DocumentMapping) -> Iterator[str]:
    """Yield a note for each condition that compares the number of a quantity without regard to its unit."""
    for condition, mark, name in list_conditions(document):
        for test in list_guard_tests(condition):
            if (
                test.operator in NUMBER_TESTS
                and Decimal(test.values[0])
                and test.counted_in is None
                and may_have_several_units(test.source)
            ):
                yield (
                    f"{mark} condition of {name} in {document.id}: {test.name} may be in different "
                    f"units, and its number alone is compared with {test.values[0]}. Say in which unit, as "
                    f"{{{test.operator}: {test.values[0]}, in: UNIT}}, or in: stated"
                )
