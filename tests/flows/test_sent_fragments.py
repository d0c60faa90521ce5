"""A Result larger than agreed goes in fragments, each sealed once; the receipt of the whole ends it."""

from __future__ import annotations

import hashlib
import itertools
import os
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select

from gateway.cli.home_folder import read_home_settings
from gateway.delivery.agents import LocalAgent, MshAgent
from gateway.delivery.delivery_worker import DeliveryWorker, WorkerSettings
from gateway.delivery.http_answer_reader import HttpAnswer
from gateway.errors import UNREACHABLE, GatewayError
from gateway.evidence import list_subject_leaves
from gateway.hub import receive_parcel
from gateway.hub.completion import operator_actions
from gateway.hub.hub import HubResources
from gateway.message_model import MemoryBody, Receipt, read_octets
from gateway.operations import Act, purge_octets, read_case_report, read_message_report
from gateway.protocols import EncryptionResources, Parcel
from gateway.state_machines import DELIVERY
from gateway.store import (
    ObjectFolder,
    get_database_state,
    make_engine,
    messages,
    read_transaction,
    write_transaction,
)
from gateway.store.payloads import payloads
from tests.flows.test_encryption import TERMS, make_key, register_receiver
from tests.kit.databases import in_turn
from tests.kit.house import AS4, build_hub, register_parties
from tests.kit.sent_fragments import SMALL, SplitStory, replace_terms
from tests.kit.story import PLAN

DOWN = GatewayError(UNREACHABLE, "connection refused")
REFUSED = HttpAnswer(
    500,
    {"content-type": "application/soap+xml"},
    b'<S:Envelope xmlns:S="http://www.w3.org/2003/05/soap-envelope"><S:Body><S:Fault><S:Code>'
    b'<S:Value>S:Sender</S:Value></S:Code><S:Reason><S:Text xml:lang="en">no</S:Text></S:Reason>'
    b"</S:Fault></S:Body></S:Envelope>",
)


def begin(engine: Engine, folder: Path, agreement: bytes = SMALL) -> SplitStory:
    folder.joinpath("posted").mkdir()
    made = SplitStory(engine, folder / "posted", agreement)
    made.file()
    return made


@pytest.fixture
def story(engine: Engine, tmp_path: Path) -> SplitStory:
    return begin(engine, tmp_path)


def sent_rows(story: SplitStory, kind: str) -> list[Any]:
    rows = story.read(lambda conn: messages.list_messages(conn, direction="out", kind=kind, limit=100))
    return list(reversed(rows))


def check_each_once(story: SplitStory) -> None:
    """Check that a fragment was never sent with other octets."""
    assert {len(set(found)) for found in story.sent_octets().values()} == {1}


@pytest.mark.long
@in_turn
@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_a_result_is_joined_by_its_receiver(engine: Engine, tmp_path: Path, compression: str) -> None:
    story = begin(engine, tmp_path, replace_terms(compression))
    story.tick(seconds=1)
    count = story.group().count
    assert (count > 1, len(story.joiner.sent)) == (True, count)
    assert {row.state for row in story.pieces_of()} == {"DELIVERED"}
    # It is delivered when its receiver says that it has joined it, and not before.
    assert (story.whole().state, story.group().state) == ("AWAITING_RECEIPT", "SENDING")
    assert story.case().state == "DECIDED"
    assert story.post_receipt().status == 204
    assert (story.whole().state, story.group().state) == ("DELIVERED", "RECEIPTED")
    assert story.case().state == "CLOSED"
    assert story.outcome()[0] == "APPROVED"
    (row,) = sent_rows(story, "UserMessage")
    (part,) = story.read(lambda conn: messages.load_payloads(conn, row.id))
    assert read_octets(story.inbox.got[-1].payloads[0].octets) == read_octets(part.octets)
    assert story.inbox.octets == [story.read(lambda conn: messages.load_parcel(conn, row.id))[1]]
    assert story.evidence("delivery", story.whole().id) == ["NRR"]
    story.tick(hours=5)
    assert len(story.joiner.sent) == count


