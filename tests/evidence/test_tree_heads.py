"""Heads follow one another without a gap, whoever seals."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Connection, Engine, func, select, update

from gateway.errors import GatewayError
from gateway.evidence import (
    TrustedEvidence,
    VerificationReport,
    record_evidence,
    tree_heads,
    verify_all_evidence,
)
from gateway.evidence.merkle_tree import EMPTY
from gateway.store import NewTimeStamp, find_unstamped_since, make_engine, read_transaction, write_transaction
from gateway.store.time_stamps import compute_stamping_progress, insert_time_stamp
from tests.kit import tables
from tests.kit.databases import BOTH_AT_LANDING

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def checked(conn: Connection, *kept_heads: str) -> VerificationReport:
    return verify_all_evidence(conn, TrustedEvidence(frozenset(), heads=kept_heads))


def recorded(engine: Engine, number: int, at: datetime = NOON) -> None:
    with write_transaction(engine) as conn:
        for one in range(number):
            record_evidence(conn, "NRO", "message", one, None, {"n": one}, at)


def gathered(engine: Engine) -> tree_heads.TreeHead | None:
    with read_transaction(engine) as conn:
        return tree_heads.make_next_head(conn, "hub", NOON)


def stored(engine: Engine, head: tree_heads.TreeHead | None) -> bool:
    assert head is not None
    with write_transaction(engine) as conn:
        return tree_heads.store_head(conn, head)


@BOTH_AT_LANDING
def test_of_two_that_seal_the_same_leaves_one_does(engine: Engine) -> None:
    recorded(engine, 3)
    first, second = gathered(engine), gathered(engine)
    recorded(engine, 2)
    later = gathered(engine)
    assert stored(engine, first)
    assert not stored(engine, second)
    assert not stored(engine, later)
    assert stored(engine, gathered(engine))
    assert gathered(engine) is None
    with read_transaction(engine) as conn:
        assert [(row.first_seq, row.last_seq) for row in tree_heads.list_heads(conn)] == [(1, 3), (4, 5)]
        assert checked(conn).leaves == 5


@BOTH_AT_LANDING
def test_a_head_adds_no_more_than_one_transaction_should(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree_heads, "MOST_LEAVES", 4)
    recorded(engine, 10)
    sizes = []
    while (head := gathered(engine)) is not None:
        assert stored(engine, head)
        sizes.append(len(head.leaf_ids))
    assert sizes == [4, 4, 2]
    with read_transaction(engine) as conn:
        assert checked(conn).heads == 3


def test_rows_that_were_committed_late_get_their_place_too(postgresql_url: str) -> None:
    """PostgreSQL numbers rows before they are committed: one may appear behind those that follow it."""
    engine = make_engine(postgresql_url)
    with write_transaction(engine) as slow:
        record_evidence(slow, "NRO", "message", 1, None, {}, NOON)
        recorded(engine, 2)
        assert stored(engine, gathered(engine))
    assert stored(engine, gathered(engine))
    with read_transaction(engine) as conn:
        assert checked(conn).leaves == 3
        assert conn.execute(select(func.count()).where(tables.evidence.c.seq.is_(None))).scalar_one() == 0
    engine.dispose()


@BOTH_AT_LANDING
def test_what_waits_for_a_stamp_is_known(engine: Engine) -> None:
    def since() -> datetime | None:
        with read_transaction(engine) as conn:
            return find_unstamped_since(conn)

    def stamp(seal: int) -> None:
        with write_transaction(engine) as conn:
            insert_time_stamp(conn, NewTimeStamp(seal, "http://tsa.example/", NOON, "1.2", "7", b"x"), NOON)

    assert since() is None
    recorded(engine, 2, NOON)
    assert since() == NOON
    assert stored(engine, gathered(engine))
    assert since() == NOON
    recorded(engine, 1, NOON + MINUTE)
    stamp(1)
    stamp(1)
    assert since() == NOON + MINUTE
    assert stored(engine, gathered(engine))
    assert since() == NOON + MINUTE
    stamp(2)
    assert since() is None
    with read_transaction(engine) as conn:
        found = compute_stamping_progress(conn)
    assert (found.sealed, found.stamped, found.last_stamp) == (3, 3, NOON)


@BOTH_AT_LANDING
def test_a_place_that_is_missing_is_found(engine: Engine) -> None:
    recorded(engine, 3)
    assert stored(engine, gathered(engine))
    with write_transaction(engine) as conn:
        conn.execute(tables.evidence.delete().where(tables.evidence.c.seq == 3))
    with read_transaction(engine) as conn, pytest.raises(GatewayError, match="leaf 3 is missing"):
        checked(conn)


def seal_each_leaf(engine: Engine, number: int) -> list[str]:
    """Record leaves, and seal each of them under a head of its own; return the texts of the heads."""
    for _ in range(number):
        recorded(engine, 1)
        assert stored(engine, gathered(engine))
    with read_transaction(engine) as conn:
        return [row.head for row in tree_heads.list_heads(conn)]


def cut_log(engine: Engine, size: int, *, are_leaves_removed: bool) -> None:
    """Remove the heads behind a number of leaves, and these leaves or their numbers."""
    behind = tables.evidence.c.seq > size
    with write_transaction(engine) as conn:
        conn.execute(tables.seals.delete().where(tables.seals.c.last_seq > size))
        leaves = tables.evidence.delete() if are_leaves_removed else update(tables.evidence).values(seq=None)
        conn.execute(leaves.where(behind))


@pytest.mark.parametrize("are_leaves_removed", [True, False])
def test_a_tail_that_was_cut_off_is_missed_by_each_kept_head_over_it(
    engine: Engine, are_leaves_removed: bool
) -> None:
    """A single leaf less than a head covers is too little, whichever of the kept heads that is."""
    heads = seal_each_leaf(engine, 3)
    for size in (3, 2, 1, 0):
        cut_log(engine, size, are_leaves_removed=are_leaves_removed)
        for kept_sizes in [(1,), (2,), (3,), (1, 2), (3, 1), (1, 3, 2)]:
            kept_heads = [heads[kept_size - 1] for kept_size in kept_sizes]
            with read_transaction(engine) as conn:
                if max(kept_sizes) <= size:
                    assert checked(conn, *kept_heads).leaves == size
                    continue
                lacking = f"GW805.*of {max(kept_sizes)} leaves under a head that was kept {size} are sealed"
                with pytest.raises(GatewayError, match=lacking):
                    checked(conn, *kept_heads)


@pytest.mark.parametrize("wrong_size", [1, 2, 3])
def test_another_past_is_missed_by_each_kept_head_over_it(engine: Engine, wrong_size: int) -> None:
    heads = seal_each_leaf(engine, 3)
    with read_transaction(engine) as conn:
        assert checked(conn, *heads).leaves == 3
    wrong_tree = EMPTY.append_leaves([b"\1" * 32] * wrong_size)
    wrong_head = tree_heads.format_head_text("hub", wrong_tree, NOON)
    for kept_heads in ([wrong_head], [wrong_head, *heads], [*heads, wrong_head]):
        with (
            read_transaction(engine) as conn,
            pytest.raises(GatewayError, match=f"the first {wrong_size} leaves"),
        ):
            checked(conn, *kept_heads)
