"""Renders one request from the target tree and records the origin of every value."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import gt
from typing import Any, Final

from lxml import etree

from gateway.errors import CODE_UNKNOWN, FIELD_MISSING, VALUE_DOES_NOT_FIT, Problem
from gateway.harmonize.engine.request_writer import RequestWriter, escape_attribute, escape_text, find_special
from gateway.harmonize.engine.text_layout import LaidStep, TextLayout, find_layout
from gateway.harmonize.language import (
    Constant,
    ConversionError,
    CopiedLeaf,
    CopiedRun,
    DocumentMapping,
    EvaluatedValue,
    FieldValue,
    GivenLeaf,
    OccurrenceLookup,
    PlainContainer,
    Repetition,
    TargetAttribute,
    TargetElement,
    TextPiece,
    plan_children,
)
from gateway.harmonize.submission import FoundValue, OriginRow, Scope
from gateway.harmonize.types import CodeList, CommonMeaning, SourceMark, UniqueField, ValueShape, count_octets
from gateway.wire import describe_choices, quote_value

__all__ = ["render_request", "split_text"]


def render_request(document: DocumentMapping, scope: Scope) -> tuple[bytes, tuple[OriginRow, ...]]:
    """Return the octets of the request of `document` for the application of `scope`, and their origins.

    Where the scope's trace keeps no fates, only the origins of attachments are kept. A value that cannot
    be written is reported in the trace and left out.
    """
    trace, name = scope.trace, document.root.name
    # Without a ledger nobody reads them afterwards, and they would keep the tree of their application.
    origins = trace.forwarded if trace.keeps_fates else []
    pen = RequestWriter(origins=origins, keeps_origins=trace.keeps_fates)
    _render_children(pen, document.root, scope, name)
    return pen.finish(name, document.namespace), pen.list_own_origins()


def split_text(text: str, part: TextPiece) -> list[str] | None:
    """Return `text` in at most as many pieces as there are parts; None when it does not fit.

    No character is cut; the concatenated pieces are equal to the text.
    """
    found, rest = [], text
    for _ in range(part.of):
        if not rest:
            break
        size = _count_fitting_characters(rest, part)
        if size == 0:
            return None
        found.append(rest[:size])
        rest = rest[size:]
    return None if rest else found


def _count_fitting_characters(text: str, part: TextPiece) -> int:
    """Return how many characters of `text` fit into one piece."""
    if part.chars is not None:
        return min(part.chars, len(text))
    room = part.octets or 0
    whole = count_octets(text, part.charset)
    if whole is not None and whole <= room:
        return len(text)
    for position, character in enumerate(text):
        try:
            room -= len(character.encode(part.charset))
        except UnicodeEncodeError:
            return 0
        if room < 0:
            return position
    return len(text)


def _is_one_piece(text: str, part: TextPiece) -> bool:
    """Return whether a text that is cut is its first piece, as most are."""
    if text.isascii() and part.chars is None:
        return 0 < len(text) <= (part.octets or 0)
    return bool(text) and _count_fitting_characters(text, part) == len(text)


#: With what a plan is carried out: the writer, the scope, and the values of the sources by their number.
_Here = tuple[RequestWriter, Scope, list[tuple[FoundValue, ...]]]


def _render_element(here: _Here, target: TargetElement, path: str) -> None:
    """Write `target`, once or for each occurrence of its repetition."""
    pen, scope, _ = here
    path += target.step
    if target.when is not None and not target.when.is_satisfied(scope):
        _withhold_target(target, scope, target.mark)
        return
    write = _render_container if target.content is None else _render_leaf
    if target.each is None:
        write(pen, target, scope, path)
        return
    scopes = _select_occurrences(target, target.each, scope)
    low, high = target.each.bound
    if not low <= len(scopes) <= high:
        _report_occurrence_count(target, target.each, scopes, scope)
    begun = len(pen.parts)
    if target.each.over != "common" or target.content is not None:
        for position, inner in enumerate(scopes, 1):
            write(pen, target, inner, f"{path}[{position}]")
            begun = pen.gather_parts(begun)
        return
    written = 0
    for inner in scopes:
        # An occurrence of which nothing is written does not count as a position.
        written += _render_container(pen, target, inner, f"{path}[{written + 1}]")
    if written < low <= len(scopes):
        _report_occurrence_count(target, target.each, scopes[:written], scope)


def _select_occurrences(target: TargetElement, each: Repetition, scope: Scope) -> list[Scope]:
    """Return the selected occurrences; the leaves of the others are withheld by the rule."""
    scopes = _list_occurrences(each, scope)
    if not scopes:
        _withhold_outer_sources(target, scope, each.mark)
    told = _list_disclosed_meanings(target, each, scope) if each.over == "common" else ()
    if each.when is None and not told:
        return scopes
    chosen = []
    for inner in scopes:
        holds = each.when is None or each.when.is_satisfied(inner)
        if holds and (not told or any(map(inner.has_value, told))):
            chosen.append(inner)
        else:
            _withhold_occurrence(target, inner, each.mark)
    return chosen


def _list_disclosed_meanings(
    target: TargetElement, each: Repetition, scope: Scope
) -> tuple[CommonMeaning, ...]:
    """Return the meanings of a dictionary group that an element discloses; empty where it discloses all.

    An occurrence that has other meanings only is left out: an empty element would still
    disclose that the occurrence exists.
    """
    key = ("told", id(target))
    told: tuple[CommonMeaning, ...] | None = scope.answers.plans.get(key)
    if told is None:
        chain, listed = scope.dictionary.list_enclosing_groups, scope.answers.listed
        contents = (content for inner in target.walk_elements() for content in inner.converted_sources)
        found = dict.fromkeys(source for content in contents for source in content.list_forwarded_sources())
        told = tuple(one for one in found if isinstance(one, CommonMeaning) and each.group in chain(one.per))
        every = (one for group, own in listed.items() if each.group in chain(group) for one in own)
        told = () if all(one in told for one in every) else told
        scope.answers.plans[key] = told
    return told


def _report_occurrence_count(
    target: TargetElement, each: Repetition, scopes: list[Scope], scope: Scope
) -> None:
    """Report too many occurrences, or too few where the asked field has not reported that."""
    (low, high), where = each.bound, (scope.application, each.mark)
    if len(scopes) > high:
        detail = f"{target.name} would stand {len(scopes)} times, at most {high}"
        scope.trace.report_problem(
            VALUE_DOES_NOT_FIT, detail, _make_occurrence_pointer(each, scopes[high]), where
        )
    known = each.ask is not None and each.ask.requirement.mandatory and each.when is None
    if len(scopes) < low and not known:
        detail = f"{target.name} would stand {len(scopes)} times, at least {low}"
        scope.trace.report_problem(FIELD_MISSING, detail, _make_occurrence_pointer(each, scope), where)


def _list_occurrences(each: Repetition, scope: Scope) -> list[Scope]:
    if each.ask is not None:
        return scope.enter_field_group(each.ask)
    if each.over == "common":
        return scope.enter_meaning_group(each.group)
    if each.key is None:
        return scope.enter_items()
    if each.over == "distinct":
        return scope.enter_value_groups(each.key, each.mark)
    if isinstance(each.key, CommonMeaning) and scope.trace.keeps_fates:
        for number, element in scope.facts.items.items():
            for found in scope.facts.find_values(each.key, element, number):
                scope.trace.record_fate(found.leaves, "consumed", each.mark)
    return scope.enter_items()


def _make_occurrence_pointer(each: Repetition, scope: Scope) -> str:
    """Return the pointer of the occurrence that `scope` is in, empty where it is no element."""
    inside = scope.asked.get(each.group, scope.common.get(each.group))
    if inside is None and scope.item is not None:
        inside = scope.facts.items.get(scope.item)
    return "" if inside is None else scope.facts.get_pointer(inside)


def _render_leaf(pen: RequestWriter, target: TargetElement, scope: Scope, path: str) -> None:
    values = _evaluate_leaf_values(target, scope)
    if not values:
        return
    if len(values) == 1:
        _render_value(pen, target, scope, values[0], path)
        return
    for position, value in enumerate(values, 1):
        _render_value(pen, target, scope, value, f"{path}[{position}]")


def _render_container(pen: RequestWriter, target: TargetElement, scope: Scope, path: str) -> bool:
    """Write one element that holds others; return False, and write nothing, where it would be empty."""
    opened = pen.open_container(target)
    _render_children(pen, target, scope, path)
    for attribute in target.attributes:
        pen.written += _render_attribute(pen, attribute, scope, (None, opened[0] + 1, path))
    # An empty container is left out.  In a repetition it is written, since it states an occurrence,
    # except over a dictionary group: an occurrence declared for other agencies must not be disclosed.
    repeated = target.each is not None and target.each.over != "common"
    return pen.close_container(target, opened, keeps_empty=repeated)


def _render_children(pen: RequestWriter, target: TargetElement, scope: Scope, path: str) -> None:
    """Write what an element holds, by its plan."""
    plan = plan_children(target)
    values: list[tuple[FoundValue, ...]] = []
    for sources, names in plan.places:
        values += scope.find_sibling_values(sources, names)
    steps: Sequence[LaidStep] = plan.steps
    if not pen.keeps_origins:
        for leaf in plan.singles:
            values.append(scope.find_local_values(leaf.source, leaf.target.mark))
        for given in plan.given:
            assert given.source is not None
            found = given.source.evaluate_values(scope, given.target.mark)
            values.append(tuple([FoundValue(one.text, one.leaves, scope.facts.root) for one in found]))
        counts = tuple(map(len, values))
        steps = plan.layouts.get(counts) or find_layout(plan, counts)
    here = pen, scope, values
    for step in steps:
        _WRITERS[type(step)](here, step, path)


def _write_layout(here: _Here, layout: TextLayout, path: str) -> None:
    """Write a text with values in it; step by step where one of them is not as it should be."""
    pen, scope, values = here
    text = _fill_layout(layout, values, scope)
    if text is not None:
        pen.parts.append(text)
        pen.written += layout.written
        return
    for step in layout.steps:
        _WRITERS[type(step)](here, step, path)


def _fill_layout(layout: TextLayout, values: Sequence[tuple[FoundValue, ...]], scope: Scope) -> str | None:
    """Return the text of a layout with its values; None where there is something to report."""
    texts = [values[position][0][0] for position in layout.taken]
    for position, piece in layout.cut:
        if not _is_one_piece(values[position][0][0], piece):
            return None
    for hole, change in layout.changed:
        changed = change(texts[hole])
        if not changed:
            return None
        texts[hole] = changed
    lengths = list(map(len, texts))
    if 0 in lengths or any(map(gt, lengths, layout.bounds)):
        return None
    for hole, shape in layout.judged:
        text = texts[hole]
        if not shape.fits(text) and shape.find_violation(text) is not None:
            return None
    if find_special("".join(texts)) is not None:
        texts = list(map(escape_text, texts))
    for hole, position, put in layout.measured:
        measure = _write_stated_measure(put, scope, values[position][0][2])
        if measure is None:
            return None
        texts[hole] = measure
    return layout.text % tuple(texts)


def _write_container(here: _Here, container: PlainContainer, path: str) -> None:
    pen, target = here[0], container.target
    begun, told, outer = len(pen.parts), len(pen.origins), pen.written
    pen.parts.append(container.start)
    pen.written = 0
    path += target.step
    for step in container.steps:
        _WRITERS[type(step)](here, step, path)
    if pen.written == target.constants:
        pen.take_back(begun, told)
        pen.written = outer
    else:
        pen.parts.append(target.end)
        pen.written = outer + 1


def _copy_run(here: _Here, run: CopiedRun, path: str) -> None:
    """Write the leaves of a run; where there is something to report, as `_render_element` does."""
    # Most of what a split writes is written here: without a call of Python for a leaf.
    pen, scope, values = here
    write = pen.parts.append
    for number, start, end, step, origin, mark, shape, put, leaf in run.leaves:
        found = scope.find_local_values(leaf.source, mark) if number is None else values[number]
        if not found:
            continue
        text, leaves, element = found[0]
        measure = "" if put is None else _write_stated_measure(put, scope, element)
        fits = shape is None or shape.fits(text) or shape.find_violation(text) is None
        if len(found) > 1 or measure is None or not fits:
            _render_element(here, leaf.target, path)
            continue
        write(f"{start}{measure}{escape_text(text) if find_special(text) else text}{end}")
        pen.written += 1
        if pen.keeps_origins:
            pen.add_origin((path + step, origin, leaves, mark, ()))
            if put is not None:
                _add_measure_origin(pen, put, scope, (path + step, origin, element))


def _write_given_leaf(here: _Here, given: GivenLeaf, path: str) -> None:
    pen, target = here[0], given.target
    if not given.text:
        _render_element(here, target, path)
        return
    pen.add_plain_leaf(target, given.text)
    if pen.keeps_origins:
        pen.add_origin((path + target.step, Constant.origin, (), target.mark, ()))


def _copy_leaf(here: _Here, copied: CopiedLeaf, path: str) -> None:
    """Write a value translated or cut; where there is something to report, as `_render_element` does."""
    (pen, scope, values), number = here, copied.number
    target = copied.target
    found = values[number] if number is not None else scope.find_local_values(copied.source, target.mark)
    if not found:
        return
    text, leaves, _ = found[0]
    changed = _change_text(copied, text)
    if len(found) > 1 or changed is None:
        _render_element(here, target, path)
    elif changed:
        pen.add_plain_leaf(target, changed)
        if pen.keeps_origins:
            pen.add_origin((path + target.step, copied.origin, leaves, target.mark, copied.transforms))


def _change_text(copied: CopiedLeaf, text: str) -> str | None:
    """Return a text translated or cut, which may be empty; None where there is something to report."""
    if copied.part is not None:
        if not _is_one_piece(text, copied.part):
            return None
        return "" if copied.part.number > 0 else text  # the first piece takes it whole
    assert copied.change is not None
    changed = copied.change(text)
    return changed if changed and _has_shape(copied.target.shape, changed) else None


def _has_shape(shape: ValueShape, text: str) -> bool:
    return bool(shape.fits(text)) or shape.find_violation(text) is None


#: What carries out a step of a plan, by its type.
_WRITERS: Final[Mapping[type, Callable[[_Here, Any, str], None]]] = {
    CopiedRun: _copy_run,
    CopiedLeaf: _copy_leaf,
    GivenLeaf: _write_given_leaf,
    PlainContainer: _write_container,
    TextLayout: _write_layout,
    TargetElement: _render_element,
}


def _add_measure_origin(
    pen: RequestWriter, put: TargetAttribute, scope: Scope, place: tuple[str, str, etree._Element]
) -> None:
    """Keep the origin of a unit or currency; `place` is the path and origin of its value, and its element."""
    path, origin, element = place
    leaf = scope.facts.find_attribute_leaf(element, put.of_value or "")
    stated = () if leaf is None else (leaf,)
    notes = () if put.via is None else (put.via.translation_note,)
    pen.add_origin((f"{path}/@{put.name}", f"{origin}/@{put.of_value}", stated, put.mark, notes))


def _write_stated_measure(put: TargetAttribute, scope: Scope, element: etree._Element) -> str | None:
    """Return the attribute with the unit or currency of a value; None where there is something to report."""
    measure = element.get(put.of_value or "")
    if measure is not None and put.via is not None:
        measure = put.via.translate_code(measure)
    # Those of answers were judged before.
    if measure is None or not (put.required or _is_measure_right(put, scope, measure)):
        return None
    return f' {put.name}="{escape_attribute(measure)}">'


def _is_measure_right(put: TargetAttribute, scope: Scope, measure: str) -> bool:
    """Return whether nothing is to be said about a unit or currency, or about its translation."""
    listed = scope.answers.units if put.of_value == "unitCode" else scope.answers.currencies
    known = put.via is not None or not listed or measure in listed
    return known and _has_shape(put.shape, measure)


def _evaluate_leaf_values(target: TargetElement, scope: Scope) -> list[EvaluatedValue]:
    """Return the converted values of a leaf; report a conversion error and record its leaves."""
    content = target.content
    assert content is not None
    try:
        found = (content if content.steps else content.source).evaluate_values(scope, target.mark)
        values = found if isinstance(found, list) else list(found)
    except ConversionError as misfit:
        _report_conversion_error(target, scope, misfit)
        return []
    low, high = target.bound
    if len(values) == 1 and low <= 1:
        return values
    high = high or 1
    if len(values) > high or 0 < len(values) < low:
        most = f"at most {high}" if len(values) > high else f"at least {low}"
        detail = f"{target.name} would stand {len(values)} times, {most}"
        where = (scope.application, target.mark)
        first = values[high] if len(values) > high else values[0]
        scope.trace.report_problem(VALUE_DOES_NOT_FIT, detail, _make_value_pointer(scope, first), where)
        for value in values[high:]:
            scope.trace.record_fate(value.leaves, "withheld", target.mark)
        values = values[:high]
    if not values and content.steps and scope.trace.keeps_fates:
        # The rule omits the value (an unknown code of an open list), but it has read the leaf.
        for value in content.source.evaluate_values(scope, target.mark):
            scope.trace.record_fate(value.leaves, "consumed", target.mark)
    return values


def _report_conversion_error(target: TargetElement, scope: Scope, misfit: ConversionError) -> None:
    """Report a value that cannot be written; its leaves are recorded as forwarded to the target."""
    assert target.content is not None
    leaves = list(misfit.leaves)
    try:
        leaves += [
            n for value in target.content.source.evaluate_values(scope, target.mark) for n in value.leaves
        ]
    except ConversionError as again:
        leaves += again.leaves
    scope.trace.record_forwarding(tuple(dict.fromkeys(leaves)), target.name, target.mark)
    pointer = scope.facts.get_leaf_pointer(leaves[0]) if leaves else ""
    detail = f"{target.name}: {misfit.detail}"
    scope.trace.report_problem(misfit.problem, detail, pointer, (scope.application, target.mark))


def _make_value_pointer(scope: Scope, value: EvaluatedValue) -> str:
    return scope.facts.get_leaf_pointer(value.leaves[0]) if value.leaves else ""


def _render_value(
    pen: RequestWriter, target: TargetElement, scope: Scope, value: EvaluatedValue, path: str
) -> None:
    text = value.text
    if target.part is not None:
        cut = split_text(text, target.part)
        if cut is None:
            if target.part.number == 0:
                detail = f"{target.name}: {text[:60]!r} does not fit into {target.part.of} pieces"
                where = (scope.application, target.mark)
                scope.trace.report_problem(
                    VALUE_DOES_NOT_FIT, detail, _make_value_pointer(scope, value), where
                )
                scope.trace.record_forwarding(value.leaves, path, target.mark)
            return
        if target.part.number >= len(cut):
            return
        text = cut[target.part.number]
        value = EvaluatedValue(text, value.leaves, value.origin, (*value.transforms, "split"), value.found)
    elif not (target.judged or target.empty) and (refusal := target.shape.find_violation(text)) is not None:
        _report_violation(scope, target, value, refusal)
    end = pen.add_leaf(target, "" if target.empty else text)
    if pen.keeps_origins:
        pen.add_origin((path, value.origin, value.leaves, target.mark, value.transforms))
    for attribute in target.attributes:
        _render_attribute(pen, attribute, scope, (value, end, path))


def _report_violation(
    scope: Scope, target: TargetElement, value: EvaluatedValue, refusal: tuple[Problem, str]
) -> None:
    # A wrong answer to an asked field was already reported with the field.
    if not _is_already_reported(target, value):
        detail = f"{target.name}: {refusal[1]}"
        scope.trace.report_problem(
            refusal[0], detail, _make_value_pointer(scope, value), (scope.application, target.mark)
        )


def _is_already_reported(target: TargetElement, value: EvaluatedValue) -> bool:
    source = target.content.source if target.content is not None else None
    taken = source.find_attribute_carrier() if isinstance(source, FieldValue | OccurrenceLookup) else None
    given = value.found.text if value.found is not None else value.text
    return isinstance(taken, UniqueField) and taken.shape.find_violation(given) is not None


def _render_attribute(
    pen: RequestWriter,
    put: TargetAttribute,
    scope: Scope,
    place: tuple[EvaluatedValue | None, int, str],
) -> bool:
    """Write an attribute in the start tag that ends at the given piece; return whether there is one."""
    value, end, path = place
    path = f"{path}/@{put.name}"
    if put.content is not None:
        try:
            found = next(iter(put.content.evaluate_values(scope, put.mark)), None)
        except ConversionError as misfit:
            scope.trace.record_forwarding(misfit.leaves, path, put.mark)
            pointer = scope.facts.get_leaf_pointer(misfit.leaves[0]) if misfit.leaves else ""
            scope.trace.report_problem(misfit.problem, misfit.detail, pointer, (scope.application, put.mark))
            return False
    else:
        found = _evaluate_value_attribute(put, scope, value, path)
    if found is None:
        return False
    refusal = put.shape.find_violation(found.text)
    # The attribute of an asked field was already validated with the field.
    if refusal is not None and (put.content is not None or not put.required):
        scope.trace.report_problem(
            refusal[0], refusal[1], _make_value_pointer(scope, found), (scope.application, put.mark)
        )
    pen.add_attribute(end, put.name, found.text)
    if pen.keeps_origins or (put.of_value == "cid" and found.leaves):
        pen.add_origin((path, found.origin, found.leaves, put.mark, found.transforms))
    return True


def _evaluate_value_attribute(
    put: TargetAttribute, scope: Scope, value: EvaluatedValue | None, path: str
) -> EvaluatedValue | None:
    """Return the unit, currency or content id that belongs to a value."""
    if value is None or value.found is None or put.of_value is None:
        return None
    text = value.found.element.get(put.of_value)
    if put.of_value == "unitCode" and value.unit is not None:
        return _evaluate_converted_unit(put, scope, value, path)
    if text is None:
        if put.default is None:
            _report_missing_attribute(put, scope, value)
        return EvaluatedValue(put.default, (), "const") if put.default is not None else None
    leaf = scope.facts.find_attribute_leaf(value.found.element, put.of_value)
    leaves = () if leaf is None else (leaf,)
    carried = EvaluatedValue(str(text), leaves, f"{value.origin}/@{put.of_value}")
    if put.via is None:
        _check_listed_attribute(put, scope, carried)
        return carried
    translated = put.via.translate_code(carried.text)
    if translated is None:
        scope.trace.record_forwarding(leaves, path, put.mark)
        detail = _describe_unknown_code(carried.text, put.via)
        scope.trace.report_problem(
            CODE_UNKNOWN, detail, _make_value_pointer(scope, carried), (scope.application, put.mark)
        )
        return None
    return EvaluatedValue(translated, leaves, carried.origin, (put.via.translation_note,))


def _check_listed_attribute(put: TargetAttribute, scope: Scope, carried: EvaluatedValue) -> None:
    """Report a currency or unit of a common value that its agency could not know."""
    known, name = (
        (scope.answers.currencies, "a currency of ISO 4217")
        if put.of_value == "currencyID"
        else (scope.answers.units, "a unit of UNECE Recommendation 20")
        if put.of_value == "unitCode"
        else (frozenset[str](), "")
    )
    if put.required or not known or carried.text in known:
        return
    detail = f"{quote_value(carried.text)} is not {name}; expected is {describe_choices(sorted(known))}"
    scope.trace.report_problem(
        CODE_UNKNOWN, detail, _make_value_pointer(scope, carried), (scope.application, put.mark)
    )


def _describe_unknown_code(code: str, codes: CodeList) -> str:
    known = describe_choices(codes.codes)
    return f"{quote_value(code)} is not in the list {codes.name}; expected is {known}"


def _report_missing_attribute(put: TargetAttribute, scope: Scope, value: EvaluatedValue) -> None:
    """Report a common value without the attribute that the line writes; asked ones are validated before."""
    if put.required or put.of_value is None or value.found is None:
        return
    pointer = scope.facts.get_pointer(value.found.element, put.of_value)
    detail = f"{value.text[:60]!r} has no @{put.of_value}"
    scope.trace.report_problem(FIELD_MISSING, detail, pointer, (scope.application, put.mark))


def _evaluate_converted_unit(
    put: TargetAttribute, scope: Scope, value: EvaluatedValue, path: str
) -> EvaluatedValue | None:
    """Return the unit that a value was converted to, translated where the line declares it."""
    leaves = value.measured[1] if value.measured is not None else ()
    text = value.unit or ""
    if put.via is None:
        return EvaluatedValue(text, leaves, f"{value.origin}/@{put.of_value}", ("convert",))
    translated = put.via.translate_code(text)
    if translated is None:
        scope.trace.record_forwarding(leaves, path, put.mark)
        detail = _describe_unknown_code(text, put.via)
        scope.trace.report_problem(
            CODE_UNKNOWN, detail, _make_value_pointer(scope, value), (scope.application, put.mark)
        )
        return None
    notes = ("convert", put.via.translation_note)
    return EvaluatedValue(translated, leaves, f"{value.origin}/@{put.of_value}", notes)


def _withhold_target(target: TargetElement, scope: Scope, rule: SourceMark) -> None:
    """Record as withheld the leaves of this element and of all below it, which a condition excludes."""
    if not scope.trace.keeps_fates:
        return
    scopes = _list_occurrences(target.each, scope) if target.each is not None else [scope]
    if not scopes:
        _withhold_outer_sources(target, scope, rule)
    for inner in scopes:
        _withhold_occurrence(target, inner, rule)


def _withhold_outer_sources(target: TargetElement, scope: Scope, rule: SourceMark) -> None:
    """Record as withheld what the lines of a repetition without occurrences would read from outside it."""
    if not scope.trace.keeps_fates:
        return
    for source, in_item in _list_sources_below(target, scope):
        # A source outside the items is handled once, however many items lack the repetition.
        key = ("outside", id(target), id(source), scope.item if in_item else None)
        if key in scope.answers.indexes:
            continue
        scope.answers.indexes[key] = True
        for place in scope.list_value_scopes(source):
            for found in place.find_local_values(source, rule):
                scope.trace.record_fate(found.leaves, "withheld", rule)


def _list_sources_below(
    target: TargetElement, scope: Scope
) -> tuple[tuple[UniqueField | CommonMeaning, bool], ...]:
    """Return the sources that an element and those below it read, each with whether it is of an item."""
    key = ("below", id(target))
    listed: tuple[tuple[UniqueField | CommonMeaning, bool], ...] | None = scope.answers.plans.get(key)
    if listed is None:
        contents = (content for inner in target.walk_elements() for content in inner.converted_sources)
        sources = {id(source): source for content in contents for source in content.list_read_sources()}
        listed = tuple(
            (source, source.home == "item" if isinstance(source, UniqueField) else source.in_item)
            for source in sources.values()
            if source.type != "group"
        )
        scope.answers.plans[key] = listed
    return listed


def _withhold_occurrence(target: TargetElement, scope: Scope, rule: SourceMark) -> None:
    if not scope.trace.keeps_fates:
        return
    for content in target.converted_sources:
        content.read_second_key(scope, rule)
        try:
            values = content.source.evaluate_values(scope, rule)
        except ConversionError as misfit:
            scope.trace.record_fate(misfit.leaves, "withheld", rule)
            continue
        for value in values:
            scope.trace.record_fate(value.leaves, "withheld", rule)
    for child in target.children:
        _withhold_target(child, scope, rule)
