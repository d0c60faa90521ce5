"""Reads what a repeated element goes over: goods items, their distinct values, groups; filtered or not."""

from __future__ import annotations

from dataclasses import replace

from gateway.harmonize.language.lines import Context, check_inside, check_reachable, read_meaning
from gateway.harmonize.language.targets import Each
from gateway.harmonize.terms.asks import Ask, Requirement
from gateway.harmonize.terms.conditions import Condition, guards, read_condition
from gateway.harmonize.terms.dictionary import Meaning
from gateway.harmonize.terms.marks import Mark, Node, Table, wrong

__all__ = ["check_room", "names_inside", "read_each"]


def read_each(node: Node, context: Context) -> tuple[Each, Context]:
    """Return what ``each`` goes over, and what the lines inside it may name."""
    table = node.table("each")
    bound_node = table.need("bound")
    bound = bound_node.bounds("bound")
    if "item" in table:
        each, inner = _over_items(table, bound, node.mark, context)
    elif "asked" in table:
        each, inner = _over_asked(table, bound, node.mark, context)
        assert each.ask is not None
        check_room(bound, each.ask, bound_node.mark)
    else:
        each, inner = _over_common(table, bound, node.mark, context)
    when = table.get("when")
    if when is not None:
        condition = read_condition(when, context.asks, context.dictionary, context.lists)
        if not names_inside(condition, each, context):
            raise wrong(when.mark, "when", f"a field of each {each.group}", "none of them")
        each = replace(each, when=condition)
    table.close()
    return each, inner


def _over_items(table: Table, bound: tuple[int, int], mark: Mark, context: Context) -> tuple[Each, Context]:
    group = table.need("item").one_of("item", ("application.items",))
    if context.in_item:
        raise wrong(mark, "each", "items outside items", "an item inside an item")
    by = table.get("group_by")
    if by is None:
        inner = replace(context, in_item=True, distinct=None)
        return Each("item", group, None, read_meaning(table.need("key"), inner), bound, mark), inner
    if context.distinct is not None:
        raise wrong(by.mark, "group_by", "one grouping of the items", "a grouping inside another")
    key = _grouping(by, context)
    return Each("distinct", group, None, key, bound, mark), replace(context, distinct=key.name)


def _grouping(node: Node, context: Context) -> Ask | Meaning:
    """Return what items are grouped by: a text or code that each item has exactly once."""
    name = node.text("group_by")
    key = context.asks.get(name) or context.dictionary.meanings.get(name)
    if key is None or key.per != "item" or key.many or key.shape.kind in ("decimal", "integer"):
        raise wrong(node.mark, "group_by", "a text or code of each item", name)
    there = key.requirement.mandatory if isinstance(key, Ask) else name in context.mandatory
    if not there or key.type in ("group", "attachment"):
        raise wrong(node.mark, "group_by", "a field that each item must have", name)
    return key


def _over_asked(table: Table, bound: tuple[int, int], mark: Mark, context: Context) -> tuple[Each, Context]:
    group = table.need("asked").text("asked")
    ask = context.asks.get(group)
    if ask is None or ask.type != "group":
        raise wrong(mark, "each", "an asked group", group)
    if group in context.asked:
        raise wrong(mark, "each", "each group gone over once", f"{group} inside {group}")
    check_reachable(ask, mark, context)
    if bound[0] > 0 and ask.requirement == Requirement():
        expected = f"a bound from 0 ({group} need not be given)"
        raise wrong(mark, "bound", expected, str(bound[0]), proof="totality")
    return Each("asked", group, ask, None, bound, mark), replace(context, asked=context.asked | {group})


def _over_common(table: Table, bound: tuple[int, int], mark: Mark, context: Context) -> tuple[Each, Context]:
    group = table.need("common").one_of("common", tuple(context.dictionary.groups))
    if group in context.common:
        raise wrong(mark, "each", "each group gone over once", f"{group} inside {group}")
    check_inside(context.dictionary.groups[group].per, mark, context)
    return Each("common", group, None, None, bound, mark), replace(context, common=context.common | {group})


def check_room(bound: tuple[int, int], ask: Ask, mark: Mark) -> None:
    """Refuse a bound that does not hold all that may be asked, or demands more than is asked."""
    most = max(ask.repeat[1], 1)
    if bound[1] < most:
        expected = f"room for {most} ({ask.name} may be given so often)"
        raise wrong(mark, "bound", expected, str(bound[1]), proof="totality")
    if bound[0] > max(ask.repeat[0], 1):
        expected = f"at least {max(ask.repeat[0], 1)} or less"
        raise wrong(mark, "bound", expected, str(bound[0]), proof="totality")


def names_inside(condition: Condition, each: Each, context: Context) -> bool:
    """Return whether `condition` names something of the single occurrences, so that it chooses among them.

    `context` is that outside of the repetition.
    """
    return any(_inside(test.source, each, context) for test in guards(condition))


def _inside(source: Ask | Meaning, each: Each, context: Context) -> bool:
    if each.over == "distinct":
        return source is each.key
    if isinstance(source, Ask):
        if each.over == "item":
            return source.home == "item"
        return each.over == "asked" and f"{source.group}.".startswith(f"{each.group}.")
    if each.over == "item":
        return context.dictionary.is_item(source.per)
    return each.over == "common" and each.group in context.dictionary.chain(source.per)
