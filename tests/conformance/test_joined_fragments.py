"""A broker's handler joins what comes in fragments: one message, stored once, whatever is lost or killed."""

from __future__ import annotations

import json
import shutil
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from gateway.client import (
    FileBody,
    HttpReply,
    IncomingRequest,
    MessageFolder,
    MessageHandler,
    PartnerServer,
    fragment_folder,
    read_membership,
)
from gateway.delivery.agents import MshAgent
from gateway.delivery.http_answer_reader import HttpAnswer
from gateway.message_model import ErrorSignal, MemoryBody, Payload, Receipt, read_octets
from gateway.protocols import Parcel, SplitPlan, SplitTerms, as4
from gateway.store import messages
from gateway.wire import DEFAULT_LIMITS
from tests.conformance.test_split_submissions import write_broker_folder
from tests.kit.databases import BOTH
from tests.kit.house import Neighbour, pmodes
from tests.kit.sent_fragments import SMALL, SplitStory, replace_terms


class Broker:
    """A hub that sends its Result in fragments, and the broker's handler on a folder."""

    def __init__(self, engine: Engine, place: Path, agreement: bytes = SMALL) -> None:
        self.place = place
        # What the handler posts by itself goes to the hub through a port.
        self.server = PartnerServer(self._take_signal)
        self.posted: list[Any] = []
        agreed = agreement.replace(b"127.0.0.1:8900", f"127.0.0.1:{self.server.port}".encode())
        place.joinpath("posted").mkdir()
        self.story = SplitStory(engine, place / "posted", agreed)
        self.story.clock.now = datetime.now(UTC)
        write_broker_folder(place, agreed)
        self.server.start()
        self.sent: list[tuple[dict[str, str], bytes]] = []
        self.lost: set[int] = set()
        self.told: list[str] = []
        self.story.agents["msh"] = MshAgent(self.story.hub, self)  # type: ignore[arg-type]
        self.handler = self.start()

    def start(self) -> MessageHandler:
        """Start the handler of a new process on the same folder."""
        self.handler = MessageHandler(
            read_membership(self.place, "broker1"),
            self.place / "came",
            store=MessageFolder(self.place / "came", self.told.append),
        )
        self.handler.join_groups()
        return self.handler

    def post(self, _url: str, headers: dict[str, str], body: bytes) -> HttpAnswer:
        """Bring what the hub posts to the broker, and lose the answers to some."""
        self.sent.append((headers, body))
        reply = self.give(headers, body)
        if len(self.sent) in self.lost:
            return HttpAnswer(503, {}, b"")
        return HttpAnswer(reply.status, {"content-type": reply.content_type}, reply.body)

    def give(self, headers: dict[str, str], body: bytes) -> HttpReply:
        lower = {name.lower(): value for name, value in headers.items()}
        return self.handler(IncomingRequest("/msh/as4", lower, body))

    def again(self, number: int) -> HttpReply:
        """Give a fragment again that was sent."""
        return self.give(*self.sent[number])

    def _take_signal(self, request: IncomingRequest) -> HttpReply:
        parcel = Parcel({"Content-Type": request.headers["content-type"]}, MemoryBody(request.body))
        self.posted.append(as4.read_sent_unit(parcel, self.story.broker.context().limits).unit)
        answer = self.story.house.post(parcel)
        return HttpReply(answer.status, answer.headers.get("Content-Type", ""), answer.body)

    def send(self) -> None:
        """Let the hub send its Result, and the handler post what it has to say."""
        self.story.file()
        self.story.tick(seconds=1)
        self.settle()

    def settle(self) -> None:
        self.handler.finish_posts()

    def stored(self) -> list[Path]:
        return sorted((self.place / "came").glob("[0-9]*-Result-*"))

    def pieces(self) -> list[Path]:
        return sorted((self.place / "came" / "fragments").glob("*/*.part"))

    def original(self) -> bytes:
        """Return the octets of the Result as the hub has them."""
        rows = self.story.read(lambda conn: messages.list_messages(conn, direction="out", kind="UserMessage"))
        (part,) = self.story.read(lambda conn: messages.load_payloads(conn, rows[0].id))
        return read_octets(part.octets)


