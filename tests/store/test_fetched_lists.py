"""What was fetched: one word for each source and subject; what is new raises the epoch."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from gateway.monitor import SourceTerm, list_source_freshness
from gateway.monitor.metrics import render_metrics
from gateway.store import (
    NewFetchedList,
    fetched_lists,
    payloads,
    read_transaction,
    register_version,
    write_transaction,
)
from tests.kit.rows import NOW

HOUR = timedelta(hours=1)
WORD = NewFetchedList("", "crl", b"list 1", "CN=Root", "1", NOW, NOW + 4 * HOUR)


def made(engine: Engine, *words: NewFetchedList, name: str = "root", kind: str = "crl") -> int:
    with write_transaction(engine) as conn:
        fetched_lists.ensure_source(conn, name, kind, "http://a/")
        return fetched_lists.activate_lists(conn, name, words, NOW)


@pytest.mark.long
def test_a_new_word_raises_the_epoch_once_and_keeps_the_old_octets(engine: Engine) -> None:
    counts, seen = [], []
    other = replace(WORD, subject="ab", octets=b"answer")
    for words in ([WORD, other], [WORD, other], [replace(WORD, octets=b"list 2", number="2"), other]):
        counts.append(made(engine, *words))
        with read_transaction(engine) as conn:
            seen.append(register_version.get_register_version(conn))
    assert (counts, [one - seen[0] for one in seen]) == ([2, 0, 1], [0, 0, 1])
    with read_transaction(engine) as conn:
        held = fetched_lists.list_by_source(conn, "root")
        assert {
            key: (row.number, payloads.get_payload_octets(conn, row.sha256)) for key, row in held.items()
        } == {
            "": ("2", b"list 2"),
            "ab": ("1", b"answer"),
        }
        assert payloads.get_payload_octets(conn, payloads.compute_sha256(b"list 1")) == b"list 1"


def test_failures_are_counted_until_the_next_success(engine: Engine) -> None:
    made(engine)
    with write_transaction(engine) as conn:
        assert [fetched_lists.record_failure(conn, "root", NOW, "GW601", "away") for _ in range(3)] == [
            1,
            2,
            3,
        ]
    with write_transaction(engine) as conn:
        fetched_lists.record_success(conn, "root", NOW + HOUR, '"tag"')
    with read_transaction(engine) as conn:
        row = fetched_lists.find_source(conn, "root")
    assert row is not None
    assert (row.failures, row.problem, row.fetched_at, row.failed_at) == (0, None, NOW + HOUR, NOW)
    assert row.etag == '"tag"'
    # Another address says nothing about the tag.
    with write_transaction(engine) as conn:
        assert fetched_lists.ensure_source(conn, "root", "crl", "http://b/").etag is None


def test_the_delivery_that_was_given_up_is_remembered(engine: Engine) -> None:
    made(engine)
    with write_transaction(engine) as conn:
        assert [fetched_lists.replace_given_up_delivery(conn, "root", one) for one in (7, 9, None, None)] == [
            None,
            7,
            9,
            None,
        ]


@pytest.mark.long
def test_what_is_forgotten_is_out_of_force(engine: Engine) -> None:
    made(engine, WORD)
    made(engine, WORD, name="other")
    with write_transaction(engine) as conn:
        before = register_version.get_register_version(conn)
        assert [fetched_lists.delete_source(conn, "root"), fetched_lists.delete_source(conn, "root")] == [
            1,
            0,
        ]
        assert register_version.get_register_version(conn) == before + 1
        assert [row.source for row in fetched_lists.list_in_force(conn)] == ["other"]
        fetched_lists.delete_lists(conn, "other", [""])
        assert fetched_lists.list_in_force(conn) == []


@pytest.mark.long
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
    with read_transaction(engine) as conn:
        (found,) = list_source_freshness(conn, NOW + hours * HOUR, {"root": SourceTerm("crl", warn)})
    assert (found.state, found.words) == (state, 2)
    assert (found.format_remark() is None) == (state == "fresh")


@pytest.mark.long
def test_sources_without_words_and_without_settings(engine: Engine) -> None:
    made(engine, WORD, name="left")
    made(engine, name="failing")
    with write_transaction(engine) as conn:
        fetched_lists.record_failure(conn, "failing", NOW, "GW601", "GW601 away")
        fetched_lists.ensure_source(conn, "empty", "ocsp", "http://a/")
        fetched_lists.record_success(conn, "empty", NOW)
    wanted = dict.fromkeys(("never", "failing", "empty"), SourceTerm("ocsp", None))
    with read_transaction(engine) as conn:
        found = list_source_freshness(conn, NOW, wanted)
    assert [(one.name, one.state) for one in found] == [
        ("never", "never"),
        ("failing", "never"),
        ("empty", "fresh"),
        ("left", "left"),
    ]
    told = [one.format_remark() for one in found]
    assert told[2] is None
    assert "failed 1 times" in str(told[1])
    assert "GW601 away" in str(told[1])
    # Another node may have read younger settings, which name it already.
    assert str(told[3]).endswith(", but it is not in the settings of this process")


@pytest.mark.long
def test_it_is_measured(engine: Engine) -> None:
    made(engine, WORD)
    with write_transaction(engine) as conn:
        fetched_lists.record_success(conn, "root", NOW)
        fetched_lists.record_failure(conn, "root", NOW, "GW601", "away")
    lines = render_metrics(engine, NOW + HOUR).splitlines()
    for name, value in (
        ("fetched_words", 1),
        ("fetched_seconds_left", 3 * 3600),
        ("fetched_age_seconds", 3600),
        ("fetched_ago_seconds", 3600),
        ("fetch_failures", 1),
    ):
        assert f'gateway_{name}{{source="root"}} {float(value)}' in lines


def test_several_lists_have_no_number_together(engine: Engine) -> None:
    made(engine, WORD)
    made(engine, *(replace(WORD, subject=number, number=number) for number in ("9", "10")), name="both")
    with read_transaction(engine) as conn:
        summaries = {row.source: row for row in fetched_lists.summarize_sources(conn)}
    assert {name: row.number for name, row in summaries.items()} == {"root": "1", "both": None}
