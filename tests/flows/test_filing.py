"""A submission without ebXML: stored with a signed receipt, and from there on as any other."""

from __future__ import annotations

import hashlib
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from lxml import etree
from sqlalchemy import Engine

from gateway.errors import GatewayError
from gateway.evidence import list_subject_leaves
from gateway.hub import FiledSubmission, file_submission
from gateway.hub.intake.submission_intake import FilingReceipt
from gateway.message_model import Payload
from gateway.store import cases, get_database_state, messages, parties, read_transaction, write_transaction
from gateway.wire import FILING_RECEIPT, load_shipped_schemas, serialize_element
from gateway.xmlsec import verify_document
from gateway_conformance.foreign_verifier import find_signature_fault
from tests.flows.craft import supplement, text, without_applications
from tests.kit.databases import BOTH
from tests.kit.house import Away, signer_named
from tests.kit.kills import die_at
from tests.kit.story import LABEL, Story

ATTACHED = (Payload("korean-label@sample", "application/pdf", LABEL),)


@pytest.fixture
def story(engine: Engine) -> Story:
    return Story(engine, customs=False)


def filing(story: Story, change: Any = None, **more: Any) -> FiledSubmission:
    content = serialize_element(story.submission(change))
    attached = () if change is without_applications else ATTACHED
    made = FiledSubmission(content, attached, "api", "broker1", {"method": "test"}, "order-1")
    return replace(made, **more)


def refused(story: Story, filed: FiledSubmission) -> str:
    with pytest.raises(GatewayError) as caught:
        file_submission(story.hub, filed)
    with read_transaction(story.house.engine) as conn:
        kept = [one.message_id for one in messages.list_messages(conn) if one.from_party != "hub"]
    assert kept == [] or kept == ["order-1"]
    return caught.value.problem.id


def row_of(story: Story, told: FilingReceipt) -> Any:
    with read_transaction(story.house.engine) as conn:
        return messages.find_by_id(conn, told.message_row_id)


def kept(story: Story, action: str) -> list[etree._Element]:
    with read_transaction(story.house.engine) as conn:
        rows = [one for one in messages.list_messages(conn, direction="out") if one.action == action]
        return [etree.fromstring(messages.load_payloads(conn, one.id)[0].content) for one in rows]


@pytest.mark.long
@BOTH
def test_a_filed_submission_is_stored_with_a_signed_receipt(story: Story) -> None:
    filed = filing(story)
    told = file_submission(story.hub, filed)
    receipt = etree.fromstring(told.receipt.body)
    load_shipped_schemas(FILING_RECEIPT).validate_document(receipt)
    hub = signer_named("hub").certificate
    assert verify_document(receipt).certificate == hub
    assert find_signature_fault(told.receipt.body, hub, hub.not_before) is None
    found = receipt.find("{*}Submission")
    assert found is not None
    assert found.get("sha256") == hashlib.sha256(filed.content).hexdigest()
    row = row_of(story, told)
    assert (row.from_party, row.action, row.protocol, row.state) == ("broker1", "Submit", "api", "ACCEPTED")
    with read_transaction(story.house.engine) as conn:
        assert [one.content for one in messages.load_payloads(conn, row.id)] == [filed.content, LABEL]
        assert messages.find_response(conn, row.id) == told.receipt
        (leaf,) = list_subject_leaves(conn, "message", row.id)
    assert (leaf.kind, json.loads(leaf.data)["way"]) == ("filed", {"method": "test"})


@pytest.mark.long
@BOTH
def test_a_filed_case_ends_in_a_kept_result(story: Story) -> None:
    file_submission(story.hub, filing(story))
    story.tick()
    story.decide_all()
    story.tick()
    (result,) = kept(story, "Result")
    assert verify_document(result).certificate.sha256 == signer_named("hub").certificate.sha256
    assert result.findtext("{*}Outcome") == "APPROVED"
    assert story.case().state == "CLOSED"
    assert story.deliveries(agent="msh") == []


@pytest.mark.long
def test_notices_and_a_correction_of_a_filed_case_are_kept_each_once(story: Story) -> None:
    file_submission(story.hub, filing(story))
    story.tick()
    story.decide_all()
    story.tick()
    assert len(kept(story, "Notice")) >= 1
    story.decide("KPTA", number="N2")
    story.tick()
    story.tick(minutes=5)
    assert [one.findtext("{*}Outcome") for one in kept(story, "Result")] == ["APPROVED", "APPROVED"]


def test_a_filed_declaration_alone_is_closed_without_any_delivery(story: Story) -> None:
    file_submission(story.hub, filing(story, without_applications))
    story.tick()
    assert (story.case().state, story.case().outcome) == ("CLOSED", "APPROVED")


