# ruff: noqa: E501 (mappings with long lines)
"""One answer for several applications of a submission: taken where it is not given, compared where it is."""

from __future__ import annotations

from pathlib import Path

import pytest
from lxml import etree

from gateway.errors import GatewayError
from gateway.harmonize import (
    DocumentMapping,
    MappingBundle,
    SplitResult,
    load_bundle,
    make_placeholder_numbers,
    split_submission,
)
from gateway.harmonize.language import build_read_set
from gateway.harmonize.provenance.submission_explainer import find_field_by_element
from gateway.harmonize.readback import compare_request, read_request
from gateway.harmonize.samples import make_sample
from gateway.harmonize.schemas.document_schemas import write_fields_schema
from gateway.harmonize.split import Scope, ValueOrigin, submission_split
from gateway.harmonize.split.request_renderer import render_request
from gateway.share import get_data_folder
from gateway.wire import SUB, parse_xml
from gateway_conformance import DATA_FOLDER
from tests.harmonize.proofs.small_mapping import DOCUMENT, SECOND, G, line_of, prove, write
from tests.kit.shared_reads import find_shared_read_kinds

ASKS = """asks:
  nature: {type: code, list: colour, req: M, per: application, means: nature, shared: yes, ko: 성질, en: Character}
  grown: {type: quantity, units: [KGM, EA], decimals: 3, req: M, per: item, means: grown, shared: yes, ko: 수확, en: Grown}
  words: {type: text, max: 30, repeat: [0, 4], req: O, per: item, means: words, shared: yes, ko: 말, en: Words}
  box: {type: group, repeat: [0, 3], req: O, per: item, means: box, shared: yes, ko: 상자, en: Box, fields: {
      tag: {type: id, max: 8, req: M, means: box.tag, ko: 번호, en: Tag},
      size: {type: quantity, units: [KGM, EA], decimals: 3, req: O, means: box.size, ko: 크기, en: Size},
      only: {type: text, max: 9, req: O, means: box.only, ko: 것, en: Only}
  }}
"""
LINES = """        - Number: {common: item.number}
        - Grown: {ask: grown, unit: "@unit"}
        - Words: {ask: words, bound: [0, 4]}
        - Box:
            each: {asked: box, bound: [0, 3]}
            puts:
              - Tag: {ask: box.tag}
              - Size: {ask: box.size, unit: "@unit"}
              - Only: {ask: box.only}
"""
#: The other document calls all of it otherwise, and takes less of it.
SEED_ASKS = """asks:
  kind: {type: code, list: colour, req: M, per: application, means: nature, shared: yes, ko: 성질, en: Character}
  crop: {type: quantity, units: [KGM, EA], decimals: 1, req: M, per: item, means: grown, shared: yes, ko: 수확, en: Grown}
  speech: {type: text, max: 6, repeat: [0, 2], req: O, per: item, means: words, shared: yes, ko: 말, en: Words}
  crate: {type: group, repeat: [0, 2], req: O, per: item, means: box, shared: yes, ko: 상자, en: Box, fields: {
      label: {type: id, max: 4, req: M, means: box.tag, ko: 번호, en: Tag},
      mass: {type: quantity, units: [KGM, EA], decimals: 3, req: O, means: box.size, ko: 크기, en: Size},
      owner: {type: text, max: 9, req: O, means: box.owner, ko: 주인, en: Owner}
  }}
"""
SEED_LINES = """        - Crop: {ask: crop, unit: "@unit"}
        - Speech: {ask: speech, bound: [0, 2]}
        - Crate:
            each: {asked: crate, bound: [0, 2]}
            puts:
              - Label: {ask: crate.label}
              - Mass: {ask: crate.mass, unit: "@unit"}
              - Owner: {ask: crate.owner}
"""
CHANGES = (
    (DOCUMENT, "asks:\n", ASKS),
    (DOCUMENT, "        - Number: {common: item.number}\n", LINES),
    (DOCUMENT, "  - Hue: {common: hue}\n", "  - Hue: {common: hue}\n  - Nature: {ask: nature}\n"),
    (SECOND, "asks:\n", SEED_ASKS),
    (SECOND, "        - Variety", SEED_LINES + "        - Variety"),
    (SECOND, "  - HueName: {common: hue, via: colourName}\n", "  - HueName: {common: hue, via: colourName}\n  - Kind: {ask: kind}\n"),
)  # fmt: skip
GROWN = '<p:Grown unitCode="KGM">2.5</p:Grown>'
CROP = '<s:Crop unitCode="KGM">2.5</s:Crop>'
PLANT_REST = (
    '<p:Risky>false</p:Risky><p:Weight unitCode="KGM">2</p:Weight><p:Price currencyID="EUR">1</p:Price>'
)
SEED_REST = "<s:Variety>v</s:Variety>"
PLANT_TOP = "<p:Colour>R</p:Colour>"
NATURE, KIND = "<p:Nature>G</p:Nature>", "<s:Kind>G</s:Kind>"


