# ruff: noqa: E501 (tables and texts with long lines)
"""Every primitive of the language, on a small document of our own invention."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from gateway.errors import GatewayError
from gateway.harmonize import MappingBundle, split_submission
from gateway.harmonize.language import TextPiece
from gateway.harmonize.split import split_text
from tests.harmonize import small_bundle


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> MappingBundle:
    return small_bundle.mapping(tmp_path_factory.mktemp("tiny"))


VALUES = [
    ("Kind", ["T1"]),
    ("Number", ["N000000000001"]),
    ("Function", ["9"]),
    ("Day", ["20261120"]),
    ("Moment", ["20261120183015"]),
    ("Issued", ["2026-11-20T09:30:15Z"]),
    ("Party/ID[@scheme='A']", ["한빛무역"]),
    ("Party/@colour", ["090"]),
    ("ColourName", ["orange"]),
    ("PlaceName", ["Alpha"]),
    ("Long/One", ["가나다라"]),
    ("Long/Two", ["마"]),
    ("Long/Three", []),
    ("Amount", ["100.50"]),
    ("Amount/@money", ["EUR"]),
    ("Bill", ["BL-1", "BL-2"]),
    ("Previous", ["P1"]),
    ("Container/ID", ["CONT1", "CONT2"]),
    ("Container/Seal/ID", ["S1", "S2"]),
    ("Container/Seal/Position", ["1", "2"]),
    ("Items", ["1"]),
    ("Line/ID", ["T001"]),
    ("Line/HS", ["3004101090"]),
    ("Line/Licence", ["L-911"]),
    ("Line/Maker", ["Maker One"]),
    ("Line/Risk/Reason", ["sharp"]),
    ("Line/Risk/Flag", ["true"]),
    ("Line/Sure", []),
    ("Line/Weight", ["2.125"]),
    ("Line/Weight/@unit", ["KG"]),
    ("Line/Value", ["7.08"]),
    ("Line/Value/@money", ["EUR"]),
    ("Line/Animal/No", ["1", "2"]),
    ("Line/Animal/Tag", ["A1", "B7"]),
    ("Line/Animal/Share", ["40", "60"]),
    ("Line/Animal/Share/@unit", ["P1", "P1"]),
    ("Line/Animal/Vaccination/Day", ["20260102"]),
]


@pytest.mark.night
@pytest.mark.parametrize(("path", "expected"), VALUES, ids=[path for path, _ in VALUES])
def test_each_primitive_gives_its_value(small: MappingBundle, path: str, expected: list[str]) -> None:
    assert small_bundle.text(small_bundle.apply(small, small_bundle.submission()), path) == expected


def test_the_submission_has_no_problem_and_no_leaf_without_fate(small: MappingBundle) -> None:
    result = small_bundle.apply(small, small_bundle.submission())
    assert (result.problems, result.unaccounted_leaves) == ((), ())


SECOND = (
    '<t:Colour>NO</t:Colour><t:Item sequence="2"><t:Risky>0</t:Risky>'
    '<t:Weight unitCode="EA">1</t:Weight><t:Price currencyID="USD">1</t:Price></t:Item>'
)


def test_an_item_identifier_follows_the_item_and_not_its_place(small: MappingBundle) -> None:
    result = small_bundle.apply(small, small_bundle.submission(SECOND, "2"))
    assert small_bundle.text(result, "Line/ID") == ["T002"]
    assert small_bundle.text(result, "Line/Sure") == ["0"]
    assert small_bundle.text(result, "Line/HS") == ["0601101000"]


def test_an_unknown_code_of_an_open_list_is_left_out_where_that_is_declared(small: MappingBundle) -> None:
    result = small_bundle.apply(small, small_bundle.submission(small_bundle.FIELDS.replace(">AA<", ">ZZ<")))
    assert small_bundle.text(result, "PlaceName") == []
    fates = {e.leaf.value: e.fates[0].fate for e in result.ledger.entries if e.fates[0] is not None}
    assert fates["ZZ"] == "consumed"


def test_a_time_that_was_not_given_never_becomes_midnight(small: MappingBundle) -> None:
    declaration = small_bundle.DECLARATION.replace("304", "102").replace("20261120093015Z", "20261120")
    fields = small_bundle.FIELDS.replace("<t:Place>AA</t:Place>", "<t:Meeting>2026-11-25</t:Meeting>")
    result = small_bundle.apply(small, small_bundle.submission(small_bundle.FIELDS, declaration=declaration))
    assert small_bundle.text(result, "Issued") == ["2026-11-20"]
    assert small_bundle.text(result, "Moment") == ["20261120000000"]
    (problem,) = small_bundle.apply(small, small_bundle.submission(fields, declaration=declaration)).problems
    assert (problem.problem.id, problem.pointer) == ("GW506", "APP[1]/TINY/Meeting")


def test_a_comment_in_a_value_cuts_nothing_off(small: MappingBundle) -> None:
    declaration = small_bundle.DECLARATION.replace("한빛무역", "한빛<!-- x -->무역")
    assert small_bundle.text(
        small_bundle.apply(small, small_bundle.submission(declaration=declaration)), "Party/ID[@scheme='A']"
    ) == ["한빛무역"]


@pytest.mark.parametrize(("value", "told"), [("C1<!--x-->2", []), ("C1<!--x-->b", ["GW404"])])
def test_a_comment_in_a_field_of_an_agency_cuts_nothing_off(
    small: MappingBundle, value: str, told: list[str]
) -> None:
    fields = small_bundle.FIELDS.replace("<t:Tag>B7<", f"<t:Tag>{value}<")
    result = small_bundle.apply(small, small_bundle.submission(fields))
    assert [one.problem.id for one in result.problems] == told
    if not told:
        assert small_bundle.text(result, "Line/Animal/Tag") == ["A1", "C12"]


def test_numbers_of_any_length_are_multiplied_and_summed(small: MappingBundle) -> None:
    long = "9" * 40 + "." + "9" * 40
    fields = small_bundle.FIELDS.replace("3.333", long).replace("2.125", long)
    problems = small_bundle.apply(small, small_bundle.submission(fields)).problems
    assert {problem.problem.id for problem in problems} == {"GW404", "GW506"}
    assert all(len(problem.detail) < 250 for problem in problems)


def test_provenance_names_source_rule_and_transforms(small: MappingBundle) -> None:
    (request,) = small_bundle.apply(small, small_bundle.submission()).requests
    origins = {origin.target: origin for origin in request.origins}
    unit = origins["Request/Line[1]/Weight/@unit"]
    assert unit.transforms == ("via unitOut@2",)
    assert unit.rule.file == "agencies/ORG/TINY.yaml"
    line = (small_bundle.FILES["agencies/ORG/TINY.yaml"]).splitlines()[unit.rule.line - 1]
    assert "Weight: {ask: weight" in line
    assert origins["Request/Line[1]/Value"].transforms == ("multiply (rounded half_up to 2)",)
    assert origins["Request/Line[1]/HS"].source == "common:item.hs"
    assert len(origins["Request/Line[1]/HS"].leaves) == 2
    assert origins["Request/Kind"].leaves == ()


FATES = [
    ("L-911", "forwarded"),
    ("L-740", "withheld"),
    ("911", "consumed"),
    ("740", "consumed"),
    ("4711", "withheld"),
    ("GN", "consumed"),
    ("P2", "withheld"),
    ("0601101000", "withheld"),
    ("Maker One", "forwarded"),
    ("Maker Two", "withheld"),
    ("304", "consumed"),
    ("sharp", "forwarded"),
]


@pytest.mark.parametrize(("value", "fate"), FATES)
def test_fate_of_a_leaf(small: MappingBundle, value: str, fate: str) -> None:
    result = small_bundle.apply(small, small_bundle.submission())
    found = [entry.fates[0] for entry in result.ledger.entries if entry.leaf.value == value]
    assert [one.fate for one in found if one is not None] == [fate]


WRONG = [
    (("<t:Colour>090", "<t:Colour>90"), "GW403", "APP[1]/TINY/Colour"),
    (("<t:Colour>090</t:Colour>", ""), "GW503", "APP[1]/TINY/Colour"),
    (("<t:Colour>090</t:Colour>", "<t:Colour>090</t:Colour><t:Colour>NO</t:Colour>"), "GW404", "APP[1]/TINY/Colour"),
    (("<t:Colour>", "<t:Shape>r</t:Shape><t:Colour>"), "GW402", "APP[1]/TINY/Shape"),
    (("<t:Colour>", "<t:ImporterName>x</t:ImporterName><t:Colour>"), "GW404", "APP[1]/TINY/ImporterName"),
    (("<t:Colour>", '<t:Colour lang="ko">'), "GW402", "APP[1]/TINY/Colour/@lang"),
    (("<t:Place>AA", "<t:Place>aa"), "GW404", "APP[1]/TINY/Place"),
    (("가나다라마", "가나다라마바사아자차카타파하"), "GW506", "APP[1]/TINY/NoteLong"),
    (("가나다라마", "가나다라😀"), "GW506", "APP[1]/TINY/NoteLong"),
    (("<t:Reason>sharp</t:Reason>", ""), "GW503", "APP[1]/TINY/ITEM[1]/Reason[1]"),
    ((">true<", ">false<"), "GW404", "APP[1]/TINY/ITEM[1]/Reason[1]"),
    ((">true<", ">yes<"), "GW404", "APP[1]/TINY/ITEM[1]/Risky[1]"),
    (("2.125", "2.1255"), "GW506", "APP[1]/TINY/ITEM[1]/Weight[1]"),
    (("2.125", "2,125"), "GW404", "APP[1]/TINY/ITEM[1]/Weight[1]"),
    (("2.125", "-2"), "GW404", "APP[1]/TINY/ITEM[1]/Weight[1]"),
    (('unitCode="KGM"', 'unitCode="TNE"'), "GW403", "APP[1]/TINY/ITEM[1]/Weight[1]/@unitCode"),
    ((' unitCode="KGM"', ""), "GW503", "APP[1]/TINY/ITEM[1]/Weight[1]/@unitCode"),
    (('currencyID="EUR"', 'currencyID="KRW"'), "GW403", "APP[1]/TINY/ITEM[1]/Price[1]/@currencyID"),
    (("3.333", "99"), "GW404", "APP[1]/TINY"),
    (("3.333", "9" * 40 + "." + "9" * 40), "GW506", "APP[1]/TINY/ITEM[1]/Price[1]"),
    (("<t:Share>40", "<t:Share>41"), "GW404", "APP[1]/TINY/ITEM[1]"),
    (("<t:Share>40", "<t:Share>101"), "GW404", "APP[1]/TINY/ITEM[1]/Animal[1]/Share"),
    (("<t:Vaccination><t:On>2026-01-02</t:On></t:Vaccination>", ""), "GW503", "APP[1]/TINY/ITEM[1]/Animal[1]/Vaccination[1]"),
    (("2026-01-02", "2026-02-30"), "GW404", "APP[1]/TINY/ITEM[1]/Animal[1]/Vaccination[1]/On"),
    (("<t:Tag>B7", "<t:Tag>b7"), "GW404", "APP[1]/TINY/ITEM[1]/Animal[2]/Tag"),
    (("</t:Price>", '</t:Price><t:Photo cid="none@x"/>'), "GW503", "APP[1]/TINY/ITEM[1]/Photo[1]"),
    (("</t:Price>", '</t:Price><t:Photo cid="big@x"/>'), "GW404", "APP[1]/TINY/ITEM[1]/Photo[1]"),
    (("</t:Animal></t:Item>", "</t:Animal><t:Animal><t:Tag>C1</t:Tag></t:Animal><t:Animal><t:Tag>C2</t:Tag></t:Animal></t:Item>"), "GW404", "APP[1]/TINY/ITEM[1]/Animal[1]"),
    (('sequence="1"', 'sequence="2"'), "GW404", "APP[1]/TINY/ITEM[2]"),
    (('sequence="1"', 'sequence="x"'), "GW404", "APP[1]/TINY/ITEM[1]"),
]  # fmt: skip


@pytest.mark.night
@pytest.mark.parametrize(("change", "problem", "pointer"), WRONG)
def test_wrong_fields_are_refused_with_their_pointer(
    small: MappingBundle, change: tuple[str, str], problem: str, pointer: str
) -> None:
    assert change[0] in small_bundle.FIELDS
    result = small_bundle.apply(small, small_bundle.submission(small_bundle.FIELDS.replace(*change, 1)))
    assert result.requests == ()
    assert (problem, pointer) in {(one.problem.id, one.pointer) for one in result.problems}
    assert result.unaccounted_leaves == ()


WRONG_DECLARATIONS = [
    (("<Importer><Name>한빛무역</Name></Importer>", ""), "GW503", "42A/67A[1]/74A[1]/R037"),
    (("한빛무역", "   "), "GW503", "42A/67A[1]/74A[1]/R037"),
    (("한빛무역", "한빛무역상사주식회사물류"), "GW506", "42A/67A[1]/74A[1]/R037"),
    (("<TypeCode>911</TypeCode>", ""), "GW503", "42A/67A[1]/68A[1]/02A[1]/D005"),
    (("30041010", "300410"), "GW506", "42A/67A[1]/68A[1]/23A[1]/21A[2]/145"),
    (("30041010", "3004101A"), "GW506", "42A/67A[1]/68A[1]/23A[1]/21A[2]/145"),
    (("100.50", "12345678.50"), "GW506", "42A/109"),
    (("100.50", "100.505"), "GW506", "42A/109"),
    (("20261120093015Z", "yesterday"), "GW404", "42A/D011/DateTimeString"),
    (("<SequenceNumeric>2</SequenceNumeric>\n      <Commodity>", "<SequenceNumeric>1</SequenceNumeric><Commodity>"), "GW404", "APP[1]/Items"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "problem", "pointer"), WRONG_DECLARATIONS)
def test_wrong_common_values_are_refused_with_their_pointer(
    small: MappingBundle, change: tuple[str, str], problem: str, pointer: str
) -> None:
    assert change[0] in small_bundle.DECLARATION
    result = small_bundle.apply(
        small, small_bundle.submission(declaration=small_bundle.DECLARATION.replace(*change, 1))
    )
    assert result.requests == ()
    assert (problem, pointer) in {(one.problem.id, one.pointer) for one in result.problems}
    assert result.unaccounted_leaves == ()


def test_a_value_given_twice_where_one_is_meant_is_refused(small: MappingBundle) -> None:
    twice = small_bundle.SUPPLEMENT + small_bundle.SUPPLEMENT.splitlines()[2]
    (problem, *_) = small_bundle.apply(small, small_bundle.submission(supplement=twice)).problems
    assert (problem.problem.id, problem.application) == ("GW505", "A1")


def test_a_value_of_a_group_that_may_lack_is_refused_where_it_is_given_twice(small: MappingBundle) -> None:
    twice = small_bundle.DECLARATION.replace("<ID>CONT2</ID>", "<ID>CONT2</ID><ID>CONT3</ID>")
    problem, _ = small_bundle.apply(small, small_bundle.submission(declaration=twice)).problems
    assert (problem.problem.id, problem.application) == ("GW505", "A1")
    assert problem.detail.startswith("Container is given 2 times")
    lacking = small_bundle.DECLARATION.replace("<ID>CONT2</ID>", "")
    assert small_bundle.apply(small, small_bundle.submission(declaration=lacking)).problems == ()


NESTED_GROUPS = """  outer: {type: group, req: O, per: application, ko: 겉, en: Outer, fields: {
      inner: {type: group, req: M, ko: 속, en: Inner, fields: {
          core: {type: text, max: 5, req: M, means: outer.inner.core, ko: 알, en: Core}
      }}
  }}
