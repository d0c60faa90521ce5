"""Provenance both ways, over sampled submissions and one that people know."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from lxml import etree

from gateway.errors import GatewayError
from gateway.harmonize import (
    FieldFinder,
    MappingBundle,
    SubmissionExplainer,
    make_placeholder_numbers,
    split_submission,
)
from gateway.harmonize.language import list_mapping_lines
from gateway.harmonize.notices.error_places import find_error_place
from gateway.harmonize.provenance.field_uses import remove_positions
from gateway.harmonize.readback import find_in_request, read_path
from gateway.harmonize.samples import make_sample
from gateway.wire import ElementLocations, parse_xml
from tests.harmonize import small_bundle
from tests.harmonize.conftest import SAMPLES
from tests.kit.documents import each_document
from tests.kit.error_keys import list_request_leaves


def explainer_of(bundle: MappingBundle, data: bytes) -> SubmissionExplainer:
    """Return what explains a submission, given as its octets."""
    root = parse_xml(data)
    return SubmissionExplainer(bundle, data, split_submission(root, bundle, make_placeholder_numbers(root)))


@pytest.fixture(scope="session")
def known(bundle: MappingBundle) -> SubmissionExplainer:
    """Return what explains the shipped submission with three applications."""
    return explainer_of(bundle, (SAMPLES / "import-three-items.xml").read_bytes())


@pytest.mark.night
@pytest.mark.parametrize("document", each_document())
def test_every_leaf_is_told_with_its_octets(bundle: MappingBundle, document: str) -> None:
    data = make_sample(bundle, bundle.documents[document], "told", 2)
    root = parse_xml(data)
    done = split_submission(root, bundle, make_placeholder_numbers(root))
    explainer, places = SubmissionExplainer(bundle, data, done), ElementLocations(root)
    for number, (leaf, entry) in enumerate(
        zip(done.submission_index.leaves, done.ledger.entries, strict=True)
    ):
        pointer = places.get_pointer(leaf.element, leaf.attribute)
        story = next(one for one in explainer.explain_leaves(pointer) if one.spot.pointer == pointer)
        spot = story.spot
        assert spot.value == leaf.value
        text = data[spot.start : spot.end].decode()
        assert (etree.fromstring(f"<x>{text}</x>").text or "") == leaf.value
        ((outcome, fate),) = zip(story.outcomes, entry.fates, strict=True)
        assert fate is not None
        assert (outcome.fate, outcome.rule) == (fate.fate, str(fate.rule))
        assert bool(outcome.written) == (fate.fate == "forwarded")
        assert explainer.get_spot(number) == spot
        assert explainer.explain_leaves(spot.xpath)[0].spot == spot


@pytest.mark.night
@pytest.mark.parametrize("document", each_document())
def test_every_value_of_a_request_leads_back(bundle: MappingBundle, document: str) -> None:
    data = make_sample(bundle, bundle.documents[document], "back", 3)
    root = parse_xml(data)
    done = split_submission(root, bundle, make_placeholder_numbers(root))
    explainer = SubmissionExplainer(bundle, data, done)
    lines = {line.path: line for line in list_mapping_lines(bundle.documents[document])}
    for request in done.requests:
        for origin in request.origins:
            found = [one for one in explainer.find_written(f"/{origin.target}") if one.path == origin.target]
            assert found
            one = found[0]
            assert one.value is not None
            assert [spot.value for spot in one.spots] == [
                done.submission_index.leaves[leaf].value for leaf in origin.leaves
            ]
            assert one.rule == str(origin.rule)
            assert str(lines[remove_positions(origin.target)].mark) == one.rule
            assert {each.name for each in one.lists} == {
                step[4:].partition("@")[0] for step in origin.transforms if step.startswith("via ")
            }


@pytest.mark.night
@pytest.mark.parametrize("document", each_document())
def test_the_place_of_an_agencys_error_leads_to_the_applicants_field(
    bundle: MappingBundle, document: str
) -> None:
    known = bundle.documents[document]
    data = make_sample(bundle, known, "error", 2)
    explainer = explainer_of(bundle, data)
    first = find_error_place(known, {})
    for path, target in list_request_leaves(known):
        place = replace(first, path=path, item="2", is_single_leaf=True, target=target)
        for one in explainer.find_at_place(place, document):
            assert remove_positions(one.path).partition("/@")[0] == path
            for spot in one.spots:
                assert "68A[1]" not in spot.pointer
                assert "ITEM[1]" not in spot.pointer


def test_a_path_as_an_agency_writes_it(known: SubmissionExplainer) -> None:
    ways = (
        "Declaration/LPCO[1]/DetailContents/Product/BatchNo",
        "/x:Declaration/x:LPCO[FR2001]/x:DetailContents/x:Product/x:BatchNo",
        "/{urn:single-window:document:kpta-pharm-imp:1}Declaration/LPCO/DetailContents/Product/BatchNo",
        "LPCO/DetailContents/Product/BatchNo",
    )
    for way in ways:
        (one,) = known.find_written(way, "KPTA-PHARM-IMP")
        (spot,) = one.spots
        assert (one.value, spot.value) == ("B10314, B10315", "B10314, B10315")
        assert spot.pointer == "APP[1]/KPTA-PHARM-IMP/ITEM[1]/BatchNo[1]"


def test_elements_told_apart_by_an_attribute(known: SubmissionExplainer) -> None:
    for way in ("Agent/ID[@schemeAgencyID=KTX]", "Agent/ID[@schemeAgencyID='KTX']"):
        (one,) = known.find_written(way, "KPTA-PHARM-IMP")
        assert one.spots[0].pointer == "42A/67A[1]/74A[1]/R038"
    assert len(known.find_written("Agent/ID", "KPTA-PHARM-IMP")) == 2


def test_a_field_that_was_not_given_is_told_with_its_place(bundle: MappingBundle, three_items: bytes) -> None:
    text = re.sub(r"<kpta:OriginMatter>[^<]*</kpta:OriginMatter>", "", three_items.decode())
    known = explainer_of(bundle, text.encode())
    (one,) = known.find_written("LPCO[1]/DetailContents/Product/OptativeAnimal", "KPTA-PHARM-IMP")
    (spot,) = one.spots
    assert (one.value, spot.value) == (None, None)
    assert spot.pointer == "APP[1]/KPTA-PHARM-IMP/ITEM[1]/OriginMatter[1]"
    assert text.encode()[spot.start :].startswith(b"<kpta:Item sequence=")
    assert known.find_written("LPCO[7]/DetailContents/Product/OptativeAnimal", "KPTA-PHARM-IMP") == ()
    assert known.find_written("LPCO[FR2007]/DetailContents/Product/BatchNo", "KPTA-PHARM-IMP") == ()
    assert known.find_written("No/Such/Element") == ()


@pytest.mark.parametrize(
    ("path", "items"),
    [
        ("/Request[1]/Line[2]/Photo", (2,)),
        ("Line[2]/Photo", (2,)),
        ("/Request[1]/Line/Photo", (1, 2)),
        ("Line/Photo[1]", (1, 2)),
        ("Line[T002]/Photo[1]", (2,)),
        ("Line[T002][1]/Photo", (2,)),
    ],
)
def test_the_position_of_the_item_element_alone_selects_the_item(
    tmp_path: Path, path: str, items: tuple[int, ...]
) -> None:
    second_item = """<t:Item sequence="2"><t:Risky>false</t:Risky><t:Weight unitCode="KGM">1</t:Weight>
