"""Reads and validates the unique fields of an application; reports each problem with its pointer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from operator import attrgetter
from typing import Any, Final, NamedTuple

from lxml import etree

from gateway.errors import (
    ATTACHMENT_MISMATCH,
    DOCUMENT_INVALID,
    FIELD_MISSING,
    RULE_BROKEN,
    SOURCES_DISAGREE,
    Problem,
)
from gateway.harmonize.language import (
    CommonMeaning,
    DataDictionary,
    DocumentMapping,
    MappingBundle,
    SharedAnswer,
    SharedAnswers,
    UniqueField,
    find_first_difference,
    find_matching_member,
    find_shared_answers,
    find_sharing_applications,
    list_member_answers,
    to_dotted_element_name,
)
from gateway.harmonize.split.evaluation_scope import EvaluationTrace, Scope, SiblingFields, UniqueFieldValues
from gateway.harmonize.split.submission_fields import list_children, read_element_text
from gateway.harmonize.split.submission_index import FoundValue, SubmissionIndex, parse_sequence_number
from gateway.wire import (
    SUB,
    XSI,
    SourceMark,
    describe_choices,
    describe_unclear_id,
    find_unclear_character,
    normalize_text,
    quote_value,
)

_SUB: Final = f"{{{SUB}}}"
_MIB: Final = 1024 * 1024
_MAX_QUOTED_CHARACTERS: Final = 70
_CURRENCIES: Final = "iso4217"
#: The element that holds the fields of a goods item.
_ITEM: Final = "Item"
#: The number of elements from which fields are long: memory is saved for them.
_LONG: Final = 100
#: Makes a value of its parts without a Python call: there are very many values.
_make_value: Final = partial(tuple.__new__, FoundValue)
_get_text: Final = attrgetter("text")


@dataclass(frozen=True, slots=True)
class _AskedFields:
    """Fields with one parent element, by the tag of their element; those of each group, by its name.

    Elements with the tag `separate_tag` (goods items) are not fields; other code reads them.
    """

    by_tag: Mapping[object, UniqueField]
    by_group: Mapping[str, _AskedFields]
    separate_tag: str = ""


@dataclass(slots=True)
class _FieldReader:
    """The state of one read of an application's fields; the memory of long ones is spared."""

    facts: SubmissionIndex
    document: DocumentMapping
    bundle: MappingBundle
    trace: EvaluationTrace
    application: etree._Element
    application_id: str
    answers: UniqueFieldValues
    attachments: Mapping[str, etree._Element]
    saves_memory: bool = False

    def report_problem(self, problem: Problem, detail: str, pointer: str, rule: SourceMark) -> None:
        """Report a problem of the fields at `pointer`, found by `rule`."""
        self.trace.report_problem(problem, detail, pointer, self.application_id, rule)


def read_field_values(
    submission_index: SubmissionIndex,
    document: DocumentMapping,
    bundle: MappingBundle,
    trace: EvaluationTrace,
    application: etree._Element,
) -> UniqueFieldValues:
    """Return the unique fields of `application`, by name; report problems in `trace`.

    A shared field takes the answer of another application (`UniqueFieldValues.borrowed`).
    """
    attachments = {str(a.get("cid", "")): a for a in application.iterchildren(f"{_SUB}Attachment")}
    name = str(application.get("id", ""))
    reading = bundle.get_compiled(f"reading:{document.id}", lambda: _prepare_reading(bundle, document))
    answers = UniqueFieldValues(
        listed_meanings=reading.listed,
        currencies=reading.currencies,
        units=reading.units,
        plans=reading.plans,
    )
    reader = _FieldReader(submission_index, document, bundle, trace, application, name, answers, attachments)
    branches = list(application.iterchildren(f"{_SUB}Fields"))
    for surplus in branches[1:]:
        reader.report_problem(
            DOCUMENT_INVALID, "Fields stands once", reader.facts.get_pointer(surplus), document.asks_mark
        )
        _withhold_element(reader, surplus)
    for branch in branches[:1]:
        reader.saves_memory = len(branch) >= _LONG
        _read_sibling_fields(
            reader, branch, reading.fields_by_parent["application"], reader.answers.application_fields
        )
        for child in branch.iterchildren(reading.item_tag):
            _read_item_fields(reader, child, reading.fields_by_parent["item"])
    shared = document.shared_asks if find_sharing_applications(submission_index, bundle.documents) else ()
    numbers = reader.facts.list_item_numbers(application) if shared else ()
    for ask in shared:
        for item in (None,) if ask.per == "application" else numbers:
            _borrow_shared_answer(reader, ask, item)
    for ask in shared:
        if ask.requirement.forbidden_otherwise:
            _drop_forbidden_answer(reader, ask, numbers)
    return reader.answers


