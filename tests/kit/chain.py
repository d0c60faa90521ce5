"""A broker, a hop and a hub in one process: every POST between them goes over a wire that tests cut.

The hop is a gateway of its own, on a database of its own, with forwarding rules and no agreement.
"""

from __future__ import annotations

import itertools
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from sqlalchemy import Engine

from gateway.agreements import ForwardingRule, ForwardingTable
from gateway.cli.registration import register_certificate
from gateway.delivery.agents import HopAgent, LocalAgent, MshAgent
from gateway.delivery.delivery_worker import DeliveryWorker, WorkerSettings
from gateway.delivery.http_answer_reader import HttpAnswer
from gateway.errors import UNREACHABLE, GatewayError
from gateway.hub import Hub, RejectingComposer, make_rule_columns, receive_parcel
from gateway.hub.hub import HubResources
from gateway.message_model import AckRequest, MemoryBody, PartyId, Payload
from gateway.protocols import Parcel, ProtocolContext
from gateway.store import (
    HttpResponse,
    agreements,
    deliveries,
    messages,
    parties,
    read_transaction,
    write_transaction,
)
from gateway.wire import serialize_element
from tests.kit.house import (
    AGREEMENT,
    EBMS2,
    PARTY_TYPE,
    Clock,
    Neighbour,
    build_hub,
    signer_named,
)
from tests.kit.story import LABEL, PLAN, Story

__all__ = ["BROKER", "HOP", "HUB", "Chain", "Hop", "Wire", "agreement_by_hop", "rule"]

BROKER, HOP, HUB = "http://broker.example/msh", "http://hop.example/msh", "http://hub.example/msh"


SIGNED = AckRequest(signed=True)


def agreement_by_hop(agreement: bytes = AGREEMENT) -> bytes:
    """Return an agreement between broker and hub in which each reaches the other through the hop."""
    by_hop = agreement.replace(b"http://127.0.0.1:8901/msh/ebms2", HOP.encode())
    return by_hop.replace(b"http://127.0.0.1:8900/msh/ebms2", HOP.encode())


def rule(to: str, endpoint: str, *senders: str, **changes: Any) -> ForwardingRule:
    """Return a rule that sends what is for a party to its own handler."""
    made = ForwardingRule(PartyId(to, PARTY_TYPE), to, endpoint, senders)
    return replace(made, **changes)


@dataclass
class Wire:
    """Takes every POST to the handler at its address; `troubles` are met before it is handed over."""

    handlers: dict[str, Callable[[Parcel], HttpResponse]] = field(default_factory=dict)
    posted: list[tuple[str, Parcel]] = field(default_factory=list)
    troubles: dict[str, deque[Any]] = field(default_factory=dict)

    def post(self, url: str, headers: dict[str, str], body: bytes) -> HttpAnswer:
        """Bring a POST to its handler, or fail as the test has laid out."""
        parcel = Parcel(headers, MemoryBody(body))
        self.posted.append((url, parcel))
        laid = self.troubles.get(url)
        trouble = laid.popleft() if laid else None
        if isinstance(trouble, Exception):
            raise trouble
        if isinstance(trouble, HttpAnswer):
            return trouble
        if trouble == "answer lost":
            self.handlers[url](parcel)
            raise GatewayError(UNREACHABLE, "timed out")
        if callable(trouble):
            parcel = trouble(parcel)
        answer = self.handlers[url](parcel)
        headers = {name.lower(): value for name, value in answer.headers.items()}
        return HttpAnswer(answer.status, headers, answer.body)

    def to(self, url: str) -> list[Parcel]:
        """Return what was posted to an address."""
        return [parcel for where, parcel in self.posted if where == url]


class ChainBroker(Neighbour):
    """A broker that knows the hop: its key, and that what is for the hub goes there."""

    def context(self) -> ProtocolContext:
        known = super().context()
        hop = signer_named("hop").certificate.sha256
        return replace(
            known,
            find_certificate_party=lambda sha256: (
                "hop" if sha256 == hop else known.find_certificate_party(sha256)
            ),
            find_party_name=lambda one: (
                "hop" if one == PartyId("hop", PARTY_TYPE) else known.find_party_name(one)
            ),
            forwarding=ForwardingTable([rule("hub", HOP, "broker1", next_party="hop")]),
        )


