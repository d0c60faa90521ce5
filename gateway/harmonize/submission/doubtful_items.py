"""Where the meanings that documents need have no value, or several."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from gateway.harmonize.types import CommonMeaning

__all__ = ["DoubtfulItems", "LevelMeanings"]


class LevelMeanings(NamedTuple):
    """Meanings that are in no group: their names, those of the declaration, and those of each goods item."""

    names: frozenset[str]
    by_place: tuple[tuple[CommonMeaning, ...], tuple[CommonMeaning, ...]]


class DoubtfulItems(NamedTuple):
    """The goods items in which meanings have no value, and several, by the names of those `searched`."""

    searched: set[str]
    lacking: dict[str, set[str | None]]
    several: dict[str, set[str | None]]
