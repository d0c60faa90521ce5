"""Readiness is a real access to the database, and each reason against it is told in words for anybody."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Engine

from gateway.monitor.health import can_read_database, describe_unreadiness, find_readiness_problem
from gateway.store import InsufficientStorageError, get_database_state, make_engine
from tests.kit.databases import BOTH

AWAY = "postgresql://nobody@127.0.0.1:1/none"


def describe(engine: Engine) -> str:
    problem = find_readiness_problem(engine)
    return "ready" if problem is None else describe_unreadiness(engine, problem)


@BOTH
def test_a_database_of_this_version_is_ready(engine: Engine) -> None:
    assert (describe(engine), can_read_database(engine)) == ("ready", True)


def test_a_database_without_tables_is_not(tmp_path: Path) -> None:
    made = make_engine(f"sqlite:///{tmp_path}/empty.db")
    try:
        assert describe(made).startswith("GW802 ")
        assert not can_read_database(made)
    finally:
        made.dispose()


def test_a_database_that_is_away_cannot_be_reached() -> None:
    made = make_engine(AWAY)
    try:
        assert describe(made) == "GW806 the database cannot be reached"
        assert not can_read_database(made)
    finally:
        made.dispose()


@BOTH
def test_a_mistake_of_ours_is_no_readiness(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_engine: Engine) -> None:
        raise RuntimeError("a secret")

    monkeypatch.setattr("gateway.monitor.health.check_schema_version", fail)
    said = describe(engine)
    assert said.startswith("GW901 ")
    assert "secret" not in said


@BOTH
def test_after_a_refusal_a_commit_is_tried(engine: Engine) -> None:
    reserve = get_database_state(engine).reserve
    reserve.record_refusal(InsufficientStorageError("full"))
    assert describe(engine) == "GW806 the database has no space for new messages, or accepts no writes"
    reserve._full_at = float("-inf")  # a while later
    assert describe(engine) == "ready"


@BOTH
def test_after_a_server_was_away_the_first_commit_is_enough(engine: Engine) -> None:
    reserve = get_database_state(engine).reserve
    reserve.record_refusal(InsufficientStorageError("the server is away"), is_full=False)
    assert reserve.is_lacking
    assert describe(engine) == "ready"
    reserve.record_refusal(InsufficientStorageError("full"))
    reserve.record_refusal(InsufficientStorageError("the server is away"), is_full=False)
    assert describe(engine) == "GW806 the database has no space for new messages, or accepts no writes"


def test_a_server_alone_keeps_no_two_copies(postgresql_url: str) -> None:
    made = make_engine(postgresql_url, copies=2)
    try:
        assert describe(made) == "GW806 the database keeps fewer than 2 copies"
        watch = get_database_state(made).copies
        assert watch is not None
        with watch.readiness_lock:
            assert describe(made) == "GW806 the database does not confirm its copies"
        watch.record_copies()
        assert describe(made) == "ready"
    finally:
        made.dispose()