class _Reading(NamedTuple):
    """The constant data for reading the fields of a document and checking their values."""

    fields_by_parent: Mapping[str, _AskedFields]
    item_tag: str
    listed: Mapping[str, list[CommonMeaning]]
    currencies: frozenset[str]
    units: frozenset[str]
    plans: dict[object, Any]


def _prepare_reading(bundle: MappingBundle, document: DocumentMapping) -> _Reading:
    """Return the constant data for reading the unique fields of `document`."""
    money = bundle.lists.get(_CURRENCIES)
    return _Reading(
        _list_asked_fields(document),
        f"{{{document.namespace}}}{_ITEM}",
        _group_listed_meanings(document, bundle.dictionary),
        money.code_set if money is not None else frozenset[str](),
        bundle.get_compiled("units:allowed", bundle.collect_allowed_units),
        {},
    )


def _list_asked_fields(document: DocumentMapping) -> dict[str, _AskedFields]:
    """Return the fields that a document asks, for the ``application`` and for each ``item``."""
    namespace, levels = f"{{{document.namespace}}}", ("application", "item")
    asks = {per: [ask for ask in document.asks if ask.per == per] for per in levels}
    asks["application"] = [ask for ask in asks["application"] if ask.tag != _ITEM]
    fields = {per: _index_asked_fields(level_asks, namespace) for per, level_asks in asks.items()}
    return fields | {"application": replace(fields["application"], separate_tag=namespace + _ITEM)}


def _index_asked_fields(asks: Iterable[UniqueField], namespace: str) -> _AskedFields:
    by_tag: dict[object, UniqueField] = {namespace + ask.tag: ask for ask in asks}
    groups = [ask for ask in by_tag.values() if ask.type == "group"]
    return _AskedFields(by_tag, {ask.name: _index_asked_fields(ask.fields, namespace) for ask in groups})


def _group_listed_meanings(
    document: DocumentMapping, dictionary: DataDictionary
) -> dict[str, list[CommonMeaning]]:
    """Return the common meanings that a document lists, by their group of the dictionary."""
    listed: dict[str, list[CommonMeaning]] = {}
    for need in document.needs:
        chain = dictionary.list_enclosing_groups(need.meaning.per)
        for group in chain:
            listed.setdefault(group, [])
        if chain:
            listed[chain[-1]].append(need.meaning)
    return listed


def _borrow_shared_answer(reader: _FieldReader, ask: UniqueField, item: str | None) -> None:
    """Take the answer to a shared field from another application where this one gives none.

    Report SOURCES_DISAGREE (GW505) where two applications give different answers.
    """
    shared = find_shared_answers(
        reader.facts, reader.bundle.documents, reader.document.direction, ask.means, item
    )
    own_answer = shared.find_own_answer(reader.application)
    if not shared.answers or shared.answers[0] is own_answer:
        return
    first = shared.answers[0]
    _compare_shared_answers(reader, shared, own_answer, ask, item)
    if own_answer is None:
        answers = reader.answers
        branch = (
            answers.application_fields
            if item is None
            else answers.fields_by_item.setdefault(item, SiblingFields())
        )
        branch.elements[ask.name] = list(first.elements)
        branch.values.pop(ask.name, None)
        for element in first.elements:
            _read_borrowed_answer(reader, element, first.ask, ask)


def _compare_shared_answers(
    reader: _FieldReader,
    shared: SharedAnswers,
    own_answer: SharedAnswer | None,
    ask: UniqueField,
    item: str | None,
) -> None:
    """Report the own answer if it differs from the first; without an own answer, each that differs.

    All answer the shared field `ask`, for goods item `item` or (None) for the whole application.
    """
    first = shared.answers[0]
    if own_answer is not None:
        _mark_compared_leaves(reader, first, ask)
        difference = find_first_difference(first, own_answer)
        different = [] if difference is None else [difference]
    else:
        # All applications of a document have one trace: the leaves are marked only for the first of them.
        if (ask.name, item) not in reader.trace.compared_fields:
            reader.trace.compared_fields.add((ask.name, item))
            for rival in shared.answers[1:]:
                _mark_compared_leaves(reader, rival, ask)
        different = shared.list_differences()
    first_application = _format_application_id(first)
    detail = f"{ask.en} ({ask.ko}) is shared, and application {first_application} says otherwise"
    for element in different:
        reader.report_problem(SOURCES_DISAGREE, detail, reader.facts.get_pointer(element), ask.mark)
        if reader.trace.is_full:
            break


