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

from gateway.delivery import HttpClient, HttpLimits
from gateway.delivery.agents import MshAgent, PartnerAgent
from gateway.delivery.attempt_outcome import RetryPlan
from gateway.delivery.http_answer_reader import HttpAnswer
from gateway.delivery.soap_client import SoapCaller
from gateway.hub.completion import operator_actions
from gateway.pki import KeySigner
from gateway.state_machines import DELIVERY
from gateway.store import read_transaction
from gateway.store.transitions import list_transitions
from gateway.wire import WsdlOperation
from gateway_conformance.hostile import ReplyServer
from gateway_conformance.hostile.reply_attacks.hostile_partner import BrokerReplyForger, select_replies
from gateway_conformance.hostile.reply_attacks.reply_server import ReplyForger, ReplyScenario
from gateway_conformance.hostile.reply_attacks.soap_replies import AgencyReplyForger
from gateway_conformance.partners import build_acknowledgment, load_service_description
from gateway_conformance.partners.agency_documents import DecidingNotice, ItemDecision, build_notice_answer
from gateway_conformance.pki import CertificateOrder, issue_certificate, make_authority
from tests.flows.craft import without_applications
from tests.kit.house import AGREEMENT, START, signer_named
from tests.kit.story import Story

__all__ = ["BOUNDS", "Broker", "Kpta", "Trap", "served", "stranger", "trap"]

#: Short, so that what trickles is cut soon; as large as the product's own.
BOUNDS = HttpLimits(connect_seconds=20, read_seconds=0.3, total_seconds=0.3)  # short: they must run out
#: For plays whose octets take their time to make.
PATIENT = HttpLimits(connect_seconds=60, read_seconds=60, total_seconds=60)
_OFTEN = RetryPlan(max_retries=10_000, first_delay=timedelta(seconds=1), is_constant=True)
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
def served(
    forger: ReplyForger, play: ReplyScenario, elsewhere: str = "http://127.0.0.1:9/"
) -> Iterator[ReplyServer]:
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
    order = CertificateOrder(key_kind="p-256", days=3600)
    return issue_certificate(elsewhere, f"CN={name}", START - timedelta(hours=1), order).signer


def bounds_of(play: ReplyScenario) -> HttpLimits:
    """Return quick bounds for what keeps us waiting, patient ones for what must be judged."""
    return BOUNDS if "trickling" in play.id or "silent" in play.id else PATIENT


@dataclass
class _Neighbour:
    """One partner of a story that is played over sockets; the rest of the story is as ever."""

    story: Story
    forger: Any
    trap: Trap
    server: ReplyServer = field(init=False)
    play: ReplyScenario = field(init=False)
    senders: dict[HttpLimits, HttpClient] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.server = ReplyServer(self.forger, lambda _: self.play, elsewhere=self.trap.url)
        self.server.start()

    def sender(self) -> HttpClient:
        bounds = bounds_of(self.play)
        return self.senders.setdefault(bounds, HttpClient(bounds))

    def close(self) -> None:
        self.server.close()
        for sender in self.senders.values():
            sender.close()

    def delivery(self) -> Any:
        raise NotImplementedError

    def attempt(self, play: ReplyScenario, seconds: float) -> tuple[str, str | None, str]:
        """Let the hub try once more, answered by `play`; returns state, problem and words of the delivery."""
        self.play = play
        before = self.delivery()
        if before is not None and before.state == "FAILED":
            self.story.operate(operator_actions.requeue_delivery, before.id)
        tried = before.attempt if before is not None else 0
        self.story.tick(seconds=seconds)
        row = self.delivery()
        assert row.attempt == tried + 1, "it was not tried, or more than once"
        with read_transaction(self.story.house.engine) as conn:
            words = list_transitions(conn, DELIVERY, row.id)[-1].detail or ""
        return row.state, row.problem, words


class Kpta(_Neighbour):
    """The agency KPTA, whose honest answer decides the application."""

    def __init__(self, engine: Engine, caught: Trap) -> None:
        story = Story(engine)
        super().__init__(story, agency_forger(story.clock), caught)
        real = self

        class Soap:
            def post_call(self, envelope: bytes, destination: Any) -> Any:
                if not destination.endpoint.endswith("/KPTA"):
                    return story.soap, story.soap.post_call(envelope, destination)
                agent = SoapCaller(real.sender(), lambda: story.hub.signer, story.hub.clock)
                return agent, agent.post_call(envelope, replace(destination, endpoint=real.server.url))

            def read_answer(self, posted: Any) -> Any:
                return posted[0].read_answer(posted[1])

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
        forger = BrokerReplyForger(context, signer_named("broker2"), stranger("broker1"))
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


def agency_forger(clock: Any) -> AgencyReplyForger:
    """Return a forger of KPTA; another partner is KFDA."""

    def decide(operation: WsdlOperation) -> Any:
        if operation.name != "SubmitApplication":
            return build_acknowledgment(operation.response, "R-1")
        decided = ItemDecision(1, "01", "APPROVED", "P-1", "2026-11-20", ())
        return build_notice_answer(operation.response, DecidingNotice("N-1", clock(), "R01", (decided,)))

    service = load_service_description("agencies/KPTA.wsdl")
    return AgencyReplyForger(
        service, signer_named("kpta"), signer_named("kfda"), stranger("kpta"), decide, clock
    )


def plays(face: str, *, taken: bool) -> list[ReplyScenario]:
    """Return the plays of a face that must be taken, or those that must not."""
    return [one for one in select_replies(face) if (one.outcome_by_face[face] == "taken") == taken]
