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
from gateway.harmonize.engine import AgencyRequest, read_field_values
from gateway.harmonize.inverse.request_reader import ReadValue, RequestReading
from gateway.harmonize.language import (
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
)
from gateway.harmonize.submission import EvaluationTrace, Scope, SubmissionIndex
from gateway.harmonize.types import DECIMAL, SourceMark

__all__ = [
    "Difference",
    "compare_request",
    "is_total",
]


@dataclass(frozen=True, slots=True)
class Difference:
    """A difference between a request and its submission.

    `pointer` is the place in the submission, empty where there is none; `expected` and `found`
    are None where a value is missing.
    """

    path: str
    detail: str
    pointer: str
    expected: str | None
    found: str | None
    rule: SourceMark


@dataclass(frozen=True, slots=True)
class _ExpectedValue:
    """One value that its line must have written: the value of the source, and the text in the request."""

    path: str
    value: EvaluatedValue
    put: str
    rule: SourceMark
    content: ConvertedSource | None = None
    parts: tuple[str, ...] | None = None


@dataclass(slots=True)
class _RequestComparison:
    facts: SubmissionIndex
    found: dict[str, list[ReadValue]]
    differences: list[Difference] = field(default_factory=list)
    covered: set[int] = field(default_factory=set)

    def add_difference(self, expected: _ExpectedValue, detail: str, found: str | None) -> None:
        leaves = expected.value.leaves
        pointer = self.facts.leaves[leaves[0]].pointer if leaves else ""
        text = expected.value.text
        self.differences.append(Difference(expected.path, detail, pointer, text, found, expected.rule))


def compare_request(
    request: AgencyRequest, reading: RequestReading, facts: SubmissionIndex, bundle: MappingBundle
) -> list[Difference]:
    """Return where `reading`, of the XML of `request`, differs from the submission of `facts`.

    An empty list proves that each forwarded leaf was read back, equal or as its line declares,
    and that no value of the request is without a source.  All faults of the reading are
    differences.
    """
    document = bundle.documents[request.document]
    found: dict[str, list[ReadValue]] = {}
    for value in reading.values:
        found.setdefault(value.path, []).append(value)
    comparison = _RequestComparison(facts, found)
    comparison.differences += [
        Difference(fault.path, fault.detail, "", None, None, fault.rule) for fault in reading.faults
    ]
    hub = {value.source[4:]: value.written for value in reading.values if value.source.startswith("hub:")}
    scope = _make_scope(request, facts, bundle, hub)
    for expected in _expect_values_below(document.root, scope, document.root.name):
        _compare_value(comparison, expected)
    for values in found.values():
        for value in values:
            detail = f"{value.source} has no such value here"
            comparison.differences.append(Difference(value.path, detail, "", None, value.written, value.rule))
    _check_coverage(comparison, request)
    return comparison.differences


def _compare_value(comparison: _RequestComparison, expected: _ExpectedValue) -> None:
    backs = comparison.found.pop(expected.path, [])
    comparison.covered.update(expected.value.leaves)
    origin = expected.value.origin
    if not backs:
        comparison.add_difference(expected, f"{origin} is not in the request", None)
        return
    found = None if backs[0].text is None else "".join(str(back.text) for back in backs)
    if backs[0].written != expected.put:
        comparison.add_difference(expected, f"{origin} is put otherwise", backs[0].written)
    elif not _is_read_back(expected, backs):
        comparison.add_difference(expected, f"{origin} is read back otherwise", found)
    elif not is_total(expected.content, expected.value, expected.put, comparison.facts):
        comparison.add_difference(expected, f"{origin} is not what its values make", backs[0].written)


def _is_read_back(expected: _ExpectedValue, backs: list[ReadValue]) -> bool:
    """Return whether the values that were read back are the expected ones, within the declared loss."""
    texts = (expected.value.text,) if expected.parts is None else expected.parts
    if len(backs) != len(texts):
        return False
    return all(_is_same_text(back, text) for back, text in zip(backs, texts, strict=True))


