"""The row types of the store: they name the columns that the functions which return them read."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
import re
import types
import typing
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, date, datetime
from enum import Enum
from pathlib import Path
from types import NoneType
from typing import Any

import pytest
from sqlalchemy import Column, Engine, event

import gateway.store
from gateway.errors import GatewayError
from gateway.message_model import PartyId
from gateway.state_machines import CASE, StateMachine
from gateway.store import make_engine, write_transaction
from gateway.store.table_types import IndexedText, Instant, Json, metadata

PACKAGE = "gateway.store"
OF_TABLE = re.compile(r"A row of the table `(\w+)`( without .*)?\.")
ROW = re.compile(r"\b\w+Row\b")
VALUES: dict[Any, Any] = {
    int: 1,
    str: "document",
    bool: True,
    bytes: b"1",
    date: date(2026, 1, 1),
    datetime: datetime(2026, 1, 1, tzinfo=UTC),
    PartyId: PartyId("one"),
    StateMachine: CASE,
}
#: The rows of sums have the dimensions that are asked for.
ARGUMENTS = {"dimensions": ("day", "agency", "document", "state", "outcome", "party", "band", "problem")}
#: These read the columns of their rows only where another statement has found rows.
SECOND_STATEMENTS = {
    "case_searches.list_party_cases",
    "delivery_maintenance.put_aside_delivery",
    "requirement_quantities.select_certificates",
    "requirement_results.list_results_of_notice",
}
#: Columns that may be empty, and are not in the rows that the statement finds.
NEVER_EMPTY = {
    "DeliveredCallRow.finished_at",
    "DeliveredCallRow.payload_sha256",
    "GrantingDecisionRow.number",
    "GrantingDecisionRow.quantity",
}


def list_modules() -> Iterator[types.ModuleType]:
    for module in pkgutil.iter_modules(gateway.store.__path__):
        if module.name != "migrations":
            yield importlib.import_module(f"{PACKAGE}.{module.name}")


def list_row_types() -> dict[str, type]:
    return {
        name: value
        for module in list_modules()
        for name, value in vars(module).items()
        if ROW.fullmatch(name) and isinstance(value, type) and value.__module__ == module.__name__
    }


def list_fields(row_type: type) -> dict[str, Any]:
    return typing.get_type_hints(row_type)


def list_readers() -> dict[str, Callable[..., Any]]:
    return {
        f"{module.__name__.rpartition('.')[2]}.{name}": function
        for module in list_modules()
        for name, function in vars(module).items()
        if inspect.isfunction(function)
        and function.__module__ == module.__name__
        and not name.startswith("_")
        and ROW.search(str(function.__annotations__.get("return")))
        and "conn" in inspect.signature(function).parameters
    }


def make_value(kind: Any) -> Any:
    """Return a value of a type: of a class of values one of the values of its required fields."""
    if kind in VALUES:
        return VALUES[kind]
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        return make_value(typing.get_args(kind)[0])
    if origin is not None:
        return [make_value(typing.get_args(kind)[0])]
    if isinstance(kind, type) and issubclass(kind, Enum):
        return next(iter(kind))
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        missing = dataclasses.MISSING
        required = [
            each.name
            for each in dataclasses.fields(kind)
            if each.default is missing and each.default_factory is missing
        ]
        return kind(**{name: make_value(hints[name]) for name in required})
    return None


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    made = make_engine(database_url)
    yield made
    made.dispose()


def read_column_type(column: Any) -> Any:
    return {IndexedText: str, Instant: datetime, Json: Any}.get(type(column.type)) or column.type.python_type


def test_a_row_of_a_table_has_its_columns() -> None:
    compared = 0
    for name, row_type in list_row_types().items():
        description = OF_TABLE.fullmatch((row_type.__doc__ or "").strip())
        if description is None:
            continue
        table, fields = metadata.tables[description.group(1)], list_fields(row_type)
        for column in table.c:
            if column.name not in fields:
                assert description.group(2), (name, column.name)
                continue
            kind = read_column_type(column)
            wanted = kind | None if column.nullable and kind is not Any else kind
            assert fields.pop(column.name) == wanted, (name, column.name)
        assert not fields, name
        compared += 1
    assert compared > 50


def test_a_reader_reads_the_columns_of_its_row_type(engine: Engine) -> None:
    row_types = list_row_types()
    readers = list_readers()
    assert len(readers) > 150
    without_columns, wrong_types = set(), {}
    for name, reader in readers.items():
        statements = call_reader(engine, reader)
        for row_name in ROW.findall(str(reader.__annotations__["return"])):
            fields = list_fields(row_types[row_name])
            fitting = [columns for columns in statements if fields.keys() <= columns.keys()]
            if not fitting:
                without_columns.add(name)
            for columns in fitting:
                for field, kind in fields.items():
                    if not is_type_of_column(kind, columns[field], f"{row_name}.{field}"):
                        wrong_types[row_name, field] = kind
    assert without_columns == SECOND_STATEMENTS
    assert not wrong_types


def is_type_of_column(kind: Any, column: Any, name: str) -> bool:
    """Return whether a value of a column has the type of a field, and None where the column may be empty.

    A field may be empty where the column is not: the statement may find no row of its table.
    """
    read = Any if column is None else read_column_type(column)
    if kind is Any or read in (Any, object):
        return True
    kinds = set(typing.get_args(kind)) or {kind}
    can_be_empty = isinstance(column, Column) and column.nullable and name not in NEVER_EMPTY
    return read in kinds and (not can_be_empty or NoneType in kinds)


def call_reader(engine: Engine, reader: Callable[..., Any]) -> list[dict[str, Any]]:
    """Call a reader on an empty database; return the columns of each of its statements by their names."""
    statements: list[dict[str, Any]] = []

    def note_columns(
        _conn: Any, statement: Any, _many: Any, _parameters: Any, _options: Any, result: Any
    ) -> None:
        if result.returns_rows:
            selected = getattr(statement, "selected_columns", {})
            names = result.keys()
            statements.append({name: selected.get(name) for name in names})

    hints = typing.get_type_hints(reader)
    arguments = {
        each.name: ARGUMENTS.get(each.name) or make_value(hints[each.name])
        for each in list(inspect.signature(reader).parameters.values())[1:]
        if each.default is each.empty and each.kind not in (each.VAR_KEYWORD, each.VAR_POSITIONAL)
    }
    with write_transaction(engine) as conn:
        event.listen(conn, "after_execute", note_columns)
        with suppress(GatewayError, AssertionError, AttributeError, TypeError):
            reader(conn, **arguments)
        conn.rollback()
    return statements


def test_no_other_room_names_the_rows_of_sqlalchemy() -> None:
    """Other rooms read the row types of the store: mypy then knows each column and its type."""
    root = Path(gateway.__file__).parent
    naming = [
        f"{path.relative_to(root)}:{number}"
        for path in root.rglob("*.py")
        if path.relative_to(root).parts[0] != "store"
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if re.search(r"\bRow\[|import .*\bRow\b|^    Row,$", line)
    ]
    assert not naming


def test_no_function_of_the_store_hands_out_rows_without_a_type() -> None:
    handing = [
        f"{module.__name__}.{name}"
        for module in list_modules()
        if module.__name__ != f"{PACKAGE}.prepared_statements"
        for name, function in vars(module).items()
        if inspect.isfunction(function)
        and function.__module__ == module.__name__
        and not name.startswith("_")
        and "Row[" in str(list(function.__annotations__.values()))
    ]
    assert not handing