class Hop:
    """A gateway that only passes messages on."""

    def __init__(self, engine: Engine, clock: Clock, wire: Wire, *rules: ForwardingRule) -> None:
        self.engine, self.clock = engine, clock
        now = clock()
        with write_transaction(engine) as conn:
            for name, role in (("hop", "hub"), ("hub", "applicant"), ("broker1", "applicant")):
                parties.register_party(conn, name, name.title(), role, now, [PartyId(name, PARTY_TYPE)])
                register_certificate(conn, name, signer_named(name).certificate.der, now)
            for one in rules:
                agreements.insert_forwarding_rule(conn, make_rule_columns(one), now)
        self._numbers = itertools.count(1)
        self.hub = self.new_hub()
        self.wire = wire
        self.worker = self.new_worker("h1")

    def new_hub(self) -> Hub:
        """Return the hub of the hop as a newly started process has it."""
        world = HubResources(self.engine, self.clock, self._new_uuid, "hop.example", RejectingComposer())
        return build_hub(world, "hop")

    def _new_uuid(self) -> str:
        return str(uuid.UUID(int=next(self._numbers)))

    def new_worker(self, name: str) -> DeliveryWorker:
        """Return a worker of the hop."""
        agents: dict[str, Any] = {
            "local": LocalAgent(self.hub, PLAN),
            "msh": MshAgent(self.hub, self.wire),  # type: ignore[arg-type]
            "hop": HopAgent(self.hub, self.wire),  # type: ignore[arg-type]
        }
        pace = WorkerSettings(
            threads=2, lease_time=timedelta(seconds=60), poll_seconds=0.01, maintenance_seconds=0.05
        )
        return DeliveryWorker(self.engine, agents, self.clock, name=name, worker_settings=pace)

    def receive(self, parcel: Parcel) -> HttpResponse:
        """Take a parcel as the web does."""
        return receive_parcel(self.hub, EBMS2, parcel)

    def work(self) -> int:
        """Do upkeep and all that is due; returns how many deliveries that was."""
        self.worker.run_maintenance()
        done = 0
        while made := self.worker.run_once():
            done += made
        return done

    def messages(self, **equal: Any) -> list[Any]:
        """Return what the hop has stored, oldest first."""
        with read_transaction(self.engine) as conn:
            return list(reversed(messages.list_messages(conn, **equal)))

    def deliveries(self, **equal: Any) -> list[Any]:
        """Return what the hop has queued, oldest first."""
        with read_transaction(self.engine) as conn:
            return list(reversed(deliveries.list_deliveries(conn, **equal)))


class Chain:
    """Broker, hop and hub; the hub is a whole story with agencies."""

    def __init__(
        self,
        engine: Engine,
        other: Engine,
        *,
        agreement: bytes | None = None,
        forward: dict[str, Any] | None = None,
    ) -> None:
        agreement = agreement or agreement_by_hop(AGREEMENT.replace(b"mshSignalsOnly", b"none"))
        self.story = Story(other, agreement=agreement)
        self.clock = self.story.clock
        self.broker = ChainBroker("broker1", self.clock, agreement)
        self.story.broker = self.story.inbox.broker = self.broker
        self.inbox = self.story.inbox
        self.wire = Wire()
        self.hop = Hop(
            engine,
            self.clock,
            self.wire,
            rule("hub", HUB, "broker1", **(forward or {})),
            rule("broker1", BROKER, "hub"),
        )
        self.story.agents["msh"] = MshAgent(self.story.hub, self.wire)  # type: ignore[arg-type]
        self.wire.handlers = {BROKER: self._to_broker, HOP: self.hop.receive, HUB: self.story.house.post}

    def _to_broker(self, parcel: Parcel) -> HttpResponse:
        with parcel.body.open_stream() as stream:
            answer = self.inbox.post(BROKER, dict(parcel.headers), stream.read())
        return HttpResponse(
            answer.status, {"Content-Type": answer.headers.get("content-type", "")}, answer.body
        )

    def send(self, *, hop_ack: AckRequest | None = SIGNED, **changes: Any) -> Parcel:
        """Let the broker send a submission to the hop; returns its octets."""
        parcel = self.seal(hop_ack=hop_ack, **changes)
        self.answer = self.hop.receive(parcel)
        return parcel

    def seal(self, *, hop_ack: AckRequest | None = SIGNED, **changes: Any) -> Parcel:
        """Return the sealed submission of the broker."""
        unit = self.broker.message("Submit", serialize_element(self.story.submission()), **changes)
        label = Payload("korean-label@sample", "application/pdf", LABEL)
        unit = replace(unit, hop_ack_requested=hop_ack, payloads=(*unit.payloads, label))
        return self.broker.seal(unit)

    def go_on(self, **forward: float) -> None:
        """Let hop and hub work until neither has anything to do."""
        self.clock.forward(**forward)
        while self.hop.work() + self.story.tick():
            pass
