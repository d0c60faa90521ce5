"""Reads the ``puts`` of a mapping: one target for each line, whose place decides the fields it may name."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from gateway.harmonize.language.code_lists import CodeList
from gateway.harmonize.language.conversion_steps import ConvertedSource, TranslationStep
from gateway.harmonize.language.source_reader import (
    BindingContext,
    check_field_scope,
    check_meaning_scope,
    is_always_entered,
    read_common_meaning,
    read_converted_source,
    read_limited_shape,
    read_translation_list,
)
from gateway.harmonize.language.target_tree import (
    PathPredicates,
    Repetition,
    TargetAttribute,
    TargetElement,
    check_variants,
    read_text_piece,
)
from gateway.harmonize.language.unique_fields import (
    Condition,
    Field,
    FieldRequirement,
    UniqueField,
    list_guard_tests,
)
from gateway.harmonize.language.value_shapes import ValueShape
from gateway.harmonize.language.value_sources import FieldValue
from gateway.wire import AT_MOST_ONCE, Occurs, SourceMark, YamlNode, YamlTable

_PREDICATE: Final = r"\[(@?[A-Za-z][A-Za-z0-9]*)=([A-Za-z0-9][A-Za-z0-9._-]{0,59})\]"
_SEGMENT: Final = re.compile(rf"([A-Za-z][A-Za-z0-9]*)((?:{_PREDICATE})*)")
_ATTRIBUTE: Final = re.compile(r"[A-Za-z][A-Za-z0-9]*")
_SPLIT: Final = re.compile(r"\{([A-Za-z0-9]+(?:,[A-Za-z0-9]+)+)\}")


def read_target_tree(node: YamlNode, root: TargetElement, context: BindingContext) -> None:
    """Add the lines of a ``puts`` list to the `root` of a request; raise GW502 for a wrong line."""
    _read_target_lines(node, root, context)
    check_variants(root)


def _read_target_lines(node: YamlNode, parent: TargetElement, context: BindingContext) -> None:
    for path, spec, mark in node.read_lines("puts", "target"):
        _read_target_line(path, spec.read_table(path), mark, parent, context)


def _read_target_line(
    path: str, table: YamlTable, mark: SourceMark, parent: TargetElement, context: BindingContext
) -> None:
    """Add the element or attribute at `path` below `parent` as a line declares it."""
    *steps, last = path.split("/")
    for step in steps:
        parent = _find_or_add_child(parent, step, mark)
        if parent.repetition is not None:
            raise mark.make_error("target", "a path through elements that do not repeat", path)
    if "puts" in table:
        _read_container(last, table, mark, parent, context)
    elif last.startswith("@"):
        _read_attribute(last[1:], table, mark, parent, context)
    else:
        _read_element(last, table, mark, parent, context)
    table.reject_unread_keys()


def _find_or_add_child(parent: TargetElement, step: str, mark: SourceMark) -> TargetElement:
    """Return the child of `parent` that the path step names; add the child if it is missing.

    Raise GW502 for a step of wrong form, or predicates unlike those of other children of this name.
    """
    match = _SEGMENT.fullmatch(step)
    if match is None:
        raise mark.make_error("target", "a path of names, as A/B, A/B[@x=v], A[B=v]/C, A/@x or A/{B,C}", step)
    if parent.content is not None:
        raise mark.make_error("target", f"an element without a value around {step}", parent.name)
    name, predicates = _check_xml_name(match[1], mark), _read_predicates(match[2], step, mark)
    for child in parent.children:
        names = PathPredicates(child.fixed, child.siblings).list_names()
        if child.name == name and names != predicates.list_names():
            raise mark.make_error("target", f"elements {name} that differ in one attribute or child", step)
    return parent.find_or_add_child(name, predicates, mark)


def _check_xml_name(name: str, mark: SourceMark) -> str:
    """Return the name of an element or attribute; raise GW502 for a name that XML reserves."""
    if name[:3].lower() == "xml":
        raise mark.make_error("target", "a name that XML does not keep for itself (xml…)", name)
    return name


def _read_predicates(predicates: str, step: str, mark: SourceMark) -> PathPredicates:
    """Return the attributes and the children that the predicates of a step require."""
    pairs = re.findall(_PREDICATE, predicates)
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names):
        raise mark.make_error("target", "each predicate once", step)
    fixed = tuple((_check_xml_name(name[1:], mark), value) for name, value in pairs if name.startswith("@"))
    siblings = tuple(
        (_check_xml_name(name, mark), value) for name, value in pairs if not name.startswith("@")
    )
    return PathPredicates(fixed, siblings)


def _read_container(
    last: str, table: YamlTable, mark: SourceMark, parent: TargetElement, context: BindingContext
) -> None:
    """Add below `parent` an element that contains others, with its condition, repetition and lines.

    A condition on the occurrences becomes that of the repetition.
    """
    target = _find_or_add_child(parent, last, mark)
    when, each = table.get("when"), table.get("each")
    if (when is not None or each is not None) and (target.own_children or target.repetition or target.when):
        raise mark.make_error(last, "a repeated or conditional element in one place", "the element again")
    condition = None if when is None else context.read_condition(when)
    if each is not None:
        target.repetition, context = read_repetition(each, context)
        if condition is not None and is_occurrence_condition(condition, target.repetition):
            if target.repetition.when is not None:
                raise mark.make_error(last, "one condition on each occurrence", "two of them")
            target.repetition, condition = replace(target.repetition, when=condition), None
    target.when = condition
    _read_target_lines(table.get_required("puts"), target, context)


def _read_attribute(
    name: str, table: YamlTable, mark: SourceMark, parent: TargetElement, context: BindingContext
) -> None:
    """Add to `parent` an attribute with a source of its own."""
    content = read_converted_source(table, mark, context)
    shape = read_limited_shape(content.infer_shape(), table)
    _add_attribute(
        parent, TargetAttribute(name, content, None, None, None, shape, content.is_always_present(), mark)
    )


def _add_attribute(target: TargetElement, attribute: TargetAttribute) -> None:
    """Add an attribute to `target`; raise GW502 for a name that is wrong or used there."""
    used_names = [name for name, _ in target.fixed] + [earlier.name for earlier in target.attributes]
    if not _ATTRIBUTE.fullmatch(_check_xml_name(attribute.name, attribute.mark)):
        raise attribute.mark.make_error("target", "an attribute of letters and digits", f"@{attribute.name}")
    if attribute.name in used_names:
        raise attribute.mark.make_error("target", "each attribute once", attribute.name)
    target.attributes.append(attribute)


def _is_answer_of_shape(content: ConvertedSource, shape: ValueShape) -> bool:
    """Return whether a value is an unchanged answer, whose field has this very shape."""
    source = content.source.source if isinstance(content.source, FieldValue) else None
    return isinstance(source, UniqueField) and not content.steps and source.shape is shape


def _read_element(
    last: str, table: YamlTable, mark: SourceMark, parent: TargetElement, context: BindingContext
) -> None:
    """Add below `parent` an element with a value, or, for ``{A,B}``, elements with the pieces of one text."""
    content = read_converted_source(table, mark, context)
    shape = read_limited_shape(content.infer_shape(), table)
    bound, when = table.get("bound"), table.get("when")
    occurs = _read_bound(bound, content, mark, last)
    split = _SPLIT.fullmatch(last)
    names = split[1].split(",") if split else [last]
    text_piece = read_text_piece(table, len(names)) if split else None
    for number, name in enumerate(names):
        target = _find_or_add_child(parent, name, mark)
        if target.siblings:
            raise mark.make_error(last, "elements below one that a child tells apart", "a value in it")
        if target.content is not None or target.children:
            raise mark.make_error(last, "each target once", f"{name} again, first in line {target.mark.line}")
        target.mark, target.content, target.shape = mark, content, shape
        target.is_checked_answer = _is_answer_of_shape(content, shape)
        target.bound = occurs
        target.when = context.read_condition(when) if when else None
        if text_piece is not None:
            target.text_piece = replace(text_piece, piece_number=number)
            target.shape = text_piece.shape
    if text_piece is None:
        _read_value_attributes(target, table, context)


def _read_bound(node: YamlNode | None, content: ConvertedSource, mark: SourceMark, name: str) -> Occurs:
    """Return how often a leaf may occur; a bound is required exactly where its source has many values."""
    source = content.source.source if isinstance(content.source, FieldValue) else None
    if (source is not None and source.many) != (node is not None):
        actual = "none" if node is None else "a bound"
        raise mark.make_error(name, "a bound where a meaning has many values only", actual)
    bound = AT_MOST_ONCE if node is None else node.read_bounds("bound")
    if node is not None and isinstance(source, UniqueField):
        check_repeat_bounds(bound, source, node.mark)
    return bound


def _read_value_attributes(target: TargetElement, table: YamlTable, context: BindingContext) -> None:
    """Add the attributes that belong to the value itself: its unit, its currency, its content id."""
    for key in ("unit", "currency", "cid"):
        node = table.get(key)
        if node is None:
            continue
        via = None
        if isinstance(node.value, dict):
            inner = node.read_table(key)
            name, via = (
                inner.get_required("to").read_text("to"),
                read_translation_list(inner.get_required("via"), context),
            )
            inner.reject_unread_keys()
        else:
            name = node.read_text(key)
        if not name.startswith("@"):
            raise node.make_error(key, "an attribute, as @unitCode", name)
        _add_attribute(target, _make_value_attribute(target, key, name[1:], via, node.mark))
    ask = _find_attribute_carrier(target)
    target.has_no_text = isinstance(ask, UniqueField) and ask.type == "attachment"


def _find_attribute_carrier(target: TargetElement) -> Field | None:
    """Return the field or meaning whose attributes the target's value carries."""
    return target.content.find_attribute_carrier() if target.content is not None else None


