"""Refused messages are counted by sender and problem, and neither log nor database grows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, Engine

from gateway.errors import PARTY_UNKNOWN, SIGNER_MISMATCH, TRUST_STALE, GatewayError
from gateway.hub.intake.refusal_tally import RefusalTally
from gateway.message_model import MemoryBody
from gateway.monitor.metrics import render_metrics
from gateway.process_log import format_text
from gateway.protocols import Parcel
from gateway.store import read_transaction, refusal_counts
from tests.kit.databases import BOTH_AT_LANDING
from tests.kit.house import START, Clock, House, Neighbour

WRONG = GatewayError(SIGNER_MISMATCH, "CN=x\x1b[2J does not sign for broker1", "ds:Signature")


def stored(engine: Engine) -> list[tuple[str, str, int]]:
    with read_transaction(engine) as conn:
        return [(row.sender, row.problem, row.number) for row in refusal_counts.list_refusals(conn)]


@BOTH_AT_LANDING
def test_a_refused_message_is_counted_for_the_party_it_names(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    house = House(engine)
    broker = Neighbour("broker1", house.clock)
    parcel = broker.seal(broker.message())
    with parcel.body.open_stream() as stream:
        octets = stream.read().replace(b"<a/>", b"<b/>")
    assert b"ErrorList" in house.post(Parcel(parcel.headers, MemoryBody(octets))).body
    ((sender, problem, number),) = stored(engine)
    assert (sender, number) == ("broker1", 1)
    line = format_text(caplog.records[-1])
    assert line.startswith(f"refused a message: {problem} ")
    assert line.endswith(f" partner=broker1 problem={problem}")
    assert f'gateway_refusals{{problem="{problem}"}} 1.0' in render_metrics(engine, START)


def test_many_refusals_are_one_row_and_few_lines(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    tally = RefusalTally(engine, clock)
    for _ in range(500):
        tally.count_refusal("broker1", WRONG)
    clock.forward(minutes=2)
    tally.count_refusal("broker1", WRONG)
    assert stored(engine) == [("broker1", "GW209", 501)]
    lines = [one.message for one in caplog.records]
    assert len(lines) == 2
    assert lines[0].isprintable()
    assert lines[1].endswith("(499 more like this since the last line)")


def test_strangers_share_one_row_for_each_problem(engine: Engine) -> None:
    tally = RefusalTally(engine, Clock())
    for number in range(50):
        tally.count_refusal(None, GatewayError(PARTY_UNKNOWN, f"party {number} is unknown"))
    tally.store_counts()
    assert stored(engine) == [("", "GW302", 50)]


def test_what_cannot_be_stored_now_is_stored_later(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    tally = RefusalTally(engine, clock)
    real: Callable[..., None] = refusal_counts.add_refusals

    def away(conn: Connection, counted: Any) -> None:
        raise OSError("the database is away")

    monkeypatch.setattr(refusal_counts, "add_refusals", away)
    tally.count_refusal("broker1", WRONG)
    tally.count_refusal("broker1", WRONG)
    monkeypatch.setattr(refusal_counts, "add_refusals", real)
    clock.forward(seconds=2)
    tally.count_refusal("broker1", WRONG)
    assert stored(engine) == [("broker1", "GW209", 3)]
    with read_transaction(engine) as conn:
        (row,) = refusal_counts.list_refusals(conn, sender="broker1")
        assert refusal_counts.list_refusals(conn, problem="GW302") == []
    assert row.last_at - row.first_at == timedelta(seconds=2)


def test_what_is_ours_is_counted_and_told_elsewhere(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    tally = RefusalTally(engine, Clock())
    tally.count_refusal("broker1", GatewayError(TRUST_STALE, "evidence has waited too long"))
    assert stored(engine) == [("broker1", "GW804", 1)]
    assert caplog.records == []


@pytest.mark.long
def test_a_new_sender_is_told_however_many_were_told_before(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    tally = RefusalTally(engine, clock)
    for number in range(1100):
        tally.count_refusal(f"party{number}", WRONG)
    clock.forward(minutes=2)
    tally.run_maintenance()
    tally.count_refusal("broker1", WRONG)
    assert format_text(caplog.records[-1]).endswith(" partner=broker1 problem=GW209")


@pytest.mark.parametrize(
    ("sender", "partner"), [(None, '"a sender that is not known"'), ("broker1", "broker1")]
)
def test_the_last_refusals_of_a_period_are_told_when_it_is_over(
    engine: Engine, caplog: pytest.LogCaptureFixture, sender: str | None, partner: str
) -> None:
    clock = Clock()
    tally = RefusalTally(engine, clock)
    for _ in range(4):
        tally.count_refusal(sender, WRONG)
    tally.run_maintenance()
    assert len(caplog.records) == 1
    clock.forward(minutes=2)
    tally.run_maintenance()
    tally.run_maintenance()
    (_, last) = [format_text(record) for record in caplog.records]
    fields = f"partner={partner} problem=GW209"
    assert last == f"refused 3 more messages: GW209 {SIGNER_MISMATCH.title} {fields}"


def test_a_database_that_stays_away_is_told_once_a_minute(
    engine: Engine, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(conn: Connection, counted: Any) -> None:
        raise OSError("the database is away")

    monkeypatch.setattr(refusal_counts, "add_refusals", away)
    clock = Clock()
    tally = RefusalTally(engine, clock)
    tally.count_refusal("broker1", GatewayError(TRUST_STALE, "evidence has waited too long"))
    for _ in range(31):
        clock.forward(seconds=2)
        tally.run_maintenance()
    told = "refused messages cannot be counted in the database now"
    again = f"{told} (29 more like this since the last line)"
    assert [one.message for one in caplog.records] == [told, again]
