"""Values of rows are taken in the order of parameters, and times and JSON are converted on their way."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy.dialects import postgresql, sqlite

from gateway.store.column_types import Instant, Json
from gateway.store.parameter_values import ParameterValues
from gateway.store.tables import metadata

AT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
BOTH = pytest.mark.parametrize("dialect", [sqlite.dialect(), postgresql.dialect()], ids=lambda one: one.name)


@pytest.mark.parametrize("names", ["", "a", "b", "ba", "aba"])
def test_values_come_in_the_order_of_the_parameters(names):
    taken = ParameterValues([(name, str if name == "b" else None) for name in names])
    row = {"a": 1, "b": 2, "further": 3}
    assert taken.list_values(row) == [{"a": 1, "b": "2"}[name] for name in names]
    assert row == {"a": 1, "b": 2, "further": 3}


@pytest.mark.parametrize("names", ["b", "ab"])
def test_a_parameter_that_is_not_given_is_an_error(names):
    with pytest.raises(KeyError):
        ParameterValues([(name, None) for name in names]).list_values({"a": 1})


@BOTH
def test_a_time_is_read_as_it_was_stored_and_in_utc(dialect):
    store, read = Instant().bind_processor(dialect), Instant().result_processor(dialect, None)
    assert store(None) is None
    assert read(None) is None
    local = AT.astimezone(timezone(timedelta(hours=9)))
    assert read(store(local)) == AT
    assert read(store(local)).tzinfo is UTC
    assert isinstance(store(AT), int) == (dialect.name == "sqlite")


@BOTH
def test_a_time_without_a_zone_is_not_stored(dialect):
    with pytest.raises(ValueError, match="a time without a zone"):
        Instant().bind_processor(dialect)(AT.replace(tzinfo=None))


@BOTH
def test_json_is_stored_without_blanks_and_read_also_with_them(dialect):
    store, read = Json().bind_processor(dialect), Json().result_processor(dialect, None)
    assert store({"b": [1, None], "a": "é"}) == '{"a":"é","b":[1,null]}'
    assert read(store({"b": [1, None], "a": "é"})) == {"b": [1, None], "a": "é"}
    assert read(' {"a": 1}\n') == {"a": 1}
    assert store(None) is read(None) is None


@BOTH
@pytest.mark.parametrize("text", ["", "{", "1 2", "{} x"])
def test_what_is_no_json_is_an_error(dialect, text):
    with pytest.raises(ValueError):
        Json().result_processor(dialect, None)(text)


def test_values_of_several_rows_come_one_row_after_the_other():
    taken = ParameterValues([("b", str), ("a", None)])
    rows = [{"a": 1, "b": 2}, {"a": 3, "b": None}]
    assert taken.list_values(*rows) == ["2", 1, None, 3]
    assert taken.list_values() == []


@BOTH
def test_no_type_of_a_column_converts_the_value_that_is_none(dialect):
    """So it is not given to what converts."""
    types = [column.type.dialect_impl(dialect) for one in metadata.tables.values() for column in one.columns]
    converts = [convert for one in types if (convert := one.bind_processor(dialect)) is not None]
    assert len(converts) > 50
    assert {convert(None) for convert in converts} == {None}