def test_a_wrong_submission_is_refused_by_its_case(story: Story) -> None:
    file_submission(story.hub, filing(story, text("{*}Application[1]/{*}Items", "9")))
    story.tick()
    assert story.case().state == "REFUSED"
    (result,) = kept(story, "Result")
    assert [one.get("id") for one in result.findall("{*}Problem")]


@pytest.mark.long
def test_a_supplement_may_be_filed_to_a_case_that_came_by_a_message(story: Story) -> None:
    story.submit()
    story.tick()
    told = file_submission(story.hub, filing(story, supplement))
    story.tick()
    with read_transaction(story.house.engine) as conn:
        assert len(cases.list_cases(conn)) == 1
    assert row_of(story, told).case_id == story.case().id


def test_the_same_submission_gets_the_same_receipt(story: Story) -> None:
    filed = filing(story)
    first = file_submission(story.hub, filed)
    story.clock.forward(minutes=3)
    again = file_submission(story.hub, filed)
    assert (first.is_new, again.is_new) == (True, False)
    assert (again.receipt, again.message_row_id) == (first.receipt, first.message_row_id)
    assert refused(story, filing(story, without_applications)) == "GW312"


def test_room_is_asked_for_all_that_is_filed(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(get_database_state(story.house.engine).reserve, "require_octets", asked.append)
    filed = filing(story)
    file_submission(story.hub, filed)
    assert asked[0] == len(filed.content) + len(LABEL)


def test_an_id_is_made_where_none_is_given(story: Story) -> None:
    filed = filing(story, message_id="")
    first, second = file_submission(story.hub, filed), file_submission(story.hub, filed)
    assert first.message_id.endswith("@hub.example")
    assert second.message_id != first.message_id


@pytest.mark.long
@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"content": b"<a"}, "GW104"),
        ({"content": b"<a/>"}, "GW402"),
        ({"message_id": "a b"}, "GW107"),
        ({"message_id": "x" * 201}, "GW107"),
        ({"message_id": "<a>"}, "GW107"),
        ({"attachments": ATTACHED * 2}, "GW103"),
        ({"attachments": (Payload("submission", "a/b", b""),)}, "GW103"),
        ({"attachments": (Payload("a b", "a/b", b""),)}, "GW103"),
        ({"party": "nobody"}, "GW302"),
    ],
)
def test_what_cannot_be_filed_is_not_stored(story: Story, change: dict[str, Any], problem: str) -> None:
    assert refused(story, filing(story, **change)) == problem


def test_a_function_that_is_not_served_is_not_stored(story: Story) -> None:
    with pytest.raises(GatewayError, match=r"'14' is not one of 1, 9, 13, 35 at") as caught:
        file_submission(story.hub, filing(story, text("{*}Function", "14")))
    assert caught.value.problem.id == "GW311"


def test_nothing_is_stored_without_the_key(story: Story) -> None:
    story.hub.signer = Away()
    assert refused(story, filing(story)) == "GW803"


def test_a_suspended_party_files_nothing(story: Story) -> None:
    filed = filing(story)
    with write_transaction(story.house.engine) as conn:
        parties.set_party_status(conn, "broker1", "SUSPENDED")
    assert refused(story, filed) == "GW302"


@pytest.mark.long
@BOTH
@pytest.mark.parametrize("side", ["before", "after"])
def test_a_killed_process_has_filed_all_or_nothing(story: Story, side: str) -> None:
    filed = filing(story)
    die_at(story, f"intake.submission.{side}_commit", lambda hub: file_submission(hub, filed))
    with read_transaction(story.house.engine) as conn:
        stored = messages.find_by_message_id(conn, "in", "broker1", "order-1")
    told = file_submission(story.house.new_hub(), filed)
    assert told.is_new == (side == "before")
    if stored is not None:
        assert told.message_row_id == stored.id
    story.tick(seconds=1)
    assert story.case().state != "REFUSED"


def test_of_one_submission_that_is_filed_at_once_one_is_stored(story: Story) -> None:
    """Two nodes of the API take it at the same moment, and another submission under its id."""
    filed, hubs = filing(story), (story.hub, story.house.new_hub())
    other, ready = replace(filed, content=filed.content + b"\n"), threading.Barrier(9)

    def file(number: int) -> tuple[bool, bytes] | str:
        ready.wait(60)
        try:
            told = file_submission(hubs[number % 2], other if number == 8 else filed)
        except GatewayError as problem:
            return problem.problem.id
        return told.is_new, told.receipt.body

    with ThreadPoolExecutor(9) as pool:
        *same, last = pool.map(file, range(9))
    winners = [one for one in (*same, last) if one != "GW312"]
    assert [new for new, _ in winners].count(True) == 1
    assert len({body for _, body in winners}) == 1
    assert (last == "GW312") != (same == ["GW312"] * 8)
    with read_transaction(story.house.engine) as conn:
        assert len(messages.list_messages(conn)) == 1