def _make_value_attribute(
    target: TargetElement, key: str, name: str, via: CodeList | None, mark: SourceMark
) -> TargetAttribute:
    """Return the attribute `name` for the unit, currency or content id (`key`) of a value.

    `via` is the list that translates it, None where it is written as it is.
    """
    attribute_name = {"unit": "unitCode", "currency": "currencyID", "cid": "cid"}[key]
    carrier = _find_attribute_carrier(target)
    if carrier is None or carrier.attribute != attribute_name:
        raise mark.make_error(
            key, f"a value that carries @{attribute_name}", carrier.name if carrier else "none"
        )
    is_ask = isinstance(carrier, UniqueField)
    shape = carrier.attribute_shape if isinstance(carrier, UniqueField) else ValueShape("text", max_length=17)
    unit = target.content.converted_unit if key == "unit" and target.content is not None else None
    if unit is not None:
        shape = ValueShape("text", codes=(unit if via is None else via.translate_code(unit) or "",))
        if not shape.codes or not shape.codes[0]:
            raise mark.make_error(key, "a list that knows the unit of the line", unit)
    elif via is not None:
        shape = TranslationStep(via, omits_unknown_codes=False).infer_shape()
    default = carrier.fixed_unit
    return TargetAttribute(name, None, attribute_name, via, default, shape, is_ask, mark)


