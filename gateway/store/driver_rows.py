"""The rows that the driver of the database returns, as SQLAlchemy returns them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn

from sqlalchemy import Row
from sqlalchemy.engine import Dialect, IteratorResult
from sqlalchemy.engine.result import SimpleResultMetaData
from sqlalchemy.exc import ResourceClosedError

from gateway.store.parameter_values import Convert

__all__ = ["FoundRows", "RowLayout", "make_layout"]


@dataclass(frozen=True, slots=True)
class RowLayout:
    """The names of the columns of a row, and what makes a row of its values."""

    metadata: SimpleResultMetaData
    #: Makes a row of the values that the driver returns.
    make_row: Callable[[Sequence[Any]], Row[Any]]


def make_layout(compiled: Any, dialect: Dialect, description: Sequence[Any] | None) -> RowLayout | None:
    """Return the layout of the rows of a statement; None for one that returns no rows."""
    if description is None:
        return None
    told = compiled._result_columns
    names = [one.keyname for one in told] if told else [one[0] for one in description]
    converters: Sequence[Convert | None] = ()
    if told:
        converters = [
            one.type._cached_result_processor(dialect, column[1])
            for one, column in zip(told, description, strict=True)
        ]
    metadata = SimpleResultMetaData(names)
    used: Any = converters if any(converters) else None
    return RowLayout(metadata, partial(Row, metadata, used, metadata._key_to_index))


class FoundRows:
    """The rows of a statement, all of them read, and how many rows it has changed or found.

    It offers what is used of the results of SQLAlchemy; what is not written here, its own result does.
    """

    __slots__ = ("_layout", "_raw", "rowcount")

    def __init__(self, layout: RowLayout | None, raw: Sequence[Any], rowcount: int) -> None:
        self._layout = layout
        self._raw = raw
        self.rowcount = rowcount

    def first(self) -> Row[Any] | None:
        """Return the first row, None when there is none."""
        layout = self._layout or _raise_no_rows()
        return layout.make_row(self._raw[0]) if self._raw else None

    def all(self) -> Sequence[Row[Any]]:
        """Return all rows."""
        make_row = (self._layout or _raise_no_rows()).make_row
        return [make_row(one) for one in self._raw]

    def scalar(self) -> Any:
        """Return the first value of the first row, None when there is none."""
        row = self.first()
        return None if row is None else row[0]

    def __iter__(self) -> Iterator[Row[Any]]:
        return iter(self.all())

    def __getattr__(self, name: str) -> Any:
        layout = self._layout or _raise_no_rows()
        rows = self.all()
        return getattr(IteratorResult(layout.metadata, iter(rows)), name)


def _raise_no_rows() -> NoReturn:
    raise ResourceClosedError("this statement returns no rows")
