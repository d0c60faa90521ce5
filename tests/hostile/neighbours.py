"""A hub whose calls go over real sockets to partners that answer by the plays of the suite."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cache
from typing import Any

from sqlalchemy import Engine

from gateway.conformance.agency import describe_service
from gateway.conformance.hostile.replies.cases import replies
from gateway.conformance.hostile.replies.ebms2 import BrokerForger
from gateway.conformance.hostile.replies.server import Forger, ReplyPlay, ReplyServer
from gateway.conformance.hostile.replies.soap import AgencyForger
from gateway.conformance.notices import Decided, Deciding, acknowledged, answer_notice
from gateway.delivery.agents.msh import MshAgent
from gateway.delivery.agents.partner import PartnerAgent
from gateway.delivery.agents.soap import SoapAgent
from gateway.delivery.http import HttpAnswer, HttpBounds, HttpSender
from gateway.delivery.retry import RetryPlan
from gateway.hub import operate
from gateway.pki.issue import Order, issue_certificate, make_authority
from gateway.pki.keys import KeySigner
from gateway.states import DELIVERY
from gateway.store.engine import reading
from gateway.store.transitions import history
from gateway.wire.wsdl import Operation
from tests.flows.craft import without_applications
from tests.kit.house import AGREEMENT, START, signer_named
from tests.kit.story import Story

__all__ = ["BOUNDS", "Broker", "Kpta", "Trap", "served", "stranger", "trap"]

#: Short, so that what trickles is cut soon; as large as the product's own.
BOUNDS = HttpBounds(connect=5.0, silence=0.2, total=0.3)
#: For plays whose octets take their time to make.
PATIENT = HttpBounds(connect=5.0, silence=20.0, total=20.0)
_OFTEN = RetryPlan(retries=10_000, first=timedelta(seconds=1), steady=True)
_PATIENT_AGREEMENT = AGREEMENT.replace(b"retries: 3 ", b"retries: 99 ")


class Trap:
    """A listener that nobody may be led to."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/inside"
        self.caught = 0
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        with suppress(OSError):
            while True:
                self._listener.accept()[0].close()
                self.caught += 1

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@contextmanager
def trap() -> Iterator[Trap]:
    set_ = Trap()
    try:
        yield set_
    finally:
        set_.close()


@contextmanager
def served(forger: Forger, play: ReplyPlay, elsewhere: str = "http://127.0.0.1:9/") -> Iterator[ReplyServer]:
    """Give a server that answers every request by one play."""
    server = ReplyServer(forger, lambda _: play, elsewhere=elsewhere)
    server.start()
    try:
        yield server
    finally:
        server.close()


@cache
def stranger(name: str) -> KeySigner:
    """Return a signer of another authority with the subject of `name`."""
    elsewhere = make_authority("CN=Test CA", START - timedelta(days=1), "p-256")
    order = Order(key_kind="p-256", days=3600)
    return issue_certificate(elsewhere, f"CN={name}", START - timedelta(hours=1), order).signer


def bounds_of(play: ReplyPlay) -> HttpBounds:
    """Return quick bounds for what keeps us waiting, patient ones for what must be judged."""
    return BOUNDS if "trickling" in play.id or "silent" in play.id else PATIENT


@dataclass
class _Neighbour:
    """One partner of a story that is played over sockets; the rest of the story is as ever."""

    story: Story
    forger: Any
    trap: Trap
    server: ReplyServer = field(init=False)
    play: ReplyPlay = field(init=False)
    senders: dict[HttpBounds, HttpSender] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.server = ReplyServer(self.forger, lambda _: self.play, elsewhere=self.trap.url)
        self.server.start()

    def sender(self) -> HttpSender:
        bounds = bounds_of(self.play)
        return self.senders.setdefault(bounds, HttpSender(bounds))

    def close(self) -> None:
        self.server.close()
        for sender in self.senders.values():
            sender.close()

    def delivery(self) -> Any:
        raise NotImplementedError

    def attempt(self, play: ReplyPlay, seconds: float) -> tuple[str, str | None, str]:
        """Let the hub try once more, answered by `play`; returns state, problem and words of the delivery."""
        self.play = play
        before = self.delivery()
        if before is not None and before.state == "FAILED":
            self.story.operate(operate.requeue, before.id)
        tried = before.attempt if before is not None else 0
        self.story.tick(seconds=seconds)
        row = self.delivery()
        assert row.attempt == tried + 1, "it was not tried, or more than once"
        with reading(self.story.house.engine) as conn:
            words = history(conn, DELIVERY, row.id)[-1].detail or ""
        return row.state, row.problem, words


class Kpta(_Neighbour):
    """The agency KPTA, whose honest answer decides the application."""

    def __init__(self, engine: Engine, caught: Trap) -> None:
        story = Story(engine)
        super().__init__(story, agency_forger(story.clock), caught)
        real = self

        class Soap:
            def exchange(self, envelope: bytes, destination: Any) -> Any:
                if not destination.endpoint.endswith("/KPTA"):
                    return story.soap.exchange(envelope, destination)
                agent = SoapAgent(real.sender(), lambda: story.hub.signer, story.hub.clock)
                return agent.exchange(envelope, replace(destination, endpoint=real.server.url))

        partners: Any = story.hub.composer
        plans = dict.fromkeys(("KPTA", "KFDA", "NPQS", "customs"), _OFTEN)
        story.agents["soap"] = PartnerAgent(story.hub, Soap(), partners, lambda: plans)  # type: ignore[arg-type]
        story.submit()

    def delivery(self) -> Any:
        return next(iter(self.story.deliveries(destination="KPTA")), None)


class Broker(_Neighbour):
    """The applicant's message handler, to which the result goes."""

    def __init__(self, engine: Engine, caught: Trap) -> None:
        story = Story(engine, customs=False, agreement=_PATIENT_AGREEMENT)
        story.register("broker2")
        context = story.broker.context
        forger = BrokerForger(context, signer_named("broker2"), stranger("broker1"))
        super().__init__(story, forger, caught)
        real = self

        class Sender:
            def post(self, url: str, headers: Any, body: bytes) -> HttpAnswer:
                del url
                return real.sender().post(real.server.url, headers, body)

        story.agents["msh"] = MshAgent(story.hub, Sender())  # type: ignore[arg-type]
        story.submit(story.submission(without_applications), attach=False)

    def delivery(self) -> Any:
        return next(iter(self.story.deliveries(agent="msh")), None)


def agency_forger(clock: Any) -> AgencyForger:
    """Return a forger of KPTA; another partner is KFDA."""

    def decide(operation: Operation) -> Any:
        if operation.name != "SubmitApplication":
            return acknowledged(operation.response, "R-1")
        decided = Decided(1, "01", "APPROVED", "P-1", "2026-11-20", ())
        return answer_notice(operation.response, Deciding("N-1", clock(), "R01", (decided,)))

    service = describe_service("agencies/KPTA.wsdl")
    return AgencyForger(service, signer_named("kpta"), signer_named("kfda"), stranger("kpta"), decide, clock)


def plays(face: str, *, taken: bool) -> list[ReplyPlay]:
    """Return the plays of a face that must be taken, or those that must not."""
    return [one for one in replies(face) if (one.outcome[face] == "taken") == taken]