@pytest.mark.long
def test_what_operators_and_applicants_read_is_the_whole(story: SplitStory) -> None:
    story.tick(seconds=1)
    case = story.case()
    report = story.read(lambda conn: read_case_report(conn, case))
    assert [row["id"] for row in report["deliveries"] if row["agent"] == "msh"] == [story.whole().id]
    (row,) = sent_rows(story, "UserMessage")
    pieces = sent_rows(story, "Fragment")
    count = len(pieces)
    assert {(one.case_id, one.state) for one in pieces} == {(None, "PROCESSED")}
    for message, number in ((row, None), (pieces[1], 2)):
        told = story.read(lambda conn, of=message: read_message_report(conn, of))
        group = told["fragments"]
        assert (group["group"], group["number"], group["message"]) == (row.message_id, number, row.id)
        assert (group["state"], group["came"], group["count"]) == ("SENDING", count, count)
        assert len(told["deliveries"]) == 1
    leaves = story.read(lambda conn: list_subject_leaves(conn, "message", pieces[1].id))
    assert [one.kind for one in leaves] == ["NRS"]


def test_the_digest_of_a_fragment_is_that_of_its_octets(story: SplitStory) -> None:
    story.tick(seconds=1)
    posted = {message: content for _, message, content in story.joiner.sent}
    pieces = sent_rows(story, "Fragment")
    assert len({row.parcel_sha256 for row in pieces}) == len(pieces) > 1
    stored = story.read(lambda conn: [messages.load_parcel(conn, row.id)[1] for row in pieces])
    for row, content in zip(pieces, stored, strict=True):
        assert content == posted[row.message_id]
        assert hashlib.sha256(content).hexdigest() == row.parcel_sha256 == row.identity_sha256


def test_a_message_that_fits_goes_whole(engine: Engine, tmp_path: Path) -> None:
    story = begin(engine, tmp_path, SMALL.replace(b"fragment_size: 1500", b"fragment_size: 150000"))
    story.tick(seconds=1)
    assert story.case().state == "CLOSED"
    assert (story.joiner.sent, sent_rows(story, "Fragment")) == ([], [])


def test_without_an_endpoint_for_the_receipt_it_goes_whole(engine: Engine, tmp_path: Path) -> None:
    endpoint = b"    endpoint: http://127.0.0.1:8900/msh/as4\n"
    assert endpoint in SMALL
    story = begin(engine, tmp_path, SMALL.replace(endpoint, b""))
    story.tick(seconds=1)
    assert len(sent_rows(story, "UserMessage")) == 1
    assert (story.joiner.sent, sent_rows(story, "Fragment")) == ([], [])


def test_a_message_above_the_agreed_size_is_left_to_the_operator(engine: Engine, tmp_path: Path) -> None:
    story = begin(engine, tmp_path, SMALL.replace(b"message_size: 10000000", b"message_size: 2000"))
    for _ in range(6):
        story.tick(hours=1)
    (task,) = [row for row in story.deliveries(agent="local") if row.parameters["task"] == "conclude"]
    assert (task.state, task.problem) == ("FAILED", "GW102")
    assert not sent_rows(story, "UserMessage")


@pytest.mark.long
def test_a_fragment_without_receipt_is_sent_again_and_no_other(story: SplitStory) -> None:
    story.joiner.answer_to = {1: DOWN, 3: HttpAnswer(204, {}, b"")}
    story.tick(seconds=1)
    story.joiner.answer_to = {}
    story.tick(seconds=301)
    story.tick(seconds=301)
    times = {number: len(found) for number, found in story.sent_octets().items()}
    assert times == {number: 2 if number in (1, 3) else 1 for number in times}
    check_each_once(story)
    story.post_receipt()
    assert story.case().state == "CLOSED"


