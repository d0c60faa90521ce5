"""Times and JSON are stored and read as each database keeps them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy.dialects import postgresql, sqlite

from gateway.store.table_types import Instant, Json

AT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
BOTH = pytest.mark.parametrize("dialect", [sqlite.dialect(), postgresql.dialect()], ids=lambda one: one.name)


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
@pytest.mark.parametrize("at", [datetime.min, datetime.max])
def test_the_ends_of_the_calendar_are_stored_and_what_lies_beyond_is_not(dialect, at):
    store, read = Instant().bind_processor(dialect), Instant().result_processor(dialect, None)
    assert read(store(at.replace(tzinfo=UTC))) == at.replace(tzinfo=UTC)
    beyond = timezone(timedelta(hours=9 if at == datetime.min else -5))
    with pytest.raises(ValueError, match="a time that UTC does not have"):
        store(at.replace(tzinfo=beyond))


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
    with pytest.raises(ValueError, match="GW805 a value in the database is no JSON"):
        Json().result_processor(dialect, None)(text)
