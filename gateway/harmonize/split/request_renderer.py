"""Renders one request from the target tree and records the origin of every value."""

from __future__ import annotations

from gateway.errors import CODE_UNKNOWN, FIELD_MISSING, VALUE_DOES_NOT_FIT
from gateway.harmonize.language import (
    CodeList,
    CommonMeaning,
    ConversionError,
    DocumentMapping,
    EvaluatedValue,
    Field,
    FieldValue,
    OccurrenceLookup,
    Repetition,
    TargetAttribute,
    TargetElement,
    TextPiece,
    UniqueField,
    Violation,
    count_octets,
)
from gateway.harmonize.split.evaluation_scope import Scope, ValueOrigin
from gateway.harmonize.split.request_writer import RequestWriter
from gateway.wire import SourceMark, describe_character, describe_choices, encode_text, quote_value


def render_request(document: DocumentMapping, scope: Scope) -> tuple[bytes, tuple[ValueOrigin, ...]]:
    """Return the octets of the request of `document` for the application of `scope`, and their origins.

    Where the scope's trace keeps no fates, only the origins of attachments are kept. A value that cannot
    be written is reported in the trace and left out.
    """
    trace, name = scope.trace, document.root.name
    # Without a ledger nothing reads these origins later, and they would keep the application in memory.
    origins = trace.forwarded_origins if trace.keeps_fates else []
    writer = RequestWriter(origins=origins, keeps_origins=trace.keeps_fates)
    _render_children(writer, document.root, scope, name)
    return writer.finish(name, document.namespace), writer.list_own_origins()


def split_text(text: str, text_piece: TextPiece) -> list[str] | None:
    """Return `text` in at most as many pieces as there are parts; None when it does not fit.

    No character is cut; the concatenated pieces are equal to the text.
    """
    pieces, rest = [], text
    for _ in range(text_piece.piece_count):
        if not rest:
            break
        size = _count_fitting_characters(rest, text_piece)
        if size == 0:
            return None
        pieces.append(rest[:size])
        rest = rest[size:]
    return None if rest else pieces


def _count_fitting_characters(text: str, text_piece: TextPiece) -> int:
    """Return how many characters of `text` fit into one piece."""
    if text_piece.max_characters is not None:
        return min(text_piece.max_characters, len(text))
    room = text_piece.octets or 0
    whole = count_octets(text, text_piece.charset)
    if whole is not None and whole <= room:
        return len(text)
    for position, character in enumerate(text):
        try:
            room -= len(encode_text(character, text_piece.charset))
        except UnicodeEncodeError:
            return 0
        if room < 0:
            return position
    return len(text)


def _describe_uncut_text(text: str, text_piece: TextPiece) -> str:
    """Return why a text cannot be cut into pieces, as a clause for the problem of its element."""
    if text_piece.octets is not None:
        try:
            encode_text(text, text_piece.charset)
        except UnicodeEncodeError as error:
            character = describe_character(text, error.start)
            return (
                f"{quote_value(text)} has the character {character}, which {text_piece.charset} does not have"
            )
    return f"{text[:60]!r} does not fit into {text_piece.piece_count} pieces"


def _render_element(writer: RequestWriter, target: TargetElement, scope: Scope, path: str) -> None:
    """Write `target`, once or for each occurrence of its repetition, in the element of this path."""
    path += target.step
    if target.when is not None and not target.when.is_satisfied(scope):
        _withhold_target(target, scope, target.mark)
        return
    write = _render_container if target.content is None else _render_leaf
    if target.repetition is None:
        write(writer, target, scope, path)
        return
    scopes = _select_occurrences(target, target.repetition, scope)
    low, high = target.repetition.bound.low, target.repetition.bound.high
    if not low <= len(scopes) <= high:
        _report_occurrence_count(target, target.repetition, scopes, scope)
    start = len(writer.parts)
    if target.repetition.over != "common" or target.content is not None:
        for position, inner in enumerate(scopes, 1):
            write(writer, target, inner, f"{path}[{position}]")
            start = writer.gather_parts(start)
        return
    written = 0
    for inner in scopes:
        # An occurrence without output gets no position: the next one takes its number.
        written += _render_container(writer, target, inner, f"{path}[{written + 1}]")
    if written < low <= len(scopes):
        _report_occurrence_count(target, target.repetition, scopes[:written], scope)


