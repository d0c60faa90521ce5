"""A process is killed at each commit of an order: nothing is lost, delivered twice, or out of order."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from gateway.delivery.agents import LocalAgent, MshAgent
from gateway.delivery.delivery_worker import DeliveryWorker, WorkerSettings
from gateway.hub import Hub, maintain_hub
from gateway.message_model import ErrorSignal, SequenceNumber, UserMessage
from gateway.store import messages, read_transaction
from tests.kit.databases import in_turn
from tests.kit.house import AGREEMENT
from tests.kit.kills import die_at
from tests.kit.partners import Inbox
from tests.kit.story import PLAN, QUIET, Story, unreachable

RECEIVING = AGREEMENT.replace(b"mshSignalsOnly", b"none").replace(
    b"deliver_to: case}", b"deliver_to: case, reliability: {message_order: true}}"
)
SENDING = QUIET.replace(
    b"action: Result}", b"action: Result, sync_reply_mode: none, reliability: {message_order: true}}"
)
_BOTH = ("before_commit", "after_commit")


def _name_commits(*names: str) -> tuple[str, ...]:
    return tuple(f"{name}.{side}" for name in names for side in _BOTH)


RECEIPT = _name_commits("receive.message")
RELEASES = ("delivery.local.begun", "delivery.local.done", *_name_commits("delivery.claim", "admit.refused"))
SENDS = ("msh.after_post", *_name_commits("conclude.result", "signals.settled"))
GIVES_UP = _name_commits("delivery.defer", "delivery.failed", "msh.renumbered")


def work(story: Story, hub: Hub) -> None:
    """Let a worker of another process do what is due, with upkeep."""
    agents: dict[str, Any] = {"local": LocalAgent(hub, PLAN), "msh": MshAgent(hub, story.inbox)}  # type: ignore[arg-type]
    pace = WorkerSettings(
        threads=4, lease_time=timedelta(seconds=60), poll_seconds=0.01, maintenance_seconds=0.05
    )
    worker = DeliveryWorker(hub.engine, agents, story.clock, name="other", worker_settings=pace)
    worker.run_maintenance()
    while worker.run_once():
        pass


def numbered(story: Story, talk: str, number: int, **more: Any) -> UserMessage:
    place = SequenceNumber(number, "Continue" if number else "Reset")
    return story.broker.message("Submit", b"<a/>", conversation_id=talk, sequence=place, **more)


def admitted(story: Story, talk: str) -> list[str]:
    """Return the MessageIds of a conversation that became cases, in this order."""
    equal = {"direction": "in", "state": "PROCESSED", "conversation_id": talk}
    with read_transaction(story.house.engine) as conn:
        rows = messages.list_messages(conn, limit=500, **equal)
    return [row.message_id for row in sorted(rows, key=lambda row: row.case_id)]


@in_turn
@pytest.mark.long
def test_received_messages_keep_their_order_wherever_a_process_dies(engine: Engine) -> None:
    story = Story(engine, agreement=RECEIVING)
    for place in (*RECEIPT, *RELEASES):
        units = [numbered(story, place, number) for number in range(3)]
        parcels = [story.broker.seal(unit) for unit in units]
        for one in (2, 1):
            story.house.post(parcels[one])
        if place.startswith("receive"):
            die_at(story, place, lambda hub, first=parcels[0]: story.house.post(first, hub))  # type: ignore[misc]
        else:
            story.house.post(parcels[0])
            die_at(story, place, lambda hub: work(story, hub))
        story.clock.forward(minutes=2)
        # The sender has no receipt of the last one, and perhaps of none.
        for parcel in parcels:
            story.house.post(parcel)
        story.tick(minutes=2)
        assert admitted(story, place) == [unit.message_id for unit in units], place


@pytest.mark.long
@in_turn
def test_a_held_message_is_given_up_once_wherever_a_process_dies(engine: Engine) -> None:
    story = Story(engine, agreement=RECEIVING)
    for side in _BOTH:
        unit = numbered(story, side, 1, expires_at=story.clock() + timedelta(hours=1))
        story.house.post(story.broker.seal(unit))
        story.tick()
        story.clock.forward(hours=2)
        die_at(story, f"order.expired.{side}", maintain_hub)
        story.tick(minutes=2)
        told = [story.broker.open(one).unit for one in story.inbox.signals]
        about = [one.ref_to_message_id for one in told if isinstance(one, ErrorSignal)]
        assert about.count(unit.message_id) == 1
        with read_transaction(engine) as conn:
            row = messages.find_by_message_id(conn, "in", "broker1", unit.message_id)
        assert row is not None
        assert (row.state, row.problem) == ("FAILED", "GW315")
        assert story.evidence("message", row.id).count("given_up") == 1


class KeptInbox(Inbox):
    """An applicant whose messages are on disk, because the process that sends them is killed."""

    folder: Path
    lost: int = 0

    def post(self, url: str, headers: dict[str, str], body: bytes) -> Any:
        if self.lost:
            self.lost -= 1
            raise unreachable()
        with (self.folder / "got").open("ab") as file:
            file.write(len(body).to_bytes(4, "big") + body)
        return super().post(url, headers, body)

    def read_all(self) -> list[bytes]:
        data, found = (self.folder / "got").read_bytes(), []
        while data:
            size = int.from_bytes(data[:4], "big")
            found.append(data[4 : 4 + size])
            data = data[4 + size :]
        return found


def check_arrivals(inbox: KeptInbox) -> None:
    """Each message came with the same octets each time, and each first time with the next number."""
    octets: dict[str, bytes] = {}
    following: dict[str, int] = {}
    for body in inbox.read_all():
        # Receipts are on the connection, so everything that comes is a business message.
        text = body.decode()
        message, talk = (_read(text, name) for name in ("MessageId", "ConversationId"))
        if message in octets:
            assert octets[message] == body
            continue
        octets[message] = body
        if 'eb:status="Reset"' in text:
            following[talk] = 0
        assert int(_read(text, "SequenceNumber")) == following[talk]
        following[talk] += 1


def _read(text: str, name: str) -> str:
    return text.split(f"<eb:{name}")[1].split(">", 1)[1].split("<", 1)[0]


@in_turn
@pytest.mark.long
def test_sent_messages_keep_their_order_wherever_a_process_dies(engine: Engine, tmp_path: Path) -> None:
    story = Story(engine, agreement=SENDING)
    inbox = KeptInbox(story.broker)
    inbox.folder = tmp_path
    story.inbox, story.agents["msh"] = inbox, MshAgent(story.hub, inbox)  # type: ignore[arg-type]
    for place in (*SENDS, *GIVES_UP):
        for _ in range(3):
            story.submit(b"<a/>", attach=False, conversation_id=place)

        def act(hub: Hub, lost: int = 4 if place in GIVES_UP else 0) -> None:
            inbox.lost = lost
            for _ in range(6):
                work(story, hub)
                story.clock.forward(minutes=6)

        die_at(story, place, act)
        story.clock.forward(hours=1)
        for _ in range(6):
            story.tick(minutes=6)
        check_arrivals(inbox)
    states = [row.state for row in story.deliveries(agent="msh")]
    assert len(states) == 3 * len((*SENDS, *GIVES_UP))
    # Where the tries were used up: at the failure itself, and when the next message was sealed again.
    assert states.count("FAILED") == 4
    assert states.count("DELIVERED") == len(states) - 4