def read_repetition(node: YamlNode, context: BindingContext) -> tuple[Repetition, BindingContext]:
    """Return the repetition that ``repetition`` declares, and the context of the lines inside it."""
    table = node.read_table("each")
    bound_node = table.get_required("bound")
    bound = bound_node.read_bounds("bound")
    if "item" in table:
        repetition, inner = _read_item_repetition(table, bound, node.mark, context)
    elif "asked" in table:
        repetition, inner = _read_asked_repetition(table, bound, node.mark, context)
        assert repetition.ask is not None
        check_repeat_bounds(bound, repetition.ask, bound_node.mark)
    else:
        repetition, inner = _read_common_repetition(table, bound, node.mark, context)
    when = table.get("when")
    if when is not None:
        condition = context.read_condition(when)
        if not is_occurrence_condition(condition, repetition):
            raise when.make_error("when", f"a field of each {repetition.group}", "none of them")
        repetition = replace(repetition, when=condition)
    table.reject_unread_keys()
    return repetition, inner


def _read_item_repetition(
    table: YamlTable, bound: Occurs, mark: SourceMark, context: BindingContext
) -> tuple[Repetition, BindingContext]:
    """Return the repetition over goods items or, with ``group_by``, over distinct values in them.

    Return also the context of the lines inside it.
    """
    group = table.get_required("item").read_choice("item", ("application.items",))
    if context.in_item:
        raise mark.make_error("each", "items outside items", "an item inside an item")
    by = table.get("group_by")
    if by is None:
        inner = replace(context, in_item=True, grouping_key=None)
        return Repetition(
            "item", group, None, read_common_meaning(table.get_required("key"), inner), bound, mark
        ), inner
    if context.grouping_key is not None:
        raise by.make_error("group_by", "one grouping of the items", "a grouping inside another")
    key = _read_grouping_key(by, context)
    return Repetition("distinct", group, None, key, bound, mark), replace(context, grouping_key=key.name)


