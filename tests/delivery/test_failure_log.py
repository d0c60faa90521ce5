"""The log tells the operator each failure and its reason, and is not flooded."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from gateway.delivery.failure_log import FailureLog
from gateway.errors import NO_ADDRESS, PARTNER_FAULT, REFUSED_FOR_GOOD, UNREACHABLE, GatewayError, Problem
from gateway.hub.outbox.outgoing_calls import LogLineKey, LogLineLimit
from gateway.process_log import format_text
from gateway.store import DeliveryLease, delivery_maintenance, write_transaction
from tests.flows.test_silence import story
from tests.kit.databases import BOTH_AT_LANDING
from tests.kit.desk import Desk
from tests.kit.house import START, Clock
from tests.kit.story import Story, unreachable

__all__ = ["story"]

DOWN = GatewayError(UNREACHABLE, "Connection refused", "http://kr-a.example/soap")
REFUSED = GatewayError(
    REFUSED_FOR_GOOD, "it answered with a fault", "Body", theirs="fault Client: no\nsuch law"
)


def lease_of(**changes: Any) -> DeliveryLease:
    lease = DeliveryLease(
        id=1, attempt=1, tries=1, lost=0, agent="soap", destination="KR-A", lane="KR-A",
        subject_type="test", subject_id="1", case_id=None, wire_id=None, payload_sha256=None, parameters={},
        created_at=START, expires_at=None, leased_by="w1", lease_until=START,
    )  # fmt: skip
    return replace(lease, **changes)


def lines(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    return [format_text(one) for one in caplog.records if one.levelno == level and "delivery" in one.name]


@BOTH_AT_LANDING
def test_a_failed_delivery_is_one_line_with_both_sentences(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    def act(_: DeliveryLease) -> None:
        raise REFUSED

    desk = Desk(engine, act)
    (number,) = desk.queue()
    desk.worker.run_once()
    text = "GW602 it answered with a fault at Body; they said: fault Client: no such law"
    fields = f"partner=KR-A delivery={number} problem=GW602"
    assert lines(caplog, logging.ERROR) == [f"the delivery has FAILED: {text} {fields}"]


@BOTH_AT_LANDING
def test_a_case_is_named_by_its_number(story: Story, caplog: pytest.LogCaptureFixture) -> None:
    story.say("KPTA", unreachable("Connection refused"))
    story.submit()
    story.tick()
    (line,) = lines(caplog, logging.WARNING)
    assert line.startswith("the delivery failed: GW601 Connection refused; attempt 1, tried again at ")
    assert f" partner=KPTA case={story.case().number} case_id=" in line
    story.tick(hours=1)
    assert "the partner works again partner=KPTA delivery=" in lines(caplog, logging.WARNING)[-1]


@BOTH_AT_LANDING
def test_a_partner_that_is_down_does_not_flood_the_log(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    def act(_: DeliveryLease) -> None:
        raise DOWN

    desk = Desk(engine, act)
    desk.queue(40)
    for _ in range(20):
        desk.worker.run_once()
    assert len(lines(caplog, logging.WARNING)) == 1
    desk.clock.forward(minutes=6)
    desk.worker.run_maintenance()
    assert lines(caplog, logging.WARNING)[-1] == "39 more attempts failed partner=KR-A problem=GW601"


@BOTH_AT_LANDING
def test_what_was_left_out_is_told_before_the_partner_works_again(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    log = FailureLog(engine, clock)
    for number in range(6):
        log.report_attempt(lease_of(id=number), DOWN, clock())
    log.report_success(lease_of(id=7))
    assert lines(caplog, logging.WARNING)[1:] == [
        "5 more attempts failed partner=KR-A problem=GW601",
        "the partner works again partner=KR-A delivery=7",
    ]
    clock.forward(minutes=6)
    log.report_omitted_counts()
    assert len(lines(caplog, logging.WARNING)) == 3


@BOTH_AT_LANDING
def test_final_failures_are_told_one_by_one_within_a_bound(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    def act(_: DeliveryLease) -> None:
        raise REFUSED

    desk = Desk(engine, act)
    desk.queue(11)
    while desk.worker.run_once():
        pass
    assert len(lines(caplog, logging.ERROR)) == 11
    desk.queue(30)
    while desk.worker.run_once():
        pass
    assert len(lines(caplog, logging.ERROR)) == 20


@BOTH_AT_LANDING
def test_another_problem_of_the_same_partner_is_told_at_once(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    said = iter((DOWN, GatewayError(PARTNER_FAULT, "it answered with a fault", theirs="fault Server: busy")))

    def act(_: DeliveryLease) -> None:
        raise next(said)

    desk = Desk(engine, act)
    desk.queue(2)
    desk.worker.run_once()
    assert [line.split(": ", 1)[1][:5] for line in lines(caplog, logging.WARNING)] == ["GW601", "GW608"]


def test_strangers_cannot_fill_the_memory_of_the_limit() -> None:
    limit = LogLineLimit(period=START - START.replace(year=START.year - 1))
    for number in range(5000):
        limit.admit_line(LogLineKey(str(number), "GW601"), START)
    assert len(limit._periods) <= 1000


@BOTH_AT_LANDING
def test_a_task_of_the_hub_says_nothing_about_a_partner_that_works_again(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    log = FailureLog(engine, clock)
    task = lease_of(agent="local", destination="local", parameters={"task": "admit"})
    log.report_attempt(task, GatewayError(NO_ADDRESS, "no address", "agency.KR-A.endpoint"), clock())
    log.report_attempt(lease_of(id=2), DOWN, clock())
    log.report_success(lease_of(id=3, agent="local", destination="local"))
    assert len(lines(caplog, logging.WARNING)) == 2
    log.report_success(lease_of(id=4))
    assert lines(caplog, logging.WARNING)[-1] == "the partner works again partner=KR-A delivery=4"
    assert not any("works again partner=local" in line for line in lines(caplog, logging.WARNING))


@BOTH_AT_LANDING
@pytest.mark.parametrize("problem", [UNREACHABLE, NO_ADDRESS])
def test_a_lost_lease_is_not_told_as_a_repeat(
    engine: Engine, caplog: pytest.LogCaptureFixture, problem: Problem
) -> None:
    def act(_: DeliveryLease) -> None:
        with write_transaction(engine) as conn:
            delivery_maintenance.reclaim_lost_leases(conn, desk.clock() + timedelta(hours=1), "w2")
        raise GatewayError(problem, "it is away", "there")

    desk = Desk(engine, act)
    (number,) = desk.queue()
    desk.worker.run_once()
    assert lines(caplog, logging.WARNING) == [
        f"the delivery was taken over by another worker delivery={number}"
    ]
    assert desk.events(number) == ["lease", "lease_lost"]
