"""A hub that serves, a worker that fetches for it, and an authority's web server, on one moved clock."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from gateway.config import FetchSettings
from gateway.delivery.agents import FetchAgent, list_recurring_fetches
from gateway.delivery.attempt_outcome import RetryPlan
from gateway.delivery.delivery_worker import DeliveryWorker, WorkerSettings
from gateway.delivery.recurring_schedule import RecurringSchedule
from gateway.hub import Hub
from gateway.hub.trust.fetch_sources import AGENT, FetchSource
from gateway.message_model import ErrorSignal
from gateway.store import (
    deliveries,
    fetched_lists,
    lanes,
    read_transaction,
    register_version,
    write_transaction,
)
from gateway_conformance.pki import make_revocation_list
from tests.kit.house import START, House, Neighbour, authority, signer_named
from tests.kit.publisher import Publisher

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
LIST = "/root.crl"


def crl(number: int, *revoked: str, starts: datetime = START, ends: timedelta = DAY, by: Any = None) -> bytes:
    serials = [signer_named(name).certificate.serial for name in revoked]
    return make_revocation_list(by or authority(), serials, starts, starts + ends, number=number)


@dataclass
class Post:
    """A house, a worker of its own process that fetches, and a broker."""

    house: House
    publisher: Publisher
    sources: dict[str, FetchSource] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.broker = Neighbour("broker1", self.house.clock)
        self.hub: Hub = self.house.new_hub()

    def source(self, name: str = "root", path: str = LIST, **words: Any) -> FetchSource:
        settings = FetchSettings(
            **{
                "kind": "crl",
                "url": self.publisher.url + path,
                "issuer": Path("ca.pem"),
                "time_out": 30,
                **words,
            }
        )
        made = self.sources[name] = FetchSource(name, settings, authority().certificate, None)
        with write_transaction(self.house.engine) as conn:
            lanes.set_lane_capacity(conn, made.lane, 1)
        return made

    def worker(self, name: str = "w1") -> DeliveryWorker:
        plan = RetryPlan(12, timedelta(seconds=10), max_delay=timedelta(seconds=10))
        agent = FetchAgent(self.hub, self.sources, plan, timedelta(seconds=60))
        schedule = RecurringSchedule(self.house.engine, lambda: list_recurring_fetches(self.sources))
        return DeliveryWorker(
            self.house.engine,
            {AGENT: agent},
            self.house.clock,
            name=name,
            worker_settings=WorkerSettings(lease_time=timedelta(seconds=60)),
            schedule=schedule,
        )

    def turn(self) -> None:
        """Queue what is due and fetch it."""
        worker = self.worker()
        worker.run_maintenance()
        worker.run_once()

    def said(self) -> str:
        """Return what the serving process says to the broker's next message."""
        unit = self.broker.open(self.house.post(self.broker.seal(self.broker.message()))).unit
        return unit.errors[0].description[:5] if isinstance(unit, ErrorSignal) else "taken"

    def row(self, name: str = "root") -> Any:
        with read_transaction(self.house.engine) as conn:
            return fetched_lists.find_source(conn, name)

    def held(self, name: str = "root", subject: str = "") -> Any:
        with read_transaction(self.house.engine) as conn:
            return fetched_lists.list_by_source(conn, name).get(subject)

    def queue(self, state: str) -> list[Any]:
        with read_transaction(self.house.engine) as conn:
            return list(deliveries.list_deliveries(conn, agent=AGENT, state=state))

    @property
    def epoch(self) -> int:
        with read_transaction(self.house.engine) as conn:
            return register_version.get_register_version(conn)