def item(number: str) -> str:
    return f"<GovernmentAgencyGoodsItem><SequenceNumeric>{number}</SequenceNumeric><Commodity><Description>d</Description></Commodity></GovernmentAgencyGoodsItem>"


def application(identity: str, document: str, items: str, fields: str) -> str:
    prefix = document[0].lower()
    return f'<Application id="{identity}" document="{document}"><Items>{items}</Items><Fields xmlns:{prefix}="urn:single-window:document:{document.lower()}:1">{fields}</Fields></Application>'


def plant(fields: str, top: str = NATURE, items: str = "1", identity: str = "P") -> str:
    inner = "".join(
        f'<p:Item sequence="{one}">{fields if one == items.split()[0] else GROWN}{PLANT_REST}</p:Item>'
        for one in items.split()
    )
    return application(identity, "PLANT", items, f"{top}{PLANT_TOP}{inner}")


def seed(fields: str, top: str = "", items: str = "1", identity: str = "S") -> str:
    inner = f'<s:Item sequence="{items.split()[0]}">{fields}{SEED_REST}</s:Item>'
    return application(identity, "SEED", items, f"{top}{inner}")


def submission(*applications: str) -> etree._Element:
    return etree.fromstring(
        f"""<Submission xmlns="{SUB}" version="1"><Reference>R</Reference><Function>9</Function>
<Declaration xmlns="urn:wco:datamodel:WCO:DEC-DMS:2"><IssueDateTime><d:DateTimeString xmlns:d="urn:wco:datamodel:WCO:Declaration_DS:DMS:2" formatCode="102">20261120</d:DateTimeString></IssueDateTime>
<GoodsShipment>{item("1")}{item("2")}<Importer><Name>I</Name></Importer></GoodsShipment></Declaration><Supplement/>{"".join(applications)}</Submission>"""
    )


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> MappingBundle:
    return load_bundle(write(tmp_path_factory.mktemp("sharing"), *CHANGES))


def run(bundle: MappingBundle, *applications: str) -> SplitResult:
    root = submission(*applications)
    result = split_submission(root, bundle, make_placeholder_numbers(root))
    assert not result.unaccounted_leaves
    for request in result.requests:
        document = bundle.documents[request.document]
        assert (
            compare_request(request, read_request(document, request.xml), result.submission_index, bundle)
            == []
        )
    return result


def texts(result: SplitResult, document: str, name: str) -> list[str | None]:
    (request,) = [one for one in result.requests if one.document == document]
    return [element.text for element in request.xml.iter(f"{{*}}{name}")]


def problems(result: SplitResult) -> list[tuple[str, str, str]]:
    return [(one.application, one.problem.id, one.pointer) for one in result.problems]


BOX = '<p:Box><p:Tag>T1</p:Tag><p:Size unitCode="EA">3</p:Size><p:Only>x</p:Only></p:Box>'
CRATE = '<s:Crate><s:Label>T1</s:Label><s:Mass unitCode="EA">3</s:Mass></s:Crate>'


