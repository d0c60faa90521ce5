"""Grows a database: a few cases are played in full, then their rows are copied as often as wanted.

Every copy has rows of its own in all tables that a case grows: message, case, applications, notices,
decisions, deliveries, transitions. Ids, numbers and references are new, with valid check signs; times go
back by half a minute a case, so that a million cases span a year. Octets (`payloads`) are shared, and
the logs are not copied.

A `whole` extent has everything that the hub leaves behind, as it is after retention: also the logs
(transitions, evidence, events), and octets that have digests of their own and are removed; messages to a
mailbox; parties with certificates; the documents of all agencies. Only the tree over the copied leaves is
not that of their hashes.

Run it as ``python -m tests.load.growth URL CASES [MESSAGES]``; with a number of messages it is whole.
"""

from __future__ import annotations

import hashlib
import re
import sqlite3
import sys
import time
from collections.abc import Iterator, Sequence
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
    cast,
    create_engine,
    func,
    insert,
    literal,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.sql import ColumnElement

from gateway.cases import DecisionCode, make_application_number, make_case_number
from gateway.evidence.merkle_tree import MerkleTree
from gateway.evidence.tree_heads import make_next_head, store_head
from gateway.store import agency_requests, cases, make_engine, payloads, read_transaction, write_transaction
from gateway.store.table_types import Instant, count_microseconds
from gateway.store.tables import metadata
from tests.flows.craft import reference as name_reference
from tests.kit.house import bundle, signer_named
from tests.kit.story import AGENCIES, Story, asked
from tests.load.bulk_rows import insert_many, without_indexes
from tests.load.stopwatch import say

__all__ = ["Extent", "grow_database"]

#: One case in so many waits for a decision, and one for the applicant; the others are closed.
OPEN_EVERY, ASKED_EVERY = 50, 100
#: The parties among whom the copies of one declarant are spread; half of them stay with the declarant.
PARTIES: Final = 1000
PACE: Final = timedelta(seconds=30)
#: Copies of one statement: the rows of one period lie together, as those that the hub writes do.
_PERIOD: Final = 20_000
#: Rows of a table belong to a case by one of these columns, or by one that refers to such a row.
_OWNERS: Final = {"case_id": "cases", "request_id": "agency_requests"}
_MACHINES: Final = {
    "case": "cases",
    "request": "agency_requests",
    "message": "messages",
    "delivery": "deliveries",
    "notice": "notices",
}
#: The columns that name a machine, and those with the id of its object.
_NAMING: Final = {"machine": "object_id", "subject_type": "subject_id"}
#: Octets of messages, which copies share: they refer to those of the sample by digest.
_SHARED: Final = {"parcel"}
#: Read after the rows that they are about; only a whole extent has copies of most.
_LOGS: Final = ("transitions", "evidence", "events", "event_readers", "counted_outcomes", "payloads")
_SKIPPED: Final = {"audit", "refusals", "seals", "time_stamps"}
_DIGEST: Final = re.compile("[0-9a-f]{64}")
#: Numbers that are counted from 1 on, beside the ids, and the table that counts them.
_COUNTED: Final = {"seq": "evidence.seq", "sequence": "events.sequence"}


@dataclass(frozen=True)
class Extent:
    """How much a database is to hold: cases, messages of all kinds, parties; `whole` as the module says."""

    cases: int
    messages: int = 0
    parties: int = PARTIES
    whole: bool = False


@dataclass
class Sample:
    """A case or a message that was played: its rows by table, and its numbers with the makers of others."""

    message: int
    case: int = 0
    number: str = ""
    applications: tuple[str, ...] = ()
    year: int = 0
    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    @property
    def numbers(self) -> tuple[str, ...]:
        """The number of the case, then those of its applications."""
        return (self.number, *self.applications) if self.case else ()

    def make_numbers(self, message: int) -> list[str]:
        """Return the numbers as another message would give them."""
        if not self.case:
            return []
        made = [make_case_number(message, self.year)]
        return made + [
            make_application_number(message, self.year, one + 1) for one in range(len(self.applications))
        ]


