"""What is due is claimed in the transaction that finds it; where nothing is due, nothing is committed."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from sqlalchemy import Connection, Engine

from gateway.store import engine as engine_room
from gateway.store import lanes, read_transaction, run_claim


def names(engine: Engine) -> set[str]:
    with read_transaction(engine) as conn:
        return set(lanes.find_lanes(conn, ["KR-A", "KR-B"]))


def claim(conn: Connection, due: Sequence[str]) -> list[str]:
    lanes.ensure_lanes(conn, *due)
    return list(due)


def test_what_is_found_is_claimed_and_committed(engine: Engine) -> None:
    assert run_claim(engine, "t", lambda _: ["KR-A"], claim) == ["KR-A"]
    assert names(engine) == {"KR-A"}


def test_without_anything_due_nothing_is_claimed_or_committed(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed: list[tuple[str, ...]] = []
    monkeypatch.setattr(engine_room, "kill_at_failpoint", lambda *words: passed.append(words))

    def find(conn: Connection) -> list[str]:
        return list(lanes.find_lanes(conn, ["KR-B"]))

    assert run_claim(engine, "t", find, claim) is None
    assert passed == []
    assert run_claim(engine, "t", lambda _: ["KR-A"], lambda *_: "claimed") == "claimed"
    assert passed == [("t", "before_commit"), ("t", "after_commit")]
    assert names(engine) == set()


def test_a_claim_that_fails_leaves_nothing(engine: Engine) -> None:
    def fail(conn: Connection, due: Sequence[str]) -> None:
        claim(conn, due)
        raise LookupError

    with pytest.raises(LookupError):
        run_claim(engine, "t", lambda _: ["KR-B"], fail)
    assert names(engine) == set()
