"""An agency whose WSDL does not take its application: it alone waits, and goes out when that is mended."""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from lxml import etree
from sqlalchemy import Engine

from gateway.delivery import PartnerService
from gateway.delivery.agents import PartnerAgent
from gateway.delivery.delivery_worker import DeliveryWorker, WorkerSettings
from gateway.harmonize import CarrierFormat
from gateway.hub import Hub, load_application_form
from gateway.hub.completion.operator_actions import requeue_delivery
from gateway.operations import add_case_waiting
from gateway.process_log import format_text
from gateway.store import read_transaction
from gateway.wire import CARRIED
from tests.flows.craft import reference, text, withdrawal
from tests.flows.test_amendments import amend
from tests.kit import house
from tests.kit.databases import BOTH
from tests.kit.kills import die_at
from tests.kit.story import PLAN, Story, content_of

PLACE = "http://partner.example/KPTA"


@pytest.fixture
def story(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Story:
    """Return a story whose mappings write JSON for KPTA, whose WSDL has no place for it."""
    made = replace(
        house.bundle(), carriers={"KPTA": CarrierFormat("json", number_format="exact")}, compiled={}
    )
    monkeypatch.setattr(house, "bundle", lambda: made)
    return Story(engine)


def mend(story: Story) -> None:
    """Let KPTA agree to a WSDL that takes everything."""
    story.addresses["KPTA"] = PartnerService("agency-template.wsdl", PLACE, "KPTA")


def calls_of(story: Story, agency: str) -> list[Any]:
    return [one for one in story.soap.calls if one.destination == agency]


def describe_waiting(story: Story) -> str:
    row = {"id": story.case().id, "state": story.case().state}
    with read_transaction(story.house.engine) as conn:
        add_case_waiting(conn, [row], story.clock())
    return str(row["waits_for"])


def run_and_die(story: Story, hub: Hub) -> None:
    """Let the worker of another process do what is due."""
    hub.composer = story.hub.composer
    soap = story.agents["soap"]
    agents: dict[str, Any] = {
        **story.agents,
        "local": type(story.agents["local"])(hub, PLAN),
        "soap": PartnerAgent(hub, story.soap, soap._partners, soap._get_retry_plans),  # type: ignore[arg-type]
    }
    pace = WorkerSettings(
        threads=1, lease_time=timedelta(seconds=60), poll_seconds=0.01, maintenance_seconds=0.05
    )
    worker = DeliveryWorker(hub.engine, agents, story.clock, name="other", worker_settings=pace)
    while worker.run_once():
        pass


@pytest.mark.long
@BOTH
def test_it_alone_is_stranded_and_goes_out_by_the_mended_contract(
    story: Story, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="gateway.delivery"):
        story.submit()
        story.tick()
    assert story.case().state == "IN_PROGRESS"
    assert {name: story.request(name).state for name in ("KFDA", "NPQS", "KPTA")} == {
        "KFDA": "ACKNOWLEDGED",
        "NPQS": "ACKNOWLEDGED",
        "KPTA": "STRANDED",
    }
    failed = story.delivery(destination="KPTA")
    assert (failed.state, failed.problem) == ("FAILED", "GW720")
    log = "\n".join(format_text(record) for record in caplog.records)
    assert re.search(r"the delivery has FAILED: GW720 .* partner=KPTA ", log)
    told = f"KPTA: a WSDL that takes its application (GW720), delivery {failed.id} FAILED"
    assert told in describe_waiting(story)
    # What waits can be read as what was sent.
    with read_transaction(story.house.engine) as conn:
        form = load_application_form(story.hub, conn, "KPTA", story.request("KPTA").number)
    assert form is not None
    assert form.request_form.find_first_text("common:importer.name") == "주식회사 한빛무역"
    # Repeated with the same contract it fails again, and nothing was sent.
    story.operate(requeue_delivery, failed.id)
    story.tick()
    assert (story.delivery(destination="KPTA").problem, calls_of(story, "KPTA")) == ("GW720", [])
    assert story.request("KPTA").state == "STRANDED"
    mend(story)
    story.operate(requeue_delivery, failed.id)
    story.tick()
    (call,) = calls_of(story, "KPTA")
    assert failed.wire_id.encode() in call.envelope
    assert call.text("ApplicationNumber") == story.request("KPTA").number
    assert call.body.find(".//{*}Document").attrib == {"items": "1", "laws": "01 70"}
    assert call.body.find(f".//{{{CARRIED}}}Carried").get("document") == "KPTA-PHARM-IMP"
    assert story.request("KPTA").state == "ACKNOWLEDGED"
    story.decide_all()
    story.tick()
    assert story.outcome()[0] == "APPROVED"


@pytest.mark.long
def test_it_is_sent_as_if_the_contract_had_been_right_from_the_start(story: Story, engine: Engine) -> None:
    """The attachments, the scope and the document are those of a call that was composed at once."""
    mend(story)
    story.submit()
    story.tick()
    (right,) = calls_of(story, "KPTA")
    story.addresses["KPTA"] = PartnerService("agencies/KPTA.wsdl", PLACE, "KPTA")
    story.submit(story.submission(reference("R-2")))
    story.tick()
    mend(story)
    story.operate(requeue_delivery, story.deliveries(destination="KPTA")[-1].id)
    story.tick()
    *_, late = calls_of(story, "KPTA")

    def strip(call: Any) -> list[bytes]:
        # Numbers of application and case are those of each.
        parts = [one for one in call.body if not etree.QName(one).localname.endswith("Number")]
        return [etree.tostring(one, method="c14n", exclusive=True) for one in parts if len(one) == 0]

    assert strip(late) == strip(right)
    assert late.body.find(".//{*}Document").attrib == right.body.find(".//{*}Document").attrib


@BOTH
@pytest.mark.parametrize("side", ["before_commit", "after_commit"])
@pytest.mark.parametrize("commit", ["admit.case", "delivery.failed", "delivery.composed"])
def test_wherever_a_process_dies_it_is_sent_once(story: Story, commit: str, side: str) -> None:
    story.submit()
    if commit == "delivery.composed":
        story.tick()
        mend(story)
        story.operate(requeue_delivery, story.delivery(destination="KPTA").id)
    die_at(story, f"{commit}.{side}", lambda hub: run_and_die(story, hub))
    story.tick(minutes=2)
    assert {row.state for row in story.deliveries(destination="KFDA")} == {"DELIVERED"}
    if commit != "delivery.composed":
        assert story.request("KPTA").state == "STRANDED"
        mend(story)
        story.operate(requeue_delivery, story.delivery(destination="KPTA").id)
    story.tick()
    story.tick(minutes=2)
    assert len({content_of(one) for one in calls_of(story, "KPTA")}) == 1
    assert story.delivery(destination="KPTA").state == "DELIVERED"
    assert story.request("KPTA").state == "ACKNOWLEDGED"


@pytest.mark.long
def test_an_amendment_replaces_what_never_went_out(story: Story) -> None:
    story.submit()
    story.tick()
    mend(story)
    changed = text("Application[@id='A1']/Fields/ImporterRemarks", "새 이름")
    amend(story, changed)
    (call,) = calls_of(story, "KPTA")
    assert call.operation == "SubmitApplication"
    assert [row.state for row in story.deliveries(destination="KPTA")] == ["CANCELLED", "DELIVERED"]
    assert story.request("KPTA").state == "ACKNOWLEDGED"


@pytest.mark.long
def test_a_withdrawal_asks_nobody_who_heard_nothing(story: Story) -> None:
    story.submit()
    story.tick()
    story.submit(story.submission(withdrawal), action="Withdraw", attach=False)
    story.tick()
    assert story.request("KPTA").state == "CANCELLED"
    assert calls_of(story, "KPTA") == []
    assert story.delivery(destination="KPTA").state == "CANCELLED"