@pytest.mark.parametrize("turned", [False, True])
def test_what_one_application_gives_counts_for_the_other(bundle: MappingBundle, turned: bool) -> None:
    both = [plant(GROWN + "<p:Words>a</p:Words><p:Words>b</p:Words>" + BOX), seed("")]
    result = run(bundle, *(reversed(both) if turned else both))
    assert problems(result) == []
    assert texts(result, "SEED", "Kind") == ["G"]
    assert texts(result, "SEED", "Crop") == ["2.5"]
    assert texts(result, "SEED", "Speech") == ["a", "b"]
    assert texts(result, "SEED", "Label") == ["T1"]
    assert texts(result, "SEED", "Owner") == texts(result, "SEED", "Only") == []
    (request,) = [one for one in result.requests if one.document == "SEED"]
    assert [one.get("unit") for one in request.xml.iter("{*}Crop", "{*}Mass")] == ["KGM", "EA"]


def test_a_part_that_the_other_does_not_ask_is_withheld(bundle: MappingBundle) -> None:
    result = run(bundle, plant(GROWN + BOX), seed(""))
    column = result.ledger.documents.index("SEED")
    fates = {
        entry.leaf.pointer: entry.fates[column]
        for entry in result.ledger.entries
        if entry.leaf.application == 0
    }
    told = {pointer: fate.fate for pointer, fate in fates.items() if fate is not None}
    base = "APP[1]/PLANT/ITEM[1]"
    assert told[f"{base}/Box[1]/Tag"] == told[f"{base}/Box[1]/Size/@unitCode"] == "forwarded"
    assert (
        told[f"{base}/Box[1]/Only"] == told[f"{base}/Weight[1]"] == told["APP[1]/PLANT/Colour"] == "withheld"
    )
    assert fates["APP[1]/PLANT/Nature"].targets == ("Request/Kind",)  # type: ignore[union-attr]


def test_the_answer_is_for_the_same_item_only(bundle: MappingBundle) -> None:
    result = run(bundle, plant(GROWN, items="2"), seed("", items="1"))
    assert problems(result) == [("S", "GW503", "APP[2]/SEED/ITEM[1]/Crop[1]")]


def test_without_an_answer_anywhere_it_is_missing(bundle: MappingBundle) -> None:
    result = run(bundle, plant("", top=""), seed(""))
    assert problems(result) == [
        ("P", "GW503", "APP[1]/PLANT/Nature"),
        ("P", "GW503", "APP[1]/PLANT/ITEM[1]/Grown[1]"),
        ("S", "GW503", "APP[2]/SEED/Kind"),
        ("S", "GW503", "APP[2]/SEED/ITEM[1]/Crop[1]"),
    ]


def test_equal_answers_may_stand_in_both(bundle: MappingBundle) -> None:
    result = run(bundle, plant(GROWN + BOX), seed(CROP + CRATE, top=KIND))
    assert problems(result) == []
    assert len(result.requests) == 2


DIFFERENT = [
    (GROWN, CROP.replace("2.5", "2.6"), KIND, "ITEM[1]/Crop[1]"),
    (GROWN, CROP.replace("KGM", "EA"), KIND, "ITEM[1]/Crop[1]"),
    (GROWN, CROP, "<s:Kind>R</s:Kind>", "Kind"),
    (GROWN + BOX, CROP + CRATE.replace("T1", "T2"), KIND, "ITEM[1]/Crate[1]/Label"),
    (GROWN + BOX, CROP + CRATE + CRATE, KIND, "ITEM[1]/Crate[2]"),
    (GROWN + BOX, CROP + CRATE.replace('<s:Mass unitCode="EA">3</s:Mass>', ""), KIND, "ITEM[1]/Crate[1]"),
    (GROWN + "<p:Words>a</p:Words>", CROP + "<s:Speech>b</s:Speech>", KIND, "ITEM[1]/Speech[1]"),
]  # fmt: skip


