"""What a message and a case cost in a grown database and in an empty one, by turns.

``python -m tests.load.growth_cost [--database URL] [--cases N] [--messages N]`` fills an empty database,
SQLite by default, and prints JSON. Processor time is that of this process, which plays the partners, too,
and that of the database server as far as it runs on this machine. With ``--filled`` the database is filled.

Every statement of what is measured is explained on the grown database: none reads a table of more than
`_LARGE` rows from its beginning to its end.
"""

from __future__ import annotations

import argparse
import json
import re
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, event, func, select, text, update

from gateway.cases import DecisionCode
from gateway.cli.registration import register_certificate
from gateway.monitor import health, metrics
from gateway.store import (
    cases,
    deliveries,
    lanes,
    make_engine,
    migrate_schema,
    octet_removal,
    read_transaction,
    refusal_counts,
    state_counts,
    write_transaction,
)
from gateway.store.tables import metadata
from tests.flows.craft import reference as name_reference
from tests.kit.house import signer_named
from tests.kit.story import AGENCIES, Story
from tests.load.case_price import read_server_cpu
from tests.load.growth import Extent, grow_database
from tests.load.stopwatch import machine, own_cpu, say

#: Rows above which a table is not read from its beginning to its end.
_LARGE: Final = 10_000
#: Ids and times of what is measured are far beyond those of the copies.
_FIRST: Final = 10**9
#: How long no deadline of a filled case ends: longer than what is measured plays.
_LATER: Final = timedelta(days=90)
#: What the triggers count of each measure: label, state and number of its rows.
_COUNTED: Final = {
    "messages": "direction, state, COUNT(*) FROM messages",
    "cases": "COALESCE(outcome, ''), state, COUNT(*) FROM cases",
    "requests": "agency, state, COUNT(*) FROM agency_requests",
    "deliveries": "COALESCE(lane, ''), state, COUNT(*) FROM deliveries",
    "problems": "problem, state, COUNT(*) FROM deliveries "
    "WHERE problem IS NOT NULL AND state NOT IN ('DELIVERED', 'CANCELLED')",
}
_VALUE: Final = re.compile(r"'[^']*'|\b\d+\b")
_SCAN: Final = re.compile(r"(?:Seq Scan on|SCAN) (\w+)(.*)")


@dataclass
class Side:
    """One of the databases, with a story on it, and what was measured there."""

    name: str
    story: Story
    statements: list[tuple[str, Any]] = field(default_factory=list)
    found: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    played: int = 0
    #: Whether statements are noted: on PostgreSQL they go another way then, so nothing is timed meanwhile.
    notes: bool = False
    run: int = field(default_factory=lambda: int(time.time()))

    @property
    def engine(self) -> Engine:
        """The engine of the hub."""
        return self.story.house.engine

    def measure(self, what: str, act: Callable[[], object]) -> None:
        """Do it once more, and keep processor time, seconds and statements."""
        before, number = read_server_cpu(self.engine, everybody=False), self._count_statements()
        own, wall = own_cpu(), time.perf_counter()
        act()
        wall, own = time.perf_counter() - wall, own_cpu() - own
        after = read_server_cpu(self.engine, everybody=False)
        told = {"cpu_ms": own * 1000, "wall_ms": wall * 1000}
        if self.notes:
            told["statements"] = self._count_statements() - number
        if before is not None and after is not None:
            told["server_ms"] = (after - before) * 1000
        for name, value in told.items():
            self.found.setdefault(what, {}).setdefault(name, []).append(float(value))

    def _count_statements(self) -> int:
        if self.engine.dialect.name == "sqlite":
            # What triggers do, and the ends of transactions, are no statements of ours.
            self.statements += [one for one in _executed if _is_question(one[0])]
            _executed.clear()
        return len(self.statements)

    def receive(self) -> None:
        """Hand in one message for a mailbox."""
        parcel = self.story.broker.seal(self.story.broker.message())
        self.measure("receive", lambda: self.story.house.post(parcel))

    def play_case(self) -> None:
        """Play one case from its submission to its Result."""
        self.played += 1
        name = f"COST-{self.run}-{self.played}"
        root = self.story.submission(name_reference(name))

        def play() -> None:
            self.story.submit(root)
            self.story.tick(seconds=1)
            for agency in AGENCIES:
                code = DecisionCode.REJECTED if agency == "KPTA" else DecisionCode.APPROVED
                self.story.decide(agency, code, number=f"{name}-{agency}")
            self.story.tick(seconds=1)

        self.measure("case", play)
        assert self.story.case().state == "CLOSED", self.story.case()
        self.story.soap.calls.clear()
        self.story.inbox.got.clear()

    def look(self) -> None:
        """Ask what monitoring, operators and upkeep ask."""
        hub, now = self.story.hub, self.story.clock()
        ago = now - timedelta(hours=1)

        def ask(what: Callable[[Connection], object]) -> Callable[[], object]:
            def act() -> None:
                with read_transaction(self.engine) as conn:
                    what(conn)

            return act

        self.measure("metrics", lambda: metrics.render_metrics(self.engine, now))
        self.measure("ready", lambda: health.find_readiness_problem(self.engine))
        self.measure("upkeep", self.story.worker.run_maintenance)
        self.measure("lanes", ask(lanes.summarize_lanes))
        self.measure("last delivered", ask(state_counts.list_last_delivered))
        self.measure("traffic", ask(lambda conn: state_counts.count_traffic(conn, ago, now)))
        self.measure("failed", ask(deliveries.summarize_failed))
        self.measure("refusals", ask(refusal_counts.list_refusals))
        self.measure("cases", ask(lambda conn: cases.list_cases(conn, limit=50)))
        self.measure(
            "retention", ask(lambda conn: octet_removal.list_ended_cases(conn, ago, octet_removal.START, 20))
        )
        self.measure(
            "letters",
            ask(lambda conn: octet_removal.list_old_caseless_messages(conn, ago, octet_removal.START, 20)),
        )
        assert hub is self.story.hub

    def summarize(self) -> dict[str, dict[str, float]]:
        """Return the medians."""
        return {
            what: {name: round(statistics.median(values), 3) for name, values in found.items()}
            for what, found in self.found.items()
        }