<t:Price currencyID="EUR">1</t:Price></t:Item>"""
    root = small_bundle.submission(fields=small_bundle.FIELDS + second_item, items="1 2")
    written = explainer_of(small_bundle.mapping(tmp_path), etree.tostring(root)).find_written(path)
    assert written
    for value in written:
        assert [spot.pointer for spot in value.spots] == [
            f"APP[1]/TINY/ITEM[{item}]/Photo[1]" for item in items
        ]


def test_a_common_value_that_was_not_given_is_told_with_its_place(
    bundle: MappingBundle, three_items: bytes
) -> None:
    explainer = explainer_of(bundle, three_items)
    (one,) = explainer.find_written("Exporter/Address/Line", "KPTA-PHARM-IMP")
    given = one.spots[0]
    assert given.value
    text = three_items.decode().replace(f"<Line>{given.value}</Line>", "")
    (absent,) = explainer_of(bundle, text.encode()).find_written("Exporter/Address/Line", "KPTA-PHARM-IMP")
    assert (absent.value, absent.spots[0].value) == (None, None)
    assert absent.spots[0].pointer == given.pointer


def test_one_value_for_three_agencies(known: SubmissionExplainer) -> None:
    (story,) = known.explain_leaves("42A/67A[1]/74A[1]/R037")
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


def test_a_guard_is_told_as_one(known: SubmissionExplainer) -> None:
    (story,) = known.explain_leaves("APP[1]/KPTA-PHARM-IMP/ITEM[1]/Bse[1]")
    (words, rule) = story.outcomes[0].reasons[0]
    assert words == "guard: decides whether bse_origin must be given"
    assert rule.startswith("agencies/KPTA/KPTA-PHARM-IMP.yaml:")
    assert story.outcomes[1].reasons == ()


@pytest.fixture(scope="module")
def finder(bundle: MappingBundle) -> FieldFinder:
    return FieldFinder(bundle)


def test_without_a_submission_the_mappings_speak(finder: FieldFinder) -> None:
    (story,) = finder.find_by_location("42A/67A[1]/74A[1]/R037")
    assert (story.name, story.kind) == ("importer.name", "common")
    assert "KPTA-PHARM-IMP" in [use.document for use in story.documents]
    assert [one.name for one in finder.find_by_location("importer.name")] == ["importer.name"]
    (asked,) = finder.find_by_location("APP[1]/KPTA-PHARM-IMP/ITEM[3]/BseOrigin[1]")
    assert asked.documents[0].needed == "mandatory where bse is 1AU, else forbidden"
    assert asked.location == "APP[n]/KPTA-PHARM-IMP/ITEM[s]/BseOrigin"
    (member,) = finder.find_by_location("KPTA-PHARM-IMP/production.lot_no")
    assert member.location == "APP[n]/KPTA-PHARM-IMP/ITEM[s]/Production/LotNo"
    (line,) = member.documents[0].lines
    assert [each.group for each in line.repetitions] == ["application.items", "production"]
    assert finder.find_by_location("42A/no/such") == ()
    assert finder.find_by_location("bse", "KFDA-FOOD-IMP") == ()
    assert finder.find_by_location("SUP/Declaration/GoodsShipment/Consignment/ArrivalTransportMeans") == ()


def test_a_place_in_a_request_without_a_submission(finder: FieldFinder) -> None:
    (story,) = finder.find_in_request("LPCO[2]/DetailContents/Product/BatchNo", "KPTA-PHARM-IMP")
    assert story.name == "batch_no"
    names = [one.name for one in finder.find_in_request("LPCO/DetailContents/Document", "KPTA-PHARM-IMP")]
    assert names == ["production.seq", "production.lot_no", "production.date"]


@pytest.mark.night
@pytest.mark.parametrize("document", each_document())
def test_every_meaning_and_field_is_found_by_its_pointer(
    bundle: MappingBundle, finder: FieldFinder, document: str
) -> None:
    data = make_sample(bundle, bundle.documents[document], "static", 1)
    root = parse_xml(data)
    done = split_submission(root, bundle, make_placeholder_numbers(root))
    places, uses = ElementLocations(root), 0
    for leaf, entry in zip(done.submission_index.leaves, done.ledger.entries, strict=True):
        (fate,) = entry.fates
        if fate is not None and fate.fate == "forwarded":
            found = finder.find_by_location(places.get_pointer(leaf.element, leaf.attribute), document)
            assert found, leaf.pointer
            uses += sum(len(one.documents) for one in found)
    assert uses


@pytest.mark.parametrize("path", ["", "/", "a//b", "a b", "a[", "a/[1]", "x" * 3000])
def test_what_is_no_path_is_refused(known: SubmissionExplainer, path: str) -> None:
    with pytest.raises(GatewayError) as caught:
        known.find_written(path)
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


def test_octets_of_a_message_with_a_mark_and_a_comment(bundle: MappingBundle) -> None:
    text = (SAMPLES / "import-three-items.xml").read_text("utf-8")
    text = text.replace("<Name>주식회사 한빛무역</Name>", "<Name>주식회사<!-- 가 --> 한빛&#47924;역</Name>")
    data = b"\xef\xbb\xbf" + text.encode()
    (story,) = explainer_of(bundle, data).explain_leaves("42A/67A[1]/74A[1]/R037")
    assert story.spot.value == "주식회사 한빛무역"
    assert data[story.spot.start : story.spot.end].decode() == "주식회사<!-- 가 --> 한빛&#47924;역"
