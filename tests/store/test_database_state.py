"""What a process holds for a database is one object, which its engines share."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from gateway.errors import GatewayError
from gateway.store import ObjectFolder, get_database_state, make_engine, read_transaction, write_transaction
from gateway.store.database_damage import make_damage_error
from tests.kit.source_tree import walk_sources


def test_readers_and_writers_of_a_database_share_its_state(tmp_path: Path) -> None:
    engine = make_engine(f"sqlite:///{tmp_path}/hub.sqlite3")
    state = get_database_state(engine)
    state.objects = ObjectFolder(tmp_path / "objects")
    with write_transaction(engine) as conn:
        assert get_database_state(conn.engine) is state
    with read_transaction(engine) as conn:
        assert conn.engine is not engine
        assert get_database_state(conn.engine) is state
    engine.dispose()


def test_databases_of_one_process_have_states_of_their_own(tmp_path: Path) -> None:
    first, second = (make_engine(f"sqlite:///{tmp_path}/{name}.sqlite3") for name in ("a", "b"))
    get_database_state(first).objects = ObjectFolder(tmp_path / "objects")
    get_database_state(first).recent_objects.record_put_object("0" * 64, 2)
    get_database_state(first).damage.record(make_damage_error("a page"))
    assert get_database_state(second).objects is None
    assert get_database_state(second).damage.find_problem() is None
    with pytest.raises(GatewayError, match="GW325"):
        get_database_state(second).get_object_store("0" * 64)


def test_an_engine_holds_nothing_else() -> None:
    """Options of engines and connections that are our own: the state, and what a transaction has stored."""
    options = {
        (path.name, ast.unparse(option.value))
        for path, nodes in walk_sources()
        for call in nodes
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr in {"execution_options", "update_execution_options"}
        for option in call.keywords
        if option.arg is None
    }
    assert options == {("database_state.py", "{_STATE: state}"), ("transitions.py", "{_NOTES: notes}")}