def _is_same_text(back: ReadValue, text: str) -> bool:
    if back.source.startswith("serial:"):
        return True  # item numbers are compared by value: 01 is 1
    if back.text is None:
        return back.loss != "exact" or back.source == "const"
    # A date without its time, or a time without its zone, is a prefix of the given value.
    return back.text == text or (back.loss == "lossy" and text.startswith(back.text))


def _check_coverage(comparison: _RequestComparison, request: AgencyRequest) -> None:
    for origin in request.origins:
        for leaf in origin.leaves:
            if leaf not in comparison.covered:
                lost = comparison.facts.leaves[leaf]
                detail = f"{origin.source} was forwarded and is not read back"
                comparison.differences.append(
                    Difference(origin.target, detail, lost.pointer, lost.value, None, origin.rule)
                )
                comparison.covered.add(leaf)


def _make_scope(
    request: AgencyRequest, facts: SubmissionIndex, bundle: MappingBundle, hub: dict[str, str]
) -> Scope:
    document = bundle.documents[request.document]
    application = next((one for one in facts.applications if one.get("id") == request.application), None)
    if application is None:
        raise GatewayError(OUR_MISTAKE, "the request is of another submission", request.application[:70])
    trace = EvaluationTrace(document.id)
    answers = read_field_values(facts, document, bundle, trace, application)
    return Scope(facts, bundle.dictionary, answers, trace, request.application, request.items, hub)


def _expect_values_below(target: TargetElement, scope: Scope, path: str) -> Iterator[_ExpectedValue]:
    """Yield every value that the lines below `target` should have written for `scope`."""
    for put in target.attributes:
        yield from _expect_own_attribute(put, scope, path)
    for child in target.children:
        here = f"{path}/{child.name}{child.path_predicates}"
        if (child.part is not None and child.part.number > 0) or (
            child.when is not None and not child.when.is_satisfied(scope)
        ):
            continue
        if child.content is not None:
            yield from _expect_leaf_values(child, child.content, scope, here)
        elif child.each is None:
            # The siblings that distinguish elements are written only beside other values.
            told = {f"{here}/{name}" for name, _ in child.siblings}
            inside = list(_expect_values_below(child, scope, here))
            yield from inside if {one.path for one in inside} - told else ()
        else:
            for position, inner in enumerate(_list_occurrences(child.each, scope), 1):
                yield from _expect_values_below(child, inner, f"{here}[{position}]")


def _list_occurrences(each: Repetition, scope: Scope) -> list[Scope]:
    if each.over == "distinct" and each.key is not None:
        scopes = scope.enter_value_groups(each.key, each.mark)
    elif each.ask is not None:
        scopes = scope.enter_field_group(each.ask)
    else:
        scopes = scope.enter_meaning_group(each.group) if each.over == "common" else scope.enter_items()
    return scopes if each.when is None else [inner for inner in scopes if each.when.is_satisfied(inner)]


def _expect_leaf_values(
    target: TargetElement, content: ConvertedSource, scope: Scope, path: str
) -> Iterator[_ExpectedValue]:
    pairs = [
        (value, made) for value, made in _convert_values(content, scope, target.mark) if made is not None
    ]
    parts = _get_parts(content, scope, target.mark)
    for number, (value, made) in enumerate(pairs, 1):
        here = f"{path}[{number}]" if len(pairs) > 1 else path
        if target.empty:  # an attachment: its element has no text
            yield _ExpectedValue(here, value._replace(text=""), "", target.mark)
        else:
            yield _ExpectedValue(here, value, made.text, target.mark, content, parts)
        for attribute in target.attributes:
            if attribute.content is not None:
                yield from _expect_own_attribute(attribute, scope, here)
            else:
                yield from _expect_carried_attribute(attribute, scope, made, here)


