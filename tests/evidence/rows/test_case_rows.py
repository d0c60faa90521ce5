"""A row of a case, application, notice or decision that was changed behind the gateway's back is found."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from typing import Any, TypeVar

import pytest
from sqlalchemy import Connection, Engine, Row, Table, delete, insert, select, text, update

from gateway.cases import AgencyAcknowledgment, AgencyCallback, DecisionCode, Notice
from gateway.evidence import RowFindings, verify_rows
from gateway.evidence.rows.case_rows import COMPARED
from gateway.hub import apply_call_back
from gateway.store import read_transaction
from gateway.store.agency_requests import agency_requests
from gateway.store.cases import cases
from gateway.store.decisions import decisions
from gateway.store.messages import messages
from gateway.store.notices import notices
from gateway.store.table_types import Instant
from gateway.store.transitions import evidence
from tests.flows.craft import all_of, attribute, reference, without_applications
from tests.flows.item_changes import add_item, amendment, concern, new_application
from tests.flows.test_amended_items import decide
from tests.flows.test_held_cases import HOLD, LACKING
from tests.kit.databases import BOTH
from tests.kit.day_turns import DayStory, Turn, say_turn
from tests.kit.house import START
from tests.kit.levels import at_night
from tests.kit.story import QUIET, Story

APPROVED, REJECTED = DecisionCode.APPROVED, DecisionCode.REJECTED
TABLES: dict[str, Table] = {
    "cases": cases,
    "agency_requests": agency_requests,
    "notices": notices,
    "decisions": decisions,
}
COLUMNS = [(each.table, column) for each in COMPARED for column in each.columns]
#: What a leaf of an earlier version does not have.
NEW_FIELDS = frozenset(
    ("stored", "outcome", "placed", "revived", "superseded", "outdated", "outdated_up_to", "receipt")
)
#: The kinds of leaves that had some of these fields before.
NOT_NEW = {
    **dict.fromkeys(("decided", "corrected", "withdrawn", "closed"), frozenset(("outcome",))),
    "acknowledged": frozenset(("receipt",)),
}
#: An item more for KFDA, and an application more for NPQS.
ADDED = (
    *(add_item(4, 2), concern("A2", 4, 2)),
    *(add_item(5, 3, "Narcissus bulbs"), new_application("A4", 5, "A3")),
)


def play_amended_case(engine: Engine) -> Story:
    """Play a case that is amended twice, one without applications, one that is held, and a refused one."""
    story = Story(engine, agreement=QUIET)
    story.submit()
    story.tick()
    story.hear("KPTA", AgencyAcknowledgment("R-1"))
    amend(story, *ADDED)
    decide(story, "KFDA", {2: REJECTED}, "N1")
    decide(story, "KFDA", {4: APPROVED}, "N2")
    story.decide("KPTA")
    later = story.clock()
    story.tick(seconds=1)
    say(story, "KPTA", Notice("KPTA-N2", later - timedelta(seconds=5), "D01", text="the origin"))
    unit = attribute(".//GovernmentAgencyGoodsItem[2]//NetNetWeightMeasure", "unitCode", "TNE")
    amend(story, *ADDED, unit)
    decide(story, "KFDA", {2: APPROVED}, "N3")
    story.tick(seconds=1)
    decide(story, "KFDA", {2: REJECTED}, "N4")
    story.tick()
    story.submit(story.submission(reference("BARE")), attach=False)
    story.submit(story.submission(all_of(reference("BARE-2"), without_applications)), attach=False)
    story.tick(seconds=1)
    story.hub.need_policy = HOLD
    story.submit(story.submission(all_of(reference("HELD"), LACKING)))
    story.tick(seconds=1)
    return story


def play_days(engine: Engine) -> Story:
    """Play certificates that state a day alone: one has moved others, one is not overruled any more."""
    story = DayStory(engine)
    application = story.file()
    for turn in (Turn("R04", None, 10), Turn("R03", "P-10"), Turn("R02", "P-1"), Turn("R01", "P-11")):
        say_turn(story, turn, application)
    story.tick(seconds=5)
    application = story.file()
    for turn in (Turn("R03", "P-9"), Turn("R01", None, 10), Turn("R01", None, 12)):
        say_turn(story, turn, application)
    story.tick(seconds=5)
    story.submit(story.submission(reference("BARE")), attach=False)
    story.tick(seconds=5)
    return story


STORIES: dict[str, Callable[[Engine], Story]] = {"amended": play_amended_case, "days": play_days}


def amend(story: Story, *changes: Any) -> None:
    story.submit(story.submission(amendment(*changes)), action="Amend")
    story.tick()


def say(story: Story, agency: str, notice: Notice) -> None:
    apply_call_back(story.hub, agency, AgencyCallback(notice, story.number_of(agency)))


def compare(conn: Connection) -> RowFindings:
    return verify_rows(conn)


@contextmanager
def tampered(engine: Engine) -> Iterator[Connection]:
    """Give a connection whose changes are taken back, and on which no foreign key holds."""
    with engine.connect() as conn:
        if engine.dialect.name == "postgresql":
            conn.execute(text("SET LOCAL session_replication_role = replica"))
        else:
            conn.execute(text("PRAGMA defer_foreign_keys = ON"))
        yield conn
        conn.rollback()


def list_rows(engine: Engine, table: Table) -> list[Row[Any]]:
    with read_transaction(engine) as conn:
        return list(conn.execute(select(table).order_by(table.c.id)).all())


#: The rows that are tried of each table: so many, spread over it; at night all.
ROW_COUNTS = [4, *at_night(None)]
_Each = TypeVar("_Each")


def spread(everything: Sequence[_Each], count: int | None) -> Sequence[_Each]:
    """Return `count` things, spread from the first to the last, or all."""
    if count is None or len(everything) <= count:
        return everything
    return [everything[position * (len(everything) - 1) // (count - 1)] for position in range(count)]


def choose_other(conn: Connection, row: Row[Any], table: Table, column: str) -> Any:
    """Return another value that a column of a row may have."""
    value = getattr(row, column)
    target = next(iter(table.c[column].foreign_keys), None)
    if target is not None:
        home = {"messages": messages, **TABLES}[target.column.table.name]
        # The last case has no applications: one of any position may be moved to it.
        ids = conn.execute(select(home.c.id).order_by(home.c.id.desc())).scalars()
        return next(each for each in ids if each != value)
    if column in ("outcome", "decision"):
        return next(each for each in ("REJECTED", "APPROVED") if each != value)
    if isinstance(value, str):
        return f"{value}x"
    if isinstance(value, datetime):
        return value + timedelta(microseconds=1)
    if isinstance(value, date):
        return value + timedelta(days=1)
    if isinstance(value, int):
        return value + 1000
    if isinstance(value, list):
        return [*value, "x"]
    if column == "date":
        return date(2026, 1, 1)
    if column == "outdated_decision":
        return 1
    return START if isinstance(table.c[column].type, Instant) else "x"


@BOTH
@pytest.mark.parametrize("play", list(STORIES))
def test_no_difference_is_found_in_a_sound_database(engine: Engine, play: str) -> None:
    STORIES[play](engine)
    with read_transaction(engine) as conn:
        findings = compare(conn)
    assert findings.differences == []
    assert not findings.older.total()
    assert all(findings.compared[table] for table in TABLES)


@BOTH
@pytest.mark.parametrize("play", list(STORIES))
@pytest.mark.parametrize("row_count", ROW_COUNTS)
def test_every_changed_value_is_found(engine: Engine, play: str, row_count: int | None) -> None:
    STORIES[play](engine)
    missed = []
    for name, column in COLUMNS:
        table = TABLES[name]
        for row in spread(list_rows(engine, table), row_count):
            with tampered(engine) as conn:
                other = choose_other(conn, row, table, column)
                conn.execute(update(table).where(table.c.id == row.id).values({column: other}))
                if not any(each.table == name for each in compare(conn).differences):
                    missed.append((name, column, row.id, other))
            if getattr(row, column) is not None and table.c[column].nullable:
                with tampered(engine) as conn:
                    conn.execute(update(table).where(table.c.id == row.id).values({column: None}))
                    if not any(each.table == name for each in compare(conn).differences):
                        missed.append((name, column, row.id, None))
    assert missed == []


@BOTH
@pytest.mark.parametrize("play", list(STORIES))
def test_a_row_that_is_gone_and_one_that_was_added_are_found(engine: Engine, play: str) -> None:
    STORIES[play](engine)
    missed = []
    for name, table in TABLES.items():
        for row in list_rows(engine, table):
            with tampered(engine) as conn:
                conn.execute(delete(table).where(table.c.id == row.id))
                if not any(each.table == name for each in compare(conn).differences):
                    missed.append((name, "deleted", row.id))
            with tampered(engine) as conn:
                unique = {"cases": "functional_reference", "decisions": "notice_no"}.get(name, "number")
                new = dict(row._mapping) | {"id": 7777, unique: "ADDED"}
                new |= {"sequence": 99} if name == "agency_requests" else {}
                new |= {"number": "ADDED"} if name == "cases" else {}
                conn.execute(insert(table), new)
                if not any(each.table == name for each in compare(conn).differences):
                    missed.append((name, "added", row.id))
    assert missed == []


@BOTH
@pytest.mark.parametrize("data", ["no JSON", "[1]", "7"])
def test_a_leaf_without_readable_data_is_a_difference_and_hides_no_other(engine: Engine, data: str) -> None:
    """Whichever leaf it is, it is named once; the rows of its own case and of others are compared."""
    play_amended_case(engine)
    read_kinds = {"case", "request", "message"}
    leaves = [row for row in list_rows(engine, evidence) if row.subject_type in read_kinds]
    changed, *_, last = list_rows(engine, cases)
    for leaf in spread(leaves, 12):
        with tampered(engine) as conn:
            conn.execute(update(evidence).where(evidence.c.id == leaf.id).values(data=data))
            conn.execute(
                update(cases).where(cases.c.id.in_([changed.id, last.id])).values(declarant="somebody")
            )
            findings = compare(conn)
        differences = [(each.table, each.row) for each in findings.differences]
        assert differences.count(("evidence", str(leaf.id))) == 1, leaf
        assert {("cases", str(changed.id)), ("cases", str(last.id))} <= {*differences}, leaf
        assert len(differences) == findings.difference_count


@BOTH
@pytest.mark.parametrize("name", ["agency_requests", "decisions"])
def test_rows_that_have_changed_places_are_found(engine: Engine, name: str) -> None:
    """What refers to one of them by its number then means the other one."""
    play_amended_case(engine)
    table = TABLES[name]
    unnoticed = []
    for first, second in itertools.pairwise(list_rows(engine, table)):
        with tampered(engine) as conn:
            for before, after in ((first.id, 7777), (second.id, first.id), (7777, second.id)):
                conn.execute(update(table).where(table.c.id == before).values(id=after))
            if not any(each.table == name for each in compare(conn).differences):
                unnoticed.append((first.id, second.id))
    assert unnoticed == []


def test_a_decision_that_is_added_to_a_notice_is_found(engine: Engine) -> None:
    play_amended_case(engine)
    row = list_rows(engine, decisions)[0]
    with tampered(engine) as conn:
        conn.execute(insert(decisions), dict(row._mapping) | {"id": 7777, "law": "99"})
        assert {each.table for each in compare(conn).differences} == {"decisions"}


def strip_leaf(conn: Connection, row: Row[Any]) -> None:
    """Make a leaf one of an earlier version."""
    data = json.loads(row.data)
    new_fields = NEW_FIELDS - NOT_NEW.get(row.kind, frozenset())
    kept = {name: value for name, value in data.items() if name not in new_fields}
    conn.execute(update(evidence).where(evidence.c.id == row.id).values(data=json.dumps(kept)))


@BOTH
@pytest.mark.parametrize("play", list(STORIES))
@pytest.mark.parametrize("row_count", ROW_COUNTS)
def test_leaves_of_earlier_versions_give_no_difference(
    engine: Engine, play: str, row_count: int | None
) -> None:
    """Whichever leaves do not state what was stored: all of them, all before or behind one, or one alone."""
    STORIES[play](engine)
    leaves = [row for row in list_rows(engine, evidence) if NEW_FIELDS & json.loads(row.data).keys()]
    assert len(leaves) > 10
    for place in spread(range(len(leaves) + 1), row_count):
        for chosen in (leaves[:place], leaves[place:], leaves[place : place + 1]):
            with tampered(engine) as conn:
                for row in chosen:
                    strip_leaf(conn, row)
                findings = compare(conn)
                assert findings.differences == [], [row.id for row in chosen]
                assert (
                    len(chosen) < len(leaves) or findings.older["decisions"] == findings.compared["decisions"]
                )


def test_what_leaves_of_earlier_versions_state_is_compared(engine: Engine) -> None:
    play_amended_case(engine)
    changes: list[tuple[Table, dict[str, Any]]] = [
        (cases, {"number": "SW1"}),
        (cases, {"declarant": "somebody"}),
        (cases, {"outcome": "WITHDRAWN"}),
        (notices, {"sha256": "0" * 64}),
        (notices, {"agency": "other"}),
    ]
    for table, values in changes:
        first = list_rows(engine, table)[0]
        with tampered(engine) as conn:
            for row in conn.execute(select(evidence)).all():
                strip_leaf(conn, row)
            conn.execute(update(table).where(table.c.id == first.id).values(values))
            assert [each.table for each in compare(conn).differences] == [table.name], values


@pytest.mark.parametrize("play", list(STORIES))
def test_the_stories_have_all_that_a_leaf_may_state(engine: Engine, play: str) -> None:
    STORIES[play](engine)
    stated = {name for row in list_rows(engine, evidence) for name in json.loads(row.data)}
    shared = {"stored", "outcome", "receipt", "superseded"}
    assert (
        stated & NEW_FIELDS
        == shared
        | {
            "amended": {"outdated", "outdated_up_to"},
            "days": {"placed", "revived"},
        }[play]
    )
