"""Takes the values of a statement out of a row, in the order and form in which the driver is given them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

__all__ = ["Convert", "ParameterValues"]

Convert = Callable[[Any], Any]
_Row = Mapping[str, Any]


class ParameterValues:
    """The parameters of one statement: all are taken at once, and only those that need it are converted."""

    __slots__ = ("_converted", "_take", "number")

    def __init__(self, parameters: Sequence[tuple[str, Convert | None]]) -> None:
        self.number = len(parameters)
        self._take = _make_getter([name for name, _ in parameters])
        self._converted = tuple(
            (place, convert) for place, (_, convert) in enumerate(parameters) if convert is not None
        )

    def list_values(self, *rows: _Row) -> list[Any]:
        """Return the values of rows, one after the other; raises KeyError for a parameter that one lacks."""
        values: list[Any] = []
        for row in rows:
            taken = list(self._take(row))
            for place, convert in self._converted:
                # No type converts the value that is none.
                if taken[place] is not None:
                    taken[place] = convert(taken[place])
            values += taken
        return values


def _make_getter(names: Sequence[str]) -> Callable[[_Row], Sequence[Any]]:
    """Return what takes the values of these names out of a row."""
    if len(names) > 1:
        getter: Callable[[_Row], Sequence[Any]] = itemgetter(*names)
        return getter
    # Of one name the getter of the library returns the value itself.
    return lambda row: [row[name] for name in names]