@pytest.mark.parametrize(("first", "second", "top", "place"), DIFFERENT)
def test_different_answers_are_refused_at_the_second(
    bundle: MappingBundle, first: str, second: str, top: str, place: str
) -> None:
    result = run(bundle, plant(first), seed(second, top=top))
    assert problems(result) == [("S", "GW505", f"APP[2]/SEED/{place}")]
    assert [request.application for request in result.requests] == ["P"]


def test_one_who_gives_none_is_not_told_different_things(bundle: MappingBundle) -> None:
    second = plant(GROWN.replace("2.5", "9"), identity="Q")
    result = run(bundle, plant(GROWN), second, seed(""))
    assert problems(result) == [
        ("Q", "GW505", "APP[2]/PLANT/ITEM[1]/Grown[1]"),
        ("S", "GW505", "APP[2]/PLANT/ITEM[1]/Grown[1]"),
    ]


UNFIT = [
    ('<p:Grown unitCode="KGM">2.25</p:Grown>', "GW506", "ITEM[1]/Grown[1]"),
    (GROWN + BOX.replace("T1", "TAG12"), "GW506", "ITEM[1]/Box[1]/Tag"),
    (GROWN + "<p:Words>longer words</p:Words>", "GW506", "ITEM[1]/Words[1]"),
]


@pytest.mark.parametrize(("fields", "problem", "place"), UNFIT)
def test_what_does_not_fit_is_refused_where_it_stands(
    bundle: MappingBundle, fields: str, problem: str, place: str
) -> None:
    result = run(bundle, plant(fields), seed(""))
    assert set(problems(result)) == {("S", problem, f"APP[1]/PLANT/{place}")}
    assert [request.application for request in result.requests] == ["P"]


def test_too_many_are_refused_where_they_stand(bundle: MappingBundle) -> None:
    result = run(bundle, plant(GROWN + "".join(f"<p:Words>{n}</p:Words>" for n in range(3))), seed(""))
    assert ("S", "GW506", "APP[1]/PLANT/ITEM[1]/Words[3]") in problems(result)
    assert {one for one, _, _ in problems(result)} == {"S"}


def test_a_part_that_the_other_must_have(bundle: MappingBundle, tmp_path: Path) -> None:
    must = (SECOND, "req: O, means: box.owner", "req: M, means: box.owner")
    result = run(load_bundle(write(tmp_path, *CHANGES, must)), plant(GROWN + BOX), seed(""))
    assert problems(result) == [("S", "GW503", "APP[1]/PLANT/ITEM[1]/Box[1]/Owner")]


def test_a_part_that_is_empty_is_missing_for_both(bundle: MappingBundle) -> None:
    result = run(bundle, plant(GROWN + BOX.replace("T1", " ")), seed(""))
    place = "APP[1]/PLANT/ITEM[1]/Box[1]/Tag"
    assert problems(result) == [("P", "GW503", place), ("S", "GW503", place)]


def test_a_unit_and_a_code_that_the_other_does_not_know(bundle: MappingBundle, tmp_path: Path) -> None:
    units = (SECOND, "units: [KGM, EA], decimals: 1", "units: [KGM, LTR], decimals: 1")
    few = (SECOND, "kind: {type: code, list: colour,", "kind: {type: code, codes: {R: red, B: blue},")
    result = run(
        load_bundle(write(tmp_path, *CHANGES, units, few)), plant(GROWN.replace("KGM", "EA")), seed("")
    )
    assert problems(result) == [
        ("S", "GW403", "APP[1]/PLANT/Nature"),
        ("S", "GW403", "APP[1]/PLANT/ITEM[1]/Grown[1]/@unitCode"),
    ]


