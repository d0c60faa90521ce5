"""The conditions that the lists of several tables share, and the pages of a long list."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    FromClause,
    Select,
    Text,
    and_,
    func,
    literal_column,
    or_,
    select,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.expression import FunctionElement

from gateway.store.table_types import read_columns

#: Rows that follow a page are counted up to this number.
LIST_COUNT_LIMIT: Final = 10_000


@dataclass(frozen=True, slots=True)
class ListFilter:
    """The rows of a list: those that meet every condition that is given.

    `since` and `until` bound the time of the row, both inclusive. `text` is a part of any text that
    the list shows, in capital or small letters. `after` is the key of the last row of the page
    before. `destinations` are those that the text names, by a name or address of the settings, and
    `partners` those at which the party is called.
    """

    states: Sequence[str] = ()
    party: str = ""
    agency: str = ""
    reference: str = ""
    text: str = ""
    since: datetime | None = None
    until: datetime | None = None
    limit: int = 50
    after: Any = None
    equal: Sequence[tuple[str, Any]] = ()
    destinations: Sequence[str] = ()
    partners: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class ListPage:
    """One page of a list, and how many rows follow it, counted up to LIST_COUNT_LIMIT."""

    rows: Sequence[dict[str, Any]]
    remaining: int


class SearchedText(FunctionElement[str]):
    """A column of text in which capital and small letters are searched as the same.

    PostgreSQL knows the letters of all scripts by the collation of the database; that of the columns, the
    order of octets, knows those of ASCII alone. SQLite knows those of ASCII alone in any case.
    """

    type = Text()
    inherit_cache = True


@compiles(SearchedText)
def _compile_searched_text(element: SearchedText, compiler: Any, **options: Any) -> str:
    return str(compiler.process(element.clauses, **options))


@compiles(SearchedText, "postgresql")
def _compile_for_postgresql(element: SearchedText, compiler: Any, **options: Any) -> str:
    return f'({compiler.process(element.clauses, **options)} COLLATE "default")'


def build_text_condition(text: str, *columns: Any) -> ColumnElement[bool]:
    """Return the condition that one of the columns contains the text, in capital or small letters."""
    return or_(*(SearchedText(column).icontains(text, autoescape=True) for column in columns))


def build_bounds(
    criteria: ListFilter, key: Column[Any], time_column: Column[Any], *, has_time_index: bool = False
) -> list[ColumnElement[bool]]:
    """Return the conditions of the time bounds.

    With `has_time_index` the table is long and has an index of (time, key): the bounds are also stated for
    the key, so that the list, which is in the order of the key, reads nothing beyond them.
    """
    conditions: list[ColumnElement[bool]] = []
    # The sum keeps the planner from searching the rows in the order of the key.
    number = key + literal_column("0")
    if criteria.since is not None:
        conditions.append(time_column >= criteria.since)
        if has_time_index:
            first = select(func.min(number)).where(time_column >= criteria.since).correlate(None)
            conditions.append(key >= first.scalar_subquery())
    if criteria.until is not None:
        conditions.append(time_column <= criteria.until)
        if has_time_index:
            last = select(func.max(number)).where(time_column <= criteria.until).correlate(None)
            conditions.append(key <= last.scalar_subquery())
    return conditions


def fetch_page(
    conn: Connection,
    columns: Sequence[Any],
    source: FromClause,
    conditions: Sequence[ColumnElement[bool]],
    criteria: ListFilter,
    key: Column[Any],
    *,
    is_ascending: bool = False,
    has_few_rows: bool = False,
    time_column: Column[Any] | None = None,
) -> ListPage:
    """Return the rows of the conditions after the key of `criteria`: falling by key, or `is_ascending`.

    With `has_few_rows`, an index finds the few rows of the conditions, and they are sorted; else the planner
    may read the whole table in the order of the key. With a `time_column` the order is that of this time,
    the latest first, in which an index of (time, key) has the rows.
    """
    # The sum keeps the planner from reading the table in the order of the key.
    position: ColumnElement[Any] = key + literal_column("0") if has_few_rows else key

    def follow(query: Select[Any], last: Any) -> Select[Any]:
        if time_column is not None and last is not None:
            return query.where(_build_earlier_condition(time_column, key, last))
        return query if last is None else query.where(position > last if is_ascending else position < last)

    order = position.asc() if is_ascending else position.desc()
    orders = (order,) if time_column is None else (time_column.desc(), order)
    query = select(*columns).select_from(source).where(*conditions).order_by(*orders).limit(criteria.limit)
    rows = [read_columns(row) for row in conn.execute(follow(query, criteria.after))]
    if len(rows) < criteria.limit:
        return ListPage(rows, 0)
    rest = select(key).select_from(source).where(*conditions).limit(LIST_COUNT_LIMIT)
    counted = select(func.count()).select_from(follow(rest, rows[-1][key.name]).subquery())
    return ListPage(rows, conn.execute(counted).scalar_one())


def _build_earlier_condition(
    time_column: Column[Any], key: Column[Any], last_key: Any
) -> ColumnElement[bool]:
    """Return the condition that a row comes after the row with the key `last_key` in the order of time."""
    last_row = key.table.alias("last_row")
    at = select(last_row.c[time_column.name]).where(last_row.c[key.name] == last_key).scalar_subquery()
    return and_(time_column <= at, or_(time_column < at, key < last_key))


#: The most digits that always fit into a BIGINT (the id of a row) and into an INTEGER (a position, version).
MAX_ROW_NUMBER_DIGITS: Final = 18
MAX_POSITION_DIGITS: Final = 9
_NUMBER: Final = re.compile(rf"[0-9]{{1,{MAX_ROW_NUMBER_DIGITS}}}")


def read_row_number(text: str) -> int | None:
    """Return a whole number of at most 18 ASCII digits; None for any other text."""
    return int(text) if _NUMBER.fullmatch(text) else None


def read_position(text: str) -> int | None:
    """Return a whole number of at most 9 ASCII digits; None for any other text."""
    return read_row_number(text) if len(text) <= MAX_POSITION_DIGITS else None