@pytest.fixture
def open_broker(engine: Engine, tmp_path: Path) -> Iterator[Callable[..., Broker]]:
    opened: list[Broker] = []

    def make(agreement: bytes = SMALL) -> Broker:
        opened.append(Broker(engine, tmp_path, agreement))
        return opened[-1]

    yield make
    for one in opened:
        one.handler.finish_posts()
        one.server.close()


def code(reply: HttpReply) -> str:
    return reply.body.partition(b'errorCode="')[2].partition(b'"')[0].decode()


@pytest.mark.night
@BOTH
@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_fragments_are_joined_and_shown_as_one_message(
    open_broker: Callable[..., Broker], compression: str
) -> None:
    broker = open_broker(replace_terms(compression))
    broker.send()
    assert len(broker.sent) > 1
    (row,) = broker.handler.list_rows()
    assert (row["action"], row["said"]["verified"], row["said"]["outcome"]) == ("Result", True, "APPROVED")
    (folder,) = broker.stored()
    assert (folder / "payload-1.xml").read_bytes() == broker.original()
    assert broker.original() in (folder / "message.http").read_bytes()
    assert [type(one) for one in broker.posted] == [Receipt]
    assert (broker.story.whole().state, broker.story.case().state) == ("DELIVERED", "CLOSED")
    assert broker.pieces() == []


@BOTH
@pytest.mark.night
def test_a_repeat_gets_the_stored_receipt_also_after_a_restart(open_broker: Callable[..., Broker]) -> None:
    broker = open_broker()
    broker.lost = {2}
    broker.story.file()
    broker.story.tick(seconds=1)
    first = broker.again(1)
    broker.settle()
    broker.start()
    assert broker.again(1).body == first.body
    assert b"NonRepudiationInformation" in first.body
    broker.settle()
    # The receipt of the whole is posted again: whoever repeats a fragment has not seen it.
    assert {one.message_id for one in broker.posted} == {broker.posted[0].message_id}
    assert len(broker.stored()) == len(broker.handler.list_rows()) == 1


