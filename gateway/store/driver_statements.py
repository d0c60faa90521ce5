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

from gateway.store.compiled_statements import COMPILED_STATEMENTS
from gateway.store.driver_rows import RowLayout, make_layout
from gateway.store.parameter_values import Convert, ParameterValues
from gateway.store.server_statements import find_parameter_type, make_server_text
from gateway.store.statement_names import list_names

__all__ = ["BoundStatement", "StatementText", "bind_rows", "bind_statement"]

#: How many lengths of lists one statement with IN is kept for, and how many numbers of rows an insert.
_SHAPES: Final = 64

#: How many values one insert may have: SQLite and PostgreSQL allow more.
_MOST_VALUES: Final = 900
#: A plain insert, and the parameters of PostgreSQL's driver and of PostgreSQL itself.
_VALUES: Final = re.compile(
    r"^INSERT INTO \S+ \([^()]*\) VALUES (\(.*?\))(?: ON CONFLICT .*)?(?: RETURNING .*)?$"
)
_NAMED: Final = re.compile(r"%%|%\((\w+)\)s")
_NUMBER: Final = re.compile(r"\$(\d+)")

_COMPILED: Final = COMPILED_STATEMENTS["compiled_cache"]
#: Compiled statements by their form; those used longest ago leave first.
_of_forms: Final[LRUCache[Any, Any]] = LRUCache(1200)
_UNKNOWN: Final = object()
#: Attribute of a statement: its form.
_FORM: Final = "_gateway_form"


#: What is sent as it is compiled; a function, for example, is made a SELECT before.
_PLAIN: Final = (SelectBase, UpdateBase, TextClause)

#: Parameters that a statement contains itself, by their keys.
_Own = Mapping[str, Any]


class StatementText:
    """SQL as the driver is given it, with the layout of the rows that it returns.

    One that is `repeated` is given several lists of values, and is executed once for each.
    """

    def __init__(
        self, statement: DriverStatement, sql: str, types: Sequence[int], *, repeated: bool = False
    ) -> None:
        self.sql = sql
        self.positional = statement.positional
        self.repeated = repeated
        #: What PostgreSQL itself is given; None where its driver is.
        self.server = None if self.positional else make_server_text(sql, types)
        self.is_plain_read = list_names(sql).is_plain_read
        self._statement = statement
        #: None until it is known whether there are rows.
        self.returns_rows: bool | None = None
        self.layout: RowLayout | None = None

    def learn_layout(self, cursor: Any) -> None:
        """Learn from an executed cursor what its rows are.

        It is asked once: to describe the columns takes PostgreSQL's driver longer than to read a row.
        """
        self.layout = self._statement.make_layout(cursor)
        self.returns_rows = self.layout is not None


#: SQL with its values in their order; those of a text that is repeated are several lists.
BoundStatement = tuple[StatementText, list[Any]]


@dataclass(frozen=True, slots=True)
class _Parameter:
    """Where the value of a parameter is: given under a name, in the statement at a place, or fixed."""

    name: str
    given: str | None
    place: int | None
    fixed: Any
    convert: Convert | None
    expands: bool = False
    type_number: int = 0

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


