"""Provenance both ways, over sampled submissions and one that people know."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from lxml import etree

from gateway.errors import GatewayError
from gateway.harmonize import Bundle, load, placeholder_numbers, split
from gateway.harmonize.backwards.requestpaths import find_in_request, read_path
from gateway.harmonize.provenance.declared import fields_at, fields_in_request
from gateway.harmonize.provenance.explaining import Explainer
from gateway.harmonize.provenance.uses import lines_of, plain_path
from gateway.harmonize.replies.errorplaces import place_of, request_leaves
from gateway.harmonize.sampling.samples import sample
from gateway.share import folder
from gateway.wire.places import Places
from gateway.wire.xml import parse_xml
from tests.unit.harmonize.conftest import SAMPLES

DOCUMENTS = list(load(folder("mappings")).documents)


def explainer_of(bundle: Bundle, data: bytes) -> Explainer:
    """Return what explains a submission, given as its octets."""
    root = parse_xml(data)
    return Explainer(bundle, data, split(root, bundle, placeholder_numbers(root)))


@pytest.fixture(scope="session")
def known(bundle: Bundle) -> Explainer:
    """Return what explains the shipped submission with three applications."""
    return explainer_of(bundle, (SAMPLES / "import-three-items.xml").read_bytes())


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_leaf_is_told_with_its_octets(bundle: Bundle, document: str) -> None:
    data = sample(bundle, bundle.documents[document], "told", 2)
    root = parse_xml(data)
    done = split(root, bundle, placeholder_numbers(root))
    explainer, places = Explainer(bundle, data, done), Places(root)
    for number, (leaf, entry) in enumerate(zip(done.facts.leaves, done.accounts.entries, strict=True)):
        pointer = places.pointer(leaf.element, leaf.attribute)
        story = next(one for one in explainer.leaves(pointer) if one.spot.pointer == pointer)
        spot = story.spot
        assert spot.value == leaf.value
        text = data[spot.start : spot.end].decode()
        assert (etree.fromstring(f"<x>{text}</x>").text or "") == leaf.value
        ((outcome, fate),) = zip(story.outcomes, entry.fates, strict=True)
        assert fate is not None
        assert (outcome.fate, outcome.rule) == (fate.fate, str(fate.rule))
        assert bool(outcome.written) == (fate.fate == "forwarded")
        assert explainer.spot(number) == spot
        assert explainer.leaves(spot.xpath)[0].spot == spot


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_value_of_a_request_leads_back(bundle: Bundle, document: str) -> None:
    data = sample(bundle, bundle.documents[document], "back", 3)
    root = parse_xml(data)
    done = split(root, bundle, placeholder_numbers(root))
    explainer = Explainer(bundle, data, done)
    lines = lines_of(bundle.documents[document])
    for request in done.requests:
        for origin in request.origins:
            found = [one for one in explainer.written(f"/{origin.target}") if one.path == origin.target]
            assert found
            one = found[0]
            assert one.value is not None
            assert [spot.value for spot in one.spots] == [
                done.facts.leaves[leaf].value for leaf in origin.leaves
            ]
            assert one.rule == str(origin.rule)
            assert str(lines[plain_path(origin.target)].rule) == one.rule
            assert {each.name for each in one.lists} == {
                step[4:].partition("@")[0] for step in origin.transforms if step.startswith("via ")
            }


@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_place_of_an_agencys_error_leads_to_the_applicants_field(bundle: Bundle, document: str) -> None:
    known = bundle.documents[document]
    data = sample(bundle, known, "error", 2)
    explainer = explainer_of(bundle, data)
    first = place_of(known, {})
    for path, target in request_leaves(known):
        place = replace(first, path=path, item="2", exact=True, target=target)
        for one in explainer.at_place(place, document):
            assert plain_path(one.path).partition("/@")[0] == path
            for spot in one.spots:
                assert "68A[1]" not in spot.pointer
                assert "ITEM[1]" not in spot.pointer


def test_a_path_as_an_agency_writes_it(known: Explainer) -> None:
    ways = (
        "Declaration/LPCO[1]/DetailContents/Product/BatchNo",
        "/x:Declaration/x:LPCO[FR2001]/x:DetailContents/x:Product/x:BatchNo",
        "/{urn:single-window:document:kpta-pharm-imp:1}Declaration/LPCO/DetailContents/Product/BatchNo",
        "LPCO/DetailContents/Product/BatchNo",
    )
    for way in ways:
        (one,) = known.written(way, "KPTA-PHARM-IMP")
        (spot,) = one.spots
        assert (one.value, spot.value) == ("B10314, B10315", "B10314, B10315")
        assert spot.pointer == "APP[1]/KPTA-PHARM-IMP/ITEM[1]/BatchNo[1]"


def test_elements_told_apart_by_an_attribute(known: Explainer) -> None:
    for way in ("Agent/ID[@schemeAgencyID=KTX]", "Agent/ID[@schemeAgencyID='KTX']"):
        (one,) = known.written(way, "KPTA-PHARM-IMP")
        assert one.spots[0].pointer == "42A/67A[1]/74A[1]/R038"
    assert len(known.written("Agent/ID", "KPTA-PHARM-IMP")) == 2


def test_a_field_that_was_not_given_is_told_with_its_place(bundle: Bundle, three_items: bytes) -> None:
    text = re.sub(r"<kpta:OriginMatter>[^<]*</kpta:OriginMatter>", "", three_items.decode())
    known = explainer_of(bundle, text.encode())
    (one,) = known.written("LPCO[1]/DetailContents/Product/OptativeAnimal", "KPTA-PHARM-IMP")
    (spot,) = one.spots
    assert (one.value, spot.value) == (None, None)
    assert spot.pointer == "APP[1]/KPTA-PHARM-IMP/ITEM[1]/OriginMatter[1]"
    assert text.encode()[spot.start :].startswith(b"<kpta:Item sequence=")
    assert known.written("LPCO[7]/DetailContents/Product/OptativeAnimal", "KPTA-PHARM-IMP") == ()
    assert known.written("LPCO[FR2007]/DetailContents/Product/BatchNo", "KPTA-PHARM-IMP") == ()
    assert known.written("No/Such/Element") == ()


def test_a_common_value_that_was_not_given_is_told_with_its_place(bundle: Bundle, three_items: bytes) -> None:
    explainer = explainer_of(bundle, three_items)
    (one,) = explainer.written("Exporter/Address/Line", "KPTA-PHARM-IMP")
    given = one.spots[0]
    assert given.value
    text = three_items.decode().replace(f"<Line>{given.value}</Line>", "")
    (absent,) = explainer_of(bundle, text.encode()).written("Exporter/Address/Line", "KPTA-PHARM-IMP")
    assert (absent.value, absent.spots[0].value) == (None, None)
    assert absent.spots[0].pointer == given.pointer


def test_one_value_for_three_agencies(known: Explainer) -> None:
    (story,) = known.leaves("42A/67A[1]/74A[1]/R037")
    assert story.names == (("importer.name", "수입자 상호", "Importer name"),)
    assert [(one.organisation, one.fate) for one in story.outcomes] == [
        ("KPTA", "forwarded"),
        ("KFDA", "forwarded"),
        ("NPQS", "forwarded"),
    ]
    assert [one.path for one in story.outcomes[0].written] == [
        "Declaration/Agent/Name",
        "Declaration/Importer/Name",
    ]


def test_a_guard_is_told_as_one(known: Explainer) -> None:
    (story,) = known.leaves("APP[1]/KPTA-PHARM-IMP/ITEM[1]/Bse[1]")
    (words, rule) = story.outcomes[0].reasons[0]
    assert words == "guard: decides whether bse_origin must be given"
    assert rule.startswith("agencies/KPTA/KPTA-PHARM-IMP.yaml:")
    assert story.outcomes[1].reasons == ()


def test_without_a_submission_the_mappings_speak(bundle: Bundle) -> None:
    (story,) = fields_at(bundle, "42A/67A[1]/74A[1]/R037")
    assert (story.name, story.kind) == ("importer.name", "common")
    assert "KPTA-PHARM-IMP" in [use.document for use in story.documents]
    assert [one.name for one in fields_at(bundle, "importer.name")] == ["importer.name"]
    (asked,) = fields_at(bundle, "APP[1]/KPTA-PHARM-IMP/ITEM[3]/BseOrigin[1]")
    assert asked.documents[0].needed == "mandatory where bse is 1AU, else forbidden"
    assert asked.place == "APP[n]/KPTA-PHARM-IMP/ITEM[s]/BseOrigin"
    (member,) = fields_at(bundle, "KPTA-PHARM-IMP/production.lot_no")
    assert member.place == "APP[n]/KPTA-PHARM-IMP/ITEM[s]/Production/LotNo"
    (line,) = member.documents[0].lines
    assert line.each == ("application.items", "production")
    assert fields_at(bundle, "42A/no/such") == ()
    assert fields_at(bundle, "bse", "KFDA-FOOD-IMP") == ()
    assert fields_at(bundle, "SUP/Declaration/GoodsShipment/Consignment/ArrivalTransportMeans") == ()


def test_a_place_in_a_request_without_a_submission(bundle: Bundle) -> None:
    (story,) = fields_in_request(bundle, "LPCO[2]/DetailContents/Product/BatchNo", "KPTA-PHARM-IMP")
    assert story.name == "batch_no"
    names = [one.name for one in fields_in_request(bundle, "LPCO/DetailContents/Document", "KPTA-PHARM-IMP")]
    assert names == ["production.seq", "production.lot_no", "production.date"]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_meaning_and_field_is_found_by_its_pointer(bundle: Bundle, document: str) -> None:
    data = sample(bundle, bundle.documents[document], "static", 1)
    root = parse_xml(data)
    done = split(root, bundle, placeholder_numbers(root))
    places = Places(root)
    for leaf, entry in zip(done.facts.leaves, done.accounts.entries, strict=True):
        (fate,) = entry.fates
        if fate is not None and fate.fate == "forwarded":
            assert fields_at(bundle, places.pointer(leaf.element, leaf.attribute)), leaf.pointer


@pytest.mark.parametrize("path", ["", "/", "a//b", "a b", "a[", "a/[1]", "x" * 3000])
def test_what_is_no_path_is_refused(known: Explainer, path: str) -> None:
    with pytest.raises(GatewayError) as caught:
        known.written(path)
    assert caught.value.problem.id == "GW404"


def test_steps_of_a_path() -> None:
    xml = etree.fromstring("<r><a k='1'><b>x</b></a><a k='2'><b>y</b><c>FR2001</c></a></r>")
    found = {
        "a": 2,
        "r/a": 2,
        "/r/a[2]": 1,
        "a[@k='2']/b": 1,
        "a[b='x']": 1,
        "a[FR2001]": 1,
        "a[FR2002]": 0,
        "a/@k": 2,
        "a[1]/@k": 1,
        "a[3]": 0,
        "r": 1,
    }
    assert {path: len(list(find_in_request(xml, read_path(path)))) for path in found} == found


def test_octets_of_a_message_with_a_mark_and_a_comment(bundle: Bundle) -> None:
    text = (SAMPLES / "import-three-items.xml").read_text("utf-8")
    text = text.replace("<Name>주식회사 한빛무역</Name>", "<Name>주식회사<!-- 가 --> 한빛&#47924;역</Name>")
    data = b"\xef\xbb\xbf" + text.encode()
    (story,) = explainer_of(bundle, data).leaves("42A/67A[1]/74A[1]/R037")
    assert story.spot.value == "주식회사 한빛무역"
    assert data[story.spot.start : story.spot.end].decode() == "주식회사<!-- 가 --> 한빛&#47924;역"
