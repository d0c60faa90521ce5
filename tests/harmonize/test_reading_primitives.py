# ruff: noqa: E501 (texts with long lines)
"""Every primitive read backwards: what it wrote is read, what it cannot have written is found."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import pytest
from lxml import etree

from gateway.harmonize import FieldFinder, MappingBundle, SplitResult, SubmissionExplainer
from gateway.harmonize.language import list_mapping_lines
from gateway.harmonize.provenance.field_uses import list_transforms
from gateway.harmonize.readback import RequestReading, compare_request, read_request
from gateway.harmonize.readback.round_trip import Difference
from gateway.wire import parse_xml
from tests.harmonize import small_bundle

ASKS = """  pair: {type: group, repeat: [0, 5], req: O, per: application, means: pair, ko: 짝, en: Pair, fields: {
      key: {type: id, max: 4, req: M, means: pair.key, ko: 열쇠, en: Key},
      value: {type: text, max: 20, req: M, means: pair.value, ko: 값, en: Value}
  }}
  hazard: {type: code, list: colour, repeat: [0, 3], req: O, per: item, means: hazard, ko: 위험성, en: Hazard}
  load: {type: quantity, units: [TNE, KGM], decimals: 3, req: O, per: item, means: load, ko: 짐, en: Load}
puts:
  - Doc[TypeCode=851]/ID: {ask: remark}
  - Doc[TypeCode=852]/ID: {common: previous}
  - KeyOne: {ask: pair.value, where: {pair.key: {is: K1}}}
  - Both: {concat: [{ask: colour}, {ask: place}, {const: X}, {common: issued_at, form: CCYYMMDD}], with: "/"}
  - PlaceOr: {ask: place, default: ZZ}
  - Total: {sum: weight, over: items, decimals: 3, unit: "@unit"}
  - Animals: {count: animal}
  - Month: {common: issued_at, form: CCYYMM}
  - Tariff:
      each: {item: application.items, group_by: item.hs, bound: [1, 99]}
      puts:
        - Code: {common: item.hs}
        - Lines: {count: items}
        - Weight: {sum: weight, over: items, decimals: 3}
  - Cargo:
      each: {item: application.items, key: item.number, bound: [1, 999]}
      puts:
        - Load: {ask: load, convert: {to: KGM, decimals: 0, round: half_up}, unit: "@unit"}
        - Hazard: {ask: hazard, bound: [0, 3]}
        - Marked:
            each: {asked: animal, bound: [0, 3], when: {animal.tag: {is: B7}}}
            puts:
              - Tag: {ask: animal.tag}
