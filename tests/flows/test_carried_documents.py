"""An agency whose system speaks JSON or fixed records: its request, its supplement, its notices."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from lxml import etree
from sqlalchemy import Engine

from gateway.delivery import PartnerService
from gateway.harmonize import CarrierFormat, find_carried_document, read_carried, write_carried
from gateway.hub import inspect_submission, load_application_form, make_inspection_rules
from gateway.store import read_transaction
from gateway.wire import CARRIED, serialize_element
from tests.flows.craft import all_of, supplement, text
from tests.flows.test_delivered_notices import Window, asking, complaining, rejecting
from tests.kit import house
from tests.kit.databases import BOTH, Templates, _make_engine
from tests.kit.story import LABEL, Story, asked

FORMS = {
    "json": CarrierFormat("json", number_format="exact"),
    "fixed": CarrierFormat(
        "fixed", charset="cp949", number_format="zeros", max_text_octets=40, record_end=b"\r\n"
    ),
}


@pytest.fixture(params=FORMS)
def window(
    request: pytest.FixtureRequest, templates: Templates, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Window]:
    """Give a hub by whose mappings KPTA speaks another form than XML."""
    made = replace(house.bundle(), carriers={"KPTA": FORMS[request.param]}, compiled={})
    monkeypatch.setattr(house, "bundle", lambda: made)
    url = templates.fresh("sqlite")
    engine = _make_engine(url)
    story = Story(engine)
    story.addresses["KPTA"] = PartnerService("agency-template.wsdl", "http://partner.example/KPTA", "KPTA")
    story.submit()
    story.tick()
    yield Window(story)
    engine.dispose()
    templates.drop(url)


def get_form(window: Window) -> CarrierFormat:
    return window.story.hub.rules.bundle.carriers["KPTA"]


def read_call(window: Window, call: Any) -> etree._Element:
    """Return the document of a call, as the agency reads it out of its own form."""
    (carried,) = call.body.iter(f"{{{CARRIED}}}Carried")
    octets = base64.b64decode(carried.text)
    bundle = window.story.hub.rules.bundle
    return read_carried(octets, find_carried_document(bundle, carried.get("document")), get_form(window))


def carry(window: Window, document: etree._Element, name: str) -> etree._Element:
    bundle = window.story.hub.rules.bundle
    octets = write_carried(document, find_carried_document(bundle, name), get_form(window))
    element = etree.Element(f"{{{CARRIED}}}Carried", form=get_form(window).syntax, document=name)
    element.text = base64.b64encode(octets).decode()
    return element


@pytest.mark.long
def test_the_agency_gets_its_document_in_its_form_and_answers_in_it(window: Window) -> None:
    story = window.story
    (first,) = (one for one in story.soap.calls if one.destination == "KPTA")
    document = read_call(window, first)
    number = story.number_of("KPTA")
    assert document.findtext("{*}ID") == number
    assert b"KPTA-PHARM-IMP:1" not in first.envelope
    # The others get XML as before.
    (other,) = (one for one in story.soap.calls if one.destination == "KFDA")
    assert CARRIED.encode() not in other.envelope
    # Officers and pointers read the same document out of the form.
    with read_transaction(story.house.engine) as conn:
        found = load_application_form(story.hub, conn, "KPTA", number)
    assert found is not None
    assert found.request_form.find_first_text("common:importer.name") == "주식회사 한빛무역"
    error = window.call("KPTA", "DeliverNotice", carry(window, complaining(number), "GOVCBRRBG"))
    assert b"DeliverNoticeResponse" in error
    story.tick()
    told = story.inbox.documents("Notice")[-1]
    assert told.findtext(".//{*}Pointer") == "APP[1]/KPTA-PHARM-IMP/ITEM[1]/BatchNo[1]"
    window.call("KPTA", "DeliverNotice", carry(window, rejecting(number), "GOVCBRRBJ"))
    assert story.request("KPTA").state == "DECIDED"


@pytest.mark.long
def test_a_supplement_goes_out_in_the_form_too(window: Window) -> None:
    story = window.story
    window.call("KPTA", "DeliverNotice", carry(window, asking(story.number_of("KPTA")), "GOVCBRRBH"))
    assert story.request("KPTA").state == "INFORMATION_REQUIRED"
    story.hear("KFDA", asked(story, "KFDA", "Q1"))
    more = story.submission(
        all_of(supplement, text("Application[@id='A2']/Fields/Item/ProductNameKo", "카라멜 와플 320 g"))
    )
    story.submit(more, action="Supplement")
    story.tick()
    calls = [one for one in story.soap.calls if one.destination == "KPTA"]
    assert [one.operation for one in calls] == ["SubmitApplication", "SubmitSupplement"]
    assert read_call(window, calls[-1]).findtext("{*}ID") == story.number_of("KPTA")


def spoil(element: etree._Element, wrong: str) -> etree._Element:
    """Return the element with one thing wrong."""
    if wrong == "form":
        element.set("form", "xml")
    if wrong == "document":
        element.set("document", "NOTHING")
    if wrong == "base64":
        element.text = "%%%"
    if wrong == "content":
        element.text = base64.b64encode(b"[]").decode()
    return element


@pytest.mark.long
def test_what_is_not_in_the_form_is_refused(window: Window) -> None:
    story = window.story
    number = story.number_of("KPTA")
    for wrong in ("form", "document", "base64", "content", "xml agency"):
        element = spoil(carry(window, rejecting(number), "GOVCBRRBJ"), wrong)
        answer = window.call("KFDA" if wrong == "xml agency" else "KPTA", "DeliverNotice", element)
        assert (b"GW718" if wrong in ("base64", "content") else b"GW716") in answer, wrong
        assert story.request("KPTA").state == "ACKNOWLEDGED"


@pytest.mark.long
@BOTH
@pytest.mark.parametrize("form", FORMS)
def test_the_check_finds_what_admission_refuses(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    """A name in a script that cp949 does not have: no problem for JSON, one place for records."""
    made = replace(house.bundle(), carriers={"KFDA": FORMS[form]}, compiled={})
    monkeypatch.setattr(house, "bundle", lambda: made)
    story = Story(engine)
    root = story.submission(text(".//ProductNameKo", "Café"))
    rules = make_inspection_rules(story.hub, "broker1", story.clock())
    report = inspect_submission(serialize_element(root), {"korean-label@sample": LABEL}, rules)
    checked = [(one.problem.id, one.pointer, one.organisation) for one in report.findings]
    story.submit(root)
    story.tick()
    results = story.inbox.documents("Result")
    told = [one for result in results for one in result.iter("{*}Problem")]
    if form == "json":
        assert checked == told == []
        return
    place = "APP[2]/KFDA-FOOD-IMP/ITEM[2]/ProductNameKo[1]"
    assert checked == [("GW718", place, "KFDA")]
    assert [(one.get("id"), one.get("pointer")) for one in told] == [("GW718", place)]
    assert "KFDA-FOOD-IMP of KFDA" in (told[0].text or "")
