"""A hub that takes messages in fragments, and the broker that splits them."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Engine

from gateway.delivery import HttpLimits
from gateway.delivery.agents import MshAgent
from gateway.delivery.http_answer_reader import HttpAnswer
from gateway.message_model import MemoryBody, Payload, UserMessage
from gateway.pki import KeySigner
from gateway.protocols import Parcel, as4
from gateway.store import HttpResponse, deliveries, messages, read_transaction
from gateway.store.fragment_groups import fragment_groups as groups_table
from gateway.wire import DEFAULT_LIMITS, serialize_element
from tests.kit.house import AS4, Neighbour, signer_named
from tests.kit.story import Story

__all__ = ["SPLIT", "FragmentStory"]

SPLIT = AS4.replace(
    b"  compression: gzip ",
    b"  splitting: {fragment_size: 1000000, join_interval: 3600, routing_properties: [originalSender],"
    b" open_groups: 2}\n  compression: gzip ",
)


class Ears:
    """The endpoint of the broker: it keeps what is posted to it, and answers with an empty 204."""

    def __init__(self, broker: Neighbour) -> None:
        self.broker = broker
        self.heard: list[Any] = []

    def post(
        self, _url: str, headers: dict[str, str], body: bytes, _bounds: HttpLimits | None = None
    ) -> HttpAnswer:
        parcel = Parcel(headers, MemoryBody(body))
        self.heard.append(as4.verify_parcel(parcel, "strict", self.broker.context()))
        return HttpAnswer(204, {}, b"")


class FragmentStory(Story):
    """A hub with everyone around it; the broker sends messages in fragments and hears what is posted."""

    def __init__(self, engine: Engine, agreement: bytes = SPLIT) -> None:
        super().__init__(engine, agreement=agreement)
        self.ears = Ears(self.broker)
        self.agents["msh"] = MshAgent(self.hub, self.ears)  # type: ignore[arg-type]
        self.worker = self.new_worker("w2")

    def plan(
        self, unit: UserMessage | None = None, size: int = 2000, *, compressed: bool = False
    ) -> as4.SplitPlan:
        """Return how a message of the broker is split; without one it has a part of some fragments."""
        unit = unit or self.large()
        source = as4.seal((unit,), None, self.broker.context())
        bare = Parcel(source.headers, MemoryBody(_without_security(source.read_octets())))
        return as4.plan_split(bare, as4.SplitTerms(size, (), compressed), DEFAULT_LIMITS)

    def large(self, octets: int = 7000, **changes: Any) -> UserMessage:
        """Return a message that ends in a mailbox, with a large part."""
        content = random.Random(octets).randbytes(octets)
        part = Payload("large@broker1.example", "application/octet-stream", content)
        changes.setdefault("mpc", "urn:example:channel:store")
        return self.broker.message("Store", payloads=(part,), **changes)

    def signer(self, name: str = "broker1") -> KeySigner:
        """Return the key of a party."""
        return signer_named(name)

    def sealed_payloads(self) -> tuple[Payload, ...]:
        """Return the parts of the sample submission, signed by the broker."""
        content = serialize_element(self.submission())
        return (Payload("s@broker1.example", "application/xml", content),)

    def seal(self, plan: as4.SplitPlan, number: int, message_id: str = "", signer: str = "broker1") -> Parcel:
        """Return one fragment."""
        name = message_id or f"{number}.{plan.unit.message_id}"
        return as4.seal_fragment(plan, number, name, signer_named(signer))

    def send(self, plan: as4.SplitPlan, numbers: Sequence[int] | None = None) -> list[HttpResponse]:
        """Hand fragments in, all without `numbers`; return the answers."""
        every = range(1, plan.fragment_count + 1) if numbers is None else numbers
        return [self.house.post(self.seal(plan, number)) for number in every]

    def read(self, question: Callable[[Any], Any]) -> Any:
        with read_transaction(self.house.engine) as conn:
            return question(conn)

    def groups(self) -> list[Any]:
        return list(self.read(lambda conn: conn.execute(groups_table.select().order_by("id")).all()))

    def joined(self) -> list[Any]:
        """Return the messages that are no fragments."""
        rows = self.read(lambda conn: messages.list_messages(conn, direction="in", limit=1000))
        return [row for row in rows if row.kind == "UserMessage"]

    def fragments(self) -> list[Any]:
        rows = self.read(lambda conn: messages.list_messages(conn, kind="Fragment", limit=1000))
        return list(reversed(rows))

    def tasks(self, state: str) -> list[Any]:
        rows = self.read(lambda conn: deliveries.list_deliveries(conn, agent="local", state=state))
        return [row.parameters["task"] for row in rows]


def _without_security(octets: bytes) -> bytes:
    """Return a message as a source message of eDelivery is: not signed."""
    start, end = octets.index(b"<wsse:Security"), octets.index(b"</wsse:Security>") + len(b"</wsse:Security>")
    return octets[:start] + octets[end:]
