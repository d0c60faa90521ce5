"""What was fetched: one word for each source and subject; what is new raises the epoch."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from gateway.monitor.freshness import standing
from gateway.monitor.metrics import render
from gateway.store import epochs, fetched, payloads
from gateway.store.engine import reading, transaction
from gateway.store.fetched import Word
from tests.kit.rows import NOW

HOUR = timedelta(hours=1)
WORD = Word("", "crl", b"list 1", "CN=Root", "1", NOW, NOW + 4 * HOUR)


def made(engine: Engine, *words: Word, name: str = "root", kind: str = "crl") -> int:
    with transaction(engine) as conn:
        fetched.ensure(conn, name, kind, "http://a/")
        return fetched.take(conn, name, words, NOW)


def test_a_new_word_raises_the_epoch_once_and_keeps_the_old_octets(engine: Engine) -> None:
    counts, seen = [], []
    other = replace(WORD, subject="ab", octets=b"answer")
    for words in ([WORD, other], [WORD, other], [replace(WORD, octets=b"list 2", number="2"), other]):
        counts.append(made(engine, *words))
        with reading(engine) as conn:
            seen.append(epochs.current(conn))
    assert (counts, [one - seen[0] for one in seen]) == ([2, 0, 1], [0, 0, 1])
    with reading(engine) as conn:
        held = fetched.of_source(conn, "root")
        assert {key: (row.number, payloads.get(conn, row.sha256)) for key, row in held.items()} == {
            "": ("2", b"list 2"),
            "ab": ("1", b"answer"),
        }
        assert payloads.get(conn, payloads.sha256(b"list 1")) == b"list 1"


def test_failures_are_counted_until_the_next_success(engine: Engine) -> None:
    made(engine)
    with transaction(engine) as conn:
        assert [fetched.failed(conn, "root", NOW, "GW601", "away") for _ in range(3)] == [1, 2, 3]
    with transaction(engine) as conn:
        fetched.succeeded(conn, "root", NOW + HOUR, '"tag"')
    with reading(engine) as conn:
        row = fetched.source(conn, "root")
    assert row is not None
    assert (row.failures, row.problem, row.fetched_at, row.failed_at) == (0, None, NOW + HOUR, NOW)
    assert row.etag == '"tag"'
    # Another address says nothing about the tag.
    with transaction(engine) as conn:
        assert fetched.ensure(conn, "root", "crl", "http://b/").etag is None


def test_the_delivery_that_was_given_up_is_remembered(engine: Engine) -> None:
    made(engine)
    with transaction(engine) as conn:
        assert [fetched.gave_up(conn, "root", one) for one in (7, 9, None, None)] == [None, 7, 9, None]


def test_what_is_forgotten_is_out_of_force(engine: Engine) -> None:
    made(engine, WORD)
    made(engine, WORD, name="other")
    with transaction(engine) as conn:
        before = epochs.current(conn)
        assert [fetched.forget(conn, "root"), fetched.forget(conn, "root")] == [1, 0]
        assert epochs.current(conn) == before + 1
        assert [row.source for row in fetched.in_force(conn)] == ["other"]
        fetched.drop(conn, "other", [""])
        assert fetched.in_force(conn) == []


@pytest.mark.parametrize(
    ("hours", "warn", "state"),
    [
        (0, None, "fresh"),
        (3, None, "fresh"),
        (3.01, None, "ending"),
        (4, None, "ending"),
        (4.01, None, "stale"),
        (1.5, timedelta(hours=2), "fresh"),
        (2.5, timedelta(hours=2), "ending"),
        (3.5, timedelta(0), "fresh"),
    ],
)
def test_the_operator_is_told_before_it_ends(engine: Engine, hours: float, warn: Any, state: str) -> None:
    made(engine, WORD, replace(WORD, subject="x", octets=b"other", next_update=NOW + 9 * HOUR))
    with reading(engine) as conn:
        (found,) = standing(conn, NOW + hours * HOUR, {"root": ("crl", warn)})
    assert (found.state, found.words) == (state, 2)
    assert (found.remark() is None) == (state == "fresh")


def test_sources_without_words_and_without_settings(engine: Engine) -> None:
    made(engine, WORD, name="left")
    made(engine, name="failing")
    with transaction(engine) as conn:
        fetched.failed(conn, "failing", NOW, "GW601", "GW601 away")
        fetched.ensure(conn, "empty", "ocsp", "http://a/")
        fetched.succeeded(conn, "empty", NOW)
    wanted = dict.fromkeys(("never", "failing", "empty"), ("ocsp", None))
    with reading(engine) as conn:
        found = standing(conn, NOW, wanted)
    assert [(one.name, one.state) for one in found] == [
        ("never", "never"),
        ("failing", "never"),
        ("empty", "fresh"),
        ("left", "left"),
    ]
    told = [one.remark() for one in found]
    assert told[2] is None
    assert "failed 1 times" in str(told[1])
    assert "GW601 away" in str(told[1])
    assert "no more in the settings" in str(told[3])


def test_it_is_measured(engine: Engine) -> None:
    made(engine, WORD)
    with transaction(engine) as conn:
        fetched.succeeded(conn, "root", NOW)
        fetched.failed(conn, "root", NOW, "GW601", "away")
    lines = render(engine, NOW + HOUR).splitlines()
    for name, value in (
        ("fetched_words", 1),
        ("fetched_seconds_left", 3 * 3600),
        ("fetched_age_seconds", 3600),
        ("fetched_ago_seconds", 3600),
        ("fetch_failures", 1),
    ):
        assert f'gateway_{name}{{source="root"}} {value}' in lines
