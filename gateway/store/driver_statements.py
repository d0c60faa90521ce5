"""Statements in the form in which the driver of the database executes them, and the rows that it returns.

A statement is compiled once for each form; SQLAlchemy tells forms apart. To ask for the form of a
statement, and to build it, takes longer than to execute it: so frequent statements are constants of their
modules, and keep their form.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final
from weakref import ref

from sqlalchemy import Row
from sqlalchemy.engine import Dialect, IteratorResult
from sqlalchemy.engine.result import SimpleResultMetaData
from sqlalchemy.exc import ResourceClosedError
from sqlalchemy.util import LRUCache

__all__ = ["BoundStatement", "DriverStatement", "FoundRows", "find_driver_statement"]

_Convert = Callable[[Any], Any]
#: How many lengths of lists one statement with IN is kept for.
_SHAPES: Final = 64

#: How many values one insert may have: SQLite and PostgreSQL allow more.
_MOST_VALUES: Final = 900
#: A plain insert, and the parameters of PostgreSQL's driver and of PostgreSQL itself.
_VALUES: Final = re.compile(
    r"^INSERT INTO \S+ \([^()]*\) VALUES (\(.*?\))(?: ON CONFLICT .*)?(?: RETURNING .*)?$"
)
_NAMED: Final = re.compile(r"%%|%\((\w+)\)s")
_NUMBER: Final = re.compile(r"\$(\d+)")

#: Compiled statements by their form; those used longest ago leave first.
_of_forms: Final[LRUCache[Any, Any]] = LRUCache(1200)
_UNKNOWN: Final = object()
#: Attribute of a statement: its form.
_FORM: Final = "_gateway_form"


@dataclass(frozen=True, slots=True)
class _Form:
    """What one statement is: its form (None: it has none), its own values, and what it was compiled to."""

    owner: ref[Any]
    key: Any
    extracted: Sequence[Any]
    compiled: dict[tuple[Dialect, tuple[str, ...]], DriverStatement | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BoundStatement:
    """SQL of the database with its values in their order.

    The values of one that is `repeated` are several, one for each time.
    """

    sql: str
    values: Any
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class _Parameter:
    """Where the value of a parameter is: given under a name, in the statement at a place, or fixed."""

    name: str
    given: str | None
    place: int | None
    fixed: Any
    convert: _Convert | None
    expands: bool = False

    def find_value(self, given: Mapping[str, Any], extracted: Sequence[Any]) -> Any:
        """Return the value as the caller gave it."""
        if self.given is not None:
            return given[self.given]
        return self.fixed if self.place is None else extracted[self.place].value


@dataclass(frozen=True, slots=True)
class _Shape:
    """A statement with IN for lists of certain lengths: each parameter, and its place in its list."""

    sql: str
    parameters: tuple[tuple[str, _Parameter, int | None], ...]


@dataclass(slots=True)
class DriverStatement:
    """A compiled statement."""

    sql: str
    positional: bool
    parameters: tuple[_Parameter, ...]
    #: Whether there are lists, whose lengths the SQL depends on.
    lists: bool
    _compiled: Any
    _dialect: Dialect
    _shapes: dict[tuple[int, ...], _Shape] = field(default_factory=dict)
    _returns_rows: bool | None = None
    _layout: _Layout | None = None
    #: The values of an insert in its SQL; empty where there are none that may stand there several times.
    _row: str | None = None

    def has_own_lists(self) -> bool:
        """Return whether all its lists are in the statement itself, and expanded at each execution."""
        return self.lists and all(one.given is None for one in self.parameters if one.expands)

    def fix_lists(self, inside: Sequence[Any]) -> DriverStatement:
        """Return the statement with its own lists expanded: each of their values is a parameter."""
        found = {one.name: one.find_value({}, inside) for one in self.parameters if one.given is None}
        if not all(found[one.name] for one in self.parameters if one.expands):
            return self
        shape = self._expand_lists(found | {one.name: None for one in self.parameters if one.given})
        fixed = tuple(
            one
            if place is None
            else replace(one, name=name, place=None, fixed=found[one.name][place], expands=False)
            for name, one, place in shape.parameters
        )
        return replace(self, sql=shape.sql, parameters=fixed, lists=False)

    def bind_values(self, given: Mapping[str, Any], inside: Sequence[Any]) -> BoundStatement | None:
        """Return the statement with these values; None for lists that the driver cannot be given.

        `inside` are the parameters that the statement contains itself.
        """
        if self.lists:
            return self._bind_lists(given, inside)
        return BoundStatement(
            self.sql,
            [
                one.find_value(given, inside)
                if one.convert is None
                else one.convert(one.find_value(given, inside))
                for one in self.parameters
            ],
        )

    def bind_rows(self, rows: Sequence[Mapping[str, Any]], inside: Sequence[Any]) -> BoundStatement | None:
        """Return an insert of several rows as one statement; None for what is no plain insert of values."""
        if self._row is None:
            self._row = "" if self.lists or not self.parameters else _find_row_text(self.sql)
        if not self._row or len(rows) * len(self.parameters) > _MOST_VALUES:
            return None
        found = [self.bind_values(row, inside) for row in rows]
        values = [value for one in found if one is not None for value in one.values]
        texts = (_shift_numbers(self._row, place * len(self.parameters)) for place in range(len(rows)))
        return BoundStatement(self.sql.replace(self._row, ", ".join(texts), 1), values)

    def returns_nothing(self) -> bool:
        """Return whether it changes rows and returns none."""
        changes = self._compiled.isupdate or self._compiled.isdelete
        return bool(changes) and not self._compiled._result_columns and not self.lists

    def _bind_lists(self, given: Mapping[str, Any], extracted: Sequence[Any]) -> BoundStatement | None:
        found = {one.name: one.find_value(given, extracted) for one in self.parameters}
        lengths = tuple(len(found[one.name]) for one in self.parameters if one.expands)
        if not all(lengths):
            return None
        shape = self._shapes.get(lengths)
        if shape is None:
            if len(self._shapes) >= _SHAPES:
                return None
            shape = self._shapes[lengths] = self._expand_lists(found)
        values = []
        for _name, one, place in shape.parameters:
            value = found[one.name] if place is None else found[one.name][place]
            values.append(value if one.convert is None else one.convert(value))
        return BoundStatement(shape.sql, values)

    def _expand_lists(self, found: Mapping[str, Any]) -> _Shape:
        expanded = self._compiled._process_parameters_for_postcompile(dict(found))
        by_name: dict[str, tuple[_Parameter, int | None]] = {one.name: (one, None) for one in self.parameters}
        for one in self.parameters:
            for place, name in enumerate(expanded.parameter_expansion.get(one.name, ())):
                by_name[name] = (one, place)
        sql, names = expanded.statement, expanded.positiontup
        if not self.positional:
            sql, names = _number_parameters(sql)
        return _Shape(sql, tuple((name, *by_name[name]) for name in names))

    def read_rows(self, cursor: Any) -> FoundRows:
        """Return what an executed cursor has: rows, or the number of rows that were changed."""
        if self._returns_rows is None:
            # Asked once: to describe the columns takes PostgreSQL's driver longer than to read a row.
            self._layout = _make_layout(self._compiled, self._dialect, cursor.description)
            self._returns_rows = self._layout is not None
        return FoundRows(self._layout, cursor.fetchall() if self._returns_rows else (), cursor.rowcount)


def _find_row_text(sql: str) -> str:
    """Return the text of the values of an insert, which has its parameters nowhere else; empty for others."""
    found = _VALUES.match(" ".join(sql.split()))
    if found is None or found[1] not in sql:
        return ""
    row, rest = found[1], sql.replace(found[1], "", 1)
    return "" if "(" in row[1:] or "?" in rest or _NUMBER.search(rest) else row


def _number_parameters(sql: str) -> tuple[str, tuple[str, ...]]:
    """Return SQL with `%(name)s` in the way of PostgreSQL itself, and the names by their numbers.

    The driver does the same at each execution, for named parameters.
    """
    numbers: dict[str, int] = {}

    def number(found: re.Match[str]) -> str:
        return "%" if found[1] is None else f"${numbers.setdefault(found[1], len(numbers) + 1)}"

    return _NAMED.sub(number, sql), tuple(numbers)


def _shift_numbers(row: str, by: int) -> str:
    """Return the values of another row, whose parameters have numbers that are higher by so many."""
    return _NUMBER.sub(lambda found: f"${int(found[1]) + by}", row) if by else row


@dataclass(frozen=True, slots=True)
class _Layout:
    """The names of the columns of a row, and what converts their values."""

    metadata: SimpleResultMetaData
    places: Mapping[Any, int]
    converters: Sequence[_Convert | None] | None

    def make_row(self, values: Sequence[Any]) -> Row[Any]:
        row: Any = Row
        made: Row[Any] = row(self.metadata, self.converters, self.places, values)
        return made


def _make_layout(compiled: Any, dialect: Dialect, description: Sequence[Any] | None) -> _Layout | None:
    """Return the layout of the rows of a statement; None for one that returns no rows."""
    if description is None:
        return None
    told = compiled._result_columns
    names = [one.keyname for one in told] if told else [one[0] for one in description]
    converters: Any = [None] * len(names)
    if told:
        converters = [
            one.type._cached_result_processor(dialect, column[1])
            for one, column in zip(told, description, strict=True)
        ]
    metadata = SimpleResultMetaData(names)
    return _Layout(metadata, metadata._key_to_index, converters if any(converters) else None)


class FoundRows:
    """The rows of a statement, all of them read, and how many rows it has changed or found.

    It offers what is used of the results of SQLAlchemy; what is not written here, its own result does.
    """

    __slots__ = ("_layout", "_raw", "rowcount")

    def __init__(self, layout: _Layout | None, raw: Sequence[Any], rowcount: int) -> None:
        self._layout = layout
        self._raw = raw
        self.rowcount = rowcount

    def first(self) -> Row[Any] | None:
        """Return the first row, None when there is none."""
        layout = self._get_layout()
        return layout.make_row(self._raw[0]) if self._raw else None

    def all(self) -> Sequence[Row[Any]]:
        """Return all rows."""
        make_row = self._get_layout().make_row
        return [make_row(one) for one in self._raw]

    def scalar(self) -> Any:
        """Return the first value of the first row, None when there is none."""
        row = self.first()
        return None if row is None else row[0]

    def __iter__(self) -> Iterator[Row[Any]]:
        return iter(self.all())

    def _get_layout(self) -> _Layout:
        if self._layout is None:
            raise ResourceClosedError("this statement returns no rows")
        return self._layout

    def __getattr__(self, name: str) -> Any:
        layout = self._get_layout()
        rows = self.all()
        return getattr(IteratorResult(layout.metadata, iter(rows)), name)


def find_driver_statement(
    statement: Any, dialect: Dialect, cache: Any, given: Mapping[str, Any]
) -> tuple[DriverStatement, Sequence[Any]] | None:
    """Return the compiled statement, and the parameters that are in this one; None for SQLAlchemy's own way.

    `given` names the parameters that the caller gives.
    """
    form = _find_form(statement)
    if form.key is None:
        return None
    names = tuple(given)
    known: Any = form.compiled.get((dialect, names), _UNKNOWN)
    if known is _UNKNOWN:
        place = (dialect, form.key, names)
        known = _of_forms.get(place, _UNKNOWN)
        if known is _UNKNOWN:
            known = _of_forms[place] = _compile_statement(statement, dialect, cache, names)
        form.compiled[dialect, names] = known
    elif known is not None and known.has_own_lists():
        # A statement that is executed again is a constant: its lists stay as they are.
        known = form.compiled[dialect, names] = known.fix_lists(form.extracted)
    return None if known is None else (known, form.extracted)


def _find_form(statement: Any) -> _Form:
    """Return the form of a statement, which a constant of a module is asked for once."""
    form: _Form | None = statement.__dict__.get(_FORM)
    # A statement that is made of another one has a copy of its attributes.
    if form is None or form.owner() is not statement:
        key = statement._generate_cache_key()
        plain = key is not None and not key[2] and not statement._execution_options
        form = _Form(ref(statement), key[0] if plain else None, key[1] if plain else ())
        statement.__dict__[_FORM] = form
    return form


def _compile_statement(
    statement: Any, dialect: Dialect, cache: Any, names: tuple[str, ...]
) -> DriverStatement | None:
    compiled, _extracted, further, _ = statement._compile_w_cache(
        dialect, compiled_cache=cache, column_keys=sorted(names), for_executemany=False
    )
    if further or not _is_plain(compiled):
        return None
    places = _list_places(compiled)
    sql, order = compiled.string, compiled._pre_expanded_positiontup or compiled.positiontup
    if not compiled.positional:
        # One with lists gets its numbers with their lengths.
        order = compiled.bind_names.values()
        if not compiled.post_compile_params:
            sql, order = _number_parameters(sql)
    parameters = []
    for name in order:
        found = _find_parameter(compiled, name, names, places)
        if found is None:
            return None
        parameters.append(found)
    return DriverStatement(
        sql,
        compiled.positional,
        tuple(parameters),
        bool(compiled.post_compile_params),
        compiled,
        dialect,
    )


def _list_places(compiled: Any) -> dict[Any, int]:
    """Return the place of each parameter among those of a statement of the same form."""
    key, match = compiled.cache_key, compiled._cache_key_bind_match
    if key is None or match is None:
        return {}
    return {bind: place for place, one in enumerate(key[1]) for bind in match[0].get(one, ())}


def _find_parameter(
    compiled: Any, name: str, names: tuple[str, ...], places: Mapping[Any, int]
) -> _Parameter | None:
    bind = compiled.binds[name]
    convert = compiled._bind_processors.get(name)
    expands = bind in compiled.post_compile_params
    if isinstance(convert, tuple) or bind.callable or (expands and bind.type._is_tuple_type):
        return None
    given = bind.key if bind.key in names else name if name in names else None
    if given is None and bind.required:
        return None
    place = places.get(bind) if given is None else None
    return _Parameter(name, given, place, bind.value, convert, expands)


def _is_plain(compiled: Any) -> bool:
    """Return whether the driver is told nothing but SQL and values, and its rows need nothing but types."""
    if compiled.literal_execute_params or compiled.escaped_bind_names or compiled.schema_translate_map:
        return False
    if compiled.insert_prefetch or compiled.update_prefetch:
        return False
    if compiled.isinsert and (compiled.implicit_returning or compiled.postfetch_lastrowid):
        return False
    columns = compiled._result_columns
    if not columns:
        return True
    names = {one.keyname for one in columns}
    return bool(compiled._ordered_columns) and not compiled._ad_hoc_textual and len(names) == len(columns)
