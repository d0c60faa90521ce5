"""The agency page of the manual: its call is valid, is taken and decides; calls of the hub name the laws."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from lxml import etree
from sqlalchemy import Engine

from gateway.cases import AgencyCallback, Decision, DecisionCode, Notice
from gateway.harmonize import CarrierFormat, find_carried_document, load_bundle, read_carried, write_carried
from gateway.hub import apply_call_back
from gateway.share import get_data_folder
from gateway.web.agency_service import apply_agency_call, build_agency_service, build_soap_security
from gateway.web.soap_security import SoapSecurityGate
from gateway.wire import (
    AGENCY,
    SERVICE_AGENCY,
    AddressingHeaders,
    ServiceDescription,
    parse_xml,
    read_wsdl,
    serialize_element,
)
from gateway.xmlsec import STRICT, sign_soap_envelope, verify_soap_envelope
from tests.flows.test_supplements import supplement
from tests.kit.databases import BOTH
from tests.kit.house import signer_named
from tests.kit.paths import MANUAL
from tests.kit.soap import envelope
from tests.kit.story import AGENCIES, Story

PAGE = (MANUAL / "agency.md").read_text(encoding="utf-8")
SIGNED_AT = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)


def example(name: str) -> bytes:
    (found,) = re.findall(rf"^```xml {name}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    return str(found).strip().encode()


def service(name: str) -> ServiceDescription:
    return read_wsdl(get_data_folder("wsdl").joinpath(name).read_bytes())


@pytest.fixture
def story(engine: Engine) -> Story:
    started = Story(engine)
    started.submit()
    started.tick()
    return started


def test_the_call_of_the_page_is_valid_and_signed_as_it_stands() -> None:
    root = parse_xml(example("decision"))
    service("hub-agency.wsdl").schema.validate_element(root[1][0])
    assert verify_soap_envelope(root, STRICT, now=SIGNED_AT).certificate.subject.endswith("agency.example")


def test_the_application_of_the_page_is_valid() -> None:
    """Its document is cut short, which the schema of the wrapper leaves open."""
    service("agency-template.wsdl").schema.validate_element(parse_xml(example("application")))


def call_hub(gate: SoapSecurityGate, body: bytes) -> tuple[str, bytes]:
    started: list[Any] = []
    environ = {
        "REQUEST_METHOD": "POST",
        "CONTENT_TYPE": "text/xml; charset=utf-8",
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": io.BytesIO(body),
    }
    answer = b"".join(gate(environ, lambda *line: started.append(line)))
    return started[0][0], answer


def signed_by_agency(story: Story, change: Callable[[etree._Element], None]) -> bytes:
    """Return the call of the page, for the application of the story, signed by its agency."""
    request = parse_xml(example("decision"))[1][0]
    request[0].text = story.number_of("KPTA")
    change(request)
    root = envelope(request, AddressingHeaders(f"{SERVICE_AGENCY}:SubmitDecision", "urn:uuid:page"))
    sign_soap_envelope(root, signer_named("kpta"), now=story.clock())
    return serialize_element(root)


def set_law(law: str) -> Callable[[etree._Element], None]:
    def change(request: etree._Element) -> None:
        (element,) = request.iter(f"{{{SERVICE_AGENCY}}}law")
        element.text = law

    return change


@BOTH
def test_the_hub_takes_the_call_of_the_page_and_the_item_is_decided(story: Story) -> None:
    gate = build_agency_service(partial(apply_agency_call, story.hub, {}), build_soap_security(story.hub))
    status, answer = call_hub(gate, signed_by_agency(story, lambda _: None))
    assert status == "200 OK", answer
    assert story.request("KPTA").state == "DECIDED"


@pytest.mark.long
def test_the_hub_takes_the_own_document_of_the_page_and_tells_what_the_page_says(story: Story) -> None:
    request = parse_xml(example("own-document"))
    service("hub-agency.wsdl").schema.validate_element(request)
    (number,) = request.iterfind(".//{*}Declaration/{*}ID")
    number.text = story.number_of("KPTA")
    root = envelope(request, AddressingHeaders(f"{SERVICE_AGENCY}:DeliverNotice", "urn:uuid:own"))
    sign_soap_envelope(root, signer_named("kpta"), now=story.clock())
    gate = build_agency_service(partial(apply_agency_call, story.hub, {}), build_soap_security(story.hub))
    status, answer = call_hub(gate, serialize_element(root))
    assert status == "200 OK", answer
    asked = story.request("KPTA")
    assert (asked.state, asked.due_at.isoformat()) == ("INFORMATION_REQUIRED", "2026-11-30T14:59:59+00:00")
    story.tick()
    told = story.inbox.documents("Notice")[-1]
    assert told.findtext(".//{*}Text") == "Documents asked (보완제출서류): 성분표"
    assert "`Documents asked (보완제출서류): 성분표`" in PAGE


def read_example(kind: str, name: str) -> str:
    (found,) = re.findall(rf"^```{kind} {name}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    return str(found).rstrip("\n")


def test_the_json_and_the_records_of_the_page_are_one_document() -> None:
    (carried,) = parse_xml(example("carried")).iter("{urn:single-window:carried:1}Carried")
    octets = base64.b64decode(carried.text or "")
    assert octets.decode().strip() == read_example("json", "carried-json")
    document = find_carried_document(load_bundle(get_data_folder("mappings")), carried.get("document", ""))
    root = read_carried(octets, document, CarrierFormat("json"))
    records = write_carried(root, document, CarrierFormat("fixed", charset="euc-kr", max_text_octets=20))
    lines = [line.rstrip() for line in records.decode("euc-kr").splitlines()]
    assert lines == read_example("text", "carried-records").splitlines()
    assert root.findtext(".//{*}Reason") == "서류 미비"


def test_a_law_that_the_call_did_not_name_is_refused(story: Story) -> None:
    gate = build_agency_service(partial(apply_agency_call, story.hub, {}), build_soap_security(story.hub))
    status, answer = call_hub(gate, signed_by_agency(story, set_law("99")))
    assert status.startswith("500")
    assert b">GW404<" in answer
    assert story.request("KPTA").state != "DECIDED"


def named(story: Story, operation: str) -> dict[str, dict[str, str]]:
    return {
        call.destination: dict(call.body.find(f"{{{AGENCY}}}Document").attrib)  # type: ignore[union-attr]
        for call in story.soap.calls
        if call.operation == operation
    }


TO_DECIDE = {
    "KPTA": {"items": "1", "laws": "01 70"},
    "KFDA": {"items": "2", "laws": "05"},
    "NPQS": {"items": "3", "laws": "12"},
}


def test_each_call_names_the_items_and_laws_to_decide(story: Story) -> None:
    assert named(story, "SubmitApplication") == TO_DECIDE
    story.submit(story.submission(supplement), action="Supplement")
    story.tick()
    assert named(story, "SubmitSupplement") == TO_DECIDE


@pytest.mark.long
def test_every_item_and_law_that_a_call_names_may_be_decided(story: Story) -> None:
    for agency, scope in named(story, "SubmitApplication").items():
        if agency in AGENCIES:
            made = tuple(
                Decision(int(item), law, DecisionCode.APPROVED)
                for item in scope["items"].split()
                for law in scope["laws"].split()
            )
            told = Notice(f"{agency}-all", story.clock(), "R01", made)
            apply_call_back(story.hub, agency, AgencyCallback(told, story.number_of(agency)))
    story.tick()
    assert story.case().outcome == "APPROVED"