def test_what_may_not_be_given_is_not_taken(tmp_path: Path) -> None:
    when = (
        SECOND,
        "words, shared: yes,",
        "words, shared: yes, req: {when: {variety: {is: w}}, otherwise: forbidden},",
    )
    without = (SECOND, "max: 6, repeat: [0, 2], req: O,", "max: 6, repeat: [0, 2],")
    changed = load_bundle(write(tmp_path, *CHANGES, when, without))
    result = run(changed, plant(GROWN + "<p:Words>a</p:Words>"), seed(""))
    assert problems(result) == []
    assert texts(result, "SEED", "Speech") == []
    given = run(changed, plant(GROWN + "<p:Words>a</p:Words>"), seed("").replace(">v<", ">w<"))
    assert texts(given, "SEED", "Speech") == ["a"]


def test_an_item_need_not_stand_where_all_of_it_is_shared(tmp_path: Path) -> None:
    optional = (
        SECOND,
        "max: 20, req: M, per: item, means: seed.variety",
        "max: 20, req: O, per: item, means: seed.variety",
    )
    changed = load_bundle(write(tmp_path, *CHANGES, optional))
    result = run(changed, plant(GROWN), application("S", "SEED", "1", ""))
    assert problems(result) == []
    schema = write_fields_schema(changed.documents["SEED"])
    assert '<xs:element name="Kind" type="doc:KindType" minOccurs="0"/>' in schema
    assert '<xs:element name="Item" minOccurs="0" maxOccurs="999">' in schema


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ((SECOND, "decimals: 1, req: M, per: item, means: grown", "decimals: 1, req: M, per: application, means: grown"), "crop"),
        ((SECOND, "crop: {type: quantity, units: [KGM, EA]", "crop: {type: measure, units: [KGM, EA]"), "crop"),
        ((SECOND, "crop: {type: quantity, units: [KGM, EA]", "crop: {type: quantity, unit: EA"), "crop"),
        ((SECOND, "label: {type: id", "label: {type: text"), "crate.label"),
        ((SECOND, "means: box.owner", "means: box.owner, shared: yes"), "crate.owner"),
        ((SECOND, "means: nature, shared: yes", "means: nature, shared: maybe"), "kind"),
        ((SECOND, "means: box, shared", "shared"), "crate"),
        ((SECOND, "owner: {type: text, max: 9", "owner: {type: attachment"), "crate"),
    ],
)  # fmt: skip
def test_a_wrong_way_to_share(tmp_path: Path, change: tuple[str, str, str], field: str) -> None:
    folder = write(tmp_path, *CHANGES, change)
    with pytest.raises(GatewayError) as caught:
        load_bundle(folder)
    assert caught.value.problem.id == "GW502"
    assert SECOND in caught.value.location
    line = line_of(tmp_path, f"  {field.rpartition('.')[2]}:", SECOND)
    assert f"{SECOND}:{line}" in caught.value.location


def test_the_read_set_names_what_may_be_read_elsewhere(bundle: MappingBundle) -> None:
    plant, seed = bundle.documents["PLANT"], bundle.documents["SEED"]
    reads = build_read_set(seed, bundle.dictionary)
    told = {name: find_shared_read_kinds(reads, seed, plant, ask) for name, ask in plant.ask_names.items()}
    assert {name for name, hows in told.items() if hows} == {
        "nature", "grown", "words", "box", "box.tag", "box.size",
    }  # fmt: skip
    assert {"value", "guard"} <= told["grown"]
    assert find_shared_read_kinds(reads, seed, plant, None) == {"key"}


def test_nothing_else_of_the_other_application_makes_a_difference(bundle: MappingBundle) -> None:
    root = submission(plant(GROWN + BOX, items="1 2"), seed(""))
    before = run_xml(bundle, root)
    plant_mapping, seed_mapping = bundle.documents["PLANT"], bundle.documents["SEED"]
    reads = build_read_set(seed_mapping, bundle.dictionary)
    tried = 0
    for element in root.iter("{urn:single-window:document:plant:1}*"):
        ask = find_field_by_element(plant_mapping, element)
        if ask is None or ask.type == "group":
            continue
        if find_shared_read_kinds(reads, seed_mapping, plant_mapping, ask):
            continue
        old, element.text = element.text, "other"
        assert run_xml(bundle, root) == before, ask.name
        element.text, tried = old, tried + 1
    assert tried >= 6


