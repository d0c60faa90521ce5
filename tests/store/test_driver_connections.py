"""Statements of transactions go to the driver directly, and mean what they mean through SQLAlchemy."""

from __future__ import annotations

from datetime import datetime

import pytest
from sqlalchemy import Connection, bindparam, event, func, insert, select, text, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError, NoResultFound, ResourceClosedError, StatementError

from gateway.store import deliveries, read_transaction, write_transaction
from gateway.store.driver_connections import DriverConnection
from gateway.store.driver_rows import FoundRows
from gateway.store.tables import deliveries as table
from gateway.store.tables import epochs, transitions
from tests.kit.rows import NOW, delivery

D = table.c


def fill(engine, number=3):
    with write_transaction(engine) as conn:
        for one in range(number):
            deliveries.enqueue_delivery(conn, delivery(dedupe_key=f"k{one}", parameters={"n": one}), NOW)


STATEMENTS = {
    "constants": (select(D.id, D.lane).where(D.state == "QUEUED").order_by(D.id), None),
    "times, JSON and nulls": (select(table).order_by(D.id), None),
    "given values": (select(D.id).where(D.dedupe_key == bindparam("wanted")), {"wanted": "k1"}),
    "the same value twice": (
        select(D.id).where(D.created_at <= bindparam("at", NOW), D.due_at <= bindparam("at", NOW)),
        {"at": NOW},
    ),
    "lists": (select(D.dedupe_key).where(D.dedupe_key.in_(["k0", "k2"])).order_by(D.id), None),
    "a longer list": (select(D.dedupe_key).where(D.dedupe_key.in_(["k0", "k1", "k2"])).order_by(D.id), None),
    "a given list": (
        select(D.dedupe_key)
        .where(D.dedupe_key.in_(bindparam("some", expanding=True)), D.lane != "x")
        .order_by(D.id),
        {"some": ["k1", "k2"]},
    ),
    "an empty list": (select(D.id).where(D.id.in_([])), None),
    "pairs": (select(D.id).where(tuple_(D.state, D.dedupe_key).in_([("QUEUED", "k1")])), None),
    "limits": (select(D.id).order_by(D.id).limit(2).offset(1), None),
    "functions": (select(func.count(), func.max(D.created_at).label("last")), None),
    "names that occur twice": (select(D.id, D.id.label("id"), D.state), None),
    "texts": (text("SELECT id, state FROM deliveries WHERE dedupe_key = :wanted"), {"wanted": "k2"}),
    "percent signs": (select(D.id).where(D.dedupe_key.like("k%")).order_by(D.id), None),
}


@pytest.mark.parametrize("name", STATEMENTS)
def test_the_driver_returns_what_sqlalchemy_returns(engine, name):
    fill(engine)
    statement, given = STATEMENTS[name]
    with read_transaction(engine) as conn:
        ours = [conn.execute(statement, given).all() for _ in range(2)]
        theirs = Connection.execute(conn, statement, given).all()
    assert ours == [theirs, theirs]
    for row, other in zip(ours[1], theirs, strict=True):
        assert [type(value) for value in row] == [type(value) for value in other]
        assert row._fields == other._fields


def test_hot_statements_do_go_to_the_driver(engine):
    fill(engine)
    with write_transaction(engine) as conn:
        assert isinstance(conn, DriverConnection)
        assert isinstance(conn.execute(*STATEMENTS["lists"]), FoundRows)
        assert isinstance(conn.execute(update(table).values(tries=2)), FoundRows)


def test_the_results_offer_what_those_of_sqlalchemy_do(engine):
    fill(engine)
    keys = select(D.dedupe_key, D.parameters).order_by(D.id)
    with read_transaction(engine) as conn:
        assert conn.execute(keys).first().parameters == {"n": 0}
        assert [row.dedupe_key for row in conn.execute(keys)] == ["k0", "k1", "k2"]
        assert conn.execute(keys).scalars().all() == ["k0", "k1", "k2"]
        assert conn.execute(keys).mappings().first() == {"dedupe_key": "k0", "parameters": {"n": 0}}
        assert conn.scalar(keys) == "k0"
        assert dict(conn.execute(keys).first()._mapping)["dedupe_key"] == "k0"
        nothing = keys.where(D.id < 0)
        assert conn.execute(nothing).first() is None
        assert conn.execute(nothing).scalar() is None
        assert conn.execute(nothing).one_or_none() is None
        with pytest.raises(NoResultFound):
            conn.execute(nothing).scalar_one()


