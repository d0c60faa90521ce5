"""A source for what an agency wants once though every goods item says it: the value that all items have."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.errors import SOURCES_DISAGREE
from gateway.harmonize.given.scopes import Scope
from gateway.harmonize.language.values import MisfitError, Value
from gateway.harmonize.terms.asks import Ask
from gateway.harmonize.terms.dictionary import Meaning
from gateway.harmonize.terms.marks import Mark, Node, Table, wrong
from gateway.harmonize.terms.shapes import Shape

if TYPE_CHECKING:
    from gateway.harmonize.language.lines import Context

__all__ = ["Alike", "read_alike"]

_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Alike:
    """The one value that all goods items of the application have; items that differ are refused (GW505).

    It reads back as the value of each of them, so nothing is lost.
    """

    source: Ask | Meaning
    loss = "exact"

    def values(self, scope: Scope, rule: Mark) -> list[Value]:
        """Return the value, nothing where no item has one; raises `MisfitError` where two items differ."""
        found = [one for inner in scope.into_items() for one in inner.look(self.source, rule)[:1]]
        if not found:
            return []
        leaves = tuple(leaf for one in found for leaf in one.leaves)
        for one in found:
            if one.text != found[0].text:
                detail = (
                    f"all items have one {self.source.name} here, not {found[0].text[:_SHOWN]!r} "
                    f"and {one.text[:_SHOWN]!r}"
                )
                raise MisfitError(SOURCES_DISAGREE, detail, (*one.leaves, *leaves))
        kind = "ask" if isinstance(self.source, Ask) else "common"
        note = (f"alike in {len(found)} items",) if len(found) > 1 else ()
        return [Value(found[0].text, leaves, f"{kind}:{self.source.name}", note, found[0])]

    def shape(self) -> Shape:
        """Return the form of the value."""
        return self.source.shape

    def always(self) -> bool:
        """Return whether there is always a value: each item must have it, so there is."""
        return True

    def undo(self, text: str) -> str | None:
        """Return the value that each of the items has."""
        return text

    def forwards(self) -> Iterator[Ask | Meaning]:
        """Yield the field or meaning of the items."""
        yield self.source

    def reads(self) -> Iterator[Ask | Meaning]:
        """Yield the field or meaning of the items."""
        yield self.source

    def carries(self) -> Ask | Meaning | None:
        """Return nothing: a text or a code has no unit."""
        return None


def read_alike(table: Table, node: Node, context: Context) -> Alike:
    """Return the source that a line declares: ``{alike: field, over: items}``."""
    name = node.text("alike")
    source = context.asks.get(name) or context.dictionary.meanings.get(name)
    table.need("over").one_of("over", ("items",))
    if source is None or source.per != "item" or source.many or source.attribute is not None:
        raise wrong(node.mark, "alike", "a text or code of each item, asked or common", name)
    there = source.requirement.mandatory if isinstance(source, Ask) else name in context.mandatory
    if not there:
        raise wrong(node.mark, "alike", "a field that each item must have", name)
    if context.in_item:
        raise wrong(node.mark, "alike", "a line outside the items", "a line inside an item")
    return Alike(source)
