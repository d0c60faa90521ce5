"""The hub pulls messages of AS4 from a partner: what comes is stored once, and its receipt is posted."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from gateway.delivery import HttpLimits
from gateway.delivery.agents import LocalAgent, MshAgent, PullAgent, list_pull_tasks
from gateway.delivery.delivery_worker import DeliveryWorker, WorkerSettings
from gateway.delivery.http_answer_reader import HttpAnswer
from gateway.delivery.recurring_schedule import RecurringSchedule
from gateway.errors import (
    CALL_UNFIT,
    NOTHING_TO_PULL,
    PULL_REFUSED,
    REVOCATION_UNKNOWN,
    SIGNATURE_INVALID,
    UNREACHABLE,
    GatewayError,
)
from gateway.hub import Hub, refuse_pulled_message
from gateway.message_model import ErrorSignal, MemoryBody, PullRequest, Receipt
from gateway.protocols import Parcel, as4
from gateway.store import deliveries, messages, read_transaction
from tests.kit.databases import BOTH_AT_LANDING, in_turn
from tests.kit.house import AS4, House, Neighbour, pmodes
from tests.kit.kills import die_at
from tests.kit.story import PLAN

CHANNEL = "urn:example:channel:store"
PULLED = AS4.replace(
    b"    mpc: urn:example:channel:store\n",
    b"    mpc: urn:example:channel:store\n    pull: {authorization: certificate, sub_channel: hub}\n",
)
EVERY = timedelta(minutes=1)


class Partner:
    """The message handler of the broker, from which the hub pulls."""

    def __init__(self, broker: Neighbour) -> None:
        self.broker = broker
        self.waiting: deque[Parcel] = deque()
        self.answers: deque[HttpAnswer | Exception] = deque()
        self.asked: list[Any] = []
        self.receipts: list[Any] = []
        self.errors: list[Any] = []

    def post(
        self, url: str, headers: dict[str, str], body: bytes, _bounds: HttpLimits | None = None
    ) -> HttpAnswer:
        context = self.broker.context()
        opened = as4.verify_parcel(Parcel(headers, MemoryBody(body)), "strict", context)
        assert opened.verified_signature is not None
        assert url == "http://127.0.0.1:8901/msh/as4"
        if isinstance(opened.unit, Receipt):
            self.receipts.append(opened.unit)
            return HttpAnswer(204, {}, b"")
        if isinstance(opened.unit, ErrorSignal):
            self.errors.append(opened.unit)
            return HttpAnswer(204, {}, b"")
        assert isinstance(opened.unit, PullRequest)
        self.asked.append(opened.unit)
        if self.answers:
            answer = self.answers.popleft()
            if isinstance(answer, Exception):
                raise answer
            return answer
        if self.waiting:
            return to_answer(self.waiting.popleft())
        return self.fail(NOTHING_TO_PULL)

    def fail(self, problem: Any, unit: Any = None) -> HttpAnswer:
        """Return an error about a PullRequest."""
        context = self.broker.context()
        signal = as4.make_error_signal(GatewayError(problem, "x"), unit or self.asked[-1], context)
        assert signal is not None
        return to_answer(as4.seal((signal,), None, context))


def to_answer(parcel: Parcel) -> HttpAnswer:
    return HttpAnswer(200, {"content-type": parcel.headers["Content-Type"]}, parcel.read_octets())


class Scene:
    """A hub, the partner it pulls from, and a worker."""

    def __init__(self, engine: Engine, agreement: bytes = PULLED) -> None:
        self.house = House(engine, agreement=agreement)
        self.clock = self.house.clock
        self.broker = Neighbour("broker1", self.clock, agreement)
        self.partner = Partner(self.broker)
        self.worker = self.new_worker(self.house.hub)

    def new_worker(self, hub: Hub) -> DeliveryWorker:
        agents = {
            "pull": PullAgent(hub, self.partner, HttpLimits(), EVERY),  # type: ignore[arg-type]
            "msh": MshAgent(hub, self.partner),  # type: ignore[arg-type]
            "local": LocalAgent(hub, PLAN),
        }
        schedule = RecurringSchedule(hub.engine, lambda: list_pull_tasks(hub, EVERY))
        pace = WorkerSettings(
            threads=2, lease_time=timedelta(seconds=60), poll_seconds=0.01, maintenance_seconds=0.05
        )
        return DeliveryWorker(
            hub.engine, agents, self.clock, name="w", worker_settings=pace, schedule=schedule
        )

    def tick(self, seconds: float, worker: DeliveryWorker | None = None) -> None:
        self.clock.forward(seconds=seconds)
        worker = worker or self.worker
        worker.run_maintenance()
        while worker.run_once():
            pass

    def read(self, question: Callable[[Any], Any]) -> Any:
        with read_transaction(self.house.engine) as conn:
            return question(conn)

    def turns(self) -> list[Any]:
        return list(reversed(self.read(lambda conn: deliveries.list_deliveries(conn, agent="pull"))))


@pytest.fixture
def scene(engine: Engine) -> Scene:
    return Scene(engine)


@BOTH_AT_LANDING
def test_what_waits_is_pulled_stored_and_acknowledged(scene: Scene) -> None:
    units = [scene.broker.message(content=f"<a{number}/>".encode()) for number in range(3)]
    scene.partner.waiting.extend(scene.broker.seal(unit) for unit in units)
    scene.tick(1)
    stored = scene.read(messages.list_messages)
    assert {row.message_id for row in stored} == {unit.message_id for unit in units}
    assert {(row.state, row.pmode_id) for row in stored} == {("ACCEPTED", "broker1-store")}
    assert {one.ref_to_message_id for one in scene.partner.receipts} == {unit.message_id for unit in units}
    assert all(len(one.references) == 3 for one in scene.partner.receipts)
    # Three messages and the answer that there is no other: each request is another one.
    assert len({one.message_id for one in scene.partner.asked}) == 4
    assert {one.mpc for one in scene.partner.asked} == {f"{CHANNEL}/hub"}
    assert [row.state for row in scene.turns()] == ["DELIVERED"]
    scene.tick(30)
    assert len(scene.turns()) == 1
    scene.tick(31)
    assert len(scene.turns()) == 2


def test_a_message_that_is_given_again_is_stored_once_and_gets_the_stored_receipt(scene: Scene) -> None:
    parcel = scene.broker.seal(scene.broker.message())
    scene.partner.waiting.extend((parcel, parcel, parcel))
    scene.tick(1)
    assert len(scene.read(messages.list_messages)) == 1
    # It has not seen the receipt: asking on would bring the same again and again.
    assert len(scene.partner.waiting) == 1
    # One receipt waited to be sent, and answers both.
    assert len(scene.partner.receipts) == 1
    scene.tick(61)
    assert len(scene.read(messages.list_messages)) == 1
    assert len(scene.partner.receipts) == 2
    assert len({receipt.message_id for receipt in scene.partner.receipts}) == 1


SPLIT = PULLED.replace(
    b"    pull: {authorization: certificate, sub_channel: hub}\n",
    b"    pull: {authorization: certificate, sub_channel: hub}\n"
    b"    splitting: {fragment_size: 1500, message_size: 1000000, join_interval: 3600}\n",
)


def test_fragments_are_pulled_and_joined(engine: Engine) -> None:
    scene = Scene(engine, SPLIT)
    context = scene.broker.context()
    unit = scene.broker.message(content=b"<a>" + b"x" * 4000 + b"</a>")
    (pmode,) = [one for one in pmodes(SPLIT) if one.id == "broker1-store"]
    plan = as4.plan_split(as4.seal_source(unit, pmode), as4.SplitTerms(1500, ()), context.limits)
    pieces = [
        as4.seal_agreed_fragment(plan, one, pmode, context) for one in range(1, plan.fragment_count + 1)
    ]
    # One of them is given again: its receipt was late.
    scene.partner.waiting.extend([pieces[0], *pieces])
    scene.tick(1)
    scene.tick(61)
    scene.tick(1)
    (row,) = scene.read(lambda conn: messages.list_messages(conn, kind="UserMessage"))
    assert (row.message_id, row.state, row.pmode_id) == (unit.message_id, "ACCEPTED", "broker1-store")
    told = {one.ref_to_message_id for one in scene.partner.receipts}
    assert len(told) == len(pieces) + 1
    assert unit.message_id in told


def test_what_was_not_asked_for_is_not_stored(scene: Scene) -> None:
    other = as4.seal((scene.broker.message(mpc="urn:example:other"),), None, scene.broker.context())
    good = scene.broker.seal(scene.broker.message())
    changed = Parcel(good.headers, MemoryBody(good.read_octets().replace(b">c-m", b">c-x", 1)))
    scene.partner.answers.extend(
        (
            to_answer(other),
            HttpAnswer(200, {"content-type": "text/html"}, b"<html/>"),
            HttpAnswer(204, {}, b""),
            to_answer(changed),
            GatewayError(UNREACHABLE, "down"),
        )
    )
    for _ in range(9):
        scene.tick(13)
    assert not scene.read(messages.list_messages)
    assert not scene.partner.answers
    assert not scene.partner.receipts
    # What we refuse we say, once for each message.
    assert [one.errors[0].code for one in scene.partner.errors] == ["EBMS:0003", "EBMS:0101"]


@pytest.mark.parametrize(
    ("problem", "has_address", "posted"),
    [
        (SIGNATURE_INVALID, True, 1),
        (SIGNATURE_INVALID, False, 0),
        (CALL_UNFIT, True, 0),
        (REVOCATION_UNKNOWN, True, 0),
    ],
    ids=["of the partner", "without address", "of the hub", "passing"],
)
def test_an_error_is_posted_for_lasting_faults_of_the_partner_alone(
    scene: Scene, problem: Any, has_address: bool, posted: int
) -> None:
    parcel = scene.broker.seal(scene.broker.message())
    pmode = next(one for one in pmodes(PULLED) if one.id == "broker1-store")
    assert pmode.reply_endpoint is not None
    pmode = pmode if has_address else replace(pmode, reply_endpoint=None)
    for _ in range(2):
        refuse_pulled_message(scene.house.hub, GatewayError(problem, "x"), parcel, pmode)
    assert len(scene.read(deliveries.list_deliveries)) == posted


def test_errors_about_two_long_ids_that_begin_alike_are_both_posted_once(scene: Scene) -> None:
    pmode = next(one for one in pmodes(PULLED) if one.id == "broker1-store")
    for end in "abab":
        parcel = scene.broker.seal(scene.broker.message(message_id="x" * 240 + end))
        refuse_pulled_message(scene.house.hub, GatewayError(SIGNATURE_INVALID, "x"), parcel, pmode)
    keys = {one.dedupe_key for one in scene.read(deliveries.list_deliveries)}
    assert [len(keys), *map(len, keys)] == [2, 77, 77]


def test_an_error_in_the_header_of_what_is_pulled_is_posted(scene: Scene) -> None:
    good = scene.broker.seal(scene.broker.message())
    body = good.read_octets().replace(b' href="cid:', b' href="http://', 1)
    scene.partner.answers.append(to_answer(Parcel(good.headers, MemoryBody(body))))
    for _ in range(3):
        scene.tick(13)
    assert not scene.read(messages.list_messages)
    (told,) = scene.partner.errors
    assert (told.errors[0].code, told.ref_to_message_id) == ("EBMS:0011", "m1@broker1.example")


@pytest.mark.long
def test_a_partner_that_refuses_leaves_one_failed_turn(scene: Scene) -> None:
    asked = PullRequest(
        "q@x", "", scene.broker.message().receiver, scene.broker.message().sender, "", scene.clock()
    )
    for _ in range(30):
        scene.partner.answers.append(scene.partner.fail(PULL_REFUSED, asked))
    for _ in range(5):
        scene.tick(40)
    states = [row.state for row in scene.turns()]
    assert states.count("FAILED") <= 1
    assert "CANCELLED" in states
    scene.partner.answers.clear()
    scene.partner.waiting.append(scene.broker.seal(scene.broker.message()))
    scene.tick(61)
    assert len(scene.read(messages.list_messages)) == 1
    assert not any(row.state == "FAILED" for row in scene.turns()), "a later turn has worked"


@in_turn
@pytest.mark.long
@pytest.mark.parametrize(
    "place", ["pull.after_post", "receive.message.before_commit", "receive.message.after_commit",
              "pull.turn.before_commit", "pull.turn.after_commit"],
)  # fmt: skip
def test_a_kill_while_pulling_loses_nothing(scene: Scene, place: str) -> None:
    parcel = scene.broker.seal(scene.broker.message())
    scene.partner.waiting.append(parcel)
    die_at(scene, place, lambda hub: scene.tick(1, scene.new_worker(hub)))  # type: ignore[arg-type]
    # The process that died has taken the message from the partner, which gives it again without a receipt.
    scene.tick(121)
    assert len(scene.read(messages.list_messages)) == 1
    assert len({one.message_id for one in scene.partner.receipts}) == 1
