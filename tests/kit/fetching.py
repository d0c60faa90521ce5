"""A hub that serves, a worker that fetches for it, and an authority's web server, on one moved clock."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from gateway.config.fetching import Fetch
from gateway.delivery.agents.fetch import FetchAgent, recurring
from gateway.delivery.retry import RetryPlan
from gateway.delivery.schedule import Schedule
from gateway.delivery.worker import Pace, Worker
from gateway.hub.hub import Hub
from gateway.hub.trust.sources import AGENT, Source
from gateway.model import ErrorSignal
from gateway.pki.issue import make_crl
from gateway.store import deliveries, epochs, fetched, lanes
from gateway.store.engine import reading, transaction
from tests.kit.house import START, House, Neighbour, authority, signer_named
from tests.kit.publisher import Publisher

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
LIST = "/root.crl"


def crl(number: int, *revoked: str, starts: datetime = START, ends: timedelta = DAY, by: Any = None) -> bytes:
    serials = [signer_named(name).certificate.serial for name in revoked]
    return make_crl(by or authority(), serials, starts, starts + ends, number=number)


@dataclass
class Post:
    """A house, a worker of its own process that fetches, and a broker."""

    house: House
    publisher: Publisher
    sources: dict[str, Source] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.broker = Neighbour("broker1", self.house.clock)
        self.hub: Hub = self.house.new_hub()

    def source(self, name: str = "root", path: str = LIST, **words: Any) -> Source:
        settings = Fetch(
            **{
                "kind": "crl",
                "url": self.publisher.url + path,
                "issuer": Path("ca.pem"),
                "time_out": 30,
                **words,
            }
        )
        made = self.sources[name] = Source(name, settings, authority().certificate, None)
        with transaction(self.house.engine) as conn:
            lanes.set_capacity(conn, made.lane, 1)
        return made

    def worker(self, name: str = "w1") -> Worker:
        plan = RetryPlan(12, timedelta(seconds=10), ceiling=timedelta(seconds=10))
        agent = FetchAgent(self.hub, self.sources, plan, timedelta(seconds=60))
        schedule = Schedule(self.house.engine, lambda: recurring(self.sources))
        return Worker(
            self.house.engine,
            {AGENT: agent},
            self.house.clock,
            name=name,
            pace=Pace(lease=timedelta(seconds=60)),
            schedule=schedule,
        )

    def turn(self) -> None:
        """Queue what is due and fetch it."""
        worker = self.worker()
        worker.keep_up()
        worker.run_once()

    def said(self) -> str:
        """Return what the serving process says to the broker's next message."""
        unit = self.broker.open(self.house.post(self.broker.seal(self.broker.message()))).unit
        return unit.errors[0].description[:5] if isinstance(unit, ErrorSignal) else "taken"

    def row(self, name: str = "root") -> Any:
        with reading(self.house.engine) as conn:
            return fetched.source(conn, name)

    def held(self, name: str = "root", subject: str = "") -> Any:
        with reading(self.house.engine) as conn:
            return fetched.of_source(conn, name).get(subject)

    def queue(self, state: str) -> list[Any]:
        with reading(self.house.engine) as conn:
            return list(deliveries.search(conn, agent=AGENT, state=state))

    @property
    def epoch(self) -> int:
        with reading(self.house.engine) as conn:
            return epochs.current(conn)