def _select_occurrences(target: TargetElement, repetition: Repetition, scope: Scope) -> list[Scope]:
    """Return the selected occurrences; the leaves of the others are withheld by the rule."""
    scopes = _list_occurrences(repetition, scope)
    if not scopes:
        _withhold_outer_sources(target, scope, repetition.mark)
    disclosed = _list_disclosed_meanings(target, repetition, scope) if repetition.over == "common" else ()
    if repetition.when is None and not disclosed:
        return scopes
    selected_scopes = []
    for inner in scopes:
        holds = repetition.when is None or repetition.when.is_satisfied(inner)
        if holds and (not disclosed or any(map(inner.has_value, disclosed))):
            selected_scopes.append(inner)
        else:
            _withhold_occurrence(target, inner, repetition.mark)
    return selected_scopes


def _list_disclosed_meanings(
    target: TargetElement, repetition: Repetition, scope: Scope
) -> tuple[CommonMeaning, ...]:
    """Return the meanings of a dictionary group that an element discloses; empty where it discloses all.

    An occurrence that has other meanings only is left out: an empty element would still
    disclose that the occurrence exists.
    """
    key = ("told", id(target))
    disclosed: tuple[CommonMeaning, ...] | None = scope.answers.plans.get(key)
    if disclosed is None:
        chain, listed = scope.dictionary.list_enclosing_groups, scope.answers.listed_meanings
        contents = (content for inner in target.walk_elements() for content in inner.converted_sources)
        sources = dict.fromkeys(source for content in contents for source in content.list_forwarded_sources())
        disclosed = tuple(
            meaning
            for meaning in sources
            if isinstance(meaning, CommonMeaning) and repetition.group in chain(meaning.per)
        )
        every = (
            meaning
            for group, meanings in listed.items()
            if repetition.group in chain(group)
            for meaning in meanings
        )
        disclosed = () if all(meaning in disclosed for meaning in every) else disclosed
        scope.answers.plans[key] = disclosed
    return disclosed


def _report_occurrence_count(
    target: TargetElement, repetition: Repetition, scopes: list[Scope], scope: Scope
) -> None:
    """Report too many occurrences, or too few where the asked field has not reported that."""
    low, high = repetition.bound.low, repetition.bound.high
    if len(scopes) > high:
        detail = f"{target.name} would stand {len(scopes)} times, at most {high}"
        scope.trace.report_problem(
            VALUE_DOES_NOT_FIT,
            detail,
            _make_occurrence_pointer(repetition, scopes[high]),
            scope.application,
            repetition.mark,
        )
    is_reported = (
        repetition.ask is not None and repetition.ask.requirement.mandatory and repetition.when is None
    )
    if len(scopes) < low and not is_reported:
        detail = f"{target.name} would stand {len(scopes)} times, at least {low}"
        pointer = _make_occurrence_pointer(repetition, scope)
        scope.trace.report_problem(FIELD_MISSING, detail, pointer, scope.application, repetition.mark)


def _list_occurrences(repetition: Repetition, scope: Scope) -> list[Scope]:
    """Return the scopes of the occurrences that `repetition` iterates over within `scope`.

    The values that identify the goods items are recorded as consumed.
    """
    if repetition.ask is not None:
        return scope.enter_field_group(repetition.ask)
    if repetition.over == "common":
        return scope.enter_meaning_group(repetition.group)
    if repetition.key is None:
        return scope.enter_items()
    if repetition.over == "distinct":
        return scope.enter_value_groups(repetition.key, repetition.mark)
    if isinstance(repetition.key, CommonMeaning) and scope.trace.keeps_fates:
        for number, element in scope.submission_index.items.items():
            for value in scope.submission_index.find_values(repetition.key, element, number):
                scope.trace.record_fate(value.leaves, "consumed", repetition.mark)
    return scope.enter_items()


def _make_occurrence_pointer(repetition: Repetition, scope: Scope) -> str:
    """Return the pointer of the occurrence that `scope` is in, empty where it is no element."""
    occurrence = scope.unique_occurrences.get(
        repetition.group, scope.common_occurrences.get(repetition.group)
    )
    if occurrence is None and scope.item is not None:
        occurrence = scope.submission_index.items.get(scope.item)
    return "" if occurrence is None else scope.submission_index.get_pointer(occurrence)


def _render_leaf(writer: RequestWriter, target: TargetElement, scope: Scope, path: str) -> None:
    """Write the element `target` once for each of its values; of several, each path ends with its number."""
    values = _evaluate_leaf_values(target, scope)
    if not values:
        return
    if len(values) == 1:
        _render_value(writer, target, scope, values[0], path)
        return
    for position, value in enumerate(values, 1):
        _render_value(writer, target, scope, value, f"{path}[{position}]")


