"""Builds the delivery worker from the settings: hub, partners, agents."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final

from sqlalchemy import Engine

from gateway.config import Settings, TimeStampSettings
from gateway.delivery.agents import (
    ConsoleMailbox,
    FetchAgent,
    HopAgent,
    LocalAgent,
    MshAgent,
    PartnerAgent,
    PaymentAgent,
    PullAgent,
    TimeStampAgent,
    WebhookAgent,
    list_pull_tasks,
    list_recurring_fetches,
)
from gateway.delivery.alive_file import AliveFile
from gateway.delivery.attempt_outcome import DeliveryAgent, RetryPlan
from gateway.delivery.delivery_worker import DeliveryWorker, WorkerSettings
from gateway.delivery.http_client import HttpClient, HttpLimits
from gateway.delivery.partner_directory import (
    PartnerDirectory,
    PartnerSettings,
    SettingsFile,
    find_expected_wsdl,
)
from gateway.delivery.recurring_schedule import RecurringSchedule, RecurringTask
from gateway.delivery.service_contracts import load_contract
from gateway.delivery.soap_client import SoapCaller
from gateway.delivery.tls_connectors import HostLogins, PerHostConnector
from gateway.hub import (
    AGENT,
    CUSTOMS,
    AgencyKeys,
    Hub,
    build_hub,
    build_hub_base,
    build_wire_limits,
    get_current_time,
    get_node_name,
    is_public_address,
    maintain_hub,
    read_fetch_sources,
    run_upkeep_steps,
    warm_up_hub,
)
from gateway.store import StoreWatch, lanes, retry_until_stored, write_transaction

#: Octets of the answer of a time-stamping authority; no valid answer is larger.
_MAX_TOKEN_OCTETS: Final = 64 * 1024
#: A webhook answers at once; only the status of its answer is read.
_WEBHOOK_LIMITS: Final = HttpLimits(5.0, 10.0, 20.0, 64 * 1024)


def build_worker(
    settings: Settings,
    settings_file: SettingsFile | None = None,
    wait: Callable[[float], object] = time.sleep,
) -> DeliveryWorker:
    """Return the worker of the hub of these settings; a change of `settings_file` reloads the partners.

    It is there when the database takes a write; see `retry_until_stored` for `wait`.
    """
    base = build_hub_base(settings)
    partner_settings = PartnerSettings(settings, settings_file, partial(_set_lane_capacities, base.engine))
    partners = PartnerDirectory(
        partner_settings.get_partners,
        base.register.judge,
        lambda sha256: base.register.get_snapshot().find_certificate_party(sha256, get_current_time()),
        build_wire_limits(settings.limits),
        partial(find_expected_wsdl, settings),
    )
    hub = build_hub(settings, partners, base=base)
    warm_up_hub(hub)
    for partner in partner_settings.get_partners().values():
        load_contract(partner.wsdl)
    retry_until_stored(lambda: _set_lane_capacities(base.engine, settings), wait=wait)
    delivery = settings.delivery
    worker_settings = WorkerSettings(
        threads=delivery.workers,
        lease_time=delivery.lease,
        poll_seconds=delivery.poll.total_seconds(),
        max_crashes=delivery.crashes,
        min_uptime=delivery.steady,
    )
    worker_name = f"{get_node_name(settings)}/{os.getpid()}"
    store_watch = StoreWatch(hub.engine)
    store_watch.ask()
    agents = _build_agents(hub, settings, partners, partner_settings)
    recurring_tasks = _list_recurring_tasks(settings)
    schedule = RecurringSchedule(
        hub.engine, lambda: recurring_tasks, lambda: list_pull_tasks(hub, delivery.pull_every)
    )
    return DeliveryWorker(
        hub.engine,
        agents,
        hub.clock,
        name=worker_name,
        worker_settings=worker_settings,
        schedule=schedule,
        maintain_hub=partial(_maintain_node, hub, store_watch),
        find_drain=lambda: hub.node.find_drain_problem() or store_watch.problem,
        alive_file=AliveFile(delivery.alive_folder),
    )


def _maintain_node(hub: Hub, store_watch: StoreWatch) -> None:
    """Do the regular upkeep of the hub; before, check that the store of large payloads is the right one."""
    run_upkeep_steps(store_watch.ask, partial(maintain_hub, hub))


def _list_recurring_tasks(settings: Settings) -> tuple[RecurringTask, ...]:
    """Return the recurring tasks."""
    # Without an authority the evidence is sealed all the same: our own signature then protects it.
    sealing_task = RecurringTask("stamp", "tsa", "evidence", settings.time_stamps.every)
    return (sealing_task, *list_recurring_fetches(read_fetch_sources(settings)))


def _build_agents(
    hub: Hub, settings: Settings, partners: PartnerDirectory, partner_settings: PartnerSettings
) -> dict[str, DeliveryAgent]:
    """Return the delivery agents, by the name that a delivery has in its column `agent`."""
    delivery = settings.delivery
    retry_plan = RetryPlan(delivery.retries, delivery.first_retry, delivery.longest_retry)
    tls_connector = build_tls_connector(settings, hub)
    logins = HostLogins(settings.tls)
    http_client = HttpClient(
        _get_http_limits(settings), tls_connector, find_authorization=logins.find_authorization
    )
    return {
        "local": LocalAgent(hub, retry_plan),
        "msh": MshAgent(hub, http_client),
        "hop": HopAgent(hub, http_client),
        "pull": PullAgent(hub, http_client, _get_pull_limits(settings), delivery.pull_every),
        "soap": PartnerAgent(
            hub,
            SoapCaller(http_client, lambda: hub.signer, hub.clock),
            partners,
            partner_settings.get_retry_plans,
            ConsoleMailbox(hub, partners, AgencyKeys(partner_settings.get_settings)),
        ),
        "payment": PaymentAgent(
            hub, _build_payment_client(settings, tls_connector), settings.fees, retry_plan
        ),
        "webhook": _build_webhook_agent(hub, settings, tls_connector),
        "tsa": _build_time_stamp_agent(hub, settings.time_stamps, tls_connector),
        AGENT: FetchAgent(hub, read_fetch_sources(settings), retry_plan, delivery.lease, tls_connector),
    }


def _build_payment_client(settings: Settings, tls: PerHostConnector) -> HttpClient:
    seconds = settings.fees.time_out.total_seconds()
    return HttpClient(HttpLimits(min(10.0, seconds), seconds, 2 * seconds, _MAX_TOKEN_OCTETS), tls)


def _build_webhook_agent(hub: Hub, settings: Settings, tls: PerHostConnector) -> WebhookAgent:
    api = settings.api
    is_allowed = None if api.webhook_private_addresses else is_public_address
    return WebhookAgent(hub, HttpClient(_WEBHOOK_LIMITS, tls, is_allowed=is_allowed), api)


def _build_time_stamp_agent(
    hub: Hub, time_stamps: TimeStampSettings, tls: PerHostConnector
) -> TimeStampAgent:
    seconds = time_stamps.time_out.total_seconds()
    limits = HttpLimits(min(10.0, seconds), seconds, seconds, _MAX_TOKEN_OCTETS)
    return TimeStampAgent(hub, HttpClient(limits, tls), time_stamps)


def _get_http_limits(settings: Settings) -> HttpLimits:
    max_time_out = max(
        [agency.time_out for agency in settings.agency.values()], default=settings.customs.time_out
    )
    return HttpLimits.from_time_out(max_time_out)


def _get_pull_limits(settings: Settings) -> HttpLimits:
    """Return the limits of an answer that brings a message: as large as one that is posted to the hub."""
    return replace(_get_http_limits(settings), max_answer_octets=settings.limits.body)


def _set_lane_capacities(engine: Engine, settings: Settings) -> None:
    """Set how many calls of each partner may run at once, as the settings say."""
    with write_transaction(engine, "delivery.lanes") as conn:
        for agency_code, agency in settings.agency.items():
            lanes.set_lane_capacity(conn, agency_code, agency.lane)
        lanes.set_lane_capacity(conn, CUSTOMS, settings.customs.lane)
        for source in read_fetch_sources(settings).values():
            lanes.set_lane_capacity(conn, source.lane, 1)


def build_tls_connector(settings: Settings, hub: Hub) -> PerHostConnector:
    """Return the TLS connector of these settings; raises GW801 and GW803 for unusable settings."""
    return PerHostConnector(settings.tls, lambda: (hub.judge.revocations, hub.clock()))
