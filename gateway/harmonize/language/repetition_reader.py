"""Reads what a repeated element goes over: goods items, their distinct values, groups; filtered or not."""

from __future__ import annotations

from dataclasses import replace

from gateway.harmonize.language.source_reader import (
    BindingContext,
    check_field_scope,
    check_meaning_scope,
    read_common_meaning,
)
from gateway.harmonize.language.target_tree import Repetition
from gateway.harmonize.types.conditions import Condition, list_guard_tests, read_condition
from gateway.harmonize.types.data_dictionary import CommonMeaning
from gateway.harmonize.types.strict_yaml import SourceMark, YamlNode, YamlTable, make_mapping_error
from gateway.harmonize.types.unique_fields import FieldRequirement, UniqueField

__all__ = ["check_repeat_bounds", "is_occurrence_condition", "read_repetition"]


def read_repetition(node: YamlNode, context: BindingContext) -> tuple[Repetition, BindingContext]:
    """Return what ``each`` goes over, and what the lines inside it may name."""
    table = node.read_table("each")
    bound_node = table.get_required("bound")
    bound = bound_node.read_bounds("bound")
    if "item" in table:
        each, inner = _read_item_repetition(table, bound, node.mark, context)
    elif "asked" in table:
        each, inner = _read_asked_repetition(table, bound, node.mark, context)
        assert each.ask is not None
        check_repeat_bounds(bound, each.ask, bound_node.mark)
    else:
        each, inner = _read_common_repetition(table, bound, node.mark, context)
    when = table.get("when")
    if when is not None:
        condition = read_condition(when, context.asks, context.dictionary, context.lists)
        if not is_occurrence_condition(condition, each, context):
            raise make_mapping_error(when.mark, "when", f"a field of each {each.group}", "none of them")
        each = replace(each, when=condition)
    table.reject_unread_keys()
    return each, inner


def _read_item_repetition(
    table: YamlTable, bound: tuple[int, int], mark: SourceMark, context: BindingContext
) -> tuple[Repetition, BindingContext]:
    group = table.get_required("item").read_choice("item", ("application.items",))
    if context.in_item:
        raise make_mapping_error(mark, "each", "items outside items", "an item inside an item")
    by = table.get("group_by")
    if by is None:
        inner = replace(context, in_item=True, distinct=None)
        return Repetition(
            "item", group, None, read_common_meaning(table.get_required("key"), inner), bound, mark
        ), inner
    if context.distinct is not None:
        raise make_mapping_error(
            by.mark, "group_by", "one grouping of the items", "a grouping inside another"
        )
    key = _read_grouping_key(by, context)
    return Repetition("distinct", group, None, key, bound, mark), replace(context, distinct=key.name)


def _read_grouping_key(node: YamlNode, context: BindingContext) -> UniqueField | CommonMeaning:
    """Return what items are grouped by: a text or code that each item has exactly once."""
    name = node.read_text("group_by")
    key = context.asks.get(name) or context.dictionary.meanings.get(name)
    if key is None or key.per != "item" or key.many or key.shape.kind in ("decimal", "integer"):
        raise make_mapping_error(node.mark, "group_by", "a text or code of each item", name)
    there = key.requirement.mandatory if isinstance(key, UniqueField) else name in context.mandatory
    if not there or key.type in ("group", "attachment"):
        raise make_mapping_error(node.mark, "group_by", "a field that each item must have", name)
    return key


def _read_asked_repetition(
    table: YamlTable, bound: tuple[int, int], mark: SourceMark, context: BindingContext
) -> tuple[Repetition, BindingContext]:
    group = table.get_required("asked").read_text("asked")
    ask = context.asks.get(group)
    if ask is None or ask.type != "group":
        raise make_mapping_error(mark, "each", "an asked group", group)
    if group in context.asked:
        raise make_mapping_error(mark, "each", "each group gone over once", f"{group} inside {group}")
    check_field_scope(ask, mark, context)
    if bound[0] > 0 and ask.requirement == FieldRequirement():
        expected = f"a bound from 0 ({group} need not be given)"
        raise make_mapping_error(mark, "bound", expected, str(bound[0]), proof="totality")
    return Repetition("asked", group, ask, None, bound, mark), replace(context, asked=context.asked | {group})


def _read_common_repetition(
    table: YamlTable, bound: tuple[int, int], mark: SourceMark, context: BindingContext
) -> tuple[Repetition, BindingContext]:
    group = table.get_required("common").read_choice("common", tuple(context.dictionary.groups))
    if group in context.common:
        raise make_mapping_error(mark, "each", "each group gone over once", f"{group} inside {group}")
    check_meaning_scope(context.dictionary.groups[group].per, mark, context)
    return Repetition("common", group, None, None, bound, mark), replace(
        context, common=context.common | {group}
    )


def check_repeat_bounds(bound: tuple[int, int], ask: UniqueField, mark: SourceMark) -> None:
    """Refuse a bound that does not hold all that may be asked, or demands more than is asked."""
    most = max(ask.repeat[1], 1)
    if bound[1] < most:
        expected = f"room for {most} ({ask.name} may be given so often)"
        raise make_mapping_error(mark, "bound", expected, str(bound[1]), proof="totality")
    if bound[0] > max(ask.repeat[0], 1):
        expected = f"at least {max(ask.repeat[0], 1)} or less"
        raise make_mapping_error(mark, "bound", expected, str(bound[0]), proof="totality")


def is_occurrence_condition(condition: Condition, each: Repetition, context: BindingContext) -> bool:
    """Return whether `condition` names something of the single occurrences, so that it chooses among them.

    `context` is that outside of the repetition.
    """
    return any(_is_occurrence_source(test.source, each, context) for test in list_guard_tests(condition))


def _is_occurrence_source(
    source: UniqueField | CommonMeaning, each: Repetition, context: BindingContext
) -> bool:
    if each.over == "distinct":
        return source is each.key
    if isinstance(source, UniqueField):
        if each.over == "item":
            return source.home == "item"
        return each.over == "asked" and f"{source.group}.".startswith(f"{each.group}.")
    if each.over == "item":
        return context.dictionary.is_per_item(source.per)
    return each.over == "common" and each.group in context.dictionary.list_enclosing_groups(source.per)
