"""Sources over many occurrences: the exact total of numbers, and how often a group occurs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from gateway.errors import RULE_BROKEN
from gateway.harmonize.given.facts import Found
from gateway.harmonize.given.scopes import Scope
from gateway.harmonize.language.sources import EXACT, MisfitError, Value, plain
from gateway.harmonize.terms.asks import Ask
from gateway.harmonize.terms.dictionary import Group, Meaning
from gateway.harmonize.terms.marks import Mark, Node, Table, wrong
from gateway.harmonize.terms.shapes import DECIMAL, Shape

if TYPE_CHECKING:
    from gateway.harmonize.language.lines import Context

__all__ = ["GroupCount", "Sum", "read_group_count", "read_sum"]

_ITEMS: Final = "items"
_MOST_DECIMALS: Final = 12


@dataclass(frozen=True, slots=True)
class Sum:
    """The exact total of a number over all goods items here, or over all occurrences of a group.

    All values have one unit or one currency, which the total carries; it is never rounded.
    """

    source: Ask | Meaning
    over: str
    decimals: int
    mandatory: bool
    loss = "lossy"

    def values(self, scope: Scope, rule: Mark) -> list[Value]:
        """Return the total, nothing where there is no value; raises `MisfitError` for unlike values."""
        found = [one for inner in scope.every(self.source) for one in inner.look(self.source, rule)]
        if not found:
            return []
        leaves = tuple(leaf for one in found for leaf in one.leaves)
        total, units = Decimal(0), []
        for one in found:
            text = one.text.strip()
            if not DECIMAL.fullmatch(text):
                raise MisfitError(RULE_BROKEN, f"{text[:60]!r} is not a number", (*one.leaves, *leaves))
            total = EXACT.add(total, Decimal(text))
            units.append(self._unit(one))
            if units[-1] != units[0]:
                detail = f"values of different units cannot be added: {units[0]}, {units[-1]}"
                raise MisfitError(RULE_BROKEN, detail, (*one.leaves, *leaves))
            if self.source.attribute is not None:
                leaf = scope.facts.attributes.get((one.element, self.source.attribute))
                scope.trace.note(() if leaf is None else (leaf,), "consumed", rule)
        kind = "ask" if isinstance(self.source, Ask) else "common"
        note = f"sum of {len(found)} over {self.over}"
        measured = (str(units[0]), ()) if self.source.attribute == "unitCode" and units[0] else None
        return [Value(plain(total), leaves, f"{kind}:{self.source.name}", (note,), found[0], measured)]

    def _unit(self, one: Found) -> str | None:
        """Return the unit or currency of one value, also where it need not be written."""
        if self.source.attribute is None:
            return None
        default = self.source.fixed_unit if isinstance(self.source, Ask) else None
        stated = one.element.get(self.source.attribute)
        return default if stated is None else str(stated)

    def shape(self) -> Shape:
        """Return the form of the value."""
        return Shape("decimal", fraction=self.decimals)

    def always(self) -> bool:
        """Return whether there is always a value."""
        return self.mandatory

    def forwards(self) -> Iterator[Ask | Meaning]:
        """Yield the field or meaning that is added up."""
        yield self.source

    def reads(self) -> Iterator[Ask | Meaning]:
        """Yield the field or meaning that is added up."""
        yield self.source

    def undo(self, _text: str) -> str | None:
        """Return nothing: the summands cannot be told from their total."""
        return None

    def carries(self) -> Ask | Meaning | None:
        """Return the field or meaning whose unit or currency the total has."""
        return self.source


@dataclass(frozen=True, slots=True)
class GroupCount:
    """How often an asked group or a group of the dictionary occurs here, and in what is below."""

    group: Ask | Group
    loss = "exact"

    def values(self, scope: Scope, _rule: Mark) -> list[Value]:
        """Return the number."""
        return [Value(str(len(scope.occurrences(self.group))), (), f"count:{self.group.name}")]

    def shape(self) -> Shape:
        """Return the form of the value."""
        return Shape("integer", total=7, fraction=0, low="0")

    def always(self) -> bool:
        """Return whether there is always a value."""
        return True

    def forwards(self) -> Iterator[Ask | Meaning]:
        """Yield nothing: only how often something is there reaches the target."""
        yield from ()

    def undo(self, text: str) -> str | None:
        """Return the number."""
        return text

    def reads(self) -> Iterator[Ask | Meaning]:
        """Yield the asked group; a group of the dictionary is named by `group` alone."""
        if isinstance(self.group, Ask):
            yield self.group

    def carries(self) -> Ask | Meaning | None:
        """Return nothing: a count has no unit."""
        return None


def read_sum(table: Table, node: Node, context: Context) -> Sum:
    """Return the total that a line declares: ``{sum: field, over: items | group, decimals: n}``."""
    name = node.text("sum")
    source = context.asks.get(name) or context.dictionary.meanings.get(name)
    if source is None or source.shape.kind not in ("decimal", "integer"):
        raise wrong(node.mark, "sum", "a number, asked or common", name)
    if isinstance(source, Meaning) and name not in context.mandatory | context.optional:
        expected = "a meaning that the document lists under needs"
        raise wrong(node.mark, "sum", expected, name, proof="least_disclosure")
    over_node = table.need("over")
    over = over_node.text("over")
    repeats = _repetitions(source, context)
    if over not in repeats:
        raise wrong(over_node.mark, "over", "one of " + (", ".join(repeats) or "none: nothing repeats"), over)
    decimals = table.need("decimals").number("decimals", 0, _MOST_DECIMALS)
    return Sum(source, over, decimals, _always(source, repeats, context))


def _repetitions(source: Ask | Meaning, context: Context) -> list[str]:
    """Return the repetitions of `source` that do not stand around the line, the outermost first."""
    if isinstance(source, Ask):
        in_item, groups, entered = source.home == "item", _groups_of(source, context), context.asked
    else:
        in_item = context.dictionary.is_item(source.per)
        groups, entered = context.dictionary.chain(source.per), context.common
    repeats = [_ITEMS] if in_item and not context.in_item else []
    return repeats + [name for name in groups if name not in entered]


def _groups_of(ask: Ask, context: Context) -> tuple[str, ...]:
    outer = context.asks.get(ask.group)
    return (*_groups_of(outer, context), outer.name) if outer is not None else ()


def _always(source: Ask | Meaning, repeats: list[str], context: Context) -> bool:
    """Return whether there is always something to add up."""
    if isinstance(source, Meaning):
        return source.name in context.mandatory and not set(repeats) - {_ITEMS}
    groups = [context.asks[name] for name in repeats if name != _ITEMS]
    return all(one.requirement.mandatory for one in (source, *groups))


def read_group_count(node: Node, context: Context) -> GroupCount:
    """Return the count of a group: ``{count: group}``, asked or of the dictionary."""
    name = node.text("count")
    asked = context.asks.get(name)
    if asked is not None and asked.type == "group":
        return GroupCount(asked)
    group = context.dictionary.groups.get(name)
    if group is None:
        raise wrong(node.mark, "count", "items, an asked group or a group of the dictionary", name)
    return GroupCount(group)
