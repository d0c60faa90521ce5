"""The metrics compare times of the database with a time that is no older than what they read of it."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event

from gateway.monitor import metrics
from gateway.store import (
    NewFetchedList,
    StampingProgress,
    deliveries,
    fetched_lists,
    get_database_state,
    make_engine,
    write_transaction,
)
from tests.kit.databases import BOTH_AT_LANDING
from tests.kit.rows import NOW, delivery, later

HOUR = timedelta(hours=1)
LIST = NewFetchedList("", "crl", b"list 1", "CN=Root", "1", NOW, NOW + HOUR)


def measure(text: str, name: str) -> float:
    """Return the only value of a metric."""
    (value,) = re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.MULTILINE)
    return float(value)


def store_fetch(conn: Connection, at: datetime) -> None:
    """Store a list, and a delivery of the same time."""
    deliveries.enqueue_delivery(conn, delivery(), at)
    fetched_lists.ensure_source(conn, "root", "crl", "http://a/")
    fetched_lists.activate_lists(conn, "root", (LIST,), at)
    fetched_lists.record_success(conn, "root", at)


@BOTH_AT_LANDING
def test_what_is_stored_while_metrics_wait_for_a_connection_is_not_ahead_of_the_clock(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "_UNTOLD_DIFFERENCE", timedelta())
    monkeypatch.setattr(metrics, "_measure_age", lambda at, time: (at - time).total_seconds())
    hub = make_engine(engine.url.render_as_string(hide_password=False))
    sqlite = get_database_state(engine).sqlite
    stored_at: list[datetime] = []

    def store_meanwhile(*_: Any) -> None:
        if not stored_at:
            stored_at.append(datetime.now(UTC))
            with write_transaction(hub) as conn:
                store_fetch(conn, stored_at[0])

    event.listen(engine if sqlite is None else sqlite.readers, "checkout", store_meanwhile)
    text = metrics.render_metrics(engine)
    assert len(stored_at) == 1
    assert measure(text, "gateway_clock_set_back_seconds") == 0
    assert measure(text, "gateway_fetched_ago_seconds") >= 0
    hub.dispose()


def test_times_of_a_server_are_compared_with_its_clock(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead = datetime.now(UTC) + HOUR
    with write_transaction(engine) as conn:
        store_fetch(conn, ahead)
    monkeypatch.setattr(metrics, "read_database_time", lambda conn: ahead + timedelta(seconds=5))
    text = metrics.render_metrics(engine)
    assert measure(text, "gateway_clock_set_back_seconds") == 0
    assert measure(text, "gateway_fetched_ago_seconds") == 5


@pytest.mark.parametrize(("ahead", "told"), [(1.9, 0), (2.1, 2.1)])
def test_a_small_difference_of_clocks_is_no_clock_that_was_set_back(
    engine: Engine, ahead: float, told: float
) -> None:
    with write_transaction(engine) as conn:
        store_fetch(conn, later(ahead))
    assert measure(metrics.render_metrics(engine, NOW), "gateway_clock_set_back_seconds") == told


def test_nothing_is_younger_than_now(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    # The clocks of an authority and of an issuer of lists may be ahead of that of the hub.
    progress = StampingProgress(1, 1, later(1), later(1))
    monkeypatch.setattr(metrics.time_stamps, "compute_stamping_progress", lambda conn: progress)
    with write_transaction(engine) as conn:
        store_fetch(conn, later(1))
    text = metrics.render_metrics(engine, later(-1))
    for name in ("time_stamp", "evidence_unstamped", "fetched_ago", "fetched_age"):
        assert measure(text, f"gateway_{name}_seconds") == 0
    # What ends may have ended.
    assert measure(metrics.render_metrics(engine, NOW + 2 * HOUR), "gateway_fetched_seconds_left") == -3600