"""
FIELDS = """<t:Colour>090</t:Colour><t:Place>AA</t:Place><t:Remark>note</t:Remark><t:NoteLong>가나다라마</t:NoteLong>
<t:Pair><t:Key>K0</t:Key><t:Value>zero</t:Value></t:Pair><t:Pair><t:Key>K1</t:Key><t:Value>one</t:Value></t:Pair>
<t:Item sequence="1"><t:Risky>true</t:Risky><t:Reason>sharp</t:Reason><t:Weight unitCode="KGM">2.125</t:Weight>
<t:Price currencyID="EUR">3.333</t:Price>
<t:Animal><t:Tag>A1</t:Tag><t:Share>40</t:Share><t:Vaccination><t:On>2026-01-02</t:On></t:Vaccination></t:Animal>
<t:Animal><t:Tag>B7</t:Tag><t:Share unitCode="P1">60</t:Share></t:Animal>
<t:Hazard>090</t:Hazard><t:Hazard>1E3</t:Hazard><t:Load unitCode="TNE">1.2345</t:Load></t:Item>
<t:Item sequence="2"><t:Risky>false</t:Risky><t:Weight unitCode="KGM">3</t:Weight>
<t:Price currencyID="EUR">1</t:Price></t:Item>""".replace("1.2345", "1.234")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> MappingBundle:
    """Return the small mapping with a line for every further primitive."""
    folder: Path = tmp_path_factory.mktemp("primitives")
    units = 'units: {file: codelists/units.csv, version: "1", source: ours}\nlists:\n'
    small_bundle.FILES["codelists/units.csv"] = (
        "unit,dimension,factor,source\nKGM,mass,1,ours\nTNE,mass,1000,ours\nEA,count,1,ours\n"
    )
    try:
        return small_bundle.mapping(folder, document=("puts:\n", ASKS), codelists=("lists:\n", units))
    finally:
        del small_bundle.FILES["codelists/units.csv"]


@pytest.fixture(scope="module")
def done(bundle: MappingBundle) -> SplitResult:
    """Return the split of a submission that gives everything."""
    done = small_bundle.apply(bundle, small_bundle.submission(FIELDS, items="1 2"))
    assert [str(one.detail) for one in done.problems] == []
    return done


def reading_of(bundle: MappingBundle, done: SplitResult) -> RequestReading:
    """Return the request read backwards."""
    return read_request(bundle.documents["TINY"], done.requests[0].xml)


def differences(bundle: MappingBundle, done: SplitResult, xml: etree._Element) -> list[Difference]:
    """Return what `xml`, in place of the request, says otherwise than the submission."""
    return compare_request(
        done.requests[0], read_request(bundle.documents["TINY"], xml), done.submission_index, bundle
    )


def read(bundle: MappingBundle, done: SplitResult, path: str) -> list[tuple[str, str | None, str]]:
    """Return source, text and loss of what was read back at the paths that begin so."""
    return [
        (value.source, value.text, value.loss)
        for value in reading_of(bundle, done).values
        if value.path.startswith(f"Request/{path}")
    ]


def test_everything_is_read_back(bundle: MappingBundle, done: SplitResult) -> None:
    assert reading_of(bundle, done).faults == ()
    assert differences(bundle, done, done.requests[0].xml) == []


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("Doc[TypeCode='851']/ID", [("ask:remark", "note", "exact")]),
        ("Doc[TypeCode='852']/TypeCode", [("const", "852", "exact")]),
        ("KeyOne", [("ask:pair.value", "one", "exact")]),
        ("PlaceOr", [("ask:place", "AA", "residue")]),
        ("Total/@unit", [("ask:weight", "KGM", "exact")]),
        ("Animals", [("count:animal", "2", "exact")]),
        ("Month", [("common:issued_at", None, "lossy")]),
        ("Tariff[2]/Code", [("common:item.hs", "0601101000", "exact")]),
        ("Tariff[1]/Lines", [("count:items", "1", "exact")]),
        ("Cargo[1]/Load/@unit", [("ask:load", None, "lossy")]),
        ("Cargo[1]/Hazard[2]", [("ask:hazard", "1E3", "exact")]),
        ("Cargo[1]/Marked[1]/Tag", [("ask:animal.tag", "B7", "exact")]),
    ],
)
def test_what_each_primitive_reads_back_as(
    bundle: MappingBundle, done: SplitResult, path: str, expected: list[tuple[str, str | None, str]]
) -> None:
    assert read(bundle, done, path) == expected


def test_a_text_put_together_is_taken_apart(bundle: MappingBundle, done: SplitResult) -> None:
    assert [(source, text) for source, text, _ in read(bundle, done, "Both")] == [
        ("ask:colour", "090"),
        ("ask:place", "AA"),
        ("const", "X"),
        ("common:issued_at", "2026-11-20"),
    ]


def test_a_piece_that_is_empty_was_not_given(bundle: MappingBundle) -> None:
    done = small_bundle.apply(
        bundle, small_bundle.submission(FIELDS.replace("<t:Place>AA</t:Place>", ""), items="1 2")
    )
    sources = [source for source, _, _ in read(bundle, done, "Both")]
    assert sources == ["ask:colour", "const", "common:issued_at"]
    assert read(bundle, done, "PlaceOr") == [("ask:place", "ZZ", "residue")]
    assert differences(bundle, done, done.requests[0].xml) == []


@pytest.mark.night
@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("Doc/TypeCode", "853"),
        ("Doc/ID", "P1"),
        ("KeyOne", "zero"),
        ("Both", "090/AA/X"),
        ("Both", "090/AA/Y/20261120"),
        ("Both", "AA/090/X/20261120"),
        ("Both", "090/AA/X/20261121"),
        ("PlaceOr", "ZZ"),
        ("Total", "5.126"),
        ("Animals", "3"),
        ("Month", "202612"),
        ("Tariff/Code", "0601101000"),
        ("Tariff/Lines", "2"),
        ("Tariff/Weight", "3"),
        ("Cargo/Load", "1235"),
        ("Cargo/Load", "1.234"),
        ("Cargo/Hazard", "1E3"),
        ("Cargo/Marked/Tag", "A1"),
    ],
)
def test_another_text_is_found(bundle: MappingBundle, done: SplitResult, path: str, text: str) -> None:
    xml = deepcopy(done.requests[0].xml)
    found = xml.find("/".join(f"{{*}}{step}" for step in path.split("/")))
    assert found is not None
    assert found.text != text
    found.text = text
    assert differences(bundle, done, xml)


def test_a_position_that_is_not_its_own_is_a_fault(bundle: MappingBundle, done: SplitResult) -> None:
    xml = deepcopy(done.requests[0].xml)
    position = xml.find("{*}Container/{*}Seal/{*}Position")
    assert position is not None
    position.text = "2"
    (fault,) = read_request(bundle.documents["TINY"], xml).faults
    assert fault.detail == "the position here is 1"


def test_a_wrong_conversion_is_found_by_arithmetic_of_its_own(
    bundle: MappingBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "gateway.harmonize.language.conversion_steps.round_fraction", lambda number, *_: number + 1
    )
    wrong = small_bundle.apply(bundle, small_bundle.submission(FIELDS, items="1 2"))
    (found,) = differences(bundle, wrong, wrong.requests[0].xml)
    assert found.path == "Request/Cargo[1]/Load"
    assert found.detail == "ask:load is not what its values make"


def test_explaining_a_conversion_keeps_what_was_given(bundle: MappingBundle) -> None:
    data = etree.tostring(small_bundle.submission(FIELDS, items="1 2"), encoding="utf-8")
    root = parse_xml(data)
    explainer = SubmissionExplainer(bundle, data, small_bundle.apply(bundle, root))
    load, unit = explainer.find_written("Cargo[1]/Load")
    assert load.value == "1234"
    assert load.transforms == ("convert 1.234 TNE to 1234 KGM",)
    assert (load.loss, [spot.value for spot in load.spots]) == ("lossy", ["1.234"])
    assert (unit.path, unit.value, [spot.value for spot in unit.spots]) == (
        "Request/Cargo[1]/Load/@unit",
        "KGM",
        ["TNE"],
    )
    (both,) = explainer.find_written("Both")
    assert [spot.value for spot in both.spots] == ["090", "AA", "20261120093015Z"]


def test_explaining_a_key_says_that_it_chooses(bundle: MappingBundle) -> None:
    (story,) = FieldFinder(bundle).find_by_location("pair.key")
    assert [words for words, _ in story.documents[0].reasons] == ["key: chooses what Request/KeyOne holds"]
    lines = {line.path: line for line in list_mapping_lines(bundle.documents["TINY"])}
    assert [field.name for field in lines["Request/KeyOne"].read_fields] == ["pair.value"]
    assert list_transforms(lines["Request/Cargo/Load"]) == ("convert to KGM, half_up to 0 decimals",)
    assert list_transforms(lines["Request/PlaceOr"]) == ("ZZ where there is none",)
    assert list_transforms(lines["Request/Both"]) == ("put together with '/'",)
    assert list_transforms(lines["Request/Total"]) == ("sum over items",)