def run_xml(bundle: MappingBundle, root: etree._Element) -> bytes:
    result = split_submission(root, bundle, make_placeholder_numbers(root))
    (request,) = [one for one in result.requests if one.document == "SEED"]
    return etree.tostring(request.xml)


def test_a_shared_answer_that_gets_lost_is_unaccounted(
    bundle: MappingBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forgets(document: DocumentMapping, scope: Scope) -> tuple[bytes, tuple[ValueOrigin, ...]]:
        return (b"<x/>", ()) if document.id == "SEED" else render_request(document, scope)

    monkeypatch.setattr(submission_split, "render_request", forgets)
    monkeypatch.setattr(submission_split, "_validate_request", lambda *_: None)
    root = submission(plant(GROWN), seed(""))
    lost = {
        leaf.pointer
        for leaf in split_submission(root, bundle, make_placeholder_numbers(root)).unaccounted_leaves
    }
    assert {"APP[1]/PLANT/Nature", "APP[1]/PLANT/ITEM[1]/Grown[1]"} <= lost


@pytest.mark.night
def test_samples_and_proofs_of_documents_that_share(bundle: MappingBundle, tmp_path: Path) -> None:
    report = prove(write(tmp_path, *CHANGES), samples=5)
    assert report.findings == ()
    for number in range(10):
        root = parse_xml(make_sample(bundle, bundle.documents["SEED"], str(number), 1 + number % 3))
        assert split_submission(root, bundle, make_placeholder_numbers(root)).problems == ()
    assert G in bundle.dictionary.meanings["importer.name"].path


@pytest.mark.night
def test_one_item_has_two_certificates_and_one_model() -> None:
    """An electronic toy is certified under two laws; what is true of the goods is answered once."""
    folder = DATA_FOLDER.joinpath("submissions")
    root = parse_xml(folder.joinpath("KTIC-TOY-IMP", "valid.xml").read_bytes())
    other = parse_xml(folder.joinpath("KTL-ELEC-IMP", "valid.xml").read_bytes())
    (electrical,) = other.iter("{*}Application")
    electrical.set("id", "A2")
    for name in ("ImportedModel", "ModelQuantity", "SerialRange", "ManufactureDate"):
        for given in list(electrical.iter(f"{{*}}{name}")):
            given.getparent().remove(given)  # type: ignore[union-attr]
    root.append(electrical)
    result = split_submission(root, load_bundle(get_data_folder("mappings")), make_placeholder_numbers(root))
    assert result.problems == ()
    assert result.unaccounted_leaves == ()
    toy, appliance = (request.xml for request in result.requests)
    for name in ("ImportedModel", "ModelQuantity", "SerialRange", "ManufactureDate"):
        assert [one.text for one in appliance.iter(f"{{*}}{name}")] == [
            one.text for one in toy.iter(f"{{*}}{name}")
        ]
    numbers = [{one.text for one in xml.iter("{*}CertificationNo")} for xml in (toy, appliance)]
    assert not set.intersection(*numbers)
    # The institute of toys certifies; what another answers about its certificate is a contradiction.
    rival = parse_xml(folder.joinpath("KTR-IDM-IMP", "valid.xml").read_bytes())
    (chemical,) = rival.iter("{*}Application")
    chemical.set("id", "A3")
    root.append(chemical)
    told = split_submission(root, load_bundle(get_data_folder("mappings")), make_placeholder_numbers(root))
    assert "APP[3]/KTR-IDM-IMP/ITEM[1]/CertificationNo[1]" in {
        one.pointer for one in told.problems if one.problem.id == "GW505"
    }
