"""A strict agency refuses calls by a contract that it does not have; composed anew they have one effect."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lxml import etree
from sqlalchemy import Engine, select

from gateway.config import Settings
from gateway.errors import REFUSED_FOR_GOOD, GatewayError
from gateway.evidence import list_subject_leaves
from gateway.hub.completion import operator_actions
from gateway.operations import (
    Act,
    add_case_waiting,
    change_composed_calls,
    compose_calls,
    find_refused_calls,
    open_change,
)
from gateway.share import get_data_folder
from gateway.store import ListFilter, payloads, read_transaction
from gateway.store.octet_removal import list_used_digests
from gateway.store.payloads import payloads as payload_table
from tests.flows.craft import reference
from tests.kit.audited import list_actions
from tests.kit.databases import BOTH
from tests.kit.story import Story
from tests.kit.strict_agency import StrictAgency, agree, older_template, own_wsdl, serve_strict_agency

TEMPLATE = "agency-template.wsdl"


@pytest.fixture
def story(engine: Engine) -> Story:
    return Story(engine)


@pytest.fixture
def agency(story: Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StrictAgency]:
    """Return KPTA, which has the older template, while the hub calls it by the one of now."""
    agree(story, TEMPLATE)
    with serve_strict_agency(story, tmp_path, older_template(), monkeypatch) as served:
        yield served


def name_settings(story: Story, folder: Path) -> Settings:
    """Return settings that name the address and the WSDL that the hub calls KPTA by."""
    service = story.addresses["KPTA"]
    wsdl = service.wsdl
    own = (
        {"wsdl": wsdl} if isinstance(wsdl, str) else {"wsdl": wsdl.relative_path, "wsdl_sha256": wsdl.sha256}
    )
    return Settings.model_validate(
        {
            "hub": {"home": folder},
            "share": {"folders": [folder]},
            "agency": {"KPTA": {"endpoint": service.endpoint, **own}},
        }
    )


def compose(story: Story, folder: Path, *numbers: int) -> dict[int, GatewayError]:
    """Compose the calls of deliveries anew, as the verb does; return the problems of those that are left."""
    settings = name_settings(story, folder)
    with read_transaction(story.house.engine) as conn:
        composed = compose_calls(conn, settings, numbers)
    act = Act("delivery compose", "kim", "root", "KPTA has the WSDL of May")
    if composed.calls:
        with open_change(story.house.engine, settings, act, at=story.clock()) as change:
            change_composed_calls(change, composed.calls)
    return dict(composed.problems_by_delivery)


def of_kpta(story: Story) -> Any:
    return story.deliveries(destination="KPTA")[-1]


def octets_of(story: Story, digest: str) -> bytes:
    with read_transaction(story.house.engine) as conn:
        return payloads.get_payload_octets(conn, digest)


def refuse(story: Story, agency: StrictAgency) -> Any:
    """File; return the delivery of the call that KPTA has refused for good."""
    story.submit()
    story.tick()
    refused = of_kpta(story)
    assert (refused.state, refused.problem, agency.effects) == ("FAILED", "GW602", [])
    assert story.request("KPTA").state == "STRANDED"
    return refused


def test_a_case_says_that_its_agency_refused_the_call(story: Story, agency: StrictAgency) -> None:
    refused = refuse(story, agency)
    row = {"id": story.case().id, "state": story.case().state}
    with read_transaction(story.house.engine) as conn:
        add_case_waiting(conn, [row], story.clock())
    assert f"KPTA: it refused the call, delivery {refused.id} FAILED" in row["waits_for"]


@pytest.mark.long
@BOTH
def test_a_refused_call_goes_out_by_the_wsdl_of_now_with_one_effect(
    story: Story, agency: StrictAgency, tmp_path: Path
) -> None:
    refused = refuse(story, agency)
    assert "items" in agency.refused[0]
    # The same octets are refused again.
    story.operate(operator_actions.requeue_delivery, refused.id)
    story.tick()
    assert (of_kpta(story).state, len(agency.refused)) == ("FAILED", 2)
    agree(story, own_wsdl(tmp_path, older_template()))
    assert compose(story, tmp_path, refused.id) == {}
    story.tick()
    (effect,) = agency.effects
    sent = of_kpta(story)
    assert (sent.id, sent.state) == (refused.id, "DELIVERED")
    # The application, its attachments and its MessageID are those of the refused call.
    assert effect.message_id == refused.wire_id
    before, after = (etree.fromstring(octets_of(story, one.payload_sha256)) for one in (refused, sent))
    for part in before[-1][0]:
        part.attrib.pop("items", None)
        part.attrib.pop("laws", None)
    first, second = (
        [etree.tostring(part, method="c14n", exclusive=True) for part in one[-1][0]]
        for one in (before, after)
    )
    assert first == second
    assert story.request("KPTA").state == "ACKNOWLEDGED"
    assert story.request("KPTA").document_sha256 == sent.payload_sha256


def test_both_calls_are_evidence_with_who_and_why(story: Story, agency: StrictAgency, tmp_path: Path) -> None:
    refused = refuse(story, agency)
    wsdl = own_wsdl(tmp_path, older_template())
    agree(story, wsdl)
    assert compose(story, tmp_path, refused.id) == {}
    with read_transaction(story.house.engine) as conn:
        leaves = list_subject_leaves(conn, "delivery", refused.id)
        (row,) = list_actions(conn, limit=5)
    assert [one.kind for one in leaves] == ["undeliverable", "operator", "operator"]
    failed, composed, requeued = leaves
    sent = of_kpta(story)
    assert failed.digest == composed.digest == refused.payload_sha256
    acted = {"act": "compose", "actor": "kim", "reason": "KPTA has the WSDL of May"}
    digests = {"before": refused.payload_sha256, "after": sent.payload_sha256}
    assert json.loads(composed.data) == acted | digests
    assert json.loads(requeued.data)["act"] == "requeue"
    assert hashlib.sha256(octets_of(story, refused.payload_sha256)).hexdigest() == refused.payload_sha256
    assert sent.parameters["wsdl_sha256"] == wsdl.sha256 != refused.parameters["wsdl_sha256"]
    assert sent.parameters["schema_sha256"] == refused.parameters["schema_sha256"]
    assert (row.actor, row.action, row.object) == ("kim", "delivery compose", f"delivery {refused.id}")
    assert row.reason == acted["reason"]
    states = (row.before[str(refused.id)], row.after[str(refused.id)])
    assert [one["state"] for one in states] == ["FAILED", "QUEUED"]
    assert [one["payload_sha256"] for one in states] == [*digests.values()]
    # Retention finds the octets of both.
    with read_transaction(story.house.engine) as conn:
        used = list_used_digests(conn, [story.case().id], [])
    assert set(digests.values()) <= used


@pytest.mark.long
def test_a_call_that_the_agency_took_has_no_second_effect(
    story: Story, agency: StrictAgency, tmp_path: Path
) -> None:
    """Its answers were lost until the attempts ended; then the contract changed."""
    agree(story, own_wsdl(tmp_path, older_template()))
    agency.loses = 99
    story.submit()
    for _ in range(6):
        story.tick(minutes=5)
    lost = of_kpta(story)
    assert (lost.state, lost.problem, len(agency.effects)) == ("FAILED", "GW604", 1)
    agency.loses = 0
    agency.learn(get_data_folder("wsdl").joinpath(TEMPLATE).read_bytes())
    agree(story, TEMPLATE)
    assert compose(story, tmp_path, lost.id) == {}
    story.tick()
    # The agency knows the MessageID: it says that the call is another one, and does nothing.
    assert len(agency.effects) == 1
    assert "GW312" in agency.refused[-1]


@BOTH
def test_a_call_that_a_node_with_another_wsdl_has_composed_is_told_once(
    story: Story, agency: StrictAgency, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wsdl = own_wsdl(tmp_path, older_template())
    agree(story, wsdl)
    agency.learn(older_template())
    agency.loses = 2
    story.submit()
    story.tick()
    told = "a call was composed by another WSDL than this node has"
    assert told not in caplog.text
    agree(story, TEMPLATE)
    for _ in range(3):
        story.tick(minutes=5)
    assert of_kpta(story).state == "DELIVERED"
    (line,) = [record for record in caplog.records if told in record.getMessage()]
    assert wsdl.sha256 in line.getMessage()
    assert (line.partner, line.delivery) == ("KPTA", of_kpta(story).id)  # type: ignore[attr-defined]


@pytest.mark.long
def test_what_is_to_be_decided_is_named_where_the_wsdl_has_a_place_by_now(
    story: Story, agency: StrictAgency, tmp_path: Path
) -> None:
    agree(story, own_wsdl(tmp_path, older_template()))
    agency.learn(older_template().replace(b'name="CaseNumber"', b'name="CaseNo"'))
    refused = refuse(story, agency)
    template = get_data_folder("wsdl").joinpath(TEMPLATE).read_bytes()
    agency.learn(template)
    agree(story, TEMPLATE)
    assert compose(story, tmp_path, refused.id) == {}
    story.tick()
    (effect,) = agency.effects
    assert dict(effect.content.find("{*}Document").attrib) == {"items": "1", "laws": "01 70"}


@pytest.mark.long
@pytest.mark.parametrize("act", ["hold", "none"])
def test_a_call_that_waits_for_its_next_attempt_is_replaced_where_it_waits(
    story: Story, agency: StrictAgency, tmp_path: Path, act: str
) -> None:
    agency.loses = 1
    agree(story, own_wsdl(tmp_path, older_template()))
    story.submit()
    story.tick()
    waits = of_kpta(story)
    assert (waits.state, waits.attempt) == ("QUEUED", 1)
    if act == "hold":
        story.operate(operator_actions.hold_delivery, waits.id)
    agency.learn(get_data_folder("wsdl").joinpath(TEMPLATE).read_bytes())
    agree(story, TEMPLATE)
    assert compose(story, tmp_path, waits.id) == {}
    after = of_kpta(story)
    assert (after.state, after.due_at) == ("HELD" if act == "hold" else "QUEUED", waits.due_at)
    assert after.payload_sha256 != waits.payload_sha256


@pytest.mark.long
def test_what_is_no_refused_call_is_left_with_what_to_do(
    story: Story, agency: StrictAgency, tmp_path: Path
) -> None:
    refused = refuse(story, agency)
    told = next(row for row in story.deliveries() if row.agent == "local")
    done = next(row for row in story.deliveries(destination="KFDA") if row.state == "DELIVERED")
    left = compose(story, tmp_path, refused.id, told.id, done.id, 9999)
    assert of_kpta(story).state == "FAILED"
    assert {one.problem.id for one in left.values()} == {"GW705"}
    words = {number: one.detail for number, one in left.items()}
    same = f"the call of delivery {refused.id} is the same by the WSDL {TEMPLATE}: set agency.KPTA.wsdl to "
    assert words[refused.id].startswith(same)
    assert words[refused.id].endswith(f"`gateway queue cancel {refused.id}`")
    no_call = f"delivery {told.id} is no call of a service, whose contract can change; "
    assert words[told.id] == no_call + "nothing is left to do"
    assert words[done.id] == f"delivery {done.id} is DELIVERED; nothing is left to do"
    assert words[9999] == "there is no delivery 9999"


@pytest.mark.long
def test_a_wsdl_that_does_not_take_the_call_leaves_it(
    story: Story, agency: StrictAgency, tmp_path: Path
) -> None:
    refused = refuse(story, agency)
    agree(story, "agencies/KFDA.wsdl")
    (problem,) = compose(story, tmp_path, refused.id).values()
    assert problem.problem.id == "GW720"
    assert of_kpta(story) == refused


@pytest.mark.long
def test_a_document_that_the_bound_schema_does_not_take_leaves_it(
    story: Story, agency: StrictAgency, tmp_path: Path
) -> None:
    refused = refuse(story, agency)
    shipped = get_data_folder("wsdl").joinpath("agencies/KPTA.wsdl").read_bytes()
    place = tmp_path / "xsd" / "agencies" / "KPTA"
    place.mkdir(parents=True)
    schema = get_data_folder("xsd").joinpath("agencies/KPTA/KPTA-PHARM-IMP.xsd").read_bytes()
    (place / "KPTA-PHARM-IMP.xsd").write_bytes(schema.replace(b'name="Agent"', b'name="Broker"'))
    agree(story, own_wsdl(tmp_path, shipped, "agencies/own.wsdl"))
    (problem,) = compose(story, tmp_path, refused.id).values()
    assert problem.problem.id == "GW720"
    assert of_kpta(story) == refused


@pytest.mark.long
def test_a_delivery_that_changed_meanwhile_is_left(
    story: Story, agency: StrictAgency, tmp_path: Path
) -> None:
    refused = refuse(story, agency)
    agree(story, own_wsdl(tmp_path, older_template()))
    settings = name_settings(story, tmp_path)
    with read_transaction(story.house.engine) as conn:
        composed = compose_calls(conn, settings, [refused.id])
    story.operate(operator_actions.cancel_delivery, refused.id)
    act = Act("delivery compose", "kim")
    with (
        pytest.raises(GatewayError, match="has changed while its call was composed"),
        open_change(story.house.engine, settings, act) as change,
    ):
        change_composed_calls(change, composed.calls)
    assert of_kpta(story).payload_sha256 == refused.payload_sha256
    with read_transaction(story.house.engine) as conn:
        (call,) = composed.calls
        digest = hashlib.sha256(call.octets).hexdigest()
        assert conn.execute(select(payload_table).where(payload_table.c.sha256 == digest)).all() == []


@pytest.mark.long
def test_in_bulk_those_of_one_agency_that_failed_are_found(
    story: Story, agency: StrictAgency, tmp_path: Path
) -> None:
    refuse(story, agency)
    story.say("KFDA", GatewayError(REFUSED_FOR_GOOD, "no"))
    story.submit(story.submission(reference("R-2")))
    story.tick()
    both = [row.id for row in story.deliveries(destination="KPTA")]
    assert story.deliveries(destination="KFDA")[-1].state == "FAILED"

    def find(problem: str | None = None, **more: Any) -> list[int]:
        with read_transaction(story.house.engine) as conn:
            page = find_refused_calls(conn, ListFilter(agency="KPTA", **more), problem)
        return [row["id"] for row in page.rows]

    assert find() == find("GW602") == both
    assert find("GW604") == find(since=story.clock.now.replace(year=2030)) == []
    assert find(limit=1) == both[:1]
    agree(story, own_wsdl(tmp_path, older_template()))
    assert compose(story, tmp_path, *find()) == {}
    story.tick()
    assert len(agency.effects) == 2
    assert find() == []
