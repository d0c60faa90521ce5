"""A database with an object in every state of every state machine, as a release leaves it to the next one.

``python -m tests.flows.former_release FILE`` writes it as SQL of SQLite, compressed. Run it with the
code of a release that has come out: the next one is tested with that file.
"""

from __future__ import annotations

import lzma
import sqlite3
import sys
import tempfile
from collections import deque
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from sqlalchemy import Connection, Engine, Table

from gateway.errors import REFUSED_FOR_GOOD, GatewayError
from gateway.state_machines import MACHINES, StateMachine
from gateway.store import deliveries, fees, make_engine, migrate_schema, write_transaction
from gateway.store.lanes import hold_lane
from gateway.store.table_types import metadata
from gateway.store.transitions import StateEvent, apply_event
from tests.flows.craft import Change, all_of, reference, text, withdrawal, without, without_applications
from tests.flows.test_held_case_waking import NUMBER, naming
from tests.flows.test_held_cases import HOLD
from tests.kit import house
from tests.kit.rows import NOW, delivery, open_case, request, stored
from tests.kit.story import Story, asked, unreachable

__all__ = ["LANE", "STORED", "TABLES", "TRUST", "dump_database", "fill_database"]

#: Where the states of each machine are stored.
TABLES: Final = {
    "message": "messages",
    "case": "cases",
    "request": "agency_requests",
    "delivery": "deliveries",
    "clearance": "clearances",
    "fee": "fees",
}
#: The table beside those of the hub: keys and certificates of all, their authority, and its revocation list.
TRUST: Final = "release_trust"
#: The lane of the deliveries that are only rows; it is held, so that no worker takes them.
LANE: Final = "KR-A"
#: Who brought an object into its state that is only a row.
STORED: Final = "release"
_UNCHANGED: Final = all_of()


def fill_database(engine: Engine) -> None:
    """Store a case at each step of its life, then an object in every state of each machine."""
    _tell_stories(engine)
    with write_transaction(engine) as conn:
        hold_lane(conn, LANE, NOW, STORED, "nobody is there")
        for machine in MACHINES.values():
            for state in machine.states:
                reach_state(conn, machine, _insert_object(conn, machine), state)


def _tell_stories(engine: Engine) -> None:
    """Bring cases of the broker, each under a reference of its own, to a point from which they go on."""
    numbers = iter(range(1, 1_000_000, 10_000))

    def file(name: str, change: Change = _UNCHANGED, *, tick: bool = True, attach: bool = True) -> Story:
        story = Story(engine, first=next(numbers))
        if name == "HELD":
            story.hub.need_policy = HOLD
        if name == "STRANDED":
            story.say("KFDA", GatewayError(REFUSED_FOR_GOOD, "name unknown"))
        story.submit(story.submission(all_of(reference(name), change)), attach=attach)
        if tick:
            story.tick()
        return story

    story = file("ASKED")
    story.hear("KPTA", asked(story, "KPTA", "ASKED"))
    story.decide("KFDA", number="ASKED")
    story.tick()
    file("STRANDED")
    story = file("CLOSED")
    for agency in ("KPTA", "KFDA", "NPQS"):
        story.decide(agency, number="CLOSED")
    story.tick()
    file("REFUSED", text(".//Declarant/ID", "HUB-1"))
    file("HELD", all_of(without("Application[@id='A3']"), naming(NUMBER)))
    story = file("WITHDRAWN", without_applications, attach=False)
    changes = all_of(reference("WITHDRAWN"), without_applications, withdrawal)
    story.submit(story.submission(changes), action="Withdraw", attach=False)
    story.tick()
    story = file("DECIDED")
    story.inbox.answers.extend([unreachable()] * 20)
    for agency in ("KPTA", "KFDA", "NPQS"):
        story.decide(agency, number="DECIDED")
    story.tick()
    file("ACCEPTED", tick=False)


def find_table(machine: StateMachine) -> Table:
    """Return the table that has the states of a machine."""
    return metadata.tables[TABLES[machine.name]]


def reach_state(conn: Connection, machine: StateMachine, number: int, state: str) -> None:
    """Apply the fewest events that lead from the initial state of an object (row id) to a state."""
    paths: dict[str, tuple[str, ...]] = {machine.initial_state: ()}
    waiting = deque([machine.initial_state])
    while waiting:
        before = waiting.popleft()
        for event, after in machine.transitions[before].items():
            if after not in paths:
                paths[after] = (*paths[before], event)
                waiting.append(after)
    for event in paths[state]:
        apply_event(conn, find_table(machine), machine, number, StateEvent(event, NOW, STORED))


def _insert_object(conn: Connection, machine: StateMachine) -> int:
    """Store an object in the initial state; return its row id."""
    if machine.name == "message":
        number = stored(conn)
        conn.execute(
            find_table(machine).update().where(find_table(machine).c.id == number).values(state="RECEIVED")
        )
        return number
    if machine.name == "delivery":
        number = deliveries.enqueue_delivery(conn, delivery(destination=LANE), NOW)
        assert number is not None
        return number
    case = open_case(conn)
    if machine.name == "case":
        return case
    if machine.name == "clearance":
        conn.execute(find_table(machine).insert().values(id=case, state=machine.initial_state))
        return case
    application = request(conn, case)
    if machine.name == "request":
        return application
    return fees.insert_fee(
        conn,
        fees.NewFee(
            f"{application}-F01",
            application,
            case,
            LANE,
            "inspection",
            "result",
            "30000",
            "KRW",
            date(2026, 12, 1),
            "",
            True,
            NOW,
        ),
    )


def dump_database(path: Path) -> bytes:
    """Return a SQLite file as SQL text, compressed, with whom its hub believes in a table of its own."""
    with closing(sqlite3.connect(path)) as source:
        source.execute(f"CREATE TABLE {TRUST} (name TEXT, certificate BLOB, key BLOB)")
        source.execute(f"INSERT INTO {TRUST} VALUES ('crl', ?, NULL)", (house.crl(),))
        source.execute(
            f"INSERT INTO {TRUST} VALUES ('authority', ?, NULL)",
            (house.authority().certificate.der,),
        )
        for name in ("hub", "broker1", "kpta", "kfda", "npqs", "customs"):
            signer = house.signer_named(name)
            key = signer.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
            row = (name, signer.certificate.der, key)
            source.execute(f"INSERT INTO {TRUST} VALUES (?, ?, ?)", row)
        lines = "".join(f"{line}\n" for line in source.iterdump())
    return lzma.compress(lines.encode(), preset=9)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        made = make_engine(f"sqlite:///{folder}/release.sqlite3")
        migrate_schema(made)
        fill_database(made)
        made.dispose()
        Path(sys.argv[1]).write_bytes(dump_database(Path(folder) / "release.sqlite3"))