def grow_database(engine: Engine, wanted: int | Extent) -> Story:
    """Fill an empty, migrated database with so many cases; return the story that played the first three."""
    extent = wanted if isinstance(wanted, Extent) else Extent(wanted)
    story = Story(engine)
    if extent.whole:
        _register_parties(engine, story, extent.parties)
    samples = _play_cases(story)
    if extent.whole:
        samples.append(_play_letter(story))
        with write_transaction(engine) as conn:
            head = make_next_head(conn, "hub", story.clock())
            assert head is not None
            store_head(conn, head)
    with read_transaction(engine) as conn:
        steps = _measure_steps(conn)
        for sample in samples:
            _read_rows(conn, sample, whole=extent.whole)
    if not extent.whole:
        _share_parcels(engine, samples)
    Growing(engine, samples, steps, extent).grow()
    return story


def _register_parties(engine: Engine, story: Story, number: int) -> None:
    """Register so many applicants, each with an identifier and a certificate."""
    der = signer_named("broker1").certificate.der
    with write_transaction(engine) as conn:
        for name in ("parties", "party_ids", "certificates"):
            table = metadata.tables[name]
            mine = table.c.id if name == "parties" else table.c.party_id
            like = conn.execute(select(table).where(mine == "broker1")).mappings().first()
            assert like is not None
            others = []
            for k in range(1, number):
                told = {mine.name: f"party{k}", "value": f"party{k}", "name": f"Party {k}"}
                told["sha256"] = hashlib.sha256(der + b"%d" % k).hexdigest()
                others.append(dict(like) | {key: told[key] for key in told if key in table.c})
            if others:
                conn.execute(insert(table), others)


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


def _play_letter(story: Story) -> Sample:
    """Play a message that ends in a mailbox."""
    story.house.post(story.broker.seal(story.broker.message()))
    story.tick(seconds=1)
    with read_transaction(story.house.engine) as conn:
        return Sample(int(conn.execute(select(func.max(metadata.tables["messages"].c.id))).scalar_one()))


def _describe_case(engine: Engine, case: int) -> Sample:
    with read_transaction(engine) as conn:
        row = cases.find_by_id(conn, case)
        assert row is not None
        asked_of = agency_requests.list_by_case(conn, case)
    numbers = tuple(one.number for one in sorted(asked_of, key=lambda one: one.number))
    return Sample(row.message, case, row.number, numbers, row.opened_at.year)


def _measure_steps(conn: Connection) -> dict[str, int]:
    """Return, for each table with ids, by how much the ids of the next copy are higher."""
    found = {}
    for table in metadata.sorted_tables:
        if "id" in table.c and isinstance(table.c.id.type, BigInteger):
            found[table.name] = (conn.execute(select(func.max(table.c.id))).scalar() or 0) + 1
    for column, name in _COUNTED.items():
        table = metadata.tables[name.partition(".")[0]]
        found[name] = conn.execute(select(func.max(table.c[column]))).scalar() or 0
    return found


def _read_rows(conn: Connection, sample: Sample, *, whole: bool) -> None:
    """Read the rows that belong to a case, table by table in the order of their references."""
    ids: dict[str, set[int]] = {"cases": {sample.case} - {0}, "messages": {sample.message}}
    tables = [one for one in metadata.sorted_tables if one.name not in {*_SKIPPED, *_LOGS}]
    if whole:
        tables += [metadata.tables[name] for name in _LOGS]
    for table in tables:
        owned = list(_list_owned(table, ids, sample))
        if not owned:
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


def _list_owned(table: Table, ids: dict[str, set[int]], sample: Sample) -> Iterator[ColumnElement[bool]]:
    """Yield the conditions by which rows of a table belong to the rows found so far."""
    if table.name in ids:
        yield table.c.id.in_(ids[table.name])
    if table.name == "payloads":
        values = (value for rows in sample.rows.values() for row in rows for value in row.values())
        yield table.c.sha256.in_({one for one in values if isinstance(one, str) and _DIGEST.fullmatch(one)})
    if table.name == "event_readers":
        yield table.c.sequence.in_([row["sequence"] for row in sample.rows.get("events", ())])
    for naming, named in _NAMING.items():
        if naming in table.c and named in table.c:
            for word, target in _MACHINES.items():
                of_it = [cast(literal(one), table.c[named].type) for one in ids.get(target, ())]
                yield (table.c[naming] == word) & table.c[named].in_(of_it)
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