#: What SQLite has executed, while it is noted: many statements go to its driver directly.
_executed: Final[list[tuple[str, Any]]] = []


def trace_sqlite() -> None:
    """Let every connection of SQLite that is made from now on tell what it executes."""
    connect = sqlite3.dbapi2.connect

    def connect_traced(*arguments: Any, **named: Any) -> sqlite3.Connection:
        connection = connect(*arguments, **named)
        connection.set_trace_callback(lambda statement: _executed.append((statement, ())))
        return connection

    sqlite3.dbapi2.connect = connect_traced  # type: ignore[assignment]


@contextmanager
def note_statements(side: Side) -> Iterator[None]:
    """Note what the hub asks its database for within the block."""
    side.notes = True
    if side.engine.dialect.name == "sqlite":
        _executed.clear()
        yield
        side.notes = False
        return

    def note(_conn: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        side.statements.append((statement, parameters))

    event.listen(side.engine, "before_cursor_execute", note)
    try:
        yield
    finally:
        event.remove(side.engine, "before_cursor_execute", note)
        side.notes = False


def find_scans(engine: Engine, statements: Sequence[tuple[str, Any]]) -> dict[str, list[str]]:
    """Return the large tables that statements read as a whole, with the statements."""
    large = _find_large_tables(engine)
    found: dict[str, list[str]] = {}
    with closing(engine.connect()) as conn:
        for statement, parameters in dict(_make_unique(statements)).values():
            if _reads_few(statement):
                continue
            for line in _explain(conn, statement, parameters):
                hit = _SCAN.search(line)
                if hit and hit[1] in large and "INDEX" not in hit[2]:
                    found.setdefault(hit[1], []).append(statement)
    return found


def _is_question(statement: str) -> bool:
    return statement.lstrip().startswith(("SELECT", "WITH", "UPDATE", "DELETE", "INSERT"))


def _make_unique(statements: Sequence[tuple[str, Any]]) -> Iterator[tuple[str, tuple[str, Any]]]:
    """Yield each statement once; those of SQLite contain their values, which make no difference."""
    for statement, parameters in statements:
        form = statement if parameters else _VALUE.sub("?", statement)
        if _is_question(statement):
            yield form, (statement, parameters)


def _reads_few(statement: str) -> bool:
    """Tell whether a statement reads a few rows although its plan names a whole table.

    SQLite names the tables with a foreign key to the row that is inserted: it looks there while a key is
    violated, and none is. A list without a condition ends with its limit.
    """
    if statement.startswith("INSERT"):
        return "SELECT" not in statement
    return "LIMIT" in statement and "WHERE" not in statement and "JOIN" not in statement


def _find_large_tables(engine: Engine) -> set[str]:
    with read_transaction(engine) as conn:
        return {
            one.name
            for one in metadata.sorted_tables
            if len(conn.execute(select(text("1")).select_from(one).limit(_LARGE + 1)).all()) > _LARGE
        }


def _explain(conn: Connection, statement: str, parameters: Any) -> list[str]:
    """Return the plan of a statement with its parameters; none where it is executed for many rows."""
    if isinstance(parameters, list):
        parameters = parameters[0] if parameters else ()
    word = "EXPLAIN QUERY PLAN" if conn.dialect.name == "sqlite" else "EXPLAIN"
    with conn.begin():
        rows = conn.exec_driver_sql(f"{word} {statement}", parameters).all()
    return [str(row.detail if conn.dialect.name == "sqlite" else row[0]) for row in rows]


def measure(empty: Story, filled: Story, turns: int) -> Mapping[str, Any]:
    """Measure both sides by turns."""
    sides = [Side("empty", empty), Side("filled", filled)]
    for side in sides:
        with note_statements(side):
            # What is compiled, cached or joined once is no part of the price. The last one is counted.
            for _ in range(3):
                side.receive()
                side.play_case()
            side.look()
    for side in sides:
        side.found = {what: {"statements": found["statements"][-1:]} for what, found in side.found.items()}
    for turn in range(turns):
        for side in sides if turn % 2 else sides[::-1]:
            for _ in range(5):
                side.receive()
            side.play_case()
            if turn % 5 == 0:
                side.look()
    told = {side.name: side.summarize() for side in sides}
    ratios = {
        what: {
            name: round(value / told["empty"][what][name], 3)
            for name, value in found.items()
            if told["empty"][what].get(name)
        }
        for what, found in told["filled"].items()
    }
    return {**told, "ratio": ratios, "scans": find_scans(filled.house.engine, sides[1].statements)}


def _renew_certificates(engine: Engine) -> None:
    """Register the keys of this process, which are not those of the process that has filled the database."""
    with write_transaction(engine) as conn:
        for name in ("hub", "broker1", *AGENCIES, "customs"):
            register_certificate(conn, name, signer_named(name.lower()).certificate.der, datetime.now(UTC))


def _postpone_deadlines(engine: Engine) -> int:
    """Let no deadline of the filled cases end while it is measured; return how many there are.

    They are as old as their cases. A hub that has worked all the time has told them long ago.
    """
    later = datetime.now(UTC) + _LATER
    deadlines = metadata.tables["deadlines"]
    with write_transaction(engine) as conn:
        running = update(deadlines).where(deadlines.c.next_at.is_not(None))
        return conn.execute(running.values(remind_at=later, due_at=later, next_at=later)).rowcount


def recount_states(engine: Engine) -> float:
    """Count the rows by state anew, since bulk rows go past the triggers; return the seconds."""
    began = time.perf_counter()
    with write_transaction(engine) as conn:
        for table in ("state_changes", "state_totals"):
            conn.exec_driver_sql(f"DELETE FROM {table}")
        for measure, counted in _COUNTED.items():
            conn.exec_driver_sql(
                "INSERT INTO state_totals (measure, label, state, number) "
                f"SELECT '{measure}', {counted} GROUP BY 1, 2, 3"
            )
    return round(time.perf_counter() - began, 1)


def main(words: Sequence[str] | None = None) -> int:
    """Fill, measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.load.growth_cost", description=__doc__)
    parser.add_argument("--database", default="", help="SQLAlchemy URL of the database that is filled")
    parser.add_argument("--empty", default="", help="SQLAlchemy URL of an empty database of the same server")
    parser.add_argument("--cases", type=int, default=50_000)
    parser.add_argument("--messages", type=int, default=500_000)
    parser.add_argument("--parties", type=int, default=10_000)
    parser.add_argument("--turns", type=int, default=30)
    parser.add_argument("--filled", action="store_true", help="the database was filled before")
    given = parser.parse_args(words)
    trace_sqlite()
    with tempfile.TemporaryDirectory(prefix="gateway-growth-") as folder:
        urls = [given.empty or f"sqlite:///{folder}/empty.sqlite3"]
        urls.append(given.database or f"sqlite:///{folder}/filled.sqlite3")
        engines = [make_engine(url) for url in urls]
        for engine in engines:
            migrate_schema(engine)
        report: dict[str, Any] = {
            "cases": given.cases,
            "messages": given.messages,
            "machine": machine(Path(folder)),
        }
        if not given.filled:
            began = time.monotonic()
            grow_database(engines[1], Extent(given.cases, given.messages, given.parties, whole=True))
            report["fill_s"] = round(time.monotonic() - began)
        report["rollup_s"] = recount_states(engines[1])
        report["deadlines_running"] = _postpone_deadlines(engines[1])
        with read_transaction(engines[1]) as conn:
            for name in ("messages", "cases", "deliveries", "transitions", "evidence", "payloads"):
                rows = select(func.count()).select_from(metadata.tables[name])
                report[f"{name}_rows"] = conn.execute(rows).scalar_one()
        with read_transaction(engines[0]) as conn:
            known = conn.execute(select(func.count()).select_from(metadata.tables["parties"])).scalar_one()
        for engine in [engines[0]] * bool(known) + [engines[1]] * given.filled:
            _renew_certificates(engine)
        # A thousand ids for each second: two runs on one database share none.
        first = _FIRST + int(time.time() * 1000)
        say("measuring")
        empty = Story(engines[0], first=first if known else 1)
        report |= measure(empty, Story(engines[1], first=first), given.turns)
        for engine in engines:
            engine.dispose()
    print(json.dumps(report, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
