"""Compares a request that was read back with its submission: the round trip ``get(put(x)) = x``.

Every value that a line should have written is evaluated again from the submission; the value
that was read back must be equal to it, and no other value may have been read.  Where a line
declares a loss, the value is converted again and must give the text in the request.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction

from gateway.errors import OUR_MISTAKE, GatewayError
from gateway.harmonize.language import (
    DECIMAL,
    Concatenation,
    ConversionError,
    ConvertedSource,
    EvaluatedValue,
    MappingBundle,
    Product,
    Repetition,
    Sum,
    TargetAttribute,
    TargetElement,
    UnitConversion,
    find_stated_unit,
    localize_moment,
)
from gateway.harmonize.readback.request_reader import ReadValue, RequestReading
from gateway.harmonize.split import AgencyRequest, EvaluationTrace, Scope, SubmissionIndex, read_field_values
from gateway.wire import SourceMark


@dataclass(frozen=True, slots=True)
class Difference:
    """A difference between a request and its submission.

    `pointer` is the place in the submission, empty where there is none; `expected` and `actual`
    are None where a value is missing.
    """

    path: str
    detail: str
    pointer: str
    expected: str | None
    actual: str | None
    rule: SourceMark


@dataclass(frozen=True, slots=True)
class _ExpectedValue:
    """One value that its line must have written: the value of the source, and the text in the request."""

    path: str
    value: EvaluatedValue
    written_text: str
    rule: SourceMark
    content: ConvertedSource | None = None
    parts: tuple[str, ...] | None = None


@dataclass(slots=True)
class _RequestComparison:
    submission_index: SubmissionIndex
    read_values: dict[str, list[ReadValue]]
    zone: str
    differences: list[Difference] = field(default_factory=list)
    covered: set[int] = field(default_factory=set)

    def add_difference(self, expected: _ExpectedValue, detail: str, actual: str | None) -> None:
        """Add a difference at the first leaf of an expected value; `actual` is the text found instead."""
        leaves = expected.value.leaves
        pointer = self.submission_index.leaves[leaves[0]].pointer if leaves else ""
        text = expected.value.text
        self.differences.append(Difference(expected.path, detail, pointer, text, actual, expected.rule))


def compare_request(
    request: AgencyRequest, reading: RequestReading, submission_index: SubmissionIndex, bundle: MappingBundle
) -> list[Difference]:
    """Return where `reading`, of the XML of `request`, differs from the submission of `submission_index`.

    An empty list proves that each forwarded leaf was read back, equal or as its line declares,
    and that no value of the request is without a source.  All faults of the reading are
    differences.
    """
    document = bundle.documents[request.document]
    values_by_path: dict[str, list[ReadValue]] = {}
    for value in reading.values:
        values_by_path.setdefault(value.path, []).append(value)
    comparison = _RequestComparison(submission_index, values_by_path, bundle.notices.zone)
    comparison.differences += [
        Difference(fault.path, fault.detail, "", None, None, fault.rule) for fault in reading.faults
    ]
    hub_values = {
        value.source[4:]: value.written for value in reading.values if value.source.startswith("hub:")
    }
    scope = _make_scope(request, submission_index, bundle, hub_values)
    for expected in _expect_values_below(document.root, scope, document.root.name):
        _compare_value(comparison, expected)
    for values in values_by_path.values():
        for value in values:
            detail = f"{value.source} has no such value here"
            comparison.differences.append(Difference(value.path, detail, "", None, value.written, value.rule))
    _check_coverage(comparison, request)
    return comparison.differences


def _compare_value(comparison: _RequestComparison, expected: _ExpectedValue) -> None:
    """Add a difference unless the request has the expected value and it is read back as expected.

    The values read at its path are removed from `comparison.read_values`.
    """
    read_values = comparison.read_values.pop(expected.path, [])
    comparison.covered.update(expected.value.leaves)
    origin = expected.value.origin
    if not read_values:
        comparison.add_difference(expected, f"{origin} is not in the request", None)
        return
    read_text = None if read_values[0].text is None else "".join(str(back.text) for back in read_values)
    if read_values[0].written != expected.written_text:
        comparison.add_difference(expected, f"{origin} is put otherwise", read_values[0].written)
    elif not _is_read_back(expected, read_values, comparison.zone):
        comparison.add_difference(expected, f"{origin} is read back otherwise", read_text)
    elif not is_computed_correctly(
        expected.content, expected.value, expected.written_text, comparison.submission_index
    ):
        comparison.add_difference(expected, f"{origin} is not what its values make", read_values[0].written)


def _is_read_back(expected: _ExpectedValue, read_values: list[ReadValue], zone: str) -> bool:
    """Return whether `read_values` equal the value or parts of `expected`, within the loss of the line."""
    texts = (expected.value.text,) if expected.parts is None else expected.parts
    if len(read_values) != len(texts):
        return False
    return all(_is_same_text(back, text, zone) for back, text in zip(read_values, texts, strict=True))


def _is_same_text(back: ReadValue, text: str, zone: str) -> bool:
    """Return whether the value read back equals `text`, as far as the loss of its line allows."""
    if back.source.startswith("serial:"):
        return True  # the written text is equal already; item 01 is read back as 1
    if back.text is None:
        return back.loss != "exact" or back.source == "const"
    # A date without its time, or a time without its zone, is a prefix of the given value in the zone of days.
    return back.text == text or (back.loss == "lossy" and localize_moment(text, zone).startswith(back.text))


def _check_coverage(comparison: _RequestComparison, request: AgencyRequest) -> None:
    """Add a difference for each leaf that was forwarded in `request` and not read back."""
    for origin in request.origins:
        for leaf in origin.leaves:
            if leaf not in comparison.covered:
                lost = comparison.submission_index.leaves[leaf]
                detail = f"{origin.source} was forwarded and is not read back"
                comparison.differences.append(
                    Difference(origin.target, detail, lost.pointer, lost.value, None, origin.rule)
                )
                comparison.covered.add(leaf)


def _make_scope(
    request: AgencyRequest,
    submission_index: SubmissionIndex,
    bundle: MappingBundle,
    hub_values: dict[str, str],
) -> Scope:
    """Return the evaluation scope of a request; raise GW901 if its application is not in the submission."""
    document = bundle.documents[request.document]
    application = next(
        (element for element in submission_index.applications if element.get("id") == request.application),
        None,
    )
    if application is None:
        raise GatewayError(OUR_MISTAKE, "the request is of another submission", request.application[:70])
    trace = EvaluationTrace(document.id)
    answers = read_field_values(submission_index, document, bundle, trace, application)
    return Scope(
        submission_index, bundle.dictionary, answers, trace, request.application, request.items, hub_values
    )


def _expect_values_below(target: TargetElement, scope: Scope, path: str) -> Iterator[_ExpectedValue]:
    """Yield every value that the lines below `target` should have written for `scope`."""
    for attribute in target.attributes:
        yield from _expect_own_attribute(attribute, scope, path)
    for child in target.children:
        child_path = f"{path}/{child.name}{child.path_predicates}"
        if (child.text_piece is not None and child.text_piece.piece_number > 0) or (
            child.when is not None and not child.when.is_satisfied(scope)
        ):
            continue
        if child.content is not None:
            yield from _expect_leaf_values(child, child.content, scope, child_path)
        elif child.repetition is None:
            # A sibling that only distinguishes variants is not written without another value.
            sibling_paths = {f"{child_path}/{name}" for name, _ in child.siblings}
            values_below = list(_expect_values_below(child, scope, child_path))
            yield from values_below if {value.path for value in values_below} - sibling_paths else ()
        else:
            for position, inner in enumerate(_list_occurrences(child.repetition, scope), 1):
                yield from _expect_values_below(child, inner, f"{child_path}[{position}]")


def _list_occurrences(repetition: Repetition, scope: Scope) -> list[Scope]:
    """Return a scope for each occurrence of `repetition` that satisfies its condition."""
    if repetition.over == "distinct" and repetition.key is not None:
        scopes = scope.enter_value_groups(repetition.key, repetition.mark)
    elif repetition.ask is not None:
        scopes = scope.enter_field_group(repetition.ask)
    else:
        scopes = (
            scope.enter_meaning_group(repetition.group)
            if repetition.over == "common"
            else scope.enter_items()
        )
    return (
        scopes
        if repetition.when is None
        else [inner for inner in scopes if repetition.when.is_satisfied(inner)]
    )


def _expect_leaf_values(
    target: TargetElement, content: ConvertedSource, scope: Scope, path: str
) -> Iterator[_ExpectedValue]:
    """Yield the values of a leaf element and its attributes that the request must have."""
    pairs = [
        (value, converted)
        for value, converted in _convert_values(content, scope, target.mark)
        if converted is not None
    ]
    parts = _get_parts(content, scope, target.mark)
    for number, (value, converted) in enumerate(pairs, 1):
        value_path = f"{path}[{number}]" if len(pairs) > 1 else path
        if target.has_no_text:  # an attachment: its element has no text
            yield _ExpectedValue(value_path, value._replace(text=""), "", target.mark)
        else:
            yield _ExpectedValue(value_path, value, converted.text, target.mark, content, parts)
        for attribute in target.attributes:
            if attribute.content is not None:
                yield from _expect_own_attribute(attribute, scope, value_path)
            else:
                yield from _expect_carried_attribute(attribute, scope, converted, value_path)


def _convert_values(
    content: ConvertedSource, scope: Scope, rule: SourceMark
) -> Iterator[tuple[EvaluatedValue, EvaluatedValue | None]]:
    """Yield each value of a line with its converted value, None where the steps omit it."""
    try:
        values = content.source.evaluate_values(scope, rule)
    except ConversionError:
        return
    second_key = content.read_second_key(scope, rule)
    for value in values:
        converted: EvaluatedValue | None = value
        try:
            for step in content.steps:
                converted = step.convert_value(converted, second_key) if converted is not None else None
        except ConversionError:
            converted = None
        yield value, converted


def _get_parts(content: ConvertedSource, scope: Scope, rule: SourceMark) -> tuple[str, ...] | None:
    """Return the parts of a concatenation that have a value; None where the line is no concatenation."""
    if not isinstance(content.source, Concatenation):
        return None
    pairs = (next(_convert_values(part, scope, rule), None) for part in content.source.parts)
    return tuple(pair[0].text for pair in pairs if pair is not None and pair[1] is not None)


def _expect_own_attribute(attribute: TargetAttribute, scope: Scope, path: str) -> Iterator[_ExpectedValue]:
    """Yield the value of an attribute with a line of its own, if its source has one."""
    if attribute.content is not None:
        value, converted = next(_convert_values(attribute.content, scope, attribute.mark), (None, None))
        if value is not None and converted is not None:
            parts = _get_parts(attribute.content, scope, attribute.mark)
            yield _ExpectedValue(
                f"{path}/@{attribute.name}", value, converted.text, attribute.mark, attribute.content, parts
            )


def _expect_carried_attribute(
    attribute: TargetAttribute, scope: Scope, value: EvaluatedValue, path: str
) -> Iterator[_ExpectedValue]:
    """Yield the unit, currency or content id of a value, or the unit that it was converted to."""
    if attribute.of_value is None or value.found_value is None:
        return
    attribute_text = value.found_value.element.get(attribute.of_value)
    text = attribute.default if attribute_text is None else str(attribute_text)
    leaf = scope.submission_index.attribute_leaf_numbers.get((value.found_value.element, attribute.of_value))
    if attribute.of_value == "unitCode" and value.converted_unit is not None:
        text, attribute_text = value.converted_unit, value.converted_unit
        leaf = next(iter(value.stated_unit[1]), None) if value.stated_unit is not None else None
    if text is not None:
        leaves = () if leaf is None or attribute_text is None else (leaf,)
        translated = text if attribute.via is None else attribute.via.translate_code(text)
        carried = EvaluatedValue(text, leaves, f"{value.origin}/@{attribute.of_value}")
        yield _ExpectedValue(f"{path}/@{attribute.name}", carried, translated or "", attribute.mark)


def is_computed_correctly(
    content: ConvertedSource | None, value: EvaluatedValue, written: str, submission_index: SubmissionIndex
) -> bool:
    """Return whether `written` is the result that `content` gives for the leaves of `value`.

    A product may differ by the declared rounding, a converted quantity by one step of its
    last decimal; a sum must be exact.  True for lines that compute nothing.
    """
    if content is None:
        return True
    converted = next((step for step in content.steps if isinstance(step, UnitConversion)), None)
    texts = [submission_index.leaves[leaf].value.strip() for leaf in value.leaves]
    source = content.source
    if isinstance(source, Sum | Product) and all(map(DECIMAL.fullmatch, texts)):
        numbers = [Fraction(Decimal(text)) for text in texts]
        total, slack = Fraction(1), Fraction(1, 10**source.decimals)
        for number in numbers:
            total *= number
        if isinstance(source, Sum):
            units = [
                find_stated_unit(source.source, submission_index.leaves[leaf].element)
                for leaf in value.leaves
            ]
            added = zip(numbers, units, strict=True)
            to = value.stated_unit[0] if value.stated_unit is not None else ""
            total, slack = source.add_quantities(added, to), Fraction(0)
        if abs(total - Fraction(Decimal(value.text))) > slack:
            return False
    return converted is None or _is_converted(converted, value, written)


def _is_converted(step: UnitConversion, value: EvaluatedValue, written: str) -> bool:
    """Return whether `written` is the exact conversion of the quantity, but for its last decimal."""
    unit = value.stated_unit[0] if value.stated_unit is not None else step.source_unit
    from_unit, to_unit = step.units.get(unit or ""), step.units.get(step.target_unit)
    if from_unit is None or to_unit is None or not DECIMAL.fullmatch(written):
        return False
    exact = Fraction(Decimal(value.text.strip())) * from_unit.factor / to_unit.factor
    return abs(exact - Fraction(Decimal(written))) < Fraction(1, 10**step.decimals)