def _format_application_id(answer: SharedAnswer) -> str:
    return repr(str(answer.application.get("id", ""))[:_MAX_QUOTED_CHARACTERS])


def _mark_compared_leaves(reader: _FieldReader, answer: SharedAnswer, asked_field: UniqueField) -> None:
    """Record as consumed the leaves of a compared answer, as far as `asked_field` has their members."""
    if not reader.trace.keeps_fates:
        return
    pending = [(element, answer.ask, asked_field) for element in answer.elements]
    while pending:
        element, other_field, own_field = pending.pop()
        reader.trace.record_fate(
            _list_answer_leaves(reader, element, own_field), "consumed", asked_field.mark
        )
        for child, answered in list_member_answers(element, other_field):
            member = find_matching_member(answered, own_field.fields)
            pending += [] if member is None else [(child, answered, member)]


def _list_answer_leaves(reader: _FieldReader, element: etree._Element, ask: UniqueField) -> list[int]:
    """Return the leaves of an answer itself: its text, and the attribute that it is asked with."""
    submission_index = reader.facts
    attribute = (
        None if ask.attribute is None else submission_index.find_attribute_leaf(element, ask.attribute)
    )
    return [leaf for leaf in (submission_index.find_text_leaf(element), attribute) if leaf is not None]


def _drop_forbidden_answer(reader: _FieldReader, ask: UniqueField, numbers: tuple[str, ...]) -> None:
    """Drop a borrowed answer, and record it as withheld, where the condition of `ask` forbids one."""
    answers, when = reader.answers, ask.requirement.when
    scope = Scope(
        reader.facts,
        reader.bundle.dictionary,
        answers,
        reader.trace,
        reader.application_id,
        numbers,
        hub_values={},
    )
    for inner_scope in [scope] if ask.per == "application" else scope.enter_items():
        branch = (
            answers.application_fields
            if inner_scope.item is None
            else answers.fields_by_item.get(inner_scope.item, SiblingFields())
        )
        elements = branch.elements.get(ask.name, [])
        if (
            elements
            and elements[0] in answers.borrowed_elements
            and when is not None
            and not when.is_satisfied(inner_scope)
        ):
            branch.drop_field(ask.name)
            for element in elements:
                reader.trace.record_fate(reader.facts.list_leaves_below(element), "withheld", ask.mark)


def _read_borrowed_answer(
    reader: _FieldReader, element: etree._Element, other_field: UniqueField, asked_field: UniqueField
) -> None:
    """Read the answer to another document's field as the answer to our own field, and validate it again."""
    reader.answers.borrowed_elements.add(element)
    if reader.trace.keeps_fates:
        reader.trace.borrowed_leaves.update(_list_answer_leaves(reader, element, asked_field))
    if asked_field.type != "group":
        _check_field_value(reader, element, asked_field)
        return
    inner = reader.answers.fields_by_group_element[element] = SiblingFields()
    for child, answered in list_member_answers(element, other_field):
        member = find_matching_member(answered, asked_field.fields)
        if member is not None:
            inner.elements.setdefault(member.name, []).append(child)
            _read_borrowed_answer(reader, child, answered, member)


def _read_item_fields(reader: _FieldReader, element: etree._Element, asked_fields: _AskedFields) -> None:
    """Read the fields of an Item element; report GW404 for a wrong or repeated @sequence."""
    number = parse_sequence_number(str(element.get("sequence", "")))
    _record_attribute_fate(reader, element, "sequence", "consumed", reader.document.asks_mark)
    _reject_other_attributes(reader, element, ("sequence",), reader.document.asks_mark)
    if number is None or number in reader.answers.fields_by_item:
        quoted = quote_value(str(element.get("sequence", "")))
        detail = f"an Item names its goods item once by @sequence, not {quoted}"
        reader.report_problem(
            RULE_BROKEN, detail, reader.facts.get_pointer(element), reader.document.asks_mark
        )
        _withhold_element(reader, element)
        return
    branch = reader.answers.fields_by_item[number] = SiblingFields()
    _read_sibling_fields(reader, element, asked_fields, branch)


