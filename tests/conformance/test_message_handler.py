"""The simulated broker opens what the hub sends, keeps it once, and acknowledges it, or errs as told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from gateway.cases import CaseOutcome, ReportedProblem
from gateway.client import MessageHandler, message_handler, read_journal, read_membership
from gateway.errors import RECEIPT_MISMATCH, GatewayError
from gateway.message_model import ErrorSignal, MemoryBody
from gateway.protocols import OpenedMessage, Parcel
from gateway.protocols.known_envelopes.message_opener import KnownEnvelopes
from gateway_conformance.partners import BROKER_MISBEHAVIORS, Misbehavior, SimulatedBroker
from tests.conformance.hub_messages import EBMS2, MessagingHub, agreement, as_request


@dataclass
class Broker:
    handler: MessageHandler
    folder: Path

    def rows(self) -> list[dict[str, Any]]:
        return list(read_journal(self.folder / "messages.jsonl"))

    def refusals(self) -> list[str]:
        return [row["problem"] for row in read_journal(self.folder / "refusals.jsonl")]


def broker_of(keys: Path, folder: Path, *mischief: str) -> Broker:
    path = folder / "agreement.yaml"
    folder.mkdir(exist_ok=True)
    path.write_bytes(agreement(8900, 8901))
    wrongs = tuple(Misbehavior.from_text(text, BROKER_MISBEHAVIORS) for text in mischief)
    return Broker(SimulatedBroker(read_membership(keys, "broker", path), folder, wrongs), folder)


@pytest.fixture
def broker(keys: Path, tmp_path: Path) -> Broker:
    return broker_of(keys, tmp_path / "broker")


@pytest.fixture
def side(keys: Path) -> MessagingHub:
    return MessagingHub(keys, agreement(8900, 8901))


def test_a_result_is_read_and_acknowledged(broker: Broker, side: MessagingHub) -> None:
    parcel = side.seal(side.message("Result", side.result(), "m-1"))
    side.judge(broker.handler(as_request(parcel)), parcel)
    (row,) = broker.rows()
    assert (row["action"], row["ref_to"], row["said"]["verified"]) == ("Result", "m-1", True)
    assert row["said"]["outcome"] == "APPROVED"
    (decision,) = row["said"]["decisions"]
    assert (decision["item"], decision["organisation"], decision["number"]) == (1, "KFDA", "P-1")
    assert decision["conditions"] == ["Keep dry."]
    assert (broker.folder / row["file"]).read_bytes().startswith(b"<Result")
    assert broker.refusals() == []


def test_a_notice_is_read(broker: Broker, side: MessagingHub) -> None:
    broker.handler(as_request(side.seal(side.message("Notice", side.notice()))))
    said = broker.rows()[0]["said"]
    assert (said["state"], said["status_code"], said["pointers"]) == (
        "INFORMATION_REQUIRED",
        "D01",
        ["APP[2]"],
    )


def test_problems_of_a_refused_submission_are_read(broker: Broker, side: MessagingHub) -> None:
    found = (ReportedProblem("GW503", "no net mass", "42A/67A[1]"),)
    content = side.result(CaseOutcome.REFUSED, problems=found)
    broker.handler(as_request(side.seal(side.message("Result", content))))
    assert broker.rows()[0]["said"]["problems"] == [
        {"id": "GW503", "pointer": "42A/67A[1]", "text": "no net mass"}
    ]


@pytest.mark.night
def test_a_repeat_gets_the_same_octets_and_is_kept_once(
    broker: Broker, side: MessagingHub, keys: Path
) -> None:
    request = as_request(side.seal(side.message("Result", side.result())))
    first = broker.handler(request)
    assert broker.handler(request) == first
    again = broker_of(keys, broker.folder)
    assert again.handler(request) == first
    assert len(broker.rows()) == 1


@pytest.mark.night
def test_another_message_under_the_same_id_is_refused(broker: Broker, side: MessagingHub) -> None:
    unit = side.message("Result", side.result())
    broker.handler(as_request(side.seal(unit)))
    other = replace(unit, payloads=side.message("Result", side.result(reference="ANOTHER")).payloads)
    parcel = side.seal(other)
    reply = broker.handler(as_request(parcel))
    opened = EBMS2.open_units(
        Parcel({"Content-Type": reply.content_type}, MemoryBody(reply.body)), side.context()
    )
    assert isinstance(opened.unit, ErrorSignal)
    assert broker.refusals() == ["GW312"]
    assert len(broker.rows()) == 1


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda data: data.replace(b">SW1<", b">SW2<"), "GW202"),
        (lambda data: data.replace(b"eb:CPAId>", b"eb:CPAid>"), "GW107"),
    ],
)
@pytest.mark.parametrize("before", [0, 1])
def test_what_was_changed_on_its_way_is_refused(
    broker: Broker, side: MessagingHub, spoil: Callable[[bytes], bytes], problem: str, before: int
) -> None:
    for _ in range(before):
        broker.handler(as_request(side.seal(side.message("Result", side.result()))))
    broker.handler(as_request(side.seal(side.message("Result", side.result())), spoil))
    assert broker.refusals() == [problem]
    assert len(broker.rows()) == before


@pytest.mark.night
def test_an_envelope_like_one_before_is_read_by_its_values(
    broker: Broker, side: MessagingHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    known: list[bool] = []
    open_like = KnownEnvelopes.open_by_envelope

    def note_known(*words: Any) -> OpenedMessage | None:
        opened = open_like(*words)
        known.append(opened is not None)
        return opened

    monkeypatch.setattr(KnownEnvelopes, "open_by_envelope", note_known)
    monkeypatch.setattr(message_handler, "open_message", KnownEnvelopes().open_units)
    for _ in range(2):
        broker.handler(as_request(side.seal(side.message("Result", side.result()))))
    assert known == [False, True]
    assert len({row["message_id"] for row in broker.rows()}) == 2


def test_only_the_hub_may_send(broker: Broker, side: MessagingHub) -> None:
    stranger = replace(side, signs_as="stranger")
    broker.handler(as_request(stranger.seal(stranger.message("Result", stranger.result()))))
    assert broker.refusals() == ["GW209"]
    assert broker.rows() == []


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"by": None}, "GW201"),
        ({"by": "stranger"}, "GW209"),
        ({"spoil": lambda data: data.replace(b"APPROVED</Outcome>", b"REJECTED</Outcome>")}, "GW202"),
        ({"spoil": lambda data: data.replace(b"<Outcome>APPROVED", b"<Outcome>PERHAPS")}, "GW402"),
        ({"spoil": lambda data: data[:-9]}, "GW104"),
    ],
)
def test_a_document_that_is_not_good_is_kept_as_not_verified(
    broker: Broker, side: MessagingHub, changes: dict[str, Any], problem: str
) -> None:
    parcel = side.seal(side.message("Result", side.result(**changes)))
    side.judge(broker.handler(as_request(parcel)), parcel)
    said = broker.rows()[0]["said"]
    assert said["verified"] is False
    assert said["problem"].startswith(problem)
    assert "outcome" not in said


@pytest.mark.night
@pytest.mark.parametrize(
    ("mischief", "status", "kept"),
    [("no-receipt*1", 204, 1), ("busy*1", 503, 0), ("garbage*1", 200, 1), ("bad-receipt*1", 200, 1)],
)
def test_the_broker_misbehaves_as_told(
    keys: Path, tmp_path: Path, side: MessagingHub, mischief: str, status: int, kept: int
) -> None:
    broker = broker_of(keys, tmp_path / "broker", mischief)
    parcel = side.seal(side.message("Result", side.result()))
    reply = broker.handler(as_request(parcel))
    assert (reply.status, len(broker.rows())) == (status, kept)
    if mischief == "bad-receipt*1":
        with pytest.raises(GatewayError) as caught:
            side.judge(reply, parcel)
        assert caught.value.problem is RECEIPT_MISMATCH
    if mischief == "garbage*1":
        with pytest.raises(GatewayError):
            side.judge(reply, parcel)
    side.judge(broker.handler(as_request(parcel)), parcel)
    assert len(broker.rows()) == 1


def test_silent_closes_the_connection_and_keeps_nothing(
    keys: Path, tmp_path: Path, side: MessagingHub
) -> None:
    broker = broker_of(keys, tmp_path / "broker", "silent*1")
    request = as_request(side.seal(side.message("Result", side.result())))
    assert broker.handler(request).closes_connection
    assert broker.rows() == []
    assert broker.handler(request).status == 200
