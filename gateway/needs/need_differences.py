"""Compares two tables row by row, and the needs of goods before and after."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gateway.needs.need_index import DocumentNeed
from gateway.needs.need_tables import NeedRow, NeedTable

__all__ = ["NeedDifference", "TableDifference", "compare_needs", "compare_tables"]


@dataclass(frozen=True, slots=True)
class TableDifference:
    """The rows that only the second table has, only the first, or both with another content."""

    added: tuple[NeedRow, ...]
    removed: tuple[NeedRow, ...]
    changed: tuple[tuple[NeedRow, NeedRow], ...]


@dataclass(frozen=True, slots=True)
class NeedDifference:
    """How the needs of goods change: the laws that come and go, and needs of one law that are others."""

    added: tuple[DocumentNeed, ...]
    removed: tuple[DocumentNeed, ...]
    changed: tuple[tuple[DocumentNeed, DocumentNeed], ...]

    def __bool__(self) -> bool:
        """Return whether anything changes."""
        return bool(self.added or self.removed or self.changed)


def compare_tables(before: NeedTable, after: NeedTable) -> TableDifference:
    """Return what the second table changes in the first, in the order of code, direction and law."""
    old, new = _group_rows(before.rows), _group_rows(after.rows)
    added: list[NeedRow] = []
    removed: list[NeedRow] = []
    changed: list[tuple[NeedRow, NeedRow]] = []
    for key in sorted({*old, *new}):
        was = [
            row for row in old.get(key, ()) if row.content not in {one.content for one in new.get(key, ())}
        ]
        now = [
            row for row in new.get(key, ()) if row.content not in {one.content for one in old.get(key, ())}
        ]
        changed += zip(was, now, strict=False)
        removed += was[len(now) :]
        added += now[len(was) :]
    return TableDifference(tuple(added), tuple(removed), tuple(changed))


def _group_rows(rows: Iterable[NeedRow]) -> dict[tuple[str, ...], list[NeedRow]]:
    found: dict[tuple[str, ...], list[NeedRow]] = {}
    for row in rows:
        found.setdefault(row.key, []).append(row)
    return found


def compare_needs(before: Iterable[DocumentNeed], after: Iterable[DocumentNeed]) -> NeedDifference:
    """Return how needs change: by law and table, whatever the edition and its period."""
    old, new = ({_make_key(need): need for need in needs} for needs in (before, after))
    changed = [(old[key], new[key]) for key in sorted(old.keys() & new.keys())]
    return NeedDifference(
        tuple(new[key] for key in sorted(new.keys() - old.keys())),
        tuple(old[key] for key in sorted(old.keys() - new.keys())),
        tuple((was, now) for was, now in changed if _describe_duty(was) != _describe_duty(now)),
    )


def _make_key(need: DocumentNeed) -> tuple[str, str]:
    return need.law, need.table.partition("@")[0]


def _describe_duty(need: DocumentNeed) -> tuple[object, ...]:
    return need.documents, need.organisations, need.certainty, need.mandatory, need.exemptions