@dataclass(frozen=True, slots=True)
class _ShapedText:
    """Its text, and for each value its key, what converts it, and its place in its list."""

    text: StatementText
    values: tuple[tuple[str, Convert | None, int | None], ...]


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
    _shapes: dict[tuple[int, ...], _ShapedText] = field(default_factory=dict)
    #: Inserts of several rows, by their number.
    _several: dict[int, StatementText] = field(default_factory=dict)

    @cached_property
    def has_own_lists(self) -> bool:
        """Whether all its lists are in the statement itself, and expanded at each execution."""
        return self.lists and all(one.given is None for one in self.parameters if one.expands)

    @cached_property
    def text(self) -> StatementText:
        """The statement without lists, executed once."""
        return StatementText(self, self.sql, self._types)

    @cached_property
    def _types(self) -> list[int]:
        """The types of its parameters in their order, as PostgreSQL numbers them."""
        return [one.type_number for one in self.parameters]

    @cached_property
    def values(self) -> ParameterValues:
        """What takes the values of a row; what the statement contains is converted once, before."""
        return ParameterValues(
            [(one.key, None if one.given is None else one.convert) for one in self.parameters]
        )

    @cached_property
    def _repeated(self) -> StatementText:
        return StatementText(self, self.sql, self._types, repeated=True)

    @cached_property
    def _list_keys(self) -> tuple[str, ...]:
        return tuple(one.key for one in self.parameters if one.expands)

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
        return replace(self, sql=shape.sql, parameters=fixed, lists=False, _shapes={}, _several={})

    def bind_rows(self, rows: Sequence[Mapping[str, Any]], own: _Own) -> BoundStatement | None:
        """Return a statement for several rows; None where it is neither an insert of values nor a change."""
        rows = [{**row, **own} for row in rows] if own else rows
        if self._returns_nothing:
            return self._repeated, [self.values.list_values(row) for row in rows]
        if not self._row or len(rows) * len(self.parameters) > _MOST_VALUES:
            return None
        return self._find_several(len(rows)), self.values.list_values(*rows)

    def _find_several(self, number: int) -> StatementText:
        """Return the insert of so many rows as one statement."""
        found = self._several.get(number)
        if found is None:
            texts = (_shift_numbers(self._row, place * len(self.parameters)) for place in range(number))
            sql = self.sql.replace(self._row, ", ".join(texts), 1)
            found = StatementText(self, sql, self._types * number)
            if len(self._several) < _SHAPES:
                self._several[number] = found
        return found

    @cached_property
    def _returns_nothing(self) -> bool:
        """Whether it changes rows and returns none."""
        changes = self._compiled.isupdate or self._compiled.isdelete
        return bool(changes) and not self._compiled._result_columns and not self.lists

    def bind_lists(self, row: Mapping[str, Any]) -> BoundStatement | None:
        """Return the statement with its lists; None for those that the driver cannot be given."""
        lengths = tuple([len(row[key]) for key in self._list_keys])
        if not all(lengths):
            return None
        shape = self._shapes.get(lengths)
        if shape is None:
            if len(self._shapes) >= _SHAPES:
                return None
            shape = self._shapes[lengths] = self._make_shaped_text(row)
        values = []
        for key, convert, place in shape.values:
            value = row[key] if place is None else row[key][place]
            values.append(value if convert is None else convert(value))
        return shape.text, values

    def _make_shaped_text(self, row: Mapping[str, Any]) -> _ShapedText:
        shape = self._expand_lists({one.name: row[one.key] for one in self.parameters})
        values = tuple((one.key, one.convert, place) for _, one, place in shape.parameters)
        types = [one.type_number for _, one, _ in shape.parameters]
        return _ShapedText(StatementText(self, shape.sql, types), values)

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

    def make_layout(self, cursor: Any) -> RowLayout | None:
        """Return the layout of the rows that an executed cursor has; None where there are none."""
        return make_layout(self._compiled, self._dialect, cursor.description)


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


def bind_statement(statement: Any, dialect: Dialect, given: Mapping[str, Any]) -> BoundStatement | None:
    """Return a statement with the values of its parameters; None where SQLAlchemy has its own way."""
    if type(given) is not dict and not isinstance(given, Mapping):
        return None
    ready = _find_ready(statement, dialect, given)
    if ready is None:
        return None
    compiled, own = ready
    row = {**given, **own} if own else given
    return compiled.bind_lists(row) if compiled.lists else (compiled.text, compiled.values.list_values(row))


def bind_rows(statement: Any, dialect: Dialect, rows: Sequence[Any]) -> BoundStatement | None:
    """Return a statement for each of these rows, as `bind_statement` does for one."""
    if not rows or _differ(rows):
        return None
    if len(rows) == 1:
        return bind_statement(statement, dialect, rows[0])
    ready = _find_ready(statement, dialect, rows[0])
    return None if ready is None else ready[0].bind_rows(rows, ready[1])


def _differ(rows: Sequence[Any]) -> bool:
    """Return whether rows do not all name the same parameters."""
    first = rows[0]
    return any([not isinstance(one, Mapping) or one.keys() != first.keys() for one in rows])


def _find_ready(statement: Any, dialect: Dialect, given: Mapping[str, Any]) -> _Ready | None:
    """Return the compiled statement, and the values that are in this one; None for SQLAlchemy's own way."""
    form: _Form | None = getattr(statement, _FORM, None)
    # A statement that is made of another one has a copy of its attributes.
    if form is None or form.owner() is not statement:
        form = _find_form(statement)
    place = (dialect, tuple(given))
    ready: Any = form.ready.get(place, _UNKNOWN)
    if ready is _UNKNOWN:
        ready = form.ready[place] = _make_ready(statement, form, place)
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


def _make_ready(statement: Any, form: _Form, place: tuple[Dialect, tuple[str, ...]]) -> _Ready | None:
    if form.key is None:
        return None
    dialect, names = place
    shared = (dialect, form.key, names)
    known: Any = _of_forms.get(shared, _UNKNOWN)
    if known is _UNKNOWN:
        known = _of_forms[shared] = _compile_statement(statement, dialect, names)
    return None if known is None else (known, known.list_own_values(form.extracted))


def _compile_statement(statement: Any, dialect: Dialect, names: tuple[str, ...]) -> DriverStatement | None:
    compiled, _extracted, further, _ = statement._compile_w_cache(
        dialect, compiled_cache=_COMPILED, column_keys=sorted(names), for_executemany=False
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
    return _Parameter(name, given, place, bind.value, convert, expands, find_parameter_type(bind.type))


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