@dataclass
class Growing:
    """The copies of a few samples in one database."""

    engine: Engine
    samples: list[Sample]
    steps: dict[str, int]
    extent: Extent

    def grow(self) -> None:
        """Insert all copies, in one transaction without indexes; the planner knows the tables afterwards."""
        names = list(dict.fromkeys(name for sample in self.samples for name in sample.rows))
        plain = create_engine(self.engine.url)
        with plain.begin() as conn:
            if conn.dialect.name == "sqlite":
                driver = conn.connection.driver_connection
                assert isinstance(driver, sqlite3.Connection)
                driver.create_function("digest_of", 1, _compute_digest, deterministic=True)
            else:
                conn.exec_driver_sql("SET LOCAL maintenance_work_mem = '512MB'")
            growth = self._make_growth_table(conn)
            with without_indexes(conn, names):
                for first in range(1, self._last + 1, _PERIOD):
                    self._copy_period(conn, growth, first)
                    say(f"{min(first + _PERIOD, self._last)} copies of {self._last}")
            self._finish(conn, growth)
        with plain.connect() as conn:
            conn.execution_options(isolation_level="AUTOCOMMIT").execute(text("ANALYZE"))
        plain.dispose()

    @property
    def _cases(self) -> int:
        return max(self.extent.cases - 3, 0)

    @property
    def _last(self) -> int:
        """The number of the last copy: those of cases come first, then those of letters."""
        messages = sum(self._count_messages(k) for k in range(1, 101)) * self._cases // 100
        return self._cases + max(self.extent.messages - messages, 0)

    def _count_messages(self, k: int) -> int:
        return len(self._choose_sample(k).rows["messages"])

    def _choose_sample(self, k: int) -> Sample:
        closed, waiting, asking, *letters = self.samples
        if k > self._cases:
            return letters[0]
        return asking if k % ASKED_EVERY == 1 else waiting if k % OPEN_EVERY == 2 else closed

    def _make_growth_table(self, conn: Connection) -> Table:
        """Store which sample each copy repeats, its numbers, and the documents that it applies for."""
        most = max(len(sample.numbers) for sample in self.samples)
        columns = [Column(f"number_{place}", Text) for place in range(most)]
        for place in range(len(AGENCIES)):
            columns += [Column(f"agency_{place}", Text), Column(f"document_{place}", Text)]
        growth = Table(
            "growth", MetaData(), Column("k", Integer, primary_key=True), Column("sample", Integer), *columns
        )
        growth.create(conn)
        documents = _list_documents()
        for first in range(1, self._cases + 1, _PERIOD):
            period = range(first, min(first + _PERIOD, self._cases + 1))
            insert_many(conn, growth, [self._describe_copy(k, most, documents) for k in period])
        self._add_letters(conn, growth)
        conn.exec_driver_sql("ANALYZE growth")
        return growth

    def _add_letters(self, conn: Connection, growth: Table) -> None:
        """Add the copies of letters, which have no numbers."""
        first, last = self._cases + 1, self._last
        if last < first:
            return
        series = f"SELECT k FROM generate_series({first}, {last}) AS t (k)"
        if conn.dialect.name == "sqlite":
            steps = f"SELECT {first} UNION ALL SELECT k + 1 FROM t WHERE k < {last}"
            series = f"WITH RECURSIVE t (k) AS ({steps}) SELECT k FROM t"
        conn.exec_driver_sql(
            f"INSERT INTO growth (k, sample) SELECT k, {len(self.samples) - 1} FROM ({series}) AS s"
        )

    def _describe_copy(self, k: int, most: int, documents: Sequence[tuple[str, str]]) -> dict[str, Any]:
        sample = self._choose_sample(k)
        numbers = sample.make_numbers(sample.message + k * self.steps["messages"])
        numbers += [""] * (most - len(numbers))
        told: dict[str, Any] = {f"number_{place}": number for place, number in enumerate(numbers)}
        for place, own in enumerate(AGENCIES):
            agency, document = documents[(k + place) % len(documents)] if self.extent.whole else (own, "")
            told |= {f"agency_{place}": agency, f"document_{place}": document}
        return {"k": k, "sample": self.samples.index(sample)} | told

    def _copy_period(self, conn: Connection, growth: Table, first: int) -> None:
        period = growth.c.k.between(first, first + _PERIOD - 1)
        for place, sample in enumerate(self.samples):
            chosen = (growth.c.sample == place) & period
            if not conn.execute(select(growth.c.k).where(chosen).limit(1)).first():
                continue
            for name, rows in sample.rows.items():
                for row in rows:
                    self._copy_row(conn, growth, metadata.tables[name], row, sample, chosen)

    def _copy_row(
        self,
        conn: Connection,
        growth: Table,
        table: Table,
        row: dict[str, Any],
        sample: Sample,
        chosen: ColumnElement[bool],
    ) -> None:
        """Insert the copies of one row, all in one statement."""
        change = RowCopy(
            growth,
            table,
            row,
            sample,
            self.steps,
            conn.dialect.name == "postgresql",
            whole=self.extent.whole,
            parties=self.extent.parties,
        )
        values = [change.write_value(column) for column in table.c]
        copies = select(*values).where(chosen)
        conn.execute(insert(table).from_select([column.name for column in table.c], copies))

    def _finish(self, conn: Connection, growth: Table) -> None:
        """Let the numbers of the next rows follow the copies, and the next tree head its predecessor."""
        if conn.dialect.name == "postgresql":
            for table in metadata.sorted_tables:
                if "id" in table.c and isinstance(table.c.id.type, BigInteger):
                    sequence = f"pg_get_serial_sequence('{table.name}', 'id')"
                    highest = f"GREATEST((SELECT max(id) FROM {table.name}), 1)"
                    conn.execute(text(f"SELECT setval({sequence}, {highest})"))
        if self.extent.whole:
            _add_tree_heads(conn)
            _add_lanes(conn)
            _advance_readers(conn)
        growth.drop(conn)