def _read_grouping_key(node: YamlNode, context: BindingContext) -> Field:
    """Return the grouping key of items: a text or code that each item has exactly once."""
    name = node.read_text("group_by")
    key = context.asks.get(name) or context.dictionary.meanings.get(name)
    if key is None or key.per != "item" or key.many or key.shape.kind in ("decimal", "integer"):
        raise node.make_error("group_by", "a text or code of each item", name)
    there = key.requirement.mandatory if isinstance(key, UniqueField) else name in context.mandatory_meanings
    if not there or key.type in ("group", "attachment"):
        raise node.make_error("group_by", "a field that each item must have", name)
    return key


def _read_asked_repetition(
    table: YamlTable, bound: Occurs, mark: SourceMark, context: BindingContext
) -> tuple[Repetition, BindingContext]:
    """Return the repetition over a group of unique fields, and the context of the lines inside it."""
    group = table.get_required("asked").read_text("asked")
    ask = context.asks.get(group)
    if ask is None or ask.type != "group":
        raise mark.make_error("each", "an asked group", group)
    if group in context.unique_groups:
        raise mark.make_error("each", "each group gone over once", f"{group} inside {group}")
    check_field_scope(ask, mark, context)
    may_lack = ask.requirement == FieldRequirement() or not is_always_entered(ask, context)
    if bound.low > 0 and may_lack:
        expected = f"a bound from 0 ({group} need not be given)"
        raise mark.make_error("bound", expected, str(bound.low), proof="totality")
    return Repetition("asked", group, ask, None, bound, mark), replace(
        context, unique_groups=context.unique_groups | {group}
    )


def _read_common_repetition(
    table: YamlTable, bound: Occurs, mark: SourceMark, context: BindingContext
) -> tuple[Repetition, BindingContext]:
    """Return the repetition over a meaning group, and the context of the lines inside it."""
    group = table.get_required("common").read_choice("common", tuple(context.dictionary.groups))
    if group in context.common_groups:
        raise mark.make_error("each", "each group gone over once", f"{group} inside {group}")
    check_meaning_scope(context.dictionary.groups[group].per, mark, context)
    return Repetition("common", group, None, None, bound, mark), replace(
        context, common_groups=context.common_groups | {group}
    )


def check_repeat_bounds(bound: Occurs, ask: UniqueField, mark: SourceMark) -> None:
    """Raise GW502 if `bound` has a lower maximum than the field `ask`, or a higher minimum."""
    max_count = max(ask.repeat.high, 1)
    if bound.high < max_count:
        expected = f"room for {max_count} ({ask.name} may be given so often)"
        raise mark.make_error("bound", expected, str(bound.high), proof="totality")
    if bound.low > max(ask.repeat.low, 1):
        expected = f"at least {max(ask.repeat.low, 1)} or less"
        raise mark.make_error("bound", expected, str(bound.low), proof="totality")


def is_occurrence_condition(condition: Condition, repetition: Repetition) -> bool:
    """Return whether `condition` tests a value of each occurrence, so that it selects occurrences."""
    return any(_is_occurrence_source(test.source, repetition) for test in list_guard_tests(condition))


def _is_occurrence_source(source: Field, each: Repetition) -> bool:
    if each.over == "distinct":
        return source is each.key
    repetition = "item" if each.over == "item" else f"{each.over}:{each.group}"
    return repetition in source.repetitions