def _read_sibling_fields(
    reader: _FieldReader,
    parent: etree._Element,
    asked_fields: _AskedFields,
    branch: SiblingFields,
    outer: str = "",
) -> None:
    """Read the elements in `parent`, side by side, into `branch`; `outer` is the group that they are in."""
    elements, values, facts = branch.elements, branch.values, reader.facts
    tags, children = list_children(parent, saves_memory=reader.saves_memory)
    asks, sizes, texts = map(asked_fields.by_tag.get, tags), map(len, children), map(_get_text, children)
    for ask, tag, size, text, child in zip(asks, tags, sizes, texts, children, strict=True):
        if ask is None:
            if not isinstance(tag, str) or tag == asked_fields.separate_tag:
                continue  # a comment, or an item
            local = tag.rpartition("}")[2]
            field = f"{to_dotted_element_name(outer)}.{local}" if outer else local
            _reject_unknown_field(reader, child, field)
            continue
        name = ask.name
        is_first = name not in elements
        if is_first:
            elements[name] = [child]
        else:
            elements[name].append(child)
        if ask.type == "group":
            _read_field_group(reader, child, ask, asked_fields.by_group[name])
            continue
        if child.keys():
            _reject_other_attributes(reader, child, (ask.attribute,) if ask.attribute else (), ask.mark)
        # Most answers are texts that fit; `_check_field_value` reports the problems of all others.
        value: FoundValue | None
        text = normalize_text(text) if text else ""
        is_clear = ask.type != "id" or find_unclear_character(text) is None
        if size == 0 and ask.is_text and text and not text.isspace() and is_clear and ask.shape.fits(text):
            leaves = (child,) if not facts.keeps_fields else facts.list_text_leaves(child)
            value = _make_value((text, leaves, child))
        else:
            value = _check_field_value(reader, child, ask)
        if value is not None and is_first:
            values[name] = (value,)
        else:
            values.pop(name, None)  # of several, all are read at the first use


def _read_field_group(
    reader: _FieldReader, element: etree._Element, ask: UniqueField, members: _AskedFields
) -> None:
    """Read the members of a group element; report GW402 for its own text or attributes."""
    inner = reader.answers.fields_by_group_element[element] = SiblingFields()
    if element.keys():
        _reject_other_attributes(reader, element, (), ask.mark)
    if read_element_text(element).strip():
        reader.report_problem(
            DOCUMENT_INVALID, f"{ask.tag} holds fields, not text", reader.facts.get_pointer(element), ask.mark
        )
    _read_sibling_fields(reader, element, members, inner, ask.name)


def _check_field_value(reader: _FieldReader, element: etree._Element, ask: UniqueField) -> FoundValue | None:
    """Validate the answer to a field and return it; None where the element gives none."""
    value: FoundValue | None = reader.facts.read_value(element)
    if value is None:
        detail = f"{ask.tag} holds a value, not fields"
        reader.report_problem(DOCUMENT_INVALID, detail, reader.facts.get_pointer(element), ask.mark)
        _withhold_element(reader, element)
        return None
    if ask.type == "attachment":
        _check_attachment_field(reader, element, ask)
        return value
    text, leaves, _ = value
    if not text or text.isspace():
        reader.trace.record_fate(leaves, "withheld", ask.mark)
        value = None
    elif ask.type == "id" and (character := find_unclear_character(text)) is not None:
        detail = f"{ask.tag}: {describe_unclear_id(character)}"
        reader.report_problem(RULE_BROKEN, detail, reader.facts.get_pointer(element), ask.mark)
    elif not ask.shape.fits(text) and (violation := ask.shape.find_violation(text)) is not None:
        reader.report_problem(
            violation.problem, f"{ask.tag}: {violation.detail}", reader.facts.get_pointer(element), ask.mark
        )
    if ask.attribute is not None:
        _check_value_attribute(reader, element, ask, ask.attribute)
    return value


def _check_value_attribute(
    reader: _FieldReader, element: etree._Element, ask: UniqueField, name: str
) -> None:
    """Report a unit or currency (@`name`) that is not allowed, or is missing (GW503) and not fixed."""
    value = element.get(name)
    if value is None:
        if ask.fixed_unit is None:
            reader.report_problem(
                FIELD_MISSING, f"{ask.tag} lacks @{name}", reader.facts.get_pointer(element, name), ask.mark
            )
        return
    violation = ask.attribute_shape.find_violation(str(value)) if str(value) not in ask.units else None
    if violation is not None:
        reader.report_problem(
            violation.problem,
            f"{ask.tag}/@{name}: {violation.detail}",
            reader.facts.get_pointer(element, name),
            ask.mark,
        )
    # The attribute was read for the check, also where only one unit is possible.
    _record_attribute_fate(reader, element, name, "consumed", ask.mark)