@pytest.mark.long
@pytest.mark.parametrize(
    ("answer", "problem"), [("signed error", "GW602"), (REFUSED, "GW604"), (DOWN, "GW604")]
)
def test_a_fragment_that_fails_fails_its_message(story: SplitStory, answer: Any, problem: str) -> None:
    """It is told of the whole; the other fragments end, and a repeat sends those without receipt."""
    story.joiner.answer_to = {2: story.joiner.refuse if answer == "signed error" else answer, 4: DOWN}
    for _ in range(5):
        story.tick(seconds=301)
    whole = story.whole()
    assert (whole.state, whole.problem, story.group().state) == ("FAILED", problem, "FAILED")
    assert "fragment 2" in whole.last_sentence or "fragment 4" in whole.last_sentence
    assert {row.state for row in story.pieces_of()} == {"DELIVERED", "CANCELLED"}
    assert story.case().state == "DECIDED"
    assert story.evidence("delivery", whole.id) == ["DeliveryFailure"]
    (row,) = sent_rows(story, "UserMessage")
    told = story.read(lambda conn: read_message_report(conn, row))
    assert (told["fragments"]["state"], told["fragments"]["problem"]) == ("FAILED", problem)
    before = {number: len(found) for number, found in story.sent_octets().items()}
    done = {row.parameters["fragment"]["number"] for row in story.pieces_of("DELIVERED")}
    missing = set(range(1, story.group().count + 1)) - done
    assert missing >= {2, 4}
    story.tick(hours=2)
    assert story.sent_octets().keys() == before.keys()
    story.joiner.answer_to = {}
    story.operate(operator_actions.requeue_delivery, whole.id)
    story.tick(seconds=1)
    after = {number: len(found) for number, found in story.sent_octets().items()}
    assert {number for number in after if after[number] > before.get(number, 0)} == missing
    check_each_once(story)
    story.post_receipt()
    assert (story.whole().state, story.case().state) == ("DELIVERED", "CLOSED")


@pytest.mark.long
def test_a_fragment_whose_turn_comes_late_has_all_its_attempts(story: SplitStory) -> None:
    """A slow link: its last fragment begins when the repeats of the first would be over."""
    lost: list[int] = []

    def take_long(opened: Any) -> HttpAnswer:
        story.clock.forward(seconds=600)
        if opened.fragment_header.number == story.group().count and len(lost) < 2:
            lost.append(opened.fragment_header.number)
            raise DOWN
        return story.joiner._receipt(opened)

    story.joiner.answer_to = dict.fromkeys(range(1, 20), take_long)
    begun = story.clock()
    while story.pieces_of("QUEUED") or not story.pieces_of():
        story.tick(seconds=301)
    assert (len(lost), story.group().count > 3) == (2, True)
    assert {row.state for row in story.pieces_of()} == {"DELIVERED"}, story.clock() - begun
    check_each_once(story)
    story.post_receipt()
    assert story.case().state == "CLOSED"


@pytest.mark.long
@in_turn
def test_an_error_about_the_whole_ends_its_fragments(story: SplitStory) -> None:
    story.joiner.answer_to = {2: DOWN, 3: HttpAnswer(204, {}, b"")}
    story.tick(seconds=1)
    # Signed by somebody else, it is nobody's.
    story.post_error("kpta")
    assert story.whole().state == "AWAITING_RECEIPT"
    assert story.post_error().status == 204
    whole = story.whole()
    assert (whole.state, whole.problem, story.group().state) == ("FAILED", "GW602", "FAILED")
    assert story.steps(DELIVERY, whole.id)[-1][0] == "error"
    times = len(story.joiner.sent)
    for _ in range(3):
        story.tick(seconds=301)
    assert len(story.joiner.sent) == times
    dropped = story.pieces_of("CANCELLED")
    assert [row.problem for row in dropped] == ["GW343", "GW343"]
    assert not story.deliveries(state="FAILED", subject_type="fragment")
    assert "EBMS:0051" in str(story.read(lambda conn: read_case_report(conn, story.case()))["deliveries"])


@pytest.mark.long
def test_without_receipt_of_the_whole_it_fails_and_is_sent_again(story: SplitStory) -> None:
    story.tick(seconds=1)
    first = story.sent_octets()
    for _ in range(3):
        story.tick(hours=1)
    whole = story.whole()
    assert (whole.state, whole.problem, story.group().state) == ("FAILED", "GW604", "FAILED")
    story.operate(operator_actions.requeue_delivery, whole.id)
    story.tick(seconds=1)
    assert {number: found * 2 for number, found in first.items()} == story.sent_octets()
    # An operator sets no time: it waits for as long as agreed once more, and once only.
    assert story.whole().state == "AWAITING_RECEIPT"
    for _ in range(3):
        story.tick(hours=1)
    assert (story.whole().state, story.whole().problem) == ("FAILED", "GW604")
    story.operate(operator_actions.requeue_delivery, whole.id)
    story.tick(seconds=1)
    story.post_receipt()
    assert (story.whole().state, story.case().state) == ("DELIVERED", "CLOSED")