def _render_container(writer: RequestWriter, target: TargetElement, scope: Scope, path: str) -> bool:
    """Write one element that holds others; return False, and write nothing, where it would be empty."""
    opened = writer.open_container(target)
    _render_children(writer, target, scope, path)
    for attribute in target.attributes:
        writer.element_count += _render_attribute(writer, attribute, scope, None, opened.part_count + 1, path)
    # An empty container is left out.  In a repetition it is written, since it states an occurrence,
    # except over a dictionary group: an occurrence declared for other agencies must not be disclosed.
    repeated = target.repetition is not None and target.repetition.over != "common"
    return writer.close_container(target, opened, keeps_empty=repeated)


def _render_children(writer: RequestWriter, target: TargetElement, scope: Scope, path: str) -> None:
    """Write the children of an element."""
    for child in target.children:
        _render_element(writer, child, scope, path)


def _evaluate_leaf_values(target: TargetElement, scope: Scope) -> list[EvaluatedValue]:
    """Return the converted values of a leaf; report a conversion error and record its leaves."""
    content = target.content
    assert content is not None
    try:
        evaluated = (content if content.steps else content.source).evaluate_values(scope, target.mark)
        values = evaluated if isinstance(evaluated, list) else list(evaluated)
    except ConversionError as misfit:
        _report_conversion_error(target, scope, misfit)
        return []
    low, high = target.bound.low, target.bound.high
    if len(values) == 1 and low <= 1:
        return values
    high = high or 1
    if len(values) > high or 0 < len(values) < low:
        limit_text = f"at most {high}" if len(values) > high else f"at least {low}"
        detail = f"{target.name} would stand {len(values)} times, {limit_text}"
        first = values[high] if len(values) > high else values[0]
        pointer = _make_value_pointer(scope, first)
        scope.trace.report_problem(VALUE_DOES_NOT_FIT, detail, pointer, scope.application, target.mark)
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
    values: list[EvaluatedValue] = []
    try:
        values += target.content.source.evaluate_values(scope, target.mark)
        leaves += [leaf for value in values for leaf in value.leaves]
    except ConversionError as again:
        leaves += again.leaves
    scope.trace.record_forwarding(tuple(dict.fromkeys(leaves)), target.name, target.mark)
    # A wrong answer to an asked field was already reported with the field.
    wrong = [value for value in values if not misfit.leaves or set(value.leaves) & set(misfit.leaves)]
    if any(_is_already_reported(target, value) for value in wrong):
        return
    pointer = scope.submission_index.get_leaf_pointer(leaves[0]) if leaves else ""
    detail = f"{target.name}: {misfit.detail}"
    scope.trace.report_problem(misfit.problem, detail, pointer, scope.application, target.mark)


def _make_value_pointer(scope: Scope, value: EvaluatedValue) -> str:
    return scope.submission_index.get_leaf_pointer(value.leaves[0]) if value.leaves else ""


def _render_value(
    writer: RequestWriter, target: TargetElement, scope: Scope, value: EvaluatedValue, path: str
) -> None:
    """Write `value`, or the piece of it that `target` holds, as an element with its attributes.

    Report a text that cannot be split (GW506) or that violates the shape of `target`; nothing is written for
    a piece that the text does not have.
    """
    text = value.text
    if target.text_piece is not None:
        pieces = split_text(text, target.text_piece)
        if pieces is None:
            if target.text_piece.piece_number == 0:
                detail = f"{target.name}: {_describe_uncut_text(text, target.text_piece)}"
                pointer = _make_value_pointer(scope, value)
                scope.trace.report_problem(
                    VALUE_DOES_NOT_FIT, detail, pointer, scope.application, target.mark
                )
                scope.trace.record_forwarding(value.leaves, path, target.mark)
            return
        if target.text_piece.piece_number >= len(pieces):
            return
        text = pieces[target.text_piece.piece_number]
        value = EvaluatedValue(
            text, value.leaves, value.origin, (*value.transforms, "split"), value.found_value
        )
    elif (
        not (target.is_checked_answer or target.has_no_text)
        and (violation := target.shape.find_violation(text)) is not None
    ):
        _report_violation(scope, target, value, violation)
    end = writer.add_leaf(target, "" if target.has_no_text else text)
    if writer.keeps_origins:
        writer.add_origin(ValueOrigin(path, value.origin, value.leaves, target.mark, value.transforms))
    for attribute in target.attributes:
        _render_attribute(writer, attribute, scope, value, end, path)