puts:
  - Core: {ask: outer.inner.core}
"""


def test_a_field_of_a_mandatory_group_may_lack_where_the_group_around_it_may_lack(tmp_path: Path) -> None:
    bundle = small_bundle.mapping(tmp_path, document=("puts:\n", NESTED_GROUPS))
    result = small_bundle.apply(bundle, small_bundle.submission())
    assert result.problems == ()
    assert small_bundle.text(result, "Core") == []


@pytest.mark.parametrize("is_entered", [False, True])
def test_an_occurrence_is_not_demanded_where_the_group_around_it_may_lack(
    tmp_path: Path, is_entered: bool
) -> None:
    inner = "Inner: {each: {asked: outer.inner, bound: [1, 1]}, puts: [Core: {ask: outer.inner.core}]}"
    outer = f"Outer: {{each: {{asked: outer, bound: [0, 1]}}, puts: [{inner}]}}"
    groups = NESTED_GROUPS.replace("Core: {ask: outer.inner.core}", outer if is_entered else inner)
    if is_entered:
        assert small_bundle.mapping(tmp_path, document=("puts:\n", groups))
        return
    with pytest.raises(GatewayError, match=r"a bound from 0 \(outer\.inner need not be given\)"):
        small_bundle.mapping(tmp_path, document=("puts:\n", groups))


def test_an_application_for_an_item_that_is_not_there(small: MappingBundle) -> None:
    result = small_bundle.apply(small, small_bundle.submission(items="1 7"))
    assert ("GW404", "APP[1]/Items") in {(one.problem.id, one.pointer) for one in result.problems}


def test_two_applications_for_one_document(small: MappingBundle) -> None:
    root = small_bundle.submission()
    (first,) = root.findall("{*}Application")
    second = copy.deepcopy(first)
    second.set("id", "A2")
    second.find("{*}Items").text = "2"
    fields = etree.fromstring(f'<t:x xmlns:t="urn:single-window:document:tiny:1">{SECOND}</t:x>')
    second.find("{*}Fields")[:] = list(fields)
    root.append(second)
    numbers = {**small_bundle.NUMBERS, "A2": {"application_number": "N000000000002"}}
    result = split_submission(root, small, numbers)
    assert (result.problems, result.unaccounted_leaves) == ((), ())
    assert [(request.application, request.items) for request in result.requests] == [
        ("A1", ("1",)),
        ("A2", ("2",)),
    ]
    assert result.ledger.documents == ("TINY",)
    fates = {entry.leaf.value: entry.fates[0] for entry in result.ledger.entries}
    assert fates["Maker Two"].targets == ("Request/Line[1]/Maker",)
    assert fates["한빛무역"].targets == ("Request/Party/ID[@scheme='A']",) * 2


def test_what_is_wrong_with_one_application_does_not_stop_another_of_its_document(
    small: MappingBundle,
) -> None:
    root = small_bundle.submission()
    second = copy.deepcopy(root.find("{*}Application"))
    second.set("id", "A2")
    root.append(second)
    second.find("{*}Fields/{*}Colour").text = "pink"
    result = small_bundle.apply(small, root)
    assert [request.application for request in result.requests] == ["A1"]
    assert {problem.application for problem in result.problems} == {"A2"}


def test_a_photo_is_named_by_its_content_id(small: MappingBundle) -> None:
    fields = small_bundle.FIELDS.replace("</t:Price>", '</t:Price><t:Photo cid="p@x"/>')
    result = small_bundle.apply(small, small_bundle.submission(fields))
    assert small_bundle.text(result, "Line/Photo/@cid") == ["p@x"]
    assert small_bundle.text(result, "Line/Photo") == [""]


def test_an_unknown_document_is_named(small: MappingBundle) -> None:
    root = small_bundle.submission()
    root.find("{*}Application").set("document", "NOBODY")
    (problem,) = small_bundle.apply(small, root).problems
    assert (problem.problem.id, problem.pointer) == ("GW501", "APP[1]")


@given(
    st.text(max_size=40), st.integers(2, 12), st.integers(1, 5), st.sampled_from(["euc-kr", "utf-8", "cp949"])
)
def test_pieces_rejoin_to_the_text_and_each_fits(text: str, octets: int, parts: int, charset: str) -> None:
    cut = split_text(text, TextPiece(0, parts, octets, None, charset))
    if cut is None:
        return
    assert "".join(cut) == text
    assert len(cut) <= parts
    assert all(len(piece.encode(charset)) <= octets for piece in cut)


def test_pieces_are_refused_only_when_they_cannot_hold_the_text() -> None:
    assert split_text("가나다라", TextPiece(0, 2, 4, None, "euc-kr")) == ["가나", "다라"]
    assert split_text("가나다라마", TextPiece(0, 2, 4, None, "euc-kr")) is None
    assert split_text("a가", TextPiece(0, 2, 2, None, "euc-kr")) == ["a", "가"]
    assert split_text("abcde", TextPiece(0, 2, None, 3, "utf-8")) == ["abc", "de"]


def test_a_changed_mapping_changes_the_digest_of_its_bundle(small: MappingBundle, tmp_path: Path) -> None:
    changed = small_bundle.mapping(tmp_path, document=("const: T1", "const: T2"))
    assert changed.digest != small.digest
    assert small_bundle.text(small_bundle.apply(changed, small_bundle.submission()), "Kind") == ["T2"]