def test_a_statement_made_of_another_one_has_a_form_of_its_own(engine):
    fill(engine)
    first = select(D.dedupe_key).where(D.dedupe_key == "k1")
    with read_transaction(engine) as conn:
        assert conn.execute(first).all() == [("k1",)]
        assert conn.execute(first.where(D.id < 0)).all() == []
        assert conn.execute(select(D.dedupe_key).where(D.dedupe_key == "k2")).all() == [("k2",)]
        assert conn.execute(first).all() == [("k1",)]


def test_lists_of_a_constant_are_expanded_once_and_given_lists_each_time(engine):
    fill(engine)
    own = (
        select(D.dedupe_key).where(D.dedupe_key.in_(["k0", "k2"]), D.state.not_in(["FAILED"])).order_by(D.id)
    )
    mixed = own.where(D.id.in_(bindparam("some", expanding=True)))
    with read_transaction(engine) as conn:
        ids = conn.execute(select(D.id).order_by(D.id)).scalars().all()
        for _ in range(3):
            assert conn.execute(own).scalars().all() == ["k0", "k2"]
            assert conn.execute(mixed, {"some": ids[:1]}).scalars().all() == ["k0"]
            assert conn.execute(mixed, {"some": ids}).scalars().all() == ["k0", "k2"]
            assert conn.execute(mixed, {"some": []}).all() == []


def test_changes_tell_how_many_rows_they_changed(engine):
    fill(engine)
    with write_transaction(engine) as conn:
        assert conn.execute(update(table).where(D.id > 0).values(tries=2)).rowcount == 3
        changed = update(table).where(D.dedupe_key == "k1").values(tries=3).returning(D.id, D.tries)
        assert [row.tries for row in conn.execute(changed)] == [3]
        with pytest.raises(ResourceClosedError):
            conn.execute(update(table).values(tries=2)).first()


def list_rows(number):
    """Return rows of transitions, one of which has no detail."""
    return [
        {"machine": "m", "object_id": one, "from_state": "?", "event": "100%", "to_state": "(x)", "at": NOW}
        | {"actor": "%(at)s", "detail": None if one == 0 else f"{one}"}
        for one in range(number)
    ]


@pytest.mark.parametrize("number", [2, 3, 200])
def test_several_rows_are_inserted_by_one_statement(engine, number):
    returning = insert(transitions).returning(transitions.c.object_id, transitions.c.at)
    rows = list_rows(number)
    with write_transaction(engine) as conn:
        done = conn.execute(insert(transitions).inline(), rows)
        assert isinstance(done, FoundRows) == (number < 200)
        assert number == 200 or done.rowcount == number
        found = conn.execute(returning, rows).all()
        assert sorted(found) == [(one, NOW) for one in range(number)]
        stored = conn.execute(select(*(transitions.c[name] for name in rows[0])).order_by(transitions.c.id))
        assert [dict(row._mapping) for row in stored.all()] == rows + rows


def test_several_rows_are_inserted_where_they_are_new(engine):
    new = {"sqlite": sqlite, "postgresql": postgresql}[engine.dialect.name].insert(epochs)
    kept = new.on_conflict_do_nothing(index_elements=["name"]).returning(epochs.c.name)
    added = new.on_conflict_do_update(
        index_elements=["name"], set_={"value": epochs.c.value + new.excluded.value}
    ).inline()
    rows = [{"name": "a", "value": 1}, {"name": "b", "value": 2}]
    with write_transaction(engine) as conn:
        assert conn.execute(kept, [*rows[:1], {"name": "c", "value": 5}]).scalars().all() == ["a", "c"]
        assert conn.execute(kept, rows).scalars().all() == ["b"]
        assert isinstance(conn.execute(added, rows), FoundRows)
        found = select(epochs.c.value).where(epochs.c.name.in_(["a", "b"])).order_by(epochs.c.name)
        assert conn.execute(found).scalars().all() == [2, 4]


