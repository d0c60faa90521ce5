"""Grows a database: a few cases are played in full, then their rows are copied as often as wanted.

Every copy has rows of its own in all tables that a case grows: message, case, applications, notices,
decisions, deliveries, transitions. Ids, numbers and references are new, with valid check signs; times go
back by half a minute a case, so that a million cases span a year. Octets (`payloads`) are shared, and
evidence is not copied: its leaves are a chain.

Run it as ``python -m tests.load.growth URL CASES``.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    bindparam,
    cast,
    func,
    insert,
    literal,
    or_,
    select,
    text,
)
from sqlalchemy.sql import ColumnElement

from gateway.cases import make_application_number, make_case_number
from gateway.cases.agency_notices import DecisionCode
from gateway.store import agency_requests, cases, payloads, read_transaction, write_transaction
from gateway.store.column_types import Instant
from gateway.store.engine import make_engine
from gateway.store.tables import metadata
from tests.flows.craft import reference as name_reference
from tests.kit.story import Story, asked

__all__ = ["grow_database"]

#: One case in so many waits for a decision, and one for the applicant; the others are closed.
OPEN_EVERY, ASKED_EVERY = 50, 100
#: The parties among whom the copies of one declarant are spread; half of them stay with the declarant.
PARTIES: Final = 1000
PACE: Final = timedelta(seconds=30)
#: Rows of a table belong to a case by one of these columns, or by one that refers to such a row.
_OWNERS: Final = {"case_id": "cases", "request_id": "agency_requests"}
_MACHINES: Final = {"case": "cases", "request": "agency_requests"}
#: Octets of messages, which copies share: they refer to those of the sample by digest.
_SHARED: Final = {"parcel"}
_SKIPPED: Final = {"evidence", "audit", "refusals", "events", "event_readers"}


@dataclass
class Sample:
    """A case that was played: its rows by table, and its numbers with the makers of others."""

    case: int
    message: int
    number: str
    applications: tuple[str, ...]
    year: int
    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    @property
    def numbers(self) -> tuple[str, ...]:
        """The number of the case, then those of its applications."""
        return (self.number, *self.applications)

    def make_numbers(self, message: int) -> list[str]:
        """Return the numbers as another message would give them."""
        made = [make_case_number(message, self.year)]
        return made + [
            make_application_number(message, self.year, one + 1) for one in range(len(self.applications))
        ]


def grow_database(engine: Engine, wanted: int) -> Story:
    """Fill an empty, migrated database with so many cases; return the story that played the first three."""
    story = Story(engine)
    samples = _play_cases(story)
    with read_transaction(engine) as conn:
        steps = _measure_steps(conn)
        for sample in samples:
            _read_rows(conn, sample)
    _share_parcels(engine, samples)
    growth = _make_growth_table(engine, samples, steps, wanted)
    for sample in samples:
        for name, rows in sample.rows.items():
            with write_transaction(engine) as conn:
                for row in rows:
                    _copy_row(conn, growth, metadata.tables[name], row, sample, steps)
    _finish_database(engine, growth)
    return story


def _play_cases(story: Story) -> list[Sample]:
    """Play a case that is closed, one that waits for decisions, and one that waits for the applicant."""
    played = []
    for reference in ("closed", "open", "asked"):
        story.submit(story.submission(name_reference(f"GROWN-{reference}")))
        story.tick(seconds=1)
        case = story.case()
        if reference == "closed":
            story.decide("KPTA", DecisionCode.REJECTED)
            story.decide_all("KPTA")
        elif reference == "asked":
            story.hear("KPTA", asked(story, "KPTA", "N9"))
        story.soap.calls.clear()
        story.tick(seconds=1)
        played.append(_describe_case(story.house.engine, case.id))
    return played


def _describe_case(engine: Engine, case: int) -> Sample:
    with read_transaction(engine) as conn:
        row = cases.find_by_id(conn, case)
        assert row is not None
        asked_of = agency_requests.list_by_case(conn, case)
    numbers = tuple(one.number for one in sorted(asked_of, key=lambda one: one.number))
    return Sample(case, row.message, row.number, numbers, row.opened_at.year)


def _measure_steps(conn: Connection) -> dict[str, int]:
    """Return, for each table with ids, by how much the ids of the next copy are higher."""
    found = {}
    for table in metadata.sorted_tables:
        if "id" in table.c and isinstance(table.c.id.type, BigInteger):
            found[table.name] = (conn.execute(select(func.max(table.c.id))).scalar() or 0) + 1
    return found


def _read_rows(conn: Connection, sample: Sample) -> None:
    """Read the rows that belong to a case, table by table in the order of their references."""
    ids: dict[str, set[int]] = {"cases": {sample.case}, "messages": {sample.message}}
    for table in metadata.sorted_tables:
        owned = list(_list_owned(table, ids))
        if table.name in _SKIPPED or not owned:
            continue
        rows = [dict(row) for row in conn.execute(select(table).where(or_(*owned))).mappings()]
        if rows:
            sample.rows[table.name] = rows
            if "id" in table.c:
                ids.setdefault(table.name, set()).update(row["id"] for row in rows)


def _share_parcels(engine: Engine, samples: list[Sample]) -> None:
    """Store the parcels of the samples apart from their rows, so that copies can refer to them."""
    with write_transaction(engine) as conn:
        for row in (row for sample in samples for row in sample.rows["messages"]):
            if row["parcel"] is not None:
                payloads.store_payload(conn, row["parcel"], row["received_at"])


def _list_owned(table: Table, ids: dict[str, set[int]]) -> Iterator[ColumnElement[bool]]:
    """Yield the conditions by which rows of a table belong to the rows found so far."""
    if table.name in ids:
        yield table.c.id.in_(ids[table.name])
    if "machine" in table.c and "object_id" in table.c:
        for word, target in _MACHINES.items():
            yield (table.c.machine == word) & table.c.object_id.in_(ids.get(target, set()))
    for column in table.c:
        target = _find_target(column)
        if target in ids and column.name != "superseded_by":
            yield column.in_(ids[target])


def _find_target(column: Column[Any]) -> str:
    """Return the table whose id a column contains, as far as it is one of those that grow."""
    for key in column.foreign_keys:
        if key.column.name == "id":
            return str(key.column.table.name)
    return _OWNERS.get(column.name, "")


def _make_growth_table(engine: Engine, samples: list[Sample], steps: dict[str, int], wanted: int) -> Table:
    """Store which case each copy repeats, and its numbers."""
    most = max(len(sample.numbers) for sample in samples)
    columns = [Column(f"number_{place}", Text) for place in range(most)]
    growth = Table(
        "growth", MetaData(), Column("k", Integer, primary_key=True), Column("sample", Integer), *columns
    )
    growth.create(engine)
    row = insert(growth).values({name: bindparam(name) for name in growth.c.keys()})  # noqa: SIM118
    for first in range(1, wanted - 2, 20_000):
        with write_transaction(engine) as conn:
            made = [
                _describe_copy(k, samples, steps, most) for k in range(first, min(first + 20_000, wanted - 2))
            ]
            conn.execute(row, made)
    return growth


def _describe_copy(k: int, samples: list[Sample], steps: dict[str, int], most: int) -> dict[str, Any]:
    closed, waiting, asking = samples
    sample = asking if k % ASKED_EVERY == 1 else waiting if k % OPEN_EVERY == 2 else closed
    numbers = sample.make_numbers(sample.message + k * steps["messages"])
    numbers += [""] * (most - len(numbers))
    return {"k": k, "sample": sample.case} | {
        f"number_{place}": number for place, number in enumerate(numbers)
    }


def _copy_row(
    conn: Connection, growth: Table, table: Table, row: dict[str, Any], sample: Sample, steps: dict[str, int]
) -> None:
    """Insert the copies of one row, all in one statement."""
    change = RowCopy(growth, table, row, sample, steps, conn.dialect.name == "postgresql")
    values = [change.write_value(column) for column in table.c]
    chosen = select(*values).where(growth.c.sample == sample.case)
    conn.execute(insert(table).from_select([column.name for column in table.c], chosen))


@dataclass
class RowCopy:
    """One row of a sample, and how each of its values looks in copy `k`."""

    growth: Table
    table: Table
    row: dict[str, Any]
    sample: Sample
    steps: dict[str, int]
    postgresql: bool

    def write_value(self, column: Column[Any]) -> ColumnElement[Any]:
        """Return the value of a column in copy `k`, as an expression of SQL."""
        value = self.row[column.name]
        if value is None or column.name in _SHARED:
            return cast(literal(None), column.type)
        target = self._find_target(column)
        if target in self.sample.rows:
            return literal(value, BigInteger) + self.growth.c.k * self.steps[target]
        if isinstance(value, datetime):
            return self._write_time(value)
        if isinstance(column.type, Text) and isinstance(value, str):
            return self._write_text(column, value)
        return cast(literal(value, column.type), column.type)

    def _find_target(self, column: Column[Any]) -> str:
        if column.name == "id":
            return self.table.name
        if column.name == "object_id" and "machine" in self.row:
            return _MACHINES[self.row["machine"]]
        return _find_target(column)

    def _write_time(self, value: datetime) -> ColumnElement[Any]:
        if self.postgresql:
            return literal(value, Instant) - self.growth.c.k * text(
                f"interval '{int(PACE.total_seconds())} seconds'"
            )
        stored = Instant().process_bind_param(value, _SQLITE)
        return literal(stored, BigInteger) - self.growth.c.k * int(PACE.total_seconds() * 1_000_000)

    def _write_text(self, column: Column[Any], value: str) -> ColumnElement[Any]:
        k = cast(self.growth.c.k, Text)
        for place, number in enumerate(self.sample.numbers):
            if number in value:
                before, after = value.split(number, 1)
                return literal(before) + self.growth.c[f"number_{place}"] + literal(after)
        if value == "broker1":
            spread = literal("party") + cast(self.growth.c.k % PARTIES, Text)
            return func.coalesce(func.nullif(spread, literal("party0")), literal(value))
        if not self._must_differ(column):
            return literal(value)
        name, sign, host = value.rpartition("@")
        return literal(name + ".") + k + literal(sign + host) if sign else literal(value + ".") + k

    def _must_differ(self, column: Column[Any]) -> bool:
        """Return whether copies have another value: it is unique, or refers to one that is."""
        if column.foreign_keys or column.name in _FIXED:
            return False
        named = column.name in {"conversation_id", "ref_to_message_id", "wire_id", "subject_id"}
        named = named or (self.table.name, column.name) == ("decisions", "number")
        unique = any(
            column.name in one.columns
            for one in self.table.constraints
            if isinstance(one, UniqueConstraint) or one is self.table.primary_key
        )
        return named or unique


#: Parts of unique keys that are names of few things.
_FIXED: Final = {"agency", "from_party", "direction", "scheme", "declarant", "law", "authority"}


class _Sqlite:
    name = "sqlite"


_SQLITE: Any = _Sqlite()


def _finish_database(engine: Engine, growth: Table) -> None:
    """Let the numbers of the next rows follow the copies, and let the planner know the tables."""
    with write_transaction(engine) as conn:
        if engine.dialect.name == "postgresql":
            for table in metadata.sorted_tables:
                if "id" in table.c and isinstance(table.c.id.type, BigInteger):
                    sequence = f"pg_get_serial_sequence('{table.name}', 'id')"
                    highest = f"GREATEST((SELECT max(id) FROM {table.name}), 1)"
                    conn.execute(text(f"SELECT setval({sequence}, {highest})"))
        growth.drop(conn)
    with engine.connect() as conn:
        conn.execution_options(isolation_level="AUTOCOMMIT").execute(text("ANALYZE"))


def main(arguments: list[str]) -> int:
    """Grow the migrated, empty database at a URL."""
    url, wanted = arguments
    began = time.monotonic()
    engine = make_engine(url)
    grow_database(engine, int(wanted))
    print(f"{wanted} cases in {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