def _report_violation(
    scope: Scope, target: TargetElement, value: EvaluatedValue, violation: Violation
) -> None:
    """Report that `value` violates the shape of `target`, with the pointer of its source."""
    # A wrong answer to an asked field was already reported with the field.
    if not _is_already_reported(target, value):
        detail = f"{target.name}: {violation.detail}"
        scope.trace.report_problem(
            violation.problem, detail, _make_value_pointer(scope, value), scope.application, target.mark
        )


def _is_already_reported(target: TargetElement, value: EvaluatedValue) -> bool:
    source = target.content.source if target.content is not None else None
    carrier = source.find_attribute_carrier() if isinstance(source, FieldValue | OccurrenceLookup) else None
    text = value.found_value.text if value.found_value is not None else value.text
    return isinstance(carrier, UniqueField) and carrier.shape.find_violation(text) is not None


def _render_attribute(
    writer: RequestWriter,
    attribute: TargetAttribute,
    scope: Scope,
    value: EvaluatedValue | None,
    start_tag_end: int,
    path: str,
) -> bool:
    """Write an attribute in the start tag that ends before piece `start_tag_end`; return whether it exists.

    `value` is that of the element at `path`, None for an element that holds others.
    """
    path = f"{path}/@{attribute.name}"
    if attribute.content is not None:
        try:
            evaluated = next(iter(attribute.content.evaluate_values(scope, attribute.mark)), None)
        except ConversionError as misfit:
            scope.trace.record_forwarding(misfit.leaves, path, attribute.mark)
            pointer = scope.submission_index.get_leaf_pointer(misfit.leaves[0]) if misfit.leaves else ""
            scope.trace.report_problem(
                misfit.problem, misfit.detail, pointer, scope.application, attribute.mark
            )
            return False
    else:
        evaluated = _evaluate_value_attribute(attribute, scope, value, path)
    if evaluated is None:
        return False
    violation = attribute.shape.find_violation(evaluated.text)
    # The attribute of an asked field was already validated with the field.
    if violation is not None and (attribute.content is not None or not attribute.is_required):
        scope.trace.report_problem(
            violation.problem,
            violation.detail,
            _make_value_pointer(scope, evaluated),
            scope.application,
            attribute.mark,
        )
    writer.add_attribute(start_tag_end, attribute.name, evaluated.text)
    if writer.keeps_origins or (attribute.of_value == "cid" and evaluated.leaves):
        writer.add_origin(
            ValueOrigin(path, evaluated.origin, evaluated.leaves, attribute.mark, evaluated.transforms)
        )
    return True


def _evaluate_value_attribute(
    attribute: TargetAttribute, scope: Scope, value: EvaluatedValue | None, path: str
) -> EvaluatedValue | None:
    """Return the unit, currency or content id that belongs to a value."""
    if value is None or value.found_value is None or attribute.of_value is None:
        return None
    text = value.found_value.element.get(attribute.of_value)
    if attribute.of_value == "unitCode" and value.converted_unit is not None:
        return _evaluate_converted_unit(attribute, scope, value, path)
    if text is None:
        if attribute.default is None:
            _report_missing_attribute(attribute, scope, value)
        return EvaluatedValue(attribute.default, (), "const") if attribute.default is not None else None
    leaf = scope.submission_index.find_attribute_leaf(value.found_value.element, attribute.of_value)
    leaves = () if leaf is None else (leaf,)
    attribute_value = EvaluatedValue(str(text), leaves, f"{value.origin}/@{attribute.of_value}")
    if attribute.via is None:
        _check_listed_attribute(attribute, scope, attribute_value)
        return attribute_value
    translated = attribute.via.translate_code(attribute_value.text)
    if translated is None:
        scope.trace.record_forwarding(leaves, path, attribute.mark)
        detail = _describe_unknown_code(attribute_value.text, attribute.via)
        scope.trace.report_problem(
            CODE_UNKNOWN,
            detail,
            _make_value_pointer(scope, attribute_value),
            scope.application,
            attribute.mark,
        )
        return None
    return EvaluatedValue(translated, leaves, attribute_value.origin, (attribute.via.translation_note,))


