"""Of two transactions that wait for each other one gives way, and is run again: no disk is full."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from sqlalchemy import Engine, text

from gateway.store import (
    get_database_state,
    make_engine,
    requirement_quantities,
    rerun_after_conflict,
    write_transaction,
)
from gateway.store.postgresql_connections import TransactionConflictError

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
NUMBERS = ("A", "B")
UPDATE = text("UPDATE requirements SET holder = :said WHERE number = :number")


@pytest.fixture
def postgresql(postgresql_url: str) -> Iterator[Engine]:
    made = make_engine(postgresql_url)
    with write_transaction(made) as conn:
        # Else one of them is ended only after a second.
        conn.execute(text(f"ALTER DATABASE {made.url.database} SET deadlock_timeout = '20ms'"))
        for number in NUMBERS:
            requirement_quantities.ensure_requirement(conn, "KFDA", number, "nobody", NOW)
    made.dispose()
    yield made
    made.dispose()


def change_crosswise(engine: Engine, said: str, tries: list[str], together: threading.Barrier) -> None:
    """Change both rows, in opposite orders; the first time each holds one row when it wants the other."""
    first, second = NUMBERS if said == "up" else reversed(NUMBERS)
    with write_transaction(engine, "test.crosswise") as conn:
        tries.append(said)
        conn.execute(UPDATE, {"said": said, "number": first})
        if tries.count(said) == 1:
            together.wait(60)
        conn.execute(UPDATE, {"said": said, "number": second})


def test_who_gives_way_is_told_so_and_nothing_is_lacking(postgresql: Engine) -> None:
    together, tries = threading.Barrier(2), list[str]()
    with ThreadPoolExecutor(2) as pool:
        ended = [pool.submit(change_crosswise, postgresql, said, tries, together) for said in ("up", "down")]
        problems = [one.exception(60) for one in ended]
    (problem,) = [one for one in problems if one is not None]
    assert isinstance(problem, TransactionConflictError)
    assert (problem.problem.id, problem.problem.retry) == ("GW806", True)
    assert problem.detail == "the transaction gave way to another: deadlock detected"
    reserve = get_database_state(postgresql).reserve
    assert (reserve.is_lacking, reserve.refusals) == (False, 0)


def test_who_gave_way_is_run_again(postgresql: Engine) -> None:
    together, tries = threading.Barrier(2), list[str]()
    act = rerun_after_conflict(change_crosswise)
    with ThreadPoolExecutor(2) as pool:
        ended = [pool.submit(act, postgresql, said, tries, together) for said in ("up", "down")]
        assert [one.exception(60) for one in ended] == [None, None]
    # The one that gave way may lock its first row again before the other one has both.
    assert len(tries) >= 3
    with write_transaction(postgresql) as conn:
        said = conn.execute(text("SELECT DISTINCT holder FROM requirements")).scalars().all()
    # The one that gave way came last.
    assert said == [tries[-1]]


def test_a_conflict_without_end_is_raised() -> None:
    tries: list[int] = []

    @rerun_after_conflict
    def act() -> None:
        tries.append(1)
        raise TransactionConflictError("again")

    with pytest.raises(TransactionConflictError):
        act()
    assert len(tries) == 4