@pytest.mark.long
def test_fragments_are_not_sent_behind_the_receipt_of_the_whole(story: SplitStory) -> None:
    """The receiver has all; the receipt of one fragment was lost."""

    def lose(_opened: Any) -> HttpAnswer:
        raise DOWN

    story.joiner.answer_to = {2: lose}
    story.tick(seconds=1)
    assert [row.state for row in story.pieces_of("QUEUED")] == ["QUEUED"]
    story.post_receipt()
    assert (story.whole().state, story.case().state) == ("DELIVERED", "CLOSED")
    story.tick(seconds=301)
    assert {len(found) for found in story.sent_octets().values()} == {1}
    assert [row.problem for row in story.pieces_of("CANCELLED")] == ["GW343"]


@pytest.mark.long
def test_receipts_that_prove_nothing_change_nothing(story: SplitStory) -> None:
    kept: list[HttpAnswer] = []

    def keep(opened: Any) -> HttpAnswer:
        kept.append(story.joiner._receipt(opened))
        return kept[0]

    def receipt_another(_opened: Any) -> HttpAnswer:
        return kept[0]

    story.joiner.answer_to = {1: keep, 2: receipt_another, 3: HttpAnswer(200, {}, b"<no/>")}
    story.tick(seconds=1)
    states = {row.parameters["fragment"]["number"]: row.state for row in story.pieces_of()}
    assert (states[1], states[2], states[3]) == ("DELIVERED", "QUEUED", "QUEUED")
    story.joiner.answer_to = {}
    story.tick(seconds=301)
    good = story.joiner.receipts[-1]
    for old, new in ((b"<ds:SignatureValue>", b"<ds:SignatureValue>AAAA"), (b"eb3:Receipt", b"eb3:Recept")):
        answer = story.house.post(Parcel(good.headers, MemoryBody(good.body.replace(old, new))))
        assert b"EBMS:" in answer.body
    assert story.whole().state == "AWAITING_RECEIPT"
    story.post_receipt()
    assert story.whole().state == "DELIVERED"
    assert story.post_receipt().status == 204
    assert story.evidence("delivery", story.whole().id) == ["NRR"]


@pytest.mark.long
def test_large_fragments_are_in_the_object_store(engine: Engine, tmp_path: Path) -> None:
    get_database_state(engine).objects = ObjectFolder(tmp_path / "objects", 1000)
    story = begin(engine, tmp_path)
    story.tick(seconds=1)
    kept = [path for path in (tmp_path / "objects").rglob("*") if path.is_file()]
    digests = {row.parcel_sha256 for row in (*sent_rows(story, "Fragment"), *sent_rows(story, "UserMessage"))}
    assert digests <= {path.name for path in kept}
    story.post_receipt()
    assert (story.outcome()[0], story.case().state) == ("APPROVED", "CLOSED")


@pytest.mark.long
def test_encrypted_fragments_are_decrypted_by_their_receiver(engine: Engine, tmp_path: Path) -> None:
    ours, theirs = make_key("hub"), make_key("broker1")
    tmp_path.joinpath("posted").mkdir()
    story = SplitStory(engine, tmp_path / "posted", replace_terms("none", TERMS))
    story.hub.decryption_keys = (ours,)
    with write_transaction(engine) as conn:
        register_receiver(conn, theirs.certificate, story.clock())
    plain = story.broker.context
    keys = {"hub": ours.certificate, "broker1": theirs.certificate}
    found = EncryptionResources((theirs,), os.urandom, lambda party, _pin: keys[party])
    story.broker.context = lambda: replace(plain(), encryption=found)  # type: ignore[method-assign]
    story.file()
    story.tick(seconds=1)
    content = read_octets(story.inbox.got[-1].payloads[0].octets)
    assert b"Outcome>APPROVED" in content
    for octets in story.sent_octets().values():
        assert octets[0].count(b"<xenc:EncryptedData") == 1
        assert b"Outcome>" not in octets[0]
    story.post_receipt()
    assert story.case().state == "CLOSED"


