"""Builds the delivery worker from the settings: hub, partners, agents."""

from __future__ import annotations

import os
import socket

from gateway.config import Agency, Customs, Settings
from gateway.delivery.agents.local import LocalAgent
from gateway.delivery.agents.msh import MshAgent
from gateway.delivery.agents.partner import PartnerAgent
from gateway.delivery.agents.soap import SoapAgent
from gateway.delivery.http import HttpBounds, HttpSender
from gateway.delivery.partners import Partner, Partners
from gateway.delivery.retry import RetryPlan
from gateway.delivery.soap_contracts import contract
from gateway.delivery.worker import Agent, Pace, Worker
from gateway.hub.assembly import build_hub, now
from gateway.hub.calls import CUSTOMS, OutgoingCall
from gateway.hub.hub import Hub
from gateway.hub.warming import warm_up
from gateway.share import folder
from gateway.store import lanes
from gateway.store.engine import transaction

__all__ = ["build_worker", "partners_of"]

_TEMPLATE = "agency-template.wsdl"


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


def build_worker(settings: Settings) -> Worker:
    """Return a worker that delivers for the hub of these settings."""
    composer = _LateComposer()
    hub = build_hub(settings, composer)
    called = partners_of(settings)
    partners = Partners(called, hub.judge, lambda sha256: hub.refresh().by_certificate.get(sha256))
    composer.partners = partners
    warm_up(hub)
    for partner in called.values():
        contract(partner.wsdl)
    _set_lanes(hub, settings)
    delivery = settings.delivery
    pace = Pace(threads=delivery.workers, lease=delivery.lease, poll=delivery.poll.total_seconds())
    name = f"{socket.gethostname()[:40]}/{os.getpid()}"
    return Worker(hub.engine, _agents(hub, settings, partners), now, name=name, pace=pace)


def _agents(hub: Hub, settings: Settings, partners: Partners) -> dict[str, Agent]:
    delivery = settings.delivery
    plan = RetryPlan(delivery.retries, delivery.first_retry, delivery.longest_retry)
    sender = HttpSender(_bounds(settings))
    return {
        "local": LocalAgent(hub, plan),
        "msh": MshAgent(hub, sender),
        "soap": PartnerAgent(hub, SoapAgent(sender, hub.signer, hub.clock), partners, _plans(settings, plan)),
    }


def _plans(settings: Settings, usual: RetryPlan) -> dict[str, RetryPlan]:
    """Return the plan of each partner: its own where the settings say so."""
    called: dict[str, Agency | Customs] = {**settings.agency, CUSTOMS: settings.customs}
    return {
        name: RetryPlan(
            usual.retries if one.retries is None else one.retries,
            one.first_retry or usual.first,
            usual.ceiling,
        )
        for name, one in called.items()
    }


def _bounds(settings: Settings) -> HttpBounds:
    longest = max([one.time_out for one in settings.agency.values()], default=settings.customs.time_out)
    seconds = longest.total_seconds()
    return HttpBounds(connect=min(10.0, seconds), silence=seconds, total=2 * seconds, answer=8 * 1024 * 1024)


def partners_of(settings: Settings) -> dict[str, Partner]:
    """Return the partners that are called over SOAP, by destination."""
    found = {
        code: _partner(code, agency, f"agencies/{code}.wsdl")
        for code, agency in settings.agency.items()
        if agency.channel == "soap" and agency.endpoint
    }
    if settings.customs.endpoint:
        found[CUSTOMS] = _partner(CUSTOMS, settings.customs, "customs.wsdl")
    return found


def _partner(name: str, called: Agency | Customs, own: str) -> Partner:
    wsdl = called.wsdl or (own if folder("wsdl").joinpath(own).is_file() else _TEMPLATE)
    return Partner(wsdl, called.endpoint or "", called.party or name)


def _set_lanes(hub: Hub, settings: Settings) -> None:
    """Let as many calls of each partner run at once as the settings say."""
    with transaction(hub.engine, "delivery.lanes") as conn:
        for code, agency in settings.agency.items():
            lanes.set_capacity(conn, code, agency.lane)
        lanes.set_capacity(conn, CUSTOMS, settings.customs.lane)