def _check_listed_attribute(
    attribute: TargetAttribute, scope: Scope, attribute_value: EvaluatedValue
) -> None:
    """Report a currency or unit of a common value that its agency could not know."""
    allowed_codes, name = (
        (scope.answers.currencies, "a currency of ISO 4217")
        if attribute.of_value == "currencyID"
        else (scope.answers.units, "a unit of UNECE Recommendation 20")
        if attribute.of_value == "unitCode"
        else (frozenset[str](), "")
    )
    if attribute.is_required or not allowed_codes or attribute_value.text in allowed_codes:
        return
    choices = describe_choices(sorted(allowed_codes))
    detail = f"{quote_value(attribute_value.text)} is not {name}; expected is {choices}"
    scope.trace.report_problem(
        CODE_UNKNOWN, detail, _make_value_pointer(scope, attribute_value), scope.application, attribute.mark
    )


def _describe_unknown_code(code: str, codes: CodeList) -> str:
    choices = describe_choices(codes.codes)
    return f"{quote_value(code)} is not in the list {codes.name}; expected is {choices}"


def _report_missing_attribute(attribute: TargetAttribute, scope: Scope, value: EvaluatedValue) -> None:
    """Report a common value without the attribute that the line writes; asked ones are validated before."""
    if attribute.is_required or attribute.of_value is None or value.found_value is None:
        return
    pointer = scope.submission_index.get_pointer(value.found_value.element, attribute.of_value)
    detail = f"{value.text[:60]!r} has no @{attribute.of_value}"
    scope.trace.report_problem(FIELD_MISSING, detail, pointer, scope.application, attribute.mark)


def _evaluate_converted_unit(
    attribute: TargetAttribute, scope: Scope, value: EvaluatedValue, path: str
) -> EvaluatedValue | None:
    """Return the unit that a value was converted to, translated where the line declares it."""
    leaves = value.stated_unit[1] if value.stated_unit is not None else ()
    text = value.converted_unit or ""
    if attribute.via is None:
        return EvaluatedValue(text, leaves, f"{value.origin}/@{attribute.of_value}", ("convert",))
    translated = attribute.via.translate_code(text)
    if translated is None:
        scope.trace.record_forwarding(leaves, path, attribute.mark)
        detail = _describe_unknown_code(text, attribute.via)
        scope.trace.report_problem(
            CODE_UNKNOWN, detail, _make_value_pointer(scope, value), scope.application, attribute.mark
        )
        return None
    notes = ("convert", attribute.via.translation_note)
    return EvaluatedValue(translated, leaves, f"{value.origin}/@{attribute.of_value}", notes)


def _withhold_target(target: TargetElement, scope: Scope, rule: SourceMark) -> None:
    """Record as withheld the leaves of this element and of all below it, which a condition excludes."""
    if not scope.trace.keeps_fates:
        return
    scopes = _list_occurrences(target.repetition, scope) if target.repetition is not None else [scope]
    if not scopes:
        _withhold_outer_sources(target, scope, rule)
    for inner in scopes:
        _withhold_occurrence(target, inner, rule)


def _withhold_outer_sources(target: TargetElement, scope: Scope, rule: SourceMark) -> None:
    """Record as withheld the outer values that lines of a repetition without occurrences would read."""
    if not scope.trace.keeps_fates:
        return
    for source, in_item in _list_sources_below(target, scope):
        # A source outside the items is handled once, however many items lack the repetition.
        key = ("outside", id(target), id(source), scope.item if in_item else None)
        if key in scope.answers.indexes:
            continue
        scope.answers.indexes[key] = True
        for inner_scope in scope.list_value_scopes(source):
            for value in inner_scope.find_local_values(source, rule):
                scope.trace.record_fate(value.leaves, "withheld", rule)


def _list_sources_below(target: TargetElement, scope: Scope) -> tuple[tuple[Field, bool], ...]:
    """Return the sources that an element and those below it read, each with whether it is of an item."""
    key = ("below", id(target))
    listed: tuple[tuple[Field, bool], ...] | None = scope.answers.plans.get(key)
    if listed is None:
        contents = (content for inner in target.walk_elements() for content in inner.converted_sources)
        sources = {id(source): source for content in contents for source in content.list_read_sources()}
        listed = tuple((source, source.in_item) for source in sources.values() if source.type != "group")
        scope.answers.plans[key] = listed
    return listed


def _withhold_occurrence(target: TargetElement, scope: Scope, rule: SourceMark) -> None:
    """Record as withheld what `target` and its children read in an occurrence that is not written."""
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
