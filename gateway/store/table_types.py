"""Building blocks of the tables: the catalogue of tables, usual columns, indexes and column types."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, cast

from sqlalchemy import (
    BigInteger,
    BindParameter,
    CheckConstraint,
    Column,
    DateTime,
    Identity,
    Index,
    Integer,
    MetaData,
    Row,
    Table,
    Text,
    text,
    type_coerce,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.sql import operators
from sqlalchemy.types import TypeDecorator, TypeEngine

from gateway.errors import EVIDENCE_BROKEN, GatewayError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
    }
)


def make_identity_column() -> Column[int]:
    """Return the column `id`, whose values the database gives."""
    # SQLite assigns row ids by itself only when the key is declared INTEGER.
    key = BigInteger().with_variant(Integer(), "sqlite")
    return Column("id", key, Identity(), primary_key=True)


def make_required_column(name: str, kind: Any = Text, *constraints: Any) -> Column[Any]:
    """Return a column that always has a value; `constraints` are its constraints."""
    return Column(name, kind, *constraints, nullable=False)


def make_state_constraint(states: Iterable[str]) -> CheckConstraint:
    """Return the constraint that the column `state` has one of these values."""
    return CheckConstraint(f"state IN ({', '.join(map(repr, states))})", name="state")


class ClusteredTable(Table):
    """A table whose rows are stored in the index of its primary key (SQLite: WITHOUT ROWID).

    SQLAlchemy loads a dialect when an argument of it is given to a table. So the argument is set when the
    options are read, as by a migration: a process on PostgreSQL need not load the dialect of SQLite.
    """

    @cached_property
    def dialect_options(self) -> Any:
        """Return the arguments of each dialect."""
        options = super().dialect_options
        options["sqlite"]["with_rowid"] = False
        return options


class PartialIndex(Index):
    """An index of only the rows that meet a condition; PostgreSQL may have a condition of its own.

    The arguments of both dialects are set when the options are read, as for a `ClusteredTable`.
    """

    def __init__(
        self, name: str, *columns: str, where: str, on_postgresql: str | None = None, unique: bool = False
    ) -> None:
        self._conditions = {"sqlite": where, "postgresql": on_postgresql or where}
        super().__init__(name, *columns, unique=unique)

    @cached_property
    def dialect_options(self) -> Any:
        """Return the arguments of each dialect."""
        options = super().dialect_options
        for name, condition in self._conditions.items():
            options[name]["where"] = text(condition)
        return options


def make_partial_index(name: str, column: str, *, unique: bool = False) -> Index:
    """Return an index of the rows that have a value in a column; other rows cost nothing when written."""
    return PartialIndex(name, column, where=f"{column} IS NOT NULL", unique=unique)


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
# Made once: json.dumps makes an encoder for each value.
_encode: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode
_decode: Final = json.JSONDecoder().raw_decode


class Instant(TypeDecorator[datetime]):
    """A time in UTC: ``timestamptz`` on PostgreSQL, microseconds since 1970 on SQLite."""

    impl = BigInteger
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the column type of the dialect."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(DateTime(timezone=True))
        return dialect.type_descriptor(BigInteger())

    def bind_processor(self, dialect: Dialect) -> Callable[[datetime | None], Any]:
        """Return a function from a time to the value to store.

        It raises ValueError for a time without a zone, and for one that UTC does not have: it could not be
        read.
        """
        return normalize_instant if dialect.name == "postgresql" else count_microseconds

    def result_processor(self, dialect: Dialect, coltype: Any) -> Callable[[Any], datetime | None]:  # noqa: ARG002
        """Return a function from a stored value to an aware datetime in UTC."""
        return _read_datetime if dialect.name == "postgresql" else _read_microseconds


def normalize_instant(value: datetime | None) -> datetime | None:
    """Return a time in UTC; raises ValueError for one without a zone, and for one that UTC does not have."""
    if value is None or value.tzinfo is UTC:
        return value
    if value.tzinfo is None:
        raise ValueError(f"a time without a zone: {value.isoformat()}")
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"a time that UTC does not have: {value.isoformat()}") from None


def count_microseconds(value: datetime | None) -> int | None:
    """Return the microseconds from 1970 to a time; raises as `normalize_instant` does."""
    moment = normalize_instant(value)
    return None if moment is None else (moment - _EPOCH) // _MICROSECOND


def _read_datetime(value: datetime | None) -> datetime | None:
    return None if value is None else value.astimezone(UTC)


def _read_microseconds(value: int | None) -> datetime | None:
    return None if value is None else _EPOCH + timedelta(microseconds=value)


class LongTextError(ValueError):
    """A text has more octets than an index may have."""


class _UnlimitedComparator(TypeDecorator.Comparator[str], Text.Comparator[str]):
    """Compares a column with parameters of any length: a longer one than is stored is simply not found."""

    def operate(self, op: Any, *operands: Any, **options: Any) -> Any:
        """Return the expression of an operator, as the class above does."""
        if op in (operators.eq, operators.ne):
            operands = tuple(
                type_coerce(operand, Text()) if isinstance(operand, BindParameter) else operand
                for operand in operands
            )
        return super().operate(op, *operands, **options)


class IndexedText(TypeDecorator[str]):
    """A text that stands in an index: at most `max_octets` octets in UTF-8.

    An index entry of PostgreSQL has at most 2,704 octets, so the limits of all columns of one index together
    stay below that. They hold on SQLite, too, whose entries have no limit.
    """

    impl = Text
    cache_ok = True
    comparator_factory = _UnlimitedComparator

    def __init__(self, max_octets: int) -> None:
        super().__init__()
        self.max_octets = max_octets

    def bind_processor(self, dialect: Dialect) -> Callable[[str | None], str | None]:  # noqa: ARG002
        """Return a function that returns a text to store, and raises LongTextError for a longer one."""
        max_octets, surely_short = self.max_octets, self.max_octets // 4

        def check_length(value: str | None) -> str | None:
            if value is not None and len(value) > surely_short:
                _check_octets(value, max_octets)
            return value

        return check_length

    def coerce_compared_value(self, op: Any, value: Any) -> TypeEngine[Any]:  # noqa: ARG002
        """Return the type of a value that a column is compared with: a longer one is simply not found."""
        return Text()


def _check_octets(text: str, max_octets: int) -> None:
    octet_count = len(text.encode("utf-8", "surrogatepass"))
    if octet_count > max_octets:
        raise LongTextError(f"a text has {octet_count:,} octets in UTF-8; at most {max_octets:,} are stored")


#: States, kinds, digests, tokens; codes of agencies, organisations and laws.
CODE_TEXT: Final = IndexedText(128)
#: Ids and names that the register, the settings or an account give: 200 characters.
NAME_TEXT: Final = IndexedText(800)
#: Numbers and references that others give.
NUMBER_TEXT: Final = IndexedText(512)
#: Ids of messages and conversations, and addresses.
ID_TEXT: Final = IndexedText(1024)
#: Names of lanes, and labels of counts: a party and a channel, or an address, with the kind of the lane.
LANE_TEXT: Final = IndexedText(2048)


class JsonTextError(GatewayError, ValueError):
    """GW805: a text in the database that is no JSON; for who compares rows, a value that cannot be read."""


class Json(TypeDecorator[Any]):
    """A JSON value stored as text, with sorted keys and no blanks."""

    impl = Text
    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], str | None]:  # noqa: ARG002
        """Return a function from a value to the text to store."""
        return _write_json

    def result_processor(self, dialect: Dialect, coltype: Any) -> Callable[[str | None], Any]:  # noqa: ARG002
        """Return a function from a stored text to its value."""
        return _read_json


class ListedJson(Json):
    """A JSON value in a list of rows: text that is no JSON is returned as it is."""

    cache_ok = True

    def result_processor(self, dialect: Dialect, coltype: Any) -> Callable[[str | None], Any]:  # noqa: ARG002
        """Return a function from a stored text to its value, or to the text."""
        return _read_listed_json


def _read_listed_json(text: str | None) -> Any:
    try:
        return _read_json(text)
    except JsonTextError:
        return text


def _write_json(value: Any) -> str | None:
    return None if value is None else _encode(value)


def _read_json(text: str | None) -> Any:
    """Return the value of a JSON text (None: None); raise GW805 if it is malformed."""
    if text is None:
        return None
    try:
        value, end = _decode(text)
    except (ValueError, RecursionError):
        end = -1
    # Text that `_write_json` has stored has no blanks around it.
    return value if end == len(text) else _read_changed_json(text)


def _read_changed_json(text: str) -> Any:
    """Return the value of a JSON text that `_write_json` has not stored; raise GW805 if it is malformed."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as mistake:
        detail = f"a value in the database is no JSON: {mistake}"
        raise JsonTextError(EVIDENCE_BROKEN, detail[:160], "database.url") from None


def read_columns(row: object) -> dict[str, Any]:
    """Return the values of a row that a function of the store has returned, by the names of its columns."""
    return dict(cast("Row[Any]", row)._mapping)


def collect_values(new: DataclassInstance) -> dict[str, Any]:
    """Return the values of a dataclass instance by field name; unlike `asdict`, values are not copied."""
    names, read = _get_fields(type(new))
    return dict(zip(names, read(new), strict=True))


@cache
def _get_fields(kind: type[DataclassInstance]) -> tuple[tuple[str, ...], Callable[[object], tuple[Any, ...]]]:
    """Return the field names of a dataclass with at least two fields, and a function that reads them all."""
    names = tuple(kind.__dataclass_fields__)
    return names, attrgetter(*names)