def test_a_change_is_made_for_each_row(engine):
    fill(engine)
    raised = update(table).where(D.dedupe_key == bindparam("wanted")).values(tries=bindparam("given"))
    with write_transaction(engine) as conn:
        done = conn.execute(raised, [{"wanted": "k0", "given": 4}, {"wanted": "k2", "given": 5}])
        assert isinstance(done, FoundRows)
        assert done.rowcount == 2
        assert conn.execute(select(D.tries).order_by(D.id)).scalars().all() == [4, 0, 5]
        assert conn.execute(raised, [{"wanted": "k0", "given": 6}]).rowcount == 1


def test_rows_that_differ_are_sqlalchemys(engine):
    with pytest.raises(StatementError), write_transaction(engine) as conn:
        conn.execute(insert(epochs).inline(), [{"name": "a", "value": 1}, {"name": "b"}])


def test_a_refused_statement_raises_what_sqlalchemy_raises(engine):
    clash = insert(epochs).values(name="events", value=bindparam("given")).inline()
    store_both = [{"given": 1}, {"given": 2}]
    with pytest.raises(IntegrityError), write_transaction(engine) as conn:
        [conn.execute(clash, one) for one in store_both]
    with read_transaction(engine) as conn:
        assert conn.execute(select(epochs).where(epochs.c.name == "events")).first() is None


def test_a_savepoint_is_rolled_back_alone(engine):
    fill(engine, 1)
    with write_transaction(engine) as conn:
        conn.execute(update(table).values(tries=2))
        wrong = update(table).values(tries=3), update(table).values(state=None)
        with pytest.raises(IntegrityError), conn.begin_nested():
            [conn.execute(one) for one in wrong]
        assert conn.execute(select(D.tries)).scalar() == 2
    with read_transaction(engine) as conn:
        assert conn.execute(select(D.tries)).scalar() == 2


def test_a_value_that_is_none_of_the_type_is_refused(engine):
    with (
        pytest.raises((StatementError, ValueError), match="a time without a zone"),
        write_transaction(engine) as conn,
    ):
        conn.execute(update(table).values(due_at=datetime(2026, 1, 1)))


def test_who_listens_hears_every_statement(engine):
    fill(engine)
    heard = []

    def note(_conn, _cursor, statement, *_more):
        heard.append(statement)

    with read_transaction(engine) as conn:
        conn.execute(STATEMENTS["constants"][0])
        event.listen(conn, "before_cursor_execute", note)
        conn.execute(STATEMENTS["constants"][0])
    assert len(heard) == 1


def test_what_is_no_plain_statement_is_executed_by_sqlalchemy(engine):
    fill(engine)
    with write_transaction(engine) as conn:
        assert conn.scalar(func.abs(-3)) == 3
        streamed = conn.execute(select(D.id).execution_options(yield_per=1))
        assert not isinstance(streamed, FoundRows)
        assert len(streamed.all()) == 3
        raised = update(table).where(D.dedupe_key == bindparam("wanted")).values(tries=bindparam("given"))
        conn.execute(raised, ({"wanted": "k0", "given": 4}, {"wanted": "k1", "given": 5}))
        assert conn.execute(select(D.tries).order_by(D.id)).scalars().all() == [4, 5, 0]


def test_nothing_is_sent_outside_a_transaction_of_ours(engine):
    fill(engine)
    with engine.connect() as conn:
        assert not isinstance(conn.execute(select(D.id)), FoundRows) or engine.dialect.name != "sqlite"
        assert conn.in_transaction()


def test_a_statement_finds_the_rows_that_its_transaction_has_collected(engine):
    with write_transaction(engine) as conn:
        deliveries.enqueue_delivery(conn, delivery(), NOW)
        number = conn.execute(select(D.id)).scalar()
        deliveries.hold_delivery(conn, number, NOW, "t")
        steps = select(transitions.c.event).where(transitions.c.object_id == number)
        assert "hold" in conn.execute(steps).scalars().all()


def test_whoever_listens_to_the_engine_is_told_of_the_next_transactions(engine):
    said = []

    def note(_conn, _cursor, statement, *_):
        said.append(statement)

    for number in range(2):
        with write_transaction(engine) as conn:
            assert isinstance(conn.execute(select(D.id)), FoundRows)
        event.listen(engine, "after_cursor_execute", note)
        with write_transaction(engine) as conn:
            conn.execute(select(D.id))
        event.remove(engine, "after_cursor_execute", note)
        assert len(said) == number + 1