def _add_tree_heads(conn: Connection) -> None:
    """Store as many heads as a tree of so many leaves has, one for a thousand leaves."""
    seals, leaf = metadata.tables["seals"], metadata.tables["evidence"]
    last = int(conn.execute(select(func.max(leaf.c.seq))).scalar_one())
    head = dict(conn.execute(select(seals).order_by(seals.c.id)).mappings().first() or {})
    start = int(head.pop("last_seq"))
    del head["id"]
    ends = [*range(start + 1000, last, 1000), last]
    rows = []
    for first, end in zip([start, *ends], ends, strict=False):
        peaks = tuple(hashlib.sha256(b"%d" % one).digest() for one in range(end.bit_count()))
        tree = MerkleTree(end, peaks)
        told = {"peaks": [one.hex() for one in peaks], "root_hash": tree.root_hash.hex()}
        rows.append(head | told | {"first_seq": first + 1, "last_seq": end})
    conn.execute(insert(seals), rows)


def _advance_readers(conn: Connection) -> None:
    """Let those who read logs go on after the copies: the feed of events, and the statistics."""
    epochs, events = metadata.tables["epochs"], metadata.tables["events"]
    given = select(func.max(events.c.sequence)).scalar_subquery()
    conn.execute(update(epochs).where(epochs.c.name == "events").values(value=given))
    progress, log = metadata.tables["statistics_progress"], metadata.tables["transitions"]
    last = select(func.max(log.c.id)).scalar_subquery()
    conn.execute(update(progress).values(transition=last, ceiling=last, horizon=0))


def _add_lanes(conn: Connection) -> None:
    lanes = metadata.tables["lanes"]
    known = set(conn.execute(select(lanes.c.name)).scalars())
    new = sorted({agency for agency, _ in _list_documents()} - known)
    conn.execute(insert(lanes), [{"name": name} for name in new])


def _list_documents() -> list[tuple[str, str]]:
    """Return all documents with their agencies, so that those beside each other are of different agencies."""
    by_agency: dict[str, list[str]] = {}
    for name, one in bundle().documents.items():
        by_agency.setdefault(one.organisation, []).append(name)
    longest = max(map(len, by_agency.values()))
    turns = (
        (agency, names[turn % len(names)]) for turn in range(longest) for agency, names in by_agency.items()
    )
    return list(turns)


def _compute_digest(words: str) -> str:
    return hashlib.sha256(words.encode()).hexdigest()


