"""Statements in the form in which the driver of the database executes them, and the rows that it returns.

A statement is compiled once for each form; SQLAlchemy tells forms apart. To ask for the form of a
statement, and to build it, takes longer than to execute it: so frequent statements are constants of their
modules, and keep their form.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Final
from weakref import ref

from sqlalchemy import SelectBase, TextClause, UpdateBase
from sqlalchemy.engine import Dialect
from sqlalchemy.util import LRUCache

from gateway.store.driver_rows import FoundRows, RowLayout, make_layout
from gateway.store.parameter_values import Convert, ParameterValues

__all__ = ["BoundStatement", "DriverStatement", "find_driver_statement"]

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


#: What is sent as it is compiled; a function, for example, is made a SELECT before.
_PLAIN: Final = (SelectBase, UpdateBase, TextClause)

#: Parameters that a statement contains itself, by their keys.
_Own = Mapping[str, Any]


@dataclass(slots=True)
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
    convert: Convert | None
    expands: bool = False

    @property
    def key(self) -> str:
        """The name of its value; one that nobody gives begins with a blank, as no name does."""
        return f" {self.name}" if self.given is None else self.given

    def find_own(self, extracted: Sequence[Any]) -> Any:
        """Return the value that the statement contains."""
        return self.fixed if self.place is None else extracted[self.place].value


@dataclass(frozen=True, slots=True)
class _Shape:
    """A statement with IN for lists of certain lengths: each parameter, and its place in its list."""

    sql: str
    parameters: tuple[tuple[str, _Parameter, int | None], ...]


@dataclass
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
    _layout: RowLayout | None = None

    @cached_property
    def has_own_lists(self) -> bool:
        """Whether all its lists are in the statement itself, and expanded at each execution."""
        return self.lists and all(one.given is None for one in self.parameters if one.expands)

    @cached_property
    def _values(self) -> ParameterValues:
        # What the statement contains is converted once.
        return ParameterValues(
            [(one.key, None if one.given is None else one.convert) for one in self.parameters]
        )

    @cached_property
    def _row(self) -> str:
        """The values of an insert in its SQL; empty where they may not stand there several times."""
        return "" if self.lists or not self.parameters else _find_row_text(self.sql)

    def list_own_values(self, extracted: Sequence[Any]) -> _Own:
        """Return the values that a statement contains, as the driver is given them; lists as they are."""
        own = {one.key: (one, one.find_own(extracted)) for one in self.parameters if one.given is None}
        return {
            key: value if self.lists or one.convert is None else one.convert(value)
            for key, (one, value) in own.items()
        }

    def fix_lists(self, own: _Own) -> DriverStatement:
        """Return the statement with its own lists expanded: each of their values is a parameter."""
        if not all(own[one.key] for one in self.parameters if one.expands):
            return self
        shape = self._expand_lists({one.name: own.get(one.key) for one in self.parameters})
        fixed = tuple(
            one
            if place is None
            else replace(one, name=name, place=None, fixed=own[one.key][place], expands=False)
            for name, one, place in shape.parameters
        )
        return replace(self, sql=shape.sql, parameters=fixed, lists=False)

    def bind_values(self, given: Mapping[str, Any], own: _Own) -> BoundStatement | None:
        """Return the statement with these values; None for lists that the driver cannot be given."""
        row = {**given, **own} if own else given
        if self.lists:
            return self._bind_lists(row)
        return BoundStatement(self.sql, self._values.list_values(row))

    def bind_rows(self, rows: Sequence[Mapping[str, Any]], own: _Own) -> BoundStatement | None:
        """Return an insert of several rows as one statement; None for what is no plain insert of values."""
        number = len(self.parameters)
        if not self._row or len(rows) * number > _MOST_VALUES:
            return None
        listed = self._values.list_values
        values = [value for row in rows for value in listed({**row, **own} if own else row)]
        texts = (_shift_numbers(self._row, place * number) for place in range(len(rows)))
        return BoundStatement(self.sql.replace(self._row, ", ".join(texts), 1), values)

    def bind_repeated(self, rows: Sequence[Mapping[str, Any]], own: _Own) -> BoundStatement:
        """Return a statement that is executed once for each row."""
        listed = self._values.list_values
        return BoundStatement(self.sql, [listed({**row, **own}) for row in rows], repeated=True)

    @cached_property
    def returns_nothing(self) -> bool:
        """Whether it changes rows and returns none."""
        changes = self._compiled.isupdate or self._compiled.isdelete
        return bool(changes) and not self._compiled._result_columns and not self.lists

    def _bind_lists(self, row: Mapping[str, Any]) -> BoundStatement | None:
        lengths = tuple(len(row[one.key]) for one in self.parameters if one.expands)
        if not all(lengths):
            return None
        shape = self._shapes.get(lengths)
        if shape is None:
            if len(self._shapes) >= _SHAPES:
                return None
            found = {one.name: row[one.key] for one in self.parameters}
            shape = self._shapes[lengths] = self._expand_lists(found)
        values = []
        for _name, one, place in shape.parameters:
            value = row[one.key] if place is None else row[one.key][place]
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
            self._layout = make_layout(self._compiled, self._dialect, cursor.description)
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


_Ready = tuple[DriverStatement, _Own]


@dataclass(frozen=True, slots=True)
class _Form:
    """What one statement is: its form (None: it has none), its parameters, and what it was compiled to."""

    owner: Any
    key: Any
    extracted: Sequence[Any]
    ready: dict[tuple[Dialect, tuple[str, ...]], _Ready | None] = field(default_factory=dict)


def find_driver_statement(
    statement: Any, dialect: Dialect, cache: Any, given: Mapping[str, Any]
) -> _Ready | None:
    """Return the compiled statement, and the values that are in this one; None for SQLAlchemy's own way.

    `given` names the parameters that the caller gives.
    """
    form: _Form | None = getattr(statement, _FORM, None)
    # A statement that is made of another one has a copy of its attributes.
    if form is None or form.owner() is not statement:
        form = _find_form(statement)
    place = (dialect, tuple(given))
    ready: Any = form.ready.get(place, _UNKNOWN)
    if ready is _UNKNOWN:
        ready = form.ready[place] = _make_ready(statement, form, place, cache)
    elif ready is not None and ready[0].has_own_lists:
        # A statement that is executed again is a constant: its lists stay as they are.
        fixed = ready[0].fix_lists(ready[1])
        ready = form.ready[place] = (fixed, fixed.list_own_values(form.extracted))
    found: _Ready | None = ready
    return found


def _find_form(statement: Any) -> _Form:
    """Return the form of a statement, which a constant of a module is asked for once."""
    if not isinstance(statement, _PLAIN):
        return _Form(None, None, ())
    key: Any = statement._generate_cache_key()
    options: Any = statement._execution_options  # type: ignore[union-attr]
    plain = key is not None and not key[2] and not options
    form = _Form(ref(statement), key[0] if plain else None, key[1] if plain else ())
    statement.__dict__[_FORM] = form
    return form


def _make_ready(
    statement: Any, form: _Form, place: tuple[Dialect, tuple[str, ...]], cache: Any
) -> _Ready | None:
    if form.key is None:
        return None
    dialect, names = place
    shared = (dialect, form.key, names)
    known: Any = _of_forms.get(shared, _UNKNOWN)
    if known is _UNKNOWN:
        known = _of_forms[shared] = _compile_statement(statement, dialect, cache, names)
    return None if known is None else (known, known.list_own_values(form.extracted))


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
