"""Sources over many occurrences: the exact total of numbers, and how often a group occurs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from gateway.errors import RULE_BROKEN
from gateway.harmonize.language.source_expressions import (
    EXACT,
    ConversionError,
    EvaluatedValue,
    format_plain_decimal,
)
from gateway.harmonize.submission.evaluation_scope import Scope
from gateway.harmonize.submission.submission_index import FoundValue
from gateway.harmonize.types.data_dictionary import CommonMeaning, MeaningGroup
from gateway.harmonize.types.strict_yaml import SourceMark, YamlNode, YamlTable, make_mapping_error
from gateway.harmonize.types.unique_fields import UniqueField
from gateway.harmonize.types.value_shapes import DECIMAL, ValueShape

if TYPE_CHECKING:
    from gateway.harmonize.language.source_reader import BindingContext

__all__ = ["GroupCount", "Sum", "read_group_count", "read_sum"]

_ITEMS: Final = "items"
_MOST_DECIMALS: Final = 12


@dataclass(frozen=True, slots=True)
class Sum:
    """The exact total of a number over all goods items here, or over all occurrences of a group.

    All values have one unit or one currency, which the total carries; it is never rounded.
    """

    source: UniqueField | CommonMeaning
    over: str
    decimals: int
    mandatory: bool
    loss = "lossy"

    def evaluate_values(self, scope: Scope, rule: SourceMark) -> list[EvaluatedValue]:
        """Return the total, nothing where there is no value; raises `MisfitError` for unlike values."""
        found = [
            one
            for inner in scope.list_value_scopes(self.source)
            for one in inner.find_local_values(self.source, rule)
        ]
        if not found:
            return []
        leaves = tuple(leaf for one in found for leaf in one.leaves)
        total, units = Decimal(0), []
        for one in found:
            text = one.text.strip()
            if not DECIMAL.fullmatch(text):
                raise ConversionError(RULE_BROKEN, f"{text[:60]!r} is not a number", (*one.leaves, *leaves))
            total = EXACT.add(total, Decimal(text))
            units.append(self._find_stated_unit(one))
            if units[-1] != units[0]:
                detail = f"values of different units cannot be added: {units[0]}, {units[-1]}"
                raise ConversionError(RULE_BROKEN, detail, (*one.leaves, *leaves))
            if self.source.attribute is not None:
                leaf = scope.facts.attributes.get((one.element, self.source.attribute))
                scope.trace.record_fate(() if leaf is None else (leaf,), "consumed", rule)
        kind = "ask" if isinstance(self.source, UniqueField) else "common"
        note = f"sum of {len(found)} over {self.over}"
        measured = (str(units[0]), ()) if self.source.attribute == "unitCode" and units[0] else None
        return [
            EvaluatedValue(
                format_plain_decimal(total), leaves, f"{kind}:{self.source.name}", (note,), found[0], measured
            )
        ]

    def _find_stated_unit(self, one: FoundValue) -> str | None:
        """Return the unit or currency of one value, also where it need not be written."""
        if self.source.attribute is None:
            return None
        default = self.source.fixed_unit if isinstance(self.source, UniqueField) else None
        stated = one.element.get(self.source.attribute)
        return default if stated is None else str(stated)

    def infer_shape(self) -> ValueShape:
        """Return the form of the value."""
        return ValueShape("decimal", fraction=self.decimals)

    def is_always_present(self) -> bool:
        """Return whether there is always a value."""
        return self.mandatory

    def list_forwarded_sources(self) -> Iterator[UniqueField | CommonMeaning]:
        """Yield the field or meaning that is added up."""
        yield self.source

    def list_read_sources(self) -> Iterator[UniqueField | CommonMeaning]:
        """Yield the field or meaning that is added up."""
        yield self.source

    def invert_value(self, _text: str) -> str | None:
        """Return nothing: the summands cannot be told from their total."""
        return None

    def find_attribute_carrier(self) -> UniqueField | CommonMeaning | None:
        """Return the field or meaning whose unit or currency the total has."""
        return self.source


@dataclass(frozen=True, slots=True)
class GroupCount:
    """How often an asked group or a group of the dictionary occurs here, and in what is below."""

    group: UniqueField | MeaningGroup
    loss = "exact"

    def evaluate_values(self, scope: Scope, _rule: SourceMark) -> list[EvaluatedValue]:
        """Return the number."""
        return [
            EvaluatedValue(str(len(scope.list_occurrence_scopes(self.group))), (), f"count:{self.group.name}")
        ]

    def infer_shape(self) -> ValueShape:
        """Return the form of the value."""
        return ValueShape("integer", total=7, fraction=0, low="0")

    def is_always_present(self) -> bool:
        """Return whether there is always a value."""
        return True

    def list_forwarded_sources(self) -> Iterator[UniqueField | CommonMeaning]:
        """Yield nothing: only how often something is there reaches the target."""
        yield from ()

    def invert_value(self, text: str) -> str | None:
        """Return the number."""
        return text

    def list_read_sources(self) -> Iterator[UniqueField | CommonMeaning]:
        """Yield the asked group; a group of the dictionary is named by `group` alone."""
        if isinstance(self.group, UniqueField):
            yield self.group

    def find_attribute_carrier(self) -> UniqueField | CommonMeaning | None:
        """Return nothing: a count has no unit."""
        return None


def read_sum(table: YamlTable, node: YamlNode, context: BindingContext) -> Sum:
    """Return the total that a line declares: ``{sum: field, over: items | group, decimals: n}``."""
    name = node.read_text("sum")
    source = context.asks.get(name) or context.dictionary.meanings.get(name)
    if source is None or source.shape.kind not in ("decimal", "integer"):
        raise make_mapping_error(node.mark, "sum", "a number, asked or common", name)
    if isinstance(source, CommonMeaning) and name not in context.mandatory | context.optional:
        expected = "a meaning that the document lists under needs"
        raise make_mapping_error(node.mark, "sum", expected, name, proof="least_disclosure")
    over_node = table.get_required("over")
    over = over_node.read_text("over")
    repeats = _list_open_repetitions(source, context)
    if over not in repeats:
        raise make_mapping_error(
            over_node.mark, "over", "one of " + (", ".join(repeats) or "none: nothing repeats"), over
        )
    decimals = table.get_required("decimals").read_integer("decimals", 0, _MOST_DECIMALS)
    return Sum(source, over, decimals, _is_always_present(source, repeats, context))


def _list_open_repetitions(source: UniqueField | CommonMeaning, context: BindingContext) -> list[str]:
    """Return the repetitions of `source` that do not stand around the line, the outermost first."""
    if isinstance(source, UniqueField):
        in_item, groups, entered = source.home == "item", _list_outer_groups(source, context), context.asked
    else:
        in_item = context.dictionary.is_per_item(source.per)
        groups, entered = context.dictionary.list_enclosing_groups(source.per), context.common
    repeats = [_ITEMS] if in_item and not context.in_item else []
    return repeats + [name for name in groups if name not in entered]


def _list_outer_groups(ask: UniqueField, context: BindingContext) -> tuple[str, ...]:
    outer = context.asks.get(ask.group)
    return (*_list_outer_groups(outer, context), outer.name) if outer is not None else ()


def _is_always_present(
    source: UniqueField | CommonMeaning, repeats: list[str], context: BindingContext
) -> bool:
    """Return whether there is always something to add up."""
    if isinstance(source, CommonMeaning):
        return source.name in context.mandatory and not set(repeats) - {_ITEMS}
    groups = [context.asks[name] for name in repeats if name != _ITEMS]
    return all(one.requirement.mandatory for one in (source, *groups))


def read_group_count(node: YamlNode, context: BindingContext) -> GroupCount:
    """Return the count of a group: ``{count: group}``, asked or of the dictionary."""
    name = node.read_text("count")
    asked = context.asks.get(name)
    if asked is not None and asked.type == "group":
        return GroupCount(asked)
    group = context.dictionary.groups.get(name)
    if group is None:
        raise make_mapping_error(
            node.mark, "count", "items, an asked group or a group of the dictionary", name
        )
    return GroupCount(group)