@pytest.mark.long
def test_retention_removes_fragments_after_the_whole(engine: Engine, tmp_path: Path) -> None:
    url = engine.url.render_as_string(hide_password=False)
    written = f'[hub]\nhome = "."\n[database]\nurl = "{url}"\n[retention]\noctets = "10d"\n'
    tmp_path.joinpath("gateway.toml").write_text(written, encoding="utf-8")
    settings, act = read_home_settings(tmp_path), Act("retention purge", "Kim")
    story = begin(engine, tmp_path)
    story.tick(seconds=1)

    def purge() -> list[bool]:
        story.clock.forward(days=20)
        purge_octets(engine, settings, act, now=story.clock())
        return [row.purged_at is not None for row in sent_rows(story, "Fragment")]

    pieces = sent_rows(story, "Fragment")
    assert purge() == [False] * len(pieces)
    story.post_receipt()
    assert purge() == [True] * len(pieces)
    digests = {row.parcel_sha256 for row in pieces}
    kept = select(payloads.c.sha256).where(payloads.c.sha256.in_(digests), payloads.c.purged_at.is_(None))
    assert story.read(lambda conn: conn.execute(kept).all()) == []


@pytest.mark.long
def test_another_hub_joins_it_and_its_receipt_comes_back(
    engine: Engine, tmp_path: Path, sqlite_url: str
) -> None:
    """The partner is a hub of this program, with a database of its own."""
    story = begin(engine, tmp_path)
    other = make_engine(sqlite_url)
    register_parties(other, story.clock(), SMALL)
    numbers = itertools.count(10_000)
    world = HubResources(
        other, story.clock, lambda: str(uuid.UUID(int=next(numbers))), "broker.example", story.hub.composer
    )
    partner = build_hub(world, "broker1")
    posted: list[bytes] = []

    class Wire:
        """Brings what one hub posts to the other one."""

        def __init__(self, to: Any) -> None:
            self.to = to

        def post(self, _url: str, headers: dict[str, str], body: Any, _bounds: Any = None) -> HttpAnswer:
            content = body if isinstance(body, bytes) else read_octets(body)
            posted.append(content)
            answer = receive_parcel(self.to, story.broker.core, Parcel(headers, MemoryBody(content)))
            headers = {name.lower(): value for name, value in answer.headers.items()}
            return HttpAnswer(answer.status, headers, answer.body)

    story.agents["msh"] = MshAgent(story.hub, Wire(partner))  # type: ignore[arg-type]
    story.tick(seconds=1)
    assert story.whole().state == "AWAITING_RECEIPT"
    agents: dict[str, Any] = {
        "local": LocalAgent(partner, PLAN),
        "msh": MshAgent(partner, Wire(story.hub)),  # type: ignore[arg-type]
    }
    theirs = DeliveryWorker(other, agents, story.clock, name="partner", worker_settings=WorkerSettings())
    while theirs.run_once():
        pass
    (sent,) = sent_rows(story, "UserMessage")
    with read_transaction(other) as conn:
        (row,) = messages.list_messages(conn, direction="in", kind="UserMessage")
        (part,) = messages.load_payloads(conn, row.id)
    (ours,) = story.read(lambda conn: messages.load_payloads(conn, sent.id))
    assert (row.message_id, read_octets(part.octets)) == (sent.message_id, read_octets(ours.octets))
    assert (story.whole().state, story.case().state) == ("DELIVERED", "CLOSED")
    opened = story.broker.core.read_sent_unit(
        Parcel({"Content-Type": "application/soap+xml"}, MemoryBody(posted[-1])), story.hub.limits
    )
    assert isinstance(opened.unit, Receipt)
    other.dispose()


def test_the_example_splits_nothing(engine: Engine, tmp_path: Path) -> None:
    story = begin(engine, tmp_path, AS4)
    story.tick(seconds=1)
    assert (story.case().state, story.joiner.sent) == ("CLOSED", [])
