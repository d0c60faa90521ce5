"""A source for what an agency wants once though every goods item says it: the value that all items have."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.errors import SOURCES_DISAGREE
from gateway.harmonize.language.evaluated_value import ConversionError, EvaluatedValue
from gateway.harmonize.submission.evaluation_scope import Scope
from gateway.harmonize.types.data_dictionary import CommonMeaning
from gateway.harmonize.types.strict_yaml import SourceMark, YamlNode, YamlTable, make_mapping_error
from gateway.harmonize.types.unique_fields import UniqueField
from gateway.harmonize.types.value_shapes import ValueShape

if TYPE_CHECKING:
    from gateway.harmonize.language.source_reader import BindingContext

__all__ = ["UniformItemValue", "read_uniform_value"]

_SHOWN = 60


@dataclass(frozen=True, slots=True)
class UniformItemValue:
    """The one value that all goods items of the application have; items that differ are refused (GW505).

    It reads back as the value of each of them, so nothing is lost.
    """

    source: UniqueField | CommonMeaning
    loss = "exact"

    def evaluate_values(self, scope: Scope, rule: SourceMark) -> list[EvaluatedValue]:
        """Return the value, nothing where no item has one; raises `MisfitError` where two items differ."""
        found = [
            one for inner in scope.enter_items() for one in inner.find_local_values(self.source, rule)[:1]
        ]
        if not found:
            return []
        leaves = tuple(leaf for one in found for leaf in one.leaves)
        for one in found:
            if one.text != found[0].text:
                detail = (
                    f"all items have one {self.source.name} here, not {found[0].text[:_SHOWN]!r} "
                    f"and {one.text[:_SHOWN]!r}"
                )
                raise ConversionError(SOURCES_DISAGREE, detail, (*one.leaves, *leaves))
        kind = "ask" if isinstance(self.source, UniqueField) else "common"
        note = (f"alike in {len(found)} items",) if len(found) > 1 else ()
        return [EvaluatedValue(found[0].text, leaves, f"{kind}:{self.source.name}", note, found[0])]

    def infer_shape(self) -> ValueShape:
        """Return the form of the value."""
        return self.source.shape

    def is_always_present(self) -> bool:
        """Return whether there is always a value: each item must have it, so there is."""
        return True

    def invert_value(self, text: str) -> str | None:
        """Return the value that each of the items has."""
        return text

    def list_forwarded_sources(self) -> Iterator[UniqueField | CommonMeaning]:
        """Yield the field or meaning of the items."""
        yield self.source

    def list_read_sources(self) -> Iterator[UniqueField | CommonMeaning]:
        """Yield the field or meaning of the items."""
        yield self.source

    def find_attribute_carrier(self) -> UniqueField | CommonMeaning | None:
        """Return nothing: a text or a code has no unit."""
        return None


def read_uniform_value(table: YamlTable, node: YamlNode, context: BindingContext) -> UniformItemValue:
    """Return the source that a line declares: ``{alike: field, over: items}``."""
    name = node.read_text("alike")
    source = context.asks.get(name) or context.dictionary.meanings.get(name)
    table.get_required("over").read_choice("over", ("items",))
    if source is None or source.per != "item" or source.many or source.attribute is not None:
        raise make_mapping_error(node.mark, "alike", "a text or code of each item, asked or common", name)
    there = source.requirement.mandatory if isinstance(source, UniqueField) else name in context.mandatory
    if not there:
        raise make_mapping_error(node.mark, "alike", "a field that each item must have", name)
    if context.in_item:
        raise make_mapping_error(node.mark, "alike", "a line outside the items", "a line inside an item")
    return UniformItemValue(source)
