"""The simulated agency reads and decides a request of every shipped document, by the data of the mappings."""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml
from lxml import etree

from gateway.errors import GatewayError
from gateway.harmonize import MappingBundle, load_bundle
from gateway.share import get_data_folder
from gateway.wire import AGENCY, parse_xml
from gateway_conformance.partners import DocumentCatalogue
from gateway_conformance.partners.agency_documents import (
    decide_application,
    find_item_place,
    read_application,
)
from gateway_conformance.partners.agency_plan import AgencyPlan
from tests.harmonize.mutation.judging import golden
from tests.kit.documents import DOCUMENTS

NUMBER = "T000000000001"
NOTICE = ("N-1", datetime(2026, 11, 20, 9, 0, tzinfo=UTC))


@pytest.fixture(scope="module")
def bundle() -> MappingBundle:
    return load_bundle(get_data_folder("mappings"))


def wrap_request(request: etree._Element) -> etree._Element:
    """Return the content of the call that hands a request to its agency, with the attachments it names."""
    content = etree.Element(f"{{{AGENCY}}}SubmitApplication")
    for name, text in (("ApplicationNumber", NUMBER), ("CaseNumber", "SW-1")):
        etree.SubElement(content, f"{{{AGENCY}}}{name}").text = text
    etree.SubElement(content, f"{{{AGENCY}}}Document").append(request)
    for cid in sorted({str(one.get("cid")) for one in request.iter("*") if one.get("cid")}):
        digest = hashlib.sha256(cid.encode()).hexdigest()
        attachment = etree.SubElement(content, f"{{{AGENCY}}}Attachment", cid=cid, sha256=digest)
        attachment.text = base64.b64encode(cid.encode()).decode()
    return content


@pytest.mark.night
@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_document_is_served_by_its_agency(bundle: MappingBundle, name: str) -> None:
    document = bundle.documents[name]
    catalogue = DocumentCatalogue(document.organisation)
    assert catalogue.get_document_laws(name) == document.laws
    found = read_application(wrap_request(parse_xml(golden(name))), catalogue)
    assert (found.document, found.number) == (name, NUMBER)
    assert [item.number for item in found.items] == list(range(1, len(found.items) + 1))
    assert all(item.hs for item in found.items)
    decided = decide_application(found, AgencyPlan(laws=document.laws), document.laws, *NOTICE)
    assert decided.status == "R01"
    assert len(decided.decisions) == len(found.items) * len(document.laws)


def test_a_decision_has_the_day_of_the_agency(bundle: MappingBundle) -> None:
    document = bundle.documents["NPQS-PLA-IMP"]
    catalogue = DocumentCatalogue(document.organisation)
    found = read_application(wrap_request(parse_xml(golden(document.id))), catalogue)
    late = datetime(2026, 11, 20, 15, 0, tzinfo=UTC)
    decided = decide_application(found, AgencyPlan(laws=document.laws), document.laws, "N-1", late)
    assert {one.date for one in decided.decisions} == {"2026-11-21"}


def test_a_document_of_another_agency_is_refused() -> None:
    request = wrap_request(parse_xml(golden("NVRQS-TRANS")))
    with pytest.raises(GatewayError) as caught:
        read_application(request, DocumentCatalogue("NPQS"))
    assert caught.value.problem.id == "GW401"


def make_notice(puts: list[Any]) -> dict[str, Any]:
    each = {"item": "application.items", "key": "item.sequence", "bound": ["1", "999"]}
    return {"puts": [{"Number": {"hub": "application_number"}}, {"Part/Goods": {"each": each, "puts": puts}}]}


@pytest.mark.parametrize(
    ("puts", "goods"),
    [
        ([{"Id": {"serial": "OZ%03d", "from": "item.sequence"}}], "<Id>OZ002</Id>|<Id>OZ011</Id>"),
        ([{"Gas": {"ask": "gas"}}, {"No": {"common": "item.sequence"}}], "<No>2</No>|<No>11</No>"),
        ([{"@n": {"common": "item.sequence"}}], None),
        ([{"Line/@n": {"common": "item.sequence"}}], "<Line n='2'/>|<Line n='11'/>"),
    ],
)
def test_items_are_found_where_the_mapping_puts_their_numbers(puts: list[Any], goods: str | None) -> None:
    found = find_item_place(make_notice(puts))
    assert found is not None
    parts = [f"<Goods>{one}</Goods>" for one in (goods or "").split("|")] if goods else ["<Goods n='2'/>"]
    parts += [] if goods else ["<Goods n='11'/>"]
    notice = f"<Notice xmlns='urn:x'><Number>1</Number><Part>{''.join(parts)}</Part></Notice>"
    assert [number for number, _ in found.read_numbers(etree.fromstring(notice))] == [2, 11]


def test_a_mapping_that_puts_no_number_of_an_item_has_no_place_of_items() -> None:
    assert find_item_place(make_notice([{"Gas": {"ask": "gas"}}])) is None


@pytest.mark.night
@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_place_of_items_is_found_in_the_shipped_mappings_too(name: str, bundle: MappingBundle) -> None:
    """By the mapping alone the numbers are those that the agency reads from the forms that it knows."""
    document = bundle.documents[name]
    catalogue, request = DocumentCatalogue(document.organisation), parse_xml(golden(name))
    mapping = get_data_folder("mappings").joinpath("agencies", document.organisation, f"{name}.yaml")
    place = find_item_place(yaml.safe_load(mapping.read_text(encoding="utf-8")))
    assert place is not None
    known = [item.number for item in read_application(wrap_request(request), catalogue).items]
    assert [number for number, _ in place.read_numbers(request)] == known