def _convert_values(
    content: ConvertedSource, scope: Scope, rule: SourceMark
) -> Iterator[tuple[EvaluatedValue, EvaluatedValue | None]]:
    """Yield each value of a line with its converted value, None where the steps omit it."""
    try:
        values = content.source.evaluate_values(scope, rule)
    except ConversionError:
        return
    beside = content.read_second_key(scope, rule)
    for value in values:
        made: EvaluatedValue | None = value
        try:
            for step in content.steps:
                made = step.convert_value(made, beside) if made is not None else None
        except ConversionError:
            made = None
        yield value, made


def _get_parts(content: ConvertedSource, scope: Scope, rule: SourceMark) -> tuple[str, ...] | None:
    """Return the parts of a concatenation that have a value; None where the line is no concatenation."""
    if not isinstance(content.source, Concatenation):
        return None
    found = (next(_convert_values(part, scope, rule), None) for part in content.source.parts)
    return tuple(pair[0].text for pair in found if pair is not None and pair[1] is not None)


def _expect_own_attribute(put: TargetAttribute, scope: Scope, path: str) -> Iterator[_ExpectedValue]:
    if put.content is not None:
        value, made = next(_convert_values(put.content, scope, put.mark), (None, None))
        if value is not None and made is not None:
            parts = _get_parts(put.content, scope, put.mark)
            yield _ExpectedValue(f"{path}/@{put.name}", value, made.text, put.mark, put.content, parts)


def _expect_carried_attribute(
    put: TargetAttribute, scope: Scope, value: EvaluatedValue, path: str
) -> Iterator[_ExpectedValue]:
    """Yield the unit, currency or content id of a value, or the unit that it was converted to."""
    if put.of_value is None or value.found is None:
        return
    given = value.found.element.get(put.of_value)
    text = put.default if given is None else str(given)
    leaf = scope.facts.attributes.get((value.found.element, put.of_value))
    if put.of_value == "unitCode" and value.unit is not None:
        text, given = value.unit, value.unit
        leaf = next(iter(value.measured[1]), None) if value.measured is not None else None
    if text is not None:
        leaves = () if leaf is None or given is None else (leaf,)
        made = text if put.via is None else put.via.translate_code(text)
        carried = EvaluatedValue(text, leaves, f"{value.origin}/@{put.of_value}")
        yield _ExpectedValue(f"{path}/@{put.name}", carried, made or "", put.mark)


def is_total(
    content: ConvertedSource | None, value: EvaluatedValue, put: str, facts: SubmissionIndex
) -> bool:
    """Return whether `put` is the result that `content` gives for the leaves of `value`.

    A product may differ by the declared rounding, a converted quantity by one step of its
    last decimal; a sum must be exact.  True for lines that compute nothing.
    """
    if content is None:
        return True
    converted = next((step for step in content.steps if isinstance(step, UnitConversion)), None)
    texts = [facts.leaves[leaf].value.strip() for leaf in value.leaves]
    source = content.source
    if isinstance(source, Sum | Product) and all(map(DECIMAL.fullmatch, texts)):
        numbers = [Fraction(Decimal(text)) for text in texts]
        made, slack = Fraction(1), Fraction(1, 10**source.decimals)
        for number in numbers:
            made *= number
        if isinstance(source, Sum):
            units = [source.find_stated_unit(facts.leaves[leaf].element) for leaf in value.leaves]
            added = zip(numbers, units, strict=True)
            to = value.measured[0] if value.measured is not None else ""
            made, slack = source.add_quantities(added, to), Fraction(0)
        if abs(made - Fraction(Decimal(value.text))) > slack:
            return False
    return converted is None or _is_converted(converted, value, put)


def _is_converted(step: UnitConversion, value: EvaluatedValue, put: str) -> bool:
    unit = value.measured[0] if value.measured is not None else step.origin
    known, wanted = step.units.get(unit or ""), step.units.get(step.to)
    if known is None or wanted is None or not DECIMAL.fullmatch(put):
        return False
    exact = Fraction(Decimal(value.text.strip())) * known.factor / wanted.factor
    return abs(exact - Fraction(Decimal(put))) < Fraction(1, 10**step.decimals)