def _record_attribute_fate(
    reader: _FieldReader, element: etree._Element, name: str, fate: str, rule: SourceMark
) -> None:
    """Record the fate of an attribute where fates are recorded and the element has it."""
    leaf = reader.facts.find_attribute_leaf(element, name) if reader.trace.keeps_fates else None
    if leaf is not None:
        reader.trace.record_fate((leaf,), fate, rule)


def _check_attachment_field(reader: _FieldReader, element: etree._Element, ask: UniqueField) -> None:
    """Report an attachment that the application lacks (GW503), or whose type or size is not allowed."""
    cid = element.get("cid")
    if read_element_text(element).strip():
        detail = f"{ask.tag} names an attachment by @cid and holds no text"
        reader.report_problem(DOCUMENT_INVALID, detail, reader.facts.get_pointer(element), ask.mark)
    attachment = reader.attachments.get(str(cid)) if cid else None
    if attachment is None:
        reason = (
            f"no attachment of the application has the cid {quote_value(str(cid))}"
            if cid
            else "it has no @cid"
        )
        choices = describe_choices(reader.attachments)
        detail = f"{ask.tag} names an attachment by @cid, and {reason}; expected is {choices}"
        reader.report_problem(FIELD_MISSING, detail, reader.facts.get_pointer(element), ask.mark)
        return
    media_type = str(attachment.get("mediaType", "")).partition(";")[0].strip().lower()
    size = str(attachment.get("size", ""))
    if ask.mime and media_type not in ask.mime:
        quoted_type = repr(media_type[:_MAX_QUOTED_CHARACTERS])
        detail = f"{ask.tag} has media type {quoted_type}, not one of {', '.join(ask.mime)}"
        reader.report_problem(RULE_BROKEN, detail, reader.facts.get_pointer(element), ask.mark)
    if ask.max_mib is not None and _is_above(size, ask.max_mib * _MIB):
        detail = f"{ask.tag} is larger than {ask.max_mib} MiB"
        reader.report_problem(ATTACHMENT_MISMATCH, detail, reader.facts.get_pointer(element), ask.mark)


def _is_above(size: str, max_size: int) -> bool:
    return size.isascii() and size.isdigit() and (len(size) > 15 or int(size) > max_size)


def _reject_other_attributes(
    reader: _FieldReader, element: etree._Element, allowed: tuple[str, ...], rule: SourceMark
) -> None:
    """Withhold each attribute that is not in `allowed`, and report it (GW402) unless it is of xsi."""
    for name in map(str, element.keys()):
        if name in allowed:
            continue
        _record_attribute_fate(reader, element, name, "withheld", rule)
        if not name.startswith(f"{{{XSI}}}"):
            detail = f"attribute {name[:_MAX_QUOTED_CHARACTERS]!r} is not asked for"
            reader.report_problem(DOCUMENT_INVALID, detail, reader.facts.get_pointer(element, name), rule)


def _reject_unknown_field(reader: _FieldReader, element: etree._Element, field: str) -> None:
    """Report a field that is not asked; name its place where the declaration already holds it."""
    _withhold_element(reader, element)
    rule = reader.document.asks_mark
    # The search of the dictionary is skipped where the problem would not be listed.
    declared = (
        "" if reader.trace.is_full else describe_declared_place(reader.bundle, reader.document.id, field)
    )
    if declared:
        detail = f"{field[:_MAX_QUOTED_CHARACTERS]} is not asked here, the declaration holds it: {declared}"
        reader.report_problem(RULE_BROKEN, detail, reader.facts.get_pointer(element), rule)
    else:
        detail = f"{field[:_MAX_QUOTED_CHARACTERS]} is not a field of {reader.document.id} here"
        reader.report_problem(DOCUMENT_INVALID, detail, reader.facts.get_pointer(element), rule)


def _withhold_element(reader: _FieldReader, element: etree._Element) -> None:
    reader.trace.record_fate(reader.facts.list_leaves_below(element), "withheld", reader.document.asks_mark)


def describe_declared_place(bundle: MappingBundle, document: str, field: str) -> str:
    """Return a text that says where the declaration holds a field that is not asked, empty if nowhere.

    `field` is the element's name, dotted inside a group.  Decisions of reconciled.csv are
    looked up first; then ``ImporterName`` matches ``importer.name``.
    """
    decision = bundle.reconciled.get((document, field))
    if decision is not None:
        return decision
    compact_name = field.replace(".", "").lower()
    for meaning in bundle.dictionary.meanings.values():
        names = (meaning.name.replace(".", "").replace("_", ""), "".join(meaning.relative[-2:]).lower())
        if compact_name in names:
            return f"{meaning.name}, {meaning.path}"
    return ""