@dataclass
class RowCopy:
    """One row of a sample, and how each of its values looks in copy `k`."""

    growth: Table
    table: Table
    row: dict[str, Any]
    sample: Sample
    steps: dict[str, int]
    postgresql: bool
    whole: bool = False
    parties: int = PARTIES

    def write_value(self, column: Column[Any]) -> ColumnElement[Any]:
        """Return the value of a column in copy `k`, as an expression of SQL."""
        value = self.row[column.name]
        if self.whole and self._is_removed(column):
            return self._write_removed(column)
        if value is None or column.name in _SHARED:
            return cast(literal(None), column.type)
        target = self._find_target(column)
        if target in self.sample.rows:
            number = literal(int(value), BigInteger) + self.growth.c.k * self.steps[target]
            return number if isinstance(column.type, BigInteger) else cast(number, column.type)
        if column.name in _COUNTED:
            return literal(value, BigInteger) + self.growth.c.k * self.steps[_COUNTED[column.name]]
        if isinstance(value, datetime):
            return self._write_time(value)
        if isinstance(column.type, Text) and isinstance(value, str):
            return self._write_text(column, value)
        return cast(literal(value, column.type), column.type)

    def _is_removed(self, column: Column[Any]) -> bool:
        """Return whether retention removes the value of a column, or says there when it did so."""
        if column.name == "purged_at":
            state = self.sample.rows["cases"][0]["state"] if self.sample.case else "CLOSED"
            return self.table.name == "payloads" or state == "CLOSED"
        return (self.table.name, column.name) in {("payloads", "content"), ("messages", "answer_body")}

    def _write_removed(self, column: Column[Any]) -> ColumnElement[Any]:
        if column.name == "purged_at":
            moment = next(value for value in self.row.values() if isinstance(value, datetime))
            return self._write_time(moment)
        return literal(b"", column.type) if not column.nullable else cast(literal(None), column.type)

    def _find_target(self, column: Column[Any]) -> str:
        if column.name == "id":
            return self.table.name
        for naming, named in _NAMING.items():
            if column.name == named and naming in self.row:
                return _MACHINES.get(self.row[naming], "")
        return _find_target(column)

    def _write_time(self, value: datetime) -> ColumnElement[Any]:
        if self.postgresql:
            return literal(value, Instant) - self.growth.c.k * text(
                f"interval '{int(PACE.total_seconds())} seconds'"
            )
        stored = count_microseconds(value)
        return literal(stored, BigInteger) - self.growth.c.k * int(PACE.total_seconds() * 1_000_000)

    def _write_text(self, column: Column[Any], value: str) -> ColumnElement[Any]:
        k = cast(self.growth.c.k, Text)
        if self.whole and _DIGEST.fullmatch(value) and column.name not in _CONSTANT:
            return self._write_digest(value, k)
        for place, number in enumerate(self.sample.numbers):
            if number in value:
                before, after = value.split(number, 1)
                return literal(before) + self.growth.c[f"number_{place}"] + literal(after)
        if self.whole and (other := self._find_replacement(value)) is not None:
            return other
        if value == "broker1":
            spread = literal("party") + cast(self.growth.c.k % self.parties, Text)
            return func.coalesce(func.nullif(spread, literal("party0")), literal(value))
        if not self._must_differ(column):
            return literal(value)
        name, sign, host = value.rpartition("@")
        return literal(name + ".") + k + literal(sign + host) if sign else literal(value + ".") + k

    def _write_digest(self, value: str, k: ColumnElement[Any]) -> ColumnElement[Any]:
        if self.postgresql:
            return func.encode(func.sha256(func.convert_to(literal(value) + k, "UTF8")), "hex")
        return func.digest_of(literal(value) + k)

    def _find_replacement(self, value: str) -> ColumnElement[Any] | None:
        """Return the agency or the document of this copy where the value is one of the sample."""
        for place, agency in enumerate(AGENCIES):
            if value == agency:
                return self.growth.c[f"agency_{place}"]
            if value in {
                row["document"]
                for row in self.sample.rows.get("agency_requests", ())
                if row["agency"] == agency
            }:
                return self.growth.c[f"document_{place}"]
        return None

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
#: Digests that are the same in every copy: of mappings and of keys.
_CONSTANT: Final = {"mapping_sha256", "signer_sha256"}
_FIXED: Final = {"agency", "from_party", "direction", "scheme", "declarant", "law", "authority"}


def main(arguments: list[str]) -> int:
    """Grow the migrated, empty database at a URL."""
    url, wanted, *messages = arguments
    began = time.monotonic()
    engine = make_engine(url)
    extent = Extent(int(wanted))
    if messages:
        extent = Extent(int(wanted), int(messages[0]), parties=10_000, whole=True)
    grow_database(engine, extent)
    print(f"{wanted} cases in {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
