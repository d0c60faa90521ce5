"""Builds the delivery worker from the settings: hub, partners, agents."""

from __future__ import annotations

import os
import socket
from typing import Final

from gateway.config import Settings, TimeStamps
from gateway.delivery.agents.fetch import FetchAgent, recurring
from gateway.delivery.agents.local import LocalAgent
from gateway.delivery.agents.msh import MshAgent
from gateway.delivery.agents.partner import PartnerAgent
from gateway.delivery.agents.soap import SoapAgent
from gateway.delivery.agents.tsa import Demand, TsaAgent
from gateway.delivery.http import HttpBounds, HttpSender
from gateway.delivery.partners import Partners
from gateway.delivery.reloading import SettingsFile, WatchedPartners
from gateway.delivery.retry import RetryPlan
from gateway.delivery.schedule import Recurring, Schedule
from gateway.delivery.soap_contracts import contract
from gateway.delivery.tls import Callings, callings_of
from gateway.delivery.worker import Agent, Pace, Worker
from gateway.hub.assembly import build_hub, now
from gateway.hub.calls import CUSTOMS, OutgoingCall
from gateway.hub.hub import Hub
from gateway.hub.trust.sources import AGENT, sources_of
from gateway.hub.warming import warm_up
from gateway.store import lanes
from gateway.store.engine import transaction

__all__ = ["build_worker"]

#: Octets of the answer of a time-stamping authority: more are none.
_MOST_TOKEN: Final = 64 * 1024


class _LateComposer:
    """Stands in for the partners until the hub that judges their certificates is there."""

    def __init__(self) -> None:
        self.partners: Partners | None = None

    def compose(self, call: OutgoingCall) -> bytes:
        """Return the unsigned envelope of a call."""
        if self.partners is None:
            raise RuntimeError("the partners are not set")
        return self.partners.compose(call)

    def knows(self, destination: str) -> bool:
        """Tell whether the destination is configured."""
        return self.partners is not None and self.partners.knows(destination)


def build_worker(settings: Settings, file: SettingsFile | None = None) -> Worker:
    """Return a worker that delivers for the hub of these settings; a change of `file` adds partners."""
    composer = _LateComposer()
    hub = build_hub(settings, composer)
    watched = WatchedPartners(settings, file, lambda changed: _set_lanes(hub, changed))
    partners = Partners(
        watched.partners, hub.judge, lambda sha256: hub.refresh().party_of(sha256, hub.clock()), hub.limits
    )
    composer.partners = partners
    warm_up(hub)
    for partner in watched.partners().values():
        contract(partner.wsdl)
    _set_lanes(hub, settings)
    delivery = settings.delivery
    pace = Pace(
        threads=delivery.workers,
        lease=delivery.lease,
        poll=delivery.poll.total_seconds(),
        crashes=delivery.crashes,
    )
    name = f"{socket.gethostname()[:40]}/{os.getpid()}"
    agents = _agents(hub, settings, (partners, watched))
    turns = _recurring(settings)
    schedule = Schedule(hub.engine, lambda: turns)
    return Worker(hub.engine, agents, now, name=name, pace=pace, schedule=schedule)


def _recurring(settings: Settings) -> tuple[Recurring, ...]:
    """Return what is done again and again."""
    # Without an authority the evidence is sealed all the same: what nobody stamps, our signature holds.
    sealing = Recurring("stamp", "tsa", "evidence", settings.time_stamps.every)
    return (sealing, *recurring(sources_of(settings)))


def _agents(hub: Hub, settings: Settings, called: tuple[Partners, WatchedPartners]) -> dict[str, Agent]:
    partners, watched = called
    delivery = settings.delivery
    plan = RetryPlan(delivery.retries, delivery.first_retry, delivery.longest_retry)
    tls = callings_of(settings, hub)
    sender = HttpSender(_bounds(settings), tls)
    return {
        "local": LocalAgent(hub, plan),
        "msh": MshAgent(hub, sender),
        "soap": PartnerAgent(hub, SoapAgent(sender, lambda: hub.signer, hub.clock), partners, watched.plans),
        "tsa": _tsa(hub, settings.time_stamps, tls),
        AGENT: FetchAgent(hub, sources_of(settings), plan, delivery.lease, tls),
    }


def _tsa(hub: Hub, time_stamps: TimeStamps, tls: Callings) -> TsaAgent:
    seconds = time_stamps.time_out.total_seconds()
    bounds = HttpBounds(min(10.0, seconds), seconds, seconds, _MOST_TOKEN)
    demand = Demand(time_stamps.authorities, time_stamps.policy, time_stamps.skew, time_stamps.retry)
    return TsaAgent(hub, HttpSender(bounds, tls), demand)


def _bounds(settings: Settings) -> HttpBounds:
    longest = max([one.time_out for one in settings.agency.values()], default=settings.customs.time_out)
    return HttpBounds.of(longest)


def _set_lanes(hub: Hub, settings: Settings) -> None:
    """Let as many calls of each partner run at once as the settings say."""
    with transaction(hub.engine, "delivery.lanes") as conn:
        for code, agency in settings.agency.items():
            lanes.set_capacity(conn, code, agency.lane)
        lanes.set_capacity(conn, CUSTOMS, settings.customs.lane)
        for source in sources_of(settings).values():
            lanes.set_capacity(conn, source.lane, 1)
