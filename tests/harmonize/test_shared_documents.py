"""Shipped documents that share answers: frozen meat is declared, quarantined and moved, and asked once."""

from __future__ import annotations

import copy

import pytest
from lxml import etree

from gateway.harmonize import (
    MappingBundle,
    SplitResult,
    load_bundle,
    make_placeholder_numbers,
    split_submission,
)
from gateway.share import get_data_folder
from gateway.wire import SUB, SchemaSet
from tests.harmonize.mutation.judging import golden
from tests.harmonize.test_sampled_submissions import valid
from tests.kit.paths import ROOT

DECLARED, QUARANTINED, MOVED = "NVRQS-LIV-IMP", "NVRQS-LIVQ-IMP", "NVRQS-TRANS"
#: What the declaration of the meat answers for the quarantine, and the quarantine for the transport.
ITEM = (
    "AnimalSpecies",
    "Cut",
    "SlaughterhouseNo",
    "SlaughterFrom",
    "SlaughterTo",
    "ProcessingPlantNo",
    "ProcessingDate",
)
FACILITY = "DestinationFacility"
WCO = "{urn:wco:datamodel:WCO:DEC-DMS:2}"


@pytest.fixture(scope="module")
def bundle() -> MappingBundle:
    return load_bundle(get_data_folder("mappings"))


def compose() -> etree._Element:
    """Return a submission with three applications; the second and third leave out shared answers."""
    root = valid(DECLARED)
    for number, name in enumerate((QUARANTINED, MOVED), 2):
        other = valid(name)
        application = copy.deepcopy(other.find(f"{{{SUB}}}Application"))
        assert application is not None
        application.set("id", f"A{number}")
        root.append(application)
        for place in [*application.iter("{*}" + FACILITY), *_iterate_shared(application, name)]:
            place.getparent().remove(place)
    papers = valid(QUARANTINED).iter(f"{WCO}GovernmentAgencyGoodsItem")
    for goods, known in zip(root.iter(f"{WCO}GovernmentAgencyGoodsItem"), papers, strict=True):
        # Each item has both papers: the sanitary certificate and the veterinary one.
        goods[0].addnext(copy.deepcopy(known.find(f"{WCO}AdditionalDocument")))
    return root


def _iterate_shared(application: etree._Element, name: str) -> list[etree._Element]:
    fields = ITEM if name == QUARANTINED else ()
    return [place for field in fields for place in application.iter("{*}" + field)]


def divide(bundle: MappingBundle, root: etree._Element) -> SplitResult:
    return split_submission(root, bundle, make_placeholder_numbers(root))


def read_values(request: etree._Element, name: str) -> list[str]:
    return [str(one.text) for one in request.iter("{*}" + name)]


def test_what_was_answered_once_reaches_every_agency_document(bundle: MappingBundle) -> None:
    root = compose()
    SchemaSet.load_cached(ROOT / "xsd", "hub/submission.xsd").validate_document(root)
    result = divide(bundle, root)
    assert [(one.problem.id, one.pointer) for one in result.problems] == []
    assert result.unaccounted_leaves == ()
    assert [one.document for one in result.requests] == [DECLARED, QUARANTINED, MOVED]
    kept = etree.fromstring(golden(QUARANTINED))
    for field in ITEM:
        assert read_values(result.requests[1].xml, field) == read_values(kept, field), field
    facility = read_values(result.requests[1].xml, "QuarantineFacilityNo")
    assert read_values(result.requests[2].xml, FACILITY) == facility


def test_another_answer_in_the_second_application_is_refused_there(bundle: MappingBundle) -> None:
    root = compose()
    fields = root.find(f"{{{SUB}}}Application[@id='A2']/{{{SUB}}}Fields")
    assert fields is not None
    (item, _) = fields.iterfind("{*}Item")
    namespace = etree.QName(item).namespace
    etree.SubElement(item, f"{{{namespace}}}SlaughterhouseNo").text = "AU-001"
    item.insert(0, item[-1])
    found = [(one.problem.id, one.pointer) for one in divide(bundle, root).problems]
    assert ("GW505", "APP[2]/NVRQS-LIVQ-IMP/ITEM[1]/SlaughterhouseNo[1]") in found


def test_an_answer_that_nobody_gives_is_missing_in_each_document_that_demands_it(
    bundle: MappingBundle,
) -> None:
    root = compose()
    for place in list(root.iter("{*}SlaughterhouseNo")):
        place.getparent().remove(place)
    missing = {(one.problem.id, one.document) for one in divide(bundle, root).problems}
    assert missing == {("GW503", DECLARED), ("GW503", QUARANTINED)}