@BOTH
@pytest.mark.night
def test_fragments_come_in_any_order_and_a_killed_process_goes_on(
    open_broker: Callable[..., Broker], monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = open_broker()
    broker.send()
    sent = list(broker.sent)
    shutil.rmtree(broker.place / "came")
    monkeypatch.setattr(MessageHandler, "_join_group", lambda *_: None)
    broker.start()
    for one in reversed(sent):
        assert b"NonRepudiationInformation" in broker.give(*one).body
        # Every fragment comes to a process of its own; the last one is killed before it joins.
        broker.start()
    assert (broker.handler.list_rows(), len(broker.pieces())) == ([], len(sent))
    monkeypatch.undo()
    broker.start()
    broker.settle()
    assert len(broker.handler.list_rows()) == 1
    assert broker.pieces() == []


@BOTH
@pytest.mark.night
def test_a_kill_between_the_message_and_its_note_stores_it_once(
    open_broker: Callable[..., Broker], monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = open_broker()
    monkeypatch.setattr(fragment_folder.CompleteGroup, "end_group", lambda *_: None)
    broker.send()
    assert (len(broker.stored()), len(broker.pieces())) == (1, len(broker.sent))
    monkeypatch.undo()
    broker.start()
    broker.settle()
    assert (len(broker.stored()), broker.pieces()) == (1, [])
    assert len({one.message_id for one in broker.posted}) == 1


class Sender:
    """The hub as a sender of fragments that it may change, and the broker's handler on a folder."""

    def __init__(self, place: Path, terms: bytes = b"") -> None:
        self.place = place
        self.posted: list[Any] = []
        self.server = PartnerServer(self._take_signal)
        self.server.start()
        self.agreement = SMALL.replace(b"127.0.0.1:8900", f"127.0.0.1:{self.server.port}".encode())
        self.agreement = self.agreement.replace(b"join_interval: 3600", b"join_interval: 3600" + terms)
        write_broker_folder(place, self.agreement)
        self.hub = Neighbour("hub", lambda: datetime.now(UTC), self.agreement)  # type: ignore[arg-type]
        self.pmode = next(one for one in pmodes(self.agreement) if one.action == "Result")
        self.handler = self.start()

    def start(self) -> MessageHandler:
        self.handler = MessageHandler(read_membership(self.place, "broker1"), self.place / "came")
        return self.handler

    def _take_signal(self, request: IncomingRequest) -> HttpReply:
        parcel = Parcel({"Content-Type": request.headers["content-type"]}, MemoryBody(request.body))
        self.posted.append(as4.read_sent_unit(parcel, DEFAULT_LIMITS).unit)
        return HttpReply(204)

    def split(self, octets: bytes = bytes(2000)) -> SplitPlan:
        """Return a Result to be cut, of four pieces."""
        unit = self.hub.message("Result", b"<a>" + octets.hex().encode() + b"</a>")
        return as4.plan_split(as4.seal_source(unit, self.pmode), SplitTerms(1500), DEFAULT_LIMITS)

    def seal(self, plan: SplitPlan, number: int) -> Parcel:
        return as4.seal_agreed_fragment(plan, number, self.pmode, self.hub.context())

    def give(self, parcel: Parcel) -> HttpReply:
        headers = {"content-type": parcel.get_header("Content-Type")}
        return self.handler(IncomingRequest("/msh/as4", headers, parcel.read_octets()))

    def settle(self) -> None:
        self.handler.finish_posts()

    def pieces(self) -> list[Path]:
        return sorted((self.place / "came" / "fragments").glob("*/*.part"))


@pytest.fixture
def open_sender(tmp_path: Path) -> Iterator[Callable[..., Sender]]:
    opened: list[Sender] = []

    def make(terms: bytes = b"") -> Sender:
        opened.append(Sender(tmp_path, terms))
        return opened[-1]

    yield make
    for one in opened:
        one.handler.finish_posts()
        one.server.close()


def takes(reply: HttpReply) -> bool:
    return b"NonRepudiationInformation" in reply.body


def test_a_contradiction_refuses_the_group_and_the_sender_hears_of_it(
    open_sender: Callable[..., Sender],
) -> None:
    sender = open_sender()
    plan = sender.split()
    assert takes(sender.give(sender.seal(plan, 2)))
    # Another message with the number that came, which the hub has signed.
    assert code(sender.give(sender.seal(plan, 2))) == "EBMS:0046"
    assert sender.pieces() == []
    sender.settle()
    (told,) = sender.posted
    assert isinstance(told, ErrorSignal)
    assert (told.errors[0].code, told.ref_to_message_id) == ("EBMS:0046", plan.unit.message_id)
    sender.start()
    assert code(sender.give(sender.seal(plan, 3))) == "EBMS:0040"
    assert sender.handler.list_rows() == []
    # What is refused leaves room for others.
    assert takes(sender.give(sender.seal(sender.split(), 1)))


@pytest.mark.night
def test_what_is_joined_must_be_what_the_fragments_said(open_sender: Callable[..., Sender]) -> None:
    sender = open_sender()
    plan = sender.split()
    for wrong in (replace(plan, message_size=plan.message_size + 1), replace(plan, octets=spoil(plan))):
        for number in range(1, plan.fragment_count + 1):
            assert takes(sender.give(sender.seal(wrong, number)))
        sender.settle()
        told = sender.posted.pop()
        assert isinstance(told, ErrorSignal)
        assert told.ref_to_message_id == plan.unit.message_id
        assert (sender.handler.list_rows(), sender.pieces(), sender.posted) == ([], [], [])
        shutil.rmtree(sender.place / "came" / "fragments")
        sender.start()


def spoil(plan: SplitPlan) -> MemoryBody:
    return MemoryBody(
        read_octets(plan.octets).replace(b"action", b"actiom").replace(b">Result<", b">Resulx<")
    )


@pytest.mark.night
def test_another_message_under_a_known_id_is_refused_by_itself(open_sender: Callable[..., Sender]) -> None:
    sender = open_sender()
    plan = sender.split()
    first = sender.seal(plan, 1)
    assert takes(sender.give(first))
    known = sender.hub.context()
    message_id = as4.read_sent_unit(first, DEFAULT_LIMITS).unit.message_id
    context = replace(known, make_message_id=lambda: message_id)
    other = as4.seal_agreed_fragment(plan, 2, sender.pmode, context)
    assert b"GW312" in sender.give(other).body
    assert takes(sender.give(first))
    assert len(sender.pieces()) == 1


@pytest.mark.night
def test_too_many_groups_are_refused_until_one_has_ended(open_sender: Callable[..., Sender]) -> None:
    sender = open_sender(b", open_groups: 1")
    plan, other = sender.split(), sender.split()
    assert takes(sender.give(sender.seal(plan, 1)))
    assert code(sender.give(sender.seal(other, 1))) == "EBMS:0054"
    for number in range(2, plan.fragment_count + 1):
        assert takes(sender.give(sender.seal(plan, number)))
    sender.settle()
    assert len(sender.handler.list_rows()) == 1
    assert takes(sender.give(sender.seal(other, 1)))


@pytest.mark.night
def test_a_group_ends_with_its_time(open_sender: Callable[..., Sender]) -> None:
    sender = open_sender(b", open_groups: 1")
    plan, other = sender.split(), sender.split()
    for late in (plan, other):
        assert takes(sender.give(sender.seal(late, 1)))
        (path,) = [one for one in (sender.place / "came").glob("fragments/*/group.json") if is_open(one)]
        said = json.loads(path.read_bytes())
        past = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
        path.write_text(json.dumps(said | {"ends": past}))
        sender.start()
        if late is plan:
            # The next group finds that its time is over; its place is free.
            assert code(sender.give(sender.seal(late, 2))) == "EBMS:0051"
    assert takes(sender.give(sender.seal(sender.split(), 1)))
    assert code(sender.give(sender.seal(other, 2))) == "EBMS:0040"


def is_open(path: Path) -> bool:
    return not path.with_name("refused.json").exists()


def test_a_full_disk_acknowledges_nothing(
    open_sender: Callable[..., Sender], monkeypatch: pytest.MonkeyPatch
) -> None:
    sender = open_sender()
    fragment = sender.seal(sender.split(), 1)

    def fail(*_: Any) -> None:
        raise OSError(28, "no space")

    monkeypatch.setattr(fragment_folder, "replace_file", fail)
    assert sender.give(fragment).status == 503
    monkeypatch.undo()
    assert takes(sender.give(fragment))


@pytest.mark.night
def test_without_terms_a_fragment_is_refused(open_sender: Callable[..., Sender]) -> None:
    sender = open_sender()
    fragment = sender.seal(sender.split(), 1)
    plain = sender.agreement.replace(b"action: Result}", b"action: Result, splitting: none}")
    (sender.place / "agreement.yaml").write_bytes(plain)
    sender.start()
    assert code(sender.give(fragment)) == "EBMS:0008"
    assert not (sender.place / "came" / "fragments").exists()


@pytest.mark.night
def test_memory_does_not_grow_with_the_message(open_sender: Callable[..., Sender]) -> None:
    sender, mebibyte = open_sender(), 1024**2
    sender.agreement = sender.agreement.replace(b"fragment_size: 1500", b"fragment_size: 1048576")
    sender.agreement = sender.agreement.replace(b"message_size: 10000000", b"message_size: 900000000")
    (sender.place / "agreement.yaml").write_bytes(sender.agreement)
    sender.hub.agreement, sender.pmode = (
        sender.agreement,
        next(one for one in pmodes(sender.agreement) if one.action == "Result"),
    )
    sender.start()
    large = sender.place / "large"
    with large.open("wb") as file:
        for number in range(96):
            file.write(bytes([number]) * mebibyte)
    unit = sender.hub.message("Result")
    unit = replace(unit, payloads=(*unit.payloads, Payload("large@hub", "application/pdf", FileBody(large))))
    limits = replace(DEFAULT_LIMITS, body=10**9)
    plan = as4.plan_split(as4.seal_source(unit, sender.pmode), SplitTerms(mebibyte), limits)
    tracemalloc.start()
    try:
        for number in range(1, plan.fragment_count + 1):
            assert takes(sender.give(sender.seal(plan, number)))
        sender.settle()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    (row,) = sender.handler.list_rows()
    assert row["action"] == "Result"
    # A few copies of one fragment, whatever the message has: 97 of them.
    assert peak < 24 * mebibyte
